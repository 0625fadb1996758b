"""Which family: a Gaussian of this or that covariance, a mixture, or discrete actions."""

from collections.abc import Callable
from typing import Any

from ...dynamics.base import boolean
from ..base import check_unused
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


def gaussian_of(
    covariance: str, horizon: int, action_size: int, *, std: Any = None, std_min: Any = None, **parameters: Any
) -> Any:
    """Make the Gaussian belief whose covariance is learnt as `covariance` says.

    Args:
        covariance: "diagonal", "full" or "kronecker"; "fixed" for one that is not learnt.
        horizon: the number H of steps.
        action_size: the number A of actuators.
        std: of the family; 0.5 unless given.
        std_min: of the family, where it is learnt; 0.05 unless given.
        **parameters: others of the family.

    Returns:
        The belief; its fits are unbiased.

    Raises:
        ValueError: for another covariance, or a parameter outside its range, or that means nothing.
    """
    spread = 0.5 if std is None else std
    if covariance == "fixed":
        check_unused("a fixed covariance has no floor", std_min=std_min)
        return gaussian(horizon, action_size, std=spread, learn_std=False, **parameters)
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance must be one of {', '.join(COVARIANCES)}, got {covariance!r}")
    more = {"unbiased": True} if covariance == "diagonal" else {}
    floor = 0.05 if std_min is None else std_min
    return COVARIANCES[covariance](horizon, action_size, std=spread, std_min=floor, **parameters, **more)


def belief_of(
    horizon: int,
    action_size: int,
    *,
    covariance: str,
    num_components: int,
    actions: Any,
    enumerate_plans: bool,
    std: Any = None,
    std_min: Any = None,
    noise_exponent: Any = None,
) -> Any:
    """Make a belief of the family that these arguments choose.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        covariance: of a Gaussian: "diagonal", "full" or "kronecker".
        num_components: above 1 a mixture of so many diagonal Gaussians.
        actions: a list [C, A] of discrete actions; None for continuous ones.
        enumerate_plans: a table over all plans of discrete actions, rather than independent steps.
        std: of continuous actions; 0.5 unless given.
        std_min: of continuous actions; 0.05 unless given.
        noise_exponent: of a Gaussian; None for white noise.

    Returns:
        The belief.

    Raises:
        ValueError: if the arguments choose several families, or a parameter lies outside its range, or means nothing
            to the family that is chosen.
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
        check_unused("actions are discrete", std=std, std_min=std_min, noise_exponent=noise_exponent)
        discrete = (enumeration if boolean("enumerate_plans", enumerate_plans) else categorical)(horizon, actions)
        if (width := discrete.actions.shape[1]) != action_size:
            raise ValueError(f"actions must have shape [C, {action_size}], one action per row, got width {width}")
        return discrete
    if num_components != 1:
        # components differ by their means, which are smooth at first
        check_unused("mixtures have no correlation in time", noise_exponent=noise_exponent)
        spread, floor = 0.5 if std is None else std, 0.05 if std_min is None else std_min
        return mixture(horizon, action_size, num_components=num_components, std=spread, std_min=floor, unbiased=True)
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance must be one of {', '.join(COVARIANCES)}, got {covariance!r}")
    parameters = {"std": std, "std_min": std_min, "noise_exponent": noise_exponent}
    return gaussian_of(covariance, horizon, action_size, **parameters)
