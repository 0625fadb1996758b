"""Exact inference in tabular models, against enumeration of all trajectories, closed forms, sampling and planners."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from problems import tables, unchecked
from scipy.special import logsumexp

from mirrax import dynamics, planners

S, A, T = 3, 2, 4
BETA = 0.6
KEY = jax.random.key(0)

messages = jax.jit(planners.message_passing, static_argnames=("horizon", "structured"))
iterate = jax.jit(planners.value_iteration, static_argnames=("structured", "horizon", "max_iterations"))


def random_prior(seed=1, horizon=T, num_states=S, num_actions=A):
    return np.random.default_rng(seed).dirichlet(np.ones(num_actions), size=(horizon, num_states))


@dataclasses.dataclass
class Trajectories:
    """All trajectories there are: states [N, T + 1], actions [N, T], log-probabilities and returns [N]."""

    states: np.ndarray
    actions: np.ndarray
    log_dynamics: np.ndarray
    returns: np.ndarray

    def log_policy(self, policy):
        """The log-probability [N] of the actions under a policy [T, S, A]."""
        chosen = policy[np.arange(self.actions.shape[1]), self.states[:, :-1], self.actions]
        with np.errstate(divide="ignore"):
            return np.log(chosen).sum(-1)

    def counts(self, weights, step):
        """How probable (s, a, s') is at a step, [S, A, S]."""
        size = self.states.max() + 1, self.actions.max() + 1, self.states.max() + 1
        table = np.zeros(size)
        np.add.at(table, (self.states[:, step], self.actions[:, step], self.states[:, step + 1]), weights)
        return table

    def marginals(self, weights):
        """How probable each state is at each step, [T + 1, S]."""
        return np.stack([np.bincount(at, weights, minlength=self.states.max() + 1) for at in self.states.T])


def enumerate_all(transitions, rewards, initial, final, horizon=T, terminal=None):
    """Every trajectory of positive probability; after a terminal state nothing is paid."""
    num_states, num_actions = transitions.shape[:2]
    grid = [range(num_states), *[range(num_actions), range(num_states)] * horizon]
    table = np.array(list(itertools.product(*grid)))
    states, actions = table[:, ::2], table[:, 1::2]
    terminal = np.zeros(num_states, bool) if terminal is None else terminal
    alive = ~np.logical_or.accumulate(terminal[states], axis=1)
    with np.errstate(divide="ignore"):
        log_probs = np.log(initial[states[:, 0]])
        log_probs = log_probs + np.log(transitions[states[:, :-1], actions, states[:, 1:]]).sum(-1)
    returns = (rewards[states[:, :-1], actions, states[:, 1:]] * alive[:, :-1]).sum(-1)
    returns = returns + final[states[:, -1]] * alive[:, -1]
    some = np.isfinite(log_probs)
    return Trajectories(states[some], actions[some], log_probs[some], returns[some])


def posterior(every, prior, beta=BETA):
    """Log-evidence, and the probability of each trajectory given optimality."""
    log_joint = every.log_dynamics + every.log_policy(prior) + every.returns / beta
    log_evidence = logsumexp(log_joint)
    return log_evidence, np.exp(log_joint - log_evidence)


def elbo(every, policy, prior, beta=BETA):
    """E_q[log p(τ, O) − log q(τ)] and KL(q ‖ p(τ|O)) of a policy in the true dynamics."""
    log_policy, log_prior = every.log_policy(policy), every.log_policy(prior)
    q = np.exp(every.log_dynamics + log_policy)
    log_evidence, _ = posterior(every, prior, beta)
    bound = (q * (log_prior + every.returns / beta - log_policy)).sum()
    kl = (q * (log_policy - log_prior - every.returns / beta + log_evidence)).sum()
    return bound, kl


@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-6), (True, 1e-9)], ids=["single", "double"])
def test_direct_messages_are_the_posterior_over_all_trajectories(double, tolerance):
    given, prior = tables(), random_prior()
    every = enumerate_all(**given)
    log_evidence, weights = posterior(every, prior)
    close = {"rtol": tolerance, "atol": tolerance}
    with jax.enable_x64(double):
        mdp = dynamics.tabular(**given)
        result = messages(mdp, horizon=T, temperature=BETA, prior=prior)
        np.testing.assert_allclose(result.log_evidence, log_evidence, **close)
        np.testing.assert_allclose(result.state_marginals, every.marginals(weights), **close)
        for step in range(T):
            counts = every.counts(weights, step)
            joint = counts.sum(-1)
            np.testing.assert_allclose(result.policy[step], joint / joint.sum(-1, keepdims=True), **close)
            np.testing.assert_allclose(result.dynamics(mdp, step), counts / joint[..., None], **close)
    # V and Q are the log-evidence of what is ahead: of trajectories that start in that state, with that action
    for state, action in itertools.product(range(S), range(A)):
        own = enumerate_all(**(given | {"initial": np.eye(S)[state]}))
        np.testing.assert_allclose(result.values[0, state], posterior(own, prior)[0], **close)
        forced = prior.copy()
        forced[0] = np.eye(A)[action]
        np.testing.assert_allclose(result.q_values[0, state, action], posterior(own, forced)[0], **close)


