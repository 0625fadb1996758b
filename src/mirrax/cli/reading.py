"""How words of the command line are read."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import tyro


def option(metavar: str) -> Any:
    """An option whose value is called `metavar` in the help.

    Args:
        metavar: in capitals; empty for a flag.
    """
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def read_as(
    kind: type, nothing: Any = None, kept: Collection[str] = (), several: bool = False, what: str = ""
) -> Any:
    """How to read a word; a positional argument after an option stays one this way.

    Args:
        kind: int, float, bool, str or Path.
        nothing: what None is, if anything.
        kept: words that stay as they are.
        several: whether there may be several, with commas between them.
        what: it is to be, in words, where `kind` does not say it.
    """
    named = {int: "an integer", float: "a number", bool: "True or False", str: "a word", Path: "the name of a folder"}

    def read(words: list[str]) -> Any:
        (word,) = words
        if nothing is not None and word == "None":
            return nothing
        if word in kept:
            return word
        try:
            if kind is Path and not word:
                raise ValueError
            if several and "," in word:
                return tuple(kind(part) for part in word.split(","))
            return {"True": True, "False": False}[word] if kind is bool else kind(word)
        except (ValueError, KeyError):
            raise ValueError(f"it must be {what or named[kind]}, got {word!r}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


OptionalInt = Annotated[int | None, read_as(int), option("INT")]
