"""Sequential Monte Carlo: a rollout with a resampler inside (Piché et al., 2019, with exact weights).

Particles are plans under way. Particle k has the log-weight

    Σ_t [U_{t+1} − U_t]/λ + log p(a_t | ·) − log q(a_t | ·),    U_t = Σ_{s<t} γ^s r_s + γ^t V(s_t),

so that a look-ahead V of any quality telescopes away: where the horizon ends U is the return itself. Resampling
duplicates the particles that weigh much, and their children part by what they draw from then on.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, Num

from ...dynamics.base import Model, State
from ...dynamics.checks import scalar
from ...dynamics.constraints import violation_probabilities
from ...dynamics.spaces import ActionSpace, action_space
from ..beliefs.protocol import Plans, Policy, Sequential
from ..checks import check_per_plan
from ..differentiation import undifferentiable
from ..info import Lineage
from ..rollouts.blocks import sizes
from ..rollouts.risk import Risk
from ..rollouts.simulation import Rollouts, RolloutState, start_rollouts
from ..sampling.priors import Prior, policy_of, stepwise
from ..sampling.weights import effective_sample_size, log_normalize
from .blocks import ParticleBlocks, particle_blocks
from .resampling import Resampler
from .weights import WeightedPlans

_REFUSAL = "smc has no derivatives: resampling chooses particles, which changes by leaps"


class _Carry(NamedTuple):
    """Everything that particles own; what is heavy, on the device that steps them."""

    at: RolloutState
    models: Any  # None where they share them
    noise: Any  # that drives the plans; None where a policy acts
    plans: Plans  # where a policy acts, filled as it does
    log_ratios: Float[Array, "K H"] | None  # of the steps of the plans, where they are known before
    utility: Float[Array, " K"]  # U
    log_ratio: Float[Array, " K"]
    log_policy: Float[Array, " K"]  # log p so far, of a prior over actions in states
    log_drawn: Float[Array, " K"]  # log q so far, of a policy that acts
    over: Bool[Array, " K"]
    invalid: Bool[Array, " K"]
    log_weights: Float[Array, " K"]  # normalised
    log_evidence: Float[Array, ""]
    num_invalid: Int[Array, ""]


def run_filter(
    model: Model,
    keys: Key[Array, "2"],
    state: State,
    proposal: Sequential | Policy,
    shape: tuple[int, int],
    *,
    resampler: Resampler,
    inverse_temperature: Float[Array, ""],
    prior: Prior | None,
    multiplier: Float[Array, ""] | None = None,
    num_scenarios: int | None = None,
    common_noise: bool = True,
    risk: Risk | None = None,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> WeightedPlans:
    """Roll particles out, and resample them on the way.

    Args:
        model: what to imagine with.
        keys: of what is drawn, and of the model's noise and scenarios.
        state: where all plans start.
        proposal: q: a belief over plans, or a policy over actions in states (under several scenarios in the state of
            the first).
        shape: K and H.
        resampler: when and how to resample, and the look-ahead.
        inverse_temperature: b = 1/λ >= 0, a scalar.
        prior: p; None for q itself. A `Stepwise` one counts at each step, others at the end of the horizon.
        multiplier: μ, what a violation of the model's constraints costs on the way, in reward units: U − μ c decides
            who survives, and is weighed out again for those that keep to them in the end. None without constraints.
        num_scenarios: see `rollout`; a particle is then a plan under way in all of them.
        common_noise: see `rollout`. Where each particle has its own noise, success selects lucky noise as well as
            good actions: the posterior that is optimistic about the dynamics.
        risk: see `rollout`.
        chunk_size: see `rollout`.
        sharding: see `rollout`; resampling draws from all particles of all devices.

    Returns:
        The particles that are left.

    Raises:
        ValueError: see `rollout`.
    """
    num_scenarios, block_size = sizes(model, state, num_scenarios, chunk_size, sharding)
    blocks = particle_blocks(shape[0], block_size, sharding)
    draw_key, step_key = jax.random.split(keys[0])

    def run(parts: Any, noise_key: Array, draw_key: Array, step_key: Array) -> WeightedPlans:
        model, state, proposal, prior, risk, resampler, inverse, multiplier = parts
        rollouts = start_rollouts(
            model,
            noise_key,
            state,
            blocks.per_device,
            shape[1],
            blocks.first(),
            num_scenarios=num_scenarios,
            common_noise=common_noise,
            policy=policy_of(prior),
            freeze=not isinstance(proposal, Sequential),
        )
        particle_filter = _Filter(
            shape,
            action_space(model),
            proposal,
            prior,
            risk,
            resampler,
            inverse,
            rollouts,
            blocks,
            multiplier,
            violation_probabilities(model),
        )
        steps = (jnp.arange(shape[1]), rollouts.keys, jax.random.split(step_key, shape[1]))
        end, history = jax.lax.scan(particle_filter.step, particle_filter.start(draw_key), steps)
        return particle_filter.finish(end, *history)

    parts = (model, state, proposal, prior, risk, resampler, inverse_temperature, multiplier)
    if sharding is None:
        return run(parts, keys[1], draw_key, step_key)
    everywhere = PartitionSpec()
    return jax.shard_map(run, mesh=sharding.mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)(
        parts, keys[1], draw_key, step_key
    )


class _Outcome(NamedTuple):
    """The outcome of a step of all particles."""

    utility: Float[Array, " K"]  # U
    over: Bool[Array, " K"]
    log_policy: Float[Array, " K"]
    log_q: Float[Array, " K"]  # of the action, of a policy that acts
    acts: Bool[Array, " K"]  # whether the action is one


class _Filter(NamedTuple):
    """The particle filter: what does not change while particles do."""

    shape: tuple[int, int]
    space: ActionSpace
    proposal: Any
    prior: Any
    risk: Risk | None
    resampler: Resampler
    inverse: Float[Array, ""]
    rollouts: Rollouts
    blocks: ParticleBlocks
    multiplier: Float[Array, ""] | None
    probabilities: Float[Array, " C"] | None

    def start(self, draw_key: Key[Array, ""]) -> _Carry:
        """All particles in the first state."""
        num_samples, rollouts = self.shape[0], self.rollouts
        noise, plans, log_ratios = None, self.space.zeros(num_samples, self.shape[1]), None
        if self._has_plans:
            noise = self.proposal.noise(draw_key, num_samples)
            plans, log_ratios = self._plans(noise)
        utility = rollouts.risk_adjusted(self.risk, self._look_ahead(rollouts.models, rollouts.start))
        utility = self.blocks.of_particles(utility)[0]  # the same on all devices
        utility = jnp.where(jnp.isfinite(utility), utility, 0.0)  # it telescopes away
        nothing, no = jnp.zeros(num_samples), jnp.zeros(num_samples, bool)
        return _Carry(
            at=rollouts.start,
            models=rollouts.models if rollouts.own_models else None,
            noise=noise,
            plans=plans,
            log_ratios=log_ratios,
            utility=jnp.full(num_samples, utility),
            log_ratio=nothing,
            log_policy=nothing,
            log_drawn=nothing,
            over=no,
            invalid=no,
            log_weights=jnp.full(num_samples, -math.log(num_samples), float),
            log_evidence=self.inverse * utility,
            num_invalid=jnp.zeros((), int),
        )

    def step(self, now: _Carry, inputs: tuple[Array, Array, Array]) -> tuple[_Carry, tuple[Array, Array, Array]]:
        """Act, weigh, and resample where it is needed; also whether that was so, and of whom particles descend."""
        step, noise_keys, key = inputs
        act_key, resample_key = jax.random.split(key)
        after, outcome = self._act(now, step, noise_keys, act_key)
        after, dead = self._weigh(now, after, outcome, step)
        num_samples, horizon = self.shape
        weights = jnp.exp(after.log_weights)
        ess = effective_sample_size(weights)

        def resample(after: _Carry) -> tuple[_Carry, Array]:
            parents = self.resampler.scheme(resample_key, undifferentiable(weights, _REFUSAL), num_samples)
            parents = check_per_plan("what resampling returns", parents, num_samples).astype(int)
            return self._descend(after, parents, step), parents

        enough = self.resampler.ess_threshold * num_samples * (1.0 - 1e-4)  # equal weights have K but for rounding
        resampled = (ess < enough) & (step < horizon - 1) & ~dead
        after, parents = jax.lax.cond(resampled, resample, lambda after: (after, jnp.arange(num_samples)), after)
        return after, (ess, resampled, parents)

    def finish(
        self,
        end: _Carry,
        ess: Float[Array, " H"],
        resampled: Bool[Array, " H"],
        parents: Int[Array, "H K"],
    ) -> WeightedPlans:
        """Those that are left; the look-ahead of the last step gives way to what lies beyond the horizon in truth."""
        rollouts = self.rollouts
        models = rollouts.models if end.models is None else end.models
        returns = rollouts.total_with(lambda model, state: model.value(state))(models, end.at)
        returns = self.blocks.of_particles(rollouts.risk_adjusted(self.risk, returns))
        violation = rollouts.violation(self.probabilities, end.at.violations)
        violation = None if violation is None else self.blocks.of_particles(violation)
        log_ratio, change = end.log_ratio, self.inverse * (self._priced(returns, violation) - end.utility)
        if self.prior is not None and not self._tells_steps:  # p of whole plans
            drawn_by = self.proposal if self._has_plans else _Drawn(end.log_drawn)
            log_ratio = self.prior.log_ratio(end.plans, drawn_by) + end.log_policy
            log_ratio = check_per_plan("log_ratio of the prior", log_ratio, self.shape[0])
            change += log_ratio
        none = end.invalid | (end.log_weights == -jnp.inf)  # of what has none, nothing more is asked
        bad = end.invalid | ~(none | jnp.isfinite(returns) & (log_ratio < jnp.inf))
        lost = ~(end.log_evidence > -jnp.inf)  # all died, if only for a while
        counts = ~(bad | none | lost)
        log_weights, log_total, dead = log_normalize(jnp.where(counts, end.log_weights + change, -jnp.inf))
        log_weights = jnp.where(dead, -jnp.inf, log_weights)
        weights = jnp.exp(log_weights)
        ess = ess.at[-1].set(effective_sample_size(jnp.where(dead, 1.0, weights)))
        finite = jnp.where(jnp.isfinite(end.plans), end.plans, 0)
        counted = (weights > 0).reshape(-1, *(1,) * (end.plans.ndim - 1))
        return WeightedPlans(
            plans=jnp.where(counted, end.plans, finite),  # 0 · NaN is NaN in a mean
            returns=jnp.where(lost, jnp.nan, returns),
            log_ratio=log_ratio,
            log_weights=log_weights,
            log_evidence=jnp.where(dead, -jnp.inf, end.log_evidence + log_total),
            num_invalid=end.num_invalid + (bad & ~end.invalid).sum(),
            lineage=Lineage(ess, resampled, _num_ancestors(parents, weights > 0)),
            violation=violation,
        )

    @property
    def _has_plans(self) -> bool:
        """Whether a belief proposes whole plans, rather than a policy actions."""
        return isinstance(self.proposal, Sequential)

    @property
    def _tells_steps(self) -> bool:
        """Whether log p is known step by step; else log p − log q counts where plans end."""
        return stepwise(self.prior) is not None

    def _plans(self, noise: Any) -> tuple[Plans, Float[Array, "K H"] | None]:
        """The plans that noise drives, and log p − log q of their steps, if the prior is known step by step."""
        plans = self.proposal.from_noise(noise)
        if not self._tells_steps:
            return plans, None
        return plans, self._log_prior(plans) - self.proposal.step_log_probs(plans)

    def _log_prior(self, plans: Plans) -> Float[Array, "K H"]:
        """Log p(a_t | a_<t), of plans that may yet be without their later steps."""
        prior = stepwise(self.prior)
        assert prior is not None
        log_probs = prior.step_log_probs(plans)
        if jnp.shape(log_probs) != self.shape:
            raise ValueError(f"step_log_probs of the prior must be of shape {self.shape}, got {log_probs.shape}")
        return log_probs

    def _priced(self, utility: Float[Array, " K"], violation: Float[Array, " K"] | None) -> Float[Array, " K"]:
        """U − μ c; where a constraint is no number, neither is this."""
        return utility if violation is None or self.multiplier is None else utility - self.multiplier * violation

    def _look_ahead(self, models: Any, at: RolloutState) -> Float[Array, "K *M"]:
        """U, the utility of rollouts under way in each scenario."""
        value = self.resampler.value
        return at.total if value is None else self.rollouts.total_with(value)(models, at)

    def _act(
        self, now: _Carry, step: Int[Array, ""], noise_keys: Array, key: Key[Array, ""]
    ) -> tuple[_Carry, _Outcome]:
        """Take the next action of each particle; a policy acts in the states of those that survived."""
        blocks, rollouts, proposal = self.blocks, self.rollouts, self.proposal
        if self._has_plans:
            actions = blocks.here(now.plans[:, step])
        else:
            keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(
                blocks.first() + jnp.arange(blocks.per_device)
            )
            actions = jax.vmap(proposal.sample)(keys, rollouts.first(now.at.state))

        def advance(at: RolloutState, actions: Array, keys: Any, models: Any) -> tuple[RolloutState, _Outcome]:
            models = rollouts.models if models is None else models
            after, _ = rollouts.advance(models, noise_keys if keys is None else keys, at, actions)
            log_policy = log_q = jnp.zeros(len(actions))
            if after.log_prob is not None:
                log_policy = rollouts.mean(after.log_prob)
            if not self._has_plans and self.prior is not None:
                log_q = jax.vmap(lambda s, a: scalar("log_prob of the proposal", proposal.log_prob(s, a)))(
                    rollouts.first(at.state), actions
                )
            utility = rollouts.risk_adjusted(self.risk, self._look_ahead(models, after))
            utility = self._priced(utility, rollouts.violation(self.probabilities, after.violations))
            return after, _Outcome(utility, rollouts.ended(after), log_policy, log_q, _finite(actions))

        at, outcome = blocks.blockwise(
            advance, now.at, actions, noise_keys if rollouts.own_keys else None, now.models
        )
        plans = now.plans if self._has_plans else now.plans.at[:, step].set(blocks.of_particles(actions))
        return now._replace(at=at, plans=plans), blocks.of_particles(outcome)

    def _weigh(
        self, now: _Carry, after: _Carry, outcome: _Outcome, step: Int[Array, ""]
    ) -> tuple[_Carry, Bool[Array, ""]]:
        """Weigh particles by what a step has brought; also whether all are dead."""
        gain = jnp.zeros(self.shape[0])
        if now.log_ratios is not None:
            gain = now.log_ratios[:, step] + outcome.log_policy - now.log_policy
        elif self._tells_steps:
            gain = self._log_prior(after.plans)[:, step] + outcome.log_policy - now.log_policy - outcome.log_q
        none = now.invalid | (now.log_weights == -jnp.inf) | (now.log_ratio == -jnp.inf)  # and none it stays
        log_ratio = now.log_ratio + jnp.where(now.over | none, 0.0, gain)  # actions that nobody takes are free
        valid = outcome.acts & jnp.isfinite(outcome.utility) & (log_ratio < jnp.inf)
        invalid = now.invalid | ~(none | valid)
        # (U⁺ − U)/λ + log p − log q
        change = self.inverse * (outcome.utility - now.utility) + log_ratio - now.log_ratio
        counts = ~(none | invalid | (log_ratio == -jnp.inf))
        log_weights, log_total, dead = log_normalize(jnp.where(counts, now.log_weights + change, -jnp.inf))
        return after._replace(
            utility=outcome.utility,
            log_ratio=log_ratio,
            log_policy=outcome.log_policy,
            log_drawn=now.log_drawn + outcome.log_q,
            over=outcome.over,
            invalid=invalid,
            log_weights=log_weights,
            log_evidence=now.log_evidence + log_total,
            num_invalid=now.num_invalid + (invalid & ~now.invalid).sum(),
        ), dead

    def _descend(self, after: _Carry, parents: Int[Array, " K"], step: Int[Array, ""]) -> _Carry:
        """The children: all that their parents own is theirs, but for what is yet to be drawn."""
        (num_samples, horizon), here = self.shape, self.blocks.here(parents)
        at, models = jax.tree.map(lambda leaf: leaf[here], self.blocks.everywhere((after.at, after.models)))
        noise, plans, log_ratios = after.noise, after.plans[parents], None
        if self._has_plans:
            past = jnp.arange(horizon) <= step

            def inherit(leaf: Array) -> Array:
                return jnp.where(past.reshape(1, -1, *(1,) * (leaf.ndim - 2)), leaf[parents], leaf)

            noise = jax.tree.map(inherit, after.noise)
            plans, log_ratios = self._plans(noise)
        names = ("utility", "log_ratio", "log_policy", "log_drawn", "over", "invalid")
        return after._replace(
            at=at,
            models=models,
            noise=noise,
            plans=plans,
            log_ratios=log_ratios,
            log_weights=jnp.full(num_samples, -math.log(num_samples), float),
            **{name: getattr(after, name)[parents] for name in names},
        )


class _Drawn(NamedTuple):
    """A stand-in for the belief that plans were drawn from, where a policy drew them."""

    log_probs: Float[Array, " K"]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of the plans."""
        return self.log_probs


def _finite(actions: Num[Array, "K *a"]) -> Bool[Array, " K"]:
    """Which actions are finite."""
    return jnp.isfinite(actions).reshape(len(actions), -1).all(-1)


def _num_ancestors(parents: Int[Array, "H K"], alive: Bool[Array, " K"]) -> Int[Array, " H"]:
    """How many particles of each step, before its resampling, have descendants among those that are alive."""

    def back(own: Int[Array, " K"], parents: Int[Array, " K"]) -> tuple[Array, Array]:
        ancestors = parents[own]
        return ancestors, jnp.zeros(len(own), bool).at[ancestors].max(alive).sum()

    return jax.lax.scan(back, jnp.arange(parents.shape[1]), parents, reverse=True)[1]
