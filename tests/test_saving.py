"""Planners, beliefs, models, episodes and infos are saved by any means, and plan on from there as if nothing was."""

import dataclasses
import inspect
import json
import pathlib
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from flax import serialization
from problems import drift, start, unchecked

from mirrax import compiling, dynamics, planners
from mirrax.results import Results

KEY = jax.random.key(0)
MODEL = dynamics.from_function(drift, 1, init=start, dt=0.1)
START = jnp.ones(())
every = pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)


def worth(weight, state):
    """A value with a parameter."""
    return weight * state


def least(factory, **options):
    """A planner of each kind, of as few steps and plans as it takes."""
    options = {"num_samples": 4, "num_iterations": 1} | options
    own = {name: value for name, value in options.items() if name in inspect.signature(factory).parameters}
    return factory(3, **own, **({"temperature": 1.0} if factory in (planners.stein, planners.elbo_gradient) else {}))


def pickled(tree):
    return pickle.loads(pickle.dumps(tree))


def by_flax(tree, like):
    data = serialization.to_bytes(dynamics.to_state_dict(tree))
    return dynamics.from_state_dict(like, serialization.msgpack_restore(data))


def by_flax_into(tree, like):
    """With the shapes that flax is given."""
    data = serialization.to_bytes(dynamics.to_state_dict(tree))
    return dynamics.from_state_dict(like, serialization.from_bytes(dynamics.to_state_dict(like), data))


def by_orbax(tree, like, folder):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, dynamics.to_state_dict(tree))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return dynamics.from_state_dict(like, checkpointer.restore(folder, dynamics.to_state_dict(like)))


def assert_same(found, wanted):
    """The same to JAX, and the same numbers."""
    assert compiling.difference(wanted, found) == ()
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    assert hash(jax.tree.structure(found)) == hash(jax.tree.structure(wanted))
    jax.tree.map(np.testing.assert_array_equal, dynamics.to_state_dict(found), dynamics.to_state_dict(wanted))


@every
def test_what_is_restored_plans_on_bit_for_bit(factory, tmp_path):
    planner = least(factory)
    fresh = planner.init(MODEL, START)
    with compiling.counted() as count:
        plan = count.watched(jax.jit(planners.plan))
        _, belief, info = plan(planner, MODEL, KEY, START, fresh)
        wanted = plan(planner, MODEL, jax.random.key(1), START, belief)
        for restored in (
            pickled(belief),
            by_flax(belief, fresh),
            by_flax_into(belief, fresh),
            by_orbax(belief, fresh, tmp_path / "belief"),
        ):
            assert_same(restored, belief)
            found = plan(pickled(planner), pickled(MODEL), pickled(jax.random.key(1)), pickled(START), restored)
            assert_same(found, wanted)
        plan(by_flax(planner, least(factory)), by_flax(MODEL, MODEL), KEY, START, fresh)
    assert count.traces["plan"] == 1, count
    assert_same(pickled(planner), planner)
    for tree in (info, planner, MODEL):
        assert_same(pickled(tree), tree)
        assert_same(by_flax(tree, tree), tree)


def test_a_belief_restored_in_another_process_is_traced_once(tmp_path):
    """What is static is equal there, functions by their names, and arrays are of the same kind."""
    cases, wanted = {}, {}
    for factory in (planners.vi_mpc, planners.evolution, planners.iterative_policy, planners.smc):
        planner = least(factory)
        plan = jax.jit(planners.plan)
        _, belief, _ = plan(planner, MODEL, KEY, START, planner.init(MODEL, START))
        data = serialization.to_bytes(dynamics.to_state_dict(belief))
        cases[factory.__name__] = (planner, MODEL, START, belief, data)
        actions = []
        for seed in (1, 2):
            action, belief, _ = plan(planner, MODEL, jax.random.key(seed), START, belief)
            actions.append(float(action[0]))
        wanted[factory.__name__] = {"traces": 1, "reasons": [], "by pickle": actions, "by flax": actions}
    path = tmp_path / "cases.pickle"
    path.write_bytes(pickle.dumps(cases))
    code = inspect.cleandoc("""
        import json, pathlib, pickle, sys
        import jax
        from flax import serialization
        from mirrax import compiling, dynamics, planners

        found = {}
        for name, case in pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()).items():
            planner, model, state, belief, data = case
            fresh = planner.init(model, state)
            beliefs = {"pickle": belief, "flax": dynamics.from_state_dict(fresh, serialization.msgpack_restore(data))}
            with compiling.counted() as count:
                plan = count.watched(jax.jit(planners.plan))
                actions = {}
                for by, belief in beliefs.items():
                    actions[f"by {by}"] = []
                    for seed in (1, 2):
                        action, belief, _ = plan(planner, model, jax.random.key(seed), state, belief)
                        actions[f"by {by}"].append(float(action[0]))
                plan(planner, model, jax.random.key(0), state, fresh)
            found[name] = {"traces": count.traces["plan"], "reasons": count.reasons} | actions
        print(json.dumps(found))
    """)
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=pathlib.Path(__file__).parent)
    assert json.loads(done.stdout) == wanted


@pytest.mark.parametrize(
    "model",
    [
        dynamics.pendulum(),
        dynamics.cartpole(),
        dynamics.discretized(dynamics.pendulum(), [[-1.0], [1.0]]),
        dynamics.with_value(dynamics.discounted(MODEL, 0.9), jax.tree_util.Partial(worth, jnp.ones(()))),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_are_saved(model):
    assert_same(pickled(model), model)
    assert_same(by_flax(model, model), model)


def test_episodes_and_results_are_saved():
    planner, model = planners.mppi(2, num_samples=4), dynamics.timed(dynamics.pendulum())
    episode = jax.jit(planners.episode, static_argnames="num_steps")(planner, model, model, KEY, num_steps=2)
    assert_same(pickled(episode), episode)
    assert_same(by_flax(episode, episode), episode)
    results = Results(
        {"seed": 0},
        *(np.zeros(2), np.zeros(2, bool), np.zeros((2, 1)), np.ones((2, 1)), np.zeros((3, 2)), np.zeros(2)),
        {"ess": np.ones(2)},
        *(np.zeros((0, 3, 1)), np.zeros(0, int)),
    )
    found = pickled(results)
    for field in dataclasses.fields(results):
        np.testing.assert_equal(getattr(found, field.name), getattr(results, field.name))


def test_keys_and_numbers_of_python_are_saved():
    state = {"key": jax.random.key(3), "old key": jax.random.PRNGKey(3), "time": 0.5, "count": 2, "nothing": None}
    for found in (pickled(state), by_flax(state, state | {"key": jax.random.key(0), "time": 0.0, "count": 0})):
        assert compiling.difference(state, found) == ()
        assert jax.random.key_data(found["key"]).tolist() == jax.random.key_data(state["key"]).tolist()
        assert (found["time"], found["count"], found["nothing"]) == (0.5, 2, None)
    assert by_flax(jnp.ones(2), jnp.zeros(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": jnp.zeros(2), "b": jnp.zeros(())}, "state must have b, as `like` does, got none"),
        ({}, "state must have the parts of `like`, got a besides"),
        ({"a": jnp.zeros(3)}, r"a must be float32\[3\], as in `like`, got float32\[2\]"),
        ({"a": jnp.zeros(2, int)}, r"a must be int32\[2\], as in `like`, got float32\[2\]"),
    ],
)
def test_what_does_not_fit_is_named(like, message):
    with pytest.raises(ValueError, match=message):
        unchecked(dynamics.from_state_dict)(like, dynamics.to_state_dict({"a": jnp.zeros(2)}))
