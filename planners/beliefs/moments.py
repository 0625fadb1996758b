"""Weighted moments and covariances, in full precision, and what a small effective sample takes from them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .locked import free_block, locked_tril
from .protocol import Plan, Plans


def average(weights: Float[Array, "K *H"], values: Plans) -> Plan:
    """Σ w v of weights [K], or [K, H] where each step has its own."""
    # in full precision: accelerators multiply matrices in less, which would round even the best plan
    spec = "k,kha->ha" if weights.ndim == 1 else "kh,kha->ha"
    return jnp.einsum(spec, weights, values, precision="highest")


def bias_correction(weights: Float[Array, "K *H"]) -> Float[Array, "*H"]:
    """1/(1 − Σw²), by which weighted second moments about their own mean are too small; 2 at most."""
    return 1.0 / jnp.maximum(1.0 - (weights**2).sum(0), 0.5)


def shrunk(covariance: Float[Array, "n n"], sample_size: Float[Array, ""], dimension: Any) -> Float[Array, "n n"]:
    """(1 − s) Σ + s diag Σ with s = 1 − (sample size)/(2d) of the d numbers that move, where that is positive."""
    shrinkage = jnp.clip(1.0 - 0.5 * sample_size / dimension, 0.0, 1.0)
    return jnp.where(jnp.eye(len(covariance)) > 0, 1.0, 1.0 - shrinkage) * covariance


def square(tril: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L Lᵀ."""
    return jnp.matmul(tril, tril.T, precision="highest")


def factor(
    covariance: Float[Array, "n n"], otherwise: Float[Array, "n n"], floor: Float[Array, ""]
) -> Float[Array, "n n"]:
    """L of Σ = L Lᵀ, the eigenvalues of Σ raised to a floor where they are lower.

    What is above the floor stays as it is. (A floor that is added would be amplified by 1/κ where steps of mirror
    descent add it again and again.)

    Args:
        covariance: Σ, symmetric.
        otherwise: a factor to take should Σ be no matrix of numbers; rows and columns where its diagonal is 0 stay 0.
        floor: of the eigenvalues, a scalar > 0.

    Returns:
        L, lower triangular.
    """
    scale = jnp.diagonal(otherwise)
    covariance = free_block(0.5 * (covariance + covariance.T), scale)
    # Σ − floor has a Cholesky factor if and only if all eigenvalues are above; their decomposition takes far longer
    above = jnp.isfinite(jnp.linalg.cholesky(covariance - floor * jnp.eye(len(covariance)))).all()
    covariance = jax.lax.cond(above, lambda same, _: same, _raised, covariance, jnp.asarray(floor, covariance.dtype))
    tril = locked_tril(jnp.linalg.cholesky(covariance), scale)
    return jnp.where(jnp.isfinite(tril).all(), tril, otherwise)


@jax.custom_jvp
def _raised(covariance: Float[Array, "n n"], floor: Float[Array, ""]) -> Float[Array, "n n"]:
    """V max(Λ, floor) Vᵀ of a covariance V Λ Vᵀ."""
    values, vectors = jnp.linalg.eigh(covariance)
    return jnp.matmul(vectors * jnp.maximum(values, floor), vectors.T, precision="highest")


@_raised.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """V (F ∘ Vᵀ dΣ V) Vᵀ, F_ij = (f_i − f_j)/(λ_i − λ_j), also of equal ones (Daleckii and Krein, 1965)."""
    (covariance, floor), (moved, lifted) = primals, tangents
    with jax.default_matmul_precision("highest"):
        values, vectors = jnp.linalg.eigh(covariance)
        found, slopes = jnp.maximum(values, floor), (values > floor).astype(values.dtype)
        apart = values[:, None] - values
        equal = jnp.abs(apart) <= 1e-5 * jnp.abs(values).max()
        ratios = (found[:, None] - found) / jnp.where(equal, 1.0, apart)
        ratios = jnp.where(equal, 0.5 * (slopes[:, None] + slopes), ratios)
        inner = ratios * (vectors.T @ moved @ vectors) + jnp.diag((1.0 - slopes) * lifted)
        return (vectors * found) @ vectors.T, vectors @ inner @ vectors.T


def deviation(variance: Float[Array, "..."]) -> Float[Array, "..."]:
    """σ = √v, whose derivative is a number where the variance is 0 too, of plans one of which has all the weight."""
    return jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))


def floored(weights: Float[Array, " M"], least: float) -> Float[Array, " M"]:
    """The π that makes Σ N log π of weights N greatest above a floor, log max(c N, floor), floor = `least`/M."""
    size = len(weights)
    floor = least / size
    ordered = jnp.sort(weights, descending=True)  # c, for each number of components above the floor:
    factors = (1.0 - floor * np.arange(size)[::-1]) / jnp.maximum(jnp.cumsum(ordered), 1e-30)
    above = (factors * ordered > floor).sum()
    return jnp.log(jnp.maximum(factors[jnp.maximum(above, 1) - 1] * weights, floor))
