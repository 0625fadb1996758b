"""Resampling: unbiased, of little variance, never a particle without weight, in float32 at 100 000 particles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrax import planners

SCHEMES = {
    name: getattr(planners.particles, name) for name in ("systematic", "stratified", "residual", "multinomial")
}
KEY = jax.random.key(0)
every = pytest.mark.parametrize("name", SCHEMES)


@functools.partial(jax.jit, static_argnums=(0, 2))
def draw(name, weights, num_samples, keys):
    return jax.vmap(lambda key: SCHEMES[name](key, weights, num_samples))(keys)


def children(name, weights, num_samples, keys):
    """How many children each particle has, for each key."""
    parents = np.asarray(draw(name, weights, num_samples, keys))
    return np.stack([np.bincount(own, minlength=len(weights)) for own in parents])


@every
def test_expected_children_are_proportional_to_the_weights(name):
    weights = jnp.array([0.31, 0.02, 0.0, 0.27, 0.11, 0.25, 0.04, 0.0])
    counts = children(name, 3.0 * weights, 20, jax.random.split(KEY, 20_000))  # of any scale
    assert (counts.sum(1) == 20).all()
    expected = 20.0 * np.asarray(weights)
    error = np.abs(counts.mean(0) - expected)
    assert (error <= 4.5 * counts.std(0) / np.sqrt(len(counts)) + 1e-6).all(), error
    assert (counts[:, [2, 7]] == 0).all()


def test_less_variance_than_independent_draws():
    weights, keys = jax.random.dirichlet(jax.random.key(1), jnp.ones(9)), jax.random.split(KEY, 4000)
    variance = {name: children(name, weights, 30, keys).var(0).sum() for name in SCHEMES}
    assert variance["systematic"] < variance["stratified"] < 0.7 * variance["multinomial"], variance
    assert variance["residual"] < 0.7 * variance["multinomial"], variance


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.0, 1.0, width=32), min_size=16, max_size=16), st.integers(0, 1000))
def test_systematic_and_residual_round_to_neighbouring_integers(weights, seed):
    weights = np.asarray(weights, np.float32)
    if weights.sum() < 1e-3:
        weights[0] = 1.0
    expected = 16 * weights.astype(float) / weights.sum(dtype=float)
    key = jax.random.key(seed)[None]
    systematic = children("systematic", jnp.asarray(weights), 16, key)[0]
    assert (systematic >= np.floor(expected - 1e-4)).all()
    assert (systematic <= np.ceil(expected + 1e-4)).all()
    assert (children("residual", jnp.asarray(weights), 16, key)[0] >= np.floor(expected - 1e-4)).all()


@every
@pytest.mark.parametrize("dead", ["first", "last", "every other"])
def test_at_100_000_particles_the_dead_stay_dead(name, dead):
    """Where the cumulated weights fall short of 1, positions beyond them must not find the last particle."""
    size = 100_000
    gone = {"first": slice(None, 1000), "last": slice(-1000, None), "every other": slice(None, None, 2)}[dead]
    for seed in range(10):
        weights = np.random.default_rng(seed).gamma(0.3, size=size).astype(np.float32)
        weights[gone] = 0.0
        weights = jnp.exp(jax.nn.log_softmax(jnp.log(weights)))
        parents = np.asarray(draw(name, weights, size, jax.random.key(seed)[None]))[0]
        assert (np.asarray(weights)[parents] > 0).all()
    counts = np.bincount(parents, minlength=size)
    bound = 1.1 if name == "systematic" else 60.0  # and no one has more children than its weight and luck allow
    assert np.abs(counts - size * np.asarray(weights, float)).max() < bound


@every
def test_equal_weights_at_100_000_particles(name):
    counts = children(name, jnp.full(100_000, 1e-5), 100_000, KEY[None])[0]
    if name == "systematic":
        assert np.mean(counts == 1) > 0.999
    assert counts.sum() == 100_000
    if name == "residual":  # each has its one child for sure, whatever rounding makes of n w
        for size in (7, 10, 49, 1000, 100_000):
            assert (children(name, jnp.exp(jnp.full(size, -np.log(size), jnp.float32)), size, KEY[None]) == 1).all()


@every
def test_all_weight_on_one(name):
    weights = jnp.zeros(5).at[3].set(1e-30)
    assert (SCHEMES[name](KEY, weights, 8) == 3).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: planners.particles.resampler("sytematic"),
            "resampling must be one of systematic, stratified, residual, mult",
        ),
        (
            lambda: planners.particles.resampler(ess_threshold=1.5),
            "ess_threshold must be finite and >= 0 and <= 1, got 1.5",
        ),
        (
            lambda: planners.particles.resampler(value="models"),
            "value must be a function of a state, 'model' or None, got 'mo",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
