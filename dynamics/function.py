"""A user's own function as a model."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from .actions import check_action, check_choice, from_range, to_range
from .base import State, Step, checked_step
from .checks import boolean, check_unused, integer, interval, real, scalar
from .figures import Figure
from .pytrees import pytree, static, strongly_typed, traceable, weakly_typed
from .rewards import checked_terms
from .spaces import action_space


@pytree
class FunctionModel:
    """A model made of plain functions. Make one with `from_function`.

    Attributes:
        step_function: (key, state, action) -> (state, reward, discount).
        init_function: key -> state, or None.
        value_function: state -> scalar, or None.
        action_range: (low, high) that -1 and 1 of a plan stand for, or None: the function gets the plan as it is.
        dt: the duration of a step, s, a scalar; None where steps have none.
        terms_function: (state, action, next state) -> name -> scalar; None where the reward has no terms.
        action_size: the number A of actuators; None where actions are discrete.
        num_actions: the number C of actions; None where they are continuous.
        bounded: whether actions have a range, which is [-1, 1] on the scale of plans; None where it is not known.
        actuator_names: see `from_function`.
        coordinate_names: see `from_function`.
        looks: its figure; None without.
    """

    step_function: Callable[..., Any]
    init_function: Callable[..., Any] | None
    value_function: Callable[..., Any] | None
    action_range: tuple[Float[Array, " A"], Float[Array, " A"]] | None
    dt: Float[Array, ""] | None
    terms_function: Callable[..., Any] | None
    action_size: int | None = static()
    num_actions: int | None = static()
    bounded: bool | None = static()
    actuator_names: tuple[str, ...] | None = static(default=None)
    coordinate_names: tuple[str, ...] | None = static(default=None)
    looks: Figure | None = static(default=None)

    def init(self, key: PRNGKeyArray) -> State:
        """Draw a first state, if the model was given how.

        Raises:
            ValueError: if it was not.
        """
        if self.init_function is None:
            raise ValueError(
                "init must be given to from_function for this model to draw its own first state, got None"
            )
        state = self.init_function(key)
        if weakly_typed(state):  # a Python number, which becomes what a step makes of it
            with contextlib.suppress(Exception):  # of a step that fails says more who calls it
                after = jax.eval_shape(self.step, jax.random.key(0), state, action_space(self).zeros()).state
                return jax.tree.map(_as_after, state, after)
        return strongly_typed(state)

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Apply the user's function.

        Raises:
            ValueError: if `action` has another shape than [A], or is no integer, or the function returns no triple of
                scalars.
        """
        step = checked_step(self.step_function(key, state, self._given(action)), state)
        return step._replace(state=strongly_typed(step.state))  # else the next step is another program

    def value(self, state: State) -> Float[Array, ""]:
        """The user's value of `state`, or zero."""
        return jnp.zeros(()) if self.value_function is None else scalar("value", self.value_function(state))

    def to_actuators(self, action: Num[Array, "*a"]) -> Float[Array, " B"]:
        """What the function is given for an action, [A]; of a discrete action its number, [1]."""
        values = jnp.atleast_1d(self._given(action)).astype(float)
        return jnp.clip(values, -1.0, 1.0) if self.bounded and self.action_range is None else values

    def from_actuators(self, values: Float[Array, " B"]) -> Num[Array, "*a"]:
        """The action for which the function is given these values."""
        if self.action_size is None:
            assert self.num_actions is not None
            return jnp.clip(jnp.round(check_action(values, 1)[0]), 0, self.num_actions - 1).astype(jnp.int32)
        values = check_action(values, self.action_size)
        if self.action_range is not None:
            return from_range(values, *self.action_range)
        return jnp.clip(values, -1.0, 1.0) if self.bounded else values

    def reward_terms(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The terms that `from_function` was given; None where it was not.

        Raises:
            ValueError: if they are no scalars by name.
        """
        if self.terms_function is None:
            return None
        terms = self.terms_function(state, self._given(action), after)
        if not isinstance(terms, Mapping):
            raise ValueError(f"reward_terms must return name -> scalar, got {type(terms).__name__}")
        return checked_terms("reward_terms", terms)

    def figure(self) -> Figure | None:
        """The looks that `from_function` was given; None where it was not."""
        return self.looks

    def _given(self, action: Num[Array, "*a"]) -> Num[Array, "*a"]:
        if self.action_size is None:
            return check_choice(action)
        action = check_action(action, self.action_size)
        return action if self.action_range is None else to_range(action, *self.action_range)


def from_function(
    step: Callable[..., Any],
    action_size: int | None = None,
    *,
    num_actions: int | None = None,
    init: Callable[..., Any] | None = None,
    value: Callable[..., Any] | None = None,
    action_range: tuple[Any, Any] | None = None,
    dt: Any = None,
    bounded: bool | None = None,
    reward_terms: Callable[..., Any] | None = None,
    actuator_names: Sequence[str] | None = None,
    coordinate_names: Sequence[str] | None = None,
    figure: Figure | None = None,
) -> FunctionModel:
    """Make a model of a pure function.

    Args:
        step: (key, state, action) -> (state, reward, discount). The state is any pytree whose structure the step
            preserves: Python numbers in it become arrays, and NaN counts as an error, so let a placeholder be
            another number. Reward and discount are scalars; a discount of 0 ends the episode. Pass a
            `jax.tree_util.Partial` (or any callable pytree) to keep its parameters traced: changing them then never
            recompiles.
        action_size: the number A of actuators, where actions are vectors [A].
        num_actions: the number C of actions instead, where they are integers from 0 to C − 1.
        init: key -> state, needed only where the model starts episodes by itself.
        value: state -> scalar, the return expected beyond the horizon; None for 0.
        action_range: the actions (low, high), scalars or [A], for which -1 and 1 of a plan stand; plans are clipped
            to it. None hands `step` the plan as it is, which may lie beyond [-1, 1].
        dt: the duration of a step, s, for `dynamics.steps` and the time axis of reports; None where steps
            have none.
        bounded: whether there is nothing to find beyond [-1, 1], because `step` clips; planners then look around
            plans within it. None (the default) if there is an `action_range`; otherwise planners find out by trying
            actions beyond it in the state at hand, whenever they plan. Where `step` clips to another range than
            [-1, 1], give the `action_range`, or plans wander off beyond it.
        reward_terms: (state, action, next state) -> name -> scalar, what the reward is a sum of, for reports; the
            action as `step` is given it. None where there is nothing to tell apart.
        actuator_names: what the entries of an action are called, for reports, such as ("steering (rad)", ...).
        coordinate_names: what the floating-point numbers of a state are called, for reports, in the order that JAX
            gives them: entries of dictionaries sorted by their keys, not as they are written. None for their places
            in the state, such as "position[0]".
        figure: how the model looks, for reports: shapes of its bodies, and where a state puts them. Make it once: a
            model with another `Figure` is compiled anew.

    Returns:
        The model.

    Raises:
        ValueError: unless one of `action_size` and `num_actions` is given; if a function is not callable, the range
            is empty, `dt` is not positive, or actions with an `action_range`, or discrete ones, are said otherwise;
            for names that are no words, or not one per actuator; if `figure` is no `Figure`.
    """
    for name, function in (("step", step), ("init", init), ("value", value), ("reward_terms", reward_terms)):
        if not (callable(function) or (function is None and name != "step")):
            raise ValueError(f"{name} must be callable, got {function!r}")
    if (action_size is None) == (num_actions is None):
        raise ValueError(
            f"give either action_size (actions are vectors) or num_actions (integers), "
            f"got {action_size!r} and {num_actions!r}"
        )
    if num_actions is not None:
        num_actions = integer("num_actions", num_actions, 2)
        check_unused("discrete actions have no range", action_range=action_range, bounded=bounded)
    else:
        action_size = integer("action_size", action_size)
    limits = None
    if action_size is not None and action_range is not None:
        limits = interval("action_range", action_range, action_size)
    if bounded is not None and not boolean("bounded", bounded) and action_range is not None:
        raise ValueError(f"bounded must be True where there is an action_range, got False and {action_range!r}")
    if figure is not None and not isinstance(figure, Figure):
        raise ValueError(f"figure must be a dynamics.Figure, got {figure!r}")
    return FunctionModel(
        step_function=traceable(step),
        init_function=None if init is None else traceable(init),
        value_function=None if value is None else traceable(value),
        action_range=limits,
        dt=None if dt is None else real("dt", dt, above=0.0),
        terms_function=None if reward_terms is None else traceable(reward_terms),
        action_size=action_size,
        num_actions=num_actions,
        bounded=True if action_range is not None else bounded,
        actuator_names=_names("actuator_names", actuator_names, action_size or 1),
        coordinate_names=_names("coordinate_names", coordinate_names),
        looks=figure,
    )


def _as_after(leaf: Any, after: Any) -> Any:
    """A leaf of a first state, of the dtype that a step gives it if its own is weak."""
    return jnp.asarray(leaf, after.dtype) if weakly_typed(leaf) else strongly_typed(leaf)


def _names(name: str, given: Any, number: int | None = None) -> tuple[str, ...] | None:
    """Names as a tuple, or a `ValueError`."""
    if given is None:
        return None
    wanted = "names" if number is None else f"{number} names"
    if isinstance(given, str) or not all(isinstance(entry, str) for entry in given):
        raise ValueError(f"{name} must be a sequence of {wanted}, got {given!r}")
    if number is not None and len(given) != number:
        raise ValueError(f"{name} must be a sequence of {wanted}, got {len(given)}: {given!r}")
    if len(set(given)) < len(given):
        raise ValueError(f"{name} must be different from each other, got {given!r}")
    return tuple(given)
