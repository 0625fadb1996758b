"""Warm starts: beliefs one time step later."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ...dynamics.pytrees import pytree, static
from ..options import checked

TAILS = ("hold", "zero", "initial")


@runtime_checkable
class Shifting(Protocol):
    """How beliefs move on by one time step: `Shift` for those over steps, `KnotShift` for those over knots."""

    @property
    def inflation(self) -> Float[Array, ""] | None:
        """The factor ≥ 1 on variances that are carried on, a scalar; None to start from the initial ones again."""
        ...

    def plans(self, plans: Num[Array, "..."], initial: Num[Array, "..."]) -> Num[Array, "..."]:
        """Plans (or means) [*M, H, A] one step later; `initial` [H, A] is the initial belief's mean."""
        ...

    def variances(self, variances: Float[Array, "*M H A"], initial: Float[Array, "H A"]) -> Float[Array, "*M H A"]:
        """Variances of independent steps one step later, never inflated beyond the initial ones on average."""
        ...

    def carried(
        self, covariance: Float[Array, "d d"], initial: Float[Array, "d d"], action_size: int
    ) -> Float[Array, "d d"]:
        """The covariance of a flattened plan one step later, before it is `inflated`."""
        ...

    def distributions(self, theta: Float[Array, "H C"], initial: Float[Array, " C"]) -> Float[Array, "H C"]:
        """What is distributed at each step, one step later; `initial` is what the step that is new begins with."""
        ...


@pytree
class Shift:
    """The shift by one step: a⁺_t = a_{t+1}, and a last action that is new. Make one with `shift_by_one`.

    Attributes:
        inflation: the factor ≥ 1 on the variances that are carried on, a scalar; None to start from the initial
            ones again.
        tail: what the last action is: "hold" for the one before, "zero" for 0, "initial" for the initial belief's.
    """

    inflation: Float[Array, ""] | None
    tail: str = static()

    def plans(self, plans: Num[Array, "..."], initial: Num[Array, "..."]) -> Num[Array, "..."]:
        """See `Shifting`."""
        discrete = jnp.issubdtype(plans.dtype, jnp.integer)
        if discrete:  # a plan has one number for each step
            plans, initial = plans[..., None], initial[..., None]
        last = {"hold": plans[..., -1, :], "zero": jnp.zeros_like(initial[-1]), "initial": initial[-1]}
        moved = _forward(plans, last[self.tail])
        return moved[..., 0] if discrete else moved

    def variances(self, variances: Float[Array, "*M H A"], initial: Float[Array, "H A"]) -> Float[Array, "*M H A"]:
        """See `Shifting`."""
        if self.inflation is None:
            return jnp.broadcast_to(initial, variances.shape)
        return _widened(_forward(variances, initial[-1]), initial, self.inflation)

    def carried(
        self, covariance: Float[Array, "d d"], initial: Float[Array, "d d"], action_size: int
    ) -> Float[Array, "d d"]:
        """See `Shifting`."""
        moved = jnp.pad(covariance[action_size:, action_size:], (0, action_size))
        return moved.at[-action_size:, -action_size:].set(initial[-action_size:, -action_size:])

    def distributions(self, theta: Float[Array, "H C"], initial: Float[Array, " C"]) -> Float[Array, "H C"]:
        """See `Shifting`."""
        return _forward(theta, initial)

    def through(
        self, carry: Float[np.ndarray, "N N"], last: Float[np.ndarray, " N"], end: Float[np.ndarray, " N"]
    ) -> "KnotShift":
        """The same for the knots of a spline.

        Args:
            carry: from knots to those one step later, of plans that then end with 0.
            last: the knots of a plan that is 1 in the last step, and 0 before.
            end: the last step of the plan of each knot.
        """
        advance = carry + np.outer(last, end) if self.tail == "hold" else carry
        tail = last if self.tail == "initial" else np.zeros_like(last)
        parts = {"advance": advance, "tail": tail, "carry": carry, "fresh": last}
        return KnotShift(**{name: jnp.asarray(part, float) for name, part in parts.items()}, inflation=self.inflation)


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
    """

    advance: Float[Array, "N N"]
    tail: Float[Array, " N"]
    carry: Float[Array, "N N"]
    fresh: Float[Array, " N"]
    inflation: Float[Array, ""] | None

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
        return _widened(moved / (carry.sum(1)[:, None] + fresh), initial, self.inflation)

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


def _forward(values: Num[Array, "*M H A"], last: Num[Array, "*N A"]) -> Num[Array, "*M H A"]:
    """All steps but the first, and another last one."""
    last = jnp.broadcast_to(last, (*values.shape[:-2], values.shape[-1]))
    return jnp.concatenate([values[..., 1:, :], last[..., None, :]], axis=-2)


def _widened(
    moved: Float[Array, "*M H A"], initial: Float[Array, "H A"], inflation: Float[Array, ""]
) -> Float[Array, "*M H A"]:
    """Variances times the inflation, but on average no greater than the initial ones."""
    room = initial.sum() / moved.sum((-2, -1), keepdims=True)
    return moved * jnp.clip(room, 1.0, inflation)


def inflated(
    moved: Float[Array, "d d"], initial: Float[Array, "d d"], inflation: Float[Array, ""]
) -> Float[Array, "d d"]:
    """A covariance times the inflation, but on average no greater than the initial one."""
    return moved * jnp.clip(jnp.trace(initial) / jnp.trace(moved), 1.0, inflation)


def shift_by_one(*, tail: str = "hold", inflation: Any = None) -> Shift:
    """Make the shift by one time step.

    Args:
        tail: the last action: "hold" repeats the one before, "zero" is 0, "initial" is the initial belief's.
        inflation: the factor ≥ 1 on the variances that are carried on; None to start from the initial ones again.

    Returns:
        The shift.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if tail not in TAILS:
        raise ValueError(f"tail must be one of {', '.join(TAILS)}, got {tail!r}")
    return Shift(
        inflation=checked("inflation", inflation),
        tail=tail,
    )


def optional_shift(warm_start: Any, tail: str, inflation: Any = None) -> Shift | None:
    """The shift by one time step, or None where planning starts afresh at every one.

    Args:
        warm_start: whether there is one.
        tail: see `shift_by_one`.
        inflation: see `shift_by_one`.

    Returns:
        The shift, or None.

    Raises:
        ValueError: for a parameter outside its range, or options of the shift without a warm start.
    """
    if checked("warm_start", warm_start):
        return shift_by_one(tail=tail, inflation=inflation)
    if tail != "hold" or inflation is not None:
        raise ValueError(f"tail and inflation need a warm start, got tail={tail!r} and inflation={inflation!r}")
    return None
