"""Independent Gaussian actions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...dynamics.base import integer, pytree, real, static
from ..base import Plan, Plans


@pytree
class Gaussian:
    """q(a) = Π N(a; mean, std²). Make one with `gaussian`.

    Attributes:
        mean: [H, A].
        std: [H, A].
        std_min: the floor below which a learnt std does not fall, a scalar.
        smoothing: the share of the old mean (and std, if learnt) that a fit keeps, in [0, 1), a scalar; None for 0.
        learn_std: whether a fit moves the std too, or the mean only.
    """

    mean: Float[Array, "H A"]
    std: Float[Array, "H A"]
    std_min: Float[Array, ""]
    smoothing: Float[Array, ""] | None
    learn_std: bool = static()

    def sample(self, key: Key[Array, ""], num_samples: int) -> Plans:
        """Draw plans [K, H, A]."""
        # drawn flat: XLA takes three times as long to compile the generator over several axes
        noise = jax.random.normal(key, (num_samples * self.mean.size,), self.mean.dtype)
        return self.mean + self.std * noise.reshape(num_samples, *self.mean.shape)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        z = (plans - self.mean) / self.std
        return -0.5 * (z**2).sum((-2, -1)) - jnp.log(self.std).sum() - 0.5 * self.mean.size * jnp.log(2.0 * jnp.pi)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Gaussian":
        """The moments of the weighted plans, which minimise the forward divergence; the variance is not unbiased."""
        mean = _average(weights, plans)  # μ = Σ w a
        if not self.learn_std:
            return dataclasses.replace(self, mean=self._smooth(mean, self.mean))
        variance = _average(weights, (plans - mean) ** 2)  # σ² = Σ w (a − μ)²
        std = jnp.maximum(self._smooth(jnp.sqrt(variance), self.std), self.std_min)
        return dataclasses.replace(self, mean=self._smooth(mean, self.mean), std=std)

    def mode(self) -> Plan:
        """The mean."""
        return self.mean

    def shift(self, initial: "Gaussian") -> "Gaussian":
        """The mean one step later, its last action held; all else as in `initial`, so that it can move again."""
        return dataclasses.replace(initial, mean=jnp.concatenate([self.mean[1:], self.mean[-1:]]))

    def entropy(self) -> Float[Array, ""]:
        """½ d log(2πe) + Σ log σ, nats."""
        return 0.5 * self.mean.size * jnp.log(2.0 * jnp.pi * jnp.e) + jnp.log(self.std).sum()

    def kl(self, other: "Gaussian") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        ratio = (self.std / other.std) ** 2
        return 0.5 * (ratio + ((self.mean - other.mean) / other.std) ** 2 - 1.0 - jnp.log(ratio)).sum()

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan, [H·A, H·A]."""
        return jnp.diag(self.std.reshape(-1) ** 2)

    def _smooth(self, new: Plan, old: Plan) -> Plan:
        return new if self.smoothing is None else (1.0 - self.smoothing) * new + self.smoothing * old


def _average(weights: Float[Array, " K"], values: Plans) -> Plan:
    # in full precision: accelerators multiply matrices in less, which would round even the best plan
    return jnp.einsum("k,kha->ha", weights, values, precision=jax.lax.Precision.HIGHEST)


def gaussian(
    horizon: int,
    action_size: int,
    *,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.05,
    smoothing: Any = None,
    learn_std: bool = True,
) -> Gaussian:
    """Make a belief of independent Gaussian actions.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        mean: scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: scalar, [A] or [H, A], > 0, in the same unit.
        std_min: the floor of a learnt std, > 0.
        smoothing: the share of the old parameters that a fit keeps, in [0, 1); None for none.
        learn_std: whether fits move the std too.

    Returns:
        The belief.

    Raises:
        ValueError: for a parameter outside its range or of another shape.
    """
    shape = (integer("horizon", horizon), integer("action_size", action_size))
    return Gaussian(
        mean=real("mean", mean, shape=shape),
        std=real("std", std, above=0.0, shape=shape),
        std_min=real("std_min", std_min, above=0.0),
        smoothing=None if smoothing is None else real("smoothing", smoothing, minimum=0.0, below=1.0),
        learn_std=bool(learn_std),
    )
