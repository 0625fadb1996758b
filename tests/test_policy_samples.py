"""Plans of a policy among those of a belief: the posterior stays what it is, whatever the policy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from problems import bound, random_linear_quadratic, several_devices, target

from mirrax import dynamics, planners
from mirrax.dynamics.pytrees import pytree
from mirrax.planners.beliefs.mixture import mixture

KEY = jax.random.key(0)
HORIZON, TEMPERATURE = 4, 1.5
PRIOR = planners.beliefs.gaussian(std=1.0)
infer = jax.jit(planners.infer)
OPTIONS = {
    "temperature": TEMPERATURE,
    "prior": PRIOR,
    "std": 1.0,
    "noise_exponent": None,
    "bounds": "none",
    "step_size": 1.0,
}


@pytree
class Linear:
    """N(K s + k, diag σ²)."""

    gain: Array
    bias: Array
    std: Array

    def sample(self, key, state):
        return self.gain @ state + self.bias + self.std * jax.random.normal(key, self.bias.shape)

    def log_prob(self, state, action):
        return jax.scipy.stats.norm.logpdf(action, self.gain @ state + self.bias, self.std).sum()


@pytree
class Denied:
    """A policy that draws plans and denies it: they are then weighed by q alone, as if they were the belief's."""

    policy: Linear

    def sample(self, key, state):
        return self.policy.sample(key, state)

    def log_prob(self, state, action):
        return -jnp.inf


@pytree
class Broken:
    """A policy that gives no numbers: every so often, or in its densities alone."""

    share: Array
    density: bool = dataclasses.field(metadata={"static": True}, default=False)

    def sample(self, key, state):
        lost = jax.random.bernoulli(key, self.share)
        return jnp.where(lost & (not self.density), jnp.nan, jnp.zeros(2))

    def log_prob(self, state, action):
        return jnp.where(self.density & (self.share > 0), jnp.nan, -(action**2).sum())


def wrong(std=0.4):
    return Linear(0.3 * jnp.ones((2, 3)), jnp.array([0.5, -0.4]), jnp.asarray(std))


@functools.cache
def problem(noise=0.0):
    return random_linear_quadratic(noise=noise)


def exact(model=None):
    model = problem() if model is None else model
    return model.plan_posterior(model.start, HORIZON, TEMPERATURE, prior_covariance=jnp.eye(2 * HORIZON))


def errors(belief, truth):
    """How far a Gaussian belief is from a posterior: its mean in standard deviations, its covariance in shares."""
    covariance = np.asarray(truth.covariance, float)
    apart = np.asarray(belief.mean, float).reshape(-1) - np.asarray(truth.mean, float).reshape(-1)
    ratio = np.linalg.solve(covariance, np.asarray(belief.covariance(), float)) - np.eye(len(covariance))
    root = np.sqrt(len(covariance))
    return np.sqrt(apart @ np.linalg.solve(covariance, apart)) / root, np.linalg.norm(ratio) / root


@functools.cache
def good():
    """The linear policy nearest to the posterior: a regression on samples of it."""
    model, truth, num = problem(), exact(), 2000
    plans = np.random.default_rng(0).multivariate_normal(truth.mean.reshape(-1), truth.covariance, num)
    plans = jnp.asarray(plans.reshape(num, HORIZON, 2), jnp.float32)
    states = jax.vmap(lambda plan: planners.trajectory(model, KEY, model.start, plan).states)(plans)
    before = jnp.concatenate([jnp.broadcast_to(model.start, (num, 1, 3)), states[:, :-1]], 1).reshape(-1, 3)
    design, actions = np.column_stack([before, np.ones(len(before))]), np.asarray(plans).reshape(-1, 2)
    fit, *_ = np.linalg.lstsq(design, actions, rcond=None)
    return Linear(jnp.asarray(fit[:3].T), jnp.asarray(fit[3]), jnp.asarray((actions - design @ fit).std(0)))


def shifted():
    """The same, deliberately off, and too sure of itself."""
    return dataclasses.replace(good(), bias=good().bias + 0.4, std=0.8 * good().std)


