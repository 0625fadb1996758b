"""Sequential Monte Carlo: a rollout with a resampler inside (Piché et al., 2019, with exact weights).

Particles are plans under way. Particle k has the log-weight

    Σ_t [U_{t+1} − U_t]/λ + log p(a_t | ·) − log q(a_t | ·),    U_t = Σ_{s<t} γ^s r_s + γ^t V(s_t),

so that a look-ahead V of any quality telescopes away: where the horizon ends U is the return itself. Resampling
duplicates the particles that weigh much, and their children part by what they draw from then on.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from ..dynamics.base import Model, State, scalar
from .base import Belief, Info, Lineage, Optimality, Plans, Policy, Prior, Sequential, check_per_plan
from .diagnostics import Normalized, effective_sample_size, log_normalize
from .priors import FlatPrior, PolicyPrior
from .resampling import Resampler
from .risk import Risk
from .rollout import device_axis, sizes
from .stepping import At, prepare


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


class _Carry(NamedTuple):
    """Everything that particles own; what is heavy, on the device that steps them."""

    at: At
    models: Any  # None where they share them
    noise: Any  # that drives the plans; None where a policy acts
    plans: Plans  # where a policy acts, filled as it does
    log_ratios: Float[Array, "K H"] | None  # of the steps of the plans, where they are known before
    worth: Float[Array, " K"]  # U
    log_ratio: Float[Array, " K"]
    log_policy: Float[Array, " K"]  # log p so far, of a prior over actions in states
    log_drawn: Float[Array, " K"]  # log q so far, of a policy that acts
    over: Bool[Array, " K"]
    invalid: Bool[Array, " K"]
    log_weights: Float[Array, " K"]  # normalised
    log_evidence: Float[Array, ""]
    num_invalid: Int[Array, ""]


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
    best = jnp.where(valid.any(), jnp.max(jnp.where(valid, survivors.returns, -jnp.inf)), 0.0)
    regret = jnp.where(valid, best - survivors.returns, 0.0)
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
    before: Belief,
    after: Belief,
) -> Info:
    """The diagnostics of one iteration.

    Args:
        survivors: of the rollout.
        cooled: at the temperature of the belief.
        weights: of the plans there, [K].
        degenerate: whether nothing can be learnt from them.
        before: q, from which plans were drawn.
        after: what they were projected onto.

    Returns:
        One row of `Info`.
    """
    told = weights > 0
    log_target = jnp.where(told, cooled.optimality.log_weights + survivors.log_ratio, 0.0)  # log W p/q
    kl = (weights * log_target).sum() + cooled.optimality.log_scale - cooled.log_evidence
    ess = effective_sample_size(weights)
    entropy = -jnp.where(told, weights * jnp.log(jnp.where(told, weights, 1.0)), 0.0).sum()
    return Info(
        returns=survivors.returns,
        weights=weights,
        elbo=cooled.log_evidence,
        log_evidence=cooled.log_evidence,
        elbo_gap=None,
        posterior_kl=jnp.where(cooled.normalized.degenerate, 0.0, kl),  # E[log W p/q] − log Z, over the posterior
        evidence_ess=jnp.minimum(survivors.lineage.ess.min(), ess),
        ess=ess,
        max_weight=weights.max(),
        perplexity=jnp.exp(entropy),
        entropy=after.entropy(),
        kl=after.kl(before),
        temperature=cooled.optimality.temperature,
        step_size=None,
        num_invalid=survivors.num_invalid,
        degenerate=degenerate,
        lineage=survivors.lineage,
    )


def sequential(
    model: Model,
    keys: Key[Array, "2"],
    state: State,
    proposal: Sequential | Policy,
    shape: tuple[int, int, int],
    *,
    resampler: Resampler,
    inverse_temperature: Float[Array, ""],
    prior: Prior | None,
    num_scenarios: int | None = None,
    common_noise: bool = True,
    risk: Risk | None = None,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> Survivors:
    """Roll particles out, and resample them on the way.

    Args:
        model: what to imagine with.
        keys: of what is drawn, and of the model's noise and scenarios.
        state: where all plans start.
        proposal: q: a belief over plans, or a policy over actions in states (under several scenarios in the state of
            the first).
        shape: K, H and A.
        resampler: when and how to resample, and the look-ahead.
        inverse_temperature: b = 1/λ >= 0, a scalar.
        prior: p; None for q itself. One that tells steps apart counts step by step, others where the horizon ends.
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
    (num_samples, horizon, _), (num_scenarios, block_size) = shape, sizes(model, state, num_scenarios, chunk_size)
    axis, num_devices = (None, 1) if sharding is None else device_axis(sharding)
    # equal blocks on equal devices: slots beyond the last particle are idle
    share = math.ceil(num_samples / num_devices)
    num_blocks = math.ceil(share / block_size)
    size = math.ceil(share / num_blocks)
    share = num_blocks * size
    draw_key, scan_key = jax.random.split(keys[0])
    policy = None if isinstance(proposal, Sequential) else proposal
    # p and q over actions in states: step by step where both are known, else log p − log q where the horizon ends
    counts_policy = policy is not None and isinstance(prior, PolicyPrior | FlatPrior)

    def run(parts: Any, key: Array) -> Survivors:
        model, state, proposal, resampler, inverse, prior, risk, noise_key, draw_key = parts
        first = jnp.zeros((), int) if axis is None else jax.lax.axis_index(axis) * share
        rollouts = prepare(
            model,
            noise_key,
            state,
            share,
            horizon,
            first,
            num_scenarios=num_scenarios,
            common_noise=common_noise,
            policy=getattr(prior, "policy", None),
            freeze=policy is not None,
        )

        def whole(tree: Any) -> Any:
            """Of all slots of all devices."""
            return tree if axis is None else jax.tree.map(lambda leaf: _all_gather(leaf, axis), tree)

        def everyone(tree: Any) -> Any:
            """Of all particles."""
            return jax.tree.map(lambda leaf: leaf[:num_samples], whole(tree))

        def own(values: Array) -> Array:
            """Of the slots of this device; idle ones get those of particle 0."""
            padded = jnp.concatenate([values, jnp.repeat(values[:1], num_devices * share - num_samples, axis=0)])
            return jax.lax.dynamic_slice_in_dim(padded, first, share)

        def blockwise(function: Callable[..., Any], *batched: Any) -> Any:
            if num_blocks == 1:
                return function(*batched)
            split = jax.tree.map(lambda leaf: leaf.reshape(num_blocks, size, *leaf.shape[1:]), batched)
            mapped = jax.lax.map(lambda block: function(*block), split)
            return jax.tree.map(lambda leaf: leaf.reshape(share, *leaf.shape[2:]), mapped)

        def plans_of(noise: Any) -> tuple[Plans, Float[Array, "K H"] | None]:
            plans = proposal.from_noise(noise)
            tell_steps = getattr(prior, "step_log_ratios", None)
            return plans, None if tell_steps is None else tell_steps(plans, proposal)

        look_ahead = _look_ahead(rollouts.worth, resampler)

        def body(now: _Carry, inputs: Any) -> tuple[_Carry, Any]:
            step, noise_keys, key = inputs
            act_key, resample_key = jax.random.split(key)
            if policy is None:
                actions = own(now.plans[:, step])
            else:
                keys = jax.vmap(lambda slot: jax.random.fold_in(act_key, slot))(first + jnp.arange(share))
                actions = jax.vmap(proposal.sample)(keys, rollouts.first(now.at.state))

            def advance(at: At, actions: Array, keys: Any, models: Any) -> Any:
                models = rollouts.models if models is None else models
                keys = noise_keys if keys is None else keys
                after, _ = rollouts.advance(models, keys, at, actions)
                told = [rollouts.certain(risk, look_ahead(models, after)), rollouts.over(after)]
                told.append(jnp.zeros(len(actions)) if after.log_prob is None else rollouts.mean(after.log_prob))
                log_q = jnp.zeros(len(actions))
                if policy is not None and prior is not None:
                    log_q = jax.vmap(lambda s, a: scalar("log_prob of the proposal", proposal.log_prob(s, a)))(
                        rollouts.first(at.state), actions
                    )
                return after, (*told, log_q)

            at, told = blockwise(advance, now.at, actions, noise_keys if rollouts.own_keys else None, now.models)
            worth, over, log_policy, log_q = everyone(told)
            plans = now.plans if policy is None else now.plans.at[:, step].set(everyone(actions))
            gain = jnp.zeros(num_samples)
            if now.log_ratios is not None:
                gain = now.log_ratios[:, step] + log_policy - now.log_policy
            elif counts_policy:
                gain = log_policy - now.log_policy - log_q
            acts = everyone(jnp.isfinite(actions).all(-1))
            none = now.invalid | (now.log_weights == -jnp.inf)  # and none it stays
            log_ratio = now.log_ratio + jnp.where(now.over | none, 0.0, gain)  # actions that nobody takes are free
            bad = now.invalid | ~(none | acts & jnp.isfinite(worth) & (log_ratio < jnp.inf))
            change = inverse * (worth - now.worth) + log_ratio - now.log_ratio
            log_weights = jnp.where(none | bad | (log_ratio == -jnp.inf), -jnp.inf, now.log_weights + change)
            log_weights, log_total, dead = log_normalize(log_weights)
            weights = jnp.exp(log_weights)
            ess = effective_sample_size(weights)
            after = now._replace(
                at=at,
                plans=plans,
                worth=worth,
                log_ratio=log_ratio,
                log_policy=log_policy,
                log_drawn=now.log_drawn + log_q,
                over=over,
                invalid=bad,
                log_weights=log_weights,
                log_evidence=now.log_evidence + log_total,
                num_invalid=now.num_invalid + (bad & ~now.invalid).sum(),
            )

            def resample(after: _Carry) -> tuple[_Carry, Array]:
                parents = check_per_plan(
                    "what resampling returns", resampler.scheme(resample_key, weights, num_samples), num_samples
                ).astype(int)
                mine = own(parents)

                def descend(tree: Any) -> Any:  # of what lies on devices
                    return jax.tree.map(lambda leaf: leaf[mine], whole(tree))

                past = jnp.arange(horizon) <= step
                noise, plans, log_ratios = after.noise, after.plans[parents], None
                if policy is None:  # what was drawn is inherited, what is to come is one's own
                    noise = jax.tree.map(
                        lambda leaf: jnp.where(_along(past, leaf), leaf[parents], leaf),
                        after.noise,
                    )
                    plans, log_ratios = plans_of(noise)
                inherited = {
                    name: getattr(after, name)[parents]
                    for name in ("worth", "log_ratio", "log_policy", "log_drawn", "over", "invalid")
                }
                return after._replace(
                    at=descend(after.at),
                    models=descend(after.models),
                    noise=noise,
                    plans=plans,
                    log_ratios=log_ratios,
                    log_weights=jnp.full(num_samples, -math.log(num_samples), float),
                    **inherited,
                ), parents

            resampled = (ess < resampler.ess_threshold * num_samples) & (step < horizon - 1) & ~dead
            after, parents = jax.lax.cond(resampled, resample, lambda after: (after, jnp.arange(num_samples)), after)
            return after, (ess, resampled, parents)

        plans, noise, log_ratios = jnp.zeros(shape), None, None
        if policy is None:
            noise = proposal.noise(draw_key, num_samples)
            plans, log_ratios = plans_of(noise)
        start_worth = rollouts.certain(risk, look_ahead(rollouts.models, rollouts.start))[0]
        start_worth = jnp.where(jnp.isfinite(start_worth), start_worth, 0.0)  # what it says telescopes away
        nothing = jnp.zeros(num_samples)
        start = _Carry(
            at=rollouts.start,
            models=rollouts.models if rollouts.own_models else None,
            noise=noise,
            plans=plans,
            log_ratios=log_ratios,
            worth=jnp.full(num_samples, start_worth),
            log_ratio=nothing,
            log_policy=nothing,
            log_drawn=nothing,
            over=jnp.zeros(num_samples, bool),
            invalid=jnp.zeros(num_samples, bool),
            log_weights=jnp.full(num_samples, -math.log(num_samples), float),
            log_evidence=inverse * start_worth,
            num_invalid=jnp.zeros((), int),
        )
        steps = (jnp.arange(horizon), rollouts.keys, jax.random.split(key, horizon))
        end, (ess, resampled, parents) = jax.lax.scan(body, start, steps)

        finish = rollouts.worth(lambda model, state: model.value(state))
        models = rollouts.models if end.models is None else end.models
        returns = everyone(rollouts.certain(risk, finish(models, end.at)))
        # the look-ahead of the last step gives way to what lies beyond the horizon in truth
        log_ratio = end.log_ratio
        change = inverse * (returns - end.worth)
        if prior is not None and not counts_policy and end.log_ratios is None:  # p of whole plans
            drawn_by: Any = proposal if policy is None else _Drawn(end.log_drawn)
            log_ratio = prior.log_ratio(end.plans, drawn_by) + end.log_policy
            change += log_ratio
        bad = end.invalid | ~jnp.isfinite(returns) | ~(log_ratio < jnp.inf)
        lost = ~(end.log_evidence > -jnp.inf)
        log_weights, log_total, dead = log_normalize(jnp.where(bad | lost, -jnp.inf, end.log_weights + change))
        log_weights = jnp.where(dead, -jnp.inf, log_weights)
        weights = jnp.exp(log_weights)
        ess = ess.at[-1].set(effective_sample_size(jnp.where(dead, 1.0, weights)))
        dead_plans = jnp.where(jnp.isfinite(end.plans), end.plans, 0.0)  # 0 · NaN is NaN in a mean
        return Survivors(
            plans=jnp.where((weights > 0)[:, None, None], end.plans, dead_plans),
            returns=jnp.where(lost, jnp.nan, returns),
            log_ratio=log_ratio,
            log_weights=log_weights,
            log_evidence=jnp.where(dead, -jnp.inf, end.log_evidence + log_total),
            num_invalid=end.num_invalid + (bad & ~end.invalid).sum(),
            lineage=Lineage(ess, resampled, _num_ancestors(parents, weights > 0)),
        )

    parts = (model, state, proposal, resampler, inverse_temperature, prior, risk, keys[1], draw_key)
    if sharding is None:
        return run(parts, scan_key)
    everywhere = PartitionSpec()
    return jax.shard_map(run, mesh=sharding.mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)(
        parts, scan_key
    )


