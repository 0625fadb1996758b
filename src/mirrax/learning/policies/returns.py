"""Returns and advantages of experience: what an episode earns from each of its steps on.

Time is the first axis, T; others are batches. A step has a discount, γ, or 0 where the environment ends the episode:
what would follow is worth nothing. It is the last one (`lasts`) where the episode ends or its time is up: what
follows is not seen, and unless the discount is 0 its value is that of the state that was reached.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def entropy_rewards(
    rewards: Float[Array, "T *b"], log_probs: Float[Array, "T *b"], temperature: Any, log_priors: Any = 0.0
) -> Float[Array, "T *b"]:
    """Rewards with the entropy of the policy, relative to a prior.

    Args:
        rewards: r, [T, *b].
        log_probs: log π of the actions, [T, *b].
        temperature: β ≥ 0, in units of reward.
        log_priors: log p of the actions, [T, *b] or a scalar; 0 for a flat one.

    Returns:
        r − β (log π − log p), [T, *b].
    """
    return rewards - temperature * (log_probs - log_priors)


def rewards_to_go(
    rewards: Float[Array, "T *b"],
    discounts: Float[Array, "T *b"],
    lasts: Bool[Array, "T *b"],
    next_values: Float[Array, "T *b"],
) -> Float[Array, "T *b"]:
    """What is earned from each step on, up to the end of the episode or of the steps.

    Args:
        rewards: r, [T, *b].
        discounts: γ, 0 where the environment ends the episode, [T, *b].
        lasts: after which steps something else begins, [T, *b].
        next_values: V(s') of the states that steps lead to, [T, *b].

    Returns:
        G, [T, *b].
    """
    return lambda_returns(rewards, discounts, lasts, next_values, 1.0)


def lambda_returns(
    rewards: Float[Array, "T *b"],
    discounts: Float[Array, "T *b"],
    lasts: Bool[Array, "T *b"],
    next_values: Float[Array, "T *b"],
    trace: Any,
) -> Float[Array, "T *b"]:
    """Mixtures of returns over all numbers of steps before the values count (Sutton & Barto, 2018, section 12.1).

    Args:
        rewards: r, [T, *b].
        discounts: γ, 0 where the environment ends the episode, [T, *b].
        lasts: after which steps something else begins, [T, *b].
        next_values: V(s') of the states that steps lead to, [T, *b].
        trace: λ in [0, 1]; 1 for whole returns, 0 for one step.

    Returns:
        G, [T, *b]; less V(s) it is the generalised advantage (Schulman et al., 2016).
    """

    def backward(following: Array, step: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, last, value = step
        # G = r + γ [(1 − λ) V(s') + λ G'], and r + γ V(s') of a last step
        ahead = jnp.where(last, value, (1.0 - trace) * value + trace * following)
        total = reward + discount * ahead
        return total, total

    return jax.lax.scan(backward, next_values[-1], (rewards, discounts, lasts, next_values), reverse=True)[1]
