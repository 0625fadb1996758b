"""Plans that end at rest: what a step of coming to rest is worth, and that what would crash stops in time."""

import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax import kinematics, math
from problems import unchecked

from mirrax import compiling, dynamics, planners
from mirrax.dynamics.brax_motion import squared_displacement
from mirrax.planners.info import info_row

HORIZON, REST, SPEED = 9, 5, 0.7
KEY, ACTIONS = jax.random.key(0), jnp.array([[0.5], [-0.2], [0.9], [0.1], [-1.0], [-0.6]])
FACTORIES = {factory.__name__: factory for factory in (*planners.PLANNERS, planners.okada)}
SMALL = {
    "gradient": {"num_iterations": 20},
    "elbo_gradient": {"num_iterations": 20, "temperature": 0.1},
    "stein": {"num_iterations": 20, "temperature": 0.1},
    "iterative_policy": {"num_iterations": 10, "num_samples": 32, "hidden": (8,)},
    "okada": {"temperature": 1.0},
}
infer = jax.jit(planners.infer)


def car(wall=6.0, discount=1.0, pay=1.0):
    """A car that is paid for its speed, and for each step before the wall."""

    def step(key, state, action):
        x, v = state
        v = jnp.clip(v + 0.2 * jnp.clip(action[0], -1.0, 1.0), 0.0, 4.0)
        x = x + 0.2 * v
        return jnp.stack([x, v]), pay + v, jnp.where(x > wall, 0.0, discount)

    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(2), bounded=True)


@dynamics.pytree
class Rolling:
    """A car that knows its speed."""

    model: dynamics.FunctionModel
    action_size: int = dynamics.static(default=1)

    def init(self, key):
        return self.model.init(key)

    def step(self, key, state, action):
        return self.model.step(key, state, action)

    def value(self, state):
        return jnp.zeros(())

    def mean_squared_speed(self, state):
        return state[1] ** 2

    def mean_squared_displacement(self, state):
        """It can be parked at 1 m."""
        return (state[0] - 1.0) ** 2


@pytest.mark.parametrize("pay", [1.0, -3.0], ids=["earns", "costs"])
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_a_step_of_coming_to_rest_is_worth_the_mean_reward_but_for_its_speed(discount, pay):
    model = Rolling(car(wall=np.inf, discount=discount, pay=pay))
    start = jnp.array([0.0, 1.0])
    path = planners.trajectory(model, KEY, start, ACTIONS)
    resting = dynamics.resting(model, 4, speed=SPEED)
    found = planners.trajectory(resting, KEY, resting.begin(start), ACTIONS).rewards
    weights = discount ** np.arange(4)
    mean = (weights * path.rewards[:4]).sum() / weights.sum()
    squared = np.asarray(path.states[4:, 1]) ** 2
    np.testing.assert_allclose(found[:4], path.rewards[:4], rtol=1e-6)
    np.testing.assert_allclose(found[4:], mean - abs(mean) * squared / (squared + SPEED**2), rtol=1e-5)


def test_far_from_the_pose_of_rest_a_step_is_worth_less():
    model, start = Rolling(car(wall=np.inf)), jnp.array([0.0, 1.0])
    path = planners.trajectory(model, KEY, start, ACTIONS)
    resting = dynamics.resting(model, 4, speed=SPEED, distance=0.4)
    found = planners.trajectory(resting, KEY, resting.begin(start), ACTIONS).rewards
    x, v = np.asarray(path.states[4:]).T
    unrest = (v / SPEED) ** 2 + ((x - 1.0) / 0.4) ** 2
    np.testing.assert_allclose(found[4:], path.rewards[:4].mean() / (1.0 + unrest), rtol=1e-5)  # r̄ − |r̄| e/(1 + e)


