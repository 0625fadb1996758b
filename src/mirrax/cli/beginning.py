"""What ends a run before there is anything to keep: a model and a planner that do not fit, a first step of NaN."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_LOOK = "look for a root or a logarithm of what is negative, or a quotient by 0"


def check_first(step: Mapping[str, Any], names: Mapping[str, Any], value: Callable[[], Any]) -> None:
    """Refuse to go on from a first step that earned NaN, or led to a value of NaN: what follows would be noise.

    Args:
        step: the first, see `closed_loop.Moment`.
        names: of what a step has, see `closed_loop.ClosedLoop`.
        value: tells that of the state after it; asked only where no plan had a finite return.

    Raises:
        ValueError: if the reward is NaN: that the simulation diverged, or which terms of the reward are NaN; if the
            value is.
    """
    if not math.isnan(step["reward"]):
        if step.get("degenerate") and math.isnan(float(value())):
            raise ValueError(f"value must be a number, got NaN after the first step: {_LOOK}")
        return
    if not np.isfinite(step["coordinates"]).all():
        raise ValueError(
            "the simulation diverges in the first step: take a shorter timestep, less stiff actuators, or a first "
            "state in which bodies do not overlap"
        )
    terms = dict(zip(names.get("term_names") or [], np.atleast_1d(step.get("terms", [])), strict=False))
    lost = ", ".join(repr(name) for name, value in terms.items() if not np.isfinite(value))
    of = f", of its terms {lost}" if lost else ""
    raise ValueError(f"reward must be a number, got NaN in the first step{of}: {_LOOK}")


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first; one that is not empty stays, and those around it.

    Args:
        folders: that may be empty.
    """
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def leaving_nothing(made: Sequence[Path]) -> Iterator[None]:
    """Where a run fails before there is anything in its folders, they go again.

    Args:
        made: for this run, the innermost first.
    """
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise


@contextlib.contextmanager
def known_mistakes() -> Iterator[None]:
    """What mirrax itself says of a planner and a model that do not fit is one clear line."""
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.dynamics.errors import own_words

    try:
        yield
    except ValueError as error:
        if own_words(error) is None:
            raise
        with one_clear_line():
            raise
