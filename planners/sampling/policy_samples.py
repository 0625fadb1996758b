"""Plans that a policy draws, among those of a belief, and the density of such a mixture."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ..beliefs.enumeration import Enumeration
from ..beliefs.locked import locks_of
from ..beliefs.protocol import Belief, Plans, Policy, Wrapping, innermost
from ..beliefs.spline import Splined
from ..beliefs.strategy import Strategy
from ..checks import check_part
from ..options import checked
from ..rollouts.rollout import Scores
from ..rollouts.settings import RolloutSettings


@pytree
class PolicySamples:
    """How many of the plans a policy draws, by acting in the model. Make one with `policy_samples`.

    Attributes:
        policy: π, a pytree.
        number: of plans; None for a twentieth of all.
    """

    policy: Policy
    number: int | None = static()

    def count(self, num_samples: int) -> int:
        """How many of so many plans; TD-MPC2 takes 24 of 512 (Hansen et al., 2024)."""
        return max(1, round(0.05 * num_samples)) if self.number is None else self.number

    def check(self, belief: Any) -> None:
        """Raise a `ValueError` for a belief whose plans cannot be mixed with those of a policy."""
        inner, at = innermost(belief), belief
        while isinstance(at, Wrapping):
            if isinstance(at, Splined):
                raise ValueError("num_knots must be None with a policy: what it draws is no spline through knots")
            at = at.inner
        if isinstance(inner, Strategy | Enumeration):
            raise ValueError(f"policy must be None for {type(inner).__name__}, which learns from its own plans alone")
        locks = locks_of(inner, inner.mode())
        if not isinstance(locks, jax.core.Tracer) and locks.any():
            raise ValueError("policy must be None where std is 0 for an actuator: it would move what is locked")

    def draw(
        self,
        rollouts: RolloutSettings,
        model: Model,
        keys: Key[Array, "2"],
        state: State,
        plans: Plans,
        first: int,
        num_samples: int,
    ) -> tuple[Plans, Bool[Array, " K"]]:
        """Let the policy's plans take the place of others.

        Args:
            rollouts: how plans are rolled out.
            model: what to imagine with.
            keys: of the policy's actions, and of the model's noise.
            state: where plans start.
            plans: [K, H, A].
            first: the place of the first.
            num_samples: how many they are.

        Returns:
            The plans, and which of them the policy should have drawn, but are no numbers; others stay in their place.
        """
        drawn = rollouts.draw(model, keys, state, self.policy, num_samples, plans.shape[1], first=first)
        places = slice(first, first + num_samples)
        finite = jnp.isfinite(drawn).reshape(num_samples, -1).all(1)
        drawn = jnp.where(finite.reshape(-1, *(1,) * (drawn.ndim - 1)), drawn, plans[places])
        return plans.at[places].set(drawn), jnp.zeros(len(plans), bool).at[places].set(~finite)


def mixed(
    log_r: Float[Array, " K"], log_other: Float[Array, " K"], share: Float[Array, ""] | float
) -> Float[Array, " K"]:
    """log((1 − w) r(a) + w r'(a)) of plans of which a share w was drawn from r', the others from r.

    It is what both numbers being fixed beforehand makes the least of the variance of such mixtures, up to a bound
    (the balance heuristic, Veach & Guibas, 1995, Eq. 9~).

    Args:
        log_r: log r(a), [K].
        log_other: log r'(a), [K], −∞ where it never draws such a plan.
        share: w, a scalar in (0, 1).
    """
    return jnp.logaddexp(jnp.log1p(-share) + log_r, jnp.log(share) + log_other)


def without_failures(scores: Scores, failed: Bool[Array, " K"]) -> Scores:
    """The scores, without a return where the policy has failed: in drawing a plan, or in telling its density."""
    if scores.log_drawn is not None:
        failed |= jnp.isnan(scores.log_drawn) | (scores.log_drawn == jnp.inf)
    return scores._replace(returns=jnp.where(failed, jnp.nan, scores.returns))


def policy_samples(policy: Any, number: Any = None) -> PolicySamples | None:
    """Check a user's policy, and the number of its plans.

    Args:
        policy: with `sample(key, state)` and `log_prob(state, action)`, a pytree; None for none.
        number: of plans; None for a twentieth of all.

    Returns:
        Both; None where no plan is drawn by a policy.

    Raises:
        ValueError: for what is no policy, or a number without one.
    """
    number = checked("num_policy_samples", number)
    if policy is None:
        if number:
            raise ValueError(f"num_policy_samples needs a policy that draws them, got {number} without")
        return None
    if isinstance(policy, Belief | type) or not isinstance(policy, Policy):
        kind = policy.__name__ if isinstance(policy, type) else type(policy).__name__
        raise ValueError(
            f"policy must draw actions in states, with sample(key, state) and log_prob(state, action), got {kind}"
        )
    return None if number == 0 else PolicySamples(check_part("policy", policy), number)
