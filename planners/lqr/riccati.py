"""The backward pass of iLQR and DDP: the best affine policy of an expanded problem, within limits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..beliefs.protocol import Plan
from .box_qp import box_qp, masked_solve
from .expansion import Expansion


class Improvement(NamedTuple):
    """The policy u = ū + α k + K (x − x̄) and what it promises.

    Attributes:
        steps: k, [H, A].
        gains: K, [H, A, n].
        curvatures: Q_uu without what regularises it, [H, A, A].
        gradient: V_x of the cost of the whole problem by its first state, [n].
        curvature: V_xx of it, [n, n].
        slope: Σ kᵀQ_u, a scalar ≤ 0.
        bend: Σ kᵀQ_uu k, a scalar: the cost changes by α slope + ½ α² bend.
        free: which actuators it moves, [H, A].
        solved: whether all Q_uu were positive definite.
    """

    steps: Float[Array, "H A"]
    gains: Float[Array, "H A n"]
    curvatures: Float[Array, "H A A"]
    gradient: Float[Array, " n"]
    curvature: Float[Array, "n n"]
    slope: Float[Array, ""]
    bend: Float[Array, ""]
    free: Bool[Array, "H A"]
    solved: Bool[Array, ""]


def backward(
    expansion: Expansion,
    plan: Plan,
    regularization: Float[Array, ""],
    *,
    limits: tuple[Float[Array, " A"], Float[Array, " A"]] | None,
    locks: Bool[Array, "H A"] | None = None,
    curvature: Callable[..., Float[Array, "z z"]] | None = None,
) -> Improvement:
    """Solve the expanded problem backwards in time (Tassa et al., 2012 and 2014).

    The value of the policy is that of the unregularised problem under the regularised gains, so that what the
    improvement promises is exact on linear-quadratic problems for any regularisation.

    Args:
        expansion: of dynamics and costs around the plan.
        plan: ū, [H, A].
        regularization: μ, added to the diagonal of Q_uu before it is inverted.
        limits: the least and greatest actions [A]; None for none.
        locks: which actions must stay as they are; None for none.
        curvature: (where a step was expanded, v_x) -> second derivatives of v_xᵀf: DDP; None for iLQR.

    Returns:
        The improvement; where not `solved`, to be tried again with a greater μ.
    """
    size = plan.shape[1]
    damping = regularization * jnp.eye(size)

    def solve(carry: Any, now: Any) -> tuple[Any, tuple[Array, ...]]:
        v_x, v_xx, slope, bend, solved = carry
        f_z, c_z, c_zz, lasts, action, locked, at = now
        n = len(v_x)
        q_z = c_z + f_z.T @ v_x
        q_zz = c_zz + f_z.T @ v_xx @ f_z
        if curvature is not None:
            q_zz += jnp.where(lasts, curvature(at, v_x), 0.0)
        q_x, q_u, q_xx, q_ux, q_uu = q_z[:n], q_z[n:], q_zz[:n, :n], q_zz[n:, :n], q_zz[n:, n:]
        # what has no effect at all is as good as locked, or no Q_uu would be positive definite
        idle = (q_u == 0) & (q_uu == 0).all(1) & (q_ux == 0).all(1)
        moves = ~(locked | idle)
        if limits is None:
            free = moves
            k = -masked_solve(q_uu + damping, q_u, free)  # k = −Q̃_uu⁻¹ Q_u
        else:
            k, free = box_qp(q_uu + damping, q_u, limits[0] - action, limits[1] - action, moves)
        gain = -masked_solve(q_uu + damping, q_ux, free)  # K = −Q̃_uu⁻¹ Q_ux, 0 where a limit holds
        fine = jnp.isfinite(k).all() & jnp.isfinite(gain).all()
        k, gain = jnp.where(fine, k, 0.0), jnp.where(fine, gain, 0.0)
        v_x = q_x + gain.T @ q_uu @ k + gain.T @ q_u + q_ux.T @ k
        v_xx = q_xx + gain.T @ q_uu @ gain + gain.T @ q_ux + q_ux.T @ gain
        slope, bend = slope + k @ q_u, bend + k @ q_uu @ k
        return (v_x, 0.5 * (v_xx + v_xx.T), slope, bend, solved & fine), (k, gain, q_uu, moves)

    zero = jnp.zeros(())
    locked = jnp.zeros(plan.shape, bool) if locks is None else locks
    start = (expansion.v_x, expansion.v_xx, zero, zero, jnp.array(True))
    inputs = (expansion.f_z, expansion.c_z, expansion.c_zz, expansion.lasts, plan, locked, expansion.at)
    with jax.default_matmul_precision("highest"):
        (v_x, v_xx, slope, bend, solved), (k, gains, curvatures, free) = jax.lax.scan(
            solve, start, inputs, reverse=True
        )
    return Improvement(k, gains, curvatures, v_x, v_xx, slope, bend, free, solved)
