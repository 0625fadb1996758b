"""Amortised plans: what they learn, and what planners make of them, against closed forms."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, target, unchecked

from mirrax import compiling, dynamics, learning, planners
from mirrax.dynamics.learned.data import split
from mirrax.dynamics.resting import Resting
from mirrax.planners.policies import plan_network
from mirrax.planners.policies.network import without_additions

H, TEMPERATURE = 3, 2.0
KEY = jax.random.key(0)
MODEL = random_linear_quadratic(n=2, m=1)
STATES = jax.random.normal(jax.random.key(1), (128, 2))
PENDULUM = dynamics.pendulum()
infer = jax.jit(planners.infer)


def network(horizon=H, model=MODEL, **options):
    return plan_network(horizon, **({"hidden": ()} | options)).init(model, model.init(KEY))


def skewed(seed=3, scale=0.3, **options):
    """A network that says something else in each state."""
    own = network(**options)
    leaves, tree = jax.tree.flatten(own.params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [leaf + scale * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return dataclasses.replace(own, params=jax.tree.unflatten(tree, moved))


def posteriors(std):
    return jax.vmap(lambda state: MODEL.plan_posterior(state, H, TEMPERATURE, prior_covariance=std**2 * jnp.eye(H)))(
        STATES
    )


@pytest.mark.parametrize(
    ("gradient", "num_samples"), [("pathwise", 16), ("score", 64)], ids=["pathwise", "score function"]
)
def test_the_evidence_bound_leads_to_the_exact_posterior_mean_map(gradient, num_samples):
    exact = posteriors(0.7)
    found, report = learning.amortise(
        network(std=0.7, std_min=1e-3),
        MODEL,
        STATES,
        KEY,
        temperature=TEMPERATURE,
        gradient=gradient,
        num_samples=num_samples,
        max_epochs=100,
        patience=100,
        learning_rate=0.03,
    )
    said = jax.vmap(found.belief)(STATES)
    np.testing.assert_allclose(said.mean, exact.mean, atol=1e-3)
    widths = 1.0 / np.sqrt(np.diag(np.linalg.inv(exact.covariance[0])))  # of the greatest bound, 1/Λᵢᵢ
    np.testing.assert_allclose(said.std[..., 0], np.broadcast_to(widths, (128, H)), rtol=0.15)
    assert report.holdout_loss.min() < report.first_loss


def test_a_flat_prior_leads_to_the_best_plan():
    found, _ = learning.amortise(
        network(), MODEL, STATES, KEY, temperature=1.0, prior="flat", max_epochs=200, patience=200, learning_rate=0.03
    )
    best = jax.vmap(lambda state: MODEL.plan_posterior(state, H, 1.0).mean)(STATES)
    np.testing.assert_allclose(jax.vmap(found.belief)(STATES).mean, best, atol=1e-3)


def test_distilling_weighted_plans_leads_to_the_exact_posterior_mean_map():
    """Plans from elsewhere, weighed as importance sampling does: their moments are the posterior's, but for noise."""
    exact = posteriors(0.7)
    std = jnp.sqrt(jnp.diagonal(exact.covariance, axis1=1, axis2=2))[..., None]
    moments = learning.PlanTargets(STATES, exact.mean, std)
    told = []
    found, report = learning.distil(
        network(std_min=1e-3), moments, KEY, learning_rate=0.03, max_epochs=300, patience=300, progress=told.append
    )
    said = jax.vmap(found.belief)(STATES)
    np.testing.assert_allclose(said.mean, exact.mean, atol=1e-3)
    np.testing.assert_allclose(said.std, std, rtol=1e-3)
    assert (report.num_states, report.num_held_out, len(told)) == (128, 13, len(report.loss))
    again, _ = learning.distil(found, moments, KEY, max_epochs=1, learning_rate=1e-6, warm_start=True)
    np.testing.assert_allclose(jax.vmap(again.belief)(STATES).mean, exact.mean, atol=2e-3)


