"""Families of beliefs over plans."""

from .affine import AffinePolicy
from .annealed import Annealed, annealed
from .categorical import Categorical, categorical
from .choice import COVARIANCES, belief_of, gaussian_of
from .enumeration import Enumeration, enumeration
from .full import FullGaussian, full_gaussian
from .gaussian import Gaussian, gaussian, gaussian_prior
from .incumbent import Incumbent, incumbent
from .iterated import IteratedPolicy
from .kronecker import KroneckerGaussian, kronecker_gaussian
from .mixture import Mixture, mixture
from .network import NetworkPolicy, network_policy
from .particles import Particles, particles
from .points import Points, points
from .refined import Refined, recentred
from .remembering import Remembering, remembering
from .splined import Splined, splined
from .strategy import Strategy, strategy

__all__ = [
    "COVARIANCES",
    "AffinePolicy",
    "Annealed",
    "Categorical",
    "Enumeration",
    "FullGaussian",
    "Gaussian",
    "Incumbent",
    "IteratedPolicy",
    "KroneckerGaussian",
    "Mixture",
    "NetworkPolicy",
    "Particles",
    "Points",
    "Refined",
    "Remembering",
    "Splined",
    "Strategy",
    "annealed",
    "belief_of",
    "categorical",
    "enumeration",
    "full_gaussian",
    "gaussian",
    "gaussian_of",
    "gaussian_prior",
    "incumbent",
    "kronecker_gaussian",
    "mixture",
    "network_policy",
    "particles",
    "points",
    "recentred",
    "remembering",
    "splined",
    "strategy",
]
