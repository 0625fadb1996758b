"""Derivatives of what is planned: right where there are some, and an error, no silent zero, where there are none."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic

from mirrax import dynamics, planners

KEY = jax.random.key(0)
START = np.array([0.9, -0.2])
W = np.array([0.3, 2.0])
LIMIT = 0.5


def swing(w, key, state, action):
    """A pendulum of stiffness w₁ that is to go to w₀."""
    velocity = state[1] + 0.2 * (action[0] - w[1] * jnp.sin(state[0]))
    state = jnp.stack([state[0] + 0.2 * velocity, velocity])
    return state, -((state[0] - w[0]) ** 2) - 0.1 * state[1] ** 2 - 0.1 * action[0] ** 2, 1.0


def model(w):
    return dynamics.from_function(jax.tree_util.Partial(swing, w), 1)


def planned(planner, w, state=START):
    """The plan, flat."""
    return planners.infer(planner, model(jnp.asarray(w)), KEY, jnp.asarray(state), None)[0].mode().ravel()


def differences(function, x, step=1e-3):
    """∂f/∂x by central differences."""
    x = np.asarray(x)
    columns = [(function(x + step * e) - function(x - step * e)) / (2.0 * step) for e in np.eye(len(x))]
    return np.stack(columns, axis=-1)


def both_modes(function, x):
    """∂f/∂x in forward and in reverse mode, by one program each."""
    x = jnp.asarray(x)
    return jax.jit(jax.jacfwd(function))(x), jax.jit(jax.jacrev(function))(x)


CONVERGED = {
    "ilqr": planners.ilqr(6, tolerance=0.0, num_samples=0, limits=None),
    "ilqr, limits": planners.ilqr(6, tolerance=0.0, num_samples=0, limits=(-LIMIT, LIMIT)),
    "gradient": planners.gradient(6, num_samples=2, num_iterations=400, bounds="none"),
    "gradient, clipped": planners.gradient(6, num_samples=2, num_iterations=400, bounds="clip"),
    "gradient, squashed": planners.gradient(6, num_samples=2, num_iterations=800, bounds="squash"),
}


@pytest.mark.parametrize("name", CONVERGED)
def test_converged_plans_have_the_derivatives_of_differences(name):
    """With respect to parameters of reward and dynamics, and to the state."""
    with jax.enable_x64(True):
        planner = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), CONVERGED[name])
        function = jax.jit(lambda x: planned(planner, x[:2], x[2:]))
        x = np.concatenate([W, [1.5, -1.5] if name == "gradient, clipped" else START])
        expected, plan = differences(function, x), function(x)  # by steps that dwarf what plans fall short of
        held = np.abs(plan) > {"ilqr, limits": LIMIT, "gradient, clipped": 1.0}.get(name, np.inf) - 1e-5
        if name in ("ilqr, limits", "gradient, clipped"):
            assert 0 < held.sum() < 6
        for told in both_modes(function, x):
            np.testing.assert_allclose(told, expected, atol=1e-3 * np.abs(expected).max())
            assert not told[held].any()


def test_limits_move_what_they_hold():
    with jax.enable_x64(True):

        def function(limits):
            planner = planners.ilqr(6, tolerance=0.0, num_samples=0, limits=(limits[0], limits[1]))
            return planned(planner, W)

        x = np.array([-LIMIT, LIMIT])
        expected = differences(jax.jit(function), x)
        assert (expected.max() > 0.99) & (np.abs(expected).max(1) < 0.99).any()
        for told in both_modes(function, x):
            np.testing.assert_allclose(told, expected, atol=1e-4)


@pytest.mark.parametrize("factory", [planners.ilqr, planners.gradient])
def test_temperature_and_prior_have_derivatives_too(factory):
    with jax.enable_x64(True):

        def function(x):
            prior = planners.beliefs.gaussian(mean=x[1], std=0.8)
            more = {"tolerance": 0.0} if factory is planners.ilqr else {"num_samples": 2, "num_iterations": 400}
            return planned(factory(6, temperature=x[0], prior=prior, **more), W)

        x = np.array([0.3, 0.2])
        expected = differences(jax.jit(function), x)
        for told in both_modes(function, x):
            np.testing.assert_allclose(told, expected, atol=1e-3 * np.abs(expected).max())


def test_linear_quadratic_plans_have_exact_derivatives_of_first_and_second_order():
    """a* = −H(w)⁻¹ g(w), of which every derivative is known; states follow, and so does what models close over."""
    with jax.enable_x64(True):
        problem = random_linear_quadratic(3)
        base = {name: getattr(problem, name) for name in ("A", "B", "Q", "R", "q")}

        def made(w):
            return random_linear_quadratic(3, Q=base["Q"] * w[0], q=base["q"] + w[1], A=base["A"] * w[2])

        def exact(w):
            cost = made(w).plan_cost(problem.start, 5)
            return -jnp.linalg.solve(cost.hessian, cost.gradient)

        planner = planners.ilqr(5, limits=None, num_samples=0)

        def function(w):
            belief, _ = planners.infer(planner, made(w), KEY, problem.start, None)
            return belief.mode().ravel()

        w = jnp.array([1.0, 0.2, 0.9])
        for told in both_modes(function, w):
            np.testing.assert_allclose(told, jax.jacfwd(exact)(w), atol=1e-8)
        second = jax.jit(jax.jacfwd(jax.jacrev(lambda w: function(w)[0])))(w)
        np.testing.assert_allclose(second, jax.jacfwd(jax.jacrev(lambda w: exact(w)[0]))(w), atol=1e-8)


@pytest.mark.parametrize("name", ["ilqr", "gradient"])
def test_functions_may_close_over_what_is_differentiated(name):
    planner = CONVERGED[name]

    def closing(w):
        closed = dynamics.from_function(lambda key, state, action: swing(w, key, state, action), 1)
        return planners.infer(planner, closed, KEY, jnp.asarray(START), None)[0].mode().ravel()

    told = both_modes(lambda w: planned(planner, w), W)
    for own, other in zip(both_modes(closing, W), told, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
        assert np.abs(own).max() > 0.1


def test_plans_are_differentiated_under_vmap_and_in_closed_loop():
    with jax.enable_x64(True):
        planner = planners.ilqr(4, num_samples=0, num_iterations=10, tolerance=0.0)

        def made(w):
            step = jax.tree_util.Partial(swing, jnp.asarray(w))
            return dynamics.from_function(step, 1, init=lambda key: jnp.asarray(START))

        def total(w):
            return planners.episode(planner, made(w), made(W), KEY, 3).actions.sum()

        several = np.stack([W, W + 0.1])
        batch = jax.jit(jax.vmap(jax.grad(total)))(several)
        function = jax.jit(total)
        for w, told in zip(several, batch, strict=True):
            np.testing.assert_allclose(told, differences(function, w), rtol=1e-3, atol=1e-4)


def test_the_best_objective_has_the_derivative_of_the_envelope():
    planner = CONVERGED["gradient"]

    def objective(w):
        return planners.infer(planner, model(w), KEY, jnp.asarray(START), None)[0].objective.max()

    plan = planned(planner, W).reshape(1, 6, 1)
    at_plan = jax.grad(lambda w: planners.rollout(model(w), KEY, jnp.asarray(START), plan)[0])(jnp.asarray(W))
    np.testing.assert_allclose(jax.jit(jax.grad(objective))(jnp.asarray(W)), at_plan, rtol=1e-3)


def looping(goal, state):
    """A value that iterates until it has converged, which only forward mode goes through."""
    root = jax.lax.while_loop(
        lambda carry: jnp.abs(carry[0] - carry[1]) > 1e-6,
        lambda carry: (0.5 * (carry[0] + (1.0 + jnp.sum((state - goal) ** 2)) / carry[0]), carry[0]),
        (1.0 + jnp.sum((state - goal) ** 2), jnp.zeros(())),
    )[0]
    return -3.0 * root


def steady(std, state, action):
    """Log p of a policy that iterates."""
    count = jax.lax.while_loop(lambda i: i < 2.0 + 0.0 * state[0], lambda i: i + 1.0, 0.0 * state[0])
    return -0.5 * jnp.sum((action / std) ** 2) * count / 2.0


@pytest.mark.parametrize("where", ["value", "prior", "reward", "end"])
def test_ilqr_goes_forward_through_all_that_models_are_made_of(where):
    """What only has forward mode serves as reward, value, prior and end of the episode."""

    def step(goal, key, state, action):
        state, reward, discount = swing(jnp.asarray(W), key, state, action)
        if where == "reward":
            reward += looping(goal, state)
        if where == "end":
            discount = jnp.where(looping(goal, state) < -100.0, 0.0, 1.0)
        return state, reward, discount

    value = jax.tree_util.Partial(looping, jnp.zeros(2)) if where == "value" else None
    made = dynamics.from_function(jax.tree_util.Partial(step, jnp.zeros(2)), 1, value=value)
    more = {}
    if where == "prior":
        more = {
            "temperature": 0.5,
            "prior": planners.priors.policy_prior(jax.tree_util.Partial(steady, jnp.array(0.7))),
        }
    for second_order in (False, True):
        planner = planners.ilqr(5, limits=None, second_order=second_order, num_iterations=30, **more)
        belief, info = jax.jit(planners.infer)(planner, made, KEY, jnp.asarray(START), None)
        assert info.objective[-1] > info.objective[0]

        def climbed(plan):
            returns = planners.rollout(made, KEY, jnp.asarray(START), plan[None])[0]
            told = [steady(0.7, START, action) for action in plan] if where == "prior" else [0.0]
            return returns + 0.5 * sum(told)

        slope = jax.jit(jax.jacfwd(climbed))(belief.plan)
        np.testing.assert_allclose(slope, 0.0, atol=5e-3)


def test_ilqr_has_derivatives_in_forward_mode_where_a_model_has_no_other():
    with jax.enable_x64(True):
        planner = planners.ilqr(4, limits=None, num_samples=0, tolerance=0.0)

        def function(goal):
            made = dynamics.with_value(model(jnp.asarray(W)), jax.tree_util.Partial(looping, goal))
            return planners.infer(planner, made, KEY, jnp.asarray(START), None)[0].mode()[0, 0]

        goal = np.array([0.1, 0.0])
        expected = differences(jax.jit(function), goal)
        np.testing.assert_allclose(jax.jit(jax.jacfwd(function))(goal), expected, rtol=1e-3, atol=1e-4)


def test_a_swing_up_with_a_looping_value_is_planned():
    value = jax.tree_util.Partial(lambda state: looping(jnp.zeros(2), jnp.ravel(jax.tree.leaves(state)[0])[:2]))
    made = dynamics.with_value(dynamics.pendulum(), value)
    _, info = jax.jit(planners.infer)(planners.ilqr(8), made, KEY, made.init(KEY), None)
    assert jnp.isfinite(info.objective).all()


# (planner, whether its weights are exact functions of returns: no scale that is adapted and taken for a constant)
REPARAMETRISED = {
    "mppi": (planners.mppi, {"temperature": 0.3}),
    "mppi, adapted": (planners.mppi, {"temperature": 0.3, "covariance": "diagonal", "num_iterations": 2}),
    "mppi, standardize": (planners.mppi, {"temperature": 0.3, "standardize": True}),
    "mppi, knots": (planners.mppi, {"temperature": 0.3, "num_knots": 3, "num_iterations": 2}),
    "vi_mpc": (planners.vi_mpc, {"temperature": 0.3, "step_size": 0.5}),
    "vi_mpc, full": (planners.vi_mpc, {"temperature": 0.3, "step_size": 0.5, "covariance": "full"}),
    "tsallis": (planners.tsallis, {"num_iterations": 2}),
    "tsallis, std": (planners.tsallis, {"num_iterations": 3, "learn_std": True}),
    "tsallis, temperature": (planners.tsallis, {"temperature": 0.5, "num_iterations": 2}),
    "pi2": (planners.pi2, {"num_iterations": 2}),
    "pi2, std": (planners.pi2, {"num_iterations": 2, "learn_std": True}),
    "dial": (planners.dial, {"num_iterations": 2}),
    "okada": (planners.okada, {"temperature": 0.3}),
}


@pytest.mark.parametrize("name", REPARAMETRISED)
def test_weighted_means_have_the_derivatives_of_differences_under_the_same_noise(name):
    factory, options = REPARAMETRISED[name]
    with jax.enable_x64(True):
        planner = factory(4, num_samples=32, **options)
        function = jax.jit(lambda w: planned(planner, w))
        expected = differences(function, W, 1e-5)
        told = jax.jit(jax.jacrev(function))(jnp.asarray(W))
        np.testing.assert_allclose(told, expected, atol=1e-5 * (1.0 + np.abs(expected).max()))
        assert np.abs(told).max() > 1e-3


@pytest.mark.parametrize(
    "planner",
    [
        planners.tsallis(4, num_samples=16, num_iterations=2, learn_std=True),
        planners.tsallis(4, num_samples=16, num_iterations=2, learn_std=True, r=1.0, temperature=1e-6),
        planners.mppi(4, num_samples=16, num_iterations=2, covariance="diagonal", temperature=1e-6),
        planners.vi_mpc(4, num_samples=16, num_iterations=2, num_components=2, temperature=1e-6, step_size=1.0),
    ],
)
def test_derivatives_are_numbers_where_one_plan_has_all_the_weight(planner):
    def both(w):
        belief, _ = planners.infer(planner, model(w), KEY, jnp.asarray(START), None)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(belief))

    assert jnp.isfinite(jax.jit(jax.grad(both))(jnp.asarray(W))).all()


def test_an_adapted_temperature_is_a_constant():
    """The derivative of a weighted mean is then Cov_w(a, dR/dw)/λ at the λ that was found."""
    adapting = planners.mppi(4, num_samples=64)
    told = jax.jit(jax.jacrev(lambda w: planned(adapting, w)))(jnp.asarray(W))
    _, info = jax.jit(planners.infer)(adapting, model(jnp.asarray(W)), KEY, jnp.asarray(START), None)
    fixed = planners.mppi(4, num_samples=64, temperature=info.temperature[-1])
    np.testing.assert_allclose(
        told, jax.jit(jax.jacrev(lambda w: planned(fixed, w)))(jnp.asarray(W)), rtol=1e-3, atol=1e-5
    )


REFUSING = {
    "random_shooting": (planners.random_shooting, {}),
    "predictive_sampling": (planners.predictive_sampling, {}),
    "cem": (planners.cem, {}),
    "icem": (planners.icem, {}),
    "evolution": (planners.evolution, {"num_iterations": 1}),
    "smc": (planners.smc, {}),
    "discrete actions": (planners.vi_mpc, {}),
    "elbo_gradient": (planners.elbo_gradient, {"num_iterations": 2}),
    "stein": (planners.stein, {"num_iterations": 2}),
    "iterative_policy": (planners.iterative_policy, {"num_iterations": 2, "hidden": (4,)}),
}


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize("name", REFUSING)
def test_what_has_no_derivative_says_so(name, closing):
    factory, options = REFUSING[name]
    planner = factory(3, num_samples=16, **options)

    def function(w, hold=False):
        step = functools.partial(swing, w) if closing else jax.tree_util.Partial(swing, w)
        made = dynamics.from_function(step, 1)
        if name == "discrete actions":
            made = dynamics.discretized(made, [[-0.5], [0.5]])
        held = jax.lax.stop_gradient(made) if hold and not closing else made
        return planners.infer(planner, held, KEY, jnp.asarray(START), None)[0].mode().ravel()[0] * w[0]

    with pytest.raises(ValueError, match=rf"{name}.* no derivatives.*stop_gradient"):
        jax.grad(function)(jnp.asarray(W))
    if not closing:
        told = jax.jit(jax.grad(functools.partial(function, hold=True)))(jnp.asarray(W))
        assert jnp.isfinite(told).all()


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_no_planner_gives_a_silent_zero(factory):
    sizes = {"num_samples": 16, "num_iterations": 20 if factory is planners.ilqr else 2}
    taken = inspect.signature(factory).parameters
    planner = factory(4, **{name: size for name, size in sizes.items() if name in taken})
    try:
        slope = jax.jit(jax.jacfwd(lambda w: planned(planner, w)))(jnp.asarray(W))
    except ValueError as error:
        assert "derivatives" in str(error)  # noqa: PT017
    else:
        assert slope.any()
