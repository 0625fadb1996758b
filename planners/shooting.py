"""Random shooting: execute the best of many random plans."""

from typing import Any, Unpack

from .beliefs.choice import by_space
from .beliefs.gaussian import gaussian
from .composition import LoopOptions, compose
from .sampling.likelihoods import Best
from .sampling.loop import SamplingPlanner


def random_shooting(
    horizon: int, *, num_samples: int = 1024, std: Any = None, **options: Unpack[LoopOptions]
) -> SamplingPlanner:
    """Random shooting: the best of `num_samples` plans drawn anew at each step, the baseline of all planners.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of plans.
        std: standard deviation of the plans, scalar, [A] or [H, A]; 1 is half the actuators' range, and the default.
        **options: see `LoopOptions`; without a warm start unless asked for.

    Returns:
        The planner.
    """
    return compose(
        "random_shooting",
        horizon,
        by_space(gaussian(std=1.0 if std is None else std, learn_std=False), std=std),
        Best(),
        options,
        num_samples=num_samples,
        warm_start=False,
    )


def predictive_sampling(
    horizon: int,
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
        horizon,
        gaussian(std=std, learn_std=False, noise_exponent=noise_exponent),
        Best(),
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=True,
    )
