"""Triangular matrices without LAPACK, whose threads wait for each other whenever another process has a core."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .locked import divisor


def triangular_inverse(tril: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The inverse of a lower triangular matrix, by blocks that double in size: products only, log₂ n rounds of them.

    [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹ B A⁻¹, C⁻¹]].

    Args:
        tril: lower triangular; what stands above the diagonal is ignored. Rows and columns whose diagonal is 0 are
            left out.

    Returns:
        Its inverse, lower triangular, with rows and columns of 0 where some were left out.
    """
    size = len(tril)
    whole = 1 << (size - 1).bit_length()
    padded = jnp.eye(whole, dtype=tril.dtype).at[:size, :size].set(tril)
    inverse = 1.0 / divisor(jnp.diagonal(padded)).reshape(whole, 1, 1)  # of the blocks of the diagonal
    width = 1
    while width < whole:
        pairs = whole // (2 * width)
        blocks = padded.reshape(pairs, 2 * width, pairs, 2 * width)[jnp.arange(pairs), :, jnp.arange(pairs)]
        first, second = inverse[0::2], inverse[1::2]
        below = -jnp.einsum("pij,pjk,pkl->pil", second, blocks[:, width:, :width], first, precision="highest")
        above = jnp.zeros_like(below)
        inverse = jnp.concatenate(
            [jnp.concatenate([first, above], axis=2), jnp.concatenate([below, second], axis=2)], axis=1
        )
        width *= 2
    return inverse[0, :size, :size]
