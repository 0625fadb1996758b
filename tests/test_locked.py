"""Actuators that do not move: a standard deviation of 0, equal limits; all else is as if they were not there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from problems import bound, target
from scipy import integrate, stats

from mirrax import dynamics, planners
from mirrax.planners.beliefs import moments

H, LOCKED = 4, 0.3
KEY = jax.random.key(0)
beliefs = planners.beliefs
FAMILIES = {
    "gaussian": lambda **o: beliefs.gaussian(**o),
    "coloured": lambda **o: beliefs.gaussian(noise_exponent=1.0, **o),
    "smoothed": lambda **o: beliefs.gaussian(smoothing=0.3, unbiased=True, about_old_mean=True, **o),
    "full": lambda **o: beliefs.full_gaussian(**o),
    "full, coloured": lambda **o: beliefs.full_gaussian(noise_exponent=1.0, smoothing=0.2, **o),
    "kronecker": lambda **o: beliefs.kronecker_gaussian(noise_exponent=1.0, **o),
    "mixture": lambda **o: beliefs.mixture(num_components=2, num_draws=4_000, **o),
    "annealed": lambda **o: beliefs.annealed(beliefs.gaussian(learn_std=False, **o), [1.0, 0.5]),
    "splined": lambda **o: beliefs.splined(beliefs.gaussian(**o), 3),
    "remembering": lambda **o: beliefs.remembering(beliefs.gaussian(**o), num_kept=1, num_shifted=1),
}


def pair(name):
    """Beliefs over two actuators, of which the first is locked, and over the second alone."""
    both = bound(FAMILIES[name](mean=(LOCKED, 0.1), std=(0.0, 0.5)), H, 2)
    alone = bound(FAMILIES[name](mean=0.1, std=0.5), H, 1)
    if name == "mixture":  # where components start depends on the number of actuators
        both = dataclasses.replace(both, means=both.means.at[..., 1].set(alone.means[..., 0]))
    return both, alone


def with_locked(plans):
    return jnp.concatenate([jnp.full_like(plans, LOCKED), plans], axis=-1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_belief_is_that_over_the_other_actuators(name):
    both, alone = pair(name)
    start = both, alone
    rough = 0.05 if name == "mixture" else 2e-5  # whose entropy and divergence are estimates
    for i in range(3):
        plans = alone.sample(jax.random.key(i), 300)
        pairs = with_locked(plans)
        np.testing.assert_allclose(both.log_prob(pairs), alone.log_prob(plans), atol=2e-3, rtol=2e-4)
        if hasattr(both, "step_log_probs"):
            step = both.step_log_probs(pairs), alone.step_log_probs(plans)
            np.testing.assert_allclose(*step, atol=1e-3, rtol=2e-4)
        np.testing.assert_allclose(both.entropy(), alone.entropy(), atol=10 * rough)
        np.testing.assert_allclose(both.kl(start[0]), alone.kl(start[1]), atol=10 * rough, rtol=10 * rough)
        weights = jax.nn.softmax(2.0 * plans.sum((1, 2)))
        both, alone = both.fit(pairs, weights), alone.fit(plans, weights)
        np.testing.assert_allclose(both.mode()[:, 1:], alone.mode(), atol=1e-4)
        np.testing.assert_allclose(both.mode()[:, 0], LOCKED, atol=2e-7)
        assert np.ptp(both.sample(KEY, 50)[..., 0]) == 0
    for how in (beliefs.shift_by_one(tail="zero"), beliefs.shift_by_one(inflation=1.5)):
        later, sole = both.shift(start[0], how), alone.shift(start[1], how)
        np.testing.assert_allclose(later.mode()[:, 0], LOCKED, atol=2e-7)
        np.testing.assert_allclose(later.entropy(), sole.entropy(), atol=10 * rough)
        assert np.ptp(later.sample(KEY, 50)[..., 0]) == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_traced_std_of_0_has_finite_derivatives(name):
    plans = with_locked(pair(name)[1].sample(KEY, 40))

    def total(std, plans):
        belief = bound(FAMILIES[name](mean=(LOCKED, 0.1), std=std), H, 2)
        fitted = belief.fit(plans, jax.nn.softmax(plans.sum((1, 2))))
        shifted = fitted.shift(belief, beliefs.shift_by_one(inflation=1.5))
        return belief.log_prob(plans).sum() + fitted.entropy() + fitted.kl(belief) + shifted.entropy()

    value, slopes = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(jnp.array([0.0, 0.5]), plans)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def locking(factory):
    """A planner whose first of two actuators does not move, as far as it has a std."""
    name = factory.__name__
    options = {"std": (0.0, 0.4)}
    sizes = {"num_samples": 64, "num_iterations": 12}
    match name:
        case "random_shooting":
            sizes.pop("num_iterations")
        case "ilqr" | "iterative_policy":
            sizes["num_samples"] = 8 if name == "ilqr" else 64
    return factory(H, **sizes, **options)


OF_INDICATORS = {"elbo", "elbo_gap", "log_evidence", "posterior_kl"}  # infinite where no sample has weight
INDICATORS = {"random_shooting", "predictive_sampling", "cem", "icem", "tsallis", "evolution"}


@pytest.mark.parametrize("name", ["gaussian", "full", "full, coloured", "kronecker"])
@pytest.mark.parametrize("stds", [((0.3, 0.0), (0.5, 0.4)), ((0.0, 0.3), (0.5, 0.4)), ((0.3, 0.2), (0.0, 0.5))])
def test_the_divergence_is_that_of_the_numbers_that_move_in_both(name, stds):
    own, other = (bound(FAMILIES[name](mean=mean, std=std), H, 2) for mean, std in zip((0.1, 0.3), stds, strict=True))
    moves = ~np.asarray(own.locks | other.locks).ravel()
    np.testing.assert_allclose(own.kl(other), divergence(own, other, moves), rtol=1e-4)


def test_the_divergence_from_a_correlated_belief_is_that_from_its_marginal():
    other = bound(beliefs.full_gaussian(std=0.5), H, 2)
    plans = jax.random.normal(KEY, (500, H, 2))
    other = other.fit(plans.at[..., 1].add(plans[..., 0]), jnp.full(500, 1 / 500))
    for std in ((0.3, 0.0), (0.0, 0.3)):
        own = bound(beliefs.full_gaussian(std=std, mean=0.1), H, 2)
        moves = ~np.asarray(own.locks).ravel()
        np.testing.assert_allclose(own.kl(other), divergence(own, other, moves), rtol=1e-3)


def divergence(own, other, moves):
    """KL of two Gaussians over some of their numbers, in double precision."""
    block = np.ix_(moves, moves)
    ours, theirs = (np.asarray(belief.covariance(), np.float64)[block] for belief in (own, other))
    apart = np.asarray(own.mode() - other.mode(), np.float64).ravel()[moves]
    inner = np.linalg.solve(theirs, np.column_stack([ours, apart]))
    log_dets = np.linalg.slogdet(theirs)[1] - np.linalg.slogdet(ours)[1]
    return 0.5 * (np.trace(inner[:, :-1]) + apart @ inner[:, -1] - moves.sum() + log_dets)


@pytest.mark.parametrize("covariance", ["full", "kronecker"])
def test_plans_beside_a_locked_actuator_have_derivatives(covariance):
    """Where the covariance has collapsed to its floor, too, whose eigenvalues are equal."""

    def found(goal, std):
        def step(goal, key, state, action):
            return state, -((action[0] - goal) ** 2), 1.0

        model = dynamics.from_function(jax.tree_util.Partial(step, goal), len(std), init=lambda key: jnp.zeros(()))
        planner = planners.vi_mpc(2, num_samples=32, std=jnp.array(std), covariance=covariance)
        return planners.infer(planner, model, KEY, jnp.zeros(()))[0].mode()[:, 0].sum()

    for std in ((0.5, 0.0), (0.5,)):
        slope = jax.jit(jax.grad(lambda goal, std=std: found(goal, std)))(0.4)
        assert np.isfinite(slope)


def test_eigenvalues_that_are_raised_have_derivatives_where_they_are_equal():
    floor, close = jnp.asarray(0.25), {"atol": 1e-2, "rtol": 1e-2}
    random = jax.random.normal(KEY, (4, 4))
    for covariance in (random @ random.T, jnp.diag(jnp.array([1.0, 1.0, 0.1, 0.1])), jnp.zeros((4, 4)), jnp.eye(4)):

        def raised(change, floor, covariance=covariance):
            return moments.factor(covariance + change + change.T, jnp.eye(4), floor)

        slope = jax.jit(jax.grad(lambda *of: (random * raised(*of)).sum(), (0, 1)))(jnp.zeros((4, 4)), floor)
        assert all(jnp.isfinite(leaf).all() for leaf in slope)
    # an eigenvalue below the floor, one above
    below = jnp.diag(jnp.array([2.0, 1.0, 0.1, 0.05])) + 0.02 * (random + random.T)

    def factored(covariance, floor):
        return moments.factor(jnp.asarray(0.5 * (covariance + covariance.T)), jnp.eye(4), jnp.asarray(floor))

    check_grads(factored, (below, floor), 1, eps=1e-2, **close)


def test_the_default_step_size_does_not_count_what_is_locked():
    def info(std):
        problem = target(action_size=len(std))
        return jax.jit(planners.infer)(planners.vi_mpc(3, std=jnp.array(std)), problem, KEY, jnp.zeros(()))[1]

    np.testing.assert_allclose(info((0.5, 0.0)).ess, 3.0, rtol=0.02)
    np.testing.assert_allclose(info((0.5,)).ess, 3.0, rtol=0.02)


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_every_planner_leaves_a_locked_actuator_where_it_is(factory):
    model, planner = target(), locking(factory)

    def run(std_of_first, planner=planner):
        belief, info = planners.infer(planner, model, KEY, model.init(KEY))
        following = planner.shift(belief)
        again, _ = planners.infer(planner, model, jax.random.key(1), model.init(KEY), following)
        return belief.mode(), following.mode(), again.mode(), info

    *plans, info = jax.jit(run)(0.0)
    for plan in plans:
        np.testing.assert_array_equal(plan[:, 0], 0.0)
        assert np.isfinite(plan).all()
    assert abs(plans[2][:, 1] - 0.5).mean() < 0.4
    for name in info.names:
        if factory.__name__ in INDICATORS and name in OF_INDICATORS:
            continue
        assert np.isfinite(getattr(info, name)).all(), name


@pytest.mark.parametrize("options", [{"covariance": "full"}, {"covariance": "kronecker"}, {"num_components": 2}, {}])
@pytest.mark.parametrize("name", ["vi_mpc", "smc"])
def test_the_evidence_is_that_of_the_problem_without_it(name, options):
    """∫ N(a; 0, s²) exp(−(a − ½)²/λ) da for each step, times exp(−¼/λ) of an actuator that stays at 0."""
    temperature, s = 0.5, 0.6
    one, _ = integrate.quad(lambda a: stats.norm.pdf(a, 0, s) * np.exp(-((a - 0.5) ** 2) / temperature), -9, 9)
    exact = 3 * (np.log(one) - 0.25 / temperature)
    common = {"num_samples": 20_000, "temperature": temperature, "std": (0.0, s), "prior_std": s} | options
    if "num_components" not in options and name == "vi_mpc":
        common["noise_exponent"] = None
    planner = getattr(planners, name)(3, num_iterations=2, **common)
    model = target()
    _, info = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
    np.testing.assert_allclose(info.log_evidence, exact, atol=0.03)
    if name == "vi_mpc":
        assert info.elbo[-1] <= exact + 0.02
        np.testing.assert_allclose(info.kl[0], info.kl[0])
        assert np.isfinite(info.kl).all()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_bound_of_gradients_is_that_of_the_problem_without_it(covariance):
    temperature = 0.5
    one, _ = integrate.quad(lambda a: stats.norm.pdf(a) * np.exp(-((a - 0.5) ** 2) / temperature), -9, 9)
    exact = 3 * (np.log(one) - 0.25 / temperature)
    planner = planners.elbo_gradient(
        3, temperature=temperature, std=(0.0, 0.5), num_samples=64, num_iterations=300, covariance=covariance
    )
    model = target()
    belief, info = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
    np.testing.assert_allclose(info.elbo[-20:].mean(), exact, atol=0.05)
    np.testing.assert_array_equal(belief.mode()[:, 0], 0.0)


def test_the_laplace_evidence_of_ilqr_is_that_of_the_problem_without_it():
    temperature, s = 0.5, 0.7
    one, _ = integrate.quad(lambda a: stats.norm.pdf(a, 0, s) * np.exp(-((a - 0.5) ** 2) / temperature), -9, 9)
    exact = 3 * (np.log(one) - 0.25 / temperature)
    planner = planners.ilqr(3, temperature=temperature, std=(0.0, 0.5), prior=beliefs.gaussian(std=s))
    model = target()
    belief, info = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
    np.testing.assert_allclose(info.log_evidence[-1], exact, atol=1e-4)
    np.testing.assert_array_equal(belief.mode()[:, 0], 0.0)
    assert np.ptp(belief.sample(KEY, 30)[..., 0]) == 0
    assert np.isfinite(belief.entropy())
    alone = planners.ilqr(3, temperature=temperature, std=0.5, prior=beliefs.gaussian(std=s))
    sole, _ = jax.jit(planners.infer)(alone, target(1), KEY, model.init(KEY))
    np.testing.assert_allclose(belief.entropy(), sole.entropy(), atol=1e-4)


def narrow(low):
    """A model whose second actuator has a range of one value, which it always takes."""

    def step(key, state, action):
        return state + action[0], -((action[0] - 0.5) ** 2) - (action[1] - low) ** 2 - 0.1 * state**2, 1.0

    return dynamics.from_function(
        step, 2, init=lambda key: jnp.zeros(()), action_range=((-1.0, low), (1.0, low)), bounded=True
    )


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_an_actuator_of_equal_bounds_has_no_effect(factory):
    """It takes nothing away from the others: the plan earns what it does without it."""
    sizes = {} if factory is planners.random_shooting else {"num_iterations": 12}
    planner = factory(H, num_samples=64, **sizes)
    belief, info = jax.jit(planners.infer)(planner, narrow(0.2), KEY, jnp.zeros(()))
    assert np.isfinite(belief.mode()).all()
    assert planners.rollout(narrow(0.2), KEY, jnp.zeros(()), belief.mode()[None])[0] > -1.1  # −1 for doing nothing
    if factory is planners.ilqr:
        assert info.converged[-1]
        assert info.num_invalid.sum() == 0


def test_equal_limits_of_ilqr_hold_an_action():
    planner = planners.ilqr(H, limits=((-1.0, 0.2), (1.0, 0.2)))
    model = target()
    belief, info = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
    np.testing.assert_allclose(belief.mode(), [[0.5, 0.2]] * H, atol=1e-5)
    assert info.converged[-1]


@pytest.mark.parametrize("factory", [planners.mppi, planners.icem, planners.elbo_gradient, planners.ilqr])
def test_not_all_may_be_locked(factory):
    for std in (0.0, (0.0, 0.0)):
        with pytest.raises(ValueError, match="std must be finite and > 0, got"):
            factory(H, std=std)


def test_a_prior_may_lock_nothing_that_moves():
    model = target()
    planner = planners.vi_mpc(H, std=0.5, prior_std=(0.0, 0.5))
    with pytest.raises(ValueError, match="prior must move what the belief moves"):
        planner.init(model, model.init(KEY))


@pytest.mark.parametrize("ends_at_once", [True, False])
def test_a_locked_actuator_has_no_noise_beyond_an_end(ends_at_once):
    """There the posterior knows nothing: what moves has unit noise, what is locked none; after a shift likewise."""

    def step(key, state, action):
        ended = jnp.where(ends_at_once | (state[0] >= 1.0), 0.0, 1.0)
        return state.at[0].add(1.0), -((action - 0.2) ** 2).sum(), ended

    model = dynamics.from_function(step, 2, init=lambda key: jnp.zeros(2), bounded=False)
    planner = planners.ilqr(H, std=(0.5, 0.0), temperature=0.1)
    belief, _ = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
    alone = planners.ilqr(H, std=0.5, temperature=0.1)
    only = dynamics.from_function(
        lambda key, state, action: step(key, state, jnp.append(action, 0.2)),
        1,
        init=lambda key: jnp.zeros(2),
        bounded=False,
    )
    sole, _ = jax.jit(planners.infer)(alone, only, KEY, only.init(KEY))
    for both, one in ((belief, sole), (planner.shift(belief), alone.shift(sole))):
        samples = both.sample(KEY, 30)
        assert np.ptp(samples[..., 1]) == 0
        assert np.ptp(samples[..., 0], axis=0).min() > 0
        np.testing.assert_allclose(both.entropy(), one.entropy(), atol=1e-4)


def test_the_policy_of_ilqr_has_the_density_of_what_moves():
    model, planner = target(), planners.ilqr(3, temperature=0.5, std=(0.0, 0.5))
    belief, _ = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
    policy, state = belief.policy(model), dynamics.timed(model).init(KEY)
    action = policy.sample(KEY, state)
    std = np.sqrt(belief.covariances()[0, 1, 1])
    np.testing.assert_allclose(
        policy.log_prob(state, action), stats.norm.logpdf(action[1], policy.mean(state)[1], std), atol=1e-4
    )


@pytest.mark.parametrize("family", [beliefs.gaussian, beliefs.full_gaussian])
def test_coloured_noise_is_locked_at_all_steps_or_none(family):
    std = jnp.array([[0.0, 0.5], [0.5, 0.5]])
    bound(family(std=std), 2, 2)
    with pytest.raises(
        ValueError, match="std must be 0 in all steps of an actuator or in none under a noise_exponent"
    ):
        bound(family(std=std, noise_exponent=1.0), 2, 2)
