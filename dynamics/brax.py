"""Brax environments as models: every registered one by name, and any `brax.envs.Env` of the user's own."""

import contextlib
import copy
import inspect
import io
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from .actions import check_action, from_range, to_range
from .base import State, Step
from .brax_actuators import engine_limits, engine_range
from .brax_labels import actuator_names, coordinate_names
from .brax_motion import squared_displacement, squared_speed
from .brax_rewards import terms_of
from .checks import integer, interval, real
from .environments import canonical, check_duration, discount_of, noise_names, noise_redrawn, step_duration
from .figures import Figure
from .mujoco_figure import mujoco_figure
from .mujoco_file import quiet
from .pytrees import pytree, static

BACKENDS = ("spring", "positional", "generalized", "mjx")  # cheapest first


@pytree
class BraxModel:
    """A Brax environment as a model. Make one with `brax`.

    Attributes:
        env: the environment, unbatched and without auto-reset.
        sys: its physical parameters, a `brax.base.System`, traced: sweep or randomise them without recompiling. None
            for an environment that has none.
        low: the action that -1 stands for, [A].
        high: the action that 1 stands for, [A].
        noise: the entries of a state's `info` that are keys; None for those that a step uses as keys.
    """

    env: Any = static()
    sys: Any
    low: Float[Array, " A"]
    high: Float[Array, " A"]
    noise: tuple[str, ...] | None = static(default=None)

    @property
    def action_size(self) -> int:
        """The number A of actuators."""
        return integer("env.action_size", self.env.action_size)

    @property
    def bounded(self) -> bool:
        """Actions have a range, that of the actuators."""
        return True

    @property
    def dt(self) -> float | None:
        """The duration of one step, in seconds; None where the environment does not say."""
        return step_duration(self.env)

    def init(self, key: PRNGKeyArray) -> State:
        """Reset the environment."""
        with _quiet():
            return canonical(_with_sys(self.env, self.sys).reset(key))

    def step(self, key: PRNGKeyArray, state: State, action: Float[Array, " A"]) -> Step:
        """Step the environment; a simulation that diverged earns NaN, which planners count and discard.

        Raises:
            ValueError: if `action` has another shape than [A].
        """
        del key  # a Brax environment that is random keeps its own key in its state
        action = to_range(check_action(action, self.action_size), self.low, self.high)
        # Brax writes into the dictionaries of the state that it is given: hand it fresh containers.
        state = _with_own_masses(self.sys, jax.tree.map(lambda leaf: leaf, state))
        with _quiet():
            state = canonical(_with_sys(self.env, self.sys).step(state, action))
        reward = jnp.where(_finite(state), state.reward, jnp.nan)
        return Step(state, reward, discount_of(state))

    def coordinates(self, state: State) -> Float[Array, " n"]:
        """The physical state as a vector; observations, metrics, `info` and what is derived from it are left out.

        On the backends spring and positional it is the position, rotation (a quaternion), velocity and angular
        velocity of every link's centre of mass, n = 13 per link: their joints give way a little, which joint angles
        do not show (a gradient through joint angles is wrong even in sign). On generalized and mjx it is q and q̇.
        """
        physics = _physics(state)
        moving = (physics.x_i, physics.xd_i) if hasattr(physics, "x_i") else (physics.q, physics.qd)
        return ravel_pytree(moving)[0]

    @property
    def coordinate_names(self) -> tuple[str, ...] | None:
        """Links or joints by the names that the robot's file gives them; None for a robot without a file."""
        return coordinate_names(self)

    @property
    def actuator_names(self) -> tuple[str, ...] | None:
        """The names of the actuators, or of the joints that they drive; None for a robot without a file."""
        return actuator_names(self)

    def to_actuators(self, action: Float[Array, " A"]) -> Float[Array, " A"]:
        """What the engine is given for an action, after the scaling of the environment's own `step`, and clips."""
        values = to_range(check_action(action, self.action_size), *self._engine_range())
        limits = engine_limits(self.sys, self.action_size)
        return values if limits is None else jnp.clip(values, *limits)

    def from_actuators(self, values: Float[Array, " A"]) -> Float[Array, " A"]:
        """The action on the scale of plans for which the engine is given these values."""
        return from_range(check_action(values, self.action_size), *self._engine_range())

    def reward_terms(
        self, state: State, action: Num[Array, "*a"], after: State
    ) -> Mapping[str, Float[Array, ""]] | None:
        """The state's metrics whose names begin with "reward_", as the reward weighs them; None where there are none.

        What they leave of the reward is the term "other", unless Brax's own sources say that nothing is left.
        """
        return terms_of(self.env, after)

    def _engine_range(self) -> tuple[Float[Array, " A"], Float[Array, " A"]]:
        """What the engine is given for the actions -1 and 1."""
        with _quiet():
            return engine_range(self.env, _with_sys(self.env, self.sys), self.low, self.high)

    def with_coordinates(self, state: State, x: Float[Array, " n"]) -> State:
        """The state with these coordinates, all that the engine derives from them included."""
        physics = _physics(state)
        with _quiet():
            if hasattr(physics, "x_i"):
                moved = _with_links(self.sys, physics, *ravel_pytree((physics.x_i, physics.xd_i))[1](x))
            else:
                moved = self._with_joints(physics, *ravel_pytree((physics.q, physics.qd))[1](x))
        return state.replace(pipeline_state=moved)

    def with_joints(self, state: State, q: Any, qd: Any = 0.0) -> State:
        """The state with the joints elsewhere; its observation and reward stay as they are until the next step.

        Args:
            state: any.
            q: the joints' positions, as the environment's `sys.init_q` has them.
            qd: their speeds, a scalar or one for each.

        Returns:
            The state.

        Raises:
            ValueError: for a shape that does not fit.
        """
        physics = _physics(state)
        q, qd = real("q", q, shape=None), real("qd", qd, shape=physics.qd.shape)
        if q.shape != physics.q.shape:
            raise ValueError(f"q must have shape {physics.q.shape}, as sys.init_q has, got {q.shape}")
        with _quiet():
            return state.replace(pipeline_state=self._with_joints(physics, q, qd))

    def _with_joints(self, physics: Any, q: Float[Array, " q"], qd: Float[Array, " n"]) -> Any:
        env: Any = _with_sys(self.env, self.sys)
        moved = env.unwrapped.pipeline_init(q, qd)
        if hasattr(physics, "qacc_warmstart"):  # where MuJoCo's solver begins
            moved = moved.replace(qacc_warmstart=physics.qacc_warmstart)
        return moved

    def redraw(self, key: PRNGKeyArray, state: State) -> State:
        """The state with its keys drawn anew, which make the noise that is yet to come.

        Raises:
            ValueError: if `noise` names what is no entry of `info`, or no key.
        """
        return noise_redrawn(self, key, state, self.noise)

    def value(self, state: State) -> Float[Array, ""]:
        """Zero: give what lies beyond the horizon with `dynamics.with_value`."""
        return jnp.zeros(())

    def mean_squared_speed(self, state: State) -> Float[Array, ""] | None:
        """The mean over the centres of mass of all links, (m/s)²; None for an environment without links."""
        physics: Any = getattr(state, "pipeline_state", None)
        return None if getattr(physics, "xd", None) is None else squared_speed(self.sys, physics)

    def mean_squared_displacement(self, state: State) -> Float[Array, ""] | None:
        """The mean over all links, from the environment's reference pose `sys.init_q`, m²; None where there is none.

        Where on the ground a robot is, and where one that can turn about is heading, does not count.
        """
        physics: Any = getattr(state, "pipeline_state", None)
        if self.sys is None or getattr(physics, "x", None) is None:
            return None
        return squared_displacement(self.sys, physics)

    def figure(self) -> Figure | None:
        """How it looks: the bodies of the MuJoCo model that Brax loaded; None for one without."""
        env = getattr(self.env, "unwrapped", self.env)
        mj: Any = getattr(getattr(env, "sys", None), "mj_model", None)
        if mj is None:
            return None
        physics: Any = getattr(jax.eval_shape(self.init, jax.random.key(0)), "pipeline_state", None)
        links: Any = getattr(physics, "x", None)
        if getattr(getattr(links, "pos", None), "shape", None) != (mj.nbody - 1, 3):  # Brax leaves out the world
            return None
        return mujoco_figure(mj, lambda state: (state.pipeline_state.x.pos, state.pipeline_state.x.rot))


