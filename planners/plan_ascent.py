"""What a gradient plan climbs: its worth, each plan for itself."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..dynamics.base import Model, State, pytree, static
from .ascent import Climb
from .base import Plans
from .differentiation import Equations, constant
from .families import Points
from .pathwise import Target

BOUNDS = ("clip", "squash", "none")
_INSIDE = 1.0 - 1e-6  # of the actuators' range, where a clip has a derivative


@pytree
class PlanAscent:
    """Each of several plans climbs what it is worth.

    Attributes:
        target: what that is.
        bounds: "clip" projects plans onto [-1, 1] after each step, "squash" optimises z of a = tanh z, "none" lets
            them go.
    """

    target: Target
    bounds: str = static()

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
        if self.bounds == "clip":
            outwards = (jnp.abs(parameters) >= _INSIDE) & (slopes * parameters > 0.0)
            slopes = jnp.where(outwards, parameters - constant(parameters), slopes)
        return Equations(slopes, (parameters, climbed.worth))

    def bounded(self, parameters: Plans) -> Plans:
        """The nearest plans within the actuators' range, if they are to be projected."""
        return jnp.clip(parameters, -_INSIDE, _INSIDE) if self.bounds == "clip" else parameters

    def believe(self, belief: Points, parameters: Plans, worth: Float[Array, " K"]) -> Points:
        """These plans, from which the next planning goes on."""
        plans = self._plans(parameters)
        return dataclasses.replace(belief, plans=plans, worth=worth, spread=jnp.zeros_like(belief.spread))

    def _plans(self, parameters: Plans) -> Plans:
        return jnp.tanh(parameters) if self.bounds == "squash" else parameters
