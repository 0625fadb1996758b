"""Mirror descent, against what theory says it ends at."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound, random_linear_quadratic, target

from mirrax import dynamics, planners

HORIZON, TEMPERATURE = 4, 0.8
infer = jax.jit(planners.infer)


@pytest.fixture(scope="module")
def problem():
    """The problem, its posterior under the prior N(0, 2), and the posterior's covariance and precision."""
    model = random_linear_quadratic(n=2, m=1)
    prior = bound(planners.beliefs.gaussian(std=2.0**0.5), HORIZON, 1)
    posterior = model.plan_posterior(model.start, HORIZON, TEMPERATURE, prior_covariance=prior.covariance())
    covariance = np.asarray(posterior.covariance, float)
    return model, prior, posterior, covariance, np.linalg.inv(covariance)


def vi_mpc(prior, **options):
    common = {"num_samples": 20_000, "num_iterations": 25, "std": 2.0**0.5, "std_min": 1e-3, "noise_exponent": None}
    step = {} if {"step_size", "max_kl"} & options.keys() else {"target_ess": 0.5}
    return planners.vi_mpc(HORIZON, temperature=TEMPERATURE, prior=prior, **(common | step | options))


def started_at_one(planner, model):
    return dataclasses.replace(planner.init(model, model.start).belief, mean=jnp.ones((HORIZON, 1)))