@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-6), (True, 1e-9)], ids=["single", "double"])
def test_structured_messages_are_the_best_policy_in_the_true_dynamics(double, tolerance):
    given, prior = tables(), random_prior()
    every = enumerate_all(**given)
    close = {"rtol": tolerance, "atol": tolerance}
    with jax.enable_x64(double):
        mdp = dynamics.tabular(**given)
        result = messages(mdp, horizon=T, temperature=BETA, prior=prior, structured=True)
        np.testing.assert_array_equal(result.dynamics(mdp, 1), mdp.transitions)
        direct = messages(mdp, horizon=T, temperature=BETA, prior=prior)
        result, direct = jax.tree.map(np.asarray, (result, direct))
    policy = np.asarray(result.policy, float)
    bound, kl = elbo(every, policy, prior)
    np.testing.assert_allclose(result.log_evidence, bound, **close)
    np.testing.assert_allclose(result.log_evidence, result.values[0] @ given["initial"], **close)
    np.testing.assert_allclose(direct.log_evidence - result.log_evidence, kl, **close)
    q = np.exp(every.log_dynamics + every.log_policy(policy))
    np.testing.assert_allclose(result.state_marginals, every.marginals(q), **close)
    # no other policy is better, not near it, not anywhere, and not the optimist's
    rng = np.random.default_rng(3)
    others = [rng.dirichlet(np.ones(A), size=(T, S)) for _ in range(20)]
    near = [0.99 * policy + 0.01 * other for other in others]
    for other in [*others, *near, np.asarray(direct.policy, float)]:
        assert elbo(every, other, prior)[0] < bound


def test_open_loop_is_below_closed_loop_is_below_the_evidence():
    given, prior = tables() | {"initial": np.eye(S)[0]}, np.full((T, S, A), 1 / A)
    every = enumerate_all(**given)
    plan = every.actions @ A ** np.arange(T)
    expected = np.bincount(plan, np.exp(every.log_dynamics) * every.returns)
    open_loop = logsumexp(expected / BETA) - T * math.log(A)
    # the expectation outside: the same integral for plans as for policies
    outside = logsumexp(np.log(np.bincount(plan, np.exp(every.log_dynamics + every.returns / BETA))))
    mdp = dynamics.tabular(**given)
    closed_loop, exact = (
        messages(mdp, horizon=T, temperature=BETA, prior=prior, structured=structured).log_evidence
        for structured in (True, False)
    )
    assert open_loop + 1e-3 < closed_loop < exact - 1e-3
    np.testing.assert_allclose(exact, outside - T * math.log(A), rtol=1e-6)


