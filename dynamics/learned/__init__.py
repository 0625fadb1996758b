"""Learned dynamics: networks that are fitted to transitions, as models to plan with.

`mirrax.learning` has what fits them.
"""

from .factory import learned
from .model import LearnedModel, Prediction, Spread
from .scaling import Scaling
from .transitions import Transitions, transitions

__all__ = [
    "LearnedModel",
    "Prediction",
    "Scaling",
    "Spread",
    "Transitions",
    "learned",
    "transitions",
]
