"""Gradients through models: plans and evidence bounds against closed forms, finite differences and each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import bound, random_linear_quadratic, unchecked

from mirrax import dynamics, planners

HORIZON, BETA = 4, 0.8
KEY = jax.random.key(0)
infer = jax.jit(planners.infer)


@pytest.fixture(scope="module")
def problem():
    """Model, prior, and the exact posterior under it."""
    model = random_linear_quadratic(0, n=2, m=2)
    prior = planners.beliefs.gaussian(mean=0.1, std=1.4)
    p = bound(prior, HORIZON, 2)
    posterior = model.plan_posterior(model.start, HORIZON, BETA, prior_mean=p.mean, prior_covariance=p.covariance())
    return model, prior, posterior


def prepared(planner, model):
    """What the planner climbs on a model, and the belief where it starts."""
    belief = planner.init(model, model.start)
    return planner.objective.prepared(model, model.start, belief), belief


def climbed(objective, model, parameters, key=KEY):
    return jax.jit(lambda objective, model, key: objective.climb(model, KEY, key, model.start, parameters))(
        objective, model, key
    )


class TestPlans:
    @pytest.mark.parametrize(
        ("options", "tolerance"),
        [
            ({"num_iterations": 300}, 2e-3),
            ({"optimizer": "lbfgs", "learning_rate": 1.0, "max_norm": None, "num_iterations": 30}, 1e-3),
            ({"optimizer": optax.sgd, "learning_rate": 0.02, "max_norm": None, "num_iterations": 500}, 5e-3),
        ],
        ids=["adam", "lbfgs", "sgd"],
    )
    def test_every_start_ends_at_the_optimum(self, problem, options, tolerance):
        model, _, _ = problem
        cost = model.plan_cost(model.start, HORIZON)
        best = -jnp.linalg.solve(cost.hessian, cost.gradient).reshape(HORIZON, 2)
        planner = planners.gradient(HORIZON, bounds="none", num_samples=4, std=1.0, **options)
        belief, _ = infer(planner, model, KEY, model.start, None)
        np.testing.assert_allclose(belief.plans, jnp.broadcast_to(best, belief.plans.shape), atol=tolerance)
        returns = planners.rollout(model, KEY, model.start, belief.plans)
        np.testing.assert_allclose(belief.objective, returns, rtol=1e-4)

    def test_under_a_prior_it_ends_at_the_posteriors_mode(self, problem):
        model, prior, posterior = problem
        planner = planners.gradient(
            HORIZON, bounds="none", num_samples=2, num_iterations=300, temperature=BETA, prior=prior
        )
        belief, _ = infer(planner, model, KEY, model.start, None)
        np.testing.assert_allclose(belief.mode(), posterior.mean, atol=2e-3)

    @pytest.mark.parametrize("bounds", ["clip", "squash"])
    def test_bounds_are_kept_at_the_constrained_optimum(self, bounds):
        """Where actuators are clipped a plan beyond their range has no slope at all: it must not get there."""
        model = dynamics.from_function(pushed, 1, action_range=(-1.0, 1.0))
        planner = planners.gradient(5, bounds=bounds, num_iterations=300, num_samples=3, std=0.5)
        belief, _ = infer(planner, model, KEY, jnp.zeros(()), None)
        assert jnp.abs(belief.plans).max() <= 1.0
        best = jax.jit(planners.infer)(planners.ilqr(5), model, KEY, jnp.zeros(()), None)[1].objective[-1]
        np.testing.assert_allclose(belief.objective, best, atol=0.02)

    def test_slopes_are_finite_differences(self):
        """On a nonlinear model, with scenarios and risk, in double precision."""
        with jax.enable_x64(True):
            model = dynamics.randomized(dynamics.cartpole(), heavier, num=3)
            state = model.init(KEY)
            plans = 0.5 * jax.random.normal(KEY, (2, 6, 1))
            planner = planners.gradient(
                6, risk="worst", temperature=0.3, prior=planners.beliefs.gaussian(std=0.5), num_samples=2
            )
            target = planner.objective.target.bound(planner.init(model, state), dynamics.action_space(model))
            slopes = jax.jit(target.slopes)(model, KEY, state, plans)
            objective = jax.jit(target.evaluate)
            for step in range(6):
                moved = jnp.zeros((6, 1)).at[step, 0].set(1e-6)
                difference = objective(model, KEY, state, plans + moved) - objective(model, KEY, state, plans - moved)
                np.testing.assert_allclose(slopes.gradients[:, step, 0], difference / 2e-6, rtol=1e-6, atol=1e-8)

    def test_what_follows_an_end_has_no_slope(self):
        """Not even one that is no number."""

        def step(key, state, action):
            after = state - 0.5 - 0.1 * action[0]
            return after, jnp.sqrt(state), jnp.where(after < 0.2, 0.0, 1.0)

        model = dynamics.from_function(step, 1)
        slopes = planners.gradient(8, num_samples=1).objective.target.slopes
        found = jax.jit(slopes)(model, KEY, jnp.ones(()), jnp.zeros((1, 8, 1)))
        assert found.valid.all()
        np.testing.assert_array_equal(found.gradients[0, 2:], 0.0)
        np.testing.assert_allclose(found.gradients[0, 0, 0], -0.1 * 0.5 / np.sqrt(0.5), rtol=1e-4)

    def test_what_has_no_slope_goes_back(self):
        """A wall of NaN between start and optimum: every plan ends in front of it, as the best that it has been."""

        def step(key, state, action):
            return state, jnp.where(action[0] > 0.6, jnp.nan, -((action[0] - 0.8) ** 2)), 1.0

        model = dynamics.from_function(step, 1)
        planner = planners.gradient(
            3, num_samples=4, std=0.2, num_iterations=60, learning_rate=0.1, keep=("returns",)
        )
        belief, info = infer(planner, model, KEY, jnp.zeros(()), None)
        assert info.num_invalid.sum() > 0
        assert jnp.isfinite(belief.objective).all()
        assert (belief.plans <= 0.6).all()
        assert (belief.objective > info.objective[0] + 0.3).all()
        assert (belief.objective >= jnp.nanmax(info.returns, axis=0)).all()  # without a prior the same of each plan

    def test_memory_holds_states_only(self):
        """A step that keeps much to itself: on the way back it is computed anew."""

        def step(key, state, action):
            hidden = jax.lax.scan(lambda x, _: (jnp.sin(x + action[0]), None), jnp.full(1000, state), length=20)[0]
            return hidden.mean(), -(state**2), 1.0

        model = dynamics.from_function(step, 1)

        def memory(horizon):
            slopes = planners.gradient(horizon, num_samples=2).objective.target.slopes
            compiled = jax.jit(slopes).lower(model, KEY, jnp.ones(()), jnp.zeros((2, horizon, 1))).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        # 192 steps more may cost their states and keys, but not 192 × 20 × 1000 numbers
        assert memory(256) - memory(64) < 192 * 1000


def pushed(key, state, action):
    return state + 0.3 * action[0], -((state - 0.9) ** 2) - 0.01 * action[0] ** 2, 1.0


def heavier(key, model):
    return dataclasses.replace(model, cart_mass=model.cart_mass * jax.random.uniform(key, minval=0.5, maxval=2.0))


class TestEvidenceBound:
    def test_pairs_make_the_slope_of_the_mean_exact(self, problem):
        """d/dμ ELBO = −Λ (μ − mean), from two plans (O19c)."""
        with jax.enable_x64(True):
            model = random_linear_quadratic(0, n=2, m=2)
            prior = planners.beliefs.gaussian(std=1.4)
            known = bound(prior, HORIZON, 2).covariance()
            posterior = model.plan_posterior(model.start, HORIZON, BETA, prior_covariance=known)
            for stick in (True, False):
                planner = planners.elbo_gradient(
                    HORIZON, temperature=BETA, prior=prior, num_samples=2, covariance="full", stick=stick
                )
                objective, belief = prepared(planner, model)
                mean = 0.3 * jax.random.normal(KEY, (HORIZON, 2))
                parameters = (mean[None], objective.parameters(KEY, belief)[1])
                found = climbed(objective, model, parameters).gradients[0][0] / BETA
                precision = np.linalg.inv(posterior.covariance)
                exact = -precision @ np.ravel(mean - posterior.mean)
                np.testing.assert_allclose(found.ravel(), exact, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("stick", [True, False])
    @pytest.mark.parametrize("covariance", ["diagonal", "full"])
    def test_the_slope_of_the_scale_is_unbiased(self, problem, covariance, stick):
        """d/dL ELBO = −Λ L + L⁻ᵀ (O19b), times L's own diagonal where that is its exponential."""
        model, prior, posterior = problem
        planner = planners.elbo_gradient(
            HORIZON, temperature=BETA, prior=prior, num_samples=64, covariance=covariance, stick=stick, std=0.6
        )
        objective, belief = prepared(planner, model)
        parameters = objective.parameters(KEY, belief)
        many = jax.jit(
            lambda keys: jax.lax.map(
                lambda key: objective.climb(model, KEY, key, model.start, parameters).gradients[1][0], keys
            )
        )(jax.random.split(KEY, 400))
        scale = 0.6 * np.eye(2 * HORIZON)
        slope = np.tril(-np.linalg.inv(np.asarray(posterior.covariance, float)) @ scale + np.linalg.inv(scale).T)
        chained = slope * np.where(np.eye(len(scale)) > 0, scale, 1.0) * BETA
        exact = np.diag(chained).reshape(HORIZON, 2) if covariance == "diagonal" else chained
        error = np.asarray(many).std(0) / np.sqrt(len(many))
        score = np.abs(np.asarray(many).mean(0) - exact) / np.maximum(error, 1e-6)
        assert score.max() < 5.0
        assert error.max() < 0.2

    def test_at_the_posterior_there_is_no_variance_left(self, problem):
        """O19d; there the bound is the evidence, and every plan says so."""
        model, prior, posterior = problem
        planner = planners.elbo_gradient(
            HORIZON, temperature=BETA, prior=prior, num_samples=4, covariance="full", antithetic=False
        )
        tril = np.linalg.cholesky(np.asarray(posterior.covariance, float))
        objective, start = prepared(planner, model)
        belief = dataclasses.replace(start, mean=posterior.mean, scale_tril=jnp.asarray(tril, float))
        parameters = objective.parameters(KEY, belief)
        found = climbed(objective, model, parameters)
        for leaf in found.gradients:
            np.testing.assert_allclose(leaf, 0.0, atol=2e-4)
        np.testing.assert_allclose(found.elbo, posterior.log_evidence, atol=1e-4)
        loose = dataclasses.replace(objective, stick=False)
        assert jnp.abs(climbed(loose, model, parameters).gradients[0]).max() > 0.05

    @pytest.mark.parametrize("covariance", ["diagonal", "full"])
    def test_it_ends_at_the_best_of_its_family(self, problem, covariance):
        """The posterior, or the diagonal 1/Λᵢᵢ; what weighing plans finds on the same model."""
        model, prior, posterior = problem
        planner = planners.elbo_gradient(
            HORIZON,
            temperature=BETA,
            prior=prior,
            covariance=covariance,
            num_samples=128,
            num_iterations=800,
            learning_rate=0.02,
        )
        belief, info = infer(planner, model, KEY, model.start, None)
        np.testing.assert_allclose(belief.mean, posterior.mean, atol=1e-3)
        precision = np.linalg.inv(np.asarray(posterior.covariance, float))
        exact = np.asarray(posterior.covariance) if covariance == "full" else np.diag(1 / np.diag(precision))
        np.testing.assert_allclose(belief.covariance(), exact, atol=0.05 * exact.max())
        # log p(O) − KL(q ‖ posterior), of the best member and of the one found
        best = posterior.log_evidence + 0.5 * (np.linalg.slogdet(precision)[1] + np.linalg.slogdet(exact)[1])
        found = np.asarray(belief.covariance(), float)
        gap = np.ravel(belief.mean - posterior.mean)
        divergence = np.trace(precision @ found) - len(found) + gap @ precision @ gap
        divergence -= np.linalg.slogdet(precision)[1] + np.linalg.slogdet(found)[1]
        assert -1e-3 < best - (posterior.log_evidence - 0.5 * divergence) < 0.01
        estimates = np.asarray(info.elbo[-200:], float)
        assert abs(estimates.mean() - best) < 4.0 * estimates.std() / np.sqrt(len(estimates)) + 0.01


