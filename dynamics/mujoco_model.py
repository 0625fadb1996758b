"""What models of MuJoCo's engines have in common: a robot with a task, and actuators."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .actions import check_action, from_range, to_range
from .base import State, Step
from .mujoco_file import Robot, actuator_labels
from .mujoco_names import NamedData
from .mujoco_robot import MujocoRobot
from .mujoco_task import Task
from .pytrees import difference


class MujocoBase(MujocoRobot):
    """A robot on one of MuJoCo's engines. Subclasses are final pytrees, which say how the engine goes on.

    Attributes:
        robot: the model of the file.
        task: what is earned, and where episodes begin and end.
        low: what an action of -1 stands for, in the units of the actuators, [A].
        high: what 1 stands for, [A].
        substeps: how many steps of the engine one step takes.
        cheaper: the model that planners imagine with in the place of this one; None for this one.
    """

    robot: Robot
    task: Task
    low: Float[Array, " A"]
    high: Float[Array, " A"]
    substeps: int
    cheaper: Any

    def first(self) -> State:
        """Where episodes begin, before the task's `reset`."""
        raise NotImplementedError

    def data_of(self, state: State) -> Any:
        """The state is MuJoCo's data."""
        return state

    def with_data(self, state: State, data: Any) -> State:
        """The data, with all that the engine derives."""
        return self.derived(data)

    @property
    def rest_qpos(self) -> Float[Array, " q"]:
        """Where episodes begin, before the task's `reset`."""
        return self.first().qpos

    def derived(self, state: State) -> State:
        """The state with all that the engine derives from places and speeds."""
        raise NotImplementedError

    def advanced(self, state: State, control: Float[Array, " A"]) -> State:
        """The state after one step."""
        raise NotImplementedError

    def adopted(self, state: Any) -> State:
        """A state of this model with the places and speeds of one of the same robot, whose options may be others."""
        raise NotImplementedError

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        return int(self.robot.mj.nu)

    @property
    def bounded(self) -> bool:
        """Actions have a range, that of the actuators."""
        return True

    @property
    def dt(self) -> float:
        """The duration of one step, s."""
        return float(self.robot.mj.opt.timestep) * self.substeps

    def init(self, key: PRNGKeyArray) -> State:
        """Where the task begins: by its `reset`, else the file's keyframe or reference pose.

        Raises:
            ValueError: if `reset` returns something else than the data that it was given, changed.
        """
        first = self.first()
        if self.task.reset is not None:
            found = self.task.placed(key, NamedData(self.robot, first))
            found = found.raw if isinstance(found, NamedData) else found
            if type(found) is not type(first):
                raise ValueError(
                    f"reset must return the data that it was given, changed by data.replace(qpos=...), "
                    f"got {type(found).__name__}"
                )
            found = jax.tree.map(_as_before, first, found)
            if (wrong := difference("what reset returns", first, found)) is not None:
                raise ValueError(wrong)
            first = found
        return self.derived(first)

    def step(self, key: PRNGKeyArray, state: State, action: Float[Array, " A"]) -> Step:
        """Step the engine; the reward and the end are of the state after the step. One that diverged earns NaN.

        Raises:
            ValueError: if `action` has another shape than [A].
        """
        del key  # engines are deterministic
        control = self.to_actuators(action)
        return self.judged(self.advanced(state, control), control)

    def judged(self, after: State, control: Float[Array, " A"]) -> Step:
        """A step whose end is known."""
        data: Any = NamedData(self.robot, after)
        reward = jnp.where(_finite(after), self.task.earned(data, control), jnp.nan)
        discount = jnp.where(self.task.ended(data), 0.0, 1.0)
        return Step(after, reward, discount)

    def reward_between(self, state: State, action: Float[Array, " A"], after: State) -> Float[Array, ""]:
        """The task's reward, which is of the state after a step and of the action alone."""
        control, reached = self.to_actuators(action), self.data_of(after)
        reached = reached.replace(ctrl=control.astype(reached.ctrl.dtype))  # which rewards may be of, too
        return self.task.earned(NamedData(self.robot, reached), control)

    def value(self, state: State) -> Float[Array, ""]:
        """What the task says is earned beyond the horizon; 0 where it does not."""
        return self.task.worth(NamedData(self.robot, state))

    def to_actuators(self, action: Float[Array, " A"]) -> Float[Array, " A"]:
        """An action in the units of the actuators, `ctrl`."""
        return to_range(check_action(action, self.action_size), self.low, self.high)

    def from_actuators(self, values: Float[Array, " A"]) -> Float[Array, " A"]:
        """The action that has the actuators take these values of `ctrl`."""
        return from_range(check_action(values, self.action_size), self.low, self.high)

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """The names of the actuators, or of what they drive."""
        return tuple(actuator_labels(self.robot.mj))

    def reward_terms(
        self, state: State, action: Float[Array, " A"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The terms of the task's reward, where it returns some."""
        return self.task.terms(NamedData(self.robot, after), self.to_actuators(action))

    def end_reasons(
        self, state: State, action: Float[Array, " A"], after: State
    ) -> Mapping[str, Bool[Array, ""]] | None:
        """Why the task ends, where it says so."""
        found = self.task.reasons(NamedData(self.robot, after))
        return {reason: happened for reason, happened in found.items() if reason != "terminate"} or None

    def imagined(self) -> Any:
        """The model that planners imagine with, with this one's task and actions; None for this one."""
        cheaper: Any = self.cheaper
        if cheaper is None:
            return None
        return dataclasses.replace(cheaper, task=self.task, low=self.low, high=self.high)

    def to_imagined(self, state: State) -> State:
        """A state as that model has it."""
        return state if self.cheaper is None else self.cheaper.adopted(state)


def _as_before(before: Any, after: Any) -> Array:
    """A leaf of a changed state, as it was typed before: a user's numbers may be weakly typed."""
    return jnp.asarray(after, before.dtype) if jnp.shape(after) == jnp.shape(before) else after


def _finite(state: Any) -> Bool[Array, ""]:
    return jnp.isfinite(state.qpos).all() & jnp.isfinite(state.qvel).all()
