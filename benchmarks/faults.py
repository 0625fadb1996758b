"""What a run loses when it is ended from outside: signals in every phase, kills at any moment, a disk that is full.

`python -m mirrax.benchmarks.faults` prints a table; see --help. Each run is a process of its own. What it leaves must
be the beginning of the run that nobody disturbed, and going on from there must end as that one did, bit for bit.
"""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mirrax import results
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import check_planner, one_clear_line
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics.checks import integer
from mirrax.results.journal import RESULT, is_unfinished

_PHASES = {"importing": None, "compiling": "compiling", "running": "step ", "writing": "step {steps}/{steps}"}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to try."""

    model: str = "cartpole"
    """Name of the model that is driven."""
    planner: str = "mppi"
    """Name of the planner."""
    steps: int = 400
    """Time steps of a run."""
    kills: int = 100
    """How often to kill a process, each at a random moment of its life."""
    signals: int = 3
    """How often to send each signal in each phase."""
    limits: int = 10
    """How often to let a file grow to a random size only, as on a disk that is full."""
    seed: int = 0
    """Of the moments and sizes."""


@dataclasses.dataclass
class Row:
    """What was tried, and how it went.

    Attributes:
        name: of the fault.
        tried: how often.
        kept: how often all steps so far were there afterwards, the first ones of the run that nobody disturbed.
        finished: how many runs went on to their end.
        equal: how many of these ended as that one, bit for bit.
    """

    name: str
    tried: int = 0
    kept: int = 0
    finished: int = 0
    equal: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Try all faults, and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        find_task(options.model)
        check_planner(options.planner)
        integer("steps", options.steps)
        for name in ("kills", "signals", "limits"):
            integer(name, getattr(options, name), 0)
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        runs = _Runs(options, Path(folder))
        rows = [
            *_signals(runs, options.signals, moments),
            _kills(runs, options.kills, moments),
            _limits(runs, options.limits, moments),
        ]
    print_table(
        f"\nA run of `{options.model}` with {options.planner}, {options.steps} steps, ended from outside",
        ("fault", "tried", "beginning kept", "went on to the end", "equal there"),
        ([row.name, *(str(n) for n in (row.tried, row.kept, row.finished, row.equal))] for row in rows if row.tried),
        width=8,
    )


class _Runs:
    """Processes that run the same, and the one that nobody disturbs."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.folder, self.steps = folder, options.steps
        self.words = [options.model, "--planner", options.planner, "--steps", str(options.steps), "--devices", "1"]
        # compiled programs are kept, so that processes live shortly; not by those whose files may not grow
        self.env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
        self.finish(self.start("reference"))
        began = time.perf_counter()
        self.finish(self.start("reference"))  # once more, with what is compiled by now
        self.life = time.perf_counter() - began
        self.reference = results.load(folder / "reference")

    def start(self, out: str, *, resume: bool = False, limit: int | None = None) -> "subprocess.Popen[str]":
        """A process that writes to the folder of that name."""
        target = str(self.folder / out)
        words = ["--resume", target] if resume else [*self.words, "--out", target]
        return subprocess.Popen(
            [sys.executable, "-c", LIMITED.format(limit=limit or -1), "run", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env | ({} if limit is None else {"JAX_ENABLE_COMPILATION_CACHE": "0"}),
        )

    def finish(self, process: "subprocess.Popen[str]") -> str:
        """Let a process end by itself, as it should."""
        said, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"an undisturbed run failed: {said}")
        return said

    def judge(self, row: Row, out: str, *, begun: bool) -> None:
        """Count what is left in a folder, and go on from there; `begun` says whether it must be something."""
        row.tried += 1
        left = self.left(out)
        row.kept += not begun if left is None else self.begins(left)
        self.go_on(row, out, begun=left is not None)

    def go_on(self, row: Row, out: str, *, begun: bool) -> None:
        """Bring a run to its end, from its beginning if it has not begun, and count how that was."""
        row.finished += 1
        if is_unfinished(self.folder / out):
            self.finish(self.start(out, resume=True))
        elif not begun:
            self.finish(self.start(out))
        row.equal += self.is_reference(results.load(self.folder / out))

    def left(self, out: str) -> results.Results | None:
        """The steps that a folder has; None if it has none."""
        for unfinished in (True, False):
            with contextlib.suppress(ValueError):
                return results.load(self.folder / out, unfinished=unfinished)
        return None

    def is_reference(self, found: results.Results) -> bool:
        """Whether a run ended as the one that nobody disturbed."""
        return found.num_steps == self.reference.num_steps and self.begins(found)

    def begins(self, found: results.Results) -> bool:
        """Whether steps are the first ones of the reference, bit for bit."""
        whole = self.reference
        names = {field.name for field in dataclasses.fields(found)} - {"about", "plan_ms", "diagnostics"}
        pairs = [(getattr(found, name), getattr(whole, name)) for name in names]
        pairs += [(values, whole.diagnostics[name]) for name, values in found.diagnostics.items()]
        planned = int((whole.plan_steps < found.num_steps).sum())
        return len(found.plans) == planned and all(
            other is None if one is None else np.array_equal(one, other[: len(one)], equal_nan=one.dtype.kind == "f")
            for one, other in pairs
        )


