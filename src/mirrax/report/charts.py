"""Charts over time that move with the playback: drawn by Bokeh, in one document, without a network."""

import contextlib
import dataclasses
import html
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mirrax.report.plot import MUTED, empty_plot, hover

# Petroff's ten (arXiv:2107.02270, matplotlib's "petroff10"), which people who see fewer colours can tell apart, too.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
_INK = "#111827"

CURSOR = "cursor"  # the name by which the page's own script finds it


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        name: for the legend; empty for the only line.
        values: [T]; what is not finite is a gap.
        times: of the values, [T]; None for those of the chart.
        colour: its number among `COLOURS`; None for its place among the lines of the chart.
    """

    name: str
    values: Float[np.ndarray, " T"]
    times: Float[np.ndarray, " T"] | None = None
    colour: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Chart:
    """Lines over time.

    Attributes:
        heading: plain text.
        remark: one sentence on what it shows, plain text.
        unit: of the values, the label of their axis.
        groups: the lines, by the name of a group: of several a reader chooses one.
        floor: where the axis begins; None where the values do.
        levels: dashed lines across, which can always be seen.
        area: whether the first line is filled down to 0.
        small: whether it is one of many, and lower.
    """

    heading: str
    remark: str
    unit: str
    groups: Mapping[str, Sequence[Line]]
    floor: float | None = None
    levels: tuple[float, ...] = ()
    area: bool = False
    small: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Heat:
    """Many values over time, one row each, whose colour shows the value.

    Attributes:
        heading: plain text.
        remark: one sentence on what it shows, plain text.
        names: of the rows.
        values: [T, N], in [-1, 1].
    """

    heading: str
    remark: str
    names: tuple[str, ...]
    values: Float[np.ndarray, "T N"]


class Drawn(NamedTuple):
    """Charts as parts of a page.

    Attributes:
        script: that draws all of them; HTML.
        places: where each goes, in their order; HTML.
        library: Bokeh itself; HTML.
    """

    script: str
    places: list[str]
    library: str


def draw(
    charts: Sequence[Chart | Heat], times: Float[np.ndarray, " T"], end: float, time_label: str, *, cursor: bool
) -> Drawn:
    """Draw charts that share their time axis.

    Args:
        charts: what to draw.
        times: of the steps, [T].
        end: of the time axis.
        time_label: what its numbers are.
        cursor: whether a line shows the present time of a playback.

    Returns:
        The parts of a page that show them.
    """
    from bokeh.document import Document
    from bokeh.embed import components
    from bokeh.models import Range1d, Span
    from bokeh.resources import Resources

    axis = Range1d(0.0, max(end, 1e-9), bounds=(0.0, max(end, 1e-9)), min_interval=1e-6 * max(end, 1e-9))
    cursors: list[Any] = []
    document = Document()
    with _quiet():
        for chart in charts:
            plot = _heat(chart, times, axis) if isinstance(chart, Heat) else _lines(chart, times, axis)
            plot.xaxis.axis_label = None if isinstance(chart, Chart) and chart.small else time_label
            if cursor:
                line = Span(location=0.0, dimension="height", line_color=_INK, line_alpha=0.55, level="overlay")
                plot.add_layout(line)
                cursors.append(line)
            document.add_root(plot)
        if cursors:  # the page moves the first one, and all others go along
            cursors[0].name = CURSOR
            for other in cursors[1:]:
                cursors[0].js_link("location", other, "location")
        script, places = components(list(document.roots), wrap_script=True)
        library = Resources(mode="inline", components=["bokeh"]).render_js()
    return Drawn(script, list(places), library)


def chooser(chart: Chart | Heat, number: int) -> str:
    """The control with which a reader chooses one of a chart's groups; nothing where there is one.

    Args:
        chart: what is drawn.
        number: its place among the charts.
    """
    if isinstance(chart, Heat) or len(chart.groups) < 2:
        return ""
    options = "".join(f"<option value={i}>{html.escape(name)}</option>" for i, name in enumerate(chart.groups))
    return f'<select data-chart="{number}" aria-label="{html.escape(chart.heading, quote=True)}">{options}</select>'


def compact(values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Numbers in single precision, which halves a page, unless their differences would drown in its rounding.

    Args:
        values: to draw; NaN is a gap.

    Returns:
        The same, as single precision or as they were.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return values.astype(np.float32)
    greatest, rounding = np.abs(known).max(), np.finfo(np.float32).eps
    if greatest > np.finfo(np.float32).max or rounding * greatest > 1e-3 * np.ptp(known) > 0.0:
        return values
    return values.astype(np.float32)


def _lines(chart: Chart, times: Float[np.ndarray, " T"], axis: Any) -> Any:
    from bokeh.models import ColumnDataSource, CustomJS, DataRange1d, GlyphRenderer, Legend, LegendItem, Range1d

    plot = empty_plot(axis, height=130 if chart.small else 220)
    plot.yaxis.axis_label = chart.unit
    plot.y_range = DataRange1d(only_visible=True, range_padding=0.08)
    members, items, seen = [], [], []
    for number, lines in enumerate(chart.groups.values()):
        drawn: list[Any] = []
        for place, line in enumerate(lines):
            colour = COLOURS[(place if line.colour is None else line.colour) % len(COLOURS)]
            values = np.where(np.isfinite(line.values), line.values, np.nan)
            x = times[: len(values)] if line.times is None else line.times
            seen.append(values[np.isfinite(values)])
            x, values = compact(x), compact(values)
            source = ColumnDataSource({"x": x, "y": values})
            visible = number == 0
            if chart.area and not drawn:
                plot.varea("x", 0.0, "y", source=source, fill_color=colour, fill_alpha=0.10)
            drawn.append(plot.line("x", "y", source=source, color=colour, line_width=1.5, visible=visible))
            alone = _alone(values)
            if alone.any():  # a point between gaps is no line
                dots = ColumnDataSource({"x": x[alone], "y": values[alone]})
                drawn.append(plot.scatter("x", "y", source=dots, color=colour, size=4, visible=visible))
            if line.name:
                items.append(LegendItem(label=line.name, renderers=[drawn[-1]], visible=visible))
                drawn.append(items[-1])
        members.append(drawn)
    finite = np.concatenate([np.zeros(0), *seen])
    if chart.floor is not None and len(finite):
        top = max(float(finite.max()), *chart.levels, chart.floor)
        plot.y_range = Range1d(chart.floor, chart.floor + 1.08 * (top - chart.floor) if top > chart.floor else 1.0)
    if not len(finite):
        _say(plot, axis, "no finite values")
    for level in chart.levels if len(finite) else ():  # as lines, not spans: the axis makes room for them
        plot.line([axis.start, axis.end], [level, level], color=MUTED, line_dash=[4, 3])
    if items:
        width = 64 if len(members) == 1 else 130  # letters
        longest = max(len(item.label["value"]) for item in items)
        legend = Legend(
            items=items, orientation="horizontal", click_policy="hide", ncols=max(1, width // (longest + 5))
        )
        legend.update(border_line_color=None, background_fill_alpha=0.0, margin=0, padding=2, spacing=8)
        legend.update(label_text_color=MUTED, label_text_font_size="11px", glyph_width=14, label_standoff=4)
        plot.add_layout(legend, "above")
    parts = [part for drawn in members for part in drawn if isinstance(part, GlyphRenderer)]
    plot.add_tools(hover(parts))
    if len(members) > 1:
        choice = Range1d(0, 1)  # an integer that the page's script can set, and that calls this
        show = """
            for (const [i, group] of members.entries())
                for (const part of group) part.visible = i === cb_obj.start;
        """
        choice.js_on_change("start", CustomJS(args={"members": members}, code=show))
        plot.tags = [choice]
    return plot


def _heat(chart: Heat, times: Float[np.ndarray, " T"], axis: Any) -> Any:
    from bokeh.models import FixedTicker, LinearColorMapper, Range1d
    from bokeh.palettes import RdBu11

    number = len(chart.names)
    plot = empty_plot(axis, height=max(220, 16 * number + 50))
    plot.y_range = Range1d(number, 0)
    plot.yaxis.ticker = FixedTicker(ticks=[i + 0.5 for i in range(number)])
    plot.yaxis.major_label_overrides = {i + 0.5: name for i, name in enumerate(chart.names)}
    plot.ygrid.grid_line_color = None
    step = float(axis.end) / max(len(times), 1)
    mapper = LinearColorMapper(palette=RdBu11, low=-1.0, high=1.0, nan_color="#d1d5db")
    shown = np.clip(chart.values, -1.0, 1.0).T.astype(np.float32)
    plot.image(image=[shown], x=0.0, y=0.0, dw=step * len(times), dh=float(number), color_mapper=mapper)
    return plot


def _say(plot: Any, axis: Any, text: str) -> None:
    from bokeh.models import Label, Range1d

    plot.y_range = Range1d(-1.0, 1.0)
    plot.yaxis.visible = False
    plot.add_layout(Label(x=0.5 * axis.end, y=0.0, text=text, text_align="center", text_color=MUTED))


def _alone(values: Float[np.ndarray, " T"]) -> Any:
    """Which values are finite between two that are not."""
    known = np.concatenate([[False], np.isfinite(values), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Bokeh's opinions on what is drawn, such as that a plot without data has none."""
    logger = logging.getLogger("bokeh.core.validation.check")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
