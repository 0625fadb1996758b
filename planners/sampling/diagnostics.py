"""Diagnostics of importance sampling: evidence, divergences, effective sample size."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.checks import optional_scalar
from ..beliefs.protocol import Belief
from ..info import Info, info_row
from .weighting import Weighed
from .weights import log_normalize


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
        weighed: the weights of the plans.
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
        entropy=optional_scalar("entropy of the belief", after.entropy()),
        kl=optional_scalar("kl of the belief", after.kl(before)),
        temperature=weighed.optimality.temperature,
        step_size=weighed.step_size,
        num_invalid=num_samples - valid.sum(),
        degenerate=weighed.degenerate,
        rounding=weighed.compared.share_of_rounding(),
    )
