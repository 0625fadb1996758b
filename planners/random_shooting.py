"""Random shooting: execute the best of many random plans."""

from typing import Any, Unpack

from .composition import LoopOptions, compose
from .families import gaussian
from .likelihoods import Best
from .loop import SamplingPlanner


def random_shooting(
    horizon: int, action_size: int, *, num_samples: int = 1024, std: Any = 1.0, **options: Unpack[LoopOptions]
) -> SamplingPlanner:
    """Random shooting: the best of `num_samples` plans drawn anew at each step, the baseline of all planners.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of plans.
        std: standard deviation of the plans, scalar, [A] or [H, A]; 1 is half the actuators' range.
        **options: see `LoopOptions`; without a warm start unless asked for.

    Returns:
        The planner.
    """
    return compose(
        "random_shooting",
        lambda steps: gaussian(steps, action_size, std=std, learn_std=False),
        horizon,
        Best(),
        options,
        num_samples=num_samples,
        warm_start=False,
    )
