"""Planners: choices of a few components of one loop. The components are in the subpackages."""

from . import beliefs, gradients, lqr, particles, policies, rollouts
from .amortised import AmortisedPlanner, amortised
from .anytime import Anytime, AnytimeInfo, Running, anytime
from .api import Planner, infer, plan
from .cem import cem, icem
from .complaints import complaint
from .composition import LoopOptions, sampling_planner
from .controller import Controller, controller
from .dial import dial
from .elbo_gradient import elbo_gradient
from .episodes import Episode, episode
from .evolution import evolution
from .exact import message_passing, value_iteration
from .gradient import gradient
from .ilqr import ilqr
from .info import Info
from .iterative_policy import iterative_policy
from .mppi import mppi, pi2
from .paets import paets
from .primed import PrimedPlanner, primed
from .rates import Persistent
from .rest import resting
from .rollouts import risk
from .rollouts.rollout import rollout
from .rollouts.trajectory import Trajectory, trajectory
from .sampling import likelihoods, priors, step_sizes
from .shooting import predictive_sampling, random_shooting
from .smc import smc
from .stein import stein
from .tsallis import tsallis
from .vi_mpc import okada, vi_mpc

# what `mirrax list` shows; a planner is registered here, and nowhere else
PLANNERS = (
    random_shooting,
    predictive_sampling,
    cem,
    icem,
    mppi,
    pi2,
    tsallis,
    dial,
    evolution,
    vi_mpc,
    paets,
    smc,
    gradient,
    elbo_gradient,
    stein,
    ilqr,
    iterative_policy,
)

__all__ = [
    "PLANNERS",
    "AmortisedPlanner",
    "Anytime",
    "AnytimeInfo",
    "Controller",
    "Episode",
    "Info",
    "LoopOptions",
    "Persistent",
    "Planner",
    "PrimedPlanner",
    "Running",
    "Trajectory",
    "amortised",
    "anytime",
    "beliefs",
    "cem",
    "complaint",
    "controller",
    "dial",
    "elbo_gradient",
    "episode",
    "evolution",
    "gradient",
    "gradients",
    "icem",
    "ilqr",
    "infer",
    "iterative_policy",
    "likelihoods",
    "lqr",
    "message_passing",
    "mppi",
    "okada",
    "paets",
    "particles",
    "pi2",
    "plan",
    "policies",
    "predictive_sampling",
    "primed",
    "priors",
    "random_shooting",
    "resting",
    "risk",
    "rollout",
    "rollouts",
    "sampling_planner",
    "smc",
    "stein",
    "step_sizes",
    "trajectory",
    "tsallis",
    "value_iteration",
    "vi_mpc",
]
