"""Several copies of an environment that a policy drives, whose episodes begin anew when they are over."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from mirrax.dynamics.base import Model, State, checked_step
from mirrax.dynamics.pytrees import strongly_typed
from mirrax.learning.policies.networks import observed

T = TypeVar("T")


class Experience(NamedTuple):
    """T steps of N environments.

    Attributes:
        observations: before each step, [T, N, n].
        raw: what actions are made of, see `distributions`, [T, N, ...].
        log_probs: log π of the actions, [T, N].
        rewards: [T, N].
        discounts: of the environment, 0 where it ends the episode, [T, N].
        lasts: where the episode ends or its time is up, [T, N].
        next_observations: after each step, of the same episode, [T, N, n].
    """

    observations: Float[Array, "T N n"]
    raw: Num[Array, "T N ..."]
    log_probs: Float[Array, "T N"]
    rewards: Float[Array, "T N"]
    discounts: Float[Array, "T N"]
    lasts: Bool[Array, "T N"]
    next_observations: Float[Array, "T N n"]


class Actors(NamedTuple):
    """Where N environments are.

    Attributes:
        states: theirs, with a leading axis.
        ages: how many steps their episodes have had, [N].
        earned: the sums of the rewards of their episodes so far, [N].
        whole: whether these have been seen from their beginning, [N].
    """

    states: State
    ages: Int[Array, " N"]
    earned: Float[Array, " N"]
    whole: Bool[Array, " N"]


class Finished(NamedTuple):
    """The episodes that were over after each step of N environments.

    Attributes:
        lasts: where a whole one was over, [T, N].
        ended: where the environment ended a whole one, [T, N].
        earned: the sum of the rewards of the episode so far, [T, N].
        ages: how many steps it has had, [T, N].
    """

    lasts: Bool[Array, "T N"]
    ended: Bool[Array, "T N"]
    earned: Float[Array, "T N"]
    ages: Int[Array, "T N"]


def begun(env: Model, key: PRNGKeyArray, num_envs: int, episode_steps: Int[Array, ""]) -> Actors:
    """Environments at the beginning of their first episodes.

    The time of these is up early, of each at another step, so that later updates see all times of an episode.

    Args:
        env: the environment.
        key: of the first states.
        num_envs: N.
        episode_steps: after how many steps the time of an episode is up.

    Returns:
        Where they are.
    """
    ages = staggered(num_envs, episode_steps)
    return Actors(first_states(env, key, num_envs), ages, jnp.zeros(num_envs), ages == 0)


def drive(
    env: Model, policy: Any, actors: Actors, key: PRNGKeyArray, num_steps: int, episode_steps: Int[Array, ""]
) -> tuple[Actors, Experience, Finished]:
    """Let a policy drive the environments.

    Args:
        env: the environment.
        policy: has `observe` and `distribution`.
        actors: where they are.
        key: of everything random.
        num_steps: T, of each.
        episode_steps: after how many steps the time of an episode is up.

    Returns:
        Where they are then, what happened, and which episodes were over.
    """
    num_envs = len(actors.ages)

    def observe(states: State) -> Float[Array, "N n"]:
        return jax.vmap(lambda state: observed(policy.observe, state))(states)

    def advance(key: PRNGKeyArray, state: State, action: Any) -> Any:
        return checked_step(env.step(key, state, action), state)

    def step(actors: Actors, key: PRNGKeyArray) -> tuple[Actors, tuple[Experience, Finished]]:
        act_key, step_key, reset_key = jax.random.split(key, 3)
        seen = observe(actors.states)
        distribution = policy.distribution(seen)
        raw = distribution.sample(act_key)
        after = jax.vmap(advance)(jax.random.split(step_key, num_envs), actors.states, distribution.action(raw))
        ages, earned, ended = actors.ages + 1, actors.earned + after.reward, after.discount == 0
        lasts = ended | (ages >= episode_steps)

        states = begun_anew(lasts, lambda: first_states(env, reset_key, num_envs), after.state)
        happened = Experience(
            observations=seen,
            raw=raw,
            log_probs=distribution.log_prob(raw),
            rewards=after.reward,
            discounts=after.discount,
            lasts=lasts,
            next_observations=observe(after.state),
        )
        going = Actors(states, jnp.where(lasts, 0, ages), jnp.where(lasts, 0.0, earned), actors.whole | lasts)
        whole = Finished(lasts & actors.whole, ended & actors.whole, earned, ages)
        return going, (happened, whole)

    actors, (experience, finished) = jax.lax.scan(step, actors, jax.random.split(key, num_steps))
    return actors, experience, finished


def first_states(env: Model, key: PRNGKeyArray, num_envs: int) -> State:
    """The first states of N environments, with a leading axis.

    Args:
        env: the environment.
        key: of them.
        num_envs: N.
    """
    return strongly_typed(jax.vmap(env.init)(jax.random.split(key, num_envs)))


def begun_anew(lasts: Bool[Array, " N"], begin: Callable[[], T], going: T) -> T:
    """What goes on, and in its place what begins where an episode is over.

    Args:
        lasts: where one is over, [N].
        begin: what begins, for all N; evaluated where any is over, for it may cost more than a step.
        going: what goes on, of the same structure, with a leading axis N.
    """

    def mixed() -> T:
        return jax.tree.map(
            lambda new, old: jnp.where(lasts.reshape(-1, *[1] * (new.ndim - 1)), new, old), begin(), going
        )

    return jax.lax.cond(lasts.any(), mixed, lambda: going)


def staggered(num_envs: int, episode_steps: Int[Array, ""]) -> Int[Array, " N"]:
    """How old first episodes are taken to be: their time is up at different steps, so that all times are seen.

    Args:
        num_envs: N.
        episode_steps: after how many steps the time of an episode is up.
    """
    return (jnp.arange(num_envs, dtype=jnp.int32) * episode_steps) // num_envs
