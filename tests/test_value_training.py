"""Trainings of values that write while they learn: they go on bit for bit, and no fault takes away what is whole."""

import functools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import dynamics, learning, planners
from mirrax.learning.planned_experience import planners_driven

KEY = jax.random.key(0)
ENV = dynamics.pendulum()
PLANNER = planners.cem(3, num_samples=4, num_iterations=1, num_elites=2)
# the replay holds two rounds, so that it is full before the last checkpoint
SMALL = {
    "num_envs": 2,
    "num_steps": 4,
    "episode_steps": 3,
    "hidden": (4,),
    "num_members": 2,
    "replay_size": 17,
    "batch_size": 8,
}
SMALL |= {"num_gradient_steps": 2, "num_sweeps": 2, "save_every": 2}


def learnt(num_rounds=5, planner=PLANNER, env=ENV, key=KEY, **options):
    return learning.learn_value(env, planner, key, num_rounds=num_rounds, **SMALL | options)


def same(one, other):
    assert jax.tree.structure(one.params) == jax.tree.structure(other.params)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert float(one.discount) == float(other.discount)


def equal(one, other):
    same(one.value, other.value)
    assert len(one.records) == len(other.records)
    for own, others in zip(one.records, other.records, strict=True):
        np.testing.assert_equal(own._replace(seconds=0.0)._asdict(), others._replace(seconds=0.0)._asdict())


def lines_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing has ended, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    return learnt(out=folder, about={"model": "mine"}), folder


def test_a_training_leaves_its_files(whole):
    training, out = whole
    np.testing.assert_equal(lines_of(out), [record._asdict() for record in training.records])
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["0004", "0005"]
    assert json.loads((out / "train.json").read_text())["model"] == "mine"
    same(learning.load(out, ENV), training.value)
    equal(learnt(), training)  # without a folder
    with pytest.raises(ValueError, match="out must be a folder without a training, or resume it"):
        learnt(out=out)


def _checkpoints_of_others(out):
    (out / "checkpoints" / "0006").mkdir()
    (out / "checkpoints" / "0006.orbax-checkpoint-tmp-1").mkdir()


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_training_that_goes_on_is_the_one_that_was_not_ended(done, whole, tmp_path):
    out = tmp_path / "out"
    learnt(done, out=out)
    # what a process that was killed in the next rounds, or in a save, may have left
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"number": done}) + "\n" + '{"number": 9, "ear')
    _checkpoints_of_others(out)
    equal(learnt(out=out, resume=True), whole[0])
    equal(learnt(out=out, resume=True), whole[0])  # complete: nothing is left to do
    same(learning.load(out, ENV), whole[0].value)
    assert sorted(path.name for path in (out / "checkpoints").iterdir())[-1] == "0005"


