"""What plannings take on an idle machine, and on one whose other cores have work.

`python -m mirrax.benchmarks.busy` prints the table; see --help. Threads of a linear-algebra library wait for each
other when another process has a core, so that what takes microseconds on an idle machine may take milliseconds on any
other.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.returns import fitting, parse_planner
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import compare, print_table
from mirrax.dynamics.checks import integer

# After a comma stands what sets a second entry of the same planner apart.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "mppi": {},
    "cem": {},
    "icem": {},
    "vi_mpc": {},
    "vi_mpc, white": {"noise_exponent": None},
    "vi_mpc, full": {"covariance": "full"},
    "vi_mpc, kronecker": {"covariance": "kronecker"},
    "vi_mpc, mixture": {"num_components": 4},
    "smc": {},
    "evolution": {},
    "ilqr": {"num_iterations": 4},
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    model: str = "cartpole"
    """Name of a model."""
    planners: tuple[str, ...] = tuple(SETTINGS)
    """Names of planners, with options of their own after a colon: vi_mpc:num_knots=8,target_ess=0.2."""
    horizons: tuple[int, ...] = (50,)
    """Steps of the plans."""
    num_samples: int = 64
    """Plans per iteration."""
    rounds: int = 100
    """How often each program is timed."""
    num_busy: int = 1
    """How many other processes keep a core busy."""


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Keep so many cores busy with other processes."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    time.sleep(0.2)
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("num_samples", "rounds", "num_busy"):
            integer(name, getattr(options, name))
        for horizon in some("horizons", options.horizons):
            integer("horizons", horizon)
        some("planners", options.planners)
        model = find_task(options.model).make(None)
        chosen = {
            horizon: {name: fitting(make_planner(name, horizon, options), model) for name in options.planners}
            for horizon in options.horizons
        }
    key, state = jax.random.key(0), model.init(jax.random.key(0))
    for horizon, several in chosen.items():
        programs = {
            name: (planners.plan, (planner, model, key, state, planner.init(model, state)))
            for name, planner in several.items()
        }
        idle = compare(programs, options.rounds)
        with busy(options.num_busy):
            loaded = compare(programs, options.rounds)
        print_table(
            f"\n`{options.model}`: ms per planning, {horizon} steps, {options.num_samples} plans per iteration; "
            f"medians, on {os.cpu_count()} cores",
            ("planner", "idle", f"{options.num_busy} busy", "ratio"),
            (
                [
                    name,
                    f"{idle[name].milliseconds:.2f}",
                    f"{loaded[name].milliseconds:.2f}",
                    f"{loaded[name].milliseconds / idle[name].milliseconds:.1f}",
                ]
                for name in programs
            ),
        )


def make_planner(name: str, horizon: int, options: Options) -> planners.Planner:
    """The planner of that name.

    Args:
        name: as `parse_planner` takes it.
        horizon: the number H of steps.
        options: how many plans.

    Returns:
        The planner.

    Raises:
        ValueError: if there is none of that name, it does not take an option, or not in this range.
    """
    factory, own = parse_planner(name, SETTINGS)
    sizes = {} if factory == "ilqr" else {"num_samples": options.num_samples}
    return getattr(planners, factory)(horizon, **sizes, **own)


if __name__ == "__main__":
    main()
