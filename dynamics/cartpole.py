"""A pole on a cart to swing up within the ends of its track."""

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
from .track import OnTrack


@pytree
class CartPole(OnTrack):
    """A uniform pole hinged on a cart that a bounded force drives (Barto, Sutton & Anderson, 1983; no friction).

    State [4]: cart position x (m), angle θ from upright (rad, counter-clockwise), ẋ (m/s), θ̇ (rad/s).
    Make one with `cartpole`.

    Attributes:
        cart_mass: kg.
        pole_mass: kg.
        length: of the pole, from hinge to tip, m.
        gravity: m/s².
        max_force: what an action of ±1 stands for, N.
        track: the episode ends where |x| exceeds it, m.
        dt: s.
    """

    cart_mass: Float[Array, ""]
    pole_mass: Float[Array, ""]
    length: Float[Array, ""]
    gravity: Float[Array, ""]
    max_force: Float[Array, ""]
    track: Float[Array, ""]
    dt: Float[Array, ""]

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """What a state is made of."""
        return ("cart position (m)", "pole angle (rad)", "cart velocity (m/s)", "pole rate (rad/s)")

    def init(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        """Hanging down at the centre, up to 0.05 off in each coordinate."""
        return jnp.array([0.0, jnp.pi, 0.0, 0.0]) + jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)

    def step(self, key: PRNGKeyArray, state: Float[Array, "4"], action: Float[Array, "1"]) -> Step:
        """Apply the force for `dt`.

        The reward, in [0, 1], is the product of upright (1 + cos θ)/2, centred (1 + exp(−4x²/track²))/2 and calm
        (1 + exp(−θ̇²/25))/2: nothing is gained by ending early.
        """
        del key
        force = self.to_actuators(action)[0]
        total = self.cart_mass + self.pole_mass
        half = 0.5 * self.length

        def derivative(state: Float[Array, "4"]) -> Float[Array, "4"]:
            _, angle, velocity, spin = state
            sin, cos = jnp.sin(angle), jnp.cos(angle)
            # counter-clockwise angle: the pole's centre of mass sits at x − half · sin θ
            push = (force - self.pole_mass * half * spin**2 * sin) / total
            angular = (self.gravity * sin + cos * push) / (half * (4.0 / 3.0 - self.pole_mass * cos**2 / total))
            return jnp.stack([velocity, spin, push + self.pole_mass * half * angular * cos / total, angular])

        x, angle, _, spin = state
        upright = (1.0 + jnp.cos(angle)) / 2.0
        centred = (1.0 + jnp.exp(-4.0 * (x / self.track) ** 2)) / 2.0
        calm = (1.0 + jnp.exp(-((spin / 5.0) ** 2))) / 2.0
        state = rk4(derivative, state, self.dt)
        return Step(state, upright * centred * calm, jnp.where(self.left(state), 0.0, 1.0))

    def value(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def mean_squared_speed(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Of cart and pole, (m/s)² and (rad/s)²."""
        return (state[2:] ** 2).mean()

    def mean_squared_displacement(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Of the pole from upright, rad² where small: (2 sin ½θ)²."""
        return ((2.0 * jnp.sin(0.5 * state[1:2])) ** 2).mean()

    def figure(self) -> Figure:
        """How it looks."""
        return cartpole_figure((float(self.length),), float(self.track))


def cartpole(
    *,
    cart_mass: Any = 1.0,
    pole_mass: Any = 0.1,
    length: Any = 1.0,
    gravity: Any = 9.81,
    max_force: Any = 10.0,
    track: Any = 2.4,
    dt: Any = 0.05,
) -> CartPole:
    """Make the cart-pole swing-up task.

    Args:
        cart_mass: kg, > 0.
        pole_mass: kg, > 0.
        length: of the pole, from hinge to tip, m, > 0.
        gravity: m/s².
        max_force: N, > 0.
        track: the cart's reach to either side, m, > 0.
        dt: s, > 0.

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return CartPole(
        cart_mass=real("cart_mass", cart_mass, above=0.0),
        pole_mass=real("pole_mass", pole_mass, above=0.0),
        length=real("length", length, above=0.0),
        gravity=real("gravity", gravity),
        max_force=real("max_force", max_force, above=0.0),
        track=real("track", track, above=0.0),
        dt=real("dt", dt, above=0.0),
    )
