"""Learned models: what is fitted is what is true, what is uncertain is told, and mistakes are one clear line."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import compiling, dynamics, learning, planners
from mirrax.dynamics.base import scenarios
from mirrax.dynamics.learned.data import split
from mirrax.dynamics.learned.likelihood import one_pass

KEY = jax.random.key(0)
NOISE = 0.05
SMALL = {"hidden": (16,), "num_members": 3}
DRIFT = jnp.array([[0.9, 0.2], [0.0, 0.8]])
PUSH = jnp.array([0.0, 0.5])


def linear(number, key=KEY):
    """Transitions of x' = D x + p a + noise, of which only the second number is noisy, and r = −x₀² − a²."""
    state_key, action_key, noise_key = jax.random.split(key, 3)
    before = jax.random.uniform(state_key, (number, 2), minval=-1.0, maxval=1.0)
    actions = jax.random.uniform(action_key, (number, 1), minval=-1.0, maxval=1.0)
    noise = NOISE * jax.random.normal(noise_key, (number,))
    after = before @ DRIFT.T + actions * PUSH + noise[:, None] * jnp.array([0.0, 1.0])
    return learning.transitions(before, actions, after, -(before[:, 0] ** 2) - actions[:, 0] ** 2)


@pytest.fixture(scope="module")
def fitted():
    model = dynamics.learned(observation_size=2, action_size=1, **SMALL)
    return learning.fit(model, linear(2000), KEY, max_epochs=40, learning_rate=3e-3)


def test_what_is_fitted_is_what_is_true(fitted):
    model, report = fitted
    held = linear(500, jax.random.key(1))
    said = jax.vmap(model.predict)(jnp.asarray(held.observations), jnp.asarray(held.actions))
    truth = held.observations @ np.asarray(DRIFT).T + held.actions * np.asarray(PUSH)
    apart = np.asarray(said.mean.mean(1)) - truth
    assert np.sqrt((apart**2).mean(0)).max() < 0.02  # of changes whose standard deviation is 0.3
    # the noise: in the second number alone
    expected = np.sqrt((np.asarray(said.std) ** 2).mean((0, 1)))
    assert expected[1] == pytest.approx(NOISE, rel=0.15)
    assert expected[0] < 0.3 * NOISE
    assert np.asarray(said.reward).mean(1) == pytest.approx(np.asarray(held.rewards), abs=0.3)
    assert report.error[1] == pytest.approx(NOISE, rel=0.25)
    assert report.spread[1] == pytest.approx(report.error[1], rel=0.25)
    assert report.num_transitions == 2000
    assert report.num_held_out == pytest.approx(200, abs=2)
    assert report.holdout_loss.shape == report.loss.shape == (len(report.loss), 3)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_what_is_held_out_stays_so_when_there_is_more(fraction):
    before, after = split(200, fraction), split(500, fraction)
    np.testing.assert_array_equal(before[0], after[0][after[0] < 200])
    for held_out, rest in (before, after, split(10, fraction)):
        assert len(held_out) >= 1
        assert len(rest) >= 1
        assert not set(held_out) & set(rest)
    assert len(after[0]) == pytest.approx(500 * fraction, abs=2)


def test_kinds_of_uncertainty_are_told_apart(fitted):
    model, _ = fitted
    within, beyond = (model.spread(jnp.array([x, x]), jnp.zeros(1)) for x in (0.2, 6.0))
    assert (beyond.epistemic > 5 * within.epistemic).all()  # no data there
    assert within.aleatoric[1] == pytest.approx(NOISE, rel=0.3)
    assert within.epistemic[1] < 0.5 * within.aleatoric[1]


