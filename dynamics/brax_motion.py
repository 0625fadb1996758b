"""How fast the links of a Brax robot move, and how far they are from the robot's reference pose."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Vectors = Float[Array, "L 3"]


def squared_speed(sys: Any, physics: Any) -> Float[Array, ""]:
    """The mean over all links of the squared speed of their centres of mass, (m/s)².

    Args:
        sys: `brax.base.System`; None for an environment without, whose links have their centres where they begin.
        physics: a state of one of Brax's engines.
    """
    velocities = physics.xd.vel
    if sys is not None:
        velocities += jnp.cross(physics.xd.ang, _levers(sys, physics.x))
    return (velocities**2).sum(-1).mean()


def squared_displacement(sys: Any, physics: Any) -> Float[Array, ""]:
    """The mean over all links of the squared distance from the reference pose `sys.init_q`, m².

    Poses are seen from the first link: where on the ground a robot is that can go anywhere does not count, nor, for
    one that can turn about, where it is heading. On a rail that ends, as of the pendulums' carts, the place counts.

    Args:
        sys: `brax.base.System`.
        physics: a state of one of Brax's engines.
    """
    from brax import kinematics

    reference, _ = kinematics.forward(sys, sys.init_q, jnp.zeros(sys.qd_size()))
    return ((_seen(sys, physics.x) - _seen(sys, reference)) ** 2).sum(-1).mean()


def _levers(sys: Any, x: Any) -> Vectors:
    """From where links begin to their centres of mass, in the world's axes."""
    from brax import math

    return jax.vmap(math.rotate)(sys.link.inertia.transform.pos, x.rot)


def _seen(sys: Any, x: Any) -> Vectors:
    """The centres of mass, seen from above the first link."""
    centres = x.pos + _levers(sys, x) - x.pos[0] * _roams(sys)
    if sys.link_types[0] != "f":
        return centres
    w, i, j, k = x.rot[0]
    # the heading φ: where the first link's x axis points, on the ground
    ahead = jnp.stack([1.0 - 2.0 * (j * j + k * k), 2.0 * (i * j + w * k)])
    cos, sin = ahead / jnp.sqrt((ahead**2).sum() + jnp.finfo(ahead.dtype).eps)
    return centres @ jnp.stack([jnp.stack([cos, -sin, 0 * cos]), jnp.stack([sin, cos, 0 * cos]), jnp.eye(3)[2]])


def _roams(sys: Any) -> Float[Array, "3"]:
    """1 for each direction on the ground in which the first link can go as far as it likes, else 0."""
    ground = jnp.array([1.0, 1.0, 0.0])
    if sys.link_types[0] == "f":
        return ground
    directions = jnp.abs(sys.dof.motion.vel[: int(sys.link_types[0])]) > 0.0
    if sys.dof.limit is not None:
        low, high = (limit[: len(directions)] for limit in sys.dof.limit)
        directions &= jnp.isinf(low)[:, None] & jnp.isinf(high)[:, None]
    return ground * directions.any(0)
