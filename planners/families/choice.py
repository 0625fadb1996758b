"""Which family: a Gaussian of this or that covariance, a mixture, or discrete actions."""

from collections.abc import Callable
from typing import Any

from ...dynamics.base import boolean
from .categorical import categorical
from .enumeration import enumeration
from .full import full_gaussian
from .gaussian import gaussian
from .kronecker import kronecker_gaussian
from .mixture import mixture

COVARIANCES: dict[str, Callable[..., Any]] = {
    "diagonal": gaussian,
    "full": full_gaussian,
    "kronecker": kronecker_gaussian,
}


def gaussian_of(covariance: str, horizon: int, action_size: int, **parameters: Any) -> Any:
    """Make the Gaussian belief whose covariance is learnt as `covariance` says.

    Args:
        covariance: "diagonal", "full" or "kronecker".
        horizon: the number H of steps.
        action_size: the number A of actuators.
        **parameters: of the family.

    Returns:
        The belief; its fits are unbiased.

    Raises:
        ValueError: for another covariance, or a parameter outside its range.
    """
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance must be one of {', '.join(COVARIANCES)}, got {covariance!r}")
    more = {"unbiased": True} if covariance == "diagonal" else {}
    return COVARIANCES[covariance](horizon, action_size, **parameters, **more)


def belief_of(
    horizon: int,
    action_size: int,
    *,
    covariance: str,
    num_components: int,
    actions: Any,
    enumerate_plans: bool,
    **parameters: Any,
) -> Any:
    """Make a belief of the family that these arguments choose.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        covariance: of a Gaussian: "diagonal", "full" or "kronecker".
        num_components: above 1 a mixture of so many diagonal Gaussians.
        actions: a list [C, A] of discrete actions; None for continuous ones.
        enumerate_plans: a table over all plans of discrete actions, rather than independent steps.
        **parameters: std, std_min and noise_exponent, of continuous actions.

    Returns:
        The belief.

    Raises:
        ValueError: if the arguments choose several families, or a parameter lies outside its range.
    """
    others = {
        "covariance": covariance != "diagonal",
        "num_components": num_components != 1,
        "actions": actions is not None,
    }
    chosen = [name for name, other in others.items() if other]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} choose different families of beliefs: give one")
    if enumerate_plans and actions is None:
        raise ValueError("enumerate_plans needs actions, a list of discrete ones, got None")
    if actions is not None:
        discrete = (enumeration if boolean("enumerate_plans", enumerate_plans) else categorical)(horizon, actions)
        if (width := discrete.actions.shape[1]) != action_size:
            raise ValueError(f"actions must have shape [C, {action_size}], one action per row, got width {width}")
        return discrete
    if num_components != 1:
        parameters.pop("noise_exponent", None)  # components differ by their means, which are smooth at first
        return mixture(horizon, action_size, num_components=num_components, unbiased=True, **parameters)
    return gaussian_of(covariance, horizon, action_size, **parameters)
