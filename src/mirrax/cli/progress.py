"""How far a run is: a live line on a terminal; elsewhere a plain line now and then."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mirrax.cli.interruption import say_interrupted
from mirrax.planners.complaints import complaint


class ProgressLine:
    """The progress of one run.

    Args:
        name: of the run, for the reader.
        num_steps: how many steps it has.
    """

    def __init__(self, name: str, num_steps: int) -> None:
        self.console = Console()
        self.num_steps = num_steps
        self.name = name
        self.step, self.earned = 0, 0.0
        self.said: set[str] = set()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn())
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task(self.name, total=num_steps)

    def __enter__(self) -> "ProgressLine":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def abandon(self, number: int) -> None:
        """Leave the terminal as it was: a signal is about to end the process."""
        self.console.show_cursor(True)
        print(file=sys.stderr)
        say_interrupted(number)

    def compiling(self) -> None:
        """Show that it begins."""
        self._show(0, f"{self.name}: compiling (first time: up to a minute)")

    def begin(self, compile_s: float, rewards: Sequence[float]) -> None:
        """Show that it can run.

        Args:
            compile_s: the time that compilation took, s.
            rewards: of the steps before, where a run goes on.
        """
        self.earned, self.step = sum(rewards), len(rewards)
        self._show(self.step, f"{self.name}: compiled in {compile_s:.1f} s", always=True)

    def show(self, step: Mapping[str, Any]) -> None:
        """Show how far it is, after a step (`Moment.step`)."""
        self.step += 1
        self.earned += step["reward"]
        self._complain(step)
        ess = step.get("ess", math.nan)
        weights = f", ESS {ess:.0f}" if math.isfinite(ess) else ""
        text = f"{self.name}: return {self.earned:.1f}, {step['plan_ms']:.0f} ms/plan{weights}"
        self._show(self.step, text, always=step["ended"])

    def _complain(self, step: Mapping[str, Any]) -> None:
        """Say on stderr what went wrong in a step, each kind of it once in a run."""
        found = complaint(step)
        if found is not None and found.kind not in self.said:
            self.said.add(found.kind)
            Console(stderr=True).print(f"step {self.step}: {found.text}", highlight=False, soft_wrap=True)

    def _show(self, step: int, text: str, *, always: bool = False) -> None:
        if self.console.is_terminal:
            self.bar.update(self.task, description=text, completed=step)
        elif always or step % max(1, self.num_steps // 10) == 0 or step == self.num_steps:
            text = f"step {step}/{self.num_steps} {text}" if step else text
            self.console.print(text, highlight=False, soft_wrap=True)
