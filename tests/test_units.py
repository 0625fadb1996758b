"""Units and names: actions as actuators take them, what coordinates are called, what rewards are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import dynamics, planners
from mirrax.dynamics.actions import from_range

CAR_RANGE = ((0.0, -0.5), (10.0, 0.5))


def car(make=dynamics.from_function, **options):
    def step(key, state, action):
        return {"x": state["x"] + action, "n": state["n"] + 1}, action[0] - action[1] ** 2, 1.0

    first = {"x": jnp.zeros(2), "n": jnp.zeros((), jnp.int32)}
    return make(step, 2, init=lambda key: first, action_range=CAR_RANGE, **options)


def switch(**options):
    return dynamics.from_function(
        lambda key, state, action: (state + action, 0.0, 1.0),
        num_actions=3,
        init=lambda key: jnp.zeros(()),
        **options,
    )


MODELS = {
    "pendulum": dynamics.pendulum,
    "acrobot": dynamics.acrobot,
    "cartpole": dynamics.cartpole,
    "double_cartpole": dynamics.double_cartpole,
    "point_mass": dynamics.point_mass,
    "linear_quadratic": lambda: dynamics.linear_quadratic(jnp.eye(2), jnp.eye(2), jnp.eye(2), jnp.eye(2)),
    "tabular": lambda: dynamics.tabular(jnp.full((2, 3, 2), 0.5), jnp.zeros((2, 3))),
    "function": car,
    "discrete function": switch,
    "timed": lambda: dynamics.timed(dynamics.cartpole()),
    "resting": lambda: dynamics.resting(dynamics.cartpole(), 3),
    "discretized": lambda: dynamics.discretized(car(), [[0.0, 0.0], [1.0, -1.0], [-1.0, 0.5]]),
    "ensemble": lambda: dynamics.ensemble([dynamics.pendulum(max_torque=3.0), dynamics.pendulum(max_torque=4.0)]),
    "randomized": lambda: dynamics.randomized(dynamics.pendulum(), lambda key, model: model),
    "own reward": lambda: dynamics.with_reward(dynamics.pendulum(), lambda state, action, after: 0.0),
    "brax": lambda: dynamics.brax("inverted_pendulum", "generalized", action_range=(-0.5, 0.5)),
}


@pytest.mark.parametrize("name", MODELS)
def test_actions_go_to_the_units_of_actuators_and_back(name):
    model = MODELS[name]()
    space = dynamics.action_space(model)
    if isinstance(space, dynamics.Discrete):
        actions = list(range(space.num))
    else:
        actions = list(np.random.default_rng(0).uniform(-0.9, 0.9, (3, space.size)).astype(np.float32))
    for action in actions:
        values = dynamics.to_actuators(model, action)
        assert values.ndim == 1
        back = dynamics.from_actuators(model, values)
        np.testing.assert_allclose(back, action, atol=1e-6)
        assert back.shape == space.shape
        assert back.dtype == space.zeros().dtype
        np.testing.assert_allclose(jax.jit(dynamics.to_actuators)(model, action), values, rtol=1e-6)
    names = dynamics.actuator_names(model)
    assert names is None or len(names) == len(values)


@pytest.mark.parametrize("name", MODELS)
def test_every_coordinate_has_a_name(name):
    model = MODELS[name]()
    state = jax.eval_shape(model.init, jax.random.key(0))
    size = jax.eval_shape(lambda state: dynamics.coordinates(model, state), state).size
    names = dynamics.coordinate_names(model, state)
    assert len(names) == size
    assert len(set(names)) == size


@pytest.mark.parametrize("backend", ["spring", "generalized", "mjx"])
@pytest.mark.parametrize("robot", ["ant", "hopper", "pusher"])
def test_coordinates_of_robots_are_named_as_their_files_name_them(robot, backend):
    model = dynamics.brax(robot, backend)
    state = jax.eval_shape(model.init, jax.random.key(0))
    names = dynamics.coordinate_names(model, state)
    assert len(set(names)) == jax.eval_shape(lambda state: dynamics.coordinates(model, state), state).size
    if robot == "hopper":
        assert ("foot: x (m)" if backend == "spring" else "angle: foot_joint (rad)") in names
    assert len(set(dynamics.actuator_names(model) or ())) == model.action_size


def test_coordinates_are_in_the_order_of_their_names():
    model = dynamics.brax("hopper", "spring")
    state = jax.jit(model.init)(jax.random.key(0))
    found = dict(zip(dynamics.coordinate_names(model, state), dynamics.coordinates(model, state), strict=True))
    links = state.pipeline_state
    for number, link in enumerate(("torso", "thigh", "leg", "foot")):
        for axis, i in zip("xyz", range(3), strict=True):
            assert found[f"{link}: {axis} (m)"] == links.x_i.pos[number, i]
            assert found[f"{link}: velocity {axis} (m/s)"] == links.xd_i.vel[number, i]
            assert found[f"{link}: angular velocity {axis} (rad/s)"] == links.xd_i.ang[number, i]
        assert found[f"{link}: rotation w"] == links.x_i.rot[number, 0]
    joints = dynamics.brax("hopper", "generalized")
    state = jax.jit(joints.init)(jax.random.key(0))
    found = dict(zip(dynamics.coordinate_names(joints, state), dynamics.coordinates(joints, state), strict=True))
    assert found["position: rootz (m)"] == state.pipeline_state.q[1]
    assert found["speed: foot_joint (rad/s)"] == state.pipeline_state.qd[5]


def test_states_of_ones_own_are_named_by_their_places():
    state = {"arm": {"angle": jnp.zeros(2), "count": jnp.zeros((), jnp.int32)}, "time": jnp.zeros(())}
    assert dynamics.coordinate_names(object(), state) == ("arm.angle[0]", "arm.angle[1]", "time")
    assert dynamics.coordinate_names(object(), jnp.zeros((2, 2))) == ("[0,0]", "[0,1]", "[1,0]", "[1,1]")
    named = car(coordinate_names=("x (m)", "y (m)"), actuator_names=("speed (m/s)", "steering (rad)"))
    assert dynamics.coordinate_names(named, named.init(jax.random.key(0))) == ("x (m)", "y (m)")
    assert dynamics.actuator_names(dynamics.timed(named)) == ("speed (m/s)", "steering (rad)")


def test_values_of_actuators_are_what_the_model_is_given():
    """By its step, and clipped as it clips them."""
    model = car()
    for action in (jnp.array([0.3, -0.2]), jnp.array([5.0, -7.0])):
        values = model.to_actuators(action)
        np.testing.assert_allclose(
            model.step(jax.random.key(0), model.init(jax.random.key(0)), action).state["x"], values
        )
        np.testing.assert_allclose(values, jnp.clip(values, *map(jnp.array, CAR_RANGE)))
    np.testing.assert_allclose(model.to_actuators(jnp.array([-1.0, 1.0])), [0.0, 0.5])
    np.testing.assert_allclose(dynamics.from_actuators(model, [99.0, -99.0]), [1.0, -1.0])
    low, high = dynamics.actuator_limits(model)
    np.testing.assert_allclose(low, CAR_RANGE[0])
    np.testing.assert_allclose(high, CAR_RANGE[1])
    assert dynamics.actuator_limits(MODELS["linear_quadratic"]()) is None
    assert dynamics.actuator_limits(switch()) is None


def test_an_actuator_that_cannot_move_has_one_action():
    np.testing.assert_array_equal(
        from_range(jnp.array([3.0, 1.0]), jnp.array([3.0, 0.0]), jnp.array([3.0, 2.0])), [0.0, 0.0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actuator_names": "speed"}, r"actuator_names must be a sequence of 2 names, got 'speed'"),
        ({"actuator_names": ("speed",)}, r"actuator_names must be a sequence of 2 names, got 1: \('speed',\)"),
        ({"actuator_names": ("motor", "motor")}, r"actuator_names must be different from each other, got"),
        ({"coordinate_names": (1, 2)}, r"coordinate_names must be a sequence of names, got \(1, 2\)"),
        ({"figure": "box"}, r"figure must be a dynamics.Figure, got 'box'"),
        ({"reward_terms": 3}, r"reward_terms must be callable, got 3"),
    ],
)
def test_names_and_looks_that_are_none_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        car(unchecked(dynamics.from_function), **options)


def terms(state, action, after):
    return {"speed": action[0], "steering": -(action[1] ** 2)}


def test_rewards_tell_their_terms():
    action = jnp.array([0.5, 1.0])
    model = car(reward_terms=terms)
    state = model.init(jax.random.key(0))
    step = model.step(jax.random.key(0), state, action)
    found = dynamics.reward_terms(model, state, action, step.state)
    assert {name: float(value) for name, value in found.items()} == {"speed": 7.5, "steering": -0.25}
    np.testing.assert_allclose(sum(found.values()), step.reward)
    assert dynamics.reward_terms(dynamics.pendulum(), None, action, None) is None


def test_a_reward_may_be_a_dictionary_of_terms():
    model = dynamics.with_reward(car(), terms)
    state, action = model.init(jax.random.key(0)), jnp.array([0.5, 2.0])
    step = model.step(jax.random.key(0), state, action)
    assert float(step.reward) == -0.5  # as the actuators take it: clipped to 1
    assert {name: float(v) for name, v in dynamics.reward_terms(model, state, action, step.state).items()} == {
        "speed": 0.5,
        "steering": -1.0,
    }
    plain = dynamics.with_reward(car(reward_terms=terms), lambda state, action, after: 1.0)
    assert dynamics.reward_terms(plain, state, action, step.state) is None  # those underneath are not its own
    wrong = dynamics.with_reward(car(), lambda state, action, after: {"speed": action})
    with pytest.raises(ValueError, match=r"reward\['speed'\] must be a scalar number, got float32 of shape \(2,\)"):
        wrong.step(jax.random.key(0), state, action)


def test_terms_of_brax_are_its_metrics():
    model = dynamics.brax("ant", "spring")
    state = jax.eval_shape(model.init, jax.random.key(0))
    found = jax.eval_shape(lambda state: dynamics.reward_terms(model, state, jnp.zeros(8), state), state)
    assert {*found} == {"contact", "ctrl", "forward", "survive"}
    pendulum = dynamics.brax("inverted_pendulum")
    state = jax.eval_shape(pendulum.init, jax.random.key(0))
    assert jax.eval_shape(lambda state: dynamics.reward_terms(pendulum, state, jnp.zeros(1), state), state) is None


SMALL = {"ilqr": {}, "gradient": {}, "elbo_gradient": {}}  # all others draw eight plans


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_actions_of_plans_are_within_the_range(factory):
    """Where the reward asks for all that actuators have, and more."""
    planner = factory(3, **SMALL.get(factory.__name__, {"num_samples": 8}))
    model = dynamics.with_reward(dynamics.pendulum(), lambda state, action, after: 10.0 * action[0])
    state = model.init(jax.random.key(0))
    belief = planner.init(model, state)
    plan = jax.jit(planners.plan)
    for key in jax.random.split(jax.random.key(1), 3):
        action, belief, _ = plan(planner, model, key, state, belief)
        assert (jnp.abs(action) <= 1.0).all()


def test_a_model_says_why_an_episode_ends():
    model = dynamics.timed(dynamics.cartpole(track=1.0))
    inside, outside = (
        model.init(jax.random.key(0))._replace(state=jnp.array([x, 0.0, 0.0, 0.0])) for x in (0.9, 1.1)
    )
    for after, left in ((inside, False), (outside, True)):
        found = dynamics.end_reasons(model, inside, jnp.zeros(1), after)
        assert {name: bool(was) for name, was in found.items()} == {"the cart left its track": left}
    fallen = dynamics.with_termination(
        model, lambda state, action, after: after.state[1] > 1.0, reason="the pole fell"
    )
    after = outside._replace(state=jnp.array([0.0, 2.0, 0.0, 0.0]))
    found = dynamics.end_reasons(fallen, inside, jnp.zeros(1), after)
    assert {name: bool(was) for name, was in found.items()} == {
        "the cart left its track": False,
        "the pole fell": True,
    }
    silent = dynamics.with_termination(dynamics.pendulum(), lambda state, action, after: state[0] > 1.0)
    assert dynamics.end_reasons(silent, jnp.zeros(2), jnp.zeros(1), jnp.zeros(2)) is None
    with pytest.raises(ValueError, match="reason must be words, got ''"):
        dynamics.with_termination(model, lambda *_: False, reason="")


@pytest.mark.parametrize("name", ["cartpole", "double_cartpole", "point_mass"])
def test_reasons_to_end_are_those_by_which_steps_end(name):
    model = MODELS[name]()
    size = model.init(jax.random.key(0)).size

    def both(state):
        step = model.step(jax.random.key(0), state, model.from_actuators(jnp.zeros(model.action_size)))
        reasons = dynamics.end_reasons(model, state, jnp.zeros(model.action_size), step.state)
        return step.discount == 0, jnp.stack([*reasons.values()]).any()

    states = 3.0 * jax.random.normal(jax.random.key(1), (64, size))
    ended, told = jax.vmap(both)(states)
    assert 0 < ended.sum() < 64
    np.testing.assert_array_equal(ended, told)


def test_reasons_of_the_same_words_are_one():
    """Whichever of them is given; and a repeated action, which may end before its last repetition, gives none."""
    once = dynamics.with_termination(
        dynamics.pendulum(), lambda state, action, after: after[0] > 1.0, reason="it fell"
    )
    twice = dynamics.with_termination(once, lambda state, action, after: after[0] < -1.0, reason="it fell")
    for angle, fell in ((2.0, True), (-2.0, True), (0.0, False)):
        found = dynamics.end_reasons(twice, jnp.zeros(2), jnp.zeros(1), jnp.array([angle, 0.0]))
        assert {name: bool(was) for name, was in found.items()} == {"it fell": fell}
    repeated = dynamics.action_repeat(once, 2)
    assert dynamics.end_reasons(repeated, jnp.zeros(2), jnp.zeros(1), jnp.zeros(2)) is None


def test_values_beyond_the_range_count_as_its_ends():
    assert int(dynamics.from_actuators(switch(), [7.0])) == 2
    plain = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 2, bounded=True)
    np.testing.assert_array_equal(plain.to_actuators(jnp.array([5.0, 0.0])), [1.0, 0.0])
    np.testing.assert_array_equal(plain.from_actuators(jnp.array([5.0, 0.0])), [1.0, 0.0])


def test_as_many_names_as_coordinates():
    model = car(coordinate_names=("x (m)",))
    with pytest.raises(
        ValueError, match=r"coordinate_names must be one for each of 2 coordinates, got 1: \('x \(m\)',\)"
    ):
        dynamics.coordinate_names(model, model.init(jax.random.key(0)))


def test_wrappers_keep_the_names_and_their_places():
    """Also where the model underneath has none but the places in its state."""
    model = car()
    for wrapped in (dynamics.with_reward(model, lambda *_: 0.0), dynamics.timed(dynamics.discounted(model, 0.9))):
        state = jax.eval_shape(wrapped.init, jax.random.key(0))
        assert dynamics.coordinate_names(wrapped, state) == ("x[0]", "x[1]")


def test_many_actions_at_once():
    """With leading axes, of every kind of model; a model's own method says how."""
    model = car()
    actions = jnp.linspace(-1.0, 1.0, 24).reshape(3, 4, 2)
    values = dynamics.to_actuators(model, actions)
    assert values.shape == (3, 4, 2)
    np.testing.assert_allclose(values[1, 2], model.to_actuators(actions[1, 2]), rtol=1e-6)
    np.testing.assert_allclose(dynamics.from_actuators(model, values), actions, atol=1e-6)
    numbers = jnp.arange(3)
    for discrete in (switch(), MODELS["discretized"](), MODELS["tabular"]()):
        np.testing.assert_array_equal(
            dynamics.from_actuators(discrete, dynamics.to_actuators(discrete, numbers)), numbers
        )
    with pytest.raises(ValueError, match=r"action must have shape \(2,\), got \(3, 4, 2\) \(of several: jax\.vmap\)"):
        unchecked(model.to_actuators)(actions)
    with pytest.raises(ValueError, match=r"action must be one integer, got int32 of shape \(3,\) \(of several"):
        unchecked(switch().to_actuators)(numbers)


def test_a_list_of_actions_has_the_limits_of_the_actuators():
    model = MODELS["discretized"]()
    members = dynamics.ensemble([model, model])
    for chosen in (model, dynamics.timed(model), dynamics.discounted(dynamics.timed(model), 0.5), members):
        low, high = dynamics.actuator_limits(chosen)
        np.testing.assert_allclose([low, high], CAR_RANGE)
    unlimited = dynamics.discretized(MODELS["linear_quadratic"](), [[0.0, 0.0], [1.0, 1.0]])
    assert dynamics.actuator_limits(unlimited) is None
