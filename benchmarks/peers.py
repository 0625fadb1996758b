"""Planners on tasks of hydrax, with its settings: what they cost in closed loop, beside hydrax if it is there.

`python -m mirrax.benchmarks.peers` prints a table per task; see --help. hydrax is on no package index: where a clone
of it (and its interpax) can be imported, its own planners on its own models get rows too. The world is MuJoCo itself;
what our planners imagine with is MJX, as hydrax's do, or MuJoCo's C engine.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.peer_tasks import ENGINES, PeerTask, find_peer_task
from mirrax.benchmarks.returns import fitting, parse_planner
from mirrax.benchmarks.speed import bare_scan
from mirrax.benchmarks.timing import compare, print_table
from mirrax.dynamics.base import steps
from mirrax.dynamics.checks import choice, integer, real
from mirrax.dynamics.engines import unrolls

# What planners take here besides the settings of the task; after a comma what sets a second entry apart.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "predictive_sampling": {},
    "mppi": {},
    "mppi, clipped": {"clip_plans": True},
    "cem": {},
    "vi_mpc": {},
    "vi_mpc, over steps": {"num_knots": None, "interpolation": None},
}

HYDRAX = {"ps": "predictive_sampling", "mppi": "mppi", "cem": "cem"}  # hydrax's, and whose settings they share


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    tasks: tuple[str, ...] = ("cart_pole", "walker")
    """Names of tasks: cart_pole, double_cart_pole, walker, pendulum."""
    engine: str = "mjx"
    """What our planners imagine with: mjx, or mujoco (the C engine)."""
    planners: tuple[str, ...] = tuple(SETTINGS)
    """Names of planners, with options of their own after a colon: vi_mpc:num_knots=8,target_ess=0.2."""
    hydrax: tuple[str, ...] = tuple(HYDRAX)
    """Names of hydrax's planners, which run if it can be imported."""
    seeds: int = 2
    """Episodes per planner."""
    seconds: float = 5.0
    """Duration of an episode."""
    timing: bool = False
    """Time single plannings of the tasks instead, one program after the other, round by round."""
    rounds: int = 200
    """How often each of them is timed."""


class Played(NamedTuple):
    """An episode.

    Attributes:
        cost: per second.
        reach: the greatest |action| of a plan, or of its knots, that a belief had as its mode.
        milliseconds: of a planning, the median.
    """

    cost: float
    reach: float
    milliseconds: float


