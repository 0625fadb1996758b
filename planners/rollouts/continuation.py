"""The value of a state by trying: what a policy earns from there on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...dynamics.base import Model, State, check_model
from ...dynamics.checks import integer, scalar
from ...dynamics.pytrees import pytree, static, traceable
from ...dynamics.spaces import action_space
from .simulation import frozen_if, masked_step, with_new_noise


@pytree
class Continuation:
    """What a policy earns in a number of steps. Make one with `continuation`.

    It is a function of states, their value: `dynamics.with_value(model, continuation(model, policy, num_steps))`.

    Attributes:
        model: that the policy acts in.
        policy: state -> action [A], on the scale of plans.
        num_steps: how many steps count.
    """

    model: Model
    policy: Callable[..., Any]
    num_steps: int = static()

    def __call__(self, state: State) -> Float[Array, ""]:
        """The return Σ_t w_t r_t + w_n V(x_n) of n steps of the policy, w_t the product of the discounts before t.

        Raises:
            ValueError: if the policy returns no action of the model.
        """
        shape = action_space(self.model).shape
        key = jax.random.key(0)  # the same for all states, so that they are compared under the same noise

        def advance(
            carry: tuple[State, Array, Array], step_key: Key[Array, ""]
        ) -> tuple[tuple[State, Array, Array], None]:
            at, weight, total = carry
            action = jnp.asarray(self.policy(at))
            if action.shape != shape:
                raise ValueError(f"policy must return an action of shape {shape}, got {action.shape}")
            step = masked_step(self.model, (step_key, action), at, weight)
            after = frozen_if(weight == 0, at, step.state)
            return (after, weight * step.discount, total + weight * step.reward), None

        start = (with_new_noise(self.model, key, state), jnp.ones(()), jnp.zeros(()))
        (last, weight, total), _ = jax.lax.scan(advance, start, jax.random.split(key, self.num_steps))
        beyond = scalar("value", self.model.value(last))
        return total + weight * jnp.where(weight == 0, 0.0, beyond)


def continuation(model: Model, policy: Callable[..., Any], num_steps: int) -> Continuation:
    """The value of a state as what a policy earns from there on, found by simulating it.

    As the value beyond the horizon of a planner it makes a plan worth what can still be earned by a policy that is
    known to be safe, however crude: a brake, a posture held, a regulator. A planner with it does better than the
    policy alone (the rollout algorithm of Bertsekas, Tsitsiklis & Wu, 1997). Unlike a quadratic value it sees ends,
    contacts and the actuators' range. Each plan costs so many steps more.

    Args:
        model: what to imagine with, with a value of its own or without. Of an ensemble give the member to trust.
        policy: state -> action [A], on the scale of plans, which a model with a range clips to [-1, 1]; a scalar
            integer where actions are discrete. A callable pytree (a network with weights), or a method of one
            (`regulator.mean`), stays traced. One that could do more, as a gentle brake, leaves a margin.
        num_steps: how many steps to go on, >= 1.

    Returns:
        The value, for `dynamics.with_value`; with the derivatives of the model, if it has any.

    Raises:
        ValueError: if `model` is no model, `policy` is not callable, or `num_steps` < 1.
    """
    if not callable(policy):
        raise ValueError(f"policy must be callable, got {policy!r}")
    return Continuation(check_model("model", model), traceable(policy), integer("num_steps", num_steps, 1))
