"""Pytrees as dictionaries of arrays by name, which anything can write: flax, orbax, NumPy."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .randomness import is_key


def to_state_dict(tree: Any) -> dict[str, Any]:
    """What a pytree holds, as nested dictionaries of arrays by the names of its parts.

    `flax.serialization.to_bytes`, `orbax.checkpoint` and others write these; of beliefs, planners, models, states,
    infos and episodes. Structure and what is static are not in it: `from_state_dict` takes them from another tree.

    Args:
        tree: any pytree.

    Returns:
        The dictionaries; keys of `jax.random.key` are the numbers that they are, parts without arrays are left out.
    """
    nested: dict[str, Any] = {}
    for names, leaf in _named(tree):
        inner = nested
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
        inner[names[-1]] = jax.random.key_data(leaf) if is_key(leaf) else leaf
    return nested


def from_state_dict(like: Any, state: Mapping[str, Any]) -> Any:
    """A pytree of what `to_state_dict` gave: the same to JAX as `like`, so that no program is compiled anew for it.

    Args:
        like: a pytree of the same structure, such as `planner.init(model, state)`.
        state: what `to_state_dict` gave, or what was read back of that, of JAX's or NumPy's arrays.

    Returns:
        The tree.

    Raises:
        ValueError: if a part is missing, is one too many, or has another shape or dtype.
    """
    wanted, found = dict(_named(like)), dict(_entries((), state))
    if missing := [".".join(names) for names in wanted if names not in found]:
        raise ValueError(f"state must have {', '.join(missing)}, as `like` does, got none")
    if more := [".".join(names) for names in found if names not in wanted]:
        raise ValueError(f"state must have the parts of `like`, got {', '.join(more)} besides")
    leaves = [_restored(".".join(names), leaf, found[names]) for names, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The leaves, and the names on the way to each; a leaf alone is called `value`."""
    return [
        (tuple(jax.tree_util.keystr((key,), simple=True) for key in path) or ("value",), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _entries(names: tuple[str, ...], state: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The same of dictionaries."""
    if not isinstance(state, Mapping):
        return [(names, state)]
    return [entry for name, part in state.items() for entry in _entries((*names, str(name)), part)]


def _restored(name: str, like: Any, value: Any) -> Any:
    """A leaf that is to JAX as `like` is."""
    if isinstance(like, bool | int | float | complex) and np.shape(value) == ():  # whose type is weak
        return type(like)(np.asarray(value)[()])
    wanted = jax.eval_shape(jax.random.key_data, like) if is_key(like) else jax.typeof(like)
    if np.shape(value) != wanted.shape or np.asarray(value).dtype != wanted.dtype:
        got = f"{np.asarray(value).dtype}{list(np.shape(value))}"
        raise ValueError(f"{name} must be {wanted.dtype}{list(wanted.shape)}, as in `like`, got {got}")
    array = jnp.asarray(np.asarray(value))  # what was read may be committed to a device
    if is_key(like):
        array = jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))
    known = isinstance(like, jax.Array) and not isinstance(like, jax.core.Tracer) and like.committed
    return jax.device_put(array, like.sharding) if known else array
