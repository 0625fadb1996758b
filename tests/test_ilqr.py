"""iLQR and DDP: exact on linear-quadratic problems, within limits, and able to swing up what hangs down."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound, random_linear_quadratic, unchecked
from scipy.optimize import minimize

from mirrax import dynamics, planners
from mirrax.planners.lqr.box_qp import box_qp

HORIZON, KEY = 6, jax.random.key(0)
infer = jax.jit(planners.infer)
plan = jax.jit(planners.plan)


def optimum(model, horizon=HORIZON):
    cost = model.plan_cost(model.start, horizon)
    return -np.linalg.solve(np.asarray(cost.hessian, float), np.asarray(cost.gradient, float)).reshape(horizon, -1)


class TestLinearQuadratic:
    @pytest.mark.parametrize(
        ("double", "options"), [(False, {}), (True, {}), (True, {"second_order": True}), (True, {"convex": False})]
    )
    def test_one_step_is_the_optimum(self, double, options):
        with jax.enable_x64(double):
            model = random_linear_quadratic(1)
            planner = planners.ilqr(HORIZON, limits=None, initial_plan=0.3, **options)
            belief, info = infer(planner, model, KEY, model.start, None)
            np.testing.assert_allclose(belief.plan, optimum(model), atol=1e-9 if double else 1e-5)
            assert info.step_size[0] == 1.0
            assert not info.converged[0]
            assert info.converged[1:].all()
            np.testing.assert_allclose(info.objective[0], info.objective[-1], rtol=1e-6)

    @pytest.mark.parametrize("prior", [False, True])
    def test_maximum_entropy_is_riccatis(self, prior):
        with jax.enable_x64(True):
            model = random_linear_quadratic(2)
            family = planners.beliefs.gaussian(mean=0.2, std=0.9) if prior else None
            p = None if family is None else bound(family, HORIZON, 2)
            planner = planners.ilqr(HORIZON, limits=None, temperature=0.7, prior=family)
            belief, info = infer(planner, model, KEY, model.start, None)
            known = {} if p is None else {"prior_mean": p.mean, "prior_covariance": p.covariance()}
            posterior = model.plan_posterior(model.start, HORIZON, 0.7, **known)
            np.testing.assert_allclose(belief.mean, posterior.mean, atol=1e-9)
            np.testing.assert_allclose(belief.covariance(), posterior.covariance, atol=1e-9)
            np.testing.assert_allclose(info.log_evidence, posterior.log_evidence, atol=1e-9)
            np.testing.assert_allclose(belief.entropy(), planner_entropy(posterior.covariance), atol=1e-9)
            if p is None:
                exact = model.policy(HORIZON, 0.7)
                np.testing.assert_allclose(belief.gains, exact.gain, atol=1e-9)
                np.testing.assert_allclose(belief.covariances(), exact.covariance, atol=1e-9)
                state = dynamics.TimedState(model.start + 0.3, jnp.asarray(2))
                np.testing.assert_allclose(
                    belief.policy(model).log_prob(state, jnp.ones(2)), exact.log_prob(state, jnp.ones(2)), atol=1e-9
                )

    @pytest.mark.parametrize("prior", [False, True])
    def test_discounts_are_of_rewards_and_not_of_the_prior(self, prior):
        """Plan, covariance and evidence of p(a) exp(R/λ), whose log is quadratic, with the R of the rollout."""
        with jax.enable_x64(True):
            model = dynamics.discounted(random_linear_quadratic(2), 0.8)
            family = planners.beliefs.gaussian(mean=0.2, std=0.9) if prior else None
            p = None if family is None else bound(family, HORIZON, 2)
            planner = planners.ilqr(HORIZON, limits=None, temperature=0.7, prior=family)
            belief, info = infer(planner, model, KEY, model.model.start, None)

            def log_posterior(flat):
                plans = flat.reshape(1, HORIZON, 2)
                told = planners.rollout(model, KEY, model.model.start, plans)[0] / 0.7
                return told if p is None else told + p.log_prob(plans)[0]

            zero = jnp.zeros(HORIZON * 2)
            slope, precision = jax.jit(jax.grad(log_posterior))(zero), -jax.jit(jax.hessian(log_posterior))(zero)
            mean = jnp.linalg.solve(precision, slope)
            np.testing.assert_allclose(belief.plan.ravel(), mean, atol=1e-9)
            np.testing.assert_allclose(belief.covariance(), jnp.linalg.inv(precision), atol=1e-9)
            _, log_det = jnp.linalg.slogdet(precision / (2 * jnp.pi))
            np.testing.assert_allclose(info.log_evidence[-1], log_posterior(mean) - 0.5 * log_det, atol=1e-8)

    @pytest.mark.parametrize("prior", [False, True])
    def test_after_an_end_there_is_nothing_but_the_prior(self, prior):
        """Three steps count: the rest has the prior's std, or unit noise, and no part in the evidence."""

        def step(key, state, action):
            return (
                state + jnp.stack([action[0], 1.0]),
                -((state[0] - 1.0) ** 2) - action[0] ** 2,
                jnp.where(state[1] < 2.0, 1.0, 0.0),
            )

        def believe(horizon):
            p = planners.beliefs.gaussian(std=0.6) if prior else None
            planner = planners.ilqr(horizon, limits=None, temperature=0.5, prior=p)
            return infer(planner, dynamics.from_function(step, 1), KEY, jnp.zeros(2), None)

        (short, known), (long, info) = believe(3), believe(6)
        std = jnp.sqrt(long.covariances()[:, 0, 0])
        np.testing.assert_allclose(std[:3], jnp.sqrt(short.covariances()[:, 0, 0]), rtol=1e-4)
        np.testing.assert_allclose(std[3:], 0.6 if prior else 1.0, rtol=1e-4)
        np.testing.assert_allclose(long.plan[:3], short.plan, atol=1e-4)
        np.testing.assert_allclose(info.log_evidence[-1], known.log_evidence[-1], atol=1e-4)

    def test_a_policy_is_a_prior(self):
        """That of a Gaussian written as a policy, which may depend on the state."""
        model = random_linear_quadratic(0)
        log_prob = jax.tree_util.Partial(steady_log_prob, jnp.array(0.9))
        as_policy = planners.ilqr(
            HORIZON, limits=None, temperature=0.7, prior=planners.priors.policy_prior(log_prob), num_iterations=5
        )
        as_plans = planners.ilqr(
            HORIZON,
            limits=None,
            temperature=0.7,
            prior=planners.beliefs.gaussian(std=0.9),
            num_iterations=5,
        )
        one, _ = infer(as_policy, model, KEY, model.start, None)
        other, _ = infer(as_plans, model, KEY, model.start, None)
        np.testing.assert_allclose(one.plan, other.plan, atol=1e-5)
        np.testing.assert_allclose(one.covariance(), other.covariance(), atol=1e-5)

    @pytest.mark.parametrize("regularization", [0.0, 2.0])
    def test_what_is_promised_is_what_comes(self, regularization):
        """Tassa's value update is that of the regularised gains in the problem without regularisation (O18)."""
        with jax.enable_x64(True):
            model = random_linear_quadratic(2)
            planner = planners.ilqr(
                HORIZON, limits=None, initial_plan=0.5, num_samples=0, num_iterations=1, regularization=regularization
            )
            _, info = infer(planner, model, KEY, model.start, None)
            (before,) = planners.rollout(model, KEY, model.start, jnp.full((1, HORIZON, 2), 0.5))
            assert info.step_size[0] == 1.0
            np.testing.assert_allclose(info.objective[0] - before, info.expected_improvement[0], rtol=1e-9)

    @pytest.mark.parametrize("limit", [0.2, 0.7])
    def test_limits_are_kept_at_the_constrained_optimum(self, limit):
        model = random_linear_quadratic(0)
        cost = model.plan_cost(model.start, HORIZON)
        hessian, gradient = np.asarray(cost.hessian, float), np.asarray(cost.gradient, float)
        box = [(-limit, limit)] * len(gradient)
        best = minimize(
            lambda a: (0.5 * a @ hessian @ a + gradient @ a, hessian @ a + gradient),
            np.zeros(len(gradient)),
            jac=True,
            bounds=box,
            tol=1e-12,
        ).x
        planner = planners.ilqr(HORIZON, limits=(-limit, limit))
        belief, info = infer(planner, model, KEY, model.start, None)
        assert info.converged[-1]
        assert (np.abs(best) == limit).any()
        assert jnp.abs(belief.plan).max() <= limit
        np.testing.assert_allclose(belief.plan.ravel(), best, atol=2e-3)
        assert cost_of(cost, belief.plan) - cost_of(cost, best) < 1e-4
        # feedback moves nothing that a limit holds
        held = np.abs(np.asarray(belief.plan)) == limit
        assert (np.abs(np.asarray(belief.gains)[held]) == 0).all()

    def test_the_future_may_count_less(self):
        model = dynamics.discounted(random_linear_quadratic(0), 0.8)
        belief, info = infer(planners.ilqr(HORIZON, limits=None), model, KEY, model.model.start, None)
        slope = jax.grad(lambda a: planners.rollout(model, KEY, model.model.start, a[None])[0])(belief.plan)
        np.testing.assert_allclose(slope, 0.0, atol=1e-4)
        assert info.converged[1]


