"""Models made of models: another value, another discount, slower decisions, a clock."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .base import Model, State, Step, duration, integer, pytree, real, scalar, static, traceable
from .coordinates import coordinates, with_coordinates


@pytree
class WithValue:
    """A model with another value beyond the horizon. Make one with `with_value`.

    Attributes:
        model: the model underneath.
        value_function: state -> scalar.
    """

    model: Model
    value_function: Callable[..., Any]

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        return self.model.action_size

    @property
    def dt(self) -> Any:
        """The duration of one step of the model underneath, s."""
        return duration(self.model)

    def init(self, key: Key[Array, ""]) -> State:
        """Draw a first state of the model underneath."""
        return self.model.init(key)

    def step(self, key: Key[Array, ""], state: State, action: Float[Array, " A"]) -> Step:
        """Step the model underneath."""
        return self.model.step(key, state, action)

    def value(self, state: State) -> Float[Array, ""]:
        """The value that was given."""
        return scalar("value", self.value_function(state))


@pytree
class Discounted:
    """A model whose future counts less. Make one with `discounted`.

    Attributes:
        model: the model underneath.
        discount: γ, in [0, 1].
    """

    model: Model
    discount: Float[Array, ""]

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        return self.model.action_size

    @property
    def dt(self) -> Any:
        """The duration of one step of the model underneath, s."""
        return duration(self.model)

    def init(self, key: Key[Array, ""]) -> State:
        """Draw a first state of the model underneath."""
        return self.model.init(key)

    def step(self, key: Key[Array, ""], state: State, action: Float[Array, " A"]) -> Step:
        """Step the model underneath, its discount times γ."""
        state, reward, discount = self.model.step(key, state, action)
        return Step(state, reward, self.discount * discount)

    def value(self, state: State) -> Float[Array, ""]:
        """The value of the model underneath."""
        return self.model.value(state)


@pytree
class ActionRepeat:
    """A model that applies each action several times. Make one with `action_repeat`.

    Attributes:
        model: the model underneath.
        repeats: how many of its steps one step takes.
    """

    model: Model
    repeats: int = static()

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        return self.model.action_size

    @property
    def dt(self) -> Any:
        """The duration of one step, s: of so many of the model underneath."""
        return self.repeats * duration(self.model)

    def init(self, key: Key[Array, ""]) -> State:
        """Draw a first state of the model underneath."""
        return self.model.init(key)

    def step(self, key: Key[Array, ""], state: State, action: Float[Array, " A"]) -> Step:
        """Apply `action` `repeats` times: the discounted sum of the rewards, nothing counted after an end."""

        def body(carry: Step, key: Key[Array, ""]) -> tuple[Step, None]:
            state, reward, discount = carry
            step = self.model.step(key, state, action)
            # 0 · NaN is NaN: what comes after the end must not be multiplied away but left out
            gain = jnp.where(discount == 0, 0.0, discount * step.reward)
            return Step(step.state, reward + gain, jnp.where(discount == 0, 0.0, discount * step.discount)), None

        start = Step(state, jnp.zeros(()), jnp.ones(()))
        return jax.lax.scan(body, start, jax.random.split(key, self.repeats))[0]

    def value(self, state: State) -> Float[Array, ""]:
        """The value of the model underneath."""
        return self.model.value(state)


class TimedState(NamedTuple):
    """A state and the number of steps before it.

    Attributes:
        state: of the model underneath.
        step: a scalar, int32.
    """

    state: State
    step: Int[Array, ""]


@pytree
class Timed:
    """A model whose state counts the steps. Make one with `timed`.

    Attributes:
        model: the model underneath.
    """

    model: Model

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        return self.model.action_size

    @property
    def dt(self) -> Any:
        """The duration of one step of the model underneath, s."""
        return duration(self.model)

    def init(self, key: Key[Array, ""]) -> TimedState:
        """Draw a first state of the model underneath, at step 0."""
        return TimedState(self.model.init(key), jnp.zeros((), jnp.int32))

    def step(self, key: Key[Array, ""], state: TimedState, action: Float[Array, " A"]) -> Step:
        """Step the model underneath, and count it."""
        after, reward, discount = self.model.step(key, state.state, action)
        return Step(TimedState(after, state.step + 1), reward, discount)

    def coordinates(self, state: TimedState) -> Float[Array, " n"]:
        """The coordinates of the state underneath."""
        return coordinates(self.model, state.state)

    def with_coordinates(self, state: TimedState, x: Float[Array, " n"]) -> TimedState:
        """The state with these coordinates, at the same step."""
        return TimedState(with_coordinates(self.model, state.state, x), state.step)

    def value(self, state: TimedState) -> Float[Array, ""]:
        """The value of the model underneath."""
        return self.model.value(state.state)


def with_value(model: Model, value: Callable[..., Any]) -> WithValue:
    """Give a model a value beyond the horizon.

    Args:
        model: any model.
        value: state -> scalar, in reward units. A callable pytree (a network with weights) stays traced.

    Returns:
        The model with `value` in the place of its own.
    """
    if not callable(value):
        raise ValueError(f"value must be callable, got {value!r}")
    return WithValue(model, traceable(value))


def discounted(model: Model, discount: Any) -> Discounted:
    """Let the future of a model count less.

    Args:
        model: any model.
        discount: γ in [0, 1], by which each step multiplies the weight of what follows.

    Returns:
        The model with its own discount times γ.

    Raises:
        ValueError: if γ lies outside [0, 1].
    """
    return Discounted(model, real("discount", discount, minimum=0.0, maximum=1.0))


def timed(model: Model) -> Timed:
    """Let the state of a model count its steps, for values, policies and rewards that depend on time.

    Args:
        model: any model.

    Returns:
        The model with states `TimedState(state, step)`. To plan again from step 0, replace the `step` of a state.
    """
    return Timed(model)


def action_repeat(model: Model, repeats: int) -> ActionRepeat:
    """Hold each action for several steps of a model: plans reach further, decisions are slower.

    Args:
        model: any model.
        repeats: the number of steps of `model` that one step takes.

    Returns:
        The slower model.

    Raises:
        ValueError: if `repeats` is not a positive integer.
    """
    return ActionRepeat(model, integer("repeats", repeats))
