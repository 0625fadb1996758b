"""A belief that remembers the best plans it has seen, and looks at them again."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ...dynamics.base import integer, pytree, static
from ..base import Plan, Plans, Proposal, center, propose, update
from ..warm_start import Shift


@pytree
class Remembering:
    """A belief and the best plans of the last iteration. Make one with `remembering`.

    Attributes:
        belief: of any family.
        best: these plans, the best first, [E, H, A].
        known: which of them are plans that were looked at, [E].
        shifted: whether a time step has passed since: their last action is then drawn anew.
        num_kept: how many of them are looked at again in the next iteration.
        num_shifted: how many of them in the first iteration of the next time step.
        weighed: whether they count in fits. They are not drawn from the belief: where it stands for a posterior they
            must not, and only compete to be the best.
        execute_best: whether the mode is the best plan, rather than the belief's.
    """

    belief: Any
    best: Float[Array, "E H A"]
    known: Bool[Array, " E"]
    shifted: Bool[Array, ""]
    num_kept: int = static()
    num_shifted: int = static()
    weighed: bool = static()
    execute_best: bool = static()

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

    def propose(self, key: Key[Array, ""], num_samples: int) -> Proposal:
        """Plans of the belief, the last of them replaced by remembered ones."""
        drawn = propose(self.belief, key, num_samples)
        number = jnp.arange(len(self.best))
        wanted = self.known & (number < jnp.where(self.shifted, self.num_shifted, self.num_kept))
        fresh = drawn.plans[-len(self.best) :]
        last = jnp.where(self.shifted, fresh[:, -1], self.best[:, -1])
        again = jnp.where(wanted[:, None, None], self.best.at[:, -1].set(last), fresh)
        plans = drawn.plans.at[-len(self.best) :].set(again)
        log_correction = drawn.log_correction
        if not self.weighed:
            log_correction = jnp.zeros(num_samples) if log_correction is None else log_correction
            kept = log_correction[-len(self.best) :]
            log_correction = log_correction.at[-len(self.best) :].set(jnp.where(wanted, -jnp.inf, kept))
        return Proposal(plans, dataclasses.replace(self, belief=drawn.belief), log_correction)

    def sample(self, key: Key[Array, ""], num_samples: int) -> Plans:
        """Draw plans [K, H, A] of the belief."""
        return self.belief.sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan, which says nothing of the remembered ones."""
        return self.belief.log_prob(plans)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Remembering":
        """Fit the belief and take the plans that weigh most for the best."""
        return self.update(plans, weights, jnp.where(weights > 0, weights, -jnp.inf))

    def update(self, plans: Plans, weights: Float[Array, " K *H"], returns: Float[Array, " K"]) -> "Remembering":
        """Fit the belief and remember the plans of the greatest returns."""
        greatest, index = jax.lax.top_k(returns, len(self.best))
        return dataclasses.replace(
            self,
            belief=update(self.belief, plans, weights, returns),
            best=plans[index],
            known=greatest > -jnp.inf,
            shifted=jnp.zeros((), bool),
        )

    def mode(self) -> Plan:
        """The best plan, or the belief's mode."""
        return jnp.where(self.known[0], self.best[0], self.belief.mode()) if self.execute_best else self.belief.mode()

    def center(self) -> Plan:
        """Of the belief."""
        return center(self.belief)

    def random_mode(self, key: Key[Array, ""]) -> Plan:
        """One of the belief's modes."""
        return self.belief.random_mode(key)

    def shift(self, initial: "Remembering", how: Shift) -> "Remembering":
        """Belief and plans one step later."""
        return dataclasses.replace(
            self,
            belief=self.belief.shift(initial.belief, how),
            best=how.plans(self.best, initial.mode()),
            shifted=jnp.ones((), bool),
        )

    def entropy(self) -> Float[Array, ""] | None:
        """Of the belief, nats."""
        return self.belief.entropy()

    def kl(self, other: "Remembering") -> Float[Array, ""] | None:
        """Between the beliefs, nats."""
        return self.belief.kl(other.belief)


def remembering(
    belief: Any, *, num_kept: int = 0, num_shifted: int = 0, weighed: bool = True, execute_best: bool = True
) -> Remembering:
    """Let a belief remember its best plans.

    Args:
        belief: of any family.
        num_kept: how many are looked at again in the next iteration.
        num_shifted: how many, shifted by a step, in the first iteration of the next time step.
        weighed: whether they count in fits; not where the belief stands for a posterior.
        execute_best: whether the mode is the best plan of the last iteration, rather than the belief's.

    Returns:
        The belief with a memory.

    Raises:
        ValueError: for a negative number.
    """
    num_kept, num_shifted = integer("num_kept", num_kept, 0), integer("num_shifted", num_shifted, 0)
    size, mode = max(num_kept, num_shifted, 1), belief.mode()
    return Remembering(
        belief=belief,
        best=jnp.broadcast_to(mode, (size, *mode.shape)),
        known=jnp.zeros(size, bool),
        shifted=jnp.zeros((), bool),
        num_kept=num_kept,
        num_shifted=num_shifted,
        weighed=bool(weighed),
        execute_best=bool(execute_best),
    )
