"""What an amortised plan is for a sampling planner: its prior, and where its inference starts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..beliefs.full import FullGaussian
from ..beliefs.gaussian import Gaussian
from ..beliefs.locked import locked_tril, where_free
from ..beliefs.mixture import Mixture
from ..beliefs.moments import factor
from ..beliefs.protocol import HasModes, Plan, Plans, Wrapping, innermost
from ..beliefs.spline import Splined
from ..checks import name_of
from ..particles.belief import Particles
from ..sampling.incumbent import Incumbent
from ..sampling.loop import SamplingPlanner
from ..sampling.recentring import recentred


def tempered(plans: Any, exponent: Float[Array, ""], std_min: Float[Array, ""], planner_belief: Any = None) -> Any:
    """The prior p ∝ q_φ^b of the same family: N(m, max(σ, floor)²/b).

    Of a mixture that of each component, whose weights become π^b |σ|^(1−b): exact where they do not overlap.

    Args:
        plans: q_φ in a state, a `Gaussian`, `FullGaussian` or `Mixture`.
        exponent: b, in (0, 1].
        std_min: the floor of σ, of a full Gaussian in any direction.
        planner_belief: whose correlation in time p takes over, if both are Gaussians with independent actuators, so
            that neither is rough where the other is smooth; None for independent steps.
    """
    wider = 1.0 / jnp.sqrt(exponent)
    if isinstance(plans, FullGaussian):
        tril = factor(plans.covariance(), plans.scale_tril, std_min**2)
        return dataclasses.replace(plans, scale_tril=wider * tril)
    if isinstance(plans, Mixture):
        stds = jnp.maximum(plans.stds, std_min)
        log_weights = exponent * plans.log_weights + (1.0 - exponent) * jnp.log(stds).sum((-2, -1))
        return dataclasses.replace(plans, stds=wider * stds, log_weights=jax.nn.log_softmax(log_weights))
    inner = innermost(planner_belief)
    correlation = inner.color if isinstance(inner, Gaussian) else None
    return dataclasses.replace(plans, std=wider * jnp.maximum(plans.std, std_min), color=correlation)


def ways(plans: Any) -> Plans:
    """The modes of what a network says, [M, H, A], one of most.

    Args:
        plans: q_φ in a state.
    """
    return plans.modes()[0] if isinstance(plans, HasModes) else plans.mode()[None]


def proposing(belief: Any) -> Any:
    """What draws plans, of a belief: of particles their proposal."""
    return belief.proposal if isinstance(belief, Particles) else belief


def moved(search: Incumbent, plans: Any, way: Int[Array, ""] | None = None) -> Incumbent:
    """What a planner believes, around another plan, which takes the place of the best one, too.

    Where both are Gaussians of one kind, it gets the standard deviations as well, none of them greater than where
    inference started; a mixture of as many components gets all of them; others get the mean alone, and mixtures of
    another number stay as they are.

    Args:
        search: of a sampling planner.
        plans: q_φ in a state, over such plans.
        way: around which of its modes; None for that of `mode()`.
    """
    number = jnp.argmax(plans.log_weights) if way is None and isinstance(plans, Mixture) else way
    initial, plan = proposing(search.initial.belief), plans.mode() if number is None else ways(plans)[number]

    def around(belief: Any) -> Any:
        match belief, initial, plans:
            case Gaussian(), Gaussian(), Gaussian() | Mixture():
                own = plans.std if isinstance(plans, Gaussian) else plans.stds[number]
                std = where_free(belief.std, jnp.minimum(own, initial.std), belief.std)
                return dataclasses.replace(belief, mean=where_free(belief.std, plan, belief.mean), std=std)
            case FullGaussian(), FullGaussian(), FullGaussian():
                least = jnp.minimum(1.0, _marginal(initial) / _marginal(plans))
                scale = jnp.diagonal(belief.scale_tril)
                tril = locked_tril(least[:, None] * plans.scale_tril, scale)
                return dataclasses.replace(recentred(belief, plan), scale_tril=tril)
            case Mixture(), _, Mixture() if belief.means.shape == plans.means.shape:
                stds = where_free(belief.stds, jnp.minimum(plans.stds, initial.start_std), belief.stds)
                means = where_free(belief.stds, plans.means, belief.means)
                return dataclasses.replace(belief, means=means, stds=stds, log_weights=plans.log_weights)
        return recentred(belief, plan)

    belief = search.belief
    if isinstance(belief, Particles):
        belief = dataclasses.replace(belief, proposal=around(belief.proposal))
    else:
        belief = around(belief)
    return tried(dataclasses.replace(search, belief=belief), plan)


def _marginal(plans: FullGaussian) -> Float[Array, " d"]:
    """The standard deviation of each number."""
    return jnp.sqrt((plans.scale_tril**2).sum(1))


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
