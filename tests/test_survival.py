"""The benchmark of whole episodes: what it keeps, what it goes on with, and what disturbs a planner."""

import json
import pathlib
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, planners
from mirrax.benchmarks import survival, tasks
from mirrax.benchmarks.disturbances import heavier, push
from mirrax.benchmarks.episodes import play, summarize
from mirrax.benchmarks.measured import MEASURED
from mirrax.benchmarks.returns import fitting, told
from mirrax.benchmarks.survival_figure import curve
from mirrax.benchmarks.task import Beyond, Task
from mirrax.benchmarks.tasks import TASKS, find_task

RESULTS = pathlib.Path(__file__).parent.parent / "benchmarks" / "results"
ARGUMENTS = (
    "--models",
    "pendulum",
    "--planners",
    "shipped",
    "icem:horizon=8,rest_steps=3",
    "--budget",
    "32",
    "--steps",
    "12",
)


def standing(model):
    """The same model, whose episodes begin nearly upright."""

    @dynamics.pytree
    class Standing(dynamics.Wrapper):
        model: dynamics.Model

        def init(self, key):
            return jnp.zeros(6).at[1].set(0.03)

    return Standing(model)


def measure(folder, *more, capsys):
    survival.main([*ARGUMENTS, "--devices", "1", "--out", str(folder), *more])
    return capsys.readouterr()


def episodes(folder):
    return [json.loads(line) for line in (folder / "pendulum.jsonl").read_text().splitlines()]


def test_episodes_are_kept_and_not_played_again(tmp_path, capsys):
    first = measure(tmp_path, "--seeds", "2", capsys=capsys)
    assert first.err.count("up after 12 steps") == 4
    known = episodes(tmp_path)
    assert [(record["planner"], record["seed"]) for record in known] == [
        (planner, seed) for planner in ("shipped", "icem:horizon=8,rest_steps=3") for seed in (0, 1)
    ]
    assert {record["horizon"] for record in known} == {TASKS["pendulum"].horizon, 8}
    assert "| shipped             |      2/2 |" in first.out
    assert (tmp_path / "survival.svg").stat().st_size > 1000

    with (tmp_path / "pendulum.jsonl").open("a") as file:
        file.write('{"planner": "shipped", "se')  # an interruption
    second = measure(tmp_path, "--seeds", "3", capsys=capsys)
    assert second.err.count("up after") == 2
    assert len(episodes(tmp_path)) == 6
    again = measure(tmp_path, "--seeds", "3", "--draw-only", capsys=capsys)
    assert not again.err
    assert again.out == second.out
    pushed = measure(tmp_path, "--seeds", "1", "--push", "0.5", "--mass", "0.2", capsys=capsys)
    assert pushed.err.count("up after") == 2, "other conditions are other episodes"


def test_who_is_told_of_the_time_beyond_the_horizon(tmp_path, monkeypatch, capsys):
    """The shipped planner, and all others if so wanted: these are other episodes."""
    regulator = jax.jit(planners.lqr.regulator)
    task = Task(
        "two poles that stand at first",
        lambda backend: standing(dynamics.double_cartpole()),
        horizon=4,
        num_samples=64,
        std=0.3,
        episode_steps=120,
        goal=find_task("double_cartpole").goal,
        planner="icem",
        options={"std_min": 0.005},
        beyond=Beyond("the regulator upright", lambda model: regulator(model, jnp.zeros(6))),
    )
    monkeypatch.setattr(tasks, "TASKS", {"standing": task})
    arguments = ["--models", "standing", "--seeds", "1", "--devices", "1", "--out", str(tmp_path), "--planners"]
    survival.main([*arguments, "shipped", "icem:std_min=0.005"])
    survival.main([*arguments, "shipped", "icem:std_min=0.005", "--beyond"])
    assert capsys.readouterr().err.count(", seed 0: ") == 3, "the shipped one is played once"
    records = [json.loads(line) for line in (tmp_path / "standing.jsonl").read_text().splitlines()]
    told = task.beyond.summary
    assert [(record["planner"], record["beyond"], record["held"]) for record in records] == [
        ("shipped", told, True),
        ("icem:std_min=0.005", None, False),
        ("icem:std_min=0.005", told, True),
    ]


