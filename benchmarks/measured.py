"""What `mirrax run MODEL` does over whole episodes; `results/README.md` has the tables and the commands."""

from collections.abc import Mapping
from typing import NamedTuple


class Measured(NamedTuple):
    """How the shipped planner of a task did.

    Attributes:
        successes: in how many episodes it stayed up to the end, and held the task's goal where there is one.
        episodes: how many there were.
        plan_ms: the median time of a plan, ms, on one CPU core.
        step_ms: what a step of the model takes, ms: less is real time.
    """

    successes: int
    episodes: int
    plan_ms: float
    step_ms: float


MEASURED: Mapping[str, Measured] = {
    "acrobot": Measured(8, 8, 4.7, 50),
    "ant": Measured(8, 8, 188, 50),
    "cartpole": Measured(8, 8, 3.7, 50),
    "double_cartpole": Measured(8, 8, 12, 20),
    "halfcheetah": Measured(7, 8, 331, 50),
    "hopper": Measured(7, 8, 283, 8),
    "humanoid": Measured(8, 8, 325, 15),
    "humanoidstandup": Measured(6, 6, 306, 15),
    "inverted_double_pendulum": Measured(8, 8, 20, 20),
    "inverted_pendulum": Measured(8, 8, 12, 20),
    "pendulum": Measured(8, 8, 2.3, 50),
    "point_mass": Measured(8, 8, 1.1, 100),
    "pusher": Measured(8, 8, 246, 50),
    "reacher": Measured(8, 8, 230, 20),
    "swimmer": Measured(8, 8, 107, 40),
    "walker2d": Measured(8, 8, 316, 8),
}
