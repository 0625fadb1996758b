"""The command line: `mirrax run`, `mirrax train`, `mirrax new`, `mirrax compare`, `mirrax list`, `mirrax bench`."""

import dataclasses
import importlib
import inspect
import itertools
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

from mirrax import __version__
from mirrax.cli.compare import compare
from mirrax.cli.devices import one_thread_for_linear_algebra
from mirrax.cli.interruption import interruptible, pipe_may_close, say_interrupted
from mirrax.cli.listing import list_all
from mirrax.cli.new import new
from mirrax.cli.run import resume, run
from mirrax.cli.train import go_on, train

if TYPE_CHECKING:
    from mirrax.cli.flags import Flag


def _option(metavar: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def _read(kind: type, nothing: Any = None, kept: Collection[str] = (), several: bool = False, what: str = "") -> Any:
    """How to read a word as an int, float, bool, str or Path; None is `nothing`, if that is anything; `kept` stay.

    What else it is to be is `what`; `several` may be given with commas between them; a positional argument after an
    option stays one this way.
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


OptionalInt = Annotated[int | None, _read(int), _option("INT")]

HELP_ALL = "--help-all"
HELP = {"-h", "--help", HELP_ALL}
Benchmark = Literal[
    "speed",
    "busy",
    "blocks",
    "derivatives",
    "agreement",
    "returns",
    "survival",
    "open_loop",
    "peers",
    "contention",
    "engines",
    "constraints",
    "faults",
    "suite",
    "learning",
]
BENCHMARKS: tuple[str, ...] = get_args(Benchmark)


@dataclasses.dataclass(frozen=True)
class Run:
    """Drive a model with a planner in closed loop; write result.json, arrays.npz and report.html.

    What is not given is taken from settings that work for the model, which may differ from the defaults below;
    result.json has them.
    """

    model: Annotated[str | None, tyro.conf.Positional, _option("MODEL")] = None
    """Name of a model (`mirrax list` shows them); or a MuJoCo file, with --task; or a function of yours that makes a
    model, package.module:function."""
    planner: Annotated[str | None, _option("NAME")] = None
    """Name of a planner; `mirrax list` shows them. Unless given, one that suits the model."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    task: Annotated[Path | None, _read(Path, what="the name of a file"), _option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward; `mirrax new` writes one to start from."""
    engine: Annotated[str | None, _option("NAME")] = None
    """What simulates a MuJoCo file: mujoco (the fastest on CPUs), mjx (accelerators, derivatives) or brax (Brax's
    own, without sensors); unless given mujoco or mjx, as suits the machine. Named models have their own."""
    backend: Annotated[str | None, _option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    steps: OptionalInt = None
    """Length of the episode, in steps."""
    seed: Annotated[int, _read(int)] = 0
    """Seed of everything random. For the same numbers give --devices, too: else the machine's load decides."""
    out: Annotated[Path | None, _read(Path), _option("DIR")] = None
    """Folder to write to; runs/MODEL-PLANNER unless given. Results that are there are replaced in the end."""
    resume: Annotated[Path | None, _read(Path), _option("DIR")] = None
    """Go on with the run that was ended before its time in this folder; of other options takes --steps. A run that is
    complete has nothing to go on from."""
    plans_every: Annotated[int, _read(int), _option("INT")] = 10
    """How often a plan is kept in arrays.npz, in steps."""
    replan_every: Annotated[int, _read(int), _option("INT")] = 1
    """How many steps are by one planning. Between plannings the plan is executed, by ilqr and iterative_policy with
    feedback."""
    devices: OptionalInt = None
    """Devices to spread the plans over; as many as have a core and work to share unless given."""
    beyond: Annotated[bool, _option("")] = True
    """Give the planner the value beyond its horizon that the model's task has, if it has one."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class Train:
    """Learn a model of an environment while planning with it; write metrics, checkpoints and report.html.

    The first episodes are by chance. Before each of the others networks are fitted to all that has happened so far,
    and a planner drives the environment by them.
    """

    model: Annotated[str | None, tyro.conf.Positional, _option("MODEL")] = None
    """What to drive, and to learn: as in `mirrax run`."""
    planner: Annotated[str | None, _option("NAME")] = "vi_mpc"
    """Name of a planner; `mirrax list` shows them."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    task: Annotated[Path | None, _read(Path, what="the name of a file"), _option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward."""
    engine: Annotated[str | None, _option("NAME")] = None
    """What simulates a MuJoCo file: mujoco, mjx or brax."""
    backend: Annotated[str | None, _option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    episodes: Annotated[int, _read(int)] = 10
    """How many episodes there are in all."""
    random_episodes: Annotated[int, _read(int)] = 1
    """How many of them are by chance."""
    steps: OptionalInt = None
    """Length of an episode, in steps."""
    members: Annotated[int, _read(int)] = 5
    """How many networks there are."""
    hidden: Annotated[str, _option("INT[,...]")] = "64,64"
    """Sizes of their hidden layers, with commas between them."""
    sampling: Annotated[str, _option("NAME")] = "ts_inf"
    """ts_inf: one network for a whole plan. ts1: another one at each step."""
    particles: OptionalInt = None
    """In how many scenarios a plan is tried; as many as there are networks unless given."""
    learn_ends: Annotated[bool, _option("")] = True
    """Learn when episodes end, too."""
    seed: Annotated[int, _read(int)] = 0
    """Seed of everything random."""
    out: Annotated[Path | None, _read(Path), _option("DIR")] = None
    """Folder to write to; runs/MODEL-PLANNER-learned unless given."""
    resume: Annotated[Path | None, _read(Path), _option("DIR")] = None
    """Go on with the training in this folder; of other options takes --episodes."""
    tensorboard: Annotated[bool, _option("")] = False
    """Write events of TensorBoard, too."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class New:
    """Write a task file for a MuJoCo file, to start from: a reward, and all names and ranges as comments."""

    model: Annotated[Path, _read(Path, what="the name of a file"), tyro.conf.Positional, _option("FILE")]
    """A MuJoCo file, such as robot.xml."""
    out: Annotated[Path | None, _read(Path, what="the name of a file"), _option("FILE")] = None
    """The file to write; robot_task.py in this folder unless given. One that is there stays."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Show several runs side by side: a table, what differs in their settings, and a page of charts."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, _option("DIR [DIR ...]")]
    """Folders of results, two at least."""
    out: Annotated[Path | None, _read(Path), _option("FILE")] = None
    """The page to write; compare.html in the folder that all of them lie in unless given."""


@dataclasses.dataclass(frozen=True)
class List:
    """Show the planners, and the models with what drives them, how it does and what it costs."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Run a benchmark and print its table; `mirrax bench NAME --help` shows its options."""

    name: Annotated[Benchmark, tyro.conf.Positional]
    """speed: the loop against a bare scan. busy: the same planning on an idle and on a busy machine. blocks: what
    blocks and devices gain, model by model. derivatives: iLQR per solve, and slopes of plans against returns.
    agreement: where derivatives agree with finite differences. returns: what planners earn for equal numbers of model
    steps. survival: whole episodes, and how many are survived. open_loop: how good an open-loop plan each planner
    finds. peers: cost of hydrax's tasks at its settings. contention: runs over chosen, one and all devices, idle and
    beside other work. engines: steps per second of Brax, MJX and MuJoCo's C engine. constraints: what constraints
    keep, and penalties do not. faults: what a run loses when it is ended from outside. suite: returns on MuJoCo
    Playground's control suite and on robots of MJCF files, beside those of doing nothing and of chance. learning:
    curves of planning with a model that is learnt meanwhile, beside the true one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and run a command (that of the process unless given); a user's mistake exits with 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"mirrax {__version__}")
        return
    if given[:1] in (["run"], ["train"]):
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
            case New():
                new(command.model, command.out)
            case Compare():
                compare(command.runs, command.out)
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


def parse(arguments: Sequence[str] | None = None) -> Run | Train | New | Compare | List | Bench:
    """Turn `arguments` (those of the process unless given) into a command; exits with 2 if they make none."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    driven: dict[str, Any] = {"run": Run, "train": Train}
    if given[:1] and given[0] in driven:
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
    """`Run` or `Train`, with the options of planners; in the help as many of them as were asked for."""
    from mirrax.benchmarks.mistakes import check_planner, one_clear_line
    from mirrax.cli.flags import planner_flags, takes_loop_options

    named = next((right for left, right in itertools.pairwise(given) if left == "--planner"), None)
    named = next((word.removeprefix("--planner=") for word in given if word.startswith("--planner=")), named)
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

    def titled(group: type, title: str) -> Any:
        return Annotated[group, tyro.conf.arg(name=title), tyro.conf.OmitArgPrefixes]

    with_options.__annotations__ |= {
        "command": Annotated[command, tyro.conf.arg(name="")],
        "own": titled(own_group, only or "planner"),
        "shared": titled(shared_group, "sampling"),
    }
    with_options.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{more}"
    return with_options


def _group(flags: Sequence["Flag"], summary: str) -> type:
    """Options of planners, as a group of the help."""
    from mirrax.cli.flags import NOTHING

    metavars = {int: "INT", float: "FLOAT", bool: "BOOL", str: "WORD"}
    fields: list[Any] = [
        (
            flag.name,
            Annotated[
                flag.type | None,
                _read(flag.type, NOTHING, flag.words, flag.several),
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
