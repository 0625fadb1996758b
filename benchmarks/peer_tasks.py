"""Tasks of hydrax (vincekurtz/hydrax, MIT) re-made: the same masses, motors, costs and settings.

The robots are written afresh from what hydrax's say (`tests/test_peers.py` holds them to closed forms). They are
models of `dynamics.mjx` or `dynamics.mujoco`, whose rewards are of the state after a step; in hydrax the sensors and
frames of it are one timestep older, as MuJoCo leaves them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from mirrax import dynamics
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import choice, unknown

ENGINES: Mapping[str, Callable[..., Model]] = {"mjx": dynamics.mjx, "mujoco": dynamics.mujoco}

# (data, control [A]) -> a scalar, and data -> a scalar; data is a `dynamics.NamedData` or `mujoco.MjData`
Cost = Callable[[Any, Any], Any]
FinalCost = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class PeerTask:
    """A task of hydrax with the settings of its example.

    Attributes:
        xml: the robot, in MJCF.
        running: the cost per second.
        final: the cost of the last state.
        seconds: the horizon.
        num_substeps: of the imagined simulation, between two plannings.
        num_samples: plans per planning.
        common: options of every planner.
        own: those of one planner besides, by the name of its factory.
        true_timestep: of the simulation that stands for the world, s; None for the imagined one.
        true_iterations: of its constraint solver; None for those of the imagined one.
    """

    xml: str
    running: Cost
    final: FinalCost
    seconds: float
    num_substeps: int
    num_samples: int
    common: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]
    true_timestep: float | None = None
    true_iterations: int | None = None

    @functools.cached_property
    def robot(self) -> Any:
        """What is imagined, a `mujoco.MjModel`."""
        import mujoco

        return mujoco.MjModel.from_xml_string(self.xml)

    @property
    def period(self) -> float:
        """The time from one planning to the next, s."""
        return self.num_substeps * float(self.robot.opt.timestep)

    def model(self, engine: str = "mjx") -> Model:
        """What planners imagine with; a step lasts from one planning to the next, and costs what its end does.

        Args:
            engine: "mjx", or "mujoco" for MuJoCo's C engine.

        Returns:
            The model, the same one each time: what is compiled with it is compiled once.

        Raises:
            ValueError: for another engine.
        """
        return _model(self, choice("engine", engine, tuple(ENGINES)))

    def world(self) -> Any:
        """What they act in: a `mujoco.MjModel` for MuJoCo itself."""
        import mujoco

        world = mujoco.MjModel.from_xml_string(self.xml)
        world.opt.timestep = self.true_timestep or world.opt.timestep
        world.opt.iterations = self.true_iterations or world.opt.iterations
        return world


@functools.cache
def _model(task: PeerTask, engine: str) -> Model:
    def reward(data: Any, action: Any) -> Any:
        return -task.period * task.running(data, action)

    def value(data: Any) -> Any:
        return -task.final(data)

    return ENGINES[engine](task.robot, reward, value=value, substeps=task.num_substeps)


def _off_upright(angle: Any) -> Any:
    """The squared distance of (cos, sin) of an angle from that of 0."""
    return (jnp.cos(angle) - 1.0) ** 2 + jnp.sin(angle) ** 2


def _swing(data: Any, weight: float) -> Any:
    """The cost of a state of the cart-pole, whose pole hangs at angle 0."""
    return weight * _off_upright(data.qpos[1] + math.pi) + data.qpos[0] ** 2 + 0.01 * _squared(data.qvel)


def _pendulum(data: Any) -> Any:
    return _off_upright(data.qpos[0] - math.pi) + 0.01 * data.qvel[0] ** 2


def _below_the_top(data: Any) -> Any:
    """The squared distance of the tip of the double cart-pole from where it stands upright above the cart, m²."""
    tip = data.site("tip").xpos
    return (tip[2] - 4.0) ** 2 + (tip[0] - data.qpos[0]) ** 2


def _walking(data: Any) -> Any:
    """10 (height − 1.2 m)² + 3 (upright − 1)² + (speed − 1.5 m/s)², by the sensors of the torso."""
    height, speed, upright = (data.sensor(name).data[i] for name, i in (("place", 2), ("speed", 0), ("axis", 2)))
    return 10.0 * (height - 1.2) ** 2 + 3.0 * (upright - 1.0) ** 2 + (speed - 1.5) ** 2


def _squared(control: Any) -> Any:
    return (jnp.asarray(control) ** 2).sum()


# A cart of 1 kg on a rail, pushed with at most 10 N; from it hangs a rod of 100 g and 1 m (9 cm thick, round ends).
_CART_POLE = """
<mujoco>
  <option timestep="0.01" iterations="1" ls_iterations="5"><flag contact="disable"/></option>
  <worldbody>
    <body pos="0 0 1">
      <joint name="rail" type="slide" axis="1 0 0" damping="1e-4" limited="true" range="-1.8 1.8"
        solreflimit="0.08 1"/>
      <geom type="box" size="0.2 0.15 0.1" mass="1"/>
      <body>
        <joint name="pivot" type="hinge" axis="0 1 0" damping="1e-4"/>
        <geom type="capsule" size="0.045 0.5" pos="0 0 -0.5" mass="0.1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="rail" gear="10" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""

