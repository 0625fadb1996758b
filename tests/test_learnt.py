"""What is learnt, in folders: the same when it is loaded, trainings go on from it, and no fault takes it away."""

import dataclasses
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

from mirrax import compiling, dynamics, learning, planners
from mirrax.learning import checkpoints, kinds, saving
from mirrax.learning.planned_values import ValueTraining
from mirrax.learning.policies import SoftValue
from mirrax.learning.policies.values import first_fit
from mirrax.planners.policies import plan_network

KEY = jax.random.key(0)
ENV = dynamics.pendulum()
STATE = ENV.init(KEY)
CHOICES = dynamics.discretized(ENV, [[-1.0], [0.0], [1.0]])
SMALL = {"num_envs": 3, "num_steps": 4, "episode_steps": 3, "save_every": 2}


def turned(state):
    """An angle as sine and cosine."""
    return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])


def moved(thing, seed=0):
    """With parameters that are no first ones."""
    leaves, tree = jax.tree.flatten(thing.params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    new = [leaf + jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return dataclasses.replace(thing, params=jax.tree.unflatten(tree, new))


def gaussian(seed=0, env=ENV, **options):
    return moved(learning.tanh_gaussian(std=0.3, hidden=(5,), **options).init(env, env.init(KEY)), seed)


def categorical(seed=0):
    policy = moved(learning.categorical(hidden=(5,)).init(CHOICES, STATE), seed)
    return dataclasses.replace(
        policy, log_prior=jnp.log(jnp.array([0.2, 0.3, 0.5])), temperature=jnp.asarray(5.0, float)
    )


def network(seed=0, **options):
    return moved(plan_network(4, hidden=(5,), std=0.3, **options).init(ENV, STATE), seed)


def value(seed=0):
    return moved(first_fit(KEY, gaussian().observe, 2, (5,), 0.9).value, seed)


def normalized():
    """A value of what a planner does, which normalises what it sees."""
    return moved(first_fit(KEY, gaussian().observe, 2, (5,), 0.9, normalized=True).value)


THINGS = {
    "tanh_gaussian": (gaussian, ENV),
    "categorical": (categorical, CHOICES),
    "plan_network": (network, ENV),
    "plan_network, mixture": (lambda: network(head="mixture", num_components=3), ENV),
    "plan_network, autoregressive": (lambda: network(head="autoregressive", order=2), ENV),
    "value": (value, ENV),
    "value, normalized": (normalized, ENV),
    "soft_value": (lambda: SoftValue(categorical(), jnp.asarray(0.9, float)), CHOICES),
}


def same(one, other):
    """The same to JAX, and the same numbers."""
    assert compiling.difference(one, other) == ()
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("kind", THINGS)
def test_what_is_loaded_is_what_was_saved(kind, tmp_path):
    make, env = THINGS[kind]
    thing = make()
    learning.save(tmp_path / "it", thing)
    same(learning.load(tmp_path / "it", env), thing)
    told = json.loads((tmp_path / "it" / "learnt.json").read_text())
    assert told["learnt"]["kind"] == kind.partition(",")[0]


def test_a_training_is_saved_with_its_value_and_records(tmp_path):
    record = learning.UpdateRecord(0, 12, float("nan"), 0, 0, float("nan"), {"entropy": 0.5}, 1.0)
    for own in (value(), None):
        training = learning.PolicyTraining(gaussian(), own, (record,))
        learning.save(tmp_path, training)
        found = learning.load(tmp_path, ENV)
        same(found.policy, training.policy)
        same(found.value, training.value)
        np.testing.assert_equal(found.records[0]._asdict(), record._asdict())


def test_the_model_is_that_of_the_one_who_loads(tmp_path):
    """What is saved has nothing of the model in it."""
    learning.save(tmp_path, gaussian())
    heavy = dynamics.pendulum(mass=7.0)
    found = learning.load(tmp_path, heavy)
    assert [float(leaf) for leaf in jax.tree.leaves(found.observe)] == [
        float(leaf) for leaf in jax.tree.leaves(heavy)
    ]


@pytest.mark.parametrize("make", [gaussian, network])
def test_what_is_observed_is_given_again(make, tmp_path):
    thing = make(observe=turned)
    learning.save(tmp_path, thing)
    same(learning.load(tmp_path, ENV, observe=turned), thing)
    with pytest.raises(ValueError, match=r"observe must be given: what is in .* was learnt with turned, got None"):
        learning.load(tmp_path, ENV)
    with pytest.raises(ValueError, match=r"observe must have 3 observed numbers, .* got \(2,\)"):
        learning.load(tmp_path, ENV, observe=lambda state: state)
    with pytest.raises(ValueError, match="observe must be a function of a state, got 3"):
        unchecked(learning.load)(tmp_path, ENV, observe=3)


@pytest.mark.parametrize(
    ("kind", "env", "message"),
    [
        ("tanh_gaussian", CHOICES, "model must have action_size=1, as what is learnt in .*, got num_actions=3"),
        ("categorical", ENV, "model must have num_actions=3, as what is learnt in .*, got action_size=1"),
        ("plan_network", dynamics.point_mass(), "model must have action_size=1, as .* got action_size=2"),
        ("tanh_gaussian", dynamics.cartpole(), r"model must have 2 observed numbers, as .* got \(4,\)"),
        ("value", dynamics.cartpole(), r"model must have 2 observed numbers, as .* got \(4,\)"),
        ("value", 3, "model must be a model, got int"),
    ],
)
def test_another_model_is_told(kind, env, message, tmp_path):
    learning.save(tmp_path, THINGS[kind][0]())
    with pytest.raises(ValueError, match=message):
        unchecked(learning.load)(tmp_path, env)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, "thing must be a policy, a value, a plan network, or what learn_policy or .* got int"),
        (planners.cem(3), "thing must be a policy, .* got SamplingPlanner"),
        (learning.tanh_gaussian(), "thing must be bound"),
        (dataclasses.replace(gaussian(), scale=jnp.array([jnp.nan])), "got NaN or infinity in scale"),
        (jax.tree.map(lambda leaf: leaf * jnp.inf, value()), "thing must be finite, got NaN or infinity in params"),
    ],
)
def test_what_cannot_be_saved_is_told(thing, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        learning.save(tmp_path / "it", thing)
    assert not (tmp_path / "it").exists()


def rewritten(folder, **changes):
    path = folder / "learnt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def numbers_of_another(folder):
    checkpoints.write_checkpoint(folder / "arrays-0", kinds.bare(gaussian(seed=1)))


def not_numbers(folder):
    tree = kinds.bare(dataclasses.replace(gaussian(), scale=jnp.array([jnp.nan])))
    checkpoints.write_checkpoint(folder / "arrays-0", tree)
    rewritten(folder, fingerprint=saving.fingerprint(tree))


def overwritten(content, folder):
    for path in (folder / "arrays-0").rglob("*"):
        if path.is_file():
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "learnt.json").unlink(), "path must be a folder of learning.save, or of the train"),
        (lambda folder: (folder / "learnt.json").write_text("{"), "learnt.json is damaged"),
        (lambda folder: (folder / "learnt.json").write_text("[]"), "learnt.json is damaged: it is list"),
        (lambda folder: rewritten(folder, learnt={"kind": "tanh_gaussian"}), "learnt.json is damaged: KeyError"),
        (lambda folder: rewritten(folder, learnt={"kind": "x"}, mirrax="9"), "KeyError.*mirrax 9 has written it"),
        (lambda folder: rewritten(folder, dtype="float64"), "has numbers of float64, which take jax_enable_x64"),
        (lambda folder: shutil.rmtree(folder / "arrays-0"), "arrays-0 is missing, damaged or of another model"),
        (functools.partial(overwritten, b""), "arrays-0 is missing, damaged or of another model"),
        (functools.partial(overwritten, b"\x80\x04cos\nsystem\n"), "arrays-0 is missing, damaged or of another"),
        (numbers_of_another, "arrays-0 is damaged: its numbers are not those that were saved"),
        (not_numbers, "arrays-0 must be finite, got NaN or infinity in scale"),
    ],
)
def test_what_is_damaged_is_one_clear_line(damage, message, tmp_path):
    learning.save(tmp_path, gaussian())
    damage(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        learning.load(tmp_path, ENV)
    assert "\n" not in str(caught.value)
    learning.save(tmp_path, gaussian())  # whatever was there
    same(learning.load(tmp_path, ENV), gaussian())


@pytest.mark.parametrize("place", ["write_checkpoint", "write_whole"])
def test_a_save_that_is_ended_anywhere_leaves_what_was_saved_before(place, tmp_path, monkeypatch):
    learning.save(tmp_path, gaussian())
    own = getattr(saving, place)

    def ended(*arguments):
        if place == "write_checkpoint":
            own(*arguments)
            (tmp_path / "arrays-1.orbax-checkpoint-tmp-3").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, place, ended)
    with pytest.raises(KeyboardInterrupt):
        learning.save(tmp_path, gaussian(seed=1))
    same(learning.load(tmp_path, ENV), gaussian())
    monkeypatch.undo()
    learning.save(tmp_path, gaussian(seed=2))
    same(learning.load(tmp_path, ENV), gaussian(seed=2))
    assert {path.name for path in tmp_path.iterdir()} == {"arrays-1", "learnt.json"}


