"""Learning to plan: models that are fitted to what an environment does, the loop around them, amortised plans."""

from mirrax.dynamics.learned import Transitions, transitions
from mirrax.dynamics.learned.fitting import FitProgress, FitReport, fit
from mirrax.learning.collecting import Collected, collect
from mirrax.learning.descending import AmortisedReport
from mirrax.learning.distilling import PlanTargets, distil, episode_targets, plan_targets
from mirrax.learning.evidence import amortise
from mirrax.learning.horizon_errors import HorizonErrors, horizon_errors
from mirrax.learning.tensorboard import tensorboard
from mirrax.learning.training import EpisodeRecord, Training, train

__all__ = [
    "AmortisedReport",
    "Collected",
    "EpisodeRecord",
    "FitProgress",
    "FitReport",
    "HorizonErrors",
    "PlanTargets",
    "Training",
    "Transitions",
    "amortise",
    "collect",
    "distil",
    "episode_targets",
    "fit",
    "horizon_errors",
    "plan_targets",
    "tensorboard",
    "train",
    "transitions",
]
