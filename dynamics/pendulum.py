"""A torque-limited pendulum to swing up."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .actuators import Motors
from .base import Step
from .checks import real
from .drawings import pendulum_figure
from .figures import Figure
from .integration import rk4
from .pytrees import pytree


@pytree
class Pendulum(Motors):
    """A point mass on a massless rod; the motor is too weak to lift it directly. Make one with `pendulum`.

    State [2]: the angle θ from upright (rad, counter-clockwise) and the angular velocity ω (rad/s).

    Attributes:
        mass: kg.
        length: m.
        gravity: m/s².
        damping: friction of the joint, N·m·s/rad.
        max_torque: what an action of ±1 stands for, N·m.
        dt: s.
    """

    mass: Float[Array, ""]
    length: Float[Array, ""]
    gravity: Float[Array, ""]
    damping: Float[Array, ""]
    max_torque: Float[Array, ""]
    dt: Float[Array, ""]

    @property
    def limit(self) -> Any:
        """The greatest torque, N·m."""
        return self.max_torque

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """What the motor gives."""
        return ("torque (N·m)",)

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """What a state is made of."""
        return ("angle (rad)", "angular velocity (rad/s)")

    def init(self, key: PRNGKeyArray) -> Float[Array, "2"]:
        """Hanging down, up to 0.1 rad and 0.1 rad/s off."""
        return jnp.array([jnp.pi, 0.0]) + jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)

    def step(self, key: PRNGKeyArray, state: Float[Array, "2"], action: Float[Array, "1"]) -> Step:
        """Apply the torque for `dt`: reward −(2(1 − cos θ) + 0.1 ω² + 0.001 u²), never ends."""
        del key
        torque = self.to_actuators(action)[0]
        inertia = self.mass * self.length**2

        def derivative(state: Float[Array, "2"]) -> Float[Array, "2"]:
            angle, velocity = state
            acceleration = self.gravity / self.length * jnp.sin(angle) + (torque - self.damping * velocity) / inertia
            return jnp.stack([velocity, acceleration])

        angle, velocity = state
        reward = -(2.0 * (1.0 - jnp.cos(angle)) + 0.1 * velocity**2 + 0.001 * torque**2)
        return Step(rk4(derivative, state, self.dt), reward, jnp.ones(()))

    def value(self, state: Float[Array, "2"]) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def mean_squared_speed(self, state: Float[Array, "2"]) -> Float[Array, ""]:
        """Of the rod, (rad/s)²."""
        return state[1] ** 2

    def mean_squared_displacement(self, state: Float[Array, "2"]) -> Float[Array, ""]:
        """Of the rod from upright, rad² where small: (2 sin ½θ)²."""
        return ((2.0 * jnp.sin(0.5 * state[:1])) ** 2).mean()

    def figure(self) -> Figure:
        """How it looks."""
        return pendulum_figure(float(self.length))


def pendulum(
    *,
    mass: Any = 1.0,
    length: Any = 1.0,
    gravity: Any = 9.81,
    damping: Any = 0.05,
    max_torque: Any = 4.0,
    dt: Any = 0.05,
) -> Pendulum:
    """Make the pendulum swing-up task.

    Args:
        mass: kg, > 0.
        length: m, > 0.
        gravity: m/s².
        damping: N·m·s/rad, >= 0.
        max_torque: N·m, > 0; below mass · gravity · length the pendulum must swing before it rises.
        dt: s, > 0.

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return Pendulum(
        mass=real("mass", mass, above=0.0),
        length=real("length", length, above=0.0),
        gravity=real("gravity", gravity),
        damping=real("damping", damping, minimum=0.0),
        max_torque=real("max_torque", max_torque, above=0.0),
        dt=real("dt", dt, above=0.0),
    )
