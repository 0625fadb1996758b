"""Tempering: the exponential likelihood at temperatures that particles reach from iteration to iteration."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...dynamics.pytrees import pytree
from ..options import checked
from ..sampling.likelihoods import Optimality
from ..sampling.regrets import regrets
from ..sampling.scales import temperature_for_ess

_BISECTIONS, _FACTOR = 30, 4.0  # of the logarithm of 1/λ; how far it may move at once


@pytree
class Tempering:
    """W = exp(R/λ), step by step along a rollout. Make one with `tempering`.

    Particles of sequential Monte Carlo are weighed by the rewards that they have earned so far, so that the
    temperature must be known before the returns are: an iteration resamples at the temperature that the one before
    has reached, and weighs its surviving plans on to the next.

    Attributes:
        temperature: λ where it ends, a scalar, in reward units; None to adapt it.
        target_ess: what is left of the effective sample size from one temperature to the next, as a fraction, a
            scalar in (0, 1]; None to be at λ from the start, or to adapt it to `max_kl`.
        max_kl: KL(posterior ‖ proposal) to adapt λ to, nats, a scalar; None where one of the others is given.
    """

    temperature: Float[Array, ""] | None
    target_ess: Float[Array, ""] | None
    max_kl: Float[Array, ""] | None

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Refuse: temperatures are reached by particles."""
        raise ValueError("tempering needs a resampler; without one use planners.likelihoods.exponential(...)")

    def start(self, remembered: Float[Array, ""] | None) -> Float[Array, ""]:
        """1/λ at which the first iteration resamples: 0, which is the prior, where there is tempering.

        Args:
            remembered: 1/λ that the time step before has reached, a scalar; None where nothing remembers it.
        """
        if self.temperature is not None and self.target_ess is None:
            return 1.0 / self.temperature
        return jnp.zeros(()) if self.max_kl is None or remembered is None else remembered

    def cool(
        self,
        inverse: Float[Array, ""],
        log_weights: Float[Array, " K"],
        returns: Float[Array, " K"],
        log_evidence: Float[Array, ""],
        last: Bool[Array, ""],
    ) -> Float[Array, ""]:
        """1/λ of the next temperature.

        Args:
            inverse: 1/λ of this one.
            log_weights: of the surviving plans at this one, [K], normalised; −inf for those that count for nothing.
            returns: of the plans, [K].
            log_evidence: at this temperature.
            last: whether this is the last iteration, which must end where tempering ends.

        Returns:
            The greatest 1/λ that leaves enough of the effective sample size, or information, but not beyond the end.
        """
        if self.temperature is not None and self.target_ess is None:
            return inverse
        valid = log_weights > -jnp.inf
        best, regret, *_ = regrets(returns, valid)
        fraction = jnp.zeros(()) if self.target_ess is None else self.target_ess
        furthest = inverse + 1.0 / temperature_for_ess(regret, valid, fraction, jnp.exp(log_weights))
        if (budget := self.max_kl) is not None:
            # where p is q, KL(posterior ‖ q) = E[R]/λ − log Z grows with 1/λ; −regret is R but for a constant
            kl = functools.partial(_kl, inverse, log_weights, regret, log_evidence - inverse * best)
            return _greatest(lambda reached: kl(reached) <= budget, inverse, furthest, (regret > 0).any())
        if self.temperature is None:
            return furthest
        return jnp.where(last, 1.0 / self.temperature, jnp.minimum(furthest, 1.0 / self.temperature))


def tempering(temperature: Any = None, *, target_ess: Any = None, max_kl: Any = None) -> Tempering:
    """Make the likelihood of sequential Monte Carlo.

    Args:
        temperature: λ > 0 of the posterior, in reward units; None to adapt it.
        target_ess: what each iteration may take from the effective sample size, as the fraction in (0, 1] that is
            left: on the way from the prior to λ, where the last iteration ends in any case; without a temperature on
            and on, as far as the iterations go.
        max_kl: adapt the temperature so that the posterior is that far from the proposal, KL(posterior ‖ q) in nats,
            > 0: how much selection there is, whatever the unit of rewards. From one time step to the next it is
            remembered by a belief of particles. 2 unless one of the three is given.

    Returns:
        The likelihood.

    Raises:
        ValueError: for values outside these ranges, or `max_kl` beside one of the others.
    """
    for name, value in (("temperature", temperature), ("target_ess", target_ess)):
        if max_kl is not None and value is not None:
            raise ValueError(f"max_kl adapts the temperature: give it alone, got max_kl={max_kl!r}, {name}={value!r}")
    if temperature is None and target_ess is None and max_kl is None:
        max_kl = 2.0
    return Tempering(
        checked("temperature", temperature),
        checked("target_ess", target_ess),
        checked("max_kl", max_kl),
    )


def _kl(
    inverse: Float[Array, ""],
    log_weights: Float[Array, " K"],
    regret: Float[Array, " K"],
    log_evidence: Float[Array, ""],
    reached: Float[Array, ""],
) -> Float[Array, ""]:
    """KL(posterior ‖ q) at 1/λ = `reached`, nats, of plans and evidence at 1/λ = `inverse`, where p is q."""
    moved = jnp.where(log_weights > -jnp.inf, log_weights - (reached - inverse) * regret, -jnp.inf)
    log_total = jax.nn.logsumexp(moved)
    weights = jnp.exp(moved - log_total)
    return -reached * (weights * regret).sum() - (log_evidence + log_total)


def _greatest(
    holds: Callable[[Array], Bool[Array, ""]],
    inverse: Float[Array, ""],
    furthest: Float[Array, ""],
    some: Bool[Array, ""],
) -> Float[Array, ""]:
    """The greatest 1/λ near the present one for which `holds`, by bisection; if not `some`, the present one."""

    def bisect(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        ok = holds(jnp.exp(middle))
        return jnp.where(ok, middle, low), jnp.where(ok, high, middle)

    known = inverse > 0
    high = jnp.log(jnp.where(known, jnp.minimum(_FACTOR * inverse, furthest), furthest))
    low = jnp.where(known, jnp.log(jnp.where(known, inverse, 1.0) / _FACTOR), high - math.log(1e6))
    found = jnp.exp(jax.lax.fori_loop(0, _BISECTIONS, bisect, (low, high))[0])
    return jax.lax.stop_gradient(jnp.where(some, found, inverse))


def check_tempering(likelihood: Any, prior: Any) -> Tempering:
    """The likelihood, or a `ValueError` unless it can weigh particles under the prior."""
    if not isinstance(likelihood, Tempering):
        raise ValueError(
            f"a resampler needs the likelihood planners.particles.tempering(...), got {type(likelihood).__name__}"
        )
    if likelihood.max_kl is not None and prior is not None:
        raise ValueError(
            "prior needs a temperature or target_ess: max_kl, the default, adapts to the proposal instead"
        )
    return likelihood