class TestStein:
    """In two dimensions; K particles fall short of the posterior's variance by about 1/√K of it."""

    @pytest.mark.parametrize(
        ("options", "off", "low", "high"),
        [
            ({"num_samples": 32, "num_iterations": 200}, 0.01, 0.78, 0.92),
            ({"num_samples": 128, "num_iterations": 300}, 0.01, 0.90, 0.97),
            ({"num_samples": 128, "num_iterations": 300, "optimizer": "sgd", "learning_rate": 0.3}, 0.01, 0.9, 0.97),
            (
                {"num_samples": 128, "num_iterations": 200, "gradient": "score", "num_perturbations": 64},
                0.2,
                0.8,
                1.2,
            ),
        ],
        ids=["32", "128", "sgd", "score"],
    )
    def test_particles_are_the_posterior(self, options, off, low, high):
        model, prior = random_linear_quadratic(0, n=2, m=1), planners.beliefs.gaussian(std=1.4)
        posterior = model.plan_posterior(model.start, 2, BETA, prior_covariance=bound(prior, 2, 1).covariance())
        planner = planners.stein(2, temperature=BETA, prior=prior, **options)
        belief, info = infer(planner, model, KEY, model.start, None)
        covariance = np.asarray(posterior.covariance, float)
        gap = np.ravel(belief.mean - posterior.mean)
        assert np.sqrt(gap @ np.linalg.solve(covariance, gap)) < off  # in standard deviations
        shares = np.linalg.eigvals(np.linalg.solve(covariance, belief.covariance())).real
        assert ((shares > low) & (shares < high)).all()
        assert info.num_invalid.sum() == 0
        # the best particle is the one nearest to the posterior's mode
        distances = [np.ravel(plan - posterior.mean) for plan in belief.plans]
        nearest = np.argmin([d @ np.linalg.solve(covariance, d) for d in distances])
        np.testing.assert_allclose(belief.mode(), belief.plans[nearest], atol=0.1)

    def test_particles_keep_several_ways(self):
        """Two ways round, of equal worth: some go each, where gradients alone would let all go the nearer."""
        model = dynamics.from_function(either, 1)
        planner = planners.stein(1, num_samples=32, num_iterations=200, temperature=0.05, std=0.3, initial_plan=0.1)
        belief, _ = infer(planner, model, KEY, jnp.zeros(()), None)
        ways = jnp.sign(belief.plans[:, 0, 0])
        assert 8 < (ways > 0).sum() < 24
        np.testing.assert_allclose(jnp.abs(belief.plans[:, 0, 0]).mean(), 0.5, atol=0.1)
        assert abs(float(belief.mode()[0, 0])) > 0.4

    def test_those_without_a_gradient_follow_the_others(self):
        def step(key, state, action):
            return state, jnp.where(action[0] < -0.2, jnp.nan, -((action[0] - 0.5) ** 2)), 1.0

        planner = planners.stein(1, num_samples=16, num_iterations=100, temperature=0.05, std=0.5)
        belief, info = infer(planner, dynamics.from_function(step, 1), KEY, jnp.zeros(()), None)
        assert info.num_invalid[0] > 0
        assert info.num_invalid[-1] < info.num_invalid[0]
        assert jnp.isfinite(belief.plans).all()
        np.testing.assert_allclose(belief.mode(), 0.5, atol=0.1)


