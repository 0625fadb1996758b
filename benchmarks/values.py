"""Whole episodes with a learnt value beyond the horizon: of the planner's own episodes, or of a policy.

`python -m mirrax.benchmarks.values` learns for some minutes of wall-clock time, the same for the value of a planner
and for PPO, plays whole episodes with what was learnt, and prints a table per model; see --help. It keeps what was
learnt and every episode in a folder: a run that was interrupted goes on where it was.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mirrax import learning, planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.episodes import ProgressLine, play, summarize
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.page import write_benchmark
from mirrax.benchmarks.records import found, keep, records_of, unknown
from mirrax.benchmarks.returns import fitting
from mirrax.benchmarks.survival import SHIPPED, episode_columns, make
from mirrax.benchmarks.survival_figure import figure
from mirrax.benchmarks.task import Task
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import Table, print_table
from mirrax.dynamics.checks import integer, number

ALONE, OWN, PPO, OF_PPO = "alone", "own value", "ppo", "ppo's value"
# which of what is learnt a row is of
_LEARNT = {OWN: "own", PPO: "ppo", OF_PPO: "ppo"}
ROWS = (SHIPPED, ALONE, OWN, PPO, OF_PPO)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = ("hopper", "walker2d", "ant")
    """Names of models, as `mirrax run` takes them."""
    planner: str = "icem:horizon=20,std=0.5,population_decay=1.0"
    """The planner with and without a value beyond; its horizon may be among its options."""
    budget: int = 120
    """Plans per time step of that planner, over all iterations."""
    rows: tuple[str, ...] = ROWS
    """shipped: what `mirrax run MODEL` takes, with nothing learnt. alone: the planner. own value: with the value of
    its own episodes. ppo: the policy that PPO finds, without a planner. ppo's value: the planner with its value."""
    minutes: float = 15.0
    """Of learning, of wall-clock time, with compilation: a value, and PPO."""
    discount: float = 0.997
    """Of values and of PPO, per step. With 0.99 a hopper that runs at 4 m/s and falls within a second earns as
    much as one that goes on at 2 m/s for ever."""
    learning_seed: int = 0
    """Of what is learnt."""
    seeds: int = 8
    """Episodes per row."""
    first_seed: int = 0
    """Of the episodes."""
    steps: int | None = None
    """Time steps of an episode; those of the task's own episode unless given."""
    out: Path = Path("runs/values")
    """Folder of what is learnt, of the episodes, one file per model, and of the figure."""
    draw_only: bool = False
    """Print and draw what is there, measure nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn and measure what is not known yet, print the tables, draw the figure and the page."""
    options = parse(Options, arguments)
    with one_clear_line():
        integer("seeds", options.seeds)
        integer("first_seed", options.first_seed, 0)
        number("minutes", options.minutes, minimum=0.0)
        number("discount", options.discount, minimum=0.0, below=1.0)
        if options.steps is not None:
            integer("steps", options.steps)
        for row in some("rows", options.rows):
            if row not in ROWS:
                raise ValueError(f"rows must be of {', '.join(ROWS)}, got {row!r}")
        for name in some("models", options.models):
            task = find_task(name)
            fitting(make(options.planner, task, options.budget), task.make(None))
        options.out.mkdir(parents=True, exist_ok=True)
    known = {name: records_of(options.out, name) for name in options.models}
    drawn, tables = {}, []
    for name in options.models:
        task = find_task(name)
        if not options.draw_only:
            for row in options.rows:
                _measure(name, task, row, options, known[name])
            jax.clear_caches()
        drawn[name] = {
            row: found(known[name], _conditions(row, options, task), _seeds(options)) for row in options.rows
        }
        tables.append(_print(name, task, drawn[name], options))
    write_benchmark(options.out, "values", "Whole episodes with learnt values", tables, figure(drawn))


def _conditions(row: str, options: Options, task: Task) -> dict[str, Any]:
    """What a record must agree with to be one of these episodes, but for the seed."""
    of = {"row": row, "of": task.episode_steps if options.steps is None else options.steps}
    return of | (_of_planner(options) if row not in (SHIPPED, PPO) else {}) | _of_learning(row, options)


