"""MuJoCo models on MJX, MuJoCo's engine in JAX: your own MJCF file and a reward."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import State
from .checks import choice
from .mujoco_coordinates import integrated
from .mujoco_file import Robot, actuator_labels, keyframe_state, load_model, names_of, with_options, without_contacts
from .mujoco_model import MujocoBase
from .mujoco_names import sensor_stages
from .mujoco_task import Task, control_range, make_task, number_of_substeps
from .mujoco_warp import on_warp, quiet_imports, without_derivatives
from .pytrees import pytree, static

_IMPLEMENTATIONS = ("jax", "warp")
_SLEEP = 16  # mujoco.mjtEnableBit
_RUNGE_KUTTA = 1  # mujoco.mjtIntegrator
_ACCELERATION = 3  # mujoco.mjtStage
_TOUCH = (0, 42)  # mujoco.mjtSensor: touch, contact
_PHYSICS = (
    "qpos",
    "qvel",
    "act",
    "time",
    "ctrl",
    "qacc_warmstart",
    "mocap_pos",
    "mocap_quat",
    "qfrc_applied",
    "xfrc_applied",
)


@pytree
class MjxModel(MujocoBase):
    """A MuJoCo model on MJX. Make one with `mjx`. Its states are `mujoco.mjx.Data`.

    Attributes:
        robot: see `MujocoBase`.
        task: see `MujocoBase`.
        sys: its parameters, a `mujoco.mjx.Model`, traced: sweep or randomise them without recompiling.
        low: see `MujocoBase`.
        high: see `MujocoBase`.
        beginning: where episodes begin, `mujoco.mjx.Data`.
        cheaper: see `MujocoBase`.
        substeps: see `MujocoBase`.
    """

    robot: Robot = static()
    task: Task
    sys: Any
    low: Float[Array, " A"]
    high: Float[Array, " A"]
    beginning: Any
    cheaper: Any
    substeps: int = static()

    def first(self) -> State:
        """Where episodes begin, before the task's `reset`."""
        return self.beginning

    def derived(self, state: Any) -> State:
        """The state with kinematics, and with sensors of places and speeds; forces stay as they were."""
        return _derived(self, state)

    def _derived(self, state: Any) -> State:
        from mujoco import mjx

        sys = self.sys
        own, late = sensor_stages(self.robot.mj)
        if on_warp(sys):
            moving = without_derivatives((state.qpos, state.qvel))
            state = state.replace(qpos=moving[0], qvel=moving[1])
            if not own.any():
                return mjx.kinematics(sys, state)
            after = mjx.forward(sys, state)
            return after.replace(sensordata=jnp.where(jnp.asarray(late), state.sensordata, after.sensordata))
        state = mjx.com_pos(sys, mjx.kinematics(sys, state))
        state = mjx.transmission(sys, mjx.tendon(sys, mjx.camlight(sys, state)))
        rates = {
            "_impl.actuator_velocity": state._impl.actuator_moment @ state.qvel,
            "_impl.ten_velocity": state._impl.ten_J @ state.qvel,
        }
        state = mjx.subtree_vel(sys, mjx.com_vel(sys, state.tree_replace(rates)))
        return mjx.sensor_vel(sys, mjx.sensor_pos(sys, state)) if own.any() else state

    def advanced(self, state: Any, control: Float[Array, " A"]) -> State:
        """The state after one step."""
        return _advanced(self, state, control)

    def _advanced(self, state: Any, control: Float[Array, " A"]) -> State:
        if on_warp(self.sys):
            control = without_derivatives(control)
        state = state.replace(ctrl=control.astype(state.ctrl.dtype))
        if self.substeps == 1:
            return self._derived(self._substep(state))
        after, _ = jax.lax.scan(lambda at, _: (self._substep(at), None), state, length=self.substeps)
        return self._derived(after)

    def _substep(self, state: Any) -> State:
        from mujoco import mjx

        sys, mj = self.sys, self.robot.mj
        shaken = np.any(sys.sensor_needstage == _ACCELERATION)
        if shaken and not on_warp(sys) and state._impl.efc_J.size == 0:
            # MJX leaves out sensors of accelerations where nothing constrains the robot
            after = _integrated(sys, mjx.sensor_acc(sys, mjx.forward(sys, state)))
        else:
            after = mjx.step(sys, state)
        if mj.nq == mj.nv or on_warp(sys) or int(sys.opt.integrator) == _RUNGE_KUTTA:
            return after
        # the same numbers, but with derivatives where a rotation is at rest: MJX's are 0 there
        return after.replace(qpos=integrated(mj, state.qpos, after.qvel, sys.opt.timestep))

    def adopted(self, state: Any) -> State:
        """A state with the places and speeds of one of the same robot, whose contacts or options may be others."""
        parts = {name: getattr(state, name) for name in _PHYSICS}
        return self.derived(self.beginning.replace(**parts))


