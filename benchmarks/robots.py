"""Tasks of robots whose MJCF files come with the package: their rewards, ends and starts, on either engine.

Each file is `mjcf/<name>.xml` beside this module; `robot("quadrotor")` makes the model, and `mirrax run
robot:quadrotor` drives it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mirrax import dynamics
from mirrax.benchmarks.task import Goal, Task
from mirrax.benchmarks.upright import upright_regulator
from mirrax.dynamics import Model
from mirrax.dynamics.checks import choice, unknown

ENGINES = ("mujoco", "mjx")
PREFIX = "robot:"
_FILES = Path(__file__).parent / "mjcf"
# centres of the gates that the quadrotor flies through, in their order, and where it is to stop, m
_GATES = ((1.5, 0.5, 1.0), (3.0, -0.5, 1.6), (4.5, 0.4, 0.9))
_LANDING = (6.0, 0.0, 1.2)
_OPENING = 0.25  # from the centre of a gate, m
# of the block that is pushed: x, y, m, and yaw, rad
_BLOCK_TARGET = (0.08, 0.06, 1.0472)
_BESIDE = (0.45, 0.0, 0.06)  # on the way of the arm's tip, on this side of the pillar, m
_BIPED_SPEED = 1.5  # m/s


@dataclasses.dataclass(frozen=True)
class Robot:
    """What is asked of a robot.

    Attributes:
        reward: (data, action) -> terms.
        control_dt: the duration of a step, s.
        terminate: data -> reasons; None for never.
        reset: (key, data) -> data; None for where the file begins.
        keyframe: where it begins.
        planning_options: in which the engine is cheaper where planners imagine.
    """

    reward: Callable[..., Any]
    control_dt: float
    terminate: Callable[..., Any] | None = None
    reset: Callable[..., Any] | None = None
    keyframe: str | None = None
    planning_options: Mapping[str, Any] | None = None


def _near(distance: Any, scale: float) -> Float[Array, ""]:
    """1 at a distance of 0, 0.5 at `scale`, with a slope wherever it is."""
    return 1.0 / (1.0 + (distance / scale) ** 2)


def _shaken(scale: float) -> Callable[..., Any]:
    """A start near that of the file."""

    def reset(key: Any, data: Any) -> Any:
        places, speeds = (scale * jax.random.normal(k, x.shape) for k, x in zip(
            jax.random.split(key), (data.qpos, data.qvel), strict=True
        ))  # fmt: skip
        return data.replace(qpos=data.qpos + places, qvel=data.qvel + speeds)

    return reset


def _cartpole(data: Any, action: Any) -> dict[str, Any]:
    slider, hinge = data.joint("slider"), data.joint("hinge")
    return {
        "upright": 0.5 * (1.0 + jnp.cos(hinge.qpos)),
        "centred": -0.1 * slider.qpos**2,
        "slow": -0.01 * hinge.qvel**2 - 0.01 * slider.qvel**2,
        "effort": -0.0005 * action[0] ** 2,
    }


def _double_cartpole(data: Any, action: Any) -> dict[str, Any]:
    slider, lower, upper = (data.joint(name) for name in ("slider", "lower hinge", "upper hinge"))
    lean = lower.qpos + upper.qpos
    return {
        "upright": 0.25 * (2.0 + jnp.cos(lower.qpos) + jnp.cos(lean)),
        "centred": -0.1 * slider.qpos**2,
        "slow": -0.003 * (lower.qvel**2 + upper.qvel**2 + slider.qvel**2),
        "effort": -0.0001 * action[0] ** 2,
    }


def _remaining(place: Float[Array, "3"]) -> Float[Array, ""]:
    """The way through the gates that are still ahead to where the quadrotor is to stop, m."""
    stops = jnp.array([*_GATES, _LANDING])
    legs = jnp.linalg.norm(jnp.diff(stops, axis=0), axis=-1)
    after = jnp.concatenate([jnp.cumsum(legs[::-1])[::-1], jnp.zeros(1)])
    ahead = (stops[:-1, 0] < place[0]).sum()  # gates stand one behind the other along x
    return jnp.linalg.norm(stops[ahead] - place) + after[ahead]


def _quadrotor(data: Any, action: Any) -> dict[str, Any]:
    place, spin, velocity = data.site("centre").xpos, data.sensor("gyro").data, data.sensor("velocity").data
    left = _remaining(place)
    return {
        "aloft": jnp.asarray(1.0),
        "progress": jnp.maximum(5.0 - 5.0 * left / 7.5, -0.4),  # to end early is never better
        "arrived": 3.0 * _near(jnp.linalg.norm(place - jnp.array(_LANDING)), 0.3),
        "level": 0.5 * data.site("centre").xmat.reshape(3, 3)[2, 2],
        "calm": -jnp.minimum(0.02 * (spin**2).sum(), 1.0),
        "speed": -0.3 * jnp.maximum(jnp.sqrt((velocity**2).sum() + 1e-8) - 2.0, 0.0),
        "effort": -0.01 * ((action - 1.23) ** 2).sum(),
    }


def _quadrotor_ends(data: Any) -> dict[str, Any]:
    place, up = data.site("centre").xpos, data.site("centre").xmat.reshape(3, 3)[2, 2]
    gates = jnp.array(_GATES)
    at = jnp.abs(gates[:, 0] - place[0]) < 0.1
    beside = jnp.abs(gates[:, 1:] - place[1:]).max(-1) > _OPENING
    return {
        "it hit the ground": place[2] < 0.1,
        "it hit a gate or flew past one": (at & beside).any(),
        "it turned over": up < 0.0,
    }


def _arm(data: Any, action: Any) -> dict[str, Any]:
    tip, target, beside = data.site("tip").xpos, data.site("target").xpos, jnp.array(_BESIDE)
    around = jnp.linalg.norm(tip - beside) + jnp.linalg.norm(beside - target)
    left = jnp.where(tip[1] < beside[1], around, jnp.linalg.norm(tip - target))
    return {
        "near": _near(jnp.linalg.norm(tip - target), 0.1),
        "far": -0.3 * left,
        "slow": -0.01 * (data.qvel**2).sum(),
        "effort": -0.01 * (action**2).sum(),
    }


def _biped(data: Any, action: Any) -> dict[str, Any]:
    speed, height, lean = data.sensor("velocity").data[0], data.joint("z").qpos, data.joint("pitch").qpos
    return {
        "alive": jnp.asarray(0.5),
        "speed": 1.0 - jnp.abs(jnp.clip(speed, -1.0, 3.0) - _BIPED_SPEED) / _BIPED_SPEED,
        "height": -5.0 * jnp.maximum(-height - 0.1, 0.0) ** 2,
        "upright": -0.5 * lean**2,
        "effort": -0.02 * (action**2).sum(),
    }


def _biped_ends(data: Any) -> dict[str, Any]:
    return {"it fell": (data.joint("z").qpos < -0.45) | (jnp.abs(data.joint("pitch").qpos) > 1.2)}


def _turned(yaw: Any) -> Any:
    """How far the block is turned from its target, rad."""
    off = yaw - _BLOCK_TARGET[2]
    return jnp.arctan2(jnp.sin(off), jnp.cos(off))


def _pusher(data: Any, action: Any) -> dict[str, Any]:
    x, y, yaw = (data.joint(f"block {name}").qpos for name in ("x", "y", "yaw"))
    away = jnp.sqrt((x - _BLOCK_TARGET[0]) ** 2 + (y - _BLOCK_TARGET[1]) ** 2 + 1e-8)
    reach = data.site("finger").xpos[:2] - data.site("block").xpos[:2]
    return {
        "place": _near(away, 0.03) - 4.0 * away,
        "yaw": _near(away, 0.06) * _near(_turned(yaw), 0.3) - 0.2 * jnp.abs(_turned(yaw)),
        "reach": -1.0 * jnp.maximum(jnp.sqrt((reach**2).sum() + 1e-8) - 0.06, 0.0),
        "effort": -0.1 * (action**2).sum(),
    }


def _pushed(model: Any, state: Any) -> Any:
    x, y, yaw = (dynamics.named(model, state).joint(f"block {name}").qpos for name in ("x", "y", "yaw"))
    near = (x - _BLOCK_TARGET[0]) ** 2 + (y - _BLOCK_TARGET[1]) ** 2 < 0.01**2
    return near & (jnp.abs(_turned(yaw)) < 0.15)


def _tip_at_target(model: Any, state: Any) -> Any:
    data = dynamics.named(model, state)
    return jnp.linalg.norm(data.site("tip").xpos - data.site("target").xpos) < 0.03


def _arrived(model: Any, state: Any) -> Any:
    place = dynamics.named(model, state).site("centre").xpos
    return jnp.linalg.norm(place - jnp.array(_LANDING)) < 0.4


def _standing(*names: str) -> Callable[[Any, Any], Any]:
    def reached(model: Any, state: Any) -> Any:
        leans = jnp.cumsum(jnp.stack([dynamics.named(model, state).joint(name).qpos for name in names]))
        return (jnp.cos(leans) > 0.955).all()

    return reached


ROBOTS: Mapping[str, Robot] = {
    "cartpole": Robot(_cartpole, 0.02, reset=_shaken(0.01), keyframe="hanging"),
    "double_cartpole": Robot(_double_cartpole, 0.02, reset=_shaken(0.01), keyframe="hanging"),
    "quadrotor": Robot(_quadrotor, 0.04, _quadrotor_ends, _shaken(0.01)),
    "arm": Robot(_arm, 0.04, reset=_shaken(0.02)),
    "biped": Robot(_biped, 0.04, _biped_ends, _shaken(0.01), planning_options={"timestep": 0.01}),
    "pusher": Robot(_pusher, 0.04, reset=_shaken(0.002)),
}


def robot(name: str, engine: str = "mujoco", **options: Any) -> Model:
    """Make the model of a robot.

    Args:
        name: a key of `ROBOTS`.
        engine: "mujoco" (MuJoCo's C engine, the faster on CPUs), or "mjx" (JAX, with derivatives).
        **options: of `dynamics.mujoco` or `dynamics.mjx`, such as `planning_options`.

    Returns:
        The model.

    Raises:
        ValueError: if there is no such robot or engine.
    """
    if name not in ROBOTS:
        raise unknown("robot", name, sorted(ROBOTS))
    choice("engine", engine, ENGINES)
    own = ROBOTS[name]
    make: Callable[..., Model] = dynamics.mujoco if engine == "mujoco" else dynamics.mjx
    return make(
        _FILES / f"{name}.xml",
        own.reward,
        terminate=own.terminate,
        reset=own.reset,
        keyframe=own.keyframe,
        control_dt=own.control_dt,
        **{"planning_options": own.planning_options, **options},
    )


def _task(name: str, summary: str, *, planner: str = "icem", options: Mapping[str, Any], **settings: Any) -> Task:
    return Task(
        f"MJCF: {summary}",
        lambda engine: robot(name, engine or ENGINES[0]),
        horizon=options["horizon"],
        num_samples=options["num_samples"],
        planner=planner,
        options=options,
        **settings,
    )


_UP = "within 0.3 rad of upright"
# Settings were chosen in closed loop, on other seeds than those that docs/robots.md shows.
TASKS: Mapping[str, Task] = {
    "robot:cartpole": _task(
        "cartpole",
        "swing a pole up on a cart",
        options={"horizon": 50, "num_samples": 24},
        goal=Goal(_UP, _standing("hinge")),
        episode_steps=300,
    ),
    "robot:double_cartpole": _task(
        "double_cartpole",
        "swing two poles up, one on the other",
        options={"horizon": 22, "num_samples": 48, "std": 0.25, "std_min": 0.005},
        goal=Goal(_UP, _standing("lower hinge", "upper hinge")),
        beyond=upright_regulator("lower hinge", "upper hinge"),
        episode_steps=400,
    ),
    "robot:quadrotor": _task(
        "quadrotor",
        "fly through three gates and stop",
        options={"horizon": 30, "num_samples": 40, "num_knots": 10, "std": 0.25, "std_min": 0.02},
        goal=Goal("within 0.4 m of where it is to stop", _arrived),
        episode_steps=250,
    ),
    "robot:arm": _task(
        "arm",
        "reach around a pillar with a two-joint arm",
        options={"horizon": 25, "num_samples": 24, "num_knots": 6, "std": 0.15, "std_min": 0.01},
        goal=Goal("tip within 3 cm of the target", _tip_at_target),
        episode_steps=200,
    ),
    "robot:biped": _task(
        "biped", "walk on two legs in a plane", options={"horizon": 20, "num_samples": 40}, episode_steps=250
    ),
    "robot:pusher": _task(
        "pusher",
        "push and turn a block to a pose with a finger",
        options={"horizon": 25, "num_samples": 32, "num_knots": 6},
        goal=Goal("within 1 cm and 0.15 rad of the pose", _pushed),
        episode_steps=250,
    ),
}
