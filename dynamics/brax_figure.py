"""The figures of Brax environments, from the MuJoCo models that they were loaded from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .figures import Figure, Kind, Shape, Vector


def brax_figure(model: Any) -> Figure | None:
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
        # An arm is followed by its hand: one more body, without a shape, at the end of the chain.
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


def _rotate(quaternion: Float[Array, "4"], vector: Float[Array, "3"]) -> Float[Array, "3"]:
    # v + 2w (u × v) + 2 u × (u × v)
    turn = 2.0 * jnp.cross(quaternion[1:], vector)
    return vector + quaternion[0] * turn + jnp.cross(quaternion[1:], turn)
