"""A state as a vector: what derivatives with respect to it are taken along, and what feedback measures."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .base import HasCoordinateNames, HasCoordinates, State


@runtime_checkable
class HasModelUnderneath(Protocol):
    """A model that wraps another, see `dynamics.Wrapper`."""

    @property
    def model(self) -> Any:
        """The model underneath."""
        ...

    def inner(self, state: State) -> State:
        """The state of that model."""
        ...


def coordinates(model: Any, state: State) -> Float[Array, " n"]:
    """The physical state as a vector x: all of a state that decides what happens next, and varies continuously.

    Args:
        model: whose `coordinates(state)` it is, where it has that (Brax models do, and wrappers of them); of all
            others the floating-point leaves of the state, in their order.
        state: a state of `model`.

    Returns:
        The coordinates [n].
    """
    if isinstance(model, HasCoordinates):
        return model.coordinates(state)
    return ravel_pytree(_split(state)[0])[0].astype(float)


def with_coordinates(model: Any, state: State, x: Float[Array, " n"]) -> State:
    """The state whose coordinates are x; all that has none is as in `state`.

    Args:
        model: see `coordinates`; one that has its own has `with_coordinates(state, x)` too.
        state: a state of `model`.
        x: [n].

    Returns:
        A state of the same structure. At `coordinates(model, state)` it steps as `state` does.
    """
    if isinstance(model, HasCoordinates):
        return model.with_coordinates(state, x)
    continuous, others = _split(state)
    placed = iter(ravel_pytree(continuous)[1](x.astype(ravel_pytree(continuous)[0].dtype)))
    leaves = [next(placed) if other is None else other for other in others]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def coordinate_names(model: Any, state: State) -> tuple[str, ...]:
    """What the coordinates are called, such as "torso: x (m)": whose it is, what it is, its unit.

    Args:
        model: whose `coordinate_names` they are, where it has some (see `HasCoordinateNames`); of all others the
            places in the state where they come from, such as "position[0]"; of wrappers those of the model
            underneath.
        state: a state of `model`, or its shapes.

    Returns:
        The names [n], in the order of `coordinates`.

    Raises:
        ValueError: if the model has another number of names than of coordinates.
    """
    known = model.coordinate_names if isinstance(model, HasCoordinateNames) else None
    size = jax.eval_shape(lambda state: coordinates(model, state), state).size
    if known is not None:
        if len(known) != size:
            raise ValueError(
                f"coordinate_names must be one for each of {size} coordinates, got {len(known)}: {known!r}"
            )
        return known
    if isinstance(model, HasModelUnderneath):
        inside = coordinate_names(model.model, jax.eval_shape(model.inner, state))
        if len(inside) == size:  # else the wrapper has other coordinates
            return inside
    if isinstance(model, HasCoordinates):
        return tuple(f"[{i}]" for i in range(size))
    names: list[str] = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda state: state, state)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            where = jax.tree_util.keystr(path, simple=True, separator=".")
            places = (",".join(map(str, index)) for index in np.ndindex(*jnp.shape(leaf)))
            names += [f"{where}[{place}]" if place else where or "state" for place in places]
    return tuple(names)


def _split(state: State) -> tuple[list[Array], list[Any]]:
    """The floating-point leaves, and all leaves with None in the place of those."""
    leaves = jax.tree.leaves(state)
    moving = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]
    continuous = [jnp.asarray(leaf) for leaf, moves in zip(leaves, moving, strict=True) if moves]
    return continuous, [None if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
