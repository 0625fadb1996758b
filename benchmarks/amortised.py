"""Amortised plans: what a network that was distilled from a planner saves the planner.

`python -m mirrax.benchmarks.amortised` prints a table: the returns of planners with fewer and fewer plans, by
themselves and primed with a network that was distilled from their own episodes, and the share of the plannings that
is left where the network's plans are executed. With --rounds it prints what expert iteration with an eighth of the
plans makes of a network that knows nothing; see --help.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mirrax import learning, planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.returns import told
from mirrax.benchmarks.task import Task
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import Table, print_table
from mirrax.dynamics.checks import choice, integer, real
from mirrax.planners.policies import PlanNetwork, plan_network
from mirrax.planners.policies.heads import HEADS


def _pendulum(state: Float[Array, "2"]) -> Float[Array, "3"]:
    return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])


def _cartpole(state: Float[Array, "4"]) -> Float[Array, "5"]:
    return jnp.stack([state[0], jnp.cos(state[1]), jnp.sin(state[1]), state[2], state[3]])


OBSERVE: Mapping[str, Any] = {"pendulum": _pendulum, "cartpole": _cartpole}
# how a planner is primed: smc adapts its temperature, and has the network for its proposal
PRIMING: Mapping[str, Mapping[str, Any]] = {"vi_mpc": {}, "smc": {"as_prior": False}}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = ("pendulum", "cartpole")
    """pendulum, cartpole."""
    planners: tuple[str, ...] = ("vi_mpc", "smc")
    """vi_mpc, smc."""
    num_samples: int = 256
    """Plans per iteration, of which a half, a quarter and an eighth are tried as well."""
    episodes: int = 20
    """To distil from, half of them by plans that are drawn, not by the best: they show what to do off the way."""
    seeds: int = 8
    """Episodes per planner and number of plans."""
    steps: int = 200
    """Of an episode."""
    hidden: tuple[int, ...] = (64, 64)
    """Sizes of the network's hidden layers."""
    head: str = "gaussian"
    """What the network makes of a state: gaussian, mixture or autoregressive."""
    criterion: str = "regret"
    """What decides whether it is planned: regret, elbo or ess."""
    thresholds: tuple[float, ...] = (0.1, 1.0, 3.0)
    """Of the criterion: units of the return of a plan, nats, or a share of the plans."""
    temperature: float = 1.0
    """Of the posterior that elbo and ess compare with, in units of the return of a plan."""
    rounds: int = 0
    """Rounds of expert iteration, in the place of the table; 0 for none."""
    round_episodes: int = 4
    """Of the planner in each round."""


class Measured(NamedTuple):
    """Returns of episodes, and the share of their steps that were planned, [S] each."""

    returns: np.ndarray
    planned: np.ndarray


