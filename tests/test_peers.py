"""The tasks of hydrax that were re-made: their physics in closed form, and the benchmark on them."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mirrax import planners
from mirrax.benchmarks import peers
from mirrax.benchmarks.peer_tasks import TASKS, find_peer_task, mjx_model, physics


@pytest.fixture(scope="module")
def cart_pole():
    return find_peer_task("cart_pole").model()


def rod(length, radius, mass):
    """The moment of inertia of a uniform capsule about an axis across its middle."""
    volume = np.pi * radius**2 * length, 4.0 / 3.0 * np.pi * radius**3
    density = mass / sum(volume)
    cylinder, ball = (density * part for part in volume)
    ends = ball * (0.4 * radius**2 + length**2 / 4.0 + 3.0 * length * radius / 8.0)
    return cylinder * (length**2 / 12.0 + radius**2 / 4.0) + ends


def test_cart_pole_has_the_closed_form_of_its_mass_matrix_and_forces():
    world, data = (world := find_peer_task("cart_pole").world()), mujoco.MjData(world)
    angle, speed = 0.7, 1.3
    data.qpos[:], data.qvel[:], data.ctrl[:] = (0.3, angle), (0.4, speed), 0.5
    mujoco.mj_forward(world, data)
    mass = np.zeros((2, 2))
    mujoco.mj_fullM(world, data, mass)
    m, half = 0.1, 0.5
    coupling = -m * half * np.cos(angle)
    expected = [[1.1, coupling], [coupling, m * half**2 + rod(1.0, 0.045, m)]]
    np.testing.assert_allclose(mass, expected, rtol=1e-6)
    centrifugal, gravity = m * half * np.sin(angle) * speed**2, m * 9.81 * half * np.sin(angle)
    np.testing.assert_allclose(data.qfrc_bias, [centrifugal, gravity], rtol=1e-6)
    np.testing.assert_allclose(data.qfrc_actuator, [5.0, 0.0])


def test_pendulum_has_the_closed_form_of_its_acceleration():
    world, data = (world := find_peer_task("pendulum").world()), mujoco.MjData(world)
    data.qpos[:], data.ctrl[:] = 0.7, 1.0
    mujoco.mj_forward(world, data)
    np.testing.assert_allclose(data.qacc, (2.0 - 9.81 * 0.5 * np.sin(0.7)) / (0.25 + 0.087959), rtol=1e-6)


def test_walker_stands_as_it_is_drawn():
    world, data = (world := find_peer_task("walker").world()), mujoco.MjData(world)
    mujoco.mj_forward(world, data)
    assert (world.nq, world.nu, world.opt.timestep, world.opt.iterations) == (9, 6, 0.005, 50)
    np.testing.assert_allclose(world.actuator_gear[:, 0], [100, 50, 20, 100, 50, 20])
    np.testing.assert_allclose(data.sensordata, [0, 0, 1.3, 0, 0, 0, 0, 0, 1])
    capsules = [(0.6, 0.07), *2 * [(0.45, 0.05), (0.5, 0.04), (0.2, 0.05)]]
    volumes = [np.pi * r**2 * (length + 4.0 / 3.0 * r) for length, r in capsules]
    np.testing.assert_allclose(world.body_subtreemass[1], 1000.0 * sum(volumes), rtol=1e-6)
    at_rest = jnp.asarray(data.sensordata)
    cost = find_peer_task("walker").final(physics(data)._replace(sensors=at_rest))
    np.testing.assert_allclose(cost, 10.0 * 0.1**2 + 1.5**2, rtol=1e-6)


def test_step_is_mujocos_and_costs_what_hydrax_says(cart_pole):
    world, data = (world := find_peer_task("cart_pole").world()), mujoco.MjData(world)
    state = cart_pole.init(jax.random.key(0))
    step = jax.jit(cart_pole.step)
    for action in (0.7, -0.2, 3.0):  # the last is clipped
        told = step(jax.random.key(0), state, jnp.array([action]))
        cost = 0.0
        for _ in range(2):
            data.ctrl[:] = min(action, 1.0)
            mujoco.mj_step(world, data)
            off = (np.cos(data.qpos[1] + np.pi) - 1.0) ** 2 + np.sin(data.qpos[1]) ** 2
            cost += 0.01 * (off + data.qpos[0] ** 2 + 0.01 * (data.qvel**2).sum() + 0.01 * data.ctrl[0] ** 2)
        state = told.state
        np.testing.assert_allclose(state.qpos, data.qpos, atol=1e-5)
        np.testing.assert_allclose(state.qvel, data.qvel, atol=1e-4)
        np.testing.assert_allclose(told.reward, -cost, rtol=1e-4)
    last = 10.0 * off + data.qpos[0] ** 2 + 0.01 * (data.qvel**2).sum()
    np.testing.assert_allclose(cart_pole.value(state), -last, rtol=1e-4)
    assert cart_pole.dt == 0.02


def test_states_are_on_no_device_of_their_own(cart_pole):
    assert not any(leaf.committed for leaf in jax.tree.leaves((cart_pole, cart_pole.init(jax.random.key(0)))))


def test_motors_without_a_range_are_refused():
    world = mujoco.MjModel.from_xml_string(TASKS["pendulum"].xml.replace('ctrllimited="true" ctrlrange="-1 1"', ""))
    with pytest.raises(ValueError, match="ctrlrange"):
        mjx_model(world, TASKS["pendulum"].running, TASKS["pendulum"].final)


def test_unknown_names_are_one_clear_line(capsys):
    for arguments in (["--tasks", "ant"], ["--planners", "dial"], ["--hydrax", "dial"], ["--seeds", "0"]):
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


def test_table_tells_costs_and_reach(capsys):
    peers.main(["--tasks", "pendulum", "--planners", "mppi", "--seeds", "1", "--seconds", "0.2", "--hydrax"])
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| mppi")]
    mean, by_seed, reach, milliseconds = (float(cell) for cell in told[0].split("|")[2:-1])
    assert mean == by_seed
    assert 0 < mean <= 4.1  # hanging costs 4 per second
    assert min(reach, milliseconds) > 0
