"""Drive an environment for an episode, by chance or by planning with a model, and keep what it did."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from mirrax.dynamics.actuators import to_actuators
from mirrax.dynamics.base import Model, checked_step
from mirrax.dynamics.checks import integer
from mirrax.dynamics.figures import Figure, figure
from mirrax.dynamics.learned import LearnedModel, Transitions, transitions
from mirrax.dynamics.spaces import Continuous, action_space
from mirrax.planners import episode


class Collected(NamedTuple):
    """An episode of T steps, up to its end.

    Attributes:
        transitions: of its steps.
        actuators: its actions in the units of the actuators, [T, B].
        poses: of the bodies of the environment's figure before the first step and after each, [T + 1, B, 7]; None
            where it has no looks.
        measures: numbers of the planner's info by name, of the last iteration of each step, [T]; none by chance.
    """

    transitions: Transitions
    actuators: np.ndarray
    poses: np.ndarray | None
    measures: dict[str, np.ndarray]

    @property
    def rewards(self) -> np.ndarray:
        """Of each step, [T]."""
        return self.transitions.rewards

    @property
    def observations(self) -> np.ndarray:
        """Before the first step and after each, [T + 1, n]."""
        return np.concatenate([self.transitions.observations, self.transitions.next_observations[-1:]])


class _Seen(NamedTuple):
    """What is kept of an episode; see `Collected`."""

    observations: Array
    actions: Array
    rewards: Array
    discounts: Array
    actuators: Array
    poses: Array | None
    measures: Array | None


def collect(env: Model, model: LearnedModel, key: PRNGKeyArray, num_steps: int, planner: Any = None) -> Collected:
    """Drive an environment for an episode. It compiles what it needs itself, once for the same kinds of arguments.

    Args:
        env: the environment.
        model: of it, which says what is observed; fitted where a planner plans with it.
        key: of everything random.
        num_steps: the greatest number of steps.
        planner: that plans with `model`; None for actions by chance, uniform over the actuators' range.

    Returns:
        What happened, up to the end of the episode.

    Raises:
        ValueError: as `planners.episode` does; or if a state, an action or a reward is not finite.
    """
    num_steps, looks = integer("num_steps", num_steps), figure(env)
    names: tuple[str, ...]
    if planner is None:
        seen, names = _by_chance(env, model, key, num_steps, looks), ()
    else:
        seen, info = _by_planning(planner, model.fitted(), env, key, num_steps, looks)
        names = info.names
    seen = jax.device_get(seen)
    over = seen.discounts == 0
    length = int(over.argmax()) + 1 if over.any() else num_steps
    observations = np.asarray(seen.observations)
    return Collected(
        transitions(
            observations[:length],
            seen.actions[:length],
            observations[1 : length + 1],
            seen.rewards[:length],
            (seen.discounts[:length] > 0).astype(np.float32),
        ),
        np.asarray(seen.actuators[:length]),
        None if seen.poses is None else np.asarray(seen.poses[: length + 1]),
        {name: np.asarray(seen.measures[:length, i]) for i, name in enumerate(names)},
    )


@functools.partial(jax.jit, static_argnames=("num_steps", "looks"))
def _by_chance(env: Model, model: LearnedModel, key: Array, num_steps: int, looks: Figure | None) -> _Seen:
    space, (first_key, steps_key) = action_space(env), jax.random.split(key)

    def step(state: Any, key: Array) -> Any:
        action_key, step_key = jax.random.split(key)
        if isinstance(space, Continuous):
            action: Array = jax.random.uniform(action_key, space.shape, minval=-1.0, maxval=1.0)
        else:
            action = jax.random.randint(action_key, (), 0, space.num)
        after = checked_step(env.step(step_key, state, action), state)
        return after.state, (state, action, after.reward, after.discount)

    last, happened = jax.lax.scan(step, env.init(first_key), jax.random.split(steps_key, num_steps))
    states, actions, rewards, discounts = happened
    return _seen(env, model, looks, states, last, actions, rewards, discounts)


@functools.partial(jax.jit, static_argnames=("num_steps", "looks"))
def _by_planning(
    planner: Any, model: LearnedModel, env: Model, key: Array, num_steps: int, looks: Figure | None
) -> tuple[_Seen, Any]:
    happened = episode(planner, model, env, key, num_steps, observe=model.observe)
    seen = _seen(
        env,
        model,
        looks,
        happened.states,
        happened.final_state,
        happened.actions,
        happened.rewards,
        happened.discounts,
    )
    info = happened.infos
    return seen._replace(measures=info.measures[:, -1]), jax.tree.map(lambda leaf: leaf[:0], info)


def _seen(
    env: Model,
    model: LearnedModel,
    looks: Figure | None,
    states: Any,
    last: Any,
    actions: Array,
    rewards: Array,
    discounts: Array,
) -> _Seen:
    """What is kept, of states before each step and the last one."""
    states = jax.tree.map(lambda before, end: jnp.concatenate([before, end[None]]), states, last)
    return _Seen(
        jax.vmap(model.observe)(states),
        actions,
        rewards,
        discounts,
        jax.vmap(lambda action: to_actuators(env, action))(actions),
        None if looks is None else jax.vmap(looks.poses)(states),
        None,
    )
