"""Mistakes of users, reported in one clear line."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from mirrax import planners
from mirrax.dynamics.checks import unknown


@contextlib.contextmanager
def one_clear_line() -> Iterator[None]:
    """Take the errors of this block, where nothing but the user's input is looked at, for the user's.

    Raises:
        SystemExit: with 2, after the line on stderr, in place of a `ValueError` or `OSError`.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"mirrax: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error


def check_planner(name: str) -> str:
    """Return the name of a planner, or raise a `ValueError` that names the nearest, and those that there are."""
    known = [factory.__name__ for factory in planners.PLANNERS]
    if name not in known:
        raise unknown("planner", name, known)
    return name


def some(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values`, or raise a `ValueError` if there are none."""
    if not values:
        raise ValueError(f"{name} must be at least one, got none")
    return values
