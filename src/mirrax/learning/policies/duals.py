"""The Lagrange multipliers of MPO and V-MPO, which bound the parts of a step."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mirrax.dynamics.checks import real
from mirrax.dynamics.spaces import ActionSpace, Discrete


def first_multipliers(num: int) -> Float[Array, " K"]:
    """Logarithms of the multipliers at first, greater than they will be, for a first step that is small.

    Args:
        num: K, of the parts.
    """
    return jnp.full(num, jnp.log(10.0))


def bounds_of(space: ActionSpace, epsilon_mean: Any, epsilon_std: Any) -> Float[Array, " K"]:
    """The bounds of the parts of a step, nats: of mean and standard deviation, or of discrete actions of the whole.

    Args:
        space: of actions.
        epsilon_mean: of the mean, or the whole.
        epsilon_std: of the standard deviation.
    """
    bounds = [epsilon_mean] if isinstance(space, Discrete) else [epsilon_mean, epsilon_std]
    return jnp.stack([jnp.asarray(bound, float) for bound in bounds])


def check_epsilons(**epsilons: Any) -> dict[str, Float[Array, ""]]:
    """Return bounds of divergences, or raise a `ValueError` unless all are positive."""
    return {name: real(name, value, above=0.0) for name, value in epsilons.items()}
