"""Beliefs over the knots of a spline are beliefs over smooth plans."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy.interpolate import CubicSpline

from ...dynamics.checks import integer
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, Discrete
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
        return _bases(self.num_steps, self.num_knots, self.interpolation).expand

    @property
    def reduce(self) -> Float[np.ndarray, "N H"]:
        """The left inverse of B, from plans to the nearest knots."""
        return _bases(self.num_steps, self.num_knots, self.interpolation).reduce

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
        """The spline one step later, its knots evaluated anew."""
        own = _bases(self.num_steps, self.num_knots, self.interpolation)
        how_knots = how.through(own.carry, own.last, own.expand[-1])
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
            return jnp.take(knots, _held(self.num_steps, self.num_knots), axis=-1 if discrete else -2)
        return jnp.einsum("hn,...na->...ha", jnp.asarray(self.expand, float), knots, precision="highest")

    def _knot(self, plans: Plans) -> Any:
        """The nearest knots [K, N, A]; without an axis A where actions are discrete."""
        if self.interpolation == "zero":
            if jnp.issubdtype(plans.dtype, jnp.integer):
                return plans[:, np.searchsorted(_held(self.num_steps, self.num_knots), np.arange(self.num_knots))]
            steps, shares = _segments(self.num_steps, self.num_knots)
            return (plans[:, steps] * jnp.asarray(shares[..., None], plans.dtype)).sum(2)
        return jnp.einsum("nh,kha->kna", jnp.asarray(self.reduce, float), plans, precision="highest")


class _Bases(NamedTuple):
    """What a spline is made of.

    Attributes:
        expand: B, from knots to plans, [H, N].
        reduce: its left inverse, from plans to the nearest knots, [N, H].
        carry: from knots to those of the spline one step later, whose last step is 0, [N, N].
        last: the knots of a plan whose last step is 1, and all others 0, read where knots stand, [N].
    """

    expand: Float[np.ndarray, "H N"]
    reduce: Float[np.ndarray, "N H"]
    carry: Float[np.ndarray, "N N"]
    last: Float[np.ndarray, " N"]


@functools.lru_cache(maxsize=16)
def _bases(horizon: int, num_knots: int, interpolation: str) -> _Bases:
    basis = spline_basis(horizon, num_knots, interpolation)
    reduce = np.linalg.pinv(basis)
    advance = reduce
    if interpolation != "zero":  # read the shifted plan where the knots stand; a held knot would never move that way
        times = _knot_times(horizon, num_knots)
        below = np.minimum(np.floor(times).astype(int), horizon - 2)
        advance = np.zeros((num_knots, horizon))
        advance[np.arange(num_knots), below] = 1.0 - (times - below)
        advance[np.arange(num_knots), below + 1] += times - below
        # what a cubic spline is between steps, a straight line is not: let knots be knots again without a shift
        advance = np.linalg.solve(advance @ basis, advance)
    return _Bases(basis, reduce, advance[:, :-1] @ basis[1:], advance[:, -1])


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


def spline_basis(horizon: int, num_knots: int, interpolation: str) -> np.ndarray:
    """The plan [H, N] of each knot alone being 1.

    Args:
        horizon: the number H of steps.
        num_knots: the number N of knots.
        interpolation: "zero", "linear" or "cubic".

    Returns:
        The matrix from knots to plans.
    """
    steps, knots, unit = np.arange(horizon), _knot_times(horizon, num_knots), np.eye(num_knots)
    if interpolation == "zero":
        return unit[_held(horizon, num_knots)]
    if interpolation == "linear" or num_knots == 2:
        return np.stack([np.interp(steps, knots, column) for column in unit], axis=1)
    return CubicSpline(knots, unit, bc_type="natural")(steps)


def _held(horizon: int, num_knots: int) -> Int[np.ndarray, " H"]:
    """The knot that each step holds."""
    return np.minimum(np.arange(horizon) * num_knots // horizon, num_knots - 1)


def _segments(horizon: int, num_knots: int) -> tuple[Int[np.ndarray, "N S"], Float[np.ndarray, "N S"]]:
    """The steps that hold each knot, and their shares of its average; steps of share 0 make them equally many."""
    held = _held(horizon, num_knots)
    first, counts = np.searchsorted(held, np.arange(num_knots)), np.bincount(held)
    place = np.arange(counts.max())
    return first[:, None] + np.minimum(place, counts[:, None] - 1), (place < counts[:, None]) / counts[:, None]


def _knot_times(horizon: int, num_knots: int) -> np.ndarray:
    return np.linspace(0.0, horizon - 1.0, num_knots) if num_knots > 1 else np.zeros(1)
