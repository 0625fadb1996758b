"""The tables and the figure of a benchmark on one page, in the manner of a run's report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mirrax.benchmarks.timing import Table
from mirrax.report.page import drawing, heading, table, write_page


def write_benchmark(out: Path, name: str, title: str, tables: Sequence[Table], figure: Any) -> None:
    """Write the figure of a benchmark, NAME.svg, and the page, NAME.html; and say where.

    Args:
        out: the folder to write to, which exists.
        name: of both files.
        title: of the page, plain text.
        tables: that were printed.
        figure: a matplotlib figure.

    Raises:
        OSError: if they cannot be written.
    """
    picture, page = out / f"{name}.svg", out / f"{name}.html"
    figure.savefig(picture, bbox_inches="tight")
    parts = [drawing(picture.read_text(encoding="utf-8"))]
    for one in tables:
        parts += [heading(one.title.strip().replace("`", "")), table(one.headings, one.rows)]
    write_page(page, title, parts)
    print(f"\n{page}")
