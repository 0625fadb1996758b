"""The policies that most algorithms learn."""

from collections.abc import Callable
from typing import Any

from mirrax.dynamics.spaces import ActionSpace, Discrete
from mirrax.learning.policies.categorical import CategoricalPolicy, categorical
from mirrax.learning.policies.gaussian import TanhGaussianPolicy, tanh_gaussian


def parametric_policy(
    space: ActionSpace, observe: Callable[..., Any] | None
) -> TanhGaussianPolicy | CategoricalPolicy:
    """A policy of such actions with its defaults, without parameters.

    Args:
        space: of actions.
        observe: state -> observation [n], or None.
    """
    return (categorical if isinstance(space, Discrete) else tanh_gaussian)(observe=observe)
