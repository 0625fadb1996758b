"""Whole episodes: how often a planner stays up, or solves its task and holds it, and what a plan costs.

`python -m mirrax.benchmarks.survival` prints a table per model, keeps every episode in a folder (a run that was
interrupted goes on where it was), and draws the share of episodes still up against time; see --help.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from scipy.stats import binomtest

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.devices import sample_sharding, spreads, use_cores
from mirrax.benchmarks.disturbances import heavier, push
from mirrax.benchmarks.episodes import ProgressLine, play, summarize
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.page import write_benchmark
from mirrax.benchmarks.records import found, keep, records_of, unknown
from mirrax.benchmarks.returns import fingerprint, fitting, make_planner, plans_per_step, told
from mirrax.benchmarks.survival_figure import figure
from mirrax.benchmarks.task import Task
from mirrax.benchmarks.tasks import TASKS, find_task
from mirrax.benchmarks.timing import Table, print_table
from mirrax.dynamics import Model
from mirrax.dynamics.base import HasDuration
from mirrax.dynamics.checks import integer

SHIPPED = "shipped"  # what `mirrax run MODEL` takes


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = tuple(name for name in TASKS if name != "fast")
    """Names of models."""
    planners: tuple[str, ...] = (SHIPPED, "mppi", "vi_mpc", "icem")
    """Names of planners, with options of their own after a colon: icem:std=0.7,horizon=80. "shipped" is what
    `mirrax run MODEL` takes."""
    budget: int | None = None
    """Plans per time step, over all iterations, but for the shipped settings; as many as these have unless given."""
    seeds: int = 8
    """Episodes per planner."""
    first_seed: int = 0
    """Seed of the first of them: choose settings on some seeds, and report others."""
    steps: int | None = None
    """Time steps of an episode; those of the task's own episode unless given."""
    push: float = 0.0
    """A push every 100 steps, of which the planner does not know, m/s (rad/s for pendulums)."""
    mass: float = 0.0
    """Share by which what acts is heavier than what the planner imagines; 0.2 is 20 % more."""
    devices: int | None = None
    """Devices to spread plans over; all cores (or accelerators) unless given."""
    out: Path = Path("runs/survival")
    """Folder of the episodes, one file per model, and of the figure; a run goes on with what it finds there."""
    beyond: bool = False
    """Give every planner the value beyond the horizon that the task has, not the shipped one alone."""
    draw_only: bool = False
    """Print and draw what is there, measure nothing."""


