"""What a model is: the protocol, and the optional protocols of what a model can do besides."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from .checks import real, scalar
from .pytrees import difference
from .spaces import HasContinuousActions, HasDiscreteActions, action_space

_ROUNDING = 1e-5  # how far a discount may lie beyond [0, 1]
State = Any  # an opaque pytree: only the model looks inside


class Step(NamedTuple):
    """The result of one step of a model.

    Attributes:
        state: the next state, a pytree of the same structure as the one before.
        reward: the reward of this step, a scalar.
        discount: the weight of everything that follows, a scalar: 0 where the episode ends here, else 1 (or γ).
    """

    state: State
    reward: Float[Array, ""]
    discount: Float[Array, ""]


@runtime_checkable
class Model(Protocol):
    """The dynamics, rewards and ends that a planner imagines. An environment is a model too.

    A model is a pytree: its parameters are traced, so that sweeping or batching them never recompiles. It also has
    either `action_size`, the number A of actuators, and takes actions [A], or `num_actions`, the number C of its
    actions, and takes integers from 0 to C − 1. One whose actuators have a range maps [-1, 1] to it and clips what
    lies beyond; one whose actuators have no range says so with `bounded` (see `HasBounds`, and the
    protocols below for what else a model can do).
    """

    def init(self, key: PRNGKeyArray) -> State:
        """Draw a first state."""
        ...

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Apply `action`, [A] or an integer, for one time step; `key` drives the noise of a stochastic model."""
        ...

    def value(self, state: State) -> Float[Array, ""]:
        """The expected return beyond the horizon from `state`; 0 where it is not known."""
        ...


# Optional protocols. Ask by the functions below, which know the answer for models that do not implement a protocol,
# never by the name of an attribute: wrappers (`dynamics.Wrapper`) answer for the model that they wrap.


@runtime_checkable
class HasScenarios(Protocol):
    """A model that differs between scenarios. Ask by `scenario_count` and `scenarios`."""

    @property
    def num_scenarios(self) -> int | None:
        """In how many scenarios planners try a plan by default; None for a model that is the same in all."""
        ...

    def scenarios(self, key: PRNGKeyArray, num: int) -> Any:
        """The models of `num` scenarios, as one model whose leaves have a leading axis."""
        ...


@runtime_checkable
class HasCoordinates(Protocol):
    """A model that knows its physical coordinates. Ask by `dynamics.coordinates` and `dynamics.with_coordinates`."""

    def coordinates(self, state: State) -> Float[Array, " n"]:
        """The physical state as a vector."""
        ...

    def with_coordinates(self, state: State, x: Float[Array, " n"]) -> State:
        """The state with these coordinates."""
        ...


@runtime_checkable
class HasDuration(Protocol):
    """A model that may know the duration of its steps. Ask by `duration`."""

    @property
    def dt(self) -> Any:
        """The duration of one step, s; None where it is not known."""
        ...


@runtime_checkable
class HasMotion(Protocol):
    """A model that may know how fast it moves. Ask by `dynamics.mean_squared_speed`."""

    def mean_squared_speed(self, state: State) -> Float[Array, ""] | None:
        """The mean squared speed, (m/s)², 0 at rest; None where it is not known."""
        ...


@runtime_checkable
class HasPose(Protocol):
    """A model that may have a pose in which it can stay at rest. Ask by `dynamics.mean_squared_displacement`."""

    def mean_squared_displacement(self, state: State) -> Float[Array, ""] | None:
        """The mean squared distance from that pose, m², 0 in it; None where there is none."""
        ...


@runtime_checkable
class HasBounds(Protocol):
    """A model that knows whether its actuators have a range. Ask by `bounded`."""

    @property
    def bounded(self) -> bool | None:
        """Whether actions beyond [-1, 1] act like those at its ends; None where the model does not know."""
        ...


@runtime_checkable
class HasActuators(Protocol):
    """A model that knows what its actuators take. Ask by `dynamics.to_actuators` and the functions beside it."""

    @property
    def actuator_names(self) -> tuple[str, ...] | None:
        """Their names, with the unit in parentheses where it is known; None where they have none."""
        ...

    def to_actuators(self, action: Num[Array, "*a"]) -> Float[Array, " B"]:
        """An action on the scale of plans in the units of the actuators."""
        ...

    def from_actuators(self, values: Float[Array, " B"]) -> Num[Array, "*a"]:
        """The action on the scale of plans that has the actuators take these values."""
        ...


@runtime_checkable
class HasCoordinateNames(Protocol):
    """A model that may have names for its coordinates. Ask by `dynamics.coordinate_names`."""

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """One for each of `coordinates`, such as "torso: x (m)": whose it is, what, its unit; None without names."""
        ...


