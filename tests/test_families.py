"""Families against scipy, their own definitions, and each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound
from scipy.stats import multivariate_normal

from mirrax import dynamics, planners

MEAN = jnp.array([[0.1, -0.4], [0.7, 0.2], [0.0, 1.0]])
STD = jnp.array([[0.3, 0.4], [0.5, 0.2], [0.9, 0.6]])


@pytest.fixture
def belief():
    return bound(planners.beliefs.gaussian(mean=MEAN, std=STD, std_min=1e-3), 3, 2)


def test_densities_are_scipys(belief):
    plans = belief.sample(jax.random.key(0), 5)
    reference = multivariate_normal(np.asarray(MEAN).ravel(), np.asarray(belief.covariance()))
    np.testing.assert_allclose(belief.log_prob(plans), reference.logpdf(np.asarray(plans).reshape(5, -1)), rtol=1e-4)
    np.testing.assert_allclose(belief.entropy(), reference.entropy(), rtol=1e-5)


def test_samples_have_its_moments(belief):
    plans = belief.sample(jax.random.key(1), 40_000)
    np.testing.assert_allclose(plans.mean(0), MEAN, atol=4.5 * 0.9 / 200)
    np.testing.assert_allclose(plans.std(0), STD, atol=4.5 * 0.9 / 280)


def test_kl_is_the_mean_log_ratio(belief):
    other = bound(planners.beliefs.gaussian(mean=0.2, std=0.7), 3, 2)
    plans = belief.sample(jax.random.key(2), 40_000)
    ratio = belief.log_prob(plans) - other.log_prob(plans)
    assert abs(float(belief.kl(other) - ratio.mean())) < 4.5 * float(ratio.std()) / 200
    assert belief.kl(belief) == 0.0


def test_fit_is_weighted_maximum_likelihood(belief):
    plans = jax.random.normal(jax.random.key(3), (8, 3, 2))
    weights = jax.nn.softmax(jnp.arange(8.0) / 3)
    fitted = belief.fit(plans, weights)

    def log_likelihood(mean, log_std):
        candidate = bound(planners.beliefs.gaussian(mean=mean, std=jnp.exp(log_std)), 3, 2)
        return weights @ candidate.log_prob(plans)

    slopes = jax.grad(log_likelihood, argnums=(0, 1))(fitted.mean, jnp.log(fitted.std))
    for slope in slopes:
        np.testing.assert_allclose(slope, 0.0, atol=1e-5)


def test_fixed_std_floor_and_smoothing():
    plans = jnp.stack([jnp.zeros((2, 1)), jnp.ones((2, 1))])
    weights = jnp.array([0.5, 0.5])
    fixed = bound(planners.beliefs.gaussian(std=0.3, learn_std=False), 2, 1).fit(plans, weights)
    np.testing.assert_allclose(fixed.mean, 0.5)
    np.testing.assert_allclose(fixed.std, 0.3)
    smooth = bound(planners.beliefs.gaussian(mean=0.1, std=0.3, smoothing=0.25), 2, 1).fit(plans, weights)
    np.testing.assert_allclose(smooth.mean, 0.75 * 0.5 + 0.25 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(smooth.std, 0.75 * 0.5 + 0.25 * 0.3, rtol=1e-6)
    floor = bound(planners.beliefs.gaussian(std_min=0.2), 2, 1).fit(plans, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(floor.std, 0.2)


def test_shift_moves_the_mean_and_restores_the_rest(belief):
    initial = bound(planners.beliefs.gaussian(std=0.5), 3, 2)
    shifted = belief.shift(initial, planners.beliefs.shift_by_one())
    np.testing.assert_allclose(shifted.mean, MEAN[jnp.array([1, 2, 2])])
    np.testing.assert_allclose(shifted.std, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"std": 0.0}, "std must be finite and > 0, got 0.0"),
        ({"std": [1.0, 1.0, 1.0]}, r"std must have shape \(3, 2\), or broadcast to it, got \(3,\)"),
        ({"mean": float("inf")}, "mean must be finite, got inf"),
        ({"smoothing": 1.0}, "smoothing must be finite and >= 0 and < 1, got 1.0"),
        ({"std_min": -0.1}, "std_min must be finite and > 0, got -0.1"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        bound(planners.beliefs.gaussian(**arguments), 3, 2)


@pytest.mark.parametrize("horizon", [0, True])
def test_a_horizon_outside_its_range_is_named(horizon):
    with pytest.raises(ValueError, match=f"horizon must be an integer of at least 1, got {horizon}"):
        planners.sampling_planner(
            horizon, planners.beliefs.gaussian(), planners.likelihoods.elite(0.1), num_samples=8
        )


# Other families ----------


FAMILIES = {
    "coloured": bound(planners.beliefs.gaussian(std=STD, noise_exponent=1.5, std_min=1e-3), 3, 2),
    "full": bound(planners.beliefs.full_gaussian(std=STD, noise_exponent=1.5, std_min=1e-3), 3, 2),
    "kronecker": bound(planners.beliefs.kronecker_gaussian(std=[0.3, 0.6], noise_exponent=1.5, std_min=1e-3), 3, 2),
    "mixture": bound(planners.beliefs.mixture(num_components=3, std=0.4, num_draws=2_000), 3, 2),
    "categorical": planners.beliefs.categorical().bind(3, dynamics.Discrete(3)),
    "enumeration": planners.beliefs.enumeration().bind(3, dynamics.Discrete(2)),
    "annealed": bound(
        planners.beliefs.annealed(planners.beliefs.gaussian(std=STD, learn_std=False), [1.0, 0.5]), 3, 2
    ),
}
LEVELS = jnp.array([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])  # what discrete actions stand for
any_family = pytest.mark.parametrize("name", FAMILIES)


def moved(name):
    """The family, after a fit to weighted plans of its own."""
    belief = FAMILIES[name]
    if name == "enumeration":
        return belief.fit(belief.propose(jax.random.key(0), 8).plans, jax.nn.softmax(jnp.sin(jnp.arange(8.0))))
    plans = belief.sample(jax.random.key(3), 200)
    told = LEVELS[plans] if name == "categorical" else plans
    return belief.fit(plans, jax.nn.softmax(2.0 * told[:, 0, 0] + told[:, 1, 1]))


@any_family
def test_entropy_and_divergence_are_means_over_samples(name):
    belief, other = moved(name), FAMILIES[name]
    plans = belief.sample(jax.random.key(4), 40_000)
    log_q, log_p = belief.log_prob(plans), other.log_prob(plans)
    for told, values in ((belief.entropy(), -log_q), (belief.kl(other), log_q - log_p)):
        slack = 0.05 if name == "mixture" else 2e-3  # whose own are estimates too
        assert abs(float(told - values.mean())) < 4.5 * float(values.std()) / 200 + slack
    np.testing.assert_allclose(belief.kl(belief), 0.0, atol=2e-5)
    assert belief.kl(other) > 0


@any_family
def test_the_structure_survives_a_fit_and_a_shift(name):
    initial, belief = FAMILIES[name], moved(name)
    for how in (planners.beliefs.shift_by_one(), planners.beliefs.shift_by_one(inflation=1.3, tail="initial")):
        shifted = belief.shift(initial, how)
        assert jax.tree.structure(shifted) == jax.tree.structure(initial)
        assert [x.aval for x in jax.tree.leaves(shifted)] == [x.aval for x in jax.tree.leaves(initial)]
        assert jnp.isfinite(shifted.log_prob(shifted.sample(jax.random.key(5), 4))).all()
        discrete = name in ("categorical", "enumeration")
        assert shifted.mode().shape == ((3,) if discrete else (3, 2))
        assert shifted.mode().dtype == (jnp.int32 if discrete else jnp.float32)


@pytest.mark.parametrize("name", ["coloured", "full", "kronecker", "mixture", "categorical"])
def test_a_fit_to_many_samples_of_a_member_is_that_member(name):
    belief = moved(name)
    plans = belief.sample(jax.random.key(6), 100_000)
    again = belief.fit(plans, jnp.full(100_000, 1e-5))
    assert again.kl(belief) < 5e-3 + (0.02 if name == "categorical" else 0.0)  # smoothed


def test_a_full_covariance_is_unbiased_and_shrinks_when_it_must():
    belief = bound(planners.beliefs.full_gaussian(std=1.0, std_min=1e-4), 3, 2)
    plans = belief.sample(jax.random.key(0), 60)
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(1), (60,)))
    ess = float(1 / (weights**2).sum())
    assert ess > 12  # twice the six numbers of a plan: nothing is shrunk
    flat = np.asarray(plans, float).reshape(60, 6)
    w = np.asarray(weights, float)
    centred = flat - w @ flat
    truth = (w[:, None] * centred).T @ centred / (1 - (w**2).sum())
    np.testing.assert_allclose(belief.fit(plans, weights).covariance(), truth, atol=1e-4)
    few = jax.nn.softmax(12.0 * jax.random.normal(jax.random.key(1), (60,)))
    assert 1 / (few**2).sum() < 4
    fitted = belief.fit(plans, few)
    assert jnp.linalg.eigvalsh(fitted.covariance()).min() > 1e-4
    assert jnp.isfinite(fitted.log_prob(plans)).all()
    lone = belief.fit(plans, jnp.zeros(60).at[7].set(1.0))
    np.testing.assert_allclose(lone.mean, plans[7], rtol=1e-5)
    assert jnp.isfinite(lone.scale_tril).all()


def test_weighted_variances_are_unbiased():
    """E[Σ w (a − μ_w)²] = (1 − Σ w²) σ²: the correction undoes it."""
    weights = jax.random.dirichlet(jax.random.key(1), jnp.full(10, 0.5))
    belief = bound(planners.beliefs.gaussian(std=2.0, unbiased=True, std_min=1e-6), 1, 1)
    draw = jax.vmap(lambda key: belief.fit(belief.sample(key, 10), weights).std[0, 0] ** 2)
    variances = draw(jax.random.split(jax.random.key(0), 20_000))
    factor = min(1 / (1 - float((weights**2).sum())), 2.0) * (1 - float((weights**2).sum()))
    assert abs(float(variances.mean()) - 4.0 * factor) < 4.5 * float(variances.std()) / 141


def weighted_plans():
    """Plans from a wide Gaussian, weighted to stand for two bumps of weights 0.3 and 0.7."""
    plans = 3.0 * jax.random.normal(jax.random.key(0), (4_000, 1, 2))
    bumps = [(0.3, jnp.array([-2.0, 0.0]), 0.3), (0.7, jnp.array([2.0, 1.0]), 0.2)]
    target = jax.nn.logsumexp(
        jnp.stack(
            [
                jnp.log(weight / variance) - ((plans[:, 0] - mean) ** 2).sum(-1) / (2 * variance)
                for weight, mean, variance in bumps
            ]
        ),
        axis=0,
    )
    return plans, jax.nn.softmax(target + (plans[:, 0] ** 2).sum(-1) / 18.0)


def test_mixtures_climb_the_likelihood_and_find_the_bumps():
    plans, weights = weighted_plans()
    belief = bound(planners.beliefs.mixture(num_components=2, std=2.0, std_min=1e-3), 1, 2)
    log_likelihoods = []
    for _ in range(60):
        log_likelihoods.append(float(weights @ belief.log_prob(plans)))
        belief = belief.fit(plans, weights)
    assert (np.diff(log_likelihoods) > -1e-5).all()
    order = jnp.argsort(belief.means[:, 0, 0])
    np.testing.assert_allclose(jnp.exp(belief.log_weights)[order], [0.3, 0.7], atol=0.03)
    np.testing.assert_allclose(belief.means[order, 0], [[-2.0, 0.0], [2.0, 1.0]], atol=0.1)
    # the fixed point: Σ_k w_k N_m(a_k)/q(a_k) = 1
    own = jnp.exp(belief._log_joint(plans) - belief.log_weights[:, None] - belief.log_prob(plans))
    np.testing.assert_allclose(own @ weights, 1.0, atol=1e-3)
    np.testing.assert_allclose(belief.mode(), belief.means[order[1]])
    drawn = jax.vmap(belief.random_mode)(jax.random.split(jax.random.key(0), 2_000))
    np.testing.assert_allclose((drawn[:, 0, 0] > 0).mean(), jnp.exp(belief.log_weights)[order[1]], atol=0.05)


def test_a_mixture_fitted_to_two_plans_is_not_made_wider_than_they_are():
    """Plans ±1: the variance of the greatest likelihood is 1, and log q is then −½ log 2π − ½ at both."""
    plans, weights = jnp.array([-1.0, 1.0]).reshape(2, 1, 1), jnp.full(2, 0.5)
    belief = bound(planners.beliefs.mixture(num_components=1, std=1.0), 1, 1)
    for _ in range(3):
        belief = belief.fit(plans, weights)
        np.testing.assert_allclose(weights @ belief.log_prob(plans), -1.418939, rtol=1e-5)
    corrected = bound(planners.beliefs.mixture(num_components=1, std=1.0, unbiased=True), 1, 1).fit(plans, weights)
    np.testing.assert_allclose(corrected.stds, 2.0**0.5, rtol=1e-6)


@pytest.mark.parametrize("num_components", [1, 2, 5])
def test_the_likelihood_of_a_mixture_never_falls(num_components):
    """Whatever plans, weights, and floors that bind; but a component that died was given up for another."""

    def trace(key):
        keys = jax.random.split(key, 5)
        scale = jnp.exp(jax.random.uniform(keys[0], minval=-3.0, maxval=2.0))
        plans = scale * jax.random.normal(keys[1], (40, 3, 2)) + jax.random.normal(keys[2], (40, 1, 1))
        weights = jax.nn.softmax(jnp.exp(jax.random.uniform(keys[3], maxval=3.0)) * jax.random.normal(keys[4], (40,)))
        belief = bound(planners.beliefs.mixture(num_components=num_components, std=scale, std_min=0.3 * scale), 3, 2)

        def fit(belief, _):
            share = jnp.exp(belief._log_joint(plans) - belief.log_prob(plans))
            dies = ((share @ weights) < 1e-3 / num_components).any()
            return belief.fit(plans, weights), (weights @ belief.log_prob(plans), dies)

        return jax.lax.scan(fit, belief, length=12)[1]

    log_likelihoods, dies = jax.jit(jax.vmap(trace))(jax.random.split(jax.random.key(0), 200))
    rises = np.diff(log_likelihoods) / np.maximum(1.0, np.abs(log_likelihoods[:, 1:]))
    assert rises[~dies[:, :-1]].min() > -1e-5
    assert (~dies).mean() > 0.5


def test_floored_weights_are_the_best_that_the_floor_allows():
    """Against a search: argmax Σ N log π under π ≥ 0.01/M, with none, some and all but one at the floor."""
    belief = bound(planners.beliefs.mixture(num_components=3, std=1.0), 1, 1)
    centres = jnp.array([-9.0, 0.0, 9.0]).reshape(3, 1, 1)
    apart = dataclasses.replace(belief, means=centres, stds=jnp.full((3, 1, 1), 0.1))
    floor = 0.01 / 3
    for weights in ([0.3, 0.3, 0.4], [0.002, 0.498, 0.5], [0.0, 0.001, 0.999]):
        fitted = np.exp(np.asarray(apart.fit(centres, jnp.array(weights)).log_weights, float))
        np.testing.assert_allclose(fitted.sum(), 1.0, rtol=1e-5)
        assert fitted.min() > floor * 0.999
        above = [w if w > 0.0034 else 0.0 for w in weights]
        expected = np.where(np.array(above) > 0, np.array(above) / sum(above), floor)
        expected[np.array(above) > 0] *= 1.0 - floor * above.count(0.0)
        np.testing.assert_allclose(fitted, expected, rtol=1e-4)


@pytest.mark.parametrize(("num_components", "size"), [(2, 1), (3, 2), (4, 1), (6, 2), (9, 1)])
def test_components_start_in_pairs_on_either_side(num_components, size):
    """As far as the std says, in a direction that depends on the key, so that none is ever left out."""
    mean = jnp.linspace(-0.5, 0.5, 5)[:, None] * jnp.ones(size)
    belief = bound(planners.beliefs.mixture(num_components=num_components, mean=mean, std=0.4), 5, size)
    proposed = jax.vmap(lambda key: belief.propose(key, 64))(jax.random.split(jax.random.key(0), 200))
    away = (proposed.belief.means - mean) / 0.4
    np.testing.assert_allclose(away.mean(1), 0.0, atol=1e-5)
    half, pairs = num_components // 2, away[:, num_components % 2 :]
    np.testing.assert_allclose(pairs[:, :half], -pairs[:, half:], atol=1e-5)
    spread = (pairs[:, :half].mean(2) ** 2).mean((0, 1))  # of what is constant in time, along each actuator
    np.testing.assert_allclose(spread, 1.0, atol=0.25)
    apart = jnp.linalg.norm(
        (away[:, :, None] - away[:, None]).reshape(200, num_components, num_components, -1), axis=-1
    )
    assert (apart + 9.0 * jnp.eye(num_components)).min() > 0.1
    if size > 1:
        assert jnp.linalg.norm(pairs[1:, 0] - pairs[0, 0], axis=(1, 2)).min() > 1e-4
    np.testing.assert_allclose(belief.means.mean(0), mean, atol=1e-5)


def test_what_was_learnt_or_chosen_does_not_turn():
    belief = bound(planners.beliefs.mixture(num_components=4, std=0.4), 5, 2)
    chosen = dataclasses.replace(belief, means=belief.means + 0.1)
    np.testing.assert_array_equal(chosen.propose(jax.random.key(1), 8).belief.means, chosen.means)
    turned = belief.propose(jax.random.key(1), 8).belief
    again = turned.propose(jax.random.key(2), 8).belief
    np.testing.assert_array_equal(again.means, turned.means)
    shifted = belief.shift(belief, planners.beliefs.shift_by_one())
    assert (shifted.starts == belief.starts).all()


def test_a_mixture_proposes_wider_plans_and_says_so():
    """E_r[q/r f] = E_q[f], with weights q/r that never exceed 1/(1 − 0.1)."""
    belief = bound(planners.beliefs.mixture(num_components=3, std=0.5, std_min=0.01), 2, 1)
    narrow = dataclasses.replace(
        belief,
        means=jnp.array([-1.0, 0.2, 0.9]).reshape(3, 1, 1) * jnp.ones((3, 2, 1)),
        stds=jnp.full((3, 2, 1), 0.1),
        log_weights=jnp.log(jnp.array([0.7, 0.25, 0.05])),
    )
    proposal = narrow.propose(jax.random.key(0), 20_000)
    plans, same = proposal.plans, proposal.belief
    assert proposal.drawn is None  # all of them are samples
    weights = np.exp(np.asarray(proposal.log_correction, float))
    assert weights.max() < 1.11112
    assert abs(weights.mean() - 1.0) < 4.5 * weights.std() / 141
    for moment, truth in ((plans[:, 0, 0], -0.605), (plans[:, 1, 0] ** 2, 0.7 + 0.25 * 0.04 + 0.05 * 0.81 + 0.01)):
        values = weights * np.asarray(moment, float)
        assert abs(values.mean() - truth) < 4.5 * values.std() / 141
    far = jnp.abs(plans[:, 0, 0, None] - same.means[:, 0, 0]).min(-1) > 0.4
    assert 0.02 < far.mean() < 0.1
    assert (
        bound(planners.beliefs.mixture(num_components=1), 2, 1).propose(jax.random.key(0), 8).log_correction is None
    )


def test_mixtures_draw_their_components_evenly():
    """Each plan is of a component with its probability, and all of them together nearly in proportion."""
    belief = dataclasses.replace(
        bound(planners.beliefs.mixture(num_components=3), 3, 1), log_weights=jnp.log(jnp.array([0.6, 0.3, 0.1]))
    )
    component = jax.vmap(lambda key: belief.noise(key, 50)[0][:, 0])(jax.random.split(jax.random.key(0), 4_000))
    share = jax.nn.one_hot(component, 3)
    each = np.asarray(share.mean(0), float)
    assert np.abs(each - np.array([0.6, 0.3, 0.1])).max() < 5 * 0.49 / 4_000**0.5
    assert jnp.abs(share.sum(1) - jnp.array([30.0, 15.0, 5.0])).max() <= 3


def test_one_component_is_a_gaussian():
    plans, weights = weighted_plans()
    mixture = bound(planners.beliefs.mixture(num_components=1, std=2.0, std_min=1e-3, unbiased=True), 1, 2)
    gaussian = bound(planners.beliefs.gaussian(std=2.0, std_min=1e-3, unbiased=True), 1, 2)
    np.testing.assert_allclose(mixture.log_prob(plans), gaussian.log_prob(plans), rtol=1e-5)
    left, right = mixture.fit(plans, weights), gaussian.fit(plans, weights)
    np.testing.assert_allclose(left.means[0], right.mean, atol=1e-5)
    np.testing.assert_allclose(left.stds[0], right.std, rtol=1e-4)


def test_a_dead_component_is_revived_at_the_best_plan():
    plans, weights = weighted_plans()
    belief = bound(planners.beliefs.mixture(num_components=3, std=1.0), 1, 2)
    lost = dataclasses.replace(belief, means=belief.means.at[1].set(1e3))
    fitted = lost.fit(plans, weights)
    np.testing.assert_allclose(fitted.means[1], plans[jnp.argmax(weights)], rtol=1e-5)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted))
    np.testing.assert_allclose(jnp.exp(fitted.log_weights).sum(), 1.0, rtol=1e-5)
    assert jnp.exp(fitted.log_weights).min() > 0.9 * 0.01 / 3


def test_dead_components_are_revived_apart():
    plans, weights = weighted_plans()
    belief = bound(planners.beliefs.mixture(num_components=4, std=1.0), 1, 2)
    lost = dataclasses.replace(belief, means=belief.means.at[1:].set(1e3))
    means = lost.fit(plans, weights).means
    assert len(jnp.unique(means[:, 0, 0])) == 4


def test_categorical_fits_are_weighted_frequencies():
    belief = FAMILIES["categorical"]
    plans = belief.sample(jax.random.key(0), 50)
    weights = jax.nn.softmax(jnp.arange(50.0) / 10)
    truth = np.zeros((3, 3))
    for weight, choice in zip(weights, plans, strict=True):
        truth[np.arange(3), np.asarray(choice)] += float(weight)
    np.testing.assert_allclose(jnp.exp(belief.fit(plans, weights).log_probs), 0.98 * truth + 0.02 / 3, rtol=1e-4)


def test_an_enumeration_proposes_all_plans_whatever_their_number():
    belief = FAMILIES["enumeration"]
    for num_samples in (5, 8, 20):
        plans = np.asarray(belief.propose(jax.random.key(0), num_samples).plans)
        np.testing.assert_array_equal(plans @ [4, 2, 1], np.arange(8))
    still = dynamics.from_function(lambda key, state, action: (state, action[0], 1.0), 1)
    model = dynamics.discretized(still, [[0.0], [1.0]])
    for sizes in ((20,), (8, 4)):
        planner = planners.sampling_planner(
            3,
            planners.beliefs.enumeration(),
            planners.likelihoods.exponential(1.0),
            num_samples=sizes,
            num_iterations=len(sizes),
            keep=("returns", "weights"),
        )
        _, info = planners.infer(planner, model, jax.random.key(0), jnp.zeros(()))
        np.testing.assert_array_equal(info.returns, np.tile(plans.sum(1), (len(sizes), 1)))
        assert info.weights.shape == (len(sizes), 8)


def test_annealed_noise_follows_its_schedule():
    belief = FAMILIES["annealed"]
    plans, weights = belief.sample(jax.random.key(0), 4), jnp.full(4, 0.25)
    for factor in (1.0, 0.5, 0.5):
        np.testing.assert_allclose(belief.std, factor * STD, rtol=1e-6)
        np.testing.assert_allclose(jnp.diagonal(belief.covariance()), (factor * STD).ravel() ** 2, rtol=1e-6)
        belief = belief.fit(plans, weights)
    np.testing.assert_allclose(belief.shift(FAMILIES["annealed"], planners.beliefs.shift_by_one()).std, STD)


def start(planner):
    """What checks a planner's options against its family and actions."""
    model = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1)
    return planner.init(model, jnp.zeros(()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: planners.beliefs.annealed(planners.beliefs.gaussian(), [1.0]),
            "gaussian must not learn its std",
        ),
        (
            lambda: planners.beliefs.annealed(planners.beliefs.gaussian(learn_std=False), 1.0),
            r"schedule must have shape \[I\], one factor per iteration",
        ),
        (
            lambda: bound(planners.beliefs.categorical(), 3, 2),
            "a categorical belief needs discrete actions .see dynamics.discretized., got action_size=2",
        ),
        (lambda: planners.beliefs.categorical(smoothing=0.0), "smoothing must be finite and > 0"),
        (
            lambda: planners.beliefs.enumeration().bind(17, dynamics.Discrete(2)),
            "enumeration needs at most 65536 plans, got 2 actions over 17 steps, 131072",
        ),
        (
            lambda: planners.beliefs.gaussian().bind(3, dynamics.Discrete(2)),
            "a Gaussian belief needs continuous actions, got num_actions=2",
        ),
        (
            lambda: bound(planners.beliefs.mixture(num_components=0), 3, 1),
            "num_components must be an integer of at least 1",
        ),
        (
            lambda: bound(planners.beliefs.strategy(num_samples=8, algorithm="CMA"), 3, 1),
            "strategy must be a class or an instance of",
        ),
        (
            lambda: bound(planners.beliefs.strategy(num_samples=8, params={"x": 1.0}), 3, 1),
            "params of CMA_ES are std_init",
        ),
        (
            lambda: bound(planners.beliefs.strategy(num_samples=8, algorithm="SV_CMA_ES"), 3, 1),
            "needs more than a size",
        ),
        (lambda: planners.vi_mpc(3, covariance="round"), "covariance must be one of diagonal, full, kronecker"),
        (lambda: planners.vi_mpc(3, covariance="full", num_components=2), "choose different families"),
        (
            lambda: start(planners.vi_mpc(3, enumerate_plans=True)),
            "vi_mpc on FunctionModel .action_size=1.: an enumeration needs discrete actions",
        ),
        (
            lambda: planners.vi_mpc(3, prior="wide"),
            "prior must be a family, an object with log_prob, or 'flat', got 'wide'",
        ),
        (lambda: planners.vi_mpc(3, prior="flat", prior_std=1.0), "prior_std is of the default prior"),
        (lambda: planners.vi_mpc(3, clip_plans=True), "clip_plans takes no prior"),
        (
            lambda: planners.cem(3, execute="last"),
            "execute must be one of mode, mean, best, sample, component, got 'last'",
        ),
        (lambda: start(planners.cem(3, execute="component")), "needs a belief of several modes, got Gaussian"),
        (
            lambda: planners.cem(3, explore_fraction=1.5),
            r"explore_fraction must be finite and >= 0 and < 1, got 1.5",
        ),
        (
            lambda: start(planners.evolution(3, explore_fraction=0.5)),
            "explore_fraction must be 0 for Strategy, got 0.5",
        ),
        (lambda: planners.icem(3, population_decay=0.5), "population_decay must be finite and >= 1, got 0.5"),
        (lambda: planners.icem(3, keep_fraction=-0.5), "keep_fraction must be finite and >= 0 and <= 1, got -0.5"),
    ],
)
def test_mistakes_in_other_families_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
