"""Environments of MuJoCo Playground as models."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import dynamics, planners
from mirrax.dynamics import playground_parts
from mirrax.dynamics.environments import discount_of
from mirrax.dynamics.playground_parts import refuse_wrappers, with_sys

pytest.importorskip("mujoco_playground")

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def pendulum():
    return dynamics.playground("PendulumSwingup")


@pytest.fixture(scope="module")
def start(pendulum):
    return jax.jit(pendulum.init)(KEY)


def wrapped(env, *names):
    """Within wrappers of Brax and of Playground, by their names."""
    from brax.envs.wrappers import training
    from mujoco_playground._src import wrapper

    for name in names:
        kind = getattr(wrapper, name, None) or getattr(training, name)
        if name == "BraxDomainRandomizationVmapWrapper":
            env = kind(env, lambda model: (model, None))
        else:
            env = kind(env, episode_length=3, action_repeat=2) if name == "EpisodeWrapper" else kind(env)
    return env


def changed(env, **methods):
    """A copy of an environment of a class of the user's own."""
    own = object.__new__(type("Own", (type(env),), methods))
    own.__dict__.update(env.__dict__)
    return own


def test_a_step_is_playgrounds_own(pendulum, start):
    assert "impl: jax" in str(pendulum.env._config)  # Playground's own choice is Warp
    after = jax.jit(pendulum.step)(KEY, start, jnp.array([0.5]))
    own = jax.jit(pendulum.env.step)(start, jnp.array([0.5]))
    np.testing.assert_allclose(after.state.data.qpos, own.data.qpos, rtol=1e-6)
    assert (after.reward, after.discount, pendulum.dt) == (own.reward, 1.0, 0.02)
    assert jax.tree.structure(after.state) == jax.tree.structure(start)
    types_of = [[x.aval for x in jax.tree.leaves(state)] for state in (start, after.state)]
    assert types_of[0] == types_of[1]


def test_the_callers_state_is_not_written_to(pendulum, start):
    def step(self, state, action):
        state.info["told"] = state.info.get("told", 0.0) + 1.0
        return state

    before = dict(start.info)
    dynamics.playground(changed(pendulum.env, step=step)).step(KEY, start, jnp.zeros(1))
    assert dict(start.info) == before


def test_parameters_are_traced_and_sweep_without_recompiling(pendulum, start):
    step = jax.jit(lambda model: model.step(KEY, start, jnp.array([1.0])).state.data.qvel)
    weak = pendulum.sys.replace(actuator_gear=0.5 * pendulum.sys.actuator_gear)
    other = jax.tree.unflatten(
        jax.tree.structure(pendulum),
        [new for _, new in zip(jax.tree.leaves(pendulum), [*jax.tree.leaves(weak), *_rest(pendulum)], strict=True)],
    )
    assert not np.allclose(step(pendulum), step(other))
    assert step._cache_size() == 1


def _rest(model):
    return jax.tree.leaves(model)[len(jax.tree.leaves(model.sys)) :]


def test_time_limits_are_no_ends_and_ends_are(pendulum):
    limited = dynamics.playground(wrapped(pendulum.env, "EpisodeWrapper"))
    assert limited.dt == pytest.approx(2 * pendulum.dt)
    state = jax.jit(limited.init)(KEY)
    steps = [(step := jax.jit(limited.step)(KEY, state, jnp.zeros(1)), state := step.state) for _ in range(3)]
    assert steps[-1][1].done == 1
    assert steps[-1][0].discount == 1
    for told, weight in ((jnp.ones(1), 1), (True, 1), (False, 0), (None, 0)):
        assert discount_of(types.SimpleNamespace(done=jnp.ones(()), info={"truncation": told})) == weight
    with pytest.raises(ValueError, match=r"truncation of info must be a scalar, got shape \(3,\)"):
        discount_of(types.SimpleNamespace(done=jnp.ones(()), info={"truncation": jnp.zeros(3)}))
    fallen = changed(pendulum.env, step=lambda self, state, action: state.replace(done=jnp.ones(())))
    model = dynamics.playground(fallen)
    assert model.step(KEY, jax.jit(model.init)(KEY), jnp.zeros(1)).discount == 0


def test_models_of_two_environments_are_told_apart(pendulum):
    with pytest.raises(ValueError, match=r"number 1\.env must be the same SwingUp, got another$"):
        dynamics.ensemble([pendulum, dynamics.playground("PendulumSwingup")])


def test_what_diverges_earns_nan(pendulum, start):
    lost = start.replace(data=start.data.replace(qvel=jnp.full(1, jnp.inf)))
    assert jnp.isnan(jax.jit(pendulum.step)(KEY, lost, jnp.zeros(1)).reward)


