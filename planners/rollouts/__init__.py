"""Rollouts of plans: returns, scenarios and risk, blocks and devices."""

from . import risk
from .placement import place
from .rollout import Trajectory, automatic_chunk_size, rollout, trajectory
from .settings import RolloutSettings, rollout_settings

__all__ = [
    "RolloutSettings",
    "Trajectory",
    "automatic_chunk_size",
    "place",
    "risk",
    "rollout",
    "rollout_settings",
    "trajectory",
]
