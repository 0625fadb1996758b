"""Plans that move."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import integer, pytree, real
from ..base import Plan, Plans
from ..noise import white_noise
from ..warm_start import Shifting
from .moments import average


@pytree
class Points:
    """q(a) = 1/K Σ_k δ(a − a_k): plans that an optimiser or a kernel moves. Make one with `points`.

    Attributes:
        plans: [K, H, A].
        worth: of each, [K], in reward units; all the same where nothing is known yet.
        spread: of the noise by which all but the first are moved before the next planning, [H, A].
    """

    plans: Plans
    worth: Float[Array, " K"]
    spread: Float[Array, "H A"]

    @property
    def mean(self) -> Plan:
        """The mean, [H, A]; between the modes, where there are several."""
        return average(jnp.full(len(self.plans), 1.0 / len(self.plans)), self.plans)

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plans, [H·A, H·A]."""
        flat = (self.plans - self.mean).reshape(len(self.plans), -1)
        return jnp.einsum("ki,kj->ij", flat, flat, precision="highest") / len(flat)

    def scattered(self, key: PRNGKeyArray) -> Plans:
        """The plans, moved by noise; the first stays where it is."""
        noise = white_noise(key, len(self.plans), self.spread).at[0].set(0.0)
        return self.plans + self.spread * noise

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A] of those that there are."""
        return self.plans[jax.random.randint(key, (num_samples,), 0, len(self.plans))]

    def mode(self) -> Plan:
        """The plan that is worth most."""
        return self.plans[jnp.argmax(self.worth)]

    def shift(self, initial: "Points", how: Shifting) -> "Points":
        """All plans one step later."""
        return dataclasses.replace(self, plans=how.plans(self.plans, initial.plans[0]))

    def entropy(self) -> None:
        """Points have no density."""
        return None


def points(horizon: int, action_size: int, *, num_samples: int, mean: Any = 0.0, std: Any = 0.5) -> Points:
    """Make a belief of plans that move.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of plans.
        mean: where the first of them starts, scalar, [A] or [H, A].
        std: of the noise by which the others start elsewhere, scalar, [A] or [H, A], >= 0.

    Returns:
        The belief.

    Raises:
        ValueError: for a parameter outside its range or of another shape.
    """
    shape = (integer("horizon", horizon), integer("action_size", action_size))
    plans = jnp.broadcast_to(real("mean", mean, shape=shape), (integer("num_samples", num_samples), *shape))
    return Points(plans, jnp.zeros(len(plans)), real("std", std, minimum=0.0, shape=shape))
