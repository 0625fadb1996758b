"""Normalised weights and what they tell: ESS, evidence, divergences."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .base import Belief, Info, Optimality


class Normalized(NamedTuple):
    """Weights that sum to 1.

    Attributes:
        log_weights: [K].
        log_total: the logarithm of their sum before, a scalar; −∞ where none counted.
        degenerate: whether none counted; the weights are then uniform.
    """

    log_weights: Float[Array, " K"]
    log_total: Float[Array, ""]
    degenerate: Bool[Array, ""]


def log_normalize(log_weights: Float[Array, " K"]) -> Normalized:
    """Normalise log-weights [K], which may be −∞, without overflow and with finite gradients."""
    greatest = jnp.max(log_weights)
    degenerate = ~jnp.isfinite(greatest)
    # what the last `where` does not take must be finite too, or its gradient is NaN
    greatest = jnp.where(degenerate, 0.0, greatest)
    shifted = jnp.where(degenerate, 0.0, log_weights - greatest)
    log_sum = jnp.log(jnp.exp(shifted).sum())
    return Normalized(shifted - log_sum, jnp.where(degenerate, -jnp.inf, greatest + log_sum), degenerate)


def effective_sample_size(weights: Float[Array, " K"]) -> Float[Array, ""]:
    """(Σw)²/Σw² of weights [K] of any scale, between 1 and K (Kish, 1965); the greatest must not underflow."""
    return weights.sum() ** 2 / (weights**2).sum()


class Weighed(NamedTuple):
    """What the plans of an iteration weigh.

    Attributes:
        valid: which plans have a return and a prior density that can be used, [K].
        log_ratios: log W + log p − log q, up to the likelihood's `log_scale`, [K]; −inf where not valid.
        optimality: what the likelihood said.
        normalized: the weights.
        degenerate: whether nothing can be learnt from them.
    """

    valid: Bool[Array, " K"]
    log_ratios: Float[Array, " K"]
    optimality: Optimality
    normalized: Normalized
    degenerate: Bool[Array, ""]


def diagnose(returns: Float[Array, " K"], weighed: Weighed, before: Belief, after: Belief) -> Info:
    """The diagnostics of one iteration.

    Args:
        returns: as the rollout gave them, [K].
        weighed: what the plans weigh.
        before: q, from which plans were drawn.
        after: what they were projected onto.

    Returns:
        One row of `Info`.
    """
    log_scale, (log_weights, log_total, _) = weighed.optimality.log_scale, weighed.normalized
    valid, num_samples = weighed.valid, len(returns)
    num_valid = valid.sum()
    some, share = num_valid > 0, jnp.maximum(num_valid, 1) / num_samples
    # of q(a | valid) = q(a)/p(valid), whose −log q is greater by log p(valid)
    mean_log_ratio = jnp.where(valid, weighed.log_ratios, 0.0).mean() / share + jnp.log(share)
    elbo = jnp.where(some, mean_log_ratio, -jnp.inf) + log_scale
    log_evidence = log_total - jnp.log(num_samples) + log_scale
    weights = jnp.exp(log_weights)
    weight_entropy = -jnp.where(weights > 0, weights * log_weights, 0.0).sum()
    return Info(
        returns=returns,
        weights=weights,
        elbo=elbo,
        log_evidence=log_evidence,
        elbo_gap=jnp.where(some, log_evidence - elbo, 0.0),
        posterior_kl=jnp.log(num_samples) - weight_entropy,  # Σ w log(K w)
        ess=1.0 / (weights**2).sum(),
        max_weight=weights.max(),
        perplexity=jnp.exp(weight_entropy),
        entropy=after.entropy(),
        kl=after.kl(before),
        temperature=weighed.optimality.temperature,
        num_invalid=num_samples - num_valid,
        degenerate=weighed.degenerate,
    )
