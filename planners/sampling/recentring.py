"""Beliefs around another plan."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ..beliefs.annealed import Annealed
from ..beliefs.full import FullGaussian
from ..beliefs.gaussian import Gaussian
from ..beliefs.kronecker import KroneckerGaussian
from ..beliefs.memory import Remembering
from ..beliefs.protocol import Plan
from ..beliefs.spline import Splined


def recentred(belief: Any, plan: Plan) -> Any:
    """A belief around another plan; where it has no centre, or several (mixtures, particles), as it is.

    Args:
        belief: of any family.
        plan: [H, A].
    """
    match belief:
        case Gaussian() | FullGaussian() | KroneckerGaussian() | Annealed():
            return belief.map_centers(lambda _: plan)
        case Remembering():
            return dataclasses.replace(belief, belief=recentred(belief.belief, plan))
        case Splined():
            knots = jnp.einsum("nh,ha->na", belief.reduce, plan, precision="highest")
            return dataclasses.replace(belief, knots=recentred(belief.knots, knots))
    return belief
