"""Rollouts of plans: returns, scenarios and risk, blocks and devices."""

from . import risk
from .blocks import automatic_chunk_size
from .continuation import Continuation, continuation
from .placement import place
from .rollout import Trajectory, rollout, trajectory
from .settings import RolloutSettings, rollout_settings

__all__ = [
    "Continuation",
    "RolloutSettings",
    "Trajectory",
    "automatic_chunk_size",
    "continuation",
    "place",
    "risk",
    "rollout",
    "rollout_settings",
    "trajectory",
]
