"""Pytree dataclasses: what models and planners are made of."""

import dataclasses
import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

C = TypeVar("C")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the compiled program: a size, a flag, a function. Changing it retraces."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: type[C]) -> type[C]:
    """Make `cls` a frozen dataclass and a pytree: its fields are traced, except those declared with `static()`.

    A decorator of classes with annotated fields, such as models: `@dynamics.pytree`.
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(made)
    traced = tuple(field.name for field in fields if not field.metadata.get("static"))
    fixed = tuple(field.name for field in fields if field.metadata.get("static"))
    children_of, aux_of = _getter(traced), _getter(fixed)

    def flatten(node: C) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return children_of(node), aux_of(node)  # part of every call of a compiled function: let it be quick

    def flatten_with_keys(node: C) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(zip(map(jax.tree_util.GetAttrKey, traced), children_of(node), strict=True)), aux_of(node)

    def unflatten(aux: tuple[Any, ...], children: Iterable[Any]) -> C:
        # Past __init__: JAX unflattens with placeholders and batched leaves, which no check may see.
        node = object.__new__(cls)
        node.__dict__.update(zip(traced, children, strict=True))
        node.__dict__.update(zip(fixed, aux, strict=True))
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the tuple of these attributes."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda node: tuple(getattr(node, name) for name in names)


def traceable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a pytree, so that it can be a traced field.

    A callable that is a pytree already (`jax.tree_util.Partial`, a module with weights) keeps its leaves traced, as
    does a method of a pytree; a plain function becomes part of the compiled program.
    """
    owner = getattr(function, "__self__", None)
    if inspect.ismethod(function) and not isinstance(owner, type) and not jax.tree_util.all_leaves([owner]):
        return jax.tree_util.Partial(function.__func__, owner)
    return jax.tree_util.Partial(function) if jax.tree_util.all_leaves([function]) else function


def weakly_typed(tree: Any) -> bool:
    """Whether some number in a pytree has the dtype of a Python number, which becomes that of what it is added to."""
    return any(isinstance(leaf, int | float | complex) or _is_weak(leaf) for leaf in jax.tree.leaves(tree))


def strongly_typed(tree: Any) -> Any:
    """A pytree whose numbers are arrays that keep their dtypes; keys, and what is no number, are as they were.

    To JAX, a program of weakly typed numbers is another than one of the same numbers strongly typed.

    Args:
        tree: any pytree.
    """

    def strong(leaf: Any) -> Any:
        if isinstance(leaf, int | float | complex | np.number | np.bool_) or _is_weak(leaf):
            return jnp.asarray(leaf, jnp.result_type(leaf))
        return leaf

    return jax.tree.map(strong, tree)


def _is_weak(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.typeof(leaf).weak_type


def difference(path: str, own: Any, given: Any) -> str | None:
    """Where one pytree differs in structure, shapes or dtypes from another, in words; None where they agree.

    Args:
        path: what to call the pytree.
        own: what it must be like; its leaves may be `jax.ShapeDtypeStruct`.
        given: the pytree. The dtype of a Python number fits any.
    """
    if jax.tree_util.all_leaves([own]) and jax.tree_util.all_leaves([given]):
        if jnp.shape(own) != jnp.shape(given):
            return f"{path} must have shape {jnp.shape(own)}, got {jnp.shape(given)}"
        if isinstance(own, int | float) or isinstance(given, int | float):
            return None
        wanted, dtype = (_canonical(leaf.dtype) for leaf in (own, given))
        return None if dtype == wanted else f"{path} must be of {wanted}, got {dtype}"
    if type(own) is not type(given):
        return f"{path} must be {_kind(own)}, got {_kind(given)}"
    (own_parts, own_structure), (parts, structure) = one_level(own), one_level(given)
    if own_parts.keys() != parts.keys():
        return f"{path} must have the parts {', '.join(own_parts) or 'none'}, got {', '.join(parts) or 'none'}"
    for key, part in own_parts.items():
        if (found := difference(f"{path}{key}", part, parts[key])) is not None:
            return found
    if own_structure == structure:
        return None
    for field in dataclasses.fields(own) if dataclasses.is_dataclass(own) else ():
        own_value, value = getattr(own, field.name), getattr(given, field.name)
        if field.metadata.get("static") and own_value != value:
            wanted, got = _short(own_value), _short(value)
            if wanted == got:  # two of a kind, each of which is equal to itself alone
                wanted, got = f"the same {type(own_value).__name__}", "another"
            return f"{path}.{field.name} must be {wanted}, got {got}"
    return f"{path} must be the same {type(given).__name__}, got another"


def _canonical(dtype: Any) -> Any:
    """The dtype that JAX makes of one of NumPy's; keys stay what they are."""
    return dtype if jnp.issubdtype(dtype, jax.dtypes.extended) else jax.dtypes.canonicalize_dtype(dtype)


def one_level(tree: Any) -> tuple[dict[str, Any], Any]:
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
