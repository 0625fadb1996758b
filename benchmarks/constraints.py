"""Constraints beside penalties: how many episodes violate something, and what they earn.

Each planner, with its default settings, keeps to a constraint (`dynamics.constrained`), or pays a penalty for
violating it, w max(g, 0) per step, at several weights w. `python -m mirrax.benchmarks.constraints` prints a table per
task; see --help.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray

from mirrax import dynamics, planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics.base import Model, State, Step
from mirrax.dynamics.checks import choice, integer, real
from mirrax.dynamics.pytrees import pytree

OBSTACLES = ((1.5, 0.35, 0.6), (1.5, -1.15, 0.6))  # a passage of 0.3 m between them
GOAL = (3.0, 0.0)


class Task(NamedTuple):
    """A model, and a constraint that plans must keep.

    Attributes:
        model: without it.
        constraint: (state, action) -> g, allowed where g <= 0.
        horizon: steps of a plan.
        steps: of an episode.
    """

    model: Model
    constraint: Callable[..., Any]
    horizon: int
    steps: int


def outside(state: State, action: Any) -> Float[Array, "2"]:
    """How deep a point is in each of the obstacles, m."""
    rows = jnp.asarray(OBSTACLES)
    return rows[:, 2] - jnp.linalg.norm(state[:2] - rows[:, :2], axis=-1)


def slow(state: State, action: Any) -> Float[Array, ""]:
    """By how much a pendulum is faster than 2 rad/s."""
    return jnp.abs(state[1]) - 2.0


def on_track(state: State, action: Any) -> Float[Array, ""]:
    """How far a cart is beyond 0.5 m from the middle of its track, m."""
    return jnp.abs(state[0]) - 0.5


TASKS: Mapping[str, Callable[[], Task]] = {
    "passage": lambda: Task(dynamics.point_mass(goal=GOAL, obstacles=()), outside, 25, 100),
    "speed": lambda: Task(dynamics.pendulum(max_torque=12.0), slow, 25, 100),
    "track": lambda: Task(dynamics.cartpole(), on_track, 40, 150),
}
KEEPING = (
    *("random_shooting", "predictive_sampling", "cem", "icem", "mppi", "pi2", "tsallis", "dial", "evolution"),
    *("vi_mpc", "smc"),
)


@pytree
class Penalized(dynamics.Wrapper):
    """A model that charges for violations.

    Attributes:
        model: the model underneath.
        constraint: (state, action) -> g.
        weight: w, what max(g, 0) costs at each step.
    """

    model: Model
    constraint: Callable[..., Any]
    weight: Float[Array, ""]

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath, and charge."""
        step = self.model.step(key, state, action)
        cost = jnp.maximum(self.constraint(step.state, action), 0.0).sum()
        return Step(step.state, step.reward - self.weight * cost, step.discount)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    planners: tuple[str, ...] = KEEPING
    """Names of planners that keep to constraints."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """passage: a point mass between two obstacles. speed: a pendulum that must not be faster than 2 rad/s. track: a
    cart-pole that must stay within 0.5 m."""
    weights: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    """Weights of the penalty."""
    seeds: int = 4
    """Episodes per planner."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    options = parse(Options, arguments)
    with one_clear_line():
        some("planners", options.planners)
        for name in options.planners:
            choice("planners", name, KEEPING)
        for name in some("tasks", options.tasks):
            choice("tasks", name, tuple(TASKS))
        integer("seeds", options.seeds)
        for weight in options.weights:
            real("weights", weight, minimum=0.0)
    for name in options.tasks:
        task = TASKS[name]()
        print_table(
            f"{name}: episodes that violate the constraint, of {options.seeds}, and the mean return of {task.steps} "
            "steps (what the model pays, without penalties)",
            ("planner", "constraint", *(f"penalty {weight:g}" for weight in options.weights)),
            ([planner, *_measure(task, planner, options)] for planner in options.planners),
            width=14,
        )
        print()


def _measure(task: Task, planner_name: str, options: Options) -> list[str]:
    """A row of the table."""
    planner = getattr(planners, planner_name)(task.horizon)
    env = dynamics.constrained(task.model, task.constraint)
    penalized = Penalized(task.model, jax.tree_util.Partial(task.constraint), jnp.zeros(()))

    @jax.jit
    def run(model: Model, keys: Array) -> tuple[Array, Array]:
        def one(key: Array) -> tuple[Array, Array]:
            episode = planners.episode(planner, model, env, key, task.steps)
            assert episode.violations is not None  # the environment has a constraint
            return episode.violations.sum(), episode.rewards.sum()

        return jax.vmap(one)(keys)

    keys = jax.random.split(jax.random.key(0), options.seeds)
    models = [env, *(dataclasses.replace(penalized, weight=real("weight", weight)) for weight in options.weights)]
    cells = []
    for model in models:
        violations, returns = map(np.asarray, run(model, keys))
        cells.append(f"{(violations > 0).sum()}, {returns.mean():.1f}")
    return cells


if __name__ == "__main__":
    main()
