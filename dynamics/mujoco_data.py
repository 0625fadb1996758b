"""The state of MuJoCo's C engine as a pytree, with what MuJoCo derives of it, computed where it is asked for."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .mujoco_file import Robot
from .mujoco_kinematics import Frames, frames, subtree_com
from .pytrees import pytree, static
from .rotations import matrix


@pytree
class MujocoData:
    """A state on MuJoCo's C engine, with the names of `mujoco.mjx.Data`.

    What follows from the joints' positions (`xpos`, `site_xpos`, `subtree_com`, ...) is computed in JAX, and only
    where it is used. What MuJoCo derives besides (`cvel`, forces, contacts) is known by sensors alone.

    Attributes:
        robot: whose state it is.
        time: s, a scalar.
        qpos: [nq].
        qvel: [nv].
        act: activations of actuators, [na].
        rest: what the engine keeps besides: of plugins and of delays.
        ctrl: what the actuators have been given, [nu].
        qacc_warmstart: accelerations at which the solver begins, [nv].
        mocap_pos: of bodies that are moved from outside, [m, 3].
        mocap_quat: [m, 4].
        sensordata: places and speeds are those of the state, forces and accelerations those that have led to it.
    """

    robot: Robot = static()
    time: Float[Array, "*n"]
    qpos: Float[Array, "*n q"]
    qvel: Float[Array, "*n v"]
    act: Float[Array, "*n a"]
    rest: Float[Array, "*n r"]
    ctrl: Float[Array, "*n u"]
    qacc_warmstart: Float[Array, "*n v"]
    mocap_pos: Float[Array, "*n m 3"]
    mocap_quat: Float[Array, "*n m 4"]
    sensordata: Float[Array, "*n s"]

    def replace(self, **parts: Any) -> "MujocoData":
        """The state with other parts, as of `mujoco.mjx.Data`.

        Raises:
            ValueError: for a part that there is not.
        """
        known = [field.name for field in dataclasses.fields(self)]
        if absent := [name for name in parts if name not in known]:
            raise ValueError(f"replace must be given parts of the data, {', '.join(known)}, got {', '.join(absent)}")
        return dataclasses.replace(self, **parts)

    @property  # not kept: it may be traced, and outlive the trace; XLA computes it once
    def _frames(self) -> Frames:
        return frames(self.robot.mj, self.qpos, self.mocap_pos, self.mocap_quat)

    @property
    def xpos(self) -> Float[Array, "N 3"]:
        """Where bodies are, m."""
        return self._frames.xpos

    @property
    def xquat(self) -> Float[Array, "N 4"]:
        """How bodies are turned."""
        return self._frames.xquat

    @property
    def xmat(self) -> Float[Array, "N 3 3"]:
        """How bodies are turned, as matrices."""
        return matrix(self._frames.xquat)

    @property
    def xipos(self) -> Float[Array, "N 3"]:
        """The centres of mass of bodies, m."""
        return self._frames.xipos

    @property
    def subtree_com(self) -> Float[Array, "N 3"]:
        """The centres of mass of bodies with all that hangs on them, m."""
        return subtree_com(self.robot.mj, self._frames.xipos)

    @property
    def geom_xpos(self) -> Float[Array, "G 3"]:
        """Where geoms are, m."""
        return self._frames.geom_xpos

    @property
    def geom_xmat(self) -> Float[Array, "G 3 3"]:
        """How geoms are turned, as matrices."""
        return matrix(self._frames.geom_xquat)

    @property
    def site_xpos(self) -> Float[Array, "S 3"]:
        """Where sites are, m."""
        return self._frames.site_xpos

    @property
    def site_xmat(self) -> Float[Array, "S 3 3"]:
        """How sites are turned, as matrices."""
        return matrix(self._frames.site_xquat)

    def __getattr__(self, name: str) -> Any:
        """Say what to do for what the C engine does not tell.

        Raises:
            AttributeError: always.
        """
        if not name.startswith("_") and name in _DERIVED:
            raise AttributeError(
                f"data of MuJoCo's C engine have no {name}: read a sensor of it (data.sensor(name).data; "
                "framelinvel, gyro, subtreelinvel, touch, force, ... in the file), or use dynamics.mjx"
            )
        if name in _NAMED:
            raise AttributeError(f"a state has no {name}: dynamics.named(model, state).{name}(...) has parts by name")
        raise AttributeError(f"{type(self).__name__} has no {name}")


# kinds of elements, of which `NamedData` has parts
_NAMED = ("body", "joint", "geom", "site", "sensor", "actuator", "tendon", "camera")


# what `mjx.Data` has, and a rollout of the C engine does not return
_DERIVED = {
    "actuator_force",
    "actuator_length",
    "cam_xmat",
    "cam_xpos",
    "cdof",
    "cfrc_ext",
    "cfrc_int",
    "cinert",
    "contact",
    "cvel",
    "efc_force",
    "ncon",
    "qacc",
    "qfrc_actuator",
    "qfrc_bias",
    "qfrc_constraint",
    "qfrc_passive",
    "subtree_angmom",
    "subtree_linvel",
    "ten_length",
    "ten_velocity",
    "ximat",
}


def physics_of(data: MujocoData) -> Float[Array, "*n S"]:
    """MuJoCo's full physics state, in its order."""
    return jnp.concatenate([data.time[..., None], data.qpos, data.qvel, data.act, data.rest], axis=-1)


def mocap_of(data: MujocoData) -> Float[Array, "*n m"]:
    """Places and rotations of bodies that are moved from outside, in the order of the engine's inputs."""
    parts = (data.mocap_pos, data.mocap_quat)
    return jnp.concatenate([part.reshape(*part.shape[:-2], -1) for part in parts], axis=-1)


def with_physics(data: MujocoData, physics: Float[Array, "*n S"]) -> MujocoData:
    """Data with another full physics state."""
    mj = data.robot.mj
    ends = np.cumsum([1, mj.nq, mj.nv, mj.na])
    time, qpos, qvel, act, rest = jnp.split(physics, ends, axis=-1)
    return dataclasses.replace(data, time=time[..., 0], qpos=qpos, qvel=qvel, act=act, rest=rest)