def test_where_any_speed_will_do_survival_counts_and_the_pose():
    model, start = Rolling(car(wall=np.inf)), jnp.array([0.0, 1.0])
    path = planners.trajectory(model, KEY, start, ACTIONS)
    mean = path.rewards[:4].mean()
    distances = np.asarray(path.states[4:, 0]) - 1.0
    for distance, unrest in ((None, 0.0), (0.4, (distances / 0.4) ** 2)):
        resting = dynamics.resting(model, 4, speed="any", distance=distance)
        found = planners.trajectory(resting, KEY, resting.begin(start), ACTIONS).rewards
        np.testing.assert_allclose(found[4:], mean / (1.0 + unrest) * np.ones(2), rtol=1e-5)
    ends = Rolling(car(wall=1.5))
    returns = []
    for speed in (None, "any"):
        planner = planners.mppi(HORIZON, num_samples=256, rest_steps=REST, rest_speed=speed, keep=("returns",))
        returns.append(infer(planner, ends, KEY, start)[1].returns)
    # where speed does not count, a plan that goes on is worth more
    assert (returns[1] >= returns[0] - 1e-5).all()
    assert returns[1].max() > returns[0].max() + 0.1


def test_a_pose_of_rest_is_reached():
    """The car stops anywhere; with a distance it is where it can be parked at the end of its plan."""
    model = Rolling(car(wall=np.inf))
    state, ends = model.init(KEY), []
    for distance in (None, 0.2):
        planner = planners.icem(24, num_samples=256, num_iterations=8, rest_steps=20, rest_distance=distance)
        belief, _ = infer(planner, model, KEY, state)
        ends.append(planners.trajectory(model, KEY, state, belief.best()).states[-1])
    assert abs(ends[1][0] - 1.0) < 0.1
    assert abs(ends[1][1]) < 0.1
    assert abs(ends[0][0] - 1.0) > 0.2


def test_a_model_without_a_pose_of_rest_is_refused():
    message = "must have a pose of rest for distances from it, see `dynamics.HasPose`, got FunctionModel without one"
    with pytest.raises(ValueError, match=message):
        dynamics.resting(car(), 3, distance=0.1)
    planner = planners.mppi(HORIZON, rest_steps=REST, rest_distance=0.1)
    bare = car()
    for model in (bare, dynamics.timed(bare), dynamics.ensemble([bare, bare])):
        with pytest.raises(ValueError, match="must have a pose of rest"):
            planners.infer(planner, model, KEY, model.init(KEY))


def test_a_charge_for_the_end_counts_while_coming_to_rest():
    """Where every step costs, only the charge speaks against an early end."""

    def step(key, state, action):
        x, v = state
        v = jnp.clip(v + 0.2 * jnp.clip(action[0], -1.0, 1.0), 0.0, 4.0)
        x = x + 0.2 * v
        crashed = x > 6.0
        return jnp.stack([x, v]), v - 5.0 - jnp.where(crashed, 1000.0, 0.0), jnp.where(crashed, 0.0, 1.0)

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(2), bounded=True)
    resting = dynamics.resting(model, 2)
    path = planners.trajectory(resting, KEY, resting.begin(jnp.array([5.0, 2.0])), jnp.ones((6, 1)))
    assert path.rewards[int(np.argmin(np.asarray(path.discounts)))] < -1000.0
    planner = planners.mppi(26, num_samples=64, rest_steps=20)
    episode = jax.jit(planners.episode, static_argnames="num_steps")(planner, model, model, KEY, num_steps=60)
    assert episode.discounts.all()


def test_after_an_end_rest_is_worth_nothing():
    model = Rolling(car(wall=0.5))
    resting = dynamics.resting(model, 2)
    path = planners.trajectory(resting, KEY, resting.begin(jnp.array([0.0, 1.0])), ACTIONS)
    ended = int(np.argmin(np.asarray(path.discounts)))
    assert 1 < ended < 5
    found = planners.rollout(resting, KEY, resting.begin(jnp.array([0.0, 1.0])), ACTIONS[None])[0]
    np.testing.assert_allclose(found, path.rewards[: ended + 1].sum(), rtol=1e-6)
    assert path.rewards[: ended + 1].sum() < path.rewards[:2].mean() * (ended + 1) + 1e-5


def test_a_discrete_state_can_survive_but_not_come_to_rest():
    table = dynamics.tabular(jnp.ones((2, 2, 2)) / 2, jnp.ones((2, 2)))
    state = table.init(KEY)
    with pytest.raises(
        ValueError, match=r"smc: a model must have a speed .* for a speed at rest other than 'any', got"
    ):
        planners.infer(planners.smc(6, num_samples=16, rest_steps=2), table, KEY, state)
    planner = planners.smc(6, num_samples=16, rest_steps=2, rest_speed="any")
    assert planners.infer(planner, table, KEY, state)[1].best_return[-1] == 6.0


