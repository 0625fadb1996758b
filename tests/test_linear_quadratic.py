"""The exact answers of linear-quadratic problems, against rollouts, quadrature and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic

from mirrax import dynamics, planners

HORIZON = 5
BETA = 0.7


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def test_plan_cost_is_the_cost_of_a_rollout():
    model = random_linear_quadratic()
    hessian, gradient, constant = model.plan_cost(model.start, HORIZON)
    plans = jax.random.normal(jax.random.key(0), (7, HORIZON, 2))
    flat = plans.reshape(7, -1)
    cost = 0.5 * jnp.einsum("ki,ij,kj->k", flat, hessian, flat) + flat @ gradient + constant
    np.testing.assert_allclose(-planners.rollout(model, jax.random.key(0), model.start, plans), cost, rtol=1e-10)


@pytest.mark.parametrize("prior_std", [None, 0.9])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_dense_posterior_agrees_with_riccati(prior_std, noise):
    model = random_linear_quadratic(noise=noise)
    per_step = None if prior_std is None else prior_std**2 * jnp.eye(2)
    per_plan = None if per_step is None else jnp.kron(jnp.eye(HORIZON), per_step)
    posterior = model.plan_posterior(model.start, HORIZON, BETA, prior_covariance=per_plan)
    policy = model.policy(HORIZON, BETA, prior_covariance=per_step)
    # the first action of the plan posterior is the policy's, noise or not (certainty equivalence)
    np.testing.assert_allclose(posterior.mean[0], policy.gain[0] @ model.start + policy.offset[0], atol=1e-10)
    np.testing.assert_allclose(posterior.covariance[:2, :2], policy.covariance[0], atol=1e-10)
    # the mean plan is the noiseless rollout of the policy
    state = model.start
    for t in range(HORIZON):
        action = policy.gain[t] @ state + policy.offset[t]
        np.testing.assert_allclose(action, posterior.mean[t], atol=1e-9)
        state = model.A @ state + model.B @ action + model.c
    gap = -policy.cost(model.start) / BETA - posterior.log_evidence
    if noise:
        assert gap > 0  # with noise feedback is worth something
    else:
        np.testing.assert_allclose(gap, 0.0, atol=1e-9)


def test_optimum_is_the_zero_temperature_limit():
    model = random_linear_quadratic()
    hessian, gradient, _ = model.plan_cost(model.start, HORIZON)
    best = -jnp.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(model.plan_posterior(model.start, HORIZON, 1e-9).mean.ravel(), best, atol=1e-8)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("outside", [False, True])
def test_log_evidence_by_quadrature(noise, outside):
    model = random_linear_quadratic(3, n=1, m=1, noise=noise)
    posterior = model.plan_posterior(
        model.start,
        1,
        BETA,
        prior_mean=jnp.full((1, 1), 0.2),
        prior_covariance=jnp.full((1, 1), 2.0),
        outside=outside,
    )
    a = jnp.linspace(-20, 20, 1001)
    w = jnp.linspace(-8, 8, 1001)
    log_pa = -0.5 * (a - 0.2) ** 2 / 2.0 - 0.5 * jnp.log(2 * jnp.pi * 2.0) + jnp.log(a[1] - a[0])
    log_pw = -0.5 * w**2 / noise - 0.5 * jnp.log(2 * jnp.pi * noise) + jnp.log(w[1] - w[0]) if noise else None

    quiet = random_linear_quadratic(3, n=1, m=1)  # the noise is added by hand

    def cost(a, w):
        step = quiet.step(jax.random.key(0), quiet.start, a[None])
        return -step.reward - quiet.value(step.state + w)

    if not noise:
        costs = jax.vmap(lambda a: cost(a, 0.0))(a)
        log_utility = -costs / BETA
    else:
        costs = jax.vmap(lambda a: jax.vmap(lambda w: cost(a, w))(w))(a)
        if outside:
            log_utility = jax.scipy.special.logsumexp(log_pw - costs / BETA, axis=1)
        else:
            log_utility = -(jnp.exp(log_pw) * costs).sum(1) / BETA
    log_joint = log_pa + log_utility
    log_evidence = jax.scipy.special.logsumexp(log_joint)
    np.testing.assert_allclose(posterior.log_evidence, log_evidence, atol=1e-6)
    weights = jnp.exp(log_joint - log_evidence)
    np.testing.assert_allclose(posterior.mean.ravel(), weights @ a, atol=1e-6)
    np.testing.assert_allclose(posterior.covariance.ravel(), weights @ (a - weights @ a) ** 2, atol=1e-6)


def test_optimistic_evidence_is_the_joint_integral_over_plans_and_noise():
    model = random_linear_quadratic(noise=0.3)
    # a closed loop under exact inference conditions the noise too: there open and closed loop are the same integral
    open_loop = model.plan_posterior(model.start, HORIZON, BETA, outside=True).log_evidence
    closed_loop = -model.policy(HORIZON, BETA, optimistic=True).cost(model.start) / BETA
    np.testing.assert_allclose(open_loop, closed_loop, atol=1e-8)
    structured = -model.policy(HORIZON, BETA).cost(model.start) / BETA
    inside = model.plan_posterior(model.start, HORIZON, BETA).log_evidence
    assert inside < structured < closed_loop


def test_noise_has_the_covariance_that_was_asked_for():
    covariance = jnp.array([[0.5, 0.2], [0.2, 0.1]])
    model = dynamics.linear_quadratic(jnp.zeros((2, 2)), jnp.zeros((2, 1)), jnp.eye(2), jnp.eye(1), W=covariance)
    keys = jax.random.split(jax.random.key(0), 20_000)
    noise = jax.vmap(lambda key: model.step(key, jnp.zeros(2), jnp.zeros(1)).state)(keys)
    np.testing.assert_allclose(jnp.cov(noise.T), covariance, atol=0.02)  # standard error 0.005


def test_wrong_shapes_are_named():
    eye = jnp.eye(2)
    with pytest.raises(ValueError, match=r"Q must have shape \(2, 2\) to fit B \(2, 2\), got \(3, 3\)"):
        dynamics.linear_quadratic(eye, eye, jnp.eye(3), eye)
    with pytest.raises(ValueError, match="Q must be symmetric"):
        dynamics.linear_quadratic(eye, eye, jnp.array([[1.0, 1.0], [0.0, 1.0]]), eye)
    with pytest.raises(ValueError, match="B must be a matrix"):
        dynamics.linear_quadratic(eye, jnp.ones(2), eye, eye)
    with pytest.raises(ValueError, match="prior_mean must come with a prior_covariance"):
        random_linear_quadratic().plan_posterior(jnp.zeros(3), 2, 1.0, prior_mean=jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="W must be positive semi-definite"):
        dynamics.linear_quadratic(eye, eye, eye, eye, W=-eye)
    with pytest.raises(ValueError, match=r"temperature must be finite and > 0, got -1\.0"):
        random_linear_quadratic().policy(3, -1.0)


def test_matrices_may_be_lists():
    model = dynamics.linear_quadratic(A=[[1.0, 0.1], [0, 1]], B=[[0], [0.1]], Q=[[1, 0], [0, 0.1]], R=[[1]])
    assert model.action_size == 1
    assert model.A.dtype == model.R.dtype == jnp.asarray(1.0).dtype
