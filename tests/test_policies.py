"""Amortised policies: their equations against what is exact, their densities, and the loop that learns them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked
from scipy import integrate, optimize, special

from mirrax import dynamics, learning, planners
from mirrax.learning import policies
from mirrax.learning.policies import objectives, returns, reweighting
from mirrax.learning.policies.experience import begun, drive
from mirrax.learning.policies.replay import Transition, added, drawn, empty
from mirrax.learning.policies.training import _update

KEY = jax.random.key(0)
ENV = dynamics.pendulum()
SMALL = {"num_updates": 2, "num_envs": 3, "num_steps": 4, "episode_steps": 3}


def chain(seed=3, discount=0.9):
    """A random decision process of three states and an end."""
    rng = np.random.default_rng(seed)
    return dynamics.tabular(
        rng.dirichlet(np.ones(4), size=(4, 2)),
        rng.normal(size=(4, 2, 4)),
        initial=[0.5, 0.3, 0.2, 0.0],
        terminal=np.arange(4) == 3,
        discount=discount,
    )


def one_hot(state):
    return jax.nn.one_hot(state, 4)


def bound(std=0.8, env=ENV, **options):
    policy = learning.tanh_gaussian(std=std, hidden=(8,), **options)
    return policy.init(env, env.init(KEY), KEY)


# Equations


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_policy_gradient_is_that_of_the_enumerated_return(discount):
    """The sum over all trajectories against finite differences of the backward recursion (Millidge et al., Eq. 4)."""
    rng, (T, S, A), beta = np.random.default_rng(7), (3, 2, 2), 0.7
    P, R, final = rng.dirichlet(np.ones(S), size=(S, A)), rng.normal(size=(T, S, A)), rng.normal(size=S)
    start, theta, baseline = rng.dirichlet(np.ones(S)), rng.normal(size=(T, S, A)), rng.normal(size=(T, S))

    def value(theta):
        log_pi = theta - special.logsumexp(theta, axis=2, keepdims=True)
        V = final
        for t in reversed(range(T)):
            V = (np.exp(log_pi[t]) * (R[t] - beta * log_pi[t] + discount * P @ V)).sum(1)
        return start @ V

    truth = np.zeros_like(theta)
    for i in np.ndindex(*theta.shape):
        apart = np.zeros_like(theta)
        apart[i] = 1e-6
        truth[i] = (value(theta + apart) - value(theta - apart)) / 2e-6

    with jax.enable_x64(True):
        log_pi = np.asarray(jax.nn.log_softmax(theta))
        states, actions, probabilities = [], [], []
        sequences = itertools.product(itertools.product(range(A), range(S)), repeat=T)
        for s0, sequence in itertools.product(range(S), sequences):
            p, path = start[s0], [s0]
            for t, (a, s) in enumerate(sequence):
                p *= np.exp(log_pi[t, path[-1], a]) * P[path[-1], a, s]
                path.append(s)
            states.append(path)
            actions.append([a for a, _ in sequence])
            probabilities.append(p)
        s, a, p = np.array(states).T, np.array(actions).T, np.array(probabilities)
        steps = np.arange(T)[:, None]

        def objective(theta, num_terms=T):
            log_probs = jax.nn.log_softmax(theta)[steps, s[:-1], a]
            rewards = returns.entropy_rewards(jnp.asarray(R[steps, s[:-1], a]), log_probs, beta)
            lasts, discounts = jnp.zeros(a.shape, bool), jnp.full(a.shape, discount)
            togo = returns.rewards_to_go(rewards, discounts, lasts, jnp.asarray(final[s[1:]]))
            weights = discount**steps  # of the exact gradient; usual practice leaves them out
            first = log_probs[:num_terms] * weights[:num_terms]
            return p @ objectives.policy_gradient_objective(
                first, togo[:num_terms], jnp.asarray(baseline[steps, s[:-1]])[:num_terms]
            )

        assert jax.grad(objective)(theta) == pytest.approx(truth, abs=1e-6)
        as_printed = np.asarray(jax.grad(objective)(theta, 1))  # one t, and no sum
    assert np.abs(as_printed - truth).max() > 1e-2


@pytest.mark.parametrize("prior", [None, [0.7, 0.3]])
def test_expected_soft_q_update_ends_in_the_structured_posterior(prior):
    with jax.enable_x64(True):
        mdp, beta = chain(), jnp.asarray(0.4)
        log_prior = jnp.log(jnp.asarray([0.5, 0.5] if prior is None else prior))

        def update(q_values):
            discounts = jnp.where(mdp.terminal, 0.0, mdp.discount)  # of the state that a step leads to

            def target(rewards):
                return objectives.soft_q_target(rewards, discounts, q_values, log_prior, beta)

            ahead = jax.vmap(jax.vmap(target))(mdp.rewards)
            return (mdp.transitions * ahead).sum(-1)

        q_values = jax.lax.fori_loop(0, 400, lambda _, q: update(q), jnp.zeros((4, 2)))
        exact = planners.exact.value_iteration(mdp, temperature=0.4, prior=prior, tolerance=1e-10)
        assert q_values == pytest.approx(np.asarray(exact.q_values), abs=1e-8)
        values = objectives.soft_value(q_values, log_prior, beta)
        assert values == pytest.approx(np.asarray(exact.values), abs=1e-8)


def candidates(seed=0, shape=(64, 5)):
    rng = np.random.default_rng(seed)
    q_values, probabilities = rng.normal(size=shape), rng.dirichlet(np.ones(shape[0]), size=shape[1:]).T
    return jnp.asarray(q_values, float), jnp.asarray(np.log(probabilities), float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_dual_is_least_where_the_divergence_is_epsilon(weighted, scale):
    with jax.enable_x64(True):
        q_values, log_base = candidates()
        q_values, epsilon = scale * q_values, 0.1
        log_base = log_base if weighted else jnp.full(q_values.shape, -np.log(64))

        def dual(log_eta):
            return float(reweighting.temperature_dual(q_values, log_base, jnp.exp(log_eta), epsilon)) / scale

        middle = np.log(scale)
        least = optimize.minimize_scalar(
            dual, bounds=(middle - 6, middle + 6), method="bounded", options={"xatol": 1e-9}
        )
        weights = reweighting.action_weights(q_values, log_base, jnp.exp(least.x))
        assert weights.sum(0) == pytest.approx(1.0)
        assert float(reweighting.divergence(weights, log_base)) == pytest.approx(epsilon, abs=1e-4)
        found = reweighting.temperature_at(q_values, log_base, epsilon)
        assert float(jnp.log(found)) == pytest.approx(least.x, abs=1e-3)


def test_temperature_of_equal_values_does_no_harm():
    flat, log_base = jnp.full((8, 3), 2.0), jnp.full((8, 3), -jnp.log(8.0))
    weights = reweighting.action_weights(flat, log_base, reweighting.temperature_at(flat, log_base, 0.1))
    assert weights == pytest.approx(1 / 8)


def test_v_mpo_by_hand():
    advantages, eta, epsilon = jnp.array([3.0, 1.0, 2.0, 0.0]), jnp.asarray(0.5), 0.2
    assert reweighting.top_half(advantages).tolist() == [True, False, True, False]
    log_base = reweighting.half_base(advantages)
    weights = reweighting.action_weights(advantages, log_base, eta)
    greater = 1.0 / (1.0 + np.exp(-2.0))  # exp(3/½) of exp(3/½) + exp(2/½)
    assert weights == pytest.approx([greater, 0.0, 1.0 - greater, 0.0])
    loss = 0.5 * 0.2 + 0.5 * np.log((np.exp(6.0) + np.exp(4.0)) / 2.0)
    assert float(reweighting.temperature_dual(advantages, log_base, eta, epsilon)) == pytest.approx(loss)
    log_half = np.log(2 * np.array([greater, 1.0 - greater]))
    kl = float(np.array([greater, 1.0 - greater]) @ log_half)
    assert float(reweighting.divergence(weights, log_base)) == pytest.approx(kl, rel=1e-5)
    found = reweighting.temperature_at(advantages, log_base, kl)
    assert float(found) == pytest.approx(0.5, rel=1e-3)


def test_top_half_of_equal_advantages_is_a_half():
    assert reweighting.top_half(jnp.zeros((3, 2))).sum() == 3


def test_m_step_fits_mean_and_spread_apart():
    """Its maximum: the weighted mean, and the weighted spread around the old mean."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        old = policies.TanhNormal(jnp.asarray(rng.normal(size=(5, 2))), jnp.asarray(rng.uniform(0.5, 1.5, (5, 2))))
        raw, log_base = old.candidates(KEY, 64)
        weights = reweighting.action_weights(jnp.asarray(rng.normal(size=(64, 5))), log_base, jnp.ones(()))
        mean = (weights[..., None] * raw).sum(0)
        std = jnp.sqrt((weights[..., None] * (raw - old.mean) ** 2).sum(0))

        def likelihood(mean, std):
            return reweighting.weighted_likelihood(policies.TanhNormal(mean, std).parts(old), raw, weights)

        for slope in jax.grad(likelihood, (0, 1))(mean, std):
            assert slope == pytest.approx(0.0, abs=1e-10)
        whole = policies.TanhNormal(mean, std)
        kls = reweighting.divergences(old, whole.parts(old))
        ratio, apart = old.std / std, (mean - old.mean) / old.std
        assert float(kls[0]) == pytest.approx(float((0.5 * apart**2).sum(-1).mean()))
        assert float(kls[1]) == pytest.approx(float((0.5 * (ratio**2 - 1) - jnp.log(ratio)).sum(-1).mean()))