def test_a_robot_is_told_of_the_regulator_in_its_reference_pose():
    task = find_task("inverted_pendulum")
    model = task.make("generalized")
    imagined = task.imagined(model)
    value = jax.jit(lambda q: imagined.value(model.with_joints(model.init(jax.random.key(0)), q)))
    upright, beside, leaning = (float(value(jnp.array(q))) for q in ([0.0, 0.0], [0.1, 0.0], [0.0, 0.1]))
    np.testing.assert_allclose(upright, 300.0, rtol=1e-3)  # the reward of so many steps
    assert upright > beside > 0.0
    assert upright > leaning > 0.0


def test_what_is_kept_of_an_episode():
    steps = [{"reward": 1.0, "ended": False, "reached": number >= 6, "ms": 2.0} for number in range(8)]
    kept = summarize(steps, 8)
    assert kept == {"steps": 8, "ended": False, "held": True, "return": 8.0, "return_short": 8.0, "ms": 2.0}
    assert not summarize(steps, 12)["held"], "the last quarter are three steps"
    steps[-1]["ended"] = True
    assert not summarize(steps, 8)["held"]


def test_what_diverges_is_not_up():
    def step(key, state, action):
        return state + 1.0, jnp.where(state < 3.0, 1.0, jnp.nan), 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))
    task = Task("count", lambda backend: model)
    record = summarize(list(play(planners.mppi(2, num_samples=4), model, model, task, 0, 10, 0.0)), 10)
    assert (record["steps"], record["ended"], record["held"], record["return"]) == (4, True, False, 3.0)


