"""The value of a state by simulation: what a policy earns from there on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...dynamics.base import Model, State, check_model, scenario_count
from ...dynamics.checks import integer, scalar
from ...dynamics.pytrees import pytree, static, traceable
from ...dynamics.spaces import action_space
from .ends import frozen_step
from .simulation import with_new_noise


@pytree
class Continuation:
    """What a policy earns in a number of steps. Make one with `continuation`.

    It is a function of states, their value: `dynamics.with_value(model, continuation(model, policy, num_steps))`.

    Attributes:
        model: that the policy acts in.
        policy: state -> action [A], on the scale of plans.
        num_steps: how many steps count.
        num_samples: over how many draws of the model's noise the return is averaged.
    """

    model: Model
    policy: Callable[..., Any]
    num_steps: int = static()
    num_samples: int = static()

    def __call__(self, state: State) -> Float[Array, ""]:
        """The mean return of the policy, Σ_t w_t r_t + w_n V(x_n), w_t the product of the discounts before t.

        Raises:
            ValueError: if the policy returns no action of the model.
        """
        # The same draws for all states, so that these are compared under the same noise; and none that a user takes.
        key = jax.random.fold_in(jax.random.key(0), _OWN)
        if self.num_samples == 1:
            return self._sample(key, state)
        return jax.vmap(self._sample, in_axes=(0, None))(jax.random.split(key, self.num_samples), state).mean()

    def _sample(self, key: Key[Array, ""], state: State) -> Float[Array, ""]:
        shape = action_space(self.model).shape

        def advance(carry: tuple[State, Array, Array], step_key: Array) -> tuple[tuple[State, Array, Array], None]:
            at, weight, total = carry
            action = jnp.asarray(self.policy(at))
            if action.shape != shape:
                raise ValueError(f"policy must return an action of shape {shape}, got {action.shape}")
            step = frozen_step(self.model, (step_key, action), at, weight)
            return (step.state, weight * step.discount, total + weight * step.reward), None

        start = (with_new_noise(self.model, key, state), jnp.ones(()), jnp.zeros(()))
        advance = jax.checkpoint(advance, prevent_cse=False)  # or derivatives would keep what is within a step
        (last, weight, total), _ = jax.lax.scan(advance, start, jax.random.split(key, self.num_steps))
        beyond = scalar("value", self.model.value(last))
        return total + weight * jnp.where(weight == 0, 0.0, beyond)


_OWN = 2**31 - 1  # what keys of users' noise are unlikely to be folded with


def continuation(model: Model, policy: Callable[..., Any], num_steps: int, *, num_samples: int = 1) -> Continuation:
    """The value of a state as what a policy earns from there on, by simulation.

    As the value beyond the horizon of a planner it makes a plan worth what can still be earned by a policy that is
    known to be safe, however crude: a brake, a posture held, a regulator. This is the rollout algorithm (Bertsekas,
    Tsitsiklis & Wu, 1997), which improves on that policy. Unlike a quadratic value it sees ends, contacts and the
    actuators' range. Each plan costs `num_steps` more steps of the model, times `num_samples`.

    Args:
        model: what to imagine with, with a value of its own or without.
        policy: state -> action, an array [A] on the scale of plans, which a model with a range clips to [-1, 1]; a
            scalar integer where actions are discrete. A callable pytree (a network with weights), or a method of one
            (`regulator.mean`), stays traced. A policy that does less than the actuators can, such as a gentle brake,
            leaves a margin.
        num_steps: how many steps to go on, >= 1; enough for the policy to reach safety.
        num_samples: over how many draws of the model's noise to average, >= 1. They are the same for all states. One
            is enough without noise; with noise it promises what one lucky draw may give.

    Returns:
        The value, for `dynamics.with_value`; with the derivatives of the model, if it has any.

    Raises:
        ValueError: if `model` is no model, or one with scenarios (an ensemble has the values of its members, as in
            `ensemble([with_value(m, continuation(m, policy, 20)) for m in members])`), `policy` is not callable, or a
            number is < 1.
    """
    if not callable(policy):
        raise ValueError(f"policy must be a function of a state, such as policy.mode, got {type(policy).__name__}")
    if scenario_count(check_model("model", model)) is not None:
        raise ValueError(
            f"model must be the same in all scenarios, got {type(model).__name__}: give each member of an ensemble "
            "its own value, and take the model underneath of a randomized one"
        )
    steps, samples = integer("num_steps", num_steps, 1), integer("num_samples", num_samples, 1)
    return Continuation(model, traceable(policy), steps, samples)