def planner_entropy(covariance):
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.asarray(covariance, float))[1]


def steady_log_prob(std, state, action):
    return jax.scipy.stats.norm.logpdf(action, 0.0, std).sum()


def cost_of(cost, a):
    a = np.asarray(a, float).ravel()
    return 0.5 * a @ np.asarray(cost.hessian, float) @ a + np.asarray(cost.gradient, float) @ a


@pytest.mark.parametrize("double", [False, True])
def test_box_qp_is_the_best_active_set(double):
    """Against all 3^m ways of holding entries at bounds."""
    with jax.enable_x64(double):
        rng, size, number = np.random.default_rng(0), 3, 300
        roots = rng.normal(size=(number, size, size))
        hessians = roots @ roots.mT + 0.1 * np.eye(size)
        gradients, ends = 2 * rng.normal(size=(number, size)), np.sort(rng.normal(size=(number, 2, size)), axis=1)
        solve = jax.jit(jax.vmap(box_qp))
        solutions = solve(*(jnp.asarray(a, float) for a in (hessians, gradients, ends[:, 0], ends[:, 1])))
        for hessian, gradient, (low, high), x, free in zip(hessians, gradients, ends, *solutions, strict=True):
            best = np.inf
            for holds in itertools.product((0, 1, 2), repeat=size):
                held = np.choose(holds, [np.zeros(size), low, high])
                loose = np.array(holds) == 0
                if loose.any():
                    right = -(gradient + hessian @ np.where(loose, 0.0, held))[loose]
                    held[loose] = np.linalg.solve(hessian[np.ix_(loose, loose)], right)
                if (held >= low - 1e-12).all() and (held <= high + 1e-12).all():
                    best = min(best, 0.5 * held @ hessian @ held + gradient @ held)
            x = np.asarray(x, float)
            assert (x >= low - 1e-6).all()
            assert (x <= high + 1e-6).all()
            value = 0.5 * x @ hessian @ x + gradient @ x
            np.testing.assert_allclose(value, best, **({"rtol": 1e-9} if double else {"rtol": 1e-4, "atol": 1e-5}))
            slope = gradient + hessian @ x
            assert np.abs(slope[np.asarray(free)]).max(initial=0.0) < (1e-9 if double else 1e-3)