def test_targets_are_the_moments_of_weighted_plans():
    samples = np.random.default_rng(0).normal(size=(12, 5, H, 1)).astype(np.float32)
    weights = np.random.default_rng(1).uniform(size=(12, 5)).astype(np.float32)
    found = learning.plan_targets(STATES[:12], samples, weights)
    for i in range(12):
        np.testing.assert_allclose(found.mean[i], np.average(samples[i], 0, weights[i]), atol=1e-6)
        variance = np.average((samples[i] - found.mean[i]) ** 2, 0, weights[i])
        np.testing.assert_allclose(found.std[i], np.sqrt(variance), atol=1e-6)
    assert abs(learning.plan_targets(STATES[:12], samples, weights, limit=0.1).mean).max() <= 0.1 + 1e-6


def test_episodes_are_targets_up_to_their_ends():
    """A model that ends after four steps: what is planned after that is no target."""
    model = dynamics.from_function(
        lambda key, state, action: (state + 1.0, -jnp.sum(action**2), jnp.where(state >= 3.0, 0.0, 1.0)),
        1,
        init=lambda key: jnp.zeros(()),
        bounded=True,
    )
    planner = planners.vi_mpc(H, num_samples=16, keep=("weights", "samples"))
    happened = jax.jit(planners.episode, static_argnums=4)(planner, model, model, KEY, 7)
    found = learning.episode_targets(happened)
    np.testing.assert_allclose(found.states, np.arange(4.0))
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), happened)
    assert learning.episode_targets(batch, limit=1.0).mean.shape == (8, H, 1)


@pytest.mark.parametrize("exponent", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["vi_mpc", "smc"])
def test_a_tempered_prior_gives_the_product_of_gaussians(kind, exponent):
    """On a linear-quadratic problem q_φ^b exp(R/λ) is a Gaussian, whose evidence is known, too."""
    own, state = skewed(std=0.7), STATES[0]
    said = own.belief(state)
    covariance = jnp.diag(said.std.reshape(-1) ** 2) / exponent
    exact = MODEL.plan_posterior(state, H, TEMPERATURE, prior_mean=said.mean, prior_covariance=covariance)
    if kind == "vi_mpc":
        planner = planners.vi_mpc(
            H, num_samples=4096, num_iterations=6, temperature=TEMPERATURE, covariance="full", std=0.7, std_min=1e-3,
            step_size=0.7, noise_exponent=None,
        )  # fmt: skip
    else:
        planner = planners.smc(H, num_samples=16384, num_iterations=2, temperature=TEMPERATURE, std=1.2)
    for start in ("network", "carried"):
        primed = planners.primed(planner, own, exponent=exponent, std_min=0.01, start=start)
        belief, info = infer(primed, MODEL, KEY, state)
        np.testing.assert_allclose(belief.mean, exact.mean, atol=0.04)
        np.testing.assert_allclose(belief.belief.covariance(), exact.covariance, atol=0.04)
        np.testing.assert_allclose(info.log_evidence[-1], exact.log_evidence, atol=0.1)


def test_a_prior_that_is_the_default_one_changes_nothing():
    planner = planners.vi_mpc(20, num_samples=64)
    own = network(20, PENDULUM, std=0.5)
    state = PENDULUM.init(KEY)
    belief, info = infer(planner, PENDULUM, KEY, state)
    primed, same = infer(planners.primed(planner, own, start="carried"), PENDULUM, KEY, state)
    np.testing.assert_allclose(primed.belief.mean, belief.belief.mean, atol=1e-5)
    np.testing.assert_allclose(primed.belief.std, belief.belief.std, atol=1e-5)
    np.testing.assert_allclose(same.elbo, info.elbo, rtol=1e-4)


def test_the_floor_and_the_exponent_widen_the_prior():
    own = network(std=0.2)
    planner = planners.vi_mpc(H, num_samples=16, std=1.0)
    started = jax.jit(lambda p: p.prior(p.network.belief(STATES[0]), p.init(MODEL, STATES[0])).std)
    np.testing.assert_allclose(started(planners.primed(planner, own, std_min=0.3, exponent=0.25)), 0.6, rtol=1e-6)


