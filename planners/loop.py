"""Planning as inference: the one loop, and what is built around it (infer, plan, episode)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..dynamics.base import Model, State, action_limit, check_model, checked_step, integer, pytree, static
from .base import (
    Belief,
    Info,
    Likelihood,
    Optimality,
    Planner,
    Plans,
    Prior,
    Proposal,
    center,
    check_belief,
    check_key,
    check_per_plan,
    fresh,
    has_center,
    propose,
    range_of_centers,
    update,
    within,
)
from .diagnostics import Weighed, diagnose, log_normalize
from .families.incumbent import Incumbent, incumbent
from .families.refined import Refined
from .placement import check_placed, place, sharding_of
from .refinement import Refiner, refine
from .resampling import Resampler
from .risk import Risk
from .rollout import Scores, score
from .sequential import sequential
from .step_sizes import StepSize
from .stepping import same_noise, stand_still
from .survivors import cool, diagnose_particles
from .tempering import Tempering
from .warm_start import Shift


@pytree
class SamplingPlanner:
    """A planner that samples plans, scores them, and projects the weighted plans back onto its family.

    Which planner it is, its components decide. Make one with a factory (`mppi`, `cem`, ...) or `sampling_planner`.

    Attributes:
        belief: q₀, where inference starts, and what a warm start falls back on.
        likelihood: W, how returns become weights.
        prior: adds log p − log q to the log-weights; None leaves it out.
        step_size: κ, how far an iteration goes towards the posterior; None for all the way.
        risk: what a plan's returns in several scenarios are worth together; None for their mean.
        resampler: resamples plans on the way, which makes them particles; None for plans that go their own way. The
            likelihood is then a `Tempering`.
        warm_start: how beliefs move on by a time step; None to forget them.
        refine: another planner that goes on from where this ends, see `planners.refinement`; None for none.
        num_samples: the number K of plans per iteration, or of each iteration.
        num_iterations: the number I of iterations.
        include_mode: whether the centre of the belief is one of the K plans.
        explore_fraction: of the plans that have the initial belief's spread around the present centre.
        clip_plans: whether plans are clipped to [-1, 1] before they are tried and fitted to.
        per_step: whether every step is weighed by what remains of the return from there on.
        bounds: "clip" keeps the centre of the belief near the actuators' range, "none" lets it go; None as the model
            says.
        discrete: whether plans are of a list of actions, which have no range.
        execute: "mode", "mean", "best", "sample" or "component".
        diagnostics: whether `info` tells more than returns.
        num_scenarios: in how many scenarios a plan is tried; None for as many as the model wants.
        common_noise: whether all plans meet the same scenarios.
        rollout_chunk_size: how many rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices; None for one device.
    """

    belief: Belief
    likelihood: Likelihood
    prior: Prior | None
    step_size: StepSize | None
    risk: Risk | None
    resampler: Resampler | None
    warm_start: Shift | None
    refine: Refiner | None
    num_samples: int | tuple[int, ...] = static()
    num_iterations: int = static()
    include_mode: bool = static()
    explore_fraction: float = static()
    clip_plans: bool = static()
    per_step: bool = static()
    bounds: str | None = static()
    discrete: bool = static()
    execute: str = static()
    diagnostics: bool = static()
    num_scenarios: int | None = static()
    common_noise: bool = static()
    rollout_chunk_size: int | None = static()
    sharding: NamedSharding | None = static()

    def start(self, model: Model, state: State) -> Any:
        """The initial belief, whatever the model: `belief`, with its mode for the best plan that is known."""
        return fresh(self._initial())

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Info]:
        """Run the loop from `belief`.

        Args:
            model: what to imagine with.
            key: of samples and noise.
            state: where plans start.
            belief: what `start`, `improve` or `shift` gave; or a belief of the family alone.

        Returns:
            The belief, which tells the best plan that was seen, and one row of `Info` per iteration.

        Raises:
            ValueError: if `belief` is not of the family and shape of `self.belief`.
        """
        belief, own = self._known(belief), self._initial()
        if isinstance(own.belief, Refined) and isinstance(belief.belief, Refined):
            check_belief(own.belief.belief, belief.belief.belief)
        check_belief(own.belief, belief.belief)  # which a user knows; the rest follows from it
        check_belief(own, belief)
        if self.refine is None:
            return self._iterate(model, key, state, belief)
        loop_key, refine_key, noise_key = jax.random.split(key, 3)
        before = belief.belief
        found, info = self._iterate(model, loop_key, state, dataclasses.replace(belief, belief=before.belief))

        def worth(plans: Plans) -> Float[Array, " K"]:
            return score(model, jax.random.clone(noise_key), state, plans, **self._how_to_roll_out()).returns

        refined, told = refine(self.refine, model, refine_key, state, found.belief, before, worth)
        found = dataclasses.replace(found, belief=refined).challenged(refined.plan[None], told.worth.max()[None])
        info = info.told("best_return", info.best_return.at[-1].set(found.worth))
        return found, dataclasses.replace(info, refinement=told)

    def _iterate(self, model: Model, key: PRNGKeyArray, state: State, belief: Incumbent) -> tuple[Incumbent, Info]:
        """The loop itself."""
        contained, limit = self._containment(model, state, belief)

        def iterate(
            carry: tuple[Incumbent, Any], inputs: tuple[Array, Array], num_samples: int
        ) -> tuple[tuple[Incumbent, Any], Info]:
            (seen, inverse), (keys, last) = carry, inputs
            before = seen.belief
            if self.resampler is None:
                imagined = self._sample(model, keys, state, before, num_samples)  # a ~ q, W(R(a)) [p(a)/q(a)]
            else:
                imagined, inverse = self._resample(model, keys, state, before, inverse, last)
            # argmin KL(Σ w δ_a ‖ q)
            fitted = update(imagined.belief, imagined.plans, imagined.weights, imagined.scored)
            fitted = contained(_keep(imagined.degenerate, before, fitted))
            if imagined.drifts is not None:
                fitted = dataclasses.replace(
                    fitted, proposal=_keep(imagined.drifts, before.proposal, fitted.proposal)
                )
            seen = dataclasses.replace(seen, belief=fitted).challenged(imagined.plans, imagined.scored)
            info = imagined.diagnose(seen.worth, before, fitted)
            return (seen, inverse), info if self.diagnostics else info.brief()

        if not isinstance(self.num_samples, int) and len(self.num_samples) != self.num_iterations:
            raise ValueError(f"num_iterations must be {len(self.num_samples)}, as many as num_samples has numbers")
        keys = jax.random.split(key, (self.num_iterations, 2))
        last = jnp.arange(self.num_iterations) == self.num_iterations - 1
        inverse = None
        if self.resampler is not None:
            inverse = _tempering(self.likelihood).start(getattr(belief.belief, "inverse_temperature", None))
        limit = jnp.full_like(belief.limit, limit)
        carry = (dataclasses.replace(belief, limit=limit), inverse)
        if isinstance(self.num_samples, int) and self.num_iterations > 1:
            size = self.num_samples
            carry, info = jax.lax.scan(lambda carry, now: iterate(carry, now, size), carry, (keys, last))
            return carry[0], info
        sizes, infos = (self.num_samples,) if isinstance(self.num_samples, int) else self.num_samples, []
        for i, size in enumerate(sizes):  # another size is another program; in a loop of one XLA would simplify less
            carry, info = iterate(carry, (keys[i], last[i]), size)
            idle = (0, max(sizes) - size)
            infos.append(
                dataclasses.replace(
                    info,
                    returns=jnp.pad(info.returns, idle, constant_values=jnp.nan),
                    weights=None if info.weights is None else jnp.pad(info.weights, idle),
                )
            )
        return carry[0], jax.tree.map(lambda *rows: jnp.stack(rows), *infos)

    def _containment(self, model: Model, state: State, seen: Incumbent) -> tuple[Callable[[Any], Any], Any]:
        """What keeps the centres of a belief near the actuators' range, and the limit of actions."""
        if self.discrete or self.bounds == "none":
            return _same, jnp.inf
        limit = 1.0 if self.bounds == "clip" else action_limit(model, same_noise(state), seen.limit < jnp.inf)
        if limit is None:
            return _same, jnp.inf
        if not has_center(self.belief):
            return _same, limit
        most = jnp.where(limit < jnp.inf, range_of_centers(self.belief), jnp.inf)
        return lambda belief: within(belief, most), limit

    def _sample(self, model: Model, keys: Array, state: State, before: Any, num_samples: int) -> "_Imagined":
        """Plans that each go their own way."""
        proposal = self._propose(keys[0], before, num_samples)
        plans, belief = proposal.plans, proposal.belief
        scores = score(
            model,
            keys[1],
            state,
            plans,
            policy=getattr(self.prior, "policy", None),
            to_go=self.per_step,
            **self._how_to_roll_out(),
        )
        weighed = self._weigh(proposal, scores)
        weights = shown = jnp.exp(weighed.normalized.log_weights)
        if scores.to_go is not None:
            weights = self._weigh_steps(weighed, scores.to_go)
            shown = weights.sum(-1) / jnp.maximum(weights.sum(), 1e-30)  # of the steps that tell something
        return _Imagined(
            belief=belief,
            plans=plans,
            weights=weights,
            scored=jnp.where(weighed.valid, scores.returns, -jnp.inf),
            degenerate=weighed.degenerate,
            drifts=None,
            diagnose=functools.partial(diagnose, scores.returns, shown, weighed),
        )

    def _resample(
        self, model: Model, keys: Array, state: State, before: Any, inverse: Float[Array, ""], last: Bool[Array, ""]
    ) -> tuple["_Imagined", Float[Array, ""]]:
        """Plans that survive resampling at the temperature reached, weighed on to the next; that as its inverse."""
        assert self.resampler is not None  # see `sampling_planner`
        assert isinstance(self.num_samples, int)
        survivors = sequential(
            model,
            keys,
            state,
            getattr(before, "proposal", before),
            (self.num_samples, *before.mode().shape),
            resampler=self.resampler,
            inverse_temperature=inverse,
            prior=self.prior,
            **self._how_to_roll_out(),
        )
        valid = survivors.log_weights > -jnp.inf
        scored = jnp.where(valid, survivors.returns, -jnp.inf)
        reached = _tempering(self.likelihood).cool(
            inverse, survivors.log_weights, survivors.returns, survivors.log_evidence, last
        )
        reached = jnp.where(valid.any(), reached, inverse)
        cooled = cool(survivors, inverse, reached)
        weights = jnp.exp(cooled.normalized.log_weights)
        degenerate, drifts = cooled.normalized.degenerate, None
        told = degenerate
        if self.prior is None:  # equal returns tell nothing: do not drift with the noise of the samples
            told = degenerate | _equal(scored, valid)
            degenerate, drifts = (degenerate, told) if hasattr(before, "proposal") else (told, None)
        return _Imagined(
            belief=_remember(before, reached),
            plans=survivors.plans,
            weights=weights,
            scored=scored,
            degenerate=degenerate,
            drifts=drifts,
            diagnose=functools.partial(diagnose_particles, survivors, cooled, weights, told),
        ), reached

    def _how_to_roll_out(self) -> dict[str, Any]:
        return {
            "num_scenarios": self.num_scenarios,
            "common_noise": self.common_noise,
            "risk": self.risk,
            "chunk_size": self.rollout_chunk_size,
            "sharding": self.sharding,
        }

    def _propose(self, key: PRNGKeyArray, belief: Any, num_samples: int) -> Proposal:
        num_explored = round(self.explore_fraction * num_samples)
        sample_key, explore_key = (key, key) if num_explored == 0 else jax.random.split(key)
        proposal = propose(belief, sample_key, num_samples)
        plans, log_base = proposal.plans, proposal.log_correction
        drawn = jnp.ones(num_samples, bool) if proposal.drawn is None else proposal.drawn
        everything = proposal.drawn is None and not self.include_mode
        if num_explored:
            away = center(belief) - center(self.belief)
            first = int(self.include_mode)
            explored = away + self.belief.sample(explore_key, num_explored)
            plans = plans.at[first : first + num_explored].set(explored)
            if self.prior is None:  # of whose weights no densities are part
                drawn, everything = drawn.at[first : first + num_explored].set(False), False
            else:  # what was drawn from a mixture has the mixture's density r
                log_q, share = proposal.belief.log_prob(plans), num_explored / drawn.at[:first].set(False).sum()
                log_drawn = log_q if log_base is None else _density_of(proposal)(plans)
                log_wide = self.belief.log_prob(plans - away)
                log_base = log_q - jnp.logaddexp(jnp.log1p(-share) + log_drawn, jnp.log(share) + log_wide)
        if self.include_mode:
            plans, drawn = plans.at[0].set(center(belief)), drawn.at[0].set(False)
        if self.clip_plans:
            plans = jnp.clip(plans, -1.0, 1.0)
        return Proposal(plans, proposal.belief, log_base, drawn=None if everything else drawn)

    def _weigh(self, proposal: Proposal, scores: Scores) -> Weighed:
        plans, belief, log_base, drawn = proposal.plans, proposal.belief, proposal.log_correction, proposal.drawn
        returns = scores.returns
        valid = jnp.isfinite(returns)
        log_ratio = None if self.prior is None else self.prior.log_ratio(plans, belief)
        if log_ratio is not None:
            check_per_plan("log_ratio of the prior", log_ratio, len(plans))
            if scores.log_prob is not None:  # a prior over actions in states, known after the rollout only
                log_ratio += scores.log_prob
            valid &= log_ratio < jnp.inf  # a density may be zero, but neither NaN nor infinite
            if drawn is not None:  # the posterior is made of samples
                log_base = jnp.where(drawn, jnp.zeros(len(plans)) if log_base is None else log_base, -jnp.inf)
        optimality = _optimality(self.likelihood, jnp.where(valid, returns, -jnp.inf))
        log_ratios = optimality.log_weights if log_ratio is None else optimality.log_weights + log_ratio
        log_ratios = jnp.where(valid, log_ratios, -jnp.inf)  # whatever a user's likelihood says of them
        posterior = normalized = log_normalize(log_ratios if log_base is None else log_ratios + log_base)
        size = None
        if self.step_size is not None:  # q⁺ ∝ q^(1−κ) (p W)^κ
            size = self.step_size(log_ratios, log_base)
            stepped = jnp.where(log_ratios > -jnp.inf, size * jnp.where(valid, log_ratios, 0.0), -jnp.inf)
            normalized = log_normalize(stepped if log_base is None else stepped + log_base)
        degenerate = posterior.degenerate
        if log_ratio is None:  # equal returns tell nothing: do not drift with the noise of the samples
            degenerate |= _equal(returns, valid)
        return Weighed(valid, log_ratios, log_base, drawn, optimality, posterior, normalized, size, degenerate)

    def _weigh_steps(self, weighed: Weighed, to_go: Float[Array, "K H"]) -> Float[Array, "K H"]:
        """Weights of every step by what remains of the return; all zero where that is the same for all plans."""

        def weights(returns: Float[Array, " K"]) -> Float[Array, " K"]:
            log_weights = log_normalize(_optimality(self.likelihood, returns).log_weights).log_weights
            return jnp.where(_equal(returns, weighed.valid), 0.0, jnp.exp(log_weights))

        scored = jnp.where(weighed.valid[:, None], to_go, -jnp.inf)
        return jax.vmap(weights, in_axes=1, out_axes=1)(scored)

    def act(self, key: PRNGKeyArray, belief: Any) -> Float[Array, " A"]:
        """The first action of the plan to execute: the belief's mode or mean, a sample of it, or one of its modes."""
        belief = self._known(belief)
        if self.refine is not None or self.execute in ("mode", "best"):
            return belief.mode()[0]
        if self.execute == "sample":
            action = belief.sample(key, 1)[0, 0]
        elif self.execute == "mean":
            action = belief.mean[0]
        else:
            action = belief.random_mode(key)[0]
        return jnp.clip(action, -belief.limit, belief.limit)

    def shift(self, belief: Any) -> Any:
        """The belief from which to plan at the next time step."""
        return fresh(self._initial() if self.warm_start is None else belief.shift(self._initial(), self.warm_start))

    def _initial(self) -> Incumbent:
        return self._known(self.belief)

    def _known(self, belief: Any) -> Incumbent:
        """The belief, with its mode for the plans that it does not tell, if it is one of the family alone."""
        if isinstance(belief, Incumbent):
            return belief
        if self.refine is not None and not isinstance(belief, Refined):
            belief = Refined(belief, belief.mode())
        return incumbent(belief, executes=self.execute == "best")


