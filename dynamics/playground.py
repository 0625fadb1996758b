"""Environments of MuJoCo Playground as models: every registered one by name, and any `MjxEnv` of the user's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .actions import check_action, from_range, to_range
from .base import State, Step
from .checks import integer, interval
from .environments import canonical, check_duration, discount_of, noise_names, noise_redrawn, step_duration
from .mujoco_file import Robot, actuator_labels, keyframe_state
from .mujoco_robot import MujocoRobot
from .mujoco_warp import on_warp, quiet_imports, without_derivatives
from .playground_parts import engine_range, innermost, refuse_wrappers, terms_of, with_sys
from .playground_suites import made
from .pytrees import pytree, static, strongly_typed


@pytree
class PlaygroundModel(MujocoRobot):
    """An environment of MuJoCo Playground as a model. Make one with `playground`.

    Its states are Playground's own, with the `mujoco.mjx.Data` as `data`. What MuJoCo derives in these (`xpos`,
    sensors) is as Playground leaves it: of the beginning of the last timestep.

    Attributes:
        env: the environment, neither batched nor resetting itself.
        robot: its MuJoCo model.
        sys: its physical parameters, a `mujoco.mjx.Model`, traced: sweep or randomise them without recompiling. None
            for an environment that does not keep them where Playground's own randomiser looks for them.
        low: the action that -1 stands for, [A].
        high: the action that 1 stands for, [A].
        rest: the joints' positions in the file's keyframe "home", else in its reference pose.
        noise: the entries of a state's `info` that are keys; None for those that a step uses as keys.
    """

    env: Any = static()
    robot: Robot = static()
    sys: Any
    low: Float[Array, " A"]
    high: Float[Array, " A"]
    rest: Float[Array, " q"]
    noise: tuple[str, ...] | None = static(default=None)

    @property
    def action_size(self) -> int:
        """The number A of actions."""
        return integer("env.action_size", self.env.action_size)

    @property
    def bounded(self) -> bool:
        """Actions have a range."""
        return True

    @property
    def dt(self) -> float | None:
        """The duration of one step, s."""
        return step_duration(self.env)

    def init(self, key: PRNGKeyArray) -> State:
        """Reset the environment."""
        with quiet_imports():
            return _settled(canonical(with_sys(self.env, self.sys).reset(key)))

    def step(self, key: PRNGKeyArray, state: State, action: Float[Array, " A"]) -> Step:
        """Step the environment; a simulation that diverged earns NaN, which planners count and discard.

        A time limit (`truncation` of `info`) is no end.

        Raises:
            ValueError: if `action` has another shape than [A].
        """
        del key  # an environment that is random keeps its own key in its state
        action = to_range(check_action(action, self.action_size), self.low, self.high)
        if on_warp(self._engine):
            action = without_derivatives(action)
        # environments write into the dictionaries of the state that they are given: hand them fresh containers
        state = jax.tree.map(lambda leaf: leaf, state)
        with quiet_imports():
            state = _settled(canonical(with_sys(self.env, self.sys).step(state, action)))
        reward = jnp.where(_finite(state), state.reward, jnp.nan)
        return Step(state, reward, discount_of(state))

    def value(self, state: State) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def redraw(self, key: PRNGKeyArray, state: State) -> State:
        """The state with its keys drawn anew, which make the noise that is yet to come.

        Raises:
            ValueError: if `noise` names what is no entry of `info`, or no key.
        """
        return noise_redrawn(self, key, state, self.noise)

    @property
    def actuator_names(self) -> tuple[str, ...] | None:
        """The names of the actuators, or of what they drive; None where actions are something else."""
        return tuple(actuator_labels(self.robot.mj)) if self.action_size == self.robot.mj.nu else None

    def to_actuators(self, action: Float[Array, " A"]) -> Float[Array, " A"]:
        """What the engine is given for an action, `ctrl`, after the scaling of the environment's `step`, and clips.

        Where the environment does something else with actions, or what depends on the state, they stay on its scale.
        """
        values = to_range(check_action(action, self.action_size), *engine_range(self.env, self.low, self.high))
        mj = self.robot.mj
        if self.action_size != mj.nu:
            return values
        limits = np.where(mj.actuator_ctrllimited[:, None], mj.actuator_ctrlrange, (-np.inf, np.inf))
        return jnp.clip(values, *jnp.asarray(limits.T, values.dtype))

    def from_actuators(self, values: Float[Array, " A"]) -> Float[Array, " A"]:
        """The action on the scale of plans for which the engine is given these values."""
        return from_range(check_action(values, self.action_size), *engine_range(self.env, self.low, self.high))

    def reward_terms(
        self, state: State, action: Float[Array, " A"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The state's metrics whose names begin with "reward/", as the reward weighs them.

        None where they do not sum to the reward: most of the control suite multiplies them. Of environments that are
        not Playground's, what they leave of the reward is the term "other".
        """
        return terms_of(self.env, after)

    def data_of(self, state: Any) -> Any:
        """`mujoco.mjx.Data` of a state of Playground."""
        return getattr(state, "data", state)

    def with_data(self, state: Any, data: Any) -> State:
        """The state with other data; its observation and reward stay as they are until the next step."""
        from mujoco import mjx

        with quiet_imports():
            return state.replace(data=mjx.forward(self._engine, data))

    @property
    def rest_qpos(self) -> Float[Array, " q"]:
        """The joints' positions in the file's keyframe "home", else in its reference pose."""
        return self.rest

    @property
    def _engine(self) -> Any:
        return self.env.mjx_model if self.sys is None else self.sys


