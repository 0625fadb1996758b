"""Learning curves of amortised policies: each algorithm on the same tasks, for the same number of steps.

`python -m mirrax.benchmarks.policies` prints a table, draws the curves, and keeps one record per model, algorithm and
seed (a run that was interrupted goes on where it was); see --help.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mirrax import learning
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.intervals import interval_of_means
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.page import write_benchmark
from mirrax.benchmarks.panels import label_outside, panels
from mirrax.benchmarks.records import found, keep, records_of, unknown
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import Table, print_table
from mirrax.dynamics import Continuous, action_space
from mirrax.dynamics.checks import integer

# a step of learning takes some algorithms longer than others; what they see is the same
ALGORITHMS: Mapping[str, Callable[..., Any]] = {
    "policy_gradient": learning.policy_gradient,
    "v_mpo": learning.v_mpo,
    "ppo": learning.ppo,
    "mpo": learning.mpo,
    "sac": learning.sac,
    "soft_q_learning": learning.soft_q_learning,
}
_POINTS = 20  # of a curve
_EPISODES = 32  # of the returns without noise


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = ("cartpole", "pendulum")
    """Names of models with vectors as actions, as `mirrax run` takes them. Of cartpole and pendulum policies see the
    cosine and sine of the angle."""
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    """Names of algorithms, with their defaults."""
    seeds: int = 5
    """Trainings per model and algorithm."""
    first_seed: int = 0
    """Of the trainings."""
    updates: int = 200
    """Of a training."""
    envs: int = 16
    """Copies of the environment."""
    steps: int = 32
    """Of each copy in an update."""
    episode_steps: int = 200
    """Of an episode."""
    out: Path = Path("runs/policies")
    """Folder of the records, one file per model; a run goes on with what it finds there. benchmarks/results/policies
    holds the measurements that the repository publishes."""
    draw_only: bool = False
    """Print and draw what is there, measure nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, print the table and draw the curves."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("seeds", "updates", "envs", "steps", "episode_steps"):
            integer(name, getattr(options, name))
        integer("first_seed", options.first_seed, 0)
        for name in some("algorithms", options.algorithms):
            if name not in ALGORITHMS:
                raise ValueError(f"algorithms must be of {', '.join(ALGORITHMS)}, got {name!r}")
        for name in some("models", options.models):
            space = action_space(find_task(name).make(None))
            if not isinstance(space, Continuous):
                raise ValueError(f"models must have vectors as actions, got {name!r} with {space}")
        options.out.mkdir(parents=True, exist_ok=True)
    known = {name: records_of(options.out, name) for name in options.models}
    if not options.draw_only:
        for name in options.models:
            for algorithm in options.algorithms:
                for seed in unknown(known[name], _conditions(algorithm, options), _seeds(options)):
                    _measure(name, algorithm, seed, options, known[name])
                jax.clear_caches()
    shown = table(known, options)
    write_benchmark(options.out, "policies", "Learning policies", [shown], figure(known, options))


def _seeds(options: Options) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _conditions(algorithm: str, options: Options) -> dict[str, Any]:
    """What a record must agree with to be of these trainings, but for the seed."""
    return {
        "algorithm": algorithm,
        "updates": options.updates,
        "envs": options.envs,
        "steps": options.steps,
        "of": options.episode_steps,
    }


def _of_pendulum(state: Float[Array, "2"]) -> Float[Array, "3"]:
    angle, spin = state
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), spin / 5.0])


def _of_cartpole(state: Float[Array, "4"]) -> Float[Array, "5"]:
    x, angle, velocity, spin = state
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), x, velocity / 3.0, spin / 5.0])


_OBSERVE = {"pendulum": _of_pendulum, "cartpole": _of_cartpole}


def _measure(name: str, algorithm: str, seed: int, options: Options, known: list[dict[str, Any]]) -> None:
    conditions = _conditions(algorithm, options)
    env = find_task(name).make(None)
    training = learning.learn_policy(
        env,
        ALGORITHMS[algorithm](),
        jax.random.key(seed),
        num_updates=options.updates,
        num_envs=options.envs,
        num_steps=options.steps,
        episode_steps=options.episode_steps,
        observe=_OBSERVE.get(name),
    )
    returns = learning.policy_returns(
        env, training.policy, jax.random.key(seed), num_episodes=_EPISODES, episode_steps=options.episode_steps
    )
    seconds = [update.seconds for update in training.records]
    record = conditions | {
        "seed": seed,
        "curve": _curve(training.returns),
        "return": round(float(returns.mean()), 3),
        "first_s": round(seconds[0], 2),
        "s": round(seconds[-1] - seconds[0], 2),
    }
    print(f"{name}, {algorithm}, seed {seed}: {record['return']:.1f} after {seconds[-1]:.0f} s", flush=True)
    keep(options.out, name, known, record)


def _curve(returns: Float[np.ndarray, " updates"]) -> list[float | None]:
    """Means of as many updates each; None where no episode was over."""
    parts = [part[~np.isnan(part)] for part in np.array_split(returns, min(_POINTS, len(returns)))]
    return [round(float(part.mean()), 3) if len(part) else None for part in parts]


def table(known: Mapping[str, Sequence[Mapping[str, Any]]], options: Options) -> Table:
    """Print the table of returns.

    Args:
        known: model -> records.
        options: which of them to show.
    """
    rows = []
    for name, records in known.items():
        for algorithm in options.algorithms:
            if not (trained := found(records, _conditions(algorithm, options), _seeds(options))):
                continue
            returns = np.array([record["return"] for record in trained])
            middle, low, high = interval_of_means([returns])
            rows.append(
                [
                    name,
                    algorithm,
                    f"{middle:.1f}",
                    f"{low:.1f} to {high:.1f}",
                    " ".join(f"{each:.0f}" for each in returns),
                    f"{np.median([record['s'] for record in trained]):.0f}",
                    f"{max(record['first_s'] for record in trained):.0f}",
                ]
            )
    return print_table(
        f"\nReturn of {options.episode_steps} steps without noise after {options.updates} updates of "
        f"{options.envs * options.steps} steps: interquartile mean of {options.seeds} seeds, its 95 % interval by "
        "the bootstrap, and all seeds; s of learning, median, and of the longest first update, with its compilation",
        ("model", "algorithm", "return", "interval", "seeds", "s", "first s"),
        rows,
        width=17,
    )


def figure(known: Mapping[str, Sequence[Mapping[str, Any]]], options: Options) -> Any:
    """Draw a learning curve per algorithm, model by model: interquartile mean over seeds, and its interval.

    Args:
        known: model -> records.
        options: which of them to show.

    Returns:
        A matplotlib figure.
    """
    picture, axes = panels(
        list(known), height=2.8, x_label="steps of the environment, in thousands", y_label="return, with noise"
    )
    for axis, (_, records) in zip(axes, known.items(), strict=True):
        for place, algorithm in enumerate(options.algorithms):
            if not (trained := found(records, _conditions(algorithm, options), _seeds(options))):
                continue
            curves = np.array([record["curve"] for record in trained], float)  # None becomes NaN
            middle, low, high = interval_of_means([curves])
            thousands = 1e-3 * options.updates * options.envs * options.steps
            steps = thousands * (np.arange(curves.shape[1]) + 0.5) / curves.shape[1]
            axis.plot(steps, middle, color=f"C{place}", label=algorithm)
            axis.fill_between(steps, low, high, color=f"C{place}", alpha=0.15, linewidth=0)
    label_outside(picture)
    return picture


if __name__ == "__main__":
    main()
