"""The tasks of hydrax that were re-made: their physics in closed form, and the benchmark on them."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mirrax import planners
from mirrax.benchmarks import peers
from mirrax.benchmarks.peer_tasks import find_peer_task


@pytest.fixture(scope="module")
def cart_pole():
    return find_peer_task("cart_pole").model()


def seen(world, qpos=None, qvel=None, ctrl=0.0):
    """MuJoCo's data of a state, with all that is derived from it."""
    data = mujoco.MjData(world)
    data.qpos[:] = data.qpos if qpos is None else qpos
    data.qvel[:], data.ctrl[:] = 0.0 if qvel is None else qvel, ctrl
    mujoco.mj_forward(world, data)
    return data


def mass_matrix(world, data):
    mass = np.zeros((world.nv, world.nv))
    mujoco.mj_fullM(world, data, mass)
    return mass


def rod(length, radius, mass):
    """The moment of inertia of a uniform capsule about an axis across its middle."""
    volume = np.pi * radius**2 * length, 4.0 / 3.0 * np.pi * radius**3
    density = mass / sum(volume)
    cylinder, ball = (density * part for part in volume)
    ends = ball * (0.4 * radius**2 + length**2 / 4.0 + 3.0 * length * radius / 8.0)
    return cylinder * (length**2 / 12.0 + radius**2 / 4.0) + ends


def test_cart_pole_has_the_closed_form_of_its_mass_matrix_and_forces():
    world, angle, speed = find_peer_task("cart_pole").world(), 0.7, 1.3
    data = seen(world, (0.3, angle), (0.4, speed), 0.5)
    m, half = 0.1, 0.5
    coupling = -m * half * np.cos(angle)
    expected = [[1.1, coupling], [coupling, m * half**2 + rod(1.0, 0.045, m)]]
    np.testing.assert_allclose(mass_matrix(world, data), expected, rtol=1e-6)
    centrifugal, gravity = m * half * np.sin(angle) * speed**2, m * 9.81 * half * np.sin(angle)
    np.testing.assert_allclose(data.qfrc_bias, [centrifugal, gravity], rtol=1e-6)
    np.testing.assert_allclose(data.qfrc_actuator, [5.0, 0.0])


def test_double_cart_pole_has_the_closed_form_of_its_mass_matrix_and_forces():
    world, speeds = find_peer_task("double_cart_pole").world(), np.array([0.4, 1.3, -0.6])
    data = seen(world, (0.3, 0.7, 0.5), speeds, 0.5)
    first, second = 0.7, 0.7 + 0.5  # rods' own angles; joints have that of the second seen from the first
    m, half, inertia = 0.1, 0.5, rod(1.0, 0.045, 0.1)
    turned = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    _, w1, w2 = turned @ speeds
    c1, c2, c12 = -1.5 * m * np.cos(first), -half * m * np.cos(second), half * m * np.cos(first - second)
    masses = [[1.2, c1, c2], [c1, m * (half**2 + 1.0) + inertia, c12], [c2, c12, m * half**2 + inertia]]
    np.testing.assert_allclose(mass_matrix(world, data), turned.T @ masses @ turned, rtol=1e-6)
    s1, s2, s12 = 1.5 * m * np.sin(first), half * m * np.sin(second), half * m * np.sin(first - second)
    forces = [s1 * w1**2 + s2 * w2**2, 9.81 * s1 + s12 * w2**2, 9.81 * s2 - s12 * w1**2]
    np.testing.assert_allclose(data.qfrc_bias, turned.T @ forces, rtol=1e-6)
    np.testing.assert_allclose(data.qfrc_actuator, [10.0, 0.0, 0.0])
    np.testing.assert_allclose(data.qfrc_passive, -speeds * [1e-4, 1e-2, 1e-2])


def test_double_cart_pole_costs_what_its_tip_and_speeds_do():
    task = find_peer_task("double_cart_pole")
    data = seen(task.world(), (0.3, 0.7, 0.5), (0.4, 1.3, -0.6), 0.5)
    across, down = np.sin(0.7) + np.sin(1.2), np.cos(0.7) + np.cos(1.2)
    off = (2.0 + down) ** 2 + across**2
    squares = 1.3**2 + 0.6**2
    np.testing.assert_allclose(task.running(data, data.ctrl), off + 0.1 * squares + 0.001 * 0.25, rtol=1e-6)
    np.testing.assert_allclose(task.final(data), 10.0 * off + 10.0 * 0.09 + 0.16 + squares, rtol=1e-6)
    upright = seen(task.world(), (0.0, np.pi, 0.0))
    np.testing.assert_allclose(task.final(upright), 0.0, atol=1e-9)
    made = peers.make_planner("predictive_sampling", task, 50)
    assert (made.num_samples, task.period) == (1024, 0.02)


def test_pendulum_has_the_closed_form_of_its_acceleration():
    data = seen(find_peer_task("pendulum").world(), 0.7, ctrl=1.0)
    np.testing.assert_allclose(data.qacc, (2.0 - 9.81 * 0.5 * np.sin(0.7)) / (0.25 + 0.087959), rtol=1e-6)


