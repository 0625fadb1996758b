"""Where particles live: blocks that fit the cache, on all devices, of one set."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Int

from .rollout import device_axis


class Slots(NamedTuple):
    """Where particles live: in equal blocks on equal devices. Slots beyond the last particle are idle.

    Attributes:
        num_samples: the number K of particles.
        num_devices: over which they are spread.
        num_blocks: on each device.
        size: of a block.
        axis: of the mesh; None for one device.
    """

    num_samples: int
    num_devices: int
    num_blocks: int
    size: int
    axis: Any

    @property
    def share(self) -> int:
        """The number of slots of a device."""
        return self.num_blocks * self.size

    def first(self) -> Int[Array, ""]:
        """The number of the first slot of this device."""
        return jnp.zeros((), int) if self.axis is None else jax.lax.axis_index(self.axis) * self.share

    def everywhere(self, tree: Any) -> Any:
        """What devices have for their slots, for the slots of all."""
        return tree if self.axis is None else jax.tree.map(lambda leaf: _all_gather(leaf, self.axis), tree)

    def of_particles(self, tree: Any) -> Any:
        """What devices have for their slots, for all particles."""
        return jax.tree.map(lambda leaf: leaf[: self.num_samples], self.everywhere(tree))

    def here(self, values: Array) -> Array:
        """What particles have, for the slots of this device; idle ones get what particle 0 has."""
        idle = self.num_devices * self.share - self.num_samples
        padded = jnp.concatenate([values, jnp.repeat(values[:1], idle, axis=0)])
        return jax.lax.dynamic_slice_in_dim(padded, self.first(), self.share)

    def blockwise(self, function: Callable[..., Any], *batched: Any) -> Any:
        """Apply a function to the slots of this device, a block at a time."""
        if self.num_blocks == 1:
            return function(*batched)
        split = jax.tree.map(lambda leaf: leaf.reshape(self.num_blocks, self.size, *leaf.shape[1:]), batched)
        mapped = jax.lax.map(lambda block: function(*block), split)
        return jax.tree.map(lambda leaf: leaf.reshape(self.share, *leaf.shape[2:]), mapped)


def slots(num_samples: int, block_size: int, sharding: NamedSharding | None) -> Slots:
    """Slots for K particles.

    Args:
        num_samples: K.
        block_size: how many to step at once, at most.
        sharding: see `rollout`.

    Returns:
        The slots.
    """
    axis, num_devices = (None, 1) if sharding is None else device_axis(sharding)
    share = math.ceil(num_samples / num_devices)
    num_blocks = math.ceil(share / block_size)
    return Slots(num_samples, num_devices, num_blocks, math.ceil(share / num_blocks), axis)


def _all_gather(leaf: Array, axis: Any) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jax.lax.all_gather(jax.random.key_data(leaf), axis, tiled=True)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.lax.all_gather(leaf, axis, tiled=True)
