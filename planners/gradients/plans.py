"""Gradient ascent on plans: each climbs its own objective."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ...dynamics.actions import action_limit
from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, action_space
from ..beliefs.protocol import Plans
from ..differentiation import Equations, constant
from ..rollouts.ends import reuse_noise
from .ascent import Climb
from .objective import Target
from .points import Points

_INSIDE = 1.0 - 1e-6  # of the actuators' range, where a clip has a derivative


@pytree
class PlanAscent:
    """Each of several plans climbs its objective.

    Attributes:
        target: the objective.
        limit: how far actions may go where they are clipped, a scalar; None for elsewhere.
        locks: which numbers of a plan do not move, [H, A]; None until it is `prepared`.
        bounds: "clip" projects plans onto the range after each step, "squash" optimises z of a = tanh z, "none" lets
            them go; None follows the model.
    """

    target: Target
    limit: Float[Array, ""] | None
    locks: Bool[Array, "H A"] | None
    bounds: str | None = static()

    def check(self, belief: Any, space: ActionSpace) -> None:
        """Raise a `ValueError` if the prior is over other plans."""
        self.target.bound(belief, space)

    def prepared(self, model: Model, state: State, belief: Points) -> "PlanAscent":
        """The same where the shape of plans and the range of actions are known."""
        limit = jnp.ones(()) if self.bounds == "clip" else None
        if self.bounds is None:
            limit = action_limit(model, reuse_noise(state))
        target = self.target.bound(belief, action_space(model))
        limit = None if limit is None else constant(limit)
        return dataclasses.replace(self, target=target, limit=limit, locks=belief.locks)

    def aimed(self, target: Target) -> "PlanAscent":
        """The same with another target."""
        return dataclasses.replace(self, target=target)

    @property
    def keeps_best(self) -> bool:
        """Each plan ends as the best that it has been."""
        return True

    def parameters(self, key: Key[Array, ""], belief: Points) -> Plans:
        """The plans, all but the first moved by noise; of squashed ones z."""
        plans = belief.scattered(key)
        return jnp.arctanh(jnp.clip(plans, -0.999, 0.999)) if self.bounds == "squash" else plans

    def climb(
        self, model: Model, noise: Key[Array, ""], key: Key[Array, ""], state: State, parameters: Plans
    ) -> Climb:
        """Objective and slope of each plan."""
        plans, pull_back = jax.vjp(self._plans, parameters)
        slopes = self.target.slopes(model, noise, state, plans)
        assert self.locks is not None  # it is prepared
        (gradients,) = pull_back(jnp.where(self.locks, 0.0, slopes.gradients))
        invalid = (~slopes.valid).sum()
        return Climb(
            slopes.objective, gradients, slopes.valid, slopes.returns, invalid, None, slopes.num_invalid_gradients
        )

    def evaluate(self, model: Model, noise: Key[Array, ""], state: State, parameters: Plans) -> Float[Array, " K"]:
        """The objective of each plan."""
        return self.target.evaluate(model, noise, state, self._plans(parameters))

    def optimality(self, model: Model, noise: Key[Array, ""], state: State, parameters: Plans) -> Equations:
        """What holds at plans that have converged: where no bound holds an action, the objective has no slope."""
        climbed = self.climb(model, noise, jax.random.clone(noise), state, parameters)  # which draws nothing else
        assert self.locks is not None  # it is prepared
        slopes = jnp.where(self.locks, parameters - constant(parameters), climbed.gradients)
        if self.limit is not None:
            outwards = (jnp.abs(parameters) >= _INSIDE * self.limit) & (slopes * parameters > 0.0)
            slopes = jnp.where(outwards, parameters - constant(parameters), slopes)
        return Equations(slopes, (parameters, climbed.objective))

    def bounded(self, parameters: Plans) -> Plans:
        """The nearest plans within the actuators' range, if they are to be projected."""
        if self.limit is None:
            return parameters
        return jnp.clip(parameters, -_INSIDE * self.limit, _INSIDE * self.limit)

    def believe(self, belief: Points, parameters: Plans, objective: Float[Array, " K"]) -> Points:
        """The belief at these plans."""
        return belief.moved(self._plans(parameters), objective)

    def _plans(self, parameters: Plans) -> Plans:
        return jnp.tanh(parameters) if self.bounds == "squash" else parameters
