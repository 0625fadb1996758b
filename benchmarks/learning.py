"""Learning curves: planning with a model that is learnt meanwhile, beside the same planner with the true one.

`python -m mirrax.benchmarks.learning` prints a table, draws the curves, and keeps one record per model, planner and
seed (a run that was interrupted goes on where it was); see --help.
"""

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mirrax import learning
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.known import KNOWN, fast_twin, known_of
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.page import write_benchmark
from mirrax.benchmarks.panels import label_outside, panels
from mirrax.benchmarks.records import found, keep, records_of, unknown
from mirrax.benchmarks.returns import interval, make_planner, told
from mirrax.benchmarks.task import Task
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import Table, print_table
from mirrax.dynamics import learned
from mirrax.dynamics.checks import integer
from mirrax.planners import episode

_LAST = 3  # episodes of a curve that the table takes the mean of


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = ("pendulum", "cartpole")
    """Names of models, as `mirrax run` takes them."""
    planners: tuple[str, ...] = ("cem", "vi_mpc", "paets")
    """Names of planners, with options of their own after a colon."""
    budget: int = 256
    """Plans per step, over all iterations of a planner."""
    seeds: int = 3
    """Trainings per model and planner."""
    first_seed: int = 0
    """Of the trainings."""
    episodes: int = 10
    """Of a training."""
    random_episodes: int = 1
    """How many of these, at first, are by chance."""
    steps: int = 200
    """Of an episode."""
    backend: str | None = None
    """Physics of Brax's environments; as `mirrax run` chooses unless given."""
    hidden: tuple[int, ...] = (64, 64)
    """Sizes of the networks' hidden layers."""
    members: int = 5
    """How many networks."""
    sampling: str = "ts_inf"
    """ts_inf, or ts1."""
    known: bool = False
    """Give the model the true reward and the true ends, of the models whose reward is of state and action; of the
    half cheetah the reward as its observations have it, with its speed in place of the way it made in a step."""
    noisy: bool = True
    """Let plans meet the noise that networks expect, else the networks' means."""
    out: Path = Path("runs/learning")
    """Folder of the records, one file per model; a run goes on with what it finds there. benchmarks/results/learning
    holds the measurements that the repository publishes."""
    draw_only: bool = False
    """Print and draw what is there, measure nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, print the table and draw the curves."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("seeds", "episodes", "random_episodes", "steps", "members", "budget"):
            integer(name, getattr(options, name))
        if options.episodes <= options.random_episodes:
            raise ValueError(
                f"episodes must be more than the {options.random_episodes} by chance, got {options.episodes}"
            )
        integer("first_seed", options.first_seed, 0)
        if options.known and (wrong := [name for name in options.models if name not in KNOWN]):
            raise ValueError(f"models must be of {', '.join(KNOWN)} beside known, got {wrong[0]!r}")
        for name in some("models", options.models):
            find_task(name).make(options.backend)
            for planner in some("planners", options.planners):
                _planner(planner, find_task(name), options)
        options.out.mkdir(parents=True, exist_ok=True)
    known = {name: records_of(options.out, name) for name in options.models}
    if not options.draw_only:
        for name in options.models:
            for planner in options.planners:
                for seed in unknown(known[name], _conditions(planner, options), _seeds(options)):
                    _measure(name, planner, seed, options, known[name])
            jax.clear_caches()
    shown = table(known, options)
    write_benchmark(options.out, "learning", "Learning while planning", [shown], figure(known, options))


def _seeds(options: Options) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _planner(name: str, task: Task, options: Options) -> Any:
    """A planner of as many plans per step as the budget has."""
    return make_planner(name, task, options.budget)


def _conditions(planner: str, options: Options) -> dict[str, Any]:
    """What a record must agree with to be of these trainings, but for the seed."""
    return {
        "planner": planner,
        "budget": options.budget,
        "episodes": options.episodes,
        "random_episodes": options.random_episodes,
        "of": options.steps,
        "backend": options.backend,
        "hidden": list(options.hidden),
        "members": options.members,
        "sampling": options.sampling,
        "known": options.known,
        "noisy": options.noisy,
    }


def _measure(name: str, planner_name: str, seed: int, options: Options, known: list[dict[str, Any]]) -> None:
    conditions = _conditions(planner_name, options)
    task = find_task(name)
    env = task.make(options.backend)
    planner = _planner(planner_name, task, options)
    known_parts = known_of(name, env) if options.known else {}
    model = learned(
        env,
        hidden=options.hidden,
        num_members=options.members,
        sampling=options.sampling,
        noisy=options.noisy,
        **known_parts,
    )

    def show(record: learning.EpisodeRecord) -> None:
        print(f"{name}, {planner_name}, seed {seed}, episode {record.number}: {record.earned:.1f}", flush=True)

    training = learning.train(
        env,
        planner,
        jax.random.key(seed),
        model=model,
        num_episodes=options.episodes,
        num_steps=options.steps,
        num_random=options.random_episodes,
        progress=show,
    )
    planned = [record for record in training.records if not record.by_chance]
    record = conditions | {
        "seed": seed,
        "returns": [round(float(earned), 3) for earned in training.returns],
        "steps": [record.num_steps for record in training.records],
        "true": round(_with_the_true_model(fast_twin(name, env, options.backend), planner, seed, options.steps), 3),
        "ms": round(statistics.median(1e3 * one.drive_seconds / one.num_steps for one in planned), 3),
        "fit_s": round(statistics.median(one.fit_seconds for one in planned), 3),
        "error": [round(float(value), 6) for value in training.errors.error[-1]] if training.errors else None,
        "spread": [round(float(value), 6) for value in training.errors.spread[-1]] if training.errors else None,
    }
    keep(options.out, name, known, record)


@functools.partial(jax.jit, static_argnames="num_steps")
def _episode(planner: Any, env: Any, key: Any, num_steps: int) -> Any:
    return episode(planner, env, env, key, num_steps).rewards


def _with_the_true_model(env: Any, planner: Any, seed: int, num_steps: int) -> float:
    """The return of an episode that is planned with the environment itself."""
    return float(np.sum(np.asarray(_episode(planner, env, jax.random.key(seed), num_steps)), dtype=float))


def table(known: Mapping[str, Sequence[Mapping[str, Any]]], options: Options) -> Table:
    """Print the table of returns.

    Args:
        known: model -> records.
        options: which of them to show.
    """
    rows = []
    for name, records in known.items():
        for planner in options.planners:
            if not (trained := found(records, _conditions(planner, options), _seeds(options))):
                continue
            true = [record["true"] for record in trained]
            low = interval(true)[0] - interval(true)[1]
            curves = np.array([record["returns"] for record in trained])
            chance = options.random_episodes
            reached = [next((i for i, e in enumerate(curve) if i >= chance and e >= low), None) for curve in curves]
            last = curves[:, -_LAST:].mean(1)
            rows.append(
                [
                    name,
                    planner,
                    told([curve[:chance].mean() for curve in curves], 1),
                    told([*last], 1),
                    told(true, 1),
                    " ".join("–" if number is None else str(number) for number in reached),
                    f"{statistics.median(record['ms'] for record in trained):.0f}",
                    f"{statistics.median(record['fit_s'] for record in trained):.1f}",
                ]
            )
    return print_table(
        f"\nReturn of {options.steps} steps, mean of {options.seeds} seeds ± half of the 95 % confidence interval, "
        f"of the episodes by chance, of the last {_LAST} of {options.episodes}, and with the true model; the "
        "first episode that is within the interval of that, by seed",
        ("model", "planner", "by chance", "learned", "true model", "reached", "ms / step", "fit s"),
        rows,
        width=15,
    )


def figure(known: Mapping[str, Sequence[Mapping[str, Any]]], options: Options) -> Any:
    """Draw a learning curve per planner, model by model: mean and range over seeds.

    Args:
        known: model -> records.
        options: which of them to show.

    Returns:
        A matplotlib figure.
    """
    picture, axes = panels(list(known), height=2.6, x_label="episode", y_label="return")
    for axis, (_, records) in zip(axes, known.items(), strict=True):
        for place, planner in enumerate(options.planners):
            if not (trained := found(records, _conditions(planner, options), _seeds(options))):
                continue
            curves, colour = np.array([record["returns"] for record in trained]), f"C{place}"
            episodes = np.arange(curves.shape[1])
            axis.plot(episodes, curves.mean(0), color=colour, label=planner)
            axis.fill_between(episodes, curves.min(0), curves.max(0), color=colour, alpha=0.15, linewidth=0)
            true = np.mean([record["true"] for record in trained])
            axis.axhline(true, color=colour, linestyle=":", linewidth=1, label=f"{planner}, true model")
    label_outside(picture)
    return picture


if __name__ == "__main__":
    main()