class _Imagined(NamedTuple):
    """What was imagined in an iteration.

    Attributes:
        belief: what proposed the plans, with what it remembers of that.
        plans: [K, H, A].
        weights: of the plans, [K], or of each step, [K, H].
        scored: returns [K]; −inf for plans that must get no weight.
        degenerate: whether nothing can be learnt from them.
        drifts: whether only the proposal of particles must stay, for their plans are news nevertheless; None for
            other beliefs.
        diagnose: (best return so far, belief before, belief after) -> Info.
    """

    belief: Any
    plans: Plans
    weights: Float[Array, " K *H"]
    scored: Float[Array, " K"]
    degenerate: Bool[Array, ""]
    drifts: Bool[Array, ""] | None
    diagnose: Callable[[Array, Any, Any], Info]


class Episode(NamedTuple):
    """What happened in an episode of T steps, time first.

    Attributes:
        states: in which the actions were taken, the environment's pytree with a leading axis T.
        actions: [T, A], on the scale of plans, which the model clips to [-1, 1].
        rewards: [T]; zero after the end.
        discounts: [T]; zero from the end on.
        infos: of each planning, with a leading axis T.
        final_state: the state after the last step.
    """

    states: State
    actions: Float[Array, "T A"]
    rewards: Float[Array, " T"]
    discounts: Float[Array, " T"]
    infos: Any
    final_state: State


