"""What a run goes on from, as bytes that tell whether they are whole."""

import struct
import zlib
from typing import Any

import jax
import numpy as np

_SEAL = struct.Struct("<QI")  # how many bytes follow, and their CRC


def sealed(num_steps: int, tree: Any) -> bytes:
    """Pack what a run goes on from.

    Args:
        num_steps: the steps so far.
        tree: of arrays and keys: state and belief.

    Returns:
        What `unsealed` takes; a part of it is known as one.
    """
    from flax import serialization  # which takes its time to import

    leaves = [np.asarray(leaf) for leaf in jax.device_get(_numbers(jax.tree.leaves(tree)))]
    data = serialization.msgpack_serialize({"num_steps": num_steps, "leaves": leaves})
    return _SEAL.pack(len(data), zlib.crc32(data)) + data


def unsealed(data: bytes, like: Any) -> tuple[int, Any] | None:
    """Unpack it.

    Args:
        data: what `sealed` gave, or what is left of it.
        like: a tree of the same structure.

    Returns:
        The number of steps, and the tree; None if it is not whole.

    Raises:
        ValueError: if the trees differ.
    """
    from flax import serialization

    if len(data) < _SEAL.size:
        return None
    length, crc = _SEAL.unpack_from(data)
    data = data[_SEAL.size : _SEAL.size + length]
    if length == 0 or len(data) != length or zlib.crc32(data) != crc:
        return None
    content = serialization.msgpack_restore(data)
    templates, structure = jax.tree.flatten(like)
    expected, found = (
        [jax.typeof(leaf).str_short() for leaf in each] for each in (_numbers(templates), content["leaves"])
    )
    if expected != found:
        raise ValueError(
            f"the checkpoint must be of this planner and model, got arrays {found} instead of {expected}"
        )
    leaves = [
        jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(template)) if _is_key(template) else leaf
        for leaf, template in zip(content["leaves"], templates, strict=True)
    ]
    return content["num_steps"], jax.tree.unflatten(structure, leaves)


def _numbers(leaves: list[Any]) -> list[Any]:
    """The leaves, keys as the numbers that they are."""
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