def main(arguments: Sequence[str] | None = None) -> None:
    """Distil, measure, and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("episodes", "seeds", "steps"):
            integer(name, getattr(options, name))
        integer("num_samples", options.num_samples, 16)
        if options.episodes % 2:
            raise ValueError(f"episodes must be even, half of them by plans that are drawn, got {options.episodes}")
        for threshold in options.thresholds:
            real("thresholds", threshold, minimum=0.0, maximum=1.0 if options.criterion == "ess" else None)
        integer("rounds", options.rounds, 0)
        real("temperature", options.temperature, above=0.0)
        if integer("round_episodes", options.round_episodes, 2) % 2:
            raise ValueError(f"round_episodes must be even, got {options.round_episodes}")
        choice("head", options.head, HEADS)
        choice("criterion", options.criterion, ("regret", "elbo", "ess"))
        for name in some("models", options.models):
            choice("models", name, tuple(OBSERVE))
        for name in some("planners", options.planners):
            choice("planners", name, tuple(PRIMING))
    row_of, print_rows = (_rounds, rounds_table) if options.rounds else (_rows, table)
    print_rows(
        (row for model in options.models for planner in options.planners for row in row_of(model, planner, options)),
        options,
    )


def table(rows: Any, options: Options) -> Table:
    """Print the table, row by row.

    Args:
        rows: of the table.
        options: what is measured.
    """
    return print_table(
        f"\nReturn of {options.steps} steps, mean of {options.seeds} seeds ± half of the 95 % confidence interval, "
        f"with networks distilled from {options.episodes} episodes of the planner with {options.num_samples} plans; "
        "and the share of the steps that are planned",
        ("model", "planner", "plans", "by itself", "primed", "planned"),
        rows,
        width=17,
    )


def rounds_table(rows: Any, options: Options) -> Table:
    """Print the table of expert iteration, row by row.

    Args:
        rows: of the table.
        options: what is measured.
    """
    return print_table(
        f"\nExpert iteration with {options.num_samples // 8} plans, {options.round_episodes} episodes per round: "
        f"returns of {options.steps} steps, mean of {options.seeds} trainings ± half of the 95 % confidence "
        "interval, of the planner that is primed with the network before the round, and of the network alone after "
        "it; how far the round moved it (KL), and how long planning and distilling took",
        ("model", "planner", "round", "primed", "network alone", "KL, nats", "seconds"),
        rows,
        width=17,
    )


def _rounds(model_name: str, planner: str, options: Options) -> Any:
    task = find_task(model_name)
    model = task.make(None)
    expert = _planner(planner, task, options.num_samples // 8)
    trainings = [
        learning.expert_iteration(
            model,
            expert,
            _network(model_name, task, model, options),
            key,
            num_rounds=options.rounds,
            num_episodes=options.round_episodes,
            num_steps=options.steps,
        )[1].rounds
        for key in jax.random.split(jax.random.key(1), options.seeds)
    ]
    for number, rounds in enumerate(zip(*trainings, strict=True)):
        returns = [told([getattr(each, f"{name}_return") for each in rounds], 1) for name in ("planned", "network")]
        kl = np.mean([each.kl for each in rounds])
        seconds = np.mean([each.plan_seconds + each.distil_seconds for each in rounds])
        yield [model_name, planner, str(number), *returns, f"{kl:.2f}", f"{seconds:.1f}"]


def _rows(model_name: str, planner: str, options: Options) -> Any:
    task = find_task(model_name)
    model = task.make(None)
    network = _distilled(model_name, task, model, planner, options)
    keys = jax.random.split(jax.random.key(1), options.seeds)

    def measured(own: Any) -> Measured:
        return Measured(*map(np.asarray, _measure(own, model, keys, options.steps)))

    for size in (options.num_samples // share for share in (1, 2, 4, 8)):
        alone = _planner(planner, task, size)
        primed = planners.primed(alone, network, **PRIMING[planner])
        cells = [told([*measured(own).returns], 1) for own in (alone, primed)]
        yield [model_name, planner, str(size), *cells, "1"]
    primed = planners.primed(_planner(planner, task, options.num_samples), network, **PRIMING[planner])
    for threshold in options.thresholds:
        temperature = None if options.criterion == "regret" else options.temperature
        found = measured(
            planners.amortised(primed, network, threshold, criterion=options.criterion, temperature=temperature)
        )
        name = f"{options.criterion}, {threshold:g}"
        yield [model_name, planner, name, "", told([*found.returns], 1), f"{found.planned.mean():.2f}"]
    found = measured(planners.controller(network))
    yield [model_name, planner, "network alone", "", told([*found.returns], 1), "0"]


def _planner(name: str, task: Task, num_samples: int, **options: Any) -> Any:
    return getattr(planners, name)(task.horizon, num_samples=num_samples, **task.std_of(name), **options)


def _distilled(model_name: str, task: Task, model: Any, planner: str, options: Options) -> PlanNetwork:
    """A network that has learnt what the planner did."""
    keys = jax.random.split(jax.random.key(0), options.episodes).reshape(2, -1)
    targets = []
    for own_keys, execute in zip(keys, ("mean", "sample"), strict=True):
        teacher = _planner(planner, task, options.num_samples, keep=("weights", "samples"), execute=execute)
        happened = _record(teacher, model, own_keys, options.steps)
        targets.append(learning.episode_targets(happened, limit=1.0, keep_plans=options.head != "gaussian"))
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), *targets)
    return learning.distil(_network(model_name, task, model, options), both, jax.random.key(2))[0]


def _network(model_name: str, task: Task, model: Any, options: Options) -> PlanNetwork:
    """A network that knows nothing."""
    own = plan_network(task.horizon, hidden=options.hidden, observe=OBSERVE[model_name], head=options.head)
    return own.init(model, model.init(jax.random.key(0)))


@functools.partial(jax.jit, static_argnames="num_steps")
def _record(planner: Any, model: Any, keys: Any, num_steps: int) -> Any:
    return jax.lax.map(lambda key: planners.episode(planner, model, model, key, num_steps), keys)


@functools.partial(jax.jit, static_argnames="num_steps")
def _measure(planner: Any, model: Any, keys: Any, num_steps: int) -> tuple[Array, Array]:
    def one(key: Any) -> tuple[Array, Array]:
        happened = planners.episode(planner, model, model, key, num_steps)
        planned = happened.infos.planned
        return happened.rewards.sum(), jnp.ones(()) if planned is None else planned[:, -1].mean()

    return jax.lax.map(one, keys)


if __name__ == "__main__":
    main()
