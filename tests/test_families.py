"""The Gaussian family against scipy and its own definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mirrax import planners

MEAN = jnp.array([[0.1, -0.4], [0.7, 0.2], [0.0, 1.0]])
STD = jnp.array([[0.3, 0.4], [0.5, 0.2], [0.9, 0.6]])


@pytest.fixture
def belief():
    return planners.gaussian(3, 2, mean=MEAN, std=STD, std_min=1e-3)


def test_densities_are_scipys(belief):
    plans = belief.sample(jax.random.key(0), 5)
    reference = multivariate_normal(np.asarray(MEAN).ravel(), np.asarray(belief.covariance()))
    np.testing.assert_allclose(belief.log_prob(plans), reference.logpdf(np.asarray(plans).reshape(5, -1)), rtol=1e-4)
    np.testing.assert_allclose(belief.entropy(), reference.entropy(), rtol=1e-5)


def test_samples_have_its_moments(belief):
    plans = belief.sample(jax.random.key(1), 40_000)
    np.testing.assert_allclose(plans.mean(0), MEAN, atol=4.5 * 0.9 / 200)
    np.testing.assert_allclose(plans.std(0), STD, atol=4.5 * 0.9 / 280)


def test_kl_is_the_mean_log_ratio(belief):
    other = planners.gaussian(3, 2, mean=0.2, std=0.7)
    plans = belief.sample(jax.random.key(2), 40_000)
    ratio = belief.log_prob(plans) - other.log_prob(plans)
    assert abs(float(belief.kl(other) - ratio.mean())) < 4.5 * float(ratio.std()) / 200
    assert belief.kl(belief) == 0.0


def test_fit_is_weighted_maximum_likelihood(belief):
    plans = jax.random.normal(jax.random.key(3), (8, 3, 2))
    weights = jax.nn.softmax(jnp.arange(8.0) / 3)
    fitted = belief.fit(plans, weights)

    def log_likelihood(mean, log_std):
        candidate = planners.gaussian(3, 2, mean=mean, std=jnp.exp(log_std))
        return weights @ candidate.log_prob(plans)

    slopes = jax.grad(log_likelihood, argnums=(0, 1))(fitted.mean, jnp.log(fitted.std))
    for slope in slopes:
        np.testing.assert_allclose(slope, 0.0, atol=1e-5)


def test_fixed_std_floor_and_smoothing():
    plans = jnp.stack([jnp.zeros((2, 1)), jnp.ones((2, 1))])
    weights = jnp.array([0.5, 0.5])
    fixed = planners.gaussian(2, 1, std=0.3, learn_std=False).fit(plans, weights)
    np.testing.assert_allclose(fixed.mean, 0.5)
    np.testing.assert_allclose(fixed.std, 0.3)
    smooth = planners.gaussian(2, 1, mean=0.1, std=0.3, smoothing=0.25).fit(plans, weights)
    np.testing.assert_allclose(smooth.mean, 0.75 * 0.5 + 0.25 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(smooth.std, 0.75 * 0.5 + 0.25 * 0.3, rtol=1e-6)
    floor = planners.gaussian(2, 1, std_min=0.2).fit(plans, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(floor.std, 0.2)


def test_shift_moves_the_mean_and_restores_the_rest(belief):
    initial = planners.gaussian(3, 2, std=0.5)
    shifted = belief.shift(initial, planners.shift_by_one(3))
    np.testing.assert_allclose(shifted.mean, MEAN[jnp.array([1, 2, 2])])
    np.testing.assert_allclose(shifted.std, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
        ({"horizon": True}, "horizon must be an integer of at least 1, got True"),
        ({"std": 0.0}, "std must be finite and > 0, got 0.0"),
        ({"std": [1.0, 1.0, 1.0]}, r"std must have shape \(3, 2\), got \(3,\)"),
        ({"mean": float("inf")}, "mean must be finite, got inf"),
        ({"smoothing": 1.0}, "smoothing must be finite and >= 0 and < 1, got 1.0"),
        ({"std_min": -0.1}, "std_min must be finite and > 0, got -0.1"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        planners.gaussian(**({"horizon": 3, "action_size": 2} | arguments))
