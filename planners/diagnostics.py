"""Normalised weights and what they tell: ESS, evidence, divergences."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .base import Belief, Info, Optimality, info_row


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
        log_base: log q − log r of plans drawn from r, [K], 0 where r = q: what they weigh by themselves; −inf for
            plans that must weigh nothing.
        drawn: which plans are samples, on which evidences rest, [K]; None for all.
        optimality: what the likelihood said.
        posterior: the weights of the posterior, softmax(log_ratios + log_base).
        normalized: the weights to fit the belief to, softmax(κ log_ratios + log_base).
        step_size: κ; None for 1.
        degenerate: whether nothing can be learnt from them.
    """

    valid: Bool[Array, " K"]
    log_ratios: Float[Array, " K"]
    log_base: Float[Array, " K"] | None
    drawn: Bool[Array, " K"] | None
    optimality: Optimality
    posterior: Normalized
    normalized: Normalized
    step_size: Float[Array, ""] | None
    degenerate: Bool[Array, ""]


def diagnose(
    returns: Float[Array, " K"],
    weights: Float[Array, " K"],
    weighed: Weighed,
    best_return: Float[Array, ""],
    before: Belief,
    after: Belief,
) -> Info:
    """The diagnostics of one iteration.

    Args:
        returns: as the rollout gave them, [K].
        weights: to which the belief was fitted, [K]; where every step has its own, their mean.
        weighed: what the plans weigh.
        best_return: of the best plan so far, a scalar.
        before: q, from which plans were drawn.
        after: what they were projected onto.

    Returns:
        One row of `Info`.
    """
    log_scale, num_samples = weighed.optimality.log_scale, len(returns)
    valid, drawn, log_base = weighed.valid, weighed.drawn, weighed.log_base
    log_weights, log_total, nothing = weighed.posterior
    if drawn is not None and log_base is None:  # plans that weigh without being samples: leave them out here
        log_base = jnp.where(drawn, 0.0, -jnp.inf)
        log_weights, log_total, nothing = log_normalize(weighed.log_ratios + log_base)
    if log_base is None:
        log_share, base = -jnp.log(num_samples), jnp.asarray(1.0 / num_samples)
        share = jnp.maximum(valid.sum(), 1) / num_samples
        size = jnp.asarray(num_samples)
    else:
        log_share, _, _ = log_normalize(log_base)
        base = jnp.exp(log_share)
        share = jnp.maximum(jnp.where(valid, base, 0.0).sum(), jnp.finfo(returns.dtype).tiny)
        size = jnp.maximum((log_base > -jnp.inf).sum(), 1)
    counted = valid & (base > 0)
    some = counted.any()
    # of q(a | valid) = q(a)/p(valid), whose −log q is greater by log p(valid)
    mean_log_ratio = jnp.where(counted, base * jnp.where(counted, weighed.log_ratios, 0.0), 0.0).sum() / share
    elbo = jnp.where(some, mean_log_ratio + jnp.log(share), -jnp.inf) + log_scale
    log_evidence = log_total - jnp.log(size) + log_scale
    unknown = jnp.where(some, jnp.inf, 0.0)  # all samples that are valid weigh nothing; or none is valid
    posterior = jnp.exp(log_weights)
    relative = jnp.where(posterior > 0, log_weights - log_share, 0.0)
    return info_row(
        returns=returns,
        best_return=best_return,
        weights=weights,
        elbo=elbo,
        log_evidence=log_evidence,
        elbo_gap=jnp.where(nothing, unknown, log_evidence - elbo),
        posterior_kl=jnp.where(nothing, unknown, (posterior * relative).sum()),  # Σ w log(w/b), b = 1/K
        evidence_ess=jnp.where(nothing, 0.0, 1.0 / (posterior**2).sum()),
        entropy=after.entropy(),
        kl=after.kl(before),
        temperature=weighed.optimality.temperature,
        step_size=weighed.step_size,
        num_invalid=num_samples - valid.sum(),
        degenerate=weighed.degenerate,
    )
