"""How a model looks: the shapes of its bodies and where a state puts them. Knows nothing of any viewer."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mirrax.dynamics import Acrobot, BraxModel, CartPole, DoubleCartPole, Ensemble, Pendulum, PointMass, Wrapper

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Kind = Literal["sphere", "ellipsoid", "capsule", "cylinder", "box", "plane", "mesh"]

WORLD = -1
UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)

# One palette for the models that bring no colours of their own.
STEEL: Vector = (0.36, 0.40, 0.46)
BLUE: Vector = (0.15, 0.39, 0.92)
ORANGE: Vector = (0.95, 0.45, 0.12)
GREEN: Vector = (0.13, 0.64, 0.34)
SLATE: Vector = (0.58, 0.63, 0.70)


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
        poses: state -> [B, 7], the world position (m) and quaternion (w, x, y, z) of each body; traceable.
        tracked: the body whose planned path is drawn and that the camera follows.
        follow: whether the camera goes along with it; if not, it frames the whole scene.
        view: direction from what is looked at to the camera, in the world, z up; any length.
    """

    shapes: tuple[Shape, ...]
    poses: Callable[[Any], Float[Array, "B 7"]]
    tracked: int = 0
    follow: bool = False
    view: Vector = (0.5, -1.0, 0.45)


def figure(model: Any) -> Figure | None:
    """Say how a model looks.

    Args:
        model: any model; of a wrapper (`dynamics.Wrapper`) the one inside, of an ensemble its first member.

    Returns:
        Its figure, for states of that model; None if it has no looks.
    """
    match model:
        case BraxModel():
            return _brax(model)
        case Pendulum():
            return _pendulum(float(model.length))
        case CartPole():
            return _cartpole((float(model.length),), float(model.track))
        case Acrobot():
            return _acrobot(*(float(length) for length in model.rods.lengths))
        case DoubleCartPole():
            return _cartpole(tuple(float(length) for length in model.poles.lengths), float(model.track))
        case PointMass():
            return _point_mass(np.asarray(model.goal, float), np.asarray(model.obstacles, float))
        case Ensemble():
            return figure(model.member(0))
        case Wrapper():
            inside = figure(model.model)
            if inside is None:
                return None
            return dataclasses.replace(inside, poses=lambda state: inside.poses(model.inner(state)))
    return None


def _pendulum(length: float) -> Figure:
    rod, bob = 0, 1

    def poses(state: Float[Array, "2"]) -> Float[Array, "2 7"]:
        return _swing(jnp.zeros(3), state[0], length)

    post = 0.17 * length  # how far its middle stands behind the rod
    half = 0.675 * length
    return Figure(
        shapes=(
            Shape("plane", (0.0, 0.0), SLATE, position=(0.0, 0.0, -2.0 * half)),
            Shape("box", (0.10 * length, 0.05 * length, half), SLATE, position=(0.0, post, -half)),
            Shape("cylinder", (0.10 * length, 0.05 * length), SLATE, position=(0.0, post, 0.0), quaternion=_TO_Y),
            Shape("cylinder", (0.055 * length, 0.12 * length), STEEL, quaternion=_TO_Y),
            Shape("capsule", (0.025 * length, length / 2), STEEL, body=rod, position=(0.0, 0.0, length / 2)),
            Shape("sphere", (0.11 * length,), ORANGE, body=bob),
        ),
        poses=poses,
        tracked=bob,
        view=(0.25, -1.0, 0.16),
    )


def _acrobot(first: float, second: float) -> Figure:
    upper, lower, tip = 0, 1, 2
    reach = first + second

    def poses(state: Float[Array, "4"]) -> Float[Array, "3 7"]:
        return _chain(jnp.zeros(3), state[:2], (first, second))

    thick, post = 0.02 * reach, 0.09 * reach  # how far its middle stands behind the rods
    half = 0.55 * reach
    front = -0.05 * reach  # of the second rod, so that both are seen where they are folded
    return Figure(
        shapes=(
            Shape("plane", (0.0, 0.0), SLATE, position=(0.0, 0.0, -2.0 * half)),
            Shape("box", (0.05 * reach, 0.025 * reach, half), SLATE, position=(0.0, post, -half)),
            Shape("cylinder", (0.05 * reach, 0.025 * reach), SLATE, position=(0.0, post, 0.0), quaternion=_TO_Y),
            Shape("cylinder", (1.6 * thick, 0.06 * reach), STEEL, quaternion=_TO_Y),
            Shape("capsule", (thick, first / 2), BLUE, body=upper, position=(0.0, 0.0, first / 2)),
            Shape("cylinder", (1.6 * thick, 0.05 * reach), STEEL, body=lower, quaternion=_TO_Y),
            Shape("capsule", (thick, second / 2), ORANGE, body=lower, position=(0.0, front, second / 2)),
        ),
        poses=poses,
        tracked=tip,
        view=(0.25, -1.0, 0.16),
    )


