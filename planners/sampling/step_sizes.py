"""How far an iteration goes towards the posterior: the step size κ of mirror descent.

q⁺ ∝ q^(1−κ) (p W)^κ: the weights are softmax(κ (log W + log p − log q)), one number on all three terms. Its fixed
point is the posterior p W for every κ in (0, 1]; κ = 1 jumps there, if the samples allow it.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...dynamics.pytrees import pytree
from ..options import checked
from .weights import log_normalize

_BISECTIONS, _LEAST_LOG = 40, -69.0  # of log κ, down to 1e-30


@runtime_checkable
class StepSize(Protocol):
    """Chooses κ for the log importance ratios of an iteration."""

    def __call__(
        self, log_ratios: Float[Array, " K"], log_base: Float[Array, " K"] | None = None, dimension: Any = 1
    ) -> Any:
        """The step size κ in (0, 1].

        Args:
            log_ratios: log W + log p − log q, [K], −inf for plans without weight.
            log_base: log-weights of the plans at κ = 0, [K], where they were not drawn from q; None for equal
                weights.
            dimension: how many numbers of a plan, or of its knots, are not locked.
        """
        ...


@pytree
class FixedStep:
    """The same κ in all iterations.

    Attributes:
        size: κ in (0, 1], a scalar.
    """

    size: Float[Array, ""]

    def __call__(
        self, log_ratios: Float[Array, " K"], log_base: Float[Array, " K"] | None = None, dimension: Any = 1
    ) -> Float[Array, ""]:
        """κ."""
        return self.size


@pytree
class EssStep:
    """The greatest κ ≤ 1 whose weights keep an effective sample size, as in tempered importance sampling.

    Of plans that were not drawn from q it is the conditional one, K (Σ b u)²/Σ b u², of the factors u = exp(κ lr) by
    which the step changes their weights b, Σ b = 1 (Zhou et al., 2016): what b itself costs, no step can give back.

    Attributes:
        target: the effective sample size, as a fraction of the plans that can have weight (but no fewer than two), a
            scalar in (0, 1]; None for the lesser of a tenth and as many plans as a plan has numbers: to keep more
            takes needlessly small steps where there are many plans.
        number: how many plans can have weight, where it is to be the fraction of all plans nevertheless; None for
            elsewhere.
    """

    target: Float[Array, ""] | None
    number: Int[Array, ""] | None = None

    def among(self, number: Int[Array, ""]) -> "EssStep":
        """The same effective sample size of fewer plans, those that keep to constraints; at most half of them."""
        return EssStep(self.target, number)

    def __call__(
        self, log_ratios: Float[Array, " K"], log_base: Float[Array, " K"] | None = None, dimension: Any = 1
    ) -> Float[Array, ""]:
        """κ by bisection: the effective sample size falls with κ."""
        fraction = self.target
        if fraction is None:
            fraction = jnp.minimum(0.1, jnp.maximum(dimension, 2) / jnp.asarray(len(log_ratios), float))
        if self.number is not None:
            share = fraction * len(log_ratios) / jnp.maximum(self.number, 1)
            fraction = jnp.clip(share, fraction, jnp.maximum(fraction, 0.5))

        def near(base: Float[Array, " K"], factors: Float[Array, " K"]) -> Bool[Array, ""]:
            number = (base > 0).sum()
            target = jnp.maximum(fraction * number, jnp.minimum(2.0, 0.5 * (1 + number)))
            return number * (base * factors).sum() ** 2 >= target * (base * factors**2).sum()

        return _greatest(log_ratios, log_base, near)


@pytree
class KlStep:
    """The greatest κ ≤ 1 that moves the belief no further than a trust region (as in REPS, Peters et al., 2010).

    Attributes:
        max_kl: the bound on KL(q⁺ ‖ q), estimated as Σ w log(w/b) with the weights b of plans before the step (1/K
            of those that were drawn from q), nats, a scalar > 0.
    """

    max_kl: Float[Array, ""]

    def __call__(
        self, log_ratios: Float[Array, " K"], log_base: Float[Array, " K"] | None = None, dimension: Any = 1
    ) -> Float[Array, ""]:
        """κ by bisection: the divergence of w ∝ b exp(κ lr) from b grows with κ."""

        def near(base: Float[Array, " K"], factors: Float[Array, " K"]) -> Bool[Array, ""]:
            total = (base * factors).sum()
            logs = jnp.log(jnp.where(factors > 0, factors, 1.0))
            return (base * factors * logs).sum() / total - jnp.log(total) <= self.max_kl

        return _greatest(log_ratios, log_base, near)


def step_size(size: Any = None, *, target_ess: Any = None, max_kl: Any = None) -> StepSize:
    """Make the step size of mirror descent; give one of the three.

    Args:
        size: κ in (0, 1], the same in all iterations.
        target_ess: take the greatest κ that keeps this effective sample size, as a fraction of the plans in (0, 1].
            If nothing is given, a tenth, or as many plans as a plan (or its knots) has numbers, if that is less.
        max_kl: take the greatest κ that moves the belief no further than this, nats, > 0.

    Returns:
        The step size.

    Raises:
        ValueError: for a value outside its range, or more than one.
    """
    given = [
        name for name, x in (("step_size", size), ("target_ess", target_ess), ("max_kl", max_kl)) if x is not None
    ]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} choose the step size: give one of them")
    if size is not None:
        return FixedStep(checked("step_size", size, required=True))
    if max_kl is not None:
        return KlStep(checked("max_kl", max_kl, required=True))
    return EssStep(checked("target_ess", target_ess))


def _greatest(
    log_ratios: Float[Array, " K"],
    log_base: Float[Array, " K"] | None,
    holds: Callable[[Float[Array, " K"], Float[Array, " K"]], Bool[Array, ""]],
) -> Float[Array, ""]:
    """The greatest κ ≤ 1 for which `holds` of b, Σ b = 1, and exp(κ lr), by bisection of its logarithm."""
    valid = jnp.isfinite(log_ratios)
    if log_base is not None:
        valid &= log_base > -jnp.inf
    some = valid.any()
    base = jnp.where(valid, 1.0 / jnp.maximum(valid.sum(), 1), 0.0)
    if log_base is not None:
        base = jnp.where(valid, jnp.exp(log_normalize(jnp.where(valid, log_base, -jnp.inf)).log_weights), 0.0)
    valid &= base > 0  # where b underflows, a plan has no weight
    regret = jnp.where(valid, jnp.max(jnp.where(valid, log_ratios, -jnp.inf)) - log_ratios, 0.0)

    def good(log_size: Float[Array, ""]) -> Bool[Array, ""]:
        return holds(base, jnp.exp(-jnp.exp(log_size) * regret))

    def bisect(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        ok = good(middle)
        return jnp.where(ok, middle, low), jnp.where(ok, high, middle)

    top = jnp.zeros((), log_ratios.dtype)
    low, _ = jax.lax.fori_loop(0, _BISECTIONS, bisect, (jnp.full_like(top, _LEAST_LOG), top))
    return jax.lax.stop_gradient(jnp.exp(jnp.where(good(top) | ~some, top, low)))
