"""A belief, and the best plan that was seen on the way to it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import pytree, static
from ..base import Plan, Plans
from ..warm_start import Shifting


@pytree
class Incumbent:
    """A belief of any family, and the best plan that was tried. Sampling planners believe so; `belief` is the family.

    What a family has besides (`mean`, `std`, `covariance()`, ...) is found here, too.

    Attributes:
        belief: of any family.
        plan: the best plan, [H, A]; the belief's mode where none was tried yet.
        worth: its return when it was tried, a scalar, reward units; −inf where the state has changed since, or none
            was tried yet.
        limit: beyond which no action of `mode` goes, in either direction, a scalar: 1 where the actuators have a
            range, infinite where they have none, or none is known yet.
        executes: whether the best plan is the one to execute, rather than the belief's mode.
    """

    belief: Any
    plan: Plan
    worth: Float[Array, ""]
    limit: Float[Array, ""]
    executes: bool = static()

    def best(self) -> Plan:
        """The best plan that was tried since the last shift, as it was tried, [H, A]; before, the last one's.

        Under noise it is the one that did best in the scenarios that it met; each iteration draws new ones.
        """
        return self.plan

    def mode(self) -> Plan:
        """The plan to execute, [H, A], within the actuators' range."""
        plan = self.plan if self.executes else self.belief.mode()
        return jnp.clip(plan, -self.limit, self.limit)

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans of the belief, [K, H, A]."""
        return self.belief.sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        return self.belief.log_prob(plans)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Incumbent":
        """Fit the belief; weights tell nothing of returns, so that the best plan stays."""
        return dataclasses.replace(self, belief=self.belief.fit(plans, weights))

    def challenged(self, plans: Plans, returns: Float[Array, " K"]) -> "Incumbent":
        """With the best of these plans in the place of the present one, if it is better.

        Args:
            plans: [K, H, A].
            returns: [K]; −inf for plans that do not count.
        """
        best = jnp.argmax(returns)
        better = returns[best] > self.worth
        return dataclasses.replace(
            self,
            plan=jnp.where(better, plans[best], self.plan),
            worth=jnp.where(better, returns[best], self.worth),
        )

    def shift(self, initial: "Incumbent", how: Shifting) -> "Incumbent":
        """Belief and plan one step later; what the plan is worth there is not known."""
        return dataclasses.replace(
            self,
            belief=self.belief.shift(initial.belief, how),
            plan=how.plans(self.plan, self.plan),
            worth=jnp.full_like(self.worth, -jnp.inf),
        )

    def entropy(self) -> Float[Array, ""] | None:
        """Of the belief, nats."""
        return self.belief.entropy()

    def kl(self, other: Any) -> Float[Array, ""] | None:
        """KL(self ‖ other) of the beliefs, nats."""
        return self.belief.kl(other.belief if isinstance(other, Incumbent) else other)

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Incumbent":
        """The belief around other centres; the best plan stays."""
        return dataclasses.replace(self, belief=self.belief.map_centers(function))

    def spread(self) -> Float[Array, " A"]:
        """Of the belief."""
        return self.belief.spread()

    def __getattr__(self, name: str) -> Any:
        """What the family has besides."""
        if name == "belief" or name.startswith("__"):  # not there yet, or asked for by copies and the like
            raise AttributeError(name)
        return getattr(self.belief, name)


def incumbent(belief: Any, *, executes: bool = False) -> Incumbent:
    """Let a belief tell the best plan that was seen.

    Args:
        belief: of any family.
        executes: whether that is the plan to execute.

    Returns:
        The belief with its mode in the place of the best plan, which is yet to be tried.
    """
    return Incumbent(belief, belief.mode(), jnp.full((), -jnp.inf, float), jnp.full((), jnp.inf, float), executes)
