"""A planner drives a model in closed loop, step by step, for a person who watches."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mirrax.cli.ahead_of_time import compiled
from mirrax.dynamics import (
    Model,
    action_space,
    actuator_limits,
    actuator_names,
    coordinate_names,
    coordinates,
    end_reasons,
    reward_terms,
    to_actuators,
)
from mirrax.dynamics.figures import Figure, figure
from mirrax.planners.api import planned, thought
from mirrax.planners.rates import answer, pace_of, what_is_left
from mirrax.planners.rollouts.placement import place, sharding_of, whole
from mirrax.planners.sampling.incumbent import modes_of
from mirrax.report.ahead import fan_of, paths_of
from mirrax.results.numbers import shortest


class Moment(NamedTuple):
    """One step of a run.

    Attributes:
        step: what is kept of it, by name. `reward`, and its `terms`, [N], where the model tells them apart; `ended`,
            whether the episode did, by a discount of 0; `plan_ms`, the time that planning took, ms, of the last
            planning where not every step is planned, as all that is told of plannings; `action` on the
            scale of plans, [A], and `actuators`, the same in their units, [B]; `coordinates` of the state after it,
            [n]; with a figure `pose` of its bodies after it, [B, 7], `path` of the tracked one under the plan,
            [P, 3], `fan`, its paths under other plans, [F, Q, 3], and `fan_weights`, [F]; and the numbers of the
            planner's info, of its last iteration.
        plan: what was planned, [H, A], or what is left of it.
        after: state and belief, from which the run goes on.
    """

    step: dict[str, Any]
    plan: np.ndarray
    after: Any


@dataclasses.dataclass(frozen=True)
class ClosedLoop:
    """A planner and a model, compiled.

    Attributes:
        start: the first state and belief.
        at_start: the `coordinates` of the first state, and `pose`.
        looks: the model's figure; None if it has no looks.
        names: of what a step has: `actuator_names` and `actuator_limits`, `coordinate_names`, `term_names`,
            `end_reasons`, each None where there are none.
        compile_s: the time that compilation took, s.
        sharding: how plans are spread over devices; None for one device.
        advance: number of the step, state and belief -> what happened.
    """

    start: Any
    at_start: dict[str, np.ndarray]
    looks: Figure | None
    names: dict[str, Any]
    compile_s: float
    sharding: Any
    advance: Callable[[int, Any], Moment]

    def run(self, num_steps: int, after: Any, first: int = 0) -> Iterator[Moment]:
        """Drive.

        Args:
            num_steps: the greatest number of steps, those before `first` included.
            after: state and belief, from which to go on.
            first: the number of steps so far.

        Yields:
            What happened, step by step, until the episode ends.
        """
        after = place(after, self.sharding)
        for t in range(first, num_steps):
            moment = self.advance(t, after)
            yield moment
            if moment.step["ended"]:
                return
            after = moment.after


def compile_loop(
    planner: Any,
    model: Model,
    *,
    seed: int,
    prepare: Callable[[Model], Model] = lambda model: model,
    replan_every: int = 1,
) -> ClosedLoop:
    """Compile what it takes to drive `model`.

    Args:
        planner: how to plan; a `sharding` that it has decides on which devices all runs.
        model: what to plan with and to act in.
        seed: of everything random.
        prepare: makes of the model the one to plan with and to act in, which may take its time.
        replan_every: how many steps are by one planning; between plannings feedback answers, where there is any.

    Returns:
        The closed loop. What happens in a step is decided by seed, number of the step, state and belief.
    """
    began = time.perf_counter()
    model = prepare(model)
    sharding = sharding_of(planner)
    # Everything but the plans lives on all devices: where results change place, JAX would compile once more.
    everything = (planner, model, *jax.random.split(jax.random.key(seed), 3))
    planner, model, reset_key, plan_key, step_key = place(everything, sharding)
    looks = figure(model)

    def think(planner: Any, model: Model, key: Any, state: Any, belief: Any) -> tuple[Any, ...]:
        action, belief, info, found = planned(planner, model, key, state, belief)
        measured.extend(info.names)
        fan = None if looks is None else fan_of(modes_of(found), info)
        return action, belief, found.mode(), info.measures[-1], fan

    def think_ahead(planner: Any, model: Model, key: Any, state: Any, belief: Any) -> _Held:
        found, info, act_key = thought(planner, model, key, state, belief)
        measured.extend(info.names)
        fan = None if looks is None else fan_of(modes_of(found), info)
        return _Held(planner.shift(found, replan_every), found, act_key, info.measures[-1], fan)

    def go_on(planner: Any, model: Model, state: Any, held: _Held, number: Any) -> tuple[Any, ...]:
        action = answer(planner, model, held.act_key, state, held.found, number)
        fan = held.fan
        if fan is not None:
            fan = fan._replace(plans=jax.vmap(lambda plan: what_is_left(plan, number, held.found))(fan.plans))
        return action, what_is_left(held.found.mode(), number, held.found), held.measures, fan

    def act(model: Model, key: Any, state: Any, action: Any) -> tuple[Any, ...]:
        after, reward, discount = model.step(key, state, action)
        told = reward_terms(model, state, action, after) or {}
        terms.extend(told)
        happened = end_reasons(model, state, action, after) or {}
        reasons.extend(happened)
        seen = observe(model, after) | {"actuators": to_actuators(model, action)}
        seen |= {"reasons": jnp.stack([*happened.values()])} if happened else {}
        return after, reward, discount, seen | ({"terms": jnp.stack([*told.values()])} if told else {})

    def observe(model: Model, state: Any) -> dict[str, Any]:
        pose = {} if looks is None else {"pose": looks.poses(state)}
        return {"coordinates": coordinates(model, state)} | pose

    def look_ahead(model: Model, key: Any, state: Any, plan: Any, fan: Any) -> Any:
        assert looks is not None
        return paths_of(looks, model, key, state, plan, fan)

    measured: list[str] = []  # by the planner's info, known once it has been traced
    terms: list[str] = []  # of the reward, likewise
    reasons: list[str] = []  # of ends, likewise
    program = functools.partial(compiled, out_shardings=whole(sharding))
    state = program(lambda model, key: model.init(key), model, reset_key)(model, reset_key)
    belief = program(lambda planner, *of: planner.init(*of), planner, model, state)(planner, model, state)
    ahead_of = (planner, model, plan_key, state, belief)
    if replan_every == 1:
        plan_step = program(think, *ahead_of)
        fans = plan_step.out_info[-1]
    else:
        pace_of(model, replan_every, None).check(planner, belief)
        plan_step = program(think_ahead, *ahead_of)
        fans = plan_step.out_info.fan
    zero = place(action_space(model).zeros(), sharding)
    act_step = program(act, model, step_key, state, zero)
    at_start = program(observe, model, state)(model, state)
    fan = place(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), fans), sharding)
    ahead = None if looks is None else program(look_ahead, model, plan_key, state, belief.mode(), fan)

    def every_step(t: int, key: Any, state: Any, belief: Any) -> tuple[Any, ...]:
        began = time.perf_counter()
        action, belief, plan, measures, fan = jax.block_until_ready(plan_step(planner, model, key, state, belief))
        return action, belief, plan, measures, fan, 1e3 * (time.perf_counter() - began)

    def some_steps(t: int, key: Any, state: Any, after: Any) -> tuple[Any, ...]:
        held, plan_ms = after
        began = time.perf_counter()
        if t % replan_every == 0:
            held = plan_step(planner, model, key, state, held.belief)
        number = place(jnp.asarray(t % replan_every, float), sharding)
        action, plan, measures, fan = jax.block_until_ready(go_step(planner, model, state, held, number))
        if t % replan_every == 0:
            plan_ms = np.asarray(1e3 * (time.perf_counter() - began))
        return action, (held, plan_ms), plan, measures, fan, float(plan_ms)

    if replan_every == 1:
        decide: Callable[..., tuple[Any, ...]] = every_step
    else:
        measures = place(jnp.zeros(plan_step.out_info.measures.shape), sharding)
        held = _Held(belief, belief, plan_key, measures, fan)
        go_step = program(go_on, planner, model, state, held, place(jnp.zeros(()), sharding))
        decide, belief = some_steps, (held, np.zeros(()))

    def advance(t: int, after: Any) -> Moment:
        state, belief = after
        key, noise_key = (place(jax.random.fold_in(k, t), sharding) for k in (plan_key, step_key))
        action, belief, plan, measures, fan, plan_ms = decide(t, key, state, belief)
        paths = {} if ahead is None else ahead(model, key, state, plan, fan)
        state, reward, discount, seen = act_step(model, noise_key, state, action)
        happened: dict[str, Any] = {"reward": float(reward), "ended": bool(discount == 0), "plan_ms": plan_ms}
        happened |= {name: np.asarray(value) for name, value in ({"action": action} | seen | paths).items()}
        happened |= dict(zip(measured, np.asarray(measures), strict=True))
        return Moment(happened, np.asarray(plan), (state, belief))

    limits = actuator_limits(model)
    return ClosedLoop(
        start=(state, belief),
        at_start={name: np.asarray(value) for name, value in at_start.items()},
        looks=looks,
        names={
            "actuator_names": _listed(actuator_names(model)),
            "actuator_limits": None if limits is None else [shortest(limit) for limit in limits],
            "coordinate_names": _listed(coordinate_names(model, state)),
            "term_names": _listed(terms or None),
            "end_reasons": _listed(reasons or None),
        },
        compile_s=time.perf_counter() - began,
        sharding=sharding,
        advance=advance,
    )


class _Held(NamedTuple):
    """What stays from one planning until the next.

    Attributes:
        belief: to plan from then.
        found: that actions are by.
        act_key: of the actions.
        measures: the numbers of the planner's info.
        fan: plans beside the one that is executed; None for none.
    """

    belief: Any
    found: Any
    act_key: Any
    measures: Any
    fan: Any


def _listed(names: Iterable[str] | None) -> list[str] | None:
    return None if names is None else list(names)
