"""Optimality likelihoods W(R): how returns become weights."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...dynamics.checks import boolean, integer
from ...dynamics.pytrees import pytree, static
from ..differentiation import undifferentiable
from ..options import checked
from .regrets import Regrets, regrets
from .scales import range_of_regrets, spread_of_regrets, temperature_for_ess, threshold_of_elite


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
            temperature = self.temperature * spread_of_regrets(*compared.scale, rounding)
        elif self.by_range:
            temperature = self.temperature * range_of_regrets(*compared.scale, rounding)
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
            gamma = threshold_of_elite(own, measured, self.fraction)
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


def _ordered(compared: Regrets) -> Float[Array, " K"]:
    return jnp.where(compared.valid, compared.regret, jnp.inf)


def _indicator(chosen: Bool[Array, " K"], compared: Regrets) -> Optimality:
    valid = compared.valid & (undifferentiable(compared.regret, _REFUSAL) < jnp.inf)
    return Optimality(jnp.where(chosen & valid, 0.0, -jnp.inf), jnp.zeros(()), None)
