"""Families of beliefs over plans: configuration without shapes, which `bind` makes a belief."""

from .annealed import Annealed, AnnealedFamily, annealed
from .categorical import Categorical, CategoricalFamily, categorical
from .choice import COVARIANCES, Bound, BySpace, as_family, by_space, family_of, gaussian_of
from .enumeration import Enumeration, EnumerationFamily, enumeration
from .full import FullGaussian, FullGaussianFamily, full_gaussian
from .gaussian import Gaussian, GaussianFamily, gaussian
from .kronecker import KroneckerGaussian, KroneckerGaussianFamily, kronecker_gaussian
from .memory import Remembering, RememberingFamily, remembering
from .mixture import Mixture, MixtureFamily, mixture
from .protocol import (
    Belief,
    Centered,
    Density,
    Family,
    HasMean,
    HasModes,
    LearnsSpread,
    Multimodal,
    Plan,
    Plans,
    Proposal,
    Proposing,
    Sequential,
    Updating,
    Wrapping,
)
from .spline import Splined, SplinedFamily, splined
from .strategy import Strategy, StrategyFamily, strategy
from .warm_start import Shift, Shifting, shift_by_one

__all__ = [
    "COVARIANCES",
    "Annealed",
    "AnnealedFamily",
    "Belief",
    "Bound",
    "BySpace",
    "Categorical",
    "CategoricalFamily",
    "Centered",
    "Density",
    "Enumeration",
    "EnumerationFamily",
    "Family",
    "FullGaussian",
    "FullGaussianFamily",
    "Gaussian",
    "GaussianFamily",
    "HasMean",
    "HasModes",
    "KroneckerGaussian",
    "KroneckerGaussianFamily",
    "LearnsSpread",
    "Mixture",
    "MixtureFamily",
    "Multimodal",
    "Plan",
    "Plans",
    "Proposal",
    "Proposing",
    "Remembering",
    "RememberingFamily",
    "Sequential",
    "Shift",
    "Shifting",
    "Splined",
    "SplinedFamily",
    "Strategy",
    "StrategyFamily",
    "Updating",
    "Wrapping",
    "annealed",
    "as_family",
    "by_space",
    "categorical",
    "enumeration",
    "family_of",
    "full_gaussian",
    "gaussian",
    "gaussian_of",
    "kronecker_gaussian",
    "mixture",
    "remembering",
    "shift_by_one",
    "splined",
    "strategy",
]
