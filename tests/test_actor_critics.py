"""PPO and SAC with the losses of Brax, and soft Q-learning with vectors of actions: against what is known of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import target, unchecked
from scipy import integrate, stats

from mirrax import dynamics, learning, planners
from mirrax.learning import policies
from mirrax.learning.policies import brax_parts
from mirrax.learning.policies.networks import NormalizedParams
from mirrax.learning.policies.training import _update

KEY = jax.random.key(0)
ENV = dynamics.pendulum()
SMALL = {"num_updates": 2, "num_envs": 4, "num_steps": 4, "episode_steps": 3}
PPO = learning.ppo(num_epochs=2, num_minibatches=2, hidden=(8,))
SAC = learning.sac(num_gradient_steps=2, batch_size=8, replay_size=40, hidden=(8,))
SOFT = learning.soft_q_learning(num_gradient_steps=2, batch_size=8, replay_size=40)
EVERY = {"ppo": PPO, "sac": SAC, "soft_q_learning": SOFT}


def first_of(name, env=ENV):
    make = learning.energy_based if name == "soft_q_learning" else learning.tanh_gaussian
    return make(hidden=(8,))


def learned(name="ppo", env=ENV, **options):
    run = SMALL | {"policy": first_of(name)} | options
    return learning.learn_policy(env, run.pop("algorithm", EVERY[name]), run.pop("key", KEY), **run)


# Closed forms

A, B, Q, R, GAMMA, NOISE = 0.95, 0.4, 1.0, 0.5, 0.9, 0.05


def scalar():
    """A scalar linear-quadratic environment whose states stay small, so that actions stay within their range."""

    def step(key, state, action):
        reward = -(Q * state[0] ** 2 + R * action[0] ** 2)
        return A * state + B * action + NOISE * jax.random.normal(key, (1,)), reward, 1.0

    return dynamics.from_function(step, 1, init=lambda key: jax.random.uniform(key, (1,), minval=-0.8, maxval=0.8))


def soft_riccati():
    """Gain K and P of V = −P x² + c: π = N(K x, β/(2 (R + γ P B²))) maximises the return with its entropy."""
    P = Q
    for _ in range(1000):
        P = Q + GAMMA * A**2 * P - (GAMMA * P * A * B) ** 2 / (R + GAMMA * P * B**2)
    return -GAMMA * P * A * B / (R + GAMMA * P * B**2), P, R + GAMMA * P * B**2


def closeness(training, beta):
    """How far a policy on `scalar` is off: greatest error of the mode, ratio of stds, curvature of V over −P."""
    gain, P, hardness = soft_riccati()
    states = jnp.linspace(-0.6, 0.6, 13)[:, None]
    modes = np.asarray(jax.vmap(training.policy.mode)(states))[:, 0]
    keys = jax.random.split(KEY, 4000)
    draws = jax.vmap(lambda key: training.policy.sample(key, jnp.zeros(1)))(keys)
    values = np.asarray(jax.vmap(training.value)(states))
    curvature = np.polyfit(np.asarray(states)[:, 0], values, 2)[0]
    return (
        np.abs(modes - gain * np.asarray(states)[:, 0]).max(),
        float(draws.std()) / np.sqrt(beta / (2 * hardness)),
        -curvature / P,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm",
    [
        learning.sac(temperature=0.1, tuned=False, discount=GAMMA, hidden=(32, 32), num_gradient_steps=128),
        learning.soft_q_learning(temperature=0.1, discount=GAMMA, num_gradient_steps=128),
    ],
    ids=["sac", "soft_q_learning"],
)
def test_on_a_linear_quadratic_model_soft_policies_end_near_the_soft_riccati_equation(algorithm):
    """Modes up to 0.53 within 0.15, the standard deviation and the curvature of V within 15 %."""
    make = learning.energy_based if algorithm.name == "soft_q_learning" else learning.tanh_gaussian
    policy = make(hidden=(32, 32))
    training = learning.learn_policy(scalar(), algorithm, KEY, num_updates=60, episode_steps=20, policy=policy)
    error, spread, curvature = closeness(training, beta=0.1)
    assert error < 0.15
    assert spread == pytest.approx(1.0, abs=0.15)
    assert curvature == pytest.approx(1.0, abs=0.15)


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """A network whose output is −Σ h (a − m)²/2, the hardness h and m its parameters, after two observed numbers."""

    def input_size(self, params):
        return 2 + len(params[0])

    def apply(self, params, inputs):
        hardness, centre = params
        return -0.5 * (hardness * (inputs[2:] - centre) ** 2).sum(keepdims=True)


def quadratic(hardness, centre, num_samples, beta):
    params = jnp.asarray(hardness, float), jnp.asarray(centre, float)
    made = dataclasses.replace(
        learning.energy_based(num_samples=num_samples),
        params=params,
        observe=jax.tree_util.Partial(lambda state: state),
        temperature=jnp.asarray(beta),
        action_size=len(params[0]),
    )
    return unchecked(dataclasses.replace)(made, network=Quadratic())


def truncated(hardness, centre, beta):
    std = np.sqrt(beta / hardness)
    return stats.truncnorm((-1.0 - centre) / std, (1.0 - centre) / std, loc=centre, scale=std)


@pytest.mark.parametrize("centre", [0.3, -0.9, 1.4])
def test_a_quadratic_energy_is_a_truncated_gaussian(centre):
    with jax.enable_x64(True):
        hardness, beta, state = 4.0, 0.5, jnp.zeros(2)
        policy = quadratic([hardness], [centre], 128, beta)
        exact = truncated(hardness, centre, beta)
        actions = jnp.linspace(-0.99, 0.99, 21)[:, None]
        density = jax.vmap(lambda action: policy.log_prob(state, action))(actions)
        assert density == pytest.approx(exact.logpdf(np.asarray(actions[:, 0])), abs=1e-3)
        assert policy.log_prob(state, jnp.array([1.01])) == -jnp.inf
        assert float(policy.mode(state)[0]) == pytest.approx(np.clip(centre, -1, 1), abs=2e-3)
        draws = jax.vmap(lambda key: policy.sample(key, state))(jax.random.split(KEY, 4000))[:, 0]
        assert float(draws.mean()) == pytest.approx(exact.mean(), abs=5 * exact.std() / 4000**0.5)
        assert float(draws.std()) == pytest.approx(exact.std(), rel=0.06)
        near = policy.unbounded(1e-3)
        assert float(near.mode(state)[0]) == pytest.approx(exact.mean(), abs=1e-3)
        assert float(near.moments(state)[1][0]) == pytest.approx(exact.std(), abs=2e-3)
        value = policies.SoftValue(policy, jnp.asarray(0.0))
        integral = integrate.quad(lambda a: 0.5 * np.exp(-0.5 * hardness * (a - centre) ** 2 / beta), -1, 1)[0]
        assert float(value(state)) == pytest.approx(beta * np.log(integral), abs=1e-3)
        expected = -0.5 * hardness * (0.25 - centre) ** 2
        assert float(value.q_value(state, jnp.array([0.25]))) == pytest.approx(expected)


def test_an_energy_of_two_actuators():
    hardness, centre, beta, state = np.array([3.0, 6.0]), np.array([0.4, -0.5]), 0.5, jnp.zeros(2)
    policy = quadratic(hardness, centre, 512, beta)
    exact = truncated(hardness, centre, beta)
    for action in ([0.0, 0.0], [0.9, -0.9]):
        log_prob = float(policy.log_prob(state, jnp.array(action)))
        assert log_prob == pytest.approx(exact.logpdf(action).sum(), abs=0.05)
    assert policy.mode(state) == pytest.approx(centre, abs=0.02)
    draws = jax.vmap(lambda key: policy.sample(key, state))(jax.random.split(KEY, 4000))
    assert np.asarray(draws.mean(0)) == pytest.approx(exact.mean(), abs=0.04)


def test_points_are_uniform_and_even():
    with jax.enable_x64(True):
        policy = quadratic([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], 256, 1.0)
        for key in (None, KEY):
            points = np.asarray(policy.points((2,), key))
            assert points.shape == (2, 256, 3)
            assert np.abs(points).max() <= 1.0
            assert points.mean(1) == pytest.approx(0.0, abs=0.03)  # of independent ones 0.036 is one std
            assert (points**2).mean(1) == pytest.approx(1 / 3, abs=0.03)


def test_one_step_of_soft_q_learning_ends_in_the_tilted_prior():
    """Where the discount is 0, Q is the reward: π ∝ exp(−(a − 0.5)²/β)."""
    algorithm = learning.soft_q_learning(temperature=0.2, discount=0.0, num_gradient_steps=64, learning_rate=3e-3)
    policy = learning.energy_based(hidden=(16,))
    run = {"num_updates": 30, "num_envs": 8, "num_steps": 8, "episode_steps": 4, "policy": policy}
    training = learning.learn_policy(target(1), algorithm, KEY, observe=None, **run)
    state, exact = jnp.asarray(1.0), truncated(2.0, 0.5, 0.2)
    actions = np.linspace(-0.5, 0.95, 8)
    density = [float(jnp.exp(training.policy.log_prob(state, jnp.array([action])))) for action in actions]
    assert density == pytest.approx(exact.pdf(actions), abs=0.15)
    assert float(training.policy.mode(state)[0]) == pytest.approx(0.5, abs=0.1)


def test_the_distribution_of_brax_is_that_of_the_policy():
    ours = policies.TanhNormal(jnp.array([[0.3, -2.0]]), jnp.array([[0.7, 0.1]]))
    brax, numbers = brax_parts.MeansAndStds(2), brax_parts.numbers_of(ours)
    raw = ours.sample(KEY)
    assert brax.log_prob(numbers, raw) == pytest.approx(np.asarray(ours.log_prob(raw)), rel=1e-5)
    assert brax.postprocess(raw) == pytest.approx(np.asarray(ours.action(raw)))


# The loop


def test_ppo_learns_where_to_aim():
    policy = learning.tanh_gaussian(hidden=(8,))
    run = {"num_updates": 60, "num_envs": 8, "num_steps": 16, "episode_steps": 8, "policy": policy}
    algorithm = learning.ppo(hidden=(8,), num_minibatches=4, entropy_cost=0.0, learning_rate=3e-3)
    training = learning.learn_policy(target(2), algorithm, KEY, **run)
    assert training.policy.mode(jnp.asarray(2.0)) == pytest.approx(0.5, abs=0.1)
    assert np.nanmean(training.returns[-5:]) > np.nanmean(training.returns[:5]) + 1.0


def test_a_tuned_temperature_holds_the_entropy():
    algorithm = learning.sac(hidden=(8,), learning_rate=1e-2, num_gradient_steps=32, temperature=0.3)
    run = {"num_updates": 40, "num_envs": 8, "num_steps": 8, "episode_steps": 8, "policy": first_of("sac")}
    training = learning.learn_policy(target(2), algorithm, KEY, **run)
    entropies = [record.numbers["entropy"] for record in training.records]
    assert np.mean(entropies[-5:]) == pytest.approx(-1.0, abs=0.3)  # −A/2
    fixed = learned("sac", algorithm=learning.sac(tuned=False, temperature=0.3, num_gradient_steps=2, hidden=(8,)))
    assert [record.numbers["temperature"] for record in fixed.records] == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("name", EVERY)
def test_a_key_gives_one_training_and_planners_take_what_comes_of_it(name):
    env = dynamics.point_mass()
    training, again = learned(name, env), learned(name, env)
    jax.tree.map(np.testing.assert_array_equal, training.policy.params, again.policy.params)
    states = jax.vmap(env.init)(jax.random.split(KEY, 5))
    modes = jax.jit(jax.vmap(training.policy.mode))(states)
    assert modes.shape == (5, env.action_size)
    assert jnp.isfinite(jax.jit(jax.vmap(training.value))(states)).all()
    state = jax.tree.map(lambda leaf: leaf[0], states)
    assert jnp.isfinite(training.policy.log_prob(state, training.policy.sample(KEY, state)))
    valued = dynamics.with_value(env, training.value)
    planner = planners.cem(3, num_samples=8, num_iterations=1)
    belief, _ = jax.jit(planners.infer)(planner, valued, KEY, state)
    assert jnp.isfinite(belief.mode()).all()
    proposed = planners.smc(3, num_samples=8, proposal=training.policy, temperature=1.0)
    assert jnp.isfinite(planners.infer(proposed, env, KEY, state)[0].plans).all()


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_observations_are_normalised_in_policy_and_value(name):
    """Mean and standard deviation are those of what was seen: other units make no difference."""

    def step(key, state, action):
        state = state + 0.1 * action + 0.1 * jax.random.normal(key, (1,))
        return state, -(state[0] ** 2), 1.0

    env = dynamics.from_function(step, 1, init=lambda key: 5.0 + jax.random.normal(key, (1,)))
    policy = learned(name, env, num_updates=4, num_steps=10).policy
    params, state = policy.params, jnp.array([5.4])
    assert params.mean == pytest.approx(5.0, abs=1.0)
    assert params.std == pytest.approx(1.0, abs=0.6)
    wide = dataclasses.replace(
        policy,
        params=params._replace(mean=100.0 * params.mean, std=100.0 * params.std),
        observe=jax.tree_util.Partial(lambda state: 100.0 * state),
    )
    assert wide.mode(state) == pytest.approx(np.asarray(policy.mode(state)), abs=1e-5)
    assert jax.grad(lambda params: params.normalize(state)[0])(params).mean == 0.0


def test_a_policy_goes_on_with_its_statistics():
    first = learned("ppo", num_updates=8)
    again = learned("ppo", policy=first.policy, num_updates=1)
    moved = np.abs(np.asarray(again.policy.params.mean - first.policy.params.mean)) / first.policy.params.std
    assert moved.max() < 1.0
    assert learned("sac", policy=first.policy).policy.params.mean == pytest.approx(
        np.asarray(first.policy.params.mean), abs=1.0
    )


def test_ppo_learns_on_a_brax_environment():
    env = dynamics.brax("inverted_pendulum", "generalized")
    training = learned("ppo", env, num_updates=1)
    state = env.init(KEY)
    assert training.policy.params.mean.shape == state.obs.shape
    assert jnp.isfinite(training.value(state))


def test_means_stay_where_tanh_lets_noise_through():
    """Wherever learning drives the network's output, an action keeps some of its noise."""
    policy = first_of("sac").init(ENV, ENV.init(KEY))
    params = jax.tree.map(lambda leaf: leaf + 50.0, policy.params)
    drawn = dataclasses.replace(policy, params=params).distribution(jnp.ones((1, 2)))
    assert drawn.mean == pytest.approx(2.0, rel=1e-3)
    near = dataclasses.replace(policy, params=jax.tree.map(lambda leaf: 0.01 * leaf + 0.001, policy.params))
    raw = near.network.apply(near.params, jnp.ones(2))[0]
    assert float(near.distribution(jnp.ones((1, 2))).mean[0, 0]) == pytest.approx(float(raw), rel=0.01)


