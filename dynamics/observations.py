"""What can be observed of a state, as a vector."""

from typing import Any, Protocol, runtime_checkable

from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .base import State
from .coordinates import coordinates


@runtime_checkable
class Observed(Protocol):
    """A state that has an observation, as those of Brax and of Playground do."""

    @property
    def obs(self) -> Any:
        """The observation, an array or a pytree of arrays."""
        ...


def observation(model: Any, state: State) -> Float[Array, " n"]:
    """What is observed of a state, as a vector: its `obs` where it has one, else its coordinates.

    Args:
        model: whose state it is.
        state: a state of `model`.

    Returns:
        The observation [n].
    """
    return ravel_pytree(state.obs)[0].astype(float) if isinstance(state, Observed) else coordinates(model, state)
