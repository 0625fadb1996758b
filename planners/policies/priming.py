"""What an amortised plan is for a sampling planner: its prior, and where its inference starts."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..beliefs.gaussian import Gaussian
from ..beliefs.locked import where_free
from ..beliefs.protocol import Plan, Wrapping, innermost
from ..beliefs.spline import Splined
from ..checks import name_of
from ..particles.belief import Particles
from ..sampling.incumbent import Incumbent
from ..sampling.loop import SamplingPlanner
from ..sampling.recentring import recentred


def tempered(
    plans: Gaussian, exponent: Float[Array, ""], std_min: Float[Array, ""], planner_belief: Any = None
) -> Gaussian:
    """The prior p ∝ q_φ^b, a Gaussian again: N(m, max(σ, floor)²/b).

    Args:
        plans: q_φ in a state.
        exponent: b, in (0, 1].
        std_min: the floor of σ.
        planner_belief: whose correlation in time p takes over, if it is a Gaussian that has one, so that neither is
            rough where the other is smooth; None for independent steps.
    """
    inner = innermost(planner_belief)
    correlation = inner.color if isinstance(inner, Gaussian) else None
    std = jnp.maximum(plans.std, std_min) / jnp.sqrt(exponent)
    return dataclasses.replace(plans, std=std, color=correlation)


def proposing(belief: Any) -> Any:
    """What draws plans, of a belief: of particles their proposal."""
    return belief.proposal if isinstance(belief, Particles) else belief


def moved(search: Incumbent, plans: Gaussian) -> Incumbent:
    """What a planner believes, around another plan, which takes the place of the best one, too.

    Where plans are drawn from a Gaussian over steps, it gets the standard deviations as well, none of them greater
    than where inference started; a full, Kronecker or annealed one gets the mean alone; mixtures stay as they are.

    Args:
        search: of a sampling planner.
        plans: around whose mean, over such plans.
    """
    initial = proposing(search.initial.belief)

    def around(belief: Any) -> Any:
        if isinstance(belief, Gaussian) and isinstance(initial, Gaussian):
            std = where_free(belief.std, jnp.minimum(plans.std, initial.std), belief.std)
            return dataclasses.replace(belief, mean=where_free(belief.std, plans.mean, belief.mean), std=std)
        return recentred(belief, plans.mean)

    belief = search.belief
    if isinstance(belief, Particles):
        belief = dataclasses.replace(belief, proposal=around(belief.proposal))
    else:
        belief = around(belief)
    return tried(dataclasses.replace(search, belief=belief), plans.mean)


def tried(search: Incumbent, plan: Plan) -> Incumbent:
    """With another plan in the place of the best one, whose return is not known."""
    unknown = jnp.full_like(search.best_return, -jnp.inf)
    return dataclasses.replace(search, plan=plan, best_return=unknown, residual=jnp.zeros_like(search.residual))


def check_wrapped(planner: Any) -> SamplingPlanner:
    """Return a planner that an amortised plan can be given to, or raise a `ValueError`."""
    if not isinstance(planner, SamplingPlanner):
        raise ValueError(
            "planner must be one that samples plans (vi_mpc, smc, mppi, cem, ...), without refine, and without "
            f"rest_steps, which planners.resting gives to what is around it; got {name_of(planner)}"
        )
    return planner


def check_over_steps(belief: Any) -> None:
    """Raise a `ValueError` for a belief over knots: a plan network is over steps."""
    while isinstance(belief, Wrapping):
        if isinstance(belief, Splined):
            raise ValueError("num_knots must not be given: a plan network is over steps, and its density, too")
        belief = belief.inner