def test_box_qp_tells_of_what_it_cannot_solve():
    x, _ = box_qp(-jnp.eye(2), jnp.array([0.1, 0.2]), -jnp.ones(2), jnp.ones(2))
    assert jnp.isnan(x).all()


def standing(state):
    """Beyond the horizon the acrobot should stand still."""
    return -100.0 * (2.0 - jnp.cos(state[:2]).sum() + 0.1 * (state[2:] ** 2).sum())


def balanced(state):
    """The same of the double cart-pole, near the middle; positive, or to end early would be best."""
    upright = (2.0 + jnp.cos(state[1:3]).sum()) / 4.0
    return 20.0 * upright * jnp.exp(-0.02 * (state[3:] ** 2).sum() - 0.2 * state[0] ** 2)


SWINGS = {  # model, horizon, angles of a state
    "pendulum": (dynamics.pendulum(), 120, lambda state: state[:1]),
    "cartpole": (dynamics.cartpole(), 60, lambda state: state[1:2]),
    "acrobot": (dynamics.with_value(dynamics.acrobot(), standing), 100, lambda state: state[:2]),
    "double_cartpole": (
        dynamics.with_value(dynamics.double_cartpole(), balanced),
        150,
        lambda state: state[1:3],
    ),
}


@pytest.mark.parametrize("name", SWINGS)
def test_it_swings_up_from_a_cold_start(name):
    model, horizon, angles = SWINGS[name]
    planner = planners.ilqr(horizon, num_iterations=400, num_samples=64)
    state = model.init(jax.random.key(1))
    belief, info = infer(planner, model, KEY, state, None)
    assert (jnp.diff(info.objective) >= 0).all()
    policy, timed = belief.policy(model), dynamics.timed(model)

    def follow(state, _):
        state = timed.step(KEY, state, policy.mean(state)).state
        return state, state.state

    # with its feedback: what rounding does to these over seconds no plan can foresee
    states = jax.jit(lambda s: jax.lax.scan(follow, s, length=horizon)[1])(dynamics.TimedState(state, jnp.array(0)))
    assert (jnp.cos(angles(state)) < -0.98).all()
    assert (jnp.cos(angles(states[-1])) > 0.9).all()


