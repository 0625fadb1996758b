"""Placement on devices: all inputs of planning must be on the devices over which plans are spread."""

from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from ...dynamics.base import State


def place(tree: Any, sharding: NamedSharding | None) -> Any:
    """Put the inputs of planning onto the devices over which plans are spread, whole on each of them.

    JAX refuses to compute with arrays that are committed to other devices, as all are that `jax.device_put` made
    (MuJoCo's among them). So place them before planning: `state = planners.rollouts.place(state, planner.sharding)`.

    Args:
        tree: a pytree of arrays: planner, model, state, belief, keys, or a tuple of all.
        sharding: the planner's; None for JAX's default device.

    Returns:
        The same, there. Within jit, where arrays have no place yet, unchanged: place the inputs of the jitted
        function.

    Raises:
        ValueError: if `sharding` has no mesh axis to spread plans over.
    """
    leaves, structure = jax.tree.flatten(tree)
    known = [number for number, leaf in enumerate(leaves) if not isinstance(leaf, jax.core.Tracer)]
    placed = jax.device_put([leaves[number] for number in known], whole(sharding))
    for number, leaf in zip(known, placed, strict=True):
        leaves[number] = leaf
    return jax.tree.unflatten(structure, leaves)


def whole(sharding: NamedSharding | None) -> Sharding:
    """The place of what is whole on each device over which plans are spread; None for JAX's default device."""
    if check_sharding(sharding) is None:
        return SingleDeviceSharding(default_device())
    assert sharding is not None
    return NamedSharding(sharding.mesh, PartitionSpec())


@runtime_checkable
class Spread(Protocol):
    """A planner that spreads plans over devices. Ask by `sharding_of`."""

    @property
    def sharding(self) -> NamedSharding | None:
        """How; None for one device."""
        ...


def sharding_of(planner: Any) -> NamedSharding | None:
    """How a planner spreads its plans over devices; None for one device."""
    return planner.sharding if isinstance(planner, Spread) else None


def check_placed(sharding: NamedSharding | None, **parts: Any) -> None:
    """Raise a `ValueError` if a part is committed to other devices than plans are spread over, as far as one can see.

    Args:
        sharding: how plans are spread; None for one device.
        **parts: pytrees of arrays, by name.
    """
    if sharding is None or not isinstance(sharding.mesh, Mesh):
        return
    devices = sharding.device_set
    for name, part in parts.items():
        for leaf in jax.tree.leaves(part):
            if isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array):
                continue
            if leaf.committed and leaf.sharding.device_set != devices:
                devices_of = ", ".join(sorted(map(str, leaf.sharding.device_set)))
                raise ValueError(
                    f"{name} must be on the {len(devices)} devices over which plans are spread, got {devices_of}: "
                    f"give planners.rollouts.place({name}, sharding)"
                )


def check_sharding(sharding: NamedSharding | None) -> NamedSharding | None:
    """Return a sharding of plans, or raise a `ValueError` if it has no mesh axis to spread them over."""
    if sharding is None or (
        isinstance(sharding, NamedSharding) and len(sharding.spec) and sharding.spec[0] is not None
    ):
        return sharding
    raise ValueError(f"sharding must be a NamedSharding whose spec names a mesh axis first, got {sharding!r}")


def platform(state: State, sharding: NamedSharding | None = None) -> str:
    """The kind of device that rollouts from a state run on, "cpu" for one, as far as one can see.

    Args:
        state: where plans start.
        sharding: how plans are spread over devices; None for one device.
    """
    if sharding is not None and isinstance(sharding.mesh, Mesh):
        return _kind(sharding)
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.committed:
            return _kind(leaf.sharding)
    return default_device().platform


def default_device() -> Any:
    """The default device of JAX."""
    config: Any = jax.config
    default = config.jax_default_device  # a device, or the name of a platform
    return jax.devices(default)[0] if default is None or isinstance(default, str) else default


def _kind(sharding: Any) -> str:
    return next(iter(sharding.device_set)).platform
