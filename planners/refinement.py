"""Another planner goes on from where the loop ends, and its plan is taken if it is better."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..dynamics.base import Model, State
from .base import Plans, Refinement
from .families import Refined, recentred


@runtime_checkable
class Refiner(Protocol):
    """A planner that can go on from plans: `planners.gradient`, `planners.ilqr`."""

    @property
    def plan_shape(self) -> tuple[int, int]:
        """[H, A]."""
        ...

    @property
    def num_starts(self) -> int:
        """From how many plans it goes on."""
        ...

    def resume(self, model: Model, state: State, plans: Plans) -> Any:
        """The belief from which it goes on from so many plans."""
        ...

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Any]:
        """Go on."""
        ...


def refine(
    refiner: Refiner,
    model: Model,
    key: PRNGKeyArray,
    state: State,
    found: Any,
    before: Refined,
    worth: Callable[[Plans], Float[Array, " K"]],
) -> tuple[Refined, Refinement]:
    """Refine what the loop has found.

    The refiner starts from the better of the belief's mode and the plan of the time step before; if it takes several
    plans, from both, and samples of the belief. Of these two and what it finds the best is kept, so that a refined
    plan is never worse than one that is not, as far as the model can tell, and the belief is moved there.

    Args:
        refiner: what goes on.
        model: what to imagine with.
        key: of all that is random.
        state: where plans start.
        found: the belief that the loop has found.
        before: what was believed before it.
        worth: the returns of plans, in the same scenarios at every call; −∞ or NaN for those that have none.

    Returns:
        The belief, and what came of it.
    """
    sample_key, refine_key = jax.random.split(key)
    known = jnp.stack([found.mode(), before.plan])
    values = worth(known)
    starts = known[jnp.argsort(-jnp.where(jnp.isfinite(values), values, -jnp.inf))]
    if refiner.num_starts > 2:
        starts = jnp.concatenate([starts, found.sample(sample_key, refiner.num_starts - 2)])
    belief, info = refiner.improve(
        model, refine_key, state, refiner.resume(model, state, starts[: refiner.num_starts])
    )
    candidates = jnp.concatenate([known, belief.mode()[None]])
    values = worth(candidates)
    values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
    best = jnp.argmax(values)
    plan = candidates[best]
    told = Refinement(worth=values, accepted=best == 2, info=info)
    return Refined(recentred(found, plan), plan), told