class Entry(NamedTuple):
    """A planner of a table, and under which conditions.

    Attributes:
        planner: with what it takes on the task.
        conditions: what a record must agree with to be one of these episodes, but for the seed; with the value beyond
            the horizon that the planner is given, in words, or None.
    """

    planner: Any
    conditions: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, print the tables, draw the figure and the page."""
    options = parse(Options, arguments)
    with one_clear_line():
        integer("seeds", options.seeds)
        integer("first_seed", options.first_seed, 0)
        if options.steps is not None:
            integer("steps", options.steps)
        use_cores(None if options.devices is None else integer("devices", options.devices))
        sharding = sample_sharding(len(jax.devices()) if options.devices is None else options.devices)
        for name in some("models", options.models):
            task = find_task(name)
            model = task.make(None)
            _disturbed(model, options)
            for planner in some("planners", options.planners):
                fitting(make(planner, task, options.budget), model)
        options.out.mkdir(parents=True, exist_ok=True)
        known = {name: _records(options.out, name) for name in options.models}
    drawn, tables = {}, []
    for name in options.models:
        task = find_task(name)
        model = task.make(None)
        entries = {planner: entry(planner, task, model, options, sharding) for planner in options.planners}
        if not options.draw_only:
            for one in entries.values():
                _measure(name, task, model, one, options, known[name])
        drawn[name] = {
            planner: found(known[name], one.conditions, _seeds(options)) for planner, one in entries.items()
        }
        tables.append(_print(name, task, model, drawn[name]))
    write_benchmark(options.out, "survival", "Whole episodes: the share still up", tables, figure(drawn))


def make(name: str, task: Task, budget: int | None, sharding: Any = None) -> planners.Planner:
    """The planner of that name for a task.

    Args:
        name: "shipped", or as `parse_planner` takes it; the horizon may be one of the options.
        task: whose settings it takes.
        budget: plans per time step, of others than the shipped one; None for as many as that one has.
        sharding: how to spread plans over devices; None for one.

    Returns:
        The planner.

    Raises:
        ValueError: if there is none, or an option is not in its range.
    """
    if name == SHIPPED:
        spread = {"sharding": sharding} if sharding is not None and spreads(task.planner) else {}
        return getattr(planners, task.planner)(**task.settings(task.planner), **spread)
    if budget is None:
        budget = plans_per_step(make(SHIPPED, task, None))
    return make_planner(name, task, integer("budget", budget, 2), sharding)


def entry(name: str, task: Task, model: Model, options: Options, sharding: Any) -> Entry:
    """The planner of that name, and what its episodes have in common.

    Args:
        name: as `make` takes it.
        task: whose settings it takes.
        model: of the task.
        options: of the benchmark.
        sharding: how to spread plans over devices; None for one.

    Returns:
        The entry.

    Raises:
        ValueError: if the planner does not fit.
    """
    planner: Any = fitting(make(name, task, options.budget, sharding), model)
    state = jax.jit(model.init)(jax.random.key(0))
    beyond = task.beyond if options.beyond or name == SHIPPED else None
    return Entry(
        planner,
        {
            "planner": name,
            "kind": planner.name,
            "settings": task.settings(task.planner) if name == SHIPPED else {},  # of others the name tells them
            "horizon": planner.horizon,
            "plans": plans_per_step(planner),
            "fingerprint": fingerprint(planner, planner.init(model, state)),
            "push": options.push,
            "mass": options.mass,
            "of": task.episode_steps if options.steps is None else options.steps,
            "beyond": None if beyond is None else beyond.summary,
        },
    )


def _disturbed(model: Model, options: Options) -> Any:
    """What acts: the model, with other masses if they are asked for."""
    env = heavier(model, options.mass) if options.mass else model
    if options.push:
        jax.eval_shape(lambda key: push(env, env.init(key), options.push), jax.random.key(0))  # can it be?
    return env


def _measure(name: str, task: Task, model: Model, one: Entry, options: Options, known: list[dict[str, Any]]) -> None:
    env, num_steps = _disturbed(model, options), one.conditions["of"]
    seeds = unknown(known, one.conditions, _seeds(options))
    imagined = task.imagined(model) if seeds and one.conditions["beyond"] is not None else model
    for seed in seeds:
        conditions = one.conditions | {"seed": seed}
        line = ProgressLine(f"{name}, {one.conditions['planner']}, seed {seed}", num_steps)
        steps: list[dict[str, Any]] = []
        for step in play(one.planner, imagined, env, task, seed, num_steps, options.push):
            steps.append(step)
            line.show(steps)
        record = conditions | summarize(steps, num_steps)
        line.end(record)
        keep(options.out, name, known, record)


def _seeds(options: Options) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _records(folder: Path, name: str) -> list[dict[str, Any]]:
    """What is known of a model; the oldest records do not say that there was no value beyond the horizon."""
    return [{"beyond": None} | record for record in records_of(folder, name)]


def _print(name: str, task: Task, model: Model, drawn: Mapping[str, Sequence[dict[str, Any]]]) -> Table:
    dt = model.dt if isinstance(model, HasDuration) else None
    steps = max((record["of"] for episodes in drawn.values() for record in episodes), default=task.episode_steps)
    goal = "" if task.goal is None else f"; held: {task.goal.summary} during the last quarter"
    of_step = "" if dt is None else f", a step takes {1e3 * dt:.0f} ms"
    columns = episode_columns(task)
    return print_table(
        f"\n`{name}`: episodes of {steps} steps{goal}{of_step}",
        ("planner", *columns.names),
        ([planner, *columns.of(episodes)] for planner, episodes in drawn.items() if episodes),
        width=8,
    )


class Columns(NamedTuple):
    """What a table tells of whole episodes.

    Attributes:
        names: of the columns.
        of: episodes of a planner -> what they tell, in words.
    """

    names: tuple[str, ...]
    of: Callable[[Sequence[Mapping[str, Any]]], list[str]]


def episode_columns(task: Task) -> Columns:
    """The columns of whole episodes of a task.

    Args:
        task: whose goal, if it has one, is told.
    """
    held = ("held",) if task.goal else ()
    names = ("survived", "95 %", *held, "first end", "return", "of 100", "ms / plan")
    return Columns(names, functools.partial(_told, bool(held)))


def _told(held: bool, episodes: Sequence[Mapping[str, Any]]) -> list[str]:
    up, number = sum(not episode["ended"] for episode in episodes), len(episodes)
    interval = binomtest(up, number).proportion_ci(method="wilson")
    ends = [episode["steps"] for episode in episodes if episode["ended"]]
    return [
        f"{up}/{number}",
        f"{interval.low:.2f}-{interval.high:.2f}",
        *([f"{sum(episode['held'] for episode in episodes)}/{number}"] if held else []),
        str(min(ends)) if ends else "–",
        told([episode["return"] for episode in episodes], 1),
        told([episode["return_short"] for episode in episodes], 1),
        f"{statistics.median(episode['ms'] for episode in episodes):.1f}",
    ]


if __name__ == "__main__":
    main()