@pytest.mark.parametrize("options", [{}, {"rest_distance": 0.1}])
@pytest.mark.parametrize("model", ["x", dynamics.pendulum])
def test_what_is_no_model_is_told_so(options, model):
    planner = planners.mppi(HORIZON, rest_steps=REST, **options)
    with pytest.raises(ValueError, match="mppi: model must be a model"):
        unchecked(planner.init)(model, jnp.zeros(2))


def test_the_policy_of_ilqr_takes_states_that_know_their_step_and_what_was_earned():
    model = car(wall=np.inf)
    belief, _ = infer(planners.ilqr(HORIZON, rest_steps=REST), model, KEY, model.init(KEY))
    resting = dynamics.resting(model, HORIZON - REST)
    policy, state = belief.policy(resting), resting.begin(model.init(KEY))
    np.testing.assert_allclose(policy.mean(dynamics.TimedState(state, jnp.array(0))), belief.mode()[0], atol=1e-6)


def test_what_diverges_while_coming_to_rest_is_invalid():
    model = dynamics.from_function(
        lambda key, state, action: (state + 1.0, jnp.where(state > 3.0, jnp.nan, 1.0), 1.0),
        1,
        init=lambda key: jnp.zeros(()),
    )
    _, info = planners.infer(planners.mppi(HORIZON, num_samples=8, rest_steps=REST), model, KEY, jnp.zeros(()))
    assert info.num_invalid[-1] == 8