def _of_planner(options: Options) -> dict[str, Any]:
    return {"planner": options.planner, "budget": options.budget}


def _of_learning(row: str, options: Options) -> dict[str, Any]:
    """What must agree for what was learnt to be what is asked for."""
    if row not in _LEARNT:
        return {}
    of = {"minutes": options.minutes, "discount": options.discount, "learning_seed": options.learning_seed}
    return of | (_of_planner(options) if row == OWN else {})


def _measure(name: str, task: Task, row: str, options: Options, known: list[dict[str, Any]]) -> None:
    conditions = _conditions(row, options, task)
    seeds = unknown(known, conditions, _seeds(options))
    if not seeds:
        return
    env = task.make(None)
    imagined: Any = env
    if row == SHIPPED:
        planner, imagined = make(SHIPPED, task, None), task.imagined(env)
    else:
        planner = fitting(make(options.planner, task, options.budget), env)
    steps = 0
    if row in _LEARNT:
        learnt, steps = _learnt(name, row, env, planner, options, task)
        if row == PPO:
            planner = planners.controller(learnt.policy)
        else:
            imagined = learning.beyond(env, learnt if row == OWN else learnt.value)
    for seed in seeds:
        line = ProgressLine(f"{name}, {row}, seed {seed}", conditions["of"])
        played = []
        for step in play(planner, imagined, env, task, seed, conditions["of"], 0.0):
            played.append(step)
            line.show(played)
        record = conditions | {"seed": seed, "learnt_steps": steps} | summarize(played, conditions["of"])
        line.end(record)
        keep(options.out, name, known, record)


def _learnt(name: str, row: str, env: Any, planner: Any, options: Options, task: Task) -> tuple[Any, int]:
    """What is learnt for a row, now or before, and from how many steps of the environment."""
    folder = options.out / "learnt" / f"{name}-{_LEARNT[row]}"
    conditions, told = _of_learning(row, options), folder / "conditions.json"
    if told.exists() and conditions.items() <= (before := json.loads(told.read_text())).items():
        return learning.load(folder, env), before["steps"]

    def show(record: learning.UpdateRecord) -> None:
        if not np.isnan(record.earned):
            up = f"return {record.earned:.0f}, {record.episode_length:.0f} steps"
            print(f"{name}, {_LEARNT[row]}, {record.seconds:.0f} s, {record.num_steps} steps: {up}", flush=True)

    key, seconds = jax.random.key(options.learning_seed), 60.0 * options.minutes
    kept: Any
    if row == OWN:
        training: Any = learning.learn_value(
            env,
            planner,
            key,
            num_rounds=1_000_000,
            episode_steps=task.episode_steps,
            discount=options.discount,
            max_seconds=seconds,
            progress=show,
        )
        kept = training.value
    else:
        training = kept = learning.learn_policy(
            env,
            learning.ppo(discount=options.discount),
            key,
            num_updates=1_000_000,
            num_envs=64,
            num_steps=32,
            episode_steps=task.episode_steps,
            max_seconds=seconds,
            progress=show,
        )
    learning.save(folder, kept)
    told.write_text(json.dumps(conditions | {"steps": training.records[-1].num_steps}) + "\n")
    return kept, training.records[-1].num_steps


def _seeds(options: Options) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _print(name: str, task: Task, drawn: Mapping[str, Sequence[dict[str, Any]]], options: Options) -> Table:
    columns = episode_columns(task)
    steps = task.episode_steps if options.steps is None else options.steps
    return print_table(
        f"\n`{name}`: episodes of {steps} steps, after {options.minutes:g} minutes of learning",
        ("", "learnt from", *columns.names),
        (
            [row, str(episodes[0]["learnt_steps"] or "–"), *columns.of(episodes)]
            for row, episodes in drawn.items()
            if episodes
        ),
        width=11,
    )


if __name__ == "__main__":
    main()