def test_both_forms_agree_where_dynamics_are_deterministic():
    mdp = dynamics.tabular(**tables(4, deterministic=True))
    direct, structured = (
        messages(mdp, horizon=T, temperature=BETA, prior=random_prior(), structured=structured)
        for structured in (False, True)
    )
    for name in ("values", "q_values", "policy"):
        np.testing.assert_allclose(getattr(direct, name), getattr(structured, name), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(direct.dynamics(mdp, 1), mdp.transitions, atol=1e-6)


@pytest.mark.parametrize("structured", [False, True])
def test_nothing_is_paid_after_a_terminal_state(structured):
    given, prior, terminal = tables(2), random_prior(), np.array([False, True, False])
    stays = given["transitions"].copy()
    stays[1] = np.eye(S)[1]
    every = enumerate_all(**(given | {"transitions": stays}), terminal=terminal)
    result = messages(
        dynamics.tabular(**given, terminal=terminal), horizon=T, temperature=BETA, prior=prior, structured=structured
    )
    expected = elbo(every, np.asarray(result.policy, float), prior)[0] if structured else posterior(every, prior)[0]
    np.testing.assert_allclose(result.log_evidence, expected, rtol=2e-6)
    np.testing.assert_allclose(result.values[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(result.policy[:, 1], prior[:, 1], atol=1e-6)


def test_discount_is_the_probability_to_survive():
    """A state is taken twice, alive and dead: a step that is not survived pays, and then nothing does."""
    given, prior, gamma, horizon = tables(5), random_prior(horizon=3), 0.8, 3
    alive, dead = given["transitions"] * gamma, given["transitions"] * (1 - gamma)
    stay = np.broadcast_to(np.eye(S)[:, None], (S, A, S))
    every = enumerate_all(
        transitions=np.concatenate(
            [np.concatenate([alive, dead], -1), np.concatenate([np.zeros((S, A, S)), stay], -1)]
        ),
        rewards=np.tile(given["rewards"], (2, 1, 2)),
        initial=np.concatenate([given["initial"], np.zeros(S)]),
        final=np.tile(given["final"], 2),
        horizon=horizon,
        terminal=np.arange(2 * S) >= S,
    )
    log_evidence, weights = posterior(every, np.concatenate([prior, prior], 1))
    mdp = dynamics.tabular(**given, discount=gamma)
    result = messages(mdp, horizon=horizon, temperature=BETA, prior=prior)
    np.testing.assert_allclose(result.log_evidence, log_evidence, rtol=1e-6)
    np.testing.assert_allclose(result.state_marginals, every.marginals(weights)[:, :S], atol=1e-6)
    counts = every.counts(weights, 1)[:S]
    joint = counts.sum(-1)
    np.testing.assert_allclose(result.policy[1], joint / joint.sum(-1, keepdims=True), atol=2e-6)
    survived = counts[..., :S] / counts[..., :S].sum(-1, keepdims=True)
    np.testing.assert_allclose(result.dynamics(mdp, 1), survived, atol=2e-6)


def test_structured_discount_weighs_rewards_and_divergences():
    given, gamma = tables(6), 0.8
    prior = random_prior()
    result = messages(
        dynamics.tabular(**given, discount=gamma), horizon=T, temperature=BETA, prior=prior, structured=True
    )
    marginal, total = given["initial"], 0.0
    for step, policy in enumerate(np.asarray(result.policy, float)):
        np.testing.assert_allclose(result.state_marginals[step], marginal, atol=1e-6)
        joint = marginal[:, None] * policy
        gain = (given["transitions"] * given["rewards"]).sum(-1) / BETA - np.log(policy / prior[step])
        total += gamma**step * (joint * gain).sum()
        marginal = np.einsum("sa,sax->x", joint, given["transitions"])
    total += gamma**T * marginal @ given["final"] / BETA
    np.testing.assert_allclose(result.log_evidence, total, rtol=2e-6)


def test_cold_messages_are_hard_value_iteration():
    mdp = dynamics.tabular(**tables(7))
    hard = iterate(mdp, horizon=T)
    values = np.asarray(mdp.final, float)
    for _ in range(T):
        values = (np.asarray(mdp.transitions) * (np.asarray(mdp.rewards) + values)).sum(-1).max(-1)
    np.testing.assert_allclose(hard.values, values, rtol=1e-5)
    for beta in (0.1, 1e-3, 1e-5):
        soft = beta * messages(mdp, horizon=T, temperature=beta, structured=True).values[0]
        gap = np.asarray(hard.values - soft)
        assert (gap >= -1e-5).all()
        assert (gap <= T * beta * math.log(A) + 1e-5).all()


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_hot_messages_keep_their_digits(structured, size):
    """β V tends to the mean return under the prior, in single precision too, where all exponents are next to 0."""
    given = tables(14)
    mdp, beta = dynamics.tabular(**given), size
    prior = random_prior(horizon=T)
    every = enumerate_all(**given)
    probability = np.exp(every.log_dynamics + every.log_policy(prior))
    mean = (probability * every.returns).sum()
    variance = (probability * (every.returns - mean) ** 2).sum()
    found = messages(mdp, horizon=T, temperature=beta, structured=structured, prior=prior)
    np.testing.assert_allclose(beta * found.log_evidence, mean, rtol=1e-5, atol=variance / beta)
    if not structured:  # and the next term is right as far as there are digits
        np.testing.assert_allclose(beta * found.log_evidence, mean + variance / (2 * beta), rtol=2e-6)


def test_hot_messages_of_two_steps():
    """Two steps that are worth 1.125 each: 2.25, whatever the temperature."""
    mdp = dynamics.tabular(np.ones((1, 2, 1)), 1.125 * np.ones((1, 2, 1)))
    for beta in (1e-3, 1.0, 1e3, 2.25e6, 1e12):
        for structured in (False, True):
            found = messages(mdp, horizon=2, temperature=beta, structured=structured)
            np.testing.assert_allclose(beta * found.log_evidence, 2.25, rtol=1e-6)
            np.testing.assert_allclose(found.policy, 0.5, rtol=1e-6)


def test_hot_values_converge():
    """Soft values of an endless horizon, where logarithms change by less than eps from the first backup on."""
    given = {name: table for name, table in tables(15).items() if name in ("transitions", "rewards", "initial")}
    mdp = dynamics.tabular(**given, discount=0.9)
    uniform = given["transitions"].mean(1), (given["transitions"] * given["rewards"]).sum(-1).mean(1)
    exact = np.linalg.solve(np.eye(S) - 0.9 * uniform[0], uniform[1])
    for beta in (1e6, 1e9):
        found = iterate(mdp, temperature=beta)
        np.testing.assert_allclose(found.values, exact, rtol=1e-4, atol=1e-4)
        assert found.residual < 1e-5


def test_value_iteration_is_the_limit_of_long_horizons():
    mdp = dynamics.tabular(**tables(8), discount=0.9)
    for structured in (True, False):
        beta = BETA if structured else 20.0  # hot enough for a finite evidence
        limit = iterate(mdp, temperature=beta, structured=structured)
        long = messages(mdp, horizon=400, temperature=beta, structured=structured)
        np.testing.assert_allclose(limit.values, beta * long.values[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(limit.q_values, beta * long.q_values[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(limit.policy, long.policy[0], rtol=1e-5)
        assert limit.residual < 1e-5
        some = iterate(mdp, temperature=beta, structured=structured, horizon=T)
        np.testing.assert_allclose(some.values, beta * long.values[-T], rtol=1e-5)
        np.testing.assert_allclose(some.policy, long.policy[-T], rtol=1e-5)


def test_values_in_closed_form():
    rewards, gamma, beta = np.array([[1.0, -2.0]]), 0.8, 0.7
    one = dynamics.tabular(np.ones((1, 2, 1)), rewards, discount=gamma)
    mean = np.exp(rewards / beta).mean()
    soft, hard = iterate(one, temperature=beta), iterate(one)
    np.testing.assert_allclose(soft.values[0], beta * np.log(mean) / (1 - gamma), rtol=1e-6)
    np.testing.assert_allclose(hard.values[0], 1 / (1 - gamma), rtol=1e-6)
    np.testing.assert_array_equal(hard.policy, [[1.0, 0.0]])
    # Z = E[exp(r/β)] (γ Z + 1 − γ)
    cold = dataclasses.replace(one, rewards=one.rewards - 1.0)
    mean = np.exp((rewards - 1.0) / beta).mean()
    direct = iterate(cold, temperature=beta, structured=False)
    np.testing.assert_allclose(direct.values[0], beta * np.log(mean * (1 - gamma) / (1 - gamma * mean)), rtol=1e-5)
    # −1 until the end, which each step is with probability 0.2: Z = exp(−1/β) (0.8 Z + 0.2)
    wait = dynamics.tabular([[[0.8, 0.2]], [[0.0, 1.0]]], [[-1.0], [-1.0]], terminal=[False, True])
    np.testing.assert_allclose(iterate(wait).values, [-5.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(iterate(wait, temperature=beta).values, [-5.0, 0.0], rtol=1e-6)
    pays = math.exp(-1 / beta)
    direct = iterate(wait, temperature=beta, structured=False)
    np.testing.assert_allclose(direct.values, [beta * math.log(0.2 * pays / (1 - 0.8 * pays)), 0.0], rtol=1e-6)


def test_equal_actions_share_and_forbidden_ones_do_not_count():
    given = tables(9, num_actions=3)
    given["transitions"][:, 1], given["rewards"][:, 1] = given["transitions"][:, 0], given["rewards"][:, 0]
    given["rewards"][:, 2] += 100.0
    mdp = dynamics.tabular(**given, discount=0.9)
    result = iterate(mdp, prior=[0.3, 0.7, 0.0])
    np.testing.assert_array_equal(result.policy, np.tile([0.5, 0.5, 0.0], (S, 1)))
    assert result.values.max() < 50.0
    assert (result.q_values[:, 2] > 50.0).all()


@pytest.mark.parametrize("temperature", [None, BETA])
def test_iterations_stop_where_the_error_is_below_the_tolerance(temperature):
    given, tolerance = tables(10) | {"final": np.zeros(S)}, 1e-2
    with jax.enable_x64(True):
        mdp = dynamics.tabular(**given, discount=0.95)
        exact = iterate(mdp, temperature=temperature, horizon=2000).values
        result = iterate(mdp, temperature=temperature, tolerance=tolerance)
        num = int(result.num_iterations)
        stopped, earlier = (iterate(mdp, temperature=temperature, horizon=n).values for n in (num, num - 20))
        newton = iterate(mdp, temperature=temperature)
        exact, result, stopped, earlier, newton = jax.tree.map(np.asarray, (exact, result, stopped, earlier, newton))
    assert np.abs(stopped - exact).max() <= tolerance < np.abs(earlier - exact).max()
    assert np.abs(result.values - exact).max() < 1e-4 * tolerance
    np.testing.assert_allclose(newton.values, exact, rtol=1e-12)
    # a tolerance below the rounding of single precision stops too
    single = iterate(dynamics.tabular(**given, discount=0.95), temperature=temperature, tolerance=1e-12)
    assert single.num_iterations < 1000
    np.testing.assert_allclose(single.values, exact, rtol=1e-6, atol=1e-5)
    assert result.residual < tolerance


def test_what_has_no_fixed_point_says_so():
    mdp = dynamics.tabular(**tables(11), discount=0.99)
    endless = iterate(mdp, temperature=0.05, structured=False, max_iterations=300)
    assert endless.residual > 1e-3
    assert endless.num_iterations == 300
    forever = iterate(dynamics.tabular(**tables(11)), temperature=BETA, max_iterations=300)  # traced: γ = 1 passes
    assert forever.residual > 1e-3
    assert jax.tree.all(jax.tree.map(lambda x: jnp.isfinite(x).all(), (endless, forever)))


# what parameters mean, all unconstrained, so that derivatives can be compared with differences
def parameters(seed):
    rng = np.random.default_rng(seed)
    return {
        "transitions": jnp.asarray(rng.normal(size=(S, A, S))),
        "rewards": jnp.asarray(rng.normal(size=(S, A, S))),
        "initial": jnp.asarray(rng.normal(size=S)),
        "final": jnp.asarray(rng.normal(size=S)),
        "prior": jnp.asarray(rng.normal(size=(S, A))),
        "discount": jnp.asarray(1.0),
        "temperature": jnp.asarray(0.3),
    }


def made(p, terminal=None, endless=False):
    mdp = dynamics.tabular(
        jax.nn.softmax(p["transitions"]),
        p["rewards"] - 2.5 * endless,  # below 0, for a finite evidence
        initial=jax.nn.softmax(p["initial"]),
        final=p["final"],
        terminal=terminal,
        discount=1.0 if terminal is not None else jax.nn.sigmoid(p["discount"]),
    )
    return mdp, {"prior": jax.nn.softmax(p["prior"]), "temperature": jnp.exp(p["temperature"])}


def summary(result):
    """A number to which all of a result contributes."""
    leaves = jax.tree.leaves(result)
    return sum((jnp.sin(1.0 + jnp.arange(x.size)) * x.ravel()).sum() for x in leaves)


def of_messages(p, structured):
    mdp, options = made(p)
    result = planners.message_passing(mdp, horizon=T, structured=structured, **options)
    return summary((result, result.dynamics(mdp, 1)))


def of_values(p, structured, ends, hard):
    mdp, options = made(p, np.array([False, False, True]) if ends else None, endless=not structured)
    if hard:
        options["temperature"] = None
    result = planners.value_iteration(mdp, structured=structured, **options)
    return summary((result.values, result.q_values, result.policy))


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (of_messages, {"structured": False}),
        (of_messages, {"structured": True}),
        (of_values, {"structured": True, "ends": False, "hard": False}),
        (of_values, {"structured": True, "ends": True, "hard": False}),
        (of_values, {"structured": False, "ends": False, "hard": False}),
        (of_values, {"structured": True, "ends": False, "hard": True}),
    ],
)
def test_derivatives_are_differences(function, options):
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(parameters(12))

        @jax.jit
        def value(x):
            return function(unravel(x), **options)

        @jax.jit
        def both(x, direction):
            return jax.grad(value)(x), jax.jvp(value, (x,), (direction,))[1]

        direction = np.random.default_rng(0).normal(size=flat.shape)
        gradient, slope = both(flat, direction)
        step = 1e-6
        difference = (value(flat + step * direction) - value(flat - step * direction)) / (2 * step)
        assert abs(difference) > 0.01
        np.testing.assert_allclose(slope, difference, rtol=1e-6)
        np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-9)
        single = np.eye(len(flat))[int(np.argmax(np.abs(gradient)))]
        difference = (value(flat + step * single) - value(flat - step * single)) / (2 * step)
        np.testing.assert_allclose(gradient @ single, difference, rtol=1e-6)


def test_derivatives_hold_at_the_edge():
    """In what is 0, from above; in a discount of 1, from below; however cold it is they are finite."""
    with jax.enable_x64(True):
        given = tables(13, deterministic=True)
        prior = jnp.array([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])

        @jax.jit
        def evidence(transitions, prior, discount):
            mdp = dynamics.tabular(**(given | {"transitions": transitions}), discount=discount)
            return planners.message_passing(mdp, horizon=T, temperature=BETA, prior=prior).log_evidence

        at = (jnp.asarray(given["transitions"]), prior, jnp.ones(()))
        gradients = jax.grad(evidence, argnums=(0, 1, 2))(*at)
        rng = np.random.default_rng(0)
        steps = 1e-7 * rng.random((S, A, S)), 1e-7 * rng.random((S, A)), -1e-7
        for index, (gradient, step) in enumerate(zip(gradients, steps, strict=True)):
            moved = [x + step if i == index else x for i, x in enumerate(at)]
            np.testing.assert_allclose((gradient * step).sum(), evidence(*moved) - evidence(*at), rtol=1e-4)


@pytest.mark.parametrize("structured", [False, True])
def test_derivatives_are_finite_in_single_precision(structured):
    given = tables(13, deterministic=True)
    mdp = dynamics.tabular(**(given | {"initial": np.eye(S)[0]}), terminal=[False, False, True])
    prior = jnp.array([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])

    def told(mdp, prior, temperature):
        result = planners.message_passing(mdp, horizon=T, temperature=temperature, prior=prior, structured=structured)
        limit = planners.value_iteration(mdp, temperature=temperature, prior=prior, structured=structured)
        return summary((result, result.dynamics(mdp, 0), limit.values, limit.policy))

    gradient = jax.jit(jax.grad(told, argnums=(0, 1, 2), allow_int=True))
    for temperature in (10.0, 1e-2, 1e-3):
        found = gradient(mdp, prior, jnp.asarray(temperature))
        real = [x for x in jax.tree.leaves(found) if x.dtype == jnp.float32]
        assert len(real) == 7
        assert all(np.isfinite(x).all() for x in real)


@pytest.mark.parametrize("structured", [False, True])
def test_many_models_at_once_are_as_one_by_one_and_uncompiled(structured):
    many = {name: np.stack([tables(seed)[name] for seed in range(3)]) for name in tables()}
    gammas = np.array([0.5, 0.9, 1.0])
    stacked = jax.vmap(lambda given, gamma: dynamics.tabular(**given, discount=gamma))(many, gammas)

    def solve(mdp):
        mdp_ending = dataclasses.replace(mdp, discount=0.5 * mdp.discount)
        return (
            planners.message_passing(mdp, horizon=T, temperature=BETA, structured=structured),
            planners.value_iteration(mdp_ending, temperature=5.0, structured=structured),
        )

    together, compiled = jax.jit(jax.vmap(solve))(stacked), jax.jit(solve)
    for i in range(3):
        one = compiled(dynamics.tabular(**tables(i), discount=gammas[i]))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            jax.tree.map(lambda x, i=i: x[i], together),
            one,
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        solve(dynamics.tabular(**tables(2))),
        one,
    )


def test_one_program_serves_all_traced_values():
    traces = []

    @jax.jit
    def solve(mdp, temperature, prior, tolerance):
        traces.append(1)
        result = planners.message_passing(mdp, horizon=T, temperature=temperature, prior=prior)
        limit = planners.value_iteration(mdp, temperature=temperature, prior=prior, tolerance=tolerance)
        return result.log_evidence, limit.values[0]

    found = set()
    for seed, beta in [(0, 1.0), (0, 2.0), (1, 2.0)]:
        options = tables(seed) | ({"terminal": [True, False, False]} if seed else {})
        mdp = dynamics.tabular(**options, discount=0.9 if seed else np.float32(0.8))
        found.add(tuple(map(float, solve(mdp, beta, jnp.full(A, 1 / A), 1e-3 * beta))))
    assert len(traces) == 1
    assert len(found) == 3


def test_the_model_draws_from_its_tables():
    given = tables(14, num_actions=3)
    mdp = dynamics.tabular(**given, terminal=[False, True, False], discount=0.9)
    assert isinstance(mdp, dynamics.Model)
    assert (mdp.num_states, mdp.num_actions) == (3, 3)
    assert dynamics.action_space(mdp) == dynamics.Discrete(3)
    num = 20_000
    keys = jax.random.split(KEY, num)

    @jax.jit
    @jax.vmap
    def draw(key):
        first, second = jax.random.split(key)
        return mdp.init(first), mdp.step(second, jnp.int32(2), jnp.int32(1))

    def z_scores(drawn, probabilities):
        share = np.bincount(drawn, minlength=S) / num
        return np.abs(share - probabilities) / np.sqrt(probabilities * (1 - probabilities) / num)

    start, step = draw(keys)
    assert start.dtype == step.state.dtype == jnp.int32
    assert (z_scores(start, given["initial"]) < 4.5).all()
    assert (z_scores(step.state, given["transitions"][2, 1]) < 4.5).all()
    np.testing.assert_allclose(step.reward, given["rewards"][2, 1][step.state], rtol=1e-6)
    np.testing.assert_allclose(step.discount, np.where(step.state == 1, 0.0, 0.9), rtol=1e-6)
    # plans are uniform over the actions at first
    taken = planners.beliefs.categorical().bind(1, dynamics.action_space(mdp)).sample(KEY, num)[:, 0]
    assert (z_scores(taken, np.full(3, 1 / 3)) < 4.5).all()
    after = mdp.step(KEY, jnp.int32(1), jnp.int32(0))
    assert (int(after.state), float(after.reward), float(after.discount), float(mdp.value(after.state))) == (
        1,
        0.0,
        0.0,
        0.0,
    )
    np.testing.assert_allclose(mdp.value(jnp.int32(2)), given["final"][2], rtol=1e-6)
    for action in (jnp.zeros(()), jnp.zeros(3, int)):
        with pytest.raises(ValueError, match="action must be one integer, got"):
            unchecked(mdp.step)(KEY, jnp.int32(0), action)
    certain = dynamics.tabular(**tables(14, num_actions=3, deterministic=True))
    moved = jax.vmap(lambda key: certain.step(key, jnp.int32(0), jnp.int32(2)).state)(keys)
    assert (moved == certain.transitions[0, 2].argmax()).all()


def test_rollouts_average_to_the_evidence():
    mdp = dynamics.tabular(**(tables(15) | {"initial": np.eye(S)[0]}), terminal=[False, False, True])
    num, beta = 50_000, 2.0
    plans = jax.random.randint(jax.random.key(1), (num, T), 0, A)
    returns = jax.jit(lambda key: planners.rollout(mdp, key, mdp.init(key), plans, common_noise=False))(KEY)
    weights = np.exp(np.asarray(returns, float) / beta)
    exact = np.exp(messages(mdp, horizon=T, temperature=beta).log_evidence)
    assert abs(weights.mean() - exact) < 4.5 * weights.std() / math.sqrt(num)
    assert weights.std() / math.sqrt(num) < 0.01 * exact


def test_a_planner_over_all_plans_is_exact():
    given = tables(16, num_states=4, num_actions=3, deterministic=True)
    mdp = dynamics.tabular(**given | {"initial": np.eye(4)[1]})
    planner = planners.vi_mpc(
        T,
        enumerate_plans=True,
        num_iterations=1,
        temperature=BETA,
        keep=("returns",),
    )
    belief, info = jax.jit(planners.infer)(planner, mdp, KEY, mdp.init(KEY))
    exact = messages(mdp, horizon=T, temperature=BETA)
    np.testing.assert_allclose(info.log_evidence[-1], exact.log_evidence, rtol=1e-5)
    assert info.returns.shape == (1, 3**T)
    root = np.exp(np.asarray(belief.log_probs)).reshape(3, -1).sum(-1)
    np.testing.assert_allclose(root, exact.policy[0, 1], atol=1e-5)


EVEN = np.full((2, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transitions": np.ones((2, 2, 2))}, r"transitions must have rows that sum to 1, got one of sum 2"),
        ({"transitions": 2 * EVEN - 1.5 * np.eye(2)}, "transitions must be finite and >= 0"),
        ({"transitions": EVEN[0]}, r"transitions must have shape \[S, C, S\], .*, got \(2, 2\)"),
        ({"rewards": np.zeros(2)}, r"rewards must have shape \(2, 2\) or \(2, 2, 2\), got \(2,\)"),
        ({"rewards": np.full((2, 2), np.nan)}, "rewards must be finite"),
        ({"initial": [0.5, 0.6]}, r"initial must have rows that sum to 1, got one of sum 1\.1"),
        ({"initial": [1.0]}, r"initial must have shape \(2,\), one entry per state, got \(1,\)"),
        ({"final": np.zeros(3)}, r"final must have shape \(2,\)"),
        ({"terminal": [0, 1]}, r"terminal must be boolean of shape \(2,\), got int32"),
        ({"discount": 1.1}, r"discount must be finite and >= 0 and <= 1, got 1\.1"),
    ],
)
def test_wrong_tables_are_named(options, message):
    given = {"transitions": EVEN, "rewards": np.zeros((2, 2))} | options
    with pytest.raises(ValueError, match=message):
        unchecked(dynamics.tabular)(**given)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("message_passing", {"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
        ("message_passing", {"temperature": 0.0}, r"temperature must be finite and > 0, got 0\.0"),
        ("message_passing", {"structured": "no"}, "structured must be True or False, got 'no'"),
        ("message_passing", {"prior": [1.0, 1.0]}, "prior must have rows that sum to 1, got one of sum 2"),
        ("message_passing", {"prior": [1.0]}, r"one of the shapes \(2,\), \(2, 2\), \(3, 2, 2\), got \(1,\)"),
        ("message_passing", {"mdp": "ant"}, "mdp must be a model of dynamics.tabular, got str without transitions"),
        (
            "message_passing",
            {"mdp": lambda mdp: dynamics.constrained(mdp, lambda state, action: 0.0, name="ice")},
            "mdp must be a model without constraints, .*, got Constrained with ice: take a planner that samples",
        ),
        (
            "value_iteration",
            {"mdp": lambda mdp: dynamics.delayed(mdp, 1)},
            "mdp must be a model of dynamics.tabular as it is, .*, got Delayed around Tabular",
        ),
        ("value_iteration", {}, r"discount must be < 1 where there is neither a horizon nor a terminal state, got 1"),
        ("value_iteration", {"structured": False}, "temperature must be given where structured is False, got None"),
        ("value_iteration", {"horizon": 2, "tolerance": 0}, "tolerance must be finite and > 0, got 0"),
        ("value_iteration", {"max_iterations": 0}, "max_iterations must be an integer of at least 1, got 0"),
        (
            "value_iteration",
            {"prior": np.full((3, 2, 2), 0.5)},
            r"prior must have one of the shapes \(2,\), \(2, 2\)",
        ),
    ],
)
def test_wrong_questions_are_named(function, options, message):
    common = {"horizon": 3, "temperature": 1.0} if function == "message_passing" else {}
    plain = dynamics.tabular(EVEN, np.zeros((2, 2)))
    arguments = {"mdp": plain} | common | options
    if callable(arguments["mdp"]):
        arguments["mdp"] = arguments["mdp"](plain)
    with pytest.raises(ValueError, match=message):
        unchecked(getattr(planners, function))(**arguments)


def test_a_step_must_be_one_of_the_messages():
    mdp = dynamics.tabular(EVEN, np.zeros((2, 2)))
    result = planners.message_passing(mdp, horizon=2, temperature=1.0)
    with pytest.raises(ValueError, match="step must be one of the 2 steps, got 2"):
        result.dynamics(mdp, 2)
    several = jax.tree.map(lambda x: jnp.stack([x, x]), mdp)
    with pytest.raises(ValueError, match=r"mdp must be one model \(vmap over several\), got transitions of shape"):
        planners.message_passing(several, horizon=2, temperature=1.0)