def test_walker_stands_as_it_is_drawn():
    world = find_peer_task("walker").world()
    data = seen(world)
    assert (world.nq, world.nu, world.opt.timestep, world.opt.iterations) == (9, 6, 0.005, 50)
    np.testing.assert_allclose(world.actuator_gear[:, 0], [100, 50, 20, 100, 50, 20])
    np.testing.assert_allclose(data.sensordata, [0, 0, 1.3, 0, 0, 0, 0, 0, 1])
    capsules = [(0.6, 0.07), *2 * [(0.45, 0.05), (0.5, 0.04), (0.2, 0.05)]]
    volumes = [np.pi * r**2 * (length + 4.0 / 3.0 * r) for length, r in capsules]
    np.testing.assert_allclose(world.body_subtreemass[1], 1000.0 * sum(volumes), rtol=1e-6)
    cost = find_peer_task("walker").final(data)
    np.testing.assert_allclose(cost, 10.0 * 0.1**2 + 1.5**2, rtol=1e-6)


@pytest.mark.parametrize("engine", ["mjx", "mujoco"])
def test_step_is_mujocos_and_costs_what_hydrax_says_of_its_end(engine):
    task = find_peer_task("cart_pole")
    model, world = task.model(engine), task.world()
    data, state = mujoco.MjData(world), model.init(jax.random.key(0))
    step = jax.jit(model.step)
    for action in (0.7, -0.2, 3.0):  # the last is clipped
        told = step(jax.random.key(0), state, jnp.array([action]))
        data.ctrl[:] = min(action, 1.0)
        mujoco.mj_step(world, data, 2)
        off = (np.cos(data.qpos[1] + np.pi) - 1.0) ** 2 + np.sin(data.qpos[1]) ** 2
        rest = data.qpos[0] ** 2 + 0.01 * (data.qvel**2).sum()
        state = told.state
        np.testing.assert_allclose(state.qpos, data.qpos, atol=1e-5)
        np.testing.assert_allclose(state.qvel, data.qvel, atol=1e-4)
        np.testing.assert_allclose(told.reward, -0.02 * (off + rest + 0.01 * data.ctrl[0] ** 2), rtol=1e-4)
    np.testing.assert_allclose(model.value(state), -10.0 * off - rest, rtol=1e-4)
    assert model.dt == 0.02
    assert task.model(engine) is model


def test_walker_costs_what_its_torso_does_at_the_end_of_a_step():
    task = find_peer_task("walker")
    model, action = task.model("mujoco"), jnp.array([0.4, -0.3, 0.2, -0.1, 0.5, 0.6])
    data = mujoco.MjData(task.robot)
    data.ctrl[:] = action
    mujoco.mj_step(task.robot, data, task.num_substeps)
    mujoco.mj_forward(task.robot, data)
    height, speed, upright = data.xpos[1, 2], data.subtree_linvel[1, 0], data.xmat[1, 8]
    cost = 10.0 * (height - 1.2) ** 2 + 3.0 * (upright - 1.0) ** 2 + (speed - 1.5) ** 2
    told = jax.jit(model.step)(jax.random.key(0), model.init(jax.random.key(0)), action)
    np.testing.assert_allclose(told.reward, -0.02 * (cost + 0.1 * (action**2).sum()), rtol=1e-4)
    np.testing.assert_allclose(model.value(told.state), -cost, rtol=1e-4)


def test_states_are_on_no_device_of_their_own(cart_pole):
    assert not any(leaf.committed for leaf in jax.tree.leaves((cart_pole, cart_pole.init(jax.random.key(0)))))


def test_unknown_names_are_one_clear_line(capsys):
    for arguments in (
        ["--tasks", "ant"],
        ["--planners", "dial"],
        ["--hydrax", "dial"],
        ["--seeds", "0"],
        ["--engine", "brax"],
    ):
        with pytest.raises(SystemExit) as left:
            peers.main(arguments)
        assert left.value.code == 2
        assert capsys.readouterr().err.startswith("mirrax: error: ")


def test_settings_are_those_of_hydrax(cart_pole):
    task = find_peer_task("cart_pole")
    made = peers.make_planner("cem", task, 50)
    assert (made.num_samples, made.num_iterations) == (128, 1)
    belief = made.init(cart_pole, cart_pole.init(jax.random.key(0))).belief
    assert isinstance(belief, planners.beliefs.Splined)
    assert belief.knots.mean.shape == (4, 1)
    np.testing.assert_allclose(belief.knots.std, 0.5)
    assert made.evaluator.likelihood.number == 3


@pytest.mark.parametrize("engine", ["mjx", "mujoco"])
def test_table_tells_costs_and_reach(capsys, engine):
    few = ["--planners", "mppi", "--seeds", "1", "--seconds", "0.2", "--hydrax"]
    peers.main(["--tasks", "pendulum", "--engine", engine, *few])
    told = capsys.readouterr().out
    assert f"planned every 20 ms with {engine}" in told
    row = next(line for line in told.splitlines() if line.startswith("| mppi"))
    mean, by_seed, reach, milliseconds = (float(cell) for cell in row.split("|")[2:-1])
    assert mean == by_seed
    assert 0 < mean <= 4.1  # hanging costs 4 per second
    assert min(reach, milliseconds) > 0
