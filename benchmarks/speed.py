"""What the loop costs: `infer` against a bare vmapped scan of the same model, in one block on one device.

`python -m mirrax.benchmarks.speed` prints time, compilation and memory; see --help.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import compare, print_table
from mirrax.dynamics import action_space
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    model: str = "ant"
    """Name of a model."""
    num_samples: tuple[int, ...] = (224, 256, 512)
    """Numbers of plans."""
    horizon: int = 20
    """Steps of the plans."""
    rounds: int = 15
    """How often each program is timed."""
    compilations: int = 3
    """How often each program is compiled."""


def bare_scan(model: Model, key: Any, state: Any, plans: Any) -> Any:
    """The returns [K] of `plans` [K, H, A] as a script would compute them: no end, no value, no block."""

    def score(plan: Any) -> Any:
        def body(carry: Any, action: Any) -> tuple[Any, None]:
            state, total = carry
            step = model.step(key, state, action)
            return (step.state, total + step.reward), None

        return jax.lax.scan(body, (state, jnp.zeros(())), plan)[0][1]

    return jax.vmap(score)(plans)


def sampled_scan(model: Model, key: Any, state: Any, belief: Any, num_samples: int) -> Any:
    """The same, of plans that the program draws itself, as every sampling planner must."""
    return bare_scan(model, key, state, belief.sample(key, num_samples))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        for size in some("num_samples", options.num_samples):
            integer("num_samples", size, 2)
        for name in ("horizon", "rounds", "compilations"):
            integer(name, getattr(options, name))
        model = find_task(options.model).make(None)
    jax.config.update("jax_enable_compilation_cache", False)  # to measure compilation, not the reading of a file
    print_table(
        f"{options.model}, {options.horizon} steps, one block on one device of kind {jax.devices()[0].device_kind}",
        ("program", "plans", "ms", "× bare", "× sampled", "compile s", "× bare", "temporary MB", "growth"),
        (row for num_samples in options.num_samples for row in _measure(model, num_samples, options)),
    )
    print("\ngrowth: of the temporary memory at four times the horizon, in units of the growth of the plans")


def _measure(model: Model, num_samples: int, options: Options) -> list[list[str]]:
    """A row of the table for each program."""
    key = jax.random.key(0)
    state = jax.jit(model.init)(key)
    size: dict[str, Any] = {"num_samples": num_samples, "rollout_chunk_size": num_samples}

    def programs(horizon: int) -> dict[str, Any]:
        several = {
            "mppi": planners.mppi(horizon, **size),
            "mppi, temperature": planners.mppi(horizon, temperature=1.0, **size),
            "cem": planners.cem(horizon, num_iterations=1, **size),
            "smc": planners.smc(horizon, temperature=1.0, **size),
            "smc, always": planners.smc(horizon, temperature=1.0, ess_threshold=1.0, **size),
        }
        belief: Any = several["mppi"].init(model, state)
        sampled = functools.partial(sampled_scan, num_samples=num_samples)
        return {
            "bare scan": (bare_scan, (model, key, state, belief.belief.sample(key, num_samples))),
            "sampled scan": (sampled, (model, key, state, belief.belief)),
        } | {
            name: (planners.infer, (planner, model, key, state, planner.init(model, state)))
            for name, planner in several.items()
        }

    timings = compare(programs(options.horizon), options.rounds, options.compilations)
    bare = timings["bare scan"]
    rows = []
    for name, (function, arguments) in programs(4 * options.horizon).items():
        timing = timings[name]
        memory = jax.jit(function).lower(*arguments).compile().memory_analysis()
        action_size = math.prod(action_space(model).shape)
        plans = 4 * num_samples * 3 * options.horizon * action_size  # bytes by which they grow
        rows.append(
            [
                name,
                str(num_samples),
                f"{timing.milliseconds:.1f}",
                f"{timing.ratios['bare scan']:.2f}",
                f"{timing.ratios['sampled scan']:.2f}",
                f"{timing.compile_seconds:.1f}",
                f"{timing.compile_seconds / bare.compile_seconds:.2f}",
                f"{timing.temporary_bytes / 1e6:.2f}",
                "?" if memory is None else f"{(memory.temp_size_in_bytes - timing.temporary_bytes) / plans:.1f}",
            ]
        )
    return rows


if __name__ == "__main__":
    main()