def _cartpole(lengths: tuple[float, ...], track: float) -> Figure:
    cart, tip, length = 0, 1 + len(lengths), sum(lengths)

    def poses(state: Float[Array, " n"]) -> Float[Array, "B 7"]:
        hinge = jnp.zeros(3).at[0].set(state[0])
        still = jnp.concatenate([hinge, jnp.array(UPRIGHT)])
        return jnp.concatenate([still[None], _chain(hinge, state[1:tip], lengths)])

    end, height = 0.03 * length, 1.35 * length
    cart_size = (0.17 * length, 0.10 * length, 0.09 * length)
    front = -cart_size[1] - 0.05 * length  # before the cart, so that a hanging pole is not hidden
    reach = track + cart_size[0] + end
    posts = [
        Shape("box", size, colour, position=(side * reach, 0.0, z))
        for side in (-1.0, 1.0)
        for size, colour, z in (
            ((end, 0.13 * length, 0.13 * length), STEEL, 0.0),
            ((end, end, height / 2), SLATE, -height / 2),
        )
    ]
    axle = (0.045 * length, 0.10 * length)
    poles = []
    for number, (own, colour) in enumerate(zip(lengths, (ORANGE, STEEL), strict=False)):
        position = (0.0, front * (1.0 + 0.5 * number), own / 2)  # one before the other, where they are folded
        poles.append(Shape("capsule", (0.03 * length, own / 2), colour, body=1 + number, position=position))
    return Figure(
        shapes=(
            Shape("plane", (0.0, 0.0), SLATE, position=(0.0, 0.0, -height)),
            Shape("capsule", (0.025 * length, reach), SLATE, quaternion=_TO_X),
            *posts,
            Shape("box", cart_size, BLUE, body=cart),
            Shape("cylinder", axle, STEEL, body=cart, position=(0.0, front, 0.0), quaternion=_TO_Y),
            *poles,
        ),
        poses=poses,
        tracked=tip,
        view=(0.12, -1.0, 0.18),
    )


def _point_mass(goal: Float[np.ndarray, "2"], obstacles: Float[np.ndarray, "N 3"]) -> Figure:
    # What there is decides how thick a point must be drawn to be seen.
    reach = float(max(1.0, *np.abs(goal), *(np.abs(obstacles[:, :2]).max(axis=1) + obstacles[:, 2])))
    radius = 0.035 * reach

    def poses(state: Float[Array, "4"]) -> Float[Array, "1 7"]:
        return jnp.concatenate([state[:2], jnp.array([radius, *UPRIGHT])])[None]

    x, y = goal.tolist()
    return Figure(
        shapes=(
            Shape("plane", (0.0, 0.0), SLATE),
            Shape("cylinder", (3.0 * radius, 0.08 * radius), GREEN, 0.45, position=(x, y, 0.08 * radius)),
            Shape("cylinder", (1.0 * radius, 0.16 * radius), GREEN, position=(x, y, 0.16 * radius)),
            *(
                Shape("cylinder", (r, 1.2 * radius), STEEL, position=(x, y, 1.2 * radius))
                for x, y, r in obstacles.tolist()
            ),
            Shape("sphere", (radius,), ORANGE, body=0),
        ),
        poses=poses,
        view=(0.0, -0.75, 1.0),
    )


def _brax(model: Any) -> Figure | None:
    """The bodies of the MuJoCo model that Brax loaded; Brax numbers them as MuJoCo, but without the world."""
    env = getattr(model.env, "unwrapped", model.env)
    mj = getattr(getattr(env, "sys", None), "mj_model", None)
    if mj is None:
        return None
    state = jax.eval_shape(model.init, jax.random.key(0))
    transforms = getattr(getattr(state, "pipeline_state", None), "x", None)
    if getattr(getattr(transforms, "pos", None), "shape", None) != (mj.nbody - 1, 3):
        return None
    shapes = tuple(shape for i in range(mj.ngeom) if (shape := _geom(mj, i)) is not None)
    if not any(shape.body >= 0 for shape in shapes):
        return None

    roaming = _roams(mj)
    reach, tip = (0, (0.0, 0.0, 0.0)) if roaming else _end(mj, shapes)

    def poses(state: Any) -> Float[Array, "B 7"]:
        x = state.pipeline_state.x
        bodies = jnp.concatenate([x.pos, x.rot], axis=-1)
        if roaming:
            return bodies
        # An arm is told by its hand: one more body, without a shape, at the end of the chain.
        hand = x.pos[reach] + _rotate(x.rot[reach], jnp.array(tip))
        return jnp.concatenate([bodies, jnp.concatenate([hand, x.rot[reach]])[None]])

    return Figure(
        shapes=shapes,
        poses=poses,
        tracked=0 if roaming else mj.nbody - 1,
        follow=roaming,
        view=(0.45, -1.0, 0.42) if roaming else (0.35, -1.0, 0.65),
    )


