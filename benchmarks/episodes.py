"""A whole episode, step by step: how a planner does, what is kept of it, and how far it is."""

import functools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from mirrax import planners
from mirrax.benchmarks.disturbances import push
from mirrax.benchmarks.task import Goal, Task
from mirrax.dynamics import Model
from mirrax.planners.rollouts.placement import place, sharding_of

_SHORT = 100  # steps of the episodes of `mirrax bench returns`


def play(
    planner: Any, model: Model, env: Model, task: Task, seed: int, num_steps: int, kick: float
) -> Iterator[dict[str, Any]]:
    """Drive `env` for a whole episode, planning with `model`.

    Args:
        planner: how to plan.
        model: what to imagine with.
        env: what to act in.
        task: whose goal is looked at.
        seed: of everything random.
        num_steps: of the episode, if it does not end.
        kick: the size of the push that comes every 100 steps; 0 for none.

    Yields:
        After each step the `reward`, `ended`, `reached`, and the `ms` of the planning. A simulation that diverges
        has ended, with a reward of 0.
    """
    sharding = sharding_of(planner)
    keys = jax.random.split(jax.random.key(seed), 3)
    planner, model, env, (reset_key, plan_key, step_key) = place((planner, model, env, keys), sharding)
    programs = _programs(task.goal)
    state = place(programs.init(env, reset_key), sharding)
    belief = programs.start(planner, model, state)
    for t in range(num_steps):
        if kick and t and t % 100 == 0:
            state = programs.push(env, state, kick)
        began = time.perf_counter()
        action, belief = jax.block_until_ready(
            programs.plan(planner, model, jax.random.fold_in(plan_key, t), state, belief)
        )
        ms = 1e3 * (time.perf_counter() - began)
        step, reached = programs.step(env, jax.random.fold_in(step_key, t), state, action)
        state = step.state
        diverged = not math.isfinite(reward := float(step.reward))
        ended = diverged or bool(step.discount == 0)
        yield {"reward": 0.0 if diverged else reward, "ended": ended, "reached": bool(reached), "ms": ms}
        if ended:
            return


def summarize(steps: Sequence[Mapping[str, Any]], num_steps: int) -> dict[str, Any]:
    """What is kept of an episode.

    Args:
        steps: as `play` gives them.
        num_steps: that the episode has if it does not end.

    Returns:
        Its length, whether it `ended`, whether the goal was `held` during the last quarter, the return, also that of
        the first 100 steps, and the median of the milliseconds per plan.
    """
    rewards = [step["reward"] for step in steps]
    ended = steps[-1]["ended"]
    last = steps[-max(1, num_steps // 4) :]
    return {
        "steps": len(steps),
        "ended": ended,
        "held": not ended and all(step["reached"] for step in last),
        "return": round(sum(rewards), 3),
        "return_short": round(sum(rewards[:_SHORT]), 3),
        "ms": round(statistics.median(step["ms"] for step in steps), 3),
    }


class ProgressLine:
    """How far an episode is, on stderr: a line that changes on a terminal, a line per episode elsewhere.

    Args:
        name: of the episode.
        num_steps: that it has if it does not end.
    """

    def __init__(self, name: str, num_steps: int) -> None:
        self.name, self.num_steps = name, num_steps
        self.began = time.perf_counter()

    def show(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Say how far it is."""
        if sys.stderr.isatty():
            earned = sum(step["reward"] for step in steps)
            print(
                f"\r{self.name}: step {len(steps)}/{self.num_steps}, return {earned:.1f}, "
                f"{steps[-1]['ms']:.0f} ms/plan",
                end="\x1b[K",
                file=sys.stderr,
                flush=True,
            )

    def end(self, record: Mapping[str, Any]) -> None:
        """Say how it went."""
        how = "ended at" if record["ended"] else "up after"
        before = "\r" if sys.stderr.isatty() else ""
        seconds = time.perf_counter() - self.began
        print(
            f"{before}{self.name}: {how} {record['steps']} steps, return {record['return']:.1f}, {seconds:.0f} s",
            end="\x1b[K\n" if before else "\n",
            file=sys.stderr,
            flush=True,
        )


class _Programs(NamedTuple):
    """The compiled parts of an episode."""

    init: Callable[..., Any]
    start: Callable[..., Any]
    plan: Callable[..., Any]
    step: Callable[..., Any]
    push: Callable[..., Any]


@functools.lru_cache
def _programs(goal: Goal | None) -> _Programs:
    """Functions whose compiled programs the episodes of one planner on one task share."""

    def plan(planner: Any, model: Any, key: Any, state: Any, belief: Any) -> tuple[Any, Any]:
        return planners.plan(planner, model, key, state, belief)[:2]

    def step(env: Any, key: Any, state: Any, action: Any) -> tuple[Any, Any]:
        after = env.step(key, state, action)
        return after, True if goal is None else goal.reached(env, after.state)

    return _Programs(
        init=jax.jit(lambda env, key: env.init(key)),
        start=jax.jit(lambda planner, model, state: planner.init(model, state)),
        plan=jax.jit(plan),
        step=jax.jit(step),
        push=jax.jit(push),
    )
