"""How fast a state moves, and how far it is from a pose of rest."""

from typing import Any

from jaxtyping import Array, Float

from .base import HasDuration, HasMotion, HasPose, State
from .checks import scalar
from .coordinates import coordinates


def mean_squared_speed(model: Any, before: State, after: State) -> Float[Array, ""]:
    """The mean squared speed of a model after a step; 0 at rest.

    Args:
        model: whose `mean_squared_speed(state)` it is, where it has that (see `HasMotion`); of all others the mean
            square of the rates at which its coordinates have changed (the floating-point numbers of its state, unless
            it says otherwise), per second, or per step where a step has no duration.
        before: the state before the step.
        after: the state after it.

    Returns:
        A scalar, in (m/s)² where the model says so.

    Raises:
        ValueError: if the model does not say, and its state has no coordinates.
    """
    known = model.mean_squared_speed(after) if isinstance(model, HasMotion) else None
    if known is not None:
        return scalar("mean_squared_speed", known)
    change = coordinates(model, after) - coordinates(model, before)
    if change.size == 0:
        raise ValueError(
            "a model must have a speed (`dynamics.HasMotion`), or floating-point numbers in its state, for a speed "
            f"at rest other than 'any', got {type(model).__name__} with neither"
        )
    dt = model.dt if isinstance(model, HasDuration) else None
    return ((change if dt is None else change / dt) ** 2).mean()


def mean_squared_displacement(model: Any, state: State) -> Float[Array, ""]:
    """The mean squared distance of a state from the pose in which its model can stay at rest.

    Args:
        model: whose `mean_squared_displacement(state)` it is, see `HasPose`.
        state: any.

    Returns:
        A scalar, in m² where the model says so.

    Raises:
        ValueError: if the model has no such pose.
    """
    known = model.mean_squared_displacement(state) if isinstance(model, HasPose) else None
    if known is None:
        raise ValueError(
            "a model must have a pose of rest for distances from it, see `dynamics.HasPose`, "
            f"got {type(model).__name__} without one"
        )
    return scalar("mean_squared_displacement", known)
