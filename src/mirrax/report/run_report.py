"""A run on one page: the motion in 3-D, the plans it followed, and charts that move with it."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mirrax.dynamics import (
    actuator_limits,
    actuator_names,
    constraint_names,
    coordinate_names,
    coordinates,
    end_reasons,
    reward_terms,
    to_actuators,
)
from mirrax.dynamics.base import Model, duration
from mirrax.dynamics.figures import Figure
from mirrax.dynamics.figures import figure as figure_of
from mirrax.planners import Episode
from mirrax.report.ahead import fan_of, paths_of
from mirrax.report.page import charted, facts, note, player, write_page
from mirrax.report.run_charts import always_the_same, planning_charts, run_charts, state_charts
from mirrax.report.scene import Motion, record
from mirrax.results.numbers import shortest, total

_HINT = "Drag over a chart to zoom in, double-click to zoom out"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, str],
    dt: float | None,
    rewards: Float[np.ndarray, " T"],
    actions: Float[np.ndarray, "T B"],
    action_names: Sequence[str] | None = None,
    action_limits: tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]] | None = None,
    terms: Mapping[str, Float[np.ndarray, " T"]] | None = None,
    states: Float[np.ndarray, "T1 n"] | None = None,
    state_names: Sequence[str] | None = None,
    plan_ms: Float[np.ndarray, " T"] | None = None,
    diagnostics: Mapping[str, Float[np.ndarray, " T"]] | None = None,
    motion: Motion | None = None,
) -> None:
    """Write one self-contained HTML page about a run of T steps.

    Args:
        path: the file to write; its folder must exist.
        title: the heading, plain text.
        summary: of the run, label -> value, plain text.
        dt: duration of a step, s; None where steps have none: they are counted then, and one lasts a second in 3-D.
        rewards: per step, [T]; what is not finite is a gap.
        actions: executed, in the units of the actuators, [T, B].
        action_names: of the actuators, with their unit in parentheses (`dynamics.actuator_names`); None for numbers.
        action_limits: the least and the greatest that actuators do, [B] each; None where they have no range.
        terms: of the rewards, by name, each [T].
        states: by their coordinates, before the first step and after each, [T + 1, n]; None leaves them out.
        state_names: of the coordinates (`dynamics.coordinate_names`); None for numbers.
        plan_ms: planning time per step, [T], ms; None leaves out its trace.
        diagnostics: numbers of `planners.Info` by name, each [T].
        motion: what there is to see in 3-D; None for nothing.

    Raises:
        ValueError: if the arrays disagree about the number of steps, or `dt` is not positive.
        OSError: if it cannot be written.
    """
    rewards, actions = np.asarray(rewards, float), np.asarray(actions, float)
    num_steps, dt = len(rewards), None if dt is None else float(dt)
    if dt is not None and not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt}")
    terms = {name: np.asarray(values, float) for name, values in (terms or {}).items()}
    diagnostics = {name: np.asarray(values, float) for name, values in (diagnostics or {}).items()}
    rows = {"plan_ms": plan_ms, "actions": actions} | terms | diagnostics
    later = {"states": states}
    if motion is not None:
        rows |= {"paths": motion.paths, "fans": motion.fans, "fan_weights": motion.fan_weights}
        later |= {"poses": motion.poses}
    for name, values in rows.items():
        if values is not None and len(values) != num_steps:
            raise ValueError(f"{name} must have one row per step ({num_steps}), got {len(values)}")
    for name, values in later.items():
        if values is not None and len(values) != num_steps + 1:
            raise ValueError(f"{name} must have one row more than there are steps ({num_steps}), got {len(values)}")
    if num_steps == 0:
        write_page(path, title, [facts(summary), note("The run ended before its first step: nothing to show.")])
        return

    step, label = (1.0, "step") if dt is None else (dt, "time (s)")
    times = step * np.arange(num_steps + 1)
    names = tuple(map(str, range(actions.shape[1]))) if action_names is None else tuple(action_names)
    happened = run_charts(
        rewards=rewards, terms=terms, actions=actions, action_names=names, action_limits=action_limits
    )
    if states is not None and np.asarray(states).shape[1]:
        states = np.asarray(states, float)
        happened += state_charts(states, state_names or [f"[{i}]" for i in range(states.shape[1])], times)
    planning, constant = planning_charts(None if plan_ms is None else np.asarray(plan_ms, float), diagnostics, dt)
    hint = f"{_HINT}." if motion is None else f"{_HINT}, click to have the playback go there."
    sections = [("What happened", hint, happened)]
    if planning or constant:
        sections.append(("How planning went", always_the_same(constant), planning))
    charts, library = charted(sections, times[:-1], float(times[-1]), label, cursor=motion is not None)
    scene = [] if motion is None else [player(record(motion, step), _legend(motion))]
    write_page(path, title, [*scene, facts(summary), *charts], library=library)


def report_episode(
    path: str | os.PathLike[str],
    model: Model,
    episode: Episode,
    *,
    title: str = "Episode",
    summary: Mapping[str, str] | None = None,
    dt: float | None = None,
) -> None:
    """Write one self-contained HTML page about an episode of `planners.episode`, up to its end.

    Args:
        path: the file to write; its folder must exist.
        model: whose states the episode's are. It decides what they look like: a Brax environment like its robot, a
            model of `from_function` like its `figure`; of a model without looks the page has charts only.
        episode: one episode; of a batch choose one first. One that has `plans` (`keep="plans"`) shows where they
            lead, those of all modes of a mixture, and its planner's samples where that keeps these
            (`keep=("weights", "samples")`).
        title: the heading, plain text.
        summary: of the run, label -> value, plain text; the return unless given. An episode that ended, by a discount
            of 0, says so before it, with the reason where the model tells one (`dynamics.end_reasons`).
        dt: duration of a step, s; the model's own unless given.

    Raises:
        ValueError: if `episode` is a batch of episodes, or `dt` is not positive.
    """
    if episode.rewards.ndim != 1:
        raise ValueError(
            f"episode must be one episode, with rewards [T], got rewards of shape {episode.rewards.shape}"
        )
    ended = np.asarray(episode.discounts) == 0
    num_steps = int(ended.argmax()) + 1 if ended.any() else len(ended)
    episode = episode._replace(
        **{
            name: jax.tree.map(lambda leaf: leaf[:num_steps], getattr(episode, name))
            for name in ("actions", "rewards", "discounts", "infos", "plans", "modes", "violations")
        },
        states=jax.tree.map(
            lambda before, last: jnp.concatenate([before, last[None]])[: num_steps + 1],
            episode.states,
            episode.final_state,
        ),
    )
    looks = figure_of(model)
    seen = jax.device_get(jax.jit(functools.partial(_seen, looks))(model, episode))
    rewards, limits = np.asarray(episode.rewards), actuator_limits(model)
    first = jax.tree.map(lambda leaf: leaf[0], episode.states)
    motion = None
    if looks is not None:
        motion = Motion(looks, seen["poses"], seen.get("path"), seen.get("fan"), seen.get("fan_weights"))
    infos = episode.infos
    end: dict[str, str] = {}
    if ended.any():
        reasons = [str(name) for name, given in seen["reasons"].items() if given]
        end = told_end(num_steps, len(ended), ", ".join(reasons) or None)
    write_report(
        path,
        title=title,
        summary=end
        | ({"Return": f"{total(rewards):.1f} in {num_steps} steps"} if summary is None else dict(summary))
        | _told_violations(episode.violations, constraint_names(model)),
        dt=known_duration(model) if dt is None else dt,
        rewards=rewards,
        actions=seen["actuators"],
        action_names=actuator_names(model),
        action_limits=None if limits is None else (np.asarray(limits[0]), np.asarray(limits[1])),
        terms=seen["terms"],
        states=seen["coordinates"],
        state_names=coordinate_names(model, first),
        diagnostics=dict(zip(infos.names, np.moveaxis(np.asarray(infos.measures)[:, -1], -1, 0), strict=True)),
        motion=motion,
    )


def _told_violations(violations: Any, names: Sequence[str] | None) -> dict[str, str]:
    """The lines of a summary on constraints; none of an episode without."""
    if violations is None:
        return {}
    sums, steps = np.asarray(violations).sum(0), (np.asarray(violations) > 0).sum(0)
    names = [f"constraint {i}" for i in range(len(sums))] if names is None or len(names) != len(sums) else names
    return {
        f"Constraint: {name}": f"violated in {number} steps, by {amount:.3g} in all" if number else "kept"
        for name, number, amount in zip(names, steps, sums, strict=True)
    }


def told_end(num_steps: int, most: int, reason: str | None) -> dict[str, str]:
    """The line of a summary on an episode that has ended.

    Args:
        num_steps: after which it did.
        most: how many it could have had.
        reason: in words; None where the model does not tell.
    """
    why = "" if reason is None else f": {reason}"
    if num_steps < most:
        return {"Ended early": f"after {num_steps} of {most} steps{why}"}
    return {} if reason is None else {"Ended": f"in its last step{why}"}


def _legend(motion: Motion) -> str:
    """What the lines of a scene are."""
    said = [] if motion.paths is None else ["Thick blue: where the plan leads that is executed"]
    if motion.fans is not None and motion.fan_weights is not None:
        said.append("thin orange: where other plans lead, the darker the more they weigh")
    text = "; ".join(said)
    return text and f"{text[:1].upper()}{text[1:]}."


def _seen(looks: Figure | None, model: Model, episode: Episode) -> dict[str, Any]:
    """What a report shows of an episode's states and plans, one row per step, of states one more."""
    before = jax.tree.map(lambda leaf: leaf[:-1], episode.states)
    after = jax.tree.map(lambda leaf: leaf[1:], episode.states)
    found: dict[str, Any] = {
        "actuators": jax.vmap(lambda action: to_actuators(model, action))(episode.actions),
        "coordinates": jax.vmap(lambda state: coordinates(model, state))(episode.states),
        "terms": jax.vmap(lambda *of: reward_terms(model, *of) or {})(before, episode.actions, after),
    }
    last = tuple(jax.tree.map(lambda leaf: leaf[-1], part) for part in (before, episode.actions, after))
    found["reasons"] = end_reasons(model, *last) or {}
    if looks is None:
        return found
    found["poses"] = jax.vmap(looks.poses)(episode.states)
    if episode.plans is not None:

        def ahead(now: tuple[Any, ...]) -> dict[str, jax.Array]:
            state, plan, modes, info = now
            return paths_of(looks, model, jax.random.key(0), state, plan, fan_of(modes, info))

        found |= jax.lax.map(ahead, (before, episode.plans, episode.modes, episode.infos))
    return found


def known_duration(model: Model) -> float | None:
    """The duration of a step of the model, s; None if it is not known."""
    try:
        return float(shortest(duration(model)))
    except (ValueError, TypeError):  # none, or one for each of a batch of models
        return None