def brax(
    name_or_env: Any,
    backend: str | None = None,
    *,
    action_range: tuple[Any, Any] = (-1.0, 1.0),
    noise: Sequence[str] | None = None,
    **env_kwargs: Any,
) -> BraxModel:
    """Make a model of a Brax environment.

    Args:
        name_or_env: the name of a registered environment, or an environment (an instance, not batched). Wrappers that
            reset automatically are removed: a planner must see the end of an episode, not the start of the next.
        backend: "spring" (cheapest to compile and run), "positional", "generalized" or "mjx"; None picks the first of
            them that the environment supports. Only with a name.
        action_range: the actions (low, high), scalars or [A], that -1 and 1 of a plan stand for. Brax's own
            environments take [-1, 1] and scale inside; `to_actuators` says to what.
        noise: the names of those entries of a state's `info` that are keys of future noise, which rollouts draw
            anew. None finds them by tracing a step, where there are any unsigned numbers.
        **env_kwargs: what the environment's constructor takes. Only with a name.

    Returns:
        The model. Its state is the environment's `State`.

    Raises:
        ValueError: for a name or backend that does not exist (listing those that do), or an unusable environment.
    """
    envs = _import_envs()
    if isinstance(name_or_env, str):
        env = _make(envs, name_or_env, backend, env_kwargs)
    else:
        if backend is not None or env_kwargs:
            given = ", ".join([*(["backend"] if backend is not None else []), *env_kwargs])
            raise ValueError(f"{given}: only with the name of an environment, not with one that is made already")
        env = _single(envs, name_or_env)
    _repair_fluid()
    check_duration(env)
    low, high = interval("action_range", action_range, integer("env.action_size", env.action_size))
    # MuJoCo commits its arrays to one device, which would forbid to spread plans over several.
    sys = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), _system(envs, env))
    return BraxModel(env=env, sys=sys, low=low, high=high, noise=noise_names(noise))


