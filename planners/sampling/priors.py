"""Priors over plans, as the log importance ratio log p(a) − log q(a) that they add to the weights."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.pytrees import pytree, traceable
from ...dynamics.spaces import ActionSpace, Discrete
from ..beliefs.choice import rebound
from ..beliefs.locked import Locking, Separable
from ..beliefs.protocol import Belief, Density, Family, Plans, Policy
from ..checks import check_part, check_per_plan, named


@runtime_checkable
class Prior(Protocol):
    """The distribution p(a) of plans before their returns are known; the posterior keeps its entropy."""

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of plans drawn from `belief` q, or by a policy, of which only the density is known."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A density of plans that is known step by step. Where plans are resampled, such a prior counts at each step."""

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log p(a_t | a_<t) of each plan and step."""
        ...


@pytree
class FixedPrior:
    """A prior that does not change: weights become those of the posterior p(a) W(a).

    Attributes:
        distribution: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree.
    """

    distribution: Any

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of each plan."""
        log_prob = check_per_plan("log_prob of the prior", self.distribution.log_prob(plans), len(plans))
        return log_prob - _log_density(belief, plans)


@pytree
class FlatPrior:
    """No preference among plans, p(a) = 1: improper, so that evidences are relative to the Lebesgue measure."""

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """0."""
        return jnp.zeros(plans.shape[:2])

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """−log q(a) of each plan."""
        return -_log_density(belief, plans)


@pytree
class PolicyPrior:
    """A prior over actions in states, p(a) = Π_t p(a_t | s_t) along the rollout. Make one with `policy_prior`.

    Attributes:
        policy: (state, action [A]) -> log p(action | state).
    """

    policy: Callable[..., Any]

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """0; the rollout adds log p(a_t | s_t)."""
        return jnp.zeros(plans.shape[:2])

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """−log q(a) of each plan; the loop adds Σ log p(a_t | s_t), which only the rollout knows."""
        return -_log_density(belief, plans)


