"""Checks of what users give to planners."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped

from ..dynamics.base import check_model
from ..dynamics.spaces import ActionSpace, action_space


def check_part(name: str, part: Any, *methods: str) -> Any:
    """Return `part`, or raise a `ValueError` unless it is a pytree (so that jit can take it) with these methods."""
    if isinstance(part, type):
        raise ValueError(f"{name} must be an instance, got the class {part.__name__}")
    missing = [method for method in methods if not callable(getattr(part, method, None))]
    if missing:
        raise ValueError(f"{name} must have {', '.join(missing)}, got {part!r}")
    if jax.tree_util.all_leaves([part]):
        raise ValueError(f"{name} must be a pytree: register {type(part).__name__} with JAX, got {part!r}")
    return part


def check_key(key: Any) -> PRNGKeyArray:
    """Return one key as `jax.random.key` makes it, of either kind, or raise a `ValueError`."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
        return key
    if dtype == jnp.uint32 and shape == jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape:
        return jax.random.wrap_key_data(jnp.asarray(key))
    got = f"{key!r}" if dtype is None or shape == () else f"{dtype}{list(shape or ())}"
    raise ValueError(
        f"key must be one key, jax.random.key(seed) or jax.random.PRNGKey(seed) (of several take one, or vmap over "
        f"them), got {got}"
    )


def check_belief(own: Any, given: Any) -> Any:
    """Return the belief `given`, or raise a `ValueError` unless its structure, shapes and dtypes are those of `own`.

    Args:
        own: a belief that the planner's `init` gives, or its shapes, from `jax.eval_shape`.
        given: by the user.
    """
    difference = _difference("belief", own, given)
    if difference is not None:
        raise ValueError(f"{difference} (planner.init gives a belief that fits)")
    return given


def _difference(path: str, own: Any, given: Any) -> str | None:
    """Where one pytree differs from another, what it must be there, and what it is; None where they agree."""
    if jax.tree_util.all_leaves([own]) and jax.tree_util.all_leaves([given]):
        if jnp.shape(own) != jnp.shape(given):
            return f"{path} must have shape {jnp.shape(own)}, got {jnp.shape(given)}"
        dtype = own.dtype if isinstance(given, int | float) else jax.dtypes.canonicalize_dtype(given.dtype)
        return None if dtype == own.dtype else f"{path} must be of {own.dtype}, got {dtype}"
    if type(own) is not type(given):
        return f"{path} must be {_kind(own)}, got {_kind(given)}"
    (own_parts, own_structure), (parts, structure) = _one_level(own), _one_level(given)
    if own_parts.keys() != parts.keys():
        return f"{path} must have the parts {', '.join(own_parts)}, got {', '.join(parts)}"
    for key, part in own_parts.items():
        if (difference := _difference(f"{path}{key}", part, parts[key])) is not None:
            return difference
    if own_structure == structure:
        return None
    for field in dataclasses.fields(own) if dataclasses.is_dataclass(own) else ():
        own_value, value = getattr(own, field.name), getattr(given, field.name)
        if field.metadata.get("static") and own_value != value:
            return f"{path}.{field.name} must be {_short(own_value)}, got {_short(value)}"
    return f"{path} must be as the planner has it, got another {type(given).__name__}"


def _one_level(tree: Any) -> tuple[dict[str, Any], Any]:
    """The parts of a pytree, and its structure without theirs."""
    parts, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda part: part is not tree)
    return {jax.tree_util.keystr(path): part for path, part in parts}, structure


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"another {type(value).__name__}"


def _kind(part: Any) -> str:
    if part is None:
        return "None"
    return "an array" if jax.tree_util.all_leaves([part]) else type(part).__name__


def check_own_belief(planner: Any, model: Any, state: Any, given: Any) -> Any:
    """Return the belief `given`, or raise a `ValueError` unless it is one that the planner gives on this model.

    Args:
        planner: that has a `name`.
        model: whose actions are planned.
        state: a state of `model`.
        given: by the user.
    """
    own = jax.eval_shape(lambda: planner.init(model, state))
    with binding(planner.name, model):
        return check_belief(own, given)


@contextlib.contextmanager
def named(*parts: str) -> Iterator[None]:
    """Begin the message of a `ValueError` of this block with what it is of, such as a planner and a model."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{' on '.join(parts)}: {error}") from error


@contextlib.contextmanager
def binding(planner: str, model: Any) -> Iterator[ActionSpace]:
    """The space of a model's actions; errors of this block name the planner, the model and its space."""
    with named(planner):
        space = action_space(check_model("model", model))
    with named(planner, f"{type(model).__name__} ({space})"):
        yield space


def check_per_plan(name: str, values: Any, num_samples: int) -> Shaped[Array, " K"]:
    """Return what a user's function gave for K plans, or raise a `ValueError` unless its shape is [K]."""
    if jnp.shape(values) != (num_samples,):
        raise ValueError(f"{name} must have shape ({num_samples},), one entry per plan, got {jnp.shape(values)}")
    return values


def fresh(tree: Any) -> Any:
    """Copies of arrays and keys in memory of their own, so that the caller may donate them.

    Within jit nothing is copied: results have memory of their own anyway.
    """
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.core.Tracer) else jnp.array(leaf, copy=True), tree)
