"""Particles in blocks that fit the cache, spread over devices."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Int

from ..rollouts.blocks import device_axis


class ParticleBlocks(NamedTuple):
    """Particles in equal blocks on equal devices. Places beyond the last particle are idle.

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
    def per_device(self) -> int:
        """The number of places of a device."""
        return self.num_blocks * self.size

    def first(self) -> Int[Array, ""]:
        """The number of the first place of this device."""
        return jnp.zeros((), int) if self.axis is None else jax.lax.axis_index(self.axis) * self.per_device

    def everywhere(self, tree: Any) -> Any:
        """What devices hold for their places, for the places of all."""
        return tree if self.axis is None else jax.tree.map(lambda leaf: _all_gather(leaf, self.axis), tree)

    def of_particles(self, tree: Any) -> Any:
        """What devices hold for their places, for all particles."""
        return jax.tree.map(lambda leaf: leaf[: self.num_samples], self.everywhere(tree))

    def here(self, values: Array) -> Array:
        """What particles hold, for the places of this device; idle ones get that of particle 0."""
        idle = self.num_devices * self.per_device - self.num_samples
        padded = jnp.concatenate([values, jnp.repeat(values[:1], idle, axis=0)])
        return jax.lax.dynamic_slice_in_dim(padded, self.first(), self.per_device)

    def blockwise(self, function: Callable[..., Any], *batched: Any) -> Any:
        """Apply a function to the places of this device, a block at a time."""
        if self.num_blocks == 1:
            return function(*batched)
        split = jax.tree.map(lambda leaf: leaf.reshape(self.num_blocks, self.size, *leaf.shape[1:]), batched)
        mapped = jax.lax.map(lambda block: function(*block), split)
        return jax.tree.map(lambda leaf: leaf.reshape(self.per_device, *leaf.shape[2:]), mapped)


def particle_blocks(num_samples: int, block_size: int, sharding: NamedSharding | None) -> ParticleBlocks:
    """Blocks for K particles.

    Args:
        num_samples: K.
        block_size: how many to step at once, at most.
        sharding: see `rollout`.

    Returns:
        The blocks.
    """
    axis, num_devices = (None, 1) if sharding is None else device_axis(sharding)
    share = math.ceil(num_samples / num_devices)
    num_blocks = math.ceil(share / block_size)
    return ParticleBlocks(num_samples, num_devices, num_blocks, math.ceil(share / num_blocks), axis)


def _all_gather(leaf: Array, axis: Any) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jax.lax.all_gather(jax.random.key_data(leaf), axis, tiled=True)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.lax.all_gather(leaf, axis, tiled=True)
