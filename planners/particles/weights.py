"""Weighted plans of sequential Monte Carlo: their weights at another temperature, and their diagnostics."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...dynamics.checks import optional_scalar
from ..beliefs.protocol import Belief, Plans
from ..info import Info, Lineage, info_row
from ..sampling.comparison import by_violation, next_multiplier
from ..sampling.likelihoods import Optimality
from ..sampling.regrets import Regrets, regrets
from ..sampling.weights import Normalized, effective_sample_size, log_normalize


class WeightedPlans(NamedTuple):
    """The plans that survive resampling, as weighted samples of p(a) exp(b R(a)).

    Attributes:
        plans: [K, H, A].
        returns: [K], reward units; NaN or infinite where a rollout diverged in any scenario.
        log_ratio: log p − log q of each, up to where it ends, [K]; 0 where p is the policy that plans were drawn
            from.
        log_weights: normalised, [K]; −inf for those that count for nothing.
        log_evidence: log Ẑ, a scalar; Ẑ is an unbiased estimate of E_p[exp(b R)]. −inf where all died.
        num_invalid: how many diverged on the way, resampled ones included.
        lineage: what became of them.
        violation: by how much each violates the constraints of the model, [K]; None where it has none.
    """

    plans: Plans
    returns: Float[Array, " K"]
    log_ratio: Float[Array, " K"]
    log_weights: Float[Array, " K"]
    log_evidence: Float[Array, ""]
    num_invalid: Int[Array, ""]
    lineage: Lineage
    violation: Float[Array, " K"] | None = None


class Reweighted(NamedTuple):
    """Weighted plans as samples at another temperature.

    Attributes:
        optimality: their likelihood at this temperature.
        normalized: their weights.
        log_evidence: log Ẑ, a scalar.
    """

    optimality: Optimality
    normalized: Normalized
    log_evidence: Float[Array, ""]


def kept(
    weighted: WeightedPlans, multiplier: Float[Array, ""] | None
) -> tuple[WeightedPlans, Float[Array, ""] | None]:
    """The plans that keep to the constraints, as weighted samples of p(a) exp(b R(a)) 1[c(a) = 0].

    Where none does, those that violate least.

    Args:
        weighted: the plans of the particle filter.
        multiplier: μ by which they survived, a scalar; None without constraints.

    Returns:
        The plans, and μ of the next filter: raised where those that violate something had more than a little weight.
    """
    if weighted.violation is None or multiplier is None:
        return weighted, None
    valid, cost = weighted.log_weights > -jnp.inf, weighted.violation
    inside = valid & (cost <= 0)
    some = inside.any()
    share = jnp.where(valid & ~inside, jnp.exp(weighted.log_weights), 0.0).sum()
    log_weights, log_share, nothing = log_normalize(
        jnp.where(some, jnp.where(inside, weighted.log_weights, -jnp.inf), by_violation(cost, valid))
    )
    found = weighted._replace(
        log_weights=jnp.where(nothing, -jnp.inf, log_weights),
        log_evidence=weighted.log_evidence + jnp.where(some, log_share, 0.0),
    )
    return found, next_multiplier(share, weighted.returns, valid, cost, multiplier)


def reweigh(weighted: WeightedPlans, inverse: Float[Array, ""], reached: Float[Array, ""]) -> Reweighted:
    """Weigh plans on from one temperature to another, w⁺ ∝ w exp((b⁺ − b) R).

    Args:
        weighted: the plans of the particle filter.
        inverse: b = 1/λ of the rollout, a scalar.
        reached: b⁺ = 1/λ of the other temperature, a scalar.

    Returns:
        Their weights and evidence there.
    """
    valid = weighted.log_weights > -jnp.inf
    best, regret, *_ = regrets(weighted.returns, valid)
    # subtract, then divide: the other order loses the digits in which large returns differ
    step = reached - inverse
    normalized = log_normalize(jnp.where(valid, weighted.log_weights - step * regret, -jnp.inf))
    temperature = 1.0 / jnp.maximum(reached, jnp.finfo(reached.dtype).tiny)
    optimality = Optimality(jnp.where(valid, -reached * regret, -jnp.inf), reached * best, temperature)
    return Reweighted(optimality, normalized, weighted.log_evidence + step * best + normalized.log_total)


def diagnose(
    weighted: WeightedPlans,
    reweighted: Reweighted,
    weights: Float[Array, " K"],
    degenerate: Bool[Array, ""],
    compared: Regrets,
    best_return: Float[Array, ""],
    before: Belief,
    after: Belief,
) -> Info:
    """The diagnostics of one iteration.

    Args:
        weighted: the plans of the particle filter.
        reweighted: at the temperature of the belief.
        weights: of the plans there, [K].
        degenerate: whether nothing can be learnt from them.
        compared: their returns, compared with the best.
        best_return: of the best plan so far, a scalar.
        before: q, from which plans were drawn.
        after: what they were projected onto.

    Returns:
        One row of `Info`.
    """
    counted = weights > 0
    log_target = jnp.where(counted, reweighted.optimality.log_weights + weighted.log_ratio, 0.0)  # log W p/q
    kl = (weights * log_target).sum() + reweighted.optimality.log_scale - reweighted.log_evidence
    return info_row(
        returns=weighted.returns,
        best_return=best_return,
        weights=weights,
        elbo=reweighted.log_evidence,
        log_evidence=reweighted.log_evidence,
        posterior_kl=jnp.where(reweighted.normalized.degenerate, 0.0, kl),  # E[log W p/q] − log Z, over the posterior
        evidence_ess=jnp.minimum(weighted.lineage.ess.min(), effective_sample_size(weights)),
        entropy=optional_scalar("entropy of the belief", after.entropy()),
        kl=optional_scalar("kl of the belief", after.kl(before)),
        temperature=reweighted.optimality.temperature,
        num_invalid=weighted.num_invalid,
        degenerate=degenerate,
        rounding=compared.share_of_rounding(),
        lineage=weighted.lineage,
        num_roots=weighted.lineage.num_ancestors[0],
    )