@functools.cache
def inferred(name):
    """One step of importance sampling from the prior, a quarter of the plans from a policy."""
    policies = {"none": None, "good": good(), "shifted": shifted(), "far": wrong(), "denied": Denied(shifted())}
    policy, num_samples = policies[name], 64_000
    planner = planners.vi_mpc(
        HORIZON,
        num_samples=num_samples,
        num_iterations=1,
        covariance="full",
        std_min=1e-3,
        policy=policy,
        num_policy_samples=None if policy is None else num_samples // 4,
        **OPTIONS,
    )
    return infer(planner, problem(), KEY, problem().start)


@pytest.mark.parametrize("name", ["none", "good", "shifted", "far"])
def test_no_policy_changes_the_posterior(name):
    """Errors are those of an effective sample size of some 700."""
    belief, info = inferred(name)
    mean, covariance = errors(belief, exact())
    assert mean < 0.1
    assert covariance < 0.2
    assert abs(info.log_evidence[-1] - exact().log_evidence) < 0.2
    assert info.num_invalid[-1] == 0


def test_without_the_density_of_the_mixture_it_does():
    """The test above can fail: plans of the policy that count as the belief's bend the posterior to the policy."""
    belief, info = inferred("denied")
    mean, covariance = errors(belief, exact())
    assert mean > 0.3
    assert covariance > 0.3
    assert info.log_evidence[-1] - exact().log_evidence > 1.0
    assert info.evidence_ess[-1] > 2 * inferred("shifted")[1].evidence_ess[-1]  # which does not show it


def test_a_good_policy_makes_estimates_better():
    sizes = {name: float(inferred(name)[1].evidence_ess[-1]) for name in ("none", "good", "far")}
    assert sizes["good"] > 3 * sizes["none"], sizes
    assert sizes["far"] > 0.5 * sizes["none"], sizes  # no more is lost than the share of its plans


@pytest.mark.parametrize("weighs", ["vi_mpc", "mppi", "smaller steps"])
def test_iterations_end_at_the_posterior(weighs):
    options = OPTIONS | {"covariance": "full", "num_samples": 8000, "num_iterations": 6, "std_min": 1e-3}
    if weighs == "mppi":
        del options["step_size"]
        planner = planners.mppi(HORIZON, policy=wrong(), num_policy_samples=2000, **options)
    else:
        step = {"step_size": 1.0 if weighs == "vi_mpc" else 0.5}
        planner = planners.vi_mpc(HORIZON, policy=wrong(), num_policy_samples=2000, **(options | step))
    if weighs == "smaller steps":
        planner = dataclasses.replace(planner, num_iterations=15)
    belief, info = infer(planner, problem(), KEY, problem().start)
    mean, covariance = errors(belief, exact())
    assert mean < 0.05
    assert covariance < 0.1
    assert abs(info.log_evidence[-1] - exact().log_evidence) < 0.05


ASIDE = {
    "policy": {},
    "mode, remembered, explorers": {"include_mode": True, "num_kept": 4, "explore_fraction": 0.2},
    "blocks": {"rollout_chunk_size": 5},
    "scenarios": {"num_scenarios": 2},
}


@pytest.mark.parametrize("name", ASIDE)
def test_evidence_is_unbiased(name):
    """E[Ẑ/Z] = 1, whatever else is among the plans."""
    options = {"num_samples": 24, "num_iterations": 1, "policy": wrong(0.8), "num_policy_samples": 6}
    planner = planners.vi_mpc(HORIZON, **(OPTIONS | options | {"temperature": 8.0} | ASIDE[name]))
    model = problem()
    truth = model.plan_posterior(model.start, HORIZON, 8.0, prior_covariance=jnp.eye(2 * HORIZON))
    keys = jax.random.split(KEY, 4000)
    run = jax.jit(jax.vmap(lambda key: planners.infer(planner, model, key, model.start)[1].log_evidence[0]))
    ratios = np.exp(np.asarray(run(keys), float) - float(truth.log_evidence))
    error = ratios.std() / len(keys) ** 0.5
    assert abs(ratios.mean() - 1.0) < 4.5 * error
    assert error < 0.02


