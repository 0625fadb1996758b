"""Planners: choices of a few components of one loop."""

from .base import Belief, Info, Likelihood, Optimality, Planner, Prior
from .cem import cem
from .families import Gaussian, gaussian
from .likelihoods import Best, Elite, Exponential, elite, exponential
from .loop import Episode, LoopOptions, SamplingPlanner, episode, infer, plan, sampling_planner
from .mppi import mppi
from .predictive_sampling import predictive_sampling
from .priors import FixedPrior, ShrunkPrior
from .random_shooting import random_shooting
from .rollout import Trajectory, automatic_chunk_size, rollout, trajectory

__all__ = [
    "Belief",
    "Best",
    "Elite",
    "Episode",
    "Exponential",
    "FixedPrior",
    "Gaussian",
    "Info",
    "Likelihood",
    "LoopOptions",
    "Optimality",
    "Planner",
    "Prior",
    "SamplingPlanner",
    "ShrunkPrior",
    "Trajectory",
    "automatic_chunk_size",
    "cem",
    "elite",
    "episode",
    "exponential",
    "gaussian",
    "infer",
    "mppi",
    "plan",
    "predictive_sampling",
    "random_shooting",
    "rollout",
    "sampling_planner",
    "trajectory",
]
