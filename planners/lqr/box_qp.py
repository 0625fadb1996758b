"""Small quadratic programs with bounds, solved for many at once: the actions of control-limited iLQR."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_FRACTIONS = tuple(0.5**j for j in range(12))  # of a Newton step, tried at once


class BoxSolution(NamedTuple):
    """The least of ½ xᵀHx + gᵀx within bounds.

    Attributes:
        x: [m]; NaN where H is not positive definite among the free entries.
        free: which entries are not held by a bound, [m].
    """

    x: Float[Array, " m"]
    free: Bool[Array, " m"]


def box_qp(
    hessian: Float[Array, "m m"],
    gradient: Float[Array, " m"],
    low: Float[Array, " m"],
    high: Float[Array, " m"],
    moves: Bool[Array, " m"] | None = None,
    *,
    max_iterations: int = 32,
) -> BoxSolution:
    """Minimise ½ xᵀHx + gᵀx where low ≤ x ≤ high, by projected Newton steps (Bertsekas, 1982; Tassa et al., 2014).

    Each step goes to the least over the entries that no bound holds, or is about to, projected onto the bounds, as
    far along as is best. Once the right ones are held, which takes a few steps, the next is exact.

    Args:
        hessian: H, symmetric, positive definite.
        gradient: g.
        low: not above `high`.
        high: not below `low`.
        moves: which entries may differ from 0, or from the bound that is next to it; None for all.
        max_iterations: the most Newton steps.

    Returns:
        The solution.
    """
    moves = low < high if moves is None else moves & (low < high)

    def value(x: Float[Array, " m"]) -> Float[Array, ""]:
        return 0.5 * x @ hessian @ x + gradient @ x

    def held(x: Float[Array, " m"], near: Float[Array, ""] | float = 0.0) -> tuple[Array, Bool[Array, " m"]]:
        slope = gradient + hessian @ x
        at_bound = ((x <= low + near) & (slope > 0)) | ((x >= high - near) & (slope < 0))
        return slope, at_bound | ~moves

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, _, count = carry
        slope = gradient + hessian @ x
        # What is about to run into a bound goes there by itself: together with the others, it would stop them all.
        near = jnp.minimum(
            0.1 * jnp.min(high - low, initial=jnp.inf, where=moves),
            jnp.linalg.norm(x - jnp.clip(x - slope, low, high)),
        )
        _, clamped = held(x, near)
        bound = jnp.where(slope > 0, low, high) - x
        step = jnp.where(clamped, jnp.where(moves, bound, 0.0), -masked_solve(hessian, slope, ~clamped))
        tried = jnp.clip(x + jnp.asarray(_FRACTIONS, x.dtype)[:, None] * step, low, high)
        values = jax.vmap(value)(tried)
        best = jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))
        better = values[best] < value(x)
        return jnp.where(better, tried[best], x), better, count + 1

    with jax.default_matmul_precision("highest"):
        start = jnp.clip(jnp.zeros_like(gradient), low, high)
        x, _, _ = jax.lax.while_loop(
            lambda carry: carry[1] & (carry[2] < max_iterations),
            improve,
            (start, jnp.array(True), jnp.zeros((), int)),
        )
        # values resolve steps down to the square root of the rounding error only: the last step is taken as it is
        slope, clamped = held(x)
        last = jnp.clip(x - masked_solve(hessian, slope, ~clamped), low, high)
        x = jnp.where(value(last) <= value(x) + 1e-6 * jnp.abs(value(x)), last, x)
        return BoxSolution(jnp.where(jnp.isfinite(last), x, jnp.nan), ~held(x)[1])


def masked_solve(
    hessian: Float[Array, "m m"], right: Float[Array, "m *n"], free: Bool[Array, " m"]
) -> Float[Array, "m *n"]:
    """H⁻¹ b over the free entries, 0 elsewhere; NaN where H is not positive definite there."""
    reduced = jnp.where(free[:, None] & free, hessian, jnp.diag(jnp.where(free, 0.0, 1.0)))
    right = jnp.where(free.reshape(-1, *(1,) * (right.ndim - 1)), right, 0.0)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(reduced), True), right)
