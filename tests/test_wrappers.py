"""Models around models: each can do all that the model underneath can, however deep."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, planners
from mirrax.dynamics.base import scenario_count, scenarios
from mirrax.dynamics.figures import figure
from mirrax.dynamics.observations import observation
from mirrax.learning.policies.networks import bound_observe
from mirrax.planners.policies.network import observed

KEY = jax.random.key(0)


def reward(state, action, after):
    """One that sees the action: it must be in the actuators' range."""
    return jnp.asarray(-jnp.sum(action**2))


def never(state, action, after):
    return jnp.array(False)


WRAPPERS = {
    "with_reward": lambda model: dynamics.with_reward(model, reward),
    "with_termination": lambda model: dynamics.with_termination(model, never),
    "with_value": lambda model: dynamics.with_value(model, lambda state: 0.0),
    "discounted": lambda model: dynamics.discounted(model, 0.9),
    "action_repeat": lambda model: dynamics.action_repeat(model, 2),
    "timed": dynamics.timed,
    "delayed": lambda model: dynamics.delayed(model, 2),
    "delayed repeat of timed": lambda model: dynamics.delayed(dynamics.action_repeat(dynamics.timed(model), 2), 1),
    "randomized": lambda model: dynamics.randomized(model, lambda key, model: model, num=3),
    "ensemble": lambda model: dynamics.ensemble([model, model]),
    "reward of randomized of timed": lambda model: WRAPPERS["with_reward"](
        WRAPPERS["randomized"](dynamics.timed(model))
    ),
    "timed of ensemble of reward": lambda model: dynamics.timed(WRAPPERS["ensemble"](WRAPPERS["with_reward"](model))),
    "repeat of value of discounted of timed": lambda model: WRAPPERS["action_repeat"](
        WRAPPERS["with_value"](WRAPPERS["discounted"](dynamics.timed(model)))
    ),
}
NUM_SCENARIOS = {"randomized": 3, "ensemble": 2}


def inner(state):
    """The state of the model at the bottom."""
    while isinstance(state, dynamics.TimedState | dynamics.DelayedState):
        state = state.state
    return state


def on_their_way(name):
    """How many numbers the actions have that were sent and had no effect yet."""
    return {"delayed": 2, "delayed repeat of timed": 1}.get(name, 0)


