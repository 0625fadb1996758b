"""How plans compare: by their returns, and before these by what they violate of a model's constraints."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..checks import check_per_plan
from ..differentiation import constant
from .likelihoods import Comparing, Likelihood, Optimality, Ranking
from .regrets import Regrets, regrets
from .scales import temperature_for_ess
from .weights import log_normalize

_SHARE = 0.05  # of the weight that plans which violate constraints may have
_RELAXED, _RAISED = 0.9, 2.0  # the multiplier, where they have less, and while they have more
_RANGE = 1e4  # how far it may go, in spreads of returns per median violation
_FRACTION = 0.1  # of the plans, that the weights are worth where none keeps to the constraints
_FAR, _POWER = 1e15, 0.05  # beyond all returns, with room for squares


class Judged(NamedTuple):
    """What a likelihood makes of plans.

    Attributes:
        compared: their returns, compared with the best; under constraints less what violations cost.
        optimality: what the likelihood gave.
        multiplier: μ, what a violation costs, a scalar, for the next iteration; None where nothing costs.
    """

    compared: Regrets
    optimality: Optimality
    multiplier: Float[Array, ""] | None


def judge(
    likelihood: Likelihood,
    returns: Float[Array, " K"],
    valid: Bool[Array, " K"],
    residual: Float[Array, " K"] | None,
    num_rewards: Any,
    violation: Float[Array, " K"] | None = None,
    multiplier: Float[Array, ""] | None = None,
    *,
    adapt: bool = True,
) -> Judged:
    """Weigh plans by their returns, and by what they violate.

    A likelihood that only ranks sees plans in lexicographic order: those that keep to the constraints by their
    returns, and after them the others by what they violate. All others weigh R − μ c. Temperatures and other scales
    are those of the plans that keep to the constraints, so that the others, however many, do not move them; and where
    there are none all weight goes to the least violation.

    Args:
        likelihood: W.
        returns: of plans, [K].
        valid: which of them count, [K].
        residual: what rounding has taken from the returns, [K]; None where that is not known.
        num_rewards: of how many rewards each is a sum.
        violation: c, [K], infinite where a constraint is no number; None where the model has no constraints.
        multiplier: μ of the iteration before, a scalar; 0 where there was none.
        adapt: whether μ is raised until plans that violate something have little weight.
    """
    if violation is None:
        compared = regrets(returns, valid, residual, num_rewards)
        return Judged(compared, optimality_of(likelihood, returns, compared), None)
    if isinstance(likelihood, Ranking) and likelihood.by_rank:
        compared = _ranked(returns, valid, residual, num_rewards, violation)
        return Judged(compared, optimality_of(likelihood, compared.best - compared.regret, compared), multiplier)
    assert multiplier is not None  # see `Incumbent`
    known = valid & jnp.isfinite(violation)
    counts = jnp.where(known.any(), known, valid)  # what is violated beyond measure is last of all
    cost = jnp.where(jnp.isfinite(violation), violation, 0.0)
    kept = counts & (cost <= 0)
    some = kept.any()

    def priced(likelihood: Likelihood, mu: Float[Array, ""]) -> tuple[Regrets, Optimality]:
        worth = returns - mu * cost
        compared = regrets(worth, counts, residual, num_rewards)._replace(measured=jnp.where(some, kept, counts))
        return compared, optimality_of(likelihood, worth, compared)

    if adapt:
        held = constant(likelihood)

        def share(mu: Float[Array, ""]) -> Float[Array, ""]:
            weights = jnp.exp(log_normalize(priced(held, mu)[1].log_weights).log_weights)
            return jnp.where(kept, 0.0, weights).sum()

        multiplier = constant(_raised(share, *constant((returns, counts, cost, multiplier))))
        dear = some & (share(multiplier) > _SHARE)  # no price within the bounds is high enough
    compared, optimality = priced(likelihood, multiplier)
    if adapt:
        optimality = optimality._replace(log_weights=jnp.where(dear & ~kept, -jnp.inf, optimality.log_weights))
    # no plan keeps to the constraints: the least violation, unless all violate the same
    log_weights = by_violation(violation, valid)
    lost = ~some & (log_weights.max() > jnp.min(jnp.where(counts, log_weights, jnp.inf)))
    log_weights = jnp.where(lost, log_weights, optimality.log_weights)
    return Judged(compared, optimality._replace(log_weights=log_weights), multiplier)


def optimality_of(likelihood: Likelihood, returns: Float[Array, " K"], compared: Regrets) -> Optimality:
    """What a likelihood, which may be a user's, gives for these returns, checked."""
    if isinstance(likelihood, Comparing):
        optimality = likelihood.weigh(compared)
    else:
        optimality = likelihood(jnp.where(compared.valid, returns, -jnp.inf))
    if not isinstance(optimality, Optimality):
        raise ValueError(f"likelihood must return planners.likelihoods.Optimality, got {type(optimality).__name__}")
    check_per_plan("log_weights of the likelihood", optimality.log_weights, len(returns))
    return optimality


def in_order(relative: Float[Array, " K"], violation: Float[Array, " K"] | None) -> Float[Array, " K"]:
    """Returns for what learns from their order: of plans that violate something far below all others, by how much.

    Args:
        relative: returns, [K]; −inf for plans that do not count.
        violation: [K]; None where there are no constraints.
    """
    if violation is None:
        return relative
    far = -_FAR * jnp.minimum(violation, 1e30) ** _POWER  # a power that keeps the order of all floats apart
    return jnp.where((violation > 0) & (relative > -jnp.inf), far, relative)