# The same cart on a longer rail, pushed with at most 20 N; from it hang two such rods, one from the other.
_DOUBLE_CART_POLE = """
<mujoco>
  <option timestep="0.01" iterations="1" ls_iterations="5"><flag contact="disable"/></option>
  <default><default class="rod">
    <joint type="hinge" axis="0 1 0" damping="0.01"/>
    <geom type="capsule" size="0.045 0.5" pos="0 0 -0.5" mass="0.1"/>
  </default></default>
  <worldbody>
    <body pos="0 0 2">
      <joint name="rail" type="slide" axis="1 0 0" damping="1e-4" limited="true" range="-3.8 3.8"
        solreflimit="0.08 1"/>
      <geom type="box" size="0.2 0.15 0.1" mass="1"/>
      <body childclass="rod">
        <joint name="shoulder"/>
        <geom/>
        <body pos="0 0 -1">
          <joint name="elbow"/>
          <geom/>
          <site name="tip" pos="0 0 -1"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="rail" gear="20" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""

# A link of 1 kg whose centre is 0.5 m below its pivot, with a motor of 2 N m: less than half of what would lift it.
_PENDULUM = """
<mujoco>
  <option timestep="0.02" iterations="1" ls_iterations="4"><flag contact="disable" eulerdamp="disable"/></option>
  <worldbody>
    <body pos="0 0 1.5">
      <joint name="pivot" type="hinge" axis="0 1 0"/>
      <inertial pos="0 0 -0.5" mass="1" diaginertia="0.087959 0.087959 0.00019896"/>
    </body>
  </worldbody>
  <actuator><motor joint="pivot" gear="2" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def _leg(side: str, y: float) -> str:
    """A leg of three capsules, with the torques that move it in `_walker`."""
    return f"""
      <body pos="0 {y} -0.3">
        <joint name="hip_{side}" range="-20 100"/>
        <geom size="0.05 0.225" pos="0 0 -0.225"/>
        <body pos="0 0 -0.7">
          <joint name="knee_{side}" pos="0 0 0.25" range="-150 0"/>
          <geom size="0.04 0.25"/>
          <body pos="0.06 0 -0.25">
            <joint name="ankle_{side}" pos="-0.06 0 0" range="-45 45"/>
            <geom size="0.05 0.1" quat="0.7071067811865476 0 0.7071067811865476 0"/>
          </body>
        </body>
      </body>"""


