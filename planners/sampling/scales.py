"""Scales of returns: spread and range of the better ones, where the elite ends, a temperature for a sample size."""

import math
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .regrets import regrets

_BISECTIONS = 40  # of the logarithm of all positive floats: below the resolution of float32


def threshold_of_elite(
    regret: Float[Array, " K"], valid: Bool[Array, " K"], fraction: Float[Array, ""]
) -> Float[Array, ""]:
    """The least regret that is too great to be elite, 0 where ties leave none.

    Args:
        regret: by how much each plan's return falls short of the best, [K], finite.
        valid: which plans count, [K].
        fraction: of all plans that are elite, but no fewer than two.
    """
    num_samples = len(regret)
    number = jnp.clip(jnp.round(fraction * num_samples), 2, num_samples).astype(int)
    ordered = jnp.sort(jnp.where(valid, regret, jnp.inf))
    worst = jnp.max(regret)
    first = ordered[jnp.minimum(number, num_samples - 1)]
    # none is too great: a little above the worst, so that it counts
    return jnp.where((number < num_samples) & jnp.isfinite(first), first, worst * (1.0 + 1e-5))


def better_spread(returns: Float[Array, " K"], valid: Bool[Array, " K"]) -> Float[Array, ""]:
    """`spread_of_regrets` of returns.

    Args:
        returns: of plans, [K].
        valid: which of them count, [K]; their returns are finite.
    """
    compared = regrets(returns, valid)
    return spread_of_regrets(compared.regret, valid, compared.rounding)


def spread_of_regrets(
    regret: Float[Array, " K"], valid: Bool[Array, " K"], rounding: Float[Array, ""]
) -> Float[Array, ""]:
    """The standard deviation of returns, estimated from the better plans alone; 1 where all are equal.

    That of the best half, quarter and eighth, each divided by what it is of a standard normal distribution; of the
    three the least that is not 0. Plans worse than these, however many of the other half, and however bad (they have
    met an obstacle, or have fallen), change nothing.

    Args:
        regret: by how much each plan's return falls short of the best, [K], finite.
        valid: which plans count, [K].
        rounding: what of a regret may be rounding.
    """
    ordered = jnp.sort(jnp.where(valid, regret, jnp.inf))
    spreads = []
    for number, fraction in _windows(valid):
        inside = jnp.arange(len(regret)) < number
        scale = ordered[number - 1]  # against overflow
        scale = jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1.0)
        unit = jnp.where(inside & valid.any(), ordered / scale, 0.0)
        mean = unit.sum() / number
        variance = jnp.where(inside, (unit - mean) ** 2, 0.0).sum() / number
        deviation = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)  # √0 has no slope
        spreads.append(scale * deviation / _half_normal(fraction))
    return _least_positive(jnp.stack(spreads), regret, rounding)


def range_of_regrets(
    regret: Float[Array, " K"], valid: Bool[Array, " K"], rounding: Float[Array, ""]
) -> Float[Array, ""]:
    """The range of returns, estimated from the better plans alone; 1 where all are equal.

    That between the best plan and the end of the best half, quarter and eighth, times 2, 4 and 8; of the three the
    least that is not 0.

    Args:
        regret: by how much each plan's return falls short of the best, [K], finite.
        valid: which plans count, [K].
        rounding: what of a regret may be rounding.
    """
    ordered = jnp.sort(jnp.where(valid, regret, jnp.inf))
    ranges = [jnp.where(valid.any(), ordered[number - 1], 0.0) / fraction for number, fraction in _windows(valid)]
    return _least_positive(jnp.stack(ranges), regret, rounding)


def _windows(valid: Bool[Array, " K"]) -> list[tuple[Int[Array, ""], float]]:
    """How many of the valid plans the best half, quarter and eighth are, and which fraction; of 5 plans at least."""
    num_samples, num_valid = len(valid), jnp.maximum(valid.sum(), 1)
    sizes = dict.fromkeys(min(num_samples, max(5, math.ceil(num_samples / n))) for n in (2, 4, 8))
    fractions = [size / num_samples for size in sizes]
    numbers = [jnp.ceil(fraction * num_valid).astype(int) for fraction in fractions]
    return [
        (jnp.clip(number, jnp.minimum(2, num_valid), num_valid), fraction)
        for number, fraction in zip(numbers, fractions, strict=True)
    ]


def _half_normal(fraction: float) -> float:
    """The standard deviation of the greatest fraction of a standard normal distribution."""
    if fraction >= 1.0:
        return 1.0
    cut = NormalDist().inv_cdf(1.0 - fraction)
    hazard = NormalDist().pdf(cut) / fraction
    return math.sqrt(1.0 + cut * hazard - hazard**2)


def _least_positive(
    scales: Float[Array, " n"], regret: Float[Array, " K"], rounding: Float[Array, ""]
) -> Float[Array, ""]:
    """The least scale that is not 0 but for rounding; the greatest regret where the better plans tie; 1 if all do."""
    rounding = 2.0 * rounding + 1e3 * jnp.finfo(scales.dtype).tiny
    least = jnp.min(jnp.where(scales > rounding, scales, jnp.inf))
    worst = jnp.max(regret)
    return jnp.where(jnp.isfinite(least), least, jnp.where(worst > rounding, worst, 1.0))


def temperature_for_ess(
    regret: Float[Array, " K"],
    valid: Bool[Array, " K"],
    fraction: Float[Array, ""],
    base: Float[Array, " K"] | None = None,
) -> Float[Array, ""]:
    """The least temperature whose effective sample size reaches the target; 1 where all returns are equal.

    By bisection of its logarithm, whatever the unit of returns, and however bad the worst: from a hundredth of the
    least regret, below which nothing changes (enough plans may tie for the best), to the greatest float.

    Args:
        regret: by how much each plan's return falls short of the best, [K], finite.
        valid: which plans count, [K].
        fraction: of the plans that count, but no fewer than two.
        base: what plans weigh by themselves, [K]; the effective sample size is then the conditional one of Zhou et
            al. (2016), K (Σ b v)²/Σ b v² with Σ b = 1, of the factors v by which the temperature changes the weights.
            None for equal weights.

    Returns:
        The temperature, in the unit of `regret`; gradients take it for a constant.
    """
    share = valid / jnp.maximum(valid.sum(), 1) if base is None else jnp.where(valid, base, 0.0)
    num_valid = valid.sum()
    target = jnp.maximum(fraction * num_valid, jnp.minimum(2.0, 0.5 * (1 + num_valid)))

    def bisect(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        factors = jnp.where(valid, jnp.exp(-regret / jnp.exp(middle)), 0.0)  # that of the best plan is 1
        enough = num_valid * (share * factors).sum() ** 2 >= target * (share * factors**2).sum()
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    limits = jnp.finfo(regret.dtype)
    least = jnp.min(jnp.where(regret > 0, regret, limits.max))
    low = jnp.maximum(jnp.log(least) - math.log(100.0), math.log(limits.tiny) + 2.0)
    bracket = (low, jnp.full_like(low, math.log(limits.max) - 1.0))
    log_temperature = jax.lax.fori_loop(0, _BISECTIONS, bisect, bracket)[1]
    return jax.lax.stop_gradient(jnp.where(jnp.max(regret) > 0, jnp.exp(log_temperature), 1.0))
