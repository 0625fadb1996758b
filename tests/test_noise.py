"""Coloured noise and triangular inverses, against dense algebra in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import bound
from scipy import linalg, stats

from mirrax import planners
from mirrax.planners.beliefs.noise import color
from mirrax.planners.beliefs.triangular import triangular_inverse

KEY = jax.random.key(0)


def blocks_of(num_steps):
    """How many steps the first block has, and each later one."""
    number = -(-num_steps // 128)
    width = num_steps // number
    return num_steps - (number - 1) * width, width


def dense(num_steps, exponent):
    """L, step by step, and the correlation of steps by their distance, both of the definition."""
    first, width = blocks_of(num_steps)
    frequency = np.fft.rfftfreq(2 * num_steps)
    power = np.maximum(frequency, 0.5 / num_steps) ** -exponent
    known = np.fft.irfft(power, n=2 * num_steps)
    share = 1e-6 * (first if first == num_steps else max(first, width + 1))
    reach = known / known[0] / (1.0 + share)
    reach[0] = 1.0
    tril = np.zeros((num_steps, num_steps))
    tril[:first, :first] = np.linalg.cholesky(linalg.toeplitz(reach[:first]))
    if first < num_steps:
        weights = np.linalg.solve(linalg.toeplitz(reach[:width]), reach[1 : width + 1])
        for t in range(first, num_steps):  # the best linear prediction from so many steps, and what it leaves
            tril[t] = weights @ tril[t - width : t][::-1]
            tril[t, t] = np.sqrt(1.0 - weights @ reach[1 : width + 1])
    return tril, reach


def all_of(noise, white, scale):
    """Everything that noise tells, as one program."""
    coloured = noise.colour(white)
    told = noise.log_diagonal(), noise.excess(scale), noise.excess(jnp.ones_like(scale)), noise.correlation()
    return coloured, noise.whiten(coloured), *told


# from 129 steps on it is made of blocks, of which the first may be longer
@pytest.mark.parametrize(("num_steps", "exponent"), [(1, 1.0), (30, 0.0), (30, 1.0), (257, 1.0), (300, 2.0)])
def test_colour_is_dense_algebra(num_steps, exponent):
    """Colouring, whitening, the determinant and the excess: in double precision to its last digits."""
    tril, _ = dense(num_steps, exponent)
    rng = np.random.default_rng(0)
    white, scale = rng.normal(size=(4, num_steps, 2)), rng.uniform(0.3, 2.0, size=(num_steps, 2))
    inverse = np.linalg.inv(tril)
    excess = sum((np.square(inverse @ np.diag(column) @ tril)).sum() for column in scale.T)
    for double, tolerance in ((True, 1e-8), (False, 2e-3)):
        with jax.enable_x64(double):
            given = jnp.asarray(white, float), jnp.asarray(scale, float)
            coloured, again, *told = jax.jit(all_of)(jax.jit(color, static_argnums=0)(num_steps, exponent), *given)
            assert coloured.dtype == (jnp.float64 if double else jnp.float32)
            np.testing.assert_allclose(coloured, tril @ white, rtol=0, atol=tolerance)
            np.testing.assert_allclose(again, white, rtol=0, atol=tolerance)
            np.testing.assert_allclose(told[0], np.log(np.diag(tril)), rtol=0, atol=tolerance)
            np.testing.assert_allclose(told[1:3], [excess, 2 * num_steps], rtol=tolerance)
            np.testing.assert_allclose(told[3], tril @ tril.T, rtol=0, atol=tolerance)


@pytest.mark.parametrize("num_steps", [30, 300])
def test_correlations_are_exact_within_a_block(num_steps):
    """They are those of the spectrum: all of them up to 128 steps, then up to so many steps as a block has."""
    with jax.enable_x64(True):
        found = np.asarray(color(num_steps, 1.0).correlation())
        wanted = np.asarray(planners.beliefs.noise.coloured_correlation(num_steps, 1.0))
    first, width = blocks_of(num_steps)
    apart = np.abs(np.arange(num_steps)[:, None] - np.arange(num_steps))
    near = apart <= (num_steps if first == num_steps else width)
    np.testing.assert_allclose(found[near], wanted[near], atol=1e-3)  # but for the white noise that is added
    assert np.linalg.eigvalsh(found).min() > 0
    if first < num_steps:  # beyond, what follows of it: less and less, as in the spectrum, if not as much
        assert np.abs(found - wanted).max() < 0.3


def test_plans_have_that_covariance_and_their_density():
    """Of 300 steps: what is drawn, what `covariance` says, and what `log_prob` says, are one distribution."""
    belief = bound(planners.beliefs.gaussian(std=0.5, noise_exponent=1.0), 300, 1)
    plans = np.asarray(belief.sample(KEY, 4000), float)[..., 0]
    tril, _ = dense(300, 1.0)
    covariance = 0.25 * tril @ tril.T
    np.testing.assert_allclose(belief.covariance(), covariance, atol=1e-3)
    for i, j in ((0, 0), (299, 299), (0, 1), (98, 101), (150, 200), (10, 290), (199, 299)):
        product = plans[:, i] * plans[:, j]
        assert abs(product.mean() - covariance[i, j]) < 4.5 * product.std() / 4000**0.5, (i, j)
    exact = stats.multivariate_normal(np.zeros(300), covariance, allow_singular=False).logpdf(plans[:5])
    np.testing.assert_allclose(belief.log_prob(jnp.asarray(plans[:5, :, None], jnp.float32)), exact, atol=0.5)
    np.testing.assert_allclose(belief.entropy(), 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1], atol=0.1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 32, 100])
def test_triangular_inverses(size):
    rng = np.random.default_rng(size)
    matrix = rng.normal(size=(size, size)) / size**0.5
    matrix[np.diag_indices(size)] = rng.uniform(0.5, 2.0, size=size)  # the upper half is to be ignored
    exact = linalg.solve_triangular(matrix, np.eye(size), lower=True)
    for double, tolerance in ((True, 1e-12), (False, 1e-4)):
        with jax.enable_x64(double):
            found = jax.jit(triangular_inverse)(jnp.asarray(matrix, float))
            np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * np.abs(exact).max())
            np.testing.assert_array_equal(jnp.triu(found, 1), 0.0)


def test_triangular_inverses_of_many_and_their_derivatives():
    rng = np.random.default_rng(0)
    matrices = np.tril(rng.normal(size=(3, 5, 5)), -1) + np.eye(5)
    weights = rng.normal(size=(5, 5))
    with jax.enable_x64(True):
        found = jax.vmap(triangular_inverse)(jnp.asarray(matrices))
        np.testing.assert_allclose(found, np.linalg.inv(matrices), atol=1e-12)
        gradient = jax.grad(lambda tril: (triangular_inverse(tril) * weights).sum())(jnp.asarray(matrices[0]))
    inverse = np.linalg.inv(matrices[0])
    np.testing.assert_allclose(gradient, np.tril(-inverse.T @ np.tril(weights) @ inverse.T), atol=1e-10)


@pytest.mark.parametrize("num_steps", [30, 128])
def test_the_inverse_of_noise_is_as_good_as_a_solve(num_steps):
    tril = np.linalg.cholesky(np.asarray(planners.beliefs.noise.coloured_correlation(num_steps, 2.0), float))
    inverse = np.asarray(triangular_inverse(jnp.asarray(tril, jnp.float32)), float)
    assert np.abs(tril @ inverse - np.eye(num_steps)).max() < 1e-3
