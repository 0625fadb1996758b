"""The tasks that have settings of their own: what `mirrax run MODEL` uses, and what benchmarks run on."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mirrax import dynamics, planners
from mirrax.benchmarks import robots, suite_tasks
from mirrax.benchmarks.mistakes import unknown
from mirrax.benchmarks.task import Beyond, Goal, Task
from mirrax.dynamics import Model


def _brax(name: str, summary: str, **settings: Any) -> Task:
    return Task(summary, lambda backend: dynamics.brax(name, backend), **settings)


def _analytic(
    make: Callable[[], Model], name: str, summary: str, *, episode_steps: int = 400, **settings: Any
) -> Task:
    def build(backend: str | None) -> Model:
        if backend is not None:
            raise ValueError(f"backend chooses the physics of a Brax environment; {name} has none, got {backend!r}")
        return make()

    return Task(summary, build, episode_steps=episode_steps, **settings)


def _upright(*angles: int) -> Goal:
    """All of these entries of a state are angles from upright, and small."""
    return Goal("within 0.3 rad of upright", lambda model, state: (jnp.cos(state[jnp.array(angles)]) > 0.955).all())


_REACHED = Goal("tip within 2 cm of the target", lambda model, state: jnp.linalg.norm(state.obs[-3:]) < 0.02)
_AT_GOAL = Goal("within 0.2 m of the goal", lambda model, state: jnp.linalg.norm(state[:2] - model.goal) < 0.2)


def _regulator(**costs: Any) -> Beyond:
    """The linear-quadratic regulator about the reference pose of a Brax robot that can stand in it."""

    @jax.jit
    def solve(model: Any) -> Any:
        key, still = jax.random.key(0), jnp.zeros(model.action_size)
        state = model.with_joints(model.init(key), model.sys.init_q)
        # springs that stand for joints give way at first; not for long, or it would lean
        state = jax.lax.fori_loop(0, 5, lambda _, state: model.step(key, state, still).state, state)
        return planners.lqr.regulator(model, state, **costs)

    words = "".join(f", {name}={value}" for name, value in costs.items())
    return Beyond(f"the regulator in the reference pose{words}", solve)


_UPRIGHT_TORSO = Goal(
    "torso within 60 degrees of level",
    lambda model, state: 1.0 - 2.0 * (state.pipeline_state.x.rot[0, 1:3] ** 2).sum() > 0.5,
)


# Robots that run need not stop within a plan, but end near the pose in which they can stand.
_ON_ITS_FEET = {
    "horizon": 30,
    "rest_steps": 10,
    "rest_speed": 10.0,
    "rest_distance": 0.3,
    "num_samples": 48,
    "population_decay": 1.0,
}

# what stands before the names of tasks that are no key of `TASKS`
PREFIXES = (suite_tasks.PREFIX, robots.PREFIX)

# Horizon, plans and std are those of MPPI, and of benchmarks that compare planners; `options` those of another
# default planner, where one did better over whole episodes (benchmarks/results/README.md, Whole episodes).
# Reasons for MPPI's: its default temperature (adapted to an ESS of a tenth of the plans) and its default noise,
# unless another did better in closed loop; half a second ahead for robots that fall, two where energy must be pumped
# first; as few plans as do well, so that two CPU cores come near real time.
TASKS: Mapping[str, Task] = {
    "ant": _brax(
        "ant",
        "walk forward on four legs",
        horizon=16,
        num_samples=512,
        planner="icem",
        options=_ON_ITS_FEET,
    ),
    "fast": _brax("fast", "Brax's own dummy without physics", num_steps=20),
    "halfcheetah": _brax(
        "halfcheetah",
        "run forward on two legs",
        num_samples=128,
        planner="icem",
        goal=_UPRIGHT_TORSO,
        options=_ON_ITS_FEET,
    ),
    "hopper": _brax(
        "hopper",
        "hop forward on one leg",
        horizon=40,
        std=1.0,
        planner="icem",
        options={"horizon": 170, "rest_steps": 130, "num_samples": 64, "std": 0.5, "population_decay": 1.0},
    ),
    "humanoid": _brax(
        "humanoid",
        "walk forward on two legs, with arms",
        std=0.6,
        planner="icem",
        options=_ON_ITS_FEET | {"horizon": 40, "rest_steps": 20, "std": 0.3},
    ),
    "humanoidstandup": _brax(
        "humanoidstandup",
        "stand up from lying",
        num_samples=128,
        planner="icem",
        options={"horizon": 30, "num_samples": 53},
    ),
    "inverted_double_pendulum": _brax(
        "inverted_double_pendulum",
        "balance two poles in a row on a cart",
        options={"horizon": 15, "num_samples": 128, "std": 0.1},
        beyond=_regulator(),
    ),
    "inverted_pendulum": _brax(
        "inverted_pendulum",
        "balance a pole on a cart",
        options={"horizon": 15, "num_samples": 128, "std": 0.1},
        beyond=_regulator(state_cost=0.01),  # the reward is the same in all states
    ),
    "pusher": _brax(
        "pusher",
        "push a cylinder to a goal with an arm",
        horizon=12,
        num_samples=64,
        num_steps=60,
        episode_steps=100,
        planner="icem",
        options={"num_samples": 26},
    ),
    "reacher": _brax(
        "reacher",
        "reach a target with a two-joint arm",
        planner="icem",
        goal=_REACHED,
        # actions cost their square, and so does noise
        options={"horizon": 40, "num_samples": 64, "std": 0.1, "std_min": 0.005, "population_decay": 1.0},
    ),
    "swimmer": _brax(
        "swimmer", "swim forward with three links", num_samples=64, planner="icem", options={"num_samples": 26}
    ),
    "walker2d": _brax(
        "walker2d",
        "walk forward on two legs in a plane",
        horizon=40,
        std=1.0,
        planner="icem",
        options={
            "horizon": 100,
            "rest_steps": 60,
            "rest_distance": 0.25,
            "num_samples": 64,
            "std": 0.5,
            "population_decay": 1.0,
        },
    ),
    "acrobot": _analytic(
        dynamics.acrobot,
        "acrobot",
        "stand two links up, with a motor between them",
        horizon=80,
        std=1.0,
        planner="ilqr",
        goal=_upright(0, 1),
    ),
    "cartpole": _analytic(
        dynamics.cartpole,
        "cartpole",
        "swing a pole up within the ends of a track",
        horizon=30,
        planner="ilqr",
        goal=_upright(1),
    ),
    "double_cartpole": _analytic(
        dynamics.double_cartpole,
        "double_cartpole",
        "swing two poles up, one on the other",
        horizon=60,
        std=1.0,
        planner="ilqr",
        goal=_upright(1, 2),
    ),
    "pendulum": _analytic(
        dynamics.pendulum,
        "pendulum",
        "swing up with too weak a motor",
        horizon=50,
        std=1.0,
        planner="ilqr",
        goal=_upright(0),
    ),
    "point_mass": _analytic(
        dynamics.point_mass,
        "point_mass",
        "find the way around an obstacle",
        horizon=30,
        planner="icem",
        num_steps=100,
        episode_steps=200,
        goal=_AT_GOAL,
    ),
}


def named_model(name: str) -> Model:
    """The model of that name, on the command line of a benchmark.

    Args:
        name: as `find_task` takes it, with the backend of a Brax environment, or the engine, after a colon (or a
            slash): hopper:mjx, robot:arm:mjx.

    Returns:
        The model.

    Raises:
        ValueError: if there is no such model, or no such backend of it.
    """
    *before, rest = name.replace("/", ":").split(":", 1) if name.startswith(PREFIXES) else (name,)
    model, _, backend = rest.replace("/", ":").partition(":")
    return find_task(":".join([*before, model])).make(backend or None)


def find_task(name: str) -> Task:
    """The task of that name; a Brax environment that the user registered has default settings.

    Args:
        name: a key of `TASKS`, of `robots.TASKS` or of Brax's registry; or "playground:" before the name of an
            environment of MuJoCo Playground.

    Returns:
        The task.

    Raises:
        ValueError: if there is none, naming the nearest, and those that there are.
    """
    if name in TASKS:
        return TASKS[name]
    if name in robots.TASKS:
        return robots.TASKS[name]
    if name.startswith(suite_tasks.PREFIX):
        return suite_tasks.playground_task(name.removeprefix(suite_tasks.PREFIX))
    if name in dynamics.brax_names():
        return _brax(name, "registered with Brax")
    raise unknown("model", name, [*sorted(TASKS), *robots.TASKS])
