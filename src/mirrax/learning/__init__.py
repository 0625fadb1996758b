"""Learning: models that are fitted to what an environment does, amortised plans, amortised policies."""

from mirrax.dynamics.learned import Transitions, transitions
from mirrax.dynamics.learned.fitting import FitProgress, FitReport, fit
from mirrax.learning.collecting import Collected, collect
from mirrax.learning.descending import AmortisedReport
from mirrax.learning.distilling import PlanTargets, distil, episode_targets, plan_targets
from mirrax.learning.evidence import amortise
from mirrax.learning.expert_rounds import ExpertIteration, ExpertRound, expert_iteration
from mirrax.learning.horizon_errors import HorizonErrors, horizon_errors
from mirrax.learning.planned_values import ValueTraining, learn_value
from mirrax.learning.policies import (
    PolicyTraining,
    UpdateRecord,
    beyond,
    categorical,
    energy_based,
    learn_policy,
    mpo,
    policy_gradient,
    policy_returns,
    ppo,
    sac,
    soft_q_learning,
    tanh_gaussian,
    v_mpo,
)
from mirrax.learning.saving import load, save
from mirrax.learning.tensorboard import tensorboard
from mirrax.learning.training import EpisodeRecord, Training, load_model, train

__all__ = [
    "AmortisedReport",
    "Collected",
    "EpisodeRecord",
    "ExpertIteration",
    "ExpertRound",
    "FitProgress",
    "FitReport",
    "HorizonErrors",
    "PlanTargets",
    "PolicyTraining",
    "Training",
    "Transitions",
    "UpdateRecord",
    "ValueTraining",
    "amortise",
    "beyond",
    "categorical",
    "collect",
    "distil",
    "energy_based",
    "episode_targets",
    "expert_iteration",
    "fit",
    "horizon_errors",
    "learn_policy",
    "learn_value",
    "load",
    "load_model",
    "mpo",
    "plan_targets",
    "policy_gradient",
    "policy_returns",
    "ppo",
    "sac",
    "save",
    "soft_q_learning",
    "tanh_gaussian",
    "tensorboard",
    "train",
    "transitions",
    "v_mpo",
]
