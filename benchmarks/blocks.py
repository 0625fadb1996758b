"""What blocks and devices gain: rollouts of the same plans, in one block, in blocks, and on all devices.

`python -m mirrax.benchmarks.blocks` prints a row per model; see --help.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.devices import sample_sharding, use_cores
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.tasks import named_model
from mirrax.benchmarks.timing import compare, print_table
from mirrax.dynamics import action_space
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = (
        *("ant", "humanoid", "halfcheetah", "hopper", "walker2d", "reacher", "inverted_pendulum"),
        *("hopper:mjx", "cartpole", "pendulum", "point_mass"),
    )
    """Names of models, with a backend after a colon (under JAX 0.10 large blocks of larger mjx robots can hang)."""
    num_samples: int = 512
    """Number of plans."""
    horizon: int = 20
    """Steps of the plans."""
    chunk_sizes: tuple[int, ...] = ()
    """Blocks to try besides the automatic one."""
    devices: int | None = None
    """Devices to spread the plans over; all cores (or accelerators) unless given."""
    rounds: int = 7
    """How often each program is timed."""
    resample: bool = False
    """Resample at every step, from all blocks and devices: sequential Monte Carlo instead of plain rollouts."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        some("models", options.models)
        for name in ("num_samples", "horizon", "rounds"):
            integer(name, getattr(options, name))
        for size in options.chunk_sizes:
            integer("chunk_sizes", size)
        use_cores(None if options.devices is None else integer("devices", options.devices))
        num_devices = options.devices or len(jax.devices())
        sharding = sample_sharding(num_devices)
        models = {name: named_model(name) for name in options.models}
    chunk_sizes = {"auto": None} | {str(size): size for size in options.chunk_sizes} | {"whole": options.num_samples}
    # the first is what all others are compared with
    variants: dict[str, tuple[int | None, NamedSharding | None]] = {"1 × whole": (options.num_samples, None)}
    for count, spread in ((1, None), (num_devices, sharding)):
        variants |= {f"{count} × {name}": (size, spread) for name, size in chunk_sizes.items()}

    first, *others = variants
    print_table(
        f"{options.num_samples} plans × {options.horizon} steps{', resampled at each,' if options.resample else ''} "
        f"on devices of kind {jax.devices()[0].device_kind}: "
        f"how many times faster than one block on one device ({first})",
        (
            "model",
            "state kB",
            "auto block",
            f"{first}, ms",
            *others,
            f"rel. Δ {'evidence' if options.resample else 'return'}",
        ),
        ([name, *_measure(model, options, variants)] for name, model in models.items()),
    )


def _measure(
    model: Model, options: Options, variants: dict[str, tuple[int | None, NamedSharding | None]]
) -> list[str]:
    """A row of the table."""
    key = jax.random.key(0)
    state = jax.jit(model.init)(key)
    shape = (options.num_samples, options.horizon, *action_space(model).shape)
    plans = 0.5 * jax.random.normal(key, shape)
    everything = (model, key, state, plans)
    programs = {}
    for variant, (chunk_size, sharding) in variants.items():
        program = functools.partial(
            _survive if options.resample else planners.rollout, chunk_size=chunk_size, sharding=sharding
        )
        # in place before the clock runs: moving arrays between devices is not what is measured
        whole = None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())
        programs[variant] = (program, everything if whole is None else jax.device_put(everything, whole))
    timings = compare(programs, options.rounds)
    name_of_first = next(iter(timings))
    first, *others = timings.values()
    returns = np.asarray(first.value)
    # of the middle plan: contacts amplify rounding, so that the returns of a few differ even in the second digit
    error = max(np.median(np.abs(np.asarray(other.value) - returns)) for other in others) / np.abs(returns).max()
    kilobytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / 1e3
    block = planners.rollouts.automatic_chunk_size(state)
    numbers = [f"{kilobytes:.1f}", str(block), f"{first.milliseconds:.1f}"]
    return [*numbers, *(f"{1 / other.ratios[name_of_first]:.2f}" for other in others), f"{error:.0e}"]


def _survive(
    model: Model, key: Any, state: Any, plans: Any, chunk_size: int | None, sharding: NamedSharding | None
) -> Any:
    """The log-evidence, to which all that survive contribute; who does may hang on the last digit of a contact."""
    planner = planners.smc(
        plans.shape[1],
        num_samples=len(plans),
        temperature=1.0,
        ess_threshold=1.0,
        rollout_chunk_size=chunk_size,
        sharding=sharding,
    )
    return planners.infer(planner, model, key, state)[1].log_evidence


if __name__ == "__main__":
    main()
