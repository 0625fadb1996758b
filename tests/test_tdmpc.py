"""The latent model that is learnt together with values and a policy: see examples/tdmpc.py."""

import functools
import importlib.util
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import compiling, dynamics, planners

ROOT = pathlib.Path(__file__).parent.parent
KEY = jax.random.key(0)


def load():
    spec = importlib.util.spec_from_file_location("tdmpc", ROOT / "examples" / "tdmpc.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tdmpc = load()
SMALL = tdmpc.Networks(16, 16, 2)


@functools.cache
def untrained():
    task = tdmpc.cartpole()
    return task, tdmpc.untrained(task, KEY, SMALL)


def test_bins_stand_for_numbers():
    x = jnp.array([-150.0, -1.0, -0.01, 0.0, 0.3, 12.0, 300.0])
    weights = tdmpc.two_hot(x)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert ((weights > 0).sum(-1) <= 2).all()
    np.testing.assert_allclose(tdmpc.expected(jnp.log(weights)), x, rtol=1e-3, atol=1e-4)


def test_latent_states_are_points_of_simplices():
    _, model = untrained()
    z = model.init(KEY)
    step = model.step(KEY, z, jnp.ones(1))
    for state in (z, step.state):
        np.testing.assert_allclose(state.reshape(-1, tdmpc.GROUP).sum(-1), 1.0, rtol=1e-5)
        assert (state >= 0).all()
    np.testing.assert_array_equal(step.state, model.step(KEY, z, jnp.full(1, 7.0)).state)  # actuators have a range
    assert dynamics.bounded(model)


def test_any_planner_plans_in_it():
    _, model = untrained()
    z, policy = model.init(KEY), model.policy
    for planner in (
        tdmpc.latent_planner(policy, 16),
        planners.smc(3, num_samples=16, proposal=policy),
        planners.ilqr(3, num_iterations=2),
    ):
        belief, info = jax.jit(planners.infer)(planner, model, KEY, z)
        assert belief.mode().shape == (3, 1)
        assert jnp.isfinite(info.best_return).all()


def test_what_was_compiled_goes_on_with_other_parameters():
    _, model = untrained()
    z = model.init(KEY)
    plan = jax.jit(planners.plan)
    with compiling.counted() as count:
        for factor in (1.0, 0.5):
            other = jax.tree.map(lambda leaf: factor * leaf, model)  # noqa: B023
            planner = tdmpc.latent_planner(other.policy, 16)
            plan(planner, other, KEY, z, planner.init(other, z))
    assert count.traces["plan"] == 1, count


def filled(num_steps=20):
    task, _ = untrained()
    memory = tdmpc.empty(task, 3, num_steps)
    for number in range(2):
        memory = memory.added(task, tdmpc.by_chance(task.env, jax.random.key(number), num_steps))
    return memory


def test_sequences_are_of_one_episode():
    memory = filled()
    batch = memory.sequences(KEY, 50)
    assert batch.seen.shape[:2] == (50, tdmpc.LENGTH + 1)
    rows = np.asarray(memory.seen[:2]).reshape(-1, memory.seen.shape[-1])
    for seen, actions, rewards in zip(*map(np.asarray, batch[:3]), strict=True):
        (at,) = np.flatnonzero((rows == seen[0]).all(-1))
        episode, start = divmod(at, memory.seen.shape[1])
        part = slice(start, start + tdmpc.LENGTH)
        np.testing.assert_array_equal(seen[1:], memory.seen[episode, part.start + 1 : part.stop + 1])
        np.testing.assert_array_equal(actions, memory.actions[episode, part])
        np.testing.assert_array_equal(rewards, memory.rewards[episode, part])


def test_sequences_begin_before_ends_and_anywhere_there():
    """The first episode ends in its third step; the third is not there yet."""
    memory = filled()
    memory = memory._replace(
        discounts=memory.discounts.at[0, 2:].set(0.0).at[1].set(1.0), rewards=jnp.arange(60.0).reshape(3, 20)
    )
    batch = memory.sequences(KEY, 2000)
    starts = np.bincount(np.asarray(batch.rewards[:, 0], int), minlength=60)
    possible = [*range(3), *range(20, 38)]
    assert set(np.flatnonzero(starts)) == set(possible)
    assert starts[possible].min() > 0.5 * 2000 / len(possible)
    assert (np.diff(batch.rewards, axis=1) == 1).all()


def test_nothing_is_learnt_from_what_follows_an_end():
    """Rewards there, and what is worth more, change neither the loss nor its gradient."""
    _, model = untrained()
    learner = tdmpc.Learner(model, model.params, None, jnp.ones(()))
    batch = filled().sequences(KEY, 8)
    batch = batch._replace(discounts=jnp.zeros_like(batch.discounts).at[:, 0].set(1.0))  # all end in the second step
    gradient = jax.jit(jax.value_and_grad(tdmpc.model_loss, has_aux=True))
    (loss, seen), slope = gradient(model.params, learner, batch, KEY)
    far = batch._replace(
        rewards=batch.rewards.at[:, 2:].set(50.0),
        actions=batch.actions.at[:, 2:].set(0.3),
        seen=batch.seen.at[:, 3:].add(1.0),
    )
    (other, seen_far), other_slope = gradient(model.params, learner, far, KEY)
    np.testing.assert_allclose(loss, other, rtol=1e-5)
    for one, two in zip(jax.tree.leaves(slope), jax.tree.leaves(other_slope), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    of_policy = jax.jit(tdmpc.policy_loss)
    (loss, spread), (other, other_spread) = (
        of_policy(model.policy.params, learner, *found, KEY) for found in (seen, seen_far)
    )
    assert not np.allclose(seen[0], seen_far[0])
    np.testing.assert_allclose((loss, spread), (other, other_spread), rtol=1e-5)


def test_the_example_runs(capsys):
    arguments = ["--quick", "--episodes", "12", "--steps", "8", "--samples", "16"]
    tdmpc.main(arguments)
    said = capsys.readouterr().out
    assert len(re.findall(r"^seed 0, episode \d+: [\d.]+", said, re.MULTILINE)) == 12
    rows = dict(re.findall(r"^\| ([^|]+) \| ([-\d.]+) \|$", said, re.MULTILINE))
    assert {"mppi, policy samples", "the policy alone", "mppi in the true model", "chance"} <= rows.keys()
    assert float(rows["mppi in the true model"]) > 0


@pytest.mark.slow
def test_it_learns():
    """Predictions of rewards become better, and so does what planning earns."""
    task = tdmpc.cartpole()
    _, returns = tdmpc.train(task, 0, num_episodes=30, num_steps=100, num_samples=128, tell=lambda line: None)
    assert max(returns[-5:]) > 10 * np.mean(returns[:10]), returns
