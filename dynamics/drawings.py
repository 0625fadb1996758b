"""The figures of the classic models."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .figures import UPRIGHT, Figure, Quaternion, Shape, Vector

# One palette for the models that bring no colours of their own.
STEEL: Vector = (0.36, 0.40, 0.46)
BLUE: Vector = (0.15, 0.39, 0.92)
ORANGE: Vector = (0.95, 0.45, 0.12)
GREEN: Vector = (0.13, 0.64, 0.34)
SLATE: Vector = (0.58, 0.63, 0.70)

_TO_X: Quaternion = (0.5**0.5, 0.0, 0.5**0.5, 0.0)  # turns the z axis onto x
_TO_Y: Quaternion = (0.5**0.5, -(0.5**0.5), 0.0, 0.0)  # turns the z axis onto y


def pendulum_figure(length: float) -> Figure:
    """A rod that swings around a post.

    Args:
        length: of the rod, m.
    """
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


def acrobot_figure(first: float, second: float) -> Figure:
    """Two rods that swing from a post.

    Args:
        first: length of the upper rod, m.
        second: length of the lower rod, m.
    """
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


def cartpole_figure(lengths: tuple[float, ...], track: float) -> Figure:
    """Poles, one on the other, on a cart between the ends of a track.

    Args:
        lengths: of the poles, m.
        track: half of its length, m.
    """
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


def point_mass_figure(goal: Float[np.ndarray, "2"], obstacles: Float[np.ndarray, "N 3"]) -> Figure:
    """A point, its goal, and obstacles.

    Args:
        goal: its position, m.
        obstacles: rows of position and radius, m.
    """
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
