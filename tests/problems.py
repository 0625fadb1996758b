"""Problems with known answers that several tests share."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import stats

from mirrax import dynamics

# tests of sharding: on the CPU there are always several devices (see `conftest`), of an accelerator perhaps one
several_devices = pytest.mark.skipif(jax.device_count() < 4, reason="needs four devices")


def unchecked(function):
    """`function` as users have it, without the type checks of the tests, which come before its own messages."""

    def call(*args, **kwargs):
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            return function(*args, **kwargs)
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)

    return call


def random_linear_quadratic(seed=0, n=3, m=2, noise=0.0, **changes):
    """A stable random linear-quadratic problem with every term that there is."""
    rng = np.random.default_rng(seed)

    def spd(size, floor):
        x = rng.normal(size=(size, size))
        return x @ x.T / size + floor * np.eye(size)

    a = rng.normal(size=(n, n))
    terms = {
        "A": a / np.abs(np.linalg.eigvals(a)).max() * 0.95,
        "B": rng.normal(size=(n, m)),
        "c": 0.1 * rng.normal(size=n),
        "Q": spd(n, 0.1),
        "Qf": spd(n, 0.1),
        "R": spd(m, 0.5),
        "N": 0.1 * rng.normal(size=(m, n)),
        "q": rng.normal(size=n),
        "r": rng.normal(size=m),
        "qf": rng.normal(size=n),
        "start": rng.normal(size=n),
        "W": noise * np.eye(n) if noise else None,
    }
    return dynamics.linear_quadratic(**(terms | changes))


def target(action_size=2):
    """One-step memory: reward −|a − 0.5|² at each step, the state counts steps."""

    def step(key, state, action):
        return state + 1.0, -jnp.sum((action - 0.5) ** 2), 1.0

    return dynamics.from_function(step, action_size, init=lambda key: jnp.zeros(()))


def drift(key, state, action):
    """The step of a model, which has a name: what is saved finds it by that."""
    state = state + 0.1 * action[0] + 0.01 * jax.random.normal(key)
    return state, -(state**2), 1.0


def start(key):
    """The first state of that model."""
    return jnp.ones(())


def noisy_walk():
    """A random walk that pays for being near zero."""

    def step(key, state, action):
        state = state + action[0] + 0.3 * jax.random.normal(key)
        return state, -(state**2), 1.0

    return dynamics.from_function(step, 1, init=lambda key: jnp.ones(()))


def tables(seed=0, num_states=3, num_actions=2, deterministic=False):
    """Random arguments of `dynamics.tabular`."""
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(num_states, 0.7), size=(num_states, num_actions))
    if deterministic:
        transitions = np.eye(num_states)[transitions.argmax(-1)]
    return {
        "transitions": transitions,
        "rewards": rng.normal(size=(num_states, num_actions, num_states)),
        "initial": rng.dirichlet(np.ones(num_states)),
        "final": rng.normal(size=num_states),
    }


def better(returns):
    """The best half, quarter and eighth of returns [K], five at least, best first, and which fraction they are."""
    ordered = np.sort(np.asarray(returns, float))[::-1]
    for n in (2, 4, 8):
        size = min(len(ordered), max(5, int(np.ceil(len(ordered) / n))))
        yield ordered[:size], size / len(ordered)


def better_spread(returns):
    """The standard deviation of returns [K] that do not tie, if they are normal, as the better half tells it."""
    normal = [
        stats.truncnorm.std(stats.norm.isf(share), np.inf) if share < 1 else 1.0 for _, share in better(returns)
    ]
    return min(best.std() / unit for (best, _), unit in zip(better(returns), normal, strict=True))


def better_range(returns):
    """The range of returns [K] that do not tie, if they are uniform, as the better half tells it."""
    return min(np.ptp(best) / share for best, share in better(returns))


def bound(family, horizon, action_size):
    """The belief of a family over plans of `horizon` steps of `action_size` numbers."""
    return family.bind(horizon, dynamics.Continuous(action_size))