class TestModelPredictiveControl:
    def test_a_policy_bears_what_a_plan_does_not(self):
        """From a state that is a little off, by its feedback."""
        model, horizon = dynamics.cartpole(), 40
        upright = jnp.array([0.0, 0.0, 0.0, 0.0])
        belief, _ = infer(planners.ilqr(horizon), model, KEY, upright, None)
        off = upright + jnp.array([0.0, 0.1, 0.0, 0.0])
        timed, policy = dynamics.timed(model), belief.policy(model)

        def follow(act):
            def body(state, _):
                step = timed.step(KEY, state, act(state))
                return step.state, step.reward

            return jax.lax.scan(body, dynamics.TimedState(off, jnp.array(0)), length=horizon)[1].sum()

        blind = follow(lambda state: belief.plan[state.step])
        seeing = follow(policy.mean)
        assert seeing > horizon - 1.0
        assert blind < seeing - 5.0
        # and so does a warm start, of one iteration
        _, later, _ = plan(planners.ilqr(horizon, num_iterations=1), model, KEY, off, belief)
        assert jnp.abs(later.states[:, 1]).max() < 0.2

    def test_one_iteration_per_step_is_enough(self):
        model = dynamics.pendulum()
        planner = planners.ilqr(40, num_iterations=1)
        first, _ = infer(dataclasses.replace(planner, num_iterations=100), model, KEY, jnp.array([3.0, 0.0]), None)
        run = jax.jit(lambda planner, key: planners.episode(planner, model, model, key, 100))
        episode = run(planner, KEY)
        assert jnp.cos(episode.states[-1, 0]) > 0.95
        assert first.plan.shape == (40, 1)

    def test_it_ends_where_the_episode_does(self):
        """Rewards and derivatives after an end count for nothing, even if they are no numbers."""

        def step(key, state, action):
            state = state + 0.5 * action[0]
            return state, jnp.log(2.0 - state) - 0.1 * action[0] ** 2, jnp.where(state > 1.5, 0.0, 1.0)

        model = dynamics.from_function(step, 1)
        belief, info = infer(planners.ilqr(8, initial_plan=0.7, num_samples=0), model, KEY, jnp.zeros(()), None)
        assert jnp.isfinite(info.objective).all()
        assert jnp.isfinite(belief.gains).all()
        assert (jnp.diff(info.objective) >= 0).all()
        assert info.step_size[0] > 0

    def test_loops_that_only_go_forward_will_do(self):
        """A solver that iterates until it has converged has no reverse mode."""

        def step(key, state, action):
            root = jax.lax.while_loop(
                lambda y: jnp.abs(y**3 - state) > 1e-5, lambda y: y - (y**3 - state) / (3 * y**2), 1.0
            )
            state = 0.9 * root + 0.3 * action[0] + 0.5
            return state, -((state - 1.5) ** 2), 1.0

        model = dynamics.from_function(step, 1)
        _, info = infer(planners.ilqr(5), model, KEY, jnp.ones(()), None)
        assert info.converged[-1]
        assert info.objective[-1] > -0.2
        with pytest.raises(ValueError, match=r"model must be differentiable in reverse mode.*use planners\.ilqr"):
            infer(planners.gradient(5), model, KEY, jnp.ones(()), None)


