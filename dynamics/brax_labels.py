"""What Brax's coordinates and actuators are called, by the MuJoCo models that environments were loaded from."""

from typing import Any

from .mujoco_file import BALL, FREE, SLIDE, actuator_labels, told_apart

_AXES = ("x", "y", "z")


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
        links = told_apart([mj.body(i + 1).name or f"link {i}" for i in range(mj.nbody - 1)])
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
    for i, name in enumerate(told_apart([mj.joint(i).name or f"joint {i}" for i in range(mj.njnt)])):
        kind = int(mj.jnt_type[i])
        if kind in (FREE, BALL):
            if kind == FREE:
                places += [f"{name}: {axis} (m)" for axis in _AXES]
                speeds += [f"{name}: velocity {axis} (m/s)" for axis in _AXES]
            places += [f"{name}: rotation {axis}" for axis in ("w", *_AXES)]
            speeds += [f"{name}: angular velocity {axis} (rad/s)" for axis in _AXES]
        else:
            unit = "m" if kind == SLIDE else "rad"
            places.append(f"position: {name} ({unit})" if kind == SLIDE else f"angle: {name} ({unit})")
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
    return tuple(actuator_labels(mj))


def _mujoco(model: Any) -> Any:
    return getattr(getattr(getattr(model.env, "unwrapped", model.env), "sys", None), "mj_model", None)
