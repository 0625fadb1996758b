"""Optimality likelihoods W(R): how returns become weights."""

import math
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...dynamics.checks import boolean, integer
from ...dynamics.pytrees import pytree, static
from ..differentiation import undifferentiable
from ..options import checked


class Optimality(NamedTuple):
    """The likelihood of each plan: log W(a) = log_weights + log_scale.

    Attributes:
        log_weights: [K]; −inf for plans that count for nothing. Their greatest is near 0, so that they can be
            exponentiated.
        log_scale: a scalar, the same for all plans, which only evidences need.
        temperature: by which returns were divided, in reward units; None for a likelihood without one.
    """

    log_weights: Float[Array, " K"]
    log_scale: Float[Array, ""]
    temperature: Float[Array, ""] | None


@runtime_checkable
class Likelihood(Protocol):
    """W(R), how likely a plan of return R is optimal."""

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K], which are finite, or −inf for plans that must get no weight."""
        ...


class Regrets(NamedTuple):
    """Returns, compared with the best of them.

    Attributes:
        best: the best return of those that count, 0 if none does.
        regret: by how much each falls short of it, [K], finite, 0 for those that do not count.
        valid: which plans count, [K].
        rounding: what of a regret may be rounding.
        measured: which plans tell the scale of returns, [K]: those that keep to a model's constraints, if there are
            some; None for all that count.
    """

    best: Float[Array, ""]
    regret: Float[Array, " K"]
    valid: Bool[Array, " K"]
    rounding: Float[Array, ""]
    measured: Bool[Array, " K"] | None = None

    @property
    def all_equal(self) -> Bool[Array, ""]:
        """Whether all plans are valid and their returns the same, but for rounding."""
        return self.valid.all() & (self.regret.max() <= self.rounding)

    def reference(self) -> Float[Array, ""]:
        """What to take away from returns that are great beside their differences: the best; from others nothing."""
        return jnp.where(self.rounding > 1e-4 * self.regret.max(), self.best, 0.0)

    @property
    def scale(self) -> tuple[Float[Array, " K"], Bool[Array, " K"]]:
        """The regrets of the plans that tell the scale of returns, relative to their best, and which they are."""
        if self.measured is None:
            return self.regret, self.valid
        least = jnp.min(jnp.where(self.measured, self.regret, jnp.inf), initial=jnp.inf)
        return jnp.where(self.measured, self.regret - least, 0.0), self.measured

    def share(self, fraction: Float[Array, ""]) -> Float[Array, ""]:
        """A fraction of the plans as one of those that tell the scale, but no more than half of few of these."""
        if self.measured is None:
            return fraction
        number = fraction * self.valid.sum() / jnp.maximum(self.measured.sum(), 1)
        return jnp.clip(number, fraction, jnp.maximum(fraction, 0.5))

    def share_of_rounding(self) -> Float[Array, ""]:
        """How much of the difference between best and worst may be rounding: 1 where several are equal."""
        worst = self.regret.max()
        equal = worst <= self.rounding
        several = (self.valid.sum() > 1).astype(worst.dtype)
        return jnp.where(equal, several, self.rounding / jnp.where(equal, 1.0, worst))


@runtime_checkable
class Comparing(Protocol):
    """A likelihood to which returns matter by their differences alone, which are known better than returns are."""

    def weigh(self, compared: Regrets) -> Optimality:
        """Weigh plans by their regrets."""
        ...


@runtime_checkable
class Ranking(Comparing, Protocol):
    """A likelihood to which the order of plans matters alone: constraints then come first, and returns after them."""

    @property
    def by_rank(self) -> bool:
        """Whether it is one."""
        ...


_NEARLY_ONE = 1e-6  # of r − 1: the q-exponential is the exponential to the resolution of float32
_REFUSAL = (
    "random_shooting, predictive_sampling, cem, icem and evolution have no derivatives: they choose plans by rank, "
    "which changes by leaps"
)
_BISECTIONS = 40  # of the logarithm of all positive floats: below the resolution of float32


@pytree
class Best:
    """All weight on the best plan: the limit of zero temperature."""

    @property
    def by_rank(self) -> bool:
        """By how much returns differ does not matter."""
        return True

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        return self.weigh(regrets(returns, jnp.isfinite(returns)))

    def weigh(self, compared: Regrets) -> Optimality:
        """Weigh plans by their regrets."""
        return _indicator(jnp.arange(len(compared.regret)) == jnp.argmin(_ordered(compared)), compared)


@pytree
class Elite:
    """W = 1[R among the best n plans], n = fraction · K: the cross-entropy method (Rubinstein, 1999).

    Attributes:
        fraction: of the plans that are elite, in (0, 1], a scalar; at least two are. None if their number is given.
        number: of the plans that are elite, a scalar; None if their fraction is given.
    """

    fraction: Float[Array, ""] | None
    number: Float[Array, ""] | None

    @property
    def by_rank(self) -> bool:
        """By how much returns differ does not matter."""
        return True

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        return self.weigh(regrets(returns, jnp.isfinite(returns)))

    def weigh(self, compared: Regrets) -> Optimality:
        """Weigh plans by their regrets."""
        num_samples = len(compared.regret)
        number = self.number if self.fraction is None else self.fraction * num_samples
        assert number is not None  # one of the two is given: see `elite`
        num_elites = jnp.clip(jnp.round(number), 2, num_samples)
        # by rank, not by a threshold on the returns: with ties a threshold would let all plans through
        rank = jnp.zeros(num_samples, int).at[jnp.argsort(_ordered(compared))].set(jnp.arange(num_samples))
        return _indicator(rank < num_elites, compared)


@pytree
class Exponential:
    """W = exp(R/λ): model predictive path integral control and variational inference (Williams et al., 2017).

    Attributes:
        temperature: λ, a scalar, in reward units; with `standardize` in standard deviations of the returns; None to
            adapt it.
        target_ess: the least temperature is taken whose effective sample size is this fraction of the plans with a
            finite return (but no fewer than two), a scalar in (0, 1]; None if the temperature is given. Gradients
            take the adapted temperature for a constant.
        standardize: divide returns by their standard deviation before, estimated from the better half of the plans:
            bad plans, however bad, do not change how good ones are weighed.
        by_range: divide returns by the difference of the greatest and the least before, estimated in the same way.
    """

    temperature: Float[Array, ""] | None
    target_ess: Float[Array, ""] | None
    standardize: bool = static()
    by_range: bool = static()

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        return self.weigh(regrets(returns, jnp.isfinite(returns)))

    def weigh(self, compared: Regrets) -> Optimality:
        """Weigh plans by their regrets."""
        best, regret, valid, rounding, _ = compared
        if self.temperature is None:
            assert self.target_ess is not None  # one of the two is given: see `exponential`
            temperature = temperature_for_ess(*compared.scale, compared.share(self.target_ess))
        elif self.standardize:
            temperature = self.temperature * _better_spread(*compared.scale, rounding)
        elif self.by_range:
            temperature = self.temperature * _better_range(*compared.scale, rounding)
        else:
            temperature = self.temperature
        # subtract, then divide: the other order loses the digits in which large returns differ
        log_weights = jnp.where(valid, -jnp.where(regret > 0, regret / temperature, 0.0), -jnp.inf)
        return Optimality(log_weights, best / temperature, temperature)


@pytree
class QExponential:
    """W = (1 − (R_max − R)/γ)₊^(1/(r−1)), the q-exponential of Tsallis (Wang et al., 2021, section IV-A).

    r → 1 is `Exponential` with λ = γ (r − 1), r → ∞ the indicator of R_max − R < γ: `Elite`.

    Attributes:
        r: the order, >= 1, a scalar.
        fraction: γ is such that this fraction of the plans (but no fewer than two) has weight, a scalar in (0, 1];
            None if the temperature is given.
        temperature: λ = γ (r − 1), a scalar, in reward units; None if the fraction is given.
    """

    r: Float[Array, ""]
    fraction: Float[Array, ""] | None
    temperature: Float[Array, ""] | None

    def __call__(self, returns: Float[Array, " K"]) -> Optimality:
        """Weigh plans by their returns [K]."""
        return self.weigh(regrets(returns, jnp.isfinite(returns)))

    def weigh(self, compared: Regrets) -> Optimality:
        """Weigh plans by their regrets."""
        best, regret, valid, *_ = compared
        order = self.r - 1.0
        exponential = order < _NEARLY_ONE
        order = jnp.where(exponential, 1.0, order)  # the branch that is not taken must be finite
        if self.temperature is not None:
            share = jnp.where(exponential | (regret == 0), 0.0, regret * (order / self.temperature))
            inside = share < 1.0
            limit = -regret / self.temperature
            log_scale = best / self.temperature
        else:
            assert self.fraction is not None  # one of the two is given: see `q_exponential`
            own, measured = compared.scale
            gamma = _threshold(own, measured, self.fraction)
            if compared.measured is not None:  # from the best of all on
                gamma += jnp.max(jnp.where(measured, regret - own, 0.0))
            share = jnp.where(regret > 0, regret / jnp.where(gamma > 0, gamma, 1.0), 0.0)
            inside = (regret < gamma) | (regret == 0)  # ties at the top: all of them, and no other
            limit = jnp.where(regret > 0, -jnp.inf, 0.0)
            log_scale = jnp.zeros(())
        # division may round up: what is inside has some weight left
        power = jnp.log1p(-jnp.where(inside, jnp.minimum(share, 1.0 - 1e-6), 0.0)) / order
        log_weights = jnp.where(exponential, limit, jnp.where(inside, power, -jnp.inf))
        return Optimality(jnp.where(valid, log_weights, -jnp.inf), log_scale, self.temperature)


def q_exponential(r: Any, *, elite_fraction: Any = None, temperature: Any = None) -> QExponential:
    """Make the likelihood of Tsallis variational inference.

    Args:
        r: the order, >= 1 (infinite too): 1 is exponential, infinity an indicator.
        elite_fraction: of the plans that have weight, in (0, 1], two at least; 0.1 unless given.
        temperature: λ > 0 in reward units instead, the scale near the best return.

    Returns:
        The likelihood.

    Raises:
        ValueError: for a value outside its range, or both scales.
    """
    if elite_fraction is not None and temperature is not None:
        raise ValueError(
            f"elite_fraction and temperature both set the scale: give one, got {elite_fraction!r} and {temperature!r}"
        )
    order = checked("r", r)
    if temperature is not None:
        return QExponential(order, None, checked("temperature", temperature, required=True))
    fraction = 0.1 if elite_fraction is None else elite_fraction
    return QExponential(order, checked("elite_fraction", fraction, required=True), None)


def elite(fraction: Any = None, *, num_elites: Any = None, num_samples: int | None = None) -> Elite:
    """Make the likelihood of CEM.

    Args:
        fraction: of the plans that are elite, in (0, 1]; 0.1 unless given.
        num_elites: their number instead, from 2 to `num_samples`.
        num_samples: the number K of plans, of which `num_elites` are elite.

    Returns:
        The likelihood.

    Raises:
        ValueError: for a value outside its range, or both a fraction and a number.
    """
    if num_elites is not None:
        if fraction is not None:
            raise ValueError(f"num_elites is elite_fraction in plans: give one, got {num_elites} and {fraction}")
        if checked("num_elites", num_elites, required=True) > integer("num_samples", num_samples, 2):
            raise ValueError(f"num_elites must be <= num_samples ({num_samples}), got {num_elites}")
        return Elite(None, jnp.asarray(num_elites, float))
    return Elite(checked("elite_fraction", 0.1 if fraction is None else fraction), None)


def exponential(
    temperature: Any = None, *, target_ess: Any = None, standardize: bool = False, by_range: bool = False
) -> Exponential:
    """Make the likelihood of MPPI and variational inference; the temperature is raw, relative or adapted.

    Args:
        temperature: λ > 0 in reward units, or in standard deviations of the returns with `standardize`. None
            adapts it at each iteration.
        target_ess: the effective sample size to adapt to, as a fraction of the plans in (0, 1], but no fewer than
            two; 0.1 unless given.
        standardize: divide returns by their standard deviation first, estimated from the better half of the plans
            (which the worst plans cannot change, however bad they are).
        by_range: divide returns by the difference of the greatest and the least first, estimated in the same way.

    Returns:
        The likelihood.

    Raises:
        ValueError: for values outside these ranges, both a temperature and a target, or both scales.
    """
    if temperature is not None and target_ess is not None:
        raise ValueError(
            f"target_ess adapts the temperature: give one of them, got {temperature!r} and {target_ess!r}"
        )
    standardize, by_range = checked("standardize", standardize), boolean("by_range", by_range)
    if standardize and by_range:
        raise ValueError("standardize and by_range both divide the returns: give one")
    if temperature is None and (standardize or by_range):
        name = "standardize" if standardize else "by_range"
        raise ValueError(f"{name} needs a temperature to apply to the scaled returns, got None")
    if temperature is None:
        target = checked("target_ess", 0.1 if target_ess is None else target_ess)
        return Exponential(None, target, False, False)
    return Exponential(checked("temperature", temperature, required=True), None, standardize, by_range)


def regrets(
    returns: Float[Array, " K"],
    valid: Bool[Array, " K"],
    residual: Float[Array, " K"] | None = None,
    num_rewards: Any = 1,
) -> Regrets:
    """Compare returns with the best of them.

    Args:
        returns: of plans, [K].
        valid: which of them count, [K]; their returns are finite.
        residual: what rounding has taken from the returns, [K]; None where that is not known.
        num_rewards: of how many rewards each is a sum, which with a residual rounds no further: then it is but each
            reward that is rounded, by chance up or down.
    """
    some = valid.any()
    best = jnp.where(some, jnp.max(jnp.where(valid, returns, -jnp.inf)), 0.0)
    regret = best - returns
    unit = jnp.finfo(returns.dtype).eps * jnp.abs(best)
    rounding = 8.0 * unit
    if residual is not None:
        # H rewards of one size, each off by up to half a unit of its own: two to five deviations of a difference
        rounding = unit / jnp.sqrt(jnp.asarray(num_rewards, float))
        regret = regret - residual
        regret = regret - jnp.where(some, jnp.min(jnp.where(valid, regret, jnp.inf)), 0.0)
    regret = jnp.minimum(jnp.where(valid, regret, 0.0), jnp.finfo(returns.dtype).max)
    return Regrets(best, regret, valid, rounding)


def _ordered(compared: Regrets) -> Float[Array, " K"]:
    return jnp.where(compared.valid, compared.regret, jnp.inf)


def _indicator(chosen: Bool[Array, " K"], compared: Regrets) -> Optimality:
    valid = compared.valid & (undifferentiable(compared.regret, _REFUSAL) < jnp.inf)
    return Optimality(jnp.where(chosen & valid, 0.0, -jnp.inf), jnp.zeros(()), None)


def _threshold(regret: Float[Array, " K"], valid: Bool[Array, " K"], fraction: Float[Array, ""]) -> Float[Array, ""]:
    """The least regret that is too great to be elite, 0 where ties leave none."""
    num_samples = len(regret)
    number = jnp.clip(jnp.round(fraction * num_samples), 2, num_samples).astype(int)
    ordered = jnp.sort(jnp.where(valid, regret, jnp.inf))
    worst = jnp.max(regret)
    first = ordered[jnp.minimum(number, num_samples - 1)]
    # none is too great: a little above the worst, so that it counts
    return jnp.where((number < num_samples) & jnp.isfinite(first), first, worst * (1.0 + 1e-5))


def better_spread(returns: Float[Array, " K"], valid: Bool[Array, " K"]) -> Float[Array, ""]:
    """The standard deviation of returns, estimated from the better plans alone; 1 where all are equal."""
    compared = regrets(returns, valid)
    return _better_spread(compared.regret, valid, compared.rounding)


def _better_spread(
    regret: Float[Array, " K"], valid: Bool[Array, " K"], rounding: Float[Array, ""]
) -> Float[Array, ""]:
    """The standard deviation of returns, estimated from the better plans alone; 1 where all are equal.

    That of the best half, quarter and eighth, each divided by what it is of a standard normal distribution; of the
    three the least that is not 0. Plans worse than these, however many of the other half, and however bad (they have
    met an obstacle, or have fallen), change nothing.
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


def _better_range(
    regret: Float[Array, " K"], valid: Bool[Array, " K"], rounding: Float[Array, ""]
) -> Float[Array, ""]:
    """The range of returns, estimated from the better plans alone; 1 where all are equal.

    That between the best plan and the end of the best half, quarter and eighth, times 2, 4 and 8; of the three the
    least that is not 0.
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
