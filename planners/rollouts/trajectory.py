"""One plan, step by step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from ...dynamics.base import Model, State, Step, scenario_count
from ...dynamics.checks import scalar
from ...dynamics.constraints import violations, watched_step
from ...dynamics.engines import unrolls
from ...dynamics.spaces import action_space
from ..beliefs.protocol import Plan
from ..checks import check_key, explained
from .ends import masked
from .simulation import draw_scenarios, with_new_noise


class Trajectory(NamedTuple):
    """One plan, step by step.

    Attributes:
        states: after each step, the model's pytree with a leading axis H.
        rewards: [H]; zero after an end.
        discounts: [H]; zero from an end on.
        value: of the last state, a scalar; zero after an end.
        violations: by how much each step violates each constraint of the model, [H, C]; None where it has none.
    """

    states: State
    rewards: Float[Array, " H"]
    discounts: Float[Array, " H"]
    value: Float[Array, ""]
    violations: Float[Array, "H C"] | None = None


def trajectory(model: Model, key: PRNGKeyArray, state: State, plan: Plan) -> Trajectory:
    """Follow one plan and keep what happens on the way; vmap it for several.

    Args:
        model: what to imagine with; of a model that has several scenarios the first.
        key: of the model's noise; the same key gives the same noise as in `rollout`, there of the first scenario.
        state: where the plan starts.
        plan: [H, A].

    Returns:
        States, rewards and discounts of the H steps, and the value of the last state.

    Raises:
        ValueError: if `plan` is not one plan.
    """
    shape = action_space(model).shape
    if jnp.ndim(plan) != 1 + len(shape) or jnp.shape(plan)[1:] != shape:
        wanted = ", ".join(["H", *map(str, shape)])
        raise ValueError(f"plan must have shape [{wanted}] (vmap over several), got {jnp.shape(plan)}")

    key = check_key(key)
    with explained(f"raised while a plan was followed on {type(model).__name__}", model, state):
        return _follow(model, key, state, plan)


def _follow(model: Model, key: Key[Array, ""], state: State, plan: Plan) -> Trajectory:
    def body(carry: tuple[State, Array], inputs: tuple[Array, Array]) -> tuple[tuple[State, Array], tuple[Step, Any]]:
        state, weight = carry
        return follow(weight, *watched_step(model, inputs[0], state, inputs[1]))

    def replay(
        carry: tuple[State, Array], inputs: tuple[Array, Step]
    ) -> tuple[tuple[State, Array], tuple[Step, Any]]:
        (state, weight), (action, step) = carry, inputs
        return follow(weight, step, violations(model, state, action, step.state))

    def follow(weight: Array, step: Step, violated: Any) -> tuple[tuple[State, Array], tuple[Step, Any]]:
        step, violated = masked(step, weight), None if violated is None else jnp.where(weight == 0, 0.0, violated)
        return (step.state, weight * step.discount), (step, violated)

    whole = model
    if scenario_count(model) is not None:
        key, models = draw_scenarios(model, key, scenario_count(model) or 1)
        model = jax.tree.map(lambda leaf: leaf[0], models)
    state = with_new_noise(whole, key, state)
    keys = jax.random.split(key, len(plan))
    start = (state, jnp.ones(()))
    if unrolls(model):
        this: Any = model
        one = this.unroll(jax.tree.map(lambda leaf: leaf[None], state), plan[None])
        known = jax.tree.map(lambda leaf: leaf[0], one)
        (state, weight), (steps, violated) = jax.lax.scan(replay, start, (plan, known))
    else:
        (state, weight), (steps, violated) = jax.lax.scan(body, start, (keys, plan))
    value = jnp.where(weight == 0, 0.0, scalar("value", model.value(state)))
    return Trajectory(steps.state, steps.reward, steps.discount, value, violated)
