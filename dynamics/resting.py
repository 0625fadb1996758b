"""A model that pays for a while, and then for coming to rest."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from .base import Model, State, Step, checked_step
from .checks import integer, real
from .coordinates import coordinates, with_coordinates
from .motion import mean_squared_speed
from .pytrees import pytree, static
from .wrapper import Wrapper


class RestingState(NamedTuple):
    """A state, and what was earned on the way there.

    Attributes:
        inner: of the model underneath.
        num_steps: how many steps there were.
        weight: the product of their discounts.
        earned: the weighted sum of the rewards that counted.
        weights: the sum of their weights.
    """

    inner: State
    num_steps: Int[Array, ""]
    weight: Float[Array, ""]
    earned: Float[Array, ""]
    weights: Float[Array, ""]


@pytree
class Resting(Wrapper):
    """The same model, whose rewards count for some steps only; then rest does. Make one with `resting`.

    Attributes:
        model: underneath.
        speed: at which a step of coming to rest is worth half, a scalar.
        reward_steps: after how many steps rewards count no more.
    """

    model: Any
    speed: Float[Array, ""]
    reward_steps: int = static()

    def inner(self, state: RestingState) -> State:
        """The state of the model underneath."""
        return state.inner

    def outer(self, state: RestingState, inner: State) -> RestingState:
        """`state` with that of the model underneath replaced."""
        return state._replace(inner=inner)

    def begin(self, state: State) -> RestingState:
        """A state of the model underneath as the first of a plan."""
        return RestingState(state, jnp.zeros((), jnp.int32), jnp.ones(()), jnp.zeros(()), jnp.zeros(()))

    def init(self, key: PRNGKeyArray) -> RestingState:
        """Draw a first state."""
        return self.begin(self.model.init(key))

    def step(self, key: PRNGKeyArray, state: RestingState, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath; beyond `reward_steps` the reward is r̄ − |r̄| v²/(v² + s²), see `resting`."""
        step = checked_step(self.model.step(key, state.inner, action))
        counts = state.num_steps < self.reward_steps
        mean = state.earned / jnp.maximum(state.weights, jnp.finfo(state.weights.dtype).tiny)  # r̄
        squared = mean_squared_speed(self.model, state.inner, step.state)  # v²
        rest = mean - jnp.abs(mean) * squared / (squared + self.speed**2)
        # what diverges stays NaN, so that planners see it
        reward = jnp.where(counts | ~jnp.isfinite(step.reward), step.reward, rest)
        weight = jnp.where(counts, state.weight, 0.0)
        after = RestingState(
            step.state,
            state.num_steps + 1,
            state.weight * step.discount,
            state.earned + weight * jnp.where(counts, step.reward, 0.0),
            state.weights + weight,
        )
        return Step(after, reward, step.discount)

    def coordinates(self, state: RestingState) -> Float[Array, " n"]:
        """Those of the state underneath, and what was earned, on which the worth of rest depends."""
        return jnp.append(coordinates(self.model, state.inner), state.earned)

    def with_coordinates(self, state: RestingState, x: Float[Array, " n"]) -> RestingState:
        """The state with these coordinates."""
        return state._replace(inner=with_coordinates(self.model, state.inner, x[:-1]), earned=x[-1])


def resting(model: Model, reward_steps: int, *, speed: Any = 1.0) -> Resting:
    """A model whose rewards count for some steps; after these it earns r̄ per step at rest, and less in motion.

    A step beyond is worth r̄ − |r̄| v²/(v² + s²): r̄ is the mean reward of the steps that counted, v² the mean squared
    speed (see `mean_squared_speed`), s² that at which it is worth half. A plan over such a model has its return
    multiplied by how well it can be brought to rest without an end: a state is worth what it earned only if it can
    still be left safely. Plans that end in a safe state are how receding-horizon planners avoid what they do not see
    (Schouwenaars, How & Feron, 2004, which asks for it as a constraint).

    Args:
        model: any.
        reward_steps: how many steps rewards count, >= 1.
        speed: s, > 0, m/s, or in the units of the model's coordinates.

    Returns:
        The model; `begin(state)` makes its states of those of the model underneath.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return Resting(model, real("speed", speed, above=0.0), integer("reward_steps", reward_steps, 1))
