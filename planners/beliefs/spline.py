"""Beliefs over the knots of a spline are beliefs over smooth plans."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...dynamics.checks import integer
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, Discrete
from .knots import bases, held, knot_shift, segments
from .locked import Separable, locks_of
from .protocol import Centered, Plan, Plans, Proposal, propose, update
from .warm_start import Shift

INTERPOLATIONS = ("zero", "linear", "cubic")


@pytree
class Splined:
    """A belief over plans a = B k whose knots k follow a belief of any family. Make one with `splined`.

    Attributes:
        knots: the belief over knots [N, A].
        num_steps: the number H of steps.
        num_knots: the number N of knots.
        interpolation: "zero", "linear" or "cubic".
    """

    knots: Any
    num_steps: int = static()
    num_knots: int = static()
    interpolation: str = static()

    @property
    def expand(self) -> Float[np.ndarray, "H N"]:
        """B, from knots to plans."""
        return bases(self.num_steps, self.num_knots, self.interpolation).expand

    @property
    def reduce(self) -> Float[np.ndarray, "N H"]:
        """The left inverse of B, from plans to the nearest knots."""
        return bases(self.num_steps, self.num_knots, self.interpolation).reduce

    def propose(self, key: PRNGKeyArray, num_samples: int) -> Proposal:
        """Plans through the knots that the belief over them proposes."""
        drawn = propose(self.knots, key, num_samples)
        plans, belief = self._plan(drawn.plans), dataclasses.replace(self, knots=drawn.belief)
        density = None if drawn.log_density is None else jax.tree_util.Partial(_density, drawn.log_density, self)
        return drawn._replace(plans=plans, belief=belief, log_density=density)

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]."""
        return self._plan(self.knots.sample(key, num_samples))

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of each plan's knots: a density on the splines, not on all plans."""
        return self.knots.log_prob(self._knot(plans))

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Splined":
        """Fit the belief to the knots of the plans."""
        return dataclasses.replace(self, knots=self.knots.fit(self._knot(plans), weights))

    def update(self, plans: Plans, weights: Float[Array, " K"], returns: Float[Array, " K"]) -> "Splined":
        """Fit the belief to the knots of the plans, or whatever it does with returns."""
        return dataclasses.replace(self, knots=update(self.knots, self._knot(plans), weights, returns))

    def mode(self) -> Plan:
        """The plan through the most probable knots."""
        return self._plan(self.knots.mode())

    @property
    def inner(self) -> Any:
        """The belief over knots."""
        return self.knots

    @property
    def smooth(self) -> bool:
        """Whether plans go smoothly from step to step."""
        return self.interpolation != "zero"

    def map_centers(self, function: Callable[[Float[Array, "*M N A"]], Float[Array, "*M N A"]]) -> "Splined":
        """The same through other knots, whose splines do not overshoot the function's bounds."""

        def moved(knots: Float[Array, "*M N A"]) -> Float[Array, "*M N A"]:
            knots = function(knots)
            if self.interpolation != "cubic":  # which alone goes beyond its knots
                return knots
            plans = self._plan(knots)
            low, high = plans.min(-2, keepdims=True), plans.max(-2, keepdims=True)
            least, most = function(low), function(high)
            scale = (most - least) / jnp.where(high > low, high - low, 1.0)  # affinely, they are splines still
            return least + (knots - low) * jnp.where(high > low, scale, 1.0)

        known = isinstance(self.knots, Centered)
        return dataclasses.replace(self, knots=self.knots.map_centers(moved)) if known else self

    @property
    def locks(self) -> Bool[Array, "H *A"]:
        """Of the actuators all of whose knots are locked."""
        return jnp.broadcast_to(locks_of(self.knots, self.knots.mode()).all(0), self.mode().shape)

    def locked(self, where: Bool[Array, "*H A"]) -> "Splined":
        """The same, with the knots locked of actuators that are at all steps."""
        some = isinstance(self.knots, Separable)
        return dataclasses.replace(self, knots=self.knots.locked(where.all(0))) if some else self

    def spread(self) -> Float[Array, " A"]:
        """Of the knots."""
        return self.knots.spread()

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """The plan through the knots of one of several modes."""
        return self._plan(self.knots.random_mode(key))

    def modes(self) -> tuple[Plans, Float[Array, " M"]]:
        """The plans through the knots of each mode, and their weights."""
        knots, weights = self.knots.modes()
        return self._plan(knots), weights

    def shift(self, initial: "Splined", how: Shift) -> "Splined":
        """The spline later, its knots evaluated anew."""
        how_knots = knot_shift(how, self.num_steps, self.num_knots, self.interpolation)
        return dataclasses.replace(self, knots=self.knots.shift(initial.knots, how_knots))

    def entropy(self) -> Float[Array, ""] | None:
        """Of the knots, nats."""
        return self.knots.entropy()

    def kl(self, other: "Splined") -> Float[Array, ""] | None:
        """Between the knots, nats."""
        return self.knots.kl(other.knots)

    def covariance(self) -> Float[Array, "d d"]:
        """The covariance of the flattened plan, [H·A, H·A], of rank N·A."""
        expand = jnp.kron(self.expand, jnp.eye(self.mode().shape[1]))
        return jnp.einsum("ij,jk,lk->il", expand, self.knots.covariance(), expand, precision="highest")

    @property
    def mean(self) -> Plan:
        """The plan through the mean knots, [H, A]."""
        return self._plan(self.knots.mean)

    @property
    def means(self) -> Float[Array, "M H A"]:
        """The plans through the mean knots of the components."""
        return self._plan(self.knots.means)

    @property
    def log_weights(self) -> Float[Array, " M"]:
        """Of the components."""
        return self.knots.log_weights

    def _plan(self, knots: Any) -> Any:
        """The plans [*K, H, A] through knots [*K, N, A]; without an axis A where actions are discrete."""
        if self.interpolation == "zero":
            discrete = jnp.issubdtype(knots.dtype, jnp.integer)
            return jnp.take(knots, held(self.num_steps, self.num_knots), axis=-1 if discrete else -2)
        return jnp.einsum("hn,...na->...ha", jnp.asarray(self.expand, float), knots, precision="highest")

    def _knot(self, plans: Plans) -> Any:
        """The nearest knots [K, N, A]; without an axis A where actions are discrete."""
        if self.interpolation == "zero":
            if jnp.issubdtype(plans.dtype, jnp.integer):
                return plans[:, np.searchsorted(held(self.num_steps, self.num_knots), np.arange(self.num_knots))]
            steps, shares = segments(self.num_steps, self.num_knots)
            return (plans[:, steps] * jnp.asarray(shares[..., None], plans.dtype)).sum(2)
        return jnp.einsum("nh,kha->kna", jnp.asarray(self.reduce, float), plans, precision="highest")


