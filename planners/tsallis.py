"""Tsallis variational inference: from MPPI to CEM."""

from typing import Annotated, Any, Unpack

from ..dynamics.checks import check_unused
from .beliefs.categorical import categorical
from .beliefs.choice import unless
from .beliefs.gaussian import gaussian
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .options import checked
from .sampling.likelihoods import q_exponential


@planner
def tsallis(
    horizon: int,
    *,
    num_samples: int = 256,
    num_iterations: int = 1,
    std: Any = None,
    r: Any = 2.0,
    elite_fraction: Any = None,
    temperature: Annotated[Any, narrowed(none="for a share of elites")] = None,
    learn_std: bool = False,
    std_min: Any = None,
    smoothing: Any = None,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Tsallis variational inference (Wang et al., 2021): MPPI at r = 1, CEM at r = ∞, and what lies between.

    With a temperature the weights fall like exp(R/λ) near the best return, and r → 1 is MPPI; with a fraction of
    elites r → ∞ is CEM (and r → 1 takes the best plan alone).
    """
    if not checked("learn_std", learn_std):
        check_unused("the std is fixed unless learn_std", std_min=std_min)
    return compose(
        "tsallis",
        horizon,
        gaussian(
            std=0.5 if std is None else std,
            std_min=0.05 if std_min is None else std_min,
            smoothing=smoothing,
            learn_std=learn_std,
            noise_exponent=noise_exponent,
        ),
        q_exponential(r, elite_fraction=elite_fraction, temperature=temperature),
        options,
        discrete=categorical(),
        family_options={
            "std": std,
            "std_min": std_min,
            "smoothing": smoothing,
            "noise_exponent": noise_exponent,
            "learn_std": unless(False, learn_std),
        },
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
