"""The command line: `mirrax run`, `train`, `learn`, `value`, `distil`, `new`, `compare`, `list`, `bench`."""

import dataclasses
import importlib
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mirrax import __version__
from mirrax.cli.algorithms import print_map
from mirrax.cli.commands import BENCHMARKS, Bench, Compare, List, New, Run
from mirrax.cli.compare import compare
from mirrax.cli.devices import one_thread_for_linear_algebra
from mirrax.cli.distil import distil
from mirrax.cli.interruption import interruptible, pipe_may_close, say_interrupted
from mirrax.cli.learn import go_on as learn_on
from mirrax.cli.learn import learn
from mirrax.cli.learning_commands import Distil, Learn, Train, Value
from mirrax.cli.listing import list_all
from mirrax.cli.new import new
from mirrax.cli.reading import read_as
from mirrax.cli.run import resume, run
from mirrax.cli.train import go_on, train
from mirrax.cli.value import go_on as value_on
from mirrax.cli.value import value

if TYPE_CHECKING:
    from mirrax.cli.flags import Flag


Command = Run | Train | Learn | Value | Distil | New | Compare | List | Bench
HELP_ALL = "--help-all"
HELP = {"-h", "--help", HELP_ALL}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and run a command (that of the process unless given); a user's mistake exits with 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"mirrax {__version__}")
        return
    if given[:1] and given[0] in ("run", "train", "learn", "value", "distil"):
        one_thread_for_linear_algebra()
    with pipe_may_close(), interruptible(patience=lambda: 0, leave=say_interrupted):
        if given[:1] == ["bench"] and ((given[1:2] and given[1] in BENCHMARKS) or not HELP & set(given)):
            importlib.import_module(f"mirrax.benchmarks.{_benchmark(given[1:])}").main(given[2:])
            return
        match command := parse(given):
            case Run(resume=None):
                run(command, given[1:])
            case Run():
                resume(command)
            case Train(resume=None):
                train(command, given[1:])
            case Train():
                go_on(command)
            case Learn(resume=None):
                learn(command, given[1:])
            case Learn():
                learn_on(command)
            case Value(resume=None):
                value(command, given[1:])
            case Value():
                value_on(command)
            case Distil():
                distil(command, given[1:])
            case New():
                new(command.model, command.out)
            case Compare():
                compare(command.runs, command.out)
            case List(map=True):
                print_map()
            case List():
                list_all()


def _benchmark(words: Sequence[str]) -> str:
    """The name of a benchmark, which comes first; what follows are options of its own."""
    from mirrax.benchmarks.mistakes import one_clear_line

    name = words[0] if words else None
    with one_clear_line():
        if name not in BENCHMARKS:
            given = "nothing" if name is None else repr(name)
            raise ValueError(f"bench needs a benchmark's name first, one of {', '.join(BENCHMARKS)}, got {given}")
    return name


