"""The fixed points and one-step laws that theory gives CEM and MPPI, in units of their standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound, random_linear_quadratic
from scipy.stats import norm

from mirrax import dynamics, planners

HORIZON, TEMPERATURE, STD = 4, 1.5, 0.55
NUM_SAMPLES, REPEATS = 5_000, 40  # the bias of a self-normalised estimate, ~1/ESS, is below its error

infer = jax.jit(planners.infer)


@pytest.fixture(scope="module")
def problem():
    model = random_linear_quadratic(n=2, m=1)
    hessian, gradient, _ = model.plan_cost(model.start, HORIZON)
    return model, np.asarray(hessian, float), np.asarray(gradient, float)


def start_at(planner, model, mean):
    initial = planner.init(model, model.start)
    return initial.map_centers(lambda _: jnp.reshape(jnp.asarray(mean, float), (HORIZON, 1)))


def estimates(planner, model, belief, seed):
    """Means and infos of one inference from `belief`, over independent seeds, and the standard error of the mean."""
    keys = jax.random.split(jax.random.key(seed), REPEATS)
    run = jax.jit(jax.vmap(planners.infer, in_axes=(None, None, 0, None, None)))
    after, info = run(planner, model, keys, model.start, belief)
    means = np.asarray(after.mean, float).reshape(REPEATS, -1)
    return means.mean(0), means.std(0, ddof=1) / np.sqrt(REPEATS), info


@pytest.mark.parametrize("seed", range(3))
def test_mppi_contracts_by_its_matrix(problem, seed):
    """Without a cross term U⁺ − a* = (I + ΣH/λ)⁻¹ (U − a*)."""
    model, hessian, gradient = problem
    best = -np.linalg.solve(hessian, gradient)
    planner = planners.mppi(HORIZON, num_samples=NUM_SAMPLES, temperature=TEMPERATURE, std=STD)
    before = np.random.default_rng(seed).normal(size=HORIZON)
    mean, errors, _ = estimates(planner, model, start_at(planner, model, before), seed)
    truth = best + np.linalg.solve(np.eye(HORIZON) + STD**2 * hessian / TEMPERATURE, before - best)
    assert np.abs((mean - truth) / errors).max() < 4.5
    assert errors.max() < 0.05 * np.abs(truth - before).max()  # the test can tell


@pytest.mark.parametrize("cross_term", [1.0, 0.7, 0.2])
def test_mppi_cross_term_fixed_point(problem, cross_term):
    """With it the fixed point minimises J + λ (1 − α)/2 UᵀΣ⁻¹U; with α = 0 one step reaches it from anywhere."""
    model, hessian, gradient = problem
    fixed = -np.linalg.solve(hessian + TEMPERATURE * cross_term * np.eye(HORIZON) / STD**2, gradient)
    planner = planners.mppi(HORIZON, num_samples=NUM_SAMPLES, temperature=TEMPERATURE, std=STD, cross_term=cross_term)
    starts = [fixed] if cross_term < 1 else [fixed, fixed + 0.5]
    for start in starts:
        mean, errors, _ = estimates(planner, model, start_at(planner, model, start), 1)
        assert np.abs((mean - fixed) / errors).max() < 4.5
        assert errors.max() < 0.02


def test_mppi_cross_term_converges_from_afar(problem):
    model, hessian, gradient = problem
    fixed = -np.linalg.solve(hessian + TEMPERATURE * 0.5 * np.eye(HORIZON) / STD**2, gradient)
    planner = planners.mppi(
        HORIZON, num_samples=5_000, num_iterations=40, temperature=TEMPERATURE, std=STD, cross_term=0.5
    )
    after, info = infer(planner, model, jax.random.key(2), model.start, start_at(planner, model, fixed + 2.0))
    # each step adds noise of about STD/√ESS and forgets some of what came before
    assert np.abs(after.mean.ravel() - fixed).max() < 4.5 * STD / np.sqrt(float(info.ess[-1]) / 2)


def test_mppi_under_a_prior_is_the_posterior(problem):
    """A Gaussian prior enters exactly: mean and evidence of one step are the closed form's."""
    model, _, _ = problem
    prior = planners.beliefs.gaussian(std=1.2)
    covariance = bound(prior, HORIZON, 1).covariance()
    posterior = model.plan_posterior(model.start, HORIZON, TEMPERATURE, prior_covariance=covariance)
    planner = planners.mppi(HORIZON, num_samples=NUM_SAMPLES, temperature=TEMPERATURE, std=1.0, prior=prior)
    mean, errors, info = estimates(planner, model, start_at(planner, model, posterior.mean), 3)
    truth = np.asarray(posterior.mean).ravel()
    assert np.abs((mean - truth) / errors).max() < 4.5
    # ELBO = log Z − KL(q ‖ posterior), in closed form
    precision = np.linalg.inv(posterior.covariance)
    kl = 0.5 * (np.trace(precision) - HORIZON - np.linalg.slogdet(precision)[1])
    for estimate, truth in ((info.log_evidence, posterior.log_evidence), (info.elbo, posterior.log_evidence - kl)):
        error = float(estimate.std()) / np.sqrt(REPEATS)
        assert abs(float(estimate.mean() - truth)) < 4.5 * error
        assert error < 0.01


