"""The regulator at rest: gains and values against Riccati's, and what it does for planners that balance."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, planners

KEY = jax.random.key(0)
regulator = jax.jit(planners.lqr.regulator, static_argnames="num_steps")


def at_rest(n=3, m=2, **changes):
    """A linear-quadratic problem whose best state is 0, with nothing at its end."""
    zero = {"c": np.zeros(n), "q": np.zeros(n), "r": np.zeros(m), "qf": np.zeros(n), "Qf": np.zeros((n, n))}
    return random_linear_quadratic(3, n, m, **zero, **changes)


@pytest.mark.parametrize("num_steps", [1, 7])
def test_policy_and_value_are_riccatis(num_steps):
    """Slopes of the reward included."""
    with jax.enable_x64(True):
        nothing = {"c": np.zeros(3), "qf": np.zeros(3), "Qf": np.zeros((3, 3))}
        model = random_linear_quadratic(3, 3, 2, **nothing)
        found = regulator(model, jnp.zeros(3), num_steps=num_steps, action_cost=0.3)
        dearer = dataclasses.replace(model, R=model.R + 0.3 * jnp.eye(2))
        exact = dearer.policy(num_steps, 1e-9)
        np.testing.assert_allclose(found.gain, exact.gain[0], atol=1e-9)
        np.testing.assert_allclose(found.action, exact.offset[0], atol=1e-9)
        np.testing.assert_allclose(found.curvature, exact.cost_hessian[0], atol=1e-9)
        np.testing.assert_allclose(found.gradient, exact.cost_gradient[0], atol=1e-9)
        state, total = model.start, 0.0
        for t in range(num_steps):  # the return of its actions, without noise
            action = exact.gain[t] @ state + exact.offset[t]
            total -= 0.15 * action @ action
            step = model.step(KEY, state, action)
            state, total = step.state, total + step.reward
        np.testing.assert_allclose(found(model.start), total, atol=1e-9)
        assert found.drift == 0.0


def test_many_steps_solve_the_algebraic_equation():
    with jax.enable_x64(True):
        model = at_rest()
        found = regulator(model, jnp.zeros(3), num_steps=400, state_cost=0.2, action_cost=1e-9)
        exact = scipy.linalg.solve_discrete_are(model.A, model.B, model.Q + 0.2 * np.eye(3), model.R, s=model.N.T)
        np.testing.assert_allclose(found.curvature, exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_the_value_is_the_return_of_the_policy(discount):
    """Reward at rest included, discounted as the model does."""
    with jax.enable_x64(True):
        model = dynamics.discounted(
            dynamics.with_reward(at_rest(), lambda state, action, after: 2.0 - state @ state - 0.1 * action @ action),
            discount,
        )

        def found(num_steps):
            return regulator(model, jnp.zeros(3), num_steps=num_steps, action_cost=1e-13)

        state, total = jnp.array([0.3, -0.2, 0.5]), 0.0
        value = found(8)(state)
        np.testing.assert_allclose(found(8)(jnp.zeros(3)), 2.0 * (discount ** np.arange(8)).sum(), rtol=1e-12)
        for t in range(8):
            step = model.step(KEY, state, found(8 - t).mean(state))
            total, state = total + discount**t * step.reward, step.state
        np.testing.assert_allclose(value, total, rtol=1e-10)


@pytest.mark.parametrize("name", ["pendulum", "cartpole", "acrobot", "double_cartpole"])
def test_the_policy_balances(name):
    model = getattr(dynamics, name)()
    upright = jnp.zeros_like(model.init(KEY))
    found = regulator(model, upright)
    assert found.drift < 1e-6

    def step(state, key):
        return model.step(key, state, jnp.clip(found.mean(state), -1.0, 1.0)).state, state

    start = upright + 0.003 * jax.random.normal(KEY, upright.shape)
    last, _ = jax.jit(lambda start: jax.lax.scan(step, start, jax.random.split(KEY, 400)))(start)
    np.testing.assert_allclose(last, 0.0, atol=1e-2)


def test_with_the_value_a_short_horizon_balances():
    """Two poles, 4 steps ahead: what a lean costs later is all in the value."""
    model = dynamics.double_cartpole()
    upright = jnp.zeros(6)
    valued = dynamics.with_value(model, regulator(model, upright))
    start = upright.at[1].set(0.03)
    planner = planners.icem(4, num_samples=64, std=0.3, std_min=0.005)

    @jax.jit
    def last(imagined):
        def act(carry, key):
            state, belief = carry
            action, belief, _ = planners.plan(planner, imagined, key, state, belief)
            return (model.step(key, state, action).state, belief), None

        (state, _), _ = jax.lax.scan(act, (start, planner.init(imagined, start)), jax.random.split(KEY, 150))
        return jnp.cos(state[1:3]).min()

    bare, held = last(model), last(valued)
    assert held > 0.99
    assert bare < 0.9


def test_where_the_reward_says_nothing_the_state_cost_does():
    def step(key, state, action):
        x, v = state
        return jnp.stack([x + 0.1 * v, v + 0.1 * (x + action[0])]), 1.0, 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(2), bounded=False)
    free = regulator(model, jnp.zeros(2))
    held = regulator(model, jnp.zeros(2), state_cost=jnp.array([1.0, 0.0]))
    assert not np.allclose(held.gain, free.gain)
    closed = jnp.array([[1.0, 0.1], [0.1, 1.0]]) + jnp.array([[0.0], [0.1]]) @ held.gain
    assert np.abs(np.linalg.eigvals(closed)).max() < 1.0
    np.testing.assert_allclose(held(jnp.zeros(2)), 300.0)


def test_a_model_with_scenarios_has_the_regulator_of_one():
    first = at_rest()
    others = [dataclasses.replace(first, A=scale * first.A) for scale in (0.7, 1.1)]
    exact = regulator(first, jnp.zeros(3))
    found = regulator(dynamics.ensemble([first, *others]), jnp.zeros(3))
    np.testing.assert_allclose(found.gain, exact.gain, rtol=1e-6)


def test_actuators_have_their_whole_effect_at_the_end_of_their_range():
    model = dynamics.from_function(
        lambda key, state, action: (0.9 * state + jnp.clip(action, -1.0, 1.0), -(state @ state), 1.0),
        1,
        init=lambda key: jnp.zeros(1),
        bounded=True,
    )
    inside = regulator(model, jnp.array([5.0]), jnp.array([0.5]))
    np.testing.assert_allclose(regulator(model, jnp.array([10.0]), jnp.array([1.0])).gain, inside.gain, rtol=1e-5)
    with pytest.raises(ValueError, match="action must be finite and >= -1 and <= 1, got 2"):
        planners.lqr.regulator(model, jnp.array([20.0]), 2.0)


@pytest.mark.parametrize(("discount", "num_steps"), [(0.9, 1000), (0.5, 300), (0.0, 300)])
def test_what_is_discounted_to_nothing_leaves_a_regulator(discount, num_steps):
    """γ^t is 0 in float32 long before the last step; scaled by √γ, it is the undiscounted problem of Riccati."""
    model = at_rest()
    found = regulator(dynamics.discounted(model, discount), jnp.zeros(3), num_steps=num_steps, action_cost=1e-9)
    a, b = (np.sqrt(discount) * np.asarray(each, float) for each in (model.A, model.B))
    weights = [np.asarray(each, float) for each in (model.Q, model.R)]
    curvature = scipy.linalg.solve_discrete_are(a, b, *weights, s=np.asarray(model.N, float).T)
    np.testing.assert_allclose(found.curvature, curvature, rtol=1e-4, atol=1e-4)
    gain = -np.linalg.solve(weights[1] + b.T @ curvature @ b, b.T @ curvature @ a + np.asarray(model.N, float))
    np.testing.assert_allclose(found.gain, gain, rtol=1e-3, atol=1e-4)


def test_what_has_no_curvature_is_nan_and_nothing_else():
    """The distance to a goal has none there."""

    def norm(state, action, after):
        return 1.0 - jnp.linalg.norm(state)

    found = regulator(dynamics.with_reward(at_rest(), norm), jnp.zeros(3))
    assert np.isnan(found.gain).all()
    assert np.isnan(found.mean(jnp.zeros(3))).all()
    assert np.isnan(found(jnp.ones(3)))


def test_what_no_action_can_hold_is_worth_little():
    def step(key, state, action):
        x, y = state
        return jnp.stack([1.1 * x, 0.9 * y + action[0]]), -(state @ state), 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(2), bounded=False)
    found = regulator(model, jnp.zeros(2), num_steps=100)
    assert found(jnp.zeros(2)) == 0.0
    np.testing.assert_allclose(found(jnp.array([0.1, 0.0])), -0.01 * (1.21**100 - 1.0) / 0.21, rtol=1e-3)
    assert np.isfinite(found.mean(jnp.array([0.1, 0.2])))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (jnp.zeros((5, 3)), r"state must have shape \(3,\), got \(5, 3\)"),
        (jnp.zeros(3, int), "state must be of float32, got int32"),
    ],
)
def test_a_state_of_another_model_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        planners.lqr.regulator(at_rest(), state)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="model must be a model, got str"):
        unchecked(planners.lqr.regulator)("x", jnp.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
        ({"state_cost": -1.0}, r"state_cost must be finite and >= 0, got -1.0"),
        ({"state_cost": np.ones(2)}, r"state_cost must have shape \(3,\), or broadcast to it, got \(2,\)"),
        ({"action_cost": 0.0}, r"action_cost must be finite and > 0, got 0.0"),
        ({"action": np.zeros(5)}, r"action must have shape \(2,\), or broadcast to it, got \(5,\)"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        planners.lqr.regulator(at_rest(), jnp.zeros(3), **options)


def test_discrete_actions_are_refused():
    table = dynamics.tabular(jnp.ones((2, 2, 2)) / 2, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="regulator needs continuous actions"):
        planners.lqr.regulator(table, table.init(KEY))


def test_joints_of_a_robot_are_put_where_they_are_wanted():
    model = dynamics.brax("inverted_pendulum", "generalized")
    state = jax.jit(model.init)(KEY)
    moved = jax.jit(model.with_joints)(state, jnp.array([0.2, 0.1]))
    np.testing.assert_allclose(moved.pipeline_state.q, [0.2, 0.1], atol=1e-6)
    np.testing.assert_allclose(moved.pipeline_state.qd, 0.0)
    with pytest.raises(ValueError, match=r"q must have shape \(2,\), as sys.init_q has, got \(3,\)"):
        model.with_joints(state, jnp.zeros(3))
