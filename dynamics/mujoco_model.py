"""What models of MuJoCo's engines have in common: a robot, a task, actuators, coordinates, looks."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .actions import check_action, from_range, to_range
from .base import State, Step
from .figures import Figure
from .mujoco_coordinates import from_tangent, names, to_tangent
from .mujoco_figure import mujoco_figure
from .mujoco_file import FREE, SLIDE, Robot, actuator_labels
from .mujoco_kinematics import frames, velocities
from .mujoco_names import NamedData
from .mujoco_task import Task
from .rotations import inverse, rotate


class MujocoBase:
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
            found = self.task.reset(key, NamedData(self.robot, first))
            found = found.raw if isinstance(found, NamedData) else found
            if type(found) is not type(first):
                raise ValueError(
                    f"reset must return the data that it was given, changed by data.replace(qpos=...), "
                    f"got {type(found).__name__}"
                )
            first = jax.tree.map(_as_before, first, found)
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
        return self.task.earned(NamedData(self.robot, after), self.to_actuators(action))

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

    def coordinates(self, state: Any) -> Float[Array, " n"]:
        """Displacements of the joints (rotations as vectors, rad), speeds, activations of actuators, n = 2 nv + na.

        Rotations are seen from the file's reference pose, see `rotations.logarithm`.
        """
        return jnp.concatenate([to_tangent(self.robot.mj, state.qpos), state.qvel, state.act])

    def with_coordinates(self, state: Any, x: Float[Array, " n"]) -> State:
        """The state with these coordinates, and all that the engine derives from them."""
        nv = self.robot.mj.nv
        qpos = from_tangent(self.robot.mj, x[:nv])
        return self.derived(state.replace(qpos=qpos, qvel=x[nv : 2 * nv], act=x[2 * nv :]))

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """Joints by their names in the file."""
        return names(self.robot.mj)

    def mean_squared_speed(self, state: Any) -> Float[Array, ""]:
        """The mean over the centres of mass of all bodies that move, (m/s)²."""
        moving = _moving(self.robot.mj)
        speeds = velocities(self.robot.mj, state.qpos, state.qvel)[moving]
        return (speeds**2).sum(-1).mean()

    def mean_squared_displacement(self, state: Any) -> Float[Array, ""]:
        """The mean over all bodies that move, from where episodes begin, m².

        Where on the ground a robot is that can go anywhere, and where it is heading, does not count.
        """
        moving = _moving(self.robot.mj)
        here, there = (_seen(self.robot.mj, qpos)[moving] for qpos in (state.qpos, self.first().qpos))
        return ((here - there) ** 2).sum(-1).mean()

    def figure(self) -> Figure | None:
        """The geoms of the file."""
        mj = self.robot.mj

        def poses(state: Any) -> tuple[Float[Array, "B 3"], Float[Array, "B 4"]]:
            found = frames(mj, state.qpos, state.mocap_pos, state.mocap_quat)
            return found.xpos[1:], found.xquat[1:]

        return mujoco_figure(mj, poses)

    def imagined(self) -> Any:
        """The model that planners imagine with; None for this one."""
        return self.cheaper

    def to_imagined(self, state: State) -> State:
        """A state as that model has it."""
        return state if self.cheaper is None else self.cheaper.adopted(state)


def _as_before(before: Any, after: Any) -> Array:
    """A leaf of a changed state, as it was typed before: a user's numbers may be weakly typed."""
    return jnp.asarray(after, before.dtype) if jnp.shape(after) == jnp.shape(before) else after


def _finite(state: Any) -> Bool[Array, ""]:
    return jnp.isfinite(state.qpos).all() & jnp.isfinite(state.qvel).all()


def _moving(mj: Any) -> np.ndarray:
    """The bodies that joints move."""
    moves = np.zeros(mj.nbody, bool)
    for body in range(1, mj.nbody):
        moves[body] = mj.body_jntnum[body] > 0 or moves[int(mj.body_parentid[body])]
    return np.flatnonzero(moves)


def _seen(mj: Any, qpos: Float[Array, " q"]) -> Float[Array, "N 3"]:
    """The centres of mass, as seen from above the first body that moves, where that can go anywhere."""
    found = frames(mj, qpos)
    if not len(moving := _moving(mj)):
        return found.xipos
    first = int(moving[0])
    joints = [j for j in range(mj.njnt) if mj.jnt_bodyid[j] == first]
    free = [int(mj.jnt_type[j]) for j in joints] == [FREE]
    roams = np.zeros(3)
    if free:
        roams[:2] = 1.0
    for joint in joints:
        if int(mj.jnt_type[joint]) == SLIDE and not mj.jnt_limited[joint]:
            roams[:2] = np.maximum(roams[:2], np.abs(mj.jnt_axis[joint][:2]) > 0)
    centres = found.xipos - found.xpos[first] * roams
    if not free:
        return centres
    # the heading: the rotation about z that is part of the first body's, (w, 0, 0, z) of its quaternion
    w, z = found.xquat[first][0], found.xquat[first][3]
    length = jnp.sqrt(w * w + z * z + jnp.finfo(jnp.result_type(w)).eps)
    heading = jnp.stack([w / length, 0.0 * w, 0.0 * w, z / length])
    return rotate(inverse(heading), centres)