# Traced once for all places of a program that step the engine, which takes seconds each time: planners that follow
# derivatives have a dozen. Within a compiled program they are part of it, as any function.
_derived = jax.jit(MjxModel._derived)
_advanced = jax.jit(MjxModel._advanced)


def mjx(
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
    impl: str = "jax",
    planning_options: Mapping[str, Any] | None = None,
) -> MjxModel:
    """Make a model of a MuJoCo file, on MJX: differentiable, on all that JAX runs on, and batched on accelerators.

    On a CPU MuJoCo's own engine, `dynamics.mujoco`, is faster wherever there are contacts; it takes the same
    arguments.

    Args:
        model: the path of an MJCF or URDF file, the XML itself, a `mujoco.MjModel` or a `mujoco.MjSpec`. Its options
            (solver, iterations, timestep, integrator) count as they are.
        reward: (data, action) -> scalar, or name -> scalar, the terms of it. `data` is the state *after* the step,
            with all of `mjx.Data` (`qpos`, `xpos`, `sensordata`, ...) and by name, `data.sensor("gyro").data`,
            `data.body("torso").xpos`, `data.joint("knee").qpos`, as in MuJoCo's Python bindings; see
            `dynamics.NamedData`. `action` is in the units of the actuators, [A], as `data.ctrl` is. A callable pytree
            (`jax.tree_util.Partial`) stays traced.
        terminate: data -> whether the episode ends, a boolean scalar, or reasons in words -> boolean scalar; of the
            state after the step. None for never.
        value: data -> scalar, what is earned beyond the horizon; None for 0.
        reset: (key, data) -> data, a first state: `data.replace(qpos=..., qvel=...)` of the data where the file
            begins. None for these.
        keyframe: where the file begins, by the name or number of its keyframes; None for the one called "home", else
            the reference pose.
        substeps: how many of the file's timesteps one step takes, 1 by default.
        control_dt: instead of it, the duration of one step, s, a multiple of the file's timestep.
        action_range: (low, high) of `ctrl`, numbers or [A], that actions of -1 and 1 stand for; or names of actuators
            -> (low, high). None takes each actuator's `ctrlrange`; one without any must be given here.
        impl: "jax", or "warp" (NVIDIA's Warp on a GPU; without derivatives).
        planning_options: options of MuJoCo that planners imagine with, such as `{"iterations": 1, "ls_iterations":
            4}`, `{"timestep": 0.004}` or `{"contacts": False}`. What the model does when it is stepped stays as the
            file says; `substeps` is adapted to a timestep. None imagines with the model itself.

    Returns:
        The model. Its states are `mujoco.mjx.Data`, whose positions, velocities and their sensors are all of the same
        time; sensors of forces and accelerations are those of the last timestep.

    Raises:
        ValueError: if MuJoCo does not take the file, MJX lacks something that it needs (then `dynamics.mujoco` is
            named), an actuator has no range, a function cannot be called, or an option is outside its range.
    """
    choice("impl", impl, _IMPLEMENTATIONS)
    mj, task = load_model(model), make_task(reward, terminate, value, reset)
    steps = number_of_substeps(mj, substeps, control_dt)
    own = _make(mj, task, keyframe, steps, action_range, impl)
    if planning_options is None:
        return own
    other = with_options(mj, planning_options)
    other_steps = number_of_substeps(other, None, own.dt, planning=True)
    return dataclasses.replace(own, cheaper=_make(other, task, keyframe, other_steps, action_range, impl))


