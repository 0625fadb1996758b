"""What an option of a planner is: its kind, help and range, from which checks, docstrings and flags are made."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dynamics.checks import boolean, choice, integer, number, real


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of planners.

    Attributes:
        kind: "integer", "boolean", "choice" or "number" (static: they decide a size, or which code is compiled);
            "real" (a scalar) or "array" (a scalar, [A] or [H, A]), both traced; "object" for anything else.
        help: one or two sentences.
        none: what None stands for; empty where None is no value.
        above: a bound that every entry exceeds.
        below: a bound that every entry stays below.
        minimum: the least value.
        maximum: the greatest value.
        choices: the words, of a choice.
        words: that stand for a number.
        several: whether there may be one integer for each iteration.
        word: whether a word on the command line can stand for an object.
        infinite: whether a number may be infinite, too.
        locks: whether some entries of an array, but not all, may be 0, which locks actuators.
    """

    kind: str
    help: str
    none: str = ""
    above: int | float | None = None
    below: int | float | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    several: bool = False
    word: bool = False
    infinite: bool = False
    locks: bool = False

    @property
    def range(self) -> str:
        """The values that are allowed, in words; empty where all are."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        low = f"> {self.above:g}" if self.above is not None else ""
        low = f">= {self.minimum:g}" if self.minimum is not None else low
        high = f"< {self.below:g}" if self.below is not None else ""
        high = f"<= {self.maximum:g}" if self.maximum is not None else high
        return " and ".join(part for part in (low, high) if part)

    def check(self, name: str, value: Any) -> Any:
        """The value, converted; or a `ValueError` that names the option, the constraint and the value."""
        if (value is None and self.none) or (isinstance(value, str) and value in self.words):
            return value
        if isinstance(value, str) and self.words:
            raise ValueError(f"{name} must be a number or {', '.join(map(repr, self.words))}, got {value!r}")
        if self.infinite and _infinite(value):
            return jnp.asarray(math.inf, float)
        bounds = {"above": self.above, "below": self.below, "minimum": self.minimum, "maximum": self.maximum}
        match self.kind:
            case "integer" if self.several and isinstance(value, tuple | list):
                return tuple(integer(name, part, int(self.minimum or 0)) for part in value)
            case "integer":
                return integer(name, value, int(self.minimum or 0))
            case "boolean":
                return boolean(name, value)
            case "choice":
                return choice(name, value, self.choices)
            case "number":
                return number(name, value, **bounds)
            case "array" if self.locks and not any(
                isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)
            ):
                if _some_but_not_all_zero(value):
                    bounds |= {"above": None, "minimum": 0.0}
                return real(name, value, shape=None, **bounds)
            case "real" | "array":
                return real(name, value, shape=() if self.kind == "real" else None, **bounds)
        return value

    def describe(self) -> str:
        """Its description for documentation: help, range and the meaning of None."""
        text = self.help
        if self.kind == "array":
            text += "; a scalar, [A] or [H, A]"
        if self.range:
            text += f"; {self.range}"
        if self.locks:
            text += "; 0 locks one actuator of several at its mean"
        if self.several:
            text += "; one, or one for each iteration"
        return f"{text}. None {self.none}." if self.none else f"{text}."


def _infinite(value: Any) -> bool:
    if not isinstance(value, float | np.generic | jax.Array) or isinstance(value, jax.core.Tracer):
        return False
    real_number = isinstance(value, float) or jnp.issubdtype(value.dtype, jnp.floating)
    return real_number and np.ndim(value) == 0 and bool(value == math.inf)


def _some_but_not_all_zero(value: Any) -> bool:
    try:
        entries = np.asarray(value)
    except (TypeError, ValueError):  # which `real` says
        return False
    if entries.dtype.kind not in "fiub":
        return False
    return bool((entries == 0).any() and (entries != 0).any())


@dataclasses.dataclass(frozen=True)
class Narrowing:
    """How one planner's option differs from the declaration. Make one with `narrowed`."""

    changes: Mapping[str, Any]

    def of(self, general: Option) -> Option:
        """The option of this planner."""
        return dataclasses.replace(general, **self.changes)


def narrowed(**changes: Any) -> Narrowing:
    """Say how an option of one planner differs from the declaration, in the annotation of its parameter.

    As in `std: Annotated[Any, narrowed(none="for 1")] = None`.

    Args:
        **changes: fields of `Option` that differ for this planner.

    Returns:
        The annotation, which checks, docstring and flags of the planner follow.
    """
    return Narrowing(changes)


def option(kind: str, help: str, none: str = "", **constraints: Any) -> Any:
    """A field of `Options`; the arguments are those of `Option`."""
    return dataclasses.field(default=None, metadata={"option": Option(kind, help, none, **constraints)})
