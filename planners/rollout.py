"""Returns of plans: a scan over time of all plans at once, in blocks that fit the cache, over all devices."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key

from ..dynamics.base import Model, State, Step, integer
from .base import Plan, Plans

# On a CPU the states of a block should stay in a core's cache; `python -m mirrax.benchmarks.blocks` measures it.
_CACHE_BYTES = 320 * 1024
_LEAST_BLOCK, _GREATEST_BLOCK = 32, 512


class Trajectory(NamedTuple):
    """One plan, step by step.

    Attributes:
        states: after each step, the model's pytree with a leading axis H.
        rewards: [H]; zero after an end.
        discounts: [H]; zero from an end on.
        value: of the last state, a scalar; zero after an end.
    """

    states: State
    rewards: Float[Array, " H"]
    discounts: Float[Array, " H"]
    value: Float[Array, ""]


def rollout(
    model: Model,
    key: Key[Array, ""],
    state: State,
    plans: Plans,
    *,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> Float[Array, " K"]:
    """The return of each plan, Σ_t (Π_{s<t} γ_s) r_t + (Π γ) value: what follows an end counts for nothing.

    All plans meet the same noise (common random numbers). Memory does not grow with the horizon.

    Args:
        model: what to imagine with.
        key: of the model's noise.
        state: where all plans start.
        plans: [K, H, A].
        chunk_size: at most so many plans at once on a device; None chooses what is fast on the backend.
        sharding: how to spread the plans over devices: its mesh, and the first axis of its spec.

    Returns:
        Returns [K], reward units; NaN or infinite where a rollout diverged.

    Raises:
        ValueError: if `plans` are no plans, or an option is out of its range.
    """
    if jnp.ndim(plans) != 3 or not len(plans):
        raise ValueError(f"plans must have shape [K, H, A] with K >= 1, got {jnp.shape(plans)}")
    keys = jax.random.split(key, plans.shape[1])
    block_size = automatic_chunk_size(state) if chunk_size is None else integer("chunk_size", chunk_size)

    def blocks(model: Model, keys: Array, state: State, plans: Plans) -> Float[Array, " K"]:
        num_blocks = math.ceil(len(plans) / block_size)
        if num_blocks == 1:
            return _score(model, keys, state, plans)
        # equal blocks, so that one program serves them all; at most num_blocks − 1 plans are made up
        size = math.ceil(len(plans) / num_blocks)
        padded = _pad(plans, num_blocks * size).reshape(num_blocks, size, *plans.shape[1:])
        return jax.lax.map(lambda block: _score(model, keys, state, block), padded).reshape(-1)[: len(plans)]

    if sharding is None:
        return blocks(model, keys, state, plans)
    check_sharding(sharding)
    axis, mesh = sharding.spec[0], sharding.mesh
    num_devices = math.prod(mesh.shape[name] for name in (axis if isinstance(axis, tuple) else (axis,)))
    share = math.ceil(len(plans) / num_devices)

    def spread(model: Model, keys: Array, state: State, plans: Plans) -> Float[Array, " K"]:
        padded = _pad(plans, num_devices * share)
        own = jax.lax.dynamic_slice_in_dim(padded, jax.lax.axis_index(axis) * share, share)
        return jax.lax.all_gather(blocks(model, keys, state, own), axis, tiled=True)[: len(plans)]

    # Not a mere constraint on `plans`: each device runs its own loops, so that a solver that iterates until its
    # slowest plan has converged does not wait for those of other devices. All goes in and comes out whole, on meshes
    # of automatic and of explicit axes alike.
    whole = PartitionSpec()
    return jax.shard_map(spread, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False)(
        model, keys, state, plans
    )


def trajectory(model: Model, key: Key[Array, ""], state: State, plan: Plan) -> Trajectory:
    """Follow one plan and keep what happens on the way; vmap it for several.

    Args:
        model: what to imagine with.
        key: of the model's noise; the same key gives the same noise as in `rollout`.
        state: where the plan starts.
        plan: [H, A].

    Returns:
        States, rewards and discounts of the H steps, and the value of the last state.
    """

    def body(carry: tuple[State, Array], inputs: tuple[Array, Array]) -> tuple[tuple[State, Array], Step]:
        state, weight = carry
        step = _counted(model, inputs, state, weight)
        return (step.state, weight * step.discount), step

    keys = jax.random.split(key, len(plan))
    (state, weight), steps = jax.lax.scan(body, (state, jnp.ones(())), (keys, plan))
    value = jnp.where(weight == 0, 0.0, model.value(state))
    return Trajectory(steps.state, steps.reward, steps.discount, value)


def check_sharding(sharding: NamedSharding | None) -> NamedSharding | None:
    """Return what says how to spread plans, or raise a `ValueError` if it does not say it."""
    if sharding is None or (
        isinstance(sharding, NamedSharding) and len(sharding.spec) and sharding.spec[0] is not None
    ):
        return sharding
    raise ValueError(f"sharding must be a NamedSharding whose spec names a mesh axis first, got {sharding!r}")


def _score(model: Model, keys: Array, state: State, plans: Plans) -> Float[Array, " K"]:
    """The returns of plans, all at once."""

    def advance(carry: tuple[State, Array, Array], key: Array, action: Array) -> tuple[State, Array, Array]:
        state, weight, total = carry
        step = _counted(model, (key, action), state, weight)
        return step.state, weight * step.discount, total + weight * step.reward

    def finish(carry: tuple[State, Array, Array]) -> Float[Array, ""]:
        state, weight, total = carry
        return total + weight * jnp.where(weight == 0, 0.0, model.value(state))

    # A scan of a vmap, not a vmap of a scan: that would trace the model once and then batch it, at the cost of both.
    start = jax.vmap(lambda _: (state, jnp.ones(()), jnp.zeros(())))(plans)
    everywhere = jax.vmap(advance, in_axes=(0, None, 0))
    carry, _ = jax.lax.scan(lambda carry, now: (everywhere(carry, *now), None), start, (keys, plans.swapaxes(0, 1)))
    return jax.vmap(finish)(carry)


def _counted(model: Model, inputs: tuple[Array, Array], state: State, weight: Float[Array, ""]) -> Step:
    """Step the model; after an end reward and discount are 0, whatever it says: 0 · NaN would be NaN."""
    step = model.step(inputs[0], state, inputs[1])
    reward, discount = (
        jnp.where(weight == 0, 0.0, jnp.asarray(x, weight.dtype)) for x in (step.reward, step.discount)
    )
    return Step(step.state, reward, discount)


def automatic_chunk_size(state: State) -> int:
    """How many plans from `state` to roll out at once on JAX's default backend: `chunk_size=None`, a power of two."""
    if jax.default_backend() != "cpu":
        return 2**30  # an accelerator wants them all
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in map(jnp.asarray, jax.tree.leaves(state)))
    fitting = 2 ** int(math.log2(max(_CACHE_BYTES / max(size, 1), 1)))
    return min(max(fitting, _LEAST_BLOCK), _GREATEST_BLOCK)


def _pad(plans: Plans, size: int) -> Float[Array, "padded H A"]:
    """Append idle plans until there are `size`."""
    return jnp.pad(plans, ((0, size - len(plans)), (0, 0), (0, 0)))
