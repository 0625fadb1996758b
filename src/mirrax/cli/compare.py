"""`mirrax compare`: several runs in one table, and on one page."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirrax.report.charts import Heat
    from mirrax.results import Results

PAGE = "compare.html"


def compare(folders: Sequence[Path], out: Path | None) -> None:
    """Print the runs and write the page; a user's mistake is one clear line, and exits with 2.

    Args:
        folders: of the runs' results, two at least.
        out: the page to write; None for compare.html in the folder that all runs lie in.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from mirrax import results
    from mirrax.benchmarks.mistakes import one_clear_line

    with one_clear_line():
        if len(folders) < 2:
            raise ValueError(f"compare needs the folders of two runs at least, got {len(folders)}")
        runs = dict(zip(_names(folders), (results.load(folder) for folder in folders), strict=True))
        page = out
        if page is None:
            page = Path(os.path.commonpath([folder.absolute().parent for folder in folders])) / PAGE
        if not page.parent.is_dir():
            raise ValueError(f"out must lie in a folder that exists, got {str(page)!r}")
        if page.is_dir():
            raise ValueError(f"out must be a file to write, got {str(page)!r}, which is a folder")
    headings, rows = _table(runs)
    console = Console()
    for columns in _fitting(headings, rows, console.width):
        table = Table(box=None, pad_edge=False)
        for number in columns:
            table.add_column(headings[number], justify="right" if number else "left", no_wrap=number > 0)
        for row in rows:
            table.add_row(*(escape(row[number]) for number in columns))
        console.print(table, highlight=False)
    differing = _differing(runs)
    for name, values in differing.items():
        told = ", ".join(f"{run} {value}" for run, value in values.items())
        console.print(escape(f"{name}: {told}"), highlight=False, soft_wrap=True)
    with one_clear_line():
        _write(page, runs, headings, rows, differing)
    shown = os.path.relpath(page)
    console.print(escape(str(page) if shown.startswith("..") else shown), highlight=False, soft_wrap=True)


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart; the same one twice is numbered."""
    parts = [folder.absolute().parts for folder in folders]
    length = 1
    while len({own[-length:] for own in parts}) < len(set(parts)):
        length += 1
    names = [str(Path(*own[-length:])) for own in parts]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)
    ]


def _table(runs: "dict[str, Results]") -> tuple[list[str], list[list[str]]]:
    """What each run was, and how it did."""
    import numpy as np

    from mirrax.results.numbers import total

    headings = ["run", "model", "planner", "seed", "steps", "return", "per step", "ended", "ms / plan", "compile s"]
    rows = []
    for name, run in runs.items():
        about, earned = run.about, total(run.rewards)
        steps = about["num_steps"]
        rows.append(
            [
                name,
                about["model"] + (f" ({kind})" if (kind := about.get("backend") or about.get("engine")) else ""),
                about["planner"],
                str(about["seed"]),
                f"{run.num_steps}" if run.num_steps == steps else f"{run.num_steps} of {steps}",
                f"{earned:.1f}",
                f"{earned / run.num_steps:.3f}" if run.num_steps else "–",
                "yes" if run.ended.any() else "no",
                f"{np.median(run.plan_ms):.1f}" if run.num_steps else "–",
                f"{about['compile_s']:.1f}",
            ]
        )
    return headings, rows


def _fitting(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """The columns of each of several tables, which fit a terminal without breaking a word; the first is in all."""
    widths = [max(len(row[number]) for row in (headings, *rows)) + 2 for number in range(len(headings))]
    tables: list[list[int]] = []
    left = 0
    for number in range(1, len(headings)):
        if not tables or widths[number] > left:
            tables.append([0])
            left = width + 2 - widths[0]  # nothing follows the last one
        tables[-1].append(number)
        left -= widths[number]
    return tables


def _differing(runs: "dict[str, Results]") -> dict[str, dict[str, str]]:
    """Settings, versions and devices that are not the same in all runs: name -> run -> value."""
    known = {
        run: {
            **result.about["settings"],
            **{f"version of {name}": version for name, version in result.about["versions"].items()},
            "device": result.about["device"],
            **{name: result.about.get(name) for name in ("file", "task")},
        }
        for run, result in runs.items()
    }
    names = dict.fromkeys(name for values in known.values() for name in values)
    found = {}
    for name in names:
        values = {run: _said(own.get(name)) for run, own in known.items()}
        if len(set(values.values())) > 1:
            found[name] = values
    return found


def _said(value: Any) -> str:
    from mirrax.results.numbers import told

    return "–" if value is None else told(value) if isinstance(value, float) else str(value)


def _write(
    page: Path,
    runs: "dict[str, Results]",
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    differing: dict[str, dict[str, str]],
) -> None:
    import numpy as np

    from mirrax.report.charts import Chart, Line
    from mirrax.report.diagnostics import diagnostic
    from mirrax.report.page import charted, heading, table, write_page
    from mirrax.report.run_charts import always_the_same, earned, earning, steady

    timed = all(run.about["dt"] is not None for run in runs.values())
    times = {name: run.times if timed else np.arange(run.num_steps + 1.0) for name, run in runs.items()}

    def chart(title: str, remark: str, unit: str, values: dict[str, Any], **more: Any) -> Chart:
        lines = [Line(name, own, times[name][: len(own)], [*runs].index(name)) for name, own in values.items()]
        return Chart(title, remark, unit, {"": lines}, **more)

    rewards = {name: run.rewards for name, run in runs.items()}
    happened: list[Chart | Heat] = [
        chart("Return", earning(*rewards.values()), "return", {name: earned(own) for name, own in rewards.items()}),
        chart("Reward", "Per step.", "reward", rewards),
    ]
    spent = {name: run.plan_ms for name, run in runs.items()}
    planning: list[Chart | Heat] = [chart("Planning time", "Per step.", "ms", spent, floor=0.0, small=True)]
    constant = {}
    for name in dict.fromkeys(name for run in runs.values() for name in run.diagnostics):
        known = {run: own.diagnostics[name] for run, own in runs.items() if name in own.diagnostics}
        about = diagnostic(name)
        if (settled := steady(*known.values())) is not None:
            constant[about.heading] = settled
        elif any(np.isfinite(values).any() for values in known.values()):
            shown = {run: values for run, values in known.items() if np.isfinite(values).any()}
            rest = {run: steady(values) for run, values in known.items() if run not in shown}
            absent = "".join(f" {run}: {what}." for run, what in rest.items() if what is not None)
            planning.append(chart(about.heading, about.advice + absent, about.unit, shown, small=True))
    end = max((float(own[-1]) for own in times.values()), default=1.0)
    sections = [("What happened", "Drag over a chart to zoom in, double-click to zoom out.", happened)]
    sections.append(("How planning went", always_the_same(constant), planning))
    charts, library = charted(sections, np.zeros(0), end or math.ulp(0.0), "time (s)" if timed else "step")
    parts = [table(headings, rows)]
    if differing:
        parts += [heading("What differs")]
        parts += [table(["setting", *runs], [[name, *values.values()] for name, values in differing.items()])]
    write_page(page, f"{len(runs)} runs", [*parts, *charts], library=library)
