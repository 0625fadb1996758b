"""Gaussian actions, independent or correlated in time."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.checks import boolean, real
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .locked import check_coloured, dimension, divisor, log_scale, where_free
from .moments import average, bias_correction, deviation
from .noise import Color, color, white_noise
from .protocol import Plan, Plans, continuous_shape
from .warm_start import Shifting


@pytree
class Gaussian:
    """q(a) = N(a; mean, std²), independent or correlated in time. Make one with `gaussian`.

    Attributes:
        mean: [H, A].
        std: [H, A]; 0 locks a number at its mean: no fit moves it, and densities are over the others.
        std_min: the floor below which a learnt std does not fall, a scalar.
        smoothing: the share of the old mean (and std, if learnt) that a fit keeps, in [0, 1), a scalar; None for 0.
        color: the correlation between steps, the same for every actuator; None where they are independent. A fit
            leaves it as it is.
        learn_std: whether a fit moves the std too, or the mean only.
        unbiased: whether a fit makes up for what a small effective sample takes from the variance.
        about_old_mean: whether a fit measures the variance about the mean before the fit, as evolution strategies do.
    """

    mean: Float[Array, "H A"]
    std: Float[Array, "H A"]
    std_min: Float[Array, ""]
    smoothing: Float[Array, ""] | None
    color: Color | None
    learn_std: bool = static()
    unbiased: bool = static()
    about_old_mean: bool = static()

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]."""
        return self.from_noise(self.noise(key, num_samples))

    def noise(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """White noise, [K, H, A]."""
        return white_noise(key, num_samples, self.mean)

    def from_noise(self, noise: Plans) -> Plans:
        """The plans that noise drives, each step by that of the steps up to it."""
        return self.mean + self.std * (noise if self.color is None else self.color.colour(noise))

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        z = self._whiten((plans - self.mean) / divisor(self.std))
        return -0.5 * (z**2).sum((-2, -1)) - self._log_det() - 0.5 * dimension(self.std) * jnp.log(2.0 * jnp.pi)

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan."""
        z = self._whiten((plans - self.mean) / divisor(self.std))
        return -0.5 * (z**2).sum(-1) - self._log_dets() - 0.5 * self._sizes() * jnp.log(2.0 * jnp.pi)

    def fit(self, plans: Plans, weights: Float[Array, " K *H"]) -> "Gaussian":
        """The moments of the weighted plans; steps that have weights of their own, all of them 0, stay as they are.

        Without a correlation in time they minimise the forward divergence. Under mirror descent with step size κ the
        mean then ends at that of the posterior for every κ, the variance at its marginal variance for κ = 1 and at
        that of the greatest ELBO, 1/Λᵢᵢ of its precision Λ, as κ → 0. Where steps are correlated the std is the
        marginal one at κ = 1 too, but below that falls short of both: for a posterior, use a full covariance or white
        noise.
        """
        weighed = True if weights.ndim == 1 else (weights.sum(0) > 0)[:, None]
        mean = jnp.where(weighed & (self.std != 0), average(weights, plans), self.mean)  # μ = Σ w a
        if not self.learn_std:
            return dataclasses.replace(self, mean=self._smooth(mean))
        around = self.mean if self.about_old_mean else mean
        variance = average(weights, (plans - around) ** 2)  # σ² = Σ w (a − μ)²
        if self.unbiased and not self.about_old_mean:
            variance *= bias_correction(weights)[..., None] if weights.ndim == 2 else bias_correction(weights)
        std = jnp.where(weighed, deviation(variance), self.std)
        if self.smoothing is not None:
            std = (1.0 - self.smoothing) * std + self.smoothing * self.std
        std = where_free(self.std, jnp.maximum(std, self.std_min), self.std)
        return dataclasses.replace(self, mean=self._smooth(mean), std=std)

    def mode(self) -> Plan:
        """The mean."""
        return self.mean

    def map_centers(self, function: Callable[[Plan], Plan]) -> "Gaussian":
        """The same around another mean."""
        return dataclasses.replace(self, mean=where_free(self.std, function(self.mean), self.mean))

    @property
    def locks(self) -> Bool[Array, "H A"]:
        """Where the std is 0."""
        return self.std == 0

    def locked(self, where: Bool[Array, "*H A"]) -> "Gaussian":
        """The same with a std of 0 there."""
        return dataclasses.replace(self, std=jnp.where(where, 0.0, self.std))

    def spread(self) -> Float[Array, " A"]:
        """The std, averaged over the steps."""
        return self.std.mean(0)

    @property
    def learns_spread(self) -> bool:
        """Whether fits change the std."""
        return self.learn_std

    def shift(self, initial: "Gaussian", how: Shifting) -> "Gaussian":
        """The mean later; the std as in `initial`, or carried on and inflated."""
        mean = where_free(initial.std, how.plans(self.mean, initial.mean), initial.mean)
        std = initial.std if how.inflation is None else deviation(how.variances(self.std**2, initial.std**2))
        std = where_free(initial.std, std, initial.std)
        return dataclasses.replace(initial, mean=mean, std=std)

    def entropy(self) -> Float[Array, ""]:
        """½ d log(2πe) + ½ log det Σ, nats."""
        return 0.5 * dimension(self.std) * jnp.log(2.0 * jnp.pi * jnp.e) + self._log_det()

    def kl(self, other: "Gaussian") -> Float[Array, ""]:
        """KL(self ‖ other), nats, over what moves in both; both of the same correlation in time, or none."""
        scale = self.std / divisor(other.std)  # S⁻¹ S' of each actuator, around the same correlation
        far = where_free(self.std, (self.mean - other.mean) / divisor(other.std), jnp.zeros_like(scale))
        if self.color is None:
            return 0.5 * (scale**2 + far**2 - (scale != 0) - 2.0 * log_scale(scale)).sum()
        far = self.color.whiten(far)
        return 0.5 * (self.color.excess(scale) + (far**2).sum() - dimension(scale)) - log_scale(scale).sum()

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan, [H·A, H·A]."""
        if self.color is None:
            return jnp.diag(self.std.reshape(-1) ** 2)
        std = self.std.reshape(-1)
        return std[:, None] * jnp.kron(self.color.correlation(), jnp.eye(self.std.shape[1])) * std

    def _whiten(self, z: Plans) -> Plans:
        """L⁻¹ z along the steps."""
        return z if self.color is None else self.color.whiten(z)

    def _log_det(self) -> Float[Array, ""]:
        """½ log det Σ."""
        return self._log_dets().sum()

    def _log_dets(self) -> Float[Array, " H"]:
        """The parts of each step in ½ log det Σ."""
        log_dets = log_scale(self.std).sum(-1)
        return log_dets if self.color is None else log_dets + self._sizes() * self.color.log_diagonal()

    def _sizes(self) -> Float[Array, " H"]:
        """How many numbers of each step move."""
        return (self.std != 0).sum(-1).astype(self.std.dtype)

    def _smooth(self, mean: Plan) -> Plan:
        if self.smoothing is None:
            return mean
        return where_free(self.std, (1.0 - self.smoothing) * mean + self.smoothing * self.mean, self.mean)


@pytree
class GaussianFamily:
    """Gaussians without a shape. Make one with `gaussian`, whose arguments the attributes are."""

    mean: Float[Array, "..."]
    std: Float[Array, "..."]
    std_min: Float[Array, ""]
    smoothing: Float[Array, ""] | None
    noise_exponent: Float[Array, ""] | None
    learn_std: bool = static()
    unbiased: bool = static()
    about_old_mean: bool = static()

    def bind(self, horizon: int, space: ActionSpace) -> Gaussian:
        """The belief over plans of `horizon` steps."""
        return self._of(horizon, space, None if self.noise_exponent is None else color(horizon, self.noise_exponent))

    def rebind(self, bound: Gaussian, space: ActionSpace) -> Gaussian:
        """The belief over plans of the same shape, with the correlation in time of `bound`: that takes a Cholesky."""
        if (bound.color is None) != (self.noise_exponent is None):
            return self.bind(len(bound.mean), space)
        return self._of(len(bound.mean), space, bound.color)

    def _of(self, horizon: int, space: ActionSpace, correlation: Color | None) -> Gaussian:
        shape = continuous_shape("a Gaussian belief", horizon, space)
        if correlation is not None:
            check_coloured(self.std)
        return Gaussian(
            mean=real("mean", self.mean, shape=shape),
            std=real("std", self.std, shape=shape),
            std_min=self.std_min,
            smoothing=self.smoothing,
            color=correlation,
            learn_std=self.learn_std,
            unbiased=self.unbiased,
            about_old_mean=self.about_old_mean,
        )


def gaussian(
    *,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.05,
    smoothing: Any = None,
    learn_std: bool = True,
    unbiased: bool = False,
    about_old_mean: bool = False,
    noise_exponent: Any = None,
) -> GaussianFamily:
    """Make the family of Gaussian actions, independent of each other, or correlated in time like coloured noise.

    Args:
        mean: scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: scalar, [A] or [H, A], > 0, in the same unit; 0 for some actuators locks them.
        std_min: the floor of a learnt std, > 0.
        smoothing: the share of the old parameters that a fit keeps, in [0, 1); None for none.
        learn_std: whether fits move the std too.
        unbiased: whether fits make up for what a small effective sample takes from the variance.
        about_old_mean: whether fits measure the variance about the mean before.
        noise_exponent: correlates the steps as noise of the spectrum 1/f^exponent, >= 0: 1 pink, 2 Brownian; None (or
            0, at some cost) for independent steps. Beyond 128 steps see `planners.beliefs.noise.color`.

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return GaussianFamily(
        mean=real("mean", mean, shape=None),
        std=checked("std", std, required=True),
        std_min=checked("std_min", std_min, required=True),
        smoothing=checked("smoothing", smoothing),
        noise_exponent=checked("noise_exponent", noise_exponent),
        learn_std=checked("learn_std", learn_std),
        unbiased=boolean("unbiased", unbiased),
        about_old_mean=boolean("about_old_mean", about_old_mean),
    )


def gaussian_prior(prior: Any, std: Any, **parameters: Any) -> Any:
    """The prior that a planner was given, or N(0, std²).

    Args:
        prior: any, or None.
        std: scalar, [A] or [H, A]; None for 1, and where a prior is given.
        **parameters: others of `gaussian`.

    Returns:
        The prior.

    Raises:
        ValueError: if both are given.
    """
    if prior is None:
        spread = checked("prior_std", 1.0 if std is None else std)
        return gaussian(std=spread, **parameters)
    if std is not None:
        raise ValueError(f"prior_std is of a Gaussian prior: give it or another prior, got {std!r}")
    return prior
