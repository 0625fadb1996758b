"""Uncertain models: parameters drawn at random, or several models at once.

A planner's rollout tries each plan in several scenarios, and in each of them the same model is used from the first
step to the last.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from .actions import bounded
from .actuators import actuator_limits, actuator_names, from_actuators, to_actuators
from .base import (
    HasCoordinateNames,
    HasDuration,
    HasMotion,
    HasPose,
    Model,
    State,
    Step,
    check_model,
    scenario_count,
    scenarios,
)
from .checks import integer
from .constraints import constraint_names, violation_probabilities, violations, watched_step
from .coordinates import coordinates, with_coordinates
from .ends import end_reasons
from .engines import HasImagined, imagined
from .figures import Figure, figure
from .pytrees import difference, pytree, static, traceable
from .randomness import redraw
from .rewards import reward_terms
from .spaces import Continuous, Discrete, action_space
from .wrapper import Wrapper


@pytree
class Randomized(Wrapper):
    """A model whose parameters are drawn anew for each scenario: domain randomisation. Make one with `randomized`.

    Attributes:
        model: the model underneath.
        sampler: (key, model) -> the model with other parameters.
        num: in how many scenarios planners try a plan by default.
    """

    model: Model
    sampler: Callable[..., Any]
    num: int = static()

    @property
    def num_scenarios(self) -> int:
        """In how many scenarios planners try a plan by default."""
        return self.num

    def scenarios(self, key: PRNGKeyArray, num: int) -> Any:
        """`num` models of different parameters, as one model whose leaves have a leading axis."""
        return jax.vmap(self._scenario)(jax.random.split(key, num))

    def draw(self, key: PRNGKeyArray) -> Any:
        """A model whose parameters stay as they are drawn here.

        Raises:
            ValueError: if the sampler returns no model of the same structure.
        """
        drawn = self.sampler(key, self.model)
        forms: list[Any] = [jax.tree.structure(model) for model in (self.model, drawn)]
        if forms[0] != forms[1]:
            raise ValueError(f"sampler must return a model of the same structure, {forms[0]}, got {forms[1]}")
        return drawn

    def init(self, key: PRNGKeyArray) -> State:
        """Draw a first state of a model with parameters drawn at random."""
        model_key, init_key = jax.random.split(key)
        return self.draw(model_key).init(init_key)

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step a model with parameters drawn for this step only; for an environment whose stay, use `draw`."""
        model_key, step_key = jax.random.split(key)
        return self.draw(model_key).step(step_key, state, action)

    def watched_step(
        self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]
    ) -> tuple[Step, Float[Array, " C"] | None]:
        """That of a model with parameters drawn for this step only."""
        model_key, step_key = jax.random.split(key)
        return watched_step(self.draw(model_key), step_key, state, action)

    def _scenario(self, key: PRNGKeyArray) -> Any:
        if scenario_count(self.model) is None:
            return self.draw(key)
        own_key, inner_key = jax.random.split(key)
        return _settled(self.draw(own_key), inner_key)


