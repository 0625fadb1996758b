"""Policies: distributions over actions in states."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import State


@runtime_checkable
class Policy(Protocol):
    """A distribution over actions in a state."""

    def sample(self, key: PRNGKeyArray, state: State) -> Float[Array, " A"]:
        """Draw an action, on the scale of plans."""
        ...

    def log_prob(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action in a state."""
        ...
