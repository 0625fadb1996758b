"""A run on one page: the motion in 3-D, the plans it followed, its traces. The file needs no network."""

import contextlib
import html
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mirrax.figures import Figure, Shape

_FRAME_RATE = 30.0  # between two slow steps the motion is interpolated, of fast ones some are left out
_MAX_FRAMES = 4000  # keeps the page of a long run small
_FIELD_OF_VIEW = 0.56  # rad, vertical
_ASPECT = 1.35  # width over height that must suffice: between a phone's and a desktop's
_FLOOR = (248, 250, 252)
_PLAN = (37, 99, 235)


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, str],
    figure: Figure | None,
    poses: Float[np.ndarray, "T B 7"] | None,
    paths: Float[np.ndarray, "T H 3"] | None,
    dt: float,
    rewards: Float[np.ndarray, " T"],
    plan_ms: Float[np.ndarray, " T"],
    ess: Float[np.ndarray, " T"],
    actions: Float[np.ndarray, "T A"],
) -> None:
    """Write one self-contained HTML page about a run.

    Args:
        path: the file to write; its folder must exist.
        title: the heading, plain text.
        summary: what to tell of the run, label -> value, plain text.
        figure: the looks of the model; None leaves out the 3-D scene.
        poses: of each body of `figure` before each step, [T, B, 7]: position (m), quaternion (w, x, y, z).
        paths: of the tracked body under each step's plan, [T, H, 3], m; None draws none.
        dt: duration of a step, s.
        rewards: per step, [T].
        plan_ms: planning time per step, [T], ms.
        ess: effective sample size per step, [T], plans.
        actions: executed, [T, A]; [-1, 1] is the actuators' range.

    Raises:
        ValueError: if the arrays disagree about the number of steps, or `dt` is not positive.
    """
    series = {"rewards": rewards, "plan_ms": plan_ms, "ess": ess, "actions": actions}
    arrays = {name: np.asarray(value, float) for name, value in series.items()}
    num_steps, dt = len(arrays["rewards"]), float(dt)
    if not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt}")
    for name, value in {**arrays, "poses": poses, "paths": paths}.items():
        if value is not None and len(value) != num_steps:
            raise ValueError(f"{name} must have one row per step ({num_steps}), got {len(value)}")

    scene = None
    if figure is not None and poses is not None and num_steps > 0:
        plans = None if paths is None else np.asarray(paths, float)
        scene = _scene(figure, np.asarray(poses, float), plans, dt)
    traces = _traces(dt, **arrays) if num_steps > 0 else []
    Path(path).write_text(_page(title, summary, scene, traces), encoding="utf-8")


# --- the 3-D scene ------------------------------------------------------------------------------------------


def _scene(
    figure: Figure, poses: Float[np.ndarray, "T B 7"], paths: Float[np.ndarray, "T H 3"] | None, dt: float
) -> str:
    """Record the motion with viser's serializer: a whole HTML document that plays it."""
    poses = _repaired(poses)
    low, high = _bounds(figure, poses)
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    # The camera stands still, so that a reader can turn it; the world slides along underneath it instead.
    shift = _smooth(poses[:, figure.tracked, :2], dt) if figure.follow else np.zeros((len(poses), 2))
    plans = None if paths is None else _plan_lines(poses[:, figure.tracked, :3], paths)
    frames, rows = _frame_times(len(poses), dt)
    between = _interpolate(poses, frames)
    shifts = _lerp(shift, frames)

    with _server() as server:
        scene = server.scene
        camera = server.initial_camera
        camera.look_at = centre
        camera.position = centre + _camera_offset(figure.view, high - low)
        camera.fov = _FIELD_OF_VIEW
        scene.set_background_image(_sky(), format="png")
        scene.add_light_hemisphere("/light", ground_color=(214, 218, 226))

        world = scene.add_frame("/world", show_axes=False)
        bodies = [scene.add_frame(f"/world/{b}", show_axes=False) for b in range(poses.shape[1])]
        for i, shape in enumerate(figure.shapes):
            parent = "/world" if shape.body < 0 else f"/world/{shape.body}"
            _draw(scene, f"{parent}/shape{i}", shape, radius)
        line = None
        if plans is not None:
            line = scene.add_line_segments(
                "/world/plan", plans[0], _fading(plans.shape[1]), thickness=0.018 * radius
            )

        def place(frame: int) -> None:
            world.position = (*_rounded(-shifts[frame]), 0.0)
            for body, pose in zip(bodies, between[frame], strict=True):
                body.position = _rounded(pose[:3])
                body.wxyz = _rounded(pose[3:])
            if line is not None and plans is not None and (frame == 0 or rows[frame] != rows[frame - 1]):
                line.points = plans[rows[frame]]

        place(0)
        recording = server.get_scene_serializer()
        for frame in range(1, len(frames)):
            recording.insert_sleep(float(frames[frame] - frames[frame - 1]) * dt)
            place(frame)
        if len(frames) > 1:
            recording.insert_sleep(max(dt, 0.6))  # rest at the end before it starts over
        return recording.as_html()


