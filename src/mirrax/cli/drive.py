"""A planner drives a model in closed loop, step by step, for a person who watches."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import planners
from mirrax.cli.compiling import compiled
from mirrax.dynamics import Discrete, Model, action_space
from mirrax.dynamics.figures import figure
from mirrax.planners.rollouts.placement import place, sharding_of, whole


class Moment(NamedTuple):
    """One step of a run.

    Attributes:
        reward: of the step.
        plan_ms: the time that planning took, without compilation, ms.
        ess: effective sample size of the last iteration, plans; NaN where plans have no weights.
        temperature: of the last iteration's likelihood, reward units; NaN where there is none.
        num_invalid: how many of the plans of the last iteration diverged.
        num_roots: how many distinct first actions its particles have; NaN where there are none.
        action: as the actuators take it, clipped to [-1, 1], [A]; a discrete one as it is.
        pose: of the figure's bodies after the step, [B, 7]; None without a figure.
        path: of the tracked body under the plan, [H, 3]; None without a figure.
    """

    reward: float
    plan_ms: float
    ess: float
    temperature: float
    num_invalid: int
    num_roots: float
    action: np.ndarray
    pose: np.ndarray | None
    path: np.ndarray | None


@dataclasses.dataclass
class Record:
    """What has happened so far.

    Attributes:
        moments: one per step.
        start: the pose of the figure's bodies before the first step, [B, 7]; None without a figure.
        compile_s: the time that compilation took, s.
        done: whether the episode ended, by a discount of 0.
    """

    moments: list[Moment] = dataclasses.field(default_factory=list)
    start: np.ndarray | None = None
    compile_s: float = 0.0
    done: bool = False


def drive(
    planner: Any,
    model: Model,
    record: Record,
    *,
    num_steps: int,
    seed: int,
    prepare: Callable[[Model], Model] = lambda model: model,
) -> Iterator[str]:
    """Drive `model` and fill `record` on the way.

    Args:
        planner: how to plan; a `sharding` that it has decides on which devices all runs.
        model: what to plan with and to act in.
        record: filled as the run goes, so that an interrupted run has its beginning.
        num_steps: the greatest number of steps.
        seed: of everything random.
        prepare: makes of the model the one to plan with and to act in, which may take its time.

    Yields:
        "compiling" once, then "running" after compilation and after each step.
    """
    yield "compiling"
    started = time.perf_counter()
    model = prepare(model)
    sharding = sharding_of(planner)
    # Everything but the plans lives on all devices: where results change place, JAX would compile once more.
    everything = (planner, model, *jax.random.split(jax.random.key(seed), 3))
    planner, model, reset_key, plan_key, step_key = place(everything, sharding)
    looks, discrete = figure(model), isinstance(action_space(model), Discrete)

    def think(planner: Any, model: Model, key: Any, state: Any, belief: Any) -> tuple[Any, ...]:
        infer_key, act_key = jax.random.split(key)  # as `planners.plan`, but it returns the plan too
        belief, info = planners.infer(planner, model, infer_key, state, belief)
        roots = None if info.num_roots is None else info.num_roots.astype(float)
        shown = {
            "ess": info.ess,
            "temperature": info.temperature,
            "num_invalid": info.num_invalid,
            "num_roots": roots,
        }
        last = {name: _last(rows) for name, rows in shown.items()}
        return planner.act(act_key, belief), planner.shift(belief), belief.mode(), last

    def look_ahead(model: Model, key: Any, state: Any, plan: Any) -> Any:
        assert looks is not None
        return jax.vmap(looks.poses)(planners.trajectory(model, key, state, plan).states)[:, looks.tracked, :3]

    program = functools.partial(compiled, out_shardings=whole(sharding))
    state = program(lambda model, key: model.init(key), model, reset_key)(model, reset_key)
    belief = program(lambda planner, *of: planner.init(*of), planner, model, state)(planner, model, state)
    plan_step = program(think, planner, model, plan_key, state, belief)
    zero = place(action_space(model).zeros(), sharding)
    act_step = program(lambda model, *arguments: model.step(*arguments), model, step_key, state, zero)
    if looks is not None:
        pose_of, path_of = program(looks.poses, state), program(look_ahead, model, plan_key, state, belief.mode())
        record.start = np.asarray(pose_of(state))
    record.compile_s = time.perf_counter() - started
    yield "running"

    for t in range(num_steps):
        key, noise_key = (place(jax.random.fold_in(k, t), sharding) for k in (plan_key, step_key))
        began = time.perf_counter()
        action, belief, plan, numbers = jax.block_until_ready(plan_step(planner, model, key, state, belief))
        plan_ms = 1e3 * (time.perf_counter() - began)
        path = None if looks is None else np.asarray(path_of(model, key, state, plan))
        state, reward, discount = act_step(model, noise_key, state, action)
        pose = None if looks is None else np.asarray(pose_of(state))
        record.done = bool(discount == 0)
        action = np.asarray(action)
        if not discrete:
            action = np.clip(action, -1.0, 1.0)
        # at once: an interruption must not leave half a step
        numbers = {name: np.asarray(value).item() for name, value in numbers.items()}
        record.moments.append(Moment(float(reward), plan_ms, **numbers, action=action, pose=pose, path=path))
        yield "running"
        if record.done:
            break


def _last(rows: Any) -> Any:
    """Of the last iteration; NaN of what a planner does not report."""
    return jnp.nan if rows is None else rows[-1]