def test_multipliers_rise_where_a_bound_is_broken_and_stay_within_theirs():
    bounds, kls = jnp.array([0.1, 0.1]), jnp.array([jnp.inf, 0.0])
    log_multipliers = jnp.zeros(2)
    once = reweighting.ascended(log_multipliers, kls, bounds, 0.01)
    assert once == pytest.approx([0.01, -0.01])
    for _ in range(3):
        log_multipliers = reweighting.ascended(log_multipliers, kls, bounds, 5.0)
    assert jnp.exp(log_multipliers) == pytest.approx([1e3, 1e-3], rel=1e-4)


def test_loss_within_bounds_pulls_towards_the_old_policy():
    old = policies.Choices(jnp.array([[0.2, 0.4, -0.1]]))

    def loss(logits, log_multipliers):
        new = policies.Choices(logits)
        kls = reweighting.divergences(old, new.parts(old))
        return reweighting.bounded_loss(new.log_prob(jnp.array([1])).mean(), kls, log_multipliers)

    freely = jax.grad(loss)(old.logits, jnp.zeros(1))
    assert float(freely[0, 1]) < 0.0  # the more probable, the less the loss
    away = old.logits + jnp.array([0.0, 2.0, 0.0])
    assert float(jax.grad(loss)(away, jnp.full(1, 5.0))[0, 1]) > 0.0  # too far
    assert jax.grad(loss, 1)(away, jnp.zeros(1)) == pytest.approx(0.0)  # which `ascended` moves


