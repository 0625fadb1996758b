"""Constraints of a model: by how much its steps violate them."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from .base import Model, State, Step, checked_step


@runtime_checkable
class HasConstraints(Protocol):
    """A model that may have constraints. Ask by `dynamics.violations` and `dynamics.constraint_names`."""

    @property
    def constraint_names(self) -> tuple[str, ...] | None:
        """One for each of C constraints; None where there are none."""
        ...

    @property
    def violation_probabilities(self) -> Float[Array, " C"] | None:
        """In which share of the scenarios each may be violated, in [0, 1); None where there are none."""
        ...

    def violations(self, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, " C"] | None:
        """By how much a step violates each, 0 where it does not; None where there are none."""
        ...


@runtime_checkable
class WatchesSteps(Protocol):
    """A model whose steps may be made of several, in each of which constraints hold. Ask by `watched_step`."""

    @property
    def steps_within(self) -> bool:
        """Whether they are, and there are constraints."""
        ...

    def watched_step(
        self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]
    ) -> tuple[Step, Float[Array, " C"] | None]:
        """A step, and by how much all that it is made of violates each constraint."""
        ...


def constraint_names(model: Any) -> tuple[str, ...] | None:
    """The names of a model's constraints, in the order of `violations`.

    Args:
        model: any.

    Returns:
        One for each `dynamics.constrained`; None for a model without constraints.
    """
    return (model.constraint_names or None) if isinstance(model, HasConstraints) else None


def violation_probabilities(model: Any) -> Float[Array, " C"] | None:
    """In which share of the scenarios each constraint may be violated; None for a model without constraints.

    Args:
        model: any.
    """
    return model.violation_probabilities if isinstance(model, HasConstraints) else None


def violations(model: Any, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, " C"] | None:
    """By how much a step violates each constraint of a model; vmap it over the steps of an episode.

    Args:
        model: any.
        state: the state before the step.
        action: on the scale of plans.
        after: the state after it.

    Returns:
        For each `dynamics.constrained` max(g, 0), in its scale, summed where it is of several constraints; infinite
        where g is NaN. None for a model without constraints.
    """
    return model.violations(state, action, after) if isinstance(model, HasConstraints) else None


def watched_step(
    model: Model, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]
) -> tuple[Step, Float[Array, " C"] | None]:
    """A step of a model, and by how much it violates each constraint; None for a model without constraints.

    Args:
        model: any.
        key: of its noise.
        state: before the step.
        action: on the scale of plans.
    """
    if isinstance(model, WatchesSteps):
        return model.watched_step(key, state, action)
    step = checked_step(model.step(key, state, action), state)
    return step, violations(model, state, action, step.state)


def summed(total: Float[Array, " C"] | None, more: Float[Array, " C"] | None, over: Any) -> Any:
    """Violations up to a step and of the step, which does not count where the episode was over before it.

    Args:
        total: of the steps before; None for a model without constraints.
        more: of the step; None, too.
        over: whether it was over, a scalar.
    """
    if total is None or more is None:
        return None
    return total + jnp.where(over, 0.0, jnp.asarray(more, total.dtype))
