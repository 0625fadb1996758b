"""Whether the plan of a network does: what a few tries tell, in one number."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ...dynamics.base import Model, State, scenario_count
from ...dynamics.checks import check_unused, choice, integer, real
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import action_space
from ..beliefs.protocol import Plan, Plans
from ..particles.tempering import Tempering
from ..rollouts.settings import RolloutSettings
from ..sampling.incumbent import Incumbent
from ..sampling.likelihoods import Exponential
from ..sampling.loop import SamplingPlanner
from ..sampling.priors import policy_of, rebind_prior
from ..sampling.weights import effective_sample_size, log_normalize

# what it is called in `info`; above the threshold it is planned, of an effective sample size below
CRITERIA = {"regret": "regret", "elbo": "network_gap", "ess": "network_ess", "disagreement": "disagreement"}
BY_DENSITY = ("elbo", "ess")
_TRIES, _DRAWS = 8, 64  # how many plans are tried, unless it is given: to compare them, and for evidences


class Trial(NamedTuple):
    """What a network's plan is tried with.

    Attributes:
        planner: whose model of returns, and posterior, counts.
        prior: p of that; None for q_φ itself.
        temperature: λ of it; None for a criterion that needs none.
        num_tries: how many plans are tried.
        said: q_φ in this state.
        found: what the planner believes.
        left: what is left of the plan before, [H, A].
    """

    planner: SamplingPlanner
    prior: Any
    temperature: Float[Array, ""] | None
    num_tries: int
    said: Any
    found: Incumbent
    left: Plan

    @property
    def rollouts(self) -> RolloutSettings:
        """How plans are rolled out."""
        return self.planner.evaluator.rollouts


class Judged(NamedTuple):
    """What came of it.

    Attributes:
        measure: the number that the threshold is compared with.
        plan_return: of the network's plan; −∞ where it is not finite.
        known: whether the measure is one; where not, it must be planned.
    """

    measure: Float[Array, ""]
    plan_return: Float[Array, ""]
    known: Bool[Array, ""]


@pytree
class _Spread:
    """The standard deviation of the returns of a plan over scenarios, in the place of a measure of risk."""

    def __call__(self, returns: Float[Array, " M"]) -> Float[Array, ""]:
        """(Σ (R − mean)²/M)^½."""
        return returns.std()


def judge(criterion: str, trial: Trial, model: Model, key: Key[Array, ""], state: State) -> Judged:
    """Judge a network's plan.

    Args:
        criterion: one of `CRITERIA`.
        trial: what with.
        model: to imagine with.
        key: of plans and noise.
        state: where it is.

    Returns:
        The measure, and the return of the plan.
    """
    if criterion in BY_DENSITY:
        return _by_density(criterion, trial, model, key, state)
    draw_key, noise_key = jax.random.split(key)
    plans = _tries(trial, draw_key)
    returns = trial.rollouts.score(model, noise_key, state, plans).returns
    known = jnp.isfinite(returns)
    best = jnp.where(known, returns, -jnp.inf)
    if criterion == "regret":
        measure = jnp.where(known[0], best.max() - jnp.where(known[0], best[0], 0.0), jnp.inf)
        return Judged(measure, best[0], known[0])
    # by how much do scenarios differ about the network's plan, beside how plans differ? the same noise for both
    spread = dataclasses.replace(trial.rollouts, risk=_Spread())
    apart = spread.score(model, jax.random.clone(noise_key), state, plans[:1]).returns[0]
    number = jnp.maximum(known.sum(), 1)
    about = jnp.where(known, returns, 0.0).sum() / number
    between = jnp.sqrt(jnp.where(known, (returns - about) ** 2, 0.0).sum() / number)
    measure = jnp.where(apart > 0, apart / between, 0.0)
    certain = known[0] & jnp.isfinite(apart)
    return Judged(jnp.where(certain, measure, jnp.inf), best[0], certain)


def _tries(trial: Trial, key: Key[Array, ""]) -> Plans:
    """The network's plan, what is left of the one before, samples of q_φ, and as many of the planner's belief."""
    plans, near = [trial.said.mode()[None], trial.left[None]], trial.num_tries // 2 - 1
    near_key, wide_key = jax.random.split(key)
    if near:
        plans.append(trial.said.sample(near_key, near))
    if (wide := trial.num_tries - 2 - near) > 0:
        plans.append(trial.found.sample(wide_key, wide))
    return jnp.concatenate(plans)


def _by_density(criterion: str, trial: Trial, model: Model, key: Key[Array, ""], state: State) -> Judged:
    """How far q_φ is from the posterior, by plans that are drawn from it: lr = R/λ + log p − log q_φ."""
    draw_key, noise_key = jax.random.split(key)
    drawn = trial.said.sample(draw_key, trial.num_tries - 1)
    plans = jnp.concatenate([trial.said.mode()[None], drawn])
    prior = trial.prior
    scores = trial.rollouts.score(model, noise_key, state, plans, policy=policy_of(prior))
    assert trial.temperature is not None  # see `temperature_of`
    log_ratios = scores.returns[1:] / trial.temperature
    if prior is not None:
        log_ratios += prior.log_ratio(drawn, trial.said)
        log_ratios += 0.0 if scores.log_prob is None else scores.log_prob[1:]
    valid = jnp.isfinite(log_ratios)
    weighed = log_normalize(jnp.where(valid, log_ratios, -jnp.inf))
    number = jnp.maximum(valid.sum(), 1)
    first = scores.returns[0]
    plan_return, known = jnp.where(jnp.isfinite(first), first, -jnp.inf), jnp.isfinite(first) & ~weighed.degenerate
    if criterion == "ess":  # (Σ w)²/Σ w², as a share of the plans that were drawn
        share = effective_sample_size(jnp.exp(weighed.log_weights)) / len(drawn)
        return Judged(jnp.where(known, share, 0.0), plan_return, known)
    # log p(O) − E_q lr, of those that are valid: KL(q_φ ‖ posterior)
    gap = weighed.log_total - jnp.log(number) - jnp.where(valid, log_ratios, 0.0).sum() / number
    return Judged(jnp.where(known, jnp.maximum(gap, 0.0), jnp.inf), plan_return, known)


def must_plan(criterion: str, judged: Judged, threshold: Float[Array, ""]) -> Any:
    """Whether it must be planned.

    Args:
        criterion: one of `CRITERIA`.
        judged: what came of the tries.
        threshold: of the measure.
    """
    enough = judged.measure >= threshold if criterion == "ess" else judged.measure <= threshold
    return ~judged.known | ~enough


def prior_of(planner: SamplingPlanner, model: Model, found: Incumbent) -> Any:
    """The prior of a sampling planner, bound; None where it has none.

    Args:
        planner: whose.
        model: whose actions are planned.
        found: what it believes.
    """
    own = getattr(planner.evaluator, "prior", None)
    return None if own is None else rebind_prior(own, found.initial.prior, found.belief, action_space(model))


def temperature_of(criterion: str, planner: SamplingPlanner, temperature: Any) -> Float[Array, ""] | None:
    """λ of the posterior that a criterion compares with, or a `ValueError` where it is neither given nor known.

    Args:
        criterion: one of `CRITERIA`.
        planner: whose likelihood may have one.
        temperature: that was given, or None.
    """
    if criterion not in BY_DENSITY:
        check_unused(f"criterion {criterion!r} knows no posterior", temperature=temperature)
        return None
    if temperature is not None:
        return real("temperature", temperature, above=0.0)
    evaluator: Any = planner.evaluator
    match evaluator.likelihood:
        case Exponential(temperature=known, standardize=False, by_range=False) if known is not None:
            return known
        case Tempering(temperature=known) if known is not None:
            return known
    raise ValueError(
        f"temperature must be given for criterion {criterion!r}: {planner.name} has none in reward units that stays, "
        "got None"
    )


def tries_of(criterion: Any, num_tries: Any, threshold: Any) -> tuple[int, Float[Array, ""]]:
    """The number of tries and the threshold of a criterion, or a `ValueError` for one outside its range.

    Args:
        criterion: one of `CRITERIA`.
        num_tries: as given; None for 8, or 64 of which evidences are estimated.
        threshold: as given.
    """
    choice("criterion", criterion, tuple(CRITERIA))
    dense = criterion in BY_DENSITY
    number = (_DRAWS if dense else _TRIES) if num_tries is None else integer("num_tries", num_tries, 2 + dense)
    if isinstance(threshold, float) and threshold == math.inf and criterion != "ess":
        return number, jnp.full((), jnp.inf)
    limit = real("threshold", threshold, minimum=0.0, maximum=1.0 if criterion == "ess" else None)
    if criterion == "elbo" and not isinstance(limit, jax.core.Tracer) and float(limit) >= math.log(number - 1):
        raise ValueError(
            f"threshold must be below log(num_tries − 1) = {math.log(number - 1):.3g} nats, the greatest gap that so "
            f"many plans can show, or infinite, got {float(limit):g}"
        )
    return number, limit


def check_scenarios(criterion: str, rollouts: RolloutSettings, model: Model) -> None:
    """Raise a `ValueError` where scenarios are to disagree, and there is but one.

    Args:
        criterion: one of `CRITERIA`.
        rollouts: of the planner.
        model: whose number of scenarios counts where none is given.
    """
    if criterion == "disagreement" and (rollouts.num_scenarios or scenario_count(model) or 1) == 1:
        raise ValueError(
            "criterion 'disagreement' compares the returns of a plan in several scenarios: give the planner "
            "num_scenarios, or a model that has several (dynamics.ensemble, a learned one), got 1"
        )
