"""A Gaussian whose noise falls from iteration to iteration by a schedule."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...dynamics.checks import real
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .gaussian import Gaussian, GaussianFamily
from .protocol import Plan, Plans
from .warm_start import Shifting


@pytree
class Annealed:
    """q_i(a) = N(a; mean, (f_i std)²) in iteration i. Make one with `annealed`.

    Attributes:
        gaussian: mean, and the std on which the schedule acts.
        schedule: the factors f_i, [I]; the last one stays.
        iteration: i, how many fits there have been since the last shift, a scalar.
    """

    gaussian: Gaussian
    schedule: Float[Array, " I"]
    iteration: Int[Array, ""]

    @property
    def mean(self) -> Plan:
        """Of the Gaussian, [H, A]."""
        return self.gaussian.mean

    @property
    def std(self) -> Plan:
        """In this iteration, [H, A]."""
        return self._now().std

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]."""
        return self._now().sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        return self._now().log_prob(plans)

    def fit(self, plans: Plans, weights: Float[Array, " K *H"]) -> "Annealed":
        """The mean of the weighted plans, and the noise of the next iteration."""
        return dataclasses.replace(self, gaussian=self.gaussian.fit(plans, weights), iteration=self.iteration + 1)

    def mode(self) -> Plan:
        """The mean."""
        return self.gaussian.mean

    def map_centers(self, function: Callable[[Plan], Plan]) -> "Annealed":
        """The same around another mean."""
        return dataclasses.replace(self, gaussian=self.gaussian.map_centers(function))

    @property
    def locks(self) -> Bool[Array, "H A"]:
        """Where the std is 0."""
        return self.gaussian.locks

    def spread(self) -> Float[Array, " A"]:
        """The std on which the schedule acts, averaged over the steps."""
        return self.gaussian.std.mean(0)

    def shift(self, initial: "Annealed", how: Shifting) -> "Annealed":
        """The mean later, at the beginning of the schedule."""
        return dataclasses.replace(initial, gaussian=self.gaussian.shift(initial.gaussian, how))

    def entropy(self) -> Float[Array, ""]:
        """In this iteration, nats."""
        return self._now().entropy()

    def kl(self, other: "Annealed") -> Float[Array, ""]:
        """KL(self ‖ other), nats, each in its iteration."""
        return self._now().kl(other._now())

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan in this iteration, [H·A, H·A]."""
        return self._now().covariance()

    def _now(self) -> Gaussian:
        factor = self.schedule[jnp.minimum(self.iteration, len(self.schedule) - 1)]
        return dataclasses.replace(self.gaussian, std=factor * self.gaussian.std)


@pytree
class AnnealedFamily:
    """Annealed Gaussians without a shape. Make one with `annealed`.

    Attributes:
        gaussian: the Gaussian whose mean is learnt.
        schedule: see `Annealed`.
        horizon_factor: by which the noise is smaller a step earlier, a scalar; None for 1.
    """

    gaussian: GaussianFamily
    schedule: Float[Array, " I"]
    horizon_factor: Float[Array, ""] | None

    def bind(self, horizon: int, space: ActionSpace) -> Annealed:
        """The belief over plans of `horizon` steps, at the beginning of the schedule."""
        bound = self.gaussian.bind(horizon, space)
        if self.horizon_factor is not None:
            widths = self.horizon_factor ** jnp.arange(horizon - 1, -1, -1)[:, None]
            bound = dataclasses.replace(bound, std=bound.std * widths)
        return Annealed(bound, self.schedule, jnp.zeros((), int))


def annealed(gaussian: GaussianFamily, schedule: Any, *, horizon_factor: Any = None) -> AnnealedFamily:
    """Let the noise of a Gaussian follow a schedule; use one that does not learn its std.

    Args:
        gaussian: the Gaussian whose mean is learnt.
        schedule: factors on its std, one per iteration, [I], > 0.
        horizon_factor: the factor in (0, 1] by which the noise is smaller a step (or knot) earlier; None for 1.

    Returns:
        The family.

    Raises:
        ValueError: if the schedule is not a vector, or the Gaussian learns its std.
    """
    factors = real("schedule", schedule, above=0.0, shape=None)
    if factors.ndim != 1 or not len(factors):
        raise ValueError(f"schedule must have shape [I], one factor per iteration, got {factors.shape}")
    if gaussian.learn_std:
        raise ValueError("gaussian must not learn its std under a schedule: give it learn_std=False")
    across = None
    if horizon_factor is not None:
        across = checked("horizon_factor", horizon_factor)
    return AnnealedFamily(gaussian, factors, across)
