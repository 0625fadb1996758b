"""The cross-entropy method."""

from typing import Any, Unpack

from .composition import LoopOptions, compose
from .families import gaussian
from .likelihoods import elite
from .loop import SamplingPlanner


def cem(
    horizon: int,
    action_size: int,
    *,
    num_samples: int = 500,
    num_iterations: int = 5,
    std: Any = 0.5,
    elite_fraction: Any = None,
    num_elites: int | None = None,
    std_min: Any = 0.05,
    smoothing: Any = 0.1,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """The cross-entropy method (Rubinstein, 1999): refit mean and std to the best plans.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of plans per iteration.
        num_iterations: the number I of iterations.
        std: standard deviation at the start of each planning, scalar, [A] or [H, A]; 1 is half the actuators' range.
        elite_fraction: share of the plans that are elite, in (0, 1]; at least two are. 0.1 unless given.
        num_elites: number of elites instead, from 2 to `num_samples`.
        std_min: the floor of the std, against collapse before the best is found.
        smoothing: the share of the old mean and std that a refit keeps, in [0, 1); None for none.
        noise_exponent: correlates the plans in time as noise of the spectrum 1/f^exponent; None for none.
        include_mode: whether the mean is one of the plans.
        **options: see `LoopOptions`.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return compose(
        "cem",
        lambda steps: gaussian(
            steps, action_size, std=std, std_min=std_min, smoothing=smoothing, noise_exponent=noise_exponent
        ),
        horizon,
        elite(elite_fraction, num_elites=num_elites, num_samples=num_samples),
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
