"""Brax environments as models, on real ones (spring: cheap to compile) and on made-up awkward ones."""

import copy
import dataclasses
import functools
import inspect
import subprocess
import sys
import warnings

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs import base as brax_base
from brax.envs import inverted_pendulum as pendulum
from brax.envs import pusher
from brax.envs.wrappers import training
from problems import unchecked

from mirrax import dynamics, planners

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def hopper():
    return dynamics.brax("hopper", n_frames=1)


@flax.struct.dataclass
class BareState:
    """No metrics, no info."""

    pipeline_state: jax.Array
    obs: jax.Array
    reward: float
    done: float


class Awkward(brax_base.Env):
    """Rewards are Python floats, done is a constant, and prints and warns as it likes."""

    observation_size, action_size, backend = 1, 2, "none"

    def reset(self, rng):
        return BareState(jnp.zeros(1), jnp.zeros(1), 0.0, False)

    def step(self, state, action):
        warnings.warn("mind the step", UserWarning, stacklevel=1)
        return BareState(state.pipeline_state + action.sum(), state.obs, 1.0, 0)


class Counter(brax_base.Env):
    """Writes into the state's dictionaries, as Brax does; ends after three steps."""

    observation_size, action_size, backend = 1, 1, "none"

    def reset(self, rng):
        return brax_base.State(
            None,
            jnp.zeros(1),
            jnp.zeros(()),
            jnp.zeros(()),
            {"n": jnp.zeros(())},
            {"deep": {"n": jnp.zeros(())}},
        )

    def step(self, state, action):
        state.metrics.update(n=state.metrics["n"] + 1)
        state.info["deep"]["n"] = state.info["deep"]["n"] + action[0]
        done = jnp.where(state.metrics["n"] >= 3, 1.0, 0.0)
        return state.replace(obs=state.obs + 1, reward=state.metrics["n"], done=done)


def test_a_real_environment_steps_as_brax_does(hopper):
    state = jax.jit(hopper.init)(KEY)
    reference = hopper.env.reset(KEY)
    action = jnp.array([0.3, -0.2, 0.9])
    step = jax.jit(hopper.step)(KEY, state, action)
    reference = jax.jit(hopper.env.step)(reference, action)
    np.testing.assert_allclose(step.state.obs, reference.obs, atol=1e-4)
    np.testing.assert_allclose(step.reward, reference.reward, atol=1e-4)
    assert step.discount == 1.0 - reference.done
    assert isinstance(hopper, dynamics.Model)
    assert hopper.action_size == 3
    assert hopper.dt == pytest.approx(0.002)
    clipped = jax.jit(hopper.step)(KEY, state, 5 * jnp.ones(3))
    edge = jax.jit(hopper.step)(KEY, state, jnp.ones(3))
    np.testing.assert_array_equal(clipped.state.obs, edge.state.obs)
    # a fall ends the episode
    fallen = state.replace(
        pipeline_state=state.pipeline_state.replace(
            x=state.pipeline_state.x.replace(pos=state.pipeline_state.x.pos - 5.0)
        )
    )
    assert jax.jit(hopper.step)(KEY, fallen, action).discount == 0.0


def test_physical_parameters_are_traced(hopper):
    traces = []

    @jax.jit
    def step(model, state):
        traces.append(1)
        return model.step(KEY, state, jnp.ones(3)).state.obs

    state = jax.jit(hopper.init)(KEY)
    weak = dataclasses.replace(
        hopper,
        sys=hopper.sys.replace(actuator=hopper.sys.actuator.replace(gear=0.5 * hopper.sys.actuator.gear)),
    )
    assert not np.allclose(step(hopper, state), step(weak, state))
    assert len(traces) == 1


def test_a_diverged_simulation_earns_nan(hopper):
    state = jax.jit(hopper.init)(KEY)
    bad = state.replace(pipeline_state=jax.tree.map(lambda x: x * jnp.nan, state.pipeline_state))
    assert jnp.isnan(jax.jit(hopper.step)(KEY, bad, jnp.zeros(3)).reward)