def test_learning_ends_when_its_time_is_over():
    assert len(learned("ppo", num_updates=50, max_seconds=0.0).records) == 1
    assert len(learned("ppo", max_seconds=1e6).records) == 2


@pytest.mark.parametrize("name", EVERY)
def test_what_is_learnt_is_saved_and_goes_on(name, tmp_path):
    run = {"out": tmp_path / "whole", "save_every": 1}
    whole = learned(name, num_updates=3, **run)
    loaded = learning.load(tmp_path / "whole" / "learnt", ENV)
    state = jnp.array([0.3, -0.2])
    assert loaded.policy.mode(state) == pytest.approx(np.asarray(whole.policy.mode(state)))
    assert float(loaded.value(state)) == pytest.approx(float(whole.value(state)))
    begun = {"out": tmp_path / "begun", "save_every": 1}
    learned(name, num_updates=3, max_seconds=0.0, **begun)
    again = learned(name, num_updates=3, resume=True, **begun)
    assert len(again.records) == 3
    jax.tree.map(np.testing.assert_array_equal, again.policy.params, whole.policy.params)


def test_an_update_is_compiled_once():
    before = _update._cache_size()
    for name in ("ppo", "sac"):
        for rate in (1e-3, 2e-3):
            algorithm = dataclasses.replace(EVERY[name], learning_rate=jnp.asarray(rate), hidden=(7,))
            learned(name, algorithm=algorithm)
    assert _update._cache_size() == before + 2


