"""Noise that drives plans: white, or correlated in time."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..dynamics.base import integer, real


def white_noise(key: Key[Array, ""], num_samples: int, like: Float[Array, "H A"]) -> Float[Array, "K H A"]:
    """Independent standard normal numbers.

    Args:
        key: of the numbers.
        num_samples: the number K of plans.
        like: a plan, [H, A].

    Returns:
        The noise of each plan, [K, H, A].
    """
    # drawn flat: XLA takes three times as long to compile the generator over several axes
    return jax.random.normal(key, (num_samples * like.size,), like.dtype).reshape(num_samples, *like.shape)


def coloured_correlation(num_steps: int, exponent: Any) -> Float[Array, "H H"]:
    """The correlation between the steps of noise whose power falls as 1/f^exponent.

    The spectrum is that of Timmer and Koenig (1995), s(f) = max(f, 1/T)^(−exponent/2), over T = 2 H steps, of which
    the first H are kept: a spectrum over H steps would make the noise periodic, its last step as near to its first as
    neighbours are. Scaled to unit variance, so that a standard deviation means what it says (iCEM's noise has a
    variance of 1.4 at an exponent of 3 and 30 steps).

    Args:
        num_steps: the number H of steps.
        exponent: 0 is white, 1 pink, 2 Brownian noise; a scalar >= 0.

    Returns:
        The correlation matrix [H, H], Toeplitz and positive definite.

    Raises:
        ValueError: for a parameter outside its range.
    """
    exponent = real("noise_exponent", exponent, minimum=0.0)
    length = 2 * integer("num_steps", num_steps)
    frequency = jnp.fft.rfftfreq(length)
    power = jnp.maximum(frequency, 1.0 / length) ** -exponent  # s²
    autocovariance = jnp.fft.irfft(power, n=length)  # Wiener and Khinchin
    lag = jnp.abs(jnp.arange(num_steps)[:, None] - jnp.arange(num_steps))
    # a little white noise, or rounding would make the smoothest noise of long plans indefinite
    share = 1e-6 * num_steps
    return (autocovariance[lag] / autocovariance[0] + share * jnp.eye(num_steps)) / (1.0 + share)
