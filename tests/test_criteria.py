"""When `planners.amortised` plans: criteria against closed forms on linear-quadratic problems and ensembles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, planners
from mirrax.planners.policies import plan_network
from mirrax.report.diagnostics import DIAGNOSTICS

H, TEMPERATURE, PRIOR_STD = 3, 2.0, 0.7
KEY = jax.random.key(0)
MODEL = random_linear_quadratic(n=2, m=1)
STATES = jax.random.normal(jax.random.key(1), (6, 2))
PLANNER = planners.vi_mpc(
    H,
    num_samples=64,
    num_iterations=1,
    temperature=TEMPERATURE,
    prior_std=PRIOR_STD,
    std=PRIOR_STD,
    noise_exponent=None,
)
infer = jax.jit(planners.infer)


def posterior(state):
    return MODEL.plan_posterior(state, H, TEMPERATURE, prior_covariance=PRIOR_STD**2 * jnp.eye(H))


def exact(away=0.0, scale=1.0):
    """An autoregressive network that is the posterior in every state, its mean moved and its widths scaled."""
    found = jax.vmap(posterior)(STATES)
    tril = np.linalg.cholesky(np.asarray(found.covariance[0], float))
    std = np.diag(tril)
    follows = np.eye(H) - std[:, None] * np.linalg.inv(tril)
    inputs = np.concatenate([np.asarray(STATES), np.ones((len(STATES), 1))], axis=1)
    weights = np.linalg.lstsq(inputs, np.asarray(found.mean).reshape(len(STATES), H), rcond=None)[0]
    own = plan_network(H, hidden=(), std=PRIOR_STD, std_min=1e-3, head="autoregressive").init(MODEL, STATES[0])
    log_std = np.log(scale * std / PRIOR_STD)
    bias = np.concatenate([weights[2] + away, log_std, follows[np.tril_indices(H, -1)]])
    kernel = np.zeros((2, len(bias)))
    kernel[:, :H] = weights[:2]
    layer = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    return dataclasses.replace(own, params={"params": {"layers_0": layer}})


def measured(planner, state, model=MODEL):
    return infer(planner, model, KEY, state)[1]


def test_no_gap_and_all_plans_effective_where_the_network_is_the_posterior():
    """Then lr is the same for every plan, so that neither rests on how many there are."""
    own = exact()
    for state in STATES:
        gap = measured(planners.amortised(PLANNER, own, 1e-3, criterion="elbo", num_tries=16), state)
        assert not gap.planned.any()
        assert gap.network_gap[0] < 1e-3
        share = measured(planners.amortised(PLANNER, own, 0.99, criterion="ess", num_tries=16), state)
        assert not share.planned.any()
        np.testing.assert_allclose(share.network_ess[0], 1.0, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_gap_and_effective_sample_size_are_those_of_a_network_that_is_off(scale):
    """KL(q ‖ posterior) = ½ δᵀΛδ + ½ d (s² − 1 − 2 log s) of Gaussians, and where s = 1 ESS/K → exp(−δᵀΛδ)."""
    away = jnp.array([0.15, -0.1, 0.2])
    precision = np.linalg.inv(np.asarray(posterior(STATES[0]).covariance, float))
    far = float(away @ precision @ away)
    divergence = 0.5 * far + 0.5 * H * (scale**2 - 1.0 - 2.0 * np.log(scale))
    own = exact(away, scale)
    for threshold in (0.5 * divergence, 2.0 * divergence):
        info = measured(planners.amortised(PLANNER, own, threshold, criterion="elbo", num_tries=4097), STATES[1])
        np.testing.assert_allclose(info.network_gap[0], divergence, rtol=0.1)
        assert info.planned.all() == (threshold < divergence)
        assert np.isfinite(info.ess).all() == (threshold < divergence)
    if scale == 1.0:
        for threshold in (0.8 * np.exp(-far), min(1.0, 1.2 * np.exp(-far))):
            info = measured(planners.amortised(PLANNER, own, threshold, criterion="ess", num_tries=4097), STATES[1])
            np.testing.assert_allclose(info.network_ess[0], np.exp(-far), rtol=0.1)
            assert info.planned.all() == (threshold > np.exp(-far))


def test_a_primed_planner_compares_with_its_own_posterior():
    """A prior q_φ that is the planner's own is the same posterior; and without a prior that is q_φ exp(R/λ)."""
    own = plan_network(H, hidden=(), std=PRIOR_STD).init(MODEL, STATES[0])
    primed = planners.primed(PLANNER, own)
    gaps = [
        measured(planners.amortised(each, own, float("inf"), criterion="elbo"), STATES[0]).network_gap
        for each in (PLANNER, primed)
    ]
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=1e-4)
    bare = planners.mppi(H, num_samples=16, std=0.5, temperature=TEMPERATURE, target_ess=None)
    without = planners.amortised(bare, own, float("inf"), criterion="elbo")
    np.testing.assert_allclose(measured(without, STATES[0]).network_gap[0], gaps[0][0], rtol=1e-4)
    smc = planners.smc(H, num_samples=16, temperature=TEMPERATURE)
    filtered = planners.amortised(smc, own, float("inf"), criterion="elbo")
    np.testing.assert_allclose(measured(filtered, STATES[0]).network_gap[0], gaps[0][0], rtol=1e-4)


