"""Which Gaussian: independent, with every correlation, or with those between steps and between actuators."""

from collections.abc import Callable
from typing import Any

from .full import full_gaussian
from .gaussian import gaussian
from .kronecker import kronecker_gaussian

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
