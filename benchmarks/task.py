"""What a task is: a model, settings that work for it, and what is asked of a whole episode."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Array, Bool

from mirrax import dynamics, planners
from mirrax.dynamics import Model
from mirrax.dynamics.base import State


@dataclasses.dataclass(frozen=True)
class Goal:
    """What "solved and held" means where an episode has no end that says so.

    Attributes:
        summary: in words.
        reached: (model, state) -> whether it holds in a state, a scalar.
    """

    summary: str
    reached: Callable[[Any, State], Bool[Array, ""]]


@dataclasses.dataclass(frozen=True)
class Beyond:
    """What is known of the return beyond a planner's horizon.

    Attributes:
        summary: in words.
        value: model -> a function of states, their value.
        discount: γ of the value, by which plans are discounted, too; None for values that are not discounted.
    """

    summary: str
    value: Callable[[Any], Callable[[State], Any]]
    discount: Any = None


@dataclasses.dataclass(frozen=True)
class Task:
    """A model and settings that work for it.

    Attributes:
        summary: one line.
        make: backend (a name, or None for the model's choice) -> model.
        horizon: in steps of the model.
        num_samples: plans per iteration.
        num_steps: of a run, unless the user says otherwise.
        episode_steps: of the whole episode.
        goal: what is to hold during the last quarter of an episode; None where it is to last, no more.
        std: of the plans, where the planners' own does less well; None for their own.
        planner: that `mirrax run` takes unless the user names another.
        options: of that planner, by name.
        beyond: what planners are told of the time beyond their horizon; None for nothing.
    """

    summary: str
    make: Callable[[str | None], Model]
    horizon: int = 20
    num_samples: int = 256
    num_steps: int = 200
    episode_steps: int = 1000
    goal: Goal | None = None
    std: float | None = None
    planner: str = "mppi"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    beyond: Beyond | None = None

    def imagined(self, model: Model) -> Model:
        """The model to plan with: with a value beyond the horizon, where the task knows one.

        Args:
            model: of the task.
        """
        if self.beyond is None:
            return model
        imagined = dynamics.with_value(model, self.beyond.value(model))
        return imagined if self.beyond.discount is None else dynamics.discounted(imagined, self.beyond.discount)

    def std_of(self, planner: str) -> dict[str, float]:
        """The `std` of a planner for this task as an argument of its factory, or no argument.

        Args:
            planner: its name; the variations of predictive sampling are those of a local search, and stay its own.
        """
        return {} if self.std is None or planner == "predictive_sampling" else {"std": self.std}

    def settings(self, planner: str) -> dict[str, Any]:
        """The arguments of a planner's factory that work for this task.

        Args:
            planner: its name.

        Returns:
            The horizon, the number of plans, and what else the task decides.
        """
        parameters = inspect.signature(getattr(planners, planner)).parameters
        settings = {"horizon": self.horizon} | self.std_of(planner)
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            settings["num_samples"] = self.num_samples
        if planner == self.planner:
            settings |= self.options
        return settings
