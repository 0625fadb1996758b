"""Two links that hang from a pivot, with a motor at the elbow only, to stand up."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .actuators import Motors
from .base import Step
from .checks import real
from .drawings import acrobot_figure
from .figures import Figure
from .integration import rk4
from .pytrees import pytree
from .rods import TwoRods


@pytree
class Acrobot(Motors):
    """Two uniform rods, the first hinged to a pivot, the second to its tip (Spong, 1995). Make one with `acrobot`.

    State [4]: angles of both rods from upright (rad, counter-clockwise), and their rates (rad/s).

    Attributes:
        rods: masses and lengths.
        gravity: m/s².
        max_torque: what an action of ±1 stands for, at the elbow, N·m.
        dt: s.
    """

    rods: TwoRods
    gravity: Float[Array, ""]
    max_torque: Float[Array, ""]
    dt: Float[Array, ""]

    @property
    def limit(self) -> Any:
        """The greatest torque, N·m."""
        return self.max_torque

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """What the motor gives."""
        return ("elbow torque (N·m)",)

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """What a state is made of."""
        return ("upper angle (rad)", "lower angle (rad)", "upper rate (rad/s)", "lower rate (rad/s)")

    def init(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        """Hanging down, up to 0.1 rad and 0.1 rad/s off."""
        return jnp.array([jnp.pi, jnp.pi, 0.0, 0.0]) + jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)

    def step(self, key: PRNGKeyArray, state: Float[Array, "4"], action: Float[Array, "1"]) -> Step:
        """Apply the torque for `dt`: reward −(2 − cos θ₁ − cos θ₂ + 0.02 (ω₁² + ω₂²) + 0.01 u²), never ends.

        u is the action in units of its limit.
        """
        del key
        torque = self.to_actuators(action)[0]

        def derivative(state: Float[Array, "4"]) -> Float[Array, "4"]:
            angles, rates = state[:2], state[2:]
            force = self.rods.forces(angles, rates, self.gravity) + torque * jnp.array([-1.0, 1.0])
            (a, b), (_, d) = self.rods.inertia(angles)
            accelerations = jnp.stack([d * force[0] - b * force[1], a * force[1] - b * force[0]]) / (a * d - b * b)
            return jnp.concatenate([rates, accelerations])

        effort = torque / self.max_torque
        cost = 2.0 - jnp.cos(state[:2]).sum() + 0.02 * (state[2:] ** 2).sum() + 0.01 * effort**2
        return Step(rk4(derivative, state, self.dt), -cost, jnp.ones(()))

    def value(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def mean_squared_speed(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Of both rods, (rad/s)²."""
        return (state[2:] ** 2).mean()

    def mean_squared_displacement(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Of both rods from upright, rad² where small: (2 sin ½θ)²."""
        return ((2.0 * jnp.sin(0.5 * state[:2])) ** 2).mean()

    def figure(self) -> Figure:
        """How it looks."""
        first, second = (float(length) for length in self.rods.lengths)
        return acrobot_figure(first, second)


def acrobot(
    *,
    masses: Any = 1.0,
    lengths: Any = 1.0,
    gravity: Any = 9.81,
    max_torque: Any = 10.0,
    dt: Any = 0.05,
) -> Acrobot:
    """Make the acrobot swing-up task.

    Args:
        masses: of both rods, scalar or [2], kg, > 0.
        lengths: of both rods, scalar or [2], m, > 0.
        gravity: m/s².
        max_torque: N·m, > 0.
        dt: s, > 0.

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return Acrobot(
        rods=TwoRods(real("masses", masses, above=0.0, shape=(2,)), real("lengths", lengths, above=0.0, shape=(2,))),
        gravity=real("gravity", gravity),
        max_torque=real("max_torque", max_torque, above=0.0),
        dt=real("dt", dt, above=0.0),
    )