@pytest.mark.parametrize(
    "names",
    [
        ("VmapWrapper",),
        ("BraxAutoResetWrapper",),
        ("BraxDomainRandomizationVmapWrapper",),
        ("AutoResetWrapper", "EpisodeWrapper"),
    ],
)
def test_wrappers_that_mislead_are_refused_by_name(pendulum, names):
    with pytest.raises(ValueError, match=f"name_or_env must be .* {names[0]}"):
        dynamics.playground(wrapped(pendulum.env, *names))


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda: dynamics.playground("PendulumSwingUp"), "did you mean 'PendulumSwingup'"),
        (lambda: dynamics.playground("PendulumSwingup", ctrl_d=1.0), "did you mean 'ctrl_dt'"),
        (lambda: dynamics.playground("PendulumSwingup", ctrl_dt="soon"), "ctrl_dt must be a number"),
        (lambda: dynamics.playground("PendulumSwingup", njmax="many"), "config must be as PendulumSwingup takes"),
        (lambda: dynamics.playground("PendulumSwingup", ctrl_dt=-0.02), "ctrl_dt must be finite and > 0, got -0.02"),
        (
            lambda: dynamics.playground("PendulumSwingup", ctrl_dt=0.001),
            "ctrl_dt must be a multiple of sim_dt, 0.01 s",
        ),
        (lambda: dynamics.playground("PendulumSwingup", ctrl_dt=0.025), "a multiple of .*, got 0.025: 0.02 is one"),
        (lambda: dynamics.playground("PendulumSwingup", action_repeat=2), r"take dynamics\.action_repeat\(model"),
        (lambda: dynamics.playground("PendulumSwingup", episode_length=9), "episode_length must be left as it is"),
        (lambda: dynamics.playground("PendulumSwingup", impl="cpp"), "impl must be one of jax, warp, got 'cpp'"),
        (lambda: dynamics.playground("PendulumSwingup", reward={}), "unknown entry 'reward' in the configuration"),
        (
            lambda: unchecked(dynamics.playground)("PendulumSwingup", noise=3),
            "noise must be a sequence of names, got 3",
        ),
        (lambda: dynamics.playground(3), "name_or_env must be the name of an environment of Playground"),
        (lambda: dynamics.playground("PendulumSwingup", noise="rng"), "noise must be a sequence of names"),
        (lambda: dynamics.playground("PendulumSwingup", action_range=(1.0, -1.0)), "low <= high"),
    ],
)
def test_mistakes_are_named(give, words):
    with pytest.raises(ValueError, match=words):
        give()


def test_mistakes_in_environments_of_ones_own_are_named(pendulum):
    def returns(**parts):
        return {"step": lambda self, state, action: state.replace(**parts)}

    parts = {
        r"without mj_model$": {"mj_model": None},
        "env.mj_model must be a mujoco.MjModel, got 'robot'": {"mj_model": "robot"},
        "env.dt must be finite and > 0, got -1": {"dt": -1.0},
        "reward of a state must be a scalar, got None": returns(reward=None),
        "done of a state must be a scalar, got 'no'": returns(done="no"),
        r"state after a step, state.info\['gait'\] must be an array of numbers, got 'trot'": returns(
            info={"gait": "trot"}
        ),
    }
    for message, changes in parts.items():
        with pytest.raises(ValueError, match=message):
            dynamics.check(dynamics.playground(changed(pendulum.env, **changes)))


@pytest.mark.parametrize("env", [None, "flat", types.SimpleNamespace(name="flat")])
def test_an_attribute_env_need_not_be_an_environment(pendulum, env):
    own = changed(pendulum.env)
    own.env = env
    model = dynamics.playground(own)
    assert model.dt == pendulum.dt
    assert with_sys(own, pendulum.sys).env is env
    refuse_wrappers(own)


def test_a_robot_that_must_be_downloaded_says_what_and_where(monkeypatch, tmp_path):
    from mujoco_playground._src import mjx_env

    monkeypatch.setattr(mjx_env, "MENAGERIE_PATH", tmp_path / "menagerie")
    with pytest.raises(ValueError, match=r"Go1Getup.*MuJoCo Menagerie in .*menagerie: git clone https"):
        dynamics.playground("Go1Getup")
    assert "Go1Getup" in dynamics.playground_names()
    assert "CheetahRun" in dynamics.playground_names()[:25]


def test_configuration_is_taken():
    model = dynamics.playground("PendulumSwingup", ctrl_dt=0.05, sim_dt=0.025)
    assert (model.dt, model.env.n_substeps) == (0.05, 2)


