"""Many rollouts, step by step: the models, keys and scenarios that they share, and those that each has for itself."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State, Step, checked_step, scenario_count, scenarios
from ...dynamics.checks import scalar
from ...dynamics.constraints import constraint_names, summed, violations, watched_step
from ...dynamics.randomness import redraw
from ..beliefs.protocol import Policy
from ..checks import check_key
from .ends import frozen_if
from .risk import Risk, across, chance_constrained


class RolloutState(NamedTuple):
    """Where a rollout is.

    Attributes:
        state: of the model.
        weight: the product of the discounts so far, by which what follows is weighed.
        total: the weighted sum of the rewards so far.
        residual: what rounding has taken from it, so that great sums can be compared to the last digit of rewards.
        log_prob: log p of the actions so far, where a policy gives it; else None.
        violations: of each constraint so far, their sums; None where the model has none.
        log_drawn: log π of the actions so far, of a policy that draws some plans; None where there is none.
    """

    state: State
    weight: Float[Array, "..."]
    total: Float[Array, "..."]
    residual: Float[Array, "..."]
    log_prob: Float[Array, "..."] | None
    violations: Float[Array, "... C"] | None = None
    log_drawn: Float[Array, "..."] | None = None


_Axes = tuple[int | None, int | None]  # along plans, along scenarios
_NO_AXES: _Axes = (None, None)
_STATES = 2**31 - 1  # beyond the numbers of steps: the keys of those are folded in the same way


class Rollouts(NamedTuple):
    """K rollouts under way, in M scenarios each.

    Attributes:
        models: of the rollouts.
        keys: of the noise of each step, with a leading axis H.
        own_models: whether each has models of its own, along the first axis of `models`.
        own_keys: whether each has noise of its own, along the second axis of `keys`.
        one: whether there is one scenario, without an axis of its own.
        start: their states, with a leading axis K.
        advance: (models, keys of the step, at, actions [K, A]) -> (at, gains).
        replay: (at, actions [K, A], steps [K]) -> (at, gains), of steps that are known.
        sum_with: of a function (model, state) -> value makes one of (models, at) -> the total with that value, and
            what rounding has taken from it.
    """

    models: Any
    keys: Array
    own_models: bool
    own_keys: bool
    one: bool
    start: RolloutState
    advance: Callable[..., tuple[RolloutState, Array]]
    replay: Callable[..., tuple[RolloutState, Array]]
    sum_with: Callable[[Callable[..., Any]], Callable[..., tuple[Array, Array]]]

    def risk_adjusted(self, risk: Risk | None, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """The risk measure of values over the scenarios."""
        return values if self.one else across(risk, values)

    def total_with(self, value: Callable[..., Any]) -> Callable[..., Array]:
        """As `sum_with`, without what rounding has taken."""
        return lambda models, at: self.sum_with(value)(models, at)[0]

    def compared(
        self, risk: Risk | None, totals: Float[Array, "..."], residuals: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."] | None]:
        """The risk measure of sums over the scenarios, and what rounding has taken; None where a measure hides it."""
        values, lost = totals, residuals
        if not self.one:
            values = across(risk, totals)
            if risk is not None:
                return values, None
            first = totals[..., :1]  # from the first scenario on, or the mean would round once more
            apart = jnp.where(jnp.isfinite(totals), (totals - first) + residuals, 0.0).mean(-1)
            mean, lost = two_sum(first[..., 0], apart)
            values = jnp.where(jnp.isfinite(values), mean, values)
        return values, jnp.where(jnp.isfinite(values) & jnp.isfinite(lost), lost, 0.0)

    def violation(
        self, probabilities: Float[Array, " C"] | None, violations: Float[Array, "... C"] | None
    ) -> Float[Array, "..."] | None:
        """Σ over constraints of what counts of their violations over the scenarios; None where there are none."""
        if violations is None or probabilities is None:
            return None
        return violations.sum(-1) if self.one else chance_constrained(probabilities, violations).sum(-1)

    def mean(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """The mean over the scenarios."""
        return values if self.one else values.mean(-1)

    def ended(self, at: RolloutState) -> Bool[Array, " K"]:
        """Which rollouts have ended in all scenarios."""
        return at.weight == 0 if self.one else (at.weight == 0).all(-1)

    def first(self, state: State) -> State:
        """States, or other values, in the first scenario."""
        return state if self.one else jax.tree.map(lambda leaf: leaf[:, 0], state)


def start_rollouts(
    model: Model,
    key: Key[Array, ""],
    state: State,
    num_rollouts: int,
    horizon: int,
    first: Int[Array, ""],
    *,
    num_scenarios: int,
    common_noise: bool,
    policy: Callable[..., Any] | None = None,
    drawn_by: Policy | None = None,
    freeze: bool = False,
) -> Rollouts:
    """Start K rollouts.

    Args:
        model: what to imagine with.
        key: of the model's noise, and of the scenarios of a model that has several.
        state: where all start.
        num_rollouts: K.
        horizon: the number H of steps.
        first: the number of the first of them, where others are elsewhere.
        num_scenarios: M.
        common_noise: whether all meet the same scenarios.
        policy: (state, action [A]) -> log p(action | state), to sum along each rollout.
        drawn_by: a policy whose log-density to sum along each rollout, too.
        freeze: whether states are frozen after an end; they are where there is a policy.

    Returns:
        The rollouts.
    """
    freeze = freeze or policy is not None or drawn_by is not None
    key, names = check_key(key), constraint_names(model)

    def advance(model: Model, key: Array, at: RolloutState, action: Array) -> tuple[RolloutState, Array]:
        return record(at, action, *watched_step(model, key, at.state, action))

    def replay(at: RolloutState, action: Array, result: Step) -> tuple[RolloutState, Array]:
        step = checked_step(result, at.state)
        return record(at, action, step, violations(model, at.state, action, step.state))

    def record(at: RolloutState, action: Array, step: Step, violated: Any) -> tuple[RolloutState, Array]:
        violated = summed(at.violations, violated, at.weight == 0)
        weight = _continued(at.weight, step.discount)
        gain = jnp.where(at.weight == 0, 0.0, at.weight * jnp.asarray(step.reward, at.weight.dtype))
        state, log_prob, log_drawn = step.state, None, None
        if freeze:
            # After an end the policy stays in the last state before it: actions that are not taken must not be
            # likelier than those that are, or plans would end early to escape the prior.
            state = frozen_if(weight == 0, at.state, step.state)
        if policy is not None and at.log_prob is not None:
            log_prob = at.log_prob + scalar("log p of a policy", policy(at.state, action))
        if drawn_by is not None and at.log_drawn is not None:
            log_drawn = at.log_drawn + scalar("log_prob of the policy", drawn_by.log_prob(at.state, action))
        total, lost = two_sum(at.total, gain)
        return RolloutState(state, weight, total, at.residual + lost, log_prob, violated, log_drawn), gain

    # What holds in the scenarios: along an axis of its own, which plans share unless each has its own noise.
    own = None if common_noise else jax.vmap(lambda n: jax.random.fold_in(key, n))(first + jnp.arange(num_rollouts))
    models, model_axes = model, _NO_AXES
    if scenario_count(model) is not None:
        draw = functools.partial(draw_scenarios, model, num_scenarios=num_scenarios)
        if own is None:
            (key, models), model_axes = draw(key), (None, 0)
        else:
            (own, models), model_axes = jax.vmap(draw)(own), (0, 0)
    if own is None:
        keys, key_axis = _scenario_keys(key, num_scenarios, horizon), None
    else:
        keys, key_axis = jax.vmap(lambda k: _scenario_keys(k, num_scenarios, horizon), out_axes=1)(own), 0
        keys = jax.random.clone(keys)  # they were transposed, no more; but JAX takes that for a use

    one = num_scenarios == 1 and model_axes == _NO_AXES  # without an axis of length 1, which costs a little
    if one:
        keys = keys[..., 0]
    else:
        advance = jax.vmap(advance, in_axes=(model_axes[1], 0, 0, None))
        replay = jax.vmap(replay, in_axes=(0, None, None))  # without noise, all scenarios are the same

    def start(key: Array) -> RolloutState:
        def in_scenario(number: Any) -> RolloutState:
            begun = with_new_noise(model, key, state, number)
            nothing = jnp.zeros(())
            kept = None if names is None else jnp.zeros(len(names))
            log_prob, log_drawn = (None if given is None else nothing for given in (policy, drawn_by))
            return RolloutState(begun, jnp.ones(()), nothing, nothing, log_prob, kept, log_drawn)

        return in_scenario(0) if one else jax.vmap(in_scenario)(jnp.arange(num_scenarios))

    if own is None:
        shared = start(key)
        starts = jax.vmap(lambda _: shared)(jnp.arange(num_rollouts))
    else:
        starts = jax.vmap(start)(own)

    def sum_with(value: Callable[..., Any]) -> Callable[..., tuple[Array, Array]]:
        def of(model: Model, at: RolloutState) -> tuple[Float[Array, ""], Float[Array, ""]]:
            rest = at.weight * jnp.where(at.weight == 0, 0.0, scalar("value", value(model, at.state)))
            total, lost = two_sum(at.total, rest)
            return total, at.residual + lost

        in_scenarios = of if one else jax.vmap(of, in_axes=(model_axes[1], 0))
        return jax.vmap(in_scenarios, in_axes=(model_axes[0], 0))

    return Rollouts(
        models=models,
        keys=keys,
        own_models=model_axes[0] == 0,
        own_keys=key_axis == 0,
        one=one,
        start=starts,
        advance=jax.vmap(advance, in_axes=(model_axes[0], key_axis, 0, 0)),
        replay=jax.vmap(replay),
        sum_with=sum_with,
    )


def with_new_noise(model: Model, key: Key[Array, ""], state: State, scenario: Any = 0) -> State:
    """The state in which a rollout starts: its noise is drawn anew, since a planner must not know the future.

    Args:
        model: whose state it is.
        key: of the noise of a rollout, that of its steps.
        state: what a plan starts from.
        scenario: its number, from 0; each has noise of its own.
    """
    return redraw(model, jax.random.fold_in(jax.random.fold_in(key, _STATES), scenario), state)


def two_sum(a: Float[Array, "..."], b: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The sum as it is rounded, and what rounding takes from it (Knuth, 1969): a + b = sum + rest, exactly."""
    total = a + b
    of_b = total - a
    return total, jax.lax.stop_gradient((a - (total - of_b)) + (b - of_b))