@dynamics.pytree
class Turned:
    """A model of one's own that can do everything: a pendulum whose coordinate is its angle alone."""

    pendulum: dynamics.Pendulum
    bounded: bool = dynamics.static()

    @property
    def action_size(self):
        return 1

    @property
    def dt(self):
        return self.pendulum.dt

    def init(self, key):
        return {"pendulum": self.pendulum.init(key), "memory": jnp.zeros(5)}

    def step(self, key, state, action):
        step = self.pendulum.step(key, state["pendulum"], action)
        return step._replace(state=state | {"pendulum": step.state})

    def value(self, state):
        return jnp.zeros(())

    def mean_squared_speed(self, state):
        return self.pendulum.mean_squared_speed(state["pendulum"])

    def coordinates(self, state):
        return state["pendulum"]

    def with_coordinates(self, state, x):
        return state | {"pendulum": x}


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_forwards_every_capability(name):
    pendulum = dynamics.pendulum(dt=0.02)
    for bounded in (True, False):
        model = WRAPPERS[name](Turned(pendulum, bounded))
        assert isinstance(model, dynamics.Model)
        assert model.action_size == 1
        assert dynamics.bounded(model) is bounded
        np.testing.assert_allclose(dynamics.duration(model), 0.04 if "repeat" in name else 0.02, rtol=1e-6)
    state = model.init(KEY)
    x = dynamics.coordinates(model, state)
    np.testing.assert_array_equal(x[:2], inner(state)["pendulum"])
    assert x.size == 2 + on_their_way(name)
    moved = dynamics.with_coordinates(model, state, x.at[:2].set(jnp.array([0.5, 0.25])))
    np.testing.assert_allclose(dynamics.mean_squared_speed(model, state, moved), 0.0625)
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    np.testing.assert_array_equal(inner(moved)["pendulum"], [0.5, 0.25])
    own = next((number for part, number in NUM_SCENARIOS.items() if part in name), None)
    assert scenario_count(model) == own
    if own is not None:
        held = scenarios(model, KEY, 4)
        one = jax.tree.map(lambda leaf: leaf[1], held)
        assert isinstance(one, type(model)) or name in NUM_SCENARIOS  # a wrapper stays in its scenarios
        assert jax.tree.structure(one.step(KEY, state, jnp.zeros(1)).state) == jax.tree.structure(state)
        returns = planners.rollout(model, KEY, state, jnp.full((2, 3, 1), 3.0))
        assert returns.shape == (2,)


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_a_model_does_not_tell_is_told_apart(name):
    plain = dynamics.from_function(lambda key, state, action: (state + action[0], 0.0, 1.0), 1, init=lambda key: 0.0)
    model = WRAPPERS[name](plain)
    assert dynamics.bounded(model) is None
    with pytest.raises(ValueError, match="model must have dt"):
        dynamics.duration(model)
    assert (scenario_count(model) is None) == (not any(part in name for part in NUM_SCENARIOS))
    assert dynamics.coordinates(model, model.init(KEY)).shape == (1 + on_their_way(name),)  # all that there is
    assert dynamics.mean_squared_speed(model, model.init(KEY), model.init(KEY)) == 0.0  # nothing has changed
    assert figure(model) is None
    assert figure(WRAPPERS[name](dynamics.pendulum())) is not None
    assert not dynamics.bounded(WRAPPERS[name](random_linear_quadratic()))


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped_models_look_like_the_one_inside(name):
    model = WRAPPERS[name](dynamics.pendulum())
    state = model.init(KEY)
    np.testing.assert_allclose(figure(model).poses(state), figure(dynamics.pendulum()).poses(inner(state)), rtol=1e-6)


def test_scenarios_of_scenarios_hold_to_the_last_step():
    """An ensemble whose members are also drawn at random: in a scenario one draw of one member holds."""

    def heavier(key, model):
        return dataclasses.replace(model, mass=model.mass * jax.random.uniform(key, minval=1.0, maxval=1.5))

    def masses(model):
        return np.asarray(scenarios(model, KEY, 16).mass)

    each = masses(dynamics.ensemble([dynamics.randomized(dynamics.pendulum(mass=m), heavier) for m in (1.0, 10.0)]))
    assert len(np.unique(each)) == 16
    assert ((each > 5.0) == (np.arange(16) % 2 == 1)).all()
    other = masses(dynamics.randomized(dynamics.ensemble([dynamics.pendulum(mass=m) for m in (1.0, 10.0)]), lighten))
    assert set(other.round(3)) == {0.5, 5.0}


def lighten(key, ensemble):
    return jax.tree.map(lambda leaf: leaf / 2, ensemble)


# Rewards and ends of one's own ----------


def test_an_own_reward_takes_the_place_of_the_models():
    model = dynamics.with_reward(dynamics.pendulum(), lambda state, action, after: state[0] + 10.0 * after[0])
    state = jnp.array([0.3, 0.0])
    step, plain = model.step(KEY, state, jnp.ones(1)), dynamics.pendulum().step(KEY, state, jnp.ones(1))
    np.testing.assert_allclose(step.reward, 0.3 + 10.0 * plain.state[0], rtol=1e-6)
    np.testing.assert_array_equal(step.state, plain.state)


def test_a_reward_sees_the_action_that_the_actuators_take():
    model, plan = dynamics.with_reward(dynamics.pendulum(), reward), jnp.full(1, 7.0)
    assert model.step(KEY, jnp.zeros(2), plan).reward == -1.0
    free = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1, bounded=False)
    assert dynamics.with_reward(free, reward).step(KEY, jnp.zeros(()), plan).reward == -49.0
    assert (
        dynamics.with_reward(dynamics.timed(free), reward).step(KEY, dynamics.TimedState(0.0, 0), plan).reward == -49
    )


