"""Plans do not wander beyond the range of the actuators, from where they would have to come back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound

from mirrax import dynamics, planners
from mirrax.dynamics.actions import bounded, saturates
from mirrax.planners.beliefs.protocol import has_center, within

KEY = jax.random.key(0)
HORIZON = 20
AWAY = 1000.0  # m: a goal towards which full force is right for good

# full braking takes 13 steps; those that take longer average over plans that brake less
PLANNERS = {
    "predictive_sampling": (planners.predictive_sampling, {}, 20),
    "cem": (planners.cem, {}, 16),
    "cem, knots": (planners.cem, {"num_knots": 4}, 16),
    "icem": (planners.icem, {}, 16),
    "mppi": (planners.mppi, {}, 22),
    "mppi, zero knots": (planners.mppi, {"num_knots": 5, "interpolation": "zero"}, 20),
    "mppi, cubic knots": (planners.mppi, {"num_knots": 4}, 20),
    "mppi, cross term": (planners.mppi, {"temperature": 0.01, "cross_term": 0.1}, 22),
    "pi2": (planners.pi2, {}, 16),
    "tsallis": (planners.tsallis, {}, 22),
    "dial": (planners.dial, {}, 28),
    "evolution": (planners.evolution, {}, 16),
    "smc": (planners.smc, {}, 20),
    "vi_mpc": (planners.vi_mpc, {}, 16),
    "vi_mpc, knots": (planners.vi_mpc, {"num_knots": 4}, 16),
    "vi_mpc, full": (planners.vi_mpc, {"covariance": "full"}, 18),
    "vi_mpc, kronecker": (planners.vi_mpc, {"covariance": "kronecker"}, 18),
    "vi_mpc, mixture": (planners.vi_mpc, {"num_components": 3}, 20),
    "cem, kept, explored": (planners.cem, {"num_kept": 4, "explore_fraction": 0.25, "inflation": 1.2}, 18),
}


@jax.jit
def drive(planner, key):
    """50 steps towards a goal far away, then one 3 m behind: velocities from then on, and the greatest plan."""

    def control(model):
        def step(carry, key):
            state, belief = carry
            action, belief, _ = planners.plan(planner, model, key, state, belief)
            after = model.step(key, state, action).state
            return (after, belief), (after[2], jnp.abs(belief.mode()).max())

        return step

    away = dynamics.point_mass(obstacles=(), goal=(AWAY, 0.0))
    first_key, second_key = jax.random.split(key)
    state = away.init(key)
    start = (state, planner.init(away, state))
    (state, belief), (_, before) = jax.lax.scan(control(away), start, jax.random.split(first_key, 50))
    back = dynamics.point_mass(obstacles=(), goal=(state[0] - 3.0, state[1]))
    _, (velocity, after) = jax.lax.scan(control(back), (state, belief), jax.random.split(second_key, 40))
    return velocity, jnp.maximum(before.max(), after.max())


@pytest.mark.parametrize("name", PLANNERS)
def test_a_plan_turns_as_soon_as_its_goal_does(name):
    factory, options, most = PLANNERS[name]
    velocity, greatest = drive(factory(HORIZON, num_samples=64, **options), KEY)
    assert velocity.min() <= 0.0
    assert np.argmax(np.asarray(velocity) <= 0.0) + 1 <= most
    assert greatest <= 1.0


def test_a_wound_up_belief_is_brought_back_at_once():
    planner, model = planners.mppi(4, num_samples=16), dynamics.point_mass()
    wound = planner.init(model, model.init(KEY)).belief.map_centers(lambda plans: plans + 7.0)
    belief, _ = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY), wound)
    assert jnp.abs(belief.mean).max() <= 1.25


@pytest.mark.parametrize(("interpolation", "num_knots"), [("zero", 4), ("linear", 3), ("cubic", 3), ("cubic", 6)])
def test_splines_stay_within_the_range_between_their_knots_too(interpolation, num_knots):
    family = planners.beliefs.splined(planners.beliefs.mixture(num_components=3), num_knots, interpolation)
    belief = bound(family, 20, 2)
    wild = belief.map_centers(lambda plans: 4.0 * jax.random.normal(KEY, plans.shape))
    assert jnp.abs(wild.means).max() > 1.5
    tamed = within(wild, jnp.full(2, 1.25))
    assert jnp.abs(tamed.means).max() <= 1.25 + 1e-5
    again = within(tamed, jnp.full(2, 1.25))
    np.testing.assert_allclose(again.means, tamed.means, atol=1e-5)  # a projection


def clipping(low, high, reward):
    def step(key, state, action):
        state = state + jnp.clip(action, low, high)
        return state, reward(state, action), 1.0

    return step


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (clipping(-1.0, 1.0, lambda state, action: -(state**2).sum()), True),
        (clipping(-2.0, 2.0, lambda state, action: -(state**2).sum()), False),
        (clipping(-1.0, 1.0, lambda state, action: -(action**2).sum()), False),
        (lambda key, state, action: (state, -jnp.sum(action - 0.5), 1.0), False),
    ],
)
def test_models_of_functions_are_tried(step, expected):
    model = dynamics.from_function(step, 3)
    assert bounded(model) is None
    for otherwise in (True, False):
        assert bool(saturates(model, jnp.zeros(3), otherwise)) is expected
    assert bounded(dynamics.with_value(model, lambda state: 0.0)) is None


def test_models_tell_whether_actions_have_a_range():
    def still(key, state, action):
        return state, 0.0, 1.0

    assert bounded(dynamics.point_mass())
    assert bounded(dynamics.from_function(still, 1, action_range=(-2.0, 3.0)))
    assert bounded(dynamics.from_function(still, 1, bounded=True))
    assert bounded(dynamics.from_function(still, 1, bounded=False)) is False
    assert bounded(dynamics.linear_quadratic([[1.0]], [[1.0]], [[1.0]], [[1.0]])) is False
    with pytest.raises(ValueError, match="bounded must be True where there is an action_range"):
        dynamics.from_function(still, 1, action_range=(-1.0, 1.0), bounded=False)


@functools.partial(jax.jit, static_argnames=("bounds", "is_bounded"))
def far_off(bounds, is_bounded):
    """The plan of a reward whose best action is 3."""

    def step(key, state, action):
        return state, -jnp.sum((action - 3.0) ** 2), 1.0

    planner = planners.cem(3, num_samples=128, num_iterations=30, std=1.0, std_min=0.2, bounds=bounds)
    model = dynamics.from_function(step, 2, bounded=is_bounded)
    return planners.infer(planner, model, KEY, jnp.zeros(()))[0].mode()


@pytest.mark.parametrize(
    ("bounds", "is_bounded", "expected"),
    [
        (None, None, 3.0),
        (None, False, 3.0),
        (None, True, 1.0),
        ("none", True, 3.0),
        ("clip", False, 1.0),
        ("clip", None, 1.0),
    ],
)
def test_unbounded_actions_are_a_choice(bounds, is_bounded, expected):
    np.testing.assert_allclose(far_off(bounds, is_bounded), expected, atol=0.2)


def test_discrete_actions_have_no_range():
    levels = jnp.array([[-1.0], [0.0], [1.0]])

    def step(key, state, action):
        return state, -jnp.sum((action - 2.0) ** 2), 1.0

    model = dynamics.discretized(dynamics.from_function(step, 1, bounded=True), levels)
    for planner in (
        planners.vi_mpc(3, num_samples=64),
        planners.vi_mpc(3, enumerate_plans=True),
        planners.smc(3, num_samples=64),
    ):
        belief = planner.init(model, jnp.zeros(()))
        assert not has_center(belief.belief)
        action, _, _ = jax.jit(planners.plan)(planner, model, KEY, jnp.zeros(()), belief)
        np.testing.assert_allclose(levels[action], 1.0)


def test_an_executed_action_is_within_the_range_however_it_is_chosen():
    model = dynamics.point_mass(goal=(AWAY, AWAY), obstacles=())
    state = model.init(KEY)
    for options in ({"execute": "best"}, {"execute": "sample"}, {"execute": "mean"}):
        planner = planners.mppi(4, num_samples=32, std=3.0, **options)
        action, belief, _ = jax.jit(planners.plan)(planner, model, KEY, state, planner.init(model, state))
        assert jnp.abs(action).max() <= 1.0
        assert jnp.abs(belief.mode()).max() <= 1.0


def test_bounds_are_one_of_two():
    with pytest.raises(ValueError, match="bounds must be one of None, clip, none, got 'box'"):
        planners.cem(3, bounds="box")
