"""Keeping beliefs near the actuators' range, beyond which all plans have the same effect."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.actions import action_limit
from ...dynamics.base import Model, State
from ..beliefs.protocol import has_center, range_of_centers, within
from ..rollouts.ends import reuse_noise
from .incumbent import Incumbent


def containment(
    model: Model, state: State, search: Incumbent, bounds: str | None
) -> tuple[Callable[[Any], Any], Float[Array, ""] | None]:
    """How beliefs are kept near the range of a model's actions.

    Args:
        model: whose actions are planned.
        state: where plans start.
        search: the belief, and where it started.
        bounds: "clip" keeps the centre of the belief near [-1, 1], "none" lets it go; None follows the model.

    Returns:
        A function of a belief, and the limit of actions, which is infinite where they have none; None where actions
        are discrete.
    """
    if search.limit is None:
        return _same, None
    limit = jnp.full_like(search.limit, jnp.inf)
    if bounds == "none":
        return _same, limit
    known = 1.0 if bounds == "clip" else action_limit(model, reuse_noise(state), search.limit < jnp.inf)
    if known is None:
        return _same, limit
    limit, initial = jnp.full_like(search.limit, known), search.initial.belief
    if not has_center(initial):
        return _same, limit
    most = jnp.where(limit < jnp.inf, range_of_centers(initial), jnp.inf)
    return lambda belief: within(belief, most), limit


def _same(belief: Any) -> Any:
    return belief
