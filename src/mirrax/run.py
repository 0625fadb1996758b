"""A planner drives a model in closed loop, step by step, for a person who watches."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from mirrax import planners
from mirrax.dynamics import Model
from mirrax.figures import figure


@dataclasses.dataclass
class Record:
    """What has happened so far; one entry per step in each list.

    Attributes:
        rewards: per step.
        plan_ms: the time that planning took, without compilation, ms.
        ess: effective sample size of the last iteration, plans.
        num_invalid: how many of the plans of the last iteration diverged.
        actions: [A] each.
        poses: of the figure's bodies before the step, [B, 7] each; empty without a figure.
        paths: of the tracked body under the plan, [H, 3] each; empty without a figure.
        compile_s: the time that compilation took, s.
        done: whether the episode ended by itself.
    """

    rewards: list[float] = dataclasses.field(default_factory=list)
    plan_ms: list[float] = dataclasses.field(default_factory=list)
    ess: list[float] = dataclasses.field(default_factory=list)
    num_invalid: list[int] = dataclasses.field(default_factory=list)
    actions: list[np.ndarray] = dataclasses.field(default_factory=list)
    poses: list[np.ndarray] = dataclasses.field(default_factory=list)
    paths: list[np.ndarray] = dataclasses.field(default_factory=list)
    compile_s: float = 0.0
    done: bool = False


def drive(planner: Any, model: Model, record: Record, *, num_steps: int, seed: int) -> Iterator[str]:
    """Drive `model` and fill `record` on the way.

    Args:
        planner: how to plan; a `sharding` that it has decides on which devices all runs.
        model: what to plan with and to act in.
        record: filled as the run goes, so that an interrupted run has its beginning.
        num_steps: at most so many steps.
        seed: of everything random.

    Yields:
        "compiling" once, then "running" after compilation and after each step.
    """
    yield "compiling"
    started = time.perf_counter()
    sharding = getattr(planner, "sharding", None)
    # Everything but the plans lives on all devices: where results change place, JAX would compile once more.
    place: Sharding = SingleDeviceSharding(jax.devices()[0])
    if sharding is not None:
        place = NamedSharding(sharding.mesh, PartitionSpec())
    reset_key, plan_key, step_key = jax.random.split(jax.random.key(seed), 3)
    planner, model, reset_key, plan_key, step_key = jax.device_put(
        (planner, model, reset_key, plan_key, step_key), place
    )
    looks = figure(model)

    def think(planner: Any, model: Model, key: Any, state: Any, belief: Any) -> tuple[Any, ...]:
        infer_key, act_key = jax.random.split(key)  # as `planners.plan`, but it tells the plan too
        belief, info = planners.infer(planner, model, infer_key, state, belief)
        return planner.act(act_key, belief), planner.shift(belief), belief.mode(), info.ess[-1], info.num_invalid[-1]

    def look(model: Model, key: Any, state: Any, plan: Any) -> tuple[Any, Any]:
        assert looks is not None
        ahead = planners.trajectory(model, key, state, plan).states
        return looks.poses(state), jax.vmap(looks.poses)(ahead)[:, looks.tracked, :3]

    def compiled(function: Any, *arguments: Any) -> Any:
        return jax.jit(function, out_shardings=place).lower(*arguments).compile()

    state = jax.jit(lambda model, key: model.init(key), out_shardings=place)(model, reset_key)
    belief = planner.belief
    plan_step = compiled(think, planner, model, plan_key, state, belief)
    zero = jax.device_put(jnp.zeros(model.action_size), place)
    act_step = compiled(lambda model, *arguments: model.step(*arguments), model, step_key, state, zero)
    look_step = compiled(look, model, plan_key, state, belief.mode()) if looks is not None else None
    record.compile_s = time.perf_counter() - started
    yield "running"

    for t in range(num_steps):
        key, noise_key = (jax.device_put(jax.random.fold_in(k, t), place) for k in (plan_key, step_key))
        began = time.perf_counter()
        action, belief, plan, ess, num_invalid = jax.block_until_ready(plan_step(planner, model, key, state, belief))
        plan_ms = 1e3 * (time.perf_counter() - began)
        pose = path = None
        if look_step is not None:
            pose, path = (np.asarray(x) for x in look_step(model, key, state, plan))
        state, reward, discount = act_step(model, noise_key, state, action)
        # all at once at the end: an interruption must not leave half a step
        record.rewards.append(float(reward))
        record.plan_ms.append(plan_ms)
        record.ess.append(float(ess))
        record.num_invalid.append(int(num_invalid))
        record.actions.append(np.asarray(action))
        if pose is not None and path is not None:
            record.poses.append(pose)
            record.paths.append(path)
        record.done = bool(discount == 0)
        yield "running"
        if record.done:
            break
