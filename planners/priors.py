"""Priors over plans, as the log importance ratio log p(a) − log q(a) that they add to the weights."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..dynamics.base import pytree, traceable
from .base import Belief, Density, Plans, Prior, center, check_part, check_per_plan


@pytree
class FixedPrior:
    """A prior that does not change: weights become those of the posterior p(a) W(a).

    Attributes:
        distribution: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree.
    """

    distribution: Any

    @property
    def tells_steps(self) -> bool:
        """Whether the distribution has `step_log_probs`, log p(a_t | a_<t)."""
        return callable(getattr(self.distribution, "step_log_probs", None))

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log p(a_t | a_<t)."""
        return self.distribution.step_log_probs(plans)

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of each plan."""
        log_prob = check_per_plan("log_prob of the prior", self.distribution.log_prob(plans), len(plans))
        return log_prob - belief.log_prob(plans)


@pytree
class FlatPrior:
    """No preference among plans, p(a) = 1: improper, so that evidences are relative to the Lebesgue measure."""

    @property
    def tells_steps(self) -> bool:
        """It does: log p is 0 at each."""
        return True

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """0."""
        return jnp.zeros(plans.shape[:2], plans.dtype)

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """−log q(a) of each plan."""
        return -belief.log_prob(plans)


@pytree
class PolicyPrior:
    """A prior over actions in states, p(a) = Π_t p(a_t | s_t) along the rollout. Make one with `policy_prior`.

    Attributes:
        policy: (state, action [A]) -> log p(action | state).
    """

    policy: Callable[..., Any]

    @property
    def tells_steps(self) -> bool:
        """It does, in the rollout."""
        return True

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """0; the rollout adds log p(a_t | s_t)."""
        return jnp.zeros(plans.shape[:2], plans.dtype)

    def log_ratio(self, plans: Plans, belief: Density) -> Float[Array, " K"]:
        """−log q(a) of each plan; the loop adds Σ log p(a_t | s_t), which only the rollout knows."""
        return -belief.log_prob(plans)


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
        """Log p(a) − log q(a) of each plan, p being q moved to (1 − shrinkage) times its centre."""
        return belief.log_prob(plans + self.shrinkage * center(belief)) - belief.log_prob(plans)


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


def check_prior(prior: Any, shape: tuple[int, ...]) -> Prior:
    """A user's prior, which must be over plans of this shape [H, A]: one of another might broadcast, and be wrong.

    Args:
        prior: see `as_prior`.
        shape: [H, A].

    Returns:
        The prior as the loop wants it.

    Raises:
        ValueError: if it is none, or over other plans.
    """
    checked = as_prior(prior)
    distribution = getattr(checked, "distribution", None)
    if isinstance(distribution, Belief) and distribution.mode().shape[-2:] != shape:  # a batch to map over has more
        raise ValueError(f"prior must be over plans of shape [H, A] = {shape}, got {distribution.mode().shape}")
    return checked


def as_prior(prior: Any) -> Prior:
    """Check a user's prior.

    Args:
        prior: a `Prior`, or an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree, so that jit can take it; or
            "flat" for none.

    Returns:
        The prior as the loop wants it.

    Raises:
        ValueError: if it is neither, or no pytree.
    """
    if isinstance(prior, str):
        if prior != "flat":
            raise ValueError(f"prior must be an object with log_prob, or 'flat', got {prior!r}")
        return FlatPrior()
    if callable(getattr(prior, "log_ratio", None)):
        return check_part("prior", prior)
    return FixedPrior(check_part("prior", prior, "log_prob"))
