"""Diffusion-inspired annealing, and model-based diffusion."""

from typing import Annotated, Any, Unpack

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..dynamics.checks import check_unused
from .beliefs.annealed import annealed
from .beliefs.gaussian import gaussian
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .options import checked
from .sampling.likelihoods import exponential


@planner
def dial(
    horizon: int,
    *,
    num_samples: int = 512,
    num_iterations: int = 4,
    std: Annotated[Any, narrowed(none="")] = 0.5,
    temperature: Annotated[Any, narrowed(none="")] = 0.1,
    iteration_factor: Any = None,
    horizon_factor: Any = 0.9,
    diffusion: bool = False,
    include_mode: bool = True,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """DIAL-MPC (Xue et al., 2024): MPPI on standardised returns whose noise is annealed over iterations and horizon.

    In iteration i the std of step (or knot) h of H is `std` · iteration_factor^i · horizon_factor^(H−1−h): coarse
    first, then fine, and finer for what comes soon. The temperature is in standard deviations of the returns.

    With `diffusion` the noise falls as in model-based diffusion (Pan et al., 2024), σ_i = √(1 − Π_{j≤i} (1 − β_j))
    with β from 10⁻⁴ to 10⁻², last to first; take 50 to 300 iterations, `std` and `horizon_factor` of 1, and no warm
    start.

    For more iterations in the first planning of an episode make a second planner with them, take the plan that it
    finds, `belief.mode()`, and start this one around it: `planner.init(model, state).map_centers(lambda _: plan)`
    (over knots `lambda _: belief.reduce @ plan`).
    """
    check_unused("dial anneals a Gaussian of its own", belief=options.get("belief"))
    across = checked("horizon_factor", horizon_factor)
    if checked("diffusion", diffusion):
        check_unused("diffusion has a schedule of its own", iteration_factor=iteration_factor)
    factor = 0.5 if iteration_factor is None else iteration_factor
    falling = checked("iteration_factor", factor, required=True)
    iterations = checked("num_iterations", num_iterations)
    schedule = _diffusion(iterations) if diffusion else falling ** jnp.arange(iterations)
    return compose(
        "dial",
        horizon,
        annealed(gaussian(std=std, learn_std=False), schedule, horizon_factor=across),
        exponential(temperature, standardize=True),
        options,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


def _diffusion(iterations: int) -> Float[Array, " I"]:
    """The noise of the reverse process, σ_i = √(1 − ᾱ_i), from the last to the first."""
    alpha_bar = jnp.cumprod(1.0 - jnp.linspace(1e-4, 1e-2, iterations))
    return jnp.sqrt(1.0 - alpha_bar)[::-1]
