"""A planner around another, whose plans end at rest."""

from typing import Any

import jax
from jaxtyping import Array, Float, Num, PRNGKeyArray

from ..dynamics.base import Model, State, check_model
from ..dynamics.motion import mean_squared_displacement, mean_squared_speed
from ..dynamics.pytrees import pytree, static
from ..dynamics.resting import Resting, RestingState
from .checks import name_of, named
from .info import Info
from .options import checked
from .wrapper import PlannerWrapper


@pytree
class RestingPlanner(PlannerWrapper):
    """A planner that looks for plans which earn, and can be brought to rest afterwards. Make one with `resting`.

    Attributes:
        planner: any.
        rest_speed: the speed at which a step of coming to rest loses half of the size of the mean reward, a scalar;
            None for any speed.
        rest_distance: the distance from the model's pose of rest at which it does, a scalar; None for any pose.
        rest_steps: how many of the steps of a plan are for coming to rest.
    """

    planner: Any
    rest_speed: Float[Array, ""] | None
    rest_distance: Float[Array, ""] | None
    rest_steps: int = static()

    def init(self, model: Model, state: State) -> Any:
        """The belief of the planner where inference starts.

        Raises:
            ValueError: if the planner does not fit, a distance is given and the model has no pose of rest, or a speed
                and it has none.
        """
        with named(self.name):
            check_model("model", model)
            for measure, scale in (
                (lambda model, state: mean_squared_speed(model, state, state), self.rest_speed),
                (mean_squared_displacement, self.rest_distance),
            ):
                if scale is not None:
                    jax.eval_shape(measure, model, state)
        return self.planner.init(*self._imagined(model, state))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Info]:
        """Run the planner on the model whose rewards end before the plan does; returns are those of that model."""
        model, state = self._imagined(model, state)
        return self.planner.improve(model, key, state, belief)

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Num[Array, "*a"]:
        """The action at a time, by the planner's feedback where it has any."""
        model, state = self._imagined(model, state)
        return self.planner.respond(model, key, state, belief, time)

    def _imagined(self, model: Model, state: State) -> tuple[Resting, RestingState]:
        imagined = Resting(model, self.rest_speed, self.rest_distance, self.horizon - self.rest_steps)
        return imagined, imagined.begin(state)


def resting(planner: Any, rest_steps: Any, rest_speed: Any = None, rest_distance: Any = None) -> Any:
    """Make the last steps of a planner's plans earn nothing but for coming to rest, see `dynamics.resting`.

    Args:
        planner: any that has a `horizon`, and does not look for such plans already.
        rest_steps: how many, fewer than the horizon; None leaves the planner as it is.
        rest_speed: the speed at which such a step loses half of the size of the mean reward; None for 1, "any" where
            any speed will do.
        rest_distance: the distance from the model's pose of rest at which it does; None where any pose will do.

    Returns:
        The planner.

    Raises:
        ValueError: for an option outside its range.
    """
    speed = checked("rest_speed", 1.0 if rest_speed is None else rest_speed)
    distance = checked("rest_distance", rest_distance)
    if checked("rest_steps", rest_steps) is None:
        for name, value in (("rest_speed", rest_speed), ("rest_distance", rest_distance)):
            if value is not None:
                raise ValueError(f"{name} needs rest_steps, got {value!r} without")
        return planner
    if isinstance(planner, RestingPlanner):
        raise ValueError(f"planner looks for plans that end at rest already, got {name_of(planner)} with rest_steps")
    if not isinstance(getattr(planner, "horizon", None), int):
        raise ValueError(f"planner must have a horizon, a number of steps, got {type(planner).__name__} without")
    with named(name_of(planner)):
        if rest_steps >= planner.horizon:
            raise ValueError(
                f"rest_steps must leave steps that earn something, fewer than the horizon {planner.horizon}, "
                f"got {rest_steps}"
            )
    return RestingPlanner(planner, None if isinstance(speed, str) else speed, distance, rest_steps)