def test_a_simulation_that_diverges_in_silence_earns_nan():
    """A reward of 1 for being upright is a reward of 1 for being nowhere."""

    class Silent(Counter):
        def step(self, state, action):
            return super().step(state, action).replace(obs=state.obs * jnp.nan, reward=1.0)

    model = dynamics.brax(Silent())
    assert jnp.isnan(model.step(KEY, model.init(KEY), jnp.zeros(1)).reward)


def test_coordinates_are_all_that_moves():
    """A rollout through them at every step is the rollout, derivatives included."""
    model = dynamics.brax("inverted_pendulum", backend="spring")
    state = jax.jit(model.init)(KEY)
    assert dynamics.coordinates(model, state).shape == (13 * 2,)
    direction = jax.random.normal(KEY, (5, 1))

    def total(plan, through):
        def body(state, action):
            if through:
                state = dynamics.with_coordinates(model, state, dynamics.coordinates(model, state))
            state = model.step(KEY, state, action).state
            return state, (state.pipeline_state.qd**2).sum()

        return jax.lax.scan(body, state, plan)[1].sum()

    ways = [functools.partial(total, through=through) for through in (False, True)]
    both = jax.jit(lambda plan: [jax.jvp(way, (plan,), (direction,)) for way in ways])
    (value, slope), (value_through, slope_through) = both(0.3 * direction)
    np.testing.assert_allclose(value_through, value, rtol=1e-5)
    np.testing.assert_allclose(slope_through, slope, rtol=1e-3)
    assert abs(slope) > 0.01


def test_mppi_plans_through_a_real_environment(hopper):
    planner = planners.mppi(8, num_samples=64, keep=("returns",))
    state = jax.jit(hopper.init)(KEY)
    before = planner.init(hopper, state)
    belief, info = jax.jit(planners.infer)(planner, hopper, KEY, state, before)
    assert jnp.isfinite(info.returns).all()
    plans = jnp.stack([before.mode(), belief.mode()])
    returns = jax.jit(planners.rollout)(hopper, KEY, state, plans)
    assert returns[1] > returns[0]


def test_an_awkward_environment_works_and_its_warnings_are_heard():
    model = dynamics.brax(Awkward())
    state = model.init(KEY)
    with pytest.warns(UserWarning, match="mind the step"):
        returns = planners.rollout(model, KEY, state, jnp.ones((3, 4, 2)))
    np.testing.assert_array_equal(returns, 4.0)
    with pytest.warns(UserWarning, match="mind the step"):
        episode = planners.episode(planners.cem(3, num_samples=8), model, model, KEY, 2)
    np.testing.assert_array_equal(episode.rewards, 1.0)


def test_an_environment_by_its_methods_alone():
    class Duck:
        action_size = 2
        step = Counter.step

        def reset(self, rng):
            return Counter().reset(rng)

    model = dynamics.brax(Duck())
    np.testing.assert_array_equal(planners.rollout(model, KEY, model.init(KEY), jnp.zeros((1, 6, 2))), 1 + 2 + 3)
    Duck.dt = 0.1
    own = Duck()
    own.env = "flat"  # no environment that it wraps
    model, state = dynamics.brax(own), Counter().reset(KEY)
    assert model.dt == 0.1
    assert model.reward_terms(state, jnp.zeros(2), state) is None
    Duck.dt = 0.0
    with pytest.raises(ValueError, match=r"env\.dt must be finite and > 0, got 0\.0"):
        dynamics.brax(own)


def test_an_environment_behind_a_foreign_wrapper_works(hopper):
    class Foreign:
        def __init__(self, env):
            self._env = env

        def __getattr__(self, name):
            return getattr(self._env, name)

    model = dynamics.brax(Foreign(hopper.env))
    assert model.sys is None
    state = jax.eval_shape(model.init, KEY)
    assert jax.eval_shape(model.step, KEY, state, jax.ShapeDtypeStruct((3,), jnp.float32)).reward.shape == ()