def brax_names() -> tuple[str, ...]:
    """The names of the registered Brax environments, sorted."""
    return tuple(sorted(_import_envs()._envs))


def _make(envs: Any, name: str, backend: str | None, env_kwargs: dict[str, Any]) -> Any:
    if name not in envs._envs:
        raise ValueError(f"unknown Brax environment {name!r}; choose one of: {', '.join(sorted(envs._envs))}")
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"unknown Brax backend {backend!r}; choose one of: {', '.join(BACKENDS)}")

    def attempt(backend: str) -> Any | None:
        try:
            with _quiet(), quiet():
                return envs.get_environment(name, backend=backend, **env_kwargs)
        except ValueError as error:
            if "backend" not in str(error).lower():
                raise
            return None

    made = (attempt(candidate) for candidate in ((backend,) if backend is not None else BACKENDS))
    env = next((env for env in made if env is not None), None)
    if env is None:
        supported = ", ".join(other for other in BACKENDS if attempt(other) is not None)
        raise ValueError(f"Brax's {name!r} does not run on backend {backend!r}; choose one of: {supported}")
    return env


def _single(envs: Any, env: Any) -> Any:
    """Check a user's environment and remove the wrappers that would mislead a planner."""
    missing = [name for name in ("reset", "step", "action_size") if not hasattr(env, name)]
    if isinstance(env, type) or missing:
        raise ValueError(
            f"name_or_env must be the name of a Brax environment or an instance with reset, step and action_size, "
            f"got {env!r}"
        )
    if isinstance(env, envs.training.VmapWrapper | envs.training.DomainRandomizationVmapWrapper):
        raise ValueError("name_or_env must be a single environment, got a batched one: leave out batch_size and vmap")
    if isinstance(env, envs.training.AutoResetWrapper):
        return _single(envs, env.env)
    if isinstance(env, envs.Wrapper):
        inner = _single(envs, env.env)
        if inner is not env.env:
            env = copy.copy(env)
            env.env = inner
    return env


