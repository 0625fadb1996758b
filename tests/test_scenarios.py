"""Stochastic and uncertain models: scenarios, risk measures, and where the expectation sits."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import bound, noisy_walk, random_linear_quadratic, several_devices, unchecked

from mirrax import dynamics, planners
from mirrax.planners.rollouts.risk import as_risk

KEY = jax.random.key(0)
RETURNS = jnp.array([3.0, -1.0, 0.5, 2.0, -4.0, 1.0, 0.0, 2.5])
WALK = noisy_walk()
returns_of_any_size = st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=12).map(jnp.array)


def measure(risk):
    """What measures; the mean is that of planners without a measure."""
    return planners.risk.mean if risk == "mean" else as_risk(risk)


def test_risk_measures_are_their_definitions():
    ordered = np.sort(np.asarray(RETURNS, float))
    truths = {
        "mean": ordered.mean(),
        "worst": ordered[0],
        "best": ordered[-1],
        planners.risk.value_at_risk(0.25): ordered[1],
        planners.risk.value_at_risk(0.26): ordered[2],
        planners.risk.conditional_value_at_risk(0.25): ordered[:2].mean(),
        planners.risk.conditional_value_at_risk(0.3): (ordered[0] + ordered[1] + 0.4 * ordered[2]) / 2.4,
        planners.risk.entropic(-0.7): np.log(np.exp(-0.7 * ordered).mean()) / -0.7,
        planners.risk.entropic(0.7): np.log(np.exp(0.7 * ordered).mean()) / 0.7,
    }
    for risk, truth in truths.items():
        np.testing.assert_allclose(measure(risk)(RETURNS), truth, rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(returns_of_any_size)
@example(jnp.full(3, 682.9928))  # whose mean is rounded to another number
def test_risk_measures_have_their_limits(returns):
    close = {"rtol": 1e-4, "atol": 1e-3 * float(1 + jnp.abs(returns).max())}
    for tail, limit in ((1e-6, "worst"), (1.0, "mean")):
        np.testing.assert_allclose(
            planners.risk.conditional_value_at_risk(tail)(returns), measure(limit)(returns), **close
        )
    for tail, limit in ((1e-6, "worst"), (1.0, "best")):
        np.testing.assert_allclose(planners.risk.value_at_risk(tail)(returns), measure(limit)(returns), **close)
    spread = float(jnp.ptp(returns)) + 1e-3
    for theta, limit in ((-1e5 / spread, "worst"), (0.0, "mean"), (1e-7 / spread, "mean"), (1e5 / spread, "best")):
        np.testing.assert_allclose(planners.risk.entropic(theta)(returns), measure(limit)(returns), **close)


@settings(deadline=None)
@given(returns_of_any_size, st.floats(0.05, 1.0))
def test_averse_measures_lie_between_the_worst_and_the_mean(returns, alpha):
    slack = 1e-4 * float(1 + jnp.abs(returns).max())
    for risk in (planners.risk.conditional_value_at_risk(alpha), planners.risk.entropic(-alpha)):
        assert returns.min() - slack <= risk(returns) <= returns.mean() + slack


@pytest.mark.parametrize("returns", [[-3.0, 1.0, 1.0, 1.0], [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 0.0, 0.0]])
def test_the_entropic_term_keeps_its_digits(returns):
    """What it adds to the mean (here 0), against float64, from θR = 1e−8 to 1e3; with finite gradients."""
    exact, values = np.array(returns, np.float64), jnp.array(returns)
    scales = np.logspace(-8, 3, 67)
    thetas = np.float32(np.concatenate([-scales, scales]))
    found = jax.jit(jax.vmap(lambda theta: planners.risk.Entropic(theta)(values)))(jnp.asarray(thetas))
    for theta, told in zip(thetas.astype(np.float64), np.asarray(found, np.float64), strict=True):
        powers = theta * exact
        truth = (
            np.log1p(np.expm1(powers).mean())
            if np.abs(powers).max() < 1
            else np.logaddexp.reduce(powers) - np.log(len(exact))
        )
        if np.abs(powers).max() < 1e-5:  # where float64 loses digits too
            truth = (powers**2).mean() / 2 + (powers**3).mean() / 6
        np.testing.assert_allclose(told, truth / theta, rtol=2e-5)
    slope = jax.jit(jax.vmap(jax.grad(lambda theta, r: planners.risk.Entropic(theta)(r), argnums=(0, 1)), (0, None)))
    by_theta, by_returns = slope(jnp.append(thetas, 0.0), values)
    assert jnp.isfinite(by_theta).all()
    np.testing.assert_allclose(by_returns.sum(1), 1.0, rtol=1e-4)
    np.testing.assert_allclose(by_theta[-1], (exact**2).mean() / 2, rtol=1e-5)
    np.testing.assert_allclose(by_returns[-1], 1.0 / len(exact), rtol=1e-5)
    np.testing.assert_allclose(by_theta[:20], (exact**2).mean() / 2, rtol=1e-2)  # θR of 1e−8 to 1e−5, and below 0
    assert planners.risk.entropic(0.0)(values) == 0.0


def test_every_measure_works_in_a_rollout_and_invalid_scenarios_count():
    plans = jnp.zeros((3, 4, 1))
    each = [
        planners.rollout(WALK, KEY, jnp.ones(()), plans, num_scenarios=6, risk=as_risk(risk))
        for risk in ("worst", planners.risk.conditional_value_at_risk(0.5), "mean", "best")
    ]
    for low, high in itertools.pairwise(each):
        assert (low < high).all()

    def fragile(key, state, action):
        lucky = jax.random.uniform(key) < 0.9
        return state, jnp.where(lucky | (action[0] > 0), 1.0, jnp.nan), 1.0

    model = dynamics.from_function(fragile, 1)
    plans = jnp.stack([jnp.full((3, 1), -1.0), jnp.full((3, 1), 1.0)])
    for risk in (None, as_risk("best"), as_risk("worst")):
        returns = planners.rollout(model, KEY, jnp.zeros(()), plans, num_scenarios=64, risk=risk)
        assert jnp.isnan(returns[0])  # one scenario that diverges is enough
        np.testing.assert_allclose(returns[1], 3.0)


def test_common_noise_is_common_and_fresh_noise_is_not():
    plans = jnp.zeros((5, 4, 1))
    for scenarios in (1, 3):
        common = planners.rollout(WALK, KEY, jnp.ones(()), plans, num_scenarios=scenarios)
        np.testing.assert_array_equal(common, common[0])
        fresh = planners.rollout(WALK, KEY, jnp.ones(()), plans, num_scenarios=scenarios, common_noise=False)
        assert len(jnp.unique(fresh)) == 5
    alone = planners.rollout(WALK, KEY, jnp.ones(()), plans)
    path = planners.trajectory(WALK, KEY, jnp.ones(()), plans[0])
    np.testing.assert_allclose(path.rewards.sum(), alone[0], rtol=1e-6)


@several_devices
@pytest.mark.parametrize(("num_scenarios", "common_noise"), [(1, False), (3, True), (3, False)])
def test_blocks_and_devices_change_no_return(num_scenarios, common_noise):
    model = dynamics.randomized(dynamics.pendulum(), heavier, num=num_scenarios)
    plans = jax.random.normal(jax.random.key(1), (13, 6, 1))
    options = {"common_noise": common_noise}
    whole = planners.rollout(model, KEY, model.init(KEY), plans, **options)
    mesh = jax.make_mesh((4,), ("samples",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("samples"))
    for changes in ({"chunk_size": 4}, {"sharding": sharding, "chunk_size": 3}):
        other = planners.rollout(model, KEY, model.init(KEY), plans, **options, **changes)
        np.testing.assert_allclose(other, whole, rtol=1e-5)


def heavier(key, model):
    return dataclasses.replace(model, mass=model.mass * jax.random.uniform(key, minval=0.5, maxval=2.0))


def test_randomized_models_keep_their_parameters_through_a_rollout():
    model = dynamics.randomized(dynamics.pendulum(), heavier, num=5)
    state, plans = model.init(KEY), jnp.ones((2, 8, 1))
    returns = planners.rollout(model, KEY, state, plans)
    _, model_key = jax.random.split(KEY)
    masses = jax.vmap(lambda key: heavier(key, model.model).mass)(jax.random.split(model_key, 5))
    each = jnp.stack(
        [planners.rollout(dataclasses.replace(model.model, mass=mass), KEY, state, plans) for mass in masses]
    )
    np.testing.assert_allclose(returns, each.mean(0), rtol=1e-5)
    worst = planners.rollout(model, KEY, state, plans, risk=as_risk("worst"))
    np.testing.assert_allclose(worst, each.min(0), rtol=1e-5)
    path = planners.trajectory(model, KEY, state, plans[0])
    np.testing.assert_allclose(path.rewards.sum(), each[0, 0], rtol=1e-5)
    assert model.step(KEY, state, jnp.zeros(1)).reward.shape == ()
    assert model.action_size == 1


def test_ensembles_try_every_member_and_wrappers_keep_them():
    members = [dynamics.pendulum(mass=mass) for mass in (0.5, 1.0, 2.0)]
    model = dynamics.ensemble(members)
    state, plans = model.init(KEY), jnp.ones((2, 8, 1))
    each = jnp.stack([planners.rollout(member, KEY, state, plans) for member in members])
    np.testing.assert_allclose(planners.rollout(model, KEY, state, plans), each.mean(0), rtol=1e-5)
    best = planners.rollout(model, KEY, state, plans, risk=as_risk("best"))
    np.testing.assert_allclose(best, each.max(0), rtol=1e-5)
    wrapped = dynamics.with_value(dynamics.discounted(model, 0.9), lambda state: 1.0)
    alone = jnp.stack(
        [
            planners.rollout(
                dynamics.with_value(dynamics.discounted(member, 0.9), lambda state: 1.0), KEY, state, plans
            )
            for member in members
        ]
    )
    np.testing.assert_allclose(planners.rollout(wrapped, KEY, state, plans), alone.mean(0), rtol=1e-5)
    twice = planners.rollout(model, KEY, state, plans, num_scenarios=6)
    np.testing.assert_allclose(twice, each.mean(0), rtol=1e-5)
    own = planners.rollout(model, KEY, state, jnp.ones((24, 8, 1)), num_scenarios=1, common_noise=False)
    np.testing.assert_allclose(jnp.unique(own, size=3), jnp.sort(each[:, 0]), rtol=1e-5)  # not the first for all
    rewards = jax.vmap(lambda key: model.step(key, state, jnp.zeros(1)).state)(jax.random.split(KEY, 50))
    assert len(jnp.unique(rewards.round(5))) > 1  # outside of a rollout any member may be drawn
    np.testing.assert_allclose(model.value(state), 0.0)


def towards_an_edge(edge, key, position, action):
    """Each step pays 1 and the position; beyond `edge` the episode is over."""
    position = position + 0.3 * jnp.clip(action[0], -1.0, 1.0)
    inside = jnp.where(position > edge, 0.0, 1.0)
    return position, inside * (1.0 + position), inside


def with_edge(edge):
    return dynamics.from_function(jax.tree_util.Partial(towards_an_edge, jnp.asarray(edge)), 1)


@pytest.mark.parametrize("make", [planners.vi_mpc, planners.evolution])
def test_planners_do_not_know_of_scenarios(make):
    """Who is not sure where the edge is, and fears the worst, stays away from where it might be."""
    planner = make(10, num_samples=192, num_iterations=6, num_scenarios=3, risk="worst")
    for model, edge in ((with_edge(1.0), 1.0), (dynamics.ensemble([with_edge(x) for x in (0.4, 0.7, 1.0)]), 0.4)):
        belief, _ = jax.jit(planners.infer)(planner, model, KEY, jnp.zeros(()), None)
        furthest = jnp.cumsum(0.3 * jnp.clip(belief.mode(), -1.0, 1.0)).max()
        assert edge - 0.25 < furthest <= edge, furthest


# Where the expectation sits ----------


def lottery(key, state, action):
    """A choice between a sure 0.5 (action 0) and +1 or −2, fifty-fifty (action 1)."""
    gamble = jnp.where(jax.random.bernoulli(key), 1.0, -2.0)
    return state, jnp.where(action == 1, gamble, 0.5), 1.0


LOTTERY = dynamics.from_function(lottery, num_actions=2)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_common_noise_gives_the_structured_posterior_and_rho_the_optimistic_one(temperature):
    """Inside: p ∝ exp(E[R]/λ). Outside: p ∝ E[exp(R/λ)], which gambles at a low temperature."""
    scenarios = 4_096
    options = {"enumerate_plans": True, "num_iterations": 1, "step_size": 1.0}
    options |= {"temperature": temperature, "num_scenarios": scenarios}
    for rho, truth in (
        (None, -0.5 / temperature),
        (0.0, -0.5 / temperature),
        (1.0, np.logaddexp(1.0 / temperature, -2.0 / temperature) - np.log(2)),
        (-1.0, -(np.logaddexp(-1.0 / temperature, 2.0 / temperature) - np.log(2))),
    ):
        planner = planners.vi_mpc(1, rho=rho, **options)
        belief, info = planners.infer(planner, LOTTERY, KEY, jnp.zeros(()), None)
        risky = np.exp(truth) / (np.exp(truth) + np.exp(0.5 / temperature))
        assert abs(float(jnp.exp(belief.log_probs[1])) - risky) < 4.5 * 1.5 / temperature / np.sqrt(scenarios)
        evidence = np.log(0.5 * (np.exp(truth) + np.exp(0.5 / temperature)))
        assert abs(float(info.log_evidence[0]) - evidence) < 4.5 * 1.5 / temperature / np.sqrt(scenarios)


def test_the_structured_posterior_of_a_noisy_linear_problem():
    """Additive noise moves the posterior inside not at all, in mean or covariance, but for that of the scenarios."""
    model = random_linear_quadratic(n=2, m=1, noise=0.1)
    prior = bound(planners.beliefs.gaussian(std=2.0**0.5), 4, 1)
    posterior = model.plan_posterior(model.start, 4, 0.8, prior_covariance=prior.covariance())
    planner = planners.vi_mpc(
        4,
        num_samples=20_000,
        num_iterations=8,
        temperature=0.8,
        prior=prior,
        target_ess=0.5,
        covariance="full",
        noise_exponent=None,
        std=2.0**0.5,
        std_min=1e-3,
        num_scenarios=64,
    )
    belief, _ = jax.jit(planners.infer)(planner, model, KEY, model.start, None)
    truth = np.asarray(posterior.covariance, float)
    assert np.linalg.norm(belief.covariance() - truth) / np.linalg.norm(truth) < 0.05
    off = np.asarray(belief.mean - posterior.mean, float).ravel()
    assert np.sqrt(off @ np.linalg.solve(truth, off) / 4) < 0.35  # 64 scenarios have a mean of their own


def test_fresh_noise_with_one_scenario_is_the_optimistic_answer_in_disguise():
    """Spec 0.2: with noise of its own for each plan, exp(R/λ) averages over luck, as if ρ were 1."""
    options = {"num_samples": 40_000, "num_iterations": 1, "temperature": 0.3, "step_size": 1.0}
    planner = planners.vi_mpc(1, common_noise=False, **options)
    belief, _ = planners.infer(planner, LOTTERY, KEY, jnp.zeros(()), None)
    truth = np.exp(np.logaddexp(1 / 0.3, -2 / 0.3) - np.log(2))
    risky = truth / (truth + np.exp(0.5 / 0.3))
    np.testing.assert_allclose(jnp.exp(belief.log_probs[0, 1]), 0.98 * risky + 0.01, atol=0.02)


# Priors over actions in states ----------


def test_a_policy_is_a_prior():
    """Without rewards the posterior is the prior: here that of a linear Gaussian policy in a linear system."""

    def step(key, state, action):
        return 0.9 * state + action[0], 0.0, 1.0

    def log_prob(state, action):
        return -0.5 * ((action[0] + 0.5 * state) / 0.4) ** 2 - jnp.log(0.4) - 0.5 * jnp.log(2 * jnp.pi)

    model, horizon = dynamics.from_function(step, 1), 3
    planner = planners.vi_mpc(
        horizon,
        num_samples=20_000,
        num_iterations=10,
        temperature=1.0,
        step_size=0.8,
        covariance="full",
        noise_exponent=None,
        std=1.0,
        std_min=1e-3,
        prior=planners.priors.policy_prior(log_prob),
    )
    belief, info = jax.jit(planners.infer)(planner, model, KEY, jnp.ones(()), None)
    states, actions = [np.array([1.0, 0, 0, 0])], []  # affine in the three noises: [1, e₀, e₁, e₂]
    for t in range(horizon):
        noise = np.eye(4)[t + 1] * 0.4
        actions.append(-0.5 * states[-1] + noise)
        states.append(0.9 * states[-1] + actions[-1])
    actions = np.array(actions)
    np.testing.assert_allclose(belief.mean.ravel(), actions[:, 0], atol=0.02)
    truth = actions[:, 1:] @ actions[:, 1:].T
    np.testing.assert_allclose(belief.covariance(), truth, atol=0.05 * truth.max())
    np.testing.assert_allclose(info.log_evidence[-1], 0.0, atol=0.02)  # the prior alone: it integrates to 1
    with pytest.raises(ValueError, match="log_prob must be callable, or a policy that has it, got int"):
        unchecked(planners.priors.policy_prior)(3)


@pytest.mark.parametrize("std", [0.1, 2.0])
def test_a_policy_prior_does_not_reward_an_early_end(std):
    """Nothing is earned, and every other plan ends at once: the posterior is the prior, whatever its scale."""

    def step(key, state, action):
        return state, 0.0, jnp.where(action[0] > 0, 0.0, 1.0)

    def log_prob(state, action):
        return -0.5 * (action[0] / std) ** 2 - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)

    options = {"num_samples": 4_000, "num_iterations": 1, "temperature": 1.0, "step_size": 1.0, "std": std}
    planner = planners.vi_mpc(5, noise_exponent=None, prior=planners.priors.policy_prior(log_prob), **options)
    belief, info = planners.infer(planner, dynamics.from_function(step, 1), KEY, jnp.zeros(()), None)
    np.testing.assert_allclose(info.log_evidence[0], 0.0, atol=1e-3)
    assert abs(float(belief.mean[0, 0])) < 4.5 * std / 63


def test_a_function_of_the_returns_is_a_risk_measure():
    plain, named = (planners.cem(3, num_scenarios=3, risk=risk) for risk in (lambda returns: returns.min(), "worst"))
    model = dynamics.from_function(lambda key, s, a: (s, a[0] * jax.random.normal(key), 1.0), 1)
    beliefs = [planners.infer(planner, model, KEY, jnp.zeros(()))[0] for planner in (plain, named)]
    np.testing.assert_allclose(beliefs[0].mean, beliefs[1].mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dynamics.ensemble([]), "models must be a sequence of at least one model"),
        (
            lambda: dynamics.ensemble([dynamics.pendulum(), dynamics.cartpole()]),
            r"\(two lambdas are two\): number 1 must be Pendulum, got CartPole",
        ),
        (lambda: unchecked(dynamics.randomized)(dynamics.pendulum(), 3), "sampler must be callable, got 3"),
        (lambda: dynamics.randomized(dynamics.pendulum(), heavier, num=0), "num must be an integer of at least 1"),
        (
            lambda: dynamics.randomized(dynamics.pendulum(), lambda key, model: 3.0).draw(KEY),
            "sampler must return a model of the same structure",
        ),
        (lambda: planners.risk.conditional_value_at_risk(0.0), "alpha must be finite and > 0 and <= 1, got 0.0"),
        (lambda: planners.risk.value_at_risk(1.5), "alpha must be finite and > 0 and <= 1, got 1.5"),
        (lambda: planners.risk.entropic(float("nan")), "theta must be finite, got nan"),
        (lambda: planners.cem(3, risk="average"), "risk must be one of mean, worst, best, or a risk measure"),
        (lambda: planners.mppi(3, rho=1.0, temperature=1.0, risk="worst"), "give it or risk, got both"),
        (lambda: unchecked(dynamics.randomized)(3, heavier), "model must be a model, got int"),
        (lambda: planners.cem(3, num_scenarios=0), "num_scenarios must be an integer of at least 1, got 0"),
        (lambda: planners.mppi(3, rho=1.0), "rho needs a temperature in reward units"),
        (
            lambda: planners.mppi(3, rho=1.0, temperature=1.0, standardize=True),
            "rho needs a temperature in reward units",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
