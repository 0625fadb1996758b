"""Pages of this package: one self-contained HTML file each, of cards in sections, which needs no network."""

import html
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mirrax.report.charts import Chart, Heat, chooser, draw
from mirrax.results.files import write_whole

# Nothing may be fetched: not by this page, nor by the player in its frame, which inherits the rule.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'unsafe-inline' 'unsafe-eval' data: blob:",
        "style-src 'unsafe-inline' data:",
        "img-src data: blob:",
        "font-src data:",
        "connect-src data: blob:",
        "worker-src data: blob:",
    ]
)


def write_page(path: str | os.PathLike[str], title: str, sections: Sequence[str], *, library: str = "") -> None:
    """Write a page.

    Args:
        path: the file to write; its folder must exist.
        title: the heading, plain text.
        sections: of the page, HTML, such as those of the functions below.
        library: scripts that the sections need, HTML.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    style = _resource("style.css")
    parts = f"<h1>{html.escape(title)}</h1>{''.join(sections)}"
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style>{library}</head>\n"
        f"<body><main>{parts}<footer>mirrax</footer></main></body></html>\n"
    )
    write_whole({Path(path): page})


def heading(text: str, remark: str = "") -> str:
    """The heading of a section, and a sentence beside it, both plain text."""
    return f"<h2>{html.escape(text)}</h2>" + (f"<p class=remark>{html.escape(remark)}</p>" if remark else "")


def facts(values: Mapping[str, str]) -> str:
    """A card of labels and values, plain text; nothing for none."""

    def kind(value: str) -> str:  # a word of one column's width would be broken
        return " class=long" if len(value) > 40 or max(map(len, value.split()), default=0) > 18 else ""

    rows = "".join(
        f"<div{kind(str(value))}><dt>{html.escape(str(label))}</dt><dd>{html.escape(str(value))}</dd></div>"
        for label, value in values.items()
    )
    return f'<dl class="card summary">{rows}</dl>' if rows else ""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A card with a table, plain text; the first column is the name of the row, the others are numbers."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="card table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def drawing(svg: str) -> str:
    """A card with a drawing, an SVG document."""
    return f'<div class="card drawing">{svg[svg.index("<svg") :]}</div>'


def note(text: str) -> str:
    """A card with a sentence, plain text."""
    return f'<p class="card empty">{html.escape(text)}</p>'


def player(scene: str, legend: str = "") -> str:
    """A card that plays a recorded motion, a whole HTML document, with a sentence on its lines, plain text."""
    quoted = html.escape(scene, quote=True)
    frame = f'<iframe class=player title="3-D playback" srcdoc="{quoted}"></iframe>'
    return f'<div class="card scene">{frame}{f"<p>{html.escape(legend)}</p>" if legend else ""}</div>'


def charted(
    sections: Sequence[tuple[str, str, Sequence[Chart | Heat]]],
    times: Float[np.ndarray, " T"],
    end: float,
    time_label: str,
    *,
    cursor: bool = False,
) -> tuple[list[str], str]:
    """Sections of charts over the same time.

    Args:
        sections: heading and sentence, plain text, and charts of each.
        times: of the steps, [T].
        end: of the time axis.
        time_label: what its numbers are.
        cursor: whether there is a playback on the page, whose present time they show.

    Returns:
        The sections, HTML; and the scripts that they need, for `write_page`.
    """
    charts = [chart for _, _, members in sections for chart in members]
    drawn = draw(charts, times, end, time_label, cursor=cursor)
    made, number = [], 0
    for title, remark, members in sections:
        cards = []
        for chart in members:
            small = isinstance(chart, Chart) and chart.small
            wide = isinstance(chart, Heat) or len(chart.groups) > 1
            kind = "small" if small else "wide" if wide else ""
            cards.append(
                f'<section class="card {kind}"><header><h3>{html.escape(chart.heading)}</h3>{chooser(chart, number)}'
                f"<p>{html.escape(chart.remark)}</p></header>{drawn.places[number]}</section>"
            )
            number += 1
        kind = "strip" if all(isinstance(chart, Chart) and chart.small for chart in members) else "traces"
        made.append(heading(title, remark) + f'<div class="{kind}">{"".join(cards)}</div>')
    linked = f"<script>addEventListener('DOMContentLoaded', () => {{{_resource('player.js')}}});</script>"
    return made, drawn.library + drawn.script + linked


def _resource(name: str) -> str:
    return resources.files("mirrax.report").joinpath(name).read_text(encoding="utf-8")