def test_cem_on_a_linear_return_is_the_truncated_normal():
    """Along the gradient mean += s φ(z)/ρ and variance *= 1 + z φ(z)/ρ − (φ(z)/ρ)²; across it nothing moves."""
    fraction, mean, std, repeats, num_samples = 0.1, 0.4, 1.7, 100, 10_000
    z = norm.ppf(1 - fraction)
    hazard = norm.pdf(z) / fraction
    model = dynamics.from_function(lambda key, state, action: (state, action[0], 1.0), 2)
    planner = planners.cem(
        1,
        num_samples=num_samples,
        num_iterations=1,
        elite_fraction=fraction,
        std=std,
        smoothing=None,
        std_min=1e-3,
    )
    start = planner.init(model, jnp.zeros(())).map_centers(lambda _: jnp.full((1, 2), mean))
    keys = jax.random.split(jax.random.key(0), repeats)
    after, _ = jax.vmap(lambda key: infer(planner, model, key, jnp.zeros(()), start))(keys)
    shift = (1 + z * hazard - hazard**2) ** 0.5
    for estimate, truth in [
        (after.mean[:, 0, 0], mean + std * hazard),
        (after.std[:, 0, 0] ** 2, (std * shift) ** 2),
        (after.mean[:, 0, 1], mean),
        (after.std[:, 0, 1] ** 2, std**2),
    ]:
        error = float(estimate.std()) / repeats**0.5
        bias = 2 * std**2 / (fraction * num_samples)  # of order 1/n for n elites: quantiles and ddof 0
        assert abs(float(estimate.mean()) - truth) < 4.5 * error + bias
        assert error < 0.02


def test_cem_on_a_quadratic_return_collapses_as_it_must():
    """At the optimum variance *= 1 − 2 h φ(h)/ρ: 0.0053 for ρ = 0.1, hence the floor and the smoothing."""
    fraction, std, repeats, num_samples = 0.1, 1.7, 50, 10_000
    h = norm.ppf(0.5 + fraction / 2)
    model = dynamics.from_function(lambda key, state, action: (state, -(action[0] ** 2), 1.0), 1)
    options = {"num_samples": num_samples, "num_iterations": 1, "elite_fraction": fraction, "std": std}
    planner, floor = (planners.cem(1, smoothing=None, std_min=std_min, **options) for std_min in (1e-3, 0.3))
    keys = jax.random.split(jax.random.key(0), repeats)
    after, _ = jax.vmap(lambda key: infer(planner, model, key, jnp.zeros(()), None))(keys)
    ratio = (after.std[:, 0, 0] / std) ** 2
    truth = 1 - 2 * h * norm.pdf(h) / fraction
    assert abs(float(ratio.mean()) - truth) < 4.5 * float(ratio.std()) / repeats**0.5 + 2e-5
    floored, _ = infer(floor, model, keys[0], jnp.zeros(()), None)
    np.testing.assert_allclose(floored.std, 0.3)


def test_cem_finds_the_optimum(problem):
    model, hessian, gradient = problem
    planner = planners.cem(HORIZON, num_samples=2_000, num_iterations=20, std=1.5, std_min=1e-3)
    after, _ = infer(planner, model, jax.random.key(4), model.start, None)
    np.testing.assert_allclose(after.mean.ravel(), -np.linalg.solve(hessian, gradient), atol=0.01)
