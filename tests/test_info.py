"""What planners report: one Info for all, whose size does not grow with the number of plans unless asked for."""

import jax
import numpy as np
import pytest
from problems import target

from mirrax import planners

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
    assert (small.returns, small.weights, small.lineage) == (None, None, None)
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
    with pytest.raises(ValueError, match=r"keep must be names among returns, weights, lineage, got \('plans',\)"):
        planners.mppi(4, keep=("plans",))
