"""A policy for the states that can be reached from here, and the plan that it makes."""

import dataclasses

from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import Model
from ...dynamics.pytrees import pytree
from ..beliefs.noise import white_noise
from ..beliefs.protocol import Plan, Plans
from ..beliefs.warm_start import Shift
from .network import NetworkPolicy


@pytree
class IteratedPolicy:
    """A policy that was improved for one state, beside the policy that it began as.

    Attributes:
        improved: π_θ(a|s).
        given: π_φ(a|s), where it began.
        plan: the mean actions that π_θ takes from that state on, [H, A]; before any inference the first of them.
        std: of the actions that it takes there, [H, A].
    """

    improved: NetworkPolicy
    given: NetworkPolicy
    plan: Plan
    std: Float[Array, "H A"]

    @property
    def mean(self) -> Plan:
        """The plan."""
        return self.plan

    def policy(self, model: Model | None = None) -> NetworkPolicy:
        """The improved policy, in the states of any model."""
        return self.improved

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A], as the policy would draw actions along the states of its own plan."""
        return self.plan + self.std * white_noise(key, num_samples, self.std)

    def mode(self) -> Plan:
        """The plan."""
        return self.plan

    def best(self) -> Plan:
        """The plan of the best policy that was found."""
        return self.plan

    def shift(self, initial: "IteratedPolicy", how: Shift) -> "IteratedPolicy":
        """The same policies, and the plan from a later step on."""
        std = how.forward(self.std, self.std[-1])
        return dataclasses.replace(self, plan=how.plans(self.plan, initial.plan), std=std)

    def entropy(self) -> None:
        """That of plans is not known."""
        return None
