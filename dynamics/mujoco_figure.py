"""The figures of MuJoCo models: the geoms of their files, meshes and colours included."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .figures import Figure, Kind, Shape, Vector
from .mujoco_file import FREE, SLIDE
from .rotations import rotate


def mujoco_figure(mj: Any, frames: Callable[[Any], tuple[Float[Array, "B 3"], Float[Array, "B 4"]]]) -> Figure | None:
    """The bodies of a MuJoCo model.

    Args:
        mj: a `mujoco.MjModel`.
        frames: state -> positions and quaternions of all bodies but the world.

    Returns:
        The figure; None where no body has a shape.
    """
    shapes = tuple(shape for i in range(mj.ngeom) if (shape := _geom(mj, i)) is not None)
    if not any(shape.body >= 0 for shape in shapes):
        return None

    roaming = _roams(mj)
    reach, tip = (0, (0.0, 0.0, 0.0)) if roaming else _end(mj, shapes)

    def poses(state: Any) -> Float[Array, "B 7"]:
        places, turns = frames(state)
        bodies = jnp.concatenate([places, turns], axis=-1)
        if roaming:
            return bodies
        # An arm is followed by its hand: one more body, without a shape, at the end of the chain.
        hand = places[reach] + rotate(turns[reach], jnp.array(tip))
        return jnp.concatenate([bodies, jnp.concatenate([hand, turns[reach]])[None]])

    return Figure(
        shapes=shapes,
        poses=poses,
        tracked=_tracked(mj) if roaming else mj.nbody - 1,
        follow=roaming,
        view=(0.45, -1.0, 0.42) if roaming else (0.35, -1.0, 0.65),
    )


_KINDS: dict[int, tuple[Kind, int]] = {  # mujoco.mjtGeom -> what it is, how many of its three sizes count
    0: ("plane", 2),
    1: ("mesh", 0),  # a height field
    2: ("sphere", 1),
    3: ("capsule", 2),
    4: ("ellipsoid", 3),
    5: ("cylinder", 2),
    6: ("box", 3),
    7: ("mesh", 0),
}
_HEIGHT_FIELD = 1
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
    if mj.geom_type[i] == _HEIGHT_FIELD:
        vertices, faces = _height_field(mj, int(mj.geom_dataid[i]))
    elif kind == "mesh":
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


def _height_field(mj: Any, number: int) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """The upper side of a height field as a mesh."""
    rows, columns, start = int(mj.hfield_nrow[number]), int(mj.hfield_ncol[number]), int(mj.hfield_adr[number])
    half_x, half_y, top, _ = mj.hfield_size[number]
    x, y = np.meshgrid(np.linspace(-half_x, half_x, columns), np.linspace(-half_y, half_y, rows))
    heights = top * np.asarray(mj.hfield_data[start : start + rows * columns], float)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = [corner, corner + 1, corner + columns + 1], [corner, corner + columns + 1, corner + columns]
    return np.stack([x.ravel(), y.ravel(), heights], axis=1), np.concatenate([np.stack(f, axis=1) for f in faces])


def _tracked(mj: Any) -> int:
    """The row of the first body that moves."""
    return next((body - 1 for body in range(1, mj.nbody) if mj.body_jntnum[body]), 0)


def _roams(mj: Any) -> bool:
    """Whether the first body that moves can go anywhere: it is free, or slides along two axes at least."""
    first = _tracked(mj) + 1
    joints = [int(kind) for kind, body in zip(mj.jnt_type, mj.jnt_bodyid, strict=True) if body == first]
    return FREE in joints or joints.count(SLIDE) >= 2


def _end(mj: Any, shapes: tuple[Shape, ...]) -> tuple[int, Vector]:
    """The last body of the deepest chain from the first one, and the point on it farthest from its joint."""
    depth = {0: 0}
    for body in range(1, mj.nbody):
        depth[body] = depth[int(mj.body_parentid[body])] + 1
    last = max(depth, key=lambda body: (depth[body], body)) - 1
    tip = np.zeros(3)
    for shape in shapes:
        if shape.body == last:
            along = np.zeros(3)
            if shape.kind in ("capsule", "cylinder"):
                along = np.asarray(rotate(jnp.array(shape.quaternion), jnp.array([0.0, 0.0, shape.size[1]])))
            ends = np.array(shape.position) + np.stack([along, -along])
            tip = max(tip, *ends, key=lambda point: float(np.linalg.norm(point)))
    return last, _vector(tip)


def _vector(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
