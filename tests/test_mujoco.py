"""Models of MuJoCo files on both engines: kinematics, sensors, coordinates, parity, derivatives, whole rollouts."""

import chex
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from robots import CARTPOLE, CONTACT, ZOO

from mirrax import dynamics, planners
from mirrax.dynamics import mujoco_coordinates
from mirrax.dynamics.engines import unrolls
from mirrax.dynamics.mujoco_kinematics import frames, subtree_com, velocities
from mirrax.dynamics.rotations import compose, exponential, logarithm

ENGINES = {"mjx": dynamics.mjx, "mujoco": dynamics.mujoco}
KEY = jax.random.key(0)


def upright(data, action):
    return data.sensor("tip").data[2] - 0.01 * action[0] ** 2 - 0.1 * data.joint("slide").qpos ** 2


def zero(data, action):
    return 0.0


@pytest.fixture(scope="module")
def zoo():
    """A model with every kind of joint, and data in a random state."""
    mj = mujoco.MjModel.from_xml_string(ZOO)
    data, rng = mujoco.MjData(mj), np.random.default_rng(0)
    data.qpos[:], data.qvel[:] = rng.normal(size=mj.nq), rng.normal(size=mj.nv)
    mujoco.mj_normalizeQuat(mj, data.qpos)
    data.mocap_pos[:] = rng.normal(size=(1, 3))
    data.mocap_quat[:] = np.array([[0.5, 0.5, -0.5, 0.5]])
    mujoco.mj_forward(mj, data)
    return mj, data


def test_kinematics_are_those_of_mujoco(zoo):
    mj, data = zoo
    found = frames(mj, *(jnp.asarray(part) for part in (data.qpos, data.mocap_pos, data.mocap_quat)))
    for name in ("xpos", "xipos", "geom_xpos", "site_xpos"):
        np.testing.assert_allclose(getattr(found, name), getattr(data, name), atol=2e-6)
    np.testing.assert_allclose(np.abs((np.asarray(found.xquat) * data.xquat).sum(-1)), 1.0, atol=1e-6)
    np.testing.assert_allclose(subtree_com(mj, found.xipos), data.subtree_com, atol=2e-6)


def test_velocities_are_those_of_mujoco(zoo):
    mj, data = zoo
    wanted = np.zeros((mj.nbody, 6))
    for body in range(mj.nbody):
        mujoco.mj_objectVelocity(mj, data, mujoco.mjtObj.mjOBJ_BODY, body, wanted[body], 0)
    found = velocities(mj, jnp.asarray(data.qpos), jnp.asarray(data.qvel))
    np.testing.assert_allclose(found, wanted[:, 3:], atol=5e-6)


def test_coordinates_are_a_chart_of_the_state(zoo):
    mj, data = zoo
    x = mujoco_coordinates.to_tangent(mj, jnp.asarray(data.qpos))
    assert x.shape == (mj.nv,)
    again = np.asarray(mujoco_coordinates.from_tangent(mj, x))
    places = frames(mj, jnp.asarray(again)).geom_xpos, frames(mj, jnp.asarray(data.qpos)).geom_xpos
    np.testing.assert_allclose(*places, atol=3e-6)  # the same pose, if not the same sign of a quaternion
    moved = data.qpos.copy()
    mujoco.mj_integratePos(mj, moved, data.qvel, 0.1)
    own = mujoco_coordinates.integrated(mj, jnp.asarray(data.qpos), jnp.asarray(data.qvel), jnp.asarray(0.1))
    np.testing.assert_allclose(own, moved, atol=2e-6)
    assert len(mujoco_coordinates.names(mj)) == 2 * mj.nv + mj.na


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1.0, np.pi, 4.0])
def test_rotations_go_on_smoothly_past_half_a_turn(angle):
    axis = jnp.array([0.6, 0.0, 0.8])
    np.testing.assert_allclose(logarithm(exponential(angle * axis)), angle * axis, atol=1e-5)
    jacobian = jax.jacfwd(lambda v: logarithm(exponential(v)))(angle * axis)
    np.testing.assert_allclose(jacobian, np.eye(3), atol=1e-4)
    assert jnp.isfinite(jax.jacfwd(jax.jacfwd(exponential))(angle * axis)).all()