def member(offset, scale=1.0, constant=0.0):
    """A model that knows the middle, and is the more wrong, the further away it is."""
    return dynamics.with_value(base(scale, constant), jax.tree_util.Partial(off, jnp.asarray(offset * scale)))


def off(offset, state):
    return offset * state


def earn(scale, constant, key, state, action):
    return state, -scale * jnp.sum((action - 0.5) ** 2) + constant, 1.0


def ready(key):
    return jnp.ones(())


def base(scale, constant):
    step = jax.tree_util.Partial(earn, jnp.asarray(scale), jnp.asarray(constant))
    return dynamics.from_function(step, 1, init=ready, bounded=False)


def test_members_disagree_where_they_have_not_learnt():
    """Offsets ±c s in a state s: the spread is c |s| beside that of the tries, whatever the unit of rewards."""
    own = plan_network(2, hidden=(), observe=jnp.atleast_1d).init(base(1.0, 0.0), jnp.ones(()))
    planner = planners.mppi(2, num_samples=8, std=0.5, bounds="none")

    def disagreement(state, scale=1.0, constant=0.0, threshold=float("inf")):
        model = dynamics.ensemble([member(offset, scale, constant) for offset in (-0.3, 0.3)])
        judge = planners.amortised(planner, own, threshold, criterion="disagreement")
        return measured(judge, jnp.asarray(state), model)

    one, two, none = (float(disagreement(state).disagreement[0]) for state in (1.0, -2.0, 0.0))
    np.testing.assert_allclose(two, 2.0 * one, rtol=1e-4)
    assert none == 0.0
    np.testing.assert_allclose(disagreement(1.0, 10.0, 3.0).disagreement[0], one, rtol=1e-3)
    assert not disagreement(1.0, threshold=1.1 * one).planned.any()
    assert disagreement(1.0, threshold=0.9 * one).planned.all()
    # the same tries, by hand
    belief = planner.init(base(1.0, 0.0), jnp.ones(()))
    near, wide = jax.random.split(jax.random.split(jax.random.split(KEY)[1])[0])
    said = own.belief(jnp.ones(()))
    tries = jnp.concatenate([said.mode()[None], belief.mode()[None], said.sample(near, 3), belief.sample(wide, 3)])
    spread = np.std(-np.sum((np.asarray(tries) - 0.5) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(one, 0.3 / spread, rtol=1e-3)


@pytest.mark.parametrize("criterion", ["elbo", "ess", "disagreement"])
def test_a_network_that_fails_is_planned_for(criterion):
    own = exact()
    broken = dataclasses.replace(own, params=jax.tree.map(lambda leaf: leaf * jnp.nan, own.params))
    threshold = 0.0 if criterion == "ess" else float("inf")
    model = MODEL
    if criterion == "disagreement":
        model = dynamics.ensemble([MODEL, dataclasses.replace(MODEL, c=MODEL.c + 0.1)])
    belief, info = infer(planners.amortised(PLANNER, broken, threshold, criterion=criterion), model, KEY, STATES[0])
    assert info.planned.all()
    assert np.isfinite(belief.mode()).all()
    fine = measured(planners.amortised(PLANNER, own, threshold, criterion=criterion), STATES[0], model)
    assert not fine.planned.any()


def test_every_measure_of_a_criterion_is_explained():
    assert {"regret", "network_gap", "network_ess", "disagreement"} <= set(DIAGNOSTICS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: planners.amortised(PLANNER, exact(), 1.0, criterion="doubt"),
            "criterion must be one of regret, elbo",
        ),
        (lambda: planners.amortised(PLANNER, exact(), 1.5, criterion="ess"), "threshold must be .* <= 1"),
        (lambda: planners.amortised(PLANNER, exact(), float("inf"), criterion="ess"), "threshold must be finite"),
        (
            lambda: planners.amortised(PLANNER, exact(), 5.0, criterion="elbo"),
            r"threshold must be below log\(num_tries − 1\) = 4.14 nats, .* got 5",
        ),
        (
            lambda: planners.amortised(planners.vi_mpc(H), exact(), 1.0, criterion="elbo"),
            "temperature must be given for criterion 'elbo': vi_mpc has none in reward units",
        ),
        (
            lambda: planners.amortised(PLANNER, exact(), 1.0, temperature=1.0),
            "criterion 'regret' knows no posterior: temperature must not be given",
        ),
        (
            lambda: planners.amortised(PLANNER, exact(), 1.0, criterion="elbo", num_tries=2),
            "num_tries must be an integer of at least 3",
        ),
        (
            lambda: planners.amortised(PLANNER, exact(), 1.0, criterion="disagreement").init(MODEL, STATES[0]),
            "criterion 'disagreement' compares the returns of a plan in several scenarios",
        ),
    ],
)
def test_a_mistake_is_one_clear_error(wrong, message):
    with pytest.raises(ValueError, match=message):
        unchecked(wrong)()