@contextlib.contextmanager
def _server() -> Iterator[Any]:
    """A viser server that nobody hears of: on localhost, on whatever port is free, gone afterwards."""
    import viser

    # viser greets and takes leave on stdout whatever `verbose` says.
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
        try:
            yield server
        finally:
            server.stop()


def _draw(scene: Any, name: str, shape: Shape, scale: float) -> None:
    where: dict[str, Any] = {"position": shape.position, "wxyz": shape.quaternion}
    look: dict[str, Any] = {
        **where,
        "color": tuple(round(255 * channel) for channel in shape.rgb),
        "opacity": shape.opacity if shape.opacity < 1.0 else None,
    }
    match shape.kind:
        case "plane":
            cell = _nice(0.45 * scale)
            endless = min(shape.size) <= 0.0 or min(shape.size) > 8.0 * scale
            scene.add_grid(
                name,
                **where,
                width=1.0 if endless else 2.0 * shape.size[0],
                height=1.0 if endless else 2.0 * shape.size[1],
                infinite_grid=endless,
                cell_size=cell,
                cell_color=(206, 213, 223),
                section_size=5.0 * cell,
                section_color=(160, 171, 186),
                section_thickness=1.3,
                fade_distance=14.0 * scale if endless else 1e3 * scale,
                fade_strength=1.5,
                shadow_opacity=0.35,
                plane_color=_FLOOR,
                plane_opacity=1.0,
            )
        case "sphere":
            scene.add_icosphere(name, shape.size[0], **look)
        case "ellipsoid":
            scene.add_icosphere(name, 1.0, scale=shape.size, **look)
        case "cylinder":
            scene.add_cylinder(name, shape.size[0], 2.0 * shape.size[1], radial_segments=64, **look)
        case "box":
            scene.add_box(name, dimensions=tuple(2.0 * half for half in shape.size), **look)
        case "capsule":
            import trimesh

            radius, half = shape.size
            capsule = trimesh.creation.capsule(height=2.0 * half, radius=radius, count=[32, 16])
            centre = capsule.bounds.mean(axis=0)
            scene.add_mesh_simple(name, capsule.vertices - centre, capsule.faces, **look)
        case "mesh":
            scene.add_mesh_simple(name, shape.vertices, shape.faces, flat_shading=True, **look)