def _continued(weight: Float[Array, ""], discount: Any) -> Float[Array, ""]:
    """The weight of what follows; after an end 0, whatever the discount is: 0 · NaN would be NaN.

    It is written so that a compiler can see that weights never change where discounts are the constant 1.
    """
    discount = jnp.asarray(discount, weight.dtype)
    return weight * jnp.where(jnp.isfinite(discount) | (weight != 0), discount, 0.0)


def draw_scenarios(model: Model, key: Key[Array, ""], num_scenarios: int) -> tuple[Array, Any]:
    """A key of the noise, and the models that hold in the scenarios."""
    noise_key, model_key = jax.random.split(key)
    return noise_key, scenarios(model, model_key, num_scenarios)


def _scenario_keys(key: Key[Array, ""], num_scenarios: int, horizon: int) -> Key[Array, "H M"]:
    """The keys of each step in each scenario; those of the first scenario are those of a rollout in one."""
    steps = jax.random.split(key, horizon)
    if num_scenarios == 1:
        return steps[:, None]
    apart = jax.random.split(jax.random.fold_in(key, horizon), horizon)  # none of these are `steps`
    others = jax.vmap(lambda step: jax.random.split(step, num_scenarios - 1))(apart)
    return jnp.concatenate([steps[:, None], others], axis=1)