def test_what_the_robot_says_of_itself(pendulum, start):
    assert pendulum.actuator_names == ("torque",)
    assert pendulum.coordinate_names == ("angle: hinge (rad)", "speed: hinge (rad/s)")
    x = dynamics.coordinates(pendulum, start)
    moved = jax.jit(pendulum.with_coordinates)(start, x + 0.3)
    np.testing.assert_allclose(dynamics.coordinates(pendulum, moved), x + 0.3, rtol=1e-6)
    np.testing.assert_allclose(dynamics.named(pendulum, moved).joint("hinge").qpos, x[0] + 0.3, rtol=1e-6)
    assert dynamics.mean_squared_speed(pendulum, start, moved) > 0
    assert dynamics.mean_squared_displacement(pendulum, moved) > 0
    assert pendulum.figure().poses(start).shape == (2, 7)


def test_actions_are_told_as_the_engine_takes_them(pendulum):
    def step(self, state, action):
        return type(self).__base__.step(self, state, 0.1 + 0.5 * action)

    np.testing.assert_allclose(pendulum.to_actuators(jnp.array([2.0])), [1.0])  # clipped, as by the engine
    scaled = dynamics.playground(changed(pendulum.env, step=step), action_range=(-2.0, 2.0))
    np.testing.assert_allclose(scaled.to_actuators(jnp.array([0.5])), [0.6], rtol=1e-6)
    np.testing.assert_allclose(scaled.from_actuators(jnp.array([0.6])), [0.5], rtol=1e-6)

    def relative(self, state, action):
        return type(self).__base__.step(self, state, state.data.ctrl + 0.1 * action)

    added = dynamics.playground(changed(pendulum.env, step=relative))
    np.testing.assert_allclose(added.to_actuators(jnp.array([0.5])), [0.5])


def test_keys_in_states_are_future_noise(pendulum):
    """Playground's own robots draw their commands from raw or typed keys of `info["rng"]`."""

    def step(self, state, action):
        rng, now = jax.random.split(state.info["rng"])
        return state.replace(reward=jax.random.normal(now), info=state.info | {"rng": rng})

    model = dynamics.playground(changed(pendulum.env, step=step))
    for key in (KEY, jax.random.PRNGKey(0)):
        state = jax.jit(model.init)(key)
        one, other = (model.redraw(jax.random.key(n), state) for n in range(2))
        rewards = [model.step(KEY, at, jnp.zeros(1)).reward for at in (state, one, other)]
        assert len({float(reward) for reward in rewards}) == 3
        np.testing.assert_array_equal(one.data.qpos, state.data.qpos)


def test_terms_are_told_where_they_sum_to_the_reward():
    metrics = {"reward/in_target": jnp.array(0.8), "reward/upright": jnp.array(0.4), "speed": jnp.array(9.0)}
    after = types.SimpleNamespace(reward=jnp.array(0.75), metrics=metrics)

    def of(module):
        return playground_parts.terms_of(type("Env", (), {"__module__": module, "dt": 0.02})(), after)

    suite = "mujoco_playground._src.dm_control_suite"
    assert of(f"{suite}.fish") == {"in_target": pytest.approx(0.7), "upright": pytest.approx(0.05)}
    assert of(f"{suite}.cartpole") is None  # a product
    summed = of("mujoco_playground._src.locomotion.go1.joystick")
    assert summed["upright"] == pytest.approx(0.008)
    assert sum(summed.values()) == pytest.approx(0.75)
    assert of("mine")["other"] == pytest.approx(0.75 - 1.2)


def test_warp_has_no_derivatives():
    pytest.importorskip("warp")
    model = dynamics.playground("PendulumSwingup", impl="warp")
    shape = jax.eval_shape(model.init, KEY)
    with pytest.raises(ValueError, match=r"impl must be 'jax' .* got 'warp', which has none"):
        jax.eval_shape(jax.grad(lambda a, s: model.step(KEY, s, a).reward), jnp.zeros(1), shape)


def test_it_plans_in_closed_loop():
    model = dynamics.playground("CartpoleSwingup")
    planner = planners.mppi(horizon=8, num_samples=8)
    found = jax.jit(lambda key: planners.episode(planner, model, model, key, 3))(KEY)
    assert found.rewards.shape == (3,)
    assert jnp.isfinite(found.rewards).all()


@pytest.mark.slow
def test_the_rollouts_of_a_robot_with_contacts_are_finite():
    model = dynamics.playground("CheetahRun")
    state = jax.jit(model.init)(KEY)
    rewards = jax.jit(lambda state, key: planners.rollout(model, key, state, jnp.ones((4, 5, 6))))(state, KEY)
    assert rewards.shape == (4,)
    assert jnp.isfinite(rewards).all()
