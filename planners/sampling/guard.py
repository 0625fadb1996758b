"""What keeps to the constraints is executed: the plan of a belief if it does, or else the best that was found."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...dynamics.base import Model, State
from ..beliefs.protocol import Plan
from ..info import Info
from ..rollouts.settings import RolloutSettings
from .evaluation import Evaluation
from .incumbent import Incumbent
from .recentring import recentred

_OWN = 2**31 - 3  # what the key of an inference is folded with
UNCHECKED = ("sample", "component")  # what is executed without having been tried


def check_guarded(execute: str | None) -> None:
    """Raise a `ValueError` unless what is executed can be tried before."""
    if execute in UNCHECKED:
        raise ValueError(
            f"execute={execute!r} draws what it executes, which may violate the constraints of the model: "
            "let it be 'mode', 'mean' or 'best'"
        )


def guarded(
    rollouts: RolloutSettings,
    model: Model,
    key: Key[Array, ""],
    state: State,
    before: Plan,
    search: Incumbent,
    info: Info,
    executed: Callable[[Incumbent], Plan],
    contain: Callable[[Any], Any],
) -> tuple[Incumbent, Info]:
    """Try the plan that would be executed, the one of the time step before, and the best that was found, and choose.

    A mean of plans that pass an obstacle on either side goes through it, though none of them does. Where the belief's
    plan violates more than the best of the three, that is executed, and the belief goes on around it. All are tried
    in the same new scenarios: in those that it was found in the best of many plans was lucky.

    Args:
        rollouts: how plans are rolled out.
        model: what to imagine with.
        key: of the inference.
        state: where plans start.
        before: the best plan of the time step before, one step later.
        search: what was found.
        info: of that.
        executed: the plan that the planner would execute.
        contain: keeps beliefs near the actuators' range.
    """
    search = dataclasses.replace(search, guarded=jnp.zeros((), bool))
    own = executed(search)
    tried = jnp.stack([own, search.clipped(before), search.clipped(search.plan)])
    scores = rollouts.score(model, jax.random.fold_in(key, _OWN), state, tried)
    returns = jnp.where(jnp.isfinite(scores.returns), scores.returns, -jnp.inf)
    assert scores.violation is not None  # the model has constraints
    nothing, endless = jnp.full_like(search.best_return, -jnp.inf), jnp.full_like(scores.violation[0], jnp.inf)
    search = dataclasses.replace(search, best_return=nothing, violation=endless)
    search = search.challenged(tried, returns, scores.residual, scores.violation)
    worse = (jnp.asarray(search.violation) < scores.violation[0]) | ~(returns[0] > -jnp.inf)
    aside = contain(recentred(search.belief, search.clipped(search.plan)))
    belief = jax.tree.map(lambda kept, own: jnp.where(worse, kept, own), aside, search.belief)
    search = dataclasses.replace(search, belief=belief, guarded=worse)
    for name, value in (("best_return", search.best_return), ("violation", jnp.asarray(search.violation))):
        info = info.replacing(name, getattr(info, name).at[-1].set(value))
    executed_violation = jnp.where(worse, jnp.asarray(search.violation), scores.violation[0])
    return search, info.adding(executed_violation=executed_violation)


def measured(info: Info, plans: Evaluation, search: Incumbent, multiplier: Float[Array, ""] | None) -> Info:
    """`info` of an iteration, with what is known of violations; as it is where there are no constraints.

    Args:
        info: of the iteration.
        plans: that were weighed.
        search: after the iteration.
        multiplier: by which they were weighed.
    """
    if plans.violation is None or search.violation is None or plans.shown is None or multiplier is None:
        return info
    valid, cost = plans.returns > -jnp.inf, plans.violation
    return info.adding(
        violation=search.violation,
        mean_violation=jnp.where(plans.shown > 0, plans.shown * cost, 0.0).sum(),
        feasible=(valid & (cost <= 0)).mean(),
        multiplier=multiplier,
    )
