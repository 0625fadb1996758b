"""Options crossed at random: each alone is tested elsewhere, users cross them.

`MIRRAX_CROSSINGS=300 pytest tests/test_crossing.py` tries more of them than the suite does, and says how many pairs.
"""

import functools
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jaxtyping import Array
from problems import bound

from mirrax import dynamics, planners
from mirrax.dynamics.pytrees import pytree, static

KEY = jax.random.key(0)
HORIZON = 4
TEMPERATURE = 0.8
STD = 1.4
TRIED: dict[str, set] = {"posterior": set(), "control": set()}

crossed = settings(
    max_examples=int(os.environ.get("MIRRAX_CROSSINGS", "16")),
    derandomize="MIRRAX_CROSSINGS" not in os.environ,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # to make an example smaller takes minutes of compilation
    suppress_health_check=list(HealthCheck),
)


def count(kind, options):
    """Remember which pairs of options have met."""
    TRIED[kind] |= set(itertools.combinations(sorted((name, repr(value)) for name, value in options.items()), 2))


@pytest.fixture(scope="module", autouse=True)
def tell_pairs():
    yield
    for kind, pairs in TRIED.items():
        print(f"\n{kind}: {len(pairs)} pairs of options were tried together")


@functools.cache
def linear_quadratic():
    return dynamics.linear_quadratic(
        A=[[1.0, 0.1], [0.0, 1.0]], B=[[0.0], [0.1]], Q=[[1.0, 0.0], [0.0, 0.1]], R=[[0.1]], start=[1.0, 0.0]
    )


def exact(knots, prior):
    """Mean, covariance and log-evidence of the posterior over knots (or steps) under a Gaussian prior over them."""
    model = linear_quadratic()
    cost = model.plan_cost(model.start, HORIZON)
    expand = np.eye(HORIZON) if knots is None else np.asarray(knots.expand, float)
    hessian = expand.T @ np.asarray(cost.hessian, float) @ expand
    gradient = expand.T @ np.asarray(cost.gradient, float)
    inner = np.asarray(prior.covariance(), float)
    precision = np.linalg.inv(inner) + hessian / TEMPERATURE
    covariance = np.linalg.inv(precision)
    mean = -covariance @ gradient / TEMPERATURE
    log_dets = np.linalg.slogdet(precision)[1] + np.linalg.slogdet(inner)[1]
    log_evidence = 0.5 * mean @ precision @ mean - 0.5 * log_dets - float(cost.constant) / TEMPERATURE
    return expand @ mean, expand @ covariance @ expand.T, log_evidence


# what must not change a posterior, in a model without noise
AROUND = {
    "explore_fraction": st.sampled_from([0.0, 0.25]),
    "policy": st.booleans(),
    "include_mode": st.booleans(),
    "num_kept": st.sampled_from([0, 3]),
    "num_scenarios": st.sampled_from([None, 2]),
    "common_noise": st.booleans(),
    "risk": st.sampled_from(
        [None, "worst", planners.risk.conditional_value_at_risk(0.5), planners.risk.entropic(-1.0)]
    ),
    "execute": st.sampled_from(["mode", "best", "sample"]),
    "refine": st.sampled_from([None, "gradient", "ilqr"]),
    "inflation": st.sampled_from([None, 1.3]),
    "tail": st.sampled_from(["hold", "zero", "initial"]),
    "rollout_chunk_size": st.sampled_from([None, 300]),
}
POSTERIOR = AROUND | {
    "family": st.sampled_from(["diagonal", "full", "kronecker", "mixture"]),
    "step": st.sampled_from([("step_size", 1.0), ("step_size", 0.3), ("max_kl", 0.5), ("target_ess", 0.3)]),
    "knots": st.sampled_from([None, (2, "linear"), (3, "cubic"), (2, "zero")]),
    "noise_exponent": st.sampled_from([None, 1.0]),
    "prior": st.sampled_from(["own", "narrow", "coloured"]),
}


