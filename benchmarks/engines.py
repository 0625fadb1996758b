"""How fast the engines are on a CPU: control steps per second of a core, of the same robots.

`python -m mirrax.benchmarks.engines` prints a table; see --help. The robots are Brax's, whose MJCF files all engines
take; actions are random, all start from the same state, and a control step has the duration that Brax's "mjx" gives
it. What counts is the time of all cores, so that an engine with two threads gains nothing by having them.
"""

import dataclasses
import importlib.resources
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mirrax import dynamics, planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer, unknown

# robot -> its file, and how many of the file's timesteps a control step takes
ROBOTS: Mapping[str, tuple[str, int]] = {
    "inverted_pendulum": ("inverted_pendulum.xml", 2),
    "inverted_double_pendulum": ("inverted_double_pendulum.xml", 2),
    "reacher": ("reacher.xml", 2),
    "hopper": ("hopper.xml", 4),
    "walker2d": ("walker2d.xml", 4),
    "halfcheetah": ("half_cheetah.xml", 5),
    "ant": ("ant.xml", 5),
    "humanoid": ("humanoid.xml", 5),
}
CHEAP = {"iterations": 1, "ls_iterations": 4}  # of MuJoCo's solver


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    robots: tuple[str, ...] = tuple(ROBOTS)
    """Names of Brax's robots."""
    engines: tuple[str, ...] = ("brax spring", "brax mjx", "mjx", "mjx cheap", "mujoco 1", "mujoco 2")
    """brax and a backend; mjx as the file says, or with a cheap solver; mujoco (the C engine) and its threads."""
    num_samples: int = 64
    """Number of plans."""
    horizon: int = 20
    """Steps of the plans."""
    rounds: int = 5
    """How often each program is timed; the quickest counts."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("num_samples", "horizon", "rounds"):
            integer(name, getattr(options, name))
        for robot in some("robots", options.robots):
            if robot not in ROBOTS:
                raise unknown("robot", robot, list(ROBOTS))
        makers = {engine: maker(engine) for engine in some("engines", options.engines)}
    print_table(
        f"Thousands of control steps per second of a core; {options.num_samples} plans of {options.horizon} steps",
        ("robot", *options.engines),
        ([robot, *(_cell(make, robot, options) for make in makers.values())] for robot in options.robots),
    )


def maker(engine: str) -> Callable[[str], Model]:
    """What makes a robot on an engine.

    Args:
        engine: "brax BACKEND", "mjx", "mjx cheap", or "mujoco THREADS".

    Raises:
        ValueError: for another.
    """
    kind, _, rest = engine.partition(" ")
    if kind == "brax" and rest:
        return lambda robot: dynamics.brax(robot, rest)
    if engine in ("mjx", "mjx cheap"):
        return lambda robot: _with_file(dynamics.mjx, robot, CHEAP if rest else None)
    if kind == "mujoco" and rest.isdigit() and int(rest):
        return lambda robot: _with_file(dynamics.mujoco, robot, None, threads=int(rest))
    raise ValueError(f"engines must be 'brax BACKEND', 'mjx', 'mjx cheap' or 'mujoco THREADS', got {engine!r}")


def _with_file(make: Callable[..., Any], robot: str, options: Any, **settings: Any) -> Model:
    """A robot of Brax's as a file; as reward something that depends on all joints."""
    file, substeps = ROBOTS[robot]
    path = importlib.resources.files("brax").joinpath("envs", "assets", file)
    model = make(
        Path(str(path)),
        _distance,
        substeps=substeps,
        action_range=(-1.0, 1.0),
        planning_options=options,
        **settings,
    )
    return dynamics.imagined(model, model.first())[0]


def _distance(data: Any, action: Any) -> Any:
    return (data.qpos**2).sum() + (data.xpos**2).sum()


def steps_per_core_second(model: Model, num_samples: int, horizon: int, rounds: int) -> float:
    """Control steps per second that any core works on them."""
    key = jax.random.key(0)
    state = jax.jit(model.init)(key)
    size = dynamics.action_space(model).shape
    plans = jax.random.uniform(key, (num_samples, horizon, *size), minval=-1.0, maxval=1.0)
    program = jax.jit(planners.rollout).lower(model, key, state, plans).compile()
    jax.block_until_ready(program(model, key, state, plans))
    times = []
    for _ in range(rounds):
        began = time.process_time()
        jax.block_until_ready(program(model, key, state, plans))
        times.append(time.process_time() - began)
    return num_samples * horizon / min(times)


def _cell(make: Callable[[str], Model], robot: str, options: Options) -> str:
    try:
        model = make(robot)
    except ValueError as error:
        print(f"{robot}: {error}", file=sys.stderr)
        return "-"
    if isinstance(model, dynamics.BraxModel):  # whose reward may not depend on the state: nothing would be simulated
        model = dynamics.with_reward(model, _spread)
    return f"{1e-3 * steps_per_core_second(model, options.num_samples, options.horizon, options.rounds):.1f}"


def _spread(state: Any, action: Any, after: Any) -> Any:
    return (after.pipeline_state.q**2).sum() + (after.pipeline_state.x.pos**2).sum()


if __name__ == "__main__":
    main()
