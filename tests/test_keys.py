"""Keys of `jax.random.PRNGKey`, as users of Brax have them, are as good as those of `jax.random.key`."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from problems import random_linear_quadratic, tables, unchecked

from mirrax import dynamics, planners

NEW, OLD = jax.random.key(0), jax.random.PRNGKey(0)
POINT = dynamics.point_mass()
START = jnp.zeros(4)
PLANS = jnp.ones((3, 4, 2))


def plain(tree):
    """Numbers in the place of keys."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if dynamics.randomness.is_key(leaf) else leaf, tree)


def check(function, *arguments):
    old = jax.jit(function)(OLD)
    jax.tree.map(np.testing.assert_array_equal, plain(old), plain(jax.jit(function)(NEW)))


@pytest.fixture
def no_checks_of_shapes():
    """What is annotated as a key is one of `jax.random.key`, but users of the library have no such checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


NOISY = dynamics.randomized(random_linear_quadratic(n=2, m=2, noise=0.1), lambda key, model: model, num=2)
FUNCTIONS = {
    "infer": lambda key: planners.infer(planners.cem(4, num_samples=8), POINT, key, START),
    "infer with scenarios": lambda key: planners.infer(
        planners.vi_mpc(4, num_samples=8, num_scenarios=2), NOISY, key, jnp.zeros(2)
    ),
    "plan": lambda key: planners.plan(
        planners.mppi(4, num_samples=8), POINT, key, START, planners.mppi(4, num_samples=8).init(POINT, START)
    ),
    "plan by particles": lambda key: planners.plan(
        planners.smc(4, num_samples=8), POINT, key, START, planners.smc(4, num_samples=8).init(POINT, START)
    ),
    "plan by derivatives": lambda key: planners.plan(
        planners.ilqr(4, num_iterations=2), POINT, key, START, planners.ilqr(4, num_iterations=2).init(POINT, START)
    ),
    "episode": lambda key: planners.episode(planners.cem(4, num_samples=8), POINT, POINT, key, 2),
    "rollout": lambda key: planners.rollout(NOISY, key, jnp.zeros(2), PLANS, common_noise=False),
    "trajectory": lambda key: planners.trajectory(NOISY, key, jnp.zeros(2), PLANS[0]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_planning_takes_keys_of_both_kinds(name):
    check(FUNCTIONS[name])


MODELS = {
    **{
        name: getattr(dynamics, name) for name in ("pendulum", "cartpole", "acrobot", "double_cartpole", "point_mass")
    },
    "linear_quadratic": lambda: random_linear_quadratic(n=2, m=2, noise=0.1),
    "function": lambda: dynamics.from_function(
        lambda key, state, action: (state + jax.random.normal(key), 0.0, 1.0), 1, init=lambda key: jnp.zeros(())
    ),
    "randomized": lambda: NOISY,
    "ensemble": lambda: dynamics.ensemble([dynamics.pendulum(), dynamics.pendulum(mass=2.0)]),
    "repeated, timed, with reward": lambda: dynamics.with_reward(
        dynamics.timed(dynamics.action_repeat(random_linear_quadratic(n=2, m=2, noise=0.1), 3)), lambda *_: 0.0
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_take_keys_of_both_kinds(name):
    model = MODELS[name]()
    state = model.init(NEW)
    check(model.init)
    check(lambda key: model.step(key, state, jnp.ones(model.action_size)))
    check(lambda key: dynamics.redraw(model, key, {"state": state, "key": NEW}) if name == "pendulum" else 0)


def test_tables_take_keys_of_both_kinds():
    model = dynamics.tabular(**tables())
    check(model.init)


BELIEFS = {
    name: functools.partial(make, 4, **options)
    for name, make, options in (
        ("gaussian", planners.mppi, {}),
        ("splined", planners.mppi, {"num_knots": 3}),
        ("remembering", planners.icem, {}),
        ("full", planners.vi_mpc, {"covariance": "full"}),
        ("mixture", planners.vi_mpc, {"num_components": 2}),
        ("categorical", planners.vi_mpc, {}),
        ("particles", planners.smc, {"num_samples": 8}),
        ("points", planners.stein, {}),
    )
}


@pytest.mark.usefixtures("no_checks_of_shapes")
@pytest.mark.parametrize("name", BELIEFS)
def test_beliefs_take_keys_of_both_kinds(name):
    planner = BELIEFS[name]()
    model = dynamics.discretized(POINT, [[0.0, 0.0], [1.0, 0.0]]) if name == "categorical" else POINT
    belief = planner.init(model, START)
    check(lambda key: belief.sample(key, 3))
    check(lambda key: planner.act(key, belief))


@pytest.mark.parametrize("entry", [planners.infer, planners.plan])
@pytest.mark.parametrize(
    ("key", "told"),
    [
        (0, "got 0"),
        (1.5, "got 1.5"),
        (None, "got None"),
        (jnp.zeros(2), r"got float32\[2\]"),
        (jax.random.split(NEW, 3), r"got key<fry>\[3\]"),
        (jax.random.split(OLD, 3), r"got uint32\[3, 2\]"),
        (jnp.zeros(3, jnp.uint32), r"got uint32\[3\]"),
    ],
)
def test_what_is_no_key_is_named(entry, key, told):
    planner = planners.cem(4, num_samples=8)
    belief = planner.init(POINT, START)
    with pytest.raises(ValueError, match=r"key must be one key, jax.random.key\(seed\) or .*PRNGKey.*" + told):
        unchecked(entry)(planner, POINT, key, START, belief)
