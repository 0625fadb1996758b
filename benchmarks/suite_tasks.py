"""Tasks of MuJoCo Playground: `mirrax run playground:CheetahRun`, with settings by how long a step is."""

from typing import Any

from mirrax import dynamics
from mirrax.benchmarks.task import Task
from mirrax.dynamics.checks import unknown

PREFIX = "playground:"
# the control suite, the cheapest on a CPU first
SUITE = (
    "PendulumSwingup",
    "CartpoleBalance",
    "CartpoleSwingup",
    "CartpoleBalanceSparse",
    "CartpoleSwingupSparse",
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "CheetahRun",
    "WalkerStand",
    "WalkerWalk",
    "WalkerRun",
    "BallInCup",
    "HopperStand",
    "HopperHop",
    "SwimmerSwimmer6",
    "FishSwim",
    "HumanoidStand",
    "HumanoidWalk",
    "HumanoidRun",
)
# steps that plans look ahead, where the half second of all others is too short: energy is to be pumped first
_HORIZONS = {"PendulumSwingup": 50, "AcrobotSwingup": 100, "AcrobotSwingupSparse": 100} | dict.fromkeys(
    ("CartpoleSwingup", "CartpoleSwingupSparse"), 80
)
_DEFAULT_HORIZON = 30


def playground_task(name: str) -> Task:
    """The task of an environment of Playground.

    Args:
        name: of the environment.

    Returns:
        The task; its episodes have the 1,000 steps of the suite.

    Raises:
        ValueError: if there is no such environment, with the nearest.
    """
    if name not in dynamics.playground_names():
        raise unknown("environment of Playground", name, dynamics.playground_names())

    def make(impl: str | None) -> Any:
        return dynamics.playground(name) if impl is None else dynamics.playground(name, impl=impl)

    horizon = _HORIZONS.get(name, _DEFAULT_HORIZON)
    return Task(
        "of MuJoCo Playground",
        make,
        horizon=horizon,
        num_samples=64,
        planner="icem",
        options={"horizon": horizon, "num_samples": 32, "num_knots": 10},
    )