@pytree
class Steady:
    """A policy that does about the same in all states."""

    std: Array
    size: int = static()

    def sample(self, key, state):
        return 0.2 + self.std * jax.random.normal(key, (self.size,))

    def log_prob(self, state, action):
        return jax.scipy.stats.norm.logpdf(action, 0.2, self.std).sum()


def refiner(name):
    if name == "gradient":
        return planners.gradient(HORIZON, num_samples=2, num_iterations=4, bounds="none")
    return None if name is None else planners.ilqr(HORIZON, num_iterations=2, limits=None)


def with_scenarios(options):
    """A copy, in which a risk measure has scenarios to compare."""
    return options | ({} if options["risk"] is None else {"num_scenarios": 2})


@pytest.mark.slow
@crossed
@given(options=st.fixed_dictionaries(POSTERIOR))
def test_a_posterior_does_not_depend_on_how_it_is_inferred(options):
    options = with_scenarios(options)
    if options["execute"] == "sample":
        options["refine"] = None
    if options["family"] == "mixture":
        options["noise_exponent"] = None
    options["policy"] &= options["knots"] is None
    count("posterior", options)
    options["policy"] = Steady(jnp.array(0.5), 1) if options["policy"] else None
    family, knots = options.pop("family"), options.pop("knots")
    step, prior, refine = options.pop("step"), options.pop("prior"), options.pop("refine")
    color = options.pop("noise_exponent")
    num_knots, interpolation = (None, None) if knots is None else knots
    known = {"std": STD if prior == "own" else 1.0, "noise_exponent": 1.0 if prior == "coloured" else None}
    given_prior = planners.beliefs.splined(planners.beliefs.gaussian(**known), num_knots, interpolation)
    own = {"num_components": 2} if family == "mixture" else {"covariance": family}
    if family != "mixture":
        own["noise_exponent"] = color
    planner = planners.vi_mpc(
        HORIZON,
        temperature=TEMPERATURE,
        prior=given_prior,
        std=STD,
        std_min=0.01,
        num_samples=3000,
        num_iterations=14,
        num_knots=num_knots,
        interpolation=interpolation,
        refine=refiner(refine),
        keep="returns",
        **dict([step]),
        **own,
        **options,
    )
    model = linear_quadratic()
    belief, info = jax.jit(planners.infer)(planner, model, KEY, model.start)
    known_prior = bound(given_prior, HORIZON, 1)
    knots, inner = (None, known_prior) if num_knots is None else (known_prior, known_prior.knots)
    mean, covariance, log_evidence = exact(knots, inner)
    # the evidence of the last iteration is an importance sample's: right whatever the family
    assert abs(info.log_evidence[-1] - log_evidence) < 0.15
    assert (info.elbo - info.log_evidence < 0.05).all()  # two estimates; of explorers' weights the sum is one too
    # the last fit is of the posterior to the family
    if refine is None and family != "mixture":
        found = np.asarray(belief.mean[:, 0], float)
        away = np.linalg.lstsq(np.linalg.cholesky(covariance + 1e-9 * np.eye(HORIZON)), found - mean, rcond=None)[0]
        assert np.linalg.norm(away) < 0.35
    if refine is None and family == "full":
        np.testing.assert_allclose(np.asarray(belief.covariance()), covariance, atol=0.2 * np.diag(covariance).max())
    check_best(planner, model, model.start, belief, info)
    action, after, _ = jax.jit(planners.plan)(planner, model, KEY, model.start, belief)
    assert jnp.isfinite(action).all()
    assert jax.tree.structure(after) == jax.tree.structure(belief)


def check_best(planner, model, state, belief, info):
    """The best plan is worth what `info` says, no less than any plan that was tried, and than the first belief's."""
    worth = planners.rollout(model, KEY, state, jnp.stack([belief.best(), belief.mode()]))
    np.testing.assert_allclose(worth[0], info.best_return[-1], rtol=1e-4, atol=1e-4)
    assert info.best_return[-1] >= jnp.nanmax(info.returns) - 1e-4
    assert (jnp.diff(info.best_return) >= 0).all()


