"""What sets the planners of the variational family apart, each against what its source says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import better_range, better_spread, bound, random_linear_quadratic, target, unchecked

from mirrax import dynamics, planners

KEY, START = jax.random.key(0), jnp.zeros(())
HORIZON, ACTIONS = 5, 2
TARGET = target()
KEEP = ("returns", "weights")
infer = jax.jit(planners.infer)
plan = jax.jit(planners.plan)


def value_of(belief):
    return float(planners.rollout(TARGET, KEY, START, belief.mode()[None])[0])


def proposed(planner, key, search, num_samples):
    """The plans that a planner draws from its belief."""
    return planner.evaluator._propose(TARGET, jnp.stack([key, key]), START, search, num_samples)[0]


# Limits ----------


@pytest.mark.parametrize("learn_std", [False, True])
def test_tsallis_is_mppi_at_one(learn_std):
    options = {"num_samples": 128, "num_iterations": 3, "std": 0.4, "temperature": 0.5, "keep": KEEP}
    mppi = planners.mppi(HORIZON, **options, covariance="diagonal" if learn_std else "fixed")
    if learn_std:  # MPPI's is unbiased
        belief = dataclasses.replace(mppi.init(TARGET, START).belief, unbiased=False)
        mppi = dataclasses.replace(mppi, family=planners.beliefs.as_family(belief))
    expected, told = infer(mppi, TARGET, KEY, START, None)
    for r, tolerance in ((1.0, 1e-6), (1.0001, 1e-3)):
        belief, info = infer(planners.tsallis(HORIZON, r=r, learn_std=learn_std, **options), TARGET, KEY, START, None)
        np.testing.assert_allclose(belief.mean, expected.mean, atol=tolerance)
        np.testing.assert_allclose(belief.std, expected.std, atol=tolerance)
        np.testing.assert_allclose(info.weights, told.weights, atol=tolerance)


def test_tsallis_is_cem_at_infinity():
    options = {"num_samples": 128, "num_iterations": 3, "std": 0.4, "elite_fraction": 0.1, "smoothing": 0.2}
    options |= {"keep": KEEP}
    expected, told = infer(planners.cem(HORIZON, **options), TARGET, KEY, START, None)
    for r in (float("inf"), 1e9):
        belief, info = infer(planners.tsallis(HORIZON, r=r, learn_std=True, **options), TARGET, KEY, START, None)
        np.testing.assert_allclose(belief.mean, expected.mean, atol=1e-5)
        np.testing.assert_allclose(belief.std, expected.std, atol=1e-5)
        np.testing.assert_allclose(info.weights, told.weights, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda temperature: planners.mppi(HORIZON, num_samples=64, temperature=temperature, keep=KEEP),
        lambda temperature: planners.tsallis(HORIZON, num_samples=64, temperature=temperature, keep=KEEP),
        lambda temperature: planners.vi_mpc(HORIZON, num_samples=64, temperature=temperature, keep=KEEP),
        lambda temperature: planners.vi_mpc(
            HORIZON, num_samples=64, temperature=temperature, covariance="full", step_size=1.0, keep=KEEP
        ),
        lambda temperature: planners.vi_mpc(
            HORIZON, num_samples=64, temperature=temperature, num_components=3, step_size=1.0, keep=KEEP
        ),
    ],
    ids=["mppi", "tsallis", "vi_mpc", "vi_mpc, full", "vi_mpc, mixture"],
)
@pytest.mark.parametrize("temperature", [1e-30, 1e-8, 1e8, 1e30])
def test_temperatures_at_both_ends(make, temperature):
    """Cold: the best plan alone, or an effective sample size near 1. Hot: the returns do not matter."""
    planner = make(temperature)
    belief, info = infer(planner, TARGET, KEY, START, None)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((belief.belief, belief.best(), info.best_return)))
    assert jnp.isfinite(info.weights).all()
    np.testing.assert_allclose(info.weights.sum(-1), 1.0, rtol=1e-4)
    assert not info.degenerate.any()
    if temperature < 1 and isinstance(planner.evaluator.step_size, planners.step_sizes.FixedStep | None):
        assert info.ess[0] < 1.01
        assert jnp.argmax(info.weights[0]) == jnp.argmax(info.returns[0])
    if temperature > 1 and planner.evaluator.prior is None:
        assert info.ess[0] > 63


def test_a_hot_posterior_is_the_prior():
    prior = bound(planners.beliefs.gaussian(std=0.8), 3, 1)
    planner = planners.vi_mpc(
        3,
        num_samples=20_000,
        num_iterations=15,
        temperature=1e8,
        prior=prior,
        covariance="full",
        noise_exponent=None,
        std_min=1e-3,
    )
    belief, info = infer(planner, target(1), KEY, START, None)
    np.testing.assert_allclose(belief.covariance(), prior.covariance(), atol=0.03)
    np.testing.assert_allclose(belief.mean, 0.0, atol=0.03)
    np.testing.assert_allclose(info.log_evidence[-1], 0.0, atol=0.01)


# Samples from elsewhere ----------


def test_exploring_does_not_bias_the_posterior():
    """Plans from a mixture of two spreads are weighed by that mixture's density."""
    model = random_linear_quadratic(n=2, m=1)
    prior = bound(planners.beliefs.gaussian(std=2.0**0.5), 4, 1)
    posterior = model.plan_posterior(model.start, 4, 0.8, prior_covariance=prior.covariance())
    planner = planners.vi_mpc(
        4,
        num_samples=20_000,
        num_iterations=20,
        temperature=0.8,
        prior=prior,
        covariance="full",
        step_size=0.5,
        noise_exponent=None,
        std=2.0**0.5,
        std_min=1e-3,
        explore_fraction=0.3,
    )
    belief, info = infer(planner, model, KEY, model.start, None)
    truth = np.asarray(posterior.covariance, float)
    assert np.linalg.norm(belief.covariance() - truth) / np.linalg.norm(truth) < 0.05
    off = np.asarray(belief.mean - posterior.mean, float).ravel()
    assert np.sqrt(off @ np.linalg.solve(truth, off) / 4) < 0.05
    for told in (info.log_evidence, info.elbo):
        assert abs(float(told[-1] - posterior.log_evidence)) < 0.03


