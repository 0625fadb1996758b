"""A belief, and the plan that something else has made of its mode."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import pytree
from ..base import Centered, Plan, Plans
from ..warm_start import Shifting
from .annealed import Annealed
from .full import FullGaussian
from .gaussian import Gaussian
from .kronecker import KroneckerGaussian
from .remembering import Remembering
from .splined import Splined


@pytree
class Refined:
    """What a planner believes, and the plan to execute, which was refined from its mode.

    Attributes:
        belief: of any family.
        plan: [H, A].
    """

    belief: Any
    plan: Plan

    @property
    def mean(self) -> Plan:
        """Of the belief, [H, A]."""
        return self.belief.mean

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans of the belief, [K, H, A]."""
        return self.belief.sample(key, num_samples)

    def mode(self) -> Plan:
        """The refined plan."""
        return self.plan

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Refined":
        """The belief around other centres; the refined plan stays."""
        if not isinstance(self.belief, Centered):
            return self
        return dataclasses.replace(self, belief=self.belief.map_centers(function))

    def spread(self) -> Float[Array, " A"]:
        """Of the belief."""
        return self.belief.spread()

    def shift(self, initial: "Refined", how: Shifting) -> "Refined":
        """Both one step later."""
        return Refined(self.belief.shift(initial.belief, how), how.plans(self.plan, initial.plan))

    def entropy(self) -> Float[Array, ""] | None:
        """Of the belief, nats."""
        return self.belief.entropy()


def recentred(belief: Any, plan: Plan) -> Any:
    """A belief around another plan; where it has no centre, or several (mixtures, particles), as it is."""
    match belief:
        case Gaussian() | FullGaussian() | KroneckerGaussian() | Annealed():
            return belief.map_centers(lambda _: plan)
        case Remembering():
            return dataclasses.replace(belief, belief=recentred(belief.belief, plan))
        case Splined():
            knots = jnp.einsum("nh,ha->na", belief.reduce, plan, precision="highest")
            return dataclasses.replace(belief, knots=recentred(belief.knots, knots))
    return belief
