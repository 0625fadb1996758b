"""Two poles, one on the other, on a cart to swing up within the ends of its track."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Step
from .checks import real
from .drawings import cartpole_figure
from .figures import Figure
from .integration import rk4
from .pytrees import pytree
from .rods import TwoRods
from .track import OnTrack


@pytree
class DoubleCartPole(OnTrack):
    """Two uniform poles, the first hinged on a cart that a bounded force drives, the second on its tip.

    State [6]: cart position x (m), both poles' angles θ from upright (rad, counter-clockwise), ẋ (m/s), θ̇ (rad/s).
    Make one with `double_cartpole`.

    Attributes:
        cart_mass: kg.
        poles: masses and lengths.
        gravity: m/s².
        max_force: what an action of ±1 stands for, N.
        track: the episode ends where |x| exceeds it, m.
        dt: s.
    """

    cart_mass: Float[Array, ""]
    poles: TwoRods
    gravity: Float[Array, ""]
    max_force: Float[Array, ""]
    track: Float[Array, ""]
    dt: Float[Array, ""]

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """What a state is made of."""
        return (
            "cart position (m)",
            "lower pole angle (rad)",
            "upper pole angle (rad)",
            "cart velocity (m/s)",
            "lower pole rate (rad/s)",
            "upper pole rate (rad/s)",
        )

    def init(self, key: PRNGKeyArray) -> Float[Array, "6"]:
        """Hanging down at the centre, up to 0.05 off in each coordinate."""
        down = jnp.array([0.0, jnp.pi, jnp.pi, 0.0, 0.0, 0.0])
        return down + jax.random.uniform(key, (6,), minval=-0.05, maxval=0.05)

    def step(self, key: PRNGKeyArray, state: Float[Array, "6"], action: Float[Array, "1"]) -> Step:
        """Apply the force for `dt`.

        The reward, in [0, 1], is the product of upright (2 + cos θ₁ + cos θ₂)/4, centred (1 + exp(−4x²/track²))/2 and
        calm (1 + exp(−|θ̇|²/50))/2: nothing is gained by ending early.
        """
        del key
        force = self.to_actuators(action)[0]
        levers = self.poles.moments()

        def derivative(state: Float[Array, "6"]) -> Float[Array, "6"]:
            angles, rates = state[1:3], state[4:]
            # counter-clockwise angles: what leans to the left pulls the cart to the left
            lean = -levers * jnp.cos(angles)
            mass = jnp.block(
                [
                    [(self.cart_mass + self.poles.masses.sum()).reshape(1, 1), lean[None]],
                    [lean[:, None], self.poles.inertia(angles)],
                ]
            )
            push = force - (levers * jnp.sin(angles) * rates**2).sum()
            forces = jnp.append(push, self.poles.forces(angles, rates, self.gravity))
            return jnp.concatenate([state[3:], jnp.linalg.solve(mass, forces)])

        x, first, second = state[:3]
        upright = (2.0 + jnp.cos(first) + jnp.cos(second)) / 4.0
        centred = (1.0 + jnp.exp(-4.0 * (x / self.track) ** 2)) / 2.0
        calm = (1.0 + jnp.exp(-(state[4:] ** 2).sum() / 50.0)) / 2.0
        state = rk4(derivative, state, self.dt)
        return Step(state, upright * centred * calm, jnp.where(self.left(state), 0.0, 1.0))

    def value(self, state: Float[Array, "6"]) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def mean_squared_speed(self, state: Float[Array, "6"]) -> Float[Array, ""]:
        """Of cart and poles, (m/s)² and (rad/s)²."""
        return (state[3:] ** 2).mean()

    def mean_squared_displacement(self, state: Float[Array, "6"]) -> Float[Array, ""]:
        """Of both poles from upright, rad² where small: (2 sin ½θ)²."""
        return ((2.0 * jnp.sin(0.5 * state[1:3])) ** 2).mean()

    def figure(self) -> Figure:
        """How it looks."""
        return cartpole_figure(tuple(float(length) for length in self.poles.lengths), float(self.track))


def double_cartpole(
    *,
    cart_mass: Any = 1.0,
    pole_masses: Any = 0.1,
    pole_lengths: Any = 0.5,
    gravity: Any = 9.81,
    max_force: Any = 20.0,
    track: Any = 3.0,
    dt: Any = 0.02,
) -> DoubleCartPole:
    """Make the double cart-pole swing-up task.

    Args:
        cart_mass: kg, > 0.
        pole_masses: of both poles, scalar or [2], kg, > 0.
        pole_lengths: of both poles, from hinge to tip, scalar or [2], m, > 0.
        gravity: m/s².
        max_force: N, > 0.
        track: the cart's reach to either side, m, > 0.
        dt: s, > 0.

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter outside its range.
    """
    poles = TwoRods(
        real("pole_masses", pole_masses, above=0.0, shape=(2,)),
        real("pole_lengths", pole_lengths, above=0.0, shape=(2,)),
    )
    return DoubleCartPole(
        cart_mass=real("cart_mass", cart_mass, above=0.0),
        poles=poles,
        gravity=real("gravity", gravity),
        max_force=real("max_force", max_force, above=0.0),
        track=real("track", track, above=0.0),
        dt=real("dt", dt, above=0.0),
    )
