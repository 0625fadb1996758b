"""Returns: terminations, terminal values, divergence, blocks, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import noisy_walk

from mirrax import dynamics, planners

KEY = jax.random.key(0)


def two_cliffs():
    """A ledge between two cliffs, |x| > 1 ends the episode; what lies beyond would pay ten times as much."""

    def step(key, state, action):
        position = state + 0.4 * jnp.clip(action[0], -1, 1)
        return (
            position,
            jnp.where(jnp.abs(position) > 1.0, 10.0, 1.0),
            jnp.where(jnp.abs(position) > 1.0, 0.0, 1.0),
        )

    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))


def endless(model):
    """The same model to a planner that ignores the discount."""

    def step(key, state, action):
        return model.step(key, state, action)._replace(discount=1.0)

    return dynamics.from_function(lambda *args: tuple(step(*args)), 1)


@pytest.mark.parametrize("factory", [planners.mppi, planners.cem, planners.predictive_sampling])
def test_only_a_planner_that_ignores_the_end_walks_off_the_cliff(factory):
    ledge = two_cliffs()
    planner = factory(40, num_samples=256)
    play = jax.jit(planners.episode, static_argnums=4)
    aware = play(planner, ledge, ledge, jax.random.key(1), 12)
    blind = play(planner, endless(ledge), ledge, jax.random.key(1), 12)
    assert float(aware.rewards.sum()) == 12.0  # stays to the end, although one step off would pay 10 at once
    assert float(aware.discounts[-1]) == 1.0
    assert float(blind.discounts[-1]) == 0.0
    assert float(blind.rewards.sum()) < 30.0  # 10 at the fall, and nothing after it
    np.testing.assert_array_equal(blind.rewards[-1], 0.0)
    np.testing.assert_array_equal(blind.states[-1], blind.final_state)  # it stands still after the end


def test_a_return_is_the_discounted_sum_and_the_value():
    def step(key, state, action):
        return state + 1, state + action[0], jnp.where(state == 2, 0.0, 0.9)

    actions = jnp.array([[[0.5], [0.0], [0.0], [7.0]], [[1.0], [2.0], [3.0], [4.0]]])
    endless = dynamics.from_function(lambda *args: (*step(*args)[:2], 0.9), 1, value=lambda state: 100.0 * state)
    ending = dynamics.from_function(step, 1, value=lambda state: 100.0 * state)
    expected = [
        0.5 + 0.9 + 0.81 * 2 + 0.729 * 10 + 0.6561 * 400,
        1 + 0.9 * 3 + 0.81 * 5 + 0.729 * 7 + 0.6561 * 400,
    ]
    np.testing.assert_allclose(planners.rollout(endless, KEY, jnp.zeros(()), actions), expected, rtol=1e-6)
    # the third step ends it: the fourth reward and the value do not count
    expected = [0.5 + 0.9 + 0.81 * 2, 1 + 0.9 * 3 + 0.81 * 5]
    np.testing.assert_allclose(planners.rollout(ending, KEY, jnp.zeros(()), actions), expected, rtol=1e-6)
    path = planners.trajectory(ending, KEY, jnp.zeros(()), actions[0])
    np.testing.assert_allclose(path.rewards, [0.5, 1.0, 2.0, 0.0])
    np.testing.assert_allclose(path.discounts, [0.9, 0.9, 0.0, 0.0])
    np.testing.assert_allclose(path.states, [1, 2, 3, 4])
    assert path.value == 0.0


def test_what_diverges_after_the_end_does_not_matter_and_before_it_does():
    def step(key, state, action):
        state = state + 1.0
        return state, jnp.where(state > 2, jnp.nan, 1.0), jnp.where(state >= 2 + 9 * action[0], 0.0, 1.0)

    model = dynamics.from_function(step, 1, value=lambda state: jnp.where(state > 2, jnp.inf, 0.0))
    plans = jnp.array([0.0, 1.0])[:, None, None] * jnp.ones((1, 4, 1))
    returns = planners.rollout(model, KEY, jnp.zeros(()), plans)
    assert returns[0] == 2.0
    assert jnp.isnan(returns[1])


def test_a_nan_discount_is_not_taken_for_an_end():
    model = dynamics.from_function(lambda key, state, action: (state, 1.0, jnp.nan), 1)
    assert jnp.isnan(planners.rollout(model, KEY, jnp.zeros(()), jnp.zeros((1, 3, 1)))[0])


@pytest.mark.parametrize("num_plans", [1, 7, 64])
@pytest.mark.parametrize("chunk_size", [None, 1, 5, 64, 1000])
def test_blocks_change_nothing(num_plans, chunk_size):
    model = noisy_walk()
    plans = jax.random.normal(KEY, (num_plans, 6, 1))
    whole = jax.vmap(lambda plan: planners.trajectory(model, KEY, jnp.ones(()), plan).rewards.sum())(plans)
    blocks = planners.rollout(model, KEY, jnp.ones(()), plans, chunk_size=chunk_size)
    np.testing.assert_allclose(blocks, whole, rtol=1e-5)


def test_all_plans_meet_the_same_noise():
    returns = planners.rollout(noisy_walk(), KEY, jnp.ones(()), jnp.zeros((9, 5, 1)), chunk_size=2)
    assert len(set(returns.tolist())) == 1
    other = planners.rollout(noisy_walk(), jax.random.key(1), jnp.ones(()), jnp.zeros((1, 5, 1)))
    assert other[0] != returns[0]


@pytest.mark.parametrize("chunk_size", [256, 32])
def test_memory_does_not_grow_with_the_horizon(chunk_size):
    model, num_plans = dynamics.cartpole(), 256

    def temporary(horizon):
        plans = jax.ShapeDtypeStruct((num_plans, horizon, 1), jnp.zeros(()).dtype)
        function = jax.jit(lambda plans: planners.rollout(model, KEY, jnp.zeros(4), plans, chunk_size=chunk_size))
        return function.lower(plans).compile().memory_analysis().temp_size_in_bytes

    growth = temporary(200) - temporary(20)
    plans = 180 * num_plans * 4
    assert growth <= 2.2 * plans  # the plans themselves, laid out with time first (and padded to blocks)


def test_the_automatic_block_suits_the_state():
    sizes = [planners.rollouts.automatic_chunk_size(jnp.zeros(size)) for size in (1, 100, 600, 3000, 10**6)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert sizes[0] > sizes[2] > sizes[-1] >= 32
