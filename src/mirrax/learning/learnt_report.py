"""Pages about policies, values and plan networks: how learning went, and the best of some episodes in motion."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from mirrax.dynamics.base import Model
from mirrax.dynamics.figures import figure
from mirrax.learning.collecting import poses_of
from mirrax.learning.descending import AmortisedReport
from mirrax.learning.planned_values import ValueTraining
from mirrax.learning.policies.records import PolicyTraining, UpdateRecord
from mirrax.planners import episode
from mirrax.report.charts import Chart, Line
from mirrax.report.page import charted, facts, heading, player, write_page
from mirrax.report.run_report import known_duration
from mirrax.report.scene import Motion, record

_NUMBERS: Mapping[str, tuple[str, str]] = {
    "entropy": ("nats", "Of the policy, in the states that it has met."),
    "value_loss": ("", "Of the value: squared errors in its own unit, large ones less."),
    "value_error": ("reward", "Root mean square of what came less what the value had foretold."),
    "kl_weights": ("nats", "Of the weighted actions from the old policy, which epsilon bounds."),
    "kl_policy": ("nats", "Of the new policy from the old one."),
    "temperature": ("reward", "By which values are weighed."),
}


class Played(NamedTuple):
    """Episodes of what was learnt.

    Attributes:
        returns: of each, [E].
        best: the number of the one that earned most.
        num_steps: that it had.
        poses: of the bodies of the environment's figure in it, [T + 1, B, 7]; None where it has no looks.
    """

    returns: np.ndarray
    best: int
    num_steps: int
    poses: np.ndarray | None


def play(
    env: Model,
    planner: Any,
    key: PRNGKeyArray,
    *,
    num_episodes: int,
    num_steps: int,
    imagined: Model | None = None,
) -> Played:
    """Let what was learnt drive an environment for some episodes. It compiles what it needs itself.

    Args:
        env: the environment.
        planner: `planners.controller(...)`, or another.
        key: of everything random.
        num_episodes: E.
        num_steps: the greatest number of steps of each.
        imagined: the model to plan with, of the same states; None for the environment.

    Returns:
        What they earned, and the best of them.
    """
    keys, imagined = jax.random.split(key, num_episodes), env if imagined is None else imagined
    states, rewards, discounts = _played(planner, imagined, env, keys, num_steps)
    returns = np.asarray(rewards).sum(1)
    best = int(np.nanargmax(returns)) if np.isfinite(returns).any() else 0
    over = np.asarray(discounts[best]) == 0
    length = int(over.argmax()) + 1 if over.any() else num_steps
    looks = figure(env)
    poses = None
    if looks is not None:
        poses = np.asarray(poses_of(looks, jax.tree.map(lambda leaf: leaf[best], states)))[: length + 1]
    return Played(returns, best, length, poses)


def write_policy_report(
    path: str | os.PathLike[str],
    env: Model,
    training: PolicyTraining,
    played: Played,
    *,
    title: str = "Policy",
    summary: Mapping[str, str] | None = None,
) -> None:
    """Write one self-contained HTML page about the training of a policy.

    Args:
        path: the file to write; its folder must exist.
        env: the environment.
        training: what `learning.learn_policy` returned.
        played: episodes of the policy, without noise.
        title: the heading, plain text.
        summary: label -> value, plain text; more than the page says by itself.

    Raises:
        OSError: if it cannot be written.
    """
    records = training.records
    told = {
        "Updates": f"{len(records)}, {records[-1].num_steps:,} steps of the environment",
        "Return": f"{played.returns.mean():.1f}, mean of {len(played.returns)} episodes without noise",
        "While learning": f"{np.nanmax(training.returns):.1f} in the best update" if _any(training.returns) else "",
        **(summary or {}),
    }
    told = {label: value for label, value in told.items() if value}
    sections = _curves(records, "Mean of the episodes that were over in an update, with noise.")
    _write(path, env, title, played, told, sections, np.arange(len(records), dtype=float), "update")


def write_value_report(
    path: str | os.PathLike[str],
    env: Model,
    training: ValueTraining,
    played: Played,
    *,
    title: str = "Value",
    summary: Mapping[str, str] | None = None,
) -> None:
    """Write one self-contained HTML page about a value that was learnt from a planner's episodes.

    Args:
        path: the file to write; its folder must exist.
        env: the environment.
        training: what `learning.learn_value` returned.
        played: episodes of the planner with the value that it has learnt.
        title: the heading, plain text.
        summary: label -> value, plain text; more than the page says by itself.

    Raises:
        OSError: if it cannot be written.
    """
    records = training.records
    num_episodes = sum(record.num_episodes for record in records)
    told = {
        "Rounds": f"{len(records)}, {records[-1].num_steps:,} steps of the environment",
        "Episodes": f"{num_episodes}, {sum(record.num_ended for record in records)} of them ended by the environment",
        "Return": f"{played.returns.mean():.1f}, mean of {len(played.returns)} episodes with the value",
        "Value error": f"{records[-1].numbers['value_error']:.3g} in the last round",
        **(summary or {}),
    }
    sections = _curves(records, "Mean of the episodes that were over in a round, by planning with the value so far.")
    _write(path, env, title, played, told, sections, np.arange(len(records), dtype=float), "round")


def write_distilled_report(
    path: str | os.PathLike[str],
    env: Model,
    report: AmortisedReport,
    returns: Sequence[float],
    played: Played,
    *,
    title: str = "Plan network",
    summary: Mapping[str, str] | None = None,
) -> None:
    """Write one self-contained HTML page about a plan network that was distilled.

    Args:
        path: the file to write; its folder must exist.
        env: the environment.
        report: what `learning.distil` returned.
        returns: of the planner's episodes.
        played: episodes of the network's plans alone.
        title: the heading, plain text.
        summary: label -> value, plain text; more than the page says by itself.

    Raises:
        OSError: if it cannot be written.
    """
    told = {
        "States": f"{report.num_states}, {report.num_held_out} of them held out",
        "The planner's return": f"{np.mean(returns):.1f}, mean of {len(returns)} episodes",
        "The network's alone": f"{played.returns.mean():.1f}, mean of {len(played.returns)} episodes",
        **(summary or {}),
    }
    remark = "−log q of the planner's plans in states held out, nats per number, up to a constant."
    losses = np.concatenate([[report.first_loss], report.holdout_loss])
    charts = [_chart("Loss on states held out", remark, "nats", losses)]
    _write(
        path,
        env,
        title,
        played,
        told,
        [("How it was learnt", "", charts)],
        np.arange(len(losses), dtype=float),
        "epoch",
    )


def _write(
    path: str | os.PathLike[str],
    env: Model,
    title: str,
    played: Played,
    told: Mapping[str, str],
    sections: Sequence[tuple[str, str, Sequence[Chart]]],
    numbers: np.ndarray,
    unit: str,
) -> None:
    looks, scene = figure(env), []
    if looks is not None and played.poses is not None:
        remark = f"{played.num_steps} steps, return {played.returns[played.best]:.1f}."
        motion = player(record(Motion(looks, played.poses), known_duration(env) or 1.0))
        scene = [heading(f"The best of {len(played.returns)} episodes", remark), motion]
    made, library = charted(sections, numbers, float(max(len(numbers) - 1, 1)), unit)
    write_page(path, title, [*scene, facts(told), *made], library=library)


def _curves(records: Sequence[UpdateRecord], remark: str) -> list[tuple[str, str, list[Chart]]]:
    """How returns grew, and what a training tells besides, update by update; of what was never told no chart."""
    earned, lengths = [record.earned for record in records], [record.episode_length for record in records]
    first, more, none_over = [], [], ""
    if np.isfinite(earned).any():
        first.append(_chart("Return", remark, "return", earned))
        more.append(_chart("Length", "Of these episodes.", "steps", lengths, floor=0.0, small=True))
    else:
        none_over = "No episode that was seen from its beginning was over yet."
    for name in records[-1].numbers:
        unit, of = _NUMBERS.get(name, ("", ""))
        values = [record.numbers.get(name, np.nan) for record in records]
        more.append(_chart(name.replace("_", " ").capitalize(), of, unit, values, small=True))
    return [("How returns grew", none_over, first), ("What it learnt by", "", more)]


def _chart(title: str, remark: str, unit: str, values: Any, **more: Any) -> Chart:
    """A chart; where a number is missing, a straight line between those beside it."""
    array = np.asarray(values, float)
    known = np.isfinite(array)
    if known.any():
        places = np.arange(len(array))
        array = np.interp(places, places[known], array[known], left=np.nan)
    return Chart(title, remark, unit, {"": [Line("", array)]}, **more)


def _any(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


@functools.partial(jax.jit, static_argnames="num_steps")
def _played(planner: Any, imagined: Model, env: Model, keys: Array, num_steps: int) -> tuple[Any, Array, Array]:
    def of_one(key: Array) -> tuple[Any, Array, Array]:
        done = episode(planner, imagined, env, key, num_steps)
        states = jax.tree.map(lambda before, end: jnp.concatenate([before, end[None]]), done.states, done.final_state)
        return states, done.rewards, done.discounts

    return jax.vmap(of_one)(keys)
