"""The plans that survive sequential Monte Carlo: their weights at another temperature, and what they tell."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .base import Belief, Info, Lineage, Optimality, Plans, info_row
from .diagnostics import Normalized, effective_sample_size, log_normalize
from .likelihoods import regrets


class Survivors(NamedTuple):
    """The plans that survive, as weighted samples of p(a) exp(b R(a)).

    Attributes:
        plans: [K, H, A].
        returns: [K], reward units; NaN or infinite where a rollout diverged in any scenario.
        log_ratio: log p − log q of each, up to where it ends, [K]; 0 where p is the policy that plans were drawn
            from.
        log_weights: normalised, [K]; −inf for those that count for nothing.
        log_evidence: log Ẑ, a scalar; Ẑ is an unbiased estimate of E_p[exp(b R)]. −inf where all died.
        num_invalid: how many diverged on the way, resampled ones included.
        lineage: what became of them.
    """

    plans: Plans
    returns: Float[Array, " K"]
    log_ratio: Float[Array, " K"]
    log_weights: Float[Array, " K"]
    log_evidence: Float[Array, ""]
    num_invalid: Int[Array, ""]
    lineage: Lineage


class Cooled(NamedTuple):
    """Survivors as samples at another temperature.

    Attributes:
        optimality: what the likelihood says of them at this temperature.
        normalized: their weights.
        log_evidence: log Ẑ, a scalar.
    """

    optimality: Optimality
    normalized: Normalized
    log_evidence: Float[Array, ""]


def cool(survivors: Survivors, inverse: Float[Array, ""], reached: Float[Array, ""]) -> Cooled:
    """Weigh survivors on from one temperature to another, w⁺ ∝ w exp((b⁺ − b) R).

    Args:
        survivors: of the rollout.
        inverse: b = 1/λ of the rollout, a scalar.
        reached: b⁺ = 1/λ of the other temperature, a scalar.

    Returns:
        Their weights and evidence there.
    """
    valid = survivors.log_weights > -jnp.inf
    best, regret = regrets(survivors.returns, valid)
    # subtract, then divide: the other way round loses the digits that tell great returns apart
    step = reached - inverse
    normalized = log_normalize(jnp.where(valid, survivors.log_weights - step * regret, -jnp.inf))
    temperature = 1.0 / jnp.maximum(reached, jnp.finfo(reached.dtype).tiny)
    optimality = Optimality(jnp.where(valid, -reached * regret, -jnp.inf), reached * best, temperature)
    return Cooled(optimality, normalized, survivors.log_evidence + step * best + normalized.log_total)


def diagnose_particles(
    survivors: Survivors,
    cooled: Cooled,
    weights: Float[Array, " K"],
    degenerate: Bool[Array, ""],
    best_return: Float[Array, ""],
    before: Belief,
    after: Belief,
) -> Info:
    """The diagnostics of one iteration.

    Args:
        survivors: of the rollout.
        cooled: at the temperature of the belief.
        weights: of the plans there, [K].
        degenerate: whether nothing can be learnt from them.
        best_return: of the best plan so far, a scalar.
        before: q, from which plans were drawn.
        after: what they were projected onto.

    Returns:
        One row of `Info`.
    """
    told = weights > 0
    log_target = jnp.where(told, cooled.optimality.log_weights + survivors.log_ratio, 0.0)  # log W p/q
    kl = (weights * log_target).sum() + cooled.optimality.log_scale - cooled.log_evidence
    return info_row(
        returns=survivors.returns,
        best_return=best_return,
        weights=weights,
        elbo=cooled.log_evidence,
        log_evidence=cooled.log_evidence,
        posterior_kl=jnp.where(cooled.normalized.degenerate, 0.0, kl),  # E[log W p/q] − log Z, over the posterior
        evidence_ess=jnp.minimum(survivors.lineage.ess.min(), effective_sample_size(weights)),
        entropy=after.entropy(),
        kl=after.kl(before),
        temperature=cooled.optimality.temperature,
        num_invalid=survivors.num_invalid,
        degenerate=degenerate,
        lineage=survivors.lineage,
    )
