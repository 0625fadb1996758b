"""What the loop costs: `infer` against a bare vmapped scan of the same model, in one block on one device.

`python -m mirrax.benchmarks.speed` prints time, compilation and memory; see --help.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from mirrax import planners
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import compare
from mirrax.dynamics import Model


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    model: str = "ant"
    """Name of a model."""
    num_samples: tuple[int, ...] = (256, 512)
    """Numbers of plans."""
    horizon: int = 20
    """Steps of the plans."""
    rounds: int = 15
    """How often each program is timed."""


def bare_scan(model: Model, key: Any, state: Any, plans: Any) -> Any:
    """The returns [K] of `plans` [K, H, A] as a script would compute them: no end, no value, no block."""

    def score(plan: Any) -> Any:
        def body(carry: Any, action: Any) -> tuple[Any, None]:
            state, total = carry
            step = model.step(key, state, action)
            return (step.state, total + step.reward), None

        return jax.lax.scan(body, (state, jnp.zeros(())), plan)[0][1]

    return jax.vmap(score)(plans)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = tyro.cli(Options, prog="mirrax.benchmarks.speed", args=arguments)
    model = find_task(options.model).make(None)
    key = jax.random.key(0)
    state = jax.jit(model.init)(key)
    table = Table(
        title=f"{options.model}, {options.horizon} steps, {jax.devices()[0].device_kind}", title_justify="left"
    )
    for heading in (
        "program",
        "plans",
        "ms",
        "× bare scan",
        "compile s",
        "temporary MB",
        "MB at 4 × horizon",
        "plans MB",
    ):
        table.add_column(heading, justify="left" if heading == "program" else "right")
    for num_samples in options.num_samples:
        size: dict[str, Any] = {"num_samples": num_samples, "rollout_chunk_size": num_samples}

        def programs(horizon: int, size: dict[str, Any] = size) -> dict[str, Any]:
            shape = (horizon, model.action_size)
            plans = 0.5 * jax.random.normal(key, (size["num_samples"], *shape))
            several = {
                "mppi": planners.mppi(*shape, **size),
                "mppi, temperature": planners.mppi(*shape, temperature=1.0, **size),
                "cem": planners.cem(*shape, num_iterations=1, **size),
            }
            return {"bare scan": (bare_scan, (model, key, state, plans))} | {
                name: (planners.infer, (planner, model, key, state, planner.belief))
                for name, planner in several.items()
            }

        timings = compare(programs(options.horizon), options.rounds)
        for name, (function, arguments_) in programs(4 * options.horizon).items():
            memory = jax.jit(function).lower(*arguments_).compile().memory_analysis()
            timing = timings[name]
            table.add_row(
                name,
                str(num_samples),
                f"{timing.milliseconds:.1f}",
                f"{timing.ratio:.3f}",
                f"{timing.compile_seconds:.1f}",
                f"{timing.temporary_bytes / 1e6:.2f}",
                "?" if memory is None else f"{memory.temp_size_in_bytes / 1e6:.2f}",
                f"{4 * num_samples * options.horizon * model.action_size / 1e6:.2f}",
            )
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
