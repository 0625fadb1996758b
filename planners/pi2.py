"""Policy improvement with path integrals."""

from typing import Any, Unpack

from ..dynamics.base import boolean
from .base import check_unused
from .composition import LoopOptions, compose
from .families import gaussian
from .likelihoods import exponential
from .loop import SamplingPlanner


def pi2(
    horizon: int,
    action_size: int,
    *,
    num_samples: int = 256,
    num_iterations: int = 4,
    std: Any = 0.5,
    temperature: Any = 0.1,
    learn_std: bool = False,
    std_min: Any = None,
    smoothing: Any = None,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """PI² (Theodorou et al., 2010): every step is weighed by what remains of the return from there on.

    Its fixed point is not the mean of the posterior over plans: a step is not blamed for what came before it, which
    makes for less variance and another answer.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of plans per iteration.
        num_iterations: the number I of iterations.
        std: standard deviation of the plans around their mean, scalar, [A] or [H, A]; 1 is half the actuators' range.
        temperature: 1/h, in units of the difference between the greatest and the least remaining return of a step, as
            the better half of the plans tells it.
        learn_std: whether the std of each step is adapted too, about the old mean, as PI²-CMA (Stulp and Sigaud,
            2012) does.
        std_min: the floor of a learnt std; 0.05 unless given.
        smoothing: the share of the old mean and std that an iteration keeps, in [0, 1); None for none.
        noise_exponent: correlates the plans in time as noise of the spectrum 1/f^exponent; None for none.
        include_mode: whether the mean is one of the plans.
        **options: see `LoopOptions`; without knots, which no one step is to blame for.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if options.get("num_knots") is not None:
        raise ValueError(f"num_knots must be None for pi2, which weighs steps, got {options['num_knots']!r}")
    if not boolean("learn_std", learn_std):
        check_unused("the std is fixed unless learn_std", std_min=std_min)
    return compose(
        "pi2",
        lambda steps: gaussian(
            steps,
            action_size,
            std=std,
            std_min=0.05 if std_min is None else std_min,
            smoothing=smoothing,
            learn_std=learn_std,
            about_old_mean=True,
            noise_exponent=noise_exponent,
        ),
        horizon,
        exponential(temperature, by_range=True),
        options,
        per_step=True,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
