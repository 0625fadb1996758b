"""Local linear-quadratic problems: iLQR and differential dynamic programming along plans, regulators at rest."""

from .affine import AffinePolicy, StatePolicy
from .regulator import Regulator, regulator
from .solver import IterativeLQR

__all__ = ["AffinePolicy", "IterativeLQR", "Regulator", "StatePolicy", "regulator"]
