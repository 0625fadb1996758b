"""Weights of plans: w ∝ (p W / q)^κ."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..beliefs.locked import locks_of
from ..beliefs.protocol import Proposal, innermost
from ..checks import check_per_plan
from ..rollouts.rollout import Scores
from .comparison import judge
from .likelihoods import Likelihood, Optimality
from .regrets import Regrets
from .step_sizes import EssStep, StepSize
from .weights import Normalized, log_normalize


class Weighed(NamedTuple):
    """The weights of the plans of an iteration.

    Attributes:
        valid: which plans have a return and a prior density that can be used, [K].
        log_ratios: log W + log p − log q, up to the likelihood's `log_scale`, [K]; −inf where not valid.
        log_base: log q − log r of plans drawn from r, [K], 0 where r = q: their weights before returns are known;
            −inf for plans that must have no weight.
        compared: their returns, compared with the best.
        drawn: which plans are samples, on which evidences rest, [K]; None for all.
        optimality: what the likelihood gave.
        posterior: the weights of the posterior, softmax(log_ratios + log_base).
        normalized: the weights to fit the belief to, softmax(κ log_ratios + log_base).
        step_size: κ; None for 1.
        degenerate: whether nothing can be learnt from them.
        multiplier: what a violation of constraints costs, for the next iteration; None where nothing costs.
    """

    valid: Bool[Array, " K"]
    log_ratios: Float[Array, " K"]
    log_base: Float[Array, " K"] | None
    compared: Regrets
    drawn: Bool[Array, " K"] | None
    optimality: Optimality
    posterior: Normalized
    normalized: Normalized
    step_size: Float[Array, ""] | None
    degenerate: Bool[Array, ""]
    multiplier: Float[Array, ""] | None


def weigh(
    proposal: Proposal,
    scores: Scores,
    likelihood: Likelihood,
    prior: Any,
    step_size: StepSize | None,
    multiplier: Float[Array, ""] | None = None,
) -> Weighed:
    """Weigh plans: softmax(κ (log W + log p − log q)).

    Args:
        proposal: the plans, and from what they were drawn.
        scores: their returns.
        likelihood: W.
        prior: p, bound; None leaves log p − log q out.
        step_size: κ; None for 1.
        multiplier: of violations, see `comparison.judge`; None without constraints.

    Returns:
        The weights.
    """
    plans, belief, log_base, drawn = proposal.plans, proposal.belief, proposal.log_correction, proposal.drawn
    returns = scores.returns
    valid = jnp.isfinite(returns)
    log_ratio = None if prior is None else prior.log_ratio(plans, belief)
    if log_ratio is not None:
        check_per_plan("log_ratio of the prior", log_ratio, len(plans))
        if scores.log_prob is not None:  # a prior over actions in states, known after the rollout only
            log_ratio += scores.log_prob
        valid &= log_ratio < jnp.inf  # a density may be zero, but neither NaN nor infinite
        if drawn is not None:  # the posterior is made of samples
            log_base = jnp.where(drawn, jnp.zeros(len(plans)) if log_base is None else log_base, -jnp.inf)
    compared, optimality, multiplier = judge(
        likelihood, returns, valid, scores.residual, plans.shape[1], scores.violation, multiplier
    )
    log_ratios = optimality.log_weights if log_ratio is None else optimality.log_weights + log_ratio
    log_ratios = jnp.where(valid, log_ratios, -jnp.inf)  # whatever a user's likelihood gives them
    posterior = normalized = log_normalize(log_ratios if log_base is None else log_ratios + log_base)
    size = None
    if step_size is not None:  # q⁺ ∝ q^(1−κ) (p W)^κ
        allowed = log_ratios
        if compared.measured is not None:  # a small κ must not let in what violates constraints
            allowed = jnp.where(compared.measured, log_ratios, -jnp.inf)
            if isinstance(step_size, EssStep):
                step_size = step_size.among(compared.measured.sum())
        size = step_size(allowed, log_base, dimension(belief))
        stepped = jnp.where(allowed > -jnp.inf, size * jnp.where(valid, log_ratios, 0.0), -jnp.inf)
        normalized = log_normalize(stepped if log_base is None else stepped + log_base)
    degenerate = posterior.degenerate
    if log_ratio is None:  # equal returns carry no information: do not drift with the noise of the samples
        degenerate |= compared.all_equal
    return Weighed(
        valid,
        log_ratios,
        log_base,
        compared,
        drawn,
        optimality,
        posterior,
        normalized,
        size,
        degenerate,
        multiplier,
    )


def weigh_steps(
    likelihood: Likelihood, valid: Bool[Array, " K"], scores: Scores, multiplier: Float[Array, ""] | None = None
) -> Float[Array, "K H"]:
    """Weights of every step by what remains of the return; all zero where that is the same for all plans."""
    assert scores.to_go is not None  # it was asked for

    def weights(
        returns: Float[Array, " K"],
        residual: Float[Array, " K"] | None,
        num_rewards: Array,
        violation: Float[Array, " K"] | None,
    ) -> Float[Array, " K"]:
        judged = judge(likelihood, returns, valid, residual, num_rewards, violation, multiplier, adapt=False)
        log_weights = log_normalize(judged.optimality.log_weights).log_weights
        return jnp.where(judged.compared.all_equal, 0.0, jnp.exp(log_weights))

    remain = jnp.arange(scores.to_go.shape[1], 0, -1)
    return jax.vmap(weights, in_axes=(1, 1, 0, 1), out_axes=1)(
        scores.to_go, scores.to_go_residual, remain, scores.violation_to_go
    )


def dimension(belief: Any) -> Int[Array, ""]:
    """How many numbers a plan of a belief has, or its knots have, which fits must find: those that are not locked."""
    inner = innermost(belief)
    return (~locks_of(inner, inner.mode())).sum()