def playground(
    name_or_env: Any,
    *,
    action_range: tuple[Any, Any] = (-1.0, 1.0),
    noise: Sequence[str] | None = None,
    **config: Any,
) -> PlaygroundModel:
    """Make a model of an environment of MuJoCo Playground (`pip install 'mirrax[playground]'`).

    Args:
        name_or_env: the name of a registered environment, such as "CheetahRun" (`dynamics.playground_names()` has
            all), or an `MjxEnv`, neither batched nor resetting itself. The control suite needs no network; robots of
            the other environments are downloaded once.
        action_range: the actions (low, high), scalars or [A], that -1 and 1 of a plan stand for. Playground's own
            environments take [-1, 1], and some scale inside; `to_actuators` says to what.
        noise: the names of those entries of a state's `info` that are keys of future noise, which rollouts draw
            anew. None finds them by tracing a step, where there are any unsigned numbers.
        **config: in the place of entries of the environment's configuration, by name, such as `ctrl_dt=0.02`; nested
            ones as dictionaries. Only with a name. What Playground's training alone reads is refused: repeat actions
            with `dynamics.action_repeat`. `impl` is "jax" on CPUs unless given: "warp" (NVIDIA's Warp),
            Playground's own choice, is for GPUs, and has no derivatives.

    Returns:
        The model. Its states are Playground's `State`.

    Raises:
        ValueError: for a name or an entry that does not exist (with the nearest), one that has no effect, a `ctrl_dt`
            that is no multiple of `sim_dt`, an environment whose robot is not there (with what to download), or one
            that is batched or resets itself (with the wrapper's name).
        ModuleNotFoundError: if Playground is not installed.
    """
    if isinstance(name_or_env, str):
        env = made(name_or_env, config)
    else:
        if config:
            raise ValueError(f"{', '.join(config)}: only with the name of an environment, not with one that is made")
        env = name_or_env
        parts = ("reset", "step", "action_size", "mj_model", "mjx_model")
        missing = [] if isinstance(env, type) else [part for part in parts if getattr(env, part, None) is None]
        if isinstance(env, type) or missing:
            raise ValueError(
                "name_or_env must be the name of an environment of Playground, or an instance with "
                f"{', '.join(parts)}, got {env!r}" + (f" without {', '.join(missing)}" if missing else "")
            )
        if type(env.mj_model).__name__ != "MjModel":
            raise ValueError(f"env.mj_model must be a mujoco.MjModel, got {env.mj_model!r}")
        refuse_wrappers(env)
    check_duration(env)
    sys: Any = vars(innermost(env)).get("_mjx_model")
    low, high = interval("action_range", action_range, integer("env.action_size", env.action_size))
    return PlaygroundModel(
        env=env,
        robot=Robot(env.mj_model),
        # MJX commits its arrays to one device, which would forbid to spread plans over several
        sys=jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), sys),
        low=low,
        high=high,
        rest=jnp.asarray(keyframe_state(env.mj_model, None).qpos, float),
        noise=noise_names(noise),
    )


def _settled(state: Any) -> State:
    """The state, strongly typed: a step returns what it was given."""
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, state)
    return strongly_typed(state)


def _finite(state: Any) -> Bool[Array, ""]:
    return jnp.isfinite(state.data.qpos).all() & jnp.isfinite(state.data.qvel).all()