@pytest.mark.parametrize("common_noise", [True, False])
def test_noise_of_plans_is_that_of_their_policy(common_noise):
    """In a noisy model plans depend on it, and must meet it again: else E[Ẑ] would not be that without a policy."""
    model = problem(noise=0.5)
    keys = jax.random.split(KEY, 6000)
    means, errors = [], []
    # the gains are great, so that states matter
    policy = Linear(jnp.array([[0.5, -0.4, 0.3], [0.2, 0.6, -0.5]]), jnp.zeros(2), jnp.array(0.6))
    for given in (None, policy):
        planner = planners.vi_mpc(
            HORIZON,
            num_samples=24,
            num_iterations=1,
            policy=given,
            num_policy_samples=None if given is None else 8,
            common_noise=common_noise,
            **(OPTIONS | {"temperature": 20.0}),
        )
        run = jax.jit(jax.vmap(lambda key: planners.infer(planner, model, key, model.start)[1].log_evidence[0]))  # noqa: B023
        evidence = np.exp(np.asarray(run(keys), float))
        means.append(evidence.mean())
        errors.append(evidence.std() / len(keys) ** 0.5)
    assert abs(means[0] - means[1]) < 4.5 * np.hypot(*errors)
    assert np.hypot(*errors) < 0.02 * means[0]


def test_none_of_a_policy_is_none():
    """Bit for bit the planner without one."""
    for make in (planners.vi_mpc, planners.mppi, planners.cem):
        plain, none = make(3, num_samples=32), make(3, num_samples=32, policy=wrong(), num_policy_samples=0)
        assert jax.tree.structure(plain) == jax.tree.structure(none)
        for one, other in zip(
            *(jax.tree.leaves(infer(p, target(), KEY, jnp.zeros(()))) for p in (plain, none)), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def two_ways(centre=0.6, std=0.1, left=0.3):
    """A return log Σ_i π_i N(a; ±c, s²) of whole plans, whose posterior under a flat prior is that mixture itself."""

    def density(plan, sign):
        return jax.scipy.stats.norm.logpdf(plan, sign * centre, std).sum()

    def step(key, state, action):
        plan, time = state
        plan = plan.at[time].set(action[0])
        whole = jnp.logaddexp(jnp.log(left) + density(plan, -1.0), jnp.log(1.0 - left) + density(plan, 1.0))
        return (plan, time + 1), jnp.where(time == 2, whole, 0.0), 1.0

    return dynamics.from_function(step, 1, init=lambda key: (jnp.zeros(3), jnp.int32(0)))


@pytree
class Rightwards:
    """Goes right, somewhat at random."""

    std: Array

    def sample(self, key, state):
        return 0.6 + self.std * jax.random.normal(key, (1,))

    def log_prob(self, state, action):
        return jax.scipy.stats.norm.logpdf(action, 0.6, self.std).sum()


def test_a_policy_finds_the_other_way():
    """A belief around one mode knows its share of the evidence alone; a policy that knows the other adds the rest."""
    model = two_ways()
    state, start = model.init(KEY), jnp.full((3, 1), -0.6)
    found = {}
    for name, policy in {"alone": None, "policy": Rightwards(jnp.array(0.2))}.items():
        belief = bound(mixture(num_components=2, std=0.1, std_min=0.01), 3, 1).map_centers(lambda _: start[None])
        planner = planners.vi_mpc(
            3,
            belief=belief,
            num_samples=4000,
            num_iterations=1,
            step_size=1.0,
            temperature=1.0,
            prior="flat",
            policy=policy,
            bounds="none",
        )
        fitted, info = infer(planner, model, KEY, state)
        modes, shares = fitted.belief.modes()
        found[name] = (float(info.log_evidence[-1]), float(jnp.einsum("m,mha->", shares, modes) / 3))
    np.testing.assert_allclose(found["alone"], (np.log(0.3), -0.6), atol=0.05)
    np.testing.assert_allclose(found["policy"], (0.0, 0.4 * 0.6), atol=0.1)


@pytest.mark.parametrize("make", [planners.cem, planners.mppi, planners.icem, planners.dial, planners.pi2])
def test_without_a_prior_plans_of_a_policy_are_candidates(make):
    """They count by their returns alone, and a good one is found at once, far from where the belief looks."""
    model = target()

    @pytree
    class Near:
        std: Array

        def sample(self, key, state):
            return 0.5 + self.std * jax.random.normal(key, (2,))

        def log_prob(self, state, action):
            raise AssertionError("no density is needed")

    options = {"std": 0.05} if make is not planners.dial else {}
    best = {}
    for name, policy in {"alone": None, "policy": Near(jnp.array(0.01))}.items():
        planner = make(6, num_samples=40, num_iterations=1, policy=policy, **options)
        _, info = infer(planner, model, KEY, jnp.zeros(()))
        best[name] = float(info.best_return[-1])
    assert best["alone"] < -0.5
    assert best["policy"] > -0.01


def test_discrete_actions():
    """Against all plans: a policy over words of four letters."""
    rewards = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))

    def step(key, state, action):
        return action, rewards[state, action], 1.0

    model = dynamics.from_function(step, num_actions=3, init=lambda key: jnp.int32(0))

    @pytree
    class Table:
        logits: Array

        def sample(self, key, state):
            return jax.random.categorical(key, self.logits[state])

        def log_prob(self, state, action):
            return jax.nn.log_softmax(self.logits[state])[action]

    options = {"temperature": 0.7, "step_size": 1.0, "num_iterations": 1}
    every = planners.vi_mpc(4, enumerate_plans=True, **options)
    _, truth = infer(every, model, KEY, jnp.int32(0))
    policy = Table(jnp.asarray(np.random.default_rng(1).normal(size=(3, 3))))
    planner = planners.vi_mpc(4, num_samples=20_000, policy=policy, num_policy_samples=8000, **options)
    _, info = infer(planner, model, KEY, jnp.int32(0))
    np.testing.assert_allclose(info.log_evidence[-1], truth.log_evidence[-1], atol=0.03)