def test_speeds():
    """Those of the models that know them; of others the rates of their coordinates; a discrete state has none."""
    for name in ("cartpole", "acrobot", "double_cartpole", "pendulum", "point_mass"):
        model = getattr(dynamics, name)()
        state = model.init(KEY)
        still = jnp.concatenate([state[: len(state) // 2], jnp.zeros(len(state) // 2)])
        assert dynamics.mean_squared_speed(model, state, still) == 0.0
        assert dynamics.mean_squared_speed(model, still, still.at[-1].set(2.0)) > 0.5
        wrapped = dynamics.timed(model)
        first = wrapped.init(KEY)
        np.testing.assert_allclose(
            dynamics.mean_squared_speed(wrapped, first, first), model.mean_squared_speed(first.state)
        )
    before, after = jnp.array([0.0, 1.0]), jnp.array([0.2, 1.0])
    np.testing.assert_allclose(dynamics.mean_squared_speed(car(), before, after), 0.02, rtol=1e-6)
    wrapped = dynamics.discounted(car(), 0.9)
    np.testing.assert_allclose(dynamics.mean_squared_speed(wrapped, before, after), 0.02, rtol=1e-6)
    table = dynamics.tabular(jnp.ones((2, 2, 2)) / 2, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"must have a speed .* got Tabular with neither"):
        dynamics.mean_squared_speed(table, table.init(KEY), table.init(KEY))


def test_the_speed_of_a_robot_is_that_of_its_links():
    model = dynamics.brax("inverted_pendulum", "generalized")
    state = jax.jit(model.init)(KEY)
    speed = model.mean_squared_speed(state)
    x, xd = state.pipeline_state.x, state.pipeline_state.xd
    centres = jax.vmap(math.rotate)(model.sys.link.inertia.transform.pos, x.rot)
    np.testing.assert_allclose(speed, ((xd.vel + np.cross(xd.ang, centres)) ** 2).sum(-1).mean(), rtol=1e-5)
    spring = dynamics.brax("inverted_pendulum", "spring")
    state = jax.jit(spring.init)(KEY)
    np.testing.assert_allclose(
        spring.mean_squared_speed(state), (state.pipeline_state.xd_i.vel**2).sum(-1).mean(), rtol=1e-5
    )
    assert dynamics.brax("fast").mean_squared_speed(dynamics.brax("fast").init(KEY)) is not None


def test_where_a_robot_is_and_where_it_is_heading_does_not_count():
    sys = dynamics.brax("ant").sys

    def displacement(q):
        x, _ = kinematics.forward(sys, q, jnp.zeros(sys.qd_size()))
        return squared_displacement(sys, types.SimpleNamespace(x=x))

    def elsewhere(q):
        turn = jnp.array([jnp.cos(0.6), 0.0, 0.0, jnp.sin(0.6)])
        return q.at[:2].add(jnp.array([3.0, -2.0])).at[3:7].set(math.quat_mul(turn, q[3:7]))

    displacement, q = jax.jit(displacement), sys.init_q
    np.testing.assert_allclose([displacement(q), displacement(elsewhere(q))], 0.0, atol=1e-9)
    bent = q.at[7].add(0.5)
    assert displacement(bent) > 1e-3
    np.testing.assert_allclose(displacement(elsewhere(bent)), displacement(bent), rtol=1e-4)
    np.testing.assert_allclose(displacement(q.at[2].add(0.1)), 0.01, rtol=1e-3)  # height counts
    leaning = q.at[3:7].set(jnp.array([jnp.cos(0.2), jnp.sin(0.2), 0.0, 0.0]))
    assert displacement(leaning) > 1e-3


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "double_cartpole", "pendulum"])
def test_the_small_models_can_stay_upright(name):
    model = getattr(dynamics, name)()
    state = jnp.zeros_like(model.init(KEY))
    assert dynamics.mean_squared_displacement(model, state) == 0.0
    moved = jnp.full_like(state, 0.1)
    np.testing.assert_allclose(dynamics.mean_squared_displacement(model, moved), 0.01, rtol=1e-2)
    for wrapped in (dynamics.timed(model), dynamics.timed(dynamics.ensemble([model, model]))):
        first = wrapped.init(KEY)
        np.testing.assert_allclose(
            dynamics.mean_squared_displacement(wrapped, first), model.mean_squared_displacement(first.state)
        )


@pytest.mark.parametrize("name", FACTORIES)
def test_every_planner_looks_for_plans_that_end_at_rest(name):
    """The return of a plan is that on the resting model, whoever found it."""
    model, options = car(), SMALL.get(name, {})
    planner = FACTORIES[name](HORIZON, rest_steps=REST, rest_speed=SPEED, **options)
    assert (planner.name, planner.horizon) == (name, HORIZON)
    state = model.init(KEY)
    belief, info = infer(planner, model, KEY, state)
    assert belief.mode().shape == (HORIZON, 1)
    resting = dynamics.resting(model, HORIZON - REST, speed=SPEED)
    plan = belief.best() if hasattr(belief, "best") else belief.mode()
    again = planners.rollout(resting, KEY, resting.begin(state), plan[None])[0]
    if name in ("elbo_gradient", "stein", "iterative_policy"):  # whose plan need not be one that was tried
        assert info.best_return[-1] > 0.8 * again
    else:
        np.testing.assert_allclose(info.best_return[-1], again, rtol=1e-5)
    changed = FACTORIES[name](HORIZON, rest_steps=REST, rest_speed=10.0, **options)
    with compiling.counted() as count:
        infer(changed, model, KEY, state)
    assert count.traces["infer"] == 0, "the speed is traced"


@dynamics.pytree
class Segway(dynamics.Wrapper):
    """Paid for standing still; its episode ends when it leans too far."""

    model: dynamics.FunctionModel

    def mean_squared_speed(self, state):
        return state[1] ** 2

    def mean_squared_displacement(self, state):
        return state[2] ** 2


def segway():
    def step(key, state, action):
        _, v, lean, rate = state
        force = 6.0 * action[0]
        state = state + 0.02 * jnp.stack([v, force, rate, 12.0 * jnp.sin(lean) - 1.5 * force])
        return state, 1.0 - 0.1 * v**2, jnp.where(jnp.abs(lean) > 0.5, 0.0, 1.0)

    start = jnp.array([0.0, 0.0, 0.1, 0.0])
    return Segway(dynamics.from_function(step, 1, init=lambda key: start, action_range=(-1.0, 1.0), dt=0.02))


@pytest.mark.parametrize("name", ["icem", "mppi", "vi_mpc", "smc", "ilqr", "dial"])
def test_what_falls_without_stays_up_at_the_same_horizon(name):
    """What pays within 16 steps cannot be held; half of them for coming to rest, and it can."""
    model, options = segway(), {"num_samples": 64} if name != "ilqr" else {"num_iterations": 8}

    @jax.jit
    def up(planner):
        keys = jax.random.split(KEY, 2)
        return jax.vmap(lambda key: planners.episode(planner, model, model, key, 120).discounts.sum())(keys)

    assert (up(FACTORIES[name](16, **options)) < 100).all()
    assert (up(FACTORIES[name](16, rest_steps=8, rest_distance=0.1, **options)) == 120).all()


def test_rest_under_scenarios_and_risk():
    """What was earned on the way, and so what rest is worth, is that of each scenario."""

    @dynamics.pytree
    class Paid:
        """A car whose pay for each step is a parameter."""

        pay: jax.Array
        action_size: int = dynamics.static(default=1)

        def init(self, key):
            return jnp.zeros(2)

        def step(self, key, state, action):
            step = car(pay=0.0).step(key, state, action)
            return step._replace(reward=step.reward + self.pay)

        def value(self, state):
            return jnp.zeros(())

    members = [Paid(jnp.array(pay)) for pay in (0.5, 1.0, 2.0)]
    model, state = dynamics.ensemble(members), jnp.array([0.0, 1.0])

    def returns(model, **options):
        resting = dynamics.resting(model, 3, speed=SPEED)
        return planners.rollout(resting, KEY, resting.begin(state), ACTIONS[None], **options)[0]

    apart = [returns(member) for member in members]
    assert np.ptp(apart) > 1.0
    np.testing.assert_allclose(returns(model, risk="worst"), min(apart), rtol=1e-5)
    np.testing.assert_allclose(returns(model), np.mean(apart), rtol=1e-5)


def test_ilqr_and_gradient_climb_the_same_objective():
    """What was earned is a coordinate, so that expansions know what rest is worth."""
    model, state = car(wall=np.inf), jnp.array([0.0, 1.0])
    options = {"rest_steps": REST, "rest_speed": SPEED}
    found = [
        infer(planner, model, KEY, state)[1].best_return[-1]
        for planner in (
            planners.ilqr(HORIZON, tolerance=0.0, **options),
            planners.gradient(HORIZON, num_iterations=300, learning_rate=0.05, **options),
        )
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=2e-3)


def test_plans_of_ilqr_have_derivatives():
    def step(key, state, action):
        """Without a limit of speed, and with a price of acceleration: a return with slopes everywhere."""
        x, v = state
        v = v + 0.2 * action[0]
        return jnp.stack([x + 0.2 * v, v]), 1.0 + v - 0.5 * v**2 - 0.1 * action[0] ** 2, 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(2), bounded=False)

    def function(speed):
        planner = planners.ilqr(HORIZON, tolerance=0.0, num_samples=0, rest_steps=REST, rest_speed=speed)
        return planners.infer(planner, model, KEY, jnp.array([0.0, 1.0]))[0].mode().sum()

    slope = jax.jit(jax.grad(function))(SPEED)
    ahead, back = (jax.jit(function)(SPEED + change) for change in (0.1, -0.1))
    np.testing.assert_allclose(slope, (ahead - back) / 0.2, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rest_steps": HORIZON}, r"mppi: rest_steps must leave steps that earn something, fewer than .* 9, got 9"),
        ({"rest_steps": 0}, "rest_steps must be an integer of at least 1, got 0"),
        ({"rest_steps": 2, "rest_speed": 0.0}, "rest_speed must be finite and > 0, got 0"),
        ({"rest_steps": 2, "rest_speed": "none"}, "rest_speed must be a number or 'any', got 'none'"),
        ({"rest_speed": "any"}, "rest_speed needs rest_steps, got"),
        ({"rest_speed": 1.0}, "rest_speed needs rest_steps, got"),
        ({"rest_distance": 1.0}, "rest_distance needs rest_steps, got"),
        ({"rest_steps": 2, "rest_distance": 0.0}, "rest_distance must be finite and > 0, got 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        planners.mppi(HORIZON, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0.0}, "speed must be finite and > 0, got 0"),
        ({"speed": "slow"}, "speed must be a number or 'any', got 'slow'"),
        ({"distance": "any"}, "distance must be a number .*, got 'any'"),
    ],
)
def test_mistakes_of_a_resting_model(options, message):
    with pytest.raises(ValueError, match=message):
        dynamics.resting(car(), 4, **options)


