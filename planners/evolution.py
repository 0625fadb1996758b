"""Evolution strategies."""

from typing import Annotated, Any, Unpack

from ..dynamics.checks import check_unused
from .beliefs.strategy import strategy as evolving
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .sampling.likelihoods import elite


@planner
def evolution(
    horizon: int,
    *,
    strategy: Any = "CMA_ES",
    num_samples: int = 128,
    num_iterations: int = 5,
    std: Annotated[Any, narrowed(help="unit in which the strategy searches", none="")] = 0.5,
    elite_fraction: Annotated[float | None, narrowed(kind="number", none="for the strategy's own")] = None,
    params: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Any evolution strategy of evosax (Lange, 2022), CMA-ES unless another is named.

    `num_samples` is the size of the population, `std` the unit in which the strategy searches. Strategies that follow
    a gradient estimate (Open_ES, PGPE, ARS, ...) have an optimiser whose learning rate, 0.001 or 0.01, is for
    networks: for plans give an instance, as `Open_ES(population_size=128, solution=jnp.zeros((H, A)),
    optimizer=optax.adam(0.1))`; with N knots its solution has the shape [N, A]. An instance has an elite fraction of
    its own.
    """
    check_unused("the strategy is the belief", belief=options.get("belief"))
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
        elite(0.5 if elite_fraction is None else elite_fraction),  # for `info` only: the strategy ranks by itself
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