def _density(density: Callable[[Plans], Float[Array, " K"]], belief: Splined, plans: Plans) -> Float[Array, " K"]:
    """That of the knots of plans [K, H, A]."""
    return density(belief._knot(plans))


@pytree
class SplinedFamily:
    """A family over the knots of a spline. Make one with `splined`.

    Attributes:
        knots: the family over knots.
        num_knots: the number N of knots.
        interpolation: "zero", "linear" or "cubic".
    """

    knots: Any
    num_knots: int = static()
    interpolation: str = static()

    def bind(self, horizon: int, space: ActionSpace) -> Splined:
        """The belief over plans of `horizon` steps.

        Raises:
            ValueError: if there are more knots than steps, or discrete actions are interpolated.
        """
        if self.num_knots > horizon:
            raise ValueError(f"num_knots must be <= horizon ({horizon}), got {self.num_knots}")
        if isinstance(space, Discrete) and self.interpolation != "zero":
            raise ValueError(
                f"interpolation of knots must be 'zero' where actions are discrete, got {self.interpolation!r} (the "
                "default is 'cubic')"
            )
        return Splined(self.knots.bind(self.num_knots, space), horizon, self.num_knots, self.interpolation)


def splined(family: Any, num_knots: int | None, interpolation: str | None = None) -> Any:
    """Make a family of plans through knots, evenly spread from the first step to the last.

    The plans are a product with a constant matrix, so that any family over knots is one over plans.

    Args:
        family: the family over knots.
        num_knots: the number N of knots, from 2 (for "zero" from 1) to H; None for plans over steps, without a
            spline.
        interpolation: "zero" holds each knot until the next, "linear", or "cubic" (a natural spline); None for cubic.

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if num_knots is None:
        if interpolation is not None:
            raise ValueError(f"interpolation needs num_knots, got {interpolation!r} and None")
        return family
    if interpolation is None:
        interpolation = "cubic"
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    return SplinedFamily(family, integer("num_knots", num_knots, 1 if interpolation == "zero" else 2), interpolation)