def infer(planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any = None) -> tuple[Any, Any]:
    """Infer the posterior over plans from `state`: open-loop trajectory optimisation.

    Plans of `ilqr` and `gradient` have the derivatives of converged plans, with respect to all that model, state and
    planner are made of; those of `mppi`, `pi2`, `dial`, `tsallis` and `vi_mpc` the derivatives of a weighted mean
    under the same random numbers. To differentiate others is an error; see `docs/derivatives.md`.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: where inference starts; None for `planner.start(model, state)`.

    Returns:
        The belief, whose `mode()` is the plan [H, A], and the planner's info, one row per iteration.

    Raises:
        ValueError: if the planner is none, or the model, or the key; if one of them is on other devices than plans
            are spread over, see `planners.place`; or where a planner is differentiated that has no derivatives.
    """
    if not isinstance(planner, Planner):
        raise ValueError(f"planner must be a planner, got {type(planner).__name__} (the planner comes first)")
    check_model("model", model)
    check_placed(sharding_of(planner), planner=planner, model=model, key=key, state=state, belief=belief)
    belief = planner.start(model, state) if belief is None else belief
    return planner.improve(model, check_key(key), state, belief)


def plan(
    planner: Planner, model: Model, key: PRNGKeyArray, state: State, belief: Any = None
) -> tuple[Float[Array, " A"], Any, Any]:
    """Infer, and choose the action to execute now: one step of model predictive control.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start, a state of `model`.
        belief: what the call before returned; None for `planner.start(model, state)`. (Under jit, None and a belief
            are two programs; what `start` gives and a belief are one.)

    Returns:
        The action [A], on the scale of plans, which the model clips to [-1, 1]; the belief to plan from at the next
        time step; and the planner's info.

    Raises:
        ValueError: as `infer` does.
    """
    infer_key, act_key = jax.random.split(check_key(key))
    belief, info = infer(planner, model, infer_key, state, belief)
    return planner.act(act_key, belief), planner.shift(belief), info


