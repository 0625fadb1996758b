"""Many rollouts at once: in blocks that fit the cache, spread over devices."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from ...dynamics.base import Model, State, scenario_count
from ...dynamics.checks import integer
from ..options import checked
from .placement import check_sharding, platform

# On a CPU the states of a block should stay in a core's cache; `python -m mirrax.benchmarks.blocks` measures it.
_CACHE_BYTES = 320 * 1024


_LEAST_BLOCK, _GREATEST_BLOCK = 32, 512


def spread(
    function: Callable[[Any, Any, Int[Array, ""]], Any],
    parts: Any,
    rows: Any,
    block_size: int,
    sharding: NamedSharding | None,
) -> Any:
    """Apply a function to many rollouts, in blocks, over all devices.

    Args:
        function: (parts, rows, first) -> a pytree of arrays [k, ...] of k rows, the first of which is number `first`.
        parts: a pytree, the same for all rows.
        rows: a pytree of arrays [K, ...]; rows of zeros may be appended.
        block_size: the greatest number of rows at once on a device.
        sharding: how to spread them over devices; None for one device.

    Returns:
        What the function gives of all rows, [K, ...].
    """
    num_rows = len(jax.tree.leaves(rows)[0])

    def blocks(parts: Any, rows: Any, first: Array) -> Any:
        size = len(jax.tree.leaves(rows)[0])
        num_blocks = math.ceil(size / block_size)
        if num_blocks == 1:
            return function(parts, rows, first)
        # equal blocks, so that one program serves them all; at most num_blocks − 1 rows are made up
        each = math.ceil(size / num_blocks)
        padded = jax.tree.map(
            lambda leaf: leaf.reshape(num_blocks, each, *leaf.shape[1:]), _pad(rows, num_blocks * each)
        )
        firsts = first + each * jnp.arange(num_blocks)
        results = jax.lax.map(lambda block: function(parts, *block), (padded, firsts))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], results)

    if sharding is None:
        return blocks(parts, rows, jnp.zeros((), int))
    axis, num_devices = device_axis(sharding)
    share = math.ceil(num_rows / num_devices)

    def on_device(parts: Any, rows: Any) -> Any:
        first = jax.lax.axis_index(axis) * share
        padded = _pad(rows, num_devices * share)
        own = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, share), padded)
        results = blocks(parts, own, first)
        return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, axis, tiled=True)[:num_rows], results)

    # Not a mere constraint on the rows: each device runs its own loops, so that a solver that iterates until its
    # slowest plan has converged does not wait for those of other devices. All goes in and comes out whole, on meshes
    # of automatic and of explicit axes alike.
    whole = PartitionSpec()
    return jax.shard_map(on_device, mesh=sharding.mesh, in_specs=whole, out_specs=whole, check_vma=False)(parts, rows)


def sizes(
    model: Model,
    state: State,
    num_scenarios: int | None = None,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> tuple[int, int]:
    """The number of scenarios, and of plans at once on a device; None asks the model, and the kind of device."""
    if num_scenarios is None:
        num_scenarios = scenario_count(model) or 1
    checked("num_scenarios", num_scenarios, required=True)
    block_size = automatic_chunk_size(state, sharding) if chunk_size is None else integer("chunk_size", chunk_size)
    return num_scenarios, max(block_size // num_scenarios, 1)


def device_axis(sharding: NamedSharding) -> tuple[Any, int]:
    """The mesh axis, or axes, over which plans are spread, and the number of devices along it."""
    check_sharding(sharding)
    axis = sharding.spec[0]
    return axis, math.prod(sharding.mesh.shape[name] for name in (axis if isinstance(axis, tuple) else (axis,)))


def automatic_chunk_size(state: State, sharding: NamedSharding | None = None) -> int:
    """How many plans from `state` to roll out at once on a device: what `chunk_size=None` stands for.

    Args:
        state: where plans start; where it is decides what is fast, unless a sharding does. Within jit, where arrays
            have no place yet, and for arrays that are free to move, JAX's default device decides.
        sharding: how plans are spread over devices; None for one device.

    Returns:
        A power of two.
    """
    if platform(state, sharding) != "cpu":
        return 2**30  # an accelerator wants them all
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in map(jnp.asarray, jax.tree.leaves(state)))
    fitting = 2 ** int(math.log2(max(_CACHE_BYTES / max(size, 1), 1)))
    return min(max(fitting, _LEAST_BLOCK), _GREATEST_BLOCK)


def _pad(rows: Any, size: int) -> Any:
    """Append rows of zeros, idle plans, until there are `size`."""
    return jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, size - len(leaf)), *((0, 0),) * (leaf.ndim - 1))), rows)
