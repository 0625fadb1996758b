"""Value iteration, soft and hard, of models with few states and actions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...dynamics.checks import boolean, integer, real
from ..options import checked
from .message_passing import _action_values, _Backup, _backup, _check_prior, _check_tabular


class Values(NamedTuple):
    """What value iteration ends with, in units of reward.

    Attributes:
        values: V(s), [S].
        q_values: Q(s, a), [S, A].
        policy: π(a|s), [S, A].
        num_iterations: how many backups it took, a scalar.
        residual: the greatest change by the last backup, ‖f(V) − V‖∞, a scalar; above the tolerance and rounding,
            the iterations did not converge.
    """

    values: Float[Array, " S"]
    q_values: Float[Array, "S A"]
    policy: Float[Array, "S A"]
    num_iterations: Int[Array, ""]
    residual: Float[Array, ""]


def value_iteration(
    mdp: Any,
    *,
    temperature: Any = None,
    structured: bool = True,
    prior: Any = None,
    horizon: int | None = None,
    tolerance: Any = 1e-6,
    max_iterations: int = 10_000,
) -> Values:
    """Iterate the backward messages to their fixed point: the values of a horizon without end.

    Soft, V = β log Σₐ p(a|s) exp(Q(s, a)/β), π = p exp((Q − V)/β); hard, its limit β → 0, V = maxₐ Q(s, a), where the
    actions that share the greatest Q, up to rounding, are equally probable. Q is that of `message_passing`, times β.

    Without a horizon it starts at 0, whatever the final values, and stops when no value changes by more than
    tolerance · (1 − γ)/γ, so that the error is at most the tolerance (of a structured backup, a γ-contraction); at
    γ = 1, by more than the tolerance; or when all change is rounding. A Newton step, for hard values the evaluation
    of the greedy policy, then removes most of the error that is left. Derivatives are those of the fixed point, by
    the implicit function theorem, of first order, in forward and in reverse mode.

    In the direct form the evidence of an endless horizon may be infinite, where γ exp(r/β) exceeds 1, and at γ = 1
    any form may diverge where not all paths end: values, and their derivatives, are then those of the last iteration
    alone, and `residual` shows that they are not a fixed point.

    Args:
        mdp: a model of `dynamics.tabular`, with S states and A actions.
        temperature: β > 0, in units of reward; None for hard value iteration.
        structured: keep the true dynamics, as in `message_passing`; False needs a temperature.
        prior: p(a|s), [A] or [S, A], rows sum to 1; uniform unless given. A probability of 0 forbids.
        horizon: the number of backups from the final values; None iterates until they converge.
        tolerance: > 0, in units of reward; without a horizon only.
        max_iterations: the greatest number of backups; without a horizon only.

    Returns:
        Values and policy, of the first step where there is a horizon.

    Raises:
        ValueError: if `mdp` is no tabular model, a parameter lies outside its range, or there is no end: neither a
            horizon, nor a terminal state, nor a discount.
    """
    mdp, structured = _check_tabular(mdp), boolean("structured", structured)
    if temperature is not None:
        temperature = checked("temperature", temperature, required=True)
    elif not structured:
        raise ValueError("temperature must be given where structured is False, got None")
    prior, tolerance = _check_prior(mdp, prior), real("tolerance", tolerance, above=0.0)
    max_iterations = integer("max_iterations", max_iterations)
    unit = 1.0 if temperature is None else temperature
    with jax.default_matmul_precision("highest"):
        if horizon is None:
            _check_end(mdp)
            before, num = _fixed_point(mdp, prior, temperature, structured, tolerance / unit, max_iterations)
        else:
            num = jnp.asarray(checked("horizon", horizon))
            before, _ = jax.lax.scan(
                lambda values, _: (_backup(mdp, prior, temperature, structured, values).values, None),
                mdp.final / unit,
                length=horizon - 1,
            )
        values, q_values, policy = _backup(mdp, prior, temperature, structured, before)
    return Values(unit * values, unit * q_values, policy, num, unit * jnp.abs(values - before).max())


def _fixed_point(
    mdp: Any, prior: Array, temperature: Any, structured: bool, tolerance: Array, max_iterations: int
) -> tuple[Array, Array]:
    """V = f(V) in log units, with the derivatives of a fixed point, and how many backups it took."""
    # a while loop has no reverse mode: nothing differentiable may enter it
    mdp_now, prior_now, temperature_now = jax.lax.stop_gradient((mdp, prior, temperature))
    rewards = mdp_now.rewards if temperature is None else mdp_now.rewards / temperature_now
    discount, eps = mdp_now.discount, jnp.finfo(rewards.dtype).eps
    enough = jax.lax.stop_gradient(tolerance)
    enough = enough * jnp.where(discount < 1.0, (1.0 - discount) / jnp.maximum(discount, eps), 1.0)

    def backup(values: Array) -> _Backup:
        return _backup(mdp_now, prior_now, temperature_now, structured, values)

    def advance(at: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        num, values, _ = at
        after = backup(values).values
        return num + 1, after, jnp.abs(after - values).max()

    def unfinished(at: tuple[Array, Array, Array]) -> Array:
        num, values, change = at
        rounding = 4.0 * eps * jnp.maximum(jnp.abs(values).max(), jnp.abs(rewards).max())
        return (num < max_iterations) & (change > jnp.maximum(enough, rounding))

    def resolvent(values: Array) -> Array:
        """(I − J)⁻¹, J the derivative of a backup at `values`; 0 where it does not exist."""
        kernel = _action_values(mdp_now, temperature_now, structured, values)[1]
        jacobian = jnp.einsum("sa,sax->sx", backup(values).policy, kernel)
        jacobian = jnp.where(mdp_now.terminal, 0.0, jacobian)  # V is 0 there, and at γ = 1 the inverse does not exist
        inverse = jnp.linalg.inv(jnp.eye(len(values)) - jacobian)
        # of J >= 0 the inverse exists as Σ Jⁿ where it has no negative entries, and only there
        exists = jnp.isfinite(inverse).all() & (inverse >= -1e-4 * jnp.abs(inverse).max()).all()
        return jnp.where(exists, inverse, 0.0)

    def residual(values: Array) -> Array:
        return backup(values).values - values

    start = jnp.zeros((), int), jnp.zeros(rewards.shape[-1], rewards.dtype), jnp.full((), jnp.inf, rewards.dtype)
    num, values, _ = jax.lax.while_loop(unfinished, advance, start)
    newton = values + resolvent(values) @ residual(values)  # V + (I − J)⁻¹ (f(V) − V)
    values = jnp.where(jnp.abs(residual(newton)).max() < jnp.abs(residual(values)).max(), newton, values)
    after = _backup(mdp, prior, temperature, structured, values).values
    # adds 0, and the derivative dV/dθ = (I − J)⁻¹ ∂f/∂θ
    return values + resolvent(values) @ (after - jax.lax.stop_gradient(after)), num


def _check_end(mdp: Any) -> None:
    """Raise a `ValueError` if values cannot converge: no discount, and no terminal state."""
    if isinstance(mdp.discount, jax.core.Tracer) or isinstance(mdp.terminal, jax.core.Tracer):
        return
    if np.asarray(mdp.discount) >= 1.0 and not np.asarray(mdp.terminal).any():
        raise ValueError(
            f"discount must be < 1 where there is neither a horizon nor a terminal state, got {mdp.discount:g}"
        )
