"""Predictive sampling: keep the best plan, look for a better one near it."""

from typing import Any, Unpack

from .composition import LoopOptions, compose
from .families import gaussian
from .likelihoods import Best
from .loop import SamplingPlanner


def predictive_sampling(
    horizon: int,
    action_size: int,
    *,
    num_samples: int = 128,
    num_iterations: int = 1,
    std: Any = 0.3,
    noise_exponent: Any = None,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """Predictive sampling (Howell et al., 2022): the best of the present plan and Gaussian variations of it.

    With a deterministic model the return of the plan never falls from one iteration to the next.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of plans, the present one included.
        num_iterations: the number I of iterations.
        std: standard deviation of the variations, scalar, [A] or [H, A]; 1 is half the actuators' range.
        noise_exponent: correlates the variations in time as noise of the spectrum 1/f^exponent; None for none.
        **options: see `LoopOptions`.

    Returns:
        The planner.
    """
    return compose(
        "predictive_sampling",
        lambda steps: gaussian(steps, action_size, std=std, learn_std=False, noise_exponent=noise_exponent),
        horizon,
        Best(),
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=True,
    )