def _make(mj: Any, task: Task, keyframe: Any, steps: int, action_range: Any, impl: str) -> MjxModel:
    low, high = control_range(mj, action_range)
    begins = keyframe_state(mj, keyframe)
    touching = without_contacts(mj)
    with quiet_imports():
        from mujoco import mjx

        try:
            sys = mjx.put_model(touching, impl=impl)
            blank = mjx.make_data(touching, impl=impl)
        except NotImplementedError as error:  # a RuntimeError, too
            raise ValueError(
                f"model must be one that MJX can simulate, got one with {_lacking(touching, error)}: dynamics.mujoco "
                "(MuJoCo's C engine) takes it"
            ) from error
        except RuntimeError as error:  # Warp is not installed
            raise ValueError(f"impl must be 'jax' where Warp is not installed, got {impl!r}: {error}") from error
    if ignored := _ignored(mj):
        raise ValueError(f"model must be one that MJX can simulate, got one with {ignored}: dynamics.mujoco takes it")
    if impl == "jax" and blank._impl.ncon == 0:  # MJX fails at sensors of touch where nothing can touch
        touch = np.isin(mj.sensor_type, _TOUCH)
        sys = sys.replace(sensor_needstage=np.where(touch, 0, sys.sensor_needstage))
    beginning = blank.replace(
        qpos=begins.qpos, qvel=begins.qvel, act=begins.act, ctrl=begins.ctrl, time=np.asarray(begins.time),
        mocap_pos=begins.mocap_pos, mocap_quat=begins.mocap_quat,
    )  # fmt: skip
    sys = jax.tree.map(_free, sys)
    beginning = jax.tree.map(lambda leaf, like: _free(np.asarray(leaf, like.dtype)), beginning, blank)
    return MjxModel(
        robot=Robot(mj),
        task=task,
        sys=sys,
        low=jnp.asarray(low, float),
        high=jnp.asarray(high, float),
        beginning=beginning,
        cheaper=None,
        substeps=steps,
    )


def _free(leaf: Any) -> Any:
    """The array without a place of its own: MJX commits arrays to one device, which forbids to spread plans."""
    return jnp.asarray(np.asarray(leaf))


def _integrated(sys: Any, state: Any) -> State:
    """What `mjx.step` does after `mjx.forward`."""
    from mujoco import mjx

    integrators = {0: mjx.euler, 1: mjx.rungekutta4, 3: mjx.implicit}  # mujoco.mjtIntegrator
    return integrators[int(sys.opt.integrator)](sys, state)


def _ignored(mj: Any) -> str:
    """What MJX would leave out without a word; "" for nothing."""
    if mj.nplugin:
        return "plugins"
    labels = (*actuator_labels(mj), *names_of(mj, "sensor"))
    delays = np.concatenate([np.ravel(mj.actuator_delay), np.ravel(mj.sensor_delay)])
    if delayed := [name for name, delay in zip(labels, delays, strict=True) if delay > 0]:
        return f"delays of {', '.join(delayed)} (dynamics.delayed adds delays to any model)"
    if mj.opt.noslip_iterations > 0:
        return "noslip_iterations"
    return "the flag sleep" if mj.opt.enableflags & _SLEEP else ""


def _lacking(mj: Any, error: Exception) -> str:
    """What MJX lacks, with the names of the elements that need it."""
    from mujoco.mjx._src import collision_driver, types  # where it says what it has

    said = " ".join(str(error).split())
    elements: list[str] = []
    geoms = [name or f"geom {i}" for i, name in enumerate(names_of(mj, "geom"))]
    with contextlib.suppress(Exception):
        for one, other, _ in collision_driver.geom_pairs(mj):
            if not collision_driver.has_collision_fn(*mj.geom_type[[one, other]]):
                elements.append(f"{geoms[one]} and {geoms[other]}")
    kinds = (
        ("actuator", mj.actuator_biastype, types.BiasType),
        ("actuator", mj.actuator_dyntype, types.DynType),
        ("actuator", mj.actuator_gaintype, types.GainType),
        ("actuator", mj.actuator_trntype, types.TrnType),
        ("sensor", mj.sensor_type, types.SensorType),
    )
    for kind, given, known in kinds:
        lacking = set(map(int, given)) - {int(entry) for entry in known}
        names = names_of(mj, kind)
        elements += [names[i] or f"{kind} {i}" for i, entry in enumerate(given) if int(entry) in lacking]
    if mj.nflex:
        elements += [name for name in names_of(mj, "flex") if name]
    if not elements:
        return said
    shown = ", ".join(dict.fromkeys(elements[:4])) + (", ..." if len(elements) > 4 else "")
    return f"{shown} ({said})"