def test_what_is_no_state_is_named():
    class Broken(Counter):
        def reset(self, rng):
            return {"obs": jnp.zeros(1)}

    with pytest.raises(ValueError, match="must return a State with reward and done, got dict"):
        dynamics.brax(Broken()).init(KEY)


def test_the_callers_state_is_left_alone():
    model = dynamics.brax(Counter())
    state = model.init(KEY)
    step = jax.jit(lambda action: model.step(KEY, state, action))(jnp.ones(1))
    assert state.metrics["n"] == 0.0
    assert state.info["deep"]["n"] == 0.0
    assert step.state.metrics["n"] == 1.0
    np.testing.assert_array_equal(planners.rollout(model, KEY, state, jnp.zeros((2, 6, 1))), 1 + 2 + 3)


@pytest.mark.parametrize(
    "wrap",
    [
        training.AutoResetWrapper,
        lambda env: training.AutoResetWrapper(training.EpisodeWrapper(env, 100, 1)),
        lambda env: brax_base.Wrapper(training.AutoResetWrapper(env)),
    ],
)
def test_no_plan_passes_an_automatic_reset(wrap):
    model = dynamics.brax(wrap(Counter()))
    returns = planners.rollout(model, KEY, model.init(KEY), jnp.zeros((1, 6, 1)))
    assert returns[0] == 1 + 2 + 3


def test_a_time_limit_is_not_an_end():
    class Endless(Counter):
        def step(self, state, action):
            return super().step(state, action).replace(done=jnp.zeros(()))

    model = dynamics.brax(training.EpisodeWrapper(Endless(), 2, 1))
    step = model.step(KEY, model.step(KEY, model.init(KEY), jnp.zeros(1)).state, jnp.zeros(1))
    assert step.state.done == 1.0
    assert step.discount == 1.0


def test_wrappers_keep_their_environment_and_its_parameters(hopper):
    class Doubled(brax_base.Wrapper):
        def step(self, state, action):
            state = self.env.step(state, action)
            return state.replace(reward=2.0 * state.reward)

    model = dynamics.brax(Doubled(hopper.env))
    state = jax.jit(model.init)(KEY)
    single, double = (jax.jit(m.step)(KEY, state, jnp.zeros(3)).reward for m in (hopper, model))
    np.testing.assert_allclose(double, 2.0 * single, rtol=1e-5)
    assert model.sys is not None


def test_every_environment_is_listed_and_one_backend_each():
    names = dynamics.brax_names()
    assert {"ant", "hopper", "swimmer"} <= set(names)
    assert dynamics.brax("swimmer").env.backend == "generalized"
    assert dynamics.brax("ant").env.backend == "spring"


def test_swimmer_steps():
    """On JAX ≥ 0.10, where Brax alone does not."""
    model = dynamics.brax("swimmer", n_frames=1)
    state = jax.eval_shape(model.init, KEY)
    step = jax.eval_shape(model.step, KEY, state, jax.ShapeDtypeStruct((2,), jnp.float32))
    assert step.reward.shape == ()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("anteater",), {}, r"unknown Brax environment 'anteater'; choose one of: ant, fast, halfcheetah"),
        (
            ("ant", "bullet"),
            {},
            r"unknown Brax backend 'bullet'; choose one of: spring, positional, generalized, mjx",
        ),
        (
            ("swimmer", "spring"),
            {},
            r"'swimmer' does not run on backend 'spring'; choose one of: generalized",
        ),
        ((Awkward(),), {"backend": "spring"}, "backend: only with the name"),
        ((Awkward(),), {"n_frames": 3}, "n_frames: only with the name"),
        ((Awkward,), {}, "name_or_env must be the name of a Brax environment or an instance"),
        ((3,), {}, "name_or_env must be the name of a Brax environment or an instance"),
        ((training.VmapWrapper(Counter()),), {}, "single environment, got a batched one"),
        ((Counter(),), {"action_range": (1.0, -1.0)}, r"action_range must have low <= high, .*, got \(1.0, -1.0\)"),
        (
            (Counter(),),
            {"action_range": 2.0},
            r"action_range must be a pair \(low, high\) of numbers or of arrays \[A\], got 2.0",
        ),
        ((Counter(),), {"action_range": (0.0, float("nan"))}, r"action_range \(high\) must be finite, got nan"),
        (
            (training.AutoResetWrapper(training.VmapWrapper(Counter())),),
            {},
            "single environment, got a batched one",
        ),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        unchecked(dynamics.brax)(*arguments, **options)


