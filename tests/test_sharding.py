"""Plans spread over devices: the same answer, no second compilation, any number of plans. conftest forces 4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from problems import noisy_walk

from mirrax import dynamics, planners

KEY = jax.random.key(0)


def over(num_devices, spec=("samples",), **options):
    mesh = jax.make_mesh((num_devices,), ("samples",), devices=jax.devices()[:num_devices], **options)
    return NamedSharding(mesh, PartitionSpec(*spec))


@pytest.mark.parametrize("num_plans", [8, 13])
@pytest.mark.parametrize("num_devices", [1, 3, 4])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_devices_change_nothing(num_plans, num_devices, chunk_size):
    model = noisy_walk()
    plans = jax.random.normal(KEY, (num_plans, 6, 1))
    one = planners.rollout(model, KEY, jnp.ones(()), plans)
    several = jax.jit(
        lambda plans: planners.rollout(
            model, KEY, jnp.ones(()), plans, chunk_size=chunk_size, sharding=over(num_devices)
        )
    )(plans)
    np.testing.assert_allclose(several, one, rtol=1e-5)


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_a_mesh_of_two_axes_of_either_type(axis_type):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(axis_type,) * 2)
    model, plans = noisy_walk(), jax.random.normal(KEY, (8, 6, 1))
    one = planners.rollout(model, KEY, jnp.ones(()), plans)
    for axis in ("b", ("a", "b")):
        sharding = NamedSharding(mesh, PartitionSpec(axis))
        several = jax.jit(lambda plans, s=sharding: planners.rollout(model, KEY, jnp.ones(()), plans, sharding=s))(
            plans
        )
        np.testing.assert_allclose(several, one, rtol=1e-5)


@pytest.mark.parametrize("factory", [planners.mppi, planners.cem, planners.predictive_sampling])
def test_planning_is_the_same_on_devices_and_compiles_once(factory):
    model = dynamics.point_mass()
    sharding = over(4)
    one, several = (factory(8, 2, num_samples=64, num_iterations=2, sharding=s) for s in (None, sharding))
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    compilations = []
    plan = jax.jit(lambda *a: (compilations.append(1), planners.plan(*a))[1], out_shardings=replicated)
    inputs = jax.device_put((several, model, KEY, jnp.zeros(4), several.belief), replicated)
    action, belief, info = plan(*inputs)
    reference = jax.jit(planners.plan)(one, model, KEY, jnp.zeros(4), one.belief)
    np.testing.assert_allclose(action, reference[0], atol=1e-5)
    np.testing.assert_allclose(info.returns, reference[2].returns, rtol=1e-5)
    plan(*inputs[:4], belief)
    assert len(compilations) == plan._cache_size() == 1


def test_it_works_uncommitted_and_inside_vmap():
    model, planner = dynamics.point_mass(), planners.mppi(8, 2, num_samples=16, sharding=over(2))
    keys = jax.random.split(KEY, 3)
    single = jax.jit(planners.episode, static_argnums=4)(planner, model, model, keys[1], 3)
    batch = jax.jit(jax.vmap(lambda key: planners.episode(planner, model, model, key, 3)))(keys)
    np.testing.assert_allclose(batch.rewards[1], single.rewards, rtol=1e-4)


def test_a_brax_model_is_free_to_move():
    """What Brax commits to one device would forbid to spread plans."""
    model = dynamics.brax("inverted_pendulum", n_frames=1)
    planner = planners.mppi(2, 1, num_samples=4, sharding=over(2))
    _, info = jax.jit(planners.infer)(planner, model, KEY, jax.jit(model.init)(KEY), None)
    assert jnp.isfinite(info.returns).all()


@pytest.mark.parametrize("sharding", [over(2, ()), over(2, (None, "samples"))])
def test_mistakes_are_named(sharding):
    with pytest.raises(ValueError, match="sharding must be a NamedSharding whose spec names a mesh axis first"):
        planners.mppi(3, 1, sharding=sharding)