def full_disk(call):
    """The error of a call while no file may have more than 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError) as caught:  # noqa: PT011  # whose words the caller reads
            call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    return caught.value


def test_a_full_disk_leaves_what_was_saved_before(tmp_path):
    learning.save(tmp_path, gaussian())
    error = full_disk(lambda: learning.save(tmp_path, gaussian(seed=1)))
    assert "arrays-1" in str(error)
    same(learning.load(tmp_path, ENV), gaussian())


def _save_and_save(folder):
    for number in range(10_000):
        learning.save(folder, gaussian(seed=number % 2))


@pytest.mark.slow
def test_kill_at_any_moment_of_a_save_leaves_one_that_is_whole(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = multiprocessing.get_context("spawn").Process(target=_save_and_save, args=(tmp_path,))
        process.start()
        begun, stamp = time.monotonic(), -1
        while not (tmp_path / "learnt.json").exists() or stamp == (tmp_path / "learnt.json").stat().st_mtime_ns:
            assert time.monotonic() - begun < 300
            time.sleep(0.02)
            stamp = stamp if stamp >= 0 else _stamp(tmp_path)
        time.sleep(rng.uniform(0.0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = learning.load(tmp_path, ENV)
        assert any(np.array_equal(_first(found), _first(gaussian(seed=seed))) for seed in (0, 1))


def _stamp(folder):
    path = folder / "learnt.json"
    return path.stat().st_mtime_ns if path.exists() else 0


def _first(policy):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(policy.params)])


# Trainings that go on

MPO = learning.mpo(num_actions=4, num_gradient_steps=2, batch_size=8, replay_size=20, hidden=(8,))
V_MPO = learning.v_mpo(num_gradient_steps=2, hidden=(8,))


def learned(num_updates=5, algorithm=V_MPO, env=ENV, **options):
    given = {"policy": learning.tanh_gaussian(hidden=(8,))} | SMALL | options
    return learning.learn_policy(env, algorithm, KEY, num_updates=num_updates, **given)


def equal(one, other):
    same(one.policy, other.policy)
    same(one.value, other.value)
    assert len(one.records) == len(other.records)
    for own, others in zip(one.records, other.records, strict=True):
        np.testing.assert_equal(own._replace(seconds=0.0)._asdict(), others._replace(seconds=0.0)._asdict())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing has ended, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    return learned(out=folder), folder


def test_a_training_leaves_its_files(whole):
    training, folder = whole
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_equal(lines, [record._asdict() for record in training.records])
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["0004", "0005"]
    equal(learning.load(folder, ENV), training)
    equal(learned(), training)  # without a folder
    with pytest.raises(ValueError, match="out must be a folder without a training, or resume it"):
        learned(out=folder)


@pytest.mark.parametrize("algorithm", [V_MPO, MPO], ids=["v_mpo", "mpo"])
def test_a_training_that_goes_on_is_the_one_that_was_not_ended(algorithm, whole, tmp_path):
    out, wanted = tmp_path / "out", whole[0] if algorithm is V_MPO else learned(algorithm=algorithm)
    learned(3, algorithm, out=out)
    # what a process that was killed in the next updates, or in a save, may have left
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"number": 3}) + "\n" + '{"number": 4, "ear')
    (out / "checkpoints" / "0006").mkdir()
    (out / "checkpoints" / "0006.orbax-checkpoint-tmp-1").mkdir()
    equal(learned(5, algorithm, out=out, resume=True), wanted)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["0004", "0005"]
    equal(learned(5, algorithm, out=out, resume=True), wanted)  # complete: nothing is left to do


def test_a_training_whose_time_is_over_does_no_more(tmp_path):
    seconds = learned(2, out=tmp_path, max_seconds=1e6).records[-1].seconds
    assert len(learned(out=tmp_path, resume=True, max_seconds=seconds / 2).records) == 2


def test_a_training_that_was_ended_before_its_first_checkpoint_begins_anew(whole, tmp_path):
    out = tmp_path / "out"

    def ended(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned(out=out, progress=ended)
    with pytest.raises(ValueError, match=r"path must be a folder of learning.save, or of the training of a policy"):
        learning.load(out, ENV)
    equal(learned(out=out, resume=True), whole[0])


def test_a_damaged_checkpoint_is_told_and_the_one_before_stays(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    for path in (out / "checkpoints" / "0005").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoints/0005 is missing, damaged .* remove it to go on from update 4"):
        learned(out=out, resume=True)
    shutil.rmtree(out / "checkpoints" / "0005")  # as it says
    equal(learned(out=out, resume=True), whole[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 4}, "num_envs must be 3, as the training began, got 4"),
        ({"algorithm": learning.v_mpo(num_gradient_steps=3, hidden=(8,))}, "num_gradient_steps must be 2, as the"),
        (
            {"algorithm": learning.v_mpo(learning_rate=0.1, num_gradient_steps=2, hidden=(8,))},
            "learning_rate must be",
        ),
        ({"algorithm": MPO}, "algorithm must be 'v_mpo', as the training began, got 'mpo'"),
        (
            {"policy": learning.tanh_gaussian(hidden=(9,))},
            r"policy: network: hidden must be \[.*\], as the training began, got \[9\]",
        ),
        ({"env": dynamics.cartpole()}, "policy: observation_size must be 2, as the training began, got 4"),
        ({"num_updates": 4}, "num_updates must be at least the 5 that are done, got 4"),
    ],
)
def test_another_training_does_not_go_on(whole, options, message):
    with pytest.raises(ValueError, match=message):
        learned(out=whole[1], resume=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "resume needs out, the folder of the training, got None"),
        ({"save_every": 0}, "save_every must be an integer of at least 1, got 0"),
    ],
)
def test_mistakes_of_a_training(options, message):
    with pytest.raises(ValueError, match=message):
        learned(**options)


def test_resume_of_nothing_is_told(tmp_path):
    with pytest.raises(ValueError, match="resume must be the folder of a training"):
        learned(out=tmp_path, resume=True)


def test_a_full_disk_leaves_the_checkpoint_before(whole, tmp_path):
    out = tmp_path / "out"
    learned(2, out=out)
    error = full_disk(lambda: learned(out=out, resume=True))
    assert str(out) in str(error)
    assert not isinstance(error, ValueError)
    equal(learned(out=out, resume=True), whole[0])


def test_what_is_not_finite_is_told_and_the_checkpoint_before_stays(tmp_path):
    """Rewards are NaN from the third update on."""

    def step(key, state, action):
        return state + 1.0, jnp.where(state[0] >= 9.0, jnp.nan, action[0]), 1.0

    env = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1))
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="env must give finite rewards and observations, got others in update 2"):
        learned(env=env, out=out, episode_steps=100)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["0002"]
    assert len(learning.load(out, env).records) == 2


def test_an_update_is_compiled_once_when_a_training_goes_on(tmp_path):
    from mirrax.learning.policies.training import _update

    before, given = _update._cache_size(), {"policy": learning.tanh_gaussian(hidden=(6,)), "out": tmp_path / "out"}
    learned(3, **given)
    learned(5, resume=True, **given)
    assert _update._cache_size() == before + 1


def test_records_are_written_for_tensorboard(tmp_path, monkeypatch):
    import tensorboardX

    written = []
    monkeypatch.setattr(tensorboardX.SummaryWriter, "add_scalar", lambda self, *of: written.append(of))
    learning.tensorboard(tmp_path)(
        learning.UpdateRecord(3, 12, float("nan"), 0, 0, float("nan"), {"entropy": 0.5}, 1.0)
    )
    assert ("entropy", 0.5, 3) in written
    assert not any(name in ("earned", "number") for name, *_ in written)


# Policies that act

play = jax.jit(planners.episode, static_argnames=("num_steps", "replan_every"))


@dynamics.pytree
class Still:
    """One's own policy, which knows one actuator."""

    def sample(self, key, state):
        return jnp.zeros(1)

    def mode(self, state):
        return jnp.zeros(1)


