"""The cross-entropy method."""

from typing import Annotated, Any, Unpack

from ..dynamics.checks import check_unused, integer
from .beliefs.categorical import categorical
from .beliefs.choice import unless
from .beliefs.gaussian import gaussian
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .options import checked
from .sampling.likelihoods import elite


@planner
def cem(
    horizon: int,
    *,
    num_samples: int = 500,
    num_iterations: int = 5,
    std: Any = None,
    elite_fraction: Any = None,
    num_elites: int | None = None,
    std_min: Annotated[Any, narrowed(none="")] = 0.05,
    smoothing: Any = 0.1,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """The cross-entropy method (Rubinstein, 1999): refit mean and std to the best plans."""
    return compose(
        "cem",
        horizon,
        gaussian(
            std=0.5 if std is None else std, std_min=std_min, smoothing=smoothing, noise_exponent=noise_exponent
        ),
        elite(elite_fraction, num_elites=num_elites, num_samples=num_samples),
        options,
        discrete=categorical(),
        family_options=_given(std, std_min, smoothing, noise_exponent),
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


@planner
def icem(
    horizon: int,
    *,
    num_samples: int = 128,
    num_iterations: int = 3,
    std: Any = None,
    elite_fraction: Annotated[float | None, narrowed(kind="number")] = None,
    num_elites: int | None = None,
    std_min: Annotated[Any, narrowed(none="")] = 0.05,
    smoothing: Any = 0.1,
    noise_exponent: Any = 1.0,
    population_decay: float = 1.25,
    keep_fraction: float = 0.3,
    shift_fraction: float | None = None,
    include_mode: bool = True,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """The improved cross-entropy method (Pinneri et al., 2020): coloured noise, elites kept, the best executed.

    Elites are part of the budget here, and the mean is among the plans of every iteration, not only the last. The
    exponent of the noise goes from 0.25 for fast gaits to 3 or 4 for reaching. Where the population decays, each
    iteration is a program of its own to compile. `num_kept` is set by the two fractions.
    """
    likelihood = elite(elite_fraction, num_elites=num_elites, num_samples=num_samples)
    first, iterations = integer("num_samples", num_samples, 2), checked("num_iterations", num_iterations)
    if "num_kept" in options:
        raise ValueError("num_kept is keep_fraction and shift_fraction in icem: give those")
    checked("population_decay", population_decay)
    warm = checked("warm_start", options.get("warm_start", True))
    if not warm:
        check_unused("without a warm start the next time step knows of no elites", shift_fraction=shift_fraction)
    shifted = checked("shift_fraction", 0.3 * warm if shift_fraction is None else shift_fraction)
    kept = checked("keep_fraction", keep_fraction)
    elites = 0  # where their number decides a size it must be known, and stays the same as the population shrinks
    if population_decay > 1.0 or kept or shifted:
        share = 0.1 if elite_fraction is None else float(elite_fraction)
        elites = max(2, round(share * first)) if num_elites is None else num_elites
        likelihood = elite(num_elites=elites, num_samples=first)
    sizes = [min(first, max(2 * elites, int(first / population_decay**i))) for i in range(iterations)]
    return compose(
        "icem",
        horizon,
        gaussian(
            std=0.5 if std is None else std, std_min=std_min, smoothing=smoothing, noise_exponent=noise_exponent
        ),
        likelihood,
        options,
        discrete=categorical(),
        family_options=_given(std, std_min, smoothing, unless(1.0, noise_exponent)),
        kept=(round(kept * elites), round(shifted * elites)),
        execute="best",
        num_samples=sizes,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


def _given(std: Any, std_min: Any, smoothing: Any, noise_exponent: Any) -> dict[str, Any]:
    """The options of the family that were given."""
    return {
        "std": std,
        "std_min": unless(0.05, std_min),
        "smoothing": unless(0.1, smoothing),
        "noise_exponent": noise_exponent,
    }
