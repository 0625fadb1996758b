"""The results of a run: result.json, report.html, and a summary on the terminal."""

import dataclasses
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

from mirrax.cli.drive import Record
from mirrax.dynamics import Model
from mirrax.dynamics.figures import figure
from mirrax.report import known_duration, write_report


def write_results(
    out: Path,
    model_name: str,
    planner_name: str,
    planner: Any,
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
        planner: what drove.
        model: what was driven.
        record: what happened.
        settings: the planner's, and the number of steps and devices.
        seed: of the run.
        interrupted: whether the user ended the run before its time.
    """
    looks = figure(model)
    moments = record.moments
    rewards, plan_ms, ess, temperature, num_roots = (
        np.array([getattr(moment, name) for moment in moments], float)
        for name in ("reward", "plan_ms", "ess", "temperature", "num_roots")
    )
    actions = np.array([moment.action for moment in moments], float).reshape(len(moments), -1)
    poses = paths = moved = None
    if looks is not None and moments and record.start is not None:
        poses = np.array([moment.pose for moment in moments])
        paths = np.array([moment.path for moment in moments])
        if looks.follow:
            moved = float(poses[-1, looks.tracked, 0] - record.start[looks.tracked, 0])
    backend = getattr(getattr(model, "env", None), "backend", None)
    device = f"{jax.devices()[0].device_kind} × {settings['devices']}"
    result = {
        "model": model_name,
        "planner": planner_name,
        "backend": backend,
        "settings": {name: _described(value) for name, value in settings.items()},
        "parameters": _described(planner),
        "seed": seed,
        "versions": {"python": sys.version.split()[0]}
        | {name: metadata.version(name) for name in ("mirrax", "jax", "jaxlib", "brax", "mujoco", "mujoco-mjx")},
        "device": device,
        "actions": actions.tolist(),
        "rewards": rewards.tolist(),
        "return": float(rewards.sum()),
        "plan_ms": plan_ms.tolist(),
        "ess": ess.tolist(),
        "temperature": temperature.tolist(),
        "num_invalid": [moment.num_invalid for moment in moments],
        "num_roots": num_roots.tolist(),
        "compile_s": record.compile_s,
        "forward_m": moved,
        "done": record.done,
        "interrupted": interrupted,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    (out / "result.json").write_text(json.dumps(_plain(result), indent=2) + "\n", encoding="utf-8")
    ended = "interrupted" if interrupted else "the episode ended" if record.done else "complete"
    summary = {
        "Model": model_name + (f" ({backend})" if backend else ""),
        "Planner": planner_name,
        "Return": f"{result['return']:.1f} in {len(moments)} steps, {ended}",
        **({} if moved is None else {"Forward": f"{moved:.1f} m"}),
        **({} if not moments else {"Planning": f"{np.median(plan_ms):.0f} ms per step (median)"}),
        **({"Temperature": f"{np.median(temperature):.3g} (median)"} if np.isfinite(temperature).any() else {}),
        **(
            {"Distinct first actions": f"{np.median(num_roots):.0f} (median)"} if np.isfinite(num_roots).any() else {}
        ),
        "Compilation": f"{record.compile_s:.1f} s",
        "Device": device,
        "Settings": ", ".join(_setting(name, value) for name, value in settings.items() if value is not None),
        "Seed": str(seed),
    }
    write_report(
        out / "report.html",
        title=f"{model_name}, driven by {planner_name}",
        summary=summary,
        figure=looks,
        poses=poses,
        paths=paths,
        dt=known_duration(model),
        rewards=rewards,
        plan_ms=plan_ms,
        ess=ess if np.isfinite(ess).any() else None,
        actions=actions,
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


def _setting(name: str, value: Any) -> str:
    """One setting as the report shows it."""
    if isinstance(value, bool | str):
        return f"{name} {value}"
    if isinstance(value, int | float):
        return f"{name} {value:g}"
    parameters = _described(value) if dataclasses.is_dataclass(value) else {}
    inner = ", ".join(_setting(field, number) for field, number in parameters.items() if field != "kind")
    return f"{name} {type(value).__name__}" + (f" ({inner})" if inner else "")


def _described(part: Any) -> Any:
    """The parameters of a planner as they were in the end, defaults included: what it takes to repeat the run."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {field.name: _described(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"kind": type(part).__name__} | fields
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, tuple):
        return [_described(entry) for entry in part]
    if isinstance(part, jax.Array) and not jax.dtypes.issubdtype(part.dtype, jax.dtypes.prng_key):
        values = np.unique(np.asarray(part))
        return values[0].item() if len(values) == 1 else np.asarray(part).tolist()
    function = getattr(part, "func", part)
    return getattr(function, "__name__", None) or str(part)  # of a function, not where it lies in memory


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
