"""The traces of a run as SVG drawings: reward, return, planning time, effective sample size, actions."""

import io
import re
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

_MUTED, _GRID = "#6b7280", "#e5e7eb"
_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0891b2", "#db2777")


class _Clock(NamedTuple):
    """When steps were: their times, and what those count."""

    times: Float[np.ndarray, " T"]
    label: str
    step: float


def draw_traces(
    dt: float | None,
    *,
    rewards: Float[np.ndarray, " T"],
    plan_ms: Float[np.ndarray, " T"] | None,
    ess: Float[np.ndarray, " T"] | None,
    actions: Float[np.ndarray, "T A"],
) -> list[tuple[str, str, str]]:
    """Draw what happened over time.

    Args:
        dt: duration of a step, s; None where steps have none, and are counted.
        rewards: per step, [T].
        plan_ms: planning time per step, [T], ms; None leaves it out.
        ess: effective sample size per step, [T], plans; None leaves it out.
        actions: executed, clipped to [-1, 1], [T, A].

    Returns:
        Heading, remark and SVG of each trace.
    """
    step, label = (1.0, "step") if dt is None else (dt, "time (s)")
    clock = _Clock(step * np.arange(len(rewards)), label, step)
    drawn = [_action_plot(clock, actions, wide=wide) for wide in (True, False)]  # the page shows what fits
    blue = _COLOURS[0]
    return [
        ("Reward", "per step", _line_plot(clock, rewards, "reward", blue)),
        (
            "Return",
            "sum of rewards so far",
            _line_plot(clock, np.nancumsum(rewards), "return", blue, fill=True),
        ),
        *([] if plan_ms is None else [_planning_trace(clock, plan_ms, dt)]),
        *([] if ess is None else [_weight_trace(clock, ess)]),
        ("Actions", "as the actuators take them: clipped to ±1, the ends of their range", "".join(drawn)),
    ]


def _weight_trace(clock: _Clock, ess: Float[np.ndarray, " T"]) -> tuple[str, str, str]:
    return "Effective sample size", _share(ess), _line_plot(clock, ess, "plans", _COLOURS[2], floor=0.0)


def _planning_trace(clock: _Clock, plan_ms: Float[np.ndarray, " T"], dt: float | None) -> tuple[str, str, str]:
    # The first call compiles: shown, it would flatten all others.
    slow = len(plan_ms) > 1 and plan_ms[0] > 5 * np.nanmax([*plan_ms[1:], 0.0])
    planning = np.concatenate([[np.nan], plan_ms[1:]]) if slow else plan_ms
    # Real time is drawn where it is in reach, so that it does not flatten a planner that is far faster.
    known = planning[np.isfinite(planning)]
    deadline = 1e3 * dt if dt is not None and len(known) and known.max() > 0.3e3 * dt else None
    remarks = ["dashed: real time"] if deadline else []
    remarks += [f"first step, not shown: {plan_ms[0]:,.0f} ms"] if slow else []
    plot = _line_plot(clock, planning, "ms", _COLOURS[1], floor=0.0, level=deadline)
    return "Planning time", "; ".join(remarks) or "per step", plot


def _share(ess: Float[np.ndarray, " T"]) -> str:
    if (ess == 1.0).all():
        return "the best plan takes all the weight"
    steady = np.ptp(ess) <= 0.01 * ess.max()
    return "plans that share the weight" + ("; held by choice of planner" if steady else "")


def _line_plot(
    clock: _Clock,
    values: Float[np.ndarray, " T"],
    unit: str,
    colour: str,
    *,
    floor: float | None = None,
    level: float | None = None,
    fill: bool = False,
) -> str:
    drawing, axes = _axes(unit, clock)
    values = np.where(np.isfinite(values), values, np.nan)
    seen = values[np.isfinite(values)]
    axes.plot(clock.times, values, color=colour, linewidth=1.4, marker="o" if len(seen) < 2 else None, markersize=4)
    if fill:
        axes.fill_between(clock.times, np.nan_to_num(values), color=colour, alpha=0.10, linewidth=0)
    if level is not None:
        axes.axhline(level, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if len(seen) == 0:
        axes.set_yticks([])
        where = {"ha": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "no finite values", color=_MUTED, fontsize=9, **where)
    elif floor is not None:
        top = max(float(seen.max()), level or 0.0)
        axes.set_ylim(floor, 1.08 * top if top > floor else floor + 1.0)
    return _svg(drawing)


def _action_plot(clock: _Clock, actions: Float[np.ndarray, "T A"], *, wide: bool) -> str:
    num_actions = actions.shape[1]
    if num_actions <= 4:
        drawing, axes = _axes("action", clock, wide=wide)
        for i, colour in zip(range(num_actions), _COLOURS, strict=False):
            marker = "o" if len(clock.times) < 2 else None
            axes.plot(
                clock.times, actions[:, i], color=colour, linewidth=1.2, label=f"{i}", marker=marker, markersize=4
            )
        if num_actions > 1:
            style = {"frameon": False, "fontsize": 8, "labelcolor": _MUTED}
            axes.legend(loc="upper right", ncols=num_actions, handlelength=1.0, borderaxespad=0.1, **style)
        finite = actions[np.isfinite(actions)]
        bound = max(1.0, float(np.abs(finite).max()) if len(finite) else 1.0)
        axes.set_ylim(-1.25 * bound, 1.25 * bound)
        return _svg(drawing, "wide" if wide else "narrow")
    # Too many for lines: one row each, the colour shows the value.
    drawing, axes = _axes("actuator", clock, wide=wide, grid=False)
    image = axes.imshow(
        np.clip(actions.T, -1.0, 1.0),
        aspect="auto",
        cmap="RdBu_r",
        vmin=-1.0,
        vmax=1.0,
        interpolation="nearest",
        extent=(-0.5 * clock.step, clock.step * (len(clock.times) - 0.5), num_actions - 0.5, -0.5),
    )
    axes.yaxis.get_major_locator().set_params(integer=True)
    bar = drawing.colorbar(image, ax=axes, pad=0.02, fraction=0.04, ticks=[-1, 0, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=_MUTED, labelsize=8, length=0)
    return _svg(drawing, "wide" if wide else "narrow")


def _axes(label: str, clock: _Clock, *, wide: bool = False, grid: bool = True) -> tuple[Any, Any]:
    """An empty plot over time; the object-oriented interface leaves no global state behind."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(10.4 if wide else 5.0, 2.2), layout="constrained")
    FigureCanvasSVG(drawing)
    axes = drawing.add_subplot()
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_MUTED, labelsize=8, length=0)
    axes.set_xlabel(clock.label, color=_MUTED, fontsize=8)
    axes.set_ylabel(label, color=_MUTED, fontsize=8)
    if len(clock.times) > 1:
        axes.margins(x=0.01)
    else:
        axes.set_xticks([0.0])
    if grid:
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return drawing, axes


def _svg(drawing: Any, css_class: str = "trace") -> str:
    import matplotlib

    out = io.StringIO()
    # Text stays text: smaller, and in the page's own font.
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        drawing.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    # What is before the tag belongs to a file; without its size, the page decides how wide the drawing is.
    opening, rest = svg[svg.index("<svg") :].split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening) + f' class="{css_class}" role="img"'
    return f"{opening}>{re.sub('<metadata>.*?</metadata>', '', rest, flags=re.DOTALL)}"
