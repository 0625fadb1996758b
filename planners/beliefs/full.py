"""Gaussian plans with any covariance."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.checks import real
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .locked import check_coloured, dimension, locked_tril, log_scale, marginal_tril, where_free
from .moments import average, bias_correction, factor, shrunk, square
from .noise import coloured_correlation, white_noise
from .protocol import Plan, Plans, continuous_shape
from .triangular import triangular_inverse
from .warm_start import Shifting, inflated


@pytree
class FullGaussian:
    """q(a) = N(a; mean, L Lᵀ) over flattened plans. Make one with `full_gaussian`.

    Attributes:
        mean: [H, A].
        scale_tril: L, lower triangular, [d, d] with d = H · A, step by step; rows and columns of 0 lock a number at
            its mean: no fit moves it, and densities are over the others.
        std_min: the least standard deviation in any direction, below which no fit goes, a scalar.
        smoothing: the share of the old mean and covariance that a fit keeps, in [0, 1), a scalar; None for 0.
    """

    mean: Float[Array, "H A"]
    scale_tril: Float[Array, "d d"]
    std_min: Float[Array, ""]
    smoothing: Float[Array, ""] | None

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]."""
        return self.from_noise(self.noise(key, num_samples))

    def noise(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """White noise, [K, H, A]."""
        return white_noise(key, num_samples, self.mean)

    def from_noise(self, noise: Plans) -> Plans:
        """The plans that noise drives, each step by that of the steps up to it."""
        deviations = jnp.matmul(noise.reshape(len(noise), -1), self.scale_tril.T, precision="highest")
        return self.mean + deviations.reshape(noise.shape)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        z = self._whiten(plans)
        return -0.5 * (z**2).sum((-2, -1)) - self._log_det() - 0.5 * dimension(self._diagonal) * jnp.log(2.0 * jnp.pi)

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan."""
        scales = self._diagonal.reshape(self.mean.shape)
        z, sizes = self._whiten(plans), (scales != 0).sum(-1)
        return -0.5 * (z**2).sum(-1) - log_scale(scales).sum(-1) - 0.5 * sizes * jnp.log(2.0 * jnp.pi)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "FullGaussian":
        """The moments of the weighted plans, which minimise the forward divergence; exact for every step size κ.

        The covariance Σ is unbiased, and shrunk towards its diagonal, (1 − s) Σ + s diag Σ with s = 1 − ESS/(2d),
        where the effective sample size is less than twice the d numbers of a plan. Its eigenvalues are at least
        `std_min`².
        """
        mean = average(weights, plans)  # μ = Σ w a
        flat = (plans - mean).reshape(len(plans), -1)
        covariance = jnp.einsum("k,ki,kj->ij", weights, flat, flat, precision="highest") * bias_correction(weights)
        covariance = shrunk(covariance, 1.0 / (weights**2).sum(), dimension(self._diagonal))
        if self.smoothing is not None:
            mean = (1.0 - self.smoothing) * mean + self.smoothing * self.mean
            covariance = (1.0 - self.smoothing) * covariance + self.smoothing * self.covariance()
        return dataclasses.replace(self, mean=self._moved(mean), scale_tril=self._factor(covariance, self.std_min))

    def mode(self) -> Plan:
        """The mean."""
        return self.mean

    def map_centers(self, function: Callable[[Plan], Plan]) -> "FullGaussian":
        """The same around another mean."""
        return dataclasses.replace(self, mean=self._moved(function(self.mean)))

    @property
    def locks(self) -> Bool[Array, "H A"]:
        """Where the diagonal of L is 0."""
        return self._diagonal.reshape(self.mean.shape) == 0

    def spread(self) -> Float[Array, " A"]:
        """The standard deviations, averaged over the steps."""
        return jnp.sqrt((self.scale_tril**2).sum(1)).reshape(self.mean.shape).mean(0)

    @property
    def learns_spread(self) -> bool:
        """Fits change the covariance."""
        return True

    def shift(self, initial: "FullGaussian", how: Shifting) -> "FullGaussian":
        """The mean later; the covariance as in `initial`, or carried on and inflated."""
        mean = initial._moved(how.plans(self.mean, initial.mean))
        if how.inflation is None:
            return dataclasses.replace(initial, mean=mean)
        first = initial.covariance()
        covariance = inflated(how.carried(self.covariance(), first, self.mean.shape[1]), first, how.inflation)
        return dataclasses.replace(initial, mean=mean, scale_tril=initial._factor(covariance, 1e-3 * self.std_min))

    def entropy(self) -> Float[Array, ""]:
        """½ d log(2πe) + ½ log det Σ, nats."""
        return 0.5 * dimension(self._diagonal) * jnp.log(2.0 * jnp.pi * jnp.e) + self._log_det()

    def kl(self, other: "FullGaussian") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        # of the numbers that move in both
        own = marginal_tril(self.scale_tril, other._diagonal)
        others = marginal_tril(other.scale_tril, self._diagonal)
        both = jnp.concatenate([own, (self.mean - other.mean).reshape(-1, 1)], axis=1)
        white = jnp.matmul(triangular_inverse(others), both, precision="highest")
        scale = jnp.diagonal(own)
        log_dets = log_scale(jnp.diagonal(others)).sum() - log_scale(scale).sum()
        return 0.5 * ((white**2).sum() - dimension(scale)) + log_dets

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan, [H·A, H·A]."""
        return square(self.scale_tril)

    def _whiten(self, plans: Plans) -> Plans:
        """L⁻¹ (a − mean)."""
        flat = (plans - self.mean).reshape(len(plans), -1)
        inverse = triangular_inverse(self.scale_tril)
        return jnp.matmul(flat, inverse.T, precision="highest").reshape(plans.shape)

    def _log_det(self) -> Float[Array, ""]:
        """½ log det Σ."""
        return log_scale(self._diagonal).sum()

    @property
    def _diagonal(self) -> Float[Array, " d"]:
        return jnp.diagonal(self.scale_tril)

    def _moved(self, mean: Plan) -> Plan:
        return where_free(self._diagonal.reshape(mean.shape), mean, self.mean)

    def _factor(self, covariance: Float[Array, "d d"], floor: Float[Array, ""]) -> Float[Array, "d d"]:
        """L of Σ, whose least standard deviation is `floor`; the present one should Σ be no matrix of numbers."""
        return factor(covariance, self.scale_tril, floor**2)


@pytree
class FullGaussianFamily:
    """Gaussians of any covariance without a shape. Make one with `full_gaussian`, whose arguments these are."""

    mean: Float[Array, "..."]
    std: Float[Array, "..."]
    std_min: Float[Array, ""]
    smoothing: Float[Array, ""] | None
    noise_exponent: Float[Array, ""] | None

    def bind(self, horizon: int, space: ActionSpace) -> FullGaussian:
        """The belief over plans of `horizon` steps."""
        shape = continuous_shape("a Gaussian belief", horizon, space)
        deviations = real("std", self.std, shape=shape)
        scale_tril = jnp.eye(deviations.size)
        if self.noise_exponent is not None:
            check_coloured(self.std)
            correlation = coloured_correlation(horizon, self.noise_exponent)
            scale_tril = jnp.kron(jnp.linalg.cholesky(correlation), jnp.eye(shape[1]))
        return FullGaussian(
            mean=real("mean", self.mean, shape=shape),
            scale_tril=locked_tril(deviations.reshape(-1, 1) * scale_tril, deviations.reshape(-1)),
            std_min=self.std_min,
            smoothing=self.smoothing,
        )


def full_gaussian(
    *,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.01,
    smoothing: Any = None,
    noise_exponent: Any = None,
) -> FullGaussianFamily:
    """Make the family of Gaussians whose covariance is learnt in full, from more than H · A effective plans at best.

    Args:
        mean: scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: at the start, scalar, [A] or [H, A], > 0, in the same unit; 0 for some actuators locks them.
        std_min: the least standard deviation in any direction, > 0: fits raise lower eigenvalues of the covariance
            to its square, and change nothing else.
        smoothing: the share of the old mean and covariance that a fit keeps, in [0, 1); None for none.
        noise_exponent: correlates the steps at the start as noise of the spectrum 1/f^exponent, >= 0; None for
            independent steps.

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return FullGaussianFamily(
        mean=real("mean", mean, shape=None),
        std=checked("std", std, required=True),
        std_min=checked("std_min", std_min, required=True),
        smoothing=checked("smoothing", smoothing),
        noise_exponent=checked("noise_exponent", noise_exponent),
    )