# (key of the planning, qpos, qvel, seconds gone by, memory) -> controls [n, A] of as many equal parts of the time to
# the next planning, memory, reach
Controller = Callable[[Any, Any, Any, float, Any], tuple[Any, Any, Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    options = parse(Options, arguments)
    with one_clear_line():
        choice("engine", options.engine, tuple(ENGINES))
        for name in some("tasks", options.tasks):
            task = find_peer_task(name)
            model = task.model(options.engine)
            for planner in options.planners:
                fitting(make_planner(planner, task, steps(model, task.seconds)), model)
        for name in options.hydrax:
            if name not in HYDRAX:
                raise ValueError(f"unknown planner of hydrax {name!r}; choose one of: {', '.join(HYDRAX)}")
        integer("seeds", options.seeds)
        integer("rounds", options.rounds)
        real("seconds", options.seconds, above=0.0)
    there = importlib.util.find_spec("hydrax") is not None
    for name in options.tasks:
        if options.timing:
            _time(name, options, there)
        else:
            _play_all(name, options, there)
    if not there and options.hydrax:
        print("\nhydrax cannot be imported: no rows of it")


def make_planner(name: str, task: PeerTask, horizon: int) -> planners.Planner:
    """The planner of that name, with the settings of the task unless its own options say otherwise.

    Args:
        name: as `parse_planner` takes it.
        task: whose settings it takes.
        horizon: the number H of steps.

    Returns:
        The planner.

    Raises:
        ValueError: if there is none, or it does not take an option.
    """
    factory, own = parse_planner(name, SETTINGS)
    given = {"num_samples": task.num_samples, **task.common, **task.own.get(factory, {}), **own}
    return getattr(planners, factory)(horizon, **given)


def _play_all(name: str, options: Options, there: bool) -> None:
    task = find_peer_task(name)
    model = task.model(options.engine)
    horizon = steps(model, task.seconds)

    def rows() -> Iterator[list[str]]:
        if there:
            for planner in options.hydrax:
                yield row(f"hydrax {planner}", functools.partial(_hydrax, name, planner))
        for planner in options.planners:
            made = make_planner(planner, task, horizon)
            yield row(planner, functools.partial(_own, made, model))

    def row(title: str, prepare: Callable[[int], tuple[Controller, Any]]) -> list[str]:
        played = [play(task, *prepare(seed), seed, options.seconds) for seed in range(options.seeds)]
        costs = " ".join(f"{one.cost:.2f}" for one in played)
        reach = max(one.reach for one in played)
        mean = statistics.fmean(one.cost for one in played)
        return [title, f"{mean:.2f}", costs, f"{reach:.2f}", f"{min(one.milliseconds for one in played):.1f}"]

    print_table(
        f"\n{name}: cost per second over {options.seconds:g} s; {task.num_samples} plans of {task.seconds:g} s, "
        f"planned every {1e3 * task.period:g} ms with {options.engine}",
        ("planner", "mean", "by seed", "reach", "ms / plan"),
        rows(),
    )


def play(task: PeerTask, controller: Controller, memory: Any, seed: int, seconds: float) -> Played:
    """Control MuJoCo's own simulation of a task.

    Args:
        task: which.
        controller: chooses controls, see `Controller`.
        memory: what it remembers at first.
        seed: of its random numbers.
        seconds: how long.

    Returns:
        What it cost, and how long the planning took.
    """
    import mujoco

    world, period = task.world(), task.period
    data, seen = mujoco.MjData(world), mujoco.MjData(world)
    num_substeps = round(period / world.opt.timestep)
    keys = jax.random.split(jax.random.key(seed), round(seconds / period))
    costs, reaches, times = [], [], []
    for number, key in enumerate(keys):
        began = time.perf_counter()
        now = jnp.asarray(data.qpos, float), jnp.asarray(data.qvel, float)
        controls, memory, reach = jax.block_until_ready(controller(key, *now, number * period, memory))
        times.append(1e3 * (time.perf_counter() - began))
        reaches.append(float(reach))
        for substep in range(num_substeps):
            control = np.asarray(controls)[substep * len(controls) // num_substeps]
            data.ctrl[:] = np.clip(control, *world.actuator_ctrlrange.T)
            mujoco.mj_step(world, data)
            # what MuJoCo derives after a step is of the state before: another data has that of the state itself
            seen.qpos[:], seen.qvel[:] = data.qpos, data.qvel
            mujoco.mj_forward(world, seen)
            costs.append(float(task.running(seen, data.ctrl)))
    return Played(statistics.fmean(costs), max(reaches), statistics.median(times))


def plan_once(planner: Any, model: Any, key: Any, state: Any, belief: Any) -> tuple[Any, Any, Any]:
    """As `planners.plan`, but with the reach of the belief in the place of the infos.

    Args:
        planner: how to infer.
        model: what to imagine with.
        key: of samples and noise.
        state: where plans start.
        belief: from the call before.

    Returns:
        The action, the belief for the next call, and the greatest |action| of its mode or of the mode's knots.
    """
    infer_key, act_key = jax.random.split(key)
    belief, _ = planners.infer(planner, model, infer_key, state, belief)
    inner = belief.found.belief if isinstance(belief, planners.sampling.Refined) else belief.belief
    inner = inner.belief if isinstance(inner, planners.beliefs.Remembering) else inner
    modes = [inner.mode(), *([inner.knots.mode()] if isinstance(inner, planners.beliefs.Splined) else [])]
    reach = jnp.stack([jnp.abs(mode).max() for mode in modes]).max()
    return planner.act(act_key, belief), planner.shift(belief), reach


def _own(planner: Any, model: Any, seed: int) -> tuple[Controller, Any]:
    """Our planner as a controller, which draws with the keys that it is given."""
    del seed
    program = jax.jit(plan_once)
    still = model.init(jax.random.key(0))

    def control(key: Any, qpos: Any, qvel: Any, now: float, belief: Any) -> tuple[Any, Any, Any]:
        state = still.replace(qpos=qpos, qvel=qvel)
        action, belief, reach = program(planner, model, key, state, belief)
        return 0.5 * (jnp.clip(action, -1.0, 1.0) + 1.0) * (model.high - model.low)[None] + model.low, belief, reach

    return control, planner.init(model, still)


@contextlib.contextmanager
def _own_flags() -> Iterator[None]:
    """Take back what importing hydrax does to XLA's flags and to JAX's cache of programs."""
    flags, cache = os.environ.get("XLA_FLAGS"), jax.config.values["jax_compilation_cache_dir"]
    try:
        yield
    finally:
        os.environ.pop("XLA_FLAGS", None)
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags
        jax.config.update("jax_compilation_cache_dir", cache)


def _hydrax_planner(name: str, planner: str) -> Any:
    """The planner of hydrax, with the settings of its own example of a task."""
    with _own_flags():
        algorithms: Any = importlib.import_module("hydrax.algs")
        module: Any = importlib.import_module(f"hydrax.tasks.{name}")
    task = find_peer_task(name)
    own = {**task.common, **task.own.get(HYDRAX[planner], {})}
    common = {
        "num_samples": task.num_samples,
        "plan_horizon": task.seconds,
        "spline_type": own["interpolation"],
        "num_knots": own["num_knots"],
    }
    made = getattr(module, "".join(part.title() for part in name.split("_")))()
    if planner == "ps":
        return algorithms.PredictiveSampling(made, noise_level=own["std"], **common)
    if planner == "mppi":
        return algorithms.MPPI(made, noise_level=own["std"], temperature=own["temperature"], **common)
    return algorithms.CEM(
        made, num_elites=own["num_elites"], sigma_start=own["std"], sigma_min=own["std_min"], **common
    )


def _hydrax(name: str, planner: str, seed: int) -> tuple[Controller, Any]:
    """The planner of hydrax as a controller."""
    made, num_substeps = _hydrax_planner(name, planner), find_peer_task(name).num_substeps
    still = made.task.make_data()

    @jax.jit
    def program(qpos: Any, qvel: Any, now: Any, parameters: Any) -> tuple[Any, Any, Any]:
        parameters, _ = made.optimize(still.replace(qpos=qpos, qvel=qvel, time=now), parameters)
        times = now + made.dt * jnp.arange(made.ctrl_steps)
        plan = made.interp_func(times, parameters.tk, parameters.mean[None])[0]
        reach = jnp.maximum(jnp.abs(plan).max(), jnp.abs(parameters.mean).max())
        return plan[:num_substeps], parameters, reach

    def control(key: Any, qpos: Any, qvel: Any, now: float, parameters: Any) -> tuple[Any, Any, Any]:
        return program(qpos, qvel, jnp.asarray(now, float), parameters)

    return control, made.init_params(seed=seed)


def _bare(model: Any, key: Any, state: Any, plans: Any) -> Any:
    """The returns of plans as a script would compute them: a scan, or one call of an engine that takes plans."""
    return model.unroll(state, plans).reward.sum(-1) if unrolls(model) else bare_scan(model, key, state, plans)


def _time(name: str, options: Options, there: bool) -> None:
    """Print what a planning takes, beside the bare rollouts of as many plans."""
    task = find_peer_task(name)
    model: Any = task.model(options.engine)
    horizon = steps(model, task.seconds)
    key = jax.random.key(0)
    state = model.init(key)
    plans = 0.3 * jax.random.normal(key, (task.num_samples, horizon, model.action_size))
    programs: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {"bare": (_bare, (model, key, state, plans))}
    for planner in options.planners:
        made = make_planner(planner, task, horizon)
        programs[planner] = (planners.plan, (made, model, key, state, made.init(model, state)))
    if there:
        for planner in options.hydrax:
            other = _hydrax_planner(name, planner)
            programs[f"hydrax {planner}"] = (other.optimize, (other.task.make_data(), other.init_params()))
    timings = compare(programs, options.rounds)
    print_table(
        f"\n{name}: a planning of {task.num_samples} plans, {horizon} steps, with {options.engine}; medians of "
        f"{options.rounds} rounds",
        ("program", "ms", "× bare", "compile s"),
        (
            [
                planner,
                f"{timing.milliseconds:.2f}",
                f"{timing.ratios['bare']:.2f}",
                f"{timing.compile_seconds:.1f}",
            ]
            for planner, timing in timings.items()
        ),
    )


if __name__ == "__main__":
    main()
