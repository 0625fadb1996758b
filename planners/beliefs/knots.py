"""The knots of splines: how plans come of them, and how they move on in time."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.interpolate import CubicSpline

from ...dynamics.pytrees import pytree, static
from .warm_start import Shift, widened

_ROUNDING = 1e-9  # of times, in distances of knots


@pytree
class KnotShift:
    """A shift of knots, which are moved linearly: k⁺ = `advance` k + `tail` k₀.

    Deviations from the mean move by `carry`, and `fresh` lets in what the initial belief knows of the step that is
    new.

    Attributes:
        advance: [N, N], for means and knots.
        tail: [N], how much of the initial belief's last mean comes in.
        carry: [N, N], for deviations.
        fresh: [N], how much of the initial belief's last deviation comes in.
        inflation: see `Shift`.
        num_new: how many knots at the end are new.
    """

    advance: Float[Array, "N N"]
    tail: Float[Array, " N"]
    carry: Float[Array, "N N"]
    fresh: Float[Array, " N"]
    inflation: Float[Array, ""] | None
    num_new: int = static()

    def plans(self, plans: Float[Array, "*M N A"], initial: Float[Array, "N A"]) -> Float[Array, "*M N A"]:
        """See `Shifting`."""
        moved = jnp.einsum("hs,...sa->...ha", self.advance, plans, precision="highest")
        return moved + self.tail[:, None] * initial[-1]

    def variances(self, variances: Float[Array, "*M N A"], initial: Float[Array, "N A"]) -> Float[Array, "*M N A"]:
        """See `Shifting`."""
        if self.inflation is None:
            return jnp.broadcast_to(initial, variances.shape)
        # the variances on either side, not that of their average: a spline would grow sharper with every step
        carry, fresh = jnp.abs(self.carry), jnp.abs(self.fresh)[:, None]
        moved = jnp.einsum("hs,...sa->...ha", carry, variances, precision="highest") + fresh * initial[-1]
        return widened(moved / (carry.sum(1)[:, None] + fresh), initial, self.inflation)

    def carried(
        self, covariance: Float[Array, "d d"], initial: Float[Array, "d d"], action_size: int
    ) -> Float[Array, "d d"]:
        """See `Shifting`."""
        each = jnp.eye(action_size)
        carry, fresh = jnp.kron(self.carry, each), jnp.kron(self.fresh[:, None], each)
        last = initial[-action_size:, -action_size:]
        moved = jnp.einsum("ij,jk,lk->il", carry, covariance, carry, precision="highest")
        return moved + jnp.einsum("ij,jk,lk->il", fresh, last, fresh, precision="highest")

    def distributions(self, theta: Float[Array, "N C"], initial: Float[Array, " C"]) -> Float[Array, "N C"]:
        """See `Shifting`."""
        return jnp.matmul(self.carry, theta, precision="highest") + self.fresh[:, None] * initial

    def between(self, at: Callable[[Any], Any]) -> Any:
        """See `Shifting`: knots that are not moved linearly are moved by a whole number."""
        return at(self.num_new)


def knot_shift(how: Shift, horizon: int, num_knots: int, interpolation: str) -> KnotShift:
    """A shift of plans as one of the knots of a spline, which is evaluated where they come to stand.

    Args:
        how: the shift of plans.
        horizon: the number H of steps.
        num_knots: the number N of knots.
        interpolation: "zero", "linear" or "cubic".
    """
    own = bases(horizon, num_knots, interpolation)
    carry, last = _later(own, how, interpolation)
    advance = carry + last[:, None] * own.expand[-1] if how.tail == "hold" else carry
    tail = last if how.tail == "initial" else 0.0 * last
    parts = {"advance": advance, "tail": tail, "carry": carry, "fresh": last}
    known = how.whole + (how.fraction if isinstance(how.fraction, float) else 0.0)
    return KnotShift(
        **{name: jnp.asarray(part, float) for name, part in parts.items()},
        inflation=how.inflation,
        num_new=max(1, round(known * num_knots / horizon)),
    )


class Bases(NamedTuple):
    """What a spline is made of.

    Attributes:
        expand: B, from knots to plans, [H, N].
        reduce: its left inverse, from plans to the nearest knots, [N, H].
    """

    expand: Float[np.ndarray, "H N"]
    reduce: Float[np.ndarray, "N H"]


@functools.lru_cache(maxsize=16)
def bases(horizon: int, num_knots: int, interpolation: str) -> Bases:
    """What the splines of so many steps and knots are made of."""
    basis = spline_basis(horizon, num_knots, interpolation)
    return Bases(basis, np.linalg.pinv(basis))


def _later(own: Bases, how: Shift, interpolation: str) -> tuple[Any, Any]:
    """From knots to those of the spline later, [N, N], whose new steps are 0, and those of new steps that are 1, [N].

    Constants of NumPy, unless the number of steps is traced.
    """
    expand, reduce = own
    horizon, num_knots = expand.shape
    if how.fraction is None and interpolation == "zero":
        left = max(horizon - how.whole, 0)
        return reduce[:, :left] @ expand[horizon - left :], reduce[:, left:].sum(1)
    fraction = 0.0 if how.fraction is None else how.fraction
    xp: Any = np if isinstance(fraction, float) else jnp
    if interpolation == "zero":  # a held knot is the mean of its steps, and each of these of what was held during it
        times, inside = _at(np.arange(horizon), how.whole + fraction, horizon, xp)
        below = xp.floor(times).astype(int)
        share = (times - below)[:, None]
        after = xp.minimum(below + 1, horizon - 1)
        rows = (1.0 - share) * xp.asarray(expand)[below] + share * xp.asarray(expand)[after]
        if xp is np:
            return reduce @ (inside[:, None] * rows), reduce @ (1.0 - inside)
        read = functools.partial(jnp.matmul, jnp.asarray(reduce), precision="highest")
        return read(inside[:, None] * rows), read(1.0 - inside)
    # the spline itself, where its knots come to stand: never more than it was, if it is linear
    times, inside = _at(_knot_times(horizon, num_knots), how.whole + fraction, horizon, xp)
    width = (horizon - 1) / (num_knots - 1)
    segment = xp.clip(xp.floor(times / width + _ROUNDING), 0, num_knots - 2).astype(int)
    rows = 0.0
    for power in xp.asarray(_polynomials(horizon, num_knots, interpolation))[:, segment]:
        rows = rows * (times - segment * width)[:, None] + power
    return inside[:, None] * rows, 1.0 - inside


def _at(times: Any, later: Any, horizon: int, xp: Any) -> tuple[Any, Any]:
    """Times later, at most that of the last step, and how much of the plan is there: beyond it is what is new."""
    return xp.minimum(times + later, horizon - 1.0), xp.clip(horizon - (times + later), 0.0, 1.0)


@functools.lru_cache(maxsize=16)
def _polynomials(horizon: int, num_knots: int, interpolation: str) -> Float[np.ndarray, "P S N"]:
    """Between two knots each, the polynomial of every basis function, the highest power first."""
    knots, unit = _knot_times(horizon, num_knots), np.eye(num_knots)
    if interpolation == "linear" or num_knots == 2:
        return np.stack([np.diff(unit, axis=0) / np.diff(knots)[:, None], unit[:-1]])
    return CubicSpline(knots, unit, bc_type="natural").c


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
        return unit[held(horizon, num_knots)]
    if interpolation == "linear" or num_knots == 2:
        return np.stack([np.interp(steps, knots, column) for column in unit], axis=1)
    return CubicSpline(knots, unit, bc_type="natural")(steps)


def held(horizon: int, num_knots: int) -> Int[np.ndarray, " H"]:
    """The knot that each step holds."""
    return np.minimum(np.arange(horizon) * num_knots // horizon, num_knots - 1)


def segments(horizon: int, num_knots: int) -> tuple[Int[np.ndarray, "N S"], Float[np.ndarray, "N S"]]:
    """The steps that hold each knot, and their shares of its average; steps of share 0 make them equally many."""
    knots = held(horizon, num_knots)
    first, counts = np.searchsorted(knots, np.arange(num_knots)), np.bincount(knots)
    place = np.arange(counts.max())
    return first[:, None] + np.minimum(place, counts[:, None] - 1), (place < counts[:, None]) / counts[:, None]


def _knot_times(horizon: int, num_knots: int) -> np.ndarray:
    return np.linspace(0.0, horizon - 1.0, num_knots) if num_knots > 1 else np.zeros(1)