@pytree
class Ensemble:
    """Several models at once, as learned ones are. Make one with `ensemble`.

    Attributes:
        members: the models as one whose leaves have a leading axis.
        num_scenarios: their number.
    """

    members: Any
    num_scenarios: int = static()

    @property
    def action_size(self) -> int | None:
        """The number A of actuators; None where actions are discrete."""
        space = action_space(self.members)
        return space.size if isinstance(space, Continuous) else None

    @property
    def num_actions(self) -> int | None:
        """The number of actions; None where they are continuous."""
        space = action_space(self.members)
        return space.num if isinstance(space, Discrete) else None

    @property
    def dt(self) -> Any:
        """The duration of one step of the first member, s; None where it is not known."""
        first = self.member(0)
        return first.dt if isinstance(first, HasDuration) else None

    @property
    def bounded(self) -> bool | None:
        """Whether the members' actuators have a range."""
        return bounded(self.members)

    def scenarios(self, key: PRNGKeyArray, num: int) -> Any:
        """The members in order, repeated if `num` is greater than their number; if less, from a random one on."""
        keys = None
        if scenario_count(self.members) is not None:  # of members that are themselves uncertain, one draw each
            key, inner_key = jax.random.split(key)
            keys = jax.random.split(inner_key, num)
        chosen = self.members
        if num != self.num_scenarios:
            first = 0 if num > self.num_scenarios else jax.random.randint(key, (), 0, self.num_scenarios)
            numbers = (first + jnp.arange(num)) % self.num_scenarios
            chosen = jax.tree.map(lambda leaf: leaf[numbers], self.members)
        return chosen if keys is None else jax.vmap(_settled)(chosen, keys)

    def imagined(self) -> Any:
        """An ensemble of what planners imagine with in the place of the members; None for these."""
        this, first = self, self.member(0)
        if not isinstance(first, HasImagined) or first.imagined() is None:
            return None
        return dataclasses.replace(this, members=jax.vmap(lambda member: member.imagined())(self.members))

    def to_imagined(self, state: State) -> State:
        """A member's state as that has it."""
        return imagined(self.member(0), state)[1]

    def member(self, index: Any) -> Any:
        """The member of that number, from 0."""
        return jax.tree.map(lambda leaf: leaf[index], self.members)

    def init(self, key: PRNGKeyArray) -> State:
        """Draw a first state of a member drawn at random."""
        member_key, init_key = jax.random.split(key)
        return self._any(member_key).init(init_key)

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step a member drawn for this step only (TS1 of Chua et al., 2018); in a rollout one member stays (TS∞)."""
        member_key, step_key = jax.random.split(key)
        return self._any(member_key).step(step_key, state, action)

    def mean_squared_speed(self, state: State) -> Float[Array, ""] | None:
        """How fast a member moves; None where it is not known."""
        member = self.member(0)
        return member.mean_squared_speed(state) if isinstance(member, HasMotion) else None

    def mean_squared_displacement(self, state: State) -> Float[Array, ""] | None:
        """How far a member is from its pose of rest; None where it has none."""
        member = self.member(0)
        return member.mean_squared_displacement(state) if isinstance(member, HasPose) else None

    @property
    def actuator_names(self) -> tuple[str, ...] | None:
        """The names of a member's actuators; None where they have none."""
        return actuator_names(self.member(0))

    def to_actuators(self, action: Num[Array, "*a"]) -> Float[Array, " B"]:
        """An action in the units of the first member's actuators."""
        return to_actuators(self.member(0), action)

    def from_actuators(self, values: Float[Array, " B"]) -> Num[Array, "*a"]:
        """The action that has the first member's actuators take these values."""
        return from_actuators(self.member(0), values)

    def actuator_limits(self) -> tuple[Float[Array, " B"], Float[Array, " B"]] | None:
        """The range of the first member's actuators; None where they have none."""
        return actuator_limits(self.member(0))

    def reward_terms(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The terms of the first member's reward; None where there are none to tell apart."""
        return reward_terms(self.member(0), state, action, after)

    def end_reasons(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Bool[Array, ""]] | None:
        """Why an episode of the first member ends; None where it does not tell."""
        return end_reasons(self.member(0), state, action, after)

    @property
    def constraint_names(self) -> tuple[str, ...] | None:
        """The names of a member's constraints; None where they have none."""
        return constraint_names(self.member(0))

    @property
    def violation_probabilities(self) -> Float[Array, " C"] | None:
        """In which share of the scenarios the first member's constraints may be violated."""
        return violation_probabilities(self.member(0))

    def violations(self, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, " C"] | None:
        """By how much a step violates the first member's constraints; None where it has none."""
        return violations(self.member(0), state, action, after)

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """The names of a member's coordinates; None where they have none."""
        member = self.member(0)
        return member.coordinate_names if isinstance(member, HasCoordinateNames) else None

    def coordinates(self, state: State) -> Float[Array, " n"]:
        """The coordinates of a member's state."""
        return coordinates(self.member(0), state)

    def with_coordinates(self, state: State, x: Float[Array, " n"]) -> State:
        """A member's state with these coordinates."""
        return with_coordinates(self.member(0), state, x)

    def redraw(self, key: PRNGKeyArray, state: State) -> State:
        """A member's state with the noise in it drawn anew."""
        return redraw(self.member(0), key, state)

    def value(self, state: State) -> Float[Array, ""]:
        """The members' mean value."""
        return jax.vmap(lambda member: member.value(state), axis_size=self.num_scenarios)(self.members).mean()

    def figure(self) -> Figure | None:
        """How the first member looks."""
        return figure(self.member(0))

    def _any(self, key: PRNGKeyArray) -> Any:
        return self.member(jax.random.randint(key, (), 0, self.num_scenarios))


def _settled(model: Any, key: PRNGKeyArray) -> Any:
    """The model of one scenario of `model`, the same from the first step to the last."""
    if scenario_count(model) is None:
        return model
    return jax.tree.map(lambda leaf: leaf[0], scenarios(model, key, 1))


def randomized(model: Model, sampler: Callable[..., Any], num: int = 8) -> Randomized:
    """Let planners try each plan under several draws of the model's parameters.

    The draws are new in each iteration of each planning, and the same for all its plans.

    Args:
        model: any model.
        sampler: (key, model) -> the model with other parameters, such as
            `lambda key, model: dataclasses.replace(model, mass=model.mass * jax.random.uniform(key, minval=0.8))`.
        num: the number of draws.

    Returns:
        The uncertain model. Its states are those of `model`.

    Raises:
        ValueError: if `model` is not a model, `sampler` is not callable, or `num` not positive.
    """
    check_model("model", model)
    if not callable(sampler):
        raise ValueError(f"sampler must be callable, got {sampler!r}")
    return Randomized(model, traceable(sampler), integer("num", num))


def ensemble(models: Sequence[Model]) -> Ensemble:
    """Let planners try each plan in several models.

    Args:
        models: one or more of the same kind, which differ in traced parameters only (masses, weights of a network).

    Returns:
        The models as one. Its states are those of each of them.

    Raises:
        ValueError: if there are none, or if they differ in structure or shapes.
    """
    if not isinstance(models, Sequence) or not models:
        raise ValueError(f"models must be a sequence of at least one model, got {models!r}")

    def form(model: Model) -> Any:
        return jax.tree.structure(model), [jnp.shape(leaf) for leaf in jax.tree.leaves(model)]

    for number, model in enumerate(models):
        if form(model) != form(models[0]):
            raise ValueError(
                "models must have the same structure and shapes, and share their functions (two lambdas are two): "
                f"{difference(f'number {number}', models[0], model)}"
            )
    return Ensemble(jax.tree.map(lambda *leaves: jnp.stack(leaves), *models), len(models))