# Mistakes


def choices():
    return dynamics.discretized(ENV, [[-1.0], [0.0], [1.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: learning.ppo(clipping_epsilon=0.0), r"clipping_epsilon must be finite and > 0, got 0.0"),
        (lambda: learning.ppo(entropy_cost=-1.0), r"entropy_cost must be finite and >= 0, got -1.0"),
        (lambda: learning.ppo(num_minibatches=0), r"num_minibatches must be an integer of at least 1, got 0"),
        (lambda: learning.ppo(max_gradient_norm=0.0), r"max_gradient_norm must be finite and > 0, got 0.0"),
        (lambda: learning.sac(temperature=0.0), r"temperature must be finite and > 0, got 0.0"),
        (lambda: learning.sac(tuned="no"), r"tuned must be True or False, got 'no'"),
        (lambda: learning.sac(target_rate=2.0), r"target_rate must be finite and > 0 and <= 1, got 2.0"),
        (lambda: learning.energy_based(num_samples=1), r"num_samples must be an integer of at least 2, got 1"),
        (lambda: learned("ppo", num_envs=3), r"num_minibatches must divide num_envs = 3, whose steps stay together"),
        (lambda: learned("sac", num_steps=100), r"replay_size must be at least num_envs \* num_steps = 400"),
        (lambda: learned("ppo", choices(), policy=None), r"ppo needs continuous actions, got num_actions=3"),
        (lambda: learned("sac", choices(), policy=None), r"sac needs continuous actions, got num_actions=3"),
        (lambda: learned("ppo", max_seconds=-1.0), r"max_seconds must be finite and >= 0, got -1.0"),
        (
            lambda: learned("sac", policy=learning.energy_based()),
            r"policy must be of TanhGaussianPolicy for sac with action_size=1, got EnergyPolicy",
        ),
        (
            lambda: learned("soft_q_learning", policy=learning.tanh_gaussian()),
            r"policy must be of EnergyPolicy for soft_q_learning with action_size=1, got TanhGaussianPolicy",
        ),
        (
            lambda: learned(algorithm=learning.soft_q_learning(prior=[0.5, 0.5]), policy=None),
            r"prior must be None with action_size=1: it is uniform",
        ),
        (lambda: learning.energy_based().init(choices(), ENV.init(KEY)), r"an energy-based policy needs continuous"),
        (
            lambda: learned("ppo", policy=learned("ppo").policy, env=dynamics.cartpole()),
            r"model must have [0-9]+ observed numbers, .* got 4",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        unchecked(make)()


def test_what_was_constant_is_not_blown_up():
    """A coordinate that has not changed so far has a standard deviation of next to nothing."""
    params = NormalizedParams(jnp.array([5.0, 0.0]), jnp.array([1e-6, 2.0]), None)
    np.testing.assert_allclose(params.normalize(jnp.array([6.0, 3.0])), [10.0, 1.5])
