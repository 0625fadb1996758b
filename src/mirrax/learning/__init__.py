"""Learning to plan: models that are fitted to what an environment does, and the loop around them."""

from mirrax.dynamics.learned import Transitions, transitions
from mirrax.dynamics.learned.fitting import FitProgress, FitReport, fit
from mirrax.learning.collecting import Collected, collect
from mirrax.learning.horizon_errors import HorizonErrors, horizon_errors
from mirrax.learning.tensorboard import tensorboard
from mirrax.learning.training import EpisodeRecord, Training, train

__all__ = [
    "Collected",
    "EpisodeRecord",
    "FitProgress",
    "FitReport",
    "HorizonErrors",
    "Training",
    "Transitions",
    "collect",
    "fit",
    "horizon_errors",
    "tensorboard",
    "train",
    "transitions",
]