@pytest.mark.parametrize("planner", [planners.cem(3, num_samples=8), planners.gradient(3, num_iterations=2)])
def test_a_model_that_is_fitted_again_is_the_same_program(fitted, planner):
    model, _ = fitted
    with compiling.counted() as count:
        plan = count.watched(jax.jit(planners.plan))
        belief = planner.init(model, jnp.zeros(2))
        *_, first = plan(planner, model, KEY, jnp.ones(2), belief)
        again, _ = learning.fit(model, linear(1500, jax.random.key(2)), jax.random.key(3), max_epochs=1)
        *_, second = plan(planner, again, KEY, jnp.ones(2), belief)
    assert count.traces["plan"] == 1
    assert np.isfinite(first.best_return).all()
    assert not np.array_equal(first.best_return, second.best_return)


def test_a_fit_is_compiled_once_until_there_are_twice_as_many_transitions():
    model, before = (
        dynamics.learned(observation_size=2, action_size=1, hidden=(5,), num_members=2),
        one_pass._cache_size(),
    )
    for number in (20, 100, 256):
        model, _ = learning.fit(model, linear(number), KEY, max_epochs=2)
    assert one_pass._cache_size() == before + 1
    learning.fit(model, linear(257), KEY, max_epochs=2)
    assert one_pass._cache_size() == before + 2


def test_rounding_is_not_blown_up_to_something_to_learn():
    """A number that stays as it is but for its last digits, beside one that moves, as of a goal that is observed."""
    moving = linear(600)
    rounding = np.random.default_rng(0).choice([0.0, 1e-7, 3e-6], (600, 1), p=[0.98, 0.015, 0.005])
    still = np.repeat(np.random.default_rng(1).normal(size=(10, 1)), 60, axis=0)
    data = learning.transitions(
        np.hstack([moving.observations, still]),
        moving.actions,
        np.hstack([moving.next_observations, still + rounding]),
    )
    model = dynamics.learned(observation_size=3, action_size=1, reward=lambda *_: 0.0, **SMALL)
    model, report = learning.fit(model, data, KEY, max_epochs=60, learning_rate=3e-3)
    assert report.error[2] < 1e-4
    assert report.error[0] < 0.05
    found = learning.horizon_errors(model, data, KEY, horizon=10, num_starts=5)
    assert np.isfinite(found.spread).all()
    assert found.spread[:, 2].max() < 1e-3


class Shifts:
    """Networks of which each shifts the state by a number of its own, with a variance at its bound."""

    def init(self, key, inputs):
        return jnp.asarray(jax.random.uniform(key))

    def apply(self, params, inputs):
        return jnp.array([params, -30.0, 9.0])


def shifting(sampling, shifts):
    model = dynamics.learned(
        observation_size=1,
        action_size=1,
        reward=lambda state, action, after: after[0],
        network=Shifts(),
        num_members=len(shifts),
        sampling=sampling,
        noisy=False,
    )
    bounds = {"min_log_var": jnp.full((len(shifts), 1), -10.0), "max_log_var": jnp.full((len(shifts), 1), 0.5)}
    return dataclasses.replace(model, params={"network": jnp.asarray(shifts), **bounds})


def trajectories(model, num, horizon, key=KEY):
    """The states of `num` scenarios, [num, horizon]."""
    models = scenarios(model, key, num)

    def follow(model, key):
        def step(state, key):
            after = model.step(key, state, jnp.zeros(1)).state
            return after, after[0]

        return jax.lax.scan(step, jnp.zeros(1), jax.random.split(key, horizon))[1]

    return np.asarray(jax.vmap(follow)(models, jax.random.split(key, num)))


def test_in_ts_inf_a_particle_keeps_its_network_and_in_ts1_it_does_not():
    shifts = [1.0, 10.0, 100.0]
    kept = np.diff(trajectories(shifting("ts_inf", shifts), 6, 8), prepend=0.0, axis=1)
    assert kept == pytest.approx(np.tile(shifts, 2)[:, None] * np.ones(8))  # each network twice, from first to last
    drawn = np.diff(trajectories(shifting("ts1", shifts), 500, 8), prepend=0.0, axis=1)
    for shift in shifts:  # each network in a third of all steps: five standard errors
        assert (np.abs(drawn - shift) < 1e-3).mean() == pytest.approx(1 / 3, abs=5 * np.sqrt(2 / 9 / 4000))
    mixed = (np.abs(drawn - drawn[:, :1]) > 1e-3).any(1).mean()
    assert mixed == pytest.approx(1 - 3 * (1 / 3) ** 8, abs=0.01)


