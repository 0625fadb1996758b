"""Parts of a MuJoCo model's data by their names, as MuJoCo's own Python bindings have them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .mujoco_file import BALL, FREE, Robot, find
from .mujoco_robot import MujocoRobot
from .wrapper import Wrapper

# kind of element -> what is known of one -> the array of `mjx.Data` that has it
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "body": {name: name for name in ("xpos", "xquat", "xmat", "xipos", "ximat", "cvel", "subtree_com")},
    "geom": {"xpos": "geom_xpos", "xmat": "geom_xmat"},
    "site": {"xpos": "site_xpos", "xmat": "site_xmat"},
    "camera": {"xpos": "cam_xpos", "xmat": "cam_xmat"},
    "actuator": {"ctrl": "ctrl", "force": "actuator_force", "length": "actuator_length"},
    "tendon": {"length": "ten_length", "velocity": "ten_velocity"},
}


class _ReadOnly:
    """What computes nothing from what is written to it, and so refuses it: MuJoCo's own bindings take it."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"{name} of data cannot be written: let reset return data.replace(qpos=...), of "
            "data.qpos.at[i].set(...), say"
        )


class Element(_ReadOnly):
    """A named part of the data: `data.body("torso").xpos`."""

    def __init__(self, data: Any, kind: str, name: str, number: int) -> None:
        """Keep where it is; nothing is read yet."""
        vars(self).update(_data=data, _kind=kind, _name=name, _number=number)

    def __getattr__(self, field: str) -> Any:
        """What is known of the element.

        Raises:
            AttributeError: for what is not, with what is.
        """
        known = _FIELDS[self._kind]
        if field not in known:
            raise AttributeError(f"{self._kind} {self._name!r} has {', '.join(known)}, not {field!r}")
        return getattr(self._data, known[field])[self._number]


class Joint(_ReadOnly):
    """The place and the speed of a joint.

    Attributes:
        qpos: a scalar; [4] of a ball, [7] of a free joint.
        qvel: a scalar; [3] of a ball, [6] of a free joint.
    """

    qpos: Any
    qvel: Any

    def __init__(self, data: Any, mj: Any, number: int) -> None:
        """Read it from the data."""
        kind, q, v = (int(a[number]) for a in (mj.jnt_type, mj.jnt_qposadr, mj.jnt_dofadr))
        places, speeds = {FREE: (7, 6), BALL: (4, 3)}.get(kind, (1, 1))
        one = places == 1
        vars(self).update(
            qpos=data.qpos[q] if one else data.qpos[q : q + places],
            qvel=data.qvel[v] if one else data.qvel[v : v + speeds],
        )


class Sensor(_ReadOnly):
    """What a sensor says.

    Attributes:
        data: a scalar; [n] of a sensor of several numbers.
    """

    data: Any

    def __init__(self, data: Any, mj: Any, number: int) -> None:
        """Read it from the data."""
        start, size = int(mj.sensor_adr[number]), int(mj.sensor_dim[number])
        vars(self).update(data=data.sensordata[start] if size == 1 else data.sensordata[start : start + size])


class NamedData(_ReadOnly):
    """The data of a MuJoCo model, with its parts by name: what rewards are given.

    It has all that `mjx.Data` has (`qpos`, `qvel`, `ctrl`, `sensordata`, `xpos`, `site_xpos`, ...), and, as
    `mujoco.MjData`, `body(name)`, `joint(name)`, `geom(name)`, `site(name)`, `sensor(name)`, `actuator(name)`,
    `tendon(name)`, `camera(name)`.
    """

    def __init__(self, robot: Robot, data: Any) -> None:
        """Give names to data.

        Args:
            robot: whose data it is.
            data: `mjx.Data`, or what stands for it on another engine.
        """
        vars(self).update(robot=robot, raw=data)

    def __getattr__(self, name: str) -> Any:
        """What the data have.

        Raises:
            AttributeError: if they do not have it.
        """
        if name.startswith("__"):  # of copies and pickles
            raise AttributeError(name)
        return getattr(self.raw, name)

    def body(self, name: str) -> Any:
        """`xpos` [3], `xquat` [4], `xmat` [3, 3], `xipos`, `ximat`, `cvel`, `subtree_com` of a body."""
        return self._element("body", name)

    def geom(self, name: str) -> Any:
        """`xpos` [3] and `xmat` [3, 3] of a geom."""
        return self._element("geom", name)

    def site(self, name: str) -> Any:
        """`xpos` [3] and `xmat` [3, 3] of a site."""
        return self._element("site", name)

    def camera(self, name: str) -> Any:
        """`xpos` [3] and `xmat` [3, 3] of a camera."""
        return self._element("camera", name)

    def actuator(self, name: str) -> Any:
        """`ctrl`, `force`, `length` of an actuator."""
        return self._element("actuator", name)

    def tendon(self, name: str) -> Any:
        """`length` and `velocity` of a tendon."""
        return self._element("tendon", name)

    def joint(self, name: str) -> Joint:
        """`qpos` and `qvel` of a joint."""
        return Joint(self.raw, self.robot.mj, find(self.robot.mj, "joint", name))

    def sensor(self, name: str) -> Sensor:
        """`data` of a sensor."""
        return Sensor(self.raw, self.robot.mj, find(self.robot.mj, "sensor", name))

    def _element(self, kind: str, name: str) -> Any:
        return Element(self.raw, kind, name, find(self.robot.mj, kind, name))


def sensor(model: Any, data: Any, name: str) -> Float[Array, "*n"]:
    """What a sensor says, by its name.

    Args:
        model: a model of `dynamics.mjx`, `dynamics.mujoco` or `dynamics.playground`, as it is or in wrappers; or a
            `mujoco.MjModel`.
        data: its state, or what a reward is given.
        name: of the sensor.

    Returns:
        A scalar; [n] of a sensor of several numbers. Velocities and positions are those of the state; accelerations
        and forces are those that have led to it.

    Raises:
        ValueError: if there is no such sensor, with those that there are.
    """
    return named(model, data).sensor(name).data


def named(model: Any, data: Any) -> NamedData:
    """Data with names: `named(model, state).body("torso").xpos`.

    Args:
        model: a model of `dynamics.mjx`, `dynamics.mujoco` or `dynamics.playground`, as it is or in wrappers
            (`action_repeat`, `delayed`, ...); or a `mujoco.MjModel`.
        data: its state.

    Raises:
        ValueError: if the model has no names.
    """
    import mujoco

    if isinstance(data, NamedData):
        return data
    while isinstance(model, Wrapper):
        model, data = model.model, model.inner(data)
    robot = Robot(model) if isinstance(model, mujoco.MjModel) else getattr(model, "robot", None)
    if not isinstance(robot, Robot):
        raise ValueError(
            f"model must be one of dynamics.mjx, dynamics.mujoco, dynamics.playground, or a mujoco.MjModel, "
            f"got {type(model).__name__}"
        )
    return NamedData(robot, model.data_of(data) if isinstance(model, MujocoRobot) else data)


def sensor_stages(mj: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which entries of `sensordata` are of the state (positions, velocities), and which of what led to it."""
    import mujoco

    late = np.zeros(mj.nsensordata, bool)
    for start, size, stage in zip(mj.sensor_adr, mj.sensor_dim, mj.sensor_needstage, strict=True):
        late[start : start + size] = stage == int(mujoco.mjtStage.mjSTAGE_ACC)
    return ~late, late
