"""The tasks that have settings of their own: what `mirrax run MODEL` uses, and what benchmarks run on."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mirrax import dynamics
from mirrax.dynamics import Model


@dataclasses.dataclass(frozen=True)
class Task:
    """A model and settings that work for it.

    Attributes:
        summary: one line.
        make: backend (a name, or None for the model's choice) -> model.
        horizon: in steps of the model.
        num_samples: plans per iteration.
        num_iterations: per step.
        num_steps: of an episode.
        std: of the plans, where the planners' own does less well; None for their own.
        options: of the default planner, MPPI, by name.
    """

    summary: str
    make: Callable[[str | None], Model]
    horizon: int = 20
    num_samples: int = 256
    num_iterations: int = 1
    num_steps: int = 200
    std: float | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def std_of(self, planner: str) -> dict[str, float]:
        """The `std` of a planner for this task as an argument of its factory, or no argument.

        Args:
            planner: its name; the variations of predictive sampling are those of a local search, and stay its own.
        """
        return {} if self.std is None or planner == "predictive_sampling" else {"std": self.std}


def _brax(name: str, summary: str, **settings: Any) -> Task:
    return Task(summary, lambda backend: dynamics.brax(name, backend), **settings)


def _analytic(make: Callable[[], Model], name: str, summary: str, **settings: Any) -> Task:
    def build(backend: str | None) -> Model:
        if backend is not None:
            raise ValueError(f"backend chooses the physics of a Brax environment; {name} has none, got {backend!r}")
        return make()

    return Task(summary, build, **settings)


# Reasons: MPPI at its default temperature (adapted to an ESS of a tenth of the plans) and its default noise, unless
# another did better in closed loop; half a second ahead for robots that fall, two where energy must be pumped first;
# as few plans as do well, so that two CPU cores come near real time. The ant, at a lower temperature, runs faster but
# falls in every other episode (three seeds, 200 steps: 36 to 44 m at 5, 42 to 61 m and a fall at 3).
TASKS: Mapping[str, Task] = {
    "ant": _brax("ant", "walk forward on four legs", horizon=16, num_samples=512, options={"temperature": 5.0}),
    "fast": _brax("fast", "Brax's own dummy without physics", num_steps=20),
    "halfcheetah": _brax("halfcheetah", "run forward on two legs", num_samples=128),
    "hopper": _brax("hopper", "hop forward on one leg", horizon=40, std=1.0),
    "humanoid": _brax("humanoid", "walk forward on two legs, with arms", std=0.6),
    "humanoidstandup": _brax("humanoidstandup", "stand up from lying", num_samples=128),
    "inverted_double_pendulum": _brax("inverted_double_pendulum", "balance two poles in a row on a cart"),
    "inverted_pendulum": _brax("inverted_pendulum", "balance a pole on a cart"),
    "pusher": _brax("pusher", "push a cylinder to a goal with an arm", horizon=12, num_samples=64, num_steps=60),
    "reacher": _brax("reacher", "reach a target with a two-joint arm"),
    "swimmer": _brax("swimmer", "swim forward with three links", num_samples=64),
    "walker2d": _brax("walker2d", "walk forward on two legs in a plane", horizon=40, std=1.0),
    "acrobot": _analytic(
        dynamics.acrobot, "acrobot", "stand two links up, with a motor between them", horizon=80, std=1.0
    ),
    "cartpole": _analytic(dynamics.cartpole, "cartpole", "swing a pole up within the ends of a track", horizon=30),
    "double_cartpole": _analytic(
        dynamics.double_cartpole, "double_cartpole", "swing two poles up, one on the other", horizon=60, std=1.0
    ),
    "pendulum": _analytic(dynamics.pendulum, "pendulum", "swing up with too weak a motor", horizon=50, std=1.0),
    "point_mass": _analytic(
        dynamics.point_mass, "point_mass", "find the way around an obstacle", horizon=30, num_steps=100
    ),
}


def named_model(name: str) -> Model:
    """The model of that name, on the command line of a benchmark.

    Args:
        name: as `find_task` takes it, with the backend of a Brax environment after a colon (or a slash): hopper:mjx.

    Returns:
        The model.

    Raises:
        ValueError: if there is no such model, or no such backend of it.
    """
    model, _, backend = name.replace("/", ":").partition(":")
    return find_task(model).make(backend or None)


def find_task(name: str) -> Task:
    """The task of that name; a Brax environment that the user registered has default settings.

    Args:
        name: a key of `TASKS` or of Brax's registry.

    Returns:
        The task.

    Raises:
        ValueError: if there is none, listing those that there are.
    """
    if name in TASKS:
        return TASKS[name]
    if name in dynamics.brax_names():
        return _brax(name, "registered with Brax")
    raise ValueError(f"unknown model {name!r}; choose one of: {', '.join(sorted(TASKS))}")
