"""A memory of the latest transitions, as arrays of a fixed size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from mirrax.learning.policies.experience import Experience


class Transition(NamedTuple):
    """Steps of environments, B of them.

    Attributes:
        observation: before the step, [B, n].
        raw: what the action is made of, [B, ...].
        reward: [B].
        discount: of the environment, 0 where it ends the episode, [B]; 1 where only the time was up.
        next_observation: after the step, [B, n].
    """

    observation: Float[Array, "B n"]
    raw: Num[Array, "B ..."]
    reward: Float[Array, " B"]
    discount: Float[Array, " B"]
    next_observation: Float[Array, "B n"]


class Replay(NamedTuple):
    """The latest transitions.

    Attributes:
        rows: as many transitions as there is room for.
        position: where the next one goes, a scalar.
        size: how many there are, a scalar.
    """

    rows: Transition
    position: Int[Array, ""]
    size: Int[Array, ""]


def transitions_of(experience: Experience) -> Transition:
    """The steps of experience one after another, [T · N].

    Args:
        experience: of T steps of N environments.
    """
    rows = Transition(
        experience.observations,
        experience.raw,
        experience.rewards,
        experience.discounts,
        experience.next_observations,
    )
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)


def empty(capacity: int, size: int, example: Any) -> Replay:
    """A memory of nothing.

    Args:
        capacity: for how many transitions.
        size: of an observation, n.
        example: what one action is made of.

    Returns:
        The memory.
    """
    seen, number = jnp.zeros((capacity, size)), jnp.zeros(capacity)
    raw = jnp.zeros((capacity, *example.shape), example.dtype)
    nothing = jnp.zeros((), jnp.int32)
    return Replay(Transition(seen, raw, number, number, seen), nothing, nothing)


def added(replay: Replay, rows: Transition) -> Replay:
    """The memory with more transitions, which take the place of the oldest.

    Args:
        replay: the memory.
        rows: not more than it has room for.

    Returns:
        The memory.
    """
    capacity, num = len(replay.rows.reward), len(rows.reward)
    places = (replay.position + jnp.arange(num)) % capacity
    held = jax.tree.map(lambda old, new: old.at[places].set(new), replay.rows, rows)
    return Replay(held, (replay.position + num) % capacity, jnp.minimum(replay.size + num, capacity))


def drawn(replay: Replay, key: PRNGKeyArray, num: int) -> Transition:
    """Transitions at random, with replacement.

    Args:
        replay: a memory of at least one.
        key: of the draw.
        num: how many.

    Returns:
        The transitions.
    """
    numbers = jax.random.randint(key, (num,), 0, replay.size)
    return jax.tree.map(lambda leaf: leaf[numbers], replay.rows)
