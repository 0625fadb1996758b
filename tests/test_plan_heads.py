"""Heads of plan networks: mixtures and autoregressive Gaussians, against closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, learning, planners
from mirrax.planners.policies import plan_network

H, TEMPERATURE = 3, 0.5
KEY = jax.random.key(0)
MODEL = random_linear_quadratic(n=2, m=1)
STATES = jax.random.normal(jax.random.key(1), (128, 2))
PENDULUM = dynamics.pendulum()
infer = jax.jit(planners.infer)
GRID = jnp.linspace(-1.8, 1.8, 121)


def network(head, horizon=H, model=MODEL, **options):
    options = {"hidden": (), "head": head} | options
    return plan_network(horizon, **options).init(model, model.init(KEY))


def skewed(head, seed=3, scale=0.3, **options):
    """A network that says something else in each state."""
    own = network(head, **options)
    leaves, tree = jax.tree.flatten(own.params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [leaf + scale * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return dataclasses.replace(own, params=jax.tree.unflatten(tree, moved))


def posteriors(std):
    return jax.vmap(lambda state: MODEL.plan_posterior(state, H, TEMPERATURE, prior_covariance=std**2 * jnp.eye(H)))(
        STATES
    )


def covariances(found):
    return jax.vmap(lambda state: found.belief(state).covariance())(STATES)


def both_ways(state, action):
    """The return of a step past an obstacle at 0: to either side of it, and rather to that of the state's sign."""
    return -20.0 * (action**2 - 0.5) ** 2 + state * action


def obstacle():
    def step(key, state, action):
        return state, both_ways(state, action[0]), 1.0

    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()), bounded=False)


def obstacle_posteriors(states):
    """p(a) exp R on a grid, p = N(0, 0.5²): [N, 121], sums to 1."""
    return jax.nn.softmax(both_ways(states[:, None], GRID) - 0.5 * (GRID / 0.5) ** 2, axis=-1)


def divergence(found, states):
    """KL(posterior ‖ q) of each state, by quadrature."""
    exact = obstacle_posteriors(states)
    log_q = jax.vmap(lambda state: found.belief(state).log_prob(GRID[:, None, None]))(states)
    log_p = jnp.log(exact) - jnp.log(GRID[1] - GRID[0])
    return jnp.where(exact > 0, exact * (log_p - log_q), 0.0).sum(-1)


def test_an_autoregressive_head_says_what_it_stands_for():
    """a = m + C (a − m) + σ ε, whose conditional densities multiply to that of the plan."""
    own = skewed("autoregressive", horizon=2, model=dynamics.point_mass())
    belief = own.belief(dynamics.point_mass().init(KEY))
    noise = belief.noise(KEY, 4)
    plans = belief.from_noise(noise).reshape(4, -1)
    tril = np.asarray(belief.scale_tril, float)
    std = np.diag(tril)
    follows = np.eye(4) - std[:, None] * np.linalg.inv(tril)  # C = I − diag σ L⁻¹
    np.testing.assert_allclose(np.triu(follows), 0.0, atol=1e-5)
    assert np.abs(np.tril(follows, -1)[np.tril_indices(4, -1)]).min() > 0.0
    away = np.asarray(plans - belief.mean.reshape(-1))
    np.testing.assert_allclose(away, away @ follows.T + std * np.asarray(noise).reshape(4, -1), atol=1e-5)
    np.testing.assert_allclose(
        belief.step_log_probs(plans.reshape(4, 2, 2)).sum(-1), belief.log_prob(plans.reshape(4, 2, 2)), rtol=1e-5
    )
    np.testing.assert_array_equal(belief.mode(), belief.mean)


def test_the_order_says_on_how_many_steps_before_each_depends():
    own = skewed("autoregressive", horizon=5, order=1, scale=1.0)
    precision = np.linalg.inv(np.asarray(own.belief(STATES[0]).covariance(), float))
    far = np.abs(np.subtract.outer(np.arange(5), np.arange(5))) > 1
    np.testing.assert_allclose(precision[far] / np.abs(precision).max(), 0.0, atol=1e-5)
    assert np.abs(precision[~far]).min() > 0.0