class _Drawn(NamedTuple):
    """A stand-in for the belief that plans were drawn from, where a policy drew them."""

    log_probs: Float[Array, " K"]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of the plans."""
        return self.log_probs


def _look_ahead(worth: Callable[..., Any], resampler: Resampler) -> Callable[..., Array]:
    """What rollouts under way are worth in each scenario, (models, at) -> [K] or [K, M]."""
    if resampler.model_value:
        return worth(lambda model, state: model.value(state))
    if resampler.value is not None:
        value = resampler.value
        return worth(lambda model, state: value(state))
    return lambda models, at: at.total


def _num_ancestors(parents: Int[Array, "H K"], alive: Bool[Array, " K"]) -> Int[Array, " H"]:
    """How many particles of each step, before its resampling, have descendants among those that are alive."""

    def back(own: Int[Array, " K"], parents: Int[Array, " K"]) -> tuple[Array, Array]:
        ancestors = parents[own]
        return ancestors, jnp.zeros(len(own), bool).at[ancestors].max(alive).sum()

    return jax.lax.scan(back, jnp.arange(parents.shape[1]), parents, reverse=True)[1]


def _along(past: Bool[Array, " H"], leaf: Array) -> Array:
    """`past` as a mask of a leaf [K, H, ...]."""
    return past.reshape(1, -1, *(1,) * (leaf.ndim - 2))


def _all_gather(leaf: Array, axis: Any) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jax.lax.all_gather(jax.random.key_data(leaf), axis, tiled=True)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.lax.all_gather(leaf, axis, tiled=True)
