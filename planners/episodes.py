"""Whole episodes of control, by any planner."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from ..dynamics.base import Model, State, check_model
from ..dynamics.checks import integer
from ..dynamics.constraints import constraint_names, violations, watched_step
from ..dynamics.spaces import action_space
from ..dynamics.trial import check_state
from .api import Planner, planned, thought
from .checks import check_key, explained, noted
from .info import Info
from .rates import Persistent, answer, at_rate, pace_of, same_duration, what_is_left, within_range
from .rollouts.ends import frozen_if
from .rollouts.placement import place, sharding_of
from .sampling.incumbent import modes_of


class Episode(NamedTuple):
    """What happened in an episode of T steps, time first.

    Attributes:
        states: in which the actions were taken, the environment's pytree with a leading axis T.
        actions: [T, A], on the scale of plans, which the model clips to [-1, 1]; [T] where actions are discrete.
        rewards: [T]; zero after the end.
        discounts: [T]; zero from the end on.
        infos: of the planning that each action is by, with a leading axis T: where actions are by one planning they
            are the same.
        final_state: the state after the last step.
        plans: what was planned in each step, [T, H, A], where it was kept, between plannings what is left of it; else
            None.
        modes: where it was kept, of a belief with several modes: these, [T, M, H, A], and their weights, [T, M].
        violations: by how much each step violated each constraint (`dynamics.constraint_names`) of the environment,
            or of the model, if it is the one that has some, [T, C]; None where neither has.
    """

    states: State
    actions: Num[Array, "T *a"]
    rewards: Float[Array, " T"]
    discounts: Float[Array, " T"]
    infos: Any
    final_state: State
    plans: Num[Array, "T H *a"] | None = None
    modes: tuple[Num[Array, "T M H *a"], Float[Array, "T M"]] | None = None
    violations: Float[Array, "T C"] | None = None


class _Held(NamedTuple):
    """What stays from one planning until the next.

    Attributes:
        belief: to plan from then.
        found: that actions are by.
        info: of the planner.
        act_key: of the actions.
    """

    belief: Any
    found: Any
    info: Info
    act_key: PRNGKeyArray


class _Carry(NamedTuple):
    """What goes from one step to the next.

    Attributes:
        state: of the environment.
        belief: to plan from, where every step is planned; else None.
        alive: whether the episode has not ended.
        held: where not every step of the model is planned; else None.
    """

    state: State
    belief: Any
    alive: Array
    held: _Held | None


def episode(
    planner: Planner,
    model: Model,
    env: Model,
    key: PRNGKeyArray,
    num_steps: int,
    *,
    observe: Callable[[State], State] | None = None,
    keep: str | Sequence[str] = (),
    state: State | None = None,
    replan_every: int = 1,
    control_dt: Any = None,
) -> Episode:
    """Control `env` by planning with `model`, as one scan: jit it, vmap it over keys.

    Args:
        planner: how to infer.
        model: what to imagine with.
        env: what to act in; may be another model.
        key: of everything random.
        num_steps: the number T of control steps; under jit a static argument.
        observe: turns a state of `env` into one of `model`; None where they are the same.
        keep: "plans" keeps the plan of each step, and all modes of a mixture, which `report_episode` draws; under jit
            a static argument.
        state: of `env`, where the episode begins; None for one that its `init` draws.
        replan_every: how many control steps are by one planning, no more than the horizon has; under jit a static
            argument. Between plannings the plan is executed, and where the planner has feedback (`ilqr`,
            `iterative_policy`), that answers to the states that are met.
        control_dt: the duration of a control step, s: a multiple of `dt` of `env`, which holds each action for so
            many of its steps, and at most `dt` of `model`. Plans then move on by fractions of their steps. None for
            one step of `env`, which lasts as long as one of `model`.

    Returns:
        The episode, a row per control step. After its end the state stands still, and rewards and discounts are zero.

    Raises:
        ValueError: as `infer` does, if `num_steps` is not positive, `keep` names something else, or if `env` takes
            other actions or steps of another duration than `model`, or has other states, and `observe` does not make
            them those of `model`. Durations that are traced, within jit, cannot be compared then: if they differ,
            all rewards are NaN. With `control_dt` they must be known: let the function that is jitted close over
            model and environment.
    """
    integer("num_steps", num_steps)
    if (kept := (keep,) if isinstance(keep, str | None) else tuple(keep)) not in ((), ("plans",)):
        raise ValueError(f"keep must be () or 'plans', got {keep!r}")
    if not (observe is None or callable(observe)):
        raise ValueError(f"observe must be callable, got {observe!r}")
    if (space := action_space(check_model("env", env))) != (wanted := action_space(check_model("model", model))):
        raise ValueError(f"env must take the actions that model takes, {wanted}, got {space}")
    pace = pace_of(check_model("model", model), replan_every, control_dt)
    env = env if control_dt is None else at_rate(env, control_dt)
    alike = same_duration(model, env) if control_dt is None else True

    def seen_in(state: State) -> State:
        return state if observe is None else observe(state)

    # what model cannot go on from: what `env` gives, or the state that was given
    unlike = "observe must turn states of env into those of model, where they differ"
    unlike = "" if observe is None and state is not None else unlike

    def acting(state: State) -> contextlib.AbstractContextManager[None]:
        return explained("raised while env was stepped, or its state observed", env, state)

    def decide(
        plan_key: PRNGKeyArray, seen: State, belief: Any, held: _Held | None, t: Array | None
    ) -> tuple[Array, Any, Info, Any, _Held | None, Any]:
        """(action, belief to plan from, info, belief that chose, what is held until the next planning, time)."""
        if held is None or t is None:
            return *planned(planner, model, plan_key, seen, belief), None, 0.0

        before = held

        def think() -> _Held:
            found, info, act_key = thought(planner, model, plan_key, seen, before.belief)
            return _Held(planner.shift(found, pace.steps), found, info, act_key)

        number = t % pace.replan_every
        held = jax.lax.cond(number == 0, think, lambda: before) if pace.replan_every > 1 else think()
        time = number * pace.ratio
        if isinstance(planner, Persistent):
            action = answer(planner, model, held.act_key, seen, held.found, time)
        else:  # every step is planned
            action = within_range(model, planner.act(held.act_key, held.found))
        return action, held.belief, held.info, held.found, held, time

    def control(carry: _Carry, now: tuple[Array, Array | None]) -> tuple[_Carry, tuple[Any, ...]]:
        (state, belief, alive, held), (key, t) = carry, now
        plan_key, step_key = jax.random.split(key)
        with acting(state):
            seen = seen_in(state)
        with noted(planner, model, seen, unlike):
            action, belief, info, found, held, time = decide(plan_key, seen, belief, held, t)
        with acting(state):
            step, violated = watched_step(env, step_key, state, action)
            if violated is None and constraint_names(model) is not None:
                violated = violations(model, seen, action, seen_in(step.state))
            violated = None if violated is None else jnp.where(alive, violated, 0.0)
        reward = jnp.where(alike, jnp.where(alive, step.reward, 0.0), jnp.nan)
        discount = jnp.where(alive, step.discount, 0.0)
        state_next = frozen_if(~alive, state, step.state)
        plans, modes = (found.mode(), modes_of(found)) if kept else (None, None)
        if plans is not None and held is not None:
            plans = what_is_left(plans, time, found)
            if modes is not None:
                modes = jax.vmap(lambda mode: what_is_left(mode, time, found))(modes[0]), modes[1]
        happened = (state, action, reward, discount, info, plans, modes, violated)
        return _Carry(state_next, belief if held is None else None, discount != 0, held), happened

    key, sharding = check_key(key), sharding_of(planner)
    if sharding is not None:
        planner, model, env, key = place((planner, model, env, key), sharding)
    init_key, control_key = jax.random.split(key)
    if state is None:
        first = check_state("what init of env returns", env.init(init_key), env)
    else:
        first = check_state("state", state, env)
    if sharding is not None:  # an engine may have committed it elsewhere
        first = place(first, sharding)
    with acting(first):
        seen = seen_in(first)
    with noted(planner, model, seen, unlike):
        belief = planner.init(model, seen)
    keys, numbers = jax.random.split(control_key, num_steps), None
    carry = _Carry(first, belief, jnp.array(True), None)
    if not pace.usual:
        pace.check(planner, belief)
        with noted(planner, model, seen, unlike):
            nothing = jax.eval_shape(lambda: thought(planner, model, control_key, seen, belief).info)
        info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
        carry = _Carry(first, None, jnp.array(True), _Held(belief, belief, info, control_key))
        numbers = jnp.arange(num_steps)
    (final_state, *_), history = jax.lax.scan(control, carry, (keys, numbers))
    states, actions, rewards, discounts, infos, plans, modes, violated = history
    return Episode(states, actions, rewards, discounts, infos, final_state, plans, modes, violated)