LIMITED = """
import resource
import signal
for number in (signal.SIGINT, signal.SIGHUP):  # which `nohup`, or a shell's &, may have switched off
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
if {limit} >= 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from mirrax.cli import main
main()
"""


def _signals(runs: _Runs, tries: int, moments: random.Random) -> Iterator[Row]:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for phase, word in _PHASES.items():
            row = Row(f"{signal.Signals(number).name} while {phase}")
            for attempt in range(tries):
                out = f"{number}-{phase}-{attempt}"
                process = runs.start(out)
                assert process.stdout is not None
                if word is not None:
                    shown = word.format(steps=runs.steps)
                    next((line for line in process.stdout if shown in line), None)
                time.sleep(moments.uniform(0.02, 0.2))
                process.send_signal(number)
                said, _ = process.communicate()
                begun = phase in ("running", "writing")
                asked = process.returncode == 128 + number
                done = process.returncode == 0 and begun  # it was too late to be asked
                died = process.returncode == -number and phase == "importing"
                if not (asked or done or died) or "Traceback" in said:
                    raise RuntimeError(f"{row.name}: exit status {process.returncode}: {said}")
                if begun and not all((runs.folder / out / name).exists() for name in (RESULT, "report.html")):
                    raise RuntimeError(f"{row.name} left no results: {said}")
                runs.judge(row, out, begun=begun)
            yield row


def _kills(runs: _Runs, tries: int, moments: random.Random) -> Row:
    """Kill a run, go on with it and kill it again, until it is done; then another one."""
    row, number, steps = Row("SIGKILL at a random moment"), 0, 0
    while row.tried < tries:
        out = f"kill-{number}"
        process = runs.start(out, resume=is_unfinished(runs.folder / out))
        time.sleep(moments.uniform(0.0, runs.life))
        process.kill()
        said, _ = process.communicate()
        left = runs.left(out)
        row.tried += 1
        if left is None:
            row.kept += steps == 0 and "step " not in said
        else:
            row.kept += left.num_steps >= steps and runs.begins(left)
        steps = 0 if left is None else left.num_steps
        if steps == runs.steps or row.tried == tries:
            runs.go_on(row, out, begun=left is not None)
            number, steps = number + 1, 0
    return row


def _limits(runs: _Runs, tries: int, moments: random.Random) -> Row:
    row = Row("no more room in a file")
    greatest = max(path.stat().st_size for path in (runs.folder / "reference").iterdir())
    for attempt in range(tries):
        out = f"limit-{attempt}"
        process = runs.start(out, limit=int(greatest ** moments.uniform(0.3, 1.0)))
        said, _ = process.communicate()
        if process.returncode != 1 or "Traceback" in said or said.count("mirrax: error") != 1:
            raise RuntimeError(f"{row.name}: exit status {process.returncode}: {said}")
        runs.judge(row, out, begun=False)
    return row


if __name__ == "__main__":
    main()