def episode(
    planner: Planner,
    model: Model,
    env: Model,
    key: PRNGKeyArray,
    num_steps: int,
    *,
    observe: Callable[[State], State] | None = None,
) -> Episode:
    """Control `env` by planning with `model` at every step, as one scan: jit it, vmap it over keys.

    Args:
        planner: how to infer.
        model: what to imagine with.
        env: what to act in; may be another model.
        key: of everything random.
        num_steps: the number T of steps; under jit a static argument.
        observe: turns a state of `env` into one of `model`; None where they are the same.

    Returns:
        The episode. After its end the state stands still, and rewards and discounts are zero.

    Raises:
        ValueError: as `infer` does, or if `num_steps` is not positive.
    """
    integer("num_steps", num_steps)

    def control(carry: tuple[State, Any, Array], key: Array) -> tuple[tuple[State, Any, Array], tuple[Any, ...]]:
        state, belief, alive = carry
        plan_key, step_key = jax.random.split(key)
        seen = state if observe is None else observe(state)
        action, belief, info = plan(planner, model, plan_key, seen, belief)
        step = checked_step(env.step(step_key, state, action), state)
        reward = jnp.where(alive, step.reward, 0.0)
        discount = jnp.where(alive, step.discount, 0.0)
        state_next = stand_still(~alive, state, step.state)
        return (state_next, belief, discount != 0), (state, action, reward, discount, info)

    key, sharding = check_key(key), sharding_of(planner)
    if sharding is not None:
        planner, model, env, key = place((planner, model, env, key), sharding)
    init_key, control_key = jax.random.split(key)
    first = env.init(init_key)
    if sharding is not None:  # an engine may have committed it elsewhere
        first = place(first, sharding)
    belief = planner.start(model, first if observe is None else observe(first))
    carry = (first, belief, jnp.array(True))
    (final_state, _, _), history = jax.lax.scan(control, carry, jax.random.split(control_key, num_steps))
    states, actions, rewards, discounts, infos = history
    return Episode(states, actions, rewards, discounts, infos, final_state)