@pytest.mark.parametrize("kind", ["tanh_gaussian", "categorical"])
def test_a_controller_does_what_the_policy_says(kind):
    make, env = THINGS[kind]
    policy = make()
    happened = play(planners.controller(policy), env, env, KEY, num_steps=6)
    np.testing.assert_allclose(happened.actions, jax.vmap(policy.mode)(happened.states), atol=1e-6)
    drawn = play(planners.controller(policy, execute="sample"), env, env, KEY, num_steps=6)
    assert not np.array_equal(drawn.actions, happened.actions)
    assert np.isneginf(happened.infos.best_return).all()
    assert not np.asarray(happened.infos.degenerate).any()


def test_a_policy_of_a_network_acts_by_itself_once_it_is_bound():
    policy = planners.policies.network_policy(hidden=(8,)).init(ENV, STATE)
    happened = play(planners.controller(policy), ENV, ENV, KEY, num_steps=3)
    np.testing.assert_allclose(happened.actions, jax.vmap(policy.mean)(happened.states), atol=1e-6)
    with pytest.raises(ValueError, match=r"policy must have parameters: make some with policy.init"):
        planners.controller(planners.policies.network_policy()).init(ENV, STATE)


@dynamics.pytree
class Lost:
    """A policy that knows no answer to most states."""

    def sample(self, key, state):
        return self.mode(state)

    def mode(self, state):
        return jnp.where(state[:1] < 1.5, 0.5, jnp.nan)


