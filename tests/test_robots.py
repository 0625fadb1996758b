"""Robots whose MJCF files come with the package, tasks of Playground, and the benchmark on both."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics
from mirrax.benchmarks import robots, suite, suite_tasks
from mirrax.benchmarks.records import records_of
from mirrax.benchmarks.returns import fitting
from mirrax.benchmarks.survival import make
from mirrax.benchmarks.tasks import find_task, named_model

KEY = jax.random.key(0)
RECORDS = pathlib.Path(__file__).parent.parent / "benchmarks" / "results" / "suite"


@pytest.mark.parametrize("name", robots.ROBOTS)
def test_a_robot_begins_away_from_its_goal_and_names_all_it_says(name):
    task = find_task(f"robot:{name}")
    model = task.make(None)
    state = jax.jit(model.init)(KEY)
    after = jax.jit(model.step)(KEY, state, jnp.zeros(model.action_size))
    assert jnp.isfinite(after.reward)
    assert after.discount == 1
    terms = model.reward_terms(state, jnp.zeros(model.action_size), after.state)
    np.testing.assert_allclose(sum(terms.values()), after.reward, atol=1e-5)
    assert task.goal is None or not task.goal.reached(model, state)
    assert all(not name.startswith(("joint ", "actuator ")) for name in (*model.actuator_names,))
    assert model.figure() is not None
    fitting(make("shipped", task, None), model)


@pytest.mark.parametrize("name", ["cartpole", "arm", pytest.param("quadrotor", marks=pytest.mark.slow)])
def test_engines_agree(name):
    one, other = robots.robot(name), named_model(f"robot:{name}:mjx")
    action = jnp.full(one.action_size, 0.3)

    @jax.jit
    def reward(model):
        state = model.init(KEY)
        for _ in range(2):
            state, earned, _ = model.step(KEY, state, action)
        return earned, dynamics.coordinates(model, state)

    for found, expected in zip(reward(one), reward(other), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_quadrotor_hovers_in_the_middle_of_its_range_and_must_fly_through_gates():
    model = robots.robot("quadrotor")
    still = model.first()
    after = jax.jit(model.step)(KEY, model.derived(still), jnp.zeros(4)).state
    assert abs(float(after.qvel[2])) < 0.01

    def at(x, y, z, **turn):
        qpos = jnp.array([x, y, z, 1.0, 0.0, 0.0, 0.0])
        return model.derived(still.replace(qpos=qpos.at[3:].set(jnp.array(turn.get("quat", (1.0, 0, 0, 0))))))

    def reasons(state):
        found = model.end_reasons(state, jnp.zeros(4), state)
        return [reason for reason, happened in found.items() if happened]

    for gate in robots._GATES:
        assert not reasons(at(*gate))
        assert reasons(at(gate[0], gate[1] + 0.3, gate[2])) == ["it hit a gate or flew past one"]
    assert reasons(at(0.5, 0.0, 0.05)) == ["it hit the ground"]
    assert reasons(at(0.5, 0.0, 1.0, quat=(0.0, 1.0, 0.0, 0.0))) == ["it turned over"]
    ways = [float(robots._remaining(jnp.array(place))) for place in (*robots._GATES, robots._LANDING)]
    assert ways == sorted(ways, reverse=True)
    assert ways[-1] == 0.0


def test_goals_hold_where_their_words_say():
    block = robots.robot("pusher")
    there = block.first().replace(qpos=jnp.array([*robots._BLOCK_TARGET, 0.2, 0.0]))
    assert robots.TASKS["robot:pusher"].goal.reached(block, there)
    turned = there.replace(qpos=there.qpos.at[2].add(0.3))
    assert not robots.TASKS["robot:pusher"].goal.reached(block, turned)
    poles = robots.robot("double_cartpole")
    up = poles.first().replace(qpos=jnp.array([0.5, 2 * jnp.pi + 0.1, -0.1]))
    assert robots.TASKS["robot:double_cartpole"].goal.reached(poles, up)
    assert not robots.TASKS["robot:double_cartpole"].goal.reached(poles, up.replace(qpos=up.qpos.at[2].add(1.0)))


def test_the_value_of_two_poles_is_greatest_upright_and_counts_no_full_turns():
    task = find_task("robot:double_cartpole")
    model = task.make(None)
    value = jax.jit(task.beyond.value(model))
    upright = model.first().replace(qpos=jnp.zeros(3), qvel=jnp.zeros(3))
    assert value(upright) == 0
    assert task.imagined(model).value(upright) == 0
    np.testing.assert_allclose(value(upright.replace(qpos=jnp.array([0.0, 2 * jnp.pi, -2 * jnp.pi]))), 0.0, atol=1e-4)
    lean = [float(value(upright.replace(qpos=jnp.array([0.0, angle, 0.0])))) for angle in (0.1, 0.3, 1.0, 3.0)]
    assert lean == sorted(lean, reverse=True)
    assert lean[0] < 0


def test_the_way_of_the_arm_leads_around_the_pillar():
    model = robots.robot("arm")

    def far(shoulder, elbow):
        state = model.first().replace(qpos=jnp.array([shoulder, elbow]))
        return float(model.reward_terms(state, jnp.zeros(2), state)["far"])

    folded, beyond = far(-0.6, 1.9), far(0.3, 0.9)
    assert far(-0.8, 0.2) < folded < beyond


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda: robots.robot("cartpol"), "unknown robot 'cartpol'; did you mean 'cartpole'"),
        (lambda: robots.robot("arm", "warp"), "engine must be one of mujoco, mjx, got 'warp'"),
        (lambda: find_task("robot:quadroto"), "did you mean 'robot:quadrotor'"),
    ],
)
def test_mistakes_are_named(give, words):
    with pytest.raises(ValueError, match=words):
        give()


def test_tasks_of_playground_are_found_by_their_names():
    pytest.importorskip("mujoco_playground")
    assert set(suite_tasks.SUITE) == set(dynamics.playground_names()[:25])
    for name in suite_tasks.SUITE:
        task = find_task(f"playground:{name}")
        assert make("shipped", task, None).horizon == task.horizon
    with pytest.raises(ValueError, match="did you mean 'CheetahRun'"):
        find_task("playground:CheetaRun")
    assert named_model("playground:PendulumSwingup:jax").dt == pytest.approx(0.08)  # of four steps


def test_what_is_told_beyond_the_horizon_is_best_upright():
    pytest.importorskip("mujoco_playground")
    task = find_task("playground:PendulumSwingup")
    model = task.make(None)
    worth = task.imagined(model).value
    state = model.init(KEY)
    for angle, speed, expected in ((0.0, 0.0, 0.0), (np.pi, 0.0, -20.0), (np.pi, np.sqrt(8.0 * 9.81), 0.0)):
        at = dynamics.with_coordinates(model, state, jnp.array([angle, speed]))
        np.testing.assert_allclose(worth(at), expected, atol=1e-4)


def test_the_benchmark_goes_on_where_it_was(tmp_path, capsys):
    words = ["--models", "robot:arm", "--planners", "mppi:num_knots=4", "zeros", "random", "--steps", "3"]
    words += ["--out", str(tmp_path)]
    suite.main([*words, "--seeds", "1"])
    known = records_of(tmp_path, "robot:arm")
    assert [record["planner"] for record in known] == ["mppi:num_knots=4", "zeros", "random"]
    with (tmp_path / "robot-arm.jsonl").open("a") as file:
        file.write('{"planner": "ze')  # interrupted
    suite.main([*words, "--seeds", "1", "--draw-only"])
    assert records_of(tmp_path, "robot:arm") == known
    assert "robot:arm" in capsys.readouterr().out
    later = ["--seeds", "2", "--first-seed", "10", "--planners", "zeros"]
    suite.main([*words[:2], *later, *words[-4:]])
    assert [record["seed"] for record in records_of(tmp_path, "robot:arm")[3:]] == [10, 11]


def test_naive_policies_are_those_of_their_names():
    model = robots.robot("biped")
    lengths = [len(suite.naive("zeros", model, seed, 60)) for seed in (0, 0)]
    assert lengths[0] == lengths[1] < 60  # it falls
    assert suite.naive("zeros", model, 0, 60) != suite.naive("random", model, 0, 60)


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_what_is_published_is_of_what_is_shipped(path):
    task = find_task(path.stem.replace("-", ":", 1))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if record["planner"] == "shipped":
            assert record["settings"] == task.settings(task.planner)
            assert record["kind"] == task.planner
