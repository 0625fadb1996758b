"""Plots without data: axes, how their numbers are written, and what a pointer does."""

from collections.abc import Sequence
from typing import Any

MUTED, _GRID = "#6b7280", "#e5e7eb"

# Numbers of an axis: as many digits as tell its ticks apart, and a power of ten where it is shorter.
TICK = """
    const size = Math.max(...ticks.map(Math.abs)), steps = ticks.slice(1).map((next, i) => Math.abs(next - ticks[i]));
    const step = Math.min(...steps.filter((step) => step > 0), size) || 1;
    const digits = (unit) => {
        let number = 0;
        const rounded = (tick) => Number((tick / unit).toFixed(number)) * unit;
        while (number < 20 && ticks.some((tick) => Math.abs(tick - rounded(tick)) > 1e-3 * step)) number++;
        return number;
    };
    const power = size > 0 ? Math.floor(Math.log10(size) + 1e-9) : 0, unit = 10 ** power;
    const short = (size >= 1e6 || (size > 0 && size < 1e-3)) && digits(unit) < 4;
    const text = short ? `${(tick / unit).toFixed(digits(unit))}e${power}` : tick.toFixed(digits(1));
    return Number(text) === 0 ? "0" : text.replaceAll("-", "\u2212");
"""
_HOVER = "return String(Number(value.toPrecision(value === Math.fround(value) ? 7 : 12)));"


def empty_plot(axis: Any, *, height: int) -> Any:
    """An empty plot: drag to zoom, double-click to zoom out, click to seek.

    Args:
        axis: of the time, which all plots share.
        height: in pixels.
    """
    from bokeh.events import DoubleTap, Tap
    from bokeh.models import BoxZoomTool, CustomJS, CustomJSTickFormatter
    from bokeh.plotting import figure

    plot = figure(height=height, sizing_mode="stretch_width", x_range=axis, tools="", toolbar_location=None)
    zoom = BoxZoomTool(dimensions="width")
    plot.add_tools(zoom)
    plot.toolbar.active_drag = zoom
    plot.outline_line_color = None
    plot.background_fill_alpha = plot.border_fill_alpha = 0.0
    plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = _GRID
    plot.min_border_left, plot.min_border_right, plot.min_border_bottom = 58, 8, 6
    for one in (plot.xaxis, plot.yaxis):
        one.formatter = CustomJSTickFormatter(code=TICK)
        one.update(axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None)
        one.update(major_label_text_color=MUTED, axis_label_text_color=MUTED, axis_label_text_font_style="normal")
        one.update(major_label_text_font_size="11px", axis_label_text_font_size="11px")
    plot.yaxis.ticker.desired_num_ticks = 4
    seek = "window.dispatchEvent(new CustomEvent('seek', {detail: cb_obj.x}))"
    plot.js_on_event(Tap, CustomJS(code=seek))
    whole = CustomJS(args={"axis": axis}, code="axis.setv({start: axis.bounds[0], end: axis.bounds[1]})")
    plot.js_on_event(DoubleTap, whole)
    return plot


def hover(parts: Sequence[Any]) -> Any:
    """What shows the values of lines under the pointer.

    Args:
        parts: the lines.
    """
    from bokeh.models import CustomJSHover, HoverTool

    return HoverTool(
        renderers=list(parts),
        mode="vline",
        tooltips=[("", "@y{custom}")],
        formatters={"@y": CustomJSHover(code=_HOVER)},
        point_policy="snap_to_data",
    )