def test_what_is_no_number_is_not_executed():
    model = dynamics.from_function(lambda key, s, a: (s + 1.0, a[0], 1.0), 1, init=lambda key: jnp.zeros(1))
    happened = play(planners.controller(Lost()), model, model, KEY, num_steps=4)
    assert np.asarray(happened.actions)[:, 0].tolist() == [0.5] * 4
    assert np.asarray(happened.infos.num_invalid)[:, -1].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert np.asarray(planners.controller(Lost()).init(model, jnp.array([5.0])).mode()).tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planners.controller(gaussian(), execute="best"), "execute must be one of mode, sample, got 'best'"),
        (
            lambda: planners.controller(learning.tanh_gaussian),
            "network must be a plan network, or a policy with mode and sample, got tanh_gaussian",
        ),
        (
            lambda: planners.controller(categorical()).init(ENV, STATE),
            "a categorical policy needs discrete actions, got action_size=1",
        ),
        (
            lambda: planners.controller(gaussian()).init(dynamics.point_mass(), dynamics.point_mass().init(KEY)),
            "model must have [0-9]+ observed numbers, .* got 4",
        ),
        (lambda: planners.controller(learning.tanh_gaussian()).init(ENV, STATE), "policy must be of a model"),
        (
            lambda: planners.controller(Still()).init(dynamics.point_mass(), dynamics.point_mass().init(KEY)),
            r"policy must return an action of shape \(2,\) for action_size=2, got \(1,\)",
        ),
        (
            lambda: planners.controller(Still()).init(CHOICES, STATE),
            r"policy must return an action of shape \(\) for num_actions=3, got \(1,\)",
        ),
    ],
)
def test_mistakes_of_controllers(call, message):
    with pytest.raises(ValueError, match=message):
        unchecked(call)()


def test_what_learn_value_returned_is_saved_as_its_value(tmp_path):
    training = ValueTraining(normalized(), ())
    learning.save(tmp_path, training)
    found = learning.load(tmp_path, ENV)
    assert float(found(STATE)) == float(training.value(STATE))
    assert float(found.discount) == float(training.value.discount)


def imagined_by(make):
    return lambda policy, model: planners.infer(make(policy), model, KEY, model.init(KEY))


@pytest.mark.parametrize(
    "use",
    [
        imagined_by(lambda policy: planners.vi_mpc(4, num_samples=16, policy=policy)),
        imagined_by(lambda policy: planners.vi_mpc(4, num_samples=16, prior=planners.priors.policy_prior(policy))),
        imagined_by(lambda policy: planners.smc(4, num_samples=16, proposal=policy)),
        imagined_by(planners.controller),
        lambda policy, model: learning.policy_returns(model, policy, KEY, num_episodes=2, episode_steps=3),
    ],
)
def test_a_policy_of_another_model_is_told_by_its_size(use):
    with pytest.raises(ValueError, match=r"model must have 2 observed numbers, .* got 4"):
        use(gaussian().unbounded(), dynamics.cartpole())
