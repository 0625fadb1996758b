"""Trainings: what is driven is what is learnt from, and what ends one loses nothing but the episode under way."""

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
from problems import start, unchecked

from mirrax import dynamics, learning, planners

KEY = jax.random.key(0)
ENV = dynamics.pendulum()
MODEL = dynamics.learned(ENV, hidden=(8,), num_members=2)
PLANNER = planners.cem(3, num_samples=8, num_iterations=1)
FIT = {"max_epochs": 3}


def trained(num_episodes=3, **options):
    given = {"model": MODEL, "num_steps": 12, "fit_options": FIT} | options
    return learning.train(ENV, PLANNER, KEY, num_episodes=num_episodes, **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing has ended, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    return trained(out=folder), folder


def same(one, other):
    np.testing.assert_array_equal(one.returns, other.returns)
    jax.tree.map(np.testing.assert_array_equal, one.dataset, other.dataset)
    jax.tree.map(np.testing.assert_array_equal, one.model.params, other.model.params)


def test_what_happens_is_what_the_environment_does(whole):
    training, _ = whole
    assert [record.by_chance for record in training.records] == [True, False, False]
    assert [record.num_transitions for record in training.records] == [0, 12, 24]
    data = training.dataset
    assert data.size == 36
    for row in (0, 11, 20):
        step = ENV.step(KEY, jnp.asarray(data.observations[row]), jnp.asarray(data.actions[row]))
        assert step.state == pytest.approx(data.next_observations[row], abs=1e-5)
        assert step.reward == pytest.approx(data.rewards[row], rel=1e-4)
    assert training.returns[1] == pytest.approx(data.rewards[12:24].sum())
    assert training.best.rewards.sum() == pytest.approx(training.returns.max())
    assert training.best.observations.shape == (13, 2)
    assert training.best.poses.shape[0] == 13
    assert np.abs(data.actions).max() <= 1.0


def test_a_training_without_a_folder_is_the_same(whole):
    same(trained(), whole[0])


def test_a_training_that_goes_on_is_the_one_that_was_not_ended(whole, tmp_path):
    for number in (1, 2):
        out = tmp_path / str(number)
        trained(number, out=out)
        # what a process that was killed in the next episode may have left
        (out / "metrics.jsonl").write_text((out / "metrics.jsonl").read_text() + '{"number": 7, "ear')
        (out / "episodes" / f"{number:04d}.npz").write_bytes(b"half")
        (out / "checkpoints" / f"{number:04d}").mkdir(parents=True)
        same(trained(out=out, resume=True), whole[0])
    same(trained(out=out, resume=True), whole[0])  # complete: nothing is left to do
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3


def test_each_training_has_a_folder_of_its_own(whole):
    with pytest.raises(ValueError, match="out must be a folder without a training, or resume it"):
        trained(out=whole[1])


def damaged(whole, tmp_path, name, content):
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    path = next(out.glob(name))
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file():
                file.write_bytes(content)
    else:
        path.write_bytes(content)
    return out


@pytest.mark.parametrize("content", [b"", b"\x80\x04cos\nsystem\n"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("checkpoints/0002", r"checkpoints/0002 is missing, damaged or of another model.*keep the first 2 lines"),
        ("episodes/0001.npz", r"episodes/0001.npz is missing or damaged.*keep the first 1 lines"),
        ("train.json", "train.json is damaged"),
    ],
)
def test_what_is_damaged_is_told_and_what_came_before_stays(whole, tmp_path, name, message, content):
    out = damaged(whole, tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        trained(4, out=out, resume=True)
    assert "\n" not in str(caught.value)
    if name == "checkpoints/0002":  # what the message says to do
        lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
        (out / "metrics.jsonl").write_text("".join(lines[:2]))
        same(trained(out=out, resume=True), whole[0])


def test_a_damaged_line_of_metrics_is_told(whole, tmp_path):
    out = damaged(whole, tmp_path, "metrics.jsonl", b"{}}\n{}\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl is damaged in line 1"):
        trained(out=out, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 13}, "num_steps must be 12, as the training began, got 13"),
        ({"fit_options": {"max_epochs": 4}}, "fit_options: max_epochs must be .3., as the training began, got .4."),
        ({"num_episodes": 2}, "num_episodes must be at least the 3 that are done"),
        (
            {"model": dynamics.learned(ENV, hidden=(9,), num_members=2), "num_episodes": 4},
            "checkpoints/0002 is missing, damaged or of another model",
        ),
    ],
)
def test_another_training_does_not_go_on(whole, options, message):
    with pytest.raises(ValueError, match=message):
        trained(out=whole[1], resume=True, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trained(num_random=0), "num_random must be an integer of at least 1"),
        (lambda: trained(0), "num_episodes must be an integer of at least 1"),
        (lambda: trained(resume=True), "resume needs out"),
        (lambda: trained(model=ENV), "model must be a learned model"),
        (lambda: trained(fit_options={"progress": print}), "fit_options must leave progress to train"),
        (
            lambda: trained(fit_options={"epochs": 3}),
            "unknown option 'epochs' in fit_options; did you mean 'max_epochs'",
        ),
        (lambda: trained(fit_options=3), "fit_options must be options of learning.fit by name, a dict, got 3"),
        (lambda: trained(progress=True), "progress must be a function, or None, got True"),
        (lambda: trained(fitting=True), "fitting must be a function, or None, got True"),
        (
            lambda: trained(model=dynamics.learned(observation_size=3, action_size=1)),
            r"observation must be a vector \[3\]",
        ),
        (lambda: learning.collect(ENV, MODEL, KEY, 5, PLANNER), "model must be fitted"),
    ],
)
def test_mistakes_are_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        unchecked(call)()