def test_planners_see_the_scenarios_of_a_learned_model():
    """The return of a plan is the mean over networks: E Σ_t s_t = mean(shift) · (1 + ... + H)."""
    for sampling in ("ts_inf", "ts1"):
        model = shifting(sampling, [1.0, 2.0, 6.0])
        planner = planners.random_shooting(4, num_samples=2, num_scenarios=600)
        _, info = jax.jit(planners.infer)(planner, model, KEY, jnp.zeros(1))
        spread = 5 * np.sqrt(14 / 3 * 100 / 600)  # five standard errors of what is drawn in ts1
        assert info.best_return[-1] == pytest.approx(3.0 * 10, abs=1e-3 if sampling == "ts_inf" else spread)


def test_fewer_scenarios_than_networks_begin_anywhere():
    seen = {trajectories(shifting("ts_inf", [1.0, 10.0, 100.0]), 1, 1, jax.random.key(i)).item() for i in range(30)}
    assert seen == {1.0, 10.0, 100.0}


def test_angles_are_seen_by_sine_and_cosine_and_turn_the_shorter_way():
    model = dynamics.learned(observation_size=3, action_size=1, angles=(1,), **SMALL)
    state = jnp.array([2.0, 3.0, 4.0])
    seen = model.inputs(state, jnp.zeros(1))
    assert seen == pytest.approx([2.0, 4.0, np.sin(3.0), np.cos(3.0), 0.0])
    change = model.change(jnp.array([0.0, 3.0, 3.0]), jnp.array([0.0, -3.0, -3.0]))
    assert change == pytest.approx([0.0, 2 * np.pi - 6.0, -6.0], abs=1e-5)
    assert dynamics.learned(dynamics.pendulum()).angles == (0,)
    assert dynamics.learned(dynamics.pendulum(), angles=()).angles == ()


def test_a_turn_through_the_seam_is_fitted():
    """Angles that are wrapped to (−π, π] jump by 2π, what is learnt does not."""
    before = jax.random.uniform(KEY, (600, 1), minval=-jnp.pi, maxval=jnp.pi)
    actions = jax.random.uniform(jax.random.key(1), (600, 1), minval=-1.0, maxval=1.0)
    after = (before + 0.3 * actions + jnp.pi) % (2 * jnp.pi) - jnp.pi
    model = dynamics.learned(observation_size=1, action_size=1, angles=(0,), reward=lambda *_: 0.0, **SMALL)
    _, report = learning.fit(model, learning.transitions(before, actions, after), KEY, learning_rate=3e-3)
    assert report.error < 0.02


def test_discrete_actions_and_ends_are_learnt():
    """A walk on a line by −1 or 1, which ends beyond 3."""
    before = jax.random.uniform(KEY, (1000, 1), minval=-3.0, maxval=3.0)
    actions = jax.random.randint(jax.random.key(1), (1000,), 0, 2)
    after = before + 2.0 * actions[:, None] - 1.0
    goes_on = (jnp.abs(after[:, 0]) < 3.0).astype(float)
    data = learning.transitions(before, actions, after, jnp.ones(1000), goes_on)
    model = dynamics.learned(observation_size=1, num_actions=2, **SMALL)
    model, _ = learning.fit(model, data, KEY, max_epochs=60, learning_rate=1e-2)
    step = jax.jit(model.step)
    right, left, out = (step(KEY, jnp.array([x]), jnp.array(a)) for x, a in ((0.0, 1), (0.0, 0), (2.8, 1)))
    assert right.state == pytest.approx([1.0], abs=0.2)
    assert left.state == pytest.approx([-1.0], abs=0.2)
    assert right.discount == 1
    assert out.discount == 0
    endless = data._replace(discounts=np.ones_like(data.discounts))
    model, _ = learning.fit(model, endless, KEY, max_epochs=1)  # which has not forgotten them yet
    assert model.step(KEY, jnp.array([2.8]), jnp.array(1)).discount == 1
    planner = planners.cem(3, num_samples=8)
    action, *_ = planners.plan(planner, model, KEY, jnp.zeros(1), planner.init(model, jnp.zeros(1)))
    assert jnp.issubdtype(action.dtype, jnp.integer)


