"""Smooth plans: coloured noise, splines, and how beliefs move on by a time step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound
from scipy.interpolate import CubicSpline

from mirrax import dynamics, planners
from mirrax.planners.beliefs.knots import knot_shift, spline_basis
from mirrax.planners.beliefs.warm_start import shift_by_one

KEY = jax.random.key(0)


def timmer_koenig(length, exponent):
    """The covariance of noise made of random Fourier coefficients of std max(f, 1/T)^(−exponent/2), one by one."""
    frequency = np.fft.rfftfreq(length)
    scale = np.maximum(frequency, 1 / length) ** (-exponent / 2)
    columns = []
    for number in range(len(frequency)):
        alone = number == 0 or (length % 2 == 0 and number == len(frequency) - 1)
        for unit in (np.sqrt(2.0),) if alone else (1.0, 1.0j):
            coefficients = np.zeros(len(frequency), complex)
            coefficients[number] = unit * scale[number]
            columns.append(np.fft.irfft(coefficients, n=length))
    return np.array(columns).T @ np.array(columns)


@pytest.mark.parametrize("exponent", [0.0, 0.25, 2.0, 3.0])
@pytest.mark.parametrize("steps", [1, 10, 11, 30])
def test_coloured_correlation_is_the_generators(steps, exponent):
    truth = timmer_koenig(2 * steps, exponent)[:steps, :steps]
    correlation = planners.beliefs.noise.coloured_correlation(steps, exponent)
    np.testing.assert_allclose(correlation, truth / truth[0, 0], atol=1e-4)
    np.testing.assert_allclose(jnp.diagonal(correlation), 1.0, atol=1e-6)
    if exponent == 0.0:
        np.testing.assert_allclose(correlation, np.eye(steps), atol=1e-5)
    elif steps == 30:
        assert correlation[0, -1] < correlation[0, 1] - 0.1  # no wrapping around


GAUSSIANS = [planners.beliefs.gaussian, planners.beliefs.full_gaussian, planners.beliefs.kronecker_gaussian]


@pytest.mark.parametrize("family", GAUSSIANS)
def test_coloured_noise_has_unit_variance_and_the_density_it_says(family):
    std = jnp.array([0.4, 0.8])
    belief = bound(family(std=std, noise_exponent=2.0), 12, 2)
    plans = belief.sample(KEY, 40_000)
    np.testing.assert_allclose(plans.std(0), jnp.broadcast_to(std, (12, 2)), rtol=0.03)
    flat = np.asarray(plans.reshape(40_000, -1), float)
    np.testing.assert_allclose(np.cov(flat.T), belief.covariance(), atol=0.02)
    covariance = np.asarray(belief.covariance(), float)
    quadratic = np.einsum("ki,ij,kj->k", flat[:9], np.linalg.inv(covariance), flat[:9])
    truth = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])
    np.testing.assert_allclose(belief.log_prob(plans[:9]), truth, rtol=2e-2, atol=0.5)
    np.testing.assert_allclose(belief.entropy(), 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1], rtol=1e-2)


@pytest.mark.parametrize("family", GAUSSIANS)
def test_the_smoothest_noise_of_long_plans(family):
    belief = bound(family(noise_exponent=4.0), 200, 1)
    plans = belief.sample(KEY, 4)
    assert jnp.isfinite(plans).all()
    assert jnp.isfinite(belief.log_prob(plans)).all()


# Splines ----------


@pytest.mark.parametrize("num_knots", [2, 3, 7, 12])
@pytest.mark.parametrize("interpolation", ["zero", "linear", "cubic"])
def test_plans_pass_through_their_knots(interpolation, num_knots):
    horizon = 12
    family = planners.beliefs.splined(planners.beliefs.gaussian(std=0.3), num_knots, interpolation)
    belief = bound(family, horizon, 2)
    knots = jax.random.normal(KEY, (num_knots, 2))
    plan = belief.expand @ knots
    assert plan.shape == belief.mode().shape == (horizon, 2)
    np.testing.assert_allclose(belief.reduce @ plan, knots, atol=1e-4)  # nothing is lost
    times = np.linspace(0, horizon - 1, num_knots)
    if interpolation == "zero":
        assert len(np.unique(np.asarray(plan[:, 0]).round(4))) == num_knots
    elif interpolation == "linear" or num_knots == 2:
        truth = np.stack([np.interp(np.arange(horizon), times, column) for column in np.asarray(knots).T], 1)
        np.testing.assert_allclose(plan, truth, atol=1e-5)
    else:
        truth = CubicSpline(times, np.asarray(knots, float), bc_type="natural")(np.arange(horizon))
        np.testing.assert_allclose(plan, truth, atol=1e-4)
    np.testing.assert_allclose(spline_basis(horizon, num_knots, interpolation).sum(1), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    "family",
    [
        planners.beliefs.gaussian(std=0.4, noise_exponent=1.0),
        planners.beliefs.full_gaussian(std=0.4),
        planners.beliefs.kronecker_gaussian(std=0.4),
        planners.beliefs.mixture(num_components=3, std=0.4),
        planners.beliefs.strategy(num_samples=8, algorithm="SNES"),
    ],
    ids=["gaussian", "full", "kronecker", "mixture", "strategy"],
)
@pytest.mark.parametrize("interpolation", ["zero", "linear", "cubic"])
def test_any_family_works_over_knots(family, interpolation):
    """Fitting plans is fitting their knots, and densities, modes and divergences are those of the knots."""
    belief = bound(planners.beliefs.splined(family, 4, interpolation), 10, 2)
    plans = belief.sample(KEY, 8)
    assert plans.shape == (8, 10, 2)
    knots = jnp.einsum("nh,kha->kna", belief.reduce, plans)
    weights = jax.nn.softmax(jnp.arange(8.0))
    fitted, inner = belief.fit(plans, weights), belief.knots.fit(knots, weights)
    np.testing.assert_allclose(fitted.mode(), belief.expand @ inner.mode(), atol=1e-3)
    if not isinstance(belief.knots, planners.beliefs.Strategy):
        np.testing.assert_allclose(belief.log_prob(plans), belief.knots.log_prob(knots), rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(fitted.kl(belief), inner.kl(belief.knots), rtol=1e-2, atol=1e-3)
    shifted = fitted.shift(belief, planners.beliefs.shift_by_one())
    assert jax.tree.structure(shifted) == jax.tree.structure(belief)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(shifted) if leaf.dtype == float)


def test_discrete_actions_are_held():
    levels = jnp.array([[0.0], [1.0], [-1.0]])
    family = planners.beliefs.splined(planners.beliefs.categorical(), 4, "zero")
    belief = family.bind(10, dynamics.Discrete(3))
    plans = belief.sample(KEY, 50)
    assert plans.shape == (50, 10)
    assert plans.dtype == jnp.int32
    assert set(np.unique(plans)) == {0, 1, 2}
    assert ((jnp.diff(plans, axis=1) != 0).sum(1) <= 3).all()
    np.testing.assert_array_equal(belief.mode(), plans.dtype.type(0))
    fitted = belief.fit(plans, jax.nn.softmax(levels[plans, 0].sum(-1)))
    np.testing.assert_allclose(belief.log_prob(plans), belief.knots.log_prob(plans[:, jnp.array([0, 3, 5, 8])]))
    shifted = fitted.shift(belief, planners.beliefs.shift_by_one())
    np.testing.assert_allclose(jnp.exp(shifted.knots.log_probs).sum(-1), 1.0, rtol=1e-5)
    before, after = jnp.exp(fitted.knots.log_probs), jnp.exp(shifted.knots.log_probs)
    assert (after[:-1] >= jnp.minimum(before[:-1], before[1:]) - 1e-5).all()  # between its own and the next one's
    assert (after[:-1] <= jnp.maximum(before[:-1], before[1:]) + 1e-5).all()
    still = dynamics.from_function(lambda key, state, action: (state, 0.0, 1.0), 1)
    planner, model = planners.vi_mpc(10, num_knots=4), dynamics.discretized(still, levels)
    with pytest.raises(
        ValueError, match="interpolation of knots must be 'zero' where actions are discrete, got 'cubic'"
    ):
        planner.init(model, jnp.zeros(()))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_shifted_spline_is_read_at_its_knots(interpolation):
    family = planners.beliefs.splined(planners.beliefs.gaussian(), 4, interpolation)
    belief = bound(family, 13, 1)  # knots at 0, 4, 8, 12
    plans = jnp.sin(jnp.arange(13) / 4.0)[None, :, None]
    belief = belief.fit(plans, jnp.ones(1))
    before, after = belief.mode()[:, 0], belief.shift(belief, planners.beliefs.shift_by_one()).mode()[:, 0]
    np.testing.assert_allclose(after[jnp.array([0, 4, 8])], before[jnp.array([1, 5, 9])], atol=1e-5)
    np.testing.assert_allclose(after[12], before[12], atol=1e-5)  # held
    if interpolation == "cubic":
        np.testing.assert_allclose(after[:9], before[1:10], atol=0.03)


def test_held_knots_move_on_too():
    """Read where they stand, held knots would never move; the nearest held plan moves as fast as time."""
    belief = bound(planners.beliefs.splined(planners.beliefs.gaussian(), 3, "zero"), 12, 1)
    plan = jnp.repeat(jnp.array([1.0, 0.0, 2.0]), 4)[None, :, None]
    belief = belief.fit(plan, jnp.ones(1))
    after = belief.shift(belief, planners.beliefs.shift_by_one()).mode()[:, 0]
    np.testing.assert_allclose(after[::4], [0.75, 0.5, 2.0], atol=1e-5)


# Warm starts ----------


def test_tails():
    belief = bound(planners.beliefs.gaussian(mean=[[1.0], [2.0], [3.0]], std=0.2), 3, 1)
    initial = bound(planners.beliefs.gaussian(mean=0.5, std=0.4), 3, 1)
    for tail, last in (("hold", 3.0), ("zero", 0.0), ("initial", 0.5)):
        shifted = belief.shift(initial, planners.beliefs.shift_by_one(tail=tail))
        np.testing.assert_allclose(shifted.mean.ravel(), [2.0, 3.0, last])
        np.testing.assert_allclose(shifted.std, 0.4)


@pytest.mark.parametrize("family", ["diagonal", "full", "kronecker"])
def test_inflation_carries_the_covariance_on(family):
    """Shifted, the new step as at the beginning, and wider by the factor, but not beyond the initial spread."""
    initial = bound(planners.beliefs.gaussian_of(family, std=1.0), 4, 2)
    plans = 0.3 * jnp.cumsum(jax.random.normal(KEY, (500, 4, 2)), axis=1)
    belief = initial.fit(plans, jnp.full(500, 1 / 500))
    before = np.asarray(belief.covariance())
    for factor in (1.0, 1.2):
        after = np.asarray(belief.shift(initial, planners.beliefs.shift_by_one(inflation=factor)).covariance())
        if family == "kronecker":  # a product: the fresh step has the initial variance on average over actuators
            np.testing.assert_allclose(after[:6, :6], factor * before[2:, 2:], rtol=1e-2, atol=2e-3)
            np.testing.assert_allclose(np.trace(after[6:, 6:]), factor * 2.0, rtol=1e-2)
            continue
        np.testing.assert_allclose(after[:6, :6], factor * before[2:, 2:], rtol=1e-2, atol=2e-3)
        np.testing.assert_allclose(after[6:, 6:], factor * np.eye(2), rtol=1e-2, atol=2e-3)
    wide = initial.shift(initial, planners.beliefs.shift_by_one(inflation=3.0))
    np.testing.assert_allclose(np.trace(wide.covariance()), np.trace(initial.covariance()), rtol=1e-3)
    again = belief.shift(initial, planners.beliefs.shift_by_one())
    np.testing.assert_allclose(again.covariance(), initial.covariance(), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planners.beliefs.shift_by_one(tail="last"), "tail must be one of hold, zero, initial, got 'last'"),
        (lambda: planners.beliefs.shift_by_one(inflation=0.9), "inflation must be finite and >= 1, got 0.9"),
        (
            lambda: bound(planners.beliefs.splined(planners.beliefs.gaussian(), 6), 5, 1),
            r"num_knots must be <= horizon \(5\), got 6",
        ),
        (lambda: planners.cem(5, num_knots=1), "num_knots must be an integer of at least 2, got 1"),
        (
            lambda: planners.cem(5, num_knots=3, interpolation="quadratic"),
            "interpolation must be one of zero, linear, cubic, got 'quadratic'",
        ),
        (lambda: planners.cem(5, interpolation="zero"), "interpolation needs num_knots"),
        (
            lambda: planners.beliefs.noise.coloured_correlation(5, -1.0),
            "noise_exponent must be finite and >= 0, got -1.0",
        ),
        (lambda: planners.pi2(5, num_knots=3), "num_knots must be None for pi2"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("steps", [0.1, 0.5, 1, 2.3])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_spline_that_is_shifted_again_and_again_does_not_grow(interpolation, steps):
    """Wherever knots stand between steps: it is evaluated there, and of a linear one no knot exceeds all before."""
    how = shift_by_one().by(steps)
    for horizon, num_knots in ((16, 8), (30, 10), (40, 39), (15, 9), (10, 8), (13, 5), (7, 2)):
        advance = np.asarray(knot_shift(how, horizon, num_knots, interpolation).advance, float)
        assert np.abs(np.linalg.eigvals(advance)).max() < 1.0 + 1e-6
        if interpolation == "linear":
            assert np.abs(advance).sum(1).max() < 1.0 + 1e-6


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_shifted_spline_is_the_spline_where_its_knots_come_to_stand(interpolation):
    horizon, num_knots = 10, 8
    knots = np.random.default_rng(0).normal(size=num_knots)
    times = np.linspace(0.0, horizon - 1.0, num_knots)
    spline = CubicSpline(times, knots, bc_type="natural")
    for steps in (1, 0.3, 2.5):
        later = np.minimum(times + steps, horizon - 1.0)
        expected = spline(later) if interpolation == "cubic" else np.interp(later, times, knots)
        found = knot_shift(shift_by_one().by(steps), horizon, num_knots, interpolation)
        moved = found.plans(jnp.asarray(knots)[:, None], jnp.asarray(knots)[:, None])[:, 0]
        inside = times + steps <= horizon - 1.0  # beyond, the last action is held
        np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-5)
        np.testing.assert_allclose(moved[~inside], knots[-1], atol=1e-5)
