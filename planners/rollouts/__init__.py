"""Rollouts of plans: returns, scenarios and risk, blocks and devices."""

from . import risk
from .blocks import automatic_chunk_size
from .continuation import Continuation, continuation
from .placement import place
from .rollout import rollout
from .settings import RolloutSettings, rollout_settings
from .trajectory import Trajectory, trajectory

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