def test_a_wrong_action_is_named(hopper):
    state = jax.eval_shape(hopper.init, KEY)
    with pytest.raises(ValueError, match=r"action must have shape \(3,\), got \(2,\)"):
        jax.eval_shape(hopper.step, KEY, state, jax.ShapeDtypeStruct((2,), jnp.float32))


def test_brax_says_nothing_of_itself():
    """In a fresh process with all warnings on: neither text nor warnings, when made and when traced, on mjx."""
    code = inspect.cleandoc("""
        import warnings
        warnings.simplefilter("always")
        import jax
        from mirrax import dynamics
        model = dynamics.brax("ant", "mjx")
        key = jax.random.key(0)
        action = jax.ShapeDtypeStruct((8,), jax.numpy.float32)
        jax.eval_shape(model.step, key, jax.eval_shape(model.init, key), action)
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout + result.stderr == ""


class Broken(brax_base.Env):
    """An environment with a mistake."""

    observation_size, action_size, backend = 2, 1, "none"

    def __init__(self, kind):
        self.kind = kind

    def reset(self, rng):
        obs = jnp.zeros(2, int if self.kind == "integers" else float)
        return None if self.kind == "no state" else brax_base.State(None, obs, 0.0, 0.0)

    def step(self, state, action):
        if self.kind == "metrics":
            state.metrics.update(cost=action[0])
        if self.kind == "actions":
            action = jnp.ones((1, 2)) @ action
        reward = {"vector": jnp.ones(2), "complex": 1j, "nothing": None}.get(self.kind, 0.0)
        return state.replace(obs=state.obs + action[0], reward=reward, done=0.0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no state", "reset and step must return a State with reward and done, got NoneType"),
        ("integers", r"state\.obs must keep its shape and dtype in a step, got float32\[2\] after int32\[2\]"),
        ("metrics", r"state\.metrics must have the parts none, got \['cost'\]"),
        (
            "actions",
            r"step of BraxModel must take \(key, state, action \[1\]\), got TypeError: .*\(at .*test_brax.py",
        ),
        ("vector", r"reward of a state must be a scalar, got float32 of shape \(2,\)"),
        ("nothing", r"reward of a state must be a scalar, got None"),
        ("complex", r"reward of a state must be a scalar, got complex64 of shape \(\)"),
    ],
)
def test_mistakes_in_environments_are_named(kind, message):
    model, planner = dynamics.brax(Broken(kind)), planners.cem(3, num_samples=4)
    for call in (
        lambda: dynamics.check(model),
        lambda: jax.eval_shape(lambda: planners.episode(planner, model, model, KEY, 2)),
    ):
        with pytest.raises(ValueError, match=message):
            unchecked(call)()


def without_physics(model):
    """The model whose engine does nothing, and a state of it full of numbers: rewards are computed all the same."""
    env = copy.copy(model.env)
    env.pipeline_step = lambda state, action: jax.tree.map(lambda leaf: (1.5 * leaf).astype(leaf.dtype), state)
    shapes = jax.eval_shape(model.init, KEY)
    number = iter(range(1000))

    def full(leaf):
        if leaf.dtype != jnp.float32:
            return jnp.ones(leaf.shape, leaf.dtype)
        return jax.random.uniform(jax.random.fold_in(KEY, next(number)), leaf.shape)

    return dataclasses.replace(model, env=env), jax.tree.map(full, shapes)


@pytest.mark.parametrize("name", dynamics.brax_names())
def test_actuators_of_brax_take_what_the_engine_is_given(name):
    """The range of every registered robot is that of its file, however its environment scales actions."""
    model = dynamics.brax(name)
    low, high = dynamics.actuator_limits(model)
    wide = {"inverted_pendulum": 3.0, "pusher": 2.0, "humanoid": 0.4, "humanoidstandup": 0.4}.get(name, 1.0)
    np.testing.assert_allclose(high, wide, rtol=1e-6)
    np.testing.assert_allclose(low, -high)
    if model.sys is not None:
        np.testing.assert_allclose(jnp.stack([low, high], axis=-1), model.sys.actuator.ctrl_range)
    action = jnp.linspace(-0.9, 0.8, model.action_size)
    np.testing.assert_allclose(model.to_actuators(action), wide * action, rtol=1e-5)
    np.testing.assert_allclose(model.from_actuators(wide * action), action, rtol=1e-5)


def test_the_scale_of_actions_follows_the_robot_and_its_wrappers():
    model = dynamics.brax("inverted_pendulum")
    repeated = dynamics.brax(training.EpisodeWrapper(model.env, 100, 3))
    action = jnp.array([0.5])
    assert jax.jit(repeated.to_actuators)(action) == 1.5
    robot = model.sys.tree_replace({"actuator.ctrl_range": jnp.array([[-5.0, 5.0]])})
    stronger = dataclasses.replace(model, sys=robot)
    assert jax.jit(lambda model: dynamics.to_actuators(model, action))(stronger) == 2.5
    assert dynamics.brax("inverted_pendulum", action_range=(-2.0, 2.0)).to_actuators(jnp.ones(1)) == 3.0  # clipped


class Servo(pendulum.InvertedPendulum):
    """What it gives the engine depends on the state, too."""

    def step(self, state, action):
        return super().step(state, action - state.pipeline_state.q[:1])


def test_actions_that_are_not_scaled_stay_as_they_are():
    for env in (Awkward(), Counter(), Servo()):
        model = dynamics.brax(env)
        action = jnp.linspace(0.3, 0.4, model.action_size)
        np.testing.assert_allclose(model.to_actuators(action), action, rtol=1e-6)


@pytest.mark.parametrize("name", dynamics.brax_names())
def test_terms_sum_to_the_reward(name):
    """Of every registered environment; a term "other" is only where its metrics leave something."""
    model, state = without_physics(dynamics.brax(name))
    action = jnp.linspace(-0.9, 0.8, model.action_size)

    def both(state):
        step = model.step(KEY, state, action)
        return step.reward, dynamics.reward_terms(model, state, action, step.state)

    reward, terms = jax.jit(both)(state)
    if terms is not None:
        np.testing.assert_allclose(sum(terms.values()), reward, rtol=1e-4)
        assert ("other" in terms) == (name == "humanoidstandup")
    if name == "humanoidstandup":
        np.testing.assert_allclose(terms["other"], 1.0, rtol=1e-3)


class Slowly(pusher.Pusher):
    """Another reward of the same metrics."""

    def step(self, state, action):
        state = super().step(state, action)
        return state.replace(reward=state.reward - 7.0)


def test_what_metrics_leave_of_a_reward_is_a_term():
    model, state = without_physics(dynamics.brax(Slowly(backend="spring")))
    step = jax.jit(model.step)(KEY, state, jnp.full(7, 0.1))
    terms = model.reward_terms(state, jnp.full(7, 0.1), step.state)
    assert {*terms} == {"ctrl", "dist", "near", "other"}
    np.testing.assert_allclose(sum(terms.values()), step.reward, rtol=1e-5)
    assert (
        dynamics.brax(training.EpisodeWrapper(model.env, 9, 2)).reward_terms(state, jnp.zeros(7), step.state) is None
    )
