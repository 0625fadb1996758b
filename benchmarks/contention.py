"""What a run's plannings take over the devices that it chooses, over one and over all, idle and beside other work.

`python -m mirrax.benchmarks.contention` prints a table; see --help. Each run is a process of its own, as a user
starts it. It chooses its devices when it starts; they wait for the slowest of them, so that one core that another
process has delays all.
"""

import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mirrax import results
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.busy import busy
from mirrax.benchmarks.devices import spreads
from mirrax.benchmarks.mistakes import check_planner, one_clear_line, some
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics.checks import integer


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    runs: tuple[str, ...] = ("pendulum:mppi", "cartpole:vi_mpc", "acrobot:evolution", "halfcheetah")
    """Names of models, with a planner other than their own after a colon; all have plans to spread over devices."""
    steps: int = 60
    """Time steps of a run."""
    rounds: int = 3
    """How often each is run, all in turn."""
    num_busy: int = 1
    """How many other processes keep a core busy."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A run under some conditions.

    Attributes:
        run: the model, and its planner after a colon where it is not its own.
        devices: how many; None for as many as it chooses.
        loaded: whether other processes keep cores busy.
    """

    run: str
    devices: int | None
    loaded: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("steps", "rounds", "num_busy"):
            integer(name, getattr(options, name))
        for run in some("runs", options.runs):
            model, _, planner = run.partition(":")
            task = find_task(model)
            if not spreads(planner := check_planner(planner or task.planner)):
                raise ValueError(f"runs must have planners with plans to spread, got {run!r}: {planner} has none")
    cores = os.cpu_count() or 1
    numbers = (None, 1, cores) if cores > 1 else (None, 1)
    times: dict[Case, list[float]] = {}
    chosen: dict[Case, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run, devices in ((run, devices) for run in options.runs for devices in numbers):
            print(f"compiling {run} ...", file=sys.stderr, flush=True)
            _milliseconds(Case(run, devices, False), 2, Path(folder))  # compiles, for all that follow
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} ...", file=sys.stderr, flush=True)
            for loaded in (False, True):
                with busy(options.num_busy) if loaded else contextlib.nullcontext():
                    for run, devices in ((run, devices) for run in options.runs for devices in numbers):
                        case = Case(run, devices, loaded)
                        took, taken = _milliseconds(case, options.steps, Path(folder))
                        times.setdefault(case, []).append(took)
                        chosen.setdefault(case, []).append(taken)
    heading = ("chosen", *(f"{number}" for number in numbers[1:]))
    print_table(
        f"\nms per plan over the devices that a run chose, over one and over all: {cores} cores idle, and "
        f"{options.num_busy} busy; of {options.rounds} runs the median, of {options.steps} steps in each",
        ("run", *heading, *(f"busy: {name}" for name in heading)),
        (list(_row(run, numbers, times, chosen)) for run in options.runs),
    )


def _row(
    run: str, numbers: Sequence[int | None], times: dict[Case, list[float]], chosen: dict[Case, list[int]]
) -> Iterator[str]:
    yield run
    for loaded in (False, True):
        for devices in numbers:
            case = Case(run, devices, loaded)
            number = f" ({' '.join(map(str, chosen[case]))})" if devices is None else ""
            yield f"{statistics.median(times[case]):.2f}{number}"


def _milliseconds(case: Case, steps: int, folder: Path) -> tuple[float, int]:
    """The median time of a planning, and the number of devices."""
    model, _, planner = case.run.partition(":")
    words = [model, "--steps", str(steps), "--out", str(folder / "run")]
    words += ["--planner", planner] if planner else []
    words += [] if case.devices is None else ["--devices", str(case.devices)]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    ended = subprocess.run(
        [sys.executable, "-m", "mirrax", "run", *words], capture_output=True, text=True, env=environment
    )
    if ended.returncode:
        raise RuntimeError(f"mirrax run {' '.join(words)} failed: {ended.stderr}")
    found = results.load(folder / "run")
    return float(statistics.median(found.plan_ms)), int(found.about["settings"]["devices"])


if __name__ == "__main__":
    main()
