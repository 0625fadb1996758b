"""Actions in the units of the actuators, and the actuators' names."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from .actions import bounded, check_action, from_range, to_range
from .base import HasActuators
from .checks import real
from .spaces import Discrete, action_space


class Motors:
    """What models have in common whose motors push as hard one way as the other. Subclasses define the first two."""

    @property
    def limit(self) -> Float[Array, ""]:
        """What an action of 1 stands for, a scalar."""
        raise NotImplementedError

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """What the motors give, with its unit."""
        raise NotImplementedError

    @property
    def action_size(self) -> int:
        """The number A of motors."""
        return len(self.actuator_names)

    @property
    def bounded(self) -> bool:
        """Actions have a range, that of the motors."""
        return True

    def to_actuators(self, action: Float[Array, " A"]) -> Float[Array, " A"]:
        """An action in the unit of `limit`, clipped to ±`limit`."""
        return to_range(check_action(action, self.action_size), -self.limit, self.limit)

    def from_actuators(self, values: Float[Array, " A"]) -> Float[Array, " A"]:
        """The action that has the motors push like this, in the unit of `limit`."""
        return from_range(check_action(values, self.action_size), -self.limit, self.limit)


@runtime_checkable
class HasActuatorLimits(Protocol):
    """A model of discrete actions that knows the range of its actuators. Ask by `dynamics.actuator_limits`."""

    def actuator_limits(self) -> tuple[Float[Array, " B"], Float[Array, " B"]] | None:
        """The least and the greatest that the actuators take, in their units; None where they have no range."""
        ...


def to_actuators(model: Any, action: Any) -> Float[Array, "*n B"]:
    """An action in the units of the actuators: what they do about it, within their range.

    Args:
        model: whose `to_actuators(action)` it is, where it has that (see `HasActuators`; most have, and wrappers of
            them); of all others actuators take plans as they are.
        action: on the scale of plans, [A], where [-1, 1] is the actuators' range; or a number of a discrete action.
            Or many of them, with leading axes.

    Returns:
        One value for each actuator, [B]; of a discrete action of a model without actuators its number, [1]; with the
        leading axes of `action`.

    Raises:
        ValueError: for an action of another shape.
    """
    space = action_space(model)

    def one(action: Any) -> Float[Array, " B"]:
        if isinstance(model, HasActuators):
            return model.to_actuators(action)
        return jnp.atleast_1d(real("action", action, shape=space.shape))

    return _over_leading_axes(one, jnp.asarray(action), len(space.shape))


def from_actuators(model: Any, values: Any) -> Num[Array, "*n"]:
    """The action on the scale of plans that has the actuators take these values: the inverse of `to_actuators`.

    Args:
        model: see `to_actuators`.
        values: one for each actuator, [B], in its units. Those beyond an actuator's range count as its end. Or many,
            with leading axes.

    Returns:
        The action, [A]; of a model that chooses from a list of actions the number of the nearest; with the leading
        axes of `values`.

    Raises:
        ValueError: for another number of values.
    """
    space = action_space(model)

    def one(values: Any) -> Num[Array, "*a"]:
        if isinstance(model, HasActuators):
            return model.from_actuators(values)
        if isinstance(space, Discrete):
            return jnp.clip(jnp.round(real("values", values, shape=(1,))[0]), 0, space.num - 1).astype(jnp.int32)
        return real("values", values, shape=space.shape)

    return _over_leading_axes(one, jnp.asarray(values, float), 1)


def _over_leading_axes(function: Callable[..., Any], array: Array, num_axes: int) -> Any:
    """`function` of an array of so many axes, or of each of many along all axes before them."""
    for _ in range(array.ndim - num_axes):
        function = jax.vmap(function)
    return function(array)


def actuator_names(model: Any) -> tuple[str, ...] | None:
    """The names of the actuators, with the unit in parentheses where it is known.

    Args:
        model: any.

    Returns:
        One for each value of `to_actuators`; None where they have none.
    """
    return model.actuator_names if isinstance(model, HasActuators) else None


def actuator_limits(model: Any) -> tuple[Float[Array, " B"], Float[Array, " B"]] | None:
    """The least and the greatest that the actuators take, in their units.

    Args:
        model: any.

    Returns:
        Both, [B]; None where they have no range, or the model does not say so. Of a model that chooses from a list of
        actions they are those of the model that takes these.
    """
    space = action_space(model)
    if isinstance(space, Discrete):
        return model.actuator_limits() if isinstance(model, HasActuatorLimits) else None
    if not bounded(model):
        return None
    one = jnp.ones(space.size)
    ends = to_actuators(model, -one), to_actuators(model, one)
    return jnp.minimum(*ends), jnp.maximum(*ends)
