"""Learned dynamics: networks that are fitted to transitions, as models to plan with."""

from .factory import learned
from .fitting import FitProgress, FitReport, fit
from .model import LearnedModel, Prediction, Spread
from .scaling import Scaling
from .transitions import Transitions, transitions

__all__ = [
    "FitProgress",
    "FitReport",
    "LearnedModel",
    "Prediction",
    "Scaling",
    "Spread",
    "Transitions",
    "fit",
    "learned",
    "transitions",
]