def test_the_share_still_up():
    lengths = [(12, False), (3, True), (3, True), (7, True)]
    steps, share = curve([{"steps": length, "ended": ended, "of": 12} for length, ended in lengths])
    np.testing.assert_array_equal(steps, [0, 3, 7, 12])
    np.testing.assert_allclose(share, [1.0, 0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "nothing"], "unknown model 'nothing'"),
        (["--planners", "nothing"], "unknown planner 'nothing'"),
        (["--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["--mass", "-1"], "mass must be greater than -1, got -1.0"),
        (["--planners", "icem:horizon=0"], "horizon must be an integer of at least 1, got 0"),
        (["--planners", "mppi:horizon=6,rest_steps=3,rest_distance=0.1", "--models", "point_mass"], "pose of rest"),
        (["--models", "fast", "--push", "1", "--planners", "shipped"], "push must be 0 for"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        survival.main([*ARGUMENTS, "--out", str(tmp_path), *words])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["acrobot", "cartpole", "double_cartpole", "pendulum", "point_mass"])
def test_pushes_and_masses(name):
    model = find_task(name).make(None)
    state = model.init(jax.random.key(0))
    moved = push(model, state, 0.5) - state
    assert jnp.count_nonzero(moved) == 1
    assert model.mean_squared_speed(state.at[len(state) // 2 :].set(0.0) + moved) > 0.0
    changed = heavier(model, 0.2)
    before, after = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(m)]) for m in (model, changed))
    ratio = after / np.where(before == 0.0, 1.0, before)
    assert set(np.round(ratio[after != before], 5)) == {np.float32(1.2).round(5)}


def test_a_robot_is_pushed_as_a_whole():
    model = dynamics.brax("inverted_pendulum", "spring")
    state = jax.jit(model.init)(jax.random.key(0))
    moved = jax.jit(lambda state: push(model, state, 0.5))(state)
    change = moved.pipeline_state.xd_i.vel - state.pipeline_state.xd_i.vel
    np.testing.assert_allclose(change, np.tile([0.5, 0.0, 0.0], (len(change), 1)), atol=1e-6)
    heavy = heavier(model, -0.2)
    np.testing.assert_allclose(heavy.sys.link.inertia.mass, 0.8 * model.sys.link.inertia.mass, rtol=1e-6)


@pytest.mark.parametrize("backend", ["spring", "positional"])
def test_a_heavier_robot_is_so_for_its_engine_and_its_planner_does_not_know(backend):
    """The ant's masses are all 1 for these engines, whatever its file says; and a reset puts them into the state."""
    model = dynamics.brax("ant", backend)
    heavy = heavier(model, 0.2)
    key, action = jax.random.key(0), jnp.ones(8)
    init, step = (jax.jit(lambda model, *of, name=name: getattr(model, name)(*of)) for name in ("init", "step"))
    state, of_heavy = init(model, key), init(heavy, key)
    masses = state.pipeline_state.mass, of_heavy.pipeline_state.mass
    np.testing.assert_allclose(masses[0], 1.0)
    np.testing.assert_allclose(masses[1], 1.2, rtol=1e-6)
    velocity, imagined, real = (
        step(m, key, at, action).state.pipeline_state.xd.vel
        for m, at in ((model, state), (model, of_heavy), (heavy, state))
    )
    np.testing.assert_allclose(imagined, velocity, atol=1e-6)
    assert jnp.abs(real - velocity).max() > 0.01


@pytest.mark.parametrize("name", TASKS)
def test_what_is_shipped_fits_its_model_and_is_what_was_published(name):
    """Shapes, options, poses of rest; records of whole episodes are of these settings, and what is listed of them."""
    task = find_task(name)
    model = task.make(None)
    planner = fitting(survival.make("shipped", task, None), model)
    published = RESULTS / "survival" / f"{name}.jsonl"
    records = [json.loads(line) for line in published.read_text().splitlines()] if published.exists() else []
    shipped = [record for record in records if record["planner"] == "shipped"]
    assert shipped or name == "fast"
    for record in shipped:
        assert (record["kind"], record["horizon"]) == (planner.name, planner.horizon)
        assert record["settings"] == task.settings(task.planner)
    if shipped:
        whole = [record for record in shipped if not record["push"] and not record["mass"]]
        successes = [record["held"] if task.goal else not record["ended"] for record in whole]
        median = statistics.median(record["ms"] for record in whole)
        known = MEASURED[name]
        assert known[:2] == (sum(successes), len(whole))
        np.testing.assert_allclose(known[2:], [median, 1e3 * model.dt], rtol=0.05)


def rows_of_robots():
    """Model, planner and cells of the table of robots in the results."""
    text = (RESULTS / "README.md").read_text().split("### Robots")[1].split("What is shipped:")[0]
    model = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 9 and cells[0] != "model" and not cells[1].startswith("---"):
            model = cells[0].split()[0] if cells[0] else model
            yield pytest.param(model, cells[1], cells[2:], id=f"{model}-{cells[1]}")


@pytest.mark.parametrize(("name", "planner", "cells"), [*rows_of_robots()])
def test_the_table_of_robots_is_that_of_the_records(name, planner, cells):
    """Planners beside the shipped one have as many plans as it has, up to the rounding of iterations."""
    records = [json.loads(line) for line in (RESULTS / "survival" / f"{name}.jsonl").read_text().splitlines()]
    undisturbed = [record for record in records if not record["push"] and not record["mass"]]
    plans = next(record["plans"] for record in undisturbed if record["planner"] == "shipped")
    by_seed = {
        record["seed"]: record
        for record in undisturbed
        if record["planner"] == planner
        and (planner == "shipped" or (record.get("beyond") is None and abs(record["plans"] - plans) <= 3))
    }
    found = [by_seed[seed] for seed in sorted(by_seed)]
    ends = [record["steps"] for record in found if record["ended"]]
    assert list(by_seed) == list(range(len(found)))
    assert cells[0] == f"{len(found) - len(ends)}/{len(found)}"
    assert cells[2] in ("", f"{sum(record['held'] for record in found)}/{len(found)}")
    between = f"{min(ends)} to {max(ends)}" if len(ends) > 1 else str(*ends)
    assert cells[3] == (between if ends else "–")
    assert cells[4] == told([record["return"] for record in found], 1)
    assert cells[5] == told([record["return_short"] for record in found], 1)
    assert cells[6] == f"{statistics.median(record['ms'] for record in found):.0f}"


def test_goals():
    """Each holds where its words say, and not where the episode starts."""
    goals = {name: task.goal for name, task in TASKS.items() if task.goal is not None}
    upright = {"acrobot": 4, "cartpole": 4, "double_cartpole": 6, "pendulum": 2}
    for name, size in upright.items():
        model = find_task(name).make(None)
        assert goals[name].reached(model, jnp.zeros(size))
        assert not goals[name].reached(model, model.init(jax.random.key(0)))
    model = find_task("point_mass").make(None)
    assert goals["point_mass"].reached(model, jnp.array([3.0, 0.1, 0.0, 0.0]))
    assert not goals["point_mass"].reached(model, model.init(jax.random.key(0)))
    cheetah = find_task("halfcheetah").make(None)
    assert goals["halfcheetah"].reached(cheetah, jax.jit(cheetah.init)(jax.random.key(0)))
