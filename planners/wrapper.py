"""Planners around another planner, whose protocols they forward."""

from typing import Any

from jax.sharding import NamedSharding
from jaxtyping import Array, Num, PRNGKeyArray

from ..dynamics.base import Model, State
from .checks import name_of
from .rollouts.placement import sharding_of


class PlannerWrapper:
    """A planner around another, which it forwards in full: what it believes, how it acts, where it computes.

    Subclasses are final: pytrees with a field `planner`, which define `improve`, and what else they do otherwise. One
    whose beliefs hold those of the planner defines `init`, `act`, `actions`, `respond` and `shift` as well.
    """

    planner: Any

    @property
    def name(self) -> str:
        """Of the planner."""
        return name_of(self.planner)

    @property
    def horizon(self) -> int:
        """The number H of steps."""
        return self.planner.horizon

    @property
    def sharding(self) -> NamedSharding | None:
        """How plans are spread over devices; None for one device."""
        return sharding_of(self.planner)

    def init(self, model: Model, state: State) -> Any:
        """The planner's belief where inference starts."""
        return self.planner.init(model, state)

    def act(self, key: PRNGKeyArray, belief: Any) -> Num[Array, "*a"]:
        """The action to execute now, as the planner chooses it."""
        return self.planner.act(key, belief)

    def actions(self, key: PRNGKeyArray, belief: Any, times: Any) -> Num[Array, "n *a"]:
        """The actions of that plan at some times, in model steps, [n]."""
        return self.planner.actions(key, belief, times)

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Num[Array, "*a"]:
        """The action at a time, by the planner's feedback where it has any."""
        return self.planner.respond(model, key, state, belief, time)

    def shift(self, belief: Any, steps: Any = 1) -> Any:
        """The belief from which to plan so many time steps later, > 0, whole or not."""
        if isinstance(steps, int) and steps == 1:  # which a planner of one's own need not be told
            return self.planner.shift(belief)
        return self.planner.shift(belief, steps)
