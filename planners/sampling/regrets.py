"""Returns, compared with the best of them."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Regrets(NamedTuple):
    """Returns, compared with the best of them.

    Attributes:
        best: the best return of those that count, 0 if none does.
        regret: by how much each falls short of it, [K], finite, 0 for those that do not count.
        valid: which plans count, [K].
        rounding: what of a regret may be rounding.
        measured: which plans tell the scale of returns, [K]: those that keep to a model's constraints, if there are
            some; None for all that count.
    """

    best: Float[Array, ""]
    regret: Float[Array, " K"]
    valid: Bool[Array, " K"]
    rounding: Float[Array, ""]
    measured: Bool[Array, " K"] | None = None

    @property
    def all_equal(self) -> Bool[Array, ""]:
        """Whether all plans are valid and their returns the same, but for rounding."""
        return self.valid.all() & (self.regret.max() <= self.rounding)

    def reference(self) -> Float[Array, ""]:
        """What to take away from returns that are great beside their differences: the best; from others nothing."""
        return jnp.where(self.rounding > 1e-4 * self.regret.max(), self.best, 0.0)

    @property
    def scale(self) -> tuple[Float[Array, " K"], Bool[Array, " K"]]:
        """The regrets of the plans that tell the scale of returns, relative to their best, and which they are."""
        if self.measured is None:
            return self.regret, self.valid
        least = jnp.min(jnp.where(self.measured, self.regret, jnp.inf), initial=jnp.inf)
        return jnp.where(self.measured, self.regret - least, 0.0), self.measured

    def share(self, fraction: Float[Array, ""]) -> Float[Array, ""]:
        """A fraction of the plans as one of those that tell the scale, but no more than half of few of these."""
        if self.measured is None:
            return fraction
        number = fraction * self.valid.sum() / jnp.maximum(self.measured.sum(), 1)
        return jnp.clip(number, fraction, jnp.maximum(fraction, 0.5))

    def share_of_rounding(self) -> Float[Array, ""]:
        """How much of the difference between best and worst may be rounding: 1 where several are equal."""
        worst = self.regret.max()
        equal = worst <= self.rounding
        several = (self.valid.sum() > 1).astype(worst.dtype)
        return jnp.where(equal, several, self.rounding / jnp.where(equal, 1.0, worst))


def regrets(
    returns: Float[Array, " K"],
    valid: Bool[Array, " K"],
    residual: Float[Array, " K"] | None = None,
    num_rewards: Any = 1,
) -> Regrets:
    """Compare returns with the best of them.

    Args:
        returns: of plans, [K].
        valid: which of them count, [K]; their returns are finite.
        residual: what rounding has taken from the returns, [K]; None where that is not known.
        num_rewards: of how many rewards each is a sum, which with a residual rounds no further: then it is but each
            reward that is rounded, by chance up or down.
    """
    some = valid.any()
    best = jnp.where(some, jnp.max(jnp.where(valid, returns, -jnp.inf)), 0.0)
    regret = best - returns
    unit = jnp.finfo(returns.dtype).eps * jnp.abs(best)
    rounding = 8.0 * unit
    if residual is not None:
        # H rewards of one size, each off by up to half a unit of its own: two to five deviations of a difference
        rounding = unit / jnp.sqrt(jnp.asarray(num_rewards, float))
        regret = regret - residual
        regret = regret - jnp.where(some, jnp.min(jnp.where(valid, regret, jnp.inf)), 0.0)
    regret = jnp.minimum(jnp.where(valid, regret, 0.0), jnp.finfo(returns.dtype).max)
    return Regrets(best, regret, valid, rounding)
