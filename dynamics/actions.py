"""The range of a model's actions: how far they have an effect."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from .base import HasBounds, Model, State, checked_step
from .spaces import Continuous, Discrete, action_space


def bounded(model: Any) -> bool | None:
    """Whether the actuators of a model have a range: actions beyond [-1, 1] then act like those at its ends.

    Args:
        model: any model.

    Returns:
        Whether they have; None where the model does not say (see `HasBounds`); `saturates` then tries it out.
    """
    return model.bounded if isinstance(model, HasBounds) else None


def taken(model: Model, action: Num[Array, "*a"]) -> Num[Array, "*a"]:
    """An action as the actuators take it: clipped to [-1, 1] where it is known that they have a range.

    Args:
        model: any model.
        action: on the scale of plans.
    """
    clips = bounded(model) and isinstance(action_space(model), Continuous)
    return jnp.clip(action, -1.0, 1.0) if clips else jnp.asarray(action)


def saturates(model: Model, state: State, otherwise: Any = False) -> Bool[Array, ""]:
    """Whether actions beyond [-1, 1] act like those at its ends in this state, found by trying some.

    Args:
        model: any model.
        state: one of its states.
        otherwise: the answer where actions have no effect at all in this state, a scalar.

    Returns:
        A scalar.
    """
    space = action_space(model)
    if isinstance(space, Discrete):
        raise ValueError(f"saturates is of continuous actions, {type(model).__name__} has {space}")
    size = space.size
    # a different value for each actuator, so that differences cannot cancel
    beyond = 1.0 + 0.25 * (1.0 + jnp.modf(0.618 * jnp.arange(1, size + 1))[0])
    tried = jnp.stack([jnp.ones(size), beyond, -jnp.ones(size), -beyond, jnp.zeros(size)])
    after = jax.vmap(lambda action: checked_step(model.step(jax.random.key(0), state, action)))(tried)

    def same(leaf: Any, left: Any, right: Any) -> Bool[Array, ""]:
        values = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.asarray(leaf)
        one, other = values[left], values[right]
        return ((one == other) | ((one != one) & (other != other))).all()  # NaN equals NaN here

    def all_same(left: list[int], right: list[int]) -> Bool[Array, ""]:
        places = jnp.asarray(left), jnp.asarray(right)
        return jnp.stack([same(leaf, *places) for leaf in jax.tree.leaves(after)]).all()

    return jnp.where(all_same([0, 2], [4, 4]), otherwise, all_same([0, 2], [1, 3]))


def action_limit(model: Model, state: State, otherwise: Any = True) -> Float[Array, ""] | None:
    """How far actions have an effect in either direction: 1, or None where there is no limit.

    Where the model does not say, it is tried out (see `saturates`); no limit is then an infinite one.

    Args:
        model: any model.
        state: one of its states.
        otherwise: whether there is a limit where that cannot be tried out, see `saturates`.

    Returns:
        A scalar, or None.
    """
    if isinstance(action_space(model), Discrete):
        return None
    known = bounded(model)
    if known is None:
        return jnp.where(saturates(model, state, otherwise), 1.0, jnp.inf)
    return jnp.ones(()) if known else None


def check_action(action: Any, action_size: int) -> Float[Array, " A"]:
    """Return `action` as a float array, or raise a `ValueError` that says which shape the model wants."""
    action = jnp.asarray(action, float)
    if action.shape != (action_size,):
        hint = " (of several: jax.vmap)" if action.ndim > 1 and action.shape[-1] == action_size else ""
        raise ValueError(f"action must have shape ({action_size},), got {action.shape}{hint}")
    return action


def check_choice(action: Any) -> Int[Array, ""]:
    """Return a discrete `action` as an integer array, or raise a `ValueError` unless it is one integer."""
    choice = jnp.asarray(action)
    if choice.shape != () or not jnp.issubdtype(choice.dtype, jnp.integer):
        hint = " (of several: jax.vmap)" if choice.ndim and jnp.issubdtype(choice.dtype, jnp.integer) else ""
        raise ValueError(f"action must be one integer, got {choice.dtype} of shape {choice.shape}{hint}")
    return choice


def to_range(action: Float[Array, " A"], low: Any, high: Any) -> Float[Array, " A"]:
    """Clip an action to [-1, 1], and map that affinely onto [`low`, `high`]: from the scale of plans to other units.

    Args:
        action: on the scale of plans, [A].
        low: what -1 stands for, scalar or [A].
        high: what 1 stands for, scalar or [A].

    Returns:
        The action in the units of `low` and `high`, [A].
    """
    return low + (jnp.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (high - low)


def from_range(values: Float[Array, " A"], low: Any, high: Any) -> Float[Array, " A"]:
    """The inverse of `to_range` between its ends: from other units to the scale of plans.

    Args:
        values: in the units of `low` and `high`, [A].
        low: what -1 stands for, scalar or [A].
        high: what 1 stands for, scalar or [A]; where it equals `low` there is nothing to choose, and the action is 0.

    Returns:
        The action on the scale of plans, [A], in [-1, 1].
    """
    half = 0.5 * (high - low)
    return jnp.clip(jnp.where(half == 0, 0.0, (values - low) / jnp.where(half == 0, 1.0, half) - 1.0), -1.0, 1.0)
