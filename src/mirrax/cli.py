"""The command line: `mirrax run`, `mirrax list`, `mirrax bench`."""

import dataclasses
import importlib
import inspect
import itertools
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mirrax import __version__
from mirrax.interruption import interruptible


def _option(metavar: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def _read(kind: type, nothing: Any = None) -> Any:
    """How to read one word as an int, float, bool or str; the word None is `nothing`, if that is anything."""
    named = {int: "an integer", float: "a number", bool: "True or False", str: "a word"}

    def read(words: list[str]) -> Any:
        (word,) = words
        if nothing is not None and word == "None":
            return nothing
        try:
            return {"True": True, "False": False}[word] if kind is bool else kind(word)
        except (ValueError, KeyError):
            raise ValueError(f"it must be {named[kind]}, got {word!r}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


OptionalInt = Annotated[int | None, _read(int), _option("INT")]

HELP = {"-h", "--help"}
BENCHMARKS = ("speed", "busy", "blocks", "derivatives", "agreement", "returns", "open_loop", "peers")


@dataclasses.dataclass(frozen=True)
class Run:
    """Drive a model with a planner in closed loop; write result.json and report.html.

    What is not given is taken from settings that work for the model.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Name of a model; `mirrax list` shows them."""
    planner: Annotated[str, tyro.conf.arg(metavar="NAME")] = "mppi"
    """Name of a planner; `mirrax list` shows them."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    backend: Annotated[str | None, _option("NAME")] = None
    """Physics of a Brax environment: spring, positional, generalized or mjx."""
    steps: OptionalInt = None
    """Length of the episode, in steps."""
    seed: Annotated[int, _read(int)] = 0
    """Seed of everything random."""
    out: Annotated[Path | None, _option("DIR")] = None
    """Folder for result.json and report.html, which are overwritten; runs/MODEL-PLANNER unless given."""
    devices: OptionalInt = None
    """Devices to spread the plans over; all cores (or accelerators) unless given."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class List:
    """Show the planners and the models, with one line each."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Run a benchmark and print its table; `mirrax bench NAME --help` shows its options."""

    name: Annotated[
        Literal["speed", "busy", "blocks", "derivatives", "agreement", "returns", "open_loop", "peers"],
        tyro.conf.Positional,
    ]
    """speed: the loop against a bare scan. busy: the same planning on an idle and on a busy machine. blocks: what
    blocks and devices gain, model by model. derivatives: iLQR per solve, and slopes of plans against their returns.
    agreement: where derivatives tell the truth. returns: what planners earn for equal numbers of model steps.
    open_loop: how good an open-loop plan each planner finds. peers: cost of hydrax's tasks at hydrax's settings."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse `arguments` (those of the process unless given) and do as they say; a user's mistake exits with 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"mirrax {__version__}")
        return
    with interruptible(nothing_to_save=lambda: True, leave=_say_interrupted):
        if given[:1] == ["bench"] and ((given[1:2] and given[1] in BENCHMARKS) or not HELP & set(given)):
            importlib.import_module(f"mirrax.benchmarks.{_benchmark(given[1:])}").main(given[2:])
            return
        match command := parse(given):
            case Run():
                _run(command)
            case List():
                _list()


def _benchmark(words: Sequence[str]) -> str:
    """The name of a benchmark, which comes first; what follows are options of its own."""
    from mirrax.benchmarks.mistakes import one_clear_line

    name = words[0] if words else None
    with one_clear_line():
        if name not in BENCHMARKS:
            told = "nothing" if name is None else repr(name)
            raise ValueError(f"bench needs a benchmark's name first, one of {', '.join(BENCHMARKS)}, got {told}")
    return name


def parse(arguments: Sequence[str] | None = None) -> Run | List | Bench:
    """Turn `arguments` (those of the process unless given) into a command; exits with 2 if they make none."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    run: Any = _run_with_options(given) if given[:1] == ["run"] else Run
    commands: dict[str, Callable[..., Any]] = {"run": run, "list": List, "bench": Bench}
    return tyro.extras.subcommand_cli_from_dict(
        commands, prog="mirrax", description="Planning as inference, in JAX.", args=given
    )


def _run_with_options(given: Sequence[str]) -> Any:
    """`Run`, with the options of all planners; in the help for one planner, with its own."""
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.options import NOTHING, check_planner, planner_options

    named = next((right for left, right in itertools.pairwise(given) if left == "--planner"), None)
    named = next((word.removeprefix("--planner=") for word in given if word.startswith("--planner=")), named)
    only = None
    if HELP & set(given) and named is not None and not named.startswith("-"):
        with one_clear_line():
            only = check_planner(named)
    metavars = {int: "INT", float: "FLOAT", bool: "BOOL", str: "WORD"}
    fields: list[Any] = [
        (
            option.name,
            Annotated[
                option.type | None,
                _read(option.type, NOTHING),
                tyro.conf.arg(metavar=metavars[option.type], help=option.help, help_behavior_hint=""),
            ],
            None,
        )
        for option in planner_options(only)
    ]
    group = dataclasses.make_dataclass("Options", fields, frozen=True, namespace={"__doc__": "Of planners."})

    def run(run: Run, options: Any) -> Run:
        return dataclasses.replace(run, planner_options=vars(options))

    unnamed = tyro.conf.arg(name="")
    run.__annotations__ |= {"run": Annotated[Run, unnamed], "options": Annotated[group, unnamed]}
    run.__doc__ = Run.__doc__
    return run


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    from mirrax import planners
    from mirrax.benchmarks.tasks import TASKS
    from mirrax.options import PLANNERS

    rows = {name: inspect.getdoc(getattr(planners, name)) or "" for name in PLANNERS}
    for title, entries in (
        ("Planners", {name: text.split("\n")[0] for name, text in rows.items()}),
        ("Models", {name: TASKS[name].summary for name in sorted(TASKS)}),
    ):
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name, text in entries.items():
            table.add_row(name, text)
        Console().print(table, "")


def _run(command: Run) -> None:
    import jax

    from mirrax import planners
    from mirrax.benchmarks.devices import sample_sharding, use_cores
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.benchmarks.tasks import find_task
    from mirrax.options import check_planner, takes_loop_options
    from mirrax.results import write_results
    from mirrax.run import Record, drive

    with one_clear_line():
        check_planner(command.planner)
        most = 8 * (os.cpu_count() or 1)
        if command.devices is not None and not 1 <= command.devices <= most:
            raise ValueError(f"devices must lie between 1 and {most}, got {command.devices}")
        if not 0 <= command.seed < 2**32:
            raise ValueError(f"seed must lie between 0 and {2**32 - 1}, got {command.seed}")
        use_cores(command.devices)
        _keep_compiled_programs()
        task = find_task(command.model)
        num_steps = task.num_steps if command.steps is None else command.steps
        if num_steps < 1:
            raise ValueError(f"steps must be an integer of at least 1, got {num_steps}")
        model = task.make(command.backend)
        settings = _settings(command, task, getattr(planners, command.planner))
        num_devices = command.devices
        if num_devices is None:  # fewer than 16 plans each are not worth a device
            num_devices = max(1, min(len(jax.devices()), settings.get("num_samples", 0) // 16))
        factory = getattr(planners, command.planner)
        if "sharding" in inspect.signature(factory).parameters or takes_loop_options(command.planner):
            spread = {"sharding": sample_sharding(num_devices)}
        elif command.devices in (None, 1):
            num_devices, spread = 1, {}
        else:
            raise ValueError(
                f"devices must be 1 for {command.planner}, which has no plans to spread, got {command.devices}"
            )
        planner = factory(action_size=model.action_size, **settings, **spread)
        out = Path("runs") / f"{command.model}-{command.planner}" if command.out is None else command.out
        try:
            out.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=out).close()  # not writable? better now than after the run
        except OSError as error:
            raise ValueError(f"out must be a folder to write to, got {str(out)!r}: {error.strerror}") from error

    record = Record()
    progress = _Progress(command, num_steps)
    with interruptible(nothing_to_save=lambda: not record.moments, leave=progress.abandon) as asked_to_end:
        try:
            with progress:
                for stage in drive(planner, model, record, num_steps=num_steps, seed=command.seed):
                    progress.show(stage, record)
                    if interrupted := asked_to_end():
                        break
        except (OverflowError, MemoryError, jax.errors.JaxRuntimeError) as error:
            with one_clear_line():
                raise ValueError(f"this does not fit the machine: {' '.join(str(error).split())[:200]}") from error
        settings |= {"steps": num_steps, "devices": num_devices}
        names = (command.model, command.planner)
        interrupted = interrupted and not record.done and len(record.moments) < num_steps
        write_results(
            out, *names, planner, model, record, settings=settings, seed=command.seed, interrupted=interrupted
        )
    if interrupted:
        raise SystemExit(130)


def _say_interrupted() -> None:
    print("mirrax: interrupted", file=sys.stderr, flush=True)


def _keep_compiled_programs() -> None:
    """Let the next run start at once, unless the user has chosen a place for compiled programs."""
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirrax"
        jax.config.update("jax_compilation_cache_dir", str(cache))


def _settings(command: Run, task: Any, factory: Callable[..., Any]) -> dict[str, Any]:
    """The factory's arguments: the task's, overruled by the user's; an option that the planner lacks is a mistake."""
    from mirrax.options import planner_arguments, takes_loop_options

    given = planner_arguments(command.planner, command.planner_options or {})
    parameters = inspect.signature(factory).parameters
    told = ("num_samples", "num_iterations", "std", "elite_fraction")
    usual = {name: parameters[name].default for name in told if name in parameters}
    usual |= {"horizon": task.horizon} | task.std_of(command.planner)
    if takes_loop_options(command.planner):
        usual |= {"num_samples": task.num_samples}
    if command.planner == "mppi":
        usual |= {"num_iterations": task.num_iterations} | task.options
    if given.get("target_ess") is not None:
        usual.pop("temperature", None)
    if command.horizon is not None:
        given["horizon"] = command.horizon
    return {name: value for name, value in usual.items() if value is not None} | given


class _Progress:
    """A live line on a terminal; elsewhere a plain line now and then."""

    def __init__(self, command: Run, num_steps: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self.console = Console()
        self.num_steps = num_steps
        self.name = f"{command.model}, {command.planner}"
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn())
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task(self.name, total=num_steps)

    def __enter__(self) -> "_Progress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def abandon(self) -> None:
        """Leave the terminal as it was: the process is about to end."""
        self.console.show_cursor(True)
        print(file=sys.stderr)
        _say_interrupted()

    def show(self, stage: str, record: Any) -> None:
        """Tell how far the run is."""
        step = len(record.moments)
        if stage == "compiling":
            text = f"{self.name}: compiling (first time: up to a minute)"
        elif step == 0:
            text = f"{self.name}: compiled in {record.compile_s:.1f} s"
        else:
            last, so_far = record.moments[-1], sum(moment.reward for moment in record.moments)
            weights = f", ESS {last.ess:.0f}" if math.isfinite(last.ess) else ""
            text = f"{self.name}: return {so_far:.1f}, {last.plan_ms:.0f} ms/plan{weights}"
        if self.console.is_terminal:
            self.bar.update(self.task, description=text, completed=step)
        elif step == 0 or step == self.num_steps or step % max(1, self.num_steps // 10) == 0 or record.done:
            self.console.print(
                f"step {step}/{self.num_steps} {text}" if step else text, highlight=False, soft_wrap=True
            )
