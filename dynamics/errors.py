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
# what a newcomer to JAX is to write instead
_INSTEAD = (
    (jax.errors.TracerBoolConversionError, "take jnp.where, not if, where a condition depends on the state"),
    (jax.errors.TracerArrayConversionError, "take jax.numpy, not numpy"),
    (jax.errors.TracerIntegerConversionError, "let no size, index of a list or number of turns depend on the state"),
    (jax.errors.ConcretizationTypeError, "leave out float() and int(), and let no size depend on the state"),
)
_RAISED_BY = "raised by the user's "  # begins the note of an error that is not told in other words
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
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_RAISED_BY)]
    if notes:
        return f"{notes[0].removeprefix(_RAISED_BY)} raised {words(error)}"
    if isinstance(error, _UNTRACEABLE):
        duty = "must compute by JAX alone, of its arguments and of what is constant, got"
    elif isinstance(error, _RAISED) and not is_users(error) and not _in_own_code(error):
        duty = f"must take {arguments}, got"
    else:
        duty = "raised"
    return f"{part} of {_kind(model)} {duty} {words(error)}"


def words(error: Exception, where: str | None = None) -> str:
    """An error of a user's function in one line, and where it was raised."""
    module, file, line = _place(error)
    what = next(iter(str(error).splitlines()), "").rstrip(".")
    if where is None:
        where = "" if module.startswith("mirrax.") else f" (at {file}:{line})"  # it could not even be called
    instead = next((f": {hint}" for kind, hint in _INSTEAD if isinstance(error, kind)), "")
    return f"{type(error).__name__}{what and f': {what}'}{where}{instead}"


def of_part(name: str, error: Exception) -> Exception:
    """Name the user's function that raised an error, and the line of their code.

    Args:
        name: of the function, such as "reward".
        error: what it raised.

    Returns:
        A `ValueError`; the error itself, with a note, where it is for the user's own code to handle.
    """
    if is_users(error):
        error.add_note(f"{_RAISED_BY}{name}")
        return error
    written = own_words(error)
    theirs = [place for place in _places(error) if place[0].split(".")[0] not in ("mirrax", "mujoco")]
    where = f" (at {theirs[-1][1]}:{theirs[-1][2]})" if theirs else ""
    if written is None:
        return because(f"{name} raised {words(error, where)}", error)
    return because(f"{written}{where}", error) if where else error


def _place(error: Exception) -> tuple[str, str, int]:
    """The module, file and line where an error was raised, outside of JAX and of checks of types."""
    return [("", "", 0), *_places(error)][-1]


def _places(error: Exception) -> list[tuple[str, str, int]]:
    """The modules, files and lines on the way to an error, outside of JAX and of checks of types."""
    named = (
        (frame.f_globals.get("__name__", ""), frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    )
    return [place for place in named if place[0].split(".")[0] not in _LIBRARIES]


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
