"""One contract for all planners, by table, and what sets each apart."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import better_spread, bound, target, unchecked

from mirrax import compiling, dynamics, planners
from mirrax.dynamics.pytrees import pytree
from mirrax.planners.beliefs.protocol import innermost

HORIZON, ACTIONS = 5, 2
KEY = jax.random.key(0)
START = jnp.zeros(())
LEVELS = jnp.array([[1.0, 0.7], [0.5, 0.5], [-1.0, -1.0]])  # the first beyond the walls, the second the best
TARGET = target()  # one object: a model made anew of a plain function would be compiled anew


@pytree
class Steady:
    """A policy that does about the same in all states."""

    mean: jax.Array
    std: jax.Array

    def sample(self, key, state):
        return self.mean + self.std * jax.random.normal(key, (ACTIONS,))

    def log_prob(self, state, action):
        return jax.scipy.stats.norm.logpdf(action, self.mean, self.std).sum()


# name: (factory, its options, changes of traced fields that must not recompile)
PLANNERS = {
    "random_shooting": (planners.random_shooting, {"num_samples": 64, "std": 0.3}, {"std": 0.7}),
    "predictive_sampling": (
        planners.predictive_sampling,
        {"num_samples": 64, "num_iterations": 3},
        {"std": 0.7},
    ),
    "cem": (
        planners.cem,
        {"num_samples": 64, "num_iterations": 3},
        {"std": 0.7, "elite_fraction": 0.2, "std_min": 0.02, "smoothing": 0.3},
    ),
    "mppi": (planners.mppi, {"num_samples": 64, "num_iterations": 3}, {"std": 0.7, "target_ess": 0.2}),
    "mppi, temperature": (
        planners.mppi,
        {"num_samples": 64, "temperature": 0.5},
        {"std": 0.7, "temperature": 1.0},
    ),
    "mppi, standardize": (
        planners.mppi,
        {"num_samples": 64, "temperature": 0.5, "standardize": True},
        {"temperature": 1.0},
    ),
    "mppi, cross term": (
        planners.mppi,
        {"num_samples": 64, "temperature": 0.5, "cross_term": 0.1},
        {"cross_term": 0.5, "temperature": 1.0},
    ),
    "mppi, prior": (
        planners.mppi,
        {"num_samples": 64, "temperature": 0.5, "prior": planners.beliefs.gaussian(std=2.0)},
        {"prior": planners.beliefs.gaussian(std=1.0)},
    ),
    "mppi, adapted knots": (
        planners.mppi,
        {"num_samples": 64, "num_iterations": 3, "covariance": "diagonal", "noise_exponent": 1.0, "smoothing": 0.1}
        | {"num_knots": 3, "explore_fraction": 0.2, "inflation": 1.5},
        {"std": 0.7, "smoothing": 0.3, "noise_exponent": 2.0, "inflation": 1.2},
    ),
    "icem": (
        planners.icem,
        {"num_samples": 64, "num_iterations": 3, "population_decay": 1.0, "clip_plans": True},
        {"std": 0.7, "std_min": 0.02, "smoothing": 0.3, "noise_exponent": 1.0},
    ),
    "tsallis": (planners.tsallis, {"num_samples": 64, "num_iterations": 3}, {"r": 1.5, "elite_fraction": 0.2}),
    "dial": (
        planners.dial,
        {"num_samples": 64, "num_iterations": 3, "num_knots": 4, "interpolation": "zero"},
        {"std": 0.7, "temperature": 0.2, "iteration_factor": 0.7, "horizon_factor": 0.8},
    ),
    "pi2": (
        planners.pi2,
        {"num_samples": 64, "num_iterations": 3, "learn_std": True},
        {"std": 0.7, "temperature": 0.2, "std_min": 0.01},
    ),
    "evolution": (planners.evolution, {"num_samples": 64, "num_iterations": 3}, {"std": 0.7}),
    "vi_mpc": (planners.vi_mpc, {"num_samples": 64, "num_iterations": 3}, {"std": 0.7, "prior_std": 0.8}),
    "vi_mpc, full, knots": (
        planners.vi_mpc,
        {"num_samples": 64, "num_iterations": 3, "covariance": "full", "temperature": 0.5, "max_kl": 0.5}
        | {"num_knots": 3, "interpolation": "linear", "inflation": 1.2},
        {"temperature": 1.0, "max_kl": 0.3},
    ),
    "vi_mpc, kronecker": (
        planners.vi_mpc,
        {"num_samples": 64, "num_iterations": 3, "covariance": "kronecker", "temperature": 0.5, "step_size": 0.5},
        {"temperature": 1.0, "step_size": 0.3},
    ),
    "vi_mpc, mixture": (
        planners.vi_mpc,
        {"num_samples": 64, "num_iterations": 3, "num_components": 3, "temperature": 0.5, "execute": "component"}
        | {"target_ess": 0.2},
        {"temperature": 1.0, "target_ess": 0.3},
    ),
    "vi_mpc, categorical": (
        planners.vi_mpc,
        {"num_samples": 64, "num_iterations": 3, "temperature": 0.5, "step_size": 0.5},
        {"temperature": 1.0},
    ),
    "vi_mpc, enumeration": (
        planners.vi_mpc,
        {"num_iterations": 2, "enumerate_plans": True, "temperature": 0.5, "step_size": 0.5},
        {"temperature": 1.0},
    ),
    "smc": (planners.smc, {"num_samples": 64, "num_iterations": 3}, {"std": 0.7, "max_kl": 3.0}),
    "smc, tempering": (
        planners.smc,
        {"num_samples": 64, "num_iterations": 3, "temperature": 0.5, "target_ess": 0.5, "prior_std": 1.0}
        | {"covariance": "full", "noise_exponent": 1.0, "resampling": "residual"},
        {"temperature": 1.0, "target_ess": 0.3, "prior_std": 2.0, "ess_threshold": 0.8},
    ),
    "smc, policy": (
        planners.smc,
        {"num_samples": 64, "temperature": 0.1, "proposal": Steady(jnp.array(0.4), jnp.array(0.3)), "value": "model"},
        {"temperature": 0.2, "proposal": Steady(jnp.array(0.3), jnp.array(0.4))},
    ),
    "okada": (
        planners.okada,
        {"num_samples": 64, "num_iterations": 3, "temperature": 0.5, "prior": "flat", "explore_fraction": 0.2},
        {"temperature": 1.0, "lam": 2.0, "kappa": 0.25},
    ),
    "paets": (
        planners.paets,
        {"num_samples": 64, "num_iterations": 3, "num_components": 2},
        {"kappa": 0.25, "std": 0.7},
    ),
}
# those that go through the model by its derivatives
DIFFERENTIATING = {
    "gradient": (
        planners.gradient,
        {"num_samples": 4, "num_iterations": 10},
        {"learning_rate": 0.05, "std": 0.3, "max_norm": 2.0},
    ),
    "gradient, squashed, prior": (
        planners.gradient,
        {"num_samples": 4, "num_iterations": 10, "bounds": "squash", "temperature": 0.1, "optimizer": "rmsprop"}
        | {"prior": planners.beliefs.gaussian(std=2.0)},
        {"temperature": 0.2, "prior": planners.beliefs.gaussian(std=1.0)},
    ),
    "elbo_gradient": (
        planners.elbo_gradient,
        {"num_samples": 8, "num_iterations": 10, "temperature": 0.1},
        {"temperature": 0.2, "std": 0.3},
    ),
    "elbo_gradient, full": (
        planners.elbo_gradient,
        {"num_samples": 8, "num_iterations": 10, "temperature": 0.1, "covariance": "full", "stick": False}
        | {"prior": planners.beliefs.gaussian(std=2.0), "execute": "sample"},
        {"temperature": 0.2, "learning_rate": 0.1},
    ),
    "stein": (
        planners.stein,
        {"num_samples": 8, "num_iterations": 10, "temperature": 0.1},
        {"temperature": 0.2, "std": 0.3, "prior_std": 0.7},
    ),
    "stein, score, steps": (
        planners.stein,
        {"num_samples": 8, "num_iterations": 10, "temperature": 0.1, "gradient": "score", "kernel": "steps"}
        | {"bandwidth": 0.5, "prior": planners.beliefs.gaussian(std=2.0), "execute": "mean"},
        {"temperature": 0.2, "perturbation": 0.2, "bandwidth": 0.3},
    ),
    "ilqr": (planners.ilqr, {"num_iterations": 5}, {"initial_plan": 0.1, "regularization": 0.1, "tolerance": 1e-3}),
    "ilqr, maximum entropy": (
        planners.ilqr,
        {"num_iterations": 5, "temperature": 0.1, "prior": planners.beliefs.gaussian(std=2.0)}
        | {"limits": None, "second_order": True, "execute": "sample"},
        {"temperature": 0.2, "prior": planners.beliefs.gaussian(std=1.0)},
    ),
    "iterative_policy": (
        planners.iterative_policy,
        {"num_samples": 16, "num_iterations": 10, "temperature": 0.1},
        {"temperature": 0.2, "std": 0.3, "learning_rate": 0.01},
    ),
    "iterative_policy, pathwise": (
        planners.iterative_policy,
        {"num_samples": 16, "num_iterations": 10, "gradient": "pathwise", "max_kl": 2.0, "hidden": (8,)}
        | {"execute": "sample", "temperature": 0.1},
        {"temperature": 0.2, "max_kl": 3.0},
    ),
}
ALL = PLANNERS | DIFFERENTIATING
CHOICES = {"vi_mpc, categorical": LEVELS, "vi_mpc, enumeration": LEVELS[:2]}  # whose actions are discrete
every = pytest.mark.parametrize("name", PLANNERS)
really_every = pytest.mark.parametrize("name", ALL)
ARRAYS = ("returns", "weights", "lineage")
infer = jax.jit(planners.infer)
plan = jax.jit(planners.plan)


def make(name, **changes):
    factory, options, _ = ALL[name]
    return factory(HORIZON, **(options | changes))


def suited(name, model):
    """The model, with choices of actions for those who choose."""
    return dynamics.discretized(model, CHOICES[name]) if name in CHOICES else model


def number_of_plans(name, planner):
    """How many plans an iteration evaluates."""
    return len(CHOICES[name]) ** HORIZON if name == "vi_mpc, enumeration" else planner.num_samples


def paying(reward):
    """Every step pays `reward`, which is traced: one program for all rewards."""
    return dynamics.from_function(jax.tree_util.Partial(_pay, jnp.asarray(reward, float)), ACTIONS)


def _pay(reward, key, state, action):
    return state, reward, 1.0


def first_plans(planner, model, key):
    """The plans [K, H, A] that `infer` draws first: the one test that knows how the loop splits its key."""
    first_key = jax.random.split(key, (planner.num_iterations, 2))[0, 0]
    return planner.init(model, START).sample(first_key, planner.num_samples)


def family_of(belief):
    """What planners that sample believe besides the best plan that they know."""
    return belief.belief if isinstance(belief, planners.sampling.Incumbent) else belief


def assert_close(left, right, **tolerance):
    def numbers(leaf):
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    jax.tree.map(lambda x, y: np.testing.assert_allclose(numbers(x), numbers(y), **tolerance), left, right)


def test_every_planner_is_in_the_table():
    assert {factory for factory, _, _ in ALL.values()} == {*planners.PLANNERS, planners.okada}


@really_every
def test_it_is_a_planner(name):
    assert isinstance(make(name), planners.Planner)


@every
def test_it_is_made_of_components(name):
    planner = make(name)
    evaluator = planner.evaluator
    assert isinstance(planner.family, planners.beliefs.Family)
    assert isinstance(planner.init(suited(name, TARGET), START).belief, planners.beliefs.Belief)
    assert isinstance(evaluator, planners.sampling.Evaluator)
    kind = planners.particles.Tempering if name.startswith("smc") else planners.likelihoods.Likelihood
    assert isinstance(evaluator.likelihood, kind)
    assert evaluator.prior is None or isinstance(evaluator.prior, planners.priors.Prior)


# but for those of thousands of operations
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith(("ilqr", "iterative_policy"))])
def test_jit_is_no_jit(name):
    planner = dataclasses.replace(make(name), num_iterations=1)  # one by one, operations are slow
    model = suited(name, TARGET)
    belief = planner.init(model, START)
    with jax.disable_jit():
        assert_close(planner.init(model, START), belief)
        slow = planners.plan(planner, model, KEY, START, belief)
    assert_close(plan(planner, model, KEY, START, belief), slow, rtol=2e-4, atol=2e-5)


@really_every
def test_it_improves_and_keeps_the_structure(name):
    planner, model = make(name, keep=("returns", "weights")), suited(name, TARGET)
    start = planner.init(model, START)
    belief, info = infer(planner, model, KEY, START, start)
    tried = [info.returns]
    assert jax.tree.structure(belief) == jax.tree.structure(start)
    assert [leaf.aval for leaf in jax.tree.leaves(belief)] == [leaf.aval for leaf in jax.tree.leaves(start)]
    for key in (*jax.random.split(KEY, 4), KEY):
        belief, info = infer(planner, model, key, START, belief)
        tried.append(info.returns)
    returns = planners.rollout(model, KEY, START, jnp.stack([start.mode(), belief.mode()]))
    assert returns[1] > returns[0]
    iterations = planner.num_iterations
    assert all(leaf.shape[:1] == (iterations,) for leaf in jax.tree.leaves(info))
    if name in DIFFERENTIATING:
        assert info.returns.ndim == 2
        return
    assert info.returns.shape == info.weights.shape == (iterations, number_of_plans(name, planner))
    np.testing.assert_allclose(info.weights.sum(-1), 1.0, rtol=1e-4)
    # the best plan of all iterations of all calls
    best = np.maximum.accumulate(np.concatenate(tried).max(-1))
    np.testing.assert_array_equal(info.best_return, best[-iterations:])
    np.testing.assert_allclose(planners.rollout(model, KEY, START, belief.best()[None]), best[-1:], atol=1e-5)
    # where execution is its own, it is executed
    chosen = make(name, execute="best")
    assert chosen.init(model, START).executes
    eager = dataclasses.replace(belief, executes=True)
    np.testing.assert_array_equal(eager.mode(), belief.best())
    np.testing.assert_array_equal(chosen.act(KEY, eager), belief.best()[0])


@really_every
def test_one_program_serves_all_traced_values_and_beliefs_may_be_donated(name):
    """What `init`, `shift` and `plan` give is nobody else's memory: neither the planner's, nor twice the same."""
    value = jax.tree_util.Partial(lambda b, s: b, jnp.ones(()))

    def valued(point_mass):
        return suited(name, dynamics.with_value(point_mass, value))

    planner, model = make(name), valued(dynamics.point_mass())
    with compiling.counted() as count:
        jitted = count.watched(jax.jit(planners.plan, donate_argnums=4))
        _, belief, _ = jitted(planner, model, KEY, model.init(KEY), planner.init(model, model.init(KEY)))
        for change, number in ALL[name][2].items():
            other = make(name, **{change: number})
            _, belief, _ = jitted(other, model, jax.random.key(1), model.init(jax.random.key(2)), belief)
        heavy = valued(dynamics.point_mass(mass=2.0, goal=(1.0, 1.0)))
        _, belief, _ = jitted(planner, heavy, KEY, model.init(KEY), belief)
        jitted(planner, heavy, KEY, model.init(KEY), planner.shift(belief))
        shifted = [planner.shift(planner.init(model, model.init(KEY))) for _ in range(2)]
        once, twice = (jitted(planner, heavy, KEY, model.init(KEY), belief)[1] for belief in shifted)
        assert_close(once, twice)
    assert count.traces["plan"] == 1, count


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if "," not in name or name.startswith(("vi_mpc", "smc"))])
def test_vmap_is_a_loop_over_planners_models_states_and_keys(name):
    change, value = next(iter(ALL[name][2].items()))
    several = [make(name), make(name, **{change: value})]
    models = [suited(name, dynamics.point_mass(mass=mass)) for mass in (1.0, 3.0)]
    keys = jax.random.split(KEY, 2)
    states = [model.init(key) for model, key in zip(models, keys, strict=True)]

    def stack(trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    beliefs = [planner.init(*given) for planner, *given in zip(several, models, states, strict=True)]
    arguments = stack(several), stack(models), keys, jnp.stack(states)
    at_once = jax.vmap(lambda planner, model, key, state: planner.init(model, state))(*arguments)
    assert_close(at_once, stack(beliefs))
    batch = jax.jit(jax.vmap(planners.plan))(*arguments, at_once)
    loop = stack([plan(*one) for one in zip(several, models, keys, states, beliefs, strict=True)])
    assert_close(batch, loop, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ALL if "," not in name])
def test_episodes_run_under_vmap(name):
    planner, model = make(name), dynamics.point_mass()
    play = jax.jit(jax.vmap(lambda key: planners.episode(planner, model, model, key, 6)))
    episode = play(jax.random.split(KEY, 8))
    assert episode.states.shape == (8, 6, 4)
    assert episode.actions.shape == (8, 6, 2)
    assert episode.rewards.shape == episode.discounts.shape == (8, 6)
    assert episode.infos.num_invalid.shape == (8, 6, planner.num_iterations)
    assert jnp.isfinite(episode.rewards).all()
    assert len(jnp.unique(episode.rewards[:, -1])) == 8


@really_every
def test_divergence_is_contained_and_counted(name):
    def step(key, state, action):
        reward = -jnp.sum((action - 0.5) ** 2)
        bad = jnp.array([jnp.nan, jnp.inf, -jnp.inf])[(jnp.abs(action[0] * 997) % 3).astype(int)]
        return state, jnp.where(action[1] > 0.6, bad, reward), 1.0

    planner, model = make(name, keep=ARRAYS), suited(name, dynamics.from_function(step, ACTIONS))
    belief, info = infer(planner, model, KEY, START, None)
    assert info.num_invalid[0] > 0  # later iterations may have learnt to avoid it
    assert not (info.degenerate.all() if name in DIFFERENTIATING else info.degenerate.any())
    if name in DIFFERENTIATING:
        assert not any(jnp.isnan(leaf).any() for leaf in jax.tree.leaves(belief))
        assert jnp.isfinite(planners.rollout(model, KEY, START, belief.mode()[None])).all()
        return
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((belief.belief, belief.best())))
    best = planners.rollout(model, KEY, START, belief.best()[None])[0]
    np.testing.assert_allclose(best, info.best_return[-1], rtol=1e-4)
    returns = np.where(np.isfinite(info.returns), info.returns, -np.inf)
    np.testing.assert_array_equal(np.maximum.accumulate(returns.max(-1)), info.best_return)
    if info.lineage is None:
        np.testing.assert_array_equal(info.num_invalid, (~jnp.isfinite(info.returns)).sum(-1))
    assert (jnp.where(jnp.isfinite(info.returns), 0.0, info.weights) == 0).all()
    assert info.kl is None or jnp.isfinite(info.kl).all()
    assert jnp.isfinite(info.ess).all()


@really_every
@pytest.mark.parametrize("reward", [jnp.nan, jnp.inf, -jnp.inf])
def test_if_all_diverge_the_belief_stays(name, reward):
    planner, model = make(name, keep=("weights", "lineage")), suited(name, paying(reward))
    before = planner.init(model, START)
    belief, info = infer(planner, model, KEY, START, before)
    assert_close(family_of(belief), family_of(before), rtol=0.0)
    assert_close(belief.mode(), before.mode(), rtol=0.0)
    assert info.degenerate.all()
    if name in DIFFERENTIATING:
        assert (info.num_invalid > 0).all()
        return
    np.testing.assert_array_equal(info.num_invalid, number_of_plans(name, planner))
    np.testing.assert_array_equal(info.best_return, -jnp.inf)
    np.testing.assert_array_equal(belief.best(), before.best())
    assert not any(jnp.isnan(leaf).any() for leaf in jax.tree.leaves(info))
    np.testing.assert_allclose(info.posterior_kl, 0.0, atol=1e-5)
    if info.elbo_gap is not None:
        np.testing.assert_array_equal(info.elbo_gap, 0.0)


@every
def test_equal_returns_teach_nothing(name):
    planner, model = make(name), suited(name, paying(1.0))
    before = planner.init(model, START)
    belief, info = infer(planner, model, KEY, START, before)
    if planner.evaluator.prior is None:
        assert_close(*(getattr(one, "proposal", one) for one in (belief.belief, before.belief)))
        assert info.degenerate.all()
    else:
        assert not info.degenerate.any()  # under a prior the weights know more than the returns
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(belief.belief))
    np.testing.assert_allclose(info.best_return, HORIZON)


def walls(key, state, action):
    """TARGET where no action exceeds 0.6 in its second coordinate; beyond that the return is NaN."""
    return state, jnp.where(action[1] > 0.6, jnp.nan, -jnp.sum((action - 0.5) ** 2)), 1.0


WALLS = dynamics.from_function(walls, ACTIONS)


OF_PLANS = [name for name in PLANNERS if not name.startswith("smc")]  # see test_smc.py


@pytest.mark.parametrize(
    ("name", "model"),
    [*((name, TARGET) for name in OF_PLANS), *((name, WALLS) for name in OF_PLANS if "," not in name)],
    ids=[*OF_PLANS, *(f"{name}, some invalid" for name in OF_PLANS if "," not in name)],
)
def test_diagnostics_are_their_definitions(name, model):
    """Every field of one iteration, recomputed from returns, weights and beliefs in double precision."""
    planner = dataclasses.replace(make(name, keep=("returns", "weights")), num_iterations=1)
    model, evaluator = suited(name, model), planner.evaluator
    before = planner.init(model, START)
    prior = evaluator.prior if before.initial.prior is None else before.initial.prior
    after, info = infer(planner, model, KEY, START, before)
    returns, weights = np.asarray(info.returns[0], float), np.asarray(info.weights[0], float)
    valid, samples = np.isfinite(returns), len(returns)
    assert info.num_invalid[0] == samples - valid.sum()
    assert (weights[~valid] == 0).all()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(info.ess[0], 1 / (weights**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(info.max_weight[0], weights.max(), rtol=1e-6)
    positive = weights[weights > 0]
    entropy = -(positive * np.log(positive)).sum()
    np.testing.assert_allclose(info.perplexity[0], np.exp(entropy), rtol=1e-4)
    if evaluator.explore_fraction == 0:
        assert info.evidence_ess[0] / samples <= np.exp(-info.posterior_kl[0]) * 1.001  # Rényi-2 ≥ KL
    if info.entropy is None:
        assert info.kl is after.kl(before) is after.entropy() is None
    else:
        np.testing.assert_allclose(info.entropy[0], after.entropy(), rtol=1e-5)
        np.testing.assert_allclose(info.kl[0], after.kl(before), rtol=1e-4, atol=1e-5)
    assert not info.degenerate[0]
    proposal = evaluator._propose(model, jax.random.split(KEY, (1, 2))[0], START, before, samples)[0]
    drawn = np.ones(samples, bool) if proposal.drawn is None else np.asarray(proposal.drawn)
    assert drawn.sum() == samples - evaluator.include_mode - (prior is None) * round(
        evaluator.explore_fraction * samples
    )
    if isinstance(evaluator.likelihood, planners.likelihoods.Elite | planners.likelihoods.Best):
        elites = ((weights > 0) & drawn).sum()
        assert (info.elbo[0] == -np.inf) == (elites < (valid & drawn).sum())
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(info.log_evidence[0], np.log(elites / drawn.sum()), rtol=1e-5)
        np.testing.assert_allclose(info.evidence_ess[0], elites, rtol=1e-5)
        np.testing.assert_allclose(info.posterior_kl[0], -info.log_evidence[0], rtol=1e-5)
        np.testing.assert_allclose(info.elbo_gap[0], np.inf if np.isinf(info.elbo[0]) else 0.0, atol=1e-6)
        return
    told = evaluator.likelihood(
        jnp.where(valid, info.returns[0], -jnp.inf)
    )  # whose closed forms have tests of their own
    log_utility = np.asarray(told.log_weights, float) + float(told.log_scale)
    own_base, ratio = proposal.log_correction, log_utility
    log_base = np.where(drawn, 0.0 if own_base is None else np.asarray(own_base, float), -np.inf)
    fit_base = np.zeros(samples) if prior is None else log_base  # without a prior, no sample need weigh more
    if prior is not None:
        plans, by = proposal.plans, proposal.belief
        assert_close(after.mode(), by.fit(plans, info.weights[0]).mode(), atol=1e-5)  # these are the plans
        ratio = log_utility + np.asarray(prior.log_ratio(plans, by), float)
    ratio = np.where(valid, ratio, -np.inf)
    if evaluator.step_size is None:
        assert info.step_size is None
        size = 1.0
    else:
        size = float(info.step_size[0])
        base = None if drawn.all() and own_base is None else jnp.asarray(fit_base, jnp.float32)
        knots = innermost(before.belief).mode().size
        told_size = evaluator.step_size(jnp.asarray(ratio, jnp.float32), base, knots)
        np.testing.assert_allclose(size, told_size, rtol=1e-2)

    def normalized(logarithms):
        weights = np.exp(logarithms - logarithms.max())
        return weights / weights.sum()

    if not evaluator.per_step:
        np.testing.assert_allclose(weights, normalized(size * ratio + fit_base), rtol=5e-3, atol=1e-6)
    posterior, base = normalized(ratio + log_base), normalized(log_base)
    known = posterior > 0
    np.testing.assert_allclose(info.evidence_ess[0], 1 / (posterior**2).sum(), rtol=5e-3)
    divergence = (posterior[known] * np.log(posterior[known] / base[known])).sum()
    np.testing.assert_allclose(info.posterior_kl[0], divergence, rtol=1e-3, atol=2e-4)
    log_evidence = np.log(np.exp(ratio + log_base - ratio.max()).sum() / drawn.sum()) + ratio.max()
    np.testing.assert_allclose(info.log_evidence[0], log_evidence, rtol=1e-4, atol=1e-3)
    counted = valid & drawn
    share = base[counted].sum()
    elbo = (base[counted] * ratio[counted]).sum() / share + np.log(share)
    np.testing.assert_allclose(info.elbo[0], elbo, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(info.elbo_gap[0], log_evidence - elbo, rtol=1e-3, atol=2e-3)
    assert evaluator.explore_fraction or info.elbo_gap[0] >= 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 0.7}, lambda returns: 0.7),
        ({"temperature": 0.7, "standardize": True}, lambda returns: 0.7 * better_spread(returns)),
    ],
)
def test_the_temperature_that_is_told_is_the_one_that_was_asked_for(options, expected):
    planner = planners.mppi(HORIZON, num_samples=64, keep="returns", **options)
    _, info = infer(planner, TARGET, KEY, START, None)
    np.testing.assert_allclose(info.temperature[0], expected(np.asarray(info.returns[0], float)), rtol=1e-4)


@pytest.mark.parametrize("name", ["random_shooting", "predictive_sampling", "mppi", "mppi, temperature"])
def test_a_lone_survivor_is_followed(name):
    """All plans but one diverge: the belief must not stay where plans diverge."""

    def step(key, state, action):
        return state, jnp.where(action[0] > 0.75, 1.0, jnp.nan), 1.0

    planner = dataclasses.replace(make(name, std=0.4, num_samples=32), horizon=1, num_iterations=1)
    model = dynamics.from_function(step, 1)
    key = next(key for key in jax.random.split(KEY, 100) if (first_plans(planner, model, key) > 0.75).sum() == 1)
    belief, info = infer(planner, model, key, START, None)
    assert info.num_invalid[0] == 31
    assert not info.degenerate[0]
    assert belief.mean[0, 0] > 0.75


@pytest.mark.parametrize("name", ["mppi", "mppi, temperature", "cem"])
def test_one_terrible_plan_does_not_spoil_the_others(name):
    """A return of −10¹² is finite; it must count for nothing, and not set the scale for the rest."""

    def step(key, state, action):
        return state, jnp.where(action[1] > 0.9, -1e12, -jnp.sum((action - 0.5) ** 2)), 1.0

    planner = make(name, num_samples=256, keep="returns")
    model = dynamics.from_function(step, ACTIONS)
    start = planner.init(model, START)
    belief, first = infer(planner, model, KEY, START, start)
    for _ in range(5):
        belief, _ = infer(planner, model, KEY, START, belief)
    assert (first.returns < -1e11).any()
    assert jnp.abs(belief.mean - 0.5).max() < 0.4 * jnp.abs(start.mean - 0.5).max() + 0.1


def test_no_likelihood_can_give_weight_to_a_plan_that_diverged():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Careless:
        def __call__(self, returns):
            return planners.likelihoods.Optimality(jnp.zeros(len(returns)), jnp.zeros(()), None)

    planner = planners.sampling_planner(1, planners.beliefs.gaussian(), Careless(), num_samples=64, keep=ARRAYS)
    _, info = infer(planner, WALLS, KEY, START, None)
    assert info.num_invalid[0] > 0
    assert (jnp.where(jnp.isfinite(info.returns), 0.0, info.weights) == 0).all()


def test_a_prior_that_fails_for_a_plan_excludes_that_plan():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Box:
        bad: jax.Array

        def log_prob(self, plans):
            return jnp.where((jnp.abs(plans) < 1.0).all((-2, -1)), 0.0, self.bad)

    for bad, counted in ((jnp.nan, True), (jnp.inf, True), (-jnp.inf, False)):
        planner = planners.mppi(
            1, num_samples=64, std=0.8, temperature=1.0, prior=Box(jnp.array(bad)), keep="weights"
        )
        belief, info = infer(planner, TARGET, KEY, START, None)
        plans = first_plans(planner, TARGET, KEY)
        outside = (jnp.abs(plans) >= 1.0).any((-2, -1))
        assert outside.any()
        assert (jnp.where(outside, info.weights[0], 0.0) == 0).all()
        assert info.num_invalid[0] == (outside.sum() if counted else 0)
        assert jnp.isfinite(belief.mean).all()


def test_gradients_pass_through_an_inference_with_invalid_plans():
    def mean(temperature):
        planner = planners.mppi(1, num_samples=64, temperature=temperature)
        return planners.infer(planner, WALLS, KEY, START, None)[0].mean.sum()

    slope = jax.jit(jax.grad(mean))(0.5)
    difference = (mean(0.51) - mean(0.49)) / 0.02
    np.testing.assert_allclose(slope, difference, rtol=2e-2)


def test_flags_that_find_bugs_find_none():
    model = dynamics.point_mass()
    with jax.debug_nans(True), jax.debug_key_reuse(True):
        for name in ("cem", "mppi", "mppi, cross term", "predictive_sampling"):
            key = jax.random.key(3)  # of its own: a key that is used up cannot be given again
            episode = jax.jit(planners.episode, static_argnames="num_steps")(make(name), model, model, key, 3)
            assert jnp.isfinite(episode.rewards).all()


@every
def test_a_cold_start_forgets(name):
    warm, cold = make(name, warm_start=True), make(name, warm_start=False, inflation=None)
    model = suited(name, TARGET)
    start = warm.init(model, START)
    belief, _ = infer(warm, model, KEY, START, start)
    moved = warm.shift(belief)
    np.testing.assert_allclose(moved.best()[:-1], belief.best()[1:], atol=1e-6)
    assert moved.best_return == -jnp.inf  # which nobody knows in the next state
    assert_close(cold.shift(moved), start)
    assert not np.allclose(moved.mode(), start.mode())


def test_the_action_is_the_first_of_the_plan():
    planner = make("cem")
    infer_key, _ = jax.random.split(KEY)
    belief, _ = infer(planner, TARGET, infer_key, START, None)
    action, shifted, _ = plan(planner, TARGET, KEY, START, planner.init(TARGET, START))
    np.testing.assert_allclose(action, belief.mode()[0], rtol=1e-5)
    np.testing.assert_allclose(shifted.mean[:-1], belief.mean[1:], rtol=1e-5)


def test_predictive_sampling_never_gets_worse():
    planner = make("predictive_sampling", num_iterations=12, keep="returns")
    _, info = infer(planner, TARGET, KEY, START, None)
    best = info.returns.max(-1)
    assert (jnp.diff(best) >= 0).all()
    np.testing.assert_allclose(info.returns[1:, 0], best[:-1], rtol=1e-5)  # the plan itself is among its variations


def test_random_shooting_returns_the_best_plan():
    planner = make("random_shooting", keep="returns")
    belief, info = infer(planner, TARGET, KEY, START, None)
    value = planners.rollout(TARGET, KEY, START, belief.mode()[None])[0]
    np.testing.assert_allclose(value, info.returns.max(), rtol=1e-5)


def test_a_planner_and_a_prior_of_ones_own():
    """Any components compose: an Elite likelihood on a fixed std, a prior that is the user's class."""

    @jax.tree_util.register_pytree_node_class
    class Laplace:
        def __init__(self, scale):
            self.scale = scale

        def log_prob(self, plans):
            return -(jnp.abs(plans) / self.scale).sum((-2, -1))

        def tree_flatten(self):
            return (self.scale,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    planner = planners.mppi(1, num_samples=20_000, std=1.0, temperature=1.0, prior=Laplace(0.5))
    model = paying(0.0)
    moved = planner.init(model, START).map_centers(lambda _: jnp.full((1, ACTIONS), 0.4))
    belief, _ = infer(planner, model, KEY, START, moved)
    np.testing.assert_allclose(belief.mean, 0.0, atol=0.03)  # the prior's mean; standard error 0.007
    custom = planners.sampling_planner(
        3,
        planners.beliefs.gaussian(learn_std=False),
        planners.likelihoods.elite(0.05),
        num_samples=512,
        num_iterations=8,
    )
    belief, _ = infer(custom, TARGET, KEY, START, None)
    np.testing.assert_allclose(belief.mean, 0.5, atol=0.25)


@pytree
class Box:
    """A family of one's own that has no more than a family needs, and a word of its own: plans of equal actions."""

    middle: jax.Array
    width: jax.Array

    def sample(self, key, num_samples):
        spread = jax.random.uniform(key, (num_samples, 1, 1), minval=-1.0)
        return jnp.broadcast_to(self.middle + self.width * spread, (num_samples, HORIZON, ACTIONS))

    def log_prob(self, plans):
        return jnp.full(len(plans), -jnp.log(2.0 * self.width))

    def fit(self, plans, weights):
        return dataclasses.replace(self, middle=jnp.einsum("k,kha->", weights, plans) / (HORIZON * ACTIONS))

    def mode(self):
        return jnp.full((HORIZON, ACTIONS), self.middle)

    def shift(self, initial, how):
        return self

    def entropy(self):
        return jnp.log(2.0 * self.width)

    def kl(self, other):
        return None

    def motto(self):
        return 2.0 * self.middle


def test_a_family_of_ones_own_tells_its_best_plan_too():
    own = Box(jnp.array(-1.0), jnp.array(0.5))
    planner = planners.sampling_planner(
        HORIZON,
        own,
        planners.likelihoods.elite(0.1),
        num_samples=32,
        num_iterations=4,
        execute="best",
        keep="returns",
    )
    belief, info = infer(planner, TARGET, KEY, START, own)  # the family alone will do
    assert isinstance(belief, planners.beliefs.Belief)
    assert isinstance(belief.belief, Box)
    np.testing.assert_allclose(belief.motto(), 2.0 * belief.middle)
    with pytest.raises(AttributeError, match="no attribute 'std'"):
        _ = belief.std
    np.testing.assert_array_equal(info.best_return, np.maximum.accumulate(info.returns.max(-1)))
    np.testing.assert_allclose(planners.rollout(TARGET, KEY, START, belief.best()[None])[0], info.best_return[-1])
    again = copy.deepcopy(belief)
    assert_close(again, belief)
    first, later, _ = plan(planner, TARGET, KEY, START, belief)
    assert (jnp.abs(first - 0.5) <= jnp.abs(belief.best()[0] - 0.5) + 1e-6).all()  # it is there to be beaten
    assert_close(planner.act(KEY, planner.init(TARGET, START)), own.mode()[0])
    assert later.best_return == -jnp.inf


def test_the_model_may_differ_from_the_environment():
    heavy, light = dynamics.point_mass(mass=2.0), dynamics.point_mass()
    labelled = dynamics.from_function(
        lambda key, state, action: (
            {"x": (s := heavy.step(key, state["x"], action)).state},
            s.reward,
            s.discount,
        ),
        2,
        init=lambda key: {"x": heavy.init(key)},
    )
    episode = jax.jit(
        lambda key: planners.episode(make("cem"), light, labelled, key, 4, observe=lambda state: state["x"])
    )(KEY)
    assert episode.states["x"].shape == (4, 4)
    assert jnp.isfinite(episode.rewards).all()


class Unregistered:
    def log_prob(self, plans):
        return jnp.zeros(len(plans))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Flat:
    def log_prob(self, plans):
        return jnp.zeros((len(plans), 1))


def weighing(likelihood):
    """An inference with a likelihood that breaks the rules."""
    planner = planners.sampling_planner(1, planners.beliefs.gaussian(), likelihood, num_samples=64)
    planners.infer(planner, TARGET, KEY, START)


@pytest.mark.parametrize(
    "factory", [planners.cem, planners.mppi, planners.random_shooting, planners.predictive_sampling]
)
def test_an_unknown_option_is_refused_by_the_factorys_name(factory):
    with pytest.raises(TypeError, match=rf"{factory.__name__}\(\) got an unexpected keyword argument 'num_sample'"):
        factory(3, num_sample=3)
    with pytest.raises(TypeError, match="unexpected keyword"):
        factory(3, **({"prior": None} if factory is not planners.mppi else {"prio": None}))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: planners.cem(0), "horizon must be an integer of at least 1, got 0"),
        (lambda: planners.cem(3, num_samples=1), "num_samples must be an integer of at least 2, got 1"),
        (
            lambda: planners.cem(3, num_iterations=0),
            "num_iterations must be an integer of at least 1, got 0",
        ),
        (
            lambda: planners.cem(3, num_samples=10, num_elites=11),
            r"num_elites must be <= num_samples \(10\), got 11",
        ),
        (lambda: planners.cem(3, num_elites=1), "num_elites must be an integer of at least 2, got 1"),
        (
            lambda: planners.mppi(3, rollout_chunk_size=0),
            "rollout_chunk_size must be an integer of at least 1, got 0",
        ),
        (lambda: planners.mppi(3, temperature=0.0), r"temperature must be finite and > 0, got 0\.0"),
        (
            lambda: planners.mppi(3, cross_term=2.0),
            r"cross_term must be finite and >= 0 and <= 1, got 2\.0",
        ),
        (lambda: planners.mppi(3, prior=3), "prior must have log_prob, got 3"),
        (
            lambda: planners.mppi(1, prior=planners.beliefs.Gaussian),
            "prior must be an instance, got the class Gaussian",
        ),
        (
            lambda: unchecked(planners.sampling_planner)(3, "Gaussian", planners.likelihoods.Best(), num_samples=3),
            r"belief must be a family .*, or a belief that has sample, log_prob, fit, mode, shift, entropy, kl, "
            "got 'Gaussian'",
        ),
        (
            lambda: unchecked(planners.sampling_planner)(
                1, planners.beliefs.gaussian(), planners.likelihoods.Elite, num_samples=3
            ),
            "likelihood must be an instance, got the class Elite",
        ),
        (
            lambda: unchecked(planners.sampling_planner)(1, planners.beliefs.gaussian(), jnp.exp, num_samples=3),
            "likelihood must be a pytree",
        ),
        (
            lambda: weighing(jax.tree_util.Partial(lambda returns: returns)),
            "likelihood must return planners.likelihoods.Optimality, got ",
        ),
        (
            lambda: weighing(
                jax.tree_util.Partial(lambda returns: planners.likelihoods.Best()(returns)._replace(log_weights=0.0))
            ),
            r"log_weights of the likelihood must have shape \(64,\), one entry per plan, got \(\)",
        ),
        (
            lambda: planners.infer(make("mppi", prior=Flat()), TARGET, KEY, START),
            r"log_prob of the prior must have shape \(64,\), one entry per plan, got \(64, 1\)",
        ),
        (
            lambda: unchecked(planners.infer)(TARGET, make("cem"), KEY, START),
            "planner must be a planner, got FunctionModel",
        ),
        (lambda: unchecked(planners.infer)(make("cem"), None, KEY, START), "model must be a model, got NoneType"),
        (lambda: planners.mppi(3, prior=Unregistered()), "prior must be a pytree: register Unregistered with JAX"),
        (lambda: planners.cem(3, num_elites=3, elite_fraction=0.1), "give one, got 3 and 0.1"),
        (
            lambda: planners.infer(make("cem"), TARGET, KEY, START, bound(planners.beliefs.gaussian(), 2, 2)),
            r"belief.mean must have shape \(5, 2\), got \(2, 2\)",
        ),
        (
            lambda: planners.infer(make("mppi"), TARGET, KEY, START, make("cem").init(TARGET, START).belief),
            r"belief\.smoothing must be None, got an array",
        ),
        (
            lambda: planners.infer(
                make("cem"), TARGET, KEY, START, make("vi_mpc, mixture").init(TARGET, START).belief
            ),
            "belief must be Gaussian, got Mixture",
        ),
        (
            lambda: unchecked(planners.rollout)(TARGET, KEY, START, jnp.zeros((3, 2))),
            r"plans must have shape \[K, H, 2\] with K >= 1, got \(3, 2\)",
        ),
        (
            lambda: planners.rollout(TARGET, KEY, START, jnp.zeros((3, 2, 2)), chunk_size=0),
            "chunk_size must be an int",
        ),
        (
            lambda: unchecked(planners.infer)(make("cem"), TARGET, jax.random.split(KEY, 3), START),
            r"key must be one key, .* \(of several take one, or vmap over them\), got key<fry>\[3\]",
        ),
        (
            lambda: unchecked(planners.plan)(make("cem"), TARGET, 0, START, make("cem").init(TARGET, START)),
            "key must be one key, .*, got 0",
        ),
        (lambda: planners.mppi(3, prior=planners.beliefs.gaussian(), cross_term=0.1), "got both"),
        # which would broadcast, and be another posterior
        (
            lambda: planners.vi_mpc(3, prior=bound(planners.beliefs.gaussian(), 1, 1)).init(TARGET, START),
            r"prior must be over plans of shape \(3, 2\), got \(1, 1\)",
        ),
        (
            lambda: planners.mppi(3, prior=bound(planners.beliefs.gaussian(), 3, 1)).init(TARGET, START),
            r"prior must be over plans of shape \(3, 2\), got \(3, 1\)",
        ),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def small(name, **changes):
    """As few plans, iterations and steps as it takes."""
    factory, options, _ = ALL[name]
    sizes = {"num_samples": 8, "num_iterations": 2, "num_knots": 2} if name != "ilqr" else {"num_iterations": 2}
    sizes = {key: value for key, value in sizes.items() if key in options}
    return factory(3, **(options | sizes | changes))


