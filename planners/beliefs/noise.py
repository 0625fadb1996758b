"""Noise that drives plans: white, or correlated in time."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.checks import integer
from ...dynamics.pytrees import pytree, static
from ..options import checked
from .triangular import triangular_inverse

_GREATEST_BLOCK = 128  # steps that are correlated by one dense matrix


def white_noise(key: PRNGKeyArray, num_samples: int, like: Float[Array, "H A"]) -> Float[Array, "K H A"]:
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


@pytree
class Color:
    """A correlation in time: x = L ε is coloured noise where ε is white. Make one with `color`.

    Nothing is solved here: products with inverses that are known take the place of triangular solves.

    Attributes:
        first: L of the first f steps, lower triangular, [f, f].
        first_inverse: its inverse.
        later: D⁻¹ of each later block of b steps, x_i = D⁻¹ (ε_i − E x_{i−1}), lower triangular, [b, b]; None where
            the first block is all.
        later_inverse: D, [b, b].
        carry: E, by which a block depends on the b steps before it, upper triangular, [b, b].
        reach: the correlation of steps that are 0 to b apart, [b + 1].
        num_steps: the number H of steps.
    """

    first: Float[Array, "f f"]
    first_inverse: Float[Array, "f f"]
    later: Float[Array, "b b"] | None
    later_inverse: Float[Array, "b b"] | None
    carry: Float[Array, "b b"] | None
    reach: Float[Array, " b+1"] | None
    num_steps: int = static()

    def colour(self, white: Float[Array, "*K H A"]) -> Float[Array, "*K H A"]:
        """L ε along the steps; each depends on the steps up to it."""
        size = len(self.first)
        start = _along(self.first, white[..., :size, :])
        if self.later is None or self.carry is None:
            return start
        later, carry = self.later, self.carry

        def follow(before: Array, block: Array) -> tuple[Array, Array]:
            after = _along(later, block - _along(carry, before))
            return after, after

        _, rest = jax.lax.scan(follow, start[..., -len(later) :, :], _split(white[..., size:, :], len(later)))
        return jnp.concatenate([start, _joined(rest)], axis=-2)

    def whiten(self, coloured: Float[Array, "*K H A"]) -> Float[Array, "*K H A"]:
        """L⁻¹ x along the steps; each depends on the steps up to it."""
        size = len(self.first)
        start = _along(self.first_inverse, coloured[..., :size, :])
        if self.later_inverse is None or self.carry is None:
            return start
        before, blocks = self._blocks(coloured)
        rest = _along(self.later_inverse, blocks) + _along(self.carry, before)
        return jnp.concatenate([start, _joined(rest)], axis=-2)

    def log_diagonal(self) -> Float[Array, " H"]:
        """The logarithms of the diagonal of L."""
        start = jnp.log(jnp.diagonal(self.first))
        if self.later is None:
            return start
        repeats = (self.num_steps - len(start)) // len(self.later)
        return jnp.concatenate([start, jnp.tile(jnp.log(jnp.diagonal(self.later)), repeats)])

    def excess(self, scale: Float[Array, "H A"]) -> Float[Array, ""]:
        """E‖L⁻¹ (s x)‖² of coloured noise x for each actuator, whose steps are scaled by s, summed; H·A for s = 1.

        A quadratic form in s: block by block Σ_tu s_t (Wᵀ W)_tu C_tu s_u, of the blocks W of L⁻¹ and C = L Lᵀ.
        """
        correlation = jnp.matmul(self.first, self.first.T, precision="highest")

        def form(left: Array, right: Array, weight: Array, weight_right: Array, correlation: Array) -> Array:
            precision = jnp.matmul(weight.T, weight_right, precision="highest")
            return jnp.einsum("...ta,tu,...ua->", left, precision * correlation, right, precision="highest")

        start = scale[: len(self.first)]
        total = form(start, start, self.first_inverse, self.first_inverse, correlation)
        if self.later_inverse is None or self.carry is None or self.reach is None:
            return total
        own, past, width = self.later_inverse, self.carry, len(self.carry)
        near = correlation[:width, :width]
        step = jnp.arange(width)
        far = self.reach[jnp.clip(width + step - step[:, None], 0, width)]  # beyond b their product is 0
        before, blocks = self._blocks(scale)
        return (
            total
            + form(blocks, blocks, own, own, near)
            + form(before, before, past, past, near)
            + 2.0 * form(before, blocks, past, own, far)
        )

    def correlation(self) -> Float[Array, "H H"]:
        """L Lᵀ, which is dense."""
        tril = self.colour(jnp.eye(self.num_steps))
        return jnp.matmul(tril, tril.T, precision="highest")

    def _blocks(self, values: Float[Array, "*K H A"]) -> tuple[Array, Array]:
        """The b steps before each later block, and these blocks."""
        assert self.carry is not None  # see `whiten`
        size, width = len(self.first), len(self.carry)
        return _split(values[..., size - width : -width, :], width), _split(values[..., size:, :], width)


def color(num_steps: int, exponent: Any) -> Color:
    """Make the correlation of noise whose power falls as 1/f^exponent.

    Up to 128 steps it is `coloured_correlation` itself. Longer noise is autoregressive: the steps are cut into equal
    blocks of at most 128, and beyond the first each step follows from the b steps before it, b the length of a block,
    as it does under `coloured_correlation`. So correlations are exact up to b steps apart, and time and memory grow
    linearly with the number of steps. Either way densities are those of the noise that is drawn.

    Args:
        num_steps: the number H of steps.
        exponent: 0 is white, 1 pink, 2 Brownian noise; a scalar >= 0.

    Returns:
        The correlation.

    Raises:
        ValueError: for a parameter outside its range.
    """
    num_blocks = -(-integer("num_steps", num_steps) // _GREATEST_BLOCK)
    width = num_steps // num_blocks
    size = num_steps - (num_blocks - 1) * width
    correlation = _toeplitz(num_steps, max(size, width + 1) if num_blocks > 1 else size, exponent)
    first = jnp.linalg.cholesky(correlation[:size, :size])
    inverse = triangular_inverse(first)
    if num_blocks == 1:
        return Color(first, inverse, None, None, None, None, num_steps)
    reach, known = correlation[0, : width + 1], inverse[:width, :width]
    # x_t = Σ_j φ_j x_{t−j} + σ ε_t: the best linear prediction from b steps (Yule and Walker)
    with jax.default_matmul_precision("highest"):
        phi = known.T @ (known @ reach[1:])
        deviation = jnp.sqrt(1.0 - phi @ reach[1:])
    filtered = jnp.concatenate([jnp.ones(1), -phi]) / deviation  # by distance: 0 is the step itself
    step = jnp.arange(width)
    distance = step[:, None] - step
    own = jnp.where(distance >= 0, filtered[jnp.clip(distance, 0)], 0.0)
    carry = jnp.where(distance <= 0, filtered[jnp.clip(distance + width, 0, width)], 0.0)
    return Color(first, inverse, triangular_inverse(own), own, carry, reach, num_steps)


def coloured_correlation(num_steps: int, exponent: Any) -> Float[Array, "H H"]:
    """The correlation between the steps of noise whose power falls as 1/f^exponent.

    The spectrum is that of Timmer and Koenig (1995), s(f) = max(f, 1/T)^(−exponent/2), over T = 2 H steps, of which
    the first H are kept: a spectrum over H steps would make the noise periodic, its last step as near to its first as
    neighbours are. Scaled to unit variance, so that a std is the standard deviation (iCEM's noise has a
    variance of 1.4 at an exponent of 3 and 30 steps).

    Args:
        num_steps: the number H of steps.
        exponent: 0 is white, 1 pink, 2 Brownian noise; a scalar >= 0.

    Returns:
        The correlation matrix [H, H], Toeplitz and positive definite.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return _toeplitz(num_steps, num_steps, exponent)