def test_remembered_plans_do_not_bias_the_posterior_and_the_best_is_executed():
    model = random_linear_quadratic(n=2, m=1)
    prior = bound(planners.beliefs.gaussian(std=2.0**0.5), 4, 1)
    posterior = model.plan_posterior(model.start, 4, 0.8, prior_covariance=prior.covariance())
    options = {"num_samples": 3_000, "num_iterations": 25, "temperature": 0.8, "prior": prior, "covariance": "full"}
    options |= {"noise_exponent": None, "std": 2.0**0.5, "std_min": 1e-3, "step_size": 0.3}
    planner = planners.vi_mpc(4, num_kept=1_500, execute="best", keep=KEEP, **options)  # half of all plans
    belief, info = infer(planner, model, KEY, model.start, None)
    truth = np.asarray(posterior.covariance, float)
    assert np.linalg.norm(belief.covariance() - truth) / np.linalg.norm(truth) < 0.08
    off = np.asarray(belief.mean - posterior.mean, float).ravel()
    assert np.sqrt(off @ np.linalg.solve(truth, off) / 4) < 0.08
    best = planners.rollout(model, KEY, model.start, belief.mode()[None])[0]
    np.testing.assert_allclose(best, info.returns.max(), rtol=1e-4)
    assert (info.weights[1:, -1_500:] == 0).all()


def test_what_is_remembered_is_no_sample():
    """Evidence and divergence are those of the other plans, and explorers are counted among those."""
    prior = bound(planners.beliefs.gaussian(std=1.0), 1, 1)
    model = dynamics.from_function(lambda key, state, action: (state, -0.5 * action[0] ** 2, 1.0), 1)
    options = {"num_samples": 2_000, "num_iterations": 12, "temperature": 1.0, "prior": prior, "step_size": 1.0}
    options |= {"std": 3.0, "std_min": 1e-3, "noise_exponent": None}
    planner = planners.vi_mpc(1, num_kept=800, explore_fraction=0.5, **options)
    belief, info = infer(planner, model, KEY, START, None)
    np.testing.assert_allclose(belief.belief.belief.std, 0.5**0.5, rtol=0.05)
    np.testing.assert_allclose(info.log_evidence[1:], -0.5 * np.log(2), atol=0.1)
    assert (info.elbo_gap[1:] > -0.15).all()  # by a few standard errors of both