def _density_of(proposal: Proposal) -> Callable[[Plans], Float[Array, " K"]]:
    if proposal.log_density is None:
        raise ValueError(
            f"explore_fraction needs log_density of what {type(proposal.belief).__name__} proposes, got None"
        )
    return proposal.log_density


def _same(belief: Any) -> Any:
    return belief


def _keep(condition: Bool[Array, ""], old: Any, new: Any) -> Any:
    """The old belief where the condition holds, else the new one."""
    return jax.tree.map(lambda old, new: jnp.where(condition, old, new), old, new)


def _remember(belief: Any, inverse: Float[Array, ""]) -> Any:
    """The belief, with the temperature that was reached, if it is one that remembers it."""
    if not hasattr(belief, "inverse_temperature"):
        return belief
    return dataclasses.replace(belief, inverse_temperature=inverse)


def _tempering(likelihood: Likelihood) -> Tempering:
    if not isinstance(likelihood, Tempering):
        raise ValueError(f"likelihood must be planners.tempering(...) to resample, got {type(likelihood).__name__}")
    return likelihood


def _optimality(likelihood: Likelihood, returns: Float[Array, " K"]) -> Optimality:
    optimality = likelihood(returns)
    if not isinstance(optimality, Optimality):
        raise ValueError(f"likelihood must return planners.Optimality, got {type(optimality).__name__}")
    check_per_plan("log_weights of the likelihood", optimality.log_weights, len(returns))
    return optimality


def _equal(returns: Float[Array, " K"], valid: Bool[Array, " K"]) -> Bool[Array, ""]:
    """Whether all plans are valid and worth the same, but for rounding."""
    scored = jnp.where(valid, returns, -jnp.inf)
    best, worst = scored.max(), scored.min()
    return best - worst <= 8.0 * jnp.finfo(returns.dtype).eps * jnp.abs(best)  # −∞ + ∞ is not
