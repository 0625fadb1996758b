"""What a gradient plan climbs: its worth, each plan for itself."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..dynamics.base import Model, State, action_limit, pytree, static
from .ascent import Climb
from .base import Plans
from .differentiation import Equations, constant
from .families import Points
from .pathwise import Target
from .stepping import same_noise

BOUNDS = ("clip", "squash", "none")
_INSIDE = 1.0 - 1e-6  # of the actuators' range, where a clip has a derivative


@pytree
class PlanAscent:
    """Each of several plans climbs what it is worth.

    Attributes:
        target: what that is.
        limit: how far actions may go where they are clipped, a scalar; None for elsewhere.
        bounds: "clip" projects plans onto the range after each step, "squash" optimises z of a = tanh z, "none" lets
            them go; None as the model says.
    """

    target: Target
    limit: Float[Array, ""] | None
    bounds: str | None = static()

    def in_range(self, model: Model, state: State) -> "PlanAscent":
        """The same where it is known what range actions have."""
        limit = jnp.ones(()) if self.bounds == "clip" else None
        if self.bounds is None:
            limit = action_limit(model, same_noise(state))
        return dataclasses.replace(self, limit=None if limit is None else constant(limit))

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
        """Worth and slope of each plan."""
        plans, pull_back = jax.vjp(self._plans, parameters)
        slopes = self.target.slopes(model, noise, state, plans)
        (gradients,) = pull_back(slopes.gradients)
        return Climb(slopes.worth, gradients, slopes.valid, slopes.returns, (~slopes.valid).sum(), None)

    def worth(self, model: Model, noise: Key[Array, ""], state: State, parameters: Plans) -> Float[Array, " K"]:
        """Of each plan."""
        return self.target.worth(model, noise, state, self._plans(parameters))

    def optimality(self, model: Model, noise: Key[Array, ""], state: State, parameters: Plans) -> Equations:
        """What holds at plans that have converged: where no bound holds an action, the worth has no slope."""
        climbed = self.climb(model, noise, jax.random.clone(noise), state, parameters)  # which draws nothing else
        slopes = climbed.gradients
        if self.limit is not None:
            outwards = (jnp.abs(parameters) >= _INSIDE * self.limit) & (slopes * parameters > 0.0)
            slopes = jnp.where(outwards, parameters - constant(parameters), slopes)
        return Equations(slopes, (parameters, climbed.worth))

    def bounded(self, parameters: Plans) -> Plans:
        """The nearest plans within the actuators' range, if they are to be projected."""
        if self.limit is None:
            return parameters
        return jnp.clip(parameters, -_INSIDE * self.limit, _INSIDE * self.limit)

    def believe(self, belief: Points, parameters: Plans, worth: Float[Array, " K"]) -> Points:
        """These plans, from which the next planning goes on."""
        plans = self._plans(parameters)
        return dataclasses.replace(belief, plans=plans, worth=worth, spread=jnp.zeros_like(belief.spread))

    def _plans(self, parameters: Plans) -> Plans:
        return jnp.tanh(parameters) if self.bounds == "squash" else parameters
