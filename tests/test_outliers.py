"""A few terrible plans do not decide how good ones are told apart: obstacles, falls, hard constraints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, planners

KEY = jax.random.key(0)

SCALED = {
    "standardize": planners.likelihoods.exponential(0.1, standardize=True),
    "by_range": planners.likelihoods.exponential(0.1, by_range=True),
    "target_ess": planners.likelihoods.exponential(target_ess=0.1),
    "elite": planners.likelihoods.elite(0.1),
    "q_exponential": planners.likelihoods.q_exponential(2.0, elite_fraction=0.1),
}


def weights(likelihood, returns):
    log_weights = likelihood(returns).log_weights
    return jax.nn.softmax(log_weights)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("num_samples", [16, 64, 1000])
def test_how_bad_the_worst_are_changes_nothing(name, num_samples):
    returns = 3.0 * jax.random.normal(KEY, (num_samples,)) + 7.0
    order = jnp.argsort(returns)
    worst = order[: num_samples // 5]
    before = weights(SCALED[name], returns)
    for loss in (1e2, 1e6, 1e30, jnp.inf):
        after = weights(SCALED[name], returns.at[worst].set(-loss))
        left = np.delete(np.asarray(after), worst)
        others = np.delete(np.asarray(before), worst)
        # what the worst themselves weighed goes to the others; plans that do not count leave fewer to take a tenth of
        np.testing.assert_allclose(left, others, atol=0.1 if loss == jnp.inf else 1e-3)


@pytest.mark.parametrize("name", SCALED)
def test_weights_do_not_know_the_unit_of_returns(name):
    returns = jax.random.normal(KEY, (200,))
    for scale, shift in ((1e-3, 0.0), (50.0, -1e3), (1e6, 3.0)):
        np.testing.assert_allclose(
            weights(SCALED[name], scale * returns + shift), weights(SCALED[name], returns), atol=2e-3
        )


@pytest.mark.parametrize("option", ["standardize", "by_range"])
def test_the_scale_is_that_of_normal_returns(option):
    """What the better half tells is the standard deviation, and the range, of returns that are normal."""
    found = []
    for seed in range(20):
        returns = 5.0 * jax.random.normal(jax.random.key(seed), (512,))
        scale = planners.likelihoods.exponential(1.0, **{option: True})(returns).temperature
        found.append(scale / (returns.std() if option == "standardize" else returns.max() - returns.min()))
    np.testing.assert_allclose(np.mean(found), 1.0, atol=0.12)


@pytest.mark.parametrize("option", ["standardize", "by_range"])
@pytest.mark.parametrize(
    "returns",
    [
        jnp.zeros(32).at[3].set(1.0),  # one plan has found something
        jnp.zeros(32).at[:20].set(5.0),  # most have
        jnp.ones(32),
        jnp.full(32, -jnp.inf).at[5].set(2.0),
        jnp.full(32, jnp.nan),
        jnp.array([1.0, 2.0]),
        jnp.linspace(0.0, 3e38, 32),
        jnp.linspace(0.0, 1e-38, 32),
    ],
)
def test_there_is_a_scale_whatever_ties(option, returns):
    optimality = planners.likelihoods.exponential(0.1, **{option: True})(returns)
    assert jnp.isfinite(optimality.temperature)
    assert optimality.temperature > 0.0
    assert not jnp.isnan(optimality.log_weights).any()
    if jnp.isfinite(returns).any():
        found = weights(planners.likelihoods.exponential(0.1, **{option: True}), returns)
        assert found[jnp.nanargmax(returns)] >= 1 / 32


@pytest.mark.parametrize("option", ["standardize", "by_range"])
@pytest.mark.parametrize("height", [1.0, 1e4])
def test_a_plateau_is_flat_but_for_rounding(option, height):
    """Ties that rounding breaks are ties: or a few plans that it has chosen would have all the weight."""
    returns = jnp.full(256, height).at[128:].set(height - jnp.linspace(0.1, 3.0, 128))
    noisy = returns * (1.0 + jnp.finfo(float).eps * jax.random.randint(KEY, (256,), -2, 3) * (returns == height))
    likelihood = planners.likelihoods.exponential(0.1, **{option: True})
    np.testing.assert_allclose(likelihood(noisy).temperature, likelihood(returns).temperature, rtol=1e-2)


@pytest.mark.parametrize("option", ["standardize", "by_range"])
def test_scales_of_ties_have_derivatives(option):
    def weigh(scale):
        returns = -scale * jnp.maximum(jnp.abs(jnp.linspace(-2.0, 2.0, 64)) - 1.5, 0.0)
        return planners.likelihoods.exponential(0.1, **{option: True})(returns).log_weights.sum()

    assert jnp.isfinite(jax.grad(weigh)(2.0))


def cliff(penalty, key, state, action):
    reward = -jnp.sum((action - 0.5) ** 2) - jnp.where(action[1] > 0.9, penalty, 0.0)
    return state, reward, 1.0


PLANNERS = {
    "vi_mpc": planners.vi_mpc(1, num_samples=256),
    "pi2": planners.pi2(1, num_samples=256),
    "dial": planners.dial(1, num_samples=256),
    "mppi, standardize": planners.mppi(1, num_samples=256, temperature=0.1, standardize=True),
    "mppi": planners.mppi(1, num_samples=256),
    "cem": planners.cem(1, num_samples=256),
    "tsallis": planners.tsallis(1, num_samples=256),
    "vi_mpc, max_kl": planners.vi_mpc(1, num_samples=256, max_kl=1.0),
}


@jax.jit
def six(planner, penalty, key):
    model = dynamics.from_function(jax.tree_util.Partial(cliff, penalty), 2)
    belief = planner.init(model, jnp.zeros(()))

    def once(belief, key):
        return planners.infer(planner, model, key, jnp.zeros(()), belief)[0], None

    return jax.lax.scan(once, belief, jax.random.split(key, 6))[0].mode()


@pytest.mark.parametrize("name", PLANNERS)
def test_the_best_is_found_beside_a_cliff_of_any_height(name):
    """Reward −|a − 0.5|², but −P where a₁ > 0.9: the answer is near (0.5, 0.5) for any P."""
    found = [six(PLANNERS[name], penalty, KEY)[0] for penalty in (0.0, 1e2, 1e3, 1e6)]
    np.testing.assert_allclose(found, 0.5, atol=0.12)


def bumper(penalty, key, state, action):
    """The point mass, which pays for every step in the obstacle instead of ending there."""
    inner = dynamics.point_mass(obstacles=())
    state, reward, discount = inner.step(key, state, action)
    inside = jnp.linalg.norm(state[:2] - jnp.array([1.5, 0.0])) < 0.5
    return state, reward - jnp.where(inside, penalty, 0.0), discount


@pytest.mark.parametrize("name", ["vi_mpc", "mppi", "dial", "pi2"])
def test_the_way_round_an_obstacle_of_any_cost(name):
    planner = getattr(planners, name)(30, num_samples=128)

    @jax.jit
    def distance(penalty, key):
        model = dynamics.from_function(
            jax.tree_util.Partial(bumper, penalty), 2, init=dynamics.point_mass().init, bounded=True
        )
        episode = planners.episode(planner, model, model, key, 60)
        return jnp.linalg.norm(episode.final_state[:2] - jnp.array([3.0, 0.0]))

    assert max(float(distance(penalty, KEY)) for penalty in (1e2, 1e3, 1e4, 1e6)) < 0.25
