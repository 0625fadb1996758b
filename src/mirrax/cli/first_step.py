"""What the first step of a run says of a model that nothing can be planned with."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def check_first(step: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    """Refuse to go on from a first step that earned NaN: what follows would be noise.

    Args:
        step: the first, see `closed_loop.Moment`.
        names: of what a step has, see `closed_loop.ClosedLoop`.

    Raises:
        ValueError: if the reward is NaN: that the simulation diverged, or which terms of the reward are NaN.
    """
    if not math.isnan(step["reward"]):
        return
    if not np.isfinite(step["coordinates"]).all():
        raise ValueError(
            "the simulation diverges in the first step: take a shorter timestep, less stiff actuators, or a first "
            "state in which bodies do not overlap"
        )
    terms = dict(zip(names.get("term_names") or [], np.atleast_1d(step.get("terms", [])), strict=False))
    lost = ", ".join(repr(name) for name, value in terms.items() if not np.isfinite(value))
    of = f", of its terms {lost}" if lost else ""
    raise ValueError(
        f"reward must be a number, got NaN in the first step{of}: look for a root or a logarithm of what is "
        "negative, or a quotient by 0"
    )