@pytest.mark.parametrize("start", ["better", "network"])
def test_inference_starts_where_it_should(start):
    """A network that says the worst is begun from only where it must."""
    model = target(1)
    own = network(model=model, observe=jnp.atleast_1d)
    own.params["params"]["layers_0"]["bias"] = jnp.repeat(jnp.array([-5.0, 0.0]), H)  # means, then log stds
    planner = planners.cem(H, num_samples=16, num_iterations=1, std=0.5, bounds="none")
    primed = planners.primed(planner, own, start=start, as_prior=False)
    belief, _ = infer(primed, model, KEY, model.init(KEY))
    assert (belief.mean < -2.0).all() == (start == "network")


@pytest.mark.parametrize("kind", ["vi_mpc", "smc", "mppi", "cem", "icem"])
def test_primed_planners_work_in_jit_vmap_and_episodes(kind):
    planner = getattr(planners, kind)(8, num_samples=16)
    primed = planners.primed(planner, network(8, PENDULUM), as_prior=kind == "vi_mpc")
    keys = jax.random.split(KEY, 2)
    play = jax.jit(lambda key: planners.episode(primed, PENDULUM, PENDULUM, key, 4, replan_every=2))
    both = jax.jit(jax.vmap(lambda key: planners.episode(primed, PENDULUM, PENDULUM, key, 4, replan_every=2)))(keys)
    np.testing.assert_allclose(both.rewards[1], play(keys[1]).rewards, rtol=1e-3, atol=1e-3)
    assert isinstance(primed, planners.Planner)
    assert isinstance(primed, planners.Persistent)


def test_plans_that_end_at_rest_can_be_primed_from_outside():
    """The network sees the state of the model, and nothing of what planners add to it."""
    primed = planners.resting(planners.primed(planners.vi_mpc(8, num_samples=16), network(8, PENDULUM)), 3)
    belief, _ = infer(primed, PENDULUM, KEY, PENDULUM.init(KEY))
    assert belief.mode().shape == (8, 1)


def test_what_planners_add_to_a_state_is_not_seen_and_what_a_model_has_is():
    timed = dynamics.timed(PENDULUM)
    state = timed.init(KEY)
    added = Resting(timed, None, None, 3).begin(state)
    np.testing.assert_array_equal(without_additions(added), state.state)
    kept = without_additions(added, timed)
    assert (type(kept), int(kept.step)) == (type(state), 0)
    np.testing.assert_array_equal(without_additions(added, PENDULUM), state.state)


def test_what_is_held_out_stays_held_out():
    """A network that goes on with more states has never seen those: their loss is that of a fit without them."""
    seen = []
    for size in (40, 80):
        targets = learning.PlanTargets(STATES[:size], jnp.zeros((size, H, 1)), jnp.ones((size, H, 1)))
        held_out, rest = split(size, 0.1)
        outlying = targets._replace(mean=targets.mean.at[held_out].set(5.0))
        _, report = learning.distil(network(), outlying, KEY, max_epochs=1, learning_rate=1e-6, warm_start=True)
        assert report.num_held_out == len(held_out)
        np.testing.assert_allclose(report.loss[0], np.log(0.5) + 0.5 / 0.25, rtol=1e-3)  # of those that are not
        np.testing.assert_allclose(report.first_loss, np.log(0.5) + 0.5 * 26.0 / 0.25, rtol=1e-3)
        seen.append(set(rest))
    assert not seen[1] & set(split(40, 0.1)[0])


def test_parameters_change_without_another_program():
    own, planner = network(8, PENDULUM), planners.vi_mpc(8, num_samples=16)
    state = PENDULUM.init(KEY)

    def of(network, scale):
        primed = planners.primed(planner, network, exponent=scale, start="better")
        return planners.amortised(primed, network, scale)

    with compiling.counted() as count:
        plan = jax.jit(count.watched(planners.plan))
        belief = of(own, 0.5).init(PENDULUM, state)
        for i in range(3):
            moved = dataclasses.replace(own, params=jax.tree.map(lambda leaf: leaf + 0.01 * i, own.params))  # noqa: B023
            _, belief, _ = plan(of(moved, 0.5 + 0.1 * i), PENDULUM, KEY, state, belief)
    assert count.traces["plan"] == 1, count


