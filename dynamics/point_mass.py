"""A point that finds its way around obstacles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .actuators import Motors
from .base import Step
from .checks import real
from .drawings import point_mass_figure
from .figures import Figure
from .pytrees import pytree


@pytree
class PointMass(Motors):
    """A point pushed through a plane with round obstacles; touching one ends the episode. Make one with `point_mass`.

    State [4]: position (x, y) in m and velocity in m/s.

    Attributes:
        goal: where the reward is greatest, [2], m.
        obstacles: one row (x, y, radius) each, [N, 3], m.
        mass: kg.
        drag: N·s/m.
        max_force: what an action of ±1 stands for along each axis, N.
        dt: s.
    """

    goal: Float[Array, "2"]
    obstacles: Float[Array, "N 3"]
    mass: Float[Array, ""]
    drag: Float[Array, ""]
    max_force: Float[Array, ""]
    dt: Float[Array, ""]

    @property
    def limit(self) -> Any:
        """The greatest force, N."""
        return self.max_force

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """What the motors give."""
        return ("force x (N)", "force y (N)")

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """What a state is made of."""
        return ("x (m)", "y (m)", "velocity x (m/s)", "velocity y (m/s)")

    def init(self, key: PRNGKeyArray) -> Float[Array, "4"]:
        """At rest, at most 0.05 m from the origin."""
        return jnp.concatenate([jax.random.uniform(key, (2,), minval=-0.05, maxval=0.05), jnp.zeros(2)])

    def step(self, key: PRNGKeyArray, state: Float[Array, "4"], action: Float[Array, "2"]) -> Step:
        """Apply the force for `dt`: reward 1/(1 + d²), d the distance to the goal after the step; ends on contact."""
        del key
        force = self.to_actuators(action)
        position, velocity = state[:2], state[2:]
        velocity = velocity + self.dt * (force - self.drag * velocity) / self.mass
        position = position + self.dt * velocity  # semi-implicit Euler
        reward = 1.0 / (1.0 + jnp.sum((position - self.goal) ** 2))
        return Step(jnp.concatenate([position, velocity]), reward, jnp.where(self._hit(position), 0.0, 1.0))

    def end_reasons(
        self, state: Float[Array, "4"], action: Float[Array, "2"], after: Float[Array, "4"]
    ) -> dict[str, Bool[Array, ""]]:
        """Contact with an obstacle."""
        return {"it hit an obstacle": self._hit(after[:2])}

    def _hit(self, position: Float[Array, "2"]) -> Bool[Array, ""]:
        gap = jnp.linalg.norm(position - self.obstacles[:, :2], axis=-1) - self.obstacles[:, 2]
        return (gap < 0.0).any()

    def value(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def mean_squared_speed(self, state: Float[Array, "4"]) -> Float[Array, ""]:
        """Of the point, (m/s)²."""
        return (state[2:] ** 2).sum()

    def figure(self) -> Figure:
        """How it looks."""
        return point_mass_figure(np.asarray(self.goal, float), np.asarray(self.obstacles, float))


def point_mass(
    *,
    goal: Any = (3.0, 0.0),
    obstacles: Any = ((1.5, 0.0, 0.5),),
    mass: Any = 1.0,
    drag: Any = 0.5,
    max_force: Any = 2.0,
    dt: Any = 0.1,
) -> PointMass:
    """Make the point-mass task: by default one obstacle stands straight between the start and the goal.

    Args:
        goal: [2], m.
        obstacles: rows (x, y, radius), [N, 3], m; N may be 0.
        mass: kg, > 0.
        drag: N·s/m, >= 0.
        max_force: N, > 0.
        dt: s, > 0.

    Returns:
        The model; all its parameters are traced.

    Raises:
        ValueError: for a parameter outside its range or of another shape.
    """
    rows = jnp.asarray(obstacles, float).reshape(-1, 3) if len(obstacles) == 0 else jnp.asarray(obstacles, float)
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"obstacles must be rows (x, y, radius), got shape {rows.shape}")
    real("radius of an obstacle", rows[:, 2], minimum=0.0, shape=None)
    return PointMass(
        goal=real("goal", goal, shape=(2,)),
        obstacles=real("obstacles", rows, shape=None),
        mass=real("mass", mass, above=0.0),
        drag=real("drag", drag, minimum=0.0),
        max_force=real("max_force", max_force, above=0.0),
        dt=real("dt", dt, above=0.0),
    )
