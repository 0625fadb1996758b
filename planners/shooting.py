"""Random shooting: execute the best of many random plans."""

from typing import Annotated, Any, Unpack

from .beliefs.categorical import categorical
from .beliefs.choice import unless
from .beliefs.gaussian import gaussian
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .sampling.likelihoods import Best


@planner
def random_shooting(
    horizon: int,
    *,
    num_samples: int = 1024,
    std: Annotated[Any, narrowed(none="for 1")] = None,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Random shooting: execute the best of many plans drawn anew at each step, the baseline of all planners.

    There is no warm start unless it is asked for.
    """
    return compose(
        "random_shooting",
        horizon,
        gaussian(std=1.0 if std is None else std, learn_std=False),
        Best(),
        options,
        discrete=categorical(),
        family_options={"std": std},
        num_samples=num_samples,
        warm_start=False,
    )


@planner
def predictive_sampling(
    horizon: int,
    *,
    num_samples: int = 128,
    num_iterations: int = 1,
    std: Annotated[Any, narrowed(none="")] = 0.3,
    noise_exponent: Any = None,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
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
        family_options={"std": unless(0.3, std), "noise_exponent": noise_exponent},
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=True,
    )
