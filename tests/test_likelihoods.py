"""Weights: shift and permutation, ties, invalid and equal returns, scales, adapted temperatures."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import planners
from mirrax.planners.diagnostics import effective_sample_size, log_normalize

LIKELIHOODS = {
    "best": planners.Best(),
    "elite": planners.elite(0.3),
    "raw": planners.exponential(0.7),
    "standardized": planners.exponential(0.7, standardize=True),
    "adapted": planners.exponential(target_ess=0.4),
}
weigh = jax.jit(lambda likelihood, returns: jnp.exp(log_normalize(likelihood(returns).log_weights).log_weights))
returns_strategy = st.lists(st.integers(-1000, 1000), min_size=6, max_size=6, unique=True).map(
    lambda values: jnp.asarray(values, float) / 100
)
properties = hypothesis.settings(deadline=None, max_examples=25, derandomize=True)


@pytest.mark.parametrize("name", LIKELIHOODS)
@hypothesis.given(returns=returns_strategy, shift=st.integers(-1000, 1000))
@properties
def test_weights_do_not_know_the_zero_of_returns(name, returns, shift):
    likelihood = LIKELIHOODS[name]
    np.testing.assert_allclose(weigh(likelihood, returns + shift / 10), weigh(likelihood, returns), atol=2e-3)


@pytest.mark.parametrize("name", LIKELIHOODS)
@hypothesis.given(returns=returns_strategy, order=st.permutations(range(6)))
@properties
def test_weights_follow_a_permutation(name, returns, order):
    order = jnp.array(order)
    likelihood = LIKELIHOODS[name]
    np.testing.assert_allclose(weigh(likelihood, returns[order]), weigh(likelihood, returns)[order], atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
@hypothesis.given(returns=returns_strategy)
@properties
def test_better_plans_weigh_no_less_and_weights_sum_to_one(name, returns):
    weights = weigh(LIKELIHOODS[name], returns)
    assert (jnp.diff(weights[jnp.argsort(returns)]) >= -1e-6).all()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_invalid_returns_weigh_nothing(name):
    returns = jnp.array([1.0, -jnp.inf, 3.0, 2.0, -jnp.inf, 2.5])
    weights = weigh(LIKELIHOODS[name], returns)
    assert (weights[jnp.array([1, 4])] == 0).all()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    nothing = LIKELIHOODS[name](jnp.full(4, -jnp.inf))
    assert log_normalize(nothing.log_weights).degenerate
    np.testing.assert_allclose(jnp.exp(log_normalize(nothing.log_weights).log_weights), 0.25)


@pytest.mark.parametrize("name", ["standardized", "adapted"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, 1e12])
def test_relative_temperatures_do_not_know_the_unit_of_returns(name, scale):
    returns = jnp.array([0.0, 1.0, 4.0, 2.0, 3.0])
    np.testing.assert_allclose(
        weigh(LIKELIHOODS[name], scale * returns), weigh(LIKELIHOODS[name], returns), rtol=1e-4
    )


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("returns", [[2.0] * 6, [1e30] * 6, [-1e30, 1e30, 0.0, 1.0, 2.0, 3.0], [0.0] * 5 + [1e-30]])
def test_extreme_returns_give_finite_weights(name, returns):
    weights = weigh(LIKELIHOODS[name], jnp.array(returns))
    assert jnp.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["raw", "adapted"])
@pytest.mark.parametrize("terrible", [-1e6, -1e12, -1e30])
def test_one_terrible_return_does_not_change_the_other_weights(name, terrible):
    returns = jnp.arange(20.0) / 4
    likelihood = LIKELIHOODS[name] if name == "raw" else planners.exponential(target_ess=0.2)
    alone = likelihood(returns)
    spoilt = likelihood(jnp.append(returns, terrible))
    if name == "raw":
        assert spoilt.temperature == alone.temperature
    weights = weigh(likelihood, jnp.append(returns, terrible))
    assert weights[-1] == 0
    expected = 0.2 * 21 if name == "adapted" else effective_sample_size(weigh(likelihood, returns))
    np.testing.assert_allclose(effective_sample_size(weights), expected, rtol=1e-3)


def test_the_target_counts_the_plans_that_are_valid_and_never_fewer_than_two():
    returns = jnp.append(10.0 * jnp.arange(5.0), jnp.full(95, -jnp.inf))
    weights = weigh(planners.exponential(target_ess=0.5), returns)
    np.testing.assert_allclose(effective_sample_size(weights), 2.5, rtol=1e-3)
    few = weigh(planners.exponential(), jnp.arange(8.0))
    np.testing.assert_allclose(effective_sample_size(few), 2.0, rtol=1e-3)


@pytest.mark.parametrize("temperature", [1e-30, 1e30])
def test_extreme_temperatures(temperature):
    returns = jnp.array([0.0, 1.0, 4.0, 4.0])
    expected = [0, 0, 0.5, 0.5] if temperature < 1 else [0.25] * 4
    np.testing.assert_allclose(weigh(planners.exponential(temperature), returns), expected, atol=1e-6)


def test_elites_are_counted_whatever_the_ties():
    returns = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0])
    weights = weigh(planners.elite(0.3), returns)
    np.testing.assert_allclose(np.sort(weights), [0] * 7 + [1 / 3] * 3, atol=1e-6)
    assert weights[6] > 0
    np.testing.assert_allclose(weigh(planners.elite(1.0), returns), 0.1, rtol=1e-6)
    np.testing.assert_allclose(np.sort(weigh(planners.elite(1e-6), returns))[-2:], 0.5)  # never fewer than two


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9])
def test_the_temperature_reaches_its_target(fraction):
    returns = 3.0 * jax.random.normal(jax.random.key(0), (200,))
    weights = weigh(planners.exponential(target_ess=fraction), returns)
    np.testing.assert_allclose(effective_sample_size(weights), fraction * 200, rtol=1e-3)


def test_great_returns_keep_their_digits():
    """(R − max)/λ, not R/λ − max/λ: at 10⁶ float32 would be off by 3·10⁻³."""
    returns = 1e6 + jnp.arange(5.0)
    exact = np.exp(np.arange(-4.0, 1.0) / 0.3)
    np.testing.assert_allclose(weigh(planners.exponential(0.3), returns), exact / exact.sum(), atol=1e-5)


def test_log_weights_and_scale_are_the_log_likelihood():
    returns = jnp.array([1.0, 5.0, 3.0])
    optimality = planners.exponential(2.0)(returns)
    np.testing.assert_allclose(optimality.log_weights + optimality.log_scale, returns / 2.0, rtol=1e-6)


def test_the_gradient_of_degenerate_weights_is_finite():
    gradient = jax.grad(lambda x: log_normalize(x).log_weights[0])(jnp.full(7, -jnp.inf))
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planners.elite(0.0), r"elite_fraction must be finite and > 0 and <= 1, got 0.0"),
        (lambda: planners.elite(1.5), "elite_fraction must be finite and > 0 and <= 1, got 1.5"),
        (lambda: planners.exponential(-1.0), "temperature must be finite and > 0, got -1.0"),
        (lambda: planners.exponential(float("nan")), "temperature must be finite and > 0, got nan"),
        (lambda: planners.exponential("hot"), "temperature must be a number"),
        (lambda: planners.exponential([1.0, 2.0]), r"temperature must have shape \(\), got \(2,\)"),
        (lambda: planners.exponential(1.0, target_ess=0.5), "give one of them"),
        (lambda: planners.exponential(target_ess=2.0), "target_ess must be finite and > 0 and <= 1, got 2.0"),
        (lambda: planners.exponential(standardize=True), "standardize needs a temperature"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