def test_known_rewards_and_ends_are_those_that_were_given(fitted):
    assert fitted[0].learns_end
    model = dataclasses.replace(
        fitted[0],
        terminate=jax.tree_util.Partial(lambda after: after[0] > 0.5),
        value_function=jax.tree_util.Partial(lambda state: state[0]),
    )
    assert model.step(KEY, jnp.array([0.9, 0.0]), jnp.zeros(1)).discount == 0
    assert model.step(KEY, jnp.array([0.0, 0.0]), jnp.zeros(1)).discount == 1
    assert model.value(jnp.array([3.0, 0.0])) == 3.0
    assert model.step(KEY, jnp.zeros(2), jnp.array([7.0])).state == pytest.approx(
        model.step(KEY, jnp.zeros(2), jnp.array([1.0])).state
    )  # nothing was learnt of actions beyond the range


def test_learned_models_pickle_and_are_checked(fitted):
    model, _ = fitted
    again = pickle.loads(pickle.dumps(model))
    assert jax.tree.structure(again) == jax.tree.structure(model)
    dynamics.check(model, jnp.zeros(2))  # raises where something is wrong
    restored = dynamics.from_state_dict(model, dynamics.to_state_dict(model))
    for one in (again, restored):
        jax.tree.map(np.testing.assert_array_equal, one, model)


def test_transitions_are_saved_and_read(tmp_path):
    data = linear(20)
    data.save(tmp_path / "data.npz")
    for own, read in zip(data, learning.Transitions.load(tmp_path / "data.npz"), strict=True):
        np.testing.assert_array_equal(own, read)
    whole = (tmp_path / "data.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cut\.npz must be a whole file of NumPy's format npz"):
            learning.Transitions.load(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", states=np.zeros(3))
    with pytest.raises(ValueError, match="must have the arrays observations, actions, next_observations"):
        learning.Transitions.load(tmp_path / "other.npz")
    np.savez(tmp_path / "code.npz", **(data._asdict() | {"rewards": np.array([print] * 20, object)}))
    with pytest.raises(ValueError, match="whole file"):
        learning.Transitions.load(tmp_path / "code.npz")
    assert data.joined(data, data).size == 60


def bad(rows=12, **changes):
    """Arguments of `transitions`, some of them wrong."""
    given = {
        "observations": np.zeros((rows, 2)),
        "actions": np.zeros((rows, 1)),
        "next_observations": np.zeros((rows, 2)),
        "rewards": np.zeros(rows),
        "discounts": np.ones(rows),
    }
    return given | changes


HOLES = np.zeros((12, 2))
HOLES[3, 1] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": HOLES}, "observations must be finite, got 1 rows that are not, the first is 3"),
        ({"rewards": np.full(12, np.inf)}, "rewards must be finite, got 12 rows"),
        ({"next_observations": np.zeros((12, 3))}, "next_observations must have the shape of observations"),
        ({"next_observations": np.zeros((11, 2))}, "next_observations must have the shape of observations"),
        ({"observations": np.zeros(12)}, r"observations must be \[N, n\]"),
        ({"actions": np.zeros(12)}, r"actions must be \[12, A\], or integers \[12\]"),
        ({"actions": np.zeros((11, 1))}, r"actions must be \[12, A\]"),
        ({"rewards": np.zeros((12, 1))}, r"rewards must be \[12\]"),
        ({"discounts": np.full(12, 2.0)}, r"discounts must lie in \[0, 1\]"),
        ({"observations": [["a", "b"]] * 12}, "observations must be an array of numbers"),
    ],
)
def test_wrong_transitions_are_told(changes, message):
    with pytest.raises(ValueError, match=message):
        learning.transitions(**bad(**changes))


