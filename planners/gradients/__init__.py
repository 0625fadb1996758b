"""Planners that follow gradients: ascent, its objectives, optimisers."""

from .ascent import GradientPlanner
from .optimizers import Optimizer, optimizer
from .points import Points, PointsFamily, points

__all__ = ["GradientPlanner", "Optimizer", "Points", "PointsFamily", "optimizer", "points"]
