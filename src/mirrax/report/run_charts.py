"""The charts of a run: what it earned, what it did, where it went, and how planning fared."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mirrax.report.charts import COLOURS, Chart, Heat, Line
from mirrax.report.diagnostics import diagnostic
from mirrax.results.numbers import always, told

_NAME = re.compile(r"^(?:(?P<whose>[^:]+): )?(?P<what>.*?)(?: \((?P<unit>[^()]+)\))?$")
_PLAIN = {"m": "Position", "rad": "Angle", "m/s": "Velocity", "rad/s": "Rate"}  # by the unit, where names do not say
_MANY_LINES = len(COLOURS)
_MANY_CHARTS = 4  # groups of coordinates with a chart each; of more a reader chooses
_FLATTENED = 20.0  # how many times as high as its lines a chart may be, to show the ends of a range
_MANY_STEPS = 2000  # of which all coordinates are drawn; of more some are left out


def run_charts(
    *,
    rewards: Float[np.ndarray, " T"],
    terms: Mapping[str, Float[np.ndarray, " T"]],
    actions: Float[np.ndarray, "T B"],
    action_names: Sequence[str],
    action_limits: tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]] | None,
) -> list[Chart | Heat]:
    """The charts of what was earned and done.

    Args:
        rewards: per step, [T].
        terms: of the rewards by name, each [T].
        actions: in the units of the actuators, [T, B].
        action_names: theirs, with the unit in parentheses where it is known.
        action_limits: the least and greatest that actuators do, [B]; None where they have no range.
    """
    total = Chart("Return", earning(rewards), "return", {"": [Line("", earned(rewards))]}, area=True)
    parts = [Line(name, values) for name, values in terms.items()]
    remark = "Per step, and the terms that it is made of." if parts else "Per step."
    lines = [Line("all" if parts else "", rewards), *parts]
    groups = {
        "" if i == 0 else f"more {i}": lines[i * _MANY_LINES : (i + 1) * _MANY_LINES]
        for i in range(-(-len(lines) // _MANY_LINES))
    }
    reward = Chart("Reward", remark, "reward", groups)
    return [reward, total, *_actions(actions, action_names, action_limits)]


def earned(rewards: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """The sum of the rewards so far, [T]: a gap where one is no finite number, which the later sums leave out.

    Args:
        rewards: per step, [T].
    """
    known = np.isfinite(rewards)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the greatest that there are
        return np.where(known, np.cumsum(np.where(known, rewards, 0.0)), np.nan)


def earning(*rewards: Float[np.ndarray, " _"]) -> str:
    """The sentence on charts of returns.

    Args:
        *rewards: of runs.
    """
    whole = all(np.isfinite(own).all() for own in rewards)
    return "Sum of the rewards so far" + ("." if whole else ", less those that are no finite number.")


def state_charts(
    states: Float[np.ndarray, "T1 n"], names: Sequence[str], times: Float[np.ndarray, " T1"]
) -> list[Chart | Heat]:
    """The charts of the state's coordinates: those of one body and one unit share one.

    Args:
        states: by their coordinates, [T + 1, n].
        names: of the coordinates, see `dynamics.coordinate_names`.
        times: of the states, [T + 1].
    """
    stride = -(-len(states) // _MANY_STEPS)
    some, when = states[::stride], times[::stride]
    groups: dict[tuple[str, str], list[Line]] = {}
    for name, values in zip(names, some.T, strict=True):
        found = _NAME.match(name)
        whose, what, unit = (found["whose"] or "", found["what"], found["unit"] or "") if found else ("", name, "")
        groups.setdefault((whose, unit), []).append(Line(what, values, when))
    labelled: dict[str, tuple[str, list[Line]]] = {}
    for (whose, unit), lines in groups.items():
        for first in range(0, len(lines), _MANY_LINES):
            part = lines[first : first + _MANY_LINES]
            kind = _kind(part) or ("" if whose else _PLAIN.get(unit, "State"))
            label = " ".join(filter(None, (whose, kind, f"({unit})" if unit else "")))
            while label in labelled:
                label += " (more)"
            labelled[label] = (unit, part)
    remark = "After each step." if stride == 1 else f"After each step; one of {stride} is drawn."
    if len(labelled) <= _MANY_CHARTS:
        return [
            Chart(_capitalized(label), remark, unit, {"": lines if len(lines) > 1 else [lines[0]._replace(name="")]})
            for label, (unit, lines) in labelled.items()
        ]
    return [Chart("State", remark, "", {label: lines for label, (_, lines) in labelled.items()})]


def planning_charts(
    plan_ms: Float[np.ndarray, " T"] | None, diagnostics: Mapping[str, Float[np.ndarray, " T"]], dt: float | None
) -> tuple[list[Chart | Heat], dict[str, str]]:
    """The charts of how planning fared.

    Args:
        plan_ms: planning time per step, [T], ms; None where it is not known.
        diagnostics: numbers of the planner's info by name, each [T].
        dt: duration of a step, s; None where steps have none.

    Returns:
        The charts; and what never changed, heading -> value.
    """
    charts: list[Chart | Heat] = [] if plan_ms is None else [_planning_time(plan_ms, dt)]
    constant = {}
    for name, values in diagnostics.items():
        about = diagnostic(name)
        if (settled := steady(values)) is not None:
            constant[about.heading] = settled
        elif np.isfinite(values).any():
            charts.append(Chart(about.heading, about.advice, about.unit, {"": [Line("", values)]}, small=True))
    return charts, constant


def steady(*runs: Float[np.ndarray, " _"]) -> str | None:
    """What is told of a number that has no chart, since there is nothing to see on it.

    Args:
        *runs: its values in each run.

    Returns:
        The number, if it never changes, or that it was never finite; None for one that changes, or that was nowhere
        known (NaN), as those are of which a planner tells nothing.
    """
    values = np.concatenate(runs)
    if (settled := always(values)) is not None:
        return settled
    return "never finite" if np.isinf(values).any() and not np.isfinite(values).any() else None


def always_the_same(constant: Mapping[str, str]) -> str:
    """The sentence on numbers without a chart; empty for none.

    Args:
        constant: heading -> what is told of it.
    """
    said = ", ".join(
        f"{name if name[:2].isupper() else name[:1].lower() + name[1:]} {value}" for name, value in constant.items()
    )
    return f"Always the same: {said}." if said else ""


def _planning_time(plan_ms: Float[np.ndarray, " T"], dt: float | None) -> Chart:
    # The first call compiles where it was not done before: shown, it would flatten all others.
    slow = len(plan_ms) > 1 and plan_ms[0] > 5 * np.nanmax([*plan_ms[1:], 0.0])
    shown = np.concatenate([[np.nan], plan_ms[1:]]) if slow else plan_ms
    # Real time is drawn where it is in reach, so that it does not flatten a planner that is far faster.
    known = shown[np.isfinite(shown)]
    deadline = (1e3 * dt,) if dt is not None and len(known) and known.max() > 0.3e3 * dt else ()
    remarks = ["Per step; dashed: real time." if deadline else "Per step."]
    remarks += [f"The first step, not shown, took {plan_ms[0]:,.0f} ms."] if slow else []
    line = {"": [Line("", shown)]}
    return Chart("Planning time", " ".join(remarks), "ms", line, floor=0.0, levels=deadline, small=True)


def _actions(
    actions: Float[np.ndarray, "T B"],
    names: Sequence[str],
    limits: tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]] | None,
) -> list[Chart | Heat]:
    """Lines where they are few, those of one unit in a chart; else one row each, whose colour shows the value."""
    if limits is not None:
        limits = np.asarray(limits[0], float), np.asarray(limits[1], float)
    found = [_NAME.match(name) for name in names]
    units = [match["unit"] or "" if match else "" for match in found]
    if len(names) <= _MANY_LINES // 2:
        charts: list[Chart | Heat] = []
        for unit in dict.fromkeys(units):
            own = [i for i, other in enumerate(units) if other == unit]
            ends = set() if limits is None else {(float(limits[0][i]), float(limits[1][i])) for i in own}
            levels, range_ = _range(ends.pop() if len(ends) == 1 else (), actions[:, own])
            lines = [Line(names[i].removesuffix(f" ({unit})"), actions[:, i]) for i in own]
            if len(names) == 1 and names[0].isdigit():
                lines = [lines[0]._replace(name="")]
            remark = f"As the actuators take them{range_}."
            charts.append(Chart("Actions", remark, unit, {"": lines}, levels=levels))
        return charts
    known = np.isfinite(actions)
    low = np.min(actions, axis=0, where=known, initial=np.inf)
    high = np.max(actions, axis=0, where=known, initial=-np.inf)
    if limits is not None:
        low, high = (np.where(np.isfinite(end), end, seen) for end, seen in zip(limits, (low, high), strict=True))
    some = high > low  # of what was never finite, or never changed, there is no range
    low, width = np.where(np.isfinite(low), low, 0.0), np.where(some, high, 1.0) - np.where(some, low, 0.0)
    extent = "of its range" if limits is not None else "that was seen"
    remark = f"One row per actuator: blue is the least, red the most {extent}."
    return [Heat("Actions", remark, tuple(names), 2.0 * (np.where(known, actions, np.nan) - low) / width - 1.0)]


def _range(ends: tuple[float, ...], actions: Float[np.ndarray, "T B"]) -> tuple[tuple[float, ...], str]:
    """The ends of a range to draw, and words on them; ends that would flatten what is to be seen are told only."""
    finite = tuple(end for end in ends if np.isfinite(end))
    if not finite:
        return (), ""
    named = "the ends" if len(finite) == 2 else "the end"
    known = actions[np.isfinite(actions)]
    if len(known) and 0.0 < _FLATTENED * np.ptp(known) < np.ptp([*finite, *known]):
        return (), f"; {named} of their range, far outside: {' and '.join(map(told, finite))}"
    return finite, f"; dashed: {named} of their range"


def _kind(lines: Sequence[Line]) -> str:
    """What lines have in common: the first words of their names."""
    words = [line.name.split() for line in lines]
    common = []
    for column in zip(*words, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return " ".join(common)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
