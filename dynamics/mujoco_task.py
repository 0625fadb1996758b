"""What a user says of a MuJoCo model: where episodes begin and end, what they earn, and which actions there are."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .checks import integer, interval, number, scalar, truth, unknown
from .errors import of_part
from .mujoco_file import actuator_labels
from .pytrees import pytree, traceable
from .rewards import checked_terms, total

_CLAMP = 128  # mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
_TAKEN = {"reward": ("data", "action"), "terminate": ("data",), "value": ("data",), "reset": ("key", "data")}


@pytree
class Task:
    """The functions of a task. Make one with `make_task`.

    Attributes:
        reward: (data, action in the units of the actuators) -> scalar, or name -> scalar.
        terminate: data -> whether the episode ends, a boolean scalar, or words -> boolean scalar; None for never.
        value: data -> scalar; None for 0.
        reset: (key, data) -> data; None for where the file begins.
    """

    reward: Callable[..., Any]
    terminate: Callable[..., Any] | None
    value: Callable[..., Any] | None
    reset: Callable[..., Any] | None

    def earned(self, data: Any, control: Float[Array, " A"]) -> Float[Array, ""]:
        """The reward, a scalar."""
        return total("reward", _asked("reward", self.reward, data, control))

    def terms(self, data: Any, control: Float[Array, " A"]) -> Mapping[str, Float[Array, ""]] | None:
        """The terms of the reward; None where it is one number."""
        return checked_terms("reward", _asked("reward", self.reward, data, control)) or None

    def reasons(self, data: Any) -> Mapping[str, Bool[Array, ""]]:
        """Why the episode ends, in words -> whether it does."""
        if self.terminate is None:
            return {}
        ended = _asked("terminate", self.terminate, data)
        if not isinstance(ended, Mapping):
            return {"terminate": truth("terminate", ended)}
        return {str(reason): truth(f"terminate[{reason!r}]", happened) for reason, happened in ended.items()}

    def ended(self, data: Any) -> Bool[Array, ""]:
        """Whether the episode ends."""
        return jnp.any(jnp.stack([jnp.array(False), *self.reasons(data).values()]))

    def worth(self, data: Any) -> Float[Array, ""]:
        """The value, a scalar."""
        return jnp.zeros(()) if self.value is None else scalar("value", _asked("value", self.value, data))

    def placed(self, key: PRNGKeyArray, data: Any) -> Any:
        """The data where an episode begins."""
        return data if self.reset is None else _asked("reset", self.reset, key, data)


def _asked(name: str, function: Callable[..., Any], *given: Any) -> Any:
    """What a function of the user's returns.

    Raises:
        ValueError: for what it raises, with its name and the line.
    """
    try:
        return function(*given)
    except Exception as error:
        if (told := of_part(name, error)) is error:
            raise
        raise told from error


def make_task(reward: Any, terminate: Any, value: Any, reset: Any) -> Task:
    """Check the functions of a task.

    Raises:
        ValueError: for one that cannot be called as it is going to be.
    """
    given = {"reward": reward, "terminate": terminate, "value": value, "reset": reset}
    for name, function in given.items():
        if function is None and name != "reward":
            continue
        taken = _TAKEN[name]
        if not callable(function):
            raise ValueError(f"{name} must be a function of ({', '.join(taken)}), got {function!r}")
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # of what is not written in Python
            continue
        try:
            signature.bind(*taken)
        except TypeError as error:
            raise ValueError(f"{name} must take ({', '.join(taken)}), got {name}{signature}: {error}") from error
    parts = {name: None if function is None else traceable(function) for name, function in given.items()}
    return Task(**parts)  # type: ignore[arg-type]


def control_range(mj: Any, action_range: Any) -> tuple[Float[np.ndarray, " A"], Float[np.ndarray, " A"]]:
    """What actions of -1 and 1 stand for, in the units of the actuators.

    Args:
        mj: a `mujoco.MjModel`.
        action_range: (low, high), numbers or [A], in the place of what the file says; or names of actuators ->
            (low, high) for some of them; None for the file's `ctrlrange`.

    Returns:
        low and high, [A].

    Raises:
        ValueError: if an actuator has no range, or one is given that is none.
    """
    low, high = _range(mj, action_range)
    clamps = not mj.opt.disableflags & _CLAMP
    for i, label in enumerate(actuator_labels(mj)):
        least, most = mj.actuator_ctrlrange[i]
        if clamps and mj.actuator_ctrllimited[i] and (low[i] < least - 1e-6 or high[i] > most + 1e-6):
            raise ValueError(
                f"action_range must lie within the ctrlrange of {label!r}, [{least:g}, {most:g}], to which MuJoCo "
                f"clamps, got [{low[i]:g}, {high[i]:g}]"
            )
    return low, high


def _range(mj: Any, action_range: Any) -> tuple[Float[np.ndarray, " A"], Float[np.ndarray, " A"]]:
    labels = actuator_labels(mj)
    if mj.nu == 0:
        raise ValueError("model must have actuators for a planner to act, got one without")
    low, high = np.array(mj.actuator_ctrlrange, float).T.copy()
    limited = np.array(mj.actuator_ctrllimited, bool)
    if isinstance(action_range, Mapping):
        for name, given in action_range.items():
            if name not in labels:
                raise unknown("actuator", name, labels, of="action_range")
            i = labels.index(name)
            ends = interval(f"action_range[{name!r}]", given)
            low[i], high[i] = (float(end) for end in ends)
            limited[i] = True
    elif action_range is not None:
        low, high = (np.asarray(end, float) for end in interval("action_range", action_range, mj.nu))
        return low, high
    if not limited.all():
        names = [label for label, has in zip(labels, limited, strict=True) if not has]
        example = f"{{{names[0]!r}: (-1.0, 1.0)}}"
        raise ValueError(
            f"action_range must be given for actuators without a ctrlrange, {', '.join(names)}: such as "
            f"action_range={example}, in the units of their ctrl; or write ctrlrange into the file"
        )
    return low, high


def number_of_substeps(mj: Any, substeps: Any, control_dt: Any, planning: bool = False) -> int:
    """How many steps of the engine one step of the model takes.

    Args:
        mj: a `mujoco.MjModel`.
        substeps: their number, or None.
        control_dt: the duration of a step of the model, s, or None.
        planning: whether the timestep is one of `planning_options`.

    Raises:
        ValueError: if both are given, or `control_dt` is no multiple of the file's timestep.
    """
    timestep = float(mj.opt.timestep)
    if substeps is not None and control_dt is not None:
        raise ValueError(f"give either substeps or control_dt, got {substeps!r} and {control_dt!r}")
    if control_dt is None:
        return integer("substeps", 1 if substeps is None else substeps)
    wanted = number("control_dt", control_dt, above=0.0)
    steps = round(wanted / timestep)
    if steps < 1 or abs(steps * timestep - wanted) > 1e-6 * wanted:
        if planning:
            raise ValueError(
                f"planning_options['timestep'] must go into the duration of a step, {wanted:g} s, a whole number of "
                f"times, got {timestep:g}"
            )
        raise ValueError(
            f"control_dt must be a multiple of the model's timestep, {timestep:g} s, got {wanted:g}: "
            f"{max(steps, 1) * timestep:g} is one"
        )
    return steps
