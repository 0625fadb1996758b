"""Returns on MuJoCo Playground's control suite and on robots of MJCF files, beside naive policies.

`python -m mirrax.benchmarks.suite` prints a table, and keeps one record per task, planner and seed (a run that was
interrupted goes on where it was); see --help.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.episodes import ProgressLine, play, summarize
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.records import found, keep, records_of, unknown
from mirrax.benchmarks.returns import fitting, plans_per_step, told
from mirrax.benchmarks.suite_tasks import PREFIX, SUITE
from mirrax.benchmarks.survival import SHIPPED, make
from mirrax.benchmarks.task import Task
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import Table, print_table
from mirrax.dynamics import Model, action_space
from mirrax.dynamics.checks import integer

NAIVE = ("zeros", "random")
_TOGETHER = 50  # steps of a naive policy in one compiled program


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = tuple(f"{PREFIX}{name}" for name in SUITE)
    """Names of models, as `mirrax run` takes them."""
    planners: tuple[str, ...] = (SHIPPED, "cem", "mppi", "predictive_sampling", *NAIVE)
    """Names of planners, with options of their own after a colon: icem:std=0.7. "shipped" is what `mirrax run MODEL`
    takes, "zeros" the middle of all actuators' ranges, "random" actions drawn uniformly from these. All others take
    as many plans per step, and look as far ahead, as the shipped one."""
    seeds: int = 3
    """Episodes per model and planner."""
    first_seed: int = 0
    """Of the episodes: settings of the tasks here were chosen on seeds 0 to 2, so others tell more."""
    steps: int | None = None
    """Time steps of an episode; those of the task's own episode unless given."""
    out: Path = Path("runs/suite")
    """Folder of the records, one file per model; a run goes on with what it finds there. benchmarks/results/suite
    holds the measurements that the repository publishes."""
    draw_only: bool = False
    """Print what is there, measure nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        integer("seeds", options.seeds)
        integer("first_seed", options.first_seed, 0)
        if options.steps is not None:
            integer("steps", options.steps)
        for name in some("models", options.models):
            for planner in some("planners", options.planners):
                if planner not in NAIVE:
                    make(planner, find_task(name), None)
        options.out.mkdir(parents=True, exist_ok=True)
    known = {name: records_of(options.out, name) for name in options.models}
    if not options.draw_only:
        for name in options.models:
            _measure(name, options, known[name])
            jax.clear_caches()
    table(known, options)


def naive(policy: str, model: Model, seed: int, num_steps: int) -> list[dict[str, Any]]:
    """An episode of a policy that does not look at the state.

    Args:
        policy: "zeros" or "random".
        model: to act in.
        seed: of everything random.
        num_steps: of the episode, if it does not end.

    Returns:
        Of each step what `episodes.play` says.
    """
    reset_key, _, step_key = jax.random.split(jax.random.key(seed), 3)  # as `play`: the same start
    state, steps = _start(model, reset_key), []
    for first in range(0, num_steps, _TOGETHER):
        state, rewards, discounts = _naive_steps(policy == "random", model, step_key, state, jnp.asarray(first))
        for reward, discount in zip(rewards.tolist(), discounts.tolist(), strict=True):
            diverged = not math.isfinite(reward)
            ended = diverged or discount == 0
            steps.append({"reward": 0.0 if diverged else reward, "ended": ended, "reached": False, "ms": 0.0})
            if ended or len(steps) == num_steps:
                return steps
    return steps


@jax.jit
def _start(model: Any, key: Any) -> Any:
    return model.init(key)


@jax.jit
def _naive_steps(chance: Any, model: Any, key: Any, state: Any, first: Any) -> Any:
    def step(state: Any, t: Any) -> Any:
        own = jax.random.fold_in(key, t)
        zeros = action_space(model).zeros()
        action = jnp.where(chance, jax.random.uniform(own, zeros.shape, minval=-1.0, maxval=1.0), zeros)
        after = model.step(own, state, action)
        return after.state, (after.reward, after.discount)

    state, (rewards, discounts) = jax.lax.scan(step, state, first + jnp.arange(_TOGETHER))
    return state, rewards, discounts


def _seeds(options: Options) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _measure(name: str, options: Options, known: list[dict[str, Any]]) -> None:
    task = find_task(name)
    model = task.make(None)
    imagined = task.imagined(model)
    for planner_name in options.planners:
        planner: Any = None if planner_name in NAIVE else fitting(make(planner_name, task, None), imagined)
        conditions = _conditions(planner_name, task, options)
        for seed in unknown(known, conditions, _seeds(options)):
            line = ProgressLine(f"{name}, {planner_name}, seed {seed}", conditions["of"])
            if planner is None:
                steps = naive(planner_name, model, seed, conditions["of"])
            else:
                steps = []
                for step in play(planner, imagined, model, task, seed, conditions["of"], 0.0):
                    steps.append(step)
                    line.show(steps)
            record = conditions | {"seed": seed} | summarize(steps, conditions["of"])
            line.end(record)
            keep(options.out, name, known, record)


def _conditions(name: str, task: Task, options: Options) -> dict[str, Any]:
    """What a record must agree with to be of these episodes, but for the seed."""
    own: dict[str, Any] = {"planner": name, "of": task.episode_steps if options.steps is None else options.steps}
    if name not in NAIVE:
        planner: Any = make(name, task, None)
        own |= {"kind": planner.name, "horizon": planner.horizon, "plans": plans_per_step(planner)}
        own["settings"] = task.settings(task.planner) if name == SHIPPED else {}
        if task.beyond is not None:
            own["beyond"] = task.beyond.summary
    return own


def table(known: Mapping[str, Sequence[Mapping[str, Any]]], options: Options) -> Table:
    """Print the table of returns.

    Args:
        known: model -> records.
        options: which of them to show.
    """
    rows = []
    for name, records in known.items():
        task = find_task(name)
        cells, ms, held = [], "–", ""
        for planner in options.planners:
            episodes = found(records, _conditions(planner, task, options), _seeds(options))
            cells.append(told([record["return"] for record in episodes], 1) if episodes else "–")
            if planner == SHIPPED and episodes:
                ms = f"{statistics.median(record['ms'] for record in episodes):.0f}"
                stays = sum(record["held"] if task.goal else not record["ended"] for record in episodes)
                held = f"{stays} of {len(episodes)}"
        rows.append([name, *cells, held, ms])
    return print_table(
        f"\nReturn, mean of {options.seeds} seeds ± half of the 95 % confidence interval; the shipped planner's "
        "success (goal held, or survived) and ms per plan",
        ("model", *options.planners, "success", "ms / plan"),
        rows,
        width=16,
    )


if __name__ == "__main__":
    main()