def first_in_order(returns: Float[Array, " K"], violation: Float[Array, " K"] | None) -> Bool[Array, " K"]:
    """Which plans violate no more than any other; without constraints all that count.

    Args:
        returns: [K]; −inf for plans that do not count.
        violation: [K]; None where there are no constraints.
    """
    valid = returns > -jnp.inf
    if violation is None:
        return valid
    return valid & (violation <= jnp.min(jnp.where(valid, violation, jnp.inf)))


def by_violation(violation: Float[Array, " K"], valid: Bool[Array, " K"]) -> Float[Array, " K"]:
    """Log-weights of plans none of which keeps to the constraints: the less they violate, the more.

    Args:
        violation: [K].
        valid: which plans count, [K].
    """
    known = valid & jnp.isfinite(violation)
    counts = jnp.where(known.any(), known, valid)
    cost = jnp.where(jnp.isfinite(violation), violation, 0.0)
    excess = jnp.where(counts, cost - jnp.min(jnp.where(counts, cost, jnp.inf), initial=jnp.inf), 0.0)
    scale = temperature_for_ess(excess, counts, jnp.asarray(_FRACTION, float))
    return jnp.where(counts, -excess / scale, -jnp.inf)


def next_multiplier(
    share: Float[Array, ""],
    returns: Float[Array, " K"],
    counts: Bool[Array, " K"],
    cost: Float[Array, " K"],
    multiplier: Float[Array, ""],
) -> Float[Array, ""]:
    """μ ← 2 μ where plans that violate something have more than a little weight, else 0.9 μ, within bounds.

    Args:
        share: of the weight, that they have.
        returns: of plans, [K].
        counts: which plans count, [K].
        cost: their violations, [K].
        multiplier: μ of the iteration before; 0 where there was none.
    """
    unit, some = _unit(returns, counts, cost)
    following = jnp.clip(multiplier * jnp.where(share > _SHARE, _RAISED, _RELAXED), unit / _RANGE, _RANGE * unit)
    following = jnp.where(multiplier > 0, following, unit)
    return jax.lax.stop_gradient(jnp.where(some, following, multiplier))


def _unit(
    returns: Float[Array, " K"], counts: Bool[Array, " K"], cost: Float[Array, " K"]
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The range of returns per median violation, and whether some plans violate something and others do not.

    The median, because a single plan that diverges would dominate a mean.
    """
    violating = counts & (cost > 0) & jnp.isfinite(cost)
    number = violating.sum()
    most, least = (jnp.where(counts, returns, sign * jnp.inf) for sign in (-1.0, 1.0))
    spread = most.max() - least.min()
    median = jnp.sort(jnp.where(violating, cost, jnp.inf))[jnp.maximum(number - 1, 0) // 2]
    some = (number > 0) & (counts & (cost <= 0)).any()
    unit = jnp.where(spread > 0, spread, 1.0) / jnp.where(number > 0, median, 1.0)
    return jnp.where(some, unit, 1.0), some


def _raised(
    share: Any,
    returns: Float[Array, " K"],
    counts: Bool[Array, " K"],
    cost: Float[Array, " K"],
    multiplier: Float[Array, ""],
) -> Float[Array, ""]:
    """μ: doubled until plans that violate something have little weight, and let down a little where they have less.

    Rollouts are known before weights are, so that it need not wait for the next iteration. It stays within bounds
    that follow the unit of rewards and of violations, and as it was where all plans violate something, or none does.
    """
    unit, some = _unit(returns, counts, cost)
    start = jnp.clip(jnp.where(multiplier > 0, _RELAXED * multiplier, unit), unit / _RANGE, _RANGE * unit)
    raised = jax.lax.while_loop(
        lambda mu: (share(mu) > _SHARE) & (mu < _RANGE * unit), lambda mu: _RAISED * mu, start
    )
    return jnp.where(some, raised, multiplier)


def _ranked(
    returns: Float[Array, " K"],
    valid: Bool[Array, " K"],
    residual: Float[Array, " K"] | None,
    num_rewards: Any,
    violation: Float[Array, " K"],
) -> Regrets:
    """Regrets in lexicographic order: those of plans that violate nothing, and beyond them the others.

    Of the others only the order has a meaning: each greater violation is a level of its own, within which returns
    decide.
    """
    kept = valid & (violation <= 0)
    allowed, plain = (regrets(returns, which, residual, num_rewards) for which in (kept, valid))
    order = jnp.argsort(jnp.where(valid, violation, jnp.inf))
    ordered = violation[order]
    levels = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(ordered[1:] > ordered[:-1])])
    level = jnp.zeros(len(returns), int).at[order].set(levels).astype(returns.dtype)
    worst = plain.regret.max()
    within = plain.regret / jnp.where(worst > plain.rounding, worst, jnp.inf)  # between 0 and 1
    size = jnp.maximum(allowed.regret.max(), 1.0)
    beyond = size * (2.0 + level + 0.5 * within)
    lost = valid & ~kept
    regret = jnp.where(lost, beyond, allowed.regret)
    regret = jnp.where(valid, regret - jnp.min(jnp.where(valid, regret, jnp.inf), initial=jnp.inf), 0.0)
    return Regrets(allowed.best, regret, valid, jnp.where(kept.any(), allowed.rounding, 0.0))