def test_explored_plans_have_the_initial_spread_around_the_present_plan():
    planner = planners.cem(HORIZON, num_samples=1_000, std=0.5, explore_fraction=0.4, include_mode=True)
    search = planner.init(TARGET, START)
    narrow = dataclasses.replace(search.belief, mean=jnp.full((HORIZON, ACTIONS), 3.0), std=search.std / 100)
    proposal = proposed(planner, KEY, dataclasses.replace(search, belief=narrow), 1_000)
    plans = proposal.plans
    assert proposal.log_correction is None
    np.testing.assert_array_equal(proposal.drawn, np.arange(1_000) > 400)  # from the belief, that is
    np.testing.assert_allclose(plans[0], 3.0)
    np.testing.assert_allclose(plans[1:401].std(0), 0.5, rtol=0.15)
    np.testing.assert_allclose(plans[1:401].mean(0), 3.0, atol=0.12)
    np.testing.assert_allclose(plans[401:].std(0), 0.005, rtol=0.15)


def test_clipped_plans_stay_in_range_and_so_does_what_is_fitted():
    planner = planners.cem(HORIZON, num_samples=128, std=3.0, clip_plans=True, num_iterations=1)
    plans = proposed(planner, KEY, planner.init(TARGET, START), 128).plans
    assert jnp.abs(plans).max() == 1.0
    away = dynamics.from_function(lambda key, state, action: (state, action.sum(), 1.0), ACTIONS)
    belief, _ = infer(dataclasses.replace(planner, num_iterations=8), away, KEY, START, None)
    assert 0.9 < belief.mean.max() <= 1.0


# iCEM ----------


def icem(**options):
    common = {"num_samples": 60, "num_iterations": 4, "num_elites": 10, "std": 0.4}
    common |= {"population_decay": 1.0, "keep": KEEP}
    return planners.icem(HORIZON, **(common | options))


def test_icem_never_gets_worse_and_executes_its_best():
    planner = icem()
    belief, info = infer(planner, TARGET, KEY, START, None)
    best = info.returns.max(-1)
    assert (jnp.diff(best) >= -1e-6).all()
    np.testing.assert_allclose(value_of(belief), best[-1], rtol=1e-5)
    mean, _ = infer(icem(execute="mode"), TARGET, KEY, START, None)
    np.testing.assert_allclose(mean.mode(), mean.belief.mean)
    assert not np.allclose(mean.mode(), belief.mode())


def test_icem_looks_at_elites_again():
    """Three of ten elites in the next iteration, and three in the next time step, shifted, with a new last action."""
    planner = icem(num_iterations=1)
    belief, _ = infer(planner, TARGET, KEY, START, None)
    assert belief.known.all()
    assert belief.elites.shape == (3, HORIZON, ACTIONS)
    values = planners.rollout(TARGET, KEY, START, belief.elites)
    assert (jnp.diff(values) <= 0).all()
    np.testing.assert_array_equal(belief.elites[0], belief.best())
    again = belief.propose(jax.random.key(1), 60).plans
    np.testing.assert_array_equal(again[-3:], belief.elites)
    shifted = planner.shift(belief)
    later = shifted.propose(jax.random.key(1), 60).plans
    np.testing.assert_allclose(later[-3:, :-1], belief.elites[:, 1:], atol=1e-6)
    assert not np.allclose(later[-3:, -1], belief.elites[:, -1])
    none = icem(keep_fraction=0.0, shift_fraction=0.0)
    fresh = proposed(none, jax.random.key(1), infer(none, TARGET, KEY, START, None)[0], 60).plans
    assert not (jnp.abs(fresh[:, None] - belief.elites).max((-2, -1)) < 1e-6).any()


