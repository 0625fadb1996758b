"""Pytree dataclasses: what models and planners are made of."""

import dataclasses
import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

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
