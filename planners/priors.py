"""Priors over plans, as the log importance ratio log p(a) − log q(a) that they add to the weights."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from ..dynamics.base import pytree
from .base import Belief, Plans, Prior, check_part, check_per_plan


@pytree
class FixedPrior:
    """A prior that does not change: weights become those of the posterior p(a) W(a).

    Attributes:
        distribution: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree.
    """

    distribution: Any

    def log_ratio(self, plans: Plans, belief: Belief) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of each plan."""
        log_prob = check_per_plan("log_prob of the prior", self.distribution.log_prob(plans), len(plans))
        return log_prob - belief.log_prob(plans)


@pytree
class ShrunkPrior:
    """A Gaussian prior around the belief's own mean, shrunk: p = N(α U, Σ) where q = N(U, Σ).

    Up to a constant log p − log q = −(1 − α) Uᵀ Σ⁻¹ ε, the cross term of Williams et al. (2017, Eq. 24~), whose
    fixed point minimises cost + λ (1 − α)/2 UᵀΣ⁻¹U.

    Attributes:
        shrinkage: 1 − α, in [0, 1], a scalar.
    """

    shrinkage: Float[Array, ""]

    def log_ratio(self, plans: Plans, belief: Any) -> Float[Array, " K"]:
        """Log p(a) − log q(a) of each plan under a Gaussian belief."""
        base = dataclasses.replace(belief, mean=(1.0 - self.shrinkage) * belief.mean)
        return base.log_prob(plans) - belief.log_prob(plans)


def as_prior(prior: Any) -> Prior:
    """Check a user's prior.

    Args:
        prior: a `Prior`, or an object with `log_prob(plans [K, H, A]) -> [K]`; a pytree, so that jit can take it.

    Returns:
        The prior as the loop wants it.

    Raises:
        ValueError: if it is neither, or no pytree.
    """
    if callable(getattr(prior, "log_ratio", None)):
        return check_part("prior", prior)
    return FixedPrior(check_part("prior", prior, "log_prob"))