def two_ways(key, state, action):
    """An obstacle that can be passed on either side."""
    x, y = state[0] + 0.3, state[1] + 0.3 * jnp.clip(action[0], -1.0, 1.0)
    inside = (x - 1.5) ** 2 + y**2 < 0.5
    return jnp.stack([x, y]), -5.0 * inside - 0.3 * y**2 + 0.01 * x, 1.0


CONTROL = AROUND | {
    "planner": st.sampled_from(
        ["cem", "icem", "mppi", "vi_mpc", "tsallis", "dial", "predictive_sampling", "random_shooting", "evolution"]
    ),
    "num_knots": st.sampled_from([None, 4]),
    "interpolation": st.sampled_from(["zero", "linear", "cubic"]),
    "bounds": st.sampled_from([None, "clip", "none"]),
    "clip_plans": st.booleans(),
    "problem": st.sampled_from(["two ways", "point mass"]),
    "warm_start": st.booleans(),
}
WAYS = dynamics.from_function(two_ways, 1)


@pytest.mark.slow
@crossed
@given(options=st.fixed_dictionaries(CONTROL))
def test_control_is_sound_whatever_is_crossed(options):
    options = with_scenarios(options)
    name, problem = options["planner"], options["problem"]
    if name in ("vi_mpc", "evolution"):
        options["clip_plans"] = False
    if name == "evolution":
        options["explore_fraction"] = 0.0
        options["inflation"] = None
        options["refine"] = None
    if name not in ("cem", "icem", "vi_mpc"):  # which learn no spread
        options["inflation"] = None
    if not options["warm_start"]:
        options["tail"], options["inflation"] = "hold", None
    if options["execute"] == "sample":
        options["refine"] = None
    if name == "evolution" and options["execute"] == "sample":
        options["execute"] = "mode"
    if name in ("random_shooting", "predictive_sampling"):
        options["include_mode"] = False
    if name == "icem":
        options["num_kept"] = 0
    if options["num_knots"] is None:
        options["interpolation"] = None
    options["policy"] &= options["num_knots"] is None and name != "evolution"
    count("control", options)
    model = WAYS if problem == "two ways" else dynamics.point_mass()
    state = jnp.zeros(2) if problem == "two ways" else model.init(KEY)
    options["policy"] = Steady(jnp.array(0.5), model.action_size) if options["policy"] else None
    horizon = 8
    given_options = {k: v for k, v in options.items() if k not in ("planner", "problem", "refine")}
    if name in ("random_shooting", "predictive_sampling"):
        given_options.pop("include_mode")
    if name == "icem":
        given_options.pop("num_kept")
    refine = None
    if options["refine"] is not None:
        refine = planners.gradient(horizon, num_samples=2, num_iterations=3)
    planner = getattr(planners, name)(
        horizon, num_samples=64, refine=refine, keep=("returns", "weights"), **given_options
    )
    plan = jax.jit(planners.plan)
    belief, first = planner.init(model, state), state
    for key in jax.random.split(KEY, 3):
        found, info = jax.jit(planners.infer)(planner, model, key, state, belief)
        check_best(planner, model, state, found, info)
        action, belief, info = plan(planner, model, key, state, belief)
        assert jnp.isfinite(action).all()
        limit = 1.0 if options["bounds"] != "none" else jnp.inf
        assert jnp.abs(found.mode()).max() <= limit
        assert jnp.abs(action).max() <= limit
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((belief.mode(), belief.best())))
        np.testing.assert_allclose(info.weights.sum(-1), 1.0, rtol=1e-3)
        state = model.step(key, state, action).state
    # with the centre among the plans, nothing is worse than where it began
    if options.get("include_mode") and name not in ("random_shooting", "predictive_sampling"):
        start = planner.init(model, first)
        _, info = jax.jit(planners.infer)(planner, model, KEY, first, start)
        before = planners.rollout(model, KEY, first, start.mode()[None])[0]
        assert info.best_return[-1] >= before - 1e-4
