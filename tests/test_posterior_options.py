"""Options that say how inference goes on its way, and must not change where it ends."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound

from mirrax import dynamics, planners

KEY = jax.random.key(0)
HORIZON = 4
START = jnp.array([3.0, 0.0])
PRIOR = planners.beliefs.gaussian(std=1.4)
infer = jax.jit(planners.infer)


@functools.cache
def problem():
    """The linear-quadratic model of the README."""
    return dynamics.linear_quadratic(
        A=[[1.0, 0.1], [0.0, 1.0]], B=[[0.0], [0.1]], Q=[[1.0, 0.0], [0.0, 0.1]], R=[[0.1]]
    )


def exact(temperature, prior=PRIOR, horizon=HORIZON):
    covariance = bound(prior, horizon, 1).covariance()
    return problem().plan_posterior(START, horizon, temperature, prior_covariance=covariance)


def spread(covariance):
    """The standard deviations along the axes of a covariance, the least first."""
    return np.sqrt(np.linalg.eigvalsh(np.asarray(covariance, float)))


@pytest.mark.parametrize("explored", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("step", [{"max_kl": 0.3}, {"target_ess": 0.3}, {"step_size": 0.3}])
def test_explorers_do_not_stop_inference_short(explored, step):
    """What base weights of a mixture cost, no step size can give back: it is no part of a step."""
    planner = planners.vi_mpc(
        HORIZON,
        temperature=0.02,
        prior=PRIOR,
        std=1.4,
        covariance="full",
        num_samples=4000,
        num_iterations=60,
        explore_fraction=explored,
        std_min=1e-3,
        noise_exponent=None,
        **step,
    )
    belief, info = infer(planner, problem(), KEY, START)
    truth = exact(0.02)
    np.testing.assert_allclose(spread(belief.covariance()), spread(truth.covariance), rtol=0.08)
    np.testing.assert_allclose(info.log_evidence[-1], truth.log_evidence, atol=0.1)
    assert (info.step_size > 1e-3).all()


@pytest.mark.parametrize("step_size", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("covariance", ["full", "kronecker"])
def test_a_floor_below_the_posterior_changes_nothing(covariance, step_size):
    """A floor that fits add would be amplified by 1/κ: 0.07 would become 0.12 at κ = 0.1, and 0.17 at 0.02."""
    std = 0.069
    model = dynamics.linear_quadratic([[0.0]], [[0.0]], [[0.0]], [[1.0]], start=[0.0])
    planner = planners.vi_mpc(
        HORIZON,
        temperature=std**2,  # the posterior of a flat prior is N(0, λ/R)
        prior="flat",
        std=0.1,
        covariance=covariance,
        num_samples=40_000 if step_size < 0.1 else 4000,  # the noise of fits adds up over 1/κ of them
        num_iterations=200 if step_size < 0.1 else 60,
        step_size=step_size,
        noise_exponent=None,
    )
    belief, _ = infer(planner, model, KEY, model.start)
    np.testing.assert_allclose(spread(belief.covariance()), std, rtol=0.08)


@pytest.mark.parametrize("make", [planners.beliefs.full_gaussian, planners.beliefs.kronecker_gaussian])
def test_no_direction_is_narrower_than_the_floor(make):
    belief = bound(make(std=0.5, std_min=0.2), 6, 2)
    plans = jnp.ones((50, 6, 2)) + 1e-3 * jax.random.normal(KEY, (50, 6, 2))
    fitted = belief.fit(plans, jnp.full(50, 0.02))
    values = np.linalg.eigvalsh(np.asarray(fitted.covariance(), float))
    floor = 0.2**2 if make is planners.beliefs.full_gaussian else 1e-4 * 0.2**2
    assert values.min() >= floor * (1 - 1e-3)
    np.testing.assert_allclose(np.trace(np.asarray(fitted.covariance())) / 12, 0.2**2, rtol=0.1)


ASIDE = {
    "mode": {"include_mode": True},
    "remembered": {"num_kept": 4},
    "mode, remembered": {"include_mode": True, "num_kept": 4},
    "mode, explorers": {"include_mode": True, "explore_fraction": 0.25},
    "all": {"include_mode": True, "num_kept": 4, "explore_fraction": 0.25},
}


@pytest.mark.parametrize("weighs", ["vi_mpc", "mppi, prior", "mppi"])
@pytest.mark.parametrize("name", ASIDE)
def test_evidence_rests_on_what_was_drawn(name, weighs):
    """E[Ẑ/Z] = 1 where q is the prior, whatever other plans are looked at (the mode alone would make it 1.045)."""
    horizon, std, temperature = 8, 1.0, 4.0
    given = planners.beliefs.gaussian(std=std)
    options = {"num_samples": 16, "temperature": temperature, "std": std, "bounds": "none"} | ASIDE[name]
    if weighs == "vi_mpc":
        options |= {"prior": given, "step_size": 1.0, "noise_exponent": None, "num_iterations": 2}
        planner = planners.vi_mpc(horizon, **options)
    elif weighs == "mppi, prior":
        planner = planners.mppi(horizon, prior=given, num_iterations=2, **options)
    else:
        planner = planners.mppi(horizon, **(options | {"num_iterations": 1}))
    truth = exact(temperature, given, horizon).log_evidence
    keys = jax.random.split(KEY, 4000)
    ratios = jnp.exp(
        jax.jit(jax.vmap(lambda key: infer(planner, problem(), key, START)[1].log_evidence))(keys) - truth
    )
    for ratio in ratios[:, :1].T:  # later beliefs depend on the plans before; the first is the prior
        assert abs(ratio.mean() - 1.0) < 4.5 * ratio.std() / len(keys) ** 0.5
        assert ratio.std() / len(keys) ** 0.5 < 0.01  # or the bias would not show