def _bounds(
    figure: Figure, poses: Float[np.ndarray, "T B 7"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """The box of what must stay in sight, less the horizontal motion of a tracked body that is followed."""
    from viser import transforms

    low, high = [], []
    for shape in figure.shapes:
        if shape.kind == "plane" or (figure.follow and shape.body < 0):
            continue
        corners, margin = shape.outline
        turn = transforms.SO3(np.array(shape.quaternion)).as_matrix()
        points = turn @ corners.T + np.array(shape.position)[:, None]  # [3, P]
        if shape.body >= 0:
            body = poses[:, shape.body]
            points = transforms.SO3(body[:, 3:]).as_matrix() @ points + body[:, :3, None]  # [T, 3, P]
        if figure.follow:
            points = points - (poses[:, figure.tracked, :3] * [1.0, 1.0, 0.0])[..., None]
        points = points.reshape(-1, *points.shape[-2:])
        # A fall, or a simulation that blows up at its end, must not shrink all the rest.
        rare = 10.0 if figure.follow else 2.0
        low.append(np.percentile(points.min(axis=-1), rare, axis=0) - margin)
        high.append(np.percentile(points.max(axis=-1), 100.0 - rare, axis=0) + margin)
    if not low:
        return -np.ones(3), np.ones(3)
    return np.min(low, axis=0), np.max(high, axis=0)


def _camera_offset(view: tuple[float, float, float], size: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """From the centre of a box to a camera in direction `view` that has all eight corners in its picture."""
    back = np.asarray(view, float) / np.linalg.norm(view)
    right = np.cross((0.0, 0.0, 1.0), back)
    right = right / np.linalg.norm(right) if np.linalg.norm(right) > 1e-6 else np.array((1.0, 0.0, 0.0))
    up = np.cross(back, right)
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3) * np.maximum(size, 1e-3)
    across = np.maximum(np.abs(corners @ up), np.abs(corners @ right) / _ASPECT)
    return back * float(np.max(1.12 * across / np.tan(_FIELD_OF_VIEW / 2) + corners @ back))


def _repaired(poses: Float[np.ndarray, "T B 7"]) -> Float[np.ndarray, "T B 7"]:
    """Let a body rest where it was last seen while its pose is not finite, and make every quaternion one."""
    poses = poses.copy()
    at_rest = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    for step in range(len(poses)):
        before = poses[step - 1] if step else np.broadcast_to(at_rest, poses.shape[1:])
        lost = ~np.isfinite(poses[step]).all(axis=-1) | (np.abs(poses[step, :, :3]).max(axis=-1) > 1e4)
        poses[step, lost] = before[lost]
        norm = np.linalg.norm(poses[step, :, 3:], axis=-1, keepdims=True)
        poses[step, :, 3:] = np.where(norm > 1e-6, poses[step, :, 3:] / np.maximum(norm, 1e-6), at_rest[3:])
    return poses


def _plan_lines(
    starts: Float[np.ndarray, "T 3"], paths: Float[np.ndarray, "T H 3"]
) -> Float[np.ndarray, "T H 2 3"]:
    """Each plan as segments that begin at the body; where the plan is not finite it stops."""
    points = np.concatenate([starts[:, None], paths], axis=1)
    for i in range(1, points.shape[1]):
        lost = ~np.isfinite(points[:, i]).all(axis=-1)
        points[lost, i] = points[lost, i - 1]
    return np.stack([points[:, :-1], points[:, 1:]], axis=2).astype(np.float32)


def _fading(num_segments: int) -> np.ndarray:
    """Colours of a plan, [H, 2, 3]: the farther ahead, the closer to the floor's."""
    fade = np.linspace(0.1, 0.8, num_segments + 1)[:, None]
    colours = (1 - fade) * _PLAN + fade * _FLOOR
    # viser takes the colours of lines, and of nothing else, as linear light
    colours = (255 * (colours / 255) ** 2.2).astype(np.uint8)
    return np.stack([colours[:-1], colours[1:]], axis=1)


def _frame_times(num_steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """When to draw, in steps and fractions of them, and the step that each such frame belongs to."""
    per_step = max(1, int(np.ceil(_FRAME_RATE * dt - 1e-6)))
    stride = max(1, int(np.floor(1.0 / (2.0 * _FRAME_RATE * dt) + 1e-6)))
    while per_step > 1 and num_steps * per_step > _MAX_FRAMES:
        per_step -= 1
    stride = max(stride, -(-num_steps // _MAX_FRAMES))
    last = num_steps - 1
    frames = np.linspace(0, last, last * per_step + 1) if per_step > 1 else np.arange(0.0, num_steps, stride)
    if frames[-1] < last:
        frames = np.append(frames, last)
    return frames, np.floor(frames + 1e-6).astype(int)


def _lerp(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    before = np.minimum(np.floor(frames + 1e-6).astype(int), len(values) - 1)
    after = np.minimum(before + 1, len(values) - 1)
    weight = (frames - before).reshape(-1, *[1] * (values.ndim - 1))
    return (1 - weight) * values[before] + weight * values[after]


def _interpolate(poses: Float[np.ndarray, "T B 7"], frames: np.ndarray) -> Float[np.ndarray, "F B 7"]:
    poses = poses.copy()
    for step in range(1, len(poses)):  # q and −q are the same rotation: take the one on the shorter way
        flip = np.sum(poses[step, :, 3:] * poses[step - 1, :, 3:], axis=-1) < 0
        poses[step, flip, 3:] *= -1
    between = _lerp(poses, frames)
    norm = np.linalg.norm(between[..., 3:], axis=-1, keepdims=True)
    between[..., 3:] /= np.maximum(norm, 1e-6)
    return between


def _smooth(track: Float[np.ndarray, "T 2"], dt: float) -> Float[np.ndarray, "T 2"]:
    """A camera operator's hand: the track, averaged over about half a second around each step."""
    width = 0.25 / dt
    reach = min(int(np.ceil(3 * width)), 10_000)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(track, ((reach, reach), (0, 0)), mode="edge")
    kernel = kernel / kernel.sum()
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to 1/8192 (0.1 mm): the zero bits that it leaves are what compression lives on."""
    return np.round(values * 8192.0) / 8192.0


def _nice(length: float) -> float:
    """The greatest of 1, 2, 5 times a power of ten that is no longer than `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= length * (1 + 1e-9)))


def _sky() -> np.ndarray:
    """A quiet vertical gradient, [64, 8, 3]."""
    top, bottom = np.array((214, 225, 239)), np.array(_FLOOR)
    fade = np.clip(np.linspace(0.0, 1.6, 64), 0.0, 1.0)[:, None, None]
    return np.broadcast_to((1 - fade) * top + fade * bottom, (64, 8, 3)).astype(np.uint8)


# --- the traces ---------------------------------------------------------------------------------------------

_MUTED, _GRID = "#6b7280", "#e5e7eb"
_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0891b2", "#db2777")


def _traces(
    dt: float,
    *,
    rewards: Float[np.ndarray, " T"],
    plan_ms: Float[np.ndarray, " T"],
    ess: Float[np.ndarray, " T"],
    actions: Float[np.ndarray, "T A"],
) -> list[tuple[str, str, str]]:
    """Heading, remark and SVG of each trace."""
    time = dt * np.arange(len(rewards))
    # The first call compiles: shown, it would flatten all others.
    slow = len(plan_ms) > 1 and plan_ms[0] > 5 * np.nanmax([*plan_ms[1:], 0.0])
    planning = np.concatenate([[np.nan], plan_ms[1:]]) if slow else plan_ms
    # Real time is drawn where it is in reach, so that it does not flatten a planner that is far faster.
    known = planning[np.isfinite(planning)]
    deadline = 1e3 * dt if len(known) and known.max() > 0.3e3 * dt else None
    remarks = ["dashed: real time"] if deadline else []
    remarks += [f"first step, not shown: {plan_ms[0]:,.0f} ms"] if slow else []
    drawn = [_action_plot(time, actions, dt, wide=wide) for wide in (True, False)]  # the page shows what fits
    blue, orange, green = _COLOURS[:3]
    return [
        ("Reward", "per step", _line_plot(time, rewards, "reward", blue)),
        (
            "Return",
            "sum of rewards so far",
            _line_plot(time, np.nancumsum(rewards), "return", blue, fill=True),
        ),
        (
            "Planning time",
            "; ".join(remarks) or "per step",
            _line_plot(time, planning, "ms", orange, floor=0.0, level=deadline),
        ),
        (
            "Effective sample size",
            "plans that share the weight",
            _line_plot(time, ess, "plans", green, floor=0.0),
        ),
        ("Actions", "±1 is the actuators' range", "".join(drawn)),
    ]


def _line_plot(
    time: Float[np.ndarray, " T"],
    values: Float[np.ndarray, " T"],
    unit: str,
    colour: str,
    *,
    floor: float | None = None,
    level: float | None = None,
    fill: bool = False,
) -> str:
    drawing, axes = _axes(unit, time)
    values = np.where(np.isfinite(values), values, np.nan)
    seen = values[np.isfinite(values)]
    axes.plot(time, values, color=colour, linewidth=1.4, marker="o" if len(seen) < 2 else None, markersize=4)
    if fill:
        axes.fill_between(time, np.nan_to_num(values), color=colour, alpha=0.10, linewidth=0)
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


def _action_plot(
    time: Float[np.ndarray, " T"], actions: Float[np.ndarray, "T A"], dt: float, *, wide: bool
) -> str:
    num_actions = actions.shape[1]
    if num_actions <= 4:
        drawing, axes = _axes("action", time, wide=wide)
        for i, colour in zip(range(num_actions), _COLOURS, strict=False):
            marker = "o" if len(time) < 2 else None
            axes.plot(
                time, actions[:, i], color=colour, linewidth=1.2, label=f"{i}", marker=marker, markersize=4
            )
        if num_actions > 1:
            style = {"frameon": False, "fontsize": 8, "labelcolor": _MUTED}
            axes.legend(loc="upper right", ncols=num_actions, handlelength=1.0, borderaxespad=0.1, **style)
        finite = actions[np.isfinite(actions)]
        bound = max(1.0, float(np.abs(finite).max()) if len(finite) else 1.0)
        axes.set_ylim(-1.25 * bound, 1.25 * bound)
        return _svg(drawing, "wide" if wide else "narrow")
    # Too many for lines: one row each, the colour tells the value.
    drawing, axes = _axes("actuator", time, wide=wide, grid=False)
    image = axes.imshow(
        np.clip(actions.T, -1.0, 1.0),
        aspect="auto",
        cmap="RdBu_r",
        vmin=-1.0,
        vmax=1.0,
        interpolation="nearest",
        extent=(-0.5 * dt, dt * (len(time) - 0.5), num_actions - 0.5, -0.5),
    )
    axes.yaxis.get_major_locator().set_params(integer=True)
    bar = drawing.colorbar(image, ax=axes, pad=0.02, fraction=0.04, ticks=[-1, 0, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=_MUTED, labelsize=8, length=0)
    return _svg(drawing, "wide" if wide else "narrow")


def _axes(
    label: str, time: Float[np.ndarray, " T"], *, wide: bool = False, grid: bool = True
) -> tuple[Any, Any]:
    """An empty plot over time; the object-oriented interface leaves no global state behind."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(10.4 if wide else 5.0, 2.2), layout="constrained")
    FigureCanvasSVG(drawing)
    axes = drawing.add_subplot()
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_MUTED, labelsize=8, length=0)
    axes.set_xlabel("time (s)", color=_MUTED, fontsize=8)
    axes.set_ylabel(label, color=_MUTED, fontsize=8)
    if len(time) > 1:
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


# --- the page -----------------------------------------------------------------------------------------------

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

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f5f8; color: #1f2937;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 40px; }
h1 { font-size: 1.5rem; line-height: 1.25; letter-spacing: -0.01em; margin: 0 0 16px;
  overflow-wrap: anywhere; }
h2 { font-size: 0.95rem; margin: 0; }
.card { background: #fff; border-radius: 12px;
  box-shadow: 0 1px 2px rgb(15 23 42 / 8%), 0 4px 16px rgb(15 23 42 / 5%); }
.scene { overflow: hidden; margin-bottom: 16px; }
.scene iframe { display: block; width: 100%; height: min(600px, 64vh); min-height: 380px; border: 0; }
.summary { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px 20px;
  padding: 16px 20px; margin: 0 0 16px; }
.summary dt { color: #6b7280; font-size: 0.78rem; }
.summary dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.traces { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 16px; }
.traces .card { padding: 14px 16px 8px; }
.traces .wide { grid-column: 1 / -1; }
.traces header { display: flex; flex-wrap: wrap; gap: 0 10px; align-items: baseline;
  justify-content: space-between; }
.traces p, .empty, footer { color: #6b7280; font-size: 0.8rem; margin: 0; }
.traces svg { display: block; width: 100%; height: auto; }
.traces svg text { font-family: inherit !important; }
.traces svg.narrow { display: none; }
.empty { padding: 24px 20px; margin-bottom: 16px; font-size: 0.95rem; }
footer { margin-top: 20px; text-align: right; }
@media (max-width: 600px) { main { padding: 16px 10px 28px; }
  .scene iframe { height: 62vw; min-height: 320px; }
  .summary { grid-template-columns: repeat(2, 1fr); } }
@media (max-width: 760px) { .traces svg.narrow { display: block; } .traces svg.wide { display: none; } }
"""


def _page(
    title: str, summary: Mapping[str, str], scene: str | None, traces: list[tuple[str, str, str]]
) -> str:
    rows = "".join(
        f"<div><dt>{html.escape(str(label))}</dt><dd>{html.escape(str(value))}</dd></div>"
        for label, value in summary.items()
    )
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if scene is not None:
        player = f'<iframe title="3-D playback" srcdoc="{html.escape(scene, quote=True)}"></iframe>'
        parts.append(f'<div class="card scene">{player}</div>')
    if rows:
        parts.append(f'<dl class="card summary">{rows}</dl>')
    if traces:
        cards = "".join(
            f'<section class="card{" wide" if i == len(traces) - 1 and i % 2 == 0 else ""}"><header>'
            f"<h2>{html.escape(heading)}</h2><p>{html.escape(remark)}</p></header>{svg}</section>"
            for i, (heading, remark, svg) in enumerate(traces)
        )
        parts.append(f'<div class="traces">{cards}</div>')
    else:
        parts.append('<p class="card empty">The run ended before its first step: nothing to show.</p>')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(parts)}<footer>mirrax</footer></main></body></html>\n"
    )
