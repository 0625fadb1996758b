"""What is known of the data: moments, by which networks' inputs and outputs are scaled, and whether episodes end."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pytrees import pytree

_CONSTANT = 1e-6  # relative to the greatest value: an input that varies less does not vary


@pytree
class Scaling:
    """Means and standard deviations of what networks are given, and of what they say; and whether episodes end.

    Attributes:
        input_mean: [f].
        input_std: [f], 1 where inputs do not vary.
        target_mean: [T].
        target_std: [T], no less than rounding lets be told.
        ends_seen: 1 if an episode has ended in the data, else 0: then none is expected to.
    """

    input_mean: Float[Array, "*e f"]
    input_std: Float[Array, "*e f"]
    target_mean: Float[Array, "*e T"]
    target_std: Float[Array, "*e T"]
    ends_seen: Float[Array, "*e"]


def scaling_of(
    inputs: Float[Array, "N f"],
    targets: Float[Array, "N T"],
    weights: Float[Array, " N"],
    least: Float[Array, " T"],
    goes_on: Float[Array, " N"],
) -> Scaling:
    """The scaling of data.

    Args:
        inputs: of networks.
        targets: what networks are to say.
        weights: of the rows, 0 for those that do not count.
        least: the least standard deviation of targets: what varies less is rounding, and must not be blown up.
        goes_on: 0 where the episode ended.

    Returns:
        Their moments.
    """
    mean, std = _moments(inputs, weights)
    greatest = jnp.abs(jnp.where(weights[:, None] > 0, inputs, 0.0)).max(0)
    target_mean, target_std = _moments(targets, weights)
    target_std = jnp.maximum(target_std, least)
    return Scaling(
        mean,
        jnp.where(std > _CONSTANT * greatest, std, 1.0),
        target_mean,
        jnp.where(target_std > 0, target_std, 1.0),
        ((weights > 0) & (goes_on < 0.5)).any().astype(float),
    )


def identity(num_inputs: int, num_targets: int) -> Scaling:
    """The scaling that changes nothing."""
    return Scaling(
        jnp.zeros(num_inputs), jnp.ones(num_inputs), jnp.zeros(num_targets), jnp.ones(num_targets), jnp.zeros(())
    )


def _moments(values: Float[Array, "N d"], weights: Float[Array, " N"]) -> tuple[Any, Any]:
    share = weights / weights.sum()
    mean = share @ values
    return mean, jnp.sqrt(share @ (values - mean) ** 2)