def _system(envs: Any, env: Any) -> Any:
    """The physical parameters, if they are a plain attribute below Brax's own wrappers: only that can be replaced."""
    from brax.base import System

    while isinstance(env, envs.Wrapper):
        env = env.env
    sys = getattr(env, "__dict__", {}).get("sys")
    return sys if isinstance(sys, System) else None


def _with_sys(env: Any, sys: Any) -> Any:
    """`env`, through all its wrappers, with the physical parameters `sys`."""
    if sys is None:
        return env
    env = copy.copy(env)
    name, value = ("sys", sys) if "sys" in vars(env) else ("env", _with_sys(env.env, sys))
    object.__setattr__(env, name, value)
    return env


def _with_own_masses(sys: Any, state: State) -> State:
    """The state with the masses of `sys`: the engines spring and positional keep them where a reset has put them.

    A planner whose model has other masses than the robot would otherwise imagine with those of the robot. (The engine
    generalized keeps the inverse of its mass matrix from the step before: the first step of a plan has the robot's.)
    """
    physics: Any = getattr(state, "pipeline_state", None)
    if sys is None or not (hasattr(physics, "x_i") and hasattr(physics, "mass")):
        return state
    mass = sys.link.inertia.mass ** (1.0 - sys.spring_mass_scale)  # as the engines' `init`
    return state.replace(pipeline_state=physics.replace(mass=mass.astype(physics.mass.dtype)))


def _physics(state: State) -> Any:
    physics = getattr(state, "pipeline_state", None)
    if not (hasattr(physics, "q") and hasattr(physics, "qd")):
        raise ValueError(f"state must have a pipeline_state with q and qd, got {type(state).__name__}")
    return physics


def _with_links(sys: Any, physics: Any, x_i: Any, xd_i: Any) -> Any:
    """The state of the spring or positional engine whose links are there, as these engines derive it."""
    from brax import com, kinematics

    x, xd = com.to_world(sys, x_i, xd_i)
    j, jd, a_p, a_c = kinematics.world_to_joint(sys, x, xd)
    q, qd = kinematics.inverse(sys, j, jd)
    return physics.replace(q=q, qd=qd, x=x, xd=xd, x_i=x_i, xd_i=xd_i, j=j, jd=jd, a_p=a_p, a_c=a_c)


def _finite(state: State) -> Bool[Array, ""]:
    """Whether the simulation has not diverged, even where the reward does not show it."""
    physics: Any = getattr(state, "pipeline_state", None)
    probe = (physics.q, physics.qd) if hasattr(physics, "q") and hasattr(physics, "qd") else state.obs
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(probe)]).all()


def _repair_fluid() -> None:
    """Let environments with fluid drag (swimmer) run: Brax 0.14 uses `jnp.clip(a_min=)`, which JAX 0.10 removed."""
    from brax import fluid

    if isinstance(fluid.jp, types.ModuleType) and "a_min" not in inspect.signature(jnp.clip).parameters:
        names = vars(fluid.jp) | {"clip": lambda x, a_min=None, a_max=None: jnp.clip(x, a_min, a_max)}
        fluid.jp = types.SimpleNamespace(**names)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Brax warns of itself (end of maintenance, moved fields), and nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(brax|jaxopt|mujoco)\b")
        yield


def _import_envs() -> Any:
    """Import `brax.envs`, which takes seconds (only who uses it pays), without the chatter of its imports."""
    said = io.StringIO()
    with _quiet(), contextlib.redirect_stdout(said):
        from brax import envs
    for line in said.getvalue().splitlines():
        if not line.startswith("Failed to import"):  # mujoco.mjx, of the optional warp
            print(line)
    return envs
