"""The parameters of a planner, as JSON."""

import dataclasses
import re
from typing import Any

import jax
import numpy as np

from mirrax.results.numbers import shortest

_MANY = 256  # numbers of one parameter; a matrix over the horizon has its square
_PLACE = re.compile(r" at 0x[0-9a-f]+")  # in memory, which says nothing


def described(part: Any) -> Any:
    """The parameters of a planner as they were in the end, defaults included: what it takes to repeat the run.

    Args:
        part: a planner, or a part of one.

    Returns:
        JSON. An array of equal numbers is the number, one of many others is told by its shape and its range.
    """
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {field.name: described(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"kind": type(part).__name__} | fields
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, tuple):
        return [described(entry) for entry in part]
    if isinstance(part, dict):
        return {name: described(entry) for name, entry in part.items()}
    if isinstance(part, jax.Array) and not jax.dtypes.issubdtype(part.dtype, jax.dtypes.prng_key):
        array = np.asarray(part)
        values = np.unique(array)
        if len(values) == 1:
            return shortest(values[0])
        if array.size <= _MANY:
            return shortest(array)
        return {"shape": list(array.shape), "min": shortest(values[0]), "max": shortest(values[-1])}
    function = getattr(part, "func", part)
    return getattr(function, "__name__", None) or _PLACE.sub("", str(part))
