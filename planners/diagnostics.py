"""Normalised weights and what they tell: ESS, evidence, divergences."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .base import Belief, Info, Optimality


def log_normalize(log_weights: Float[Array, " K"]) -> tuple[Float[Array, " K"], Bool[Array, ""]]:
    """Normalise log-weights [K]; where none is finite they become uniform and the flag says so."""
    greatest = jnp.max(log_weights)
    degenerate = ~jnp.isfinite(greatest)
    # both branches of the last `where` must be finite, or gradients through the untaken one are NaN
    shifted = jnp.where(degenerate, 0.0, log_weights - jnp.where(degenerate, 0.0, greatest))
    return shifted - jax.scipy.special.logsumexp(shifted), degenerate


def effective_sample_size(log_weights: Float[Array, " K"]) -> Float[Array, ""]:
    """1/Σw² of normalised log-weights [K], between 1 and K (Kish, 1965)."""
    return jnp.exp(-jax.scipy.special.logsumexp(2.0 * log_weights))


def diagnose(
    returns: Float[Array, " K"],
    optimality: Optimality,
    log_ratio: Float[Array, " K"] | None,
    log_weights: Float[Array, " K"],
    degenerate: Bool[Array, ""],
    belief_before: Belief,
    belief: Belief,
) -> Info:
    """The diagnostics of one iteration.

    Args:
        returns: as the rollout gave them, [K].
        optimality: what the likelihood said.
        log_ratio: log p(a) − log q(a), [K], or None for no prior.
        log_weights: the normalised weights, [K].
        degenerate: whether nothing could be learnt.
        belief_before: q, from which plans were drawn.
        belief: what they were projected onto.

    Returns:
        One row of `Info`.
    """
    valid = jnp.isfinite(returns)
    num_valid = jnp.maximum(valid.sum(), 1)
    log_num_valid = jnp.log(num_valid)
    # the log importance ratio log W + log p − log q, up to log_scale
    ratio = optimality.log_weights if log_ratio is None else optimality.log_weights + log_ratio
    elbo = jnp.where(valid.any(), jnp.where(valid, ratio, 0.0).sum() / num_valid, -jnp.inf) + optimality.log_scale
    log_evidence = jax.scipy.special.logsumexp(ratio) - log_num_valid + optimality.log_scale
    weights = jnp.exp(log_weights)
    weight_entropy = -jnp.where(weights > 0, weights * log_weights, 0.0).sum()
    return Info(
        returns=returns,
        weights=weights,
        elbo=elbo,
        log_evidence=log_evidence,
        elbo_gap=log_evidence - elbo,
        posterior_kl=log_num_valid - weight_entropy,  # Σ w log(K w)
        ess=effective_sample_size(log_weights),
        max_weight=weights.max(),
        perplexity=jnp.exp(weight_entropy),
        entropy=belief.entropy(),
        kl=belief.kl(belief_before),
        temperature=optimality.temperature,
        num_invalid=(~valid).sum(),
        degenerate=degenerate,
    )
