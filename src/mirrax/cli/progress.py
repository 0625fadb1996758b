"""How far a run is: a live line on a terminal; elsewhere a plain line now and then."""

import math
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mirrax.cli.run import say_interrupted


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
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn())
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task(self.name, total=num_steps)

    def __enter__(self) -> "ProgressLine":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def abandon(self) -> None:
        """Leave the terminal as it was: the process is about to end."""
        self.console.show_cursor(True)
        print(file=sys.stderr)
        say_interrupted()

    def show(self, stage: str, record: Any) -> None:
        """Show how far the run is."""
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
