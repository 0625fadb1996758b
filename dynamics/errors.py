"""Errors of users' functions in words."""

import dis
import traceback
from typing import Any

import jax

# what a function raises that is given other arguments than it takes, or traced ones; what else it raises is its own
_RAISED = (ValueError, TypeError, LookupError, AttributeError)
_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
)
_LIBRARIES = ("jax", "jaxlib", "jaxtyping", "beartype", "numpy", "contextlib")


def own_words(error: Exception) -> str | None:
    """The message, if mirrax has written it."""
    written = type(error) is ValueError and _place(error)[0].startswith("mirrax.")
    return str(error) if written else None


def is_users(error: Exception) -> bool:
    """Whether an error is for the user's own code to handle: of a class of its own, or of no mistaken argument."""
    known = type(error).__module__.split(".")[0] in ("builtins", *_LIBRARIES)
    return not known or not isinstance(error, _RAISED)


def said(part: str, model: Any, error: Exception, arguments: str) -> str:
    """What a user's function that raised an error failed to do."""
    if (written := own_words(error)) is not None:
        return written
    if isinstance(error, _UNTRACEABLE):
        duty = "must compute by JAX alone, of its arguments and of what is constant, got"
    elif isinstance(error, _RAISED) and not is_users(error) and not _in_own_code(error):
        duty = f"must take {arguments}, got"
    else:
        duty = "raised"
    return f"{part} of {_kind(model)} {duty} {words(error)}"


def words(error: Exception) -> str:
    """An error of a user's function in one line, and where it was raised."""
    module, file, line = _place(error)
    what = next(iter(str(error).splitlines()), "").rstrip(".")
    where = "" if module.startswith("mirrax.") else f" (at {file}:{line})"  # it could not even be called
    return f"{type(error).__name__}{what and f': {what}'}{where}"


def _place(error: Exception) -> tuple[str, str, int]:
    """The module, file and line where an error was raised, outside of JAX and of checks of types."""
    place = ("", "", 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in _LIBRARIES:
            place = (module, frame.f_code.co_filename, line)
    return place


def _in_own_code(error: Exception) -> bool:
    """Whether the user's code itself raised an error, not a call of it, or what it calls."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").split(".")[0] not in ("mirrax", *_LIBRARIES)


def by_statement(error: Exception) -> bool:
    """Whether an error was raised by the word `raise` (or `assert`) in the user's code, not by what failed there."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    raised = last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and _in_own_code(error)


def because(said: str, error: Exception) -> ValueError:
    """A `ValueError` with these words, of which another error is the cause."""
    found = ValueError(said)
    found.__cause__ = error
    return found


def _kind(model: Any) -> str:
    return type(model).__name__