def _walker() -> str:
    """The planar walker of the DeepMind control suite, as MuJoCo MPC and hydrax have it."""
    motors = "".join(
        f'<motor joint="{joint}_{side}" gear="{gear}"/>'
        for side in ("right", "left")
        for joint, gear in (("hip", 100), ("knee", 50), ("ankle", 20))
    )
    return f"""
<mujoco>
  <option timestep="0.01" iterations="1" ls_iterations="6"><flag eulerdamp="disable"/></option>
  <custom>
    <numeric name="max_contact_points" data="5"/>
    <numeric name="max_geom_pairs" data="5"/>
  </custom>
  <default>
    <geom type="capsule" contype="1" conaffinity="0" friction="0.5" solref="0.02 1" solimp="0 0.95 0.01"/>
    <joint type="hinge" axis="0 -1 0" damping="0.1" armature="0.01" limited="true"/>
    <motor ctrllimited="true" ctrlrange="-1 1"/>
    <default class="free"><joint damping="0" armature="0" limited="false"/></default>
  </default>
  <worldbody>
    <geom type="plane" size="0 0 0.125" conaffinity="1"/>
    <body name="torso" pos="0 0 1.3">
      <joint name="z" class="free" type="slide" axis="0 0 1"/>
      <joint name="x" class="free" type="slide" axis="1 0 0"/>
      <joint name="pitch" class="free" axis="0 1 0"/>
      <geom size="0.07 0.3"/>{_leg("right", -0.05)}{_leg("left", 0.05)}
    </body>
  </worldbody>
  <sensor>
    <framepos name="place" objtype="xbody" objname="torso"/>
    <subtreelinvel name="speed" body="torso"/>
    <framezaxis name="axis" objtype="xbody" objname="torso"/>
  </sensor>
  <actuator>{motors}</actuator>
</mujoco>
"""


_CEM = {"num_elites": 3, "std": 0.5, "std_min": 0.1, "smoothing": None}  # of hydrax's cart-pole

# hydrax's own settings, of its examples. Planners that an example lacks (MPPI and CEM of the double cart-pole,
# CEM of the walker and the pendulum) take those of the cart-pole. A temperature and a std of plans mean there what
# they mean here.
TASKS: Mapping[str, PeerTask] = {
    "cart_pole": PeerTask(
        xml=_CART_POLE,
        running=lambda data, control: _swing(data, 1.0) + 0.01 * _squared(control),
        final=lambda data: _swing(data, 10.0),
        seconds=1.0,
        num_substeps=2,
        num_samples=128,
        common={"num_iterations": 1, "std": 0.3, "num_knots": 4, "interpolation": "cubic"},
        own={"mppi": {"temperature": 0.1}, "cem": _CEM},
    ),
    "double_cart_pole": PeerTask(
        xml=_DOUBLE_CART_POLE,
        running=lambda data, control: (
            _below_the_top(data) + 0.1 * _squared(data.qvel[1:]) + 0.001 * _squared(control)
        ),
        final=lambda data: 10.0 * _below_the_top(data) + 10.0 * data.qpos[0] ** 2 + _squared(data.qvel),
        seconds=1.0,
        num_substeps=2,
        num_samples=1024,
        common={"num_iterations": 1, "std": 0.3, "num_knots": 4, "interpolation": "cubic"},
        own={"mppi": {"temperature": 0.1}, "cem": _CEM},
    ),
    "walker": PeerTask(
        xml=_walker(),
        running=lambda data, control: _walking(data) + 0.1 * _squared(control),
        final=_walking,
        seconds=0.6,
        num_substeps=2,
        num_samples=128,
        common={"num_iterations": 1, "std": 0.5, "num_knots": 5, "interpolation": "zero"},
        own={"mppi": {"temperature": 0.1}, "cem": _CEM},
        true_timestep=0.005,
        true_iterations=50,
    ),
    "pendulum": PeerTask(
        xml=_PENDULUM,
        running=lambda data, control: _pendulum(data) + 0.001 * _squared(control),
        final=_pendulum,
        seconds=1.0,
        num_substeps=1,
        num_samples=32,
        common={"num_iterations": 1, "std": 0.2, "num_knots": 11, "interpolation": "zero"},
        own={
            "mppi": {"temperature": 0.1},
            "predictive_sampling": {"std": 0.1},
            "cem": _CEM,
        },
    ),
}


def find_peer_task(name: str) -> PeerTask:
    """The task of that name.

    Raises:
        ValueError: if there is none, listing those that there are.
    """
    if name not in TASKS:
        raise unknown("task", name, list(TASKS))
    return TASKS[name]
