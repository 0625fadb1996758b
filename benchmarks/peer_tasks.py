"""Tasks of hydrax (vincekurtz/hydrax, MIT) re-made: the same masses, motors, costs and settings, as MJX models.

The robots are written afresh from what hydrax's say (`tests/test_peers.py` holds them to closed forms).
"""

import contextlib
import dataclasses
import io
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mirrax.dynamics.actions import check_action, to_range
from mirrax.dynamics.base import Step
from mirrax.dynamics.checks import integer
from mirrax.dynamics.pytrees import pytree, static


class Physics(NamedTuple):
    """What of MuJoCo's data goes from one step to the next; all else is derived from it.

    Attributes:
        qpos: positions of the joints, m and rad, [nq].
        qvel: their velocities, [nv].
        warmstart: accelerations where the constraint solver begins, [nv].
        sensors: readings at the beginning of the step that led here, as MuJoCo gives them, [n].
    """

    qpos: Float[Array, " nq"]
    qvel: Float[Array, " nv"]
    warmstart: Float[Array, " nv"]
    sensors: Float[Array, " n"]


Cost = Callable[[Physics, Any], Any]  # (state, control [A]) -> a scalar


@pytree
class MjxModel:
    """A MuJoCo model with a cost, stepped by MJX. Make one with `mjx_model`.

    Attributes:
        sys: an `mjx.Model`, traced.
        data: an `mjx.Data` that gives all that `Physics` leaves out.
        low: the control that -1 stands for, [A].
        high: the control that 1 stands for, [A].
        running: the cost per second.
        final: the cost of the last state.
        num_substeps: of the simulation, in a step of the model, with the same control.
    """

    sys: Any
    data: Any
    low: Float[Array, " A"]
    high: Float[Array, " A"]
    running: Cost = static()
    final: Callable[[Physics], Any] = static()
    num_substeps: int = static()
    timestep: float = static()

    @property
    def action_size(self) -> int:
        """The number A of motors."""
        return self.low.shape[0]

    @property
    def bounded(self) -> bool:
        """Motors have a range, and nothing changes beyond."""
        return True

    @property
    def dt(self) -> float:
        """The duration of one step, s."""
        return self.num_substeps * self.timestep

    def init(self, key: Key[Array, ""]) -> Physics:
        """At rest, as the robot was drawn; nothing of it is random."""
        return physics(self.data)

    def step(self, key: Key[Array, ""], state: Physics, action: Float[Array, " A"]) -> Step:
        """Hold a control for some substeps; the reward is minus the cost, by its rate after each of them.

        Raises:
            ValueError: if `action` has another shape than [A].
        """
        from mujoco import mjx

        control = to_range(check_action(action, self.action_size), self.low, self.high)

        def substep(state: Physics, _: None) -> tuple[Physics, Array]:
            data = self.data.replace(qpos=state.qpos, qvel=state.qvel, qacc_warmstart=state.warmstart, ctrl=control)
            after = physics(mjx.step(self.sys, data))
            return after, self.timestep * self.running(after, control)

        if self.num_substeps == 1:
            state, cost = substep(state, None)
        else:
            state, costs = jax.lax.scan(substep, state, length=self.num_substeps)
            cost = costs.sum()
        return Step(state, -cost, jnp.ones(()))

    def value(self, state: Physics) -> Float[Array, ""]:
        """Minus the cost of the last state."""
        return -self.final(state)


def physics(data: Any) -> Physics:
    """What goes from one step to the next of an `mjx.Data` or `mujoco.MjData`."""
    return Physics(data.qpos, data.qvel, data.qacc_warmstart, data.sensordata)


def mjx_model(mj_model: Any, running: Cost, final: Callable[[Physics], Any], num_substeps: int = 1) -> MjxModel:
    """Make a model of a MuJoCo model.

    Args:
        mj_model: a `mujoco.MjModel` whose motors all have a range of controls, which stand for [-1, 1].
        running: (state, control [A]) -> the cost per second, a scalar.
        final: state -> the cost of the last state, a scalar.
        num_substeps: of the simulation, in a step of the model.

    Returns:
        The model. Its state is a `Physics`.

    Raises:
        ValueError: if a motor has no range.
    """
    mjx = _import_mjx()
    if not mj_model.actuator_ctrllimited.all():
        raise ValueError(f"mj_model must have a ctrlrange for each motor, got {mj_model.actuator_ctrllimited}")

    def anywhere(tree: Any) -> Any:
        # MuJoCo commits its arrays to one device, which would forbid to spread plans over several.
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)

    low, high = jnp.asarray(mj_model.actuator_ctrlrange.T, float)
    return MjxModel(
        sys=anywhere(mjx.put_model(mj_model)),
        data=anywhere(mjx.make_data(mj_model)),
        low=low,
        high=high,
        running=running,
        final=final,
        num_substeps=integer("num_substeps", num_substeps),
        timestep=float(mj_model.opt.timestep),
    )