def either(key, state, action):
    return state, -((action[0] ** 2 - 0.25) ** 2) * 8.0, 1.0


@pytest.mark.parametrize("factory", [planners.gradient, planners.elbo_gradient, planners.stein])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamant"}, "optimizer must be one in optax by name, or a function of a learning rate"),
        ({"optimizer": optax.sgd(0.1)}, "optimizer must be what makes an optimiser of a learning rate.*got one that"),
        ({"optimizer": optax.huber_loss}, "optimizer must make an optax.GradientTransformation, got ArrayImpl"),
        ({"optimizer": optax.apply_updates}, "optimizer must be made of a learning rate alone"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0"),
        ({"max_norm": -1.0}, "max_norm must be finite and > 0"),
        ({"prior": 3.0, "temperature": 1.0}, "prior must have log_prob"),
        ({"num_scenarios": 0}, "num_scenarios must be an integer of at least 1"),
        ({"risk": "none"}, "risk must be"),
        ({"num_iterations": 0}, "num_iterations must be an integer of at least 1"),
    ],
)
def test_mistakes_are_named(factory, options, message):
    with pytest.raises(ValueError, match=message):
        unchecked(factory)(3, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: unchecked(planners.gradient)(3, bounds="hard"), "bounds must be one of clip, squash, none"),
        (lambda: unchecked(planners.elbo_gradient)(3, num_samples=3), "num_samples must be even"),
        (
            lambda: unchecked(planners.elbo_gradient)(3, covariance="fixed"),
            "covariance must be one of diagonal, f",
        ),
        (lambda: unchecked(planners.elbo_gradient)(3, execute="best"), "execute must be one of mode, sample"),
        (lambda: unchecked(planners.stein)(3, gradient="none"), "gradient must be one of pathwise, score"),
        (lambda: unchecked(planners.stein)(3, kernel="rbf"), "kernel must be one of plans, steps"),
        (lambda: unchecked(planners.stein)(3, bandwidth=0.0), "bandwidth must be finite and > 0"),
        (
            lambda: unchecked(planners.gradient)(3, prior=planners.beliefs.gaussian()),
            "needs? a temperature|give both",
        ),
        (lambda: unchecked(planners.stein)(3, perturbation=0.2), "perturbation and num_perturbations are of"),
        (lambda: unchecked(planners.gradient)(3, temperature=0.2), "temperature is of the prior: give both"),
        (
            lambda: planners.elbo_gradient(3, prior=bound(planners.beliefs.gaussian(), 4, 1)).init(
                dynamics.pendulum(), jnp.zeros(2)
            ),
            r"elbo_gradient on Pendulum \(action_size=1\): prior must be over plans of shape \(3, 1\), got \(4, 1\)",
        ),
        (
            lambda: planners.stein(3, prior=planners.beliefs.gaussian(mean=jnp.zeros((4, 1)))).init(
                dynamics.pendulum(), jnp.zeros(2)
            ),
            r"stein on Pendulum \(action_size=1\): prior: mean must have shape \(3, 1\).*got \(4, 1\)",
        ),
        (
            lambda: unchecked(planners.stein)(3, prior="flat", prior_std=1.0),
            "prior_std is of a Gaussian prior: give it or another",
        ),
    ],
)
def test_own_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_slopes_whose_square_is_no_number_are_none():
    """A gradient of 1e25 is finite, and its norm is not: no optimiser is to learn from it."""

    def step(key, state, action):
        return state, -((action[0] - 0.3) ** 2) + jnp.where(action[0] > 0.5, 1e25 * action[0], 0.0), 1.0

    model = dynamics.from_function(step, 1)
    belief, info = infer(planners.gradient(2, num_samples=8, std=0.4), model, KEY, jnp.zeros(()), None)
    assert info.num_invalid[0] > 0
    assert jnp.isfinite(info.gradient_norm).all()
    belief, info = infer(planners.elbo_gradient(2, std=0.3, temperature=0.01), model, KEY, jnp.zeros(()), None)
    assert info.num_invalid.sum() > 0
    np.testing.assert_allclose(belief.mode(), 0.3, atol=0.1)


def test_a_belief_keeps_to_where_plans_survive():
    """Rewards rise up to a cliff of NaN, and beyond the actuators' range all plans are worth the same."""

    def step(key, state, action):
        return state, jnp.where(action[0] > 1.0, jnp.nan, action[0]), 1.0

    model = dynamics.from_function(step, 1)
    belief, _ = infer(planners.elbo_gradient(1, temperature=0.1), model, KEY, jnp.zeros(()), None)
    assert 0.2 < belief.mode()[0, 0] <= 1.0
    clipped = dynamics.from_function(pushed, 1, action_range=(-1.0, 1.0))
    for planner in (planners.elbo_gradient(5), planners.stein(5)):
        belief, _ = infer(planner, clipped, KEY, jnp.zeros(()), None)
        assert jnp.abs(belief.sample(KEY, 100)).max() < 6.0


def test_an_estimate_cannot_be_searched_along_a_line():
    model = random_linear_quadratic(0)
    planner = planners.elbo_gradient(3, optimizer="lbfgs", learning_rate=1.0)
    with pytest.raises(ValueError, match="optimizer must not search along a line"):
        infer(planner, model, KEY, model.start, None)