def test_icem_shrinks_its_population():
    planner = icem(num_samples=100, population_decay=1.25, num_iterations=9)
    assert planner.num_samples == (100, 80, 64, 51, 40, 32, 26, 20, 20)
    belief, info = infer(planner, TARGET, KEY, START, None)
    assert info.returns.shape == info.weights.shape == (9, 100)
    for size, returns, weights in zip(planner.num_samples, info.returns, info.weights, strict=True):
        assert jnp.isfinite(returns[:size]).all()
        assert jnp.isnan(returns[size:]).all()
        assert (weights > 0).sum() == 10
        assert (weights[size:] == 0).all()
    np.testing.assert_array_equal(info.num_invalid, 0)
    assert value_of(belief) > -0.5


# Annealing ----------


@pytest.mark.parametrize("knots", [None, 3])
def test_dial_anneals_over_iterations_and_horizon(knots):
    planner = planners.dial(
        HORIZON,
        num_samples=4_000,
        num_iterations=3,
        std=0.8,
        iteration_factor=0.5,
        horizon_factor=0.7,
        num_knots=knots,
        keep=KEEP,
    )
    steps = knots or HORIZON
    belief = planner.init(target(1), START).belief
    for i in range(3):
        own = belief if knots is None else belief.knots
        expected = 0.8 * 0.5**i * 0.7 ** np.arange(steps - 1, -1, -1)
        np.testing.assert_allclose(own.std[:, 0], expected, rtol=1e-5)
        belief = belief.fit(belief.sample(KEY, 8), jnp.full(8, 1 / 8))
    _, info = infer(planner, target(1), KEY, START, None)
    spread = [better_spread(returns) for returns in info.returns]
    np.testing.assert_allclose(info.temperature, 0.1 * np.array(spread), rtol=1e-3)  # in standard deviations
    assert (np.diff(spread) < 0).all()
    assert (jnp.diff(info.returns.std(-1)) < 0).all()


def test_model_based_diffusion_has_its_own_schedule():
    planner = planners.dial(HORIZON, num_iterations=100, std=1.0, horizon_factor=1.0, diffusion=True)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 1e-2, 100))
    np.testing.assert_allclose(planner.init(TARGET, START).schedule, np.sqrt(1 - alpha_bar)[::-1], rtol=1e-3)


# Path integrals ----------


def test_pi2_weighs_each_step_by_what_remains():
    """Against the loops of the definition: S_kt the cost to go, P = softmax over k of −h (S − min)/range."""

    def step(key, state, action):
        state = 0.8 * state + action[0]
        return state, -(state**2) - 0.1 * action[0] ** 2, 1.0

    model = dynamics.with_value(dynamics.from_function(step, 1), lambda state: -2.0 * state**2)
    options = {"num_samples": 30, "num_iterations": 1, "temperature": 0.2, "std": 0.6}
    planner = planners.pi2(4, **options, learn_std=True, std_min=1e-3, keep=KEEP)
    belief, info = infer(planner, model, KEY, jnp.ones(()), None)
    search = planner.init(model, jnp.ones(()))
    plans = np.asarray(proposed(planner, jax.random.split(KEY, (1, 2))[0, 0], search, 30).plans, float)
    rewards = np.zeros((30, 5))
    for k in range(30):
        state = 1.0
        for t in range(4):
            state = 0.8 * state + plans[k, t, 0]
            rewards[k, t] = -(state**2) - 0.1 * plans[k, t, 0] ** 2
        rewards[k, 4] = -2.0 * state**2
    to_go = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1][:, :4]
    np.testing.assert_allclose(info.returns[0], to_go[:, 0], rtol=1e-4)
    scaled = (to_go - to_go.max(0)) / np.array([better_range(step) for step in to_go.T]) / 0.2
    weights = np.exp(scaled) / np.exp(scaled).sum(0)
    np.testing.assert_allclose(belief.mean[:, 0], (weights * plans[..., 0]).sum(0), atol=1e-4)
    variance = (weights * plans[..., 0] ** 2).sum(0)  # about the old mean, which was 0
    np.testing.assert_allclose(belief.std[:, 0], np.sqrt(variance), atol=1e-4)
    np.testing.assert_allclose(info.weights[0], weights.mean(1), atol=1e-5)


