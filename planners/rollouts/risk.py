"""Risk measures: one number, in reward units, for the returns of a plan in several scenarios."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.base import Model, scenario_count
from ...dynamics.checks import real, scalar
from ...dynamics.pytrees import pytree, traceable
from ..checks import check_part
from ..options import checked


@runtime_checkable
class Risk(Protocol):
    """Maps the returns of a plan, one per scenario, to a certainty equivalent."""

    def __call__(self, returns: Float[Array, " M"]) -> Float[Array, ""]:
        """The certainty equivalent of returns [M], which are finite."""
        ...


def mean(returns: Float[Array, " M"]) -> Float[Array, ""]:
    """The expectation E[R]: risk neutral. Inside the exponential it makes the structured posterior, exp(E[R]/λ)."""
    return returns.mean()


def worst(returns: Float[Array, " M"]) -> Float[Array, ""]:
    """The return in the worst scenario."""
    return returns.min()


def best(returns: Float[Array, " M"]) -> Float[Array, ""]:
    """The return in the best scenario."""
    return returns.max()


@pytree
class Entropic:
    """(1/θ) log E[exp(θ R)] = E[R] + θ/2 Var[R] + …: averse for θ < 0, seeking for θ > 0.

    With θ = ρ/λ it places the expectation of the likelihood exp(R/λ): ρ = 0 inside the exponential (the structured
    posterior), ρ = 1 outside, E[exp(R/λ)] (the posterior that is optimistic about the noise).

    Attributes:
        theta: θ, a scalar, in units of 1/reward.
    """

    theta: Float[Array, ""]

    def __call__(self, returns: Float[Array, " M"]) -> Float[Array, ""]:
        """The entropic certainty equivalent, without overflow, to the last digits of what it adds to the mean."""
        mean = returns.mean()
        away = returns - mean
        exponent = self.theta * away
        # of either sign: by the rounding of the mean all may lie on one side of it
        small, great = jnp.abs(exponent).max() < 1e-2, jnp.abs(exponent).max() > 30.0
        # θ/2 κ₂ + θ²/6 κ₃, whose derivative is right at θ = 0 too
        series = away.mean() + (exponent * away).mean() / 2 + (exponent**2 * away).mean() / 6
        # what is not taken must be finite, and so its gradient; the mean of exp − 1 is never below 0 (Jensen)
        log_mean = jnp.where(
            great,
            jax.nn.logsumexp(jnp.where(great, exponent, 0.0)) - jnp.log(len(returns)),
            jnp.log1p(jnp.expm1(jnp.where(great, 0.0, exponent)).mean()),
        )
        return mean + jnp.where(small, series, log_mean / jnp.where(small, 1.0, self.theta))


@pytree
class ValueAtRisk:
    """The return that the share α of the scenarios does not exceed.

    Attributes:
        alpha: α in (0, 1], a scalar.
    """

    alpha: Float[Array, ""]

    def __call__(self, returns: Float[Array, " M"]) -> Float[Array, ""]:
        """The α-quantile inf {x: P(R ≤ x) ≥ α}, one of the returns."""
        size = len(returns)
        index = jnp.ceil(self.alpha * size * (1.0 - 1e-6)).astype(int) - 1
        return jnp.sort(returns)[jnp.clip(index, 0, size - 1)]


@pytree
class ConditionalValueAtRisk:
    """The mean of the worst share α of the scenarios (Rockafellar and Uryasev, 2000): 0⁺ is the worst, 1 the mean.

    Attributes:
        alpha: α in (0, 1], a scalar.
    """

    alpha: Float[Array, ""]

    def __call__(self, returns: Float[Array, " M"]) -> Float[Array, ""]:
        """Where α M is no integer, the last of the worst counts by its fraction."""
        tail = jnp.maximum(self.alpha * len(returns), 1e-6)
        share = jnp.clip(tail - jnp.arange(len(returns)), 0.0, 1.0)
        return (share * jnp.sort(returns)).sum() / share.sum()


def chance_constrained(probabilities: Float[Array, " C"], violations: Float[Array, "*K M C"]) -> Float[Array, "*K C"]:
    """What counts of violations in M scenarios: of each constraint the ⌈(1 − ε) M⌉-th smallest.

    Args:
        probabilities: ε, in which share of the scenarios a constraint may be violated.
        violations: in each scenario, along the last axis but one.
    """
    size, epsilon = violations.shape[-2], jnp.asarray(probabilities)
    number = jnp.ceil((1.0 - epsilon) * size * (1.0 - 1e-6)).astype(int)  # but for rounding
    place = jnp.clip(number - 1, 0, size - 1)
    ordered = jnp.sort(violations, axis=-2)
    return jnp.take_along_axis(ordered, jnp.broadcast_to(place, (*ordered.shape[:-2], 1, len(place))), -2)[..., 0, :]


def entropic(theta: Any) -> Entropic:
    """Make the entropic risk measure (1/θ) log E[exp(θ R)].

    Args:
        theta: θ, in units of 1/reward; below 0 averse, 0 the mean, above 0 seeking.

    Returns:
        The risk measure.

    Raises:
        ValueError: if θ is not finite.
    """
    return Entropic(real("theta", theta))


def value_at_risk(alpha: Any) -> ValueAtRisk:
    """Make the risk measure that takes the α-quantile of the returns.

    Args:
        alpha: α in (0, 1].

    Returns:
        The risk measure.

    Raises:
        ValueError: if α lies outside (0, 1].
    """
    return ValueAtRisk(real("alpha", alpha, above=0.0, maximum=1.0))


def conditional_value_at_risk(alpha: Any) -> ConditionalValueAtRisk:
    """Make the risk measure that takes the mean of the worst share α of the returns.

    Args:
        alpha: α in (0, 1].

    Returns:
        The risk measure.

    Raises:
        ValueError: if α lies outside (0, 1].
    """
    return ConditionalValueAtRisk(real("alpha", alpha, above=0.0, maximum=1.0))


def check_risk(risk: Risk | None, model: Model, num_scenarios: int | None) -> None:
    """Raise a `ValueError` if a risk measure has but one return to measure.

    Args:
        risk: the measure; None for the mean.
        model: whose number of scenarios counts where none is given.
        num_scenarios: given, or None.
    """
    if risk is not None and (num_scenarios or scenario_count(model) or 1) == 1:
        raise ValueError(
            "risk (and rho) compares the returns of a plan in several scenarios: give num_scenarios, or a model that "
            "has several, got 1"
        )


def as_risk(risk: Any) -> Risk | None:
    """Check what a user gave for a risk measure.

    Args:
        risk: one of "mean", "worst", "best"; or a function that maps returns [M] to a scalar (a callable pytree
            stays traced); or None.

    Returns:
        The risk measure; None for the mean.

    Raises:
        ValueError: if it is neither.
    """
    named: dict[str, Risk] = {"mean": mean, "worst": worst, "best": best}
    if isinstance(risk, str):
        if risk not in named:
            raise ValueError(f"risk must be one of {', '.join(named)}, or a risk measure, got {risk!r}")
        risk = named[risk]
    if risk is None or risk is mean:
        return None
    if risk in (entropic, value_at_risk, conditional_value_at_risk):
        raise ValueError(f"risk must be what planners.risk.{risk.__name__} returns: call it")
    return check_part("risk", risk if isinstance(risk, type) or not callable(risk) else traceable(risk), "__call__")


def risk_at(rho: Any, temperature: Any, standardize: bool = False) -> Any:
    """The risk measure that places the expectation over scenarios in or out of exp(R/λ).

    Args:
        rho: ρ: 0 inside, 1 outside; None for no risk measure.
        temperature: λ in reward units.
        standardize: whether λ is relative to the returns instead.

    Returns:
        log E[exp(ρ R/λ)] · λ/ρ as a measure, or None.

    Raises:
        ValueError: if ρ is given, but not the λ that it refers to.
    """
    if rho is None:
        return None
    if temperature is None or standardize:
        raise ValueError(f"rho needs a temperature in reward units, got rho={rho!r} and temperature={temperature!r}")
    return entropic(checked("rho", rho, required=True) / checked("temperature", temperature, required=True))


def across(risk: Risk | None, returns: Float[Array, "*K M"]) -> Float[Array, "*K"]:
    """The risk measure of returns over the scenarios; NaN where any of them is not finite."""
    valid = jnp.isfinite(returns).all(-1)
    finite = jnp.where(valid[..., None], returns, 0.0)
    if risk is None:
        return jnp.where(valid, finite.mean(-1), jnp.nan)
    values = jax.vmap(lambda own: scalar("what risk returns", risk(own)))(finite.reshape(-1, finite.shape[-1]))
    return jnp.where(valid, values.reshape(valid.shape), jnp.nan)
