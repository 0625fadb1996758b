"""All cores, or accelerators, as devices to spread plans over."""

import contextlib
import inspect
import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mirrax import planners


def use_cores(count: int | None = None) -> None:
    """Let JAX see `count` CPU devices; it runs one core each.

    To be called before JAX looks for devices; later it changes nothing.

    Args:
        count: how many; the cores that this process may use unless given.
    """
    if count is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def sample_sharding(num_devices: int) -> NamedSharding | None:
    """Spread plans over the first devices.

    Args:
        num_devices: how many.

    Returns:
        What planners take as `sharding`; None for one device.

    Raises:
        ValueError: if there are fewer.
    """
    available = jax.devices()
    if not 1 <= num_devices <= len(available):
        raise ValueError(f"devices must lie between 1 and {len(available)}, got {num_devices}")
    if num_devices == 1:
        return None
    return NamedSharding(Mesh(np.array(available[:num_devices]), ("samples",)), PartitionSpec("samples"))


def spreads(planner: str) -> bool:
    """Whether the plans of a planner can be spread over devices.

    Args:
        planner: its name.
    """
    parameters = inspect.signature(getattr(planners, planner)).parameters.values()
    return any(own.name == "sharding" or own.kind is own.VAR_KEYWORD for own in parameters)
