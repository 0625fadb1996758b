"""A motion in 3-D as a page that plays it: camera, floor, bodies, and where plans lead."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mirrax.dynamics.figures import Figure, Shape
from mirrax.report.lines import FLOOR, PLAN, fading, fan_colours, fan_lines, plan_lines, rounded

_FRAME_RATE = 30.0  # between two slow steps the motion is interpolated, of fast ones some are left out
_MAX_FRAMES = 4000  # keeps the page of a long run small
_FIELD_OF_VIEW = 0.56  # rad, vertical
_ASPECT = 1.35  # width over height that must suffice: between a phone's and a desktop's
_FANS_PER_SECOND = 20.0
_MAX_FANS = 600
_FAR = 6.0  # how many times as far as the picture is wide a plan may lead


class Motion(NamedTuple):
    """What there is to see of T steps.

    Attributes:
        figure: the looks of the model.
        poses: of each body of `figure` before the first step and after each, [T + 1, B, 7]: position (m), quaternion
            (w, x, y, z); where they are not finite a body rests.
        paths: of the tracked body under the plan of each step, [T, P, 3], m; None draws none.
        fans: of the tracked body under other plans of each step, [T, F, Q, 3], m; None draws none.
        fan_weights: how much each of these counts, in [0, 1], [T, F].
    """

    figure: Figure
    poses: Float[np.ndarray, "T1 B 7"]
    paths: Float[np.ndarray, "T P 3"] | None = None
    fans: Float[np.ndarray, "T F Q 3"] | None = None
    fan_weights: Float[np.ndarray, "T F"] | None = None


def record(motion: Motion, dt: float) -> str:
    """Record a motion.

    Args:
        motion: of at least one pose.
        dt: duration of a step, s.

    Returns:
        A whole HTML document that plays it, made by viser; its clock is the time since the first pose, s.
    """
    figure, poses = motion.figure, _repaired(np.asarray(motion.poses, float))
    low, high = _bounds(figure, poses)
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    # The camera stands still, so that a reader can turn it; the world slides along underneath it instead.
    shift = _smooth(poses[:, figure.tracked, :2], dt) if figure.follow else np.zeros((len(poses), 2))
    frames, rows = _frame_times(len(poses), dt)
    starts = poses[:-1, figure.tracked, :3]
    plans = fans = weights = None
    if motion.paths is not None and len(starts):
        plans = plan_lines(starts, np.asarray(motion.paths, float), _FAR * radius)
    if motion.fans is not None and motion.fan_weights is not None and len(starts):
        fans = fan_lines(starts, np.asarray(motion.fans, float), _FAR * radius)
        weights = np.asarray(motion.fan_weights, float)
        fan_every = max(1, round(1.0 / (_FANS_PER_SECOND * dt)), -(-len(starts) // _MAX_FANS))
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
        if not any(shape.kind == "plane" for shape in figure.shapes):  # something to stand on, below all that moves
            stage = Shape("plane", (0.0, 0.0), _GREY, position=(0.0, 0.0, float(low[2]) - 0.02 * radius))
            _draw(scene, "/world/stage", stage, radius)
        for i, shape in enumerate(figure.shapes):
            parent = "/world" if shape.body < 0 else f"/world/{shape.body}"
            _draw(scene, f"{parent}/shape{i}", shape, radius)
        line = fan = None
        if fans is not None and weights is not None:
            fan = scene.add_line_segments(
                "/world/fan",
                fans[0].reshape(-1, 2, 3),
                fan_colours(weights[0], fans.shape[2]),
                thickness=0.008 * radius,
            )
        if plans is not None:
            line = scene.add_line_segments(
                "/world/plan", plans[0], fading(plans.shape[1], PLAN), thickness=0.018 * radius
            )

        def place(frame: int) -> None:
            world.position = (*rounded(-shifts[frame]), 0.0)
            for body, pose in zip(bodies, between[frame], strict=True):
                body.position = rounded(pose[:3])
                body.wxyz = rounded(pose[3:])
            # the last pose follows the last plan
            row, before = (None if i < 0 else int(min(rows[i], len(starts) - 1)) for i in (frame, frame - 1))
            if (line is None and fan is None) or row is None or row == before:
                return
            if line is not None and plans is not None:
                line.points = plans[row]
            if (
                fan is not None
                and fans is not None
                and weights is not None
                and (before is None or row // fan_every > before // fan_every)
            ):
                fan.points = fans[row].reshape(-1, 2, 3)
                fan.colors = fan_colours(weights[row], fans.shape[2])

        place(0)
        recording = server.get_scene_serializer()
        for frame in range(1, len(frames)):
            recording.insert_sleep(float(frames[frame] - frames[frame - 1]) * dt)
            place(frame)
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


_GREY = (0.5, 0.5, 0.5)  # MuJoCo's colour of what has none


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
                plane_color=FLOOR if shape.rgb == _GREY else look["color"],
                plane_opacity=shape.opacity,
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
        # A fall, or a simulation that blows up at its end, should not shrink everything else.
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


def _nice(length: float) -> float:
    """The greatest of 1, 2, 5 times a power of ten that is no longer than `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= length * (1 + 1e-9)))


def _sky() -> np.ndarray:
    """A quiet vertical gradient, [64, 8, 3]."""
    top, bottom = np.array((214, 225, 239)), np.array(FLOOR)
    fade = np.clip(np.linspace(0.0, 1.6, 64), 0.0, 1.0)[:, None, None]
    return np.broadcast_to((1 - fade) * top + fade * bottom, (64, 8, 3)).astype(np.uint8)
