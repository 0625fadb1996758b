"""Comparing programs in one process: in turn, round by round, so that a machine that drifts drifts for all."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
    """What a program took.

    Attributes:
        milliseconds: median over the rounds.
        ratios: to each program of the same call, the median over the rounds of its time over that one's.
        compile_seconds: of tracing, lowering and compiling; the least of several.
        temporary_bytes: that XLA plans to use besides arguments and results; 0 where it does not say.
        value: what it returned.
    """

    milliseconds: float
    ratios: dict[str, float]
    compile_seconds: float
    temporary_bytes: int
    value: Any


def compare(
    programs: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]], rounds: int, compilations: int = 1
) -> dict[str, Timing]:
    """Time programs against each other.

    Args:
        programs: name -> (function, arguments), each to be compiled by itself.
        rounds: how often all are called in turn, after one call to warm up.
        compilations: how often all are compiled in turn, each time from nothing.

    Returns:
        name -> timing, in the same order.
    """
    compiled: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(compilations):
        for name, (function, arguments) in programs.items():
            jax.clear_caches()  # of what was traced before
            began = time.perf_counter()
            compiled[name] = jax.jit(function).lower(*arguments).compile()
            seconds[name].append(time.perf_counter() - began)
    values = {name: jax.block_until_ready(compiled[name](*arguments)) for name, (_, arguments) in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, (_, arguments) in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(compiled[name](*arguments))
            times[name].append(1e3 * (time.perf_counter() - began))
    result = {}
    for name, own in times.items():
        memory = compiled[name].memory_analysis()
        result[name] = Timing(
            milliseconds=statistics.median(own),
            ratios={
                other: statistics.median(a / b for a, b in zip(own, reference, strict=True))
                for other, reference in times.items()
            },
            compile_seconds=min(seconds[name]),
            temporary_bytes=0 if memory is None else memory.temp_size_in_bytes,
            value=values[name],
        )
    return result


class Table(NamedTuple):
    """A table that was printed: its title, the headings of its columns, and its rows."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], width: int = 9) -> Table:
    """Print a table that is Markdown too, each row as soon as it is there; columns have at least `width`."""
    widths = [max(len(heading), width if i else 19) for i, heading in enumerate(headings)]
    rules = ["---".ljust(widths[0]), *("---:".rjust(width) for width in widths[1:])]
    print(f"{title}\n")
    printed = []
    for row in itertools.chain([headings, rules], rows):
        printed.append(row)
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print(f"| {' | '.join([row[0].ljust(widths[0]), *numbers])} |", flush=True)
    return Table(title, headings, printed[2:])
