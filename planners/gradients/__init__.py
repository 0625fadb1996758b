"""Planners that follow gradients: ascent, its objectives, optimisers."""

from .optimizers import Optimizer, optimizer
from .planner import GradientPlanner
from .points import Points, PointsFamily, points

__all__ = ["GradientPlanner", "Optimizer", "Points", "PointsFamily", "optimizer", "points"]