def _toeplitz(num_steps: int, size: int, exponent: Any) -> Float[Array, "n n"]:
    """The correlation of the first `size` of `num_steps` steps."""
    exponent = checked("noise_exponent", exponent, required=True)
    length = 2 * integer("num_steps", num_steps)
    frequency = jnp.fft.rfftfreq(length)
    power = jnp.maximum(frequency, 1.0 / length) ** -exponent  # s²
    autocovariance = jnp.fft.irfft(power, n=length)  # Wiener and Khinchin
    lag = jnp.abs(jnp.arange(size)[:, None] - jnp.arange(size))
    # a little white noise, or rounding would make the smoothest noise of long plans indefinite
    share = 1e-6 * size
    return (autocovariance[lag] / autocovariance[0] + share * jnp.eye(size)) / (1.0 + share)


def _along(matrix: Float[Array, "n n"], values: Float[Array, "*K n A"]) -> Float[Array, "*K n A"]:
    return jnp.einsum("ts,...sa->...ta", matrix, values, precision="highest")


def _split(values: Float[Array, "*K H A"], width: int) -> Array:
    """Blocks of `width` steps, along a first axis."""
    *batch, steps, size = values.shape
    return jnp.moveaxis(values.reshape(*batch, steps // width, width, size), -3, 0)


def _joined(blocks: Array) -> Array:
    """Steps of blocks along the first axis."""
    moved = jnp.moveaxis(blocks, 0, -3)
    *batch, number, width, size = moved.shape
    return moved.reshape(*batch, number * width, size)
