"""What can be observed of a state, as a vector."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Num

from .base import State
from .coordinates import coordinates
from .spaces import Discrete, action_space


@runtime_checkable
class Observed(Protocol):
    """A state that has an observation, as those of Brax and of Playground do."""

    @property
    def obs(self) -> Any:
        """The observation, an array or a pytree of arrays."""
        ...


@runtime_checkable
class Holding(Protocol):
    """A state that holds that of a model underneath, as wrappers make them."""

    @property
    def state(self) -> Any:
        """The state inside."""
        ...


@runtime_checkable
class Waiting(Protocol):
    """A state that holds actions which are on their way, as those of `dynamics.delayed` do."""

    @property
    def sent(self) -> Any:
        """The actions, the oldest first, [D, A], or [D] of integers."""
        ...


def observation(model: Any, state: State) -> Float[Array, " n"]:
    """What is observed of a state, as a vector: its `obs` where it or a state inside has one, else its coordinates.

    Actions that are on their way (`dynamics.delayed`) are part of it: they decide what happens next.

    Args:
        model: whose state it is; None where it is not known.
        state: a state of `model`.

    Returns:
        The observation [n].
    """
    states = _held(state)
    waiting = [each.sent for each in states if isinstance(each, Waiting)]
    if isinstance(states[-1], Observed):
        seen = ravel_pytree(states[-1].obs)[0].astype(float)
    else:
        seen = coordinates(model, state)
        waiting = [sent for sent in waiting if not jnp.issubdtype(sent.dtype, jnp.floating)]  # others are among them
    return jnp.concatenate([seen, *(_as_numbers(model, sent).astype(seen.dtype) for sent in waiting)])


def has_observation(state: State) -> bool:
    """Whether a state, or one inside of it, has an `obs`."""
    return isinstance(_held(state)[-1], Observed)


def _held(state: State) -> list[State]:
    """A state and those inside of it, up to the first that has an observation."""
    states = [state]
    while isinstance(states[-1], Holding) and not isinstance(states[-1], Observed):
        states.append(states[-1].state)
    return states


def _as_numbers(model: Any, sent: Num[Array, "D *a"]) -> Float[Array, " n"]:
    """Actions as a vector: discrete ones of a known number as 0 and 1, one for each that there is."""
    space = None if model is None else action_space(model)
    if isinstance(space, Discrete):
        return jax.nn.one_hot(sent, space.num).reshape(-1)
    return sent.reshape(-1).astype(float)
