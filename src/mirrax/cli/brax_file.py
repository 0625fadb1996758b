"""A MuJoCo file on Brax's own engines, through Brax's loader, with the reward of a task file."""

import copy
import functools
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import dynamics
from mirrax.dynamics.checks import choice
from mirrax.dynamics.mujoco_file import Robot, keyframe_state, names_of
from mirrax.dynamics.mujoco_kinematics import frames
from mirrax.dynamics.mujoco_names import NamedData
from mirrax.dynamics.mujoco_task import Task, control_range, make_task, number_of_substeps
from mirrax.dynamics.rotations import matrix

BACKENDS = ("generalized", "positional", "spring")
_PARTS = ("qpos", "qvel", "ctrl", "time")
_HAS = "qpos, qvel, ctrl, time, xpos, xquat, xmat, xipos, geom_xpos, geom_xmat, site_xpos, site_xmat"


class BraxData:
    """What a reward may read of a robot on Brax's engines, with the names of `mujoco.mjx.Data`.

    Attributes:
        qpos: [nq].
        qvel: [nv]; of a free joint as MuJoCo has it, its rotation in the body's own frame.
        ctrl: [nu].
        time: s.
    """

    def __init__(self, robot: Robot, qpos: Any, qvel: Any, ctrl: Any, time: Any) -> None:
        """Keep them; places of bodies follow where they are asked for."""
        self.robot, self.qpos, self.qvel, self.ctrl, self.time = robot, qpos, qvel, ctrl, time

    def replace(self, **parts: Any) -> "BraxData":
        """The data with other places, speeds, controls or another time.

        Raises:
            ValueError: for a part that there is not, or of another shape.
        """
        if absent := [name for name in parts if name not in _PARTS]:
            raise ValueError(f"replace must be given parts of the data, {', '.join(_PARTS)}, got {', '.join(absent)}")
        held = {name: getattr(self, name) for name in _PARTS}
        return BraxData(self.robot, **held | {name: _as_before(name, held[name], parts[name]) for name in parts})

    @functools.cached_property
    def _frames(self) -> Any:
        return frames(self.robot.mj, self.qpos)

    def __getattr__(self, name: str) -> Any:
        """Places and turns of bodies, geoms and sites.

        Raises:
            AttributeError: for all else, which Brax does not have.
        """
        if name in ("xpos", "xquat", "xipos", "geom_xpos", "site_xpos"):
            return getattr(self._frames, name)
        turns = {"xmat": "xquat", "geom_xmat": "geom_xquat", "site_xmat": "site_xquat"}
        if name in turns:
            return matrix(getattr(self._frames, turns[name]))
        raise AttributeError(f"data on Brax's engines have {_HAS}, not {name}: take --engine mujoco or mjx")


@dynamics.pytree
class BraxFile(dynamics.Wrapper):
    """A MuJoCo file on Brax's engines, with what its task says besides rewards and ends.

    Attributes:
        model: the environment underneath.
        task: of the file.
        env: the environment.
    """

    model: dynamics.Model
    task: Task
    env: Any = dynamics.static()

    def _data(self, state: Any) -> Any:
        return self.env.data(state.pipeline_state, state.info)

    def value(self, state: Any) -> Any:
        """What the task says is earned beyond the horizon."""
        return self.task.worth(self._data(state))

    def reward_terms(self, state: Any, action: Any, after: Any) -> Any:
        """The terms of the task's reward."""
        return self.task.terms(self._data(after), self.to_actuators(action))

    def end_reasons(self, state: Any, action: Any, after: Any) -> Any:
        """Why the task ends, where it says so."""
        found = self.task.reasons(self._data(after))
        return {reason: happened for reason, happened in found.items() if reason != "terminate"} or None


