"""Evolution strategies."""

from typing import Any, Unpack

from .beliefs.strategy import strategy as evolving
from .composition import LoopOptions, compose
from .sampling.likelihoods import elite
from .sampling.loop import SamplingPlanner


def evolution(
    horizon: int,
    *,
    strategy: Any = "CMA_ES",
    num_samples: int = 128,
    num_iterations: int = 5,
    std: Any = 0.5,
    elite_fraction: Any = None,
    params: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """Any evolution strategy of evosax (Lange, 2022), CMA-ES unless told otherwise.

    Args:
        horizon: the number H of steps.
        strategy: the name of one of `evosax.algorithms`, such a class, or an instance made for `num_samples`
            solutions of shape [H, A] (or [N, A] with N knots). Those that follow a gradient estimate (Open_ES, PGPE,
            ARS, ...) have an optimiser, whose learning rate, 0.001 or 0.01, is for networks: for plans give an
            instance, as `Open_ES(population_size=128, solution=jnp.zeros((H, A)), optimizer=optax.adam(0.1))`.
        num_samples: the size K of the population.
        num_iterations: the number I of generations.
        std: the unit in which it searches, scalar, [A] or [H, A]: a strategy's initial std of 1 is this.
        elite_fraction: share of the population that is elite, in (0, 1], a number; None for the strategy's own.
        params: the strategy's hyperparameters by name, a mapping; those that are not given are its own.
        include_mode: whether the mean is one of the population.
        **options: see `LoopOptions`.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return compose(
        "evolution",
        horizon,
        evolving(
            algorithm=strategy,
            num_samples=num_samples,
            std=std,
            elite_fraction=elite_fraction,
            params=params,
        ),
        elite(0.5 if elite_fraction is None else elite_fraction),  # told in `info` only: ranks are the strategy's own
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