@pytest.mark.parametrize("gradient", ["pathwise", "score"])
def test_an_autoregressive_head_reaches_the_full_posterior(gradient):
    """Its means and its covariance are those of the posterior, Λ⁻¹, in every state."""
    exact = posteriors(0.7)
    found, _ = learning.amortise(
        network("autoregressive", std=0.7, std_min=1e-3),
        MODEL,
        STATES,
        KEY,
        temperature=TEMPERATURE,
        gradient=gradient,
        num_samples=64,
        max_epochs=150,
        patience=150,
        learning_rate=0.03,
    )
    said = jax.vmap(lambda state: found.belief(state).mean)(STATES)
    np.testing.assert_allclose(said, exact.mean, atol=1e-3)
    np.testing.assert_allclose(covariances(found), exact.covariance, atol=0.025)
    correlations = [
        covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        for covariance in (covariances(found).mean(0), exact.covariance[0])
    ]
    np.testing.assert_allclose(*correlations, atol=0.04)
    assert correlations[1].min() < -0.3  # independent steps have none, and are narrower: 1/Λᵢᵢ


def sigma_points(exact):
    """Plans of equal weight whose moments are those of a posterior: mean ± √d times the columns of a root."""
    root = np.sqrt(H) * jnp.linalg.cholesky(exact.covariance).swapaxes(1, 2)[..., None]
    return exact.mean[:, None] + jnp.concatenate([root, -root], axis=1), jnp.ones((len(STATES), 2 * H))


def test_distilling_into_an_autoregressive_head_keeps_the_covariance():
    exact = posteriors(0.7)
    targets = learning.plan_targets(STATES, *sigma_points(exact), keep_plans=True)
    found, report = learning.distil(
        network("autoregressive", std_min=1e-3), targets, KEY, learning_rate=0.03, max_epochs=300, patience=300
    )
    np.testing.assert_allclose(jax.vmap(lambda s: found.belief(s).mean)(STATES), exact.mean, atol=2e-3)
    np.testing.assert_allclose(covariances(found), exact.covariance, atol=5e-3)
    entropy = 0.5 * (np.linalg.slogdet(exact.covariance[0])[1] + H)  # without ½ d log 2π, of which the loss is a d-th
    np.testing.assert_allclose(report.holdout_loss.min(), entropy / H, atol=1e-3)


def test_moments_are_the_same_loss_as_the_plans_for_a_gaussian():
    exact = posteriors(0.7)
    plans, weights = sigma_points(exact)
    targets = learning.plan_targets(STATES, plans, weights)
    assert targets.samples is None
    kept = learning.plan_targets(STATES, plans, weights, keep_plans=True)
    np.testing.assert_allclose(kept.weights.sum(-1), 1.0, rtol=1e-6)
    told = [learning.distil(network("gaussian"), each, KEY, max_epochs=3)[1].holdout_loss for each in (targets, kept)]
    np.testing.assert_array_equal(*told)


