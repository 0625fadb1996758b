"""What the commands that train share: the folder, the words it began with, sizes of layers, and how it ends."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from mirrax.cli.configuration import Configuration

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


class Opened(NamedTuple):
    """A training whose folder is claimed.

    Attributes:
        command: with which it began, and what may be given anew.
        chosen: what to drive, and how: it has a `title` and an `origin`.
        other: what is learnt, or how.
        out: the folder.
        about: what it says of the training.
    """

    command: Any
    chosen: Any
    other: Any
    out: Path
    about: dict[str, Any]


@contextlib.contextmanager
def begun(
    verb: str,
    command: Any,
    arguments: Sequence[str],
    configured: Callable[..., tuple[Any, Any]],
    folder_name: Callable[[Any, Any], str],
    *,
    resumes: bool = True,
) -> Iterator[Opened]:
    """A training that begins, in a folder of its own; a user's mistake is one clear line, and exits with 2.

    Args:
        verb: the command.
        command: what the user has said.
        arguments: the words that it was read from, with which the training can be set up again.
        configured: command -> what to drive, and what is learnt or how.
        folder_name: of both, the name below runs/ unless the user has given a folder.
        resumes: whether such a training can go on.
    """
    from mirrax.benchmarks.mistakes import one_clear_line

    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        chosen, other = configured(command)
        out = Path("runs") / folder_name(chosen, other) if command.out is None else command.out
        claim_new(verb, out, to_the_end, resumes=resumes)
        kept = to_the_end.pop_all()
    about = {"command": verb, "model": chosen.title, "arguments": list(arguments)}
    with kept:
        yield Opened(command, chosen, other, out, about | {"mujoco": metadata.version("mujoco"), **chosen.origin})


@contextlib.contextmanager
def resumed(
    verb: str, command: Any, free: Collection[str], configured: Callable[..., tuple[Any, Any]]
) -> Iterator[Opened]:
    """A training that goes on in its folder; a user's mistake is one clear line, and exits with 2.

    Args:
        verb: the command.
        command: what the user has said, with the folder.
        free: the options that may be given anew; of all others none.
        configured: command and the folder that paths begin in -> what to drive, and what is learnt or how.
    """
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.own_models import check_unchanged
    from mirrax.learning.store import Store

    out = command.resume
    assert out is not None
    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        about = Store(out).about()
        first = first_command(verb, command, about, free)
        chosen, other = configured(first, Path(about.get("folder") or ""))
        check_unchanged(about, chosen.origin, same_mujoco=about.get("mujoco") == metadata.version("mujoco"))
        claim(out, to_the_end)
        kept = to_the_end.pop_all()
    with kept:
        yield Opened(first, chosen, other, out, about)


def planned(command: Any, folder: Path = Path(), *, valued: bool = False, **fixed: Any) -> "Configuration":
    """What to drive and how to plan, on one device, by the options that a command shares with `mirrax run`.

    Args:
        command: what the user has said.
        folder: where the paths of a model of the user's own begin.
        valued: whether plans end with a value that is learnt.
        **fixed: further options of `mirrax run`.

    Raises:
        ValueError: for what the user got wrong.
    """
    from mirrax.cli.commands import Run
    from mirrax.cli.configuration import configure, needs_model

    if command.model is None:
        raise needs_model(type(command).__name__.lower())
    shared = {field.name for field in dataclasses.fields(Run)} & {field.name for field in dataclasses.fields(command)}
    given = {name: getattr(command, name) for name in shared - {"resume", "out"}}
    return configure(Run(**given, devices=1, **fixed), folder, valued=valued)


def folder_title(title: str) -> str:
    """The title of a model as part of a folder's name."""
    return Path(title).stem.replace(":", ".")


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
