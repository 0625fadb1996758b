"""Planners: choices of a few components of one loop."""

from .base import Belief, Info, Likelihood, Optimality, Planner, Prior, Proposal
from .cem import cem
from .composition import LoopOptions, sampling_planner
from .dial import dial
from .evolution import evolution
from .families import (
    Annealed,
    Categorical,
    Enumeration,
    FullGaussian,
    Gaussian,
    KroneckerGaussian,
    Mixture,
    Remembering,
    Splined,
    Strategy,
    annealed,
    categorical,
    enumeration,
    full_gaussian,
    gaussian,
    kronecker_gaussian,
    mixture,
    remembering,
    splined,
    strategy,
)
from .icem import icem
from .likelihoods import Best, Elite, Exponential, QExponential, elite, exponential, q_exponential
from .loop import Episode, SamplingPlanner, episode, infer, plan
from .mppi import mppi
from .noise import coloured_correlation
from .pi2 import pi2
from .predictive_sampling import predictive_sampling
from .priors import FixedPrior, FlatPrior, PolicyPrior, ShrunkPrior, policy_prior
from .random_shooting import random_shooting
from .risk import (
    Average,
    BestCase,
    ConditionalValueAtRisk,
    Entropic,
    Risk,
    ValueAtRisk,
    WorstCase,
    conditional_value_at_risk,
    entropic,
    value_at_risk,
)
from .rollout import Trajectory, automatic_chunk_size, rollout, trajectory
from .step_sizes import EssStep, FixedStep, KlStep, StepSize, step_size
from .tsallis import tsallis
from .vi_mpc import okada, vi_mpc
from .warm_start import Shift, shift_by_one

__all__ = [
    "Annealed",
    "Average",
    "Belief",
    "Best",
    "BestCase",
    "Categorical",
    "ConditionalValueAtRisk",
    "Elite",
    "Entropic",
    "Enumeration",
    "Episode",
    "EssStep",
    "Exponential",
    "FixedPrior",
    "FixedStep",
    "FlatPrior",
    "FullGaussian",
    "Gaussian",
    "Info",
    "KlStep",
    "KroneckerGaussian",
    "Likelihood",
    "LoopOptions",
    "Mixture",
    "Optimality",
    "Planner",
    "PolicyPrior",
    "Prior",
    "Proposal",
    "QExponential",
    "Remembering",
    "Risk",
    "SamplingPlanner",
    "Shift",
    "ShrunkPrior",
    "Splined",
    "StepSize",
    "Strategy",
    "Trajectory",
    "ValueAtRisk",
    "WorstCase",
    "annealed",
    "automatic_chunk_size",
    "categorical",
    "cem",
    "coloured_correlation",
    "conditional_value_at_risk",
    "dial",
    "elite",
    "entropic",
    "enumeration",
    "episode",
    "evolution",
    "exponential",
    "full_gaussian",
    "gaussian",
    "icem",
    "infer",
    "kronecker_gaussian",
    "mixture",
    "mppi",
    "okada",
    "pi2",
    "plan",
    "policy_prior",
    "predictive_sampling",
    "q_exponential",
    "random_shooting",
    "remembering",
    "rollout",
    "sampling_planner",
    "shift_by_one",
    "splined",
    "step_size",
    "strategy",
    "trajectory",
    "tsallis",
    "value_at_risk",
    "vi_mpc",
]