def test_a_training_that_was_ended_before_its_first_checkpoint_begins_anew(whole, tmp_path):
    out = tmp_path / "out"

    def ended(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learnt(out=out, progress=ended)
    with pytest.raises(ValueError, match=r"path must be a folder of learning.save, or of the training of .* a value"):
        learning.load(out, ENV)
    equal(learnt(out=out, resume=True), whole[0])


@pytest.mark.parametrize(
    "planner", [planners.smc(3, num_samples=4), planners.icem(4, num_samples=8, num_knots=2), planners.ilqr(3)]
)
def test_beliefs_of_all_kinds_go_on(planner, tmp_path):
    learnt(1, planner, out=tmp_path)
    equal(learnt(2, planner, out=tmp_path, resume=True), learnt(2, planner))


def test_a_state_without_numbers_in_a_part_of_it_goes_on(tmp_path):
    """As that of a robot without muscles: `act` of MuJoCo's data."""

    def step(key, state, action):
        return state | {"x": 0.9 * state["x"] + action}, -(state["x"] ** 2).sum(), 1.0

    def first(key):
        return {"x": jnp.ones(1), "act": {"of": jnp.zeros(0), "more": jnp.zeros((0, 2))}}

    env = dynamics.from_function(step, 1, init=first, action_range=(-1.0, 1.0))
    options = {"observe": lambda state: state["x"]}
    learnt(1, env=env, out=tmp_path, **options)
    equal(learnt(2, env=env, out=tmp_path, resume=True, **options), learnt(2, env=env, **options))


def test_time_before_counts(tmp_path):
    learnt(2, out=tmp_path, max_seconds=1e6)
    spent = lines_of(tmp_path)[-1]["seconds"]
    assert len(learnt(out=tmp_path, resume=True, max_seconds=spent / 2).records) == 2  # it is over
    longer = learnt(3, out=tmp_path, resume=True, max_seconds=1e6)
    assert longer.records[-1].seconds > spent
    learnt(out=tmp_path, resume=True, max_seconds=longer.records[-1].seconds + 1e-9)
    assert len(lines_of(tmp_path)) == 4  # a round that had begun is completed, and kept
    assert (tmp_path / "checkpoints" / "0004").exists()


def test_nothing_is_compiled_anew_when_a_training_goes_on(tmp_path):
    planner = planners.cem(2, num_samples=6, num_iterations=1)
    before = planners_driven._cache_size()
    learnt(2, planner, out=tmp_path)
    learnt(3, planner, out=tmp_path, resume=True)
    assert planners_driven._cache_size() == before + 1


def test_a_damaged_checkpoint_is_told_and_the_one_before_stays(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    for path in (out / "checkpoints" / "0005").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoints/0005 is missing, damaged .* remove it to go on from update 4"):
        learnt(out=out, resume=True)
    shutil.rmtree(out / "checkpoints" / "0005")  # as it says
    equal(learnt(out=out, resume=True), whole[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": jax.random.key(1)}, r"key must be \[0, 0\], as the training began, got \[0, 1\]"),
        ({"env": dynamics.pendulum(mass=2.0)}, "env: numbers must be"),
        ({"env": dynamics.cartpole()}, "env: kind must be 'Pendulum', as the training began, got 'CartPole'"),
        (
            {"planner": planners.cem(3, num_samples=4, num_iterations=2, num_elites=2)},
            "planner: parameters: num_iterations must be 1, as the training began, got 2",
        ),
        ({"planner": planners.ilqr(3)}, "planner: parameters: kind must be 'SamplingPlanner', as the training began"),
        ({"hidden": (5,)}, r"value: network: .*hidden must be \[4\], as the training began, got \[5\]"),
        ({"num_members": 3}, "value: network: .*num_members must be 2, as the training began, got 3"),
        ({"discount": 0.9}, "discount must be 0.99, as the training began, got 0.9"),
        ({"trace": 0.9}, "trace must be 0.95, as"),
        ({"learning_rate": 0.01}, "learning_rate must be 0.001, as"),
        ({"num_envs": 1}, "num_envs must be 2, as"),
        ({"num_steps": 5}, "num_steps must be 4, as"),
        ({"episode_steps": 4}, "episode_steps must be 3, as"),
        ({"num_sweeps": 3}, "num_sweeps must be 2, as"),
        ({"num_gradient_steps": 3}, "num_gradient_steps must be 2, as"),
        ({"batch_size": 9}, "batch_size must be 8, as"),
        ({"replay_size": 18}, "replay_size must be 17, as"),
        ({"num_rounds": 4}, "num_rounds must be at least the 5 that are done, got 4"),
    ],
)
def test_another_training_does_not_go_on(whole, options, message):
    with pytest.raises(ValueError, match=message):
        learnt(out=whole[1], resume=True, **options)


def test_the_training_of_a_policy_does_not_go_on_as_that_of_a_value(tmp_path):
    sizes = {"num_updates": 1, "num_envs": 2, "num_steps": 4, "episode_steps": 3}
    algorithm = learning.v_mpo(num_gradient_steps=2, hidden=(4,))
    learning.learn_policy(ENV, algorithm, KEY, policy=learning.tanh_gaussian(hidden=(4,)), out=tmp_path, **sizes)
    with pytest.raises(ValueError, match="algorithm must be 'v_mpo', as the training began, got 'learn_value'"):
        learnt(out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "resume needs out, the folder of the training, got None"),
        ({"save_every": 0}, "save_every must be an integer of at least 1, got 0"),
        ({"progress": 3}, "progress must be"),
    ],
)
def test_mistakes_of_a_training(options, message):
    with pytest.raises(ValueError, match=message):
        unchecked(lambda: learnt(**options))()


def test_resume_of_nothing_is_told(tmp_path):
    with pytest.raises(ValueError, match="resume must be the folder of a training"):
        learnt(out=tmp_path, resume=True)


def test_a_full_disk_leaves_the_checkpoint_before(whole, tmp_path):
    out = tmp_path / "out"
    learnt(2, out=out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError) as caught:  # noqa: PT011  # whose words are read below
            learnt(out=out, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert str(out) in str(caught.value)
    assert not isinstance(caught.value, ValueError)
    equal(learnt(out=out, resume=True), whole[0])


def test_what_is_not_finite_is_told_and_the_checkpoint_before_stays(tmp_path):
    """Rewards are NaN from the third round on."""

    def step(key, state, action):
        return state + 1.0, jnp.where(state[0] >= 9.0, jnp.nan, action[0]), 1.0

    env = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1))
    with pytest.raises(ValueError, match="env must give finite rewards and observations, got others in round 2"):
        learnt(env=env, out=tmp_path, episode_steps=100)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["0002"]
    assert np.isfinite(float(learning.load(tmp_path, env)(jnp.zeros(1))))


def _learn_on(out):
    learnt(200, out=out, resume=out.exists())


@pytest.mark.slow
def test_kill_at_any_moment_leaves_a_training_that_goes_on(tmp_path):
    rng, out = np.random.default_rng(0), tmp_path / "out"
    for _ in range(4):
        before = len(lines_of(out)) if (out / "metrics.jsonl").exists() else 0
        process = multiprocessing.get_context("spawn").Process(target=functools.partial(_learn_on, out))
        process.start()
        begun = time.monotonic()
        while not (out / "metrics.jsonl").exists() or len(lines_of(out)) < before + 3:
            assert time.monotonic() - begun < 300
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    done = len((out / "metrics.jsonl").read_text().split("\n")) - 1
    equal(learnt(done, out=out, resume=True), learnt(done))
