"""What a run leaves: result.json, report.html, and a summary on the terminal."""

import json
import math
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from mirrax.dynamics import Model
from mirrax.figures import figure
from mirrax.report import write_report
from mirrax.run import Record


def write_results(
    out: Path,
    model_name: str,
    planner_name: str,
    model: Model,
    record: Record,
    *,
    settings: Mapping[str, Any],
    seed: int,
    interrupted: bool,
) -> None:
    """Write result.json and report.html, and print a summary.

    Args:
        out: the folder to write to, which exists.
        model_name: for the reader.
        planner_name: for the reader.
        model: what was driven.
        record: what happened.
        settings: the planner's, and the number of steps and devices.
        seed: of the run.
        interrupted: whether the user ended the run before its time.
    """
    looks = figure(model)
    moved = None
    if looks is not None and looks.follow and record.poses:
        moved = float(record.poses[-1][looks.tracked, 0] - record.poses[0][looks.tracked, 0])
    plan_ms = np.array(record.plan_ms)
    backend = getattr(getattr(model, "env", None), "backend", None)
    device = f"{jax.devices()[0].device_kind} × {settings['devices']}"
    result = {
        "model": model_name,
        "planner": planner_name,
        "backend": backend,
        "settings": settings,
        "seed": seed,
        "versions": {"python": sys.version.split()[0]}
        | {name: metadata.version(name) for name in ("mirrax", "jax", "jaxlib", "brax", "mujoco", "mujoco-mjx")},
        "device": device,
        "rewards": record.rewards,
        "return": sum(record.rewards),
        "plan_ms": record.plan_ms,
        "ess": record.ess,
        "num_invalid": record.num_invalid,
        "compile_s": record.compile_s,
        "forward_m": moved,
        "done": record.done,
        "interrupted": interrupted,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    (out / "result.json").write_text(json.dumps(_plain(result), indent=2) + "\n", encoding="utf-8")
    ended = "interrupted" if interrupted else "ended by itself" if record.done else "complete"
    summary = {
        "Model": model_name + (f" ({backend})" if backend else ""),
        "Planner": planner_name,
        "Return": f"{result['return']:.1f} in {len(record.rewards)} steps, {ended}",
        **({} if moved is None else {"Forward": f"{moved:.1f} m"}),
        **({} if len(plan_ms) == 0 else {"Planning": f"{np.median(plan_ms):.0f} ms per step (median)"}),
        "Compilation": f"{record.compile_s:.1f} s",
        "Device": device,
        "Settings": ", ".join(f"{name} {value:g}" for name, value in settings.items() if value is not None),
        "Seed": str(seed),
    }
    write_report(
        out / "report.html",
        title=f"{model_name}, driven by {planner_name}",
        summary=summary,
        figure=looks,
        poses=np.array(record.poses) if record.poses else None,
        paths=np.array(record.paths) if record.paths else None,
        dt=float(getattr(model, "dt", 1.0)),
        rewards=np.array(record.rewards, float),
        plan_ms=plan_ms,
        ess=np.array(record.ess, float),
        actions=np.array(record.actions, float).reshape(len(record.actions), model.action_size),
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in (
        *summary.items(),
        ("Result", str(out / "result.json")),
        ("Report", str(out / "report.html")),
    ):
        table.add_row(label, value)
    Console().print(table, highlight=False)


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
