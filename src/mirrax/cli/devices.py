"""Over how many devices a run spreads its plans: as many as have a core of their own, and work to share."""

import math
import os
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

# Of the rollouts of an iteration, for each device: with fewer, waiting for each other costs what sharing gains.
_FEWEST_OPERATIONS = 1e6
_FEWEST_PLANS = 16  # likewise
_SLOWER = 1.5  # how many times as long devices may take at once as one by itself, before they are short of cores


class Chosen(NamedTuple):
    """A number of devices, and why no more.

    Attributes:
        number: of devices.
        reason: in words; empty where all are taken.
    """

    number: int
    reason: str


def one_thread_for_linear_algebra() -> None:
    """Let OpenBLAS, with which JAX factorises on CPUs, work in one thread, unless the user has said otherwise.

    Its threads fight with XLA's for cores: `mirrax run acrobot --planner evolution --steps 60 --devices 1`, whose
    strategy factorises a matrix at each planning, takes 26 ms per plan with one thread, and 445 ms with two on two
    idle cores (`OPENBLAS_NUM_THREADS=2`). To be called before NumPy is imported; later it changes nothing.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def choose_devices(model: Any, settings: Mapping[str, Any], available: int) -> Chosen:
    """Decide over how many devices to spread the plans of a planner.

    Args:
        model: to plan with.
        settings: of the planner: `horizon`, and `num_samples` where it has plans to spread.
        available: how many devices there are.

    Returns:
        As many devices as there are, unless their share of the work is too small, or other processes have the cores.
    """
    num_samples = settings.get("num_samples") or 0
    if isinstance(num_samples, tuple):  # one for each iteration
        num_samples = min(num_samples)
    from mirrax.dynamics import unrolls

    if available == 1:
        return Chosen(1, "")
    if unrolls(model):
        return Chosen(1, "the engine has threads of its own")
    if (most := num_samples // _FEWEST_PLANS) < 2:
        return Chosen(1, f"{num_samples} plans are too few to share")
    operations = operations_of(model) * settings["horizon"] * num_samples
    most = int(min(most, available, operations / _FEWEST_OPERATIONS))
    if most < 2:
        return Chosen(1, "rollouts are too short to share")
    free = free_devices(most)
    if free < most:
        return Chosen(free, "other processes have the cores")
    return Chosen(most, "" if most == available else "there is no more to share")


def operations_of(model: Any) -> float:
    """The number of floating-point operations of a step of a model, as the compiler counts them; nothing is compiled.

    Args:
        model: any; infinite for one that the compiler does not count.
    """
    import jax

    from mirrax.dynamics import action_space

    key, action = jax.random.key(0), action_space(model).zeros()
    state = jax.eval_shape(model.init, key)
    step = jax.jit(lambda model, key, state, action: model.step(key, state, action))
    counted = step.lower(model, key, state, action).cost_analysis()
    flops = float((counted or {}).get("flops", math.inf))
    return flops if flops >= 0.0 else math.inf  # what is not known is told as less than 0


def free_devices(most: int) -> int:
    """How many of the first devices have a core of their own, found by letting them work at once; some 50 ms.

    Args:
        most: how many to try.

    Returns:
        The greatest number that takes about as long at once as one of them does by itself; accelerators are free.
    """
    import jax
    import jax.numpy as jnp

    from mirrax.benchmarks.devices import sample_sharding

    if jax.devices()[0].platform != "cpu":
        return most

    def spin(x: Any) -> Any:
        return jax.lax.fori_loop(0, 200_000, lambda _, x: jnp.sin(x), x)

    def took(number: int) -> float:
        """The median time of a program that does the same on each of so many devices, s."""
        x = jax.device_put(jnp.ones((number, 8)), sample_sharding(number))
        program = jax.jit(spin).lower(x).compile()
        times = []
        for _ in range(9):
            began = time.perf_counter()
            jax.block_until_ready(program(x))
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    alone = took(1)
    return next(number for number in range(most, 0, -1) if number == 1 or took(number) < _SLOWER * alone)