def test_messages_name_the_model_that_the_user_knows():
    planner = planners.mppi(HORIZON, rest_steps=REST, std=np.ones(3))
    with pytest.raises(ValueError, match=r"mppi on FunctionModel .*std"):
        planners.infer(planner, car(), KEY, jnp.zeros(2))


def test_planners_of_one_s_own_can_rest_too():
    class Own:
        """One that tries full speed and no speed, without a name."""

        horizon = HORIZON

        def init(self, model, state):
            return jnp.zeros((HORIZON, 1))

        def improve(self, model, key, state, belief):
            plans = jnp.stack([jnp.full((HORIZON, 1), pace) for pace in (1.0, 0.0)])
            returns = planners.rollout(model, key, state, plans)
            return plans[jnp.argmax(returns)], info_row(best_return=returns.max())

        def act(self, key, belief):
            return belief[0]

        def shift(self, belief):
            return belief

    model, state = Rolling(car(wall=1.0)), jnp.zeros(2)

    def action(planner):
        return planners.plan(planner, model, KEY, state, planner.init(model, state))[0]

    assert action(Own()) == 1.0
    resting = planners.resting(Own(), REST)
    assert (resting.name, resting.horizon) == ("Own", HORIZON)
    assert action(resting) == 0.0
    assert planners.resting(Own, None) is Own


