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
    """What is kept of an episode; see `Collected`.

    Attributes:
        states: of the environment, before the first step and after each.
        observations: of them.
    """

    states: Any
    observations: Array
    actions: Array
    rewards: Array
    discounts: Array
    actuators: Array
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
    return record_episode(env, model, key, num_steps, planner, figure(env))


def record_episode(
    env: Model, model: LearnedModel, key: PRNGKeyArray, num_steps: int, planner: Any, looks: Figure | None
) -> Collected:
    """Drive and record: `collect` with a figure that may be kept from episode to episode; another is compiled anew.

    Args:
        env: see `collect`.
        model: see `collect`.
        key: see `collect`.
        num_steps: see `collect`.
        planner: see `collect`.
        looks: the figure of `env`; None for no poses.

    Returns:
        What happened.
    """
    num_steps = integer("num_steps", num_steps)
    names: tuple[str, ...]
    if planner is None:
        seen, names = _by_chance(env, model, key, num_steps), ()
    else:
        seen, info = _by_planning(planner, model.fitted(), env, key, num_steps)
        names = info.names
    poses = None if looks is None else np.asarray(poses_of(looks, seen.states))
    seen = jax.device_get(seen._replace(states=None))
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
        None if poses is None else poses[: length + 1],
        {name: np.asarray(seen.measures[:length, i]) for i, name in enumerate(names)},
    )


@functools.partial(jax.jit, static_argnames="num_steps")
def _by_chance(env: Model, model: LearnedModel, key: Array, num_steps: int) -> _Seen:
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
    return _seen(env, model, states, last, actions, rewards, discounts)


@functools.partial(jax.jit, static_argnames="num_steps")
def _by_planning(planner: Any, model: LearnedModel, env: Model, key: Array, num_steps: int) -> tuple[_Seen, Any]:
    done = episode(planner, model, env, key, num_steps, observe=model.observe)
    seen = _seen(env, model, done.states, done.final_state, done.actions, done.rewards, done.discounts)
    return seen._replace(measures=done.infos.measures[:, -1]), jax.tree.map(lambda leaf: leaf[:0], done.infos)


@functools.partial(jax.jit, static_argnames="looks")
def poses_of(looks: Figure, states: Any) -> Array:
    """The poses of a figure's bodies in states with a leading axis, [T, B, 7].

    Args:
        looks: the figure.
        states: of its environment.
    """
    return jax.vmap(looks.poses)(states)


def _seen(
    env: Model, model: LearnedModel, states: Any, last: Any, actions: Array, rewards: Array, discounts: Array
) -> _Seen:
    """What is kept, of states before each step and the last one."""
    states = jax.tree.map(lambda before, end: jnp.concatenate([before, end[None]]), states, last)
    return _Seen(
        states,
        jax.vmap(model.observe)(states),
        actions,
        rewards,
        discounts,
        jax.vmap(lambda action: to_actuators(env, action))(actions),
        None,
    )
