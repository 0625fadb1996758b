"""Planners: choices of a few components of one loop."""

from .ascent import AscentInfo, GradientPlanner
from .base import (
    Belief,
    Centered,
    Info,
    Likelihood,
    Lineage,
    Optimality,
    Planner,
    Policy,
    Prior,
    Proposal,
    Refinement,
    Sequential,
)
from .cem import cem
from .composition import LoopOptions, sampling_planner
from .ddp import IterativeLQR, TrajectoryInfo
from .dial import dial
from .elbo_gradient import elbo_gradient
from .evolution import evolution
from .families import (
    AffinePolicy,
    Annealed,
    Categorical,
    Enumeration,
    FullGaussian,
    Gaussian,
    Incumbent,
    IteratedPolicy,
    KroneckerGaussian,
    Mixture,
    NetworkPolicy,
    Particles,
    Points,
    Refined,
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
    network_policy,
    particles,
    points,
    remembering,
    splined,
    strategy,
)
from .gradient import gradient
from .icem import icem
from .ilqr import ilqr
from .iterative_policy import iterative_policy
from .likelihoods import Best, Elite, Exponential, QExponential, elite, exponential, q_exponential
from .loop import Episode, SamplingPlanner, episode, infer, plan
from .message_passing import Messages, Values, message_passing, value_iteration
from .mppi import mppi
from .noise import coloured_correlation
from .optimizers import Optimizer, optimizer
from .pi2 import pi2
from .placement import place
from .policy_ascent import PolicyPlanner
from .predictive_sampling import predictive_sampling
from .priors import FixedPrior, FlatPrior, PolicyPrior, ShrunkPrior, policy_prior
from .random_shooting import random_shooting
from .resampling import Resampler, multinomial, resampler, residual, stratified, systematic
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
from .smc import smc
from .stein import stein
from .step_sizes import EssStep, FixedStep, KlStep, StepSize, step_size
from .tempering import Tempering, tempering
from .tsallis import tsallis
from .vi_mpc import okada, vi_mpc
from .warm_start import Shift, shift_by_one

__all__ = [
    "AffinePolicy",
    "Annealed",
    "AscentInfo",
    "Average",
    "Belief",
    "Best",
    "BestCase",
    "Categorical",
    "Centered",
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
    "GradientPlanner",
    "Incumbent",
    "Info",
    "IteratedPolicy",
    "IterativeLQR",
    "KlStep",
    "KroneckerGaussian",
    "Likelihood",
    "Lineage",
    "LoopOptions",
    "Messages",
    "Mixture",
    "NetworkPolicy",
    "Optimality",
    "Optimizer",
    "Particles",
    "Planner",
    "Points",
    "Policy",
    "PolicyPlanner",
    "PolicyPrior",
    "Prior",
    "Proposal",
    "QExponential",
    "Refined",
    "Refinement",
    "Remembering",
    "Resampler",
    "Risk",
    "SamplingPlanner",
    "Sequential",
    "Shift",
    "ShrunkPrior",
    "Splined",
    "StepSize",
    "Strategy",
    "Tempering",
    "Trajectory",
    "TrajectoryInfo",
    "ValueAtRisk",
    "Values",
    "WorstCase",
    "annealed",
    "automatic_chunk_size",
    "categorical",
    "cem",
    "coloured_correlation",
    "conditional_value_at_risk",
    "dial",
    "elbo_gradient",
    "elite",
    "entropic",
    "enumeration",
    "episode",
    "evolution",
    "exponential",
    "full_gaussian",
    "gaussian",
    "gradient",
    "icem",
    "ilqr",
    "infer",
    "iterative_policy",
    "kronecker_gaussian",
    "message_passing",
    "mixture",
    "mppi",
    "multinomial",
    "network_policy",
    "okada",
    "optimizer",
    "particles",
    "pi2",
    "place",
    "plan",
    "points",
    "policy_prior",
    "predictive_sampling",
    "q_exponential",
    "random_shooting",
    "remembering",
    "resampler",
    "residual",
    "rollout",
    "sampling_planner",
    "shift_by_one",
    "smc",
    "splined",
    "stein",
    "step_size",
    "strategy",
    "stratified",
    "systematic",
    "tempering",
    "trajectory",
    "tsallis",
    "value_at_risk",
    "value_iteration",
    "vi_mpc",
]
