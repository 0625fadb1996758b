"""The value of a state by simulation: what a policy earns from there on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, planners
from mirrax.planners.rollouts import continuation

KEY = jax.random.key(0)


def car(wall, after=1.0):
    """Paid for its speed, and 1 for each step; at the wall it ends, and then all rewards are `after`."""

    def step(key, state, action):
        x, v = state
        v = jnp.clip(v + 0.2 * jnp.clip(action[0], -1.0, 1.0), 0.0, 4.0)
        x = x + 0.2 * v
        return jnp.stack([x, v]), jnp.where(state[0] > wall, after, 1.0 + v), jnp.where(x > wall, 0.0, 1.0)

    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(2), bounded=True)


def brake(state):
    return jnp.array([-1.0])


def test_it_is_the_return_of_the_policy_and_the_value_after_it():
    model = dynamics.with_value(car(np.inf), lambda state: 10.0 * state[0])
    start = jnp.array([0.0, 1.0])
    found = jax.jit(continuation(dynamics.discounted(model, 0.9), brake, 3))(start)
    speeds = np.array([0.8, 0.6, 0.4])
    weights = 0.9 ** np.arange(4)
    expected = (weights[:3] * (1.0 + speeds)).sum() + weights[3] * 10.0 * 0.2 * speeds.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_after_an_end_nothing_counts_whatever_the_model_returns():
    model = dynamics.with_value(car(0.25, after=jnp.nan), lambda state: 1e6 * jnp.ones(()))
    found = jax.jit(continuation(model, brake, 5))(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(found, 1.8 + 1.6, rtol=1e-6)  # the second step is beyond the wall


def test_its_derivatives_end_where_the_episode_does():
    """Beyond the end, at 1, the reward has no derivative."""

    def step(key, state, action):
        after = state + 0.4 * action
        return after, jnp.sqrt(1.0 - state[0]), jnp.where(after[0] > 1.0, 0.0, 1.0)

    model = dynamics.from_function(step, 1)
    value = continuation(model, lambda state: jnp.ones(1), 6)
    total, slope = jax.jit(jax.value_and_grad(value))(jnp.array([0.1]))
    rooms = 1.0 - np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(total, np.sqrt(rooms).sum(), rtol=1e-5)
    np.testing.assert_allclose(slope, [-0.5 * (rooms**-0.5).sum()], rtol=1e-5)


@pytest.mark.parametrize("num_samples", [1, 4000])
def test_noise_is_averaged(num_samples):
    """A walk of three fair steps, worth its square: the mean is x² + 3. All states meet the same steps."""

    def step(key, state, action):
        return state + jnp.where(jax.random.bernoulli(key), 1.0, -1.0), 0.0, 1.0

    model = dynamics.from_function(step, 1, value=lambda state: state[0] ** 2)
    value = jax.jit(jax.vmap(continuation(model, lambda state: jnp.zeros(1), 3, num_samples=num_samples)))
    found = value(jnp.array([[0.0], [2.0], [-2.0]]))
    # x² + 2 x m₁ + m₂, with the moments of the draws
    second, first = found[0], (found[1] - found[2]) / 8.0
    np.testing.assert_allclose(found[1:].mean(), 4.0 + second, rtol=1e-5)
    if num_samples == 1:
        assert first in (-3.0, -1.0, 1.0, 3.0)
    else:
        np.testing.assert_allclose([first, second], [0.0, 3.0], atol=0.15)


def test_keys_in_states_are_drawn_anew():
    """A planner must not know the noise that a state holds."""

    def step(key, state, action):
        x, own = state
        own, use = jax.random.split(own)
        return (x + jax.random.normal(use), own), x, 1.0

    model = dynamics.from_function(step, 1, init=lambda key: (jnp.zeros(()), key))
    value = continuation(model, lambda state: jnp.zeros(1), 3)
    with jax.debug_key_reuse(True):
        values = [jax.jit(value)((jnp.zeros(()), jax.random.key(seed))) for seed in (0, 1)]
    np.testing.assert_allclose(*values)
    assert abs(values[0]) > 0.0


def test_the_regulator_goes_on_as_its_value_says():
    with jax.enable_x64(True):
        nothing = {"c": np.zeros(3), "q": np.zeros(3), "r": np.zeros(2), "qf": np.zeros(3), "Qf": np.zeros((3, 3))}
        model = random_linear_quadratic(3, 3, 2, **nothing)
        regulator = jax.jit(planners.lqr.regulator)(model, jnp.zeros(3), action_cost=1e-9)
        value = continuation(dynamics.with_value(model, regulator), regulator.mean, 7)
        state = jnp.array([0.4, -0.3, 1.0])
        np.testing.assert_allclose(value(state), regulator(state), rtol=1e-6)


def test_a_regulator_that_is_simulated_does_not_promise_what_the_actuators_cannot_do():
    """A segway that leans at first, more than its motor can correct at once."""

    def step(key, state, action):
        _, v, lean, rate = state
        force = 6.0 * action[0]
        after = state + 0.02 * jnp.stack([v, force, rate, 12.0 * jnp.sin(lean) - 1.5 * force])
        return after, 1.0 - 0.1 * (v - 1.0) ** 2, jnp.where(jnp.abs(lean) > 0.5, 0.0, 1.0)

    start = jnp.array([0.0, 0.0, 0.1, 0.0])
    model = dynamics.from_function(step, 1, init=lambda key: start, action_range=(-1.0, 1.0))
    regulator = jax.jit(planners.lqr.regulator)(model, jnp.array([0.0, 1.0, 0.0, 0.0]), action_cost=1.0)
    play = jax.jit(planners.episode, static_argnames="num_steps")
    planner = planners.mppi(4, num_samples=64)
    up = []
    for value in (regulator, continuation(model, regulator.mean, 50)):
        episode = play(planner, dynamics.with_value(model, value), model, KEY, num_steps=200)
        up.append(bool(episode.discounts.all()))
    assert up == [False, True]


def test_it_knows_what_the_actuators_cannot_do():
    """Too fast to stop before the wall."""
    model = car(1.0)
    value = jax.jit(continuation(model, brake, 12))
    stops, crashes = value(jnp.array([0.0, 0.8])), value(jnp.array([0.0, 2.0]))
    assert stops > 12.0
    assert crashes < 12.0


def test_a_short_plan_before_a_brake_stays_before_the_wall():
    model = car(6.0)
    play = jax.jit(planners.episode, static_argnames="num_steps")
    planner = planners.icem(4, num_samples=64)
    braking = dynamics.with_value(model, continuation(model, brake, 20))
    blind, seeing = (play(planner, imagined, model, KEY, num_steps=60) for imagined in (model, braking))
    assert not blind.discounts.all()
    assert seeing.discounts.all()
    assert seeing.rewards.sum() > 60.0 + 25.0  # it drove 5 of the 6 m: each 0.2 m earn 1


def test_its_derivatives_are_those_of_the_policys_return():
    model = random_linear_quadratic(1, 2, 1)
    policy = jax.tree_util.Partial(lambda gain, state: gain @ state, jnp.array([[0.3, -0.2]]))
    value = continuation(model, policy, 4)
    state, direction = jnp.array([0.5, -0.2]), jnp.array([0.6, 0.8])
    slope = jax.jit(jax.grad(value))(state) @ direction
    change = value(state + 0.01 * direction) - value(state - 0.01 * direction)
    np.testing.assert_allclose(slope, change / 0.02, rtol=1e-3)
    planner = planners.ilqr(3, num_iterations=2, num_samples=0)
    belief, _ = jax.jit(planners.infer)(planner, dynamics.with_value(model, value), KEY, state)
    assert np.isfinite(belief.mode()).all()


def test_discrete_actions():
    """A corridor of 5 cells, the last of which pays."""
    transition = np.zeros((5, 2, 5))
    for cell in range(5):
        transition[cell, 0, max(cell - 1, 0)] = transition[cell, 1, min(cell + 1, 4)] = 1.0
    reward = np.zeros((5, 2))
    reward[4] = 1.0
    go_on = continuation(dynamics.tabular(transition, reward), lambda state: jnp.ones((), int), 6)
    assert [float(go_on(jnp.array(cell))) for cell in range(5)] == [2.0, 3.0, 4.0, 5.0, 6.0]


def test_each_member_of_an_ensemble_has_a_value_of_its_own():
    def paying(pay):
        return dataclasses.replace(paid, step_function=jax.tree_util.Partial(stay, pay))

    def stay(pay, key, state, action):
        return state, pay, 1.0

    def rest(state):
        return jnp.zeros(1)

    paid = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1, init=lambda key: jnp.zeros(1))
    members = [paying(pay) for pay in (jnp.array(1.0), jnp.array(2.0))]
    valued = dynamics.ensemble([dynamics.with_value(member, continuation(member, rest, 3)) for member in members])
    for risk, expected in (("worst", 5.0), ("best", 10.0)):
        planner = planners.mppi(2, num_samples=4, num_scenarios=2, risk=risk)
        _, info = jax.jit(planners.infer)(planner, valued, KEY, jnp.zeros(1))
        np.testing.assert_allclose(info.best_return, expected)
    with pytest.raises(ValueError, match="must be the same in all scenarios, got Ensemble: give each member"):
        continuation(dynamics.ensemble(members), rest, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, brake, 3), "model must"),
        ((car(1.0), 3.0, 3), "policy must be a function of a state, such as policy.mode, got float"),
        ((car(1.0), brake, 0), "num_steps must be an integer of at least 1, got 0"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        unchecked(continuation)(*arguments)


def test_a_policy_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"policy must return an action of shape \(1,\), got \(2,\)"):
        continuation(car(1.0), lambda state: state, 3)(jnp.zeros(2))