def test_after_an_end_the_policy_stays_where_it_was():
    """Episodes end after two steps with a NaN: densities are those of the last state before."""

    def step(key, state, action):
        return jnp.where(state >= 1, jnp.nan, state + 1.0), -(action**2).sum(), jnp.where(state >= 1, 0.0, 1.0)

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))

    @pytree
    class ByState:
        std: Array

        def sample(self, key, state):
            return state + self.std * jax.random.normal(key, (1,))

        def log_prob(self, state, action):
            return jax.scipy.stats.norm.logpdf(action, state, self.std).sum()

    planner = planners.vi_mpc(
        4, num_samples=20_000, num_iterations=1, policy=ByState(jnp.array(0.8)), **(OPTIONS | {"temperature": 1.0})
    )
    _, info = infer(planner, model, KEY, jnp.zeros(()))
    assert info.num_invalid[-1] == 0
    # the first two steps earn −a², under N(0, 1): Z = 3^(−½) each
    np.testing.assert_allclose(info.log_evidence[-1], -np.log(3.0), atol=0.03)


def test_a_prior_that_is_the_policy():
    """With q out of the way the weights are exp(R/λ) of what the policy draws: p and π cancel."""
    policy = wrong(0.7)
    options = OPTIONS | {"prior": planners.priors.policy_prior(policy), "temperature": 8.0}
    evidences = []
    for number in (10, 15_000):
        planner = planners.vi_mpc(
            HORIZON, num_samples=30_000, num_iterations=1, policy=policy, num_policy_samples=number, **options
        )
        evidences.append(float(infer(planner, problem(), KEY, problem().start)[1].log_evidence[-1]))
    np.testing.assert_allclose(*evidences, atol=0.1)


def test_squashed_policies_may_be_as_they_are():
    """Beyond [-1, 1] they have no density, which is no error: what they draw is not there."""
    from mirrax.learning.policies import tanh_gaussian

    model = problem()
    policy = tanh_gaussian(std=0.5).init(model, model.start)
    planner = planners.vi_mpc(HORIZON, num_samples=30_000, num_iterations=1, policy=policy, **OPTIONS)
    _, info = infer(planner, model, KEY, model.start)
    assert info.num_invalid[-1] == 0
    assert abs(info.log_evidence[-1] - exact().log_evidence) < 0.3


@pytest.mark.parametrize("prior", [None, PRIOR])
def test_a_policy_that_fails_is_counted(prior):
    """Some draws that are no numbers: they have no weight, and the belief stays finite."""
    planner = planners.mppi(
        3, num_samples=64, prior=prior, policy=Broken(jnp.array(0.2)), num_policy_samples=32, keep=("returns",)
    )
    belief, info = infer(planner, target(), KEY, jnp.zeros(()))
    assert 0 < info.num_invalid[-1] <= 32
    assert jnp.isfinite(belief.mean).all()
    assert jnp.isfinite(info.returns).sum() >= 32


