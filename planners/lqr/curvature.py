"""Second derivatives of functions, and the nearest ones of no negative curvature."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..rollouts.placement import platform


def nearest_convex(hessian: Float[Array, "*H z z"]) -> Float[Array, "*H z z"]:
    """The nearest symmetric matrix of no negative curvature; what is not finite stays as it is."""
    known = jnp.isfinite(hessian).all((-2, -1), keepdims=True)
    values, vectors = jnp.linalg.eigh(jnp.where(known, hessian, 0.0))
    nearest = jnp.einsum("...ij,...j,...kj->...ik", vectors, jnp.maximum(values, 0.0), vectors)
    # leave alone, to the last bit, what is convex already, and what depends on nothing
    same = (values >= 0.0).all(-1)[..., None, None] | ~(hessian != 0).any(-1, keepdims=True)
    return jnp.where(known & ~(same | same.mT), nearest, hessian)


def over_steps(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """To apply it to all steps; on a CPU one after the other: the derivatives of a step fill its cache."""

    def over(rows: Any) -> Any:
        return jax.lax.map(function, rows) if platform(rows) == "cpu" else jax.vmap(function)(rows)

    return over


def hessian_of(function: Callable[..., Any], z: Float[Array, " z"]) -> Float[Array, "z z"]:
    """Second derivatives: forward over reverse where that goes, which many coordinates make faster, else forward.

    Each refuses reverse mode with an error of its own: solvers that loop, functions with a rule for forward
    mode alone, calls of other programs. Forward mode repeats any error of the function itself.
    """
    try:
        return jax.jacfwd(jax.grad(function))(z)
    except Exception:
        return jax.jacfwd(jax.jacfwd(function))(z)
