"""Policies optimised for where they are: gradients against closed forms, posteriors, trust, and what diverges."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec
from problems import noisy_walk, random_linear_quadratic, several_devices, target, unchecked

from mirrax import dynamics, planners
from mirrax.planners.policies.imagination import Imagination, over_steps

KEY = jax.random.key(0)
HORIZON, BETA = 4, 0.7
infer = jax.jit(planners.infer)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Means that are linear in what is observed, and stds that are not: the return is known in closed form."""

    action_size: int

    def init(self, key, observation):
        return {"K": jnp.zeros((self.action_size, len(observation))), "k": jnp.zeros(2 * self.action_size)}

    def apply(self, params, observation):
        mean, log_std = jnp.split(params["k"], 2)
        return jnp.concatenate([params["K"] @ observation + mean, log_std])


def moved(policy, amount=0.3):
    """The policy with other parameters."""
    params = jax.tree.map(lambda x: x + amount * jax.random.normal(jax.random.key(x.size), x.shape), policy.params)
    return dataclasses.replace(policy, params=params)


def gradient_of(imagination, kind, policy):
    """By the parameters, as the planner makes it of the lessons."""
    lessons = getattr(imagination, kind)(policy)

    def outputs(params):
        return over_steps(dataclasses.replace(policy, params=params).outputs)(lessons.observations)

    (gradient,) = jax.vjp(outputs, policy.params)[1](lessons.gradients)
    return ravel_pytree(gradient)[0]


def exact_worth(model, policy, given, state):
    """E[R] − λ E[Σ KL] of a linear policy, by moments: rewards and divergences are quadratic in (x, u)."""
    n, m = len(state), len(policy.scale)
    gain, offset = policy.params["K"], policy.params["k"][:m]
    std = policy.scale * jnp.exp(policy.params["k"][m:])
    mean, covariance, total = state, jnp.zeros((n, n)), 0.0

    def expected(function, mean, covariance):
        return function(mean) + 0.5 * jnp.trace(jax.hessian(function)(mean) @ covariance)

    for _ in range(HORIZON):
        both = jnp.vstack([jnp.eye(n), gain])  # (x, u) = both x + (0, offset + σ ε)
        z = both @ mean + jnp.concatenate([jnp.zeros(n), offset])
        spread = both @ covariance @ both.T + jnp.diag(jnp.concatenate([jnp.zeros(n), std**2]))
        total += expected(lambda z: model.step(KEY, z[:n], z[n:]).reward, z, spread)
        total -= BETA * expected(lambda x: policy.kl(given, x), mean, covariance)
        slope = jax.jacobian(lambda z: model.step(KEY, z[:n], z[n:]).state)(z)
        mean, covariance = model.step(KEY, z[:n], z[n:]).state, slope @ spread @ slope.T
    return total + expected(model.value, mean, covariance)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