def test_beyond_three_quarters_of_a_turn_rotations_are_told_the_other_way_about():
    axis = jnp.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(logarithm(exponential(6.0 * axis)), (6.0 - 2 * np.pi) * axis, atol=1e-5)
    half = exponential(jnp.array([0.0, 0.0, 0.5]))
    np.testing.assert_allclose(compose(half, half), exponential(jnp.array([0.0, 0.0, 1.0])), atol=1e-6)


def follow(model, controls, *parts):
    """What happens under actions, and the named parts of the states."""

    def body(state, action):
        step = model.step(KEY, state, action)
        return step.state, (step.reward, step.discount, *(getattr(step.state, part) for part in parts))

    return jax.jit(lambda: jax.lax.scan(body, model.init(KEY), controls)[1])()


@pytest.mark.parametrize(
    ("file", "substeps", "steps"), [(CARTPOLE, 2, 100), (ZOO, 1, 100)], ids=["cartpole", "every joint"]
)
def test_both_engines_agree_where_there_is_no_contact(file, substeps, steps):
    parts = ("qpos", "qvel", "act", "sensordata", "xpos", "site_xmat", "subtree_com", "time", "ctrl")

    def reward(data, action):
        return {"height": data.xpos[-1, 2], "speed": data.qvel[0], "cost": -(action**2).sum()}

    def fast(data):
        return jnp.abs(data.qvel[0]) > 0.1

    controls = None
    found = []
    for make in ENGINES.values():
        model = make(file, reward, terminate=fast, substeps=substeps)
        if controls is None:
            controls = jax.random.uniform(jax.random.key(3), (steps, model.action_size), minval=-1.2, maxval=1.2)
        found.append(follow(model, controls, *parts))
    for name, one, other in zip(("reward", "discount", *parts), *found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_both_engines_earn_the_same_where_there_are_contacts():
    """Single bounces differ in float32 and float64; what is earned on average does not."""

    def reward(data, action):
        return data.body("torso").xpos[2] + data.qvel[0]

    returns = []
    plans = jax.random.uniform(jax.random.key(1), (64, 60, 2), minval=-1.0, maxval=1.0)
    for make in ENGINES.values():
        model = make(CONTACT, reward, substeps=2)
        state = jax.jit(model.init)(KEY)
        returns.append(np.asarray(jax.jit(planners.rollout)(model, KEY, state, plans)))
    np.testing.assert_allclose(returns[0].mean(), returns[1].mean(), atol=3e-2 * returns[0].std())
    assert np.corrcoef(returns)[0, 1] > 0.99


@pytest.mark.parametrize("engine", ENGINES)
def test_the_state_after_a_step_is_all_of_one_time(engine):
    """MuJoCo's own step leaves positions of bodies and sensors where they were before it."""
    model = ENGINES[engine](CARTPOLE, zero, substeps=3)
    state = jax.jit(model.init)(KEY)
    after = jax.jit(model.step)(KEY, state, jnp.array([0.5])).state
    mj = model.robot.mj
    data = mujoco.MjData(mj)
    data.qpos[:], data.qvel[:] = after.qpos, after.qvel
    mujoco.mj_forward(mj, data)
    np.testing.assert_allclose(after.xpos, data.xpos, atol=1e-5)
    for name in ("tip", "tip_speed", "place"):
        np.testing.assert_allclose(dynamics.sensor(model, after, name), data.sensor(name).data.squeeze(), atol=1e-4)
    # forces and accelerations are those that have led to it, of the last timestep
    data = mujoco.MjData(mj)
    data.qpos[:], data.ctrl[:] = state.qpos, model.to_actuators(jnp.array([0.5]))
    for _ in range(3):
        mujoco.mj_step(mj, data)
    np.testing.assert_allclose(dynamics.sensor(model, after, "shake"), data.sensor("shake").data, atol=1e-3)


@pytest.mark.parametrize(("file", "speed"), [(CARTPOLE, 0.0), (ZOO, 0.0), (ZOO, 0.3)])
def test_derivatives_of_mjx_are_those_of_differences(file, speed):
    """At rest, too, where MJX by itself has no derivative of a rotation by its angular velocity."""
    ours, theirs = dynamics.mjx(file, zero), dynamics.mujoco(file, zero)
    states = [jax.jit(model.init)(KEY) for model in (ours, theirs)]
    size = ours.coordinates(states[0]).size
    # apart from each other: what touches has other derivatives on either side
    at = ours.coordinates(states[0]).at[: ours.robot.mj.nv].add(0.0 if file is CARTPOLE else 0.15)
    at = at + speed * jax.random.normal(jax.random.key(5), at.shape)

    def following(model, state, z):
        moved = model.with_coordinates(state, z[:size])
        return model.coordinates(model.step(KEY, moved, z[size:]).state)

    z = jnp.concatenate([at, jnp.full(ours.action_size, 0.2)])
    own = jax.jit(jax.jacfwd(lambda z: following(ours, states[0], z)))(z)
    apart = 1e-2 * np.eye(len(z))
    theirs_at = jax.jit(jax.vmap(lambda z: following(theirs, states[1], z)))
    differences = (theirs_at(z + apart) - theirs_at(z - apart)) / 2e-2
    np.testing.assert_allclose(own, differences.T, atol=2e-3, rtol=2e-3)


def test_a_whole_plan_is_what_its_steps_are():
    model = dynamics.mujoco(CARTPOLE, upright, terminate=lambda data: data.qpos[0] > 0.3, substeps=2)
    assert unrolls(model)
    state = model.init(KEY)
    plans = jax.random.uniform(jax.random.key(1), (5, 30, 1), minval=-1.0, maxval=1.0)
    returns = jax.jit(planners.rollout)(model, KEY, state, plans)
    trajectories = jax.jit(jax.vmap(lambda plan: planners.trajectory(model, KEY, state, plan)))(plans)
    assert (np.asarray(trajectories.discounts) == 0).any()  # some end
    np.testing.assert_allclose(trajectories.rewards.sum(1), returns, rtol=1e-5)
    stepped = [follow(model, plan, "qpos", "sensordata") for plan in plans]
    for i, (rewards, discounts, qpos, sensordata) in enumerate(stepped):
        alive = np.concatenate([[1.0], np.cumprod(discounts)[:-1]])
        np.testing.assert_allclose((alive * rewards).sum(), returns[i], rtol=1e-5)
        np.testing.assert_allclose(trajectories.states.qpos[i], qpos, atol=1e-5)
        np.testing.assert_allclose(trajectories.states.sensordata[i], sensordata, atol=1e-3)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        lambda m: dynamics.with_value(m, lambda s: s.qpos[1]),
        lambda m: dynamics.discounted(dynamics.timed(m), 0.9),
        lambda m: dynamics.with_termination(m, lambda s, a, after: after.qpos[0] > 0.25),
        lambda m: dynamics.with_reward(m, lambda s, a, after: a[0] + after.qpos[1] - s.qpos[0]),
        lambda m: dynamics.resting(m, reward_steps=5, speed=1.0),
        lambda m: dynamics.delayed(m, 3),
        lambda m: dynamics.constrained(m, lambda s, a: jnp.abs(s.qpos[0]) - 0.1),
        lambda m: dynamics.constrained(dynamics.delayed(dynamics.timed(m), 2), lambda s, a: s.sent[0, 0]),
    ],
    ids=[
        *("bare", "value", "discounted timed", "termination", "reward", "resting", "delayed"),
        *("constrained", "constrained delayed timed"),
    ],
)
def test_wrappers_unroll_what_they_step(wrap):
    model = wrap(dynamics.mujoco(CARTPOLE, upright))
    assert unrolls(model)
    state = model.init(KEY)
    plans = jax.random.uniform(jax.random.key(1), (4, 12, 1), minval=-1.0, maxval=1.0)
    whole = jax.jit(lambda: planners.rollout(model, KEY, state, plans))()

    @dynamics.pytree
    class Stepwise(dynamics.Wrapper):
        model: object

    stepwise = Stepwise(model)
    assert not unrolls(stepwise)
    np.testing.assert_allclose(whole, jax.jit(lambda: planners.rollout(stepwise, KEY, state, plans))(), rtol=2e-5)
    follow = jax.jit(lambda model, plan: planners.trajectory(model, KEY, state, plan))
    chex.assert_trees_all_close(follow(model, plans[0]), follow(stepwise, plans[0]), atol=1e-4)


