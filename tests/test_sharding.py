"""Plans spread over devices: the same answer, no second compilation, any number of plans. conftest forces 4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from problems import noisy_walk, several_devices

from mirrax import compiling, dynamics, planners

KEY = jax.random.key(0)
pytestmark = several_devices


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
    options = {"num_samples": 64, "num_iterations": 2, "keep": ("returns",)}
    one, several = (factory(8, sharding=s, **options) for s in (None, sharding))
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    plan = jax.jit(planners.plan, out_shardings=replicated)
    state = jnp.zeros(4)
    inputs = planners.rollouts.place((several, model, KEY, state, several.init(model, state)), sharding)
    with compiling.counted() as count:
        action, belief, info = plan(*inputs)
        plan(*inputs[:4], belief)
    assert count.traces["plan"] == count.compilations["plan"] == 1
    reference = jax.jit(planners.plan)(one, model, KEY, state, one.init(model, state))
    np.testing.assert_allclose(action, reference[0], atol=1e-5)
    np.testing.assert_allclose(info.returns, reference[2].returns, rtol=1e-5)


def test_it_works_uncommitted_and_inside_vmap():
    model, planner = dynamics.point_mass(), planners.mppi(8, num_samples=16, sharding=over(2))
    keys = jax.random.split(KEY, 3)
    single = jax.jit(planners.episode, static_argnums=4)(planner, model, model, keys[1], 3)
    batch = jax.jit(jax.vmap(lambda key: planners.episode(planner, model, model, key, 3)))(keys)
    np.testing.assert_allclose(batch.rewards[1], single.rewards, rtol=1e-4)


def test_a_brax_model_is_free_to_move():
    """What Brax commits to one device would forbid to spread plans."""
    model = dynamics.brax("inverted_pendulum", n_frames=1)
    planner = planners.mppi(2, num_samples=4, sharding=over(2), keep=("returns",))
    _, info = jax.jit(planners.infer)(planner, model, KEY, jax.jit(model.init)(KEY), None)
    assert jnp.isfinite(info.returns).all()


# Where everything lives ----------

PLANNERS = {
    "sampling": lambda sharding: planners.mppi(4, num_samples=8, sharding=sharding),
    "particles": lambda sharding: planners.smc(4, num_samples=8, sharding=sharding),
    "derivatives": lambda sharding: planners.gradient(4, num_samples=4, num_iterations=2, sharding=sharding),
}


def committed(tree):
    """As MuJoCo's data are: put on one device, and not free to move."""
    return jax.device_put(tree, jax.devices()[0])


def engine():
    """A model whose parameters and first states are committed, as those of MJX are."""
    model = committed(dynamics.point_mass())

    def step(model, key, state, action):
        return tuple(model.step(key, state, action))

    return dynamics.from_function(
        jax.tree_util.Partial(step, model), 2, init=lambda key: committed(dynamics.point_mass().init(key))
    )


@pytest.mark.parametrize("name", PLANNERS)
def test_what_is_committed_to_one_device_is_placed_on_all(name):
    planner, model = PLANNERS[name](over(4)), engine()
    state = model.init(KEY)
    inputs = (planner, model, KEY, state, planner.init(model, state))
    placed = planners.rollouts.place(inputs, over(4))
    action, belief, _ = jax.jit(planners.plan)(*placed)
    one, model = PLANNERS[name](None), dynamics.point_mass()
    alone = jax.jit(planners.plan)(one, model, KEY, state, one.init(model, state))
    np.testing.assert_allclose(action, alone[0], atol=1e-5)
    jax.jit(planners.plan)(*placed[:4], belief)  # what comes out goes in again


def test_an_episode_places_what_it_is_given():
    planner, model = PLANNERS["sampling"](over(4)), engine()
    episode = planners.episode(planner, model, model, committed(KEY), 2)
    alone = planners.episode(PLANNERS["sampling"](None), model, model, KEY, 2)
    np.testing.assert_allclose(episode.rewards, alone.rewards, rtol=1e-5)


@pytest.mark.parametrize("part", ["planner", "model", "key", "state", "belief"])
def test_what_is_elsewhere_is_named(part):
    planner, model = PLANNERS["sampling"](over(4)), dynamics.point_mass()
    inputs = {
        "planner": planner,
        "model": model,
        "key": KEY,
        "state": jnp.zeros(4),
        "belief": planner.init(model, jnp.zeros(4)),
    }
    inputs[part] = committed(inputs[part])
    told = rf"{part} must be on the 4 devices .*, got cpu:0: give planners.rollouts.place\({part}, sharding\)"
    for entry in (planners.infer, planners.plan):
        with pytest.raises(ValueError, match=told):
            entry(**inputs)


def test_plans_of_a_rollout_may_be_placed_too():
    model, state, plans = dynamics.point_mass(), committed(jnp.zeros(4)), jnp.ones((5, 3, 2))
    with pytest.raises(ValueError, match="state must be on the 4 devices"):
        planners.rollout(model, KEY, state, plans, sharding=over(4))
    returns = planners.rollout(model, KEY, *planners.rollouts.place((state, plans), over(4)), sharding=over(4))
    np.testing.assert_allclose(returns, planners.rollout(model, KEY, state, plans), rtol=1e-5)


def test_placing_moves_nothing_within_jit_and_to_the_default_device_without_sharding():
    assert planners.rollouts.place(jnp.zeros(2), None).sharding.device_set == {jax.devices()[0]}
    with jax.default_device(jax.devices()[2]):
        assert planners.rollouts.place(jnp.zeros(2), None).sharding.device_set == {jax.devices()[2]}
    np.testing.assert_array_equal(jax.jit(lambda x: planners.rollouts.place(x, over(4)))(jnp.ones(2)), 1.0)


class Card:
    """A device of another kind, for what asks only that."""

    platform = "gpu"


def test_blocks_are_those_of_the_devices_that_are_computed_on(monkeypatch):
    everything, block = 2**30, planners.rollouts.automatic_chunk_size(jnp.zeros(4))
    assert block < everything
    cpus, card = over(2), Card()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # a machine that has a card, and computes elsewhere
    assert planners.rollouts.automatic_chunk_size(jax.device_put(jnp.zeros(4), jax.devices("cpu")[0])) == block
    assert planners.rollouts.automatic_chunk_size(jnp.zeros(4), cpus) == block
    with jax.default_device(jax.devices("cpu")[1]):
        assert planners.rollouts.automatic_chunk_size(jnp.zeros(4)) == block
        assert jax.jit(planners.rollouts.automatic_chunk_size)(jnp.zeros(4)) == block
    monkeypatch.setattr(jax, "devices", lambda *_: [card])
    assert planners.rollouts.automatic_chunk_size(jnp.zeros(4)) == everything
    assert planners.rollouts.automatic_chunk_size(jax.device_put(jnp.zeros(4), cpus)) == block


@pytest.mark.parametrize("sharding", [over(2, ()), over(2, (None, "samples"))])
def test_mistakes_are_named(sharding):
    with pytest.raises(ValueError, match="sharding must be a NamedSharding whose spec names a mesh axis first"):
        planners.mppi(3, sharding=sharding)
