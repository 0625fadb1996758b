"""Carts that a force drives along a track that ends."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .actuators import Motors


class OnTrack(Motors):
    """What models have in common whose states begin with the position of a cart, and that end with its track."""

    max_force: Float[Array, ""]
    track: Float[Array, ""]

    @property
    def limit(self) -> Float[Array, ""]:
        """The greatest force, N."""
        return self.max_force

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """What the motor gives."""
        return ("force (N)",)

    def left(self, state: Float[Array, " n"]) -> Bool[Array, ""]:
        """Whether the cart has left its track."""
        return jnp.abs(state[0]) > self.track

    def end_reasons(
        self, state: Float[Array, " n"], action: Float[Array, "1"], after: Float[Array, " n"]
    ) -> dict[str, Bool[Array, ""]]:
        """The end of the track."""
        return {"the cart left its track": self.left(after)}
