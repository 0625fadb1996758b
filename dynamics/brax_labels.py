"""What Brax's coordinates and actuators are called, by the MuJoCo models that environments were loaded from."""

from typing import Any

_AXES = ("x", "y", "z")
_FREE, _BALL, _SLIDE = 0, 1, 2  # mujoco.mjtJoint


def coordinate_names(model: Any) -> tuple[str, ...] | None:
    """The names of the coordinates of a model's states; None where the environment has no names.

    Args:
        model: a `BraxModel`.
    """
    mj = _mujoco(model)
    if mj is None:
        return None
    env = model.env.unwrapped
    if env.backend in ("spring", "positional"):
        links = _unique([mj.body(i + 1).name or f"link {i}" for i in range(mj.nbody - 1)])
        kinds = [
            *(("{} (m)", _AXES), ("rotation {}", ("w", *_AXES))),
            *(
                ("angular velocity {} (rad/s)", _AXES),
                ("velocity {} (m/s)", _AXES),
            ),  # the order of `brax.base.Motion`
        ]
        return tuple(f"{link}: {text.format(axis)}" for text, axes in kinds for link in links for axis in axes)
    places: list[str] = []
    speeds: list[str] = []
    for i, name in enumerate(_unique([mj.joint(i).name or f"joint {i}" for i in range(mj.njnt)])):
        kind = int(mj.jnt_type[i])
        if kind in (_FREE, _BALL):
            if kind == _FREE:
                places += [f"{name}: {axis} (m)" for axis in _AXES]
                speeds += [f"{name}: velocity {axis} (m/s)" for axis in _AXES]
            places += [f"{name}: rotation {axis}" for axis in ("w", *_AXES)]
            speeds += [f"{name}: angular velocity {axis} (rad/s)" for axis in _AXES]
        else:
            unit = "m" if kind == _SLIDE else "rad"
            places.append(f"position: {name} ({unit})" if kind == _SLIDE else f"angle: {name} ({unit})")
            speeds.append(f"speed: {name} ({unit}/s)")
    return (*places, *speeds)


def actuator_names(model: Any) -> tuple[str, ...] | None:
    """The names of the actuators, or of the joints that they drive; None where the environment has no names.

    Args:
        model: a `BraxModel`.
    """
    mj = _mujoco(model)
    if mj is None or mj.nu != model.action_size:
        return None
    joints = [mj.joint(int(joint)).name if joint >= 0 else "" for joint in mj.actuator_trnid[:, 0]]
    return _unique([mj.actuator(i).name or joints[i] or f"actuator {i}" for i in range(mj.nu)])


def _mujoco(model: Any) -> Any:
    return getattr(getattr(getattr(model.env, "unwrapped", model.env), "sys", None), "mj_model", None)


def _unique(names: list[str]) -> tuple[str, ...]:
    """Names told apart by a number, where two are the same."""
    return tuple(
        f"{name} {names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)
    )
