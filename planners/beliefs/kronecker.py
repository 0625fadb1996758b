"""Gaussian plans whose covariance is a product: one between steps, one between actuators."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.checks import real
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .locked import dimension, log_scale, marginal_tril, where_free
from .moments import average, bias_correction, factor, shrunk, square
from .noise import coloured_correlation, white_noise
from .protocol import Plan, Plans, continuous_shape
from .triangular import triangular_inverse
from .warm_start import Shifting

_LEAST_CORRELATION = 1e-4  # eigenvalue of the correlation between steps, whose mean is 1


@pytree
class KroneckerGaussian:
    """q(a) = N(a; mean, C ⊗ Σ), the matrix normal distribution. Make one with `kronecker_gaussian`.

    Attributes:
        mean: [H, A].
        time_tril: of the correlation C between steps, lower triangular, [H, H]; the mean of C's diagonal is 1.
        action_tril: of the covariance Σ between actuators, lower triangular, [A, A]; a row and column of 0 lock an
            actuator at its mean: no fit moves it, and densities are over the others.
        std_min: the least standard deviation of actions, in any direction, averaged over the steps; a scalar.
        smoothing: the share of the old mean and factors that a fit keeps, in [0, 1), a scalar; None for 0.
    """

    mean: Float[Array, "H A"]
    time_tril: Float[Array, "H H"]
    action_tril: Float[Array, "A A"]
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
        return self.mean + jnp.einsum("hs,ksb,ab->kha", self.time_tril, noise, self.action_tril, precision="highest")

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        z = _solve_steps(self.time_tril, _solve_actuators(self.action_tril, plans - self.mean))
        return -0.5 * (z**2).sum((-2, -1)) - self._log_det() - 0.5 * self._dimension() * jnp.log(2.0 * jnp.pi)

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan."""
        z = _solve_steps(self.time_tril, _solve_actuators(self.action_tril, plans - self.mean))
        scales = jnp.diagonal(self.action_tril)
        size = dimension(scales)
        log_dets = size * jnp.log(jnp.diagonal(self.time_tril)) + log_scale(scales).sum()
        return -0.5 * (z**2).sum(-1) - log_dets - 0.5 * size * jnp.log(2.0 * jnp.pi)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "KroneckerGaussian":
        """The weighted mean, and one round of the alternation that maximises the likelihood of the two factors.

        The flip-flop of Dutilleul (1999), unbiased. Each factor is shrunk to its diagonal where the effective sample
        is too small for it.
        """
        mean = average(weights, plans)
        deviations, horizon, action_size = plans - mean, len(mean), dimension(jnp.diagonal(self.action_tril))
        unbiased, ess = bias_correction(weights), 1.0 / (weights**2).sum()
        white = _solve_steps(self.time_tril, deviations)  # C^(−½) (a − μ)
        sigma = jnp.einsum("k,kha,khb->ab", weights, white, white, precision="highest") * unbiased / horizon
        sigma = shrunk(sigma, ess * horizon, action_size)
        rounding = 1e-6 * jnp.trace(sigma) + jnp.finfo(sigma.dtype).tiny ** 0.5
        root = factor(sigma, self.action_tril, rounding)
        white = _solve_actuators(root, deviations)  # (a − μ) Σ^(−½)
        time = jnp.einsum("k,kha,ksa->hs", weights, white, white, precision="highest") * unbiased / action_size
        time = shrunk(time, ess * action_size, horizon)
        scale = jnp.trace(time) / horizon  # which of the factors has it is a convention
        known = scale > 1e-3  # else the plans are all the same, without information on correlations
        time = jnp.where(known, time / jnp.where(known, scale, 1.0), square(self.time_tril))
        sigma = jnp.where(known, scale, 0.0) * sigma
        if self.smoothing is not None:
            mean = (1.0 - self.smoothing) * mean + self.smoothing * self.mean
        return dataclasses.replace(
            self,
            mean=self._moved(mean),
            time_tril=self._mix(time, self.time_tril, jnp.asarray(_LEAST_CORRELATION)),
            action_tril=self._mix(sigma, self.action_tril, self.std_min**2),
        )

    def mode(self) -> Plan:
        """The mean."""
        return self.mean

    def map_centers(self, function: Callable[[Plan], Plan]) -> "KroneckerGaussian":
        """The same around another mean."""
        return dataclasses.replace(self, mean=self._moved(function(self.mean)))

    @property
    def locks(self) -> Bool[Array, "H A"]:
        """Those of the actuators where the diagonal of the factor between them is 0."""
        return jnp.broadcast_to(jnp.diagonal(self.action_tril) == 0, self.mean.shape)

    def spread(self) -> Float[Array, " A"]:
        """The standard deviations of a step of mean variance."""
        return jnp.sqrt((self.action_tril**2).sum(1))

    @property
    def learns_spread(self) -> bool:
        """Fits change the covariance."""
        return True

    def shift(self, initial: "KroneckerGaussian", how: Shifting) -> "KroneckerGaussian":
        """The mean later; the factors as in `initial`, or carried on and inflated."""
        mean = initial._moved(how.plans(self.mean, initial.mean))
        if how.inflation is None:
            return dataclasses.replace(initial, mean=mean)
        time, sigma = square(self.time_tril), square(self.action_tril)
        first_time, first_sigma = square(initial.time_tril), square(initial.action_tril)
        # the new step has the initial variance, which is this many times the present one
        fresh = first_time * jnp.trace(first_sigma) / jnp.trace(sigma)
        time = how.carried(time, fresh, 1)
        scale = jnp.trace(time) / len(time)
        room = jnp.trace(first_time) * jnp.trace(first_sigma) / (jnp.trace(time) * jnp.trace(sigma))
        time_tril = factor(time / scale, self.time_tril, jnp.asarray(1e-6))
        action_tril = jnp.sqrt(scale * jnp.clip(room, 1.0, how.inflation)) * self.action_tril
        return dataclasses.replace(initial, mean=mean, time_tril=time_tril, action_tril=action_tril)

    def entropy(self) -> Float[Array, ""]:
        """½ d log(2πe) + ½ log det Σ, nats."""
        return 0.5 * self._dimension() * jnp.log(2.0 * jnp.pi * jnp.e) + self._log_det()

    def kl(self, other: "KroneckerGaussian") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        # of the actuators that move in both
        own = dataclasses.replace(self, action_tril=marginal_tril(self.action_tril, jnp.diagonal(other.action_tril)))
        other = dataclasses.replace(
            other, action_tril=marginal_tril(other.action_tril, jnp.diagonal(self.action_tril))
        )
        far = _solve_steps(other.time_tril, _solve_actuators(other.action_tril, (self.mean - other.mean)[None]))
        time = jnp.matmul(triangular_inverse(other.time_tril), self.time_tril, precision="highest")
        action = jnp.matmul(triangular_inverse(other.action_tril), own.action_tril, precision="highest")
        traces = (time**2).sum() * (action**2).sum()  # tr(X ⊗ Y) = tr X · tr Y
        return 0.5 * (traces + (far**2).sum() - own._dimension()) + other._log_det() - own._log_det()

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan, [H·A, H·A]."""
        return jnp.kron(square(self.time_tril), square(self.action_tril))

    def _log_det(self) -> Float[Array, ""]:
        """½ log det (C ⊗ Σ)."""
        scales = jnp.diagonal(self.action_tril)
        log_det = jnp.log(jnp.diagonal(self.time_tril)).sum()
        return dimension(scales) * log_det + len(self.mean) * log_scale(scales).sum()

    def _dimension(self) -> Float[Array, ""]:
        """How many numbers of a plan move."""
        return len(self.mean) * dimension(jnp.diagonal(self.action_tril))

    def _moved(self, mean: Plan) -> Plan:
        return where_free(jnp.diagonal(self.action_tril), mean, self.mean)

    def _mix(
        self, new: Float[Array, "n n"], old_tril: Float[Array, "n n"], floor: Float[Array, ""]
    ) -> Float[Array, "n n"]:
        """The factor of the new matrix, smoothed; the old one should it be no matrix of numbers."""
        if self.smoothing is not None:
            new = (1.0 - self.smoothing) * new + self.smoothing * square(old_tril)
        return factor(new, old_tril, floor)


@pytree
class KroneckerGaussianFamily:
    """Product covariances without a shape. Make one with `kronecker_gaussian`, whose arguments the attributes are."""

    mean: Float[Array, "..."]
    std: Float[Array, "..."]
    std_min: Float[Array, ""]
    smoothing: Float[Array, ""] | None
    noise_exponent: Float[Array, ""] | None

    def bind(self, horizon: int, space: ActionSpace) -> KroneckerGaussian:
        """The belief over plans of `horizon` steps."""
        shape = continuous_shape("a Gaussian belief", horizon, space)
        correlation = jnp.eye(horizon)
        if self.noise_exponent is not None:
            correlation = coloured_correlation(horizon, self.noise_exponent) + 1e-4 * jnp.eye(horizon)
        return KroneckerGaussian(
            mean=real("mean", self.mean, shape=shape),
            time_tril=jnp.linalg.cholesky(correlation / correlation[0, 0]),
            action_tril=jnp.diag(real("std", self.std, shape=shape[1:])),
            std_min=self.std_min,
            smoothing=self.smoothing,
        )


def kronecker_gaussian(
    *,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.01,
    smoothing: Any = None,
    noise_exponent: Any = None,
) -> KroneckerGaussianFamily:
    """Make the family of Gaussians that learn one covariance between steps and one between actuators.

    Args:
        mean: scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: at the start, scalar or [A], > 0, in the same unit; 0 for some actuators locks them.
        std_min: the least standard deviation of actions, in any direction, averaged over the steps, > 0: fits raise
            lower eigenvalues of Σ to its square (and those of C to 10⁻⁴), and change nothing else.
        smoothing: the share of the old mean and factors that a fit keeps, in [0, 1); None for none.
        noise_exponent: correlates the steps at the start as noise of the spectrum 1/f^exponent, >= 0; None for
            independent steps.

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return KroneckerGaussianFamily(
        mean=real("mean", mean, shape=None),
        std=checked("std", std, required=True),
        std_min=checked("std_min", std_min, required=True),
        smoothing=checked("smoothing", smoothing),
        noise_exponent=checked("noise_exponent", noise_exponent),
    )


def _solve_steps(tril: Float[Array, "H H"], plans: Plans) -> Plans:
    return jnp.einsum("hs,ksa->kha", triangular_inverse(tril), plans, precision="highest")


def _solve_actuators(tril: Float[Array, "A A"], plans: Plans) -> Plans:
    return jnp.einsum("ab,khb->kha", triangular_inverse(tril), plans, precision="highest")