@pytest.mark.parametrize("name", ["pendulum", "cartpole", "acrobot", "double_cartpole"])
def test_coordinates_are_the_state(name):
    model = getattr(dynamics, name)()
    state = model.init(KEY)
    np.testing.assert_array_equal(dynamics.coordinates(model, state), state)
    np.testing.assert_array_equal(dynamics.with_coordinates(model, state, 2 * state), 2 * state)


def test_coordinates_leave_out_what_does_not_move():
    model = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1)
    state = {"count": jnp.array(3), "key": KEY, "x": jnp.ones((2, 2)), "y": jnp.array(2.0), "flag": True}
    np.testing.assert_array_equal(dynamics.coordinates(model, state), [1.0, 1.0, 1.0, 1.0, 2.0])
    moved = dynamics.with_coordinates(model, state, jnp.arange(5.0))
    np.testing.assert_array_equal(moved["x"], [[0.0, 1.0], [2.0, 3.0]])
    assert moved["y"] == 4.0
    assert moved["count"] == 3
    timed = dynamics.timed(dynamics.with_value(model, lambda state: 0.0))
    inner = dynamics.TimedState(state, jnp.array(7))
    assert dynamics.with_coordinates(timed, inner, jnp.arange(5.0)).step == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": planners.beliefs.gaussian()}, "prior needs a temperature"),
        (
            {"prior": planners.beliefs.full_gaussian(), "temperature": 1.0},
            r"prior must be planners\.beliefs\.gaussian\(\.\.\.\) of uncorr",
        ),
        (
            {"prior": planners.beliefs.gaussian(noise_exponent=1.0), "temperature": 1.0},
            r"prior must be planners\.beliefs\.gaussian\(\.\.\.\) of uncorr",
        ),
        (
            {"prior": planners.beliefs.gaussian(mean=jnp.zeros((4, 1))), "temperature": 1.0},
            r"ilqr on Pendulum \(action_size=1\): prior: mean must have shape \(3, 1\).*got \(4, 1\)",
        ),
        (
            {"initial_plan": jnp.zeros((4, 1))},
            r"ilqr on Pendulum \(action_size=1\): initial_plan must have shape \(3, 1\).*got \(4, 1\)",
        ),
        ({"execute": "best"}, "execute must be one of mode, sample"),
        ({"execute": "sample"}, "execute='sample' needs a temperature"),
        ({"limits": (1.0, -1.0)}, "limits must have low <= high"),
        ({"regularization": -1.0}, "regularization must be finite and >= 0"),
        ({"num_iterations": 0}, "num_iterations must be an integer of at least 1"),
        ({"warm_start": False, "tail": "zero"}, "tail and inflation need a warm start"),
    ],
)
def test_mistakes_are_named(options, message):
    model = dynamics.pendulum()
    with pytest.raises(ValueError, match=message):
        unchecked(planners.ilqr)(3, **options).init(model, model.init(KEY))


def test_a_policy_without_noise_has_no_density():
    model = dynamics.pendulum()
    belief, _ = infer(planners.ilqr(5), model, KEY, model.init(KEY), None)
    assert belief.entropy() is None
    assert (belief.sample(KEY, 3) == belief.plan).all()
    with pytest.raises(ValueError, match="give the planner a temperature"):
        belief.log_prob(belief.plan[None])
    with pytest.raises(ValueError, match=r"belief\.plan must have shape \(6, 1\).*got \(5, 1\)"):
        infer(planners.ilqr(6), model, KEY, model.init(KEY), belief)