def test_pi2_leaves_steps_alone_that_do_not_matter():
    """After the first step all plans are worth the same, to the last bit or by rounding only."""

    def step(key, state, action):
        return state + 1.0, jnp.where(state == 0, -1000.0 - 3.3 * action[0] ** 2, -0.123), 1.0

    planner = planners.pi2(8, num_samples=64, num_iterations=20, learn_std=True, keep=KEEP)
    belief, info = infer(planner, dynamics.from_function(step, 1), KEY, START, None)
    np.testing.assert_array_equal(belief.mean[1:], 0.0)
    np.testing.assert_array_equal(belief.std[1:], 0.5)
    assert abs(float(belief.mean[0, 0])) < 0.1
    np.testing.assert_allclose(info.weights.sum(-1), 1.0, rtol=1e-4)


# Evolution ----------


@pytest.mark.parametrize("name", ["CMA_ES", "Sep_CMA_ES", "SNES", "CR_FM_NES", "DifferentialEvolution", "SAMR_GA"])
def test_strategies_find_the_optimum(name):
    planner = planners.evolution(2, strategy=name, num_samples=32, num_iterations=60, std=0.5)
    belief, info = infer(planner, TARGET, KEY, START, None)
    np.testing.assert_allclose(belief.mode(), 0.5, atol=0.15)
    assert info.entropy is None
    assert info.kl is None
    shifted = planner.shift(belief)
    np.testing.assert_allclose(shifted.mode()[0], belief.mode()[1], atol=1e-4)
    assert jax.tree.structure(shifted) == jax.tree.structure(planner.init(TARGET, START))


def test_a_strategy_may_be_an_instance_with_choices_of_its_own():
    from evosax.algorithms import SV_CMA_ES

    several = SV_CMA_ES(population_size=8, num_populations=4, solution=jnp.zeros((2, 2)))
    planner = planners.evolution(2, strategy=several, num_samples=32, num_iterations=40)
    belief, _ = infer(planner, TARGET, KEY, START, None)
    np.testing.assert_allclose(belief.mode(), 0.5, atol=0.3)
    with pytest.raises(ValueError, match="num_samples must be the population size 32, got 16"):
        infer(dataclasses.replace(planner, num_samples=16), TARGET, KEY, START, None)
    with pytest.raises(ValueError, match="elite_fraction must be None for an instance"):
        planners.evolution(2, strategy=several, num_samples=32, elite_fraction=0.2)


def test_an_evolution_strategy_has_no_density():
    planner = planners.evolution(2, num_samples=16)
    with pytest.raises(ValueError, match="an evolution strategy has no density"):
        planner.init(TARGET, START).log_prob(jnp.zeros((3, 2, 2)))


def test_its_elite_fraction_is_the_strategys():
    for share, number in ((None, 20), (0.1, 4)):
        planner = planners.evolution(2, num_samples=40, elite_fraction=share)
        assert planner.init(TARGET, START).algorithm.made().num_elites == number


# What to execute ----------


def test_what_is_executed():
    def act(execute, keys):
        planner = planners.vi_mpc(3, num_components=2, std=0.1, execute=execute)
        search = planner.init(target(1), START)
        belief = dataclasses.replace(
            search.belief,
            means=jnp.array([[[-1.0]] * 3, [[1.0]] * 3]),
            log_weights=jnp.log(jnp.array([0.3, 0.7])),
        )
        search = dataclasses.replace(search, belief=belief)
        return jax.vmap(lambda key: planner.act(key, search))(keys)[:, 0]

    keys = jax.random.split(KEY, 4_000)
    np.testing.assert_allclose(act("mode", keys), 1.0)
    component = act("component", keys)
    np.testing.assert_allclose(jnp.abs(component), 1.0)
    sample = act("sample", keys)
    for actions in (component, sample):
        np.testing.assert_allclose((actions > 0).mean(), 0.7, atol=4.5 * 0.46 / 63)
    np.testing.assert_allclose(jnp.abs(sample).std(), 0.1, rtol=0.1)


