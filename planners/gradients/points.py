"""Plans that move."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.checks import integer, real
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace
from ..beliefs.moments import average
from ..beliefs.noise import white_noise
from ..beliefs.protocol import Plan, Plans, continuous_shape
from ..beliefs.warm_start import Shifting
from ..options import checked

SCATTER = "standard deviation of the noise by which all plans but the first start elsewhere"


@pytree
class Points:
    """q(a) = 1/K Σ_k δ(a − a_k): plans that an optimiser or a kernel moves. Make one with `points`.

    Attributes:
        plans: [K, H, A].
        objective: of each, [K], in reward units; all the same where nothing is known yet.
        spread: of the noise by which all but the first are moved before the next planning, [H, A].
        locks: which numbers no plan moves, [H, A].
    """

    plans: Plans
    objective: Float[Array, " K"]
    spread: Float[Array, "H A"]
    locks: Bool[Array, "H A"]

    @property
    def mean(self) -> Plan:
        """The mean, [H, A]; between the modes, where there are several."""
        mean = average(jnp.full(len(self.plans), 1.0 / len(self.plans)), self.plans)
        return jnp.where(self.locks, self.plans[0], mean)  # a mean of equal numbers is one of them but for rounding

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plans, [H·A, H·A]."""
        flat = (self.plans - self.mean).reshape(len(self.plans), -1)
        return jnp.einsum("ki,kj->ij", flat, flat, precision="highest") / len(flat)

    def scattered(self, key: PRNGKeyArray) -> Plans:
        """The plans, moved by noise; the first stays where it is."""
        noise = white_noise(key, len(self.plans), self.spread).at[0].set(0.0)
        return self.plans + self.spread * noise

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A] from the points."""
        return self.plans[jax.random.randint(key, (num_samples,), 0, len(self.plans))]

    def mode(self) -> Plan:
        """The plan of the greatest objective."""
        return self.plans[jnp.argmax(self.objective)]

    def best(self) -> Plan:
        """The plan of the greatest objective."""
        return self.mode()

    def shift(self, initial: "Points", how: Shifting) -> "Points":
        """All plans later."""
        plans = how.plans(self.plans, initial.plans[0])
        return dataclasses.replace(self, plans=jnp.where(self.locks, initial.plans[0], plans))

    def moved(self, plans: Plans, objective: Float[Array, " K"]) -> "Points":
        """These plans, but for what is locked; they are not scattered again."""
        plans = jnp.where(self.locks, self.plans, plans)
        return dataclasses.replace(self, plans=plans, objective=objective, spread=jnp.zeros_like(self.spread))

    def entropy(self) -> None:
        """Points have no density."""
        return None


@pytree
class PointsFamily:
    """Plans that move, without a shape. Make one with `points`, whose arguments the attributes are."""

    initial_plan: Float[Array, "..."]
    std: Float[Array, "..."]
    num_samples: int = static()

    def bind(self, horizon: int, space: ActionSpace) -> Points:
        """All plans at the initial one."""
        shape = continuous_shape("a planner that moves plans by derivatives", horizon, space)
        start = real("initial_plan", self.initial_plan, shape=shape)
        plans = jnp.broadcast_to(start, (self.num_samples, *shape))
        spread = real("std", self.std, shape=shape)
        locks = (spread == 0) & (spread != 0).any()  # 0 everywhere is no scatter, and locks nothing
        return Points(plans, jnp.zeros(len(plans)), spread, locks)


def points(*, num_samples: int, initial_plan: Any = 0.0, std: Any = 0.5) -> PointsFamily:
    """Make the family of plans that move.

    Args:
        num_samples: the number K of plans.
        initial_plan: where the first of them starts, scalar, [A] or [H, A].
        std: of the noise by which the others start elsewhere, scalar, [A] or [H, A], >= 0; where it is 0 beside
            others that are not, plans stay as they are.

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return PointsFamily(
        initial_plan=checked("initial_plan", initial_plan),
        std=real("std", std, minimum=0.0, shape=None),
        num_samples=integer("num_samples", num_samples),
    )