@dataclasses.dataclass(frozen=True)
class PeerTask:
    """A task of hydrax with the settings of its example.

    Attributes:
        xml: the robot, in MJCF.
        running: (state, control [A]) -> the cost per second.
        final: state -> the cost of the last state.
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
    final: Callable[[Physics], Any]
    seconds: float
    num_substeps: int
    num_samples: int
    common: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]
    true_timestep: float | None = None
    true_iterations: int | None = None

    def model(self) -> MjxModel:
        """What planners imagine with; a step lasts from one planning to the next."""
        import mujoco

        return mjx_model(mujoco.MjModel.from_xml_string(self.xml), self.running, self.final, self.num_substeps)

    def world(self) -> Any:
        """What they act in: a `mujoco.MjModel` for MuJoCo itself."""
        import mujoco

        world = mujoco.MjModel.from_xml_string(self.xml)
        world.opt.timestep = self.true_timestep or world.opt.timestep
        world.opt.iterations = self.true_iterations or world.opt.iterations
        return world


def _off_upright(angle: Any) -> Any:
    """The squared distance of (cos, sin) of an angle from that of 0."""
    return (jnp.cos(angle) - 1.0) ** 2 + jnp.sin(angle) ** 2


def _swing(state: Physics, weight: float) -> Any:
    """The cost of a state of the cart-pole, whose pole hangs at angle 0."""
    return weight * _off_upright(state.qpos[1] + math.pi) + state.qpos[0] ** 2 + 0.01 * (state.qvel**2).sum()


def _pendulum(state: Physics) -> Any:
    return _off_upright(state.qpos[0] - math.pi) + 0.01 * state.qvel[0] ** 2


def _walking(state: Physics) -> Any:
    """10 (height − 1.2 m)² + 3 (upright − 1)² + (speed − 1.5 m/s)², by the sensors of the torso."""
    height, speed, upright = state.sensors[2], state.sensors[3], state.sensors[8]
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
    <framepos objtype="xbody" objname="torso"/>
    <subtreelinvel body="torso"/>
    <framezaxis objtype="xbody" objname="torso"/>
  </sensor>
  <actuator>{motors}</actuator>
</mujoco>
"""


# hydrax's own settings, of its examples; a temperature and a std of plans mean there what they mean here.
TASKS: Mapping[str, PeerTask] = {
    "cart_pole": PeerTask(
        xml=_CART_POLE,
        running=lambda state, control: _swing(state, 1.0) + 0.01 * _squared(control),
        final=lambda state: _swing(state, 10.0),
        seconds=1.0,
        num_substeps=2,
        num_samples=128,
        common={"num_iterations": 1, "std": 0.3, "num_knots": 4, "interpolation": "cubic"},
        own={"mppi": {"temperature": 0.1}, "cem": {"num_elites": 3, "std": 0.5, "std_min": 0.1, "smoothing": None}},
    ),
    "walker": PeerTask(
        xml=_walker(),
        running=lambda state, control: _walking(state) + 0.1 * _squared(control),
        final=_walking,
        seconds=0.6,
        num_substeps=2,
        num_samples=128,
        common={"num_iterations": 1, "std": 0.5, "num_knots": 5, "interpolation": "zero"},
        own={"mppi": {"temperature": 0.1}, "cem": {"num_elites": 3, "std": 0.5, "std_min": 0.1, "smoothing": None}},
        true_timestep=0.005,
        true_iterations=50,
    ),
    "pendulum": PeerTask(
        xml=_PENDULUM,
        running=lambda state, control: _pendulum(state) + 0.001 * _squared(control),
        final=_pendulum,
        seconds=1.0,
        num_substeps=1,
        num_samples=32,
        common={"num_iterations": 1, "std": 0.2, "num_knots": 11, "interpolation": "zero"},
        own={
            "mppi": {"temperature": 0.1},
            "predictive_sampling": {"std": 0.1},
            "cem": {"num_elites": 3, "std": 0.5, "std_min": 0.1, "smoothing": None},
        },
    ),
}


def find_peer_task(name: str) -> PeerTask:
    """The task of that name.

    Raises:
        ValueError: if there is none, listing those that there are.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; choose one of: {', '.join(TASKS)}")
    return TASKS[name]


def _import_mjx() -> Any:
    """Import MJX without its chatter about the optional warp."""
    with contextlib.redirect_stdout(io.StringIO()):
        from mujoco import mjx
    return mjx