def test_rho_is_of_the_likelihood_that_okada_writes():
    planner = planners.okada(4, temperature=2.0, lam=1.0, kappa=0.25, rho=1.0)
    np.testing.assert_allclose(planner.evaluator.rollouts.risk.theta, 0.5)
    np.testing.assert_allclose(planner.evaluator.likelihood.temperature, 0.5)


@pytest.mark.parametrize("covariance", ["diagonal", "full", "kronecker"])
def test_an_adapted_covariance_has_a_floor(covariance):
    """However alike the plans, even if only one counts."""
    belief = bound(planners.beliefs.gaussian_of(covariance, std=0.5, std_min=0.05), 4, 2)
    for spread, weights in ((1e-3, jnp.full(64, 1 / 64)), (0.5, jnp.zeros(64).at[3].set(1.0))):
        fitted = belief
        for _ in range(5):
            fitted = fitted.fit(spread * jax.random.normal(KEY, (64, 4, 2)), weights)
        assert jnp.diagonal(fitted.covariance()).min() > 0.95 * 0.05**2
        assert jnp.isfinite(fitted.log_prob(fitted.sample(KEY, 3))).all()


@pytest.mark.parametrize("covariance", ["diagonal", "full", "kronecker"])
def test_mppi_adapts_its_covariance(covariance):
    planner = planners.mppi(
        HORIZON, num_samples=500, num_iterations=8, covariance=covariance, std_min=0.02, smoothing=0.1
    )
    belief, _ = infer(planner, TARGET, KEY, START, None)
    assert jnp.trace(belief.covariance()) < 0.5 * jnp.trace(planner.init(TARGET, START).covariance())
    assert jnp.linalg.eigvalsh(belief.covariance()).min() > 0
    np.testing.assert_allclose(belief.mode(), 0.5, atol=0.15)


LEVELS = jnp.array([[-0.5], [0.5]])
CHOICE = dynamics.discretized(target(1), LEVELS)


def bind(planner, model=None):
    return planner.init(target(1) if model is None else model, START)


