"""Expert iteration: its fixed points on a linear-quadratic problem, and its loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, learning, planners
from mirrax.planners.policies import plan_network

H, TEMPERATURE, PRIOR_STD = 3, 0.5, 0.7
KEY = jax.random.key(0)
MODEL = random_linear_quadratic(n=2, m=1)
STATES = jax.random.normal(jax.random.key(1), (64, 2))


def anywhere(key):
    return jax.random.normal(key, (2,))


def step(model, key, state, action):
    return tuple(model.step(key, state, action))


# the same problem, whose episodes begin anywhere
ENV = dynamics.from_function(jax.tree_util.Partial(step, MODEL), 1, init=anywhere, bounded=False)
PENDULUM = dynamics.pendulum()


def expert(temperature, num_samples=512):
    return planners.vi_mpc(
        H, num_samples=num_samples, num_iterations=5, temperature=temperature, covariance="full", std=PRIOR_STD,
        std_min=1e-3, step_size=0.7, noise_exponent=None,
    )  # fmt: skip


def improved(planner, head="autoregressive", **options):
    own = plan_network(H, hidden=(), std=PRIOR_STD, std_min=1e-3, head=head).init(MODEL, STATES[0])
    defaults = {"num_episodes": 64, "num_steps": 3, "prime_options": {"std_min": 1e-3}}
    distil = {"max_epochs": 60, "patience": 60, "learning_rate": 0.03}
    return learning.expert_iteration(MODEL, planner, own, KEY, env=ENV, distil_options=distil, **(defaults | options))


def check(network, exact, scale):
    said = jax.vmap(network.belief)(STATES)
    np.testing.assert_allclose(said.mean, exact.mean, atol=0.1 * scale)
    found = jax.vmap(lambda state: network.belief(state).covariance())(STATES)
    np.testing.assert_allclose(found.mean(0), exact.covariance[0], atol=0.1 * scale**2)


def test_without_an_exponent_it_stays_at_the_posterior():
    """Under the planner's own prior: there after the first round, and no narrower after the others."""
    told = []
    network, report = improved(expert(TEMPERATURE), num_rounds=3, num_recent=1, progress=told.append)
    exact = jax.vmap(
        lambda state: MODEL.plan_posterior(state, H, TEMPERATURE, prior_covariance=PRIOR_STD**2 * jnp.eye(H))
    )(STATES)
    check(network, exact, 0.4)
    entropy = 0.5 * (np.linalg.slogdet(exact.covariance[0])[1] + H * np.log(2.0 * np.pi * np.e))
    np.testing.assert_allclose([each.entropy for each in report.rounds], entropy, atol=0.1)
    assert report.rounds[0].kl > 1.0 > 0.1 > report.rounds[-1].kl
    assert [each.number for each in told] == [0, 1, 2]
    assert told == list(report.rounds)
    assert report.rounds[-1].num_states == 64 * 3
    assert all(np.isfinite(each.elbo) for each in told)


def test_with_an_exponent_it_ends_at_a_lower_temperature():
    """log q⁺ = b log q + R/λ: the posterior of a flat prior at λ (1 − b), which is approached as b^n."""
    exponent = 0.5
    network, report = improved(expert(TEMPERATURE), exponent=exponent, num_rounds=6, num_recent=1)
    exact = jax.vmap(lambda state: MODEL.plan_posterior(state, H, TEMPERATURE * (1.0 - exponent)))(STATES)
    check(network, exact, 0.4)
    entropy = 0.5 * (np.linalg.slogdet(exact.covariance[0])[1] + H * np.log(2.0 * np.pi * np.e))
    fallen = [each.entropy for each in report.rounds]
    np.testing.assert_allclose(fallen[-2:], entropy, atol=0.15)
    assert fallen[0] > fallen[-1]


def test_independent_steps_keep_the_exact_mean_and_do_not_collapse():
    """What is projected onto a narrower family is no fixed point of the plain recursion, but its mean is."""
    exponent = 0.5
    network, report = improved(expert(TEMPERATURE), "gaussian", exponent=exponent, num_rounds=6, num_recent=1)
    exact = jax.vmap(lambda state: MODEL.plan_posterior(state, H, TEMPERATURE * (1.0 - exponent)))(STATES)
    said = jax.vmap(network.belief)(STATES)
    np.testing.assert_allclose(said.mean, exact.mean, atol=0.08)
    assert abs(said.mean - exact.mean).mean() < 0.02
    variance = np.full(H, PRIOR_STD**2)
    precision = np.linalg.inv(np.asarray(exact.covariance[0], float)) * (1.0 - exponent)  # of R/λ
    for _ in range(50):  # of the marginals: v⁺ = diag (b diag(1/v) + Λ)⁻¹
        variance = np.diag(np.linalg.inv(exponent * np.diag(1.0 / variance) + precision))
    np.testing.assert_allclose(said.std[..., 0].mean(0), np.sqrt(variance), rtol=0.05)
    assert report.rounds[-1].kl < 0.05


def test_few_plans_do_better_round_by_round():
    """On the pendulum with 8 plans: the planner that the network primes, and the network alone."""
    planner = planners.vi_mpc(10, num_samples=8, num_iterations=2)
    own = plan_network(10, hidden=(16,), observe=seen).init(PENDULUM, PENDULUM.init(KEY))
    _, report = learning.expert_iteration(
        PENDULUM, planner, own, KEY, num_rounds=3, num_episodes=8, num_steps=60, distil_options={"max_epochs": 60}
    )
    assert [each.num_states for each in report.rounds] == [480, 960, 1440]  # of all rounds
    assert report.rounds[-1].network_return > report.rounds[0].network_return
    assert np.isfinite([tuple(each) for each in report.rounds]).all()


def seen(state):
    return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])


@pytest.mark.parametrize("head", ["mixture", "autoregressive"])
def test_all_heads_and_planners_take_part(head):
    own = plan_network(6, hidden=(), head=head).init(PENDULUM, PENDULUM.init(KEY))
    planner = planners.cem(6, num_samples=8, num_iterations=1)
    network, report = learning.expert_iteration(
        PENDULUM, planner, own, KEY, num_rounds=2, num_episodes=2, num_steps=8, distil_options={"max_epochs": 3}
    )
    assert np.isfinite(network.belief(PENDULUM.init(KEY)).mode()).all()
    assert np.isnan([each.elbo for each in report.rounds]).all() or np.isfinite(report.rounds[0].planned_return)


VI, NET = planners.vi_mpc(H, num_samples=16), plan_network(H).init(MODEL, STATES[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"exponent": 1.0}, "exponent must be finite and > 0 and < 1, got 1"),
        ({"num_episodes": 3}, "num_episodes must be even"),
        ({"num_rounds": 0}, "num_rounds must be"),
        ({"num_recent": 0}, "num_recent must be"),
        ({"planner": planners.ilqr(H)}, "planner must be one that samples plans"),
        ({"network": plan_network(H)}, "network must be bound"),
        ({"prime_options": {"as_prior": True}}, "prime_options must leave as_prior to expert_iteration"),
        ({"distil_options": {"warm_start": False}}, "distil_options must leave warm_start to expert_iteration"),
    ],
)
def test_a_mistake_is_one_clear_error(wrong, message):
    arguments = {"model": MODEL, "planner": VI, "network": NET, "key": KEY} | wrong
    with pytest.raises(ValueError, match=message):
        unchecked(learning.expert_iteration)(**arguments)
