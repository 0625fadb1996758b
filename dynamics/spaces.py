"""The space of a model's actions: vectors of numbers, or one of several choices."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Num

from .checks import integer


@runtime_checkable
class HasContinuousActions(Protocol):
    """A model whose actions are vectors. Ask by `action_space`."""

    @property
    def action_size(self) -> int | None:
        """The number A of actuators; None where actions are discrete."""
        ...


@runtime_checkable
class HasDiscreteActions(Protocol):
    """A model whose actions are integers. Ask by `action_space`."""

    @property
    def num_actions(self) -> int | None:
        """The number C of actions, which are 0 to C − 1; None where actions are continuous."""
        ...


@dataclasses.dataclass(frozen=True)
class Continuous:
    """Actions are vectors of numbers; [-1, 1] is the actuators' range, if they have one.

    Attributes:
        size: the number A of actuators.
    """

    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an action, (A,)."""
        return (self.size,)

    def zeros(self, *batch: int) -> Num[Array, "*batch A"]:
        """Actions that are 0."""
        return jnp.zeros((*batch, self.size))

    def __str__(self) -> str:
        return f"action_size={self.size}"


@dataclasses.dataclass(frozen=True)
class Discrete:
    """Actions are integers, each one of several choices.

    Attributes:
        num: the number C of choices.
    """

    num: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an action, ()."""
        return ()

    def zeros(self, *batch: int) -> Num[Array, "*batch"]:
        """The first choice, int32."""
        return jnp.zeros(batch, jnp.int32)

    def __str__(self) -> str:
        return f"num_actions={self.num}"


ActionSpace = Continuous | Discrete


def action_space(model: Any) -> ActionSpace:
    """The space of a model's actions.

    Args:
        model: any model.

    Returns:
        `Continuous` for one that has `action_size`, `Discrete` for one that has `num_actions`.

    Raises:
        ValueError: if it has neither, or both.
    """
    size = model.action_size if isinstance(model, HasContinuousActions) else None
    num = model.num_actions if isinstance(model, HasDiscreteActions) else None
    kind = type(model).__name__
    if (size is None) == (num is None):
        got = "neither" if size is None else f"both, {size!r} and {num!r}"
        raise ValueError(f"a model must have action_size (vectors) or num_actions (integers), {kind} has {got}")
    if num is not None:
        return Discrete(integer(f"num_actions of {kind}", num, 2))
    return Continuous(integer(f"action_size of {kind}", size))
