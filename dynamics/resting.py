"""A model that pays for a while, and then for coming to rest."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from .base import HasPose, Model, State, Step, check_model, checked_step
from .checks import integer, real
from .coordinates import coordinates, with_coordinates
from .motion import mean_squared_displacement, mean_squared_speed
from .pytrees import pytree, static
from .wrapper import Wrapper


class RestingState(NamedTuple):
    """A state, and what was earned on the way there.

    Attributes:
        state: of the model underneath.
        num_steps: how many steps there were.
        weight: the product of their discounts.
        earned: the weighted sum of the rewards that counted.
        weights: the sum of their weights.
    """

    state: State
    num_steps: Int[Array, ""]
    weight: Float[Array, ""]
    earned: Float[Array, ""]
    weights: Float[Array, ""]


@pytree
class Resting(Wrapper):
    """The same model, whose rewards count for some steps only; then rest does. Make one with `resting`.

    Attributes:
        model: underneath.
        speed: s, at which a step of coming to rest loses half of |r̄|, a scalar; None where any speed will do.
        distance: l, from the pose of rest, at which it does, a scalar; None where any pose will do.
        reward_steps: after how many steps rewards count no more.
    """

    steps_once: ClassVar[bool] = True
    model: Any
    speed: Float[Array, ""] | None
    distance: Float[Array, ""] | None
    reward_steps: int = static()

    def inner(self, state: RestingState) -> State:
        """The state of the model underneath."""
        return state.state

    def outer(self, state: RestingState, inner: State) -> RestingState:
        """`state` with that of the model underneath replaced."""
        return state._replace(state=inner)

    def begin(self, state: State) -> RestingState:
        """A state of the model underneath as the first of a plan."""
        return RestingState(state, jnp.zeros((), jnp.int32), jnp.ones(()), jnp.zeros(()), jnp.zeros(()))

    def init(self, key: PRNGKeyArray) -> RestingState:
        """Draw a first state."""
        return self.begin(self.model.init(key))

    def step(self, key: PRNGKeyArray, state: RestingState, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath; beyond `reward_steps` the reward is r̄ − |r̄| e/(1 + e), see `resting`."""
        step = checked_step(self.model.step(key, state.state, action))
        counts = state.num_steps < self.reward_steps
        mean = state.earned / jnp.maximum(state.weights, jnp.finfo(state.weights.dtype).tiny)  # r̄
        unrest = jnp.zeros(())  # e = v²/s² + d²/l²
        if self.speed is not None:
            unrest += mean_squared_speed(self.model, state.state, step.state) / self.speed**2
        if self.distance is not None:
            unrest += mean_squared_displacement(self.model, step.state) / self.distance**2
        rest = mean - jnp.abs(mean) * unrest / (1.0 + unrest)
        worth = jnp.where(step.discount == 0, jnp.minimum(rest, step.reward), rest)  # a charge for an end counts
        # what diverges stays NaN, so that planners see it
        reward = jnp.where(counts | ~jnp.isfinite(step.reward), step.reward, worth)
        weight = jnp.where(counts, state.weight, 0.0)
        after = RestingState(
            step.state,
            state.num_steps + 1,
            state.weight * step.discount,
            state.earned + weight * jnp.where(counts, step.reward, 0.0),
            state.weights + weight,
        )
        return Step(after, reward, step.discount)

    @property
    def coordinate_names(self) -> None:
        """None: what was earned is one of them."""
        return None

    def coordinates(self, state: RestingState) -> Float[Array, " n"]:
        """Those of the state underneath, and what was earned, on which the worth of rest depends."""
        return jnp.append(coordinates(self.model, state.state), state.earned)

    def with_coordinates(self, state: RestingState, x: Float[Array, " n"]) -> RestingState:
        """The state with these coordinates."""
        return state._replace(state=with_coordinates(self.model, state.state, x[:-1]), earned=x[-1])


def resting(model: Model, reward_steps: int, *, speed: Any = 1.0, distance: Any = None) -> Resting:
    """A model whose rewards count for some steps; after these it earns r̄ per step at rest, and less otherwise.

    A step beyond is worth r̄ − |r̄| e/(1 + e), where e = v²/s² + d²/l² says how far it is from rest: r̄ is the mean
    reward of the steps that counted, v² the mean squared speed (see `mean_squared_speed`), d² the mean squared
    distance from the pose in which the model can stay at rest (see `mean_squared_displacement`). A plan of H steps of
    which N are beyond is worth r̄ (H − N + Σ 1/(1 + e)) where r̄ > 0 and nothing is discounted: one that ends the
    episode as coming to rest begins has (H − N)/H of what it had at rest, so that it is preferred only if it earns
    more than H/(H − N) times as much as a safe one. A step that ends the episode is worth no more than its own
    reward, so that a charge for the end counts. Plans that end in a safe state are how receding-horizon planners
    avoid what they do not see (Schouwenaars, How & Feron, 2004, which asks for it as a constraint). The model's own
    value of the last state is added as it is; a model without one is meant, since coming to rest stands for what
    follows.

    Args:
        model: any.
        reward_steps: how many steps rewards count, >= 1.
        speed: s, > 0, m/s, or in the units of the model's coordinates; "any" where any speed will do. Without a
            distance nothing counts then in these steps but that the model does not end.
        distance: l, > 0, m, or as the model measures it; None where any pose will do.

    Returns:
        The model; `begin(state)` makes its states of those of the model underneath.

    Raises:
        ValueError: for a parameter outside its range, what is no model, or a distance for one without a pose of rest.
    """
    check_model("model", model)
    steps = integer("reward_steps", reward_steps, 1)
    if distance is not None:
        distance = real("distance", distance, above=0.0)
        if not isinstance(model, HasPose):  # of others some learn from a state that they have none
            mean_squared_displacement(model, None)
    if isinstance(speed, str) and speed != "any":
        raise ValueError(f"speed must be a number or 'any', got {speed!r}")
    return Resting(model, None if isinstance(speed, str) else real("speed", speed, above=0.0), distance, steps)
