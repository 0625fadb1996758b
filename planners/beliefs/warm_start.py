"""Warm starts: beliefs one time step later, or any number of them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from ...dynamics.checks import real
from ...dynamics.pytrees import pytree, static
from ..options import checked

TAILS = ("hold", "zero", "initial")
_ROUNDING = 1e-6  # of a step: what is as near to a whole number of steps is one


@runtime_checkable
class Shifting(Protocol):
    """How beliefs move on in time: `Shift` for those over steps, `KnotShift` for those over knots.

    "Later" is by the steps that a shift is of, one unless `Shift.by` has made another of it.
    """

    @property
    def inflation(self) -> Float[Array, ""] | None:
        """The factor ≥ 1 on variances that are carried on, a scalar; None to start from the initial ones again."""
        ...

    @property
    def num_new(self) -> Any:
        """How many steps (or knots) at the end are new, wholly or in part; an integer, which may be traced."""
        ...

    def plans(self, plans: Num[Array, "..."], initial: Num[Array, "..."]) -> Num[Array, "..."]:
        """Plans (or means) [*M, H, A] later; `initial` [H, A] is the initial belief's mean."""
        ...

    def variances(self, variances: Float[Array, "*M H A"], initial: Float[Array, "H A"]) -> Float[Array, "*M H A"]:
        """Variances of independent steps later, never inflated beyond the initial ones on average."""
        ...

    def carried(
        self, covariance: Float[Array, "d d"], initial: Float[Array, "d d"], action_size: int
    ) -> Float[Array, "d d"]:
        """The covariance of a flattened plan later, before it is `inflated`."""
        ...

    def distributions(self, theta: Float[Array, "H C"], initial: Float[Array, " C"]) -> Float[Array, "H C"]:
        """What is distributed at each step, later; `initial` is what steps that are new begin with."""
        ...

    def between(self, at: Callable[[Any], Any]) -> Any:
        """What `at` says of the number of steps (or knots); between two whole numbers the average of both.

        Args:
            at: whole number of steps, which may be traced -> a pytree of floating-point arrays.
        """
        ...


@pytree
class Shift:
    """The shift by k steps: a⁺_t = a_{t+k}, and k last actions that are new. Make one with `shift_by_one`.

    By a fraction φ of a step it is the average of its neighbours, (1 − φ) of the shift by ⌊k⌋ and φ of that by one
    more: of actions that are held for a step the mean over each new step, of covariances one that stays definite.

    Attributes:
        inflation: the factor ≥ 1 on the variances that are carried on, a scalar; None to start from the initial
            ones again.
        tail: what new actions are: "hold" for the last one, "zero" for 0, "initial" for the initial belief's.
        whole: the whole steps of k.
        fraction: what k is more than that, a scalar: in (0, 1) where it is a Python number, of a traced k all of it;
            None for nothing.
    """

    inflation: Float[Array, ""] | None
    fraction: Float[Array, ""] | float | None = None
    tail: str = static(default="hold")
    whole: int = static(default=1)

    def by(self, steps: Any) -> "Shift":
        """The same by another number of steps; the inflation is per step.

        Args:
            steps: how many model steps, > 0, whole or not; a traced number costs a little more.

        Raises:
            ValueError: for what is no positive number.
        """
        steps = checked_steps(steps)
        if isinstance(steps, int) and steps == 1:
            return self
        inflation = None if self.inflation is None else self.inflation**steps
        if isinstance(steps, int):
            return dataclasses.replace(self, inflation=inflation, whole=steps, fraction=None)
        whole = math.floor(steps) if isinstance(steps, float) else 0
        return dataclasses.replace(self, inflation=inflation, whole=whole, fraction=steps - whole)

    @property
    def num_new(self) -> Any:
        """See `Shifting`."""
        if self.fraction is None:
            return self.whole
        if isinstance(self.fraction, float):
            return self.whole + 1
        return self.whole + jnp.ceil(self.fraction).astype(jnp.int32)

    def plans(self, plans: Num[Array, "..."], initial: Num[Array, "..."]) -> Num[Array, "..."]:
        """See `Shifting`; of discrete actions by the nearest whole number of steps."""
        if jnp.issubdtype(plans.dtype, jnp.integer):  # a plan has one number for each step
            last = {"hold": plans[..., -1], "zero": jnp.zeros_like(initial[-1]), "initial": initial[-1]}
            return _forward(plans[..., None], last[self.tail][..., None], self._nearest())[..., 0]
        ends = {"hold": plans[..., -1, :], "zero": jnp.zeros_like(initial[-1]), "initial": initial[-1]}
        return self.forward(plans, ends[self.tail])

    def variances(self, variances: Float[Array, "*M H A"], initial: Float[Array, "H A"]) -> Float[Array, "*M H A"]:
        """See `Shifting`."""
        if self.inflation is None:
            return jnp.broadcast_to(initial, variances.shape)
        return widened(self.forward(variances, initial[-1]), initial, self.inflation)

    def carried(
        self, covariance: Float[Array, "d d"], initial: Float[Array, "d d"], action_size: int
    ) -> Float[Array, "d d"]:
        """See `Shifting`."""
        return self.between(lambda number: _carried(covariance, initial, number * action_size))

    def distributions(self, theta: Float[Array, "H C"], initial: Float[Array, " C"]) -> Float[Array, "H C"]:
        """See `Shifting`."""
        return self.forward(theta, initial)

    def forward(self, values: Float[Array, "*M H A"], last: Float[Array, "*N A"]) -> Float[Array, "*M H A"]:
        """Values of each step, later; those of new steps are `last`."""
        return self.between(lambda number: _forward(values, last, number))

    def between(self, at: Callable[[Any], Any]) -> Any:
        """See `Shifting`."""
        if self.fraction is None:
            return at(self.whole)
        number, share = self._parts()
        return jax.tree.map(lambda here, there: (1.0 - share) * here + share * there, at(number), at(number + 1))

    def _nearest(self) -> Any:
        """The nearest whole number of steps."""
        if self.fraction is None:
            return self.whole
        number, share = self._parts()
        return number + (int(share >= 0.5) if isinstance(share, float) else (share >= 0.5).astype(jnp.int32))

    def _parts(self) -> tuple[Any, Any]:
        """The number of whole steps, and the fraction of the next one."""
        if self.fraction is None or isinstance(self.fraction, float):
            return self.whole, self.fraction or 0.0
        below = jnp.floor(self.fraction)
        return self.whole + below.astype(jnp.int32), self.fraction - below


