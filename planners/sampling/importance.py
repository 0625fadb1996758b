"""Importance sampling: plans that are rolled out each by itself, and weighed by their returns."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, Discrete, action_space
from ..beliefs.enumeration import Enumeration
from ..beliefs.gaussian import Gaussian
from ..beliefs.memory import Remembering
from ..beliefs.protocol import Plans, Proposal, has_center, innermost, propose
from ..beliefs.strategy import Strategy
from ..rollouts.settings import RolloutSettings
from .comparison import in_order
from .diagnostics import diagnose
from .evaluation import Evaluation
from .incumbent import Incumbent
from .likelihoods import Likelihood
from .policy_samples import PolicySamples, mixed, without_failures
from .priors import Prior, bind_prior, policy_of, rebind_prior
from .regrets import regrets
from .step_sizes import StepSize
from .weighting import weigh, weigh_steps


@pytree
class ImportanceSampler:
    """Plans a ~ q with weights (W(R(a)) p(a) / q(a))^κ.

    Attributes:
        likelihood: W, how returns become weights.
        prior: p; None leaves p / q out.
        step_size: κ, how far an iteration goes towards the posterior; None for all the way.
        rollouts: how plans are rolled out.
        include_mode: whether the mode of the belief is one of the K plans.
        explore_fraction: share of the plans that have the initial belief's spread around the present mode.
        policy_samples: a policy that draws some of the plans; None where all are the belief's.
        clip_plans: whether plans are clipped to [-1, 1] before they are tried and fitted to.
        per_step: whether every step is weighed by what remains of the return from there on.
    """

    likelihood: Likelihood
    prior: Any
    step_size: StepSize | None
    rollouts: RolloutSettings
    policy_samples: PolicySamples | None
    include_mode: bool = static()
    explore_fraction: float = static()
    clip_plans: bool = static()
    per_step: bool = static()

    def bind(self, belief: Any, space: ActionSpace, num_samples: int | tuple[int, ...]) -> Prior | None:
        """See `Evaluator`."""
        inner = innermost(belief)
        kind = type(inner).__name__
        if self.per_step and not (isinstance(inner, Gaussian) and len(inner.mean) == len(belief.mode())):
            raise ValueError(
                f"per_step needs a Gaussian belief over steps: it weighs each step by itself, got {kind}"
            )
        if self.clip_plans and isinstance(space, Discrete):
            raise ValueError(f"clip_plans needs continuous actions, got {space}")
        if self.explore_fraction and (isinstance(inner, Strategy) or not has_center(belief)):
            raise ValueError(f"explore_fraction must be 0 for {kind}, got {self.explore_fraction!r}")
        fewest = num_samples if isinstance(num_samples, int) else min(num_samples)
        kept = max(belief.num_kept, belief.num_shifted) if isinstance(belief, Remembering) else 0
        if isinstance(inner, Enumeration) and (kept or self.include_mode):
            raise ValueError("num_kept and include_mode replace plans: an enumeration has them all already")
        if self.explore_fraction and round(self.explore_fraction * fewest) == 0:
            raise ValueError(
                f"explore_fraction must be at least one of {fewest} plans, or 0, got {self.explore_fraction:g}"
            )
        by_policy = 0 if self.policy_samples is None else self.policy_samples.count(fewest)
        if self.policy_samples is not None:
            self.policy_samples.check(belief)
        if fewest - kept - round(self.explore_fraction * fewest) - by_policy - self.include_mode < 1:
            raise ValueError(
                f"num_samples must leave plans to draw beside {kept} kept ones, the fraction "
                f"{self.explore_fraction:g} of explorers{f', {by_policy} of a policy' if by_policy else ''}"
                f"{' and the mode' if self.include_mode else ''}, got {fewest}"
            )
        return bind_prior(self.prior, belief, space)

    def start(self, belief: Any) -> Float[Array, ""]:
        """What returns are relative to; NaN before some are known."""
        return jnp.full((), jnp.nan)

    def __call__(
        self,
        model: Model,
        keys: Key[Array, "2"],
        state: State,
        search: Incumbent,
        memory: Float[Array, ""],
        *,
        num_samples: int,
        last: Bool[Array, ""],
    ) -> Evaluation:
        """See `Evaluator`."""
        prior = rebind_prior(self.prior, search.initial.prior, search.belief, action_space(model))
        proposal, failed = self._propose(model, keys, state, search, num_samples)  # a ~ q
        plans, samples = proposal.plans, self.policy_samples
        drawn_by = None if samples is None or prior is None else samples.policy
        scores = self.rollouts.score(
            model, keys[1], state, plans, policy=policy_of(prior), drawn_by=drawn_by, to_go=self.per_step
        )  # R(a)
        if failed is not None:
            scores = without_failures(scores, failed)
        if samples is not None and scores.log_drawn is not None:
            proposal = _with_policy(proposal, scores.log_drawn, samples.count(num_samples))
        weighed = weigh(proposal, scores, self.likelihood, prior, self.step_size, search.multiplier)  # (W p / q)^κ
        weights = shown = jnp.exp(weighed.normalized.log_weights)
        if scores.to_go is not None:
            weights = weigh_steps(self.likelihood, weighed.valid, scores, weighed.multiplier)
            total = weights.sum()  # of the steps that differ, if there are some
            shown = jnp.where(total > 0, weights.sum(-1) / jnp.where(total > 0, total, 1.0), shown)
        compared = weighed.compared
        if scores.violation is not None:  # as the returns are
            compared = regrets(scores.returns, weighed.valid, scores.residual, plans.shape[1])
        reference = jnp.where(jnp.isnan(memory) & weighed.valid.any(), compared.reference(), memory)
        relative = scores.returns - jnp.where(jnp.isnan(reference), 0.0, reference)
        if scores.residual is not None:
            relative += scores.residual
        return Evaluation(
            belief=proposal.belief,
            plans=plans,
            weights=weights,
            returns=jnp.where(weighed.valid, scores.returns, -jnp.inf),
            residual=scores.residual,
            relative=in_order(jnp.where(weighed.valid, relative, -jnp.inf), scores.violation),
            degenerate=weighed.degenerate,
            memory=reference,
            diagnose=functools.partial(diagnose, scores.returns, shown, weighed),
            violation=scores.violation,
            shown=shown,
            multiplier=weighed.multiplier,
        )

    def returns(self, model: Model, key: Key[Array, ""], state: State, plans: Plans) -> Float[Array, " K"]:
        """The returns of any plans."""
        return self.rollouts.score(model, key, state, plans).returns

    def _propose(
        self, model: Model, keys: Key[Array, "2"], state: State, search: Incumbent, num_samples: int
    ) -> tuple[Proposal, Bool[Array, " K"] | None]:
        """The plans, with the density of all but a policy's; and which of those are no numbers, None without any."""
        key, belief, initial, failed = keys[0], search.belief, search.initial.belief, None
        by_policy = 0 if self.policy_samples is None else self.policy_samples.count(num_samples)
        if by_policy:
            key, policy_key = jax.random.split(key)
        num_explored = round(self.explore_fraction * num_samples)
        sample_key, explore_key = (key, key) if num_explored == 0 else jax.random.split(key)
        proposal = propose(belief, sample_key, num_samples)
        plans, log_base, num_samples = proposal.plans, proposal.log_correction, len(proposal.plans)
        drawn = jnp.ones(num_samples, bool) if proposal.drawn is None else proposal.drawn
        everything = proposal.drawn is None and not self.include_mode
        first, number = int(self.include_mode), num_explored + by_policy
        if num_explored:
            away = belief.mode() - initial.mode()
            explored = away + initial.sample(explore_key, num_explored)
            plans = plans.at[first : first + num_explored].set(explored)
        if self.policy_samples is not None:
            noise = jax.random.clone(keys[1])  # what plans are rolled out with, so that their states are the same
            plans, failed = self.policy_samples.draw(
                self.rollouts, model, jnp.stack([policy_key, noise]), state, plans, first + num_explored, by_policy
            )
        if number and self.prior is None:  # weights without densities
            drawn, everything = drawn.at[first : first + number].set(False), False
        elif number:  # what was drawn from a mixture has the mixture's density r
            log_q = proposal.belief.log_prob(plans)
            log_r = log_q if log_base is None else _log_density(proposal, plans)
            if num_explored:
                share = num_explored / (drawn.at[:first].set(False).sum() - by_policy)
                log_r = mixed(log_r, initial.log_prob(plans - away), share)
            log_base = log_q - log_r
        if self.include_mode:
            plans, drawn = plans.at[0].set(belief.mode()), drawn.at[0].set(False)
        if self.clip_plans:
            plans = jnp.clip(plans, -1.0, 1.0)
        return Proposal(plans, proposal.belief, log_base, drawn=None if everything else drawn), failed


def _with_policy(proposal: Proposal, log_policy: Float[Array, " K"], number: int) -> Proposal:
    """The proposal, so many of whose plans a policy has drawn: r ← (1 − w) r + w Π_t π(a_t|s_t)."""
    plans, log_correction = proposal.plans, proposal.log_correction
    assert log_correction is not None  # see `_propose`
    share = number / (len(plans) if proposal.drawn is None else proposal.drawn.sum())
    log_q = proposal.belief.log_prob(plans)
    return proposal._replace(log_correction=log_q - mixed(log_q - log_correction, log_policy, share))


def _log_density(proposal: Proposal, plans: Plans) -> Float[Array, " K"]:
    if proposal.log_density is None:
        raise ValueError(
            f"explore_fraction and policy need log_density of what {type(proposal.belief).__name__} proposes, "
            "got None"
        )
    return proposal.log_density(plans)
