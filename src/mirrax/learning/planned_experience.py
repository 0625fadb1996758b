"""Several copies of an environment that a planner drives, whose episodes begin anew when they are over."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mirrax.dynamics.base import Model, State, checked_step
from mirrax.learning.policies.experience import begun_anew, first_states, staggered
from mirrax.planners import plan


class Drivers(NamedTuple):
    """Where N environments are, and what the planner believes in each.

    Attributes:
        states: of the environments, with a leading axis.
        beliefs: to plan from, with a leading axis.
        ages: how many steps their episodes have had, [N].
        earned: the sums of the rewards of their episodes so far, [N].
        whole: whether these have been seen from their beginning, [N].
    """

    states: State
    beliefs: Any
    ages: Int[Array, " N"]
    earned: Float[Array, " N"]
    whole: Bool[Array, " N"]


class Segment(NamedTuple):
    """T steps of N environments; see `mirrax.learning.policies.returns`.

    Attributes:
        observations: before each step, [T, N, n].
        next_observations: after each step, of the same episode, [T, N, n].
        rewards: [T, N].
        discounts: of the environment, 0 where it ends the episode, [T, N].
        lasts: where the episode ends or its time is up, [T, N].
        ages: how many steps the episode has had then, [T, N].
        earned: the sum of its rewards so far, [T, N].
        whole: whether it has been seen from its beginning, [T, N].
    """

    observations: Float[Array, "T N n"]
    next_observations: Float[Array, "T N n"]
    rewards: Float[Array, "T N"]
    discounts: Float[Array, "T N"]
    lasts: Bool[Array, "T N"]
    ages: Int[Array, "T N"]
    earned: Float[Array, "T N"]
    whole: Bool[Array, "T N"]


@functools.partial(jax.jit, static_argnames="num_envs")
def planners_begun(
    env: Model, imagined: Model, planner: Any, key: Array, episode_steps: Int[Array, ""], num_envs: int
) -> Drivers:
    """Environments at the beginning of their first episodes, the time of each of which is up at another step.

    Args:
        env: the environment.
        imagined: the model to plan with, of the same states.
        planner: how to plan.
        key: of the first states.
        episode_steps: after how many steps the time of an episode is up.
        num_envs: N.

    Returns:
        Where they are.
    """
    states, beliefs = _first(env, imagined, planner, key, num_envs)
    ages = staggered(num_envs, episode_steps)
    return Drivers(states, beliefs, ages, jnp.zeros(num_envs), ages == 0)


@functools.partial(jax.jit, static_argnames="num_steps")
def planners_driven(
    env: Model,
    imagined: Model,
    planner: Any,
    observe: Callable[..., Any],
    drivers: Drivers,
    key: Array,
    episode_steps: Int[Array, ""],
    num_steps: int,
) -> tuple[Drivers, Segment]:
    """Let a planner drive the environments.

    Args:
        env: the environment.
        imagined: the model to plan with, of the same states.
        planner: how to plan.
        observe: state -> observation [n], a pytree.
        drivers: where they are.
        key: of everything random.
        episode_steps: after how many steps the time of an episode is up.
        num_steps: T, of each.

    Returns:
        Where they are then, and what happened.
    """
    num_envs = len(drivers.ages)

    def seen(states: State) -> Float[Array, "N n"]:
        return jax.vmap(lambda state: jnp.asarray(observe(state), float))(states)

    def advance(key: Array, state: State, belief: Any) -> Any:
        plan_key, step_key = jax.random.split(key)
        action, belief, _ = plan(planner, imagined, plan_key, state, belief)
        return checked_step(env.step(step_key, state, action), state), belief

    def step(drivers: Drivers, key: Array) -> tuple[Drivers, Segment]:
        drive_key, reset_key = jax.random.split(key)
        keys = jax.random.split(drive_key, num_envs)
        after, beliefs = jax.vmap(advance)(keys, drivers.states, drivers.beliefs)
        ages, earned = drivers.ages + 1, drivers.earned + after.reward
        lasts = (after.discount == 0) | (ages >= episode_steps)

        states, beliefs = begun_anew(
            lasts, lambda: _first(env, imagined, planner, reset_key, num_envs), (after.state, beliefs)
        )
        happened = Segment(
            observations=seen(drivers.states),
            next_observations=seen(after.state),
            rewards=after.reward,
            discounts=after.discount,
            lasts=lasts,
            ages=ages,
            earned=earned,
            whole=drivers.whole,
        )
        begun = jnp.where(lasts, 0, ages), jnp.where(lasts, 0.0, earned), drivers.whole | lasts
        return Drivers(states, beliefs, *begun), happened

    return jax.lax.scan(step, drivers, jax.random.split(key, num_steps))


def blank_segment(
    env: Model,
    imagined: Model,
    planner: Any,
    observe: Callable[..., Any],
    drivers: Drivers,
    episode_steps: Int[Array, ""],
    num_steps: int,
) -> Segment:
    """A segment of the shapes that `planners_driven` gives, of zeros, to read another one into.

    Args:
        env: the environment.
        imagined: the model to plan with, of the same states.
        planner: how to plan.
        observe: state -> observation [n], a pytree.
        drivers: where the environments are.
        episode_steps: after how many steps the time of an episode is up.
        num_steps: T, of each.

    Returns:
        The segment.
    """
    key = jax.random.key(0)
    shapes = jax.eval_shape(
        lambda *of: planners_driven(env, imagined, planner, observe, *of, num_steps)[1], drivers, key, episode_steps
    )
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def _first(env: Model, imagined: Model, planner: Any, key: Array, num_envs: int) -> tuple[State, Any]:
    states = first_states(env, key, num_envs)
    return states, jax.vmap(lambda state: planner.init(imagined, state))(states)