@pytree
class ShrunkPrior:
    """The belief itself around its own mean, shrunk: p = N(α U, Σ) where q = N(U, Σ).

    Up to a constant log p − log q = −(1 − α) Uᵀ Σ⁻¹ ε, the cross term of Williams et al. (2017, Eq. 24~), whose
    fixed point minimises cost + λ (1 − α)/2 UᵀΣ⁻¹U.

    Attributes:
        shrinkage: 1 − α, in [0, 1], a scalar.
    """

    shrinkage: Float[Array, ""]

    def log_ratio(self, plans: Plans, belief: Belief) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of each plan, p being q moved to (1 − shrinkage) times its mode."""
        return _log_density(belief, plans + self.shrinkage * belief.mode()) - _log_density(belief, plans)


def policy_prior(log_prob: Any) -> PolicyPrior:
    """Make a prior of a policy, such as an amortised one.

    Under a stochastic model log p is averaged over the scenarios, as if it were a reward; after an end it is that of
    the last state before. (Where plans are resampled on the way, what follows an end counts for nothing: nobody does
    it. The evidence is the same.)

    Args:
        log_prob: (state, action [A]) -> log p(action | state), a scalar: a density on the scale of plans, unbounded.
            A callable pytree (a network with weights) stays traced. Or a policy that has such a `log_prob`.

    Returns:
        The prior.

    Raises:
        ValueError: if `log_prob` is not callable.
    """
    if not callable(log_prob) and callable(getattr(log_prob, "log_prob", None)):
        log_prob = log_prob.log_prob
    if not callable(log_prob):
        raise ValueError(f"log_prob must be callable, or a policy that has it, got {type(log_prob).__name__}")
    return PolicyPrior(traceable(log_prob))


def as_prior(prior: Any) -> Any:
    """Check a user's prior.

    Args:
        prior: a family of beliefs, without a shape; a `Prior`, or an object with `log_prob(plans [K, H, A]) -> [K]`,
            a pytree, so that jit can take it; or "flat" for none.

    Returns:
        The prior as the loop wants it.

    Raises:
        ValueError: if it is neither, or no pytree.
    """
    if isinstance(prior, str):
        if prior != "flat":
            raise ValueError(f"prior must be a family, an object with log_prob, or 'flat', got {prior!r}")
        return FlatPrior()
    if isinstance(prior, Policy) and not isinstance(prior, Belief | type):
        raise ValueError(
            f"prior is over plans; of a policy over actions in states make one with planners.priors.policy_prior, "
            f"got {type(prior).__name__}"
        )
    if isinstance(prior, Prior) and not isinstance(prior, type):
        return check_part("prior", prior)
    if isinstance(prior, Family) and not isinstance(prior, type):
        return FixedPrior(check_part("prior", prior))
    return FixedPrior(check_part("prior", prior, "log_prob"))


def bind_prior(prior: Any, belief: Any, space: ActionSpace) -> Any:
    """Bind a prior to plans of a shape.

    Args:
        prior: as `as_prior` gives it, or None.
        belief: q, over such plans.
        space: of actions.

    Returns:
        The prior, if it was a family without a shape; None where it needs no shape.

    Raises:
        ValueError: if it is over plans of another shape, which might broadcast and be wrong, or not of such actions,
            or locks what the belief moves.
    """
    if isinstance(prior, ShrunkPrior) and isinstance(space, Discrete):
        raise ValueError(f"cross_term, a prior around the present mean, needs continuous actions, got {space}")
    if not isinstance(prior, FixedPrior):
        return None
    horizon = len(belief.mode())
    distribution, shape = prior.distribution, (horizon, *space.shape)
    if isinstance(distribution, Family):
        with named("prior"):
            bound = distribution.bind(horizon, space)
        if not isinstance(bound, Density):
            raise ValueError(f"prior must be a family that binds a density with log_prob, got {type(bound).__name__}")
        return FixedPrior(_moving(_of_shape(bound, shape), belief))
    _moving(_of_shape(distribution, shape), belief)
    return None


def rebind_prior(prior: Any, bound: Any, belief: Any, space: ActionSpace) -> Any:
    """The present prior of a planner, where `bound` is what `bind_prior` gave before; None there needs no shape.

    What the belief locks is left out of a prior of independent actuators: evidences and divergences are those of the
    problem without it. (In another prior it remains, as the same factor for all plans.)
    """
    if bound is not None:
        prior = FixedPrior(rebound(prior.distribution, bound.distribution, len(belief.mode()), space))
    if isinstance(prior, FixedPrior) and isinstance(prior.distribution, Separable) and isinstance(belief, Locking):
        return FixedPrior(prior.distribution.locked(belief.locks))
    return prior


def _moving(distribution: Any, belief: Any) -> Any:
    """A distribution, or a `ValueError` if it locks what the belief moves: nothing would hold that back."""
    if isinstance(distribution, Locking) and isinstance(belief, Locking):
        wrong = distribution.locks & ~belief.locks
        if not isinstance(wrong, jax.core.Tracer) and wrong.any():
            raise ValueError("prior must move what the belief moves: its std is 0 where that of the belief is not")
    return distribution


def _of_shape(distribution: Any, shape: tuple[int, ...]) -> Any:
    """A distribution, or a `ValueError` if it is a belief over plans of another shape."""
    if isinstance(distribution, Belief):
        own = distribution.mode().shape
        if own[len(own) - len(shape) :] != shape:  # a batch to map over has more
            raise ValueError(f"prior must be over plans of shape {shape}, got {own}")
    return distribution


def _log_density(belief: Density, plans: Plans) -> Float[Array, " K"]:
    return check_per_plan("log_prob of the belief", belief.log_prob(plans), len(plans))


def policy_of(prior: Any) -> Callable[..., Any] | None:
    """(state, action) -> log p(action | state), of a prior over actions in states; None of others."""
    return prior.policy if isinstance(prior, PolicyPrior) else None


def stepwise(prior: Any) -> Stepwise | None:
    """What gives log p(a_t | a_<t) of a prior; None where it is known of whole plans only."""
    inner = prior.distribution if isinstance(prior, FixedPrior) else prior
    return inner if isinstance(inner, Stepwise) else None