# Returns


def test_ends_are_worth_nothing_and_time_limits_what_the_value_says():
    rewards, values = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([10.0, 20.0, 30.0, 40.0])
    discounts, lasts = jnp.array([0.9, 0.0, 0.9, 0.9]), jnp.array([False, True, True, False])
    whole = returns.rewards_to_go(rewards, discounts, lasts, values)
    assert whole == pytest.approx([1 + 0.9 * 2, 2.0, 3 + 0.9 * 30, 4 + 0.9 * 40])
    one = returns.lambda_returns(rewards, discounts, lasts, values, 0.0)
    assert one == pytest.approx([1 + 0.9 * 10, 2.0, 3 + 0.9 * 30, 4 + 0.9 * 40])
    half = returns.lambda_returns(rewards, discounts, lasts, values, 0.5)
    assert half == pytest.approx([1 + 0.9 * (5 + 1), 2.0, 3 + 0.9 * 30, 4 + 0.9 * 40])


def counting(last):
    """A reward of 1 for each step; the environment ends the episode after `last` of them."""

    def step(key, state, action):
        return state + 1.0, 1.0, jnp.where(state + 1.0 >= last, 0.0, 1.0)

    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1)[0])


@pytest.mark.parametrize(("last", "limit"), [(3, 5), (9, 3)])
def test_episodes_begin_anew(last, limit):
    env = counting(last)
    policy = bound(env=env, observe=lambda state: state[None])
    actors = begun(env, KEY, 2, jnp.asarray(limit))
    _, experience, finished = jax.jit(drive, static_argnums=4)(env, policy, actors, KEY, 8, jnp.asarray(limit))
    # the first environment begins at age 0, the second half way through the time of an episode, from the first state
    assert experience.observations[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert experience.next_observations[:, 0, 0].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    over = [False, False, True, False, False, True, False, False]
    assert experience.lasts[:, 0].tolist() == over
    assert (experience.discounts[:, 0] == 0).tolist() == (over if last == 3 else [False] * 8)
    assert finished.lasts[:, 0].tolist() == over
    assert finished.earned[:, 0][np.array(over)] == pytest.approx(3.0)
    second = [t for t in range(8) if experience.lasts[t, 1]]
    assert second == ([2, 5] if last == 3 else [1, 4, 7])
    assert [t for t in range(8) if finished.lasts[t, 1]] == second[1:]  # the first was not whole


def test_states_may_hold_keys():
    """Noise that is in the state: an episode that begins anew has noise of its own."""

    def step(key, state, action):
        key, now = jax.random.split(state[0])
        return (key, jax.random.normal(now, (1,))), 0.0, 1.0

    env = dynamics.from_function(step, 1, init=lambda key: (key, jnp.zeros(1)))
    policy = bound(env=env, observe=lambda state: state[1])
    actors = begun(env, KEY, 2, jnp.asarray(3))
    _, experience, _ = jax.jit(drive, static_argnums=4)(env, policy, actors, KEY, 6, jnp.asarray(3))
    seen = experience.next_observations[..., 0]
    assert len(set(np.asarray(seen).ravel().tolist())) == seen.size


@pytest.mark.parametrize("ends", [True, False])
def test_value_learns_what_lies_behind_a_time_limit(ends):
    """A reward of 1 for ever is worth 1/(1 − γ), however short the episodes; after an end it is worth nothing."""
    env = counting(1 if ends else 1e9)
    algorithm = learning.policy_gradient(temperature=0.0, discount=0.8, hidden=(), value_learning_rate=0.03)
    policy = learning.tanh_gaussian(observe=lambda state: jnp.ones(1), hidden=())
    options = {"num_updates": 60, "num_envs": 2, "num_steps": 4, "episode_steps": 2, "policy": policy}
    training = learning.learn_policy(env, algorithm, KEY, **options)
    assert float(training.value(jnp.zeros(()))) == pytest.approx(1.0 if ends else 5.0, rel=0.02)
    assert training.records[-1].num_ended == (8 if ends else 0)
    assert training.returns[-1] == (1.0 if ends else 2.0)


def test_replay_forgets_the_oldest():
    replay = empty(5, 1, jnp.zeros((), jnp.int32))
    for first in (0, 3, 6):
        numbers = jnp.arange(first, first + 3.0)
        rows = Transition(numbers[:, None], numbers.astype(jnp.int32), numbers, numbers, numbers[:, None])
        replay = added(replay, rows)
        assert set(drawn(replay, KEY, 64).reward.tolist()) == set(range(max(0, first - 2), first + 3))
    assert int(replay.size) == 5


# Policies


@pytest.mark.parametrize("std", [0.3, 1.0, 1.5])
def test_squashed_density_integrates_to_one(std):
    with jax.enable_x64(True):
        policy = bound(std=std, observe=lambda state: state)
        state = jnp.array([0.3, -0.2])
        params = jax.tree.map(lambda leaf: leaf + 0.1, policy.params)
        policy = policies.algorithm.with_params(policy, params)
        density = jax.jit(lambda a: jnp.exp(policy.log_prob(state, a[None])))
        total, mean = (  # over x, a = tanh x: the density is steep at the ends of its range
            integrate.quad(lambda x, n=n: np.tanh(x) ** n * float(density(np.tanh(x))) / np.cosh(x) ** 2, -14, 14)[0]
            for n in (0, 1)
        )
        assert total == pytest.approx(1.0, abs=1e-6)
        assert float(policy.mean(state)[0]) == pytest.approx(mean, abs=1e-3 if std > 1 else 1e-5)


def test_squashed_policies_of_several_actuators():
    env = dynamics.point_mass()
    policy = bound(env=env)
    state = env.init(KEY)
    draws = jax.vmap(lambda key: policy.sample(key, state))(jax.random.split(KEY, 4000))
    assert draws.shape == (4000, env.action_size)
    assert jnp.abs(draws).max() <= 1.0
    assert policy.mode(state) == pytest.approx(0.0)
    log_probs = jax.vmap(lambda action: policy.log_prob(state, action))(draws)
    assert jnp.isfinite(log_probs).all()
    uniform = jnp.exp(env.action_size * jnp.log(0.5) - log_probs)  # E_π [p/π] = 1
    assert float(uniform.mean()) == pytest.approx(1.0, abs=5 * float(uniform.std()) / 4000**0.5)
    assert policy.log_prob(state, jnp.full(env.action_size, 1.0 + 1e-3)) == -jnp.inf
    assert jnp.isfinite(policy.log_prob(state, jnp.ones(env.action_size)))  # to which tanh rounds
    wide = policy.unbounded(0.01)
    mean, std = wide.moments(state)
    assert draws.mean(0) == pytest.approx(np.asarray(mean), abs=5 * 0.6 / 4000**0.5)
    assert draws.std(0) == pytest.approx(np.asarray(std), rel=0.05)


def test_divergences_of_batches():
    with jax.enable_x64(True):
        one = policies.TanhNormal(jnp.array([[0.2, -1.0]]), jnp.array([[0.5, 1.5]]))
        other = policies.TanhNormal(jnp.array([[-0.3, 0.4]]), jnp.array([[0.8, 1.1]]))
        raw = jax.vmap(one.sample)(jax.random.split(KEY, 200_000))
        apart = jax.vmap(lambda u: one.log_prob(u) - other.log_prob(u))(raw)
        error = 5 * float(apart.std()) / 200_000**0.5
        assert float(one.kl(other)[0]) == pytest.approx(float(apart.mean()), abs=error)
        first, second = policies.Choices(jnp.array([0.1, 0.7, -0.4])), policies.Choices(jnp.array([1.0, 0.0, 0.3]))
        p, q = jax.nn.softmax(first.logits), jax.nn.softmax(second.logits)
        assert float(first.kl(second)) == pytest.approx(float((p * jnp.log(p / q)).sum()))
        raw, log_base = first.candidates(KEY, 7)
        assert raw.tolist() == [0, 1, 2]
        assert jnp.exp(log_base) == pytest.approx(np.asarray(p))


def test_categorical_policy():
    mdp = chain()
    policy = learning.categorical(observe=one_hot, hidden=()).init(mdp, mdp.init(KEY), KEY)
    state = jnp.asarray(1)
    assert policy.probabilities(state) == pytest.approx(0.5)
    assert policy.log_prob(state, jnp.asarray(0)) == pytest.approx(np.log(0.5))
    assert int(policy.sample(KEY, state)) in (0, 1)
    assert int(policy.mode(state)) == 0


def test_planners_take_policies():
    state = ENV.init(KEY)
    policy = bound()
    for given in (policy, policy.unbounded()):
        assert isinstance(given, planners.beliefs.protocol.Policy)
        belief, _ = planners.infer(planners.smc(4, num_samples=8, proposal=given, temperature=1.0), ENV, KEY, state)
        assert jnp.isfinite(belief.plans).all()
    prior = planners.priors.policy_prior(policy.unbounded())
    planner = planners.vi_mpc(4, num_samples=8, num_iterations=1, temperature=1.0, prior=prior)
    belief, info = planners.infer(planner, ENV, KEY, state)
    assert jnp.isfinite(belief.mode()).all()
    assert jnp.isfinite(info.log_evidence).all()


# The loop

CONTINUOUS = {
    "policy_gradient": learning.policy_gradient(num_value_steps=2, hidden=(8,)),
    "mpo": learning.mpo(num_actions=4, num_gradient_steps=2, batch_size=8, replay_size=20, hidden=(8,)),
    "v_mpo": learning.v_mpo(num_gradient_steps=2, hidden=(8,)),
}
DISCRETE = CONTINUOUS | {
    "soft_q_learning": learning.soft_q_learning(num_gradient_steps=2, batch_size=8, replay_size=20)
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_algorithms_of_vectors(name):
    env, told = dynamics.point_mass(), []
    policy = learning.tanh_gaussian(hidden=(8,))
    run = {**SMALL, "policy": policy, "progress": told.append}
    training = learning.learn_policy(env, CONTINUOUS[name], KEY, **run)
    again = learning.learn_policy(env, CONTINUOUS[name], KEY, **run)
    other = learning.learn_policy(env, CONTINUOUS[name], jax.random.key(1), **run)
    jax.tree.map(np.testing.assert_array_equal, training.policy.params, again.policy.params)
    kernels = [jax.tree.leaves(each.policy.params)[-1] for each in (training, other)]
    assert not np.array_equal(*kernels)
    assert [record.number for record in told[:2]] == [0, 1]
    assert training.records[-1].num_steps == 24
    # ages of the first episodes are 0, 1 and 2, and time is up after 3 steps; those cut short do not count
    assert [record.num_episodes for record in training.records] == [2, 4]
    state = env.init(KEY)
    assert training.policy.sample(KEY, state).shape == (env.action_size,)
    if name != "mpo":
        assert jnp.isfinite(training.value(state))
        valued = dynamics.with_value(env, training.value)
        assert float(valued.value(state)) == pytest.approx(float(training.value(state)))


@pytest.mark.parametrize("name", DISCRETE)
def test_algorithms_of_choices(name):
    policy = learning.categorical(observe=one_hot, hidden=(8,))
    training = learning.learn_policy(chain(), DISCRETE[name], KEY, policy=policy, **SMALL)
    assert training.policy.probabilities(jnp.asarray(0)).sum() == pytest.approx(1.0)
    assert all(np.isfinite(value) for record in training.records for value in record.numbers.values())


def test_an_update_is_compiled_once():
    policy, before = learning.tanh_gaussian(hidden=(7,)), _update._cache_size()
    for rate, mass, limit in ((1e-3, 1.0, 3), (2e-3, 2.0, 4)):
        algorithm = learning.policy_gradient(learning_rate=rate, num_value_steps=1, hidden=(7,))
        env = dynamics.pendulum(mass=mass)
        learning.learn_policy(env, algorithm, KEY, **(SMALL | {"policy": policy, "episode_steps": limit}))
    assert _update._cache_size() == before + 1


def test_soft_q_learning_learns_the_structured_posterior():
    mdp = chain(discount=1.0)
    algorithm = learning.soft_q_learning(
        temperature=0.4, discount=0.9, learning_rate=5e-4, target_rate=0.05, prior=[0.7, 0.3]
    )
    policy = learning.categorical(observe=one_hot, hidden=())
    run = {"num_updates": 200, "num_envs": 32, "num_steps": 16, "episode_steps": 20, "policy": policy}
    training = learning.learn_policy(mdp, algorithm, KEY, **run)
    exact = planners.exact.value_iteration(chain(discount=0.9), temperature=0.4, prior=[0.7, 0.3])
    states = jnp.arange(3)  # in the last one there is nothing to choose
    q_values = jax.vmap(training.value.q_values)(states)
    assert q_values == pytest.approx(np.asarray(exact.q_values)[:3], abs=0.1)
    assert jax.vmap(training.value)(states) == pytest.approx(np.asarray(exact.values)[:3], abs=0.1)
    assert jax.vmap(training.policy.probabilities)(states) == pytest.approx(np.asarray(exact.policy)[:3], abs=0.06)


def test_returns_of_a_policy_end_with_the_episode():
    env = counting(3)
    policy = bound(env=env, observe=lambda state: state[None])
    for sample in (False, True):
        earned = learning.policy_returns(env, policy, KEY, num_episodes=2, episode_steps=5, sample=sample)
        assert earned.tolist() == [3.0, 3.0]


def test_no_key_is_used_twice():
    with jax.debug_key_reuse(True):
        training = learned(num_updates=1, num_envs=2, num_steps=3)
        for sample in (False, True):
            key = jax.random.key(int(sample))
            learning.policy_returns(ENV, training.policy, key, num_episodes=2, episode_steps=3, sample=sample)


def test_of_few_actions_no_great_divergence_is_asked():
    with pytest.raises(ValueError, match=r"epsilon must be finite and > 0 and < 0.693147, got 1.0"):
        learned(chain(), learning.mpo(epsilon=1.0), policy=learning.categorical(observe=one_hot))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["policy_gradient", "v_mpo"])
def test_a_policy_learns_to_swing_up_a_pole(name):
    env = dynamics.cartpole()
    policy = learning.tanh_gaussian(observe=pole).init(env, env.init(KEY))
    chance = learning.policy_returns(env, policy, KEY, sample=True)
    training = learning.learn_policy(env, getattr(learning, name)(), KEY, policy=policy, num_updates=200)
    learnt = learning.policy_returns(env, training.policy, KEY)
    assert chance.mean() < 10.0
    assert learnt.mean() > 50.0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_updates"), [("mpo", 200), ("policy_gradient", 600)])
def test_on_a_linear_quadratic_model_policies_end_near_riccati(name, num_updates):
    """Their mean actions are those of the discounted Riccati equation, up to a quarter of their size."""
    A, B, gamma = np.array([[0.9, 0.2], [-0.2, 0.8]]), np.array([[0.0], [0.5]]), 0.9
    Q, R = np.eye(2), np.array([[0.5]])
    P = Q
    for _ in range(500):
        K = -np.linalg.solve(R + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A + B @ K)
    env = dynamics.linear_quadratic(A, B, Q, R, W=0.02 * np.eye(2), start=np.zeros(2))
    algorithm = getattr(learning, name)(discount=gamma, **({"temperature": 0.0} if name == "policy_gradient" else {}))
    policy = learning.tanh_gaussian(hidden=(), std=0.5)
    run = {"num_updates": num_updates, "num_envs": 32, "num_steps": 16, "episode_steps": 50, "policy": policy}
    training = learning.learn_policy(env, algorithm, KEY, **run)
    states = np.random.default_rng(0).normal(scale=0.3, size=(500, 2))
    actions, exact = np.asarray(jax.vmap(training.policy.mode)(jnp.asarray(states, float))), states @ K.T
    assert ((actions - exact) ** 2).mean() ** 0.5 < 0.25 * (exact**2).mean() ** 0.5


def pole(state):
    """Of a cart-pole: cosine and sine of the angle, and what else there is, about 1."""
    x, angle, velocity, spin = state
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), x, velocity / 3.0, spin / 5.0])