@runtime_checkable
class HasRewardTerms(Protocol):
    """A model whose reward may be a sum of terms. Ask by `dynamics.reward_terms`."""

    def reward_terms(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The terms of a step by name; None where there are none to tell apart."""
        ...


@runtime_checkable
class HasEndReasons(Protocol):
    """A model that may say why an episode ends. Ask by `dynamics.end_reasons`."""

    def end_reasons(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Bool[Array, ""]] | None:
        """What happened, in words -> whether it did, a scalar; None where the model does not tell."""
        ...


@runtime_checkable
class HasNoise(Protocol):
    """A model that knows where its states hold future noise. Ask by `dynamics.redraw`."""

    def redraw(self, key: PRNGKeyArray, state: State) -> State:
        """The state with that noise drawn anew."""
        ...


def duration(model: Any) -> Any:
    """The duration of one step of a model, s.

    Args:
        model: one that has `dt`, or wraps one.

    Raises:
        ValueError: if it has none.
    """
    dt = model.dt if isinstance(model, HasDuration) else None
    if dt is None:
        raise ValueError(f"model must have dt, the duration of a step in seconds, got {type(model).__name__} without")
    return dt


def steps(model: Any, seconds: float) -> int:
    """The number of steps of a model in a duration, rounded, at least one: a horizon, for example.

    Args:
        model: one that has `dt`, the duration of a step in seconds.
        seconds: a duration, greater than 0.

    Returns:
        The number of steps.

    Raises:
        ValueError: if the model does not know its `dt`, or a number is not positive.
    """
    dt = float(real("dt of the model", duration(model), above=0.0))
    return max(1, round(float(real("seconds", seconds, above=0.0)) / dt))


def scenario_count(model: Any) -> int | None:
    """In how many scenarios a model wants a plan to be tried; None for a model that is the same in all.

    Args:
        model: any model.
    """
    return model.num_scenarios if isinstance(model, HasScenarios) else None


def scenarios(model: Any, key: PRNGKeyArray, num: int) -> Any:
    """The models of `num` scenarios, as one model whose leaves have a leading axis.

    Args:
        model: one whose `scenario_count` is not None.
        key: of what is random about them.
        num: how many.
    """
    return model.scenarios(key, num)


def check_model(name: str, model: Any) -> Any:
    """Return `model`, or raise a `ValueError` unless it satisfies `Model` and is a pytree."""
    kind = type(model).__name__
    if isinstance(model, type):
        raise ValueError(f"{name} must be an instance, got the class {model.__name__}")
    missing = [part for part in ("init", "step", "value") if not callable(getattr(model, part, None))]
    if not isinstance(model, HasContinuousActions | HasDiscreteActions):
        missing.append("action_size or num_actions")
    if len(missing) == 4:
        hint = "; dynamics.from_function makes a model of a function" if callable(model) else ""
        raise ValueError(f"{name} must be a model, got {kind}{hint}")
    if missing:
        raise ValueError(f"{name} must have {', '.join(missing)} (see dynamics.Model), got {kind} without")
    action_space(model)
    if jax.tree_util.all_leaves([model]):
        raise ValueError(f"{name} must be a pytree: decorate {kind} with @dynamics.pytree, or register it with JAX")
    return model


def checked_step(result: Any, before: State = None) -> Step:
    """The result of a model's step as a `Step`, checked; costs next to nothing once it is compiled.

    A discount beyond [0, 1] is an error if it is a number, and NaN if it is traced: planners count what is NaN. One
    beyond it by rounding alone, as of 1 − Σp, counts as the end that it means.

    Args:
        result: a `Step`, or any (state, reward, discount).
        before: the state before it; None where there is nothing to compare.

    Raises:
        ValueError: if it is not such a triple, reward or discount is not a scalar number, a discount that is known
            lies beyond [0, 1], or the state has changed its structure, shapes or dtypes.
    """
    if not isinstance(result, tuple) or len(result) != 3:
        raise ValueError(f"step must return (state, reward, discount), got {type(result).__name__}: {result!r}")
    state, reward, discount = result
    if isinstance(discount, bool) or getattr(discount, "dtype", None) == jnp.bool_:
        raise ValueError("discount of a step must be a number, 0 where the episode ends, got a boolean (Gym's done?)")
    if before is not None:
        _check_state(*jax.eval_shape(lambda *states: states, before, state))
    weight = scalar("discount of a step", discount)
    if not isinstance(discount, jax.core.Tracer) and (discount < -_ROUNDING or discount > 1 + _ROUNDING):
        raise ValueError(f"discount of a step must lie in [0, 1], got {discount!r}")
    # not `clip`, which halves derivatives at its ends
    inside = jnp.where(weight < 0, 0.0, jnp.where(weight > 1, 1.0, weight))
    weight = jnp.where((weight >= -_ROUNDING) & (weight <= 1 + _ROUNDING), inside, jnp.nan)
    return Step(state, scalar("reward of a step", reward), weight)


def _check_state(before: Any, after: Any) -> None:
    old_tree: Any = jax.tree.structure(before)
    new_tree: Any = jax.tree.structure(after)
    if old_tree != new_tree:
        raise ValueError(f"the state must keep its structure in a step: {difference('state', before, after)}")
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        # the dtype of a Python number is weak: it becomes that of what it is added to
        if old.shape != new.shape or (old.dtype != new.dtype and not old.weak_type):
            raise ValueError(
                f"state{jax.tree_util.keystr(path)} must keep its shape and dtype in a step, "
                f"got {new.dtype}{list(new.shape)} after {old.dtype}{list(old.shape)}"
            )
