"""Returns of plans: a scan over time of all plans at once, in blocks that fit the cache, over all devices."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ...dynamics.base import Model, State, Step
from ...dynamics.constraints import violation_probabilities
from ...dynamics.engines import unrolls
from ...dynamics.spaces import action_space
from ..beliefs.protocol import Plans, Policy
from ..checks import check_key, explained
from .blocks import sizes, spread
from .placement import check_placed
from .risk import Risk, as_risk, check_risk
from .simulation import RolloutState, start_rollouts, two_sum


def rollout(
    model: Model,
    key: PRNGKeyArray,
    state: State,
    plans: Plans,
    *,
    num_scenarios: int | None = None,
    common_noise: bool = True,
    risk: Any = None,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> Float[Array, " K"]:
    """The return of each plan, Σ_t (Π_{s<t} γ_s) r_t + (Π γ) value: what follows an end does not count.

    Unless asked otherwise all plans meet the same scenarios (common random numbers). Memory does not grow with the
    horizon.

    Args:
        model: what to imagine with.
        key: of the model's noise, and of the scenarios of a model that has several.
        state: where all plans start.
        plans: [K, H, A].
        num_scenarios: in how many scenarios M, each with its own noise, a plan is tried; None for the model's
            own number (`dynamics.randomized`, `dynamics.ensemble`), 1 for others.
        common_noise: whether all plans meet the same M scenarios. If each has its own, an average inside of the
            exponential exp(R/λ) acts, over many plans, like an expectation partly outside of it (ρ = 1/M).
        risk: the risk measure of the returns in the M scenarios, or its name, see `planners.risk`; None for the mean.
        chunk_size: the greatest number of plans at once on a device; None chooses for the kind of device.
        sharding: how to spread the plans over devices: its mesh, and the first axis of its spec.

    Returns:
        Returns [K], reward units; NaN or infinite where a rollout diverged in any scenario.

    Raises:
        ValueError: if `plans` are no plans, an option is out of its range, or something is on other devices than
            plans are spread over, see `planners.rollouts.place`.
    """
    shape = action_space(model).shape
    if jnp.ndim(plans) != 2 + len(shape) or not len(plans) or jnp.shape(plans)[2:] != shape:
        wanted = ", ".join(["K", "H", *map(str, shape)])
        raise ValueError(f"plans must have shape [{wanted}] with K >= 1, got {jnp.shape(plans)}")
    check_placed(sharding, model=model, key=key, state=state, plans=plans)
    measure = as_risk(risk)
    check_risk(measure, model, num_scenarios)
    key = check_key(key)
    with explained(f"raised while plans were rolled out on {type(model).__name__}", model, state):
        return score(
            model,
            key,
            state,
            plans,
            num_scenarios=num_scenarios,
            common_noise=common_noise,
            risk=measure,
            chunk_size=chunk_size,
            sharding=sharding,
        ).returns


class Scores(NamedTuple):
    """The results of rollouts.

    Attributes:
        returns: [K], reward units; NaN or infinite where a rollout diverged in any scenario.
        residual: what rounding has taken from them, [K]: their differences are those of returns + residual, however
            great they are beside these; None where a risk measure hides it.
        to_go: the rest of them from each step on, [K, H], if asked for.
        to_go_residual: what rounding has taken from these.
        log_prob: Σ_t log p(a_t | s_t), the mean over scenarios, [K], if a policy was given; after an end in the last
            state before it.
        violation: by how much each violates the constraints of the model, [K]; None where it has none.
        violation_to_go: the rest of that from each step on, [K, H], if asked for.
        log_drawn: Σ_t log π(a_t | s_t) in the first scenario, [K], if such a policy was given.
    """

    returns: Float[Array, " K"]
    residual: Float[Array, " K"] | None
    to_go: Float[Array, "K H"] | None
    to_go_residual: Float[Array, "K H"] | None
    log_prob: Float[Array, " K"] | None
    violation: Float[Array, " K"] | None = None
    violation_to_go: Float[Array, "K H"] | None = None
    log_drawn: Float[Array, " K"] | None = None


def score(
    model: Model,
    key: Key[Array, ""],
    state: State,
    plans: Plans,
    *,
    num_scenarios: int | None = None,
    common_noise: bool = True,
    risk: Risk | None = None,
    policy: Callable[..., Any] | None = None,
    drawn_by: Policy | None = None,
    to_go: bool = False,
    differentiable: bool = False,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> Scores:
    """The returns of `rollout`, and more if asked for.

    Args:
        model: see `rollout`.
        key: see `rollout`.
        state: see `rollout`.
        plans: see `rollout`.
        num_scenarios: see `rollout`.
        common_noise: see `rollout`.
        risk: see `rollout`.
        policy: (state, action [A]) -> log p(action | state), a scalar, to sum along each rollout.
        drawn_by: π, a policy that may have drawn plans, see `drawing.draw`.
        to_go: whether to compute the rest of the return from each step on.
        differentiable: whether reverse mode is to go through: steps are then computed anew on the way back, so that
            memory holds states and nothing else, and states are frozen after an end, where derivatives might be
            NaN.
        chunk_size: see `rollout`.
        sharding: see `rollout`.

    Returns:
        The scores.

    Raises:
        ValueError: see `rollout`.
    """
    num_scenarios, block_size = sizes(model, state, num_scenarios, chunk_size, sharding)
    score_block = functools.partial(
        _score,
        num_scenarios=num_scenarios,
        common_noise=common_noise,
        to_go=to_go,
        differentiable=differentiable,
    )
    return spread(score_block, (model, risk, policy, drawn_by, key, state), plans, block_size, sharding)


def _score(
    parts: tuple[Model, Risk | None, Callable[..., Any] | None, Policy | None, Key[Array, ""], State],
    plans: Plans,
    first: Int[Array, ""],
    *,
    num_scenarios: int,
    common_noise: bool,
    to_go: bool,
    differentiable: bool,
) -> Scores:
    """Roll plans out, all at once; `first` is the number of the first of them."""
    (model, risk, policy, drawn_by, key, state), (num_plans, horizon) = parts, plans.shape[:2]
    rollouts = start_rollouts(
        model,
        key,
        state,
        num_plans,
        horizon,
        first,
        num_scenarios=num_scenarios,
        common_noise=common_noise,
        policy=policy,
        drawn_by=drawn_by,
        freeze=differentiable,
    )

    # A scan of vmaps, not a vmap of a scan: that would trace the model once and then batch it, at the cost of both.
    def body(at: RolloutState, now: tuple[Array, Array]) -> tuple[RolloutState, Any]:
        after, gain = rollouts.advance(rollouts.models, now[0], at, now[1])
        return after, (gain, at.violations) if to_go else None

    def known(at: RolloutState, now: tuple[Array, Step]) -> tuple[RolloutState, Any]:
        after, gain = rollouts.replay(at, *now)
        return after, (gain, at.violations) if to_go else None

    if differentiable:
        body = jax.checkpoint(body, prevent_cse=False)  # which a scan does by itself
    if unrolls(model):
        this: Any = model
        steps = this.unroll(rollouts.first(rollouts.start.state), plans)
        steps = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), steps)
        end, history = jax.lax.scan(known, rollouts.start, (plans.swapaxes(0, 1), steps))
    else:
        end, history = jax.lax.scan(body, rollouts.start, (rollouts.keys, plans.swapaxes(0, 1)))
    gains, before = (None, None) if history is None else history
    totals, lost = rollouts.sum_with(lambda model, state: model.value(state))(rollouts.models, end)
    returns, residual = rollouts.compared(risk, totals, lost)
    remain: tuple[Array | None, Array | None] = None, None
    if gains is not None:  # summed from the end: a difference of returns would be all rounding where little remains

        def add(after: tuple[Array, Array], gain: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            total, lost = two_sum(after[0], gain)
            return (total, after[1] + lost), (total, after[1] + lost)

        beyond = (totals - end.total) + (lost - end.residual)
        _, remaining = jax.lax.scan(add, (beyond, jnp.zeros_like(beyond)), gains, reverse=True)
        remain = rollouts.compared(risk, *(jnp.moveaxis(leaf, 0, 1) for leaf in remaining))
    log_prob = None if end.log_prob is None else rollouts.mean(end.log_prob)
    epsilons, violated = violation_probabilities(model), end.violations
    if before is not None and violated is not None:  # what is violated beyond measure stays so
        before = jnp.moveaxis(jnp.where(jnp.isfinite(violated), violated - before, jnp.inf), 0, 1)
    kept = tuple(rollouts.violation(epsilons, sums) for sums in (violated, before))
    log_drawn = None if end.log_drawn is None else rollouts.first(end.log_drawn)
    return Scores(returns, residual, *remain, log_prob, *kept)._replace(log_drawn=log_drawn)
