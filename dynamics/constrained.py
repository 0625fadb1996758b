"""A model whose plans must keep to constraints."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from .actions import taken
from .base import Model, State, check_model
from .checks import real
from .constraints import constraint_names, violation_probabilities, violations
from .pytrees import pytree, static, traceable
from .spaces import action_space
from .wrapper import Wrapper


@pytree
class Constrained(Wrapper):
    """A model with a constraint g <= 0. Make one with `constrained`.

    Attributes:
        model: the model underneath, which may have constraints of its own.
        constraint: (state after a step, action [A]) -> g, a scalar or [C].
        scale: the unit in which g counts, a scalar or [C].
        tolerance: up to which g counts as 0, in that unit, a scalar.
        probability: in which share of the scenarios it may be violated, a scalar in [0, 1).
        name: of the constraint.
    """

    steps_once: ClassVar[bool] = True
    model: Model
    constraint: Callable[..., Any]
    scale: Float[Array, "..."]
    tolerance: Float[Array, ""]
    probability: Float[Array, ""]
    name: str = static()

    @property
    def constraint_names(self) -> tuple[str, ...]:
        """Those of the model underneath, and its own."""
        return (*(constraint_names(self.model) or ()), self.name)

    @property
    def violation_probabilities(self) -> Float[Array, " n"]:
        """Those of the model underneath, and its own."""
        return _appended(violation_probabilities(self.model), self.probability)

    def violations(self, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, " n"]:
        """Those of the model underneath, and its own: Σ_c max(g_c, 0), infinite where some g is NaN."""
        values = _checked(self.constraint(after, taken(self.model, action)))
        try:
            values = values / jnp.broadcast_to(self.scale, values.shape)
        except ValueError as error:
            raise ValueError(
                f"scale must be a number, or one for each of {values.size} constraints, got shape {self.scale.shape}"
            ) from error
        own = jnp.where(jnp.isnan(values), jnp.inf, jnp.where(values > self.tolerance, values, 0.0)).sum()
        return _appended(violations(self.model, state, action, after), own)

    def reads(self, state: State) -> Any:
        """The constraint in a state."""
        return self.constraint(state, action_space(self).zeros())


def constrained(
    model: Model,
    constraint: Callable[..., Any],
    *,
    scale: Any = 1.0,
    tolerance: Any = 0.0,
    violation_probability: Any = 0.0,
    name: str = "constraint",
) -> Constrained:
    """Give a model a constraint that plans must keep: g(state, action) <= 0 after every step.

    A plan violates it by c = Σ_t max(g(s_{t+1}, a_t), 0): the constraint is asked of the state after each step, the
    last one included, and of the action that led there, which is on the scale of plans, as the actuators take it (see
    `with_reward`). Where a plan starts nothing is asked, for it cannot be changed; nor is anything after an episode
    has ended. Where g is NaN it is violated beyond measure. Rewards, steps and ends stay as they are.

    Planners that sample plans keep to it, others refuse such a model, see `docs/constraints.md`.

    Args:
        model: any model, with constraints of its own or without: all of them hold.
        constraint: (state, action [A]) -> g, a scalar or [C] for several constraints; what is <= 0 is allowed. A
            callable pytree stays traced. An integral of g over time is not asked: how far plans are beyond the
            constraint guides those that cannot keep it, so let g grow with the distance from what is allowed.
        scale: the unit of g, > 0, a scalar or [C]: by how much several constraints count beside each other.
        tolerance: up to which g, in that unit, counts as 0: >= 0, for rounding.
        violation_probability: ε in [0, 1), a chance constraint: of M scenarios at most ε M may violate it (jointly,
            where g has several entries). The ⌈(1 − ε) M⌉-th smallest of a plan's M violations is what counts.
        name: what reports call it.

    Returns:
        The model. Its states are those of `model`.

    Raises:
        ValueError: if `model` is not a model, `constraint` is not callable, or a number lies outside its range;
            later, if the constraint returns a boolean or another shape.
    """
    if not callable(constraint):
        raise ValueError(
            f"constraint must be a function (state, action) -> g, allowed where g <= 0, got {constraint!r}"
        )
    if not (isinstance(name, str) and name):
        raise ValueError(f"name must be words, got {name!r}")
    unit = real("scale", scale, above=0.0, shape=None)
    if unit.ndim > 1:
        raise ValueError(f"scale must be a number, or one for each constraint, [C], got shape {unit.shape}")
    return Constrained(
        check_model("model", model),
        traceable(constraint),
        unit,
        real("tolerance", tolerance, minimum=0.0),
        real("violation_probability", violation_probability, minimum=0.0, below=1.0),
        name,
    )


def _appended(known: Float[Array, " n"] | None, own: Float[Array, ""]) -> Float[Array, " m"]:
    return own[None] if known is None else jnp.append(known, own)


def _checked(value: Any) -> Float[Array, "*C"]:
    """What a constraint returns, as numbers."""
    what = "constraint must return a number g, or several, [C], where g <= 0 is allowed"
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}, got {value!r}") from error
    if array.dtype == bool:
        raise ValueError(f"{what}, got a boolean: return how far it is from what is allowed")
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise ValueError(f"{what}, got {array.dtype}")
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"{what}, got shape {array.shape}")
    return array.astype(float)