# Mistakes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: learning.policy_gradient(temperature=-1.0), r"temperature must be finite and >= 0, got -1.0"),
        (lambda: learning.policy_gradient(trace=1.5), r"trace must be finite and >= 0 and <= 1, got 1.5"),
        (lambda: learning.policy_gradient(hidden=(0,)), r"hidden must be an integer of at least 1, got 0"),
        (lambda: learning.soft_q_learning(temperature=0.0), r"temperature must be finite and > 0, got 0.0"),
        (lambda: learning.soft_q_learning(prior=[1.0, 0.0]), r"prior must be a vector of probabilities > 0"),
        (lambda: learning.soft_q_learning(discount=1.1), r"discount must be finite and >= 0 and <= 1, got 1.1"),
        (lambda: learning.mpo(epsilon=3.0), r"epsilon must be finite and > 0 and < 2.77259, got 3.0"),
        (lambda: learning.mpo(epsilon_std=0.0), r"epsilon_std must be finite and > 0, got 0.0"),
        (lambda: learning.mpo(replay_size=0), r"replay_size must be an integer of at least 1, got 0"),
        (lambda: learning.v_mpo(num_gradient_steps=0), r"num_gradient_steps must be an integer of at least 1, got 0"),
        (lambda: learning.tanh_gaussian(std=0.0), r"std must be finite and > 0, got 0.0"),
        (lambda: learning.tanh_gaussian(hidden="64"), r"hidden must be a tuple of sizes, got '64'"),
        (lambda: learning.tanh_gaussian(observe=3), r"observe must be a function of a state, got 3"),
        (lambda: learning.categorical(hidden=8), r"hidden must be a tuple of sizes, got 8"),
        (lambda: learning.tanh_gaussian().sample(KEY, ENV.init(KEY)), r"policy must be of a model"),
        (lambda: learning.tanh_gaussian().init(chain(), 0), r"a Gaussian policy needs continuous actions, got num_a"),
        (lambda: learning.categorical().init(ENV, ENV.init(KEY)), r"a categorical policy needs discrete actions"),
        (lambda: learning.categorical().init(chain(), jnp.asarray(0)), r"observe must make a vector \[n\]"),
        (lambda: bound(std=[1.0, 2.0]), r"std must have shape \(1,\), or broadcast to it, got \(2,\)"),
        (lambda: bound().unbounded(0.0), r"std_min must be finite and > 0, got 0.0"),
        (lambda: bound().init(ENV, jnp.zeros(3)), r"model must have [0-9]+ observed numbers, .* got 3"),
        (lambda: learned(env=3), r"env must be a model, got int"),
        (lambda: learned(algorithm="mpo"), r"algorithm must be one, such as learning.mpo\(\), got 'mpo'"),
        (lambda: learned(algorithm=learning.mpo), r"algorithm must be one, such as learning.mpo\(\), got <function"),
        (lambda: learned(key=7), r"key must be one key"),
        (lambda: learned(progress=True), r"progress must be a function, or None, got True"),
        (lambda: learned(num_updates=0), r"num_updates must be an integer of at least 1, got 0"),
        (lambda: learned(num_envs=0), r"num_envs must be an integer of at least 1, got 0"),
        (lambda: learned(num_steps=2.5), r"num_steps must be an integer of at least 1, got 2.5"),
        (lambda: learned(episode_steps=0), r"episode_steps must be an integer of at least 1, got 0"),
        (lambda: learned(policy=planners.cem(3)), r"policy must be of TanhGaussianPolicy for policy_gradient"),
        (lambda: learned(policy=bound(), observe=pole), r"observe must be None beside a policy, which has its own"),
        (lambda: learned(algorithm=learning.mpo(replay_size=5)), r"replay_size must be at least num_envs \* num_st"),
        (
            lambda: learned(
                env=chain(),
                algorithm=learning.soft_q_learning(prior=[0.2, 0.3, 0.5]),
                policy=learning.categorical(observe=one_hot),
            ),
            r"prior must have shape \(2,\), one probability per action, got \(3,\)",
        ),
        (lambda: learned(env=broken()), r"env must give finite rewards and observations, got others in update 0"),
        (
            lambda: learned(algorithm=learning.policy_gradient(learning_rate=3e38, num_value_steps=2, hidden=(8,))),
            r"learning_rate must be smaller: what is learnt is not finite after update",
        ),
        (
            lambda: learning.policy_returns(ENV, bound(), KEY, num_episodes=0),
            r"num_episodes must be an integer of at",
        ),
        (lambda: learning.policy_returns(ENV, None, KEY), r"policy must have mode, sample, got None"),
        (lambda: learning.policy_returns(ENV, bound(), KEY, sample="no"), r"sample must be True or False, got 'no'"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        unchecked(make)()


def learned(env=ENV, algorithm=CONTINUOUS["policy_gradient"], key=KEY, **options):
    return learning.learn_policy(env, algorithm, key, **(SMALL | options))


def broken():
    return dynamics.from_function(lambda key, state, action: (state, jnp.nan, 1.0), 1, init=lambda key: jnp.zeros(()))
