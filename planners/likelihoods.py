"""Optimality likelihoods W(R): how returns become weights."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..dynamics.base import pytree, real, static
from .base import Optimality
from .diagnostics import effective_sample_size

_BISECTIONS = 40  # of the logarithm of all positive floats: below the resolution of float32


@pytree
class Best:
    """All weight on the best plan: the limit of zero temperature."""

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        is_best = jnp.arange(len(returns)) == jnp.argmax(returns)
        return _indicator(is_best, returns)


@pytree
class Elite:
    """W = 1[R among the best n plans], n = fraction · K: the cross-entropy method (Rubinstein, 1999).

    Attributes:
        fraction: of the plans that are elite, in (0, 1], a scalar; at least two are.
    """

    fraction: Float[Array, ""]

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        num_samples = len(returns)
        num_elites = jnp.clip(jnp.round(self.fraction * num_samples), 2, num_samples)
        # by rank, not by a threshold on the returns: ties must not let everyone through
        rank = jnp.zeros(num_samples, int).at[jnp.argsort(-returns)].set(jnp.arange(num_samples))
        return _indicator(rank < num_elites, returns)


@pytree
class Exponential:
    """W = exp(R/λ): model predictive path integral control and variational inference (Williams et al., 2017).

    Attributes:
        temperature: λ, a scalar, in reward units; with `standardize` in standard deviations of the returns; None to
            adapt it.
        target_ess: the least temperature is taken whose effective sample size is this fraction of the plans with a
            finite return (but no fewer than two), a scalar in (0, 1]; None if the temperature is given. Gradients
            take the adapted temperature for a constant.
        standardize: divide returns by their standard deviation before.
    """

    temperature: Float[Array, ""] | None
    target_ess: Float[Array, ""] | None
    standardize: bool = static()

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        valid = jnp.isfinite(returns)
        best = jnp.where(valid.any(), jnp.max(returns), 0.0)
        regret = jnp.minimum(jnp.where(valid, best - returns, 0.0), jnp.finfo(returns.dtype).max)
        if self.temperature is None:
            assert self.target_ess is not None  # one of the two is given: see `exponential`
            temperature = _temperature_for_ess(regret, valid, self.target_ess)
        elif self.standardize:
            temperature = self.temperature * _spread(regret, valid)
        else:
            temperature = self.temperature
        # subtract, then divide: the other way round loses the digits that tell great returns apart
        log_weights = jnp.where(valid, -regret / temperature, -jnp.inf)
        return Optimality(log_weights, best / temperature, temperature)


def elite(fraction: Any) -> Elite:
    """Make the likelihood of CEM.

    Args:
        fraction: of the plans that are elite, in (0, 1].

    Returns:
        The likelihood.

    Raises:
        ValueError: if `fraction` lies outside (0, 1].
    """
    return Elite(real("elite_fraction", fraction, above=0.0, maximum=1.0))


def exponential(temperature: Any = None, *, target_ess: Any = None, standardize: bool = False) -> Exponential:
    """Make the likelihood of MPPI and variational inference; the temperature is raw, relative or adapted.

    Args:
        temperature: λ > 0 in reward units, or in standard deviations of the returns with `standardize`. None
            adapts it at each iteration.
        target_ess: the effective sample size to adapt to, as a fraction of the plans in (0, 1], but no fewer than
            two; 0.1 unless given.
        standardize: divide returns by their standard deviation first.

    Returns:
        The likelihood.

    Raises:
        ValueError: for values outside these ranges, or both a temperature and a target.
    """
    if temperature is not None and target_ess is not None:
        raise ValueError(
            f"target_ess adapts the temperature: give one of them, got {temperature!r} and {target_ess!r}"
        )
    if temperature is None and standardize:
        raise ValueError("standardize needs a temperature to apply to the standardised returns, got None")
    if temperature is None:
        target = real("target_ess", 0.1 if target_ess is None else target_ess, above=0.0, maximum=1.0)
        return Exponential(None, target, False)
    return Exponential(real("temperature", temperature, above=0.0), None, bool(standardize))


def _indicator(chosen: Bool[Array, " K"], returns: Float[Array, " K"]) -> Optimality:
    return Optimality(jnp.where(chosen & jnp.isfinite(returns), 0.0, -jnp.inf), jnp.zeros(()), None)


def _spread(regret: Float[Array, " K"], valid: Bool[Array, " K"]) -> Float[Array, ""]:
    """The standard deviation of the valid returns, without overflow; 1 where they are all equal."""
    scale = jnp.max(regret)
    unit = regret / jnp.where(scale > 0, scale, 1.0)
    num_valid = jnp.maximum(valid.sum(), 1)
    mean = unit.sum() / num_valid
    deviation = jnp.sqrt((jnp.where(valid, unit - mean, 0.0) ** 2).sum() / num_valid)
    return jnp.where(scale > 0, scale * deviation, 1.0)


def _temperature_for_ess(
    regret: Float[Array, " K"], valid: Bool[Array, " K"], fraction: Float[Array, ""]
) -> Float[Array, ""]:
    """The least temperature whose effective sample size reaches the target; 1 where all returns are equal.

    By bisection of its logarithm over all positive floats: whatever the unit of returns, and however bad the worst.
    """
    num_valid = valid.sum()
    target = jnp.maximum(fraction * num_valid, jnp.minimum(2.0, 0.5 * (1 + num_valid)))

    def bisect(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        weights = jnp.where(valid, jnp.exp(-regret / jnp.exp(middle)), 0.0)  # the best plan weighs 1
        enough = effective_sample_size(weights) >= target
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    limits = jnp.finfo(regret.dtype)
    bracket = tuple(jnp.asarray(x, regret.dtype) for x in (math.log(limits.tiny), math.log(limits.max) - 1.0))
    log_temperature = jax.lax.fori_loop(0, _BISECTIONS, bisect, bracket)[1]
    return jax.lax.stop_gradient(jnp.where(jnp.max(regret) > 0, jnp.exp(log_temperature), 1.0))
