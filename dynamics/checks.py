"""Checks of parameters, whose errors name the parameter, the constraint and the value."""

import difflib
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

_LONGEST = 80  # characters of an argument that an error repeats


def scalar(name: str, value: Any) -> Float[Array, ""]:
    """Return the result of a user's function as a float scalar, or raise a `ValueError` that names it."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a scalar number, got {value!r}") from error
    if array.shape != () or not _is_number(array.dtype) or array.dtype == bool:
        raise ValueError(f"{name} must be a scalar number, got {array.dtype} of shape {array.shape}")
    return array.astype(float)


def truth(name: str, value: Any) -> Bool[Array, ""]:
    """Return the result of a user's function as a boolean scalar, or raise a `ValueError` that names it."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a boolean scalar, got {value!r}") from error
    if array.shape != () or array.dtype != bool:
        raise ValueError(f"{name} must be a boolean scalar, got {array.dtype} of shape {array.shape}")
    return array


def optional_scalar(name: str, value: Any) -> Float[Array, ""] | None:
    """The same of what may be None."""
    return None if value is None else scalar(name, value)


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return `value` as an int, or raise a `ValueError` if it is not an integer or lies below `minimum`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name} must be an integer that is not traced (it decides a size: name it in static_argnames of jit), "
            f"got {value!r}"
        )
    if number is None or number < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return number


def boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool, or raise a `ValueError` if it is not one: the word "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return `value`, or raise a `ValueError` unless it is one of the choices."""
    if not isinstance(value, str | None) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    return value


def unknown(kind: str, name: Any, known: Sequence[str], of: str = "") -> ValueError:
    """The error for a name that there is not.

    Args:
        kind: of what.
        name: the one that was given.
        known: those that there are.
        of: the parameter that it was given in.
    """
    if not known:
        return ValueError(f"unknown {kind} {name!r}: there is none with a name")
    near = difflib.get_close_matches(name, known, 1) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}? There are" if near else "choose one of"
    where = f" in {of}" if of else ""
    return ValueError(f"unknown {kind} {name!r}{where}; {hint}: {', '.join(known)}")


def callback(name: str, given: Any) -> None:
    """Raise a `ValueError` unless this is a function, or None for none."""
    if not (given is None or callable(given)):
        raise ValueError(f"{name} must be a function, or None, got {told(given)}")


def told(thing: Any) -> str:
    """What an error says of a user's argument: itself where that is short, else its kind (not all of its numbers)."""
    said = repr(thing) if jax.tree_util.all_leaves([thing]) else type(thing).__name__
    return said if len(said) <= _LONGEST else type(thing).__name__


def number(name: str, value: Any, **bounds: Any) -> float:
    """Return `value`, which decides a size, as a float, or raise a `ValueError`; the bounds are those of `real`."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        raise ValueError(f"{name} must be a number that is not traced (it decides a size), got {value!r}")
    real(name, value, **bounds)
    return float(value)


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    shape: tuple[int, ...] | None = (),
) -> Float[Array, "..."]:
    """Return `value` as a float array, so that every way of writing a number is the same trace.

    Args:
        name: the parameter, for the error message.
        value: a number or array; the bounds of a traced one are not checked, its shape is.
        above: a bound that every entry must exceed.
        below: a bound that every entry must stay below.
        minimum: the least allowed entry.
        maximum: the greatest allowed entry.
        shape: what `value` must broadcast to; None leaves its shape as it is.

    Raises:
        ValueError: naming the parameter, the constraint and the value.
    """
    bounds = [
        (">", above, operator.gt),
        (">=", minimum, operator.ge),
        ("<", below, operator.lt),
        ("<=", maximum, operator.le),
    ]
    limits = [(sign, bound, holds) for sign, bound, holds in bounds if bound is not None]
    rule = " and ".join(["finite", *(f"{sign} {bound:g}" for sign, bound, _ in limits)])
    try:
        for leaf in jax.tree.leaves(value):
            if not _is_number(leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype):
                raise TypeError("neither a word nor a date is a number, even if NumPy would read it; nor is a key")
        with np.errstate(over="ignore"):  # what is too great for a float is refused below
            array = jnp.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number ({rule}), got {value!r}") from error
    if shape is not None:
        try:
            array = jnp.broadcast_to(array, shape)
        except ValueError as error:
            or_less = ", or broadcast to it" if shape else ""
            raise ValueError(f"{name} must have shape {shape}{or_less}, got {array.shape}") from error
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        return array
    with np.errstate(over="ignore"):
        known = np.asarray(value, array.dtype)  # not `array`: within jit, JAX may have traced its conversion
    if not (np.isfinite(known).all() and all(holds(known, bound).all() for _, bound, holds in limits)):
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return array


def _is_number(dtype: Any) -> bool:
    """Whether numbers of this type are real ones; a boolean is 0 or 1."""
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def distributions(name: str, value: Any) -> Float[Array, "..."]:
    """Return `value` as an array whose rows are distributions, or raise a `ValueError`; traced values pass."""
    rows = real(name, value, minimum=0.0, shape=None)
    if not isinstance(rows, jax.core.Tracer):
        totals = np.asarray(rows).sum(-1).ravel()  # in NumPy: within jit, JAX would trace this
        if (off := np.abs(totals - 1.0)).max(initial=0.0) > 1e-5:
            raise ValueError(f"{name} must have rows that sum to 1, got one of sum {totals[off.argmax()]:g}")
    return rows


def interval(name: str, value: Any, size: int | None = None) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return the pair `value` = (low, high) of numbers or [A] as two arrays, or raise a `ValueError`.

    Args:
        name: the parameter, for the error message.
        value: the pair; where both are the same, there is but one value.
        size: A, to which the arrays are broadcast; None leaves their shapes as they are.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (low, high) of numbers or of arrays [A], got {value!r}")
    shape = None if size is None else (size,)
    low, high = (real(f"{name} ({end})", x, shape=shape) for end, x in zip(("low", "high"), value, strict=True))
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))
    if known and not (np.asarray(value[0], float) <= np.asarray(value[1], float)).all():  # as in `real`, within jit
        raise ValueError(f"{name} must have low <= high, a pair of numbers or of arrays [A], got {value!r}")
    return low, high


def check_unused(why: str, **options: Any) -> None:
    """Raise a `ValueError` if an option was given, any but None, that has no meaning beside others."""
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        values = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(f"{why}: {' and '.join(given)} must not be given, got {values}")