def _forward(
    values: Num[Array, "*M H A"], last: Num[Array, "*N A"], number: int | Int[Array, ""]
) -> Num[Array, "*M H A"]:
    """All steps but so many first ones, and as many others at the end."""
    steps = values.shape[-2]
    last = jnp.broadcast_to(last, (*values.shape[:-2], values.shape[-1]))[..., None, :]
    if isinstance(number, int):
        number = min(number, steps)
        fresh = jnp.broadcast_to(last, (*values.shape[:-2], number, values.shape[-1]))
        return jnp.concatenate([values[..., number:, :], fresh], axis=-2)
    at = jnp.arange(steps) + number
    return jnp.where((at < steps)[:, None], jnp.take(values, jnp.minimum(at, steps - 1), axis=-2), last)


def _carried(
    covariance: Float[Array, "d d"], initial: Float[Array, "d d"], size: int | Int[Array, ""]
) -> Float[Array, "d d"]:
    """A covariance without its first rows and columns, and with as many of the initial one's at the end."""
    if isinstance(size, int):
        kept = max(len(covariance) - size, 0)
        moved = jnp.pad(covariance[-kept:, -kept:] if kept else covariance[:0, :0], (0, len(covariance) - kept))
        return moved.at[kept:, kept:].set(initial[kept:, kept:])
    nothing = jnp.zeros(len(covariance))
    new = jnp.arange(len(covariance)) >= len(covariance) - size
    moved = _forward(_forward(covariance, nothing, size).T, nothing, size).T
    return jnp.where(new[:, None] & new, initial, moved)


def widened(
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


def checked_steps(steps: Any) -> Any:
    """Return a number of steps: an int where it is whole, else a float; a traced one as an array, 0 for less or NaN.

    Raises:
        ValueError: for what is no positive number.
    """
    array = real("steps", steps, above=0.0)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(steps)):
        return jnp.maximum(jnp.where(jnp.isnan(array), 0.0, array), 0.0)
    number = float(steps)
    whole = max(1, round(number))
    return whole if abs(number - whole) <= _ROUNDING * whole else number


def shift_of(warm_start: Shift | None, steps: Any) -> Shift | None:
    """The warm start by so many steps; None where there is none.

    Raises:
        ValueError: for what is no positive number of steps.
    """
    if warm_start is None:
        checked_steps(steps)
        return None
    return warm_start.by(steps)


def shift_by_one(*, tail: str = "hold", inflation: Any = None) -> Shift:
    """Make the shift by one time step; `Shift.by` makes one by any other number of it.

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