@pytest.mark.parametrize("way", ["distil", "pathwise", "score"])
def test_a_mixture_finds_both_ways_around_an_obstacle(way):
    """Its divergence is near 0, and the mass on either side that of the posterior; a Gaussian's is far from it."""
    model, states = obstacle(), jnp.linspace(-1.5, 1.5, 60)
    found = {}
    for head in ("mixture", "gaussian"):
        more = {"num_components": 2} if head == "mixture" else {}
        own = network(head, 1, model, observe=jnp.atleast_1d, **more)
        how = {"max_epochs": 200, "patience": 200, "learning_rate": 0.03, "batch_size": 20}
        if way == "distil":
            plans = jnp.broadcast_to(GRID[:, None, None], (60, 121, 1, 1))
            targets = learning.plan_targets(states, plans, obstacle_posteriors(states), keep_plans=True)
            found[head] = learning.distil(own, targets, KEY, **how)[0]
        else:
            found[head] = learning.amortise(
                own, model, states, KEY, temperature=1.0, gradient=way, num_samples=32, **how
            )[0]
    near, far = (0.1, 0.5) if way == "distil" else (0.2, 1.0)  # peaks are not quite Gaussian
    assert divergence(found["mixture"], states).max() < near
    assert divergence(found["gaussian"], states).min() > far
    said = jax.vmap(lambda state: jax.nn.softmax(found["mixture"].belief(state).log_weights))(states)
    sides = jax.vmap(lambda state: found["mixture"].belief(state).means[:, 0, 0] > 0)(states)
    right = (obstacle_posteriors(states) * (GRID > 0)).sum(-1)
    np.testing.assert_allclose((said * sides).sum(-1), right, atol=0.02 if way == "distil" else 0.06)
    assert (sides.sum(-1) == 1).all()
    modes = jax.vmap(lambda state: found["mixture"].belief(state).mode()[0, 0])(states)
    assert (jnp.sign(modes) == jnp.sign(states)).all()
    assert (abs(modes) > 0.5).all()


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_a_tempered_full_prior_gives_the_product_of_gaussians(exponent):
    own, state = skewed("autoregressive", std=0.7), STATES[0]
    said = own.belief(state)
    exact = MODEL.plan_posterior(
        state, H, TEMPERATURE, prior_mean=said.mean, prior_covariance=said.covariance() / exponent
    )
    planner = planners.vi_mpc(
        H, num_samples=4096, num_iterations=6, temperature=TEMPERATURE, covariance="full", std=0.7, std_min=1e-3,
        step_size=0.7, noise_exponent=None,
    )  # fmt: skip
    for start in ("network", "better"):
        primed = planners.primed(planner, own, exponent=exponent, std_min=0.01, start=start)
        belief, info = infer(primed, MODEL, KEY, state)
        np.testing.assert_allclose(belief.mean, exact.mean, atol=0.04)
        np.testing.assert_allclose(belief.belief.covariance(), exact.covariance, atol=0.04)
        np.testing.assert_allclose(info.log_evidence[-1], exact.log_evidence, atol=0.1)


@pytest.mark.parametrize("kind", ["vi_mpc", "smc"])
def test_a_mixture_is_a_prior_by_its_exact_density(kind):
    """Each component makes a Gaussian posterior of known evidence: the mixture of these is what is found."""
    own, state = skewed("mixture", num_components=2, std=0.7), STATES[0]
    said = own.belief(state)

    def component(mean, std):
        covariance = jnp.diag(std.reshape(-1) ** 2)
        return MODEL.plan_posterior(state, H, TEMPERATURE, prior_mean=mean, prior_covariance=covariance)

    parts = jax.vmap(component)(said.means, said.stds)
    joint = said.log_weights + parts.log_evidence
    mean = jnp.einsum("m,mha->ha", jax.nn.softmax(joint), parts.mean)
    size = {"num_samples": 8192, "temperature": TEMPERATURE, "std": 1.2}
    if kind == "vi_mpc":
        planner = planners.vi_mpc(H, num_iterations=4, covariance="full", std_min=1e-3, noise_exponent=None, **size)
    else:
        planner = planners.smc(H, num_iterations=2, **size)
    belief, info = infer(planners.primed(planner, own, std_min=0.01, start="carried"), MODEL, KEY, state)
    np.testing.assert_allclose(info.log_evidence[-1], jax.nn.logsumexp(joint), atol=0.05)
    np.testing.assert_allclose(belief.mean, mean, atol=0.06)


def test_a_tempered_mixture_is_its_power_where_components_are_apart():
    own = network("mixture", 1, obstacle(), num_components=2, std=0.02, std_min=1e-3, observe=jnp.atleast_1d)
    belief = own.belief(jnp.zeros(()))
    log_weights = jnp.log(jnp.array([0.2, 0.8]))
    belief = dataclasses.replace(
        belief,
        log_weights=log_weights,
        means=belief.means * 50,
        stds=belief.stds * jnp.array([1.0, 4.0])[:, None, None],
    )
    tempered = planners.policies.priming.tempered(belief, jnp.asarray(0.5), jnp.asarray(1e-4))
    grid = (belief.means.reshape(-1, 1) + jnp.linspace(-0.03, 0.03, 7)).reshape(-1, 1, 1)
    away = tempered.log_prob(grid) - 0.5 * belief.log_prob(grid)
    np.testing.assert_allclose(away, away[0], atol=1e-3)


