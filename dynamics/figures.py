"""How models look: the shapes of their bodies and where a state puts them. Independent of any viewer."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Kind = Literal["sphere", "ellipsoid", "capsule", "cylinder", "box", "plane", "mesh"]

WORLD = -1
_SIZES = {"sphere": 1, "ellipsoid": 3, "capsule": 2, "cylinder": 2, "box": 3, "plane": 2, "mesh": 0}
UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """One solid, fixed to a body.

    Attributes:
        kind: what it is; cylinders, capsules and planes have their axis (normal) along z.
        size: metres: sphere (radius,), ellipsoid the three radii, capsule and cylinder (radius, half of the
            length without caps), box the three half edges, plane the two half edges (0 = endless), mesh ().
        rgb: colour, each in [0, 1].
        opacity: 0 is invisible, 1 solid.
        body: row of `Figure.poses` that it moves with; -1 is the world.
        position: of its centre in the body's frame, m.
        quaternion: its orientation in the body's frame, (w, x, y, z).
        vertices: of a mesh, m.
        faces: of a mesh, rows of vertex indices.
    """

    kind: Kind
    size: tuple[float, ...]
    rgb: Vector
    opacity: float = 1.0
    body: int = WORLD
    position: Vector = (0.0, 0.0, 0.0)
    quaternion: Quaternion = UPRIGHT
    vertices: Float[np.ndarray, "V 3"] | None = None
    faces: Int[np.ndarray, "F 3"] | None = None

    def __post_init__(self) -> None:
        """Raise a `ValueError` for a kind that there is not, or for what is not as the attributes are described."""
        if self.kind not in _SIZES:
            raise ValueError(f"kind must be one of {', '.join(_SIZES)}, got {self.kind!r}")
        size = _numbers("size", self.size, _SIZES[self.kind], f" for a {self.kind}")
        if (size < 0).any() or (self.kind != "plane" and (size == 0).any()):
            least = ">= 0 (0 is endless)" if self.kind == "plane" else "> 0"
            raise ValueError(f"size must be {least}, half edges and radii in metres, got {self.size!r}")
        for name, value, number in (("rgb", self.rgb, 3), ("opacity", (self.opacity,), 1)):
            if not ((found := _numbers(name, value, number)) >= 0).all() or (found > 1).any():
                raise ValueError(f"{name} must lie in [0, 1], got {value if number > 1 else self.opacity!r}")
        if isinstance(self.body, bool) or not isinstance(self.body, int | np.integer) or self.body < WORLD:
            raise ValueError(f"body must be a row of poses, or {WORLD} for the world, got {self.body!r}")
        _numbers("position", self.position, 3)
        if not _numbers("quaternion", self.quaternion, 4).any():
            raise ValueError(f"quaternion must not be zero, got {self.quaternion!r}")
        if self.kind == "mesh" and (self.vertices is None or self.faces is None):
            raise ValueError("vertices and faces must be given for a mesh, got None")

    @property
    def outline(self) -> tuple[Float[np.ndarray, "P 3"], float]:
        """Points in its own frame and the radius (m) of balls around them that span it. A plane has none."""
        match self.kind:
            case "plane":
                return np.zeros((0, 3)), 0.0
            case "sphere":
                return np.zeros((1, 3)), self.size[0]
            case "capsule" | "cylinder":
                radius, half = self.size
                return np.array([[0.0, 0.0, -half], [0.0, 0.0, half]]), radius
            case "mesh" if self.vertices is not None and len(self.vertices):
                low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
            case _:
                high = np.array(self.size, float)
                low = -high
        return np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3), 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """The looks of a model.

    Attributes:
        shapes: all solids.
        poses: state -> [B, 7], the world position (m) and quaternion (w, x, y, z) of each body, see `pose`; or
            [B, 3], positions alone, of bodies that do not turn. Traceable.
        tracked: the body whose planned path is drawn and that the camera follows.
        follow: whether the camera goes along with it; if not, it frames the whole scene.
        view: direction from what is looked at to the camera, in the world, z up; any length.
    """

    shapes: tuple[Shape, ...]
    poses: Callable[[Any], Float[Array, "B _"]]
    tracked: int = 0
    follow: bool = False
    view: Vector = (0.5, -1.0, 0.45)

    def __post_init__(self) -> None:
        """Raise a `ValueError` for what is not as the attributes are described."""
        if not isinstance(self.shapes, tuple | list) or not all(isinstance(shape, Shape) for shape in self.shapes):
            raise ValueError(f"shapes must be a tuple of dynamics.Shape, got {self.shapes!r}")
        object.__setattr__(self, "shapes", tuple(self.shapes))
        if not callable(self.poses):
            raise ValueError(f"poses must be a function of the state, got {self.poses!r}")
        if isinstance(self.tracked, bool) or not isinstance(self.tracked, int | np.integer) or self.tracked < 0:
            raise ValueError(f"tracked must be a row of poses, got {self.tracked!r}")
        if not _numbers("view", self.view, 3).any():
            raise ValueError(f"view must have a direction, got {self.view!r}")


@runtime_checkable
class HasFigure(Protocol):
    """A model that knows how it looks. Ask by `figure`."""

    def figure(self) -> Figure | None:
        """The shapes of its bodies, for its states; None if it has no looks."""
        ...


def figure(model: Any) -> Figure | None:
    """How a model looks.

    Args:
        model: any model; of a wrapper (`dynamics.Wrapper`) the one inside, of an ensemble its first member.

    Returns:
        Its figure, for states of that model, with poses [B, 7]; None if it has no looks. They raise a `ValueError`
        where the figure's own have another shape.
    """
    found = model.figure() if isinstance(model, HasFigure) else None
    if found is None:
        return None
    bodies = max(1 + max((shape.body for shape in found.shapes), default=WORLD), 1 + found.tracked)
    return dataclasses.replace(found, poses=lambda state: _whole(found.poses(state), bodies))


def pose(
    x: Any = 0.0, y: Any = 0.0, z: Any = 0.0, *, roll: Any = 0.0, pitch: Any = 0.0, yaw: Any = 0.0
) -> Float[Array, "7"]:
    """The pose of a body, for `Figure.poses`.

    Args:
        x: where it is, m.
        y: m.
        z: m, upwards.
        roll: how it is turned about x, at first, rad.
        pitch: then about y.
        yaw: and then about z, all of them axes of the world.

    Returns:
        Position and quaternion (w, x, y, z), [7].
    """
    (cr, sr), (cp, sp), (cy, sy) = ((jnp.cos(0.5 * a), jnp.sin(0.5 * a)) for a in (roll, pitch, yaw))
    quaternion = (
        cy * cp * cr + sy * sp * sr,
        cy * cp * sr - sy * sp * cr,
        cy * sp * cr + sy * cp * sr,
        sy * cp * cr - cy * sp * sr,
    )
    return jnp.stack([jnp.asarray(part, float) for part in (x, y, z, *quaternion)])


def _numbers(name: str, value: Any, number: int, of: str = "") -> Float[np.ndarray, " N"]:
    """That many finite numbers, or a `ValueError`."""
    found = np.asarray(value) if isinstance(value, tuple | list | np.ndarray) else None
    if found is None or found.shape != (number,) or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise ValueError(f"{name} must be {number} finite number{'s' * (number != 1)}{of}, got {value!r}")
    return np.asarray(found, float)


def _whole(poses: Any, bodies: int) -> Float[Array, "B 7"]:
    """Poses with their quaternions, checked."""
    poses = jnp.asarray(poses, float)
    if poses.ndim != 2 or poses.shape[1] not in (3, 7) or len(poses) < bodies:
        raise ValueError(
            f"poses of a figure must have shape [B, 7] or [B, 3] with B >= {bodies}, for the bodies that its shapes "
            f"name, got {poses.shape}"
        )
    if poses.shape[1] == 7:
        return poses
    return jnp.concatenate([poses, jnp.broadcast_to(jnp.array(UPRIGHT), (len(poses), 4))], axis=1)
