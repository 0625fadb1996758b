"""A belief, where it started, and the best plan that was found on the way."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.pytrees import pytree, static
from ..beliefs.protocol import HasModes, Plan, Plans, check_same, innermost
from ..beliefs.warm_start import Shifting
from .comparison import first_in_order


class Initial(NamedTuple):
    """What a planner's `init` has bound, which no inference changes.

    Attributes:
        belief: q₀, where inference starts, and what a warm start falls back on.
        prior: p, where it was given without a shape; None elsewhere.
    """

    belief: Any
    prior: Any


@pytree
class Incumbent:
    """What sampling planners believe: a member of a family, and the best plan that was found (the incumbent).

    What a family has besides (`mean`, `std`, `covariance()`, ...) is found here, too.

    Attributes:
        belief: q, the member of the family.
        initial: what `init` has bound.
        plan: the best plan, [H, A]; the belief's mode where none was tried yet.
        best_return: its return when it was tried, a scalar, reward units; −inf where the state has changed since, or
            none was tried yet.
        residual: what rounding has taken from that, a scalar.
        limit: beyond which no action of `mode` goes, in either direction, a scalar: 1 where the actuators have a
            range, infinite where they have none, or none is known yet; None where actions are discrete.
        executes: whether the best plan is the one to execute, rather than the belief's mode.
        violation: by how much the best plan violates the model's constraints, a scalar; None where it has none, as
            for the other two.
        multiplier: μ, what a violation costs, a scalar, reward units per unit of violation; 0 where none is known.
        guarded: whether the best plan is executed, because what the belief would have executed violates more.
    """

    belief: Any
    initial: Initial
    plan: Plan
    best_return: Float[Array, ""]
    residual: Float[Array, ""]
    limit: Float[Array, ""] | None
    executes: bool = static()
    violation: Float[Array, ""] | None = None
    multiplier: Float[Array, ""] | None = None
    guarded: Bool[Array, ""] | None = None

    def best(self) -> Plan:
        """The best plan that was tried since the last shift, as it was tried, [H, A]; before, the last one's.

        Under noise it is the one that did best in the scenarios that it met; each iteration draws new ones.
        """
        return self.plan

    def mode(self) -> Plan:
        """The plan to execute, [H, A], within the actuators' range."""
        return self.clipped(self.plan if self.executes else self.kept(self.belief.mode()))

    def kept(self, plan: Plan) -> Plan:
        """A plan of the belief; the best one in its place where that keeps to the constraints, and it does not."""
        return plan if self.guarded is None else jnp.where(self.guarded, self.plan, plan)

    def clipped(self, actions: Any) -> Any:
        """Actions, or plans, within the actuators' range."""
        return actions if self.limit is None else jnp.clip(actions, -self.limit, self.limit)

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans of the belief, [K, H, A]."""
        return self.belief.sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        return self.belief.log_prob(plans)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Incumbent":
        """Fit the belief; weights are not returns, so that the best plan stays."""
        return dataclasses.replace(self, belief=self.belief.fit(plans, weights))

    def challenged(
        self,
        plans: Plans,
        returns: Float[Array, " K"],
        residual: Float[Array, " K"] | None = None,
        violation: Float[Array, " K"] | None = None,
    ) -> "Incumbent":
        """With the best of these plans in the place of the present one, if it is better.

        Args:
            plans: [K, H, A].
            returns: [K]; −inf for plans that do not count.
            residual: what rounding has taken from them, [K]; None where that is not known.
            violation: by how much they violate the model's constraints, [K], which comes first; None without any.
        """
        lost = jnp.zeros_like(returns) if residual is None else residual
        first = first_in_order(returns, violation)
        best = jnp.argmax(jnp.where(first, (returns - returns.max()) + lost, -jnp.inf))
        known = self.best_return > -jnp.inf
        gain = (returns[best] - jnp.where(known, self.best_return, 0.0)) + (lost[best] - self.residual)
        least, own = self.violation, None if violation is None else violation[best]
        if least is None or own is None:
            better = (returns[best] > -jnp.inf) & (~known | (gain > 0.0))
        else:
            better = (returns[best] > -jnp.inf) & (~known | (own < least) | ((own == least) & (gain > 0.0)))
            least = jnp.where(better, own, least)
        return dataclasses.replace(
            self,
            violation=least,
            plan=jnp.where(better, plans[best], self.plan),
            best_return=jnp.where(better, returns[best], self.best_return),
            residual=jnp.where(better, lost[best], self.residual),
        )

    def shift(self, initial: Any, how: Shifting) -> "Incumbent":
        """Belief and plan later; the return of the plan there is not known."""
        return dataclasses.replace(
            self,
            belief=check_same("what shift returns", self.belief, self.belief.shift(initial.belief, how)),
            plan=how.plans(self.plan, self.plan),
            best_return=jnp.full_like(self.best_return, -jnp.inf),
            residual=jnp.zeros_like(self.residual),
            violation=None if self.violation is None else jnp.full_like(self.violation, jnp.inf),
        )

    def entropy(self) -> Float[Array, ""] | None:
        """Of the belief, nats."""
        return self.belief.entropy()

    def kl(self, other: Any) -> Float[Array, ""] | None:
        """KL(self ‖ other) of the beliefs, nats."""
        return self.belief.kl(other.belief if isinstance(other, Incumbent) else other)

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Incumbent":
        """The belief around other centres; the best plan stays."""
        if not callable(function):
            raise ValueError(f"function must map centres to others, as `lambda _: plan` does, got {function!r}")
        return dataclasses.replace(self, belief=self.belief.map_centers(function))

    def spread(self) -> Float[Array, " A"]:
        """Of the belief."""
        return self.belief.spread()

    def __getattr__(self, name: str) -> Any:
        """What the family has besides."""
        if name == "belief" or name.startswith("__"):  # not there yet, or asked for by copies and the like
            raise AttributeError(name)
        return getattr(self.belief, name)


def modes_of(belief: Any) -> tuple[Plans, Float[Array, " M"]] | None:
    """The modes of a belief that has several, and how much of it each stands for.

    Args:
        belief: of any planner.

    Returns:
        Its modes, [M, H, A], within the actuators' range, and their weights, [M]; None of a belief with one mode.
    """
    if not isinstance(belief, Incumbent):
        return belief.modes() if isinstance(innermost(belief), HasModes) else None
    found = modes_of(belief.belief)
    return None if found is None else (belief.clipped(found[0]), found[1])


def incumbent(belief: Any, prior: Any = None, *, executes: bool = False, constrained: bool = False) -> Incumbent:
    """Start an inference from a belief.

    Args:
        belief: of any family.
        prior: the prior that was bound with it, or None.
        executes: whether the best plan is the one to execute.
        constrained: whether plans are to keep to constraints.

    Returns:
        The belief with its mode in the place of the best plan, which is yet to be tried.
    """
    plan = belief.mode()
    limit = None if jnp.issubdtype(plan.dtype, jnp.integer) else jnp.full((), jnp.inf, float)
    copies = jax.tree.map(jnp.asarray, (belief, prior))
    unknown, nothing = jnp.full((), -jnp.inf, float), jnp.zeros(())
    begun = Incumbent(belief, Initial(*copies), plan, unknown, nothing, limit, executes)
    if not constrained:
        return begun
    violation, multiplier = jnp.full((), jnp.inf, float), jnp.zeros(())
    return dataclasses.replace(begun, violation=violation, multiplier=multiplier, guarded=jnp.zeros((), bool))
