"""A belief that remembers the best plans it has seen, and looks at them again."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ...dynamics.checks import integer
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .locked import locks_of
from .protocol import Centered, Plan, Plans, Proposal, propose, update
from .warm_start import Shifting


@pytree
class Remembering:
    """A belief and the best plans of the last iteration. Make one with `remembering`.

    Attributes:
        belief: of any family.
        elites: these plans, the best first, [E, H, A].
        known: which of them are plans that were looked at, [E].
        shifted: how many time steps have passed since, int32: as many of their last actions are drawn anew.
        num_kept: how many of them are looked at again in the next iteration.
        num_shifted: how many of them in the first iteration of the next time step.

    They are not samples of the belief: under a prior they have no weight, and only compete to be the best.
    """

    belief: Any
    elites: Num[Array, "E H *a"]
    known: Bool[Array, " E"]
    shifted: Int[Array, ""]
    num_kept: int = static()
    num_shifted: int = static()

    @property
    def mean(self) -> Plan:
        """Of the belief, [H, A]."""
        return self.belief.mean

    @property
    def means(self) -> Float[Array, "M H A"]:
        """Of the belief's components."""
        return self.belief.means

    @property
    def log_weights(self) -> Float[Array, " M"]:
        """Of the belief's components."""
        return self.belief.log_weights

    def covariance(self) -> Float[Array, "d d"]:
        """Of the belief, [H·A, H·A]."""
        return self.belief.covariance()

    def propose(self, key: PRNGKeyArray, num_samples: int) -> Proposal:
        """Plans of the belief, the last of them replaced by remembered ones."""
        proposal = propose(self.belief, key, num_samples)
        number, size = jnp.arange(len(self.elites)), len(self.elites)
        wanted = self.known & (number < jnp.where(self.shifted > 0, self.num_shifted, self.num_kept))
        fresh, steps = proposal.plans[-size:], self.elites.shape[1]
        new = (jnp.arange(steps) >= steps - self.shifted).reshape(-1, *(1,) * (self.elites.ndim - 2))
        again = jnp.where(new, fresh, self.elites)
        again = jnp.where(wanted.reshape(-1, *(1,) * (again.ndim - 1)), again, fresh)
        drawn = jnp.ones(num_samples, bool) if proposal.drawn is None else proposal.drawn
        return proposal._replace(
            plans=proposal.plans.at[-size:].set(again),
            belief=dataclasses.replace(self, belief=proposal.belief),
            drawn=drawn.at[-size:].set(drawn[-size:] & ~wanted),
        )

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A] of the belief."""
        return self.belief.sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan, whether it is remembered or not."""
        return self.belief.log_prob(plans)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Remembering":
        """Fit the belief and take the plans that weigh most for the best."""
        return self.update(plans, weights, jnp.where(weights > 0, weights, -jnp.inf))

    def update(self, plans: Plans, weights: Float[Array, " K *H"], returns: Float[Array, " K"]) -> "Remembering":
        """Fit the belief and remember the plans of the greatest returns."""
        greatest, index = jax.lax.top_k(returns, len(self.elites))
        return dataclasses.replace(
            self,
            belief=update(self.belief, plans, weights, returns),
            elites=plans[index],
            known=greatest > -jnp.inf,
            shifted=jnp.zeros((), jnp.int32),
        )

    def mode(self) -> Plan:
        """Of the belief."""
        return self.belief.mode()

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Remembering":
        """The belief around other centres; remembered plans stay."""
        if not isinstance(self.belief, Centered):
            return self
        return dataclasses.replace(self, belief=self.belief.map_centers(function))

    @property
    def locks(self) -> Bool[Array, "H *A"]:
        """Of the belief."""
        return locks_of(self.belief, self.mode())

    def spread(self) -> Float[Array, " A"]:
        """Of the belief."""
        return self.belief.spread()

    @property
    def inner(self) -> Any:
        """The belief without its memory."""
        return self.belief

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """One of the belief's modes."""
        return self.belief.random_mode(key)

    def modes(self) -> tuple[Plans, Float[Array, " M"]]:
        """The belief's modes, and their weights."""
        return self.belief.modes()

    def shift(self, initial: "Remembering", how: Shifting) -> "Remembering":
        """Belief and plans later."""
        return dataclasses.replace(
            self,
            belief=self.belief.shift(initial.belief, how),
            elites=how.plans(self.elites, initial.mode()),
            shifted=jnp.minimum(self.shifted + how.num_new, self.elites.shape[1]).astype(jnp.int32),
        )

    def entropy(self) -> Float[Array, ""] | None:
        """Of the belief, nats."""
        return self.belief.entropy()

    def kl(self, other: "Remembering") -> Float[Array, ""] | None:
        """Between the beliefs, nats."""
        return self.belief.kl(other.belief)


@pytree
class RememberingFamily:
    """A family with a memory. Make one with `remembering`, whose arguments the attributes are."""

    family: Any
    num_kept: int = static()
    num_shifted: int = static()

    def bind(self, horizon: int, space: ActionSpace) -> Remembering:
        """The belief over plans of `horizon` steps, with nothing to remember yet."""
        belief = self.family.bind(horizon, space)
        size, mode = max(self.num_kept, self.num_shifted, 1), belief.mode()
        return Remembering(
            belief=belief,
            elites=jnp.broadcast_to(mode, (size, *mode.shape)),
            known=jnp.zeros(size, bool),
            shifted=jnp.zeros((), jnp.int32),
            num_kept=self.num_kept,
            num_shifted=self.num_shifted,
        )


def remembering(family: Any, *, num_kept: int = 0, num_shifted: int = 0) -> RememberingFamily:
    """Let a family evaluate its best plans again.

    Args:
        family: any family.
        num_kept: how many of them in the next iteration.
        num_shifted: how many, shifted by a step, in the first iteration of the next time step.

    Returns:
        The family with a memory.

    Raises:
        ValueError: for a negative number.
    """
    return RememberingFamily(family, checked("num_kept", num_kept), integer("num_shifted", num_shifted, 0))
