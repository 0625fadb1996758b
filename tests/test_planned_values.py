"""Values learnt from a planner's own episodes, against the values that are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, learning, planners

DISCOUNT = 0.9


def decaying(key, state, action):
    """The state earns itself, whatever is done: V(x) = x / (1 − 0.8 γ)."""
    return 0.8 * state, state[0], 1.0


def counted_down(key, state, action):
    """Each step earns 1 until the count is over: V(c) = (1 − γ^c) / (1 − γ)."""
    return state - 1.0, 1.0, jnp.where(state[0] <= 1.0, 0.0, 1.0)


def braking(key, state, action):
    """A car that is paid for its speed, before a wall."""
    x, v = state
    v = jnp.clip(v + 0.2 * action[0], 0.0, 4.0)
    return jnp.stack([x + 0.2 * v, v]), 1.0 + v, jnp.where(x > 6.0, 0.0, 1.0)


def made(step, first):
    return dynamics.from_function(step, 1, init=first, action_range=(-1.0, 1.0), dt=0.2)


DECAYING = made(decaying, lambda key: jax.random.uniform(key, (1,), minval=-2.0, maxval=2.0))
COUNTED = made(counted_down, lambda key: jnp.floor(jax.random.uniform(key, (1,), minval=3.0, maxval=11.0)))
PLANNER = planners.cem(2, num_samples=4, num_iterations=1, num_elites=2)
learn = functools.partial(
    learning.learn_value, num_rounds=30, num_envs=8, num_steps=32, discount=DISCOUNT, learning_rate=3e-3
)


def test_a_linear_value_is_that_of_the_chain():
    training = learn(DECAYING, PLANNER, jax.random.key(0), hidden=(), episode_steps=20)
    states = jnp.array([[-1.5], [-0.3], [0.4], [1.0]])
    values = jax.vmap(training.value)(states)
    np.testing.assert_allclose(values, states[:, 0] / (1.0 - 0.8 * DISCOUNT), rtol=0.02, atol=0.02)
    assert training.records[-1].numbers["value_error"] < 0.02


def test_an_end_is_worth_nothing_and_a_time_that_is_up_is():
    training = learn(COUNTED, PLANNER, jax.random.key(0), episode_steps=4)
    counts = jnp.arange(2.0, 10.0)[:, None]
    known = (1.0 - DISCOUNT ** counts[:, 0]) / (1.0 - DISCOUNT)
    # episodes of 4 steps: were their ends by time ends of the environment, no count would be worth more than 3.44
    np.testing.assert_allclose(jax.vmap(training.value)(counts), known, rtol=0.1)


def test_the_discount_of_the_environment_counts_beside_that_of_the_value():
    fading = made(lambda key, state, action: (0.8 * state, state[0], 0.5), DECAYING.init)
    training = learn(fading, PLANNER, jax.random.key(0), hidden=(), episode_steps=20)
    value = float(training.value(jnp.array([1.0])))
    assert value == pytest.approx(1.0 / (1.0 - 0.8 * DISCOUNT * 0.5), rel=0.02)
    # so that a plan is worth the same with any horizon
    worth = planners.rollout(training.beyond(fading), jax.random.key(0), jnp.array([1.0]), jnp.zeros((1, 3, 1)))
    assert float(worth[0]) == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("trace", [0.0, 1.0])
def test_all_traces_lead_to_the_same_value(trace):
    training = learn(DECAYING, PLANNER, jax.random.key(1), hidden=(), episode_steps=20, trace=trace)
    assert float(training.value(jnp.array([1.0]))) == pytest.approx(1.0 / (1.0 - 0.8 * DISCOUNT), rel=0.05)


def test_a_planner_that_crashes_learns_to_brake():
    car, planner = made(braking, lambda key: jnp.zeros(2)), planners.icem(4, num_samples=32)
    play = jax.jit(planners.episode, static_argnames="num_steps")
    alone = play(planner, car, car, jax.random.key(0), num_steps=60)
    training = learning.learn_value(car, planner, jax.random.key(0), num_rounds=8, num_steps=64, episode_steps=60)
    beyond = play(planner, training.beyond(car), car, jax.random.key(0), num_steps=60)
    assert not float(alone.discounts[-1])
    assert float(beyond.discounts[-1])
    assert float(beyond.rewards.sum()) > float(alone.rewards.sum())
    records = training.records
    assert [record.number for record in records] == list(range(8))
    assert records[0].num_ended
    assert not records[-1].num_ended
    assert records[0].num_steps == 4 * 64
    assert np.isfinite(training.returns).all()


def test_a_value_brings_its_discount_along():
    """Plans of H steps and γ^H V are worth the same, whatever H is."""
    value = learn(DECAYING, PLANNER, jax.random.key(0), hidden=(), episode_steps=20).value
    imagined = learning.beyond(DECAYING, value)
    state = jnp.array([1.0])
    for horizon in (1, 5):
        plans = jnp.zeros((1, horizon, 1))
        returns = jax.jit(planners.rollouts.rollout)(imagined, jax.random.key(0), state, plans)
        assert float(returns[0]) == pytest.approx(1.0 / (1.0 - 0.8 * DISCOUNT), rel=0.02)
    with pytest.raises(ValueError, match=r"value must have a discount.* got"):
        learning.beyond(DECAYING, jnp.sum)


def test_the_same_key_gives_the_same_value_and_time_ends_it():
    few = functools.partial(learn, num_rounds=2, num_steps=8)
    values = [few(DECAYING, PLANNER, jax.random.key(3)).value(jnp.array([0.7])) for _ in range(2)]
    assert values[0] == values[1]
    seen = []
    training = few(DECAYING, PLANNER, jax.random.key(3), max_seconds=0.0, progress=seen.append)
    assert seen == list(training.records)
    assert len(seen) == 1


def test_what_is_observed_may_be_chosen():
    training = learn(
        DECAYING, PLANNER, jax.random.key(0), hidden=(), num_rounds=2, num_steps=8, observe=lambda s: jnp.tile(s, 3)
    )
    assert training.value.params.mean.shape == (3,)
    assert np.isfinite(float(training.value(jnp.array([0.5]))))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"discount": 1.0}, "discount must be below 1"),
        ({"trace": 1.5}, "trace must"),
        ({"num_rounds": 0}, "num_rounds must"),
        ({"num_envs": 0}, "num_envs must"),
        ({"replay_size": 255}, "replay_size must be"),
        ({"max_seconds": -1.0}, "max_seconds must"),
        ({"hidden": 64}, "hidden must"),
        ({"observe": lambda s: jnp.zeros((2, 2))}, r"observe must make a vector"),
        ({"learning_rate": 0.0}, "learning_rate must"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(ValueError, match=message):
        learn(DECAYING, PLANNER, jax.random.key(0), **given)


def test_rewards_that_are_not_finite_are_told():
    broken = made(lambda key, state, action: (state, jnp.nan, 1.0), lambda key: jnp.zeros(1))
    with pytest.raises(ValueError, match="env must give finite rewards"):
        learn(broken, PLANNER, jax.random.key(0), num_steps=4)


def test_a_planner_over_devices_is_refused():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("plans",))
    spread = planners.cem(2, num_samples=4, sharding=jax.NamedSharding(mesh, jax.P("plans")))
    with pytest.raises(ValueError, match="planner must not be spread over devices"):
        learn(DECAYING, spread, jax.random.key(0))


@dynamics.pytree
class Nameless:
    """A planner of one's own, without a name."""

    planner: object

    def init(self, model, state):
        return self.planner.init(model, state)

    def improve(self, model, key, state, belief):
        return self.planner.improve(model, key, state, belief)

    def act(self, key, belief):
        return self.planner.act(key, belief)

    def shift(self, belief):
        return self.planner.shift(belief)


def test_a_planner_needs_no_name():
    training = learn(DECAYING, Nameless(PLANNER), jax.random.key(0), num_rounds=1, num_steps=4)
    assert len(training.records) == 1


def test_no_key_is_used_twice():
    with jax.debug_key_reuse(True):
        learn(DECAYING, PLANNER, jax.random.key(5), num_rounds=1, num_envs=2, num_steps=3)


def test_none_of_a_planner_is_told():
    with pytest.raises(ValueError, match=r"planner must be a planner, got function \(call it"):
        learn(DECAYING, planners.cem, jax.random.key(0))