def test_a_simulation_that_diverged_keeps_saying_so():
    broken = dynamics.from_function(
        lambda key, state, action: (state, jnp.where(action[0] > 0, jnp.nan, 1.0), 1.0), 1
    )
    model = dynamics.with_reward(broken, lambda state, action, after: 3.0)
    returns = planners.rollout(model, KEY, jnp.zeros(()), jnp.array([[[1.0]], [[-1.0]]]))
    np.testing.assert_array_equal(returns, [np.nan, 3.0])


def test_an_own_end_is_an_end_beside_the_models():
    model = dynamics.with_termination(dynamics.cartpole(), lambda state, action, after: after[0] > 0.05)
    path = planners.trajectory(model, KEY, jnp.zeros(4), jnp.ones((20, 1)))
    first = int((path.states[:, 0] > 0.05).argmax())
    np.testing.assert_array_equal(path.discounts == 0, np.arange(20) >= first)
    own = dynamics.with_termination(dynamics.cartpole(), never)
    assert (planners.trajectory(own, KEY, jnp.zeros(4), jnp.ones((60, 1))).discounts == 0).any()


def test_parameters_of_rewards_and_ends_stay_traced():
    traces = []

    def pay(goal, state, action, after):
        return -goal

    def end(goal, state, action, after):
        return goal > 1.5

    @jax.jit
    def step(model):
        traces.append(1)
        return model.step(KEY, jnp.zeros(2), jnp.ones(1))

    for goal in (1.0, 2.0):
        paid, ends = (jax.tree_util.Partial(function, jnp.array(goal)) for function in (pay, end))
        told = step(dynamics.with_termination(dynamics.with_reward(dynamics.pendulum(), paid), ends))
        assert told.reward == -goal
        assert told.discount == (0.0 if goal > 1.5 else 1.0)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: unchecked(dynamics.with_reward)(dynamics.pendulum(), 3.0), "reward must be callable, got 3.0"),
        (lambda: unchecked(dynamics.with_termination)(dynamics.pendulum(), None), "ended must be callable, got None"),
        (lambda: unchecked(dynamics.with_reward)(reward, dynamics.pendulum()), "model must be a model, got function"),
        (lambda: unchecked(dynamics.timed)(3), "model must be a model, got int"),
        (
            lambda: dynamics.with_reward(dynamics.pendulum(), lambda *_: jnp.zeros(2)).step(
                KEY, jnp.zeros(2), jnp.zeros(1)
            ),
            r"reward must be a scalar number, got float32 of shape \(2,\)",
        ),
        (
            lambda: dynamics.with_termination(dynamics.pendulum(), lambda *_: 1.0).step(
                KEY, jnp.zeros(2), jnp.zeros(1)
            ),
            r"ended must be a boolean scalar, got float32 of shape \(\)",
        ),
        (
            lambda: dynamics.from_function(lambda *_: None, 1, action_range=(-1.0, 1.0), bounded=False),
            r"bounded must be True where there is an action_range, got False",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        unchecked(make)()


def test_planning_linearises_the_robot_and_not_its_observations():
    """A Brax model with a cost of its own keeps its physical coordinates: 26 of the 137 numbers of its state."""
    cart = dynamics.brax("inverted_pendulum", n_frames=1)
    state = jax.eval_shape(cart.init, KEY)
    model = dynamics.with_reward(cart, lambda state, action, after: -jnp.sum(after.pipeline_state.q**2))
    belief = jax.eval_shape(lambda state: planners.ilqr(5).init(model, state), state)
    assert belief.states.shape == (5, 26)
    assert dynamics.duration(model) == cart.dt
    assert figure(model) is not None


# Delays ----------


def test_a_delayed_action_acts_when_it_arrives():
    plain = dynamics.pendulum()
    model = dynamics.delayed(plain, 3, first=[0.25])
    state, below = model.init(KEY), plain.init(KEY)
    actions = jnp.linspace(-1.5, 1.0, 6)[:, None]
    applied = [0.25, 0.25, 0.25, *np.clip(actions[:3, 0], -1, 1)]
    for t, sent in enumerate(actions):
        step, plainly = model.step(KEY, state, sent), plain.step(KEY, below, jnp.array([applied[t]]))
        np.testing.assert_allclose(step.state.state, plainly.state, rtol=1e-6)
        np.testing.assert_allclose(step.reward, plainly.reward, rtol=1e-6)
        terms = dynamics.reward_terms(model, state, sent, step.state) or {"all": step.reward}
        np.testing.assert_allclose(sum(terms.values()), step.reward, rtol=1e-5)
        state, below = step.state, plainly.state
    dynamics.check(model)
    with pytest.raises(ValueError, match=r"action must have shape \(1,\), got \(\)"):
        model.step(KEY, state, jnp.zeros(()))
    assert dynamics.delayed(plain, 0) is plain
    assert model.begin(below).sent.shape == (3, 1)


def test_delayed_discrete_actions():
    plain = dynamics.discretized(dynamics.pendulum(), [[-1.0], [0.0], [1.0]])
    model = dynamics.delayed(plain, 2, first=1)
    state = model.init(KEY)
    np.testing.assert_array_equal(state.sent, [1, 1])
    after = model.step(KEY, state, jnp.array(2)).state
    np.testing.assert_array_equal(after.sent, [1, 2])
    assert after.sent.dtype == jnp.int32
    np.testing.assert_array_equal(dynamics.coordinates(model, after), dynamics.coordinates(plain, after.state))
    dynamics.check(model)
    for wrong in (1.7, [1]):
        with pytest.raises(ValueError, match="action must be one integer, got"):
            model.step(KEY, state, jnp.array(wrong))
    _, info = jax.jit(planners.infer)(planners.cem(4, num_samples=8), model, KEY, state)
    assert jnp.isfinite(info.best_return).all()


def test_delays_add_up():
    plain, actions = dynamics.pendulum(), jnp.linspace(-0.9, 0.9, 6)[:, None]
    twice = dynamics.delayed(dynamics.timed(dynamics.delayed(plain, 2, first=[0.3])), 1, first=[-0.4])
    once = dynamics.delayed(plain, 3)
    state, same = twice.init(KEY), once.init(KEY)._replace(sent=jnp.array([[0.3], [0.3], [-0.4]]))
    assert dynamics.coordinate_names(twice, state) == dynamics.coordinate_names(once, same)
    np.testing.assert_array_equal(dynamics.coordinates(twice, state), dynamics.coordinates(once, same))
    found, expected = (planners.trajectory(m, KEY, s, actions) for m, s in ((twice, state), (once, same)))
    np.testing.assert_allclose(found.rewards, expected.rewards, rtol=1e-6)


def test_the_coordinates_of_a_delayed_model_are_all_that_decides():
    """Names and derivatives of the actions on their way: iLQR finds the closed form of the delayed linear system."""
    model = dynamics.delayed(dynamics.cartpole(), 2)
    state = model.init(KEY)
    names = dynamics.coordinate_names(model, state)
    assert names[-2:] == ("sent 2 steps ago: push", "sent 1 step ago: push") or len(names) == 6
    x = dynamics.coordinates(model, state)
    np.testing.assert_array_equal(x[-2:], 0.0)
    moved = dynamics.with_coordinates(model, state, x + 0.1)
    np.testing.assert_allclose(dynamics.coordinates(model, moved), x + 0.1, rtol=1e-6)
    a, b, late = jnp.array([[1.0, 0.1], [0.0, 1.0]]), jnp.array([[0.0], [0.1]]), 2
    parts = {"Q": jnp.eye(2), "R": [[0.1]], "Qf": jnp.eye(2), "start": [1.0, 0.0]}
    plain = dynamics.linear_quadratic(A=a, B=b, **parts)
    held = dynamics.delayed(plain, late)
    whole = np.zeros((4, 4))
    whole[:2, :2], whole[:2, 2:3], whole[2, 3] = a, b, 1.0
    costs = np.diag([1.0, 1.0, 0.1, 0.0])  # the cost of an action is that of the one that acts
    same = dynamics.linear_quadratic(
        A=whole, B=[[0.0], [0.0], [0.0], [1.0]], Q=costs, R=[[1e-6]], Qf=np.diag([1.0, 1.0, 0.0, 0.0]),
        start=[1.0, 0.0, 0.0, 0.0],
    )  # fmt: skip
    found, _ = jax.jit(planners.infer)(planners.ilqr(12, num_iterations=20), held, KEY, held.init(KEY))
    exact, _ = jax.jit(planners.infer)(planners.ilqr(12, num_iterations=20), same, KEY, same.init(KEY))
    np.testing.assert_allclose(found.mode()[:8], exact.mode()[:8], atol=1e-3)
    np.testing.assert_allclose(found.gains[0], exact.gains[0], atol=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dynamics.delayed(dynamics.pendulum(), -1), "steps must be an integer of at least 0, got -1"),
        (lambda: dynamics.delayed(dynamics.pendulum(), 1.5), "steps must be an integer of at least 0, got 1.5"),
        (lambda: dynamics.delayed(dynamics.pendulum(), 2, first=[1, 2]), r"first must have shape \(1,\)"),
        (
            lambda: dynamics.delayed(dynamics.discretized(dynamics.pendulum(), [[0.0], [1.0]]), 2, first=2),
            "first must be one of the actions 0 to 1, got 2",
        ),
        (lambda: dynamics.delayed(3, 2), "model must be a model, got int"),
    ],
)
def test_mistakes_of_delays_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        unchecked(make)()