_KINDS: dict[int, tuple[Kind, int]] = {  # mujoco.mjtGeom -> what it is, how many of its three sizes count
    0: ("plane", 2),
    2: ("sphere", 1),
    3: ("capsule", 2),
    4: ("ellipsoid", 3),
    5: ("cylinder", 2),
    6: ("box", 3),
    7: ("mesh", 0),
}
_HIDDEN_GROUP = 3  # MuJoCo's viewers, too, leave out the geom groups from here on: collision hulls


def _geom(mj: Any, i: int) -> Shape | None:
    if int(mj.geom_type[i]) not in _KINDS or mj.geom_group[i] >= _HIDDEN_GROUP:
        return None
    kind, num_sizes = _KINDS[int(mj.geom_type[i])]
    rgba = mj.geom_rgba[i]
    # MuJoCo's rule: a geom's own colour, if it is not the default grey, overrides that of its material.
    if mj.geom_matid[i] >= 0 and np.allclose(rgba, (0.5, 0.5, 0.5, 1.0)):
        rgba = mj.mat_rgba[mj.geom_matid[i]]
    if rgba[3] <= 0.0:
        return None
    vertices = faces = None
    if kind == "mesh":
        mesh = mj.geom_dataid[i]
        start, count = mj.mesh_vertadr[mesh], mj.mesh_vertnum[mesh]
        vertices = np.array(mj.mesh_vert[start : start + count], float)
        start, count = mj.mesh_faceadr[mesh], mj.mesh_facenum[mesh]
        faces = np.array(mj.mesh_face[start : start + count], int)
    return Shape(
        kind=kind,
        size=tuple(float(size) for size in mj.geom_size[i][:num_sizes]),
        rgb=_vector(rgba[:3]),
        opacity=float(rgba[3]),
        body=int(mj.geom_bodyid[i]) - 1,
        position=_vector(mj.geom_pos[i]),
        quaternion=(float(mj.geom_quat[i][0]), *_vector(mj.geom_quat[i][1:])),
        vertices=vertices,
        faces=faces,
    )


def _roams(mj: Any) -> bool:
    """Whether the first body can go anywhere: it is free, or slides along two axes at least."""
    free, slide = 0, 2  # mujoco.mjtJoint
    joints = [int(kind) for kind, body in zip(mj.jnt_type, mj.jnt_bodyid, strict=True) if body == 1]
    return free in joints or joints.count(slide) >= 2


def _end(mj: Any, shapes: tuple[Shape, ...]) -> tuple[int, Vector]:
    """The last body of the deepest chain from the first one, and the point on it farthest from its joint."""
    depth = {1: 1}
    for body in range(2, mj.nbody):
        parent = int(mj.body_parentid[body])
        if parent in depth:
            depth[body] = depth[parent] + 1
    last = max(depth, key=lambda body: (depth[body], body)) - 1
    tip = np.zeros(3)
    for shape in shapes:
        if shape.body == last:
            along = np.zeros(3)
            if shape.kind in ("capsule", "cylinder"):
                along = np.asarray(_rotate(jnp.array(shape.quaternion), jnp.array([0.0, 0.0, shape.size[1]])))
            ends = np.array(shape.position) + np.stack([along, -along])
            tip = max(tip, *ends, key=lambda point: float(np.linalg.norm(point)))
    return last, _vector(tip)


def _vector(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


_TO_X: Quaternion = (0.5**0.5, 0.0, 0.5**0.5, 0.0)  # turns the z axis onto x
_TO_Y: Quaternion = (0.5**0.5, -(0.5**0.5), 0.0, 0.0)  # turns the z axis onto y


def _swing(hinge: Float[Array, "3"], angle: Float[Array, ""], length: float) -> Float[Array, "2 7"]:
    """A rod in the x-z plane, turned counter-clockwise as seen from −y, and the body at its end."""
    quaternion = jnp.stack([jnp.cos(angle / 2), jnp.zeros(()), -jnp.sin(angle / 2), jnp.zeros(())])
    tip = hinge + length * jnp.stack([-jnp.sin(angle), jnp.zeros(()), jnp.cos(angle)])
    return jnp.stack([jnp.concatenate([hinge, quaternion]), jnp.concatenate([tip, quaternion])])


def _chain(hinge: Float[Array, "3"], angles: Float[Array, " N"], lengths: tuple[float, ...]) -> Float[Array, "B 7"]:
    """Rods in the x-z plane, each hinged to the tip of the one before, and the body at the end of the last."""
    rods = []
    for angle, length in zip(angles, lengths, strict=True):
        rod, tip = _swing(hinge, angle, length)
        rods.append(rod)
        hinge = tip[:3]
    return jnp.stack([*rods, tip])


def _rotate(quaternion: Float[Array, "4"], vector: Float[Array, "3"]) -> Float[Array, "3"]:
    # v + 2w (u × v) + 2 u × (u × v)
    turn = 2.0 * jnp.cross(quaternion[1:], vector)
    return vector + quaternion[0] * turn + jnp.cross(quaternion[1:], turn)