class TestGradients:
    @pytest.fixture
    def problem(self, double):
        model = random_linear_quadratic(0, n=2, m=2)
        given = moved(planners.policies.network_policy(Linear(2), std=0.5).init(model, model.start), 0.1)
        policy = moved(given)

        def worth(params):
            return exact_worth(model, dataclasses.replace(policy, params=params), given, model.start)

        value, gradient = jax.jit(jax.value_and_grad(worth))(policy.params)
        return model, given, policy, ravel_pytree(gradient)[0], value

    def imagination(self, model, given, noise, key=KEY):
        return Imagination(model, key, model.start, noise, given, jnp.asarray(BETA))

    def test_pathwise_is_exact_at_points_with_the_moments_of_a_gaussian(self, problem):
        """In linear dynamics the worth is quadratic in the noise: ±√d eᵢ average it exactly."""
        model, given, policy, exact, worth = problem
        d = HORIZON * 2
        noise = np.sqrt(d) * jnp.concatenate([jnp.eye(d), -jnp.eye(d)]).reshape(2 * d, HORIZON, 2)
        imagination = self.imagination(model, given, noise)
        np.testing.assert_allclose(jax.jit(imagination.judge)(policy)[0].mean(), worth, rtol=1e-10)
        found = jax.jit(functools.partial(gradient_of, imagination, "pathwise"))(policy)
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)

    def test_score_is_exact_on_average(self, problem):
        """With the baseline, the rewards that follow and the divergences that follow; none else (O12)."""
        model, given, policy, exact, _ = problem

        def one(key):
            noise = jax.random.normal(key, (2, HORIZON, 2))
            paired = self.imagination(model, given, jnp.concatenate([noise, -noise]))._replace(paired=True)
            return gradient_of(paired, "score", policy)

        # of so few trajectories a baseline that knows the own one would leave but half of it
        found = jax.jit(jax.vmap(one))(jax.random.split(KEY, 40_000))
        error = found.std(0) / np.sqrt(len(found))
        assert (jnp.abs(found.mean(0) - exact) < 4.5 * error).all()
        assert (error < 0.05 * jnp.abs(exact).max()).all()  # it could have been told apart

    def test_both_know_discounts_noise_and_ends(self, double):
        """Against finite differences of the mean worth, over many trajectories of a model that ends and is noisy."""

        def step(key, state, action):
            after = 0.9 * state + 0.4 * jnp.tanh(action[0]) + 0.1 * jax.random.normal(key)
            return after, jnp.cos(after), 0.95

        def ending(key, state, action):  # ends at a known time, so that worth is smooth
            moved, reward, discount = step(key, state[0], action)
            return jnp.stack([moved, state[1] + 1.0]), reward, jnp.where(state[1] >= 2.0, 0.0, discount)

        model = dynamics.from_function(ending, 1)
        state = jnp.array([0.5, 0.0])
        given = planners.policies.network_policy(Linear(1), std=0.6).init(model, state)
        policy = moved(given)
        noise = jax.random.normal(KEY, (20_000, HORIZON + 1, 1))
        imagination = Imagination(model, KEY, state, noise, given, jnp.asarray(BETA))
        assert imagination.follow(policy).alive.sum(1).max() == 3
        flat, unravel = ravel_pytree(policy.params)

        @jax.jit
        def worth(flat):
            return imagination.judge(dataclasses.replace(policy, params=unravel(flat)))[0].mean()

        differences = jnp.stack(
            [(worth(flat + 1e-5 * one) - worth(flat - 1e-5 * one)) / 2e-5 for one in jnp.eye(len(flat))]
        )
        pathwise = jax.jit(functools.partial(gradient_of, imagination, "pathwise"))(policy)
        score = jax.jit(functools.partial(gradient_of, imagination, "score"))(policy)
        np.testing.assert_allclose(pathwise, differences, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(score, differences, atol=0.03)  # another estimate of the same

    @pytest.mark.parametrize("kind", ["score", "pathwise"])
    def test_what_diverges_spoils_nothing_else(self, kind):
        def step(wall, key, state, action):
            bad = jnp.where(action[0] > wall, jnp.nan, 0.0)
            return state + 0.3 * action[0] + bad, -((state - 0.9) ** 2), 1.0

        def made(wall):
            return dynamics.from_function(jax.tree_util.Partial(step, wall), 1)

        given = planners.policies.network_policy(std=0.5, hidden=(4,)).init(made(0.4), jnp.zeros(()))
        noise = jax.random.normal(KEY, (16, 3, 1))

        def lessons(wall, noise):
            imagination = Imagination(made(wall), KEY, jnp.zeros(()), noise, given, jnp.asarray(BETA))
            return getattr(imagination, kind)(moved(given))

        found = jax.jit(lessons)(0.4, noise)
        assert 0 < found.valid.sum() < 16
        assert jnp.isfinite(found.gradients).all()
        alone = lessons(0.4, noise[found.valid])
        np.testing.assert_allclose(found.kl, alone.kl, rtol=1e-5)
        if kind == "pathwise":
            np.testing.assert_allclose(found.gradients[found.valid], alone.gradients, rtol=1e-4, atol=1e-6)
            assert (found.gradients[~found.valid] == 0).all()
        else:  # that nothing is worse is known of those that diverged
            assert (jnp.abs(found.gradients[~found.valid]) > 0).any()

    @pytest.mark.parametrize("kind", ["score", "pathwise"])
    def test_it_does_not_go_where_few_survive(self, kind):
        """The reward rises up to a cliff of NaN: behind it, what survives has the best returns of all."""

        def step(key, state, action):
            return state, jnp.where(action[0] > 1.0, jnp.nan, action[0]), 1.0

        planner = planners.iterative_policy(2, gradient=kind, num_iterations=100)
        belief, info = infer(planner, dynamics.from_function(step, 1), KEY, jnp.zeros(()), None)
        assert info.num_invalid.max() > 10  # it has been there
        assert (belief.plan > 0.3).all()
        assert (belief.plan <= 1.0).all()


class TestPosteriors:
    @pytest.mark.parametrize("gradient", ["score", "pathwise"])
    def test_independent_steps_have_the_posterior_of_each(self, gradient):
        """−|a − ½|² at each step under N(0, 0.6²): a Gaussian, and the bound is the evidence."""
        temperature, prior = 0.4, 0.6
        planner = planners.iterative_policy(
            3, std=prior, hidden=(), temperature=temperature, gradient=gradient, num_samples=8192
        )
        planner = dataclasses.replace(planner, num_iterations=150)
        belief, info = infer(planner, target(), KEY, jnp.zeros(()), None)
        precision = 1 / prior**2 + 2 / temperature
        mean = 2 * 0.5 / temperature / precision
        np.testing.assert_allclose(belief.plan, mean, atol=0.01)
        np.testing.assert_allclose(belief.std, precision**-0.5, rtol=0.05)
        each = -0.5 * jnp.log(prior**2 * precision) - 0.5 * (0.5**2 * 2 / temperature - mean**2 * precision)
        np.testing.assert_allclose(info.elbo[-1], 6 * each, atol=0.05)

    def test_an_expert_of_the_posterior_is_its_mode_under_a_given_policy(self):
        """One step of a linear-quadratic problem: N(m, 1/Λᵢᵢ), the best that independent actuators can be."""
        model = random_linear_quadratic(0, n=2, m=2)
        planner = planners.iterative_policy(
            1, std=0.8, hidden=(), temperature=BETA, gradient="pathwise", num_samples=1024, num_iterations=200
        )
        belief, _ = infer(planner, model, KEY, model.start, None)
        posterior = model.plan_posterior(
            model.start, 1, BETA, prior_mean=jnp.zeros((1, 2)), prior_covariance=0.8**2 * jnp.eye(2)
        )
        np.testing.assert_allclose(belief.plan, posterior.mean, atol=0.03)
        precision = jnp.linalg.inv(posterior.covariance)
        np.testing.assert_allclose(belief.std[0], jnp.diagonal(precision) ** -0.5, rtol=0.05)

    def test_feedback_is_worth_more_than_a_plan(self):
        """A random walk: a policy that sees where it is beats the best plan that does not."""
        model, start = noisy_walk(), jnp.ones(())
        planner = planners.iterative_policy(8, std=0.3, gradient="pathwise", num_samples=256, num_iterations=40)
        belief, _ = infer(planner, model, KEY, start, None)
        plan = infer(planners.gradient(8, bounds="none", num_scenarios=64), model, KEY, start, None)[0].mode()
        blind = planners.rollout(model, jax.random.key(5), start, plan[None], num_scenarios=1000)[0]
        noise = jnp.zeros((1000, 8, 1))
        fed_back = Imagination(model, jax.random.key(5), start, noise, belief.given, jnp.ones(()))
        assert fed_back.follow(belief.improved).returns.mean() > blind + 1.0  # −0.09 per step against its sum

    def test_networks_of_single_precision_serve_models_of_double(self, double):
        model = random_linear_quadratic(0, n=2, m=2)
        policy = planners.policies.network_policy(nn.Sequential((nn.Dense(8), nn.tanh, nn.Dense(4))))
        planner = planners.iterative_policy(3, policy=policy, num_samples=8, num_iterations=2, gradient="pathwise")
        belief, _ = infer(planner, model, KEY, model.start, None)
        assert belief.plan.dtype == jnp.float64
        assert {leaf.dtype.name for leaf in jax.tree.leaves(belief.improved.params)} == {"float32"}

    @pytest.mark.parametrize("kind", ["score", "pathwise"])
    def test_slopes_do_not_pull_on_the_std(self, kind):
        """A linear return under a normal prior moves means only: noise of another mean than 0 would move stds."""

        def step(key, state, action):
            return state + 1.0, action[0], 1.0

        planner = planners.iterative_policy(6, gradient=kind, num_iterations=60)
        belief, _ = infer(planner, dynamics.from_function(step, 1), KEY, jnp.zeros(()), None)
        assert (belief.plan > 0.5).all()
        np.testing.assert_allclose(belief.std, 0.5, rtol=0.1)


class TestTrust:
    def amortised(self, model):
        network = nn.Sequential((nn.Dense(8), nn.tanh, nn.Dense(4)))
        given = planners.policies.network_policy(network).init(model, model.start)
        params = jax.tree.map(lambda leaf: 0.3 * leaf, given.params)
        return planners.policies.network_policy(given.network, params, std=0.4)

    @pytest.mark.parametrize("max_kl", [0.03, 0.3])
    def test_it_never_goes_too_far(self, max_kl):
        model = random_linear_quadratic(0, n=2, m=2)
        given = self.amortised(model)
        planner = planners.iterative_policy(6, policy=given, max_kl=max_kl, num_samples=64, temperature=0.01)
        start = planner.init(model, model.start)
        belief, info = infer(planner, model, KEY, model.start, start)
        assert (info.kl > max_kl).any()  # it had to be held
        _, noise_key, _ = jax.random.split(KEY, 3)
        noise = jax.random.normal(noise_key, (32, 6, 2))
        noise = jnp.concatenate([noise, -noise])
        imagination = Imagination(model, KEY, model.start, noise, belief.given, planner.temperature)
        worth, kl = imagination.judge(belief.improved)
        assert 0.3 * max_kl < kl <= max_kl * (1 + 1e-4)
        assert worth.mean() > imagination.judge(given)[0].mean()
        assert worth.mean() >= info.objective.max() - 1e-3
        for mine, theirs in zip(jax.tree.leaves(belief.given.params), jax.tree.leaves(given.params), strict=True):
            np.testing.assert_array_equal(mine, theirs)

    def test_what_begins_too_far_comes_back(self):
        model = random_linear_quadratic(0, n=2, m=2)
        planner = planners.iterative_policy(6, policy=self.amortised(model), max_kl=0.1, num_samples=64)
        start = planner.init(model, model.start)
        far = dataclasses.replace(start, improved=moved(start.improved, 3.0))
        belief, info = infer(planner, model, KEY, model.start, far)
        assert info.kl[0] > 1.0
        assert info.kl[-1] < 0.2
        assert (info.objective > -jnp.inf).any()
        assert belief.improved.kl(belief.given, model.start) < 0.5

    def test_it_is_never_worse_than_where_it_began(self):
        """Steps that are much too long."""
        model = random_linear_quadratic(0, n=2, m=2)
        planner = planners.iterative_policy(6, policy=self.amortised(model), learning_rate=5.0, num_samples=64)
        belief, info = infer(planner, model, KEY, model.start, None)
        assert info.objective.min() < info.objective[0] - 10.0
        again = infer(dataclasses.replace(planner, num_iterations=1), model, KEY, model.start, belief)[1]
        assert again.objective[0] >= info.objective[0] - 1e-4

    def test_cold_starts_begin_at_the_given_policy(self):
        model = random_linear_quadratic(0, n=2, m=2)
        for warm_start in (True, False):
            planner = planners.iterative_policy(6, policy=self.amortised(model), num_samples=8, warm_start=warm_start)
            belief, _ = infer(planner, model, KEY, model.start, None)
            kept = planner.shift(belief).improved.params
            reference = belief.improved.params if warm_start else belief.given.params
            jax.tree.map(np.testing.assert_array_equal, kept, reference)

    def test_an_optimiser_may_move_the_last_layer_only(self):
        model = random_linear_quadratic(0, n=2, m=2)
        planner = planners.iterative_policy(6, num_samples=64, optimizer=last_layer_only)
        belief, _ = infer(planner, model, KEY, model.start, None)
        own, given = belief.improved.params["params"], belief.given.params["params"]
        jax.tree.map(
            np.testing.assert_array_equal, *({k: p[k] for k in ("layers_0", "layers_2")} for p in (own, given))
        )
        assert jnp.abs(own["layers_4"]["kernel"]).max() > 0.01


def last_layer_only(rate):
    def label(params):
        return {"params": {name: "move" if name == "layers_4" else "keep" for name in params["params"]}}

    return optax.multi_transform({"move": optax.adam(rate), "keep": optax.set_to_zero()}, label)


class Nested(NamedTuple):
    state: object
    clock: jax.Array


class Watched(NamedTuple):
    obs: dict
    hidden: jax.Array


class TestPolicies:
    def test_what_is_observed(self):
        model = target(1)

        def size_of(state, **options):
            policy = planners.policies.network_policy(Linear(1), **options).init(model, state)
            return policy.params["K"].shape[1]

        assert size_of(Watched({"a": jnp.ones(3), "b": jnp.ones((2, 2))}, jnp.ones(9))) == 7
        assert size_of(Nested(Watched({"a": jnp.ones(3)}, jnp.ones(9)), jnp.ones(()))) == 3
        assert size_of({"x": jnp.ones(2), "steps": jnp.ones(5, int)}) == 2
        assert size_of(jnp.ones(4), observe=lambda state: state[:1]) == 1

    def test_networks_of_other_numbers(self):
        """Half precision says what it says; what counts is not moved."""

        class Counting(nn.Module):
            @nn.compact
            def __call__(self, x):
                self.param("count", lambda key: jnp.array(3, int))
                return nn.Dense(4, dtype=jnp.bfloat16)(x)

        policy = planners.policies.network_policy(Counting())
        with pytest.raises(ValueError, match=r"make some with policy\.init\(model, state\)"):
            policy.mean(jnp.zeros(()))
        for gradient in ("score", "pathwise"):
            planner = planners.iterative_policy(3, policy=policy, num_samples=8, gradient=gradient)
            belief, info = infer(planner, target(), KEY, jnp.zeros(()), None)
            assert info.objective.max() > info.objective[0]
            assert belief.improved.params["params"]["count"] == 3

    def test_densities_are_those_of_their_samples(self):
        made = planners.policies.network_policy(std=[0.3, 0.6], hidden=(4,))
        policy = moved(made.init(target(), jnp.ones(3)), 0.5)
        other = moved(policy, 0.3)
        state = jnp.array([0.1, -0.4, 0.8])
        actions = jax.vmap(policy.sample, (0, None))(jax.random.split(KEY, 40_000), state)
        np.testing.assert_allclose(actions.mean(0), policy.mean(state), atol=0.02)
        ratio = jax.vmap(lambda a: policy.log_prob(state, a) - other.log_prob(state, a))(actions)
        np.testing.assert_allclose(ratio.mean(), policy.kl(other, state), atol=4 * ratio.std() / 200)
        std = policy.moments(policy.outputs(state))[1]
        exact = jax.scipy.stats.norm.logpdf(actions[0], policy.mean(state), std).sum()
        np.testing.assert_allclose(policy.log_prob(state, actions[0]), exact, rtol=1e-5)

    def test_an_iterated_policy_proposes_to_others(self):
        """What it found is where particles start from, and the prior of their plans."""
        model = random_linear_quadratic(0, n=2, m=2)
        policy = infer(planners.iterative_policy(4, num_samples=32), model, KEY, model.start, None)[0].policy()
        assert isinstance(policy, planners.policies.Policy)
        planner = planners.smc(4, proposal=policy, prior=planners.priors.policy_prior(policy), temperature=1.0)
        _, info = infer(planner, model, KEY, model.start, None)
        assert jnp.isfinite(info.log_evidence).all()

    def test_mistakes_are_named(self):
        policy = unchecked(planners.policies.network_policy)
        for arguments, message in (
            ({"network": nn.Dense}, "network must be an instance that has init and apply"),
            ({"network": nn.Sequential([nn.Dense(2)])}, "network must be hashable"),
            ({"params": {}}, "params need the network whose they are"),
            ({"observe": 3}, "observe must be a function of a state"),
            ({"std": 0.0}, r"std must be .*> 0"),
            ({"hidden": (0,)}, "hidden must be"),
        ):
            with pytest.raises(ValueError, match=message):
                policy(**arguments)
        model = target()
        for arguments, message in (
            ({"policy": nn.Dense(2)}, r"policy must be a planners\.policies\.network_policy, got Dense"),
            ({"gradient": "magic"}, "gradient must be one of pathwise, score"),
            ({"execute": "mean"}, "execute must be one of mode, sample"),
            ({"max_kl": 0.0}, r"max_kl must be .*> 0"),
            ({"num_samples": 2}, "num_samples must be an integer of at least 4"),
            ({"num_samples": 5}, "num_samples must be even where noise comes in pairs, got 5"),
            ({"policy": planners.policies.network_policy(), "std": 0.3}, "hidden and std are of the perceptron"),
            ({"hidden": 32}, "hidden must be a tuple of sizes, got 32"),
        ):
            with pytest.raises(ValueError, match=message):
                unchecked(planners.iterative_policy)(3, **arguments)
        for arguments, message in (
            (
                {"network": nn.Dense(3)},
                r"network must give one vector \[2 A\] = \(4,\), means before log stds, got \(3,\)",
            ),
            (
                {"observe": lambda state: state},
                r"observe must make a vector \[n\] of at least one number.*got shape \(\)",
            ),
            ({"std": [0.1, 0.2, 0.3]}, r"std must have shape \(2,\).*got \(3,\)"),
        ):
            planner = planners.iterative_policy(3, policy=policy(**arguments))
            with pytest.raises(ValueError, match=r"iterative_policy on FunctionModel \(action_size=2\): " + message):
                planner.init(model, jnp.zeros(()))

    def test_models_without_derivatives_need_the_score(self):
        def step(key, state, action):
            state = state + action[0]
            settled = jax.lax.while_loop(lambda y: jnp.abs(y) > 1.0, lambda y: 0.5 * y, state)
            return state, -((settled - 0.5) ** 2), 1.0

        model = dynamics.from_function(step, 1)
        belief, _ = infer(planners.iterative_policy(3), model, KEY, jnp.zeros(()), None)
        assert planners.rollout(model, KEY, jnp.zeros(()), belief.mode()[None])[0] > -0.2
        with pytest.raises(ValueError, match=r"model must be differentiable in reverse mode.*gradient='score'"):
            infer(planners.iterative_policy(3, gradient="pathwise"), model, KEY, jnp.zeros(()), None)


@several_devices
def test_scenarios_chunks_and_devices_change_nothing():
    """Each trajectory meets a scenario of its own, wherever it is computed."""
    model = dynamics.randomized(dynamics.pendulum(), heavier, num=3)
    state = model.init(KEY)
    mesh = jax.make_mesh((3,), ("samples",), devices=jax.devices()[:3])
    sharding = NamedSharding(mesh, PartitionSpec("samples"))

    def plans(**changes):
        options = {"num_samples": 10, "num_iterations": 3, "gradient": "pathwise", "temperature": 1.0, "hidden": (4,)}
        planner = planners.iterative_policy(6, **options, keep=("returns",), **changes)
        return infer(planner, model, KEY, state, None)

    belief, info = plans()
    assert len(jnp.unique(info.returns[0])) == 10
    other, told = plans(rollout_chunk_size=2, sharding=sharding)
    np.testing.assert_allclose(told.returns, info.returns, rtol=1e-4)
    np.testing.assert_allclose(other.plan, belief.plan, atol=1e-4)


def heavier(key, model):
    return dataclasses.replace(model, mass=model.mass * jax.random.uniform(key, minval=0.5, maxval=2.0))
