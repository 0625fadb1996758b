"""Rotations as quaternions (w, x, y, z) and as vectors axis · angle; all derivatives are finite at rest too."""

import jax.numpy as jnp
from jaxtyping import Array, Float

Quaternion = Float[Array, "*n 4"]
Vector = Float[Array, "*n 3"]

_SMALL = 1e-8  # squared angles, rad², below which series are exact to the last digit of float32
_SEAM = -0.7071  # cos(3π/4): beyond a rotation by 3π/2 the shorter way back is taken


def compose(p: Quaternion, q: Quaternion) -> Quaternion:
    """The rotation q, then p: the product p ⊗ q."""
    (pw, px, py, pz), (qw, qx, qy, qz) = jnp.moveaxis(p, -1, 0), jnp.moveaxis(q, -1, 0)
    return jnp.stack(
        [
            pw * qw - px * qx - py * qy - pz * qz,
            pw * qx + px * qw + py * qz - pz * qy,
            pw * qy - px * qz + py * qw + pz * qx,
            pw * qz + px * qy - py * qx + pz * qw,
        ],
        axis=-1,
    )


def inverse(q: Quaternion) -> Quaternion:
    """The rotation back."""
    return q * jnp.array([1.0, -1.0, -1.0, -1.0])


def rotate(q: Quaternion, v: Vector) -> Vector:
    """A vector turned by q: v + 2w (u × v) + 2 u × (u × v)."""
    w, u = q[..., :1], q[..., 1:]
    turn = 2.0 * jnp.cross(u, v)
    return v + w * turn + jnp.cross(u, turn)


def matrix(q: Quaternion) -> Float[Array, "*n 3 3"]:
    """The matrix of a rotation; its columns are the turned axes."""
    axes = jnp.eye(3)
    return jnp.stack([rotate(q, jnp.broadcast_to(axis, (*q.shape[:-1], 3))) for axis in axes], axis=-1)


def normalized(q: Quaternion) -> Quaternion:
    """The quaternion of unit length; one of zero length becomes no rotation, as in MuJoCo."""
    squared = (q * q).sum(-1, keepdims=True)
    zero = squared == 0
    return jnp.where(zero, jnp.eye(4)[0], q / jnp.sqrt(jnp.where(zero, 1.0, squared)))


def exponential(v: Vector) -> Quaternion:
    """The rotation about v by the angle |v|, rad: (cos |v|/2, v sin(|v|/2) / |v|)."""
    squared = (v * v).sum(-1, keepdims=True)
    small = squared < _SMALL
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    along = jnp.where(small, 0.5 - squared / 48.0, jnp.sin(0.5 * angle) / angle)
    return jnp.concatenate([jnp.where(small, 1.0 - squared / 8.0, jnp.cos(0.5 * angle)), v * along], axis=-1)


def logarithm(q: Quaternion) -> Vector:
    """The vector of a rotation, rad, the inverse of `exponential`.

    Quaternions that turn on smoothly, as engines give them, have vectors that go on smoothly to a length of 3π/2;
    beyond it the vector is that of the same rotation the other way about, so that there is no singularity.

    Args:
        q: of unit length.
    """
    q = jnp.where(q[..., :1] < _SEAM, -q, q)
    w, u = q[..., :1], q[..., 1:]
    squared = (u * u).sum(-1, keepdims=True)
    small = squared < _SMALL
    sine = jnp.sqrt(jnp.where(small, 1.0, squared))
    # angle / sin(angle / 2)
    factor = jnp.where(small, 2.0 + squared / 3.0, 2.0 * jnp.arctan2(sine, w) / sine)
    return u * factor