def test_a_simulation_that_diverges_earns_nan_from_there_on():
    """MuJoCo begins anew where a simulation diverges, as if nothing had happened."""
    file = CARTPOLE.replace('gear="10"', 'gear="1e12"').replace("-2 4", "-1 1")
    model = dynamics.mujoco(file, upright)
    plans = jnp.zeros((3, 20, 1)).at[1, 5:].set(1.0)
    returns = planners.rollout(model, KEY, model.init(KEY), plans)
    assert np.isfinite(np.asarray(returns)).tolist() == [True, False, True]
    assert np.isnan(planners.trajectory(model, KEY, model.init(KEY), plans[1]).rewards[5:]).any()


def test_a_planner_that_follows_derivatives_says_that_the_c_engine_has_none():
    model = dynamics.mujoco(CARTPOLE, upright)
    state = model.init(KEY)
    for planner in (planners.ilqr(5), planners.gradient(5)):
        with pytest.raises(ValueError, match=r"MuJoCo's C engine, which has none: use dynamics\.mjx"):
            planners.infer(planner, model, KEY, state)


SAMPLING = {
    "mppi": {},
    "cem": {},
    "vi_mpc": {},
    "smc": {},
    "icem": {"num_scenarios": 2},
    "predictive_sampling": {},
}


