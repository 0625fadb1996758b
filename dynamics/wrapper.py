"""Wrappers: models around another model, whose optional protocols they forward."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

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
    checked_step,
    scenario_count,
    scenarios,
)
from .constraints import WatchesSteps, constraint_names, violation_probabilities, violations, watched_step
from .coordinates import coordinates, with_coordinates
from .ends import end_reasons
from .engines import HasImagined, imagined, reward_between, unrolls
from .figures import Figure, figure
from .pytrees import pytree
from .randomness import redraw, redrawn, used_as_keys
from .rewards import reward_terms
from .spaces import Continuous, Discrete, action_space


class Wrapper:
    """A model around another, which it forwards in full: scenarios, coordinates, duration, actuators, noise, looks.

    Subclasses are final: pytrees with a field `model`, which define what they do otherwise. One whose states hold
    those of the model underneath defines `inner`, `outer` and `init`.
    """

    model: Model
    steps_once: ClassVar[bool] = False  # whether a step is one of the model underneath, and what is made of it

    def inner(self, state: State) -> State:
        """The state of the model underneath."""
        return state

    def outer(self, state: State, inner: State) -> State:
        """`state` with that of the model underneath replaced by `inner`."""
        return inner

    @property
    def action_size(self) -> int | None:
        """The number A of actuators; None where actions are discrete."""
        space = action_space(self.model)
        return space.size if isinstance(space, Continuous) else None

    @property
    def num_actions(self) -> int | None:
        """The number of actions; None where they are continuous."""
        space = action_space(self.model)
        return space.num if isinstance(space, Discrete) else None

    def init(self, key: PRNGKeyArray) -> State:
        """Draw a first state of the model underneath."""
        return self.model.init(key)

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """Step the model underneath."""
        step = checked_step(self.model.step(key, self.inner(state), action))
        return Step(self.outer(state, step.state), step.reward, step.discount)

    def applied(self, state: State, actions: Num[Array, "H *a"]) -> Num[Array, "H *b"]:
        """What the model underneath is given from a state on."""
        return actions

    @property
    def unrolls(self) -> bool:
        """Whether the engine underneath follows whole plans at once, and all that is added follows from its steps."""
        return self.steps_once and unrolls(self.model)

    def unroll(self, state: State, actions: Num[Array, "K H *a"]) -> Step:
        """Follow K plans: first all of them underneath, then what the wrapper makes of the steps."""
        this: Any = self
        steps = this.model.unroll(jax.vmap(self.inner)(state), jax.vmap(self.applied)(state, actions))

        def follow(state: State, steps: Step, actions: Num[Array, "H *a"]) -> Step:
            def body(state: State, now: tuple[Step, Array]) -> tuple[State, Step]:
                step = self._knowing(now[0], state, now[1])
                return step.state, step

            return jax.lax.scan(body, state, (steps, actions))[1]

        return jax.vmap(follow)(state, steps, actions)

    def reward_between(self, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, ""] | None:
        """What the wrapper makes of the reward underneath, where that can be said without a step; else None."""
        if not self.steps_once:
            return None
        given = self.applied(state, jnp.asarray(action)[None])[0]
        reward = reward_between(self.model, self.inner(state), given, self.inner(after))
        if reward is None:
            return None
        return self._knowing(Step(self.inner(after), reward, jnp.ones_like(reward)), state, action).reward

    def _knowing(self, step: Step, state: State, action: Num[Array, "*a"]) -> Step:
        """What the wrapper makes of a step of the model underneath that is known."""
        this: Any = self
        return dataclasses.replace(this, model=_Known(self.model, step)).step(jax.random.key(0), state, action)

    def imagined(self) -> Any:
        """A wrapper of what planners imagine with in the place of the model underneath; None for the same."""
        this: Any = self
        other = self.model.imagined() if isinstance(self.model, HasImagined) else None
        return None if other is None else dataclasses.replace(this, model=other)

    def to_imagined(self, state: State) -> State:
        """The state with that of the model underneath as that model has it."""
        return self.outer(state, imagined(self.model, self.inner(state))[1])

    def value(self, state: State) -> Float[Array, ""]:
        """The value of the model underneath."""
        return self.model.value(self.inner(state))

    @property
    def num_scenarios(self) -> int | None:
        """In how many scenarios the model underneath wants a plan to be tried; None where it is the same in all."""
        return scenario_count(self.model)

    def scenarios(self, key: PRNGKeyArray, num: int) -> Any:
        """Those of the model underneath, each in a wrapper of its own."""

        def wrapped(inner: Any) -> Any:
            this: Any = self
            return dataclasses.replace(this, model=inner)

        return jax.vmap(wrapped, axis_size=num)(scenarios(self.model, key, num))

    def coordinates(self, state: State) -> Float[Array, " n"]:
        """The coordinates of the state underneath."""
        return coordinates(self.model, self.inner(state))

    def with_coordinates(self, state: State, x: Float[Array, " n"]) -> State:
        """The state with these coordinates, and all else as it is."""
        return self.outer(state, with_coordinates(self.model, self.inner(state), x))

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """The names of the coordinates of the model underneath; None where it has none."""
        return self.model.coordinate_names if isinstance(self.model, HasCoordinateNames) else None

    @property
    def actuator_names(self) -> tuple[str, ...] | None:
        """The names of the actuators of the model underneath; None where they have none."""
        return actuator_names(self.model)

    def to_actuators(self, action: Num[Array, "*a"]) -> Float[Array, " B"]:
        """An action in the units of the actuators."""
        return to_actuators(self.model, action)

    def from_actuators(self, values: Float[Array, " B"]) -> Num[Array, "*a"]:
        """The action that has the actuators take these values."""
        return from_actuators(self.model, values)

    def actuator_limits(self) -> tuple[Float[Array, " B"], Float[Array, " B"]] | None:
        """The range of the actuators of the model underneath; None where they have none."""
        return actuator_limits(self.model)

    def reward_terms(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The terms of the reward of the model underneath; None where there are none to tell apart."""
        return reward_terms(self.model, self.inner(state), action, self.inner(after))

    def end_reasons(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Bool[Array, ""]] | None:
        """Why an episode of the model underneath ends; None where it does not tell."""
        return end_reasons(self.model, self.inner(state), action, self.inner(after))

    @property
    def constraint_names(self) -> tuple[str, ...] | None:
        """The names of the constraints of the model underneath; None where it has none."""
        return constraint_names(self.model)

    @property
    def violation_probabilities(self) -> Float[Array, " C"] | None:
        """In which share of the scenarios the constraints of the model underneath may be violated."""
        return violation_probabilities(self.model)

    def violations(self, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, " C"] | None:
        """By how much a step violates the constraints of the model underneath; None where it has none."""
        return violations(self.model, self.inner(state), action, self.inner(after))

    @property
    def steps_within(self) -> bool:
        """Whether a step of the model underneath is made of several, in which constraints hold."""
        return isinstance(self.model, WatchesSteps) and self.model.steps_within

    def watched_step(
        self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]
    ) -> tuple[Step, Float[Array, " C"] | None]:
        """A step, and by how much it violates each constraint; of steps within, those of the model underneath."""
        step = checked_step(self.step(key, state, action), state)
        if self.steps_within:
            return step, watched_step(self.model, key, self.inner(state), action)[1]
        return step, self.violations(state, action, step.state)

    @property
    def dt(self) -> Any:
        """The duration of one step of the model underneath, s; None where it is not known."""
        return self.model.dt if isinstance(self.model, HasDuration) else None

    def mean_squared_speed(self, state: State) -> Float[Array, ""] | None:
        """How fast the model underneath moves; None where it is not known."""
        return self.model.mean_squared_speed(self.inner(state)) if isinstance(self.model, HasMotion) else None

    def mean_squared_displacement(self, state: State) -> Float[Array, ""] | None:
        """How far the model underneath is from its pose of rest; None where it has none."""
        model = self.model
        return model.mean_squared_displacement(self.inner(state)) if isinstance(model, HasPose) else None

    @property
    def bounded(self) -> bool | None:
        """Whether the actuators of the model underneath have a range."""
        return bounded(self.model)

    def redraw(self, key: PRNGKeyArray, state: State) -> State:
        """The state with its future noise drawn anew; that of the model underneath as without the wrapper."""
        inner = redraw(self.model, key, self.inner(state))
        drawn = self.outer(redrawn(jax.random.fold_in(key, _OWN), state), inner)
        return redrawn(jax.random.fold_in(key, _RAW), drawn, used_as_keys(self.reads, state), typed=False)

    def figure(self) -> Figure | None:
        """How the model underneath looks."""
        inside = figure(self.model)
        if inside is None:
            return None
        return dataclasses.replace(inside, poses=lambda state: inside.poses(self.inner(state)))

    def reads(self, state: State) -> Any:
        """The result of the user's function that the wrapper adds, to see which keys of a state it uses."""
        return ()


@pytree
class _Known(Wrapper):
    """A model whose next step is known already."""

    model: Model
    result: Step

    def step(self, key: PRNGKeyArray, state: State, action: Num[Array, "*a"]) -> Step:
        """That step."""
        return self.result


_OWN, _RAW = 2**31 - 1, 2**31 - 2  # beyond all numbers of leaves
