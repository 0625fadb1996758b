"""What the commands that train share: the folder, the words it began with, sizes of layers, and how it ends."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

C = TypeVar("C")


def again(verb: str, out: Path) -> str:
    """What to type to go on.

    Args:
        verb: the command, such as train.
        out: the folder of the training.
    """
    return f"mirrax {verb} --resume {shlex.quote(str(out))}"


def claim(out: Path, stack: contextlib.ExitStack) -> None:
    """Make a folder, for one process.

    Args:
        out: the folder.
        stack: in which it is claimed.

    Raises:
        ValueError: if it cannot be written, or another process writes to it.
    """
    from mirrax.results.files import claimed

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out must be a folder to write to, got {str(out)!r}: {error.strerror}") from error
    stack.enter_context(claimed(out))


def claim_new(verb: str, out: Path, stack: contextlib.ExitStack, *, resumes: bool = True) -> None:
    """Make a folder for a training that begins.

    Args:
        verb: the command.
        out: the folder.
        stack: in which it is claimed.
        resumes: whether one that is there can go on.

    Raises:
        ValueError: if there is a training in it, it cannot be written, or another process writes to it.
    """
    from mirrax.learning.store import ABOUT

    if (out / ABOUT).exists():
        more = f"; to go on: {again(verb, out)}" if resumes else ""
        raise ValueError(f"out must be a folder without a training, got {str(out)!r}{more}")
    claim(out, stack)


def first_command(verb: str, command: C, about: Mapping[str, Any], free: Collection[str]) -> C:
    """The command with which a training began.

    Args:
        verb: the command.
        command: with which it goes on.
        about: what its folder says of it.
        free: the options that may be given anew; of all others none.

    Raises:
        ValueError: if another is given, or this is the folder of another kind of training.
    """
    from mirrax.cli.main import parse

    kind: Any = type(command)
    given = {field.name: getattr(command, field.name) for field in dataclasses.fields(kind)}
    usual = {field.name: field.default for field in dataclasses.fields(kind)}
    for name in ("planner_options", "algorithm_options"):
        given |= given.pop(name, None) or {}
    for name, value in given.items():
        if name not in ("resume", *free) and value is not None and value != usual.get(name):
            flag = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} must be left to the training that goes on, got {value!r} beside --resume")
    if "arguments" not in about or about.get("command", "train") != verb:
        other = about.get("command", "another program")
        raise ValueError(f"resume must be the folder of `mirrax {verb}`, got one of {other}")
    first: Any = parse([verb, *about["arguments"]])
    changed = {name: value for name in free if (value := getattr(command, name)) not in (None, False)}
    return dataclasses.replace(first, **changed)


def sizes_of(words: str) -> tuple[int, ...]:
    """The sizes of hidden layers, with commas between them."""
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError as error:
        raise ValueError(f"hidden must be numbers of units with commas between them, got {words!r}") from error


@contextlib.contextmanager
def out_of_space(out: Path, remedy: str) -> Iterator[None]:
    """A folder that cannot be written is one clear line, and exits with 1.

    Args:
        out: the folder.
        remedy: what to do then.
    """
    try:
        yield
    except OSError as error:
        print(f"mirrax: error: could not write to {out}: {error.strerror or error}", file=sys.stderr)
        print(remedy, file=sys.stderr)
        raise SystemExit(1) from error