def test_inference_starts_from_the_component_that_earns_most():
    """Both ways are in the network; where the state says left, the planner begins there, and does not leave it."""
    model = obstacle()
    own = network("mixture", 1, model, num_components=2, observe=jnp.atleast_1d)
    planner = planners.cem(1, num_samples=16, num_iterations=1, std=0.1, bounds="none")
    primed = planners.primed(planner, own, as_prior=False, start="better")
    modes = own.belief(jnp.zeros(())).means[:, 0, 0]
    for state in (-1.0, 1.0):
        belief, _ = infer(primed, model, KEY, jnp.asarray(state))
        best = modes[jnp.argmax(both_ways(state, modes))]
        assert jnp.sign(best) == jnp.sign(state)
        assert abs(belief.mean[0, 0] - best) < 0.3


@pytest.mark.parametrize("head", ["mixture", "autoregressive"])
@pytest.mark.parametrize("kind", ["vi_mpc", "smc", "mppi", "mixture"])
def test_all_planners_take_all_heads(head, kind):
    """In jit, episodes, around each other; and a mixture takes all components of a network of as many."""
    own = skewed(head, horizon=6, model=PENDULUM, **({"num_components": 3} if head == "mixture" else {}))
    more = {"num_components": 3} if kind == "mixture" else {}
    planner = getattr(planners, "vi_mpc" if kind == "mixture" else kind)(6, num_samples=16, **more)
    primed = planners.primed(planner, own, as_prior=kind != "smc", start="network" if more else "better")
    seldom = planners.amortised(primed, own, 0.5)
    happened = jax.jit(planners.episode, static_argnums=4)(seldom, PENDULUM, PENDULUM, KEY, 5)
    assert np.isfinite(happened.rewards).all()
    if more and head == "mixture":
        state = PENDULUM.init(KEY)
        moved = planners.policies.priming.moved(planner.init(PENDULUM, state), own.belief(state))
        np.testing.assert_allclose(moved.belief.means, own.belief(state).means, atol=1e-6)


@pytest.mark.parametrize("head", ["mixture", "autoregressive"])
def test_a_controller_takes_all_heads(head):
    own = skewed(head, horizon=6, model=PENDULUM)
    for execute in ("mode", "sample"):
        control = planners.controller(own, execute=execute)
        happened = jax.jit(planners.episode, static_argnums=4)(control, PENDULUM, PENDULUM, KEY, 3)
        assert np.isfinite(happened.rewards).all()
    broken = dataclasses.replace(own, params=jax.tree.map(lambda leaf: leaf * jnp.nan, own.params))
    assert infer(planners.controller(broken), PENDULUM, KEY, PENDULUM.init(KEY))[1].degenerate.all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: plan_network(H, head="flow"), "head must be one of gaussian, mixture, autoregressive, got 'flow'"),
        (lambda: plan_network(H, num_components=2), "num_components must not be given, got num_components=2"),
        (lambda: plan_network(H, head="mixture", num_components=0), "num_components must be"),
        (lambda: plan_network(H, head="mixture", order=1), "order must not be given"),
        (lambda: plan_network(H, head="autoregressive", order=0), "order must be"),
        (
            lambda: learning.distil(
                network("mixture"), learning.PlanTargets(STATES, jnp.zeros((128, H, 1)), jnp.ones((128, H, 1))), KEY
            ),
            "targets must have plans for a MixtureHead: make them with keep_plans=True",
        ),
        (
            lambda: learning.plan_targets(STATES[:12], np.zeros((12, 5, H, 1)), np.ones((12, 5)), keep_plans=1),
            "keep_plans must be True or False",
        ),
    ],
)
def test_a_mistake_is_one_clear_error(wrong, message):
    with pytest.raises(ValueError, match=message):
        unchecked(wrong)()
