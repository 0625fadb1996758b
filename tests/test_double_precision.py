"""What is learnt where numbers have 64 bits: all of it has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import dynamics, learning, planners
from mirrax.planners.policies import plan_network

ENV = dynamics.pendulum()
STEPS = {"num_gradient_steps": 2, "batch_size": 8, "hidden": (4,)}
ALGORITHMS = {
    "policy_gradient": {"num_value_steps": 2, "hidden": (4,)},
    "soft_q_learning": {"num_gradient_steps": 2, "batch_size": 8},
    "mpo": STEPS,
    "v_mpo": {"num_gradient_steps": 2, "hidden": (4,)},
    "ppo": {"num_epochs": 2, "num_minibatches": 2, "hidden": (4,)},
    "sac": STEPS,
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def kinds(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_policies(name):
    algorithm = getattr(learning, name)(**ALGORITHMS[name])
    training = learning.learn_policy(
        ENV, algorithm, jax.random.key(0), num_updates=1, num_envs=2, num_steps=4, episode_steps=3
    )
    assert kinds(training.policy.params) == {jnp.dtype("float64")}


def test_plans():
    state = ENV.init(jax.random.key(0))
    network = plan_network(3, hidden=(4,)).init(ENV, state)
    states = jax.vmap(ENV.init)(jax.random.split(jax.random.key(0), 12))
    options = {"temperature": 1.0, "num_samples": 2, "max_epochs": 1}
    network, report = learning.amortise(network, ENV, states, jax.random.key(1), **options)
    assert kinds(network.params) == {jnp.dtype("float64")}
    assert np.isfinite(report.loss).all()


def test_models_and_their_errors_along_the_horizon():
    keys = jax.random.split(jax.random.key(0), 2)
    seen, actions = jax.random.normal(keys[0], (64, 2)), jax.random.normal(keys[1], (64, 1))
    data = learning.transitions(seen, actions, 0.9 * seen, jnp.zeros(64))
    model = dynamics.learned(ENV, hidden=(4,), num_members=2)
    model, _ = learning.fit(model, data, jax.random.key(1), max_epochs=1)
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), data)  # as files hold them
    errors = learning.horizon_errors(model, single, jax.random.key(2), horizon=3)
    assert np.isfinite(np.asarray(errors[0])).all()


def test_values_of_planners():
    planner = planners.cem(2, num_samples=4)
    training = learning.learn_value(
        ENV, planner, jax.random.key(0), num_rounds=1, num_envs=2, num_steps=4, num_gradient_steps=2
    )
    assert kinds(training.value.params) == {jnp.dtype("float64")}