def test_a_density_that_fails_is_counted():
    planner = planners.mppi(
        3, num_samples=64, prior=PRIOR, policy=Broken(jnp.array(1.0), density=True), num_policy_samples=32
    )
    belief, info = infer(planner, target(), KEY, jnp.zeros(()))
    assert info.num_invalid[-1] == 64
    assert info.degenerate[-1]
    assert jnp.isfinite(belief.mean).all()


@several_devices
def test_devices_do_not_matter():
    sharding = jax.sharding.NamedSharding(
        jax.make_mesh((4,), ("plans",), devices=jax.devices()[:4]), jax.sharding.PartitionSpec("plans")
    )
    model = problem(noise=0.1)
    known = []
    for options in ({}, {"sharding": sharding}, {"rollout_chunk_size": 7}):
        planner = planners.vi_mpc(
            HORIZON, num_samples=50, policy=wrong(), num_policy_samples=11, common_noise=False, **OPTIONS, **options
        )
        belief, info = infer(planner, *planners.rollouts.place((model, KEY, model.start), options.get("sharding")))
        known.append((np.asarray(belief.mean), np.asarray(info.log_evidence)))
    for one in known[1:]:
        np.testing.assert_allclose(one[0], known[0][0], atol=1e-4)
        np.testing.assert_allclose(one[1], known[0][1], atol=1e-4)


def test_a_planner_goes_on_with_other_parameters():
    """They are leaves: what was compiled stays."""
    traces = []

    @jax.jit
    def run(planner, key):
        traces.append(1)
        return planners.plan(planner, problem(), key, problem().start, planner.init(problem(), problem().start))

    for std in (0.3, 0.6):
        planner = planners.mppi(HORIZON, num_samples=40, policy=wrong(std), warm_start=True)
        action, *_ = run(planner, KEY)
        assert jnp.isfinite(action).all()
    assert len(traces) == 1


def test_derivatives_go_through():
    """Of the weighted mean under the same random numbers, by the state that the policy, too, acts in."""
    planner = planners.mppi(
        HORIZON,
        num_samples=200,
        num_iterations=1,
        prior=PRIOR,
        std=1.0,
        temperature=8.0,
        policy=wrong(),
        bounds="none",
    )

    def mean(state):
        return planners.infer(planner, problem(), KEY, state)[0].mean.sum()

    slope = jax.jit(jax.grad(mean))(problem().start)
    nudges = 0.02 * jnp.eye(3)
    ends = jax.jit(jax.vmap(mean))(problem().start + jnp.concatenate([nudges, -nudges]))
    np.testing.assert_allclose(slope, (ends[:3] - ends[3:]) / 0.04, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("make", "problem_of"),
    [
        (lambda: planners.mppi(4, num_policy_samples=5), "num_policy_samples needs a policy .*got 5"),
        (lambda: planners.mppi(4, policy=wrong(), num_policy_samples=-1), "num_policy_samples must be .*got -1"),
        (lambda: planners.mppi(4, policy=lambda key, state: state), "policy must draw actions in states.*function"),
        (lambda: planners.mppi(4, policy=Linear), "policy must draw actions in states.*Linear"),
        (lambda: planners.smc(4, policy=wrong()), "policy has no meaning where plans are resampled"),
        (
            lambda: planners.mppi(4, num_samples=8, policy=wrong(), num_policy_samples=8).init(
                problem(), problem().start
            ),
            "num_samples must leave plans to draw .* 8 of a policy.*got 8",
        ),
        (
            lambda: planners.mppi(6, policy=wrong(), num_knots=3).init(problem(), problem().start),
            "num_knots must be None with a policy",
        ),
        (
            lambda: planners.mppi(6, policy=wrong(), std=[0.5, 0.0]).init(problem(), problem().start),
            "policy must be None where std is 0",
        ),
        (
            lambda: planners.vi_mpc(2, policy=wrong(), enumerate_plans=True).init(
                dynamics.from_function(lambda k, s, a: (s, 0.0, 1.0), num_actions=2), jnp.zeros(())
            ),
            "policy must be None for Enumeration",
        ),
        (
            lambda: planners.infer(
                planners.mppi(4, policy=dataclasses.replace(wrong(), gain=jnp.zeros((3, 3)), bias=jnp.zeros(3))),
                problem(),
                KEY,
                problem().start,
            ),
            r"policy must draw an action of shape \(2,\), got \(3,\)",
        ),
    ],
)
def test_mistakes(make, problem_of):
    with pytest.raises(ValueError, match=problem_of):
        make()
