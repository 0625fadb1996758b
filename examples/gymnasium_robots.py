"""Robots of another package, unmodified: Gymnasium's ant and humanoid, planned for on MuJoCo's C engine.

`pip install gymnasium`, then `python examples/gymnasium_robots.py ant` prints how far the robot came, and what a
planning took. From this folder `mirrax run gymnasium_robots:ant --planner icem --horizon 16 --num-samples 32` makes a
report of it.
"""

import argparse
import importlib.resources
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mirrax import dynamics, planners


class Report(NamedTuple):
    """What became of an episode.

    Attributes:
        seconds: of the robot's time, until it fell or the end.
        distance: of the torso along x, m.
        fell: whether it did.
        ms: the median duration of a planning.
    """

    seconds: float
    distance: float
    fell: bool
    ms: float


def ant() -> Any:
    """Gymnasium's ant with the reward of its `Ant-v5`, less the cost of contacts: ahead, alive, cheaply."""

    def reward(data: Any, action: Any) -> dict[str, Any]:
        # the scale of the control cost is of actions in [-1, 1], which the file's actuators have
        return {"forward": data.qvel[0], "alive": 1.0, "control": -0.5 * (action**2).sum()}

    return dynamics.mujoco(file("ant"), reward, terminate=fallen(0.26, 1.0), control_dt=0.05)


def humanoid() -> Any:
    """Gymnasium's humanoid with the reward of its `Humanoid-v5`, less the cost of contacts."""

    def reward(data: Any, action: Any) -> dict[str, Any]:
        return {"forward": 1.25 * data.qvel[0], "alive": 5.0, "control": -0.1 * (action**2).sum()}

    return dynamics.mujoco(file("humanoid"), reward, terminate=fallen(1.0, 2.0), control_dt=0.015)


def file(name: str) -> str:
    """The path of a robot's file in Gymnasium."""
    return str(importlib.resources.files("gymnasium") / "envs" / "mujoco" / "assets" / f"{name}.xml")


def fallen(low: float, high: float) -> Callable[[Any], dict[str, Any]]:
    """An end where the height of the torso leaves an interval, m."""
    return lambda data: {"it fell": (data.qpos[2] < low) | (data.qpos[2] > high)}


ROBOTS: Mapping[str, Callable[[], Any]] = {"ant": ant, "humanoid": humanoid}
# plans of 0.8 and 0.6 s
PLANNERS = {
    "ant": planners.icem(horizon=16, num_samples=32, num_knots=8),
    "humanoid": planners.icem(horizon=40, num_samples=32, num_knots=8),
}


def drive(model: Any, planner: Any, seed: int, seconds: float) -> Report:
    """Replan at every step until the end.

    Args:
        model: of `ROBOTS`.
        planner: how to plan.
        seed: of all that is random.
        seconds: of the robot's time, at most.
    """
    plan, step = jax.jit(planners.plan), jax.jit(model.step)
    start_key, plan_key, step_key = jax.random.split(jax.random.key(seed), 3)
    state = first = jax.jit(model.init)(start_key)
    belief, spent, discount, steps = planner.init(model, state), [], 1.0, 0
    while discount and steps < round(seconds / model.dt):
        began = time.perf_counter()
        action, belief, _ = plan(planner, model, jax.random.fold_in(plan_key, steps), state, belief)
        jax.block_until_ready(action)
        spent.append(1e3 * (time.perf_counter() - began))
        state, _, discount = step(jax.random.fold_in(step_key, steps), state, jnp.asarray(action))
        steps += 1
    distance = float(state.qpos[0] - first.qpos[0])
    return Report(steps * model.dt, distance, not discount, statistics.median(spent))


def main(arguments: Sequence[str] | None = None) -> None:
    """Drive a robot, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("robot", choices=ROBOTS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the robot's time")
    parser.add_argument("--seeds", type=int, default=3, help="episodes")
    given = parser.parse_args(arguments)
    model = ROBOTS[given.robot]()
    for seed in range(given.seeds):
        seconds, distance, fell, ms = drive(model, PLANNERS[given.robot], seed, given.seconds)
        ending = "fell" if fell else "up"
        print(
            f"{given.robot}, seed {seed}: {ending} after {seconds:.2f} s, {distance:.1f} m ahead, "
            f"{ms:.0f} ms per plan, of {1e3 * model.dt:.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