@pytest.mark.parametrize("name", SAMPLING)
def test_planners_that_sample_plan_on_the_c_engine(name):
    model = dynamics.mujoco(CARTPOLE, upright, keyframe="up", substeps=2)
    planner = getattr(planners, name)(horizon=12, num_samples=24, **SAMPLING[name])
    state = model.init(KEY)
    action, _, info = jax.jit(planners.plan)(planner, model, KEY, state, planner.init(model, state))
    assert -1.0 <= action[0] <= 1.0
    assert info.best_return[-1] > 11.5  # of 12: it stays up


def test_episodes_run_side_by_side():
    model = dynamics.mujoco(CARTPOLE, upright, keyframe="up", substeps=2)
    planner = planners.mppi(horizon=8, num_samples=16)

    def earned(key):
        return planners.episode(planner, model, model, key, 10).rewards

    together = jax.jit(jax.vmap(earned))(jax.random.split(KEY, 3))
    alone = jnp.stack([jax.jit(earned)(key) for key in jax.random.split(KEY, 3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_planners_imagine_with_the_cheaper_options(engine):
    options = {"timestep": 0.02, "iterations": 1, "ls_iterations": 4, "contacts": False}
    model = ENGINES[engine](CONTACT, zero, substeps=4, planning_options=options)
    imagined, state = dynamics.imagined(model, jax.jit(model.init)(KEY))
    assert imagined.dt == pytest.approx(model.dt)
    assert (imagined.substeps, model.substeps) == (1, 4)
    assert imagined.robot.mj.opt.iterations == 1
    assert model.robot.mj.opt.iterations > 1
    fallen, standing = (
        jax.jit(lambda m, s: follow_zero(m, s, 40))(m, s)
        for m, s in ((imagined, state), (model, jax.jit(model.init)(KEY)))
    )
    assert fallen[1] < -0.5 < standing[1]  # what it imagines has no floor
    wrapped = dynamics.timed(model)
    inside, at = dynamics.imagined(wrapped, wrapped.init(KEY) if engine == "mujoco" else jax.jit(wrapped.init)(KEY))
    assert inside.model.substeps == 1
    assert at.step == 0


def follow_zero(model, state, steps):
    """Where a robot is after a time without forces."""
    still = model.from_actuators(jnp.zeros(model.action_size))
    return jax.lax.scan(lambda s, _: (model.step(KEY, s, still).state, None), state, length=steps)[0].qpos


@pytest.mark.parametrize("engine", ENGINES)
def test_resets_keyframes_values_and_reasons(engine):
    def reset(key, data):
        return data.replace(qpos=data.qpos.at[0].set(jax.random.uniform(key)))

    model = ENGINES[engine](
        CARTPOLE,
        upright,
        reset=reset,
        keyframe="up",
        value=lambda data: 7.0 * data.qpos[0],
        terminate=lambda data: {"the cart left": jnp.abs(data.qpos[0]) > 2.0, "it fell": jnp.cos(data.qpos[1]) < 0.0},
        control_dt=0.05,
    )
    assert model.dt == pytest.approx(0.05)
    state = jax.jit(model.init)(jax.random.key(4))
    assert 0.0 < state.qpos[0] < 1.0
    assert state.qpos[1] == 0.0
    np.testing.assert_allclose(model.value(state), 7.0 * state.qpos[0], rtol=1e-6)
    np.testing.assert_allclose(dynamics.sensor(model, state, "place"), state.qpos[0], rtol=1e-6)
    lying = state.replace(qpos=jnp.array([0.0, 3.0]))
    step = jax.jit(model.step)(KEY, lying, jnp.zeros(1))
    assert step.discount == 0.0
    reasons = dynamics.end_reasons(model, lying, jnp.zeros(1), step.state)
    assert {name: bool(happened) for name, happened in reasons.items()} == {"the cart left": False, "it fell": True}
    assert dynamics.actuator_names(model) == ("push",)
    np.testing.assert_allclose(dynamics.to_actuators(model, jnp.array([-2.0])), [-2.0])
    np.testing.assert_allclose(dynamics.to_actuators(model, jnp.array([0.0])), [1.0])
    dynamics.check(model)
    home = ENGINES[engine](CARTPOLE, upright)
    np.testing.assert_allclose(jax.jit(home.init)(KEY).qpos, [0.2, 3.0], rtol=1e-6)


def test_models_of_the_same_file_share_a_compiled_program(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(CARTPOLE)
    count = []

    @jax.jit
    def traced(model):
        count.append(1)
        return model.init(KEY).qpos

    for source in (CARTPOLE, path, str(path), mujoco.MjModel.from_xml_string(CARTPOLE)):
        traced(dynamics.mujoco(source, upright))
    assert len(count) == 1
    traced(dynamics.mujoco(CARTPOLE.replace("0.1", "0.2"), upright))
    assert len(count) == 2


def test_parameters_of_mjx_are_traced():
    model = dynamics.mjx(CARTPOLE, upright)
    heavier = jax.vmap(lambda mass: move(model, mass))(jnp.array([0.5, 1.0, 2.0]))
    assert heavier[0] > heavier[1] > heavier[2]


def move(model, mass):
    import dataclasses

    sys = model.sys.replace(body_mass=model.sys.body_mass.at[1].set(mass))
    moved = dataclasses.replace(model, sys=sys)
    return moved.step(KEY, moved.init(KEY), jnp.ones(1)).state.qvel[0]


@pytest.mark.slow
def test_warp_simulates_what_the_c_engine_does():
    """On a CPU it compiles for minutes, once on a machine."""
    pytest.importorskip("warp")
    models = dynamics.mjx(CARTPOLE, upright, impl="warp", substeps=2), dynamics.mujoco(CARTPOLE, upright, substeps=2)
    controls = jax.random.uniform(jax.random.key(3), (20, 1), minval=-1.0, maxval=1.0)
    parts = ("qpos", "qvel", "xpos", "sensordata")
    for name, one, other in zip(
        ("reward", "discount", *parts), *(follow(m, controls, *parts) for m in models), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4, err_msg=name)
    state = jax.jit(models[0].init)(KEY)
    plans = jax.random.uniform(jax.random.key(1), (3, 4, 1), minval=-1.0, maxval=1.0)
    returns = [jax.jit(planners.rollout)(m, KEY, jax.jit(m.init)(KEY), plans) for m in models]
    np.testing.assert_allclose(*returns, atol=1e-3)
    with pytest.raises(ValueError, match="got 'warp', which has none"):
        planners.infer(planners.ilqr(3), models[0], KEY, state)


APART = """
<mujoco>{option}
  <worldbody><geom name="rock" type="ellipsoid" size="0.3 0.2 0.1"/>
    <body pos="0 0 1"><joint name="z" type="slide" axis="0 0 1"/>
      <geom name="foot" type="box" size="0.1 0.1 0.1"/></body>
  </worldbody>
  <actuator><motor joint="z" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def test_geoms_that_mjx_cannot_collide_are_named_unless_contacts_are_off():
    def height(data, action):
        return data.qpos[0]

    with pytest.raises(ValueError, match=r"got one with (rock and foot|foot and rock).*dynamics\.mujoco"):
        dynamics.mjx(APART.format(option=""), height)
    off = APART.format(option='<option><flag contact="disable"/></option>')
    one, other = (make(off, height) for make in (dynamics.mjx, dynamics.mujoco))
    plan = jnp.zeros((3, 1))
    np.testing.assert_allclose(*(follow(model, plan)[0] for model in (one, other)), rtol=1e-5)


WILD = """
<mujoco><option timestep="0.01" gravity="0 0 0"/>
  <worldbody><body><joint name="hinge" axis="0 1 0"/><geom size="0.1" pos="0 0 1"/></body></worldbody>
  <actuator><motor joint="hinge" ctrlrange="-1 1" gear="1e14"/></actuator>
</mujoco>
"""


@pytest.mark.parametrize("start", [0.0, 0.7])
def test_a_diverged_simulation_stays_diverged(start):
    """In the first step, too, when the clock of a simulation that begins anew would not show it."""

    def place(data, action):
        return 1.0 + 0.0 * data.qpos[0]

    model = dynamics.mujoco(WILD, place, reset=lambda key, data: data.replace(qpos=jnp.array([start])))
    for actions in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]):
        first = actions.index(1.0)
        plan = jnp.array(actions)[:, None]
        rewards, _ = follow(model, plan)
        assert np.isfinite(np.asarray(rewards)).tolist() == [i < first for i in range(len(actions))]
        unrolled = planners.trajectory(model, KEY, model.init(KEY), plan).rewards
        assert np.isfinite(np.asarray(unrolled)).tolist() == [i < first for i in range(len(actions))]
    for wrong in (jnp.nan, 1e12):
        state = model.init(KEY).replace(qvel=jnp.array([wrong]))
        assert np.isnan(model.step(KEY, state, jnp.zeros(1)).reward)
    assert np.isnan(planners.rollout(model, KEY, model.init(KEY), jnp.full((1, 1, 1), jnp.nan))).all()


def test_a_rollout_goes_on_after_a_warning_of_mujoco():
    """MuJoCo's own rollouts stand still where memory for contacts is short, and its steps go on."""
    file = """
    <mujoco><size memory="3K"/><option timestep="0.005"/>
      <worldbody><geom type="plane" size="2 2 0.1"/>
        <body pos="0 0 0.29"><joint name="z" type="slide" axis="0 0 1"/><joint name="x" type="slide" axis="1 0 0"/>
        <joint name="turn" axis="0 1 0"/><geom type="box" size="0.3 0.3 0.3" mass="1"/></body></worldbody>
      <actuator><motor joint="x" ctrlrange="-1 1"/></actuator>
    </mujoco>
    """
    model = dynamics.mujoco(file, lambda data, action: data.xpos[1, 2])
    plan = jnp.full((6, 1), 0.5)
    rewards, _ = follow(model, plan)
    assert np.isfinite(np.asarray(rewards)).all()
    np.testing.assert_allclose(planners.trajectory(model, KEY, model.init(KEY), plan).rewards, rewards, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_rewards_see_does_not_depend_on_sensors(engine):
    """Lengths, rates and cameras are those of the state, in a file without sensors."""
    file = CARTPOLE[: CARTPOLE.index("<sensor>")] + CARTPOLE[CARTPOLE.index("</sensor>") + 9 :]
    file = file.replace('<site name="tip" pos="0 0 1"/>', '<site name="tip" pos="0 0 1"/><camera name="eye"/>')
    model = ENGINES[engine](file, zero)
    after = jax.jit(model.step)(KEY, jax.jit(model.init)(KEY), jnp.ones(1)).state
    data = dynamics.named(model, after)
    if engine == "mjx":
        np.testing.assert_allclose(data.actuator("push").length, 10.0 * after.qpos[0], rtol=1e-5)
        assert data.camera("eye").xpos.shape == (3,)
    else:
        with pytest.raises(AttributeError, match="data of MuJoCo's C engine have no cam_xpos: read a sensor"):
            _ = data.camera("eye").xpos
    kept = after
    jax.jit(lambda x: x + kept.xpos[1, 0])(1.0)
    np.testing.assert_array_equal(np.isfinite(kept.xpos), True)


def test_rewards_of_controls_have_derivatives_beside_the_step():
    model = dynamics.mjx(CARTPOLE, lambda data, action: -(data.ctrl[0] ** 2))
    state = model.first()
    found = jax.hessian(lambda action: model.reward_between(state, action, state))(jnp.array([0.2]))
    np.testing.assert_allclose(found, [[-18.0]], rtol=1e-5)  # an action of 1 is 3 in units of ctrl
    for wrap in (lambda m: dynamics.delayed(m, 2), dynamics.timed, lambda m: dynamics.resting(m, reward_steps=3)):
        wrapped = wrap(model)
        at = (
            wrapped.begin(state)
            if wrap is not dynamics.timed
            else dynamics.TimedState(state, jnp.zeros((), jnp.int32))
        )
        assert wrapped.reward_between(at, jnp.zeros(1), at) is not None
    assert dynamics.action_repeat(model, 2).reward_between(state, jnp.zeros(1), state) is None


@pytest.mark.parametrize("engine", ENGINES)
def test_ensembles_and_changed_tasks_imagine_with_the_cheaper_options(engine):
    import dataclasses

    options = {"gravity": [0.0, 0.0, 0.0]}
    model = ENGINES[engine](CARTPOLE, upright, planning_options=options)
    other = dataclasses.replace(model, low=model.low - 1.0)
    np.testing.assert_allclose(other.imagined().low, other.low)
    if engine == "mjx":
        several = dynamics.ensemble([model, model])
        assert np.allclose(several.imagined().members.sys.opt.gravity, 0.0)


DELAYED = CARTPOLE.replace('gear="10"/>', 'gear="10" delay="0.03" nsample="6"/>')
MISTAKES = [
    (
        {"reset": lambda key, data: data.replace(qpos=jnp.zeros(3))},
        r"what reset returns.*must have shape \(2,\), got",
    ),
    ({"planning_options": {"timestep": 0.02}}, "timestep'. must go into the duration of a step, 0.01 s"),
    ({"planning_options": {"integrator": 77}}, "must be one of euler, rk4"),
    ({"planning_options": {"iterations": -3}}, "must be an integer of at least 1, got -3"),
    ({"planning_options": {"iteration": 3}}, "did you mean 'iterations'"),
    ({"action_range": (-100.0, 100.0)}, r"must lie within the ctrlrange of 'push', \[-2, 4\]"),
    ({"action_range": {"pull": (0, 1)}}, "unknown actuator 'pull' in action_range"),
    ({"keyframe": "down"}, "unknown keyframe 'down'.*home, up"),
    ({"control_dt": 0.015}, "control_dt must be a multiple of the model's timestep, 0.01 s, got 0.015"),
    ({"terminate": lambda: False}, r"terminate must take \(data\)"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("given", "message"), MISTAKES, ids=[str(i) for i in range(len(MISTAKES))])
def test_a_mistake_is_one_clear_line(engine, given, message):
    with pytest.raises(ValueError, match=message) as raised:
        ENGINES[engine](CARTPOLE, upright, **given).init(KEY)
    assert "\n" not in str(raised.value)


def test_what_an_engine_cannot_do_is_said():
    with pytest.raises(ValueError, match=r"got one with delays of push.*dynamics\.mujoco takes it"):
        dynamics.mjx(DELAYED, upright)
    with pytest.raises(ValueError, match=r"set jax_enable_x64, or take dynamics\.delayed"):
        dynamics.mujoco(DELAYED, upright)
    with pytest.raises(ValueError, match="noslip_iterations"):
        dynamics.mjx(CARTPOLE.replace("<option", '<option noslip_iterations="3"'), upright)
    unlimited = CARTPOLE.replace('ctrlrange="-2 4" ', "")
    for make in ENGINES.values():
        with pytest.raises(ValueError, match="action_range must be given for actuators without a ctrlrange, push"):
            make(unlimited, upright)
        np.testing.assert_allclose(make(unlimited, upright, action_range={"push": (-3, 3)}).high, [3.0])


def test_names_are_found_through_wrappers():
    model = dynamics.mujoco(CARTPOLE, upright)
    wrapped = dynamics.delayed(dynamics.action_repeat(model, 2), 3)
    state = wrapped.init(KEY)
    inner = wrapped.model.inner(wrapped.inner(state))
    expected = dynamics.named(model, inner).joint("hinge").qpos
    np.testing.assert_array_equal(dynamics.named(wrapped, state).joint("hinge").qpos, expected)


class Theirs(Exception):
    """Of the user's own code."""


def branches(data, action):
    return 1.0 if data.qpos[0] > 0 else 0.0


def indexes(data, action):
    return data.joint("hinge").qpos[0]


def converts(data, action):
    return float(data.qpos[0])


def counts(data, action):
    return sum(range(jnp.int32(data.qpos[0])))


def leaves_jax(data, action):
    return np.sin(data.qpos[0]) if np.asarray(data.qpos).any() else 0.0


def misnames(data, action):
    return data.joint("hing").qpos


def misses(data, action):
    return data.site_xvelp[0]


def gives_up(data, action):
    raise Theirs


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (branches, r"reward raised TracerBool.*test_mujoco\.py:\d+\): take jnp\.where, not if"),
        (indexes, r"reward raised IndexError: .*\(at .*test_mujoco\.py:\d+\)(\n|$)"),
        (leaves_jax, r"reward raised TracerArray.*test_mujoco\.py:\d+\): take jax\.numpy, not numpy"),
        (converts, r"reward raised Concretization.*test_mujoco\.py:\d+\): leave out float\(\) and int\(\)"),
        (counts, r"reward raised TracerInteger.*test_mujoco\.py:\d+\): let no size, index of a list or number of"),
        (misnames, r"unknown joint 'hing'; did you mean 'hinge'\?.* \(at .*test_mujoco\.py:\d+\)(\n|$)"),
        (misses, r"reward raised AttributeError: .*site_xvelp.*\(at .*test_mujoco\.py:\d+\)(\n|$)"),
    ],
)
def test_what_a_reward_raises_is_told_by_its_name_and_line(engine, reward, message):
    model = ENGINES[engine](CARTPOLE, reward)
    with pytest.raises(ValueError, match=message) as raised:
        jax.eval_shape(model.step, KEY, model.first(), jnp.zeros(1))
    assert "\n" not in str(raised.value)
    for name in ("terminate", "value"):
        model = ENGINES[engine](CARTPOLE, upright, **{name: lambda data: reward(data, None)})
        with pytest.raises(ValueError, match=message.replace("reward", name)):
            jax.eval_shape(
                lambda model=model: (model.value(model.first()), model.step(KEY, model.first(), jnp.zeros(1)))
            )


def test_data_are_not_written_to():
    model = dynamics.mujoco(CARTPOLE, upright)
    data = dynamics.named(model, model.first())
    for part, name in ((data, "qpos"), (data.joint("hinge"), "qvel"), (data.body("cart"), "xpos")):
        with pytest.raises(
            AttributeError, match=rf"{name} of data cannot be written: let reset return data\.replace"
        ):
            setattr(part, name, 1.0)


def test_what_a_reward_raises_for_its_own_code_stays_as_it_is():
    model = dynamics.mujoco(CARTPOLE, gives_up)
    with pytest.raises(Theirs) as raised:
        jax.eval_shape(model.step, KEY, model.first(), jnp.zeros(1))
    assert "raised by the user's reward" in raised.value.__notes__
    with pytest.raises(ValueError, match=r"^reward raised Theirs \(at "):
        dynamics.check(model)
    with pytest.raises(AttributeError, match=r"dynamics\.named\(model, state\)\.site"):
        model.first().site("tip")
