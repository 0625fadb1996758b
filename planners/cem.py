"""The cross-entropy method."""

from typing import Any, Unpack

from ..dynamics.checks import boolean, check_unused, fraction, integer, real
from .beliefs.choice import by_space
from .beliefs.gaussian import gaussian
from .composition import LoopOptions, compose
from .sampling.likelihoods import elite
from .sampling.loop import SamplingPlanner


def cem(
    horizon: int,
    *,
    num_samples: int = 500,
    num_iterations: int = 5,
    std: Any = None,
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
        num_samples: the number K of plans per iteration.
        num_iterations: the number I of iterations.
        std: standard deviation at the start of each planning, scalar, [A] or [H, A]; 1 is half the actuators' range.
            0.5 unless given.
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
        horizon,
        _family(std, std_min, smoothing, noise_exponent),
        elite(elite_fraction, num_elites=num_elites, num_samples=num_samples),
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


def icem(
    horizon: int,
    *,
    num_samples: int = 128,
    num_iterations: int = 3,
    std: Any = None,
    elite_fraction: Any = None,
    num_elites: int | None = None,
    std_min: Any = 0.05,
    smoothing: Any = 0.1,
    noise_exponent: Any = 1.0,
    population_decay: float = 1.25,
    keep_fraction: float = 0.3,
    shift_fraction: float | None = None,
    include_mode: bool = True,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """The improved cross-entropy method (Pinneri et al., 2020): coloured noise, elites kept, the best executed.

    Elites are part of the budget here, and the mean is among the plans of every iteration, not only the last.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of plans of the first iteration.
        num_iterations: the number I of iterations.
        std: standard deviation at the start of each planning, scalar, [A] or [H, A]; 1 is half the actuators' range.
            0.5 unless given.
        elite_fraction: share of the plans that are elite, in (0, 1]; at least two are. 0.1 unless given.
        num_elites: number of elites in the first iteration instead, from 2 to `num_samples`.
        std_min: the floor of the std.
        smoothing: the share of the old mean and std that a refit keeps, in [0, 1); None for none.
        noise_exponent: exponent of the noise's spectrum 1/f^exponent, >= 0: from 0.25 for fast gaits to 3 or 4 for
            reaching; None for white noise.
        population_decay: the factor >= 1 by which each iteration looks at fewer plans, but twice the elites at least.
            Above 1 each iteration is a program of its own to compile.
        keep_fraction: share of the elites that the next iteration looks at again, in [0, 1].
        shift_fraction: share of the elites that the next time step looks at again, shifted by a step, in [0, 1]; 0.3
            unless given, with a warm start.
        include_mode: whether the mean is one of the plans.
        **options: see `LoopOptions`; the best plan is executed unless `execute` says otherwise, and `num_kept` is
            told by the fractions.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    likelihood = elite(elite_fraction, num_elites=num_elites, num_samples=num_samples)
    first, iterations = integer("num_samples", num_samples, 2), integer("num_iterations", num_iterations)
    if "num_kept" in options:
        raise ValueError("num_kept is keep_fraction and shift_fraction in icem: give those")
    real("population_decay", population_decay, minimum=1.0)
    warm = boolean("warm_start", options.get("warm_start", True))
    if not warm:
        check_unused("without a warm start the next time step knows of no elites", shift_fraction=shift_fraction)
    shifted = fraction("shift_fraction", 0.3 * warm if shift_fraction is None else shift_fraction)
    kept = fraction("keep_fraction", keep_fraction)
    elites = 0  # where their number decides a size it must be known, and stays the same as the population shrinks
    if population_decay > 1.0 or kept or shifted:
        share = fraction("elite_fraction", 0.1 if elite_fraction is None else elite_fraction)
        elites = max(2, round(share * first)) if num_elites is None else num_elites
        likelihood = elite(num_elites=elites, num_samples=first)
    sizes = [min(first, max(2 * elites, int(first / population_decay**i))) for i in range(iterations)]
    return compose(
        "icem",
        horizon,
        _family(std, std_min, smoothing, noise_exponent),
        likelihood,
        options,
        kept=(round(kept * elites), round(shifted * elites)),
        execute="best",
        num_samples=sizes,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


def _family(std: Any, std_min: Any, smoothing: Any, noise_exponent: Any) -> Any:
    spread = 0.5 if std is None else std
    continuous = gaussian(std=spread, std_min=std_min, smoothing=smoothing, noise_exponent=noise_exponent)
    return by_space(continuous, std=std)
