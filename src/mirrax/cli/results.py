"""The end of a run: its results, its report, and a summary on the terminal."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mirrax.dynamics.figures import Figure
from mirrax.report import Motion, told_end, write_report
from mirrax.results.journal import Journal
from mirrax.results.numbers import told, total
from mirrax.results.results import RESULT, from_journal, save

REPORT = "report.html"


def write_results(out: Path, journal: Journal, looks: Figure | None, *, interrupted: bool) -> dict[str, str]:
    """Write results and report.

    Args:
        out: the folder to write to, which exists.
        journal: of the run.
        looks: the model's figure; None without.
        interrupted: whether the run was ended before its time.

    Returns:
        A summary, label -> value.

    Raises:
        OSError: if they cannot be written.
    """
    results = from_journal(journal)
    about = results.about
    moved, earned = None, total(results.rewards)
    if looks is not None and looks.follow and results.poses is not None and results.num_steps:
        moved = float(results.poses[-1, looks.tracked, 0] - results.poses[0, looks.tracked, 0])
    done = bool(results.ended.any())
    save(
        out,
        results,
        **{"return": earned, "forward_m": moved, "done": done, "interrupted": interrupted},
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    ended = "interrupted" if interrupted else "the episode ended" if done else "complete"
    temperature, num_roots = (results.diagnostics.get(name) for name in ("temperature", "num_roots"))
    backend, settings = about["backend"], about["settings"]
    settings = dict(settings)
    beyond = settings.pop("beyond", None)
    summary = {
        **(told_end(results.num_steps, about["num_steps"], results.end_reason) if done else {}),
        "Model": about["model"] + (f" ({kind})" if (kind := backend or about.get("engine")) else ""),
        **({"Task": Path(task).name} if (task := about.get("task")) else {}),
        "Planner": about["planner"],
        "Return": f"{earned:.1f} in {results.num_steps} steps, {ended}",
        **({} if moved is None else {"Forward": f"{moved:.1f} m"}),
        **({"Planning": f"{_milliseconds(results.plan_ms)} ms per step (median)"} if results.num_steps else {}),
        **_median("Temperature", temperature, ".3g"),
        **_median("Distinct first actions", num_roots, ".0f"),
        "Compilation": f"{about['compile_s']:.1f} s",
        "Device": about["device"],
        "Settings": ", ".join(_setting(name, value) for name, value in settings.items() if value is not None),
        **({} if beyond is None else {"Beyond the horizon": f"the value of {beyond}"}),
        "Seed": str(about["seed"]),
    }
    motion = None
    if looks is not None and results.poses is not None:
        motion = Motion(looks, results.poses, results.paths, results.fans, results.fan_weights)
    write_report(
        out / REPORT,
        title=f"{about['model']}, driven by {about['planner']}",
        summary=summary,
        dt=about["dt"],
        rewards=results.rewards,
        terms=results.reward_terms,
        actions=results.actuators,
        action_names=results.actuator_names,
        action_limits=results.actuator_limits,
        states=results.states,
        state_names=results.state_names,
        plan_ms=results.plan_ms,
        diagnostics=results.diagnostics,
        motion=motion,
    )
    return summary


def print_summary(out: Path, summary: dict[str, str]) -> None:
    """Print a summary, and where the rest is."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in (*summary.items(), ("Result", str(out / RESULT)), ("Report", str(out / REPORT))):
        table.add_row(label, escape(value))
    Console().print(table, highlight=False)


def _milliseconds(plan_ms: np.ndarray) -> str:
    """The median, with a digit behind the point where it is short."""
    value = float(np.median(plan_ms))
    return f"{value:.1f}" if value < 10.0 else f"{value:.0f}"


def _median(label: str, values: np.ndarray | None, form: str) -> dict[str, str]:
    """A line of the summary, of a number that the planner reports."""
    if values is None or not np.isfinite(values).any():
        return {}
    return {label: f"{np.nanmedian(values):{form}} (median)"}


def _setting(name: str, value: Any) -> str:
    """One setting as the report shows it."""
    if isinstance(value, bool | str):
        return f"{name} {value}"
    if isinstance(value, int | float):
        return f"{name} {told(value)}" if math.isfinite(value) else f"{name} {value}"
    if isinstance(value, dict):
        inner = ", ".join(_setting(field, number) for field, number in value.items() if field != "kind")
        return f"{name} {value.get('kind', '')}" + (f" ({inner})" if inner else "")
    return f"{name} {value}"