def test_resume_of_nothing_is_told(tmp_path):
    with pytest.raises(ValueError, match="resume must be the folder of a training"):
        trained(out=tmp_path, resume=True)


def test_an_environment_that_ends_or_breaks():
    """Steps after the end are not learnt from; a state that is not finite is told."""

    def ending(key, state, action):
        after = state + 1.0 + 0.0 * action[0]
        return after, after, jnp.where(after >= 4.0, 0.0, 1.0)

    env = dynamics.from_function(ending, 1, init=start)
    model = dynamics.learned(env, hidden=(8,), num_members=2)
    collected = learning.collect(env, model, KEY, 30)
    assert collected.transitions.discounts.tolist() == [1.0, 1.0, 0.0]
    assert collected.observations.ravel() == pytest.approx([1.0, 2.0, 3.0, 4.0])
    broken = dynamics.from_function(lambda key, s, a: (s, jnp.nan + 0.0 * a[0], 1.0), 1, init=start)
    with pytest.raises(ValueError, match="rewards must be finite, got 30 rows"):
        learning.collect(broken, dynamics.learned(broken, hidden=(8,)), KEY, 30)


def test_a_model_that_was_fitted_before_needs_no_episode_by_chance():
    """It is fitted again to what it does itself, once there is enough."""
    data = learning.collect(ENV, MODEL, KEY, 20).transitions
    model, _ = learning.fit(MODEL, data, KEY, **FIT)
    training = trained(2, model=model, num_random=0)
    assert [record.by_chance for record in training.records] == [False, False]
    assert [record.num_transitions for record in training.records] == [0, 12]
    # what was done elsewhere is learnt from, too
    training = trained(1, dataset=data, num_random=0)
    assert training.records[0].num_transitions == 20
    assert training.dataset.size == 32


def test_a_full_disk_is_an_error_of_the_system_and_what_was_written_stays(tmp_path):
    out = tmp_path / "out"
    first = trained(2, out=out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError, match="checkpoints/0002"):
            trained(out=out, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    same(trained(2, out=out, resume=True), first)


def _train(out):
    trained(40, out=out)


@pytest.mark.slow
def test_kill_at_any_moment_loses_the_episode_under_way_alone(tmp_path):
    context = multiprocessing.get_context("spawn")
    rng = np.random.default_rng(0)
    out = tmp_path / "out"
    process = context.Process(target=_train, args=(out,))
    process.start()
    begun = time.monotonic()
    while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").read_text().count("\n") < 4:
        assert time.monotonic() - begun < 300
        time.sleep(0.05)
    time.sleep(rng.uniform(0.0, 1.0))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]
    again = trained(len(done) + 2, out=out, resume=True)
    assert [record.earned for record in again.records[: len(done)]] == [line["earned"] for line in done]
    same(again, trained(len(done) + 2))


def test_the_networks_of_a_training_are_loaded_again(tmp_path):
    env = dynamics.pendulum()
    model = dynamics.learned(env, hidden=(4,), num_members=2)
    out = tmp_path / "training"
    planner = planners.cem(3, num_samples=4, num_iterations=1, num_elites=2)
    options = {"num_episodes": 3, "num_steps": 12, "fit_options": {"max_epochs": 2}}
    trained = learning.train(env, planner, jax.random.key(0), model=model, out=out, **options).model
    found = learning.load_model(out, model)
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(trained.params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.isfinite(found.fitted().spread(jnp.zeros(2), jnp.zeros(1)).epistemic).all()
    with pytest.raises(ValueError, match="path must be the folder of a training, got"):
        learning.load_model(tmp_path, model)
    with pytest.raises(ValueError, match="missing, damaged or of another model"):
        learning.load_model(out, dynamics.learned(env, hidden=(5,), num_members=2))
    with pytest.raises(ValueError, match="model must be a learned model"):
        learning.load_model(out, env)
    with pytest.raises(ValueError, match=r"num_steps must be .* at least 10 .* got 1 of 5"):
        learning.train(env, planner, jax.random.key(0), model=model, num_steps=5)
