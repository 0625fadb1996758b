"""Normalised weights and their effective sample size."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Normalized(NamedTuple):
    """Weights that sum to 1.

    Attributes:
        log_weights: [K].
        log_total: the logarithm of their sum before, a scalar; −∞ where none counted.
        degenerate: whether none counted; the weights are then uniform.
    """

    log_weights: Float[Array, " K"]
    log_total: Float[Array, ""]
    degenerate: Bool[Array, ""]


def log_normalize(log_weights: Float[Array, " K"]) -> Normalized:
    """Normalise log-weights [K], which may be −∞, without overflow and with finite gradients."""
    greatest = jnp.max(log_weights)
    degenerate = ~jnp.isfinite(greatest)
    # what the last `where` does not take must be finite too, or its gradient is NaN
    greatest = jnp.where(degenerate, 0.0, greatest)
    shifted = jnp.where(degenerate, 0.0, log_weights - greatest)
    log_sum = jnp.log(jnp.exp(shifted).sum())
    return Normalized(shifted - log_sum, jnp.where(degenerate, -jnp.inf, greatest + log_sum), degenerate)


def effective_sample_size(weights: Float[Array, " K"]) -> Float[Array, ""]:
    """(Σw)²/Σw² of weights [K] of any scale, between 1 and K (Kish, 1965); the greatest must not underflow."""
    return weights.sum() ** 2 / (weights**2).sum()
