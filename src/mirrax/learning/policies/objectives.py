"""The equations of policy gradients and of soft Q-learning, one function each."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def policy_gradient_objective(
    log_probs: Float[Array, "T *b"], returns: Float[Array, "T *b"], baselines: Float[Array, "T *b"]
) -> Float[Array, "*b"]:
    """What has the gradient of the entropy-regularised return, in expectation (Millidge et al., 2020, Eq. 4).

    As printed the equation has one t and no sum: it is that of the first step only.

    Args:
        log_probs: log π(a|s) of the actions of a trajectory, which depend on the parameters, [T, *b].
        returns: from each step on, with entropies, Σ_{t' ≥ t} γ^(t'−t) (r − β log π), [T, *b]; see `returns`.
        baselines: b(s), which may depend on anything but the action, [T, *b].

    Returns:
        [*b], in units of reward; its value means nothing.
    """
    # ∇J = E Σ_t ∇log π(a_t|s_t) (Σ_{t' ≥ t} γ^(t'−t) (r_t' − β log π_t') − b(s_t)); −β ∇log π has the mean 0
    return (log_probs * jax.lax.stop_gradient(returns - baselines)).sum(0)


def soft_value(
    q_values: Float[Array, "*b C"], log_prior: Float[Array, "..."], temperature: Float[Array, ""]
) -> Float[Array, "*b"]:
    """The value of a state under the policy p(a) exp(Q/β).

    Args:
        q_values: Q(s, a), [*b, C], in units of reward.
        log_prior: log p(a), scalar or [C].
        temperature: β > 0, in units of reward.

    Returns:
        [*b], in units of reward.
    """
    # V = β log Σₐ p(a) exp(Q/β)
    return temperature * jax.nn.logsumexp(log_prior + q_values / temperature, axis=-1)


def soft_q_target(
    rewards: Float[Array, "*b"],
    discounts: Float[Array, "*b"],
    next_q_values: Float[Array, "*b C"],
    log_prior: Float[Array, "..."],
    temperature: Float[Array, ""],
) -> Float[Array, "*b"]:
    """What Q(s, a) is to be, after a step (Haarnoja et al., 2017, with a prior).

    Millidge et al. (2020) print r + ln E_q V(s'), the logarithm of a logarithm of a probability.

    Args:
        rewards: r, [*b].
        discounts: γ, 0 where the environment ends the episode, [*b].
        next_q_values: Q(s', a), [*b, C].
        log_prior: log p(a), scalar or [C].
        temperature: β > 0, in units of reward.

    Returns:
        [*b], without derivatives.
    """
    # y = r + γ β log Σₐ p(a) exp(Q(s', a)/β)
    return jax.lax.stop_gradient(rewards + discounts * soft_value(next_q_values, log_prior, temperature))


def huber(errors: Float[Array, "*b"], width: Any = 1.0) -> Float[Array, "*b"]:
    """A loss that is quadratic up to `width`, and linear beyond.

    Args:
        errors: [*b].
        width: > 0.

    Returns:
        [*b].
    """
    inside = jnp.clip(errors, -width, width)
    return inside * (errors - 0.5 * inside)
