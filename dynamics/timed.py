"""A model whose state counts the steps."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, Num, PRNGKeyArray

from .base import Model, State, Step, check_model
from .pytrees import pytree
from .wrapper import Wrapper


class TimedState(NamedTuple):
    """A state and the number of steps before it.

    Attributes:
        state: of the model underneath.
        step: a scalar, int32.
    """

    state: State
    step: Int[Array, ""]


@pytree
class Timed(Wrapper):
    """A model whose state counts the steps. Make one with `timed`.

    Attributes:
        model: the model underneath.
    """

    steps_once: ClassVar[bool] = True
    model: Model

    def inner(self, state: TimedState) -> State:
        """The state without its clock."""
        return state.state

    def outer(self, state: TimedState, inner: State) -> TimedState:
        """Another state at the same step."""
        return TimedState(inner, state.step)

    def init(self, key: PRNGKeyArray) -> TimedState:
        """Draw a first state of the model underneath, at step 0."""
        return TimedState(self.model.init(key), jnp.zeros((), jnp.int32))

    def step(self, key: PRNGKeyArray, state: TimedState, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath, and count it."""
        after, reward, discount = self.model.step(key, state.state, action)
        return Step(TimedState(after, state.step + 1), reward, discount)


def timed(model: Model) -> Timed:
    """Let the state of a model count its steps, for values, policies and rewards that depend on time.

    Args:
        model: any model.

    Returns:
        The model with states `TimedState(state, step)`. To plan again from step 0, replace the `step` of a state.

    Raises:
        ValueError: if `model` is not a model.
    """
    return Timed(check_model("model", model))
