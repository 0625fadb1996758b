"""Trajectory optimisation by local linear-quadratic problems: iLQR and differential dynamic programming."""

from .affine import AffinePolicy, StatePolicy
from .solver import IterativeLQR

__all__ = ["AffinePolicy", "IterativeLQR", "StatePolicy"]
