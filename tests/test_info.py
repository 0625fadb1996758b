"""What planners report: one Info for all, whose size does not grow with the number of plans unless asked for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import target

from mirrax import dynamics, planners

SIZED = {"num_iterations": 2}


def made(factory, num_samples, **options):
    """A small planner; random shooting has one iteration."""
    sized = {} if factory is planners.random_shooting else SIZED
    return factory(4, num_samples=num_samples, **sized, **options)


def shapes(factory, num_samples, **options):
    model, planner = target(), made(factory, num_samples, **options)
    infos = jax.eval_shape(lambda key: planners.episode(planner, model, model, key, 3), jax.random.key(0)).infos
    return infos, [leaf.shape for leaf in jax.tree.leaves(infos)]


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_an_episode_holds_no_arrays_of_all_plans(factory):
    small, small_shapes = shapes(factory, 16)
    _, great_shapes = shapes(factory, 64)
    assert isinstance(small, planners.Info)
    assert small_shapes == great_shapes
    assert (small.returns, small.weights, small.samples, small.lineage) == (None, None, None, None)
    assert sum(int(np.prod(shape)) for shape in small_shapes) < 3 * 2 * 25  # steps, iterations, numbers


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_what_is_asked_for_is_kept(factory):
    infos, _ = shapes(factory, 16, keep=("returns", "weights"))
    assert infos.returns is not None
    assert infos.returns.shape[0] == 3
    assert (infos.weights is None) == ("ess" not in infos.names)


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_all_planners_report_the_best_return_and_what_went_wrong(factory):
    model, planner = target(), made(factory, 16)
    key = jax.random.key(0)
    _, info = jax.jit(planners.infer)(planner, model, key, model.init(key))
    assert np.isfinite(info.best_return).all()
    assert (np.diff(info.best_return) >= 0).all()
    assert (np.asarray(info.num_invalid) == 0).all()
    assert info.degenerate is not None


def test_only_known_arrays_can_be_kept():
    with pytest.raises(
        ValueError, match=r"keep must be names among returns, weights, samples, lineage, got \('plans',\)"
    ):
        planners.mppi(4, keep=("plans",))


@pytest.mark.parametrize(
    ("planner", "sizes"),
    [
        (planners.mppi(4, num_samples=8, num_iterations=2, keep=("weights", "samples")), (8, 8)),
        (planners.icem(4, num_samples=8, num_iterations=3, keep=("weights", "samples")), None),
        (planners.smc(4, num_samples=8, keep=("weights", "samples")), (8,)),
    ],
    ids=["mppi", "icem", "smc"],
)
def test_samples_are_the_plans_that_were_weighed(planner, sizes):
    model = dynamics.pendulum()
    state = model.init(jax.random.key(0))
    _, info = jax.jit(planners.infer)(planner, model, jax.random.key(1), state)
    if sizes is not None:
        assert info.weights.shape == (len(sizes), sizes[0])
    num_last = int((info.weights[-1] > 0).sum())
    assert num_last <= len(info.samples) <= info.weights.shape[1]
    assert info.samples.shape == (len(info.samples), 4, 1)
    returns = planners.rollout(model, jax.random.key(2), state, info.samples)
    ranked = jnp.argsort(info.weights[-1, : len(info.samples)], descending=True)[:num_last]
    assert (jnp.diff(returns[ranked]) <= 1e-3).all()  # the weightiest are those of the last iteration that did best
    none = jax.jit(planners.infer)(dataclasses.replace(planner, keep=()), model, jax.random.key(1), state)[1]
    assert none.samples is None


def test_an_episode_keeps_its_plans_where_it_is_asked_to():
    model, planner = dynamics.pendulum(), planners.mppi(4, num_samples=8)
    play = jax.jit(planners.episode, static_argnames=("num_steps", "keep"))
    kept = play(planner, model, model, jax.random.key(0), num_steps=3, keep="plans")
    assert kept.plans.shape == (3, 4, 1)
    assert kept.modes is None
    mixture = planners.vi_mpc(4, num_samples=8, num_components=2)
    kept = play(mixture, model, model, jax.random.key(0), num_steps=3, keep="plans")
    modes, weights = kept.modes
    assert (modes.shape, weights.shape) == ((3, 2, 4, 1), (3, 2))
    heaviest = modes[jnp.arange(3), weights.argmax(1)]
    np.testing.assert_allclose(heaviest, kept.plans, atol=1e-6)
    assert play(planner, model, model, jax.random.key(0), num_steps=3).plans is None
    with pytest.raises(ValueError, match=r"keep must be \(\) or 'plans', got 'weights'"):
        planners.episode(planner, model, model, jax.random.key(0), 3, keep="weights")
