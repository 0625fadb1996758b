"""Warm starts: what is left of a belief one time step later."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..dynamics.base import boolean, pytree, real

TAILS = ("hold", "zero", "initial")


@pytree
class Shift:
    """How beliefs move on by one time step. Make one with `shift_by_one`.

    Plans move linearly: a⁺ = `advance` a + `tail` a₀, where a₀ is the initial belief's last action; deviations from
    the mean move by `carry`, and `fresh` lets in what the initial belief knows of the step that is new.

    Attributes:
        advance: [H, H], for means and plans.
        tail: [H], how much of the initial belief's last mean comes in.
        carry: [H, H], for deviations.
        fresh: [H], how much of the initial belief's last deviation comes in.
        inflation: the factor ≥ 1 on the variances that are carried on, a scalar; None to start from the initial
            ones again.
    """

    advance: Float[Array, "H H"]
    tail: Float[Array, " H"]
    carry: Float[Array, "H H"]
    fresh: Float[Array, " H"]
    inflation: Float[Array, ""] | None

    def plans(self, plans: Float[Array, "*M H A"], initial: Float[Array, "H A"]) -> Float[Array, "*M H A"]:
        """Plans (or means) one step later; `initial` is the initial belief's mean."""
        return jnp.einsum("hs,...sa->...ha", self.advance, plans, precision="highest") + (
            self.tail[:, None] * initial[-1]
        )

    def variances(self, variances: Float[Array, "*M H A"], initial: Float[Array, "H A"]) -> Float[Array, "*M H A"]:
        """Variances of independent steps one step later, never inflated beyond the initial ones on average."""
        if self.inflation is None:
            return jnp.broadcast_to(initial, variances.shape)
        # the variances on either side, not that of their average: a spline would grow sharper with every step
        carry, fresh = jnp.abs(self.carry), jnp.abs(self.fresh)[:, None]
        moved = jnp.einsum("hs,...sa->...ha", carry, variances, precision="highest") + fresh * initial[-1]
        moved = moved / (carry.sum(1)[:, None] + fresh)
        room = initial.sum() / moved.sum((-2, -1), keepdims=True)
        return moved * jnp.clip(room, 1.0, self.inflation)

    def covariance(
        self, covariance: Float[Array, "*M d d"], initial: Float[Array, "d d"], action_size: int
    ) -> Float[Array, "*M d d"]:
        """Covariances of flattened plans one step later, never inflated beyond the initial one on average."""
        if self.inflation is None:
            return jnp.broadcast_to(initial, covariance.shape)
        each = jnp.eye(action_size)
        carry, fresh = jnp.kron(self.carry, each), jnp.kron(self.fresh[:, None], each)
        last = initial[-action_size:, -action_size:]
        moved = jnp.einsum("ij,...jk,lk->...il", carry, covariance, carry, precision="highest")
        moved = moved + jnp.einsum("ij,jk,lk->il", fresh, last, fresh, precision="highest")
        room = jnp.trace(initial) / jnp.trace(moved, axis1=-2, axis2=-1)
        return moved * jnp.clip(room, 1.0, self.inflation)[..., None, None]

    def through(self, expand: Float[Array, "H N"], reduce: Float[Array, "N H"]) -> "Shift":
        """The same for the knots of a spline: expanded to plans, shifted, and reduced to knots again."""

        def between(matrix: Float[Array, "H H"]) -> Float[Array, "N N"]:
            return jnp.einsum("nh,hs,sm->nm", reduce, matrix, expand, precision="highest")

        def into(vector: Float[Array, " H"]) -> Float[Array, " N"]:
            return jnp.einsum("nh,h->n", reduce, vector, precision="highest")

        return Shift(between(self.advance), into(self.tail), between(self.carry), into(self.fresh), self.inflation)


def shift_by_one(horizon: int, *, tail: str = "hold", inflation: Any = None) -> Shift:
    """Make the shift by one time step.

    Args:
        horizon: the number H of steps.
        tail: the last action: "hold" repeats the one before, "zero" is 0, "initial" is the initial belief's.
        inflation: the factor ≥ 1 on the variances that are carried on; None to start from the initial ones again.

    Returns:
        The shift.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if tail not in TAILS:
        raise ValueError(f"tail must be one of {', '.join(TAILS)}, got {tail!r}")
    carry = jnp.eye(horizon, k=1)
    last = jnp.zeros(horizon).at[-1].set(1.0)
    return Shift(
        advance=carry + jnp.outer(last, last) if tail == "hold" else carry,
        tail=last if tail == "initial" else jnp.zeros(horizon),
        carry=carry,
        fresh=last,
        inflation=None if inflation is None else real("inflation", inflation, minimum=1.0),
    )


def optional_shift(horizon: int, warm_start: Any, tail: str, inflation: Any = None) -> Shift | None:
    """The shift by one time step, or None where planning starts afresh at every one.

    Args:
        horizon: see `shift_by_one`.
        warm_start: whether there is one.
        tail: see `shift_by_one`.
        inflation: see `shift_by_one`.

    Returns:
        The shift, or None.

    Raises:
        ValueError: for a parameter outside its range, or one that says how to shift where there is no shift.
    """
    if boolean("warm_start", warm_start):
        return shift_by_one(horizon, tail=tail, inflation=inflation)
    if tail != "hold" or inflation is not None:
        raise ValueError(f"tail and inflation need a warm start, got tail={tail!r} and inflation={inflation!r}")
    return None