def parse(arguments: Sequence[str] | None = None) -> Command:
    """Turn `arguments` (those of the process unless given) into a command; exits with 2 if they make none."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    driven: dict[str, Any] = {"run": Run, "train": Train, "learn": Learn, "value": Value, "distil": Distil}
    if given[:1] == ["learn"]:
        driven["learn"] = _with_algorithm_options(given)
    elif given[:1] and given[0] in driven:
        driven[given[0]] = _with_planner_options(driven[given[0]], given)
    given = ["--help" if word == HELP_ALL else word for word in given]
    commands: dict[str, Callable[..., Any]] = {
        **driven,
        "new": New,
        "compare": Compare,
        "list": List,
        "bench": Bench,
    }
    if given[:1] and given[0] in commands:  # by itself, so that what it says of mistakes is about this one
        return tyro.cli(commands[given[0]], prog=f"mirrax {given[0]}", args=given[1:])
    return tyro.extras.subcommand_cli_from_dict(
        commands, prog="mirrax", description="Planning as inference, in JAX.", args=given
    )


def _with_planner_options(command: type, given: Sequence[str]) -> Any:
    """A command with the options of planners; in the help as many of them as were asked for."""
    from mirrax.benchmarks.mistakes import check_planner, one_clear_line
    from mirrax.cli.flags import planner_flags, takes_loop_options

    named = _named("--planner", given)
    only, helping, whole = None, bool(HELP & set(given)), HELP_ALL in given
    if helping and named is not None and not named.startswith("-"):
        with one_clear_line():
            only = check_planner(named)
    own = [flag for flag in planner_flags(only) if not flag.shared]
    shared = [flag for flag in planner_flags(only) if flag.shared]
    more = ""
    if helping and not whole:
        if only is None:
            own, shared, more = (
                [],
                [],
                f"Options of a planner: mirrax {given[0]} --planner NAME --help; of all: --help-all.",
            )
        elif takes_loop_options(only):
            shared, more = [], "What all sampling planners share, besides: --help-all."
    own_group = _group(own, "Of this planner." if only else "Of some planners, which are named.")
    shared_group = _group(shared, "Of all planners that sample plans, but where others are named.")

    def with_options(command: Any, own: Any, shared: Any) -> Any:
        return dataclasses.replace(command, planner_options=vars(own) | vars(shared))

    with_options.__annotations__ |= {
        "command": Annotated[command, tyro.conf.arg(name="")],
        "own": _titled(own_group, only or "planner"),
        "shared": _titled(shared_group, "sampling"),
    }
    with_options.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{more}"
    return with_options


def _with_algorithm_options(given: Sequence[str]) -> Any:
    """`Learn`, with the options of algorithms; in the help those of the one that was asked for."""
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.algorithm_flags import algorithm_flags, check_algorithm

    named, only, helping = _named("--algorithm", given), None, bool(HELP & set(given))
    if helping and named is not None and not named.startswith("-"):
        with one_clear_line():
            only = check_algorithm(named)
    flags, more = algorithm_flags(only), ""
    if helping and only is None and HELP_ALL not in given:
        flags, more = [], "Options of an algorithm: mirrax learn --algorithm NAME --help; of all: --help-all."
    group = _group(flags, "Of this algorithm." if only else "Of some algorithms, which are named.")

    def with_options(command: Any, own: Any) -> Any:
        return dataclasses.replace(command, algorithm_options=vars(own))

    with_options.__annotations__ |= {
        "command": Annotated[Learn, tyro.conf.arg(name="")],
        "own": _titled(group, only or "algorithm"),
    }
    with_options.__doc__ = f"{inspect.cleandoc(Learn.__doc__ or '')}\n\n{more}"
    return with_options


def _named(flag: str, given: Sequence[str]) -> str | None:
    """The word behind a flag; None for none."""
    named = next((right for left, right in itertools.pairwise(given) if left == flag), None)
    return next((word.removeprefix(f"{flag}=") for word in given if word.startswith(f"{flag}=")), named)


def _titled(group: type, title: str) -> Any:
    return Annotated[group, tyro.conf.arg(name=title), tyro.conf.OmitArgPrefixes]


def _group(flags: Sequence["Flag"], summary: str) -> type:
    """Options of planners, as a group of the help."""
    from mirrax.cli.flags import NOTHING

    metavars = {int: "INT", float: "FLOAT", bool: "BOOL", str: "WORD"}
    fields: list[Any] = [
        (
            flag.name,
            Annotated[
                flag.type | None,
                read_as(flag.type, NOTHING, flag.words, flag.several),
                tyro.conf.arg(
                    metavar=metavars[flag.type] + ("[,...]" if flag.several else ""),
                    help=flag.help,
                    help_behavior_hint="",
                ),
            ],
            None,
        )
        for flag in flags
    ]
    return dataclasses.make_dataclass("Options", fields, frozen=True, namespace={"__doc__": summary})