def takes(name, **changes):
    try:
        small(name, **changes).init(TARGET, START)
    except (TypeError, ValueError):
        return False
    return True


CROSSINGS = [
    {"num_scenarios": 2, "common_noise": False, "explore_fraction": 0.3},
    {"num_scenarios": 2, "common_noise": False},
    {"num_scenarios": 2},
    {},
]
CROSSED = {name: next(more for more in CROSSINGS if takes(name, **more)) for name in ALL if "," not in name}


def _shaky(key, state, action):
    return state + 0.1 * action * jax.random.normal(key, (ACTIONS,)), -jnp.sum((action - 0.5) ** 2 + state**2), 1.0


SHAKY = dynamics.from_function(_shaky, ACTIONS)


@pytest.mark.parametrize(
    ("name", "crossed"),
    [
        *CROSSED.items(),
        ("mppi", {"num_scenarios": 2}),
        ("mppi", {"refine": planners.gradient(3, num_samples=3, num_iterations=2)}),
        ("cem", {"refine": planners.ilqr(3, num_iterations=2), "common_noise": False}),
    ],
)
def test_no_key_is_used_twice(name, crossed):
    """JAX's own check; noise that is the same on purpose says so."""
    planner, state = small(name, **crossed), jnp.zeros(ACTIONS)
    with jax.debug_key_reuse(True):
        jax.jit(planners.plan)(planner, SHAKY, jax.random.key(7), state, planner.init(SHAKY, state))
