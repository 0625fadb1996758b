"""Numbers of a plan that do not move: a standard deviation of 0 locks them, and densities are over the others."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


@runtime_checkable
class Locking(Protocol):
    """A belief whose spread may be 0 for some numbers of a plan: they stay, and its density is over the others."""

    @property
    def locks(self) -> Bool[Array, "H *A"]:
        """Which numbers those are."""
        ...


@runtime_checkable
class Separable(Locking, Protocol):
    """A belief whose actuators are independent, so that some can be left out of its density."""

    def locked(self, where: Bool[Array, "*H A"]) -> Any:
        """The same, with these numbers locked as well."""
        ...


def check_coloured(std: Float[Array, "..."]) -> None:
    """Raise a `ValueError` if an actuator is locked in some steps only: noise that is correlated in time runs on.

    Args:
        std: a scalar, [A] or [H, A]; a traced one passes.
    """
    if isinstance(std, jax.core.Tracer) or std.ndim < 2:
        return
    locked = np.asarray(std) == 0
    if (locked.any(0) != locked.all(0)).any():
        raise ValueError(
            "std must be 0 in all steps of an actuator or in none under a noise_exponent, got some of them"
        )


def divisor(scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """What deviations are divided by: the scale, and ∞ where that is 0, so that nothing is left of them."""
    return jnp.where(scale == 0, jnp.inf, scale)


def log_scale(scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Its logarithm; 0 where the scale is 0, which no density counts."""
    return jnp.log(jnp.where(scale == 0, 1.0, scale))


def dimension(scale: Float[Array, "..."]) -> Float[Array, ""]:
    """How many numbers move."""
    return (scale != 0).sum().astype(scale.dtype)


def where_free(
    scale: Float[Array, "..."], moved: Float[Array, "..."], kept: Float[Array, "..."]
) -> Float[Array, "..."]:
    """What has moved, and what was there where the scale is 0."""
    return jnp.where(scale == 0, kept, moved)


def free_block(matrix: Float[Array, "n n"], scale: Float[Array, " n"]) -> Float[Array, "n n"]:
    """A matrix over the numbers that move, and the identity over those of scale 0."""
    free = scale != 0
    return jnp.where(free[:, None] & free, matrix, jnp.eye(len(scale), dtype=matrix.dtype))


def marginal_tril(tril: Float[Array, "n n"], scale: Float[Array, " n"]) -> Float[Array, "n n"]:
    """The factor of a covariance over those numbers alone that move and whose scale is not 0; rows of 0 elsewhere.

    Args:
        tril: L of Σ = L Lᵀ, lower triangular.
        scale: of each number.
    """
    own = jnp.diagonal(tril)
    fewer = ((own != 0) & (scale == 0)).any()

    def smaller(tril: Float[Array, "n n"]) -> Float[Array, "n n"]:
        covariance = jnp.matmul(tril, tril.T, precision="highest")
        free = jnp.where(scale == 0, scale, own)
        return locked_tril(jnp.linalg.cholesky(free_block(covariance, free)), free)

    return jax.lax.cond(fewer, smaller, lambda same: same, tril)


def locked_tril(tril: Float[Array, "n n"], scale: Float[Array, " n"]) -> Float[Array, "n n"]:
    """A factor of a covariance, with rows and columns of 0 where the scale is 0."""
    free = scale != 0
    return jnp.where(free[:, None] & free, tril, 0.0)


def locks_of(belief: Any, plan: Array) -> Bool[Array, "H *A"]:
    """Which numbers of a plan a belief does not move; of one that does not say, none."""
    return belief.locks if isinstance(belief, Locking) else jnp.zeros(plan.shape, bool)
