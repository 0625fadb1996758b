"""Inputs and outputs of networks, scaled to a mean of 0 and a standard deviation of 1."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pytrees import pytree

_CONSTANT = 1e-6  # relative to the greatest value: what varies less has no scale of its own


@pytree
class Scaling:
    """Means and standard deviations of what networks are given, and of what they say.

    Attributes:
        input_mean: [f].
        input_std: [f], 1 where inputs do not vary.
        target_mean: [T].
        target_std: [T], likewise.
    """

    input_mean: Float[Array, "*e f"]
    input_std: Float[Array, "*e f"]
    target_mean: Float[Array, "*e T"]
    target_std: Float[Array, "*e T"]


def scaling_of(inputs: Float[Array, "N f"], targets: Float[Array, "N T"], weights: Float[Array, " N"]) -> Scaling:
    """The scaling of data.

    Args:
        inputs: of networks.
        targets: what networks are to say.
        weights: of the rows, 0 for those that do not count.

    Returns:
        Their moments.
    """
    return Scaling(*_moments(inputs, weights), *_moments(targets, weights))


def identity(num_inputs: int, num_targets: int) -> Scaling:
    """The scaling that changes nothing."""
    return Scaling(jnp.zeros(num_inputs), jnp.ones(num_inputs), jnp.zeros(num_targets), jnp.ones(num_targets))


def _moments(values: Float[Array, "N d"], weights: Float[Array, " N"]) -> tuple[Any, Any]:
    share = weights / weights.sum()
    mean = share @ values
    std = jnp.sqrt(share @ (values - mean) ** 2)
    small = _CONSTANT * jnp.abs(jnp.where(weights[:, None] > 0, values, 0.0)).max(0)
    return mean, jnp.where(std > small, std, 1.0)
