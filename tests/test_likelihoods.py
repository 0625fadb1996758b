"""Weights: shift and permutation, ties, invalid and equal returns, scales, adapted temperatures."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import planners
from mirrax.planners.sampling.weights import effective_sample_size, log_normalize

LIKELIHOODS = {
    "best": planners.likelihoods.Best(),
    "elite": planners.likelihoods.elite(0.3),
    "raw": planners.likelihoods.exponential(0.7),
    "standardized": planners.likelihoods.exponential(0.7, standardize=True),
    "adapted": planners.likelihoods.exponential(target_ess=0.4),
    "by range": planners.likelihoods.exponential(0.2, by_range=True),
    "tsallis": planners.likelihoods.q_exponential(1.7, elite_fraction=0.5),
    "tsallis, temperature": planners.likelihoods.q_exponential(1.7, temperature=0.7),
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
    likelihood = LIKELIHOODS[name] if name == "raw" else planners.likelihoods.exponential(target_ess=0.2)
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
    weights = weigh(planners.likelihoods.exponential(target_ess=0.5), returns)
    np.testing.assert_allclose(effective_sample_size(weights), 2.5, rtol=1e-3)
    few = weigh(planners.likelihoods.exponential(), jnp.arange(8.0))
    np.testing.assert_allclose(effective_sample_size(few), 2.0, rtol=1e-3)


@pytest.mark.parametrize("temperature", [1e-30, 1e30])
def test_extreme_temperatures(temperature):
    returns = jnp.array([0.0, 1.0, 4.0, 4.0])
    expected = [0, 0, 0.5, 0.5] if temperature < 1 else [0.25] * 4
    np.testing.assert_allclose(weigh(planners.likelihoods.exponential(temperature), returns), expected, atol=1e-6)


def test_elites_are_counted_whatever_the_ties():
    returns = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0])
    weights = weigh(planners.likelihoods.elite(0.3), returns)
    np.testing.assert_allclose(np.sort(weights), [0] * 7 + [1 / 3] * 3, atol=1e-6)
    assert weights[6] > 0
    np.testing.assert_allclose(weigh(planners.likelihoods.elite(1.0), returns), 0.1, rtol=1e-6)
    np.testing.assert_allclose(
        np.sort(weigh(planners.likelihoods.elite(1e-6), returns))[-2:], 0.5
    )  # never fewer than two


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9])
def test_the_temperature_reaches_its_target(fraction):
    returns = 3.0 * jax.random.normal(jax.random.key(0), (200,))
    weights = weigh(planners.likelihoods.exponential(target_ess=fraction), returns)
    np.testing.assert_allclose(effective_sample_size(weights), fraction * 200, rtol=1e-3)


def test_great_returns_keep_their_digits():
    """(R − max)/λ, not R/λ − max/λ: at 10⁶ float32 would be off by 3·10⁻³."""
    returns = 1e6 + jnp.arange(5.0)
    exact = np.exp(np.arange(-4.0, 1.0) / 0.3)
    np.testing.assert_allclose(weigh(planners.likelihoods.exponential(0.3), returns), exact / exact.sum(), atol=1e-5)


def test_log_weights_and_scale_are_the_log_likelihood():
    returns = jnp.array([1.0, 5.0, 3.0])
    optimality = planners.likelihoods.exponential(2.0)(returns)
    np.testing.assert_allclose(optimality.log_weights + optimality.log_scale, returns / 2.0, rtol=1e-6)


def test_the_gradient_of_degenerate_weights_is_finite():
    gradient = jax.grad(lambda x: log_normalize(x).log_weights[0])(jnp.full(7, -jnp.inf))
    assert jnp.isfinite(gradient).all()


def test_the_q_exponential_is_the_exponential_at_one():
    returns = 3.0 * jax.random.normal(jax.random.key(0), (200,))
    for r, tolerance in ((1.0, 1e-6), (1.0 + 1e-6, 1e-6), (1.001, 2e-3)):
        tsallis, mppi = (
            planners.likelihoods.q_exponential(r, temperature=0.7)(returns),
            planners.likelihoods.exponential(0.7)(returns),
        )
        np.testing.assert_allclose(
            weigh(planners.likelihoods.q_exponential(r, temperature=0.7), returns),
            weigh(planners.likelihoods.exponential(0.7), returns),
            atol=tolerance,
        )
        np.testing.assert_allclose(tsallis.log_scale, mppi.log_scale, rtol=1e-6)
        assert tsallis.temperature == mppi.temperature


@pytest.mark.parametrize("fraction", [1e-3, 0.1, 0.37, 1.0])
def test_the_q_exponential_is_the_elite_indicator_at_infinity(fraction):
    returns = 3.0 * jax.random.normal(jax.random.key(0), (200,))
    elite = weigh(planners.likelihoods.elite(fraction), returns)
    np.testing.assert_array_equal(
        weigh(planners.likelihoods.q_exponential(float("inf"), elite_fraction=fraction), returns), elite
    )
    far = weigh(planners.likelihoods.q_exponential(1e9, elite_fraction=fraction), returns)
    np.testing.assert_allclose(far, elite, atol=1e-6)


@pytest.mark.parametrize("r", [1.5, 2.0, 3.0])
def test_the_q_exponential_in_between(r):
    """W = (1 + (r − 1) x)₊^(1/(r−1)) at x = −(R_max − R)/λ, whether its scale is a temperature or a fraction."""
    returns = jnp.array([4.0, 3.9, 3.5, 2.0, 0.0, -5.0])
    regret = 4.0 - np.asarray(returns, float)

    def exact(scale):
        weights = np.maximum(1 - (r - 1) * regret / scale, 0) ** (1 / (r - 1))
        return weights / weights.sum()

    np.testing.assert_allclose(
        weigh(planners.likelihoods.q_exponential(r, temperature=1.3), returns), exact(1.3), atol=1e-6
    )
    fraction = planners.likelihoods.q_exponential(
        r, elite_fraction=0.5
    )  # three of six have weight: γ is the fourth's regret
    np.testing.assert_allclose(weigh(fraction, returns), exact(2.0 * (r - 1)), atol=1e-6)


@pytest.mark.parametrize("r", [1.0, 1.5, float("inf")])
def test_the_q_exponential_of_ties(r):
    returns = jnp.array([2.0, 2.0, 2.0, 2.0, 1.0, -jnp.inf])
    weights = weigh(planners.likelihoods.q_exponential(r, elite_fraction=0.3), returns)
    np.testing.assert_allclose(weights, [0.25, 0.25, 0.25, 0.25, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(
        weigh(planners.likelihoods.q_exponential(r, elite_fraction=0.3), jnp.ones(5)), 0.2, rtol=1e-6
    )


def test_weights_by_range_are_path_integrals():
    returns = jnp.array([1.0, 5.0, 3.0, -jnp.inf])
    exact = np.exp([-10.0, 0.0, -5.0])
    np.testing.assert_allclose(
        weigh(planners.likelihoods.exponential(0.1, by_range=True), returns)[:3], exact / exact.sum(), rtol=1e-5
    )


@pytest.mark.parametrize(("samples", "best"), [(1024, 105), (512, 60), (20, 3), (16, 2), (10, 9)])
def test_the_temperature_where_many_are_best(samples, best):
    """They reach the target by themselves: all others weigh nothing, and nothing is lost to 0/0."""
    returns = jnp.zeros(samples).at[:best].set(100.0)
    optimality = planners.likelihoods.exponential(target_ess=0.1)(returns)
    assert jnp.isfinite(optimality.temperature)
    assert optimality.temperature > 0
    assert jnp.isfinite(optimality.log_scale)
    np.testing.assert_allclose(
        weigh(planners.likelihoods.exponential(target_ess=0.1), returns)[:best], 1 / best, rtol=1e-5
    )


# Step sizes ----------


RATIOS = 12.0 * jax.random.normal(jax.random.key(1), (300,))


def tempered(size):
    return jnp.exp(log_normalize(size * RATIOS).log_weights)


@pytest.mark.parametrize("target", [0.01, 0.2, 0.7])
def test_a_step_keeps_its_effective_sample_size(target):
    size = planners.step_sizes.step_size(target_ess=target)(RATIOS)
    np.testing.assert_allclose(effective_sample_size(tempered(size)), max(target * 300, 2.0), rtol=1e-3)
    assert 0 < size < 1


@pytest.mark.parametrize("bound", [0.05, 0.5, 2.0])
def test_a_step_stays_in_its_trust_region(bound):
    weights = np.asarray(tempered(planners.step_sizes.step_size(max_kl=bound)(RATIOS)), float)
    np.testing.assert_allclose((weights * np.log(300 * weights)).sum(), bound, rtol=1e-3)


@pytest.mark.parametrize(
    "step",
    [planners.step_sizes.step_size(target_ess=0.3), planners.step_sizes.step_size(max_kl=0.3)],
    ids=["ess", "kl"],
)
def test_a_step_counts_what_plans_weigh_before(step):
    """Of plans that were drawn elsewhere: effective sample size and divergence are those of the step alone."""
    spread = 2.0 * jax.random.normal(jax.random.key(2), (300,))
    log_base = spread.at[:30].add(-40.0).at[30:60].set(-jnp.inf)  # some weigh next to nothing, and some nothing
    ratios = RATIOS.at[:30].add(40.0)  # the former gain much
    size = float(step(ratios, log_base))
    assert 0 < size < 1
    base = np.exp(np.asarray(log_base, float))
    base /= base.sum()
    factors = np.exp(size * (np.asarray(ratios, float) - float(ratios[60:].max())))
    if isinstance(step, planners.step_sizes.EssStep):
        found = 270 * (base * factors).sum() ** 2 / (base * factors**2).sum()  # of those that can have weight
        np.testing.assert_allclose(found, 0.3 * 270, rtol=1e-2)
    else:
        weights = base * factors / (base * factors).sum()
        found = (weights * np.log(weights / np.where(base > 0, base, 1.0), where=base > 0, out=np.zeros(300))).sum()
        np.testing.assert_allclose(found, 0.3, rtol=1e-2)
    alone = step(RATIOS, jnp.full(300, -7.0))
    np.testing.assert_allclose(alone, step(RATIOS), rtol=1e-5)  # equal weights before are as good as none
    assert step(jnp.zeros(300), log_base) == 1.0  # what the weights before cost, no step can give back


def test_steps_at_their_ends():
    """Whole where nothing forbids it; tiny, not zero, where returns are of any size; without NaN where all fail."""
    for step in (
        planners.step_sizes.step_size(target_ess=0.5),
        planners.step_sizes.step_size(max_kl=0.1),
        planners.step_sizes.step_size(0.3),
    ):
        fixed = isinstance(step, planners.step_sizes.FixedStep)
        np.testing.assert_allclose(step(jnp.zeros(10)), 0.3 if fixed else 1.0)
        np.testing.assert_allclose(step(jnp.full(10, -jnp.inf)), 0.3 if fixed else 1.0)
        np.testing.assert_allclose(step(jnp.full(10, -jnp.inf).at[3].set(2.0)), 0.3 if fixed else 1.0)
        huge = step(jnp.linspace(-1e20, 1e20, 10).at[0].set(-jnp.inf))
        assert fixed or 0 < huge < 1e-18
    gradient = jax.grad(lambda x: planners.step_sizes.step_size(target_ess=0.5)(x * RATIOS) * x)(1.0)
    assert jnp.isfinite(gradient)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planners.likelihoods.elite(0.0), r"elite_fraction must be finite and > 0 and <= 1, got 0.0"),
        (lambda: planners.likelihoods.elite(1.5), "elite_fraction must be finite and > 0 and <= 1, got 1.5"),
        (lambda: planners.likelihoods.exponential(-1.0), "temperature must be finite and > 0, got -1.0"),
        (lambda: planners.likelihoods.exponential(float("nan")), "temperature must be finite and > 0, got nan"),
        (lambda: planners.likelihoods.exponential("hot"), "temperature must be a number"),
        (lambda: planners.likelihoods.exponential([1.0, 2.0]), r"temperature must have shape \(\), got \(2,\)"),
        (lambda: planners.likelihoods.exponential(1.0, target_ess=0.5), "give one of them"),
        (
            lambda: planners.likelihoods.exponential(target_ess=2.0),
            "target_ess must be finite and > 0 and <= 1, got 2.0",
        ),
        (lambda: planners.likelihoods.exponential(standardize=True), "standardize needs a temperature"),
        (lambda: planners.likelihoods.exponential(by_range=True), "by_range needs a temperature"),
        (lambda: planners.likelihoods.exponential(1.0, standardize=True, by_range=True), "both divide the returns"),
        (lambda: planners.likelihoods.q_exponential(0.9), "r must be finite and >= 1, got 0.9"),
        (lambda: planners.likelihoods.q_exponential(2.0, elite_fraction=0.1, temperature=1.0), "both set the scale"),
        (lambda: planners.step_sizes.step_size(0.0), "step_size must be finite and > 0 and <= 1, got 0.0"),
        (lambda: planners.step_sizes.step_size(0.5, max_kl=0.1), "step_size and max_kl choose the step size"),
        (lambda: planners.step_sizes.step_size(max_kl=-1.0), "max_kl must be finite and > 0, got -1.0"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
