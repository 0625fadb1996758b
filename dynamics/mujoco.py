"""MuJoCo models on MuJoCo's own C engine: the fastest on a CPU, and for all files that MuJoCo takes."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import State, Step
from .checks import integer
from .mujoco_data import MujocoData, mocap_of, physics_of, with_physics
from .mujoco_engine import Engine, available_cores
from .mujoco_file import Robot, keyframe_state, load_model, with_options
from .mujoco_model import MujocoBase
from .mujoco_names import sensor_stages
from .mujoco_task import Task, control_range, make_task, number_of_substeps
from .pytrees import pytree, static


@pytree
class MujocoModel(MujocoBase):
    """A MuJoCo model on the C engine. Make one with `mujoco`. Its states are `MujocoData`.

    Attributes:
        robot: see `MujocoBase`.
        engine: the engine, and its threads.
        task: see `MujocoBase`.
        low: see `MujocoBase`.
        high: see `MujocoBase`.
        beginning: where episodes begin.
        cheaper: see `MujocoBase`.
        substeps: see `MujocoBase`.
    """

    robot: Robot = static()
    engine: Engine = static()
    task: Task
    low: Float[Array, " A"]
    high: Float[Array, " A"]
    beginning: MujocoData
    cheaper: Any
    substeps: int = static()

    def first(self) -> State:
        """Where episodes begin, before the task's `reset`."""
        return self.beginning

    def derived(self, state: MujocoData) -> State:
        """The state with what its sensors say."""
        if self.robot.mj.nsensordata == 0:
            return state
        _, sensors = self._rollout(state, state.ctrl[..., None, :])
        _, late = sensor_stages(self.robot.mj)
        return state.replace(sensordata=jnp.where(jnp.asarray(late), state.sensordata, sensors[..., 0, :]))

    def advanced(self, state: MujocoData, control: Float[Array, " A"]) -> State:
        """The state after one step."""
        after = self._followed(state, control[..., None, :])
        return jax.tree.map(lambda leaf: leaf[0], after)

    @property
    def unrolls(self) -> bool:
        """The engine follows whole plans at once."""
        return True

    def unroll(self, state: MujocoData, actions: Float[Array, "K H A"]) -> Step:
        """Follow K plans, in one call of the engine, with its threads; see `HasUnroll`."""
        controls = jax.vmap(jax.vmap(self.to_actuators))(actions)
        return jax.vmap(jax.vmap(self.judged))(self._followed(state, controls), controls)

    def adopted(self, state: MujocoData) -> State:
        """A state with the places and speeds of one of the same robot, whose options may be others."""
        return dataclasses.replace(state, robot=self.robot)

    def _followed(self, state: MujocoData, controls: Float[Array, "*n T A"]) -> MujocoData:
        """The states after each of T steps, [..., T]."""
        number, steps = self.substeps, controls.shape[-2]
        own, late = sensor_stages(self.robot.mj)
        each = jnp.repeat(controls, number, axis=-2)
        if own.any():  # one step more, for what sensors say of the last state: they speak of the state before a step
            each = jnp.concatenate([each, each[..., -1:, :]], axis=-2)
        physics, sensors = self._rollout(state, each)
        ends = number * np.arange(1, steps + 1) - 1
        after = with_physics(_spread(state, steps), physics[..., ends, :])
        sensordata = sensors[..., ends, :]
        if own.any():
            sensordata = jnp.where(jnp.asarray(late), sensordata, sensors[..., ends + 1, :])
        # the last acceleration, by how the speed has changed, is where the solver of the next step begins
        before = jnp.concatenate([physics_of(state)[..., None, :], physics], axis=-2)[..., ends, :]
        speeds = with_physics(_spread(state, steps), before).qvel
        acceleration = (after.qvel - speeds) / self.robot.mj.opt.timestep
        return after.replace(ctrl=controls, sensordata=sensordata, qacc_warmstart=acceleration)

    def _rollout(self, state: MujocoData, controls: Float[Array, "*n T A"]) -> tuple[Array, Array]:
        return _call(self.engine, physics_of(state), controls, state.qacc_warmstart, mocap_of(state))