def composed(**options):
    return unchecked(planners.sampling_planner)(
        2, planners.beliefs.gaussian(), planners.likelihoods.Best(), **options
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: composed(num_samples=4, step_size=planners.step_sizes.step_size(0.5)), "step_size needs a prior"),
        (lambda: composed(num_samples=(4, 4), num_iterations=3), "num_samples must be one number, or 3 of them"),
        (lambda: composed(num_samples=4, per_step=True, prior="flat"), "per_step takes no prior"),
        (
            lambda: bind(planners.cem(2, num_samples=8, num_kept=8)),
            "num_samples must leave plans to draw beside 8 kept",
        ),
        (
            lambda: bind(planners.cem(2, num_samples=8, explore_fraction=0.99)),
            "the fraction 0.99 of explorers, got 8",
        ),
        (lambda: bind(planners.evolution(2, execute="sample")), "execute='sample' needs a belief to draw from"),
        (lambda: bind(planners.cem(4, num_knots=2, execute="component")), "a belief of several modes, got Gaussian"),
        (
            lambda: bind(planners.vi_mpc(2, enumerate_plans=True, num_kept=1), CHOICE),
            "an enumeration has them all already",
        ),
        (
            lambda: planners.mppi(2, covariance="round"),
            "covariance must be one of fixed, diagonal, full, kronecker",
        ),
        (
            lambda: bind(planners.mppi(2, inflation=2.0)),
            "inflation needs a belief that learns its spread, got Gaussian",
        ),
        (lambda: bind(planners.dial(2, inflation=2.0)), "inflation needs a belief that learns its spread"),
        (lambda: bind(planners.evolution(2, inflation=2.0)), "inflation needs a belief that learns its spread"),
        (lambda: planners.cem(2, warm_start=False, tail="zero"), "tail and inflation need a warm start"),
        (lambda: composed(num_samples=4, warm_start="no"), "warm_start must be True or False, got 'no'"),
        (lambda: composed(num_samples=4, clip_plans=1), "clip_plans must be True or False, got 1"),
        (lambda: composed(num_samples=4, common_noise="yes"), "common_noise must be True or False, got 'yes'"),
        (lambda: dynamics.discretized(target(1), [[0.0, 1.0], [1.0, 0.0]]), r"actions must have shape \[C, 1\]"),
        (
            lambda: bind(planners.evolution(2, strategy="Open_ES", num_samples=7)),
            "num_samples must suit Open_ES, got 7: Population size must be even",
        ),
        (lambda: bind(planners.evolution(2, strategy="RandomSearch")), "RandomSearch needs more than a size"),
        (lambda: planners.vi_mpc(2, max_kl=0.1, step_size=0.5), "step_size and max_kl choose the step size"),
        (lambda: planners.icem(2, num_kept=1), "num_kept is keep_fraction and shift_fraction in icem"),
        (lambda: planners.okada(2, kappa=0.0), "kappa must be finite and > 0 and <= 1, got 0.0"),
        (lambda: planners.okada(2, lam=-1.0), "lam must be finite and > 0, got -1.0"),
        (lambda: planners.dial(2, iteration_factor=1.5), "iteration_factor must be finite and > 0 and <= 1"),
        (
            lambda: planners.mppi(2, prior="none"),
            "prior must be a family, an object with log_prob, or 'flat', got 'none'",
        ),
        (lambda: unchecked(planners.icem)(2, keep_fraction="all"), "keep_fraction must be a number"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("factory", "options", "name", "model"),
    [
        (planners.vi_mpc, {"std": 0.3}, "vi_mpc on Discretized .*: std must not be given", CHOICE),
        (planners.vi_mpc, {"std_min": 0.1}, "vi_mpc on Discretized .*: std_min must not be given", CHOICE),
        (
            planners.vi_mpc,
            {"noise_exponent": 2.0},
            "vi_mpc on Discretized .*: noise_exponent must not be given",
            CHOICE,
        ),
        (
            planners.vi_mpc,
            {"noise_exponent": 1.0},
            "vi_mpc on Discretized .*: noise_exponent must not be given",
            CHOICE,
        ),
        (planners.vi_mpc, {"prior_std": 1.0}, "vi_mpc on Discretized .*: prior_std must not be given", CHOICE),
        (planners.vi_mpc, {"covariance": "full"}, "vi_mpc on Discretized .*: covariance must not be given", CHOICE),
        (
            planners.vi_mpc,
            {"num_components": 2},
            "vi_mpc on Discretized .*: num_components must not be given",
            CHOICE,
        ),
        (planners.vi_mpc, {"enumerate_plans": True, "num_samples": 8}, "num_samples=8", CHOICE),
        (planners.vi_mpc, {"enumerate_plans": True, "std": 0.3}, "std must not be given", CHOICE),
        (planners.vi_mpc, {"enumerate_plans": True}, "an enumeration needs discrete actions", None),
        (planners.mppi, {"covariance": "full"}, "covariance must not be given", CHOICE),
        (planners.cem, {"smoothing": 0.3}, "smoothing must not be given", CHOICE),
        (planners.cem, {"std_min": 0.3}, "std_min must not be given", CHOICE),
        (planners.icem, {"noise_exponent": 2.0}, "noise_exponent must not be given", CHOICE),
        (planners.tsallis, {"learn_std": True}, "learn_std must not be given", CHOICE),
        (planners.vi_mpc, {"num_components": 2, "noise_exponent": 1.0}, "noise_exponent=1.0", None),
        (planners.okada, {"std": 0.3}, "okada on Discretized .*: std must not be given", CHOICE),
        (planners.smc, {"std": 0.3}, "smc on Discretized .*: std must not be given", CHOICE),
        (planners.smc, {"std_min": 0.3}, "std_min=0.3", CHOICE),
        (planners.smc, {"noise_exponent": 1.0}, "smc on Discretized .*: noise_exponent must not be given", CHOICE),
        (planners.smc, {"num_components": 2, "noise_exponent": 1.0}, "noise_exponent=1.0", None),
        (planners.smc, {"std_min": 0.3}, "std_min=0.3", None),
        (planners.mppi, {"std_min": 0.1}, "std_min=0.1", None),
        (planners.pi2, {"std_min": 0.1}, "std_min=0.1", None),
        (planners.tsallis, {"std_min": 0.1}, "std_min=0.1", None),
        (planners.dial, {"diffusion": True, "iteration_factor": 0.5}, "iteration_factor=0.5", None),
        (planners.icem, {"warm_start": False, "shift_fraction": 0.3}, "shift_fraction=0.3", None),
        (planners.ilqr, {"num_samples": 0, "std": 0.5}, "std=0.5", None),
        (planners.ilqr, {"num_samples": 0, "noise_exponent": 2.0}, "noise_exponent=2.0", None),
        (planners.gradient, {"num_samples": 1, "std": 0.5}, "std=0.5", None),
    ],
)
def test_options_that_mean_nothing_are_refused(factory, options, name, model):
    """By the factory, or where it meets a model of discrete actions, for which they have no meaning."""
    with pytest.raises(ValueError, match=name):
        bind(factory(3, **options), model)


