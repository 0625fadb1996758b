"""Random shooting: execute the best of many random plans."""

from typing import Any, Unpack

from .beliefs.choice import by_space
from .beliefs.gaussian import gaussian
from .composition import LoopOptions, compose
from .options import planner
from .sampling.likelihoods import Best
from .sampling.loop import SamplingPlanner
from .sampling.refinement import RefinedPlanner


@planner
def random_shooting(
    horizon: int, *, num_samples: int = 1024, std: Any = None, **options: Unpack[LoopOptions]
) -> SamplingPlanner | RefinedPlanner:
    """Random shooting: execute the best of many plans drawn anew at each step, the baseline of all planners.

    There is no warm start unless it is asked for.
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


@planner
def predictive_sampling(
    horizon: int,
    *,
    num_samples: int = 128,
    num_iterations: int = 1,
    std: Any = 0.3,
    noise_exponent: Any = None,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner | RefinedPlanner:
    """Predictive sampling (Howell et al., 2022): the best of the present plan and Gaussian variations of it.

    With a deterministic model the return of the plan never falls from one iteration to the next. `std` is that of the
    variations.
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
