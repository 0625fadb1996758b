"""Analytic models and wrappers: physics, bounds, ends, error messages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import dynamics

KEY = jax.random.key(0)
CLASSIC = {
    name: getattr(dynamics, name) for name in ("acrobot", "cartpole", "double_cartpole", "pendulum", "point_mass")
}


def drive(model, state, actions):
    def body(state, action):
        state, reward, discount = model.step(KEY, state, action)
        return state, (state, reward, discount)

    return jax.lax.scan(body, state, actions)[1]


def test_a_free_pendulum_keeps_its_energy():
    model = dynamics.pendulum(damping=0.0, mass=0.7, length=1.3, dt=0.02)
    states, _, _ = drive(model, jnp.array([2.0, 0.5]), jnp.zeros((200, 1)))
    angle, velocity = states.T
    energy = 0.5 * 0.7 * (1.3 * velocity) ** 2 + 0.7 * 9.81 * 1.3 * jnp.cos(angle)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-4)
    assert float(jnp.ptp(angle)) > 2.0


def test_a_free_cartpole_keeps_energy_and_momentum():
    model = dynamics.cartpole(cart_mass=0.8, pole_mass=0.3, length=0.9, dt=0.01, track=100.0)
    states, _, _ = drive(model, jnp.array([0.0, 2.0, 0.3, -0.5]), jnp.zeros((200, 1)))
    _, angle, velocity, spin = states.T
    half = 0.45
    vx, vy = velocity - half * spin * jnp.cos(angle), -half * spin * jnp.sin(angle)  # of the pole's centre
    inertia = 0.3 * 0.9**2 / 12
    kinetic = 0.5 * 0.8 * velocity**2 + 0.5 * 0.3 * (vx**2 + vy**2) + 0.5 * inertia * spin**2
    energy = kinetic + 0.3 * 9.81 * half * jnp.cos(angle)
    np.testing.assert_allclose(energy, energy[0], rtol=2e-4)
    np.testing.assert_allclose(0.8 * velocity + 0.3 * vx, 0.8 * velocity[0] + 0.3 * vx[0], rtol=1e-4)


def test_a_free_acrobot_keeps_its_energy():
    model = dynamics.acrobot(masses=(0.7, 1.2), lengths=(1.1, 0.6), dt=0.01)
    states, _, _ = drive(model, jnp.array([2.0, 1.0, 0.5, -0.3]), jnp.zeros((300, 1)))
    energy = jax.vmap(lambda state: model.rods.energy(state[:2], state[2:], model.gravity))(states)
    np.testing.assert_allclose(energy, energy[0], atol=0.01)
    assert float(jnp.ptp(states[:, 1])) > 2.0
    # the same from positions and velocities of the rods' halves, in cartesian coordinates
    points = jax.vmap(rod_points, in_axes=(0, None))(states[:, :2], model.rods.lengths)
    speeds = jax.vmap(lambda s: jax.jvp(lambda a: rod_points(a, model.rods.lengths), (s[:2],), (s[2:],))[1])(states)
    heights, squares = points[..., 1], (speeds**2).sum(-1)
    masses = jnp.repeat(model.rods.masses, 3) * jnp.tile(jnp.array([1.0, 4.0, 1.0]) / 6.0, 2)  # Simpson's rule
    np.testing.assert_allclose(energy, (masses * (0.5 * squares + 9.81 * heights)).sum(-1), atol=0.02)


def test_a_motor_at_the_elbow_turns_both_rods():
    """Against each other, as fast as their inertia lets it: nothing else acts without gravity, at rest."""
    model = dynamics.acrobot(gravity=0.0, max_torque=3.0, dt=1e-3, masses=(2.0, 1.0))
    state = model.step(KEY, jnp.zeros(4), jnp.ones(1)).state
    assert state[2] < 0 < state[3]
    np.testing.assert_allclose(model.rods.inertia(jnp.zeros(2)) @ state[2:], [-3e-3, 3e-3], rtol=1e-3)


def rod_points(angles, lengths):
    """Start, middle and end of both rods, [6, 2]."""
    first, second = jnp.stack([-jnp.sin(angles), jnp.cos(angles)], axis=1) * lengths[:, None]
    shares = jnp.array([[0.0], [0.5], [1.0]])
    return jnp.concatenate([shares * first, first + shares * second])


def test_a_free_double_cartpole_keeps_energy_and_momentum():
    model = dynamics.double_cartpole(pole_masses=(0.3, 0.2), pole_lengths=(0.7, 0.4), dt=0.005, track=100.0)
    states, _, _ = drive(model, jnp.array([0.0, 2.0, 1.0, 0.2, 0.5, -0.3]), jnp.zeros((400, 1)))

    def kinetic_and_potential(state):
        slide = jnp.array([state[0], 0.0])

        def points(x, angles):
            return rod_points(angles, model.poles.lengths) + jnp.array([x, 0.0])

        _, speeds = jax.jvp(points, (slide[0], state[1:3]), (state[3], state[4:]))
        masses = jnp.repeat(model.poles.masses, 3) * jnp.tile(jnp.array([1.0, 4.0, 1.0]) / 6.0, 2)
        height = points(slide[0], state[1:3])[:, 1]
        energy = (masses * (0.5 * (speeds**2).sum(-1) + 9.81 * height)).sum() + 0.5 * model.cart_mass * state[3] ** 2
        return energy, (masses * speeds[:, 0]).sum() + model.cart_mass * state[3]

    energy, momentum = jax.vmap(kinetic_and_potential)(states)
    np.testing.assert_allclose(energy, energy[0], atol=1e-3)
    np.testing.assert_allclose(momentum, momentum[0], atol=1e-3)
    assert float(jnp.ptp(states[:, 2])) > 2.0


def test_a_push_moves_the_cart_forward_and_the_pole_back():
    model = dynamics.cartpole()
    state = model.step(KEY, jnp.zeros(4), jnp.ones(1)).state
    assert state[0] > 0
    assert state[1] > 0  # counter-clockwise: the tip stays behind


def test_cartpole_ends_at_the_end_of_its_track():
    _, rewards, discounts = drive(dynamics.cartpole(), jnp.zeros(4), jnp.ones((40, 1)))
    assert discounts[0] == 1.0
    assert discounts[-1] == 0.0
    assert ((rewards >= 0) & (rewards <= 1)).all()


def test_a_point_ends_at_an_obstacle_and_is_paid_at_the_goal():
    model = dynamics.point_mass()
    _, _, discounts = drive(model, jnp.zeros(4), jnp.array([[1.0, 0.0]] * 30))
    assert discounts.min() == 0.0
    clear = dynamics.point_mass(obstacles=())
    _, _, discounts = drive(clear, jnp.zeros(4), jnp.array([[1.0, 0.0]] * 30))
    assert discounts.min() == 1.0
    np.testing.assert_allclose(clear.step(KEY, jnp.array([3.0, 0.0, 0.0, 0.0]), jnp.zeros(2)).reward, 1.0)


@pytest.mark.parametrize("name", CLASSIC)
def test_models_are_models(name):
    model = CLASSIC[name]()
    assert isinstance(model, dynamics.Model)
    state = model.init(KEY)
    step = model.step(KEY, state, jnp.full(model.action_size, 9.0))
    beyond = model.step(KEY, state, jnp.full(model.action_size, 1.0))
    jax.tree.map(np.testing.assert_array_equal, step, beyond)  # actions are clipped to [-1, 1]
    assert step.state.shape == state.shape
    assert model.value(state) == 0.0
    with pytest.raises(ValueError, match=rf"action must have shape \({model.action_size},\), got \(5,\)"):
        unchecked(model.step)(KEY, state, jnp.zeros(5))


@pytest.mark.parametrize("name", CLASSIC)
def test_parameters_are_traced_and_checked(name):
    traces = []

    @jax.jit
    def step(model):
        traces.append(1)
        return model.step(KEY, model.init(KEY), jnp.ones(model.action_size)).state

    results = [step(CLASSIC[name](dt=dt)) for dt in (0.01, 0.02, np.float32(0.03), jnp.array(0.04))]
    assert len(traces) == 1
    assert len({float(result[-1]) for result in results}) == 4
    with pytest.raises(ValueError, match=r"dt must be finite and > 0, got 0\.0"):
        CLASSIC[name](dt=0.0)
    batch = jax.vmap(
        lambda dt: CLASSIC[name](dt=dt).step(
            KEY, jnp.zeros(results[0].shape), jnp.ones(2)[: CLASSIC[name]().action_size]
        )
    )
    assert batch(jnp.array([0.01, 0.02])).reward.shape == (2,)


def test_functions_become_models():
    model = dynamics.from_function(lambda key, state, action: (state + action.sum(), 3, 0), 2)
    step = unchecked(model.step)(KEY, jnp.zeros(()), [1, 2])
    assert (step.state, step.reward, step.discount) == (3.0, 3.0, 0.0)
    assert step.reward.dtype == step.discount.dtype == jnp.zeros(()).dtype
    assert model.value(jnp.zeros(())) == 0.0
    with pytest.raises(ValueError, match="init must be given"):
        model.init(KEY)
    ranged = dynamics.from_function(lambda key, state, action: (action, 0.0, 1.0), 2, action_range=(-2.0, [2.0, 6.0]))
    np.testing.assert_allclose(ranged.step(KEY, jnp.zeros(2), jnp.array([0.5, 9.0])).state, [1.0, 6.0])


def test_parameters_of_functions_stay_traced():
    traces = []

    def step(gain, key, state, action):
        return state + gain * action[0], state, 1.0

    @jax.jit
    def run(model):
        traces.append(1)
        return model.step(KEY, jnp.zeros(()), jnp.ones(1)).state

    results = [run(dynamics.from_function(jax.tree_util.Partial(step, jnp.array(g)), 1)) for g in (1.0, 2.0)]
    assert results == [1.0, 2.0]
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: unchecked(dynamics.from_function)(None, 1), "step must be callable, got None"),
        (
            lambda: dynamics.from_function(lambda *_: None, 0),
            "action_size must be an integer of at least 1, got 0",
        ),
        (
            lambda: unchecked(dynamics.from_function)(lambda *_: None, 1, value=3),
            "value must be callable, got 3",
        ),
        (
            lambda: dynamics.from_function(lambda *_: jnp.zeros(2), 1).step(KEY, 0.0, jnp.zeros(1)),
            r"must return \(state",
        ),
        (
            lambda: dynamics.from_function(lambda *_: (0.0, jnp.zeros(2), 1.0), 1).step(KEY, 0.0, jnp.zeros(1)),
            r"reward of a step must be a scalar number, got float32 of shape \(2,\)",
        ),
        (
            lambda: dynamics.from_function(lambda *_: (0.0, 0.0, jnp.array(True)), 1).step(KEY, 0.0, jnp.zeros(1)),
            "discount of a step must be a number, 0 where the episode ends, got a boolean",
        ),
        (
            lambda: dynamics.with_value(dynamics.pendulum(), lambda state: state).value(jnp.zeros(2)),
            r"value must be a scalar number, got float32 of shape \(2,\)",
        ),
        (
            lambda: dynamics.discounted(dynamics.pendulum(), 1.1),
            "discount must be finite and >= 0 and <= 1, got 1.1",
        ),
        (
            lambda: dynamics.action_repeat(dynamics.pendulum(), 0),
            "repeats must be an integer of at least 1, got 0",
        ),
        (lambda: unchecked(dynamics.with_value)(dynamics.pendulum(), 1.0), "value must be callable, got 1.0"),
        (
            lambda: dynamics.point_mass(obstacles=(1.5, 0.0, 0.5)),
            r"obstacles must be rows \(x, y, radius\), got shape \(3,\)",
        ),
        (lambda: dynamics.point_mass(obstacles=[(1.5, 0.0, -0.5)]), "radius of an obstacle must be finite and >= 0"),
        (
            lambda: dynamics.from_function(lambda *_: None, 2, action_range=([0.0, 1.0, 2.0], 3.0)),
            r"action_range \(low\) must have shape \(2,\), or broadcast to it, got \(3,\)",
        ),
        (
            lambda: dynamics.point_mass(goal=(1.0, 2.0, 3.0)),
            r"goal must have shape \(2,\), or broadcast to it, got \(3,\)",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrappers_compose():
    model = dynamics.from_function(
        lambda key, state, action: (state + action[0], state, jnp.where(state > 2, 0.0, 0.9)), 1
    )
    wrapped = dynamics.discounted(dynamics.with_value(model, lambda state: 7 * state), 0.5)
    assert isinstance(wrapped, dynamics.Model)
    assert wrapped.value(jnp.array(2.0)) == 14.0
    step = wrapped.step(KEY, jnp.array(1.0), jnp.ones(1))
    np.testing.assert_allclose(step, (2.0, 1.0, 0.45))
    repeated = dynamics.action_repeat(model, 3)
    np.testing.assert_allclose(
        repeated.step(KEY, jnp.zeros(()), jnp.ones(1)), (3.0, 0 + 0.9 * 1 + 0.81 * 2, 0.9**3), rtol=1e-6
    )
    # the third step ends the episode: the fourth does not count
    step = dynamics.action_repeat(model, 4).step(KEY, jnp.array(1.0), jnp.ones(1))
    np.testing.assert_allclose((step.reward, step.discount), (1 + 0.9 * 2 + 0.81 * 3, 0.0), rtol=1e-6)
    assert jax.tree.leaves(dataclasses.replace(wrapped, discount=jnp.array(0.1)))[-1] == pytest.approx(0.1)


def test_seconds_become_steps():
    pendulum = dynamics.pendulum(dt=0.05)
    assert dynamics.steps(pendulum, 2.0) == 40
    assert dynamics.steps(pendulum, 0.001) == 1
    car = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1, dt=0.1)
    assert dynamics.steps(car, 2.0) == 20
    slow = dynamics.action_repeat(dynamics.with_value(dynamics.discounted(pendulum, 0.9), lambda state: 0.0), 4)
    assert dynamics.steps(slow, 2.0) == 10
    assert dynamics.steps(dynamics.ensemble([pendulum, pendulum]), 1.0) == 20
    assert dynamics.steps(dynamics.randomized(pendulum, lambda key, model: model), 1.0) == 20
    with pytest.raises(ValueError, match="model must have dt, the duration of a step in seconds, got FunctionModel"):
        dynamics.steps(dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1), 1.0)
    with pytest.raises(ValueError, match=r"seconds must be finite and > 0, got -1\.0"):
        dynamics.steps(pendulum, -1.0)


def test_what_is_known_is_checked_within_jit_too():
    wrong = jnp.array(-0.2)

    @jax.jit
    def checked(traced):
        with pytest.raises(ValueError, match=r"dt must be finite and > 0, got .*-0\.2"):
            dynamics.pendulum(dt=wrong)
        return dynamics.pendulum(dt=traced).dt

    assert checked(wrong) == wrong


@pytest.mark.parametrize(
    ("discount", "counted"),
    [(-1e-7, 0.0), (1.0 + 1e-6, 1.0), (0.5, 0.5), (-1e-3, jnp.nan), (1.001, jnp.nan), (jnp.nan, jnp.nan)],
)
def test_a_discount_may_be_off_by_rounding(discount, counted):
    model = dynamics.from_function(lambda key, state, action: (state, 1.0, state), 1)

    def weight(state):
        return model.step(jax.random.key(0), state, jnp.zeros(1)).discount

    np.testing.assert_array_equal(jax.jit(weight)(discount), counted)
    if not np.isnan(counted):
        assert jax.grad(weight)(discount) == (0.0 if counted != discount else 1.0)
        assert weight(jnp.asarray(discount)) == counted
    for end in (0.0, 1.0):
        assert jax.grad(weight)(end) == 1.0