def test_options_mean_something_where_they_do():
    for options in ({}, {"noise_exponent": None}):
        bind(planners.vi_mpc(3, **options), CHOICE)
    for factory, options in (
        (planners.vi_mpc, {"num_components": 2, "std": 0.3, "std_min": 0.1}),
        (planners.mppi, {"covariance": "diagonal", "std_min": 0.1}),
        (planners.mppi, {"smoothing": 0.1}),
        (planners.smc, {"covariance": "diagonal", "std_min": 0.1}),
        (planners.tsallis, {"learn_std": True, "std_min": 0.1}),
        (planners.ilqr, {"num_samples": 2, "std": 0.1, "noise_exponent": None}),
    ):
        bind(factory(3, **options))
    belief = bind(planners.vi_mpc(3)).belief  # what they are unless given
    np.testing.assert_allclose(
        belief.covariance()[0], 0.25 * planners.beliefs.noise.coloured_correlation(3, 1.0)[0], rtol=1e-5
    )
    assert belief.std_min == jnp.float32(0.05)


class TestStrategiesOutliveTheProgramInWhichTheyAreMade:
    @staticmethod
    def found(std, num_samples, **options):
        planner = planners.evolution(2, num_samples=num_samples, num_iterations=2, std=std, **options)
        return planners.infer(planner, TARGET, KEY, START, None)[0].mode()

    # sizes that no other test has: one object serves all planners of a size
    @pytest.mark.parametrize(
        ("size", "options"), [(18, {}), (22, {"strategy": "SimpleGA"}), (26, {"elite_fraction": 0.3})]
    )
    def test_first_under_jit_then_without(self, size, options):
        traced = jax.jit(lambda std: self.found(std, size, **options))(0.5)
        np.testing.assert_allclose(traced, self.found(0.5, size, **options), rtol=1e-3, atol=1e-4)
        several = jax.jit(jax.vmap(lambda std: self.found(std, size, **options)))(jnp.array([0.5, 0.3]))
        np.testing.assert_allclose(several[0], traced, rtol=1e-3, atol=1e-4)

    def test_first_under_vmap_then_in_double_precision(self):
        several = jax.vmap(lambda std: self.found(std, 28))(jnp.array([0.5, 0.3]))
        with jax.enable_x64(True):
            first = planners.evolution(2, num_samples=28).init(TARGET, START)
            assert first.mode().dtype == jnp.float64
        np.testing.assert_allclose(self.found(0.3, 28), several[1], rtol=1e-3, atol=1e-4)

    def test_one_object_serves_all_planners_of_a_size(self):
        one, other = (planners.evolution(2, num_samples=18, std=std).init(TARGET, START) for std in (0.5, 0.3))
        assert one.algorithm == other.algorithm
        assert one.algorithm.made() is other.algorithm.made()


def test_paets_is_okada_with_a_mixture():
    options = {"num_samples": 64, "num_iterations": 3, "temperature": 0.4, "keep": KEEP}
    belief, info = infer(planners.paets(HORIZON, num_components=3, kappa=0.25, **options), TARGET, KEY, START, None)
    other, others = infer(planners.okada(HORIZON, num_components=3, kappa=0.25, **options), TARGET, KEY, START, None)
    np.testing.assert_array_equal(info.weights, others.weights)
    np.testing.assert_array_equal(belief.mode(), other.mode())
    assert info.temperature[-1] == pytest.approx(0.1)