def test_a_controller_executes_what_the_network_says():
    own = skewed(horizon=8, model=PENDULUM, scale=2.0)
    control = planners.controller(own)
    happened = jax.jit(planners.episode, static_argnums=4)(control, PENDULUM, PENDULUM, KEY, 6)
    said = jax.vmap(lambda state: jnp.clip(own.belief(state).mode()[0], -1.0, 1.0))(happened.states)
    np.testing.assert_allclose(happened.actions, said, atol=1e-6)
    assert happened.infos.best_return.shape == (6, 1)
    drawn = infer(planners.controller(own, execute="sample"), PENDULUM, KEY, PENDULUM.init(KEY))[0]
    assert not np.allclose(planners.controller(own, execute="sample").act(KEY, drawn), drawn.mode()[0])
    held = jax.jit(lambda key: planners.episode(control, PENDULUM, PENDULUM, key, 4, replan_every=2))(KEY)
    assert np.isfinite(held.rewards).all()


@pytest.mark.parametrize("kind", ["vi_mpc", "smc"])
def test_plans_are_made_only_where_they_must_be(kind):
    own, planner = network(8, PENDULUM), getattr(planners, kind)(8, num_samples=32)
    play = jax.jit(planners.episode, static_argnums=4)
    never = play(planners.amortised(planner, own, float("inf")), PENDULUM, PENDULUM, KEY, 5)
    assert not never.infos.planned.any()
    alone = play(planners.controller(own), PENDULUM, PENDULUM, KEY, 5)
    np.testing.assert_allclose(never.actions, alone.actions, atol=1e-6)
    np.testing.assert_array_equal(np.isnan(never.infos.ess), True)
    np.testing.assert_array_equal(never.infos.degenerate, False)
    some = play(planners.amortised(planner, own, 0.0, num_tries=6), PENDULUM, PENDULUM, KEY, 20)
    np.testing.assert_array_equal(some.infos.planned[:, -1], some.infos.regret[:, -1] > 0.0)
    assert some.infos.planned.any()
    assert np.isfinite(some.infos.ess[some.infos.planned]).all()
    planned = some.infos.planned[:, -1]
    np.testing.assert_allclose(some.actions[~planned], 0.0, atol=1e-6)  # what this network says
    assert abs(some.actions[planned]).min() > 0.0


def test_a_network_that_fails_is_planned_for():
    own = network(8, PENDULUM)
    broken = dataclasses.replace(own, params=jax.tree.map(lambda leaf: leaf * jnp.nan, own.params))
    planner = planners.amortised(planners.vi_mpc(8, num_samples=16), broken, float("inf"))
    belief, info = infer(planner, PENDULUM, KEY, PENDULUM.init(KEY))
    assert info.planned.all()
    assert np.isfinite(belief.mode()).all()
    assert np.isposinf(info.regret).all()


def test_planning_is_a_branch_of_the_program():
    """Under jit what is not planned costs nothing: the loop is within a condition."""
    planner = planners.amortised(planners.vi_mpc(8, num_samples=16), network(8, PENDULUM), 1.0)
    state = PENDULUM.init(KEY)
    belief = planner.init(PENDULUM, state)
    text = jax.jit(planners.plan).lower(planner, PENDULUM, KEY, state, belief).as_text()
    assert re.search(r"stablehlo\.(case|if)", text)


