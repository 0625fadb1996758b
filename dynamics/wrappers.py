"""Models made of models: another reward, end, value or discount, slower decisions, a list of actions, a clock."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from .actions import taken
from .base import Model, State, Step, check_model, checked_step
from .checks import real, scalar, told, truth
from .pytrees import pytree, static, traceable
from .rewards import checked_terms, total
from .spaces import action_space
from .wrapper import Wrapper


@pytree
class WithReward(Wrapper):
    """A model with another reward. Make one with `with_reward`.

    Attributes:
        model: the model underneath.
        reward_function: (state, action [A], next state) -> scalar, or name -> scalar.
    """

    steps_once: ClassVar[bool] = True
    model: Model
    reward_function: Callable[..., Any]

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath; the given reward, NaN where the model's own is (it diverged)."""
        step = checked_step(self.model.step(key, state, action))
        reward = total("reward", self.reward_function(state, taken(self.model, action), step.state))
        return step._replace(reward=jnp.where(jnp.isnan(step.reward), jnp.nan, reward))

    def reward_terms(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The terms of the given reward; None where it is one number."""
        return checked_terms("reward", self.reward_function(state, taken(self.model, action), after)) or None

    def reads(self, state: State) -> Any:
        """The reward for a state, before or after a step."""
        return self.reward_function(state, action_space(self).zeros(), state)


@pytree
class WithTermination(Wrapper):
    """A model whose episodes end elsewhere too. Make one with `with_termination`.

    Attributes:
        model: the model underneath.
        ended_function: (state, action [A], next state) -> a boolean scalar.
        reason: what has happened where it is true, in words; None where nothing is to be said.
    """

    steps_once: ClassVar[bool] = True
    model: Model
    ended_function: Callable[..., Any]
    reason: str | None = static(default=None)

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath; a discount of 0 where the episode ends."""
        step = checked_step(self.model.step(key, state, action))
        ended = self._ended(state, action, step.state)
        return step._replace(discount=jnp.where(ended, 0.0, step.discount))

    def end_reasons(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Bool[Array, ""]] | None:
        """Why an episode of the model underneath ends, and the given reason."""
        reasons = dict(super().end_reasons(state, action, after) or {})
        if self.reason is not None:
            reasons[self.reason] = self._ended(state, action, after) | reasons.get(self.reason, False)
        return reasons or None

    def _ended(self, state: State, action: Num[Array, "*a"], after: State) -> Bool[Array, ""]:
        return truth("ended", self.ended_function(state, taken(self.model, action), after))

    def reads(self, state: State) -> Any:
        """The end for a state, before or after a step."""
        return self.ended_function(state, action_space(self).zeros(), state)


@pytree
class WithValue(Wrapper):
    """A model with another value beyond the horizon. Make one with `with_value`.

    Attributes:
        model: the model underneath.
        value_function: state -> scalar.
    """

    steps_once: ClassVar[bool] = True
    model: Model
    value_function: Callable[..., Any]

    def value(self, state: State) -> Float[Array, ""]:
        """The given value."""
        return scalar("value", self.value_function(state))

    def reads(self, state: State) -> Any:
        """The value of a state."""
        return self.value_function(state)


@pytree
class Discounted(Wrapper):
    """A model whose future counts less. Make one with `discounted`.

    Attributes:
        model: the model underneath.
        discount: γ, in [0, 1].
    """

    steps_once: ClassVar[bool] = True
    model: Model
    discount: Float[Array, ""]

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath, its discount times γ."""
        step = checked_step(self.model.step(key, state, action))
        return step._replace(discount=self.discount * step.discount)


def with_reward(model: Model, reward: Callable[..., Any]) -> WithReward:
    """Give a model another reward; all else that it can do stays.

    Args:
        model: any model.
        reward: (state, action [A], next state) -> scalar; or a dictionary of terms, name -> scalar, whose sum is the
            reward, and which reports tell apart. The action is on the scale of plans, as the actuators take it:
            clipped to [-1, 1], unless the model has no range, or does not say (`from_function` without one,
            `linear_quadratic`). A callable pytree (`jax.tree_util.Partial`, a network with weights) stays traced.

    Returns:
        The model with `reward` in place of its own. Where its own is NaN, which means that a simulation has diverged,
        it stays NaN.

    Raises:
        ValueError: if `model` is not a model, or `reward` is not callable.
    """
    return WithReward(check_model("model", model), _function("reward", reward))


def with_termination(model: Model, ended: Callable[..., Any], reason: str | None = None) -> WithTermination:
    """Let episodes of a model end in more states: rewards after an end do not count.

    Args:
        model: any model. Where its rewards are negative, an early end is a gain: keep them positive, or charge for
            it.
        ended: (state, action [A], next state) -> whether the episode ends with this step, a boolean scalar; the
            action as in `with_reward`. A callable pytree stays traced.
        reason: what has happened then, in words, such as "it fell", for the summary of a run.

    Returns:
        The model, which ends there and where it did before.

    Raises:
        ValueError: if `model` is not a model, `ended` is not callable, or `reason` is no word.
    """
    if reason is not None and not (isinstance(reason, str) and reason):
        raise ValueError(f"reason must be words, got {reason!r}")
    return WithTermination(check_model("model", model), _function("ended", ended), reason)


def with_value(model: Model, value: Callable[..., Any]) -> WithValue:
    """Give a model a value beyond the horizon.

    Args:
        model: any model.
        value: state -> scalar, in reward units. A callable pytree (a network with weights) stays traced.

    Returns:
        The model with `value` in place of its own.

    Raises:
        ValueError: if `model` is not a model, or `value` is not callable.
    """
    return WithValue(check_model("model", model), _function("value", value))


def discounted(model: Model, discount: Any) -> Discounted:
    """Discount the future of a model.

    Args:
        model: any model.
        discount: γ in [0, 1], by which each step multiplies the weight of what follows.

    Returns:
        The model with its own discount times γ.

    Raises:
        ValueError: if `model` is not a model, or γ lies outside [0, 1].
    """
    return Discounted(check_model("model", model), real("discount", discount, minimum=0.0, maximum=1.0))


def _function(name: str, function: Any) -> Callable[..., Any]:
    if not callable(function):
        raise ValueError(f"{name} must be callable, got {told(function)}")
    return traceable(function)