@pytest.mark.parametrize(
    ("planner", "message"),
    [
        (object(), "planner must have a horizon, a number of steps, got object without"),
        (planners.mppi(HORIZON, rest_steps=2), "planner looks for plans that end at rest already, got mppi"),
    ],
)
def test_what_cannot_rest_is_refused(planner, message):
    with pytest.raises(ValueError, match=message):
        planners.resting(planner, REST)


def test_what_is_no_model_cannot_rest():
    for model in ("x", dynamics.pendulum):
        with pytest.raises(ValueError, match="model must be"):
            unchecked(dynamics.resting)(model, 3)


def test_policies_see_all_of_a_state_of_one_s_own():
    """One that calls a part of it `state` too."""

    class Ours(NamedTuple):
        state: jax.Array
        target: jax.Array

    policy = planners.policies.network_policy()
    assert policy.observe(Ours(jnp.zeros(1), jnp.zeros(3))).shape == (4,)
    assert policy.observe(dynamics.TimedState(Ours(jnp.zeros(1), jnp.zeros(3)), jnp.array(0))).shape == (4,)


def test_policies_see_the_observation_of_the_state_underneath():
    """What they are made for is the same with plans that end at rest and without."""

    @dynamics.pytree
    class Observed:
        obs: jax.Array
        hidden: jax.Array

    @dynamics.pytree
    class Robot:
        action_size: int = dynamics.static(default=1)

        def init(self, key):
            return Observed(jnp.zeros(2), jnp.zeros(50))

        def step(self, key, state, action):
            return state, jnp.ones(()), jnp.ones(())

        def value(self, state):
            return jnp.zeros(())

    model, shapes = Robot(), []
    for options in ({}, {"rest_steps": 2}):
        planner = planners.iterative_policy(5, hidden=(8,), **options)
        belief = planner.init(model, model.init(KEY))
        shapes.append([leaf.shape for leaf in jax.tree.leaves(belief)])
    assert shapes[0] == shapes[1]


def test_what_refines_takes_no_rest_of_its_own():
    with pytest.raises(ValueError, match="refine must have no rest_steps: give them to the planner that it refines"):
        planners.mppi(HORIZON, rest_steps=REST, refine=planners.gradient(HORIZON, rest_steps=REST))


def test_a_speed_of_a_model_that_is_no_scalar_is_named():
    class Wide(Rolling):
        def mean_squared_speed(self, state):
            return jnp.ones(2)

    model = dynamics.pytree(Wide)(car())
    with pytest.raises(ValueError, match="mean_squared_speed must be a scalar number, got float32 of shape"):
        dynamics.mean_squared_speed(model, jnp.zeros(2), jnp.zeros(2))