def one(**options):
    return dynamics.learned(**({"observation_size": 2, "action_size": 1} | options))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (dynamics.learned, "give env, or observation_size and one of action_size and num_actions"),
        (lambda: one(num_actions=2), "give env, or observation_size and one of"),
        (
            lambda: dynamics.learned(dynamics.pendulum(), action_size=1),
            "env has sizes: action_size must not be given",
        ),
        (lambda: dynamics.learned(3), "env must be a model"),
        (lambda: one(angles=(2,)), "angles must be different places in an observation of 2 numbers"),
        (lambda: one(angles=(0, 0)), "angles must be different places"),
        (lambda: one(sampling="ts2"), "sampling must be one of ts_inf, ts1"),
        (lambda: one(reward="given"), "reward must be a function or 'learned'"),
        (lambda: one(terminate="known"), "terminate must be a function, None or 'learned'"),
        (lambda: one(reward=3), "reward must be a function"),
        (lambda: one(num_members=0), "num_members must be an integer of at least 1"),
        (lambda: one(hidden=(0,)), "hidden must be an integer of at least 1"),
        (lambda: one(coordinate_names=("x",)), "coordinate_names must be 2 names"),
        (lambda: one(encode=lambda s: s, angles=(0,)), "encode makes the inputs of networks"),
        (lambda: one().step(KEY, jnp.zeros(2), jnp.zeros(1)), "model must be fitted before it says anything"),
        (lambda: one().init(KEY), "init must be given to learned"),
        (lambda: one().observe(jnp.zeros(3)), r"observation must be a vector \[2\]"),
        (lambda: learning.fit(one(), linear(9), KEY), "dataset must have at least 10 transitions, got 9"),
        (lambda: learning.fit(one(), [1, 2], KEY), "dataset must be of learning.transitions"),
        (lambda: learning.fit(one(observation_size=3), linear(20), KEY), "observations must have 3 numbers"),
        (lambda: learning.fit(one(action_size=2), linear(20), KEY), r"actions must be \[N, 2\]"),
        (lambda: learning.fit(dynamics.pendulum(), linear(20), KEY), "model must be a learned model"),
        (lambda: learning.fit(one(), linear(20), KEY, learning_rate=0.0), "learning_rate must be finite and > 0"),
        (lambda: learning.fit(one(), linear(20), KEY, holdout_fraction=1.0), "holdout_fraction must be"),
        (lambda: learning.fit(one(**SMALL), linear(40), KEY, learning_rate=1e20), "learning_rate must be smaller"),
    ],
)
def test_mistakes_are_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        unchecked(make)()
    assert "\n" not in str(caught.value)


def test_errors_along_the_horizon_are_those_of_a_known_walk():
    """A model that is off by 1 per step is off by t after t steps, and expects none where it has no noise."""
    model = shifting("ts_inf", [1.0, 1.0])
    truth = np.zeros((30, 1))
    steps = learning.transitions(truth, truth, truth)
    found = learning.horizon_errors(model, steps, KEY, horizon=5, num_starts=4)
    assert found.error[:, 0] == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.spread[:, 0] == pytest.approx(np.zeros(5), abs=1e-6)
    with pytest.raises(ValueError, match="horizon must be at most the 30 steps"):
        learning.horizon_errors(model, steps, KEY, horizon=31)
