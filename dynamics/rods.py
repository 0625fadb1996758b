"""Two uniform rods in a plane, the second hinged to the tip of the first."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .pytrees import pytree


@pytree
class TwoRods:
    """Their Lagrangian mechanics in absolute angles θ from upright, counter-clockwise, about a fixed pivot.

    M(θ) θ̈ = forces(θ, θ̇), with the rods' centres half way along them.

    Attributes:
        masses: [2], kg.
        lengths: [2], m.
    """

    masses: Float[Array, "2"]
    lengths: Float[Array, "2"]

    def moments(self) -> Float[Array, "2"]:
        """Mass times lever of each angle, kg·m: what gravity, and a pivot that moves, take hold of."""
        return self.lengths * (0.5 * self.masses + jnp.array([1.0, 0.0]) * self.masses[1])

    def inertia(self, angles: Float[Array, "2"]) -> Float[Array, "2 2"]:
        """M(θ), kg·m²."""
        (m1, m2), (l1, l2) = self.masses, self.lengths
        coupling = 0.5 * m2 * l1 * l2 * jnp.cos(angles[0] - angles[1])
        return jnp.array([[(m1 / 3.0 + m2) * l1**2, coupling], [coupling, m2 * l2**2 / 3.0]])

    def forces(
        self, angles: Float[Array, "2"], rates: Float[Array, "2"], gravity: Float[Array, ""]
    ) -> Float[Array, "2"]:
        """Gravity's torque, and what rotation does."""
        swing = 0.5 * self.masses[1] * self.lengths[0] * self.lengths[1] * jnp.sin(angles[0] - angles[1])
        turning = swing * jnp.stack([-(rates[1] ** 2), rates[0] ** 2])
        return self.moments() * gravity * jnp.sin(angles) + turning

    def energy(
        self, angles: Float[Array, "2"], rates: Float[Array, "2"], gravity: Float[Array, ""]
    ) -> Float[Array, ""]:
        """Kinetic and potential energy about the fixed pivot, J."""
        return 0.5 * rates @ self.inertia(angles) @ rates + self.moments() @ jnp.cos(angles) * gravity
