"""Tasks of MuJoCo Playground: `mirrax run playground:CheetahRun`, with settings by how long a step is."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from mirrax import dynamics
from mirrax.benchmarks.task import Beyond, Task
from mirrax.dynamics.checks import unknown

PREFIX = "playground:"
# the control suite, the cheapest on a CPU first
SUITE = (
    "PendulumSwingup",
    "CartpoleBalance",
    "CartpoleSwingup",
    "CartpoleBalanceSparse",
    "CartpoleSwingupSparse",
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "CheetahRun",
    "WalkerStand",
    "WalkerWalk",
    "WalkerRun",
    "BallInCup",
    "HopperStand",
    "HopperHop",
    "SwimmerSwimmer6",
    "FishSwim",
    "HumanoidStand",
    "HumanoidWalk",
    "HumanoidRun",
)
# How many time steps, of 10 to 40 ms each, an action is held for, so that plans look about a second ahead.
_REPEATS = {"Cartpole": 4, "Acrobot": 4, "Cheetah": 4, "Pendulum": 4}
_DEFAULT_REPEATS = 2
# steps, of as many repeats, that plans look ahead
_HORIZONS = {"Pendulum": 30, "Cartpole": 30, "Acrobot": 50, "PointMass": 25, "Cheetah": 12}
_DEFAULT_HORIZON = 20
# what plans of the default planner have besides
_OPTIONS = {"Cartpole": {"num_knots": 15, "std_min": 0.05}}


def _beyond(summary: str, value: Callable[[Any], Array]) -> Beyond:
    """What a function of named data says of a state."""
    return Beyond(summary, lambda model: lambda state: value(dynamics.named(model, state)))


def _energy(data: Any) -> Array:
    """E − E_upright = l² ω² / 2 + g l (cos θ − 1) of a pendulum of 1 kg, where l = 0.5 m and g = 9.81 m/s²."""
    hinge = data.joint("hinge")
    missing = 0.5 * (0.5 * hinge.qvel) ** 2 + 0.5 * 9.81 * (jnp.cos(hinge.qpos) - 1.0)
    return -20.0 * jnp.abs(missing) / 9.81


def _pole(data: Any) -> Array:
    hinge, slider = data.joint("hinge_1"), data.joint("slider")
    return 20.0 * jnp.cos(hinge.qpos) - 0.25 * hinge.qvel**2 - 4.0 * slider.qpos**2 - 0.5 * slider.qvel**2


def _point_mass(data: Any) -> Array:
    return -50.0 * _distance(data.geom("target").xpos, data.geom("pointmass").xpos)


def _reacher(data: Any) -> Array:
    return -50.0 * _distance(data.geom("target").xpos[:2], data.geom("finger").xpos[:2])


def _spin(data: Any) -> Array:
    return 10.0 * jnp.clip(-data.joint("hinge").qvel / 15.0, -1.0, 1.0)


def _tip(data: Any) -> Array:
    return -50.0 * _distance(data.site("target").xpos, data.site("tip").xpos)


def _cup(data: Any) -> Array:
    ball, cup = data.body("ball").xpos, data.site("target").xpos
    return -50.0 * _distance(ball, cup) + 10.0 * jnp.minimum(ball[2] - cup[2], 0.2)


def _distance(one: Array, other: Array) -> Array:
    return jnp.sqrt(((one - other) ** 2).sum() + 1e-8)


# Where a reward is 0 almost everywhere, this is all that tells plans apart.
_BEYOND = {
    "PendulumSwingup": _beyond("the energy missing to stand upright", _energy),
    "CartpoleSwingupSparse": _beyond("the pole's angle and speed and the cart's place", _pole),
    "PointMass": _beyond("the distance from the target", _point_mass),
    "Reacher": _beyond("the distance from the target", _reacher),
    "FingerSpin": _beyond("the speed, up to what is asked for", _spin),
    "FingerTurn": _beyond("the distance of the tip from the target", _tip),
    "BallInCup": _beyond("the distance of the ball from the cup, and its height", _cup),
}


def playground_task(name: str) -> Task:
    """The task of an environment of Playground.

    Args:
        name: of the environment.

    Returns:
        The task; its episodes have the 1,000 steps of the suite.

    Raises:
        ValueError: if there is no such environment, with the nearest.
    """
    if name not in dynamics.playground_names():
        raise unknown("environment of Playground", name, dynamics.playground_names())

    def make(impl: str | None) -> Any:
        model = dynamics.playground(name) if impl is None else dynamics.playground(name, impl=impl)
        return dynamics.action_repeat(model, repeats)

    repeats = _of(_REPEATS, name, _DEFAULT_REPEATS)
    horizon = _of(_HORIZONS, name, _DEFAULT_HORIZON)
    return Task(
        f"of MuJoCo Playground, each action for {repeats} time steps",
        make,
        horizon=horizon,
        num_samples=64,
        num_steps=1000 // repeats,
        episode_steps=1000 // repeats,
        planner="icem",
        options={"horizon": horizon, "num_samples": 32, "num_knots": max(5, horizon // 3)} | _of(_OPTIONS, name, {}),
        beyond=_of(_BEYOND, name, None),
    )


def _of(settings: Mapping[str, Any], name: str, default: Any) -> Any:
    """The setting of the robot whose name an environment's begins with."""
    return next((value for robot, value in settings.items() if name.startswith(robot)), default)
