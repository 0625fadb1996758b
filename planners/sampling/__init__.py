"""The sampling loop and its components: likelihoods, priors, step sizes, importance sampling, refinement."""

from . import likelihoods, priors, step_sizes
from .evaluation import Evaluation, Evaluator
from .importance import ImportanceSampler
from .incumbent import Incumbent
from .loop import SamplingPlanner
from .policy_samples import PolicySamples, policy_samples
from .refinement import Refined, RefinedPlanner, Refiner

__all__ = [
    "Evaluation",
    "Evaluator",
    "ImportanceSampler",
    "Incumbent",
    "PolicySamples",
    "Refined",
    "RefinedPlanner",
    "Refiner",
    "SamplingPlanner",
    "likelihoods",
    "policy_samples",
    "priors",
    "step_sizes",
]
