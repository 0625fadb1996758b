"""The options of a benchmark, read off the command line."""

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str] | None) -> T:
    """Turn words into the options of a benchmark; its help begins with what the benchmark's docstring begins with.

    Args:
        kind: the dataclass of the options, in the benchmark's own module.
        arguments: those of the process unless given.

    Returns:
        The options.

    Raises:
        SystemExit: with 2 for words that make none, with 0 after the help.
    """
    module: Any = sys.modules[kind.__module__]  # __main__, if it was started with python -m
    name = (module.__spec__.name if module.__spec__ else kind.__module__).rpartition(".")[2]
    summary = (module.__doc__ or "").split("\n\n")[0]
    return tyro.cli(kind, prog=f"mirrax bench {name}", description=summary, args=arguments)