def mujoco(
    model: Any,
    reward: Callable[..., Any],
    *,
    terminate: Callable[..., Any] | None = None,
    value: Callable[..., Any] | None = None,
    reset: Callable[..., Any] | None = None,
    keyframe: str | int | None = None,
    substeps: int | None = None,
    control_dt: float | None = None,
    action_range: Any = None,
    threads: int | None = None,
    planning_options: Mapping[str, Any] | None = None,
) -> MujocoModel:
    """Make a model of a MuJoCo file, on MuJoCo's own C engine.

    Planners that sample roll all plans out in one call of the engine, in threads of its own; rewards, ends and values
    are computed in JAX. It works within `jit`, `scan` and `vmap`. It has no derivatives: planners that follow these
    need `dynamics.mjx`, which takes the same arguments.

    Args:
        model: see `dynamics.mjx`; every file that MuJoCo takes.
        reward: (data, action) -> scalar, or name -> scalar, of the state *after* the step; see `dynamics.mjx`. Of
            what MuJoCo derives, `data` has the frames of bodies, geoms and sites, and `sensordata`: read velocities
            of bodies, forces and contacts from sensors.
        terminate: see `dynamics.mjx`.
        value: see `dynamics.mjx`.
        reset: see `dynamics.mjx`.
        keyframe: see `dynamics.mjx`.
        substeps: see `dynamics.mjx`.
        control_dt: see `dynamics.mjx`.
        action_range: see `dynamics.mjx`.
        threads: how many rollouts are followed at the same time; None for as many as there are cores.
        planning_options: see `dynamics.mjx`.

    Returns:
        The model. Its states are `dynamics.MujocoData`.

    Raises:
        ValueError: if MuJoCo does not take the file, an actuator has no range, a function cannot be called, or an
            option is outside its range.
    """
    mj, task = load_model(model), make_task(reward, terminate, value, reset)
    steps = number_of_substeps(mj, substeps, control_dt)
    threads = available_cores() if threads is None else integer("threads", threads)
    make = functools.partial(_make, task=task, keyframe=keyframe, action_range=action_range, threads=threads)
    own = make(mj, steps=steps)
    if planning_options is None:
        return own
    other = with_options(mj, planning_options)
    steps = number_of_substeps(other, None, own.dt, planning=True)
    return dataclasses.replace(own, cheaper=make(other, steps=steps))


def _make(mj: Any, *, task: Task, keyframe: Any, steps: int, action_range: Any, threads: int) -> MujocoModel:
    import mujoco

    if mj.nhistory and jnp.zeros(()).dtype != np.float64:
        raise ValueError(
            "model must have no delays of actuators or sensors, which MuJoCo tells by the clock to the last digit, "
            "where JAX computes in float32: set jax_enable_x64, or take dynamics.delayed"
        )
    low, high = control_range(mj, action_range)
    begins, robot = keyframe_state(mj, keyframe), Robot(mj)
    physics = np.empty(mujoco.mj_stateSize(mj, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    mujoco.mj_getState(mj, begins, physics, int(mujoco.mjtState.mjSTATE_FULLPHYSICS))
    beginning = MujocoData(
        robot=robot,
        time=jnp.asarray(begins.time, float),
        qpos=jnp.asarray(begins.qpos, float),
        qvel=jnp.asarray(begins.qvel, float),
        act=jnp.asarray(begins.act, float),
        rest=jnp.asarray(physics[1 + mj.nq + mj.nv + mj.na :], float),
        ctrl=jnp.asarray(begins.ctrl, float),
        qacc_warmstart=jnp.zeros(mj.nv),
        mocap_pos=jnp.asarray(begins.mocap_pos, float).reshape(-1, 3),
        mocap_quat=jnp.asarray(begins.mocap_quat, float).reshape(-1, 4),
        sensordata=jnp.where(jnp.asarray(sensor_stages(mj)[1]), 0.0, jnp.asarray(begins.sensordata, float)),
    )
    return MujocoModel(
        robot=robot,
        engine=Engine(robot, threads),
        task=task,
        low=jnp.asarray(low, float),
        high=jnp.asarray(high, float),
        beginning=beginning,
        cheaper=None,
        substeps=steps,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _call(engine: Engine, physics: Any, controls: Any, warmstart: Any, mocap: Any) -> tuple[Array, Array]:
    """Call the engine from a compiled program, once for all rollouts of a batch."""
    steps, dtype = controls.shape[-2], physics.dtype
    sizes = (physics.shape[-1], engine.robot.mj.nsensordata)

    def host(*given: Any) -> tuple[np.ndarray, ...]:
        parts = [np.asarray(part, np.float64) for part in given]
        batch = np.broadcast_shapes(*(part.shape[:-rank] for part, rank in zip(parts, ranks, strict=True)))
        flat = [
            np.broadcast_to(part, (*batch, *part.shape[-rank:])).reshape(math.prod(batch), *part.shape[-rank:])
            for part, rank in zip(parts, ranks, strict=True)
        ]
        found = engine.rollout(*flat)
        return tuple(part.reshape(*batch, *part.shape[1:]).astype(dtype) for part in found)

    ranks = (1, 2, 1, 1)
    batch = controls.shape[:-2]
    forms = tuple(jax.ShapeDtypeStruct((*batch, steps, size), dtype) for size in sizes)
    return jax.pure_callback(host, forms, physics, controls, warmstart, mocap, vmap_method="expand_dims")


@_call.defjvp
def _no_derivatives(engine: Engine, primals: Any, tangents: Any) -> Any:
    raise ValueError(
        "model must have derivatives for a planner that follows them, got one on MuJoCo's C engine, which has none: "
        "use dynamics.mjx, or a planner that samples (mppi, cem, vi_mpc, ...)"
    )


def _spread(state: MujocoData, steps: int) -> MujocoData:
    """A state, as often as there are steps, along an axis after those of the batch."""
    batch = state.time.ndim

    def repeated(leaf: Array) -> Array:
        wide = jnp.expand_dims(leaf, batch)
        return jnp.broadcast_to(wide, (*leaf.shape[:batch], steps, *leaf.shape[batch:]))

    return jax.tree.map(repeated, state)