def test_a_planner_that_knows_of_a_delay_does_better():
    """Closed loop on a cart-pole with three steps of delay; see docs/rates.md for the numbers."""
    model = dynamics.cartpole()
    plant, planner = dynamics.delayed(model, 3), planners.ilqr(40, num_iterations=3)

    def returns(imagined, observe):
        def one(key):
            return planners.episode(planner, imagined, plant, key, 80, observe=observe).rewards.sum()

        return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, 3)))

    knows, does_not = returns(plant, None), returns(model, lambda state: state.state)
    assert (knows > 1.5 * does_not).all()


class _Seen(NamedTuple):
    """A state with an observation that is less than the state."""

    q: jax.Array
    obs: jax.Array


SEEN = _Seen(jnp.array([3.0]), jnp.array([1.0]))
SEEING = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1, init=lambda key: SEEN)


@pytest.mark.parametrize(
    ("wrap", "seen"),
    [
        (lambda model: model, [1.0]),
        (dynamics.timed, [1.0]),
        (lambda model: dynamics.delayed(model, 2, first=[0.5]), [1.0, 0.5, 0.5]),
        (lambda model: dynamics.timed(dynamics.delayed(model, 1, first=[0.5])), [1.0, 0.5]),
    ],
)
def test_policies_values_and_models_observe_the_same(wrap, seen):
    """`obs` where there is one, whatever is around it, and the actions that are on their way."""
    model = wrap(SEEING)
    state = model.init(jax.random.key(0))
    for found in (
        observation(model, state),
        observed(state),
        bound_observe(None, model)(state),
        dynamics.learned(model, hidden=(4,)).observe(state),
    ):
        np.testing.assert_allclose(found, seen)


def test_discrete_actions_on_their_way_are_observed():
    model = dynamics.delayed(dynamics.discretized(dynamics.pendulum(), [[-1.0], [0.0], [1.0]]), 2, first=2)
    state = model.init(jax.random.key(0))
    inside = observation(model.model, state.state)
    np.testing.assert_allclose(observation(model, state), [*inside, 0, 0, 1, 0, 0, 1])
    np.testing.assert_allclose(observed(state), [*inside, 2.0, 2.0])  # how many there are is not known here
