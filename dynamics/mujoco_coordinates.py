"""The state of a MuJoCo model as a vector, rotations on their tangent space."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .mujoco_file import BALL, FREE, SLIDE, names_of, told_apart
from .rotations import compose, exponential, inverse, logarithm, normalized

_AXES = ("x", "y", "z")


def to_tangent(mj: Any, qpos: Float[Array, " q"]) -> Float[Array, " v"]:
    """Positions as displacements from the file's reference pose: of quaternions the rotation vector, rad.

    Args:
        mj: a `mujoco.MjModel`.
        qpos: [nq].
    """
    if mj.nq == mj.nv:
        return qpos
    parts = []
    for joint in range(mj.njnt):
        kind, start = int(mj.jnt_type[joint]), int(mj.jnt_qposadr[joint])
        if kind == FREE:
            parts.append(qpos[start : start + 3])
            start += 3
        if kind in (FREE, BALL):
            reference = normalized(jnp.asarray(mj.qpos0[start : start + 4], float))
            parts.append(logarithm(compose(inverse(reference), normalized(qpos[start : start + 4]))))
        else:
            parts.append(qpos[start : start + 1])
    return jnp.concatenate(parts)


def from_tangent(mj: Any, x: Float[Array, " v"]) -> Float[Array, " q"]:
    """The positions of displacements, the inverse of `to_tangent`."""
    if mj.nq == mj.nv:
        return x
    parts = []
    for joint in range(mj.njnt):
        kind, start, place = (int(a[joint]) for a in (mj.jnt_type, mj.jnt_dofadr, mj.jnt_qposadr))
        if kind == FREE:
            parts.append(x[start : start + 3])
            start, place = start + 3, place + 3
        if kind in (FREE, BALL):
            reference = normalized(jnp.asarray(mj.qpos0[place : place + 4], float))
            parts.append(compose(reference, exponential(x[start : start + 3])))
        else:
            parts.append(x[start : start + 1])
    return jnp.concatenate(parts)


def integrated(
    mj: Any, qpos: Float[Array, " q"], qvel: Float[Array, " v"], dt: Float[Array, ""]
) -> Float[Array, " q"]:
    """Positions after a time of constant velocities, with derivatives at rest too, where MJX's own are 0."""
    if mj.nq == mj.nv:
        return qpos + dt * qvel
    parts = []
    for joint in range(mj.njnt):
        kind, q, v = (int(a[joint]) for a in (mj.jnt_type, mj.jnt_qposadr, mj.jnt_dofadr))
        if kind == FREE:
            parts.append(qpos[q : q + 3] + dt * qvel[v : v + 3])
            q, v = q + 3, v + 3
        if kind in (FREE, BALL):
            turned = compose(qpos[q : q + 4], exponential(dt * qvel[v : v + 3]))
            parts.append(normalized(turned))
        else:
            parts.append(qpos[q : q + 1] + dt * qvel[v : v + 1])
    return jnp.concatenate(parts)


def names(mj: Any) -> tuple[str, ...]:
    """What the coordinates are called: displacements of all joints, their speeds, and activations of actuators."""
    labels = told_apart([name or f"joint {i}" for i, name in enumerate(names_of(mj, "joint"))])
    places: list[str] = []
    speeds: list[str] = []
    for name, kind in zip(labels, np.asarray(mj.jnt_type), strict=True):
        if kind == FREE:
            places += [f"{name}: {axis} (m)" for axis in _AXES]
            speeds += [f"{name}: velocity {axis} (m/s)" for axis in _AXES]
        if kind in (FREE, BALL):
            places += [f"{name}: rotation {axis} (rad)" for axis in _AXES]
            speeds += [f"{name}: angular velocity {axis} (rad/s)" for axis in _AXES]
        else:
            unit = "m" if kind == SLIDE else "rad"
            places.append(f"position: {name} (m)" if kind == SLIDE else f"angle: {name} (rad)")
            speeds.append(f"speed: {name} ({unit}/s)")
    return (*places, *speeds, *(f"activation {i}" for i in range(mj.na)))
