"""Rewards that are sums of terms."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from .base import HasRewardTerms, State
from .checks import scalar


def reward_terms(
    model: Any, state: State, action: Num[Array, "*a"], after: State
) -> Mapping[str, Float[Array, ""]] | None:
    """The terms of the reward of a step, by name.

    Args:
        model: any.
        state: the state before the step.
        action: on the scale of plans.
        after: the state after it.

    Returns:
        Name -> its part of the reward, a scalar; None for a model that does not tell them apart.
    """
    return model.reward_terms(state, action, after) if isinstance(model, HasRewardTerms) else None


def checked_terms(name: str, reward: Any) -> dict[str, Float[Array, ""]]:
    """The terms of what a user's function has returned, each a scalar; none for a number, which is all of it.

    Args:
        name: of the reward, for an error.
        reward: a number, or name -> number.

    Raises:
        ValueError: for a term that is no scalar number.
    """
    if not isinstance(reward, Mapping):
        return {}
    return {str(term): scalar(f"{name}[{term!r}]", value) for term, value in reward.items()}


def total(name: str, reward: Any) -> Float[Array, ""]:
    """A reward as one number: the sum of its terms, where it has some.

    Args:
        name: of the reward, for an error.
        reward: a number, or name -> number.

    Raises:
        ValueError: for what is no scalar number.
    """
    if not isinstance(reward, Mapping):
        return scalar(name, reward)
    terms = checked_terms(name, reward)
    return sum(terms.values(), start=jnp.zeros(()))