@pytest.mark.parametrize(
    "options",
    [
        {"step_size": 0.1, "num_iterations": 90},
        {"step_size": 0.5},
        {"step_size": 1.0, "num_iterations": 5},
        {"target_ess": 0.5},
        {"max_kl": 0.3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_full_covariance_is_the_posterior(problem, options):
    """Mean, covariance, evidence and ELBO, for every step size."""
    model, prior, posterior, covariance, precision = problem
    planner = vi_mpc(prior, covariance="full", **options)
    belief, info = infer(planner, model, jax.random.key(0), model.start, started_at_one(planner, model))
    off = np.asarray(belief.mean - posterior.mean, float).ravel()
    assert np.sqrt(off @ precision @ off) < 0.05
    error = np.linalg.norm(np.asarray(belief.covariance(), float) - covariance) / np.linalg.norm(covariance)
    assert error < 0.05
    assert abs(float(info.log_evidence[-1] - posterior.log_evidence)) < 0.01
    assert abs(float(info.elbo[-1] - posterior.log_evidence)) < 0.01
    assert info.elbo_gap[-1] < 0.01
    assert info.posterior_kl[-1] < 0.01
    assert 0 < info.step_size[-1] <= 1.0
    if "target_ess" in options:
        np.testing.assert_allclose(info.step_size[-1], 1.0)  # at the posterior all plans weigh the same
    # the ELBO never falls but by what 20 000 samples leave to chance
    noise = 4.5 * np.sqrt(HORIZON / 20_000) * np.maximum(1.0, np.sqrt(np.abs(np.asarray(info.elbo_gap))))
    assert (np.diff(np.asarray(info.elbo)) > -noise[1:]).all()


def exact_diagonal(step, covariance_inverse, posterior_mean, iterations=20_000):
    """The fixed point of forward projections onto diagonal Gaussians, iterated exactly (spec 1.3)."""
    variance, mean = np.full(len(posterior_mean), 2.0), np.zeros(len(posterior_mean))
    for _ in range(iterations):
        moved = np.linalg.inv((1 - step) * np.diag(1 / variance) + step * covariance_inverse)
        mean = moved @ ((1 - step) * mean / variance + step * covariance_inverse @ posterior_mean)
        variance = np.diag(moved).copy()
    return mean, variance


@pytest.mark.parametrize("step", [1.0, 0.5, 0.1])
def test_diagonal_covariance_has_its_own_fixed_point(problem, step):
    """Marginal variances at κ = 1, towards 1/Λᵢᵢ as κ → 0, and the right mean everywhere."""
    model, prior, posterior, covariance, precision = problem
    planner = vi_mpc(prior, step_size=step, num_iterations=round(12 / step), num_samples=60_000)
    belief, _ = infer(planner, model, jax.random.key(1), model.start, started_at_one(planner, model))
    mean, variance = exact_diagonal(step, precision, np.asarray(posterior.mean, float).ravel())
    np.testing.assert_allclose(mean, np.asarray(posterior.mean).ravel(), atol=1e-6)
    np.testing.assert_allclose(belief.mean.ravel(), mean, atol=0.05)
    np.testing.assert_allclose(belief.std.ravel() ** 2, variance, rtol=0.05)
    if step == 1.0:
        np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-6)
    elif step == 0.1:
        assert (
            np.abs(variance * np.diag(precision) - 1).max()
            < 0.5 * np.abs(np.diag(covariance) * np.diag(precision) - 1).max()
        )


def test_the_limit_of_small_steps_is_the_mean_field_optimum(problem):
    _, _, posterior, _, precision = problem
    _, variance = exact_diagonal(1e-3, precision, np.asarray(posterior.mean, float).ravel())
    np.testing.assert_allclose(variance, 1 / np.diag(precision), rtol=2e-2)


def test_a_flat_prior_leaves_the_likelihood_alone(problem):
    model, _, _, _, _ = problem
    posterior = model.plan_posterior(model.start, HORIZON, TEMPERATURE)
    planner = vi_mpc("flat", covariance="full")
    belief, info = infer(planner, model, jax.random.key(2), model.start, None)
    np.testing.assert_allclose(belief.covariance(), posterior.covariance, atol=0.05 * posterior.covariance.max())
    assert abs(float(info.log_evidence[-1] - posterior.log_evidence)) < 0.02


def test_okada_ends_at_its_stationary_temperature(problem):
    """W^(1/λ) q^(−κ) has the fixed point W^(1/c), c = λκ: the temperature λκβ."""
    model, _, _, _, _ = problem
    planner = planners.okada(
        HORIZON,
        temperature=TEMPERATURE,
        lam=0.6,
        kappa=0.5,
        num_samples=20_000,
        num_iterations=25,
        covariance="full",
        noise_exponent=None,
        std=1.4,
        std_min=1e-3,
    )
    belief, info = infer(planner, model, jax.random.key(3), model.start, None)
    np.testing.assert_allclose(info.temperature, 0.6 * 0.5 * TEMPERATURE, rtol=1e-6)
    truth = model.plan_posterior(model.start, HORIZON, 0.6 * 0.5 * TEMPERATURE).covariance
    np.testing.assert_allclose(belief.covariance(), truth, atol=0.05 * truth.max())


def test_kronecker_covariance_finds_a_product():
    """A return whose Hessian is a Kronecker product has a posterior whose covariance is one."""
    rng = np.random.default_rng(0)
    roots = [rng.normal(size=(n, n)) / np.sqrt(n) for n in (3, 2)]
    time, action = (root @ root.T + 0.3 * np.eye(len(root)) for root in roots)
    precision = jnp.asarray(np.kron(np.linalg.inv(time), np.linalg.inv(action)), jnp.float32)

    def step(key, state, action):  # the state keeps the plan; what it is worth is known at its end
        count, plan = state
        return (count + 1, plan.at[count].set(action)), 0.0, 1.0

    def value(state):
        flat = state[1].reshape(-1)
        return -0.5 * flat @ precision @ flat

    model = dynamics.with_value(dynamics.from_function(step, 2), value)
    planner = planners.vi_mpc(
        3,
        num_samples=20_000,
        num_iterations=20,
        temperature=1.0,
        step_size=0.7,
        prior="flat",
        covariance="kronecker",
        noise_exponent=None,
        std=1.0,
        std_min=1e-3,
    )
    belief, info = infer(planner, model, jax.random.key(0), (jnp.zeros((), int), jnp.zeros((3, 2))), None)
    truth = np.kron(time, action)
    assert np.linalg.norm(belief.covariance() - truth) / np.linalg.norm(truth) < 0.05
    np.testing.assert_allclose(jnp.trace(belief.time_tril @ belief.time_tril.T), 3.0, rtol=2e-3)
    assert info.elbo_gap[-1] < 0.02


# Discrete plans, where the loop is the equation itself ----------


def three_steps(key, state, action):
    return state + action[0], -((state + action[0] - 0.7) ** 2), 1.0


TRACK = dynamics.discretized(dynamics.from_function(three_steps, 1), [[-1.0], [0.2], [1.0]])


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Favourite:
    """A prior that is not uniform: the second action is four times as likely as each of the others."""

    odds: jax.Array

    def log_prob(self, plans):
        return jnp.where(plans == 1, self.odds, 0.0).sum(-1) - 3 * jnp.log(2 + jnp.exp(self.odds))


def exact_posterior(temperature):
    plans = jnp.stack(jnp.meshgrid(*[jnp.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    returns = np.asarray(planners.rollout(TRACK, jax.random.key(0), jnp.zeros(()), plans), float)
    return np.asarray(Favourite(jnp.log(4.0)).log_prob(plans), float) + returns / temperature


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
def test_enumeration_is_the_geometric_path(size):
    """log q_n = (1 − κ)ⁿ log q₀ + (1 − (1 − κ)ⁿ) log (p W) + const; the ELBO rises to the evidence."""
    iterations = 12
    planner = planners.vi_mpc(
        3,
        enumerate_plans=True,
        temperature=0.5,
        step_size=size,
        num_iterations=iterations,
        prior=Favourite(jnp.log(4.0)),
    )
    belief, info = infer(planner, TRACK, jax.random.key(0), jnp.zeros(()), None)
    joint = exact_posterior(0.5)
    kept = (1 - size) ** iterations
    path = kept * -np.log(27.0) + (1 - kept) * joint
    np.testing.assert_allclose(belief.log_probs, path - np.log(np.exp(path).sum()), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(info.log_evidence, np.log(np.exp(joint).sum()), rtol=1e-4)  # in every iteration
    assert (np.diff(np.asarray(info.elbo)) > -1e-5).all()
    if size == 1.0:
        np.testing.assert_allclose(info.elbo[-1], info.log_evidence[-1], atol=1e-4)
    shifted = planner.shift(belief)
    table = np.exp(np.asarray(belief.log_probs)).reshape(3, 3, 3)
    expected = np.repeat(table.sum(0).reshape(9, 1), 3, axis=1) / 3
    np.testing.assert_allclose(np.exp(shifted.log_probs), expected.ravel(), rtol=1e-3)


def test_enumeration_is_exact_unless_told_otherwise():
    planner = planners.vi_mpc(3, enumerate_plans=True, temperature=0.1, prior=Favourite(jnp.log(4.0)))
    belief, info = infer(planner, TRACK, jax.random.key(0), jnp.zeros(()), None)
    joint = exact_posterior(0.1)
    np.testing.assert_allclose(jnp.exp(belief.log_probs), np.exp(joint - np.log(np.exp(joint).sum())), atol=1e-5)
    np.testing.assert_allclose(info.elbo[-1], info.log_evidence[-1], atol=1e-3)
    over_knots = planners.vi_mpc(9, enumerate_plans=True, num_knots=3, interpolation="zero")
    first = over_knots.init(TRACK, jnp.zeros(()))
    assert first.knots.log_probs.shape == (27,)
    assert first.mode().shape == (9,)


def test_categorical_gives_the_posteriors_marginals():
    """At κ = 1 the projection is that of the posterior itself: its marginals, smoothed."""
    planner = planners.vi_mpc(
        3,
        temperature=0.5,
        step_size=1.0,
        num_samples=20_000,
        num_iterations=3,
        prior=Favourite(jnp.log(4.0)),
    )
    belief, info = infer(planner, TRACK, jax.random.key(0), jnp.zeros(()), None)
    joint = exact_posterior(0.5)
    table = np.exp(joint - np.log(np.exp(joint).sum())).reshape(3, 3, 3)
    marginals = np.stack([table.sum(tuple(set(range(3)) - {t})) for t in range(3)])
    np.testing.assert_allclose(np.exp(belief.log_probs), 0.98 * marginals + 0.02 / 3, atol=0.01)
    np.testing.assert_allclose(info.log_evidence[-1], np.log(np.exp(joint).sum()), atol=0.02)


# Two ways round ----------


def lopsided(key, state, action):
    """A choice between −1 (worth 0) and +1 (worth log 2), and nothing between: one step, one actuator."""
    x = action[0]
    left, right = -((x + 1.0) ** 2) / (2 * 0.15**2), jnp.log(2.0) - (x - 1.0) ** 2 / (2 * 0.15**2)
    return state, jnp.logaddexp(left, right), 1.0


@pytest.mark.parametrize("step", [0.1, 0.3, 1.0])
def test_unequal_ways_keep_their_weights_at_every_step_size(step):
    """2/3 and 1/3, with 4 or more components, for every key."""
    model = dynamics.from_function(lopsided, 1)
    options = {"num_samples": 1_000, "num_iterations": round(10 + 3 / step), "temperature": 1.0, "prior": "flat"}
    planner = planners.vi_mpc(1, num_components=5, std=0.7, std_min=0.02, step_size=step, **options)
    run = jax.vmap(lambda key: planners.infer(planner, model, key, jnp.zeros(())))
    beliefs, info = jax.jit(run)(jax.random.split(jax.random.key(0), 16))
    right = (jnp.exp(beliefs.log_weights) * (beliefs.means[..., 0, 0] > 0)).sum(-1)
    np.testing.assert_allclose(right, 2 / 3, atol=0.08)
    truth = np.log(3 * np.sqrt(2 * np.pi) * 0.15)
    np.testing.assert_allclose(info.log_evidence[:, -1], truth, atol=0.15)
    np.testing.assert_allclose(info.log_evidence[:, -1].mean(), truth, atol=0.05)


def test_a_mixture_keeps_both_ways_with_their_weights():
    model = dynamics.from_function(lopsided, 1)
    options = {"num_samples": 4_000, "num_iterations": 20, "temperature": 1.0, "prior": "flat", "step_size": 0.5}
    both = planners.vi_mpc(1, num_components=4, std=0.7, std_min=0.02, **options)
    belief, info = infer(both, model, jax.random.key(0), jnp.zeros(()), None)
    weights = jnp.exp(belief.log_weights)
    right = weights[belief.means[:, 0, 0] > 0].sum()
    np.testing.assert_allclose(right, 2 / 3, atol=0.03)
    np.testing.assert_allclose(jnp.abs(belief.means).ravel()[weights > 0.05], 1.0, atol=0.05)
    truth = np.log(3 * np.sqrt(2 * np.pi) * 0.15)  # ∫ W
    assert abs(float(info.log_evidence[-1]) - truth) < 0.05
    np.testing.assert_allclose(belief.mode(), 1.0, atol=0.05)
    one = planners.vi_mpc(1, std=0.7, std_min=0.02, noise_exponent=None, **options)
    averaged, told = infer(one, model, jax.random.key(0), jnp.zeros(()), None)
    assert abs(float(averaged.mean[0, 0])) < 0.9 or told.elbo_gap[-1] > 0.3  # between the ways, or one way lost


def around(key, state, action):
    """On along x, up or down along y, and a disc at (1.5, 0) in the way."""
    x, y = state[0] + 0.3, state[1] + 0.3 * jnp.clip(action[0], -2.0, 2.0)
    inside = (x - 1.5) ** 2 + y**2 < 0.5
    return jnp.array([x, y]), -5.0 * inside - 0.3 * y**2, 1.0


@pytest.fixture(scope="module")
def two_ways():
    """(planner, seed, beliefs) -> (beliefs, masses of the upper way, evidences), of 16 of each."""
    model, start = dynamics.from_function(around, 1), jnp.zeros(2)

    @jax.jit
    def run(planner, seed, beliefs):
        keys = jax.random.split(jax.random.key(seed), 16)
        beliefs, info = jax.vmap(lambda key, belief: planners.infer(planner, model, key, start, belief))(
            keys, beliefs
        )
        side = jnp.clip(beliefs.means[..., :5, 0], -2.0, 2.0).sum(-1)  # where x = 1.5
        return beliefs, (jnp.exp(beliefs.log_weights) * (side > 0)).sum(-1), info.log_evidence[:, -1]

    return run


def evidence_of_two_ways():
    """By importance sampling from the prior, N(0, 0.8²), with its standard error."""
    plans = 0.8 * jax.random.normal(jax.random.key(9), (2**19, 8, 1))
    returns = jax.jit(planners.rollout)(dynamics.from_function(around, 1), jax.random.key(0), jnp.zeros(2), plans)
    weights = np.exp(2.0 * np.asarray(returns, float))
    return np.log(weights.mean()), weights.std() / weights.mean() / 2**9.5


@pytest.mark.slow
@pytest.mark.parametrize(("num_components", "num_samples"), [(4, 2_048), (2, 512)])
def test_small_steps_lose_no_way_round(two_ways, num_components, num_samples):
    """Both ways are equally good: for every step size each keeps half, and the evidence does not lack log 2."""
    truth, error = evidence_of_two_ways()
    np.testing.assert_allclose(truth, -5.63, atol=0.02)
    options = {"num_components": num_components, "num_samples": num_samples, "num_iterations": 20}
    for step in (0.1, 0.3, 1.0):
        planner = planners.vi_mpc(8, temperature=0.5, std=0.8, step_size=step, **options)
        first = planner.init(dynamics.from_function(around, 1), jnp.zeros(2))
        beliefs = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (16, *leaf.shape)), first)
        if num_samples < 1_000 and step == 1.0:  # of whose plans a handful has weight: no way for whole steps
            continue
        calls = 6 if num_samples > 1_000 and step == 0.3 else 1
        for seed in range(calls):  # and warm starts do not drift to one of them
            beliefs, up, evidence = two_ways(planner, seed, beliefs)
            noise = 0.1 if num_samples > 1_000 else 0.2
            assert np.abs(up - 0.5).max() < (noise if seed == 0 else 0.15), (step, seed, up)
            assert abs(float(up.mean()) - 0.5) < 0.35 * noise
            spread = float(evidence.std())
            assert spread < 3 * noise
            assert abs(float(evidence.mean()) - truth) < 4.5 * (spread / 4 + error) + spread**2 / 2, (step, seed)
            assert abs(float(evidence.mean()) - truth) < noise


def test_around_an_obstacle_the_mixture_goes_and_the_gaussian_does_not():
    """A point mass must reach a goal behind a wall straight ahead; both ways round are equally good."""
    model = dynamics.point_mass(obstacles=((1.5, 0.0, 0.7),))
    start, key = jnp.zeros(4), jax.random.key(0)
    options = {"num_samples": 2_000, "num_iterations": 25, "step_size": 0.3, "temperature": 0.3, "std": 1.0}
    options |= {"num_knots": 6, "noise_exponent": None}
    follow = jax.vmap(lambda plan: planners.trajectory(model, key, start, plan))
    both, info = infer(planners.vi_mpc(25, num_components=6, **options), model, key, start, None)
    paths = follow(both.means)
    weights = jnp.exp(both.log_weights)
    at_wall = jnp.argmin(jnp.abs(paths.states[..., 0] - 1.5), axis=1)
    side = jnp.take_along_axis(paths.states[..., 1], at_wall[:, None], 1)[:, 0]
    assert (paths.discounts[weights > 0.05, -1] == 1).all()  # no heavy component runs into the wall
    above, below = (float(weights[sign * side > 0.7].sum()) for sign in (1, -1))
    assert min(above, below) > 0.25, (above, below)  # by symmetry 1/2 each, but for the noise of 25 fits
    assert follow(both.mode()[None]).discounts[0, -1] == 1

    # the one Gaussian nearest to that posterior goes straight ahead
    averaged = bound(planners.beliefs.full_gaussian(), 25, 2).fit(both.sample(key, 4_000), jnp.full(4_000, 1 / 4_000))
    path = follow(averaged.mode()[None])
    assert path.discounts[0, -1] == 0
    assert jnp.abs(path.states[0, :, 1]).max() < 0.5
    # and one that planned for itself has lost one way or both, a factor of two of the evidence at the least
    _, told = infer(planners.vi_mpc(25, **options), model, key, start, None)
    assert info.elbo[-1] > told.elbo[-1] + 0.3


def test_the_default_prior_is_as_wide_as_the_initial_belief():
    for options, std in (({"std": 0.7}, 0.7), ({"std": 0.7, "prior_std": 1.3}, 1.3)):
        planner = planners.vi_mpc(3, **options)
        first = planner.init(target(1), jnp.zeros(()))
        own = first.initial.prior.distribution
        np.testing.assert_allclose(own.std, std)
        prior, belief = (one.color.correlation() for one in (own, first.belief))
        np.testing.assert_allclose(prior, belief)
        assert jnp.abs(belief - jnp.eye(3)).max() > 0.1  # and is correlated