def brax_model(mj: Any, functions: Mapping[str, Any], arguments: Mapping[str, Any], backend: str | None) -> Any:
    """The model of a MuJoCo file on one of Brax's engines.

    Args:
        mj: a `mujoco.MjModel`.
        functions: `reward`, and those of `terminate`, `value`, `reset` that the task has.
        arguments: those of `substeps`, `control_dt`, `keyframe`, `action_range` that it has.
        backend: generalized, the default, which has MuJoCo's joints; positional or spring, for files made for these.

    Raises:
        ValueError: for what Brax cannot do.
    """
    backend = choice("backend", backend or BACKENDS[0], BACKENDS)
    if "planning_options" in arguments:
        raise ValueError("planning_options are of the engines mujoco and mjx, got some for brax")
    task = make_task(*(functions.get(name) for name in ("reward", "terminate", "value", "reset")))
    low, high = control_range(mj, arguments.get("action_range"))
    begins = keyframe_state(mj, arguments.get("keyframe"))
    steps = number_of_substeps(mj, arguments.get("substeps"), arguments.get("control_dt"))
    env = _environment(mj, task, begins, steps, backend)
    return BraxFile(dynamics.brax(env, action_range=(low, high)), task, env)


def _environment(mj: Any, task: Task, begins: Any, steps: int, backend: str) -> Any:
    """The environment; its class is made here, because to import Brax takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brax.envs.base import PipelineEnv, State

        system = _system(mj)
    robot, timestep = Robot(mj), float(mj.opt.timestep)

    class FileEnv(PipelineEnv):
        """A robot of a MuJoCo file, with a task."""

        def data(self, physics: Any, info: Any) -> Any:
            """What the task's functions are given."""
            return NamedData(robot, BraxData(robot, physics.q, physics.qd, info["ctrl"], info["time"]))

        def reset(self, rng: Any) -> Any:
            """Where the task begins."""
            places, speeds, ctrl = (jnp.asarray(a, float) for a in (begins.qpos, begins.qvel, begins.ctrl))
            first = BraxData(robot, places, speeds, ctrl, jnp.zeros(()))
            if task.reset is not None:
                found = task.placed(rng, NamedData(robot, first))
                found = found.raw if isinstance(found, NamedData) else found
                if not isinstance(found, BraxData):
                    raise ValueError(
                        "reset must return the data that it was given, changed by data.replace(qpos=...), "
                        f"got {type(found).__name__}"
                    )
                first = found
            physics = self.pipeline_init(first.qpos, first.qvel)
            info = {"time": first.time, "ctrl": first.ctrl}
            return State(physics, self._observed(physics), jnp.zeros(()), jnp.zeros(()), {}, info)

        def step(self, state: Any, action: Any) -> Any:
            """Step the engine; the reward and the end are of the state after it."""
            physics = self.pipeline_step(state.pipeline_state, action)
            info = {"time": state.info["time"] + steps * timestep, "ctrl": action}
            data = self.data(physics, info)
            return state.replace(
                pipeline_state=physics,
                obs=self._observed(physics),
                reward=task.earned(data, action),
                done=task.ended(data).astype(float),
                info=info,
            )

        def _observed(self, physics: Any) -> Any:
            return jnp.concatenate([physics.q, physics.qd])

    return FileEnv(system, backend=backend, n_frames=steps)


def _as_before(name: str, before: Any, given: Any) -> Any:
    """A part of the data as an array of the same shape, or a `ValueError`."""
    try:
        return jnp.broadcast_to(jnp.asarray(given, float), before.shape)
    except (TypeError, ValueError) as error:
        got = f"shape {jnp.shape(given)}" if hasattr(given, "shape") else repr(given)
        raise ValueError(f"{name} must be numbers of shape {before.shape}, got {got}") from error


def _system(mj: Any) -> Any:
    """What Brax's loader makes of a model, or a `ValueError` that says what it cannot."""
    from brax.io import mjcf

    bodies = names_of(mj, "body")
    if still := [bodies[i] or f"body {i}" for i in range(1, mj.nbody) if mj.body_jntnum[i] == 0]:
        raise ValueError(
            f"engine must be mujoco or mjx for a file with bodies without a joint, got 'brax' and {', '.join(still)}"
        )
    try:
        mjcf.validate_model(mj)
        loaded = mjcf.load_model(copy.deepcopy(mj))  # it writes into what it is given
    except (NotImplementedError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"engine must be mujoco or mjx for this file, of which Brax cannot: {said}") from error
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), loaded)
