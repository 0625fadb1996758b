"""What an algorithm is to the loop that drives environments: where it begins, and how it learns from them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.checks import integer, real
from mirrax.dynamics.spaces import ActionSpace
from mirrax.learning.policies.experience import Experience

P = TypeVar("P")


class Setting(NamedTuple):
    """What an algorithm must know of what it learns from.

    Attributes:
        space: of actions.
        observation_size: n.
        num_envs: how many copies of the environment there are.
        num_transitions: how many steps of all of them there are in an update.
    """

    space: ActionSpace
    observation_size: int
    num_envs: int
    num_transitions: int


class Algorithm(Protocol):
    """Configuration, a pytree. What it learns is a pytree of its own, whose `policy` drives the environments."""

    @property
    def name(self) -> str:
        """Of its factory."""
        ...

    def first_policy(self, space: ActionSpace, observe: Callable[..., Any] | None) -> Any:
        """The kind of policy that it learns for such actions, with its defaults, without parameters.

        Raises:
            ValueError: if it learns none for such actions.
        """
        ...

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> Any:
        """Where learning begins.

        Raises:
            ValueError: if the setting does not fit.
        """
        ...

    def learn(self, key: PRNGKeyArray, learner: Any, experience: Experience) -> tuple[Any, dict[str, Array]]:
        """Learn from experience of the learner's policy.

        Returns:
            The learner, of the same structure, and numbers to report.
        """
        ...

    def value(self, learner: Any) -> Any:
        """State -> value under the policy, a pytree; None where none is learnt."""
        ...


def with_params(policy: P, params: Any) -> P:
    """The policy with other parameters.

    Args:
        policy: of a network.
        params: of the same network.
    """
    return dataclasses.replace(policy, params=params)  # type: ignore[type-var]


def followed(target: P, params: P, rate: Any) -> P:
    """Parameters that targets are made with, a step nearer to those that are learnt; of the same types.

    Args:
        target: as they are.
        params: that are learnt.
        rate: which share of the way, in (0, 1].
    """
    return jax.tree.map(lambda old, new: (old + rate * (new - old)).astype(old.dtype), target, params)


def check_discount(discount: Any) -> Float[Array, ""]:
    """Return γ, or raise a `ValueError` unless it lies in [0, 1]."""
    return real("discount", discount, minimum=0.0, maximum=1.0)


def check_replay(capacity: Any, num_transitions: int | None = None) -> int:
    """Return the size of a replay, or raise a `ValueError` unless it holds the transitions of an update."""
    capacity = integer("replay_size", capacity)
    if num_transitions is not None and capacity < num_transitions:
        raise ValueError(
            f"replay_size must be at least num_envs * num_steps = {num_transitions}, the transitions of an update, "
            f"got {capacity}"
        )
    return capacity
