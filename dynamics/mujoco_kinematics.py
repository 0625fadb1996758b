"""Where the bodies of a MuJoCo model are, by its joints: forward kinematics in JAX, as MuJoCo's `mj_kinematics`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .mujoco_file import BALL, FREE, SLIDE
from .rotations import compose, exponential, normalized, rotate


class Frames(NamedTuple):
    """Frames in the world, m; of N bodies, the world first, G geoms and S sites.

    Attributes:
        xpos: of bodies, [N, 3].
        xquat: [N, 4].
        xipos: their centres of mass, [N, 3].
        geom_xpos: [G, 3].
        geom_xquat: [G, 4].
        site_xpos: [S, 3].
        site_xquat: [S, 4].
    """

    xpos: Float[Array, "N 3"]
    xquat: Float[Array, "N 4"]
    xipos: Float[Array, "N 3"]
    geom_xpos: Float[Array, "G 3"]
    geom_xquat: Float[Array, "G 4"]
    site_xpos: Float[Array, "S 3"]
    site_xquat: Float[Array, "S 4"]


def frames(
    mj: Any,
    qpos: Float[Array, " q"],
    mocap_pos: Float[Array, "m 3"] | None = None,
    mocap_quat: Float[Array, "m 4"] | None = None,
) -> Frames:
    """The frames of all bodies, geoms and sites.

    Args:
        mj: a `mujoco.MjModel`.
        qpos: of the joints.
        mocap_pos: of bodies that are moved from outside, m; None for where the file puts them.
        mocap_quat: likewise.
    """
    places: list[Any] = [jnp.zeros(3)]
    turns: list[Any] = [jnp.eye(4)[0]]
    for body in range(1, mj.nbody):
        parent, mocap = int(mj.body_parentid[body]), int(mj.body_mocapid[body])
        joints = range(int(mj.body_jntadr[body]), int(mj.body_jntadr[body]) + int(mj.body_jntnum[body]))
        place, turn = jnp.asarray(mj.body_pos[body], float), jnp.asarray(mj.body_quat[body], float)
        if mocap >= 0 and mocap_pos is not None and mocap_quat is not None:
            place, turn = mocap_pos[mocap], normalized(mocap_quat[mocap])
        elif [int(mj.jnt_type[joint]) for joint in joints] == [FREE]:
            start = int(mj.jnt_qposadr[joints[0]])
            places.append(qpos[start : start + 3])
            turns.append(normalized(qpos[start + 3 : start + 7]))
            continue
        place = places[parent] + rotate(turns[parent], place)
        turn = compose(turns[parent], turn)
        for joint in joints:
            place, turn = _moved(mj, joint, qpos, place, turn)
        places.append(place)
        turns.append(normalized(turn))
    xpos, xquat = jnp.stack(places), jnp.stack(turns)

    def attached(bodies: Any, offset: Any, turned: Any = None) -> tuple[Array, Array]:
        bodies = np.asarray(bodies)
        place = xpos[bodies] + rotate(xquat[bodies], jnp.asarray(offset, float))
        return place, xquat[bodies] if turned is None else compose(xquat[bodies], jnp.asarray(turned, float))

    xipos, _ = attached(np.arange(mj.nbody), mj.body_ipos)
    geoms = attached(mj.geom_bodyid, mj.geom_pos, mj.geom_quat)
    sites = attached(mj.site_bodyid, mj.site_pos, mj.site_quat)
    return Frames(xpos, xquat, xipos, *geoms, *sites)


def _moved(mj: Any, joint: int, qpos: Array, place: Array, turn: Array) -> tuple[Array, Array]:
    """The frame of a body after one of its joints."""
    kind, start = int(mj.jnt_type[joint]), int(mj.jnt_qposadr[joint])
    anchor, axis = jnp.asarray(mj.jnt_pos[joint], float), jnp.asarray(mj.jnt_axis[joint], float)
    if kind == SLIDE:
        return place + rotate(turn, axis) * (qpos[start] - float(mj.qpos0[start])), turn
    fixed = place + rotate(turn, anchor)
    if kind == BALL:
        own = normalized(qpos[start : start + 4])
    else:
        own = exponential(axis * (qpos[start] - float(mj.qpos0[start])))
    turn = compose(turn, own)
    return fixed - rotate(turn, anchor), turn


def subtree_com(mj: Any, xipos: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """The centre of mass of each body with all that hangs on it, [N, 3]; where there is no mass, of the body."""
    member = np.eye(mj.nbody)
    for body in range(mj.nbody - 1, 0, -1):
        member[int(mj.body_parentid[body])] += member[body]
    weights = member * np.asarray(mj.body_mass)
    total = weights.sum(1, keepdims=True)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), np.eye(mj.nbody))
    return jnp.matmul(jnp.asarray(weights, float), xipos, precision="highest")


def velocities(mj: Any, qpos: Float[Array, " q"], qvel: Float[Array, " v"]) -> Float[Array, "N 3"]:
    """The velocities of the centres of mass of all bodies, m/s."""
    start = jax.eval_shape(lambda qpos: frames(mj, qpos).xipos, qpos)
    if start.size == 0:
        return jnp.zeros(start.shape)
    return jax.jvp(lambda qpos: frames(mj, qpos).xipos, (qpos,), (_rates(mj, qpos, qvel),))[1]


def _rates(mj: Any, qpos: Array, qvel: Array) -> Array:
    """How fast the entries of qpos change: q̇ = ½ q ⊗ (0, ω) of quaternions."""
    rates = jnp.zeros_like(qpos)
    for joint in range(mj.njnt):
        kind, q, v = (int(x[joint]) for x in (mj.jnt_type, mj.jnt_qposadr, mj.jnt_dofadr))
        if kind == FREE:
            rates, q, v = rates.at[q : q + 3].set(qvel[v : v + 3]), q + 3, v + 3
        if kind in (FREE, BALL):
            spin = jnp.concatenate([jnp.zeros(1), qvel[v : v + 3]])
            rates = rates.at[q : q + 4].set(0.5 * compose(normalized(qpos[q : q + 4]), spin))
        else:
            rates = rates.at[q].set(qvel[v])
    return rates
