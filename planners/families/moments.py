"""Weighted moments, in full precision, and what a small effective sample takes from them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..base import Plan, Plans


def average(weights: Float[Array, "K *H"], values: Plans) -> Plan:
    """Σ w v of weights [K], or [K, H] where each step has its own."""
    # in full precision: accelerators multiply matrices in less, which would round even the best plan
    spec = "k,kha->ha" if weights.ndim == 1 else "kh,kha->ha"
    return jnp.einsum(spec, weights, values, precision="highest")


def bias_correction(weights: Float[Array, "K *H"]) -> Float[Array, "*H"]:
    """1/(1 − Σw²), by which weighted second moments about their own mean are too small; 2 at most."""
    return 1.0 / jnp.maximum(1.0 - (weights**2).sum(0), 0.5)
