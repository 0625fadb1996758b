"""Mistakes of users, reported in one clear line."""

import contextlib
import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mirrax import planners


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


def unknown(kind: str, name: str, known: Sequence[str]) -> ValueError:
    """The error for a name that there is not.

    Args:
        kind: of what.
        name: the one that was given.
        known: those that there are.
    """
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? There are" if near else "choose one of"
    return ValueError(f"unknown {kind} {name!r}; {hint}: {', '.join(known)}")


def some(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values`, or raise a `ValueError` if there are none."""
    if not values:
        raise ValueError(f"{name} must be at least one, got none")
    return values
