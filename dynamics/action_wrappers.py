"""Models that take other actions: the same for several steps, or one of a list."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from .actions import bounded, check_choice
from .actuators import from_actuators, to_actuators
from .base import Model, State, Step, check_model, checked_step
from .checks import integer, real
from .constraints import summed, watched_step
from .pytrees import pytree, static
from .spaces import Discrete, action_space
from .wrapper import Wrapper


@pytree
class ActionRepeat(Wrapper):
    """A model that applies each action several times. Make one with `action_repeat`.

    Attributes:
        model: the model underneath.
        repeats: how many of its steps one step takes.
    """

    model: Model
    repeats: int = static()

    @property
    def dt(self) -> Any:
        """The duration of one step, s: `repeats` times that of the model underneath; None where it is not known."""
        dt = super().dt
        if dt is None:
            return None
        with jax.ensure_compile_time_eval():  # known, where the model is no argument of a jitted function
            return self.repeats * dt

    def reward_terms(self, state: State, action: Num[Array, "*a"], after: State) -> None:
        """None: those of the last repetition alone can be seen."""
        return None

    def end_reasons(self, state: State, action: Num[Array, "*a"], after: State) -> None:
        """None: an episode may have ended in a repetition before the last."""
        return None

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Apply `action` `repeats` times: the discounted sum of the rewards, nothing counted after an end."""

        def body(carry: Step, key: PRNGKeyArray) -> tuple[Step, None]:
            return _followed(carry, checked_step(self.model.step(key, carry.state, action), carry.state)), None

        return jax.lax.scan(body, _first(state), jax.random.split(key, self.repeats))[0]

    @property
    def steps_within(self) -> bool:
        """Constraints hold after each repetition."""
        return self.constraint_names is not None

    def watched_step(
        self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]
    ) -> tuple[Step, Float[Array, " C"] | None]:
        """Apply `action` `repeats` times, and sum up by how much that violates each constraint until the end.

        `violations`, which sees no more than where all this leads, tells those of the last repetition.
        """
        if self.constraint_names is None:
            return self.step(key, state, action), None

        def body(carry: tuple[Step, Array], key: PRNGKeyArray) -> tuple[tuple[Step, Array], None]:
            so_far, total = carry
            step, violated = watched_step(self.model, key, so_far.state, action)
            return (_followed(so_far, step), summed(total, violated, so_far.discount == 0)), None

        start = (_first(state), jnp.zeros(len(self.constraint_names)))
        return jax.lax.scan(body, start, jax.random.split(key, self.repeats))[0]


@pytree
class Discretized(Wrapper):
    """A model that takes one of several actions, by its number. Make one with `discretized`.

    Attributes:
        model: the model underneath, whose actions are continuous.
        actions: the actions to choose from, [C, A].
    """

    steps_once: ClassVar[bool] = True
    model: Model
    actions: Float[Array, "C A"]

    @property
    def action_size(self) -> None:
        """Actions are discrete."""
        return None

    @property
    def num_actions(self) -> int:
        """The number C of actions."""
        return len(self.actions)

    def applied(self, state: State, actions: Int[Array, " H"]) -> Float[Array, "H A"]:
        """The actions of these numbers."""
        return self.actions[actions]

    def to_actuators(self, action: Int[Array, ""]) -> Float[Array, " A"]:
        """The action of that number in the units of the actuators."""
        return to_actuators(self.model, self.actions[check_choice(action)])

    def from_actuators(self, values: Float[Array, " A"]) -> Int[Array, ""]:
        """The number of the nearest action of the list, on the scale of plans."""
        wanted = from_actuators(self.model, values)
        return jnp.argmin(((self.actions - wanted) ** 2).sum(-1)).astype(jnp.int32)

    def reward_terms(
        self, state: State, action: Int[Array, ""], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """Those of the model underneath for the action of that number."""
        return super().reward_terms(state, self.actions[check_choice(action)], after)

    def end_reasons(self, state: State, action: Int[Array, ""], after: State) -> Mapping[str, Bool[Array, ""]] | None:
        """Those of the model underneath for the action of that number."""
        return super().end_reasons(state, self.actions[check_choice(action)], after)

    def violations(self, state: State, action: Int[Array, ""], after: State) -> Float[Array, " C"] | None:
        """Those of the model underneath for the action of that number."""
        return super().violations(state, self.actions[check_choice(action)], after)

    def watched_step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, ""]
    ) -> tuple[Step, Float[Array, " C"] | None]:
        """That of the model underneath for the action of that number."""
        return watched_step(self.model, key, state, self.actions[check_choice(action)])

    def step(self, key: PRNGKeyArray, state: State, action: Int[Array, ""]) -> Step:
        """Step the model underneath with the action of that number."""
        return self.model.step(key, state, self.actions[check_choice(action)])


def _first(state: State) -> Step:
    """Before the first repetition."""
    return Step(state, jnp.zeros(()), jnp.ones(()))


def _followed(so_far: Step, step: Step) -> Step:
    """All repetitions up to one as one step."""
    _, reward, discount = so_far
    # 0 · NaN is NaN: rewards after the end must be left out, not multiplied by 0
    gain = jnp.where(discount == 0, 0.0, discount * step.reward)
    return Step(step.state, reward + gain, jnp.where(discount == 0, 0.0, discount * step.discount))


def action_repeat(model: Model, repeats: int) -> ActionRepeat:
    """Hold each action for several steps of a model: plans reach further, decisions are slower.

    Args:
        model: any model.
        repeats: the number of steps of `model` that one step takes.

    Returns:
        The slower model.

    Raises:
        ValueError: if `model` is not a model, or `repeats` is not a positive integer.
    """
    return ActionRepeat(check_model("model", model), integer("repeats", repeats))


def discretized(model: Model, actions: Any) -> Discretized:
    """Let a model choose from a list of actions.

    Args:
        model: any model of continuous actions.
        actions: the list, [C, A] with C >= 2, on the scale of plans: 1 is the end of the actuators' range.

    Returns:
        The model with `num_actions` C, whose actions are numbers of entries of the list. Its states are those of
        `model`.

    Raises:
        ValueError: if `model` has no continuous actions, `actions` has another shape, or some lie beyond the range of
            a model that has one.
    """
    space, table = action_space(check_model("model", model)), real("actions", actions, shape=None)
    if isinstance(space, Discrete):
        raise ValueError(f"model must have continuous actions to choose from, {type(model).__name__} has {space}")
    if table.ndim != 2 or len(table) < 2 or table.shape[1] != space.size:
        raise ValueError(f"actions must have shape [C, {space.size}] with C >= 2, got {table.shape}")
    if bounded(model) and not isinstance(table, jax.core.Tracer) and (np.abs(np.asarray(actions)) > 1.0).any():
        raise ValueError(f"actions must lie in [-1, 1], the ends of the actuators' range, got {actions!r}")
    return Discretized(model, table)