VI, NET = planners.vi_mpc(H, num_samples=16), network()
TARGETS = learning.PlanTargets(STATES, jnp.zeros((128, H, 1)), jnp.ones((128, H, 1)))
BROKEN = dynamics.with_value(MODEL, lambda state: jnp.nan * state[0])
PLANS = np.zeros((12, 5, H, 1), np.float32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: plan_network(0), "horizon must be"),
        (lambda: plan_network(H, hidden="no"), "hidden must be a tuple"),
        (lambda: plan_network(H, std=0.0), "std must be finite and > 0"),
        (lambda: plan_network(H, observe=3), "observe must be a function"),
        (lambda: plan_network(H).belief(STATES[0]), r"must be bound: network.init\(model, state\)"),
        (lambda: plan_network(H, observe=jnp.sum).init(MODEL, STATES[0]), "observe must make a vector"),
        (lambda: dataclasses.replace(NET, horizon=4).init(MODEL, STATES[0]), "must be bound to plans of shape"),
        (lambda: planners.primed(VI, plan_network(H)), "must be bound"),
        (lambda: planners.primed(VI, VI), "network must be a planners.policies.plan_network, got SamplingPlanner"),
        (lambda: planners.primed(VI, network(5)), "network must have the planner's horizon 3, got 5"),
        (lambda: planners.primed(planners.ilqr(H), NET), "planner must be one that samples plans"),
        (lambda: planners.primed(planners.vi_mpc(H, rest_steps=1), NET), "without rest_steps"),
        (lambda: planners.primed(planners.smc(H), NET), "as_prior must be False for smc that adapts"),
        (lambda: planners.primed(planners.pi2(H), NET), "as_prior must be False for pi2"),
        (lambda: planners.primed(VI, NET, exponent=1.5), "exponent must be finite and > 0 and <= 1"),
        (lambda: planners.primed(VI, NET, start="there"), "start must be one of better, network, carried"),
        (lambda: planners.primed(VI, NET, as_prior=False, start="carried"), "as_prior must be True"),
        (lambda: planners.amortised(VI, NET, -1.0), "threshold must be finite and >= 0"),
        (lambda: planners.amortised(VI, NET, 1.0, num_tries=1), "num_tries must be an integer of at least 2"),
        (lambda: planners.controller(NET, execute="best"), "execute must be one of mode, sample"),
        (
            lambda: planners.primed(planners.vi_mpc(H, num_knots=2), NET).init(MODEL, STATES[0]),
            "num_knots must not be given",
        ),
        (
            lambda: planners.primed(VI, NET).init(dynamics.cartpole(), dynamics.cartpole().init(KEY)),
            "params must be of shapes",
        ),
        (lambda: learning.distil(plan_network(H), TARGETS, KEY), "must be bound"),
        (lambda: learning.distil(NET, [1], KEY), "targets must be of learning.plan_targets"),
        (lambda: learning.distil(network(5), TARGETS, KEY), r"targets must be \(128, 5, 1\)"),
        (lambda: learning.distil(NET, TARGETS._replace(states=STATES[:5]), KEY), "states must be at least 10, got 5"),
        (lambda: learning.distil(NET, TARGETS._replace(states=STATES[:, :1]), KEY), "observations of 2 numbers"),
        (
            lambda: learning.distil(NET, TARGETS._replace(mean=TARGETS.mean.at[3].set(jnp.nan)), KEY),
            "mean must be finite, got NaN or infinity in 1, first 3",
        ),
        (lambda: learning.distil(NET, TARGETS, KEY, holdout_fraction=1.0), "holdout_fraction must be"),
        (lambda: learning.distil(NET, TARGETS, KEY, learning_rate=-1.0), "learning_rate must be finite and > 0"),
        (lambda: learning.plan_targets(STATES[:12], PLANS[:, :, 0], PLANS[:, :, 0, 0]), r"samples must be \[N, K"),
        (lambda: learning.plan_targets(STATES, PLANS, np.ones((12, 5))), "states must have a leading axis of 12"),
        (lambda: learning.plan_targets(STATES[:12], PLANS, np.zeros((12, 5))), "weights must be >= 0"),
        (
            lambda: learning.episode_targets(planners.episode(VI, MODEL, MODEL, KEY, 2)),
            "happened must be by a planner that keeps its plans",
        ),
        (
            lambda: learning.amortise(NET, MODEL, STATES, KEY, temperature=0.0),
            "temperature must be finite and > 0",
        ),
        (
            lambda: learning.amortise(NET, MODEL, STATES, KEY, temperature=1.0, num_samples=3),
            "num_samples must be even",
        ),
        (
            lambda: learning.amortise(NET, MODEL, STATES, KEY, temperature=1.0, gradient="both"),
            "gradient must be one of pathwise, score",
        ),
        (
            lambda: learning.amortise(NET, BROKEN, STATES, KEY, temperature=1.0, max_epochs=1),
            "learning_rate must be smaller, or returns finite",
        ),
    ],
)
def test_a_mistake_is_one_clear_error(wrong, message):
    with pytest.raises(ValueError, match=message):
        unchecked(wrong)()
