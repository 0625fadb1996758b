"""Model predictive path integral control."""

from typing import Annotated, Any, Unpack

from ..dynamics.checks import check_unused
from .beliefs.categorical import categorical
from .beliefs.choice import gaussian_of, unless
from .beliefs.gaussian import gaussian
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .options import checked
from .rollouts.risk import risk_at
from .sampling.likelihoods import exponential
from .sampling.priors import ShrunkPrior

_TARGET = (
    "effective sample size of the weights that adapts the temperature, as a fraction of the plans (two at least)"
)


@planner
def mppi(
    horizon: int,
    *,
    num_samples: int = 1024,
    num_iterations: int = 1,
    std: Any = None,
    temperature: Annotated[Any, narrowed(none="adapts it, see target_ess")] = None,
    target_ess: Annotated[Any, narrowed(help=_TARGET, none="for 0.1")] = None,
    standardize: bool = False,
    rho: Any = None,
    cross_term: Any = None,
    prior: Annotated[Any, narrowed(none="leaves it out")] = None,
    covariance: str = "fixed",
    std_min: Any = None,
    smoothing: Any = None,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Model predictive path integral control (Williams et al., 2017): the mean of plans weighted by exp(R/λ).

    A covariance that is learnt without a prior collapses to `std_min` sooner or later. The cross term is a prior
    around the present mean: give it or `prior`.
    """
    checked("covariance", covariance)
    if cross_term is not None and prior is not None:
        raise ValueError("cross_term is a prior around the present mean: give it or prior, got both")
    if cross_term is not None:
        prior = ShrunkPrior(checked("cross_term", cross_term, required=True))
    parameters = {"std": std, "std_min": std_min, "smoothing": smoothing, "noise_exponent": noise_exponent}
    return compose(
        "mppi",
        horizon,
        gaussian_of(covariance, **parameters),
        exponential(temperature, target_ess=target_ess, standardize=standardize),
        options,
        discrete=categorical(),
        family_options={"covariance": unless("fixed", covariance), **parameters},
        prior=prior,
        risk=risk_at(rho, temperature, standardize),
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


@planner
def pi2(
    horizon: int,
    *,
    num_samples: int = 256,
    num_iterations: int = 4,
    std: Annotated[Any, narrowed(none="")] = 0.5,
    temperature: Annotated[Any, narrowed(none="")] = 0.1,
    learn_std: bool = False,
    std_min: Any = None,
    smoothing: Any = None,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """PI² (Theodorou et al., 2010): every step is weighted by its return-to-go.

    Its fixed point is not the mean of the posterior over plans: a step is not blamed for what came before it, which
    means less variance and another answer. The temperature is 1/h, in units of the range of the returns-to-go of a
    step, estimated from the better half of the plans. A learnt std is measured about the old mean, as in PI²-CMA
    (Stulp and Sigaud, 2012). There are no knots: each step is weighted by itself.
    """
    if options.get("num_knots") is not None:
        raise ValueError(f"num_knots must be None for pi2, which weighs steps, got {options['num_knots']!r}")
    if not checked("learn_std", learn_std):
        check_unused("the std is fixed unless learn_std", std_min=std_min)
    return compose(
        "pi2",
        horizon,
        gaussian(
            std=std,
            std_min=0.05 if std_min is None else std_min,
            smoothing=smoothing,
            learn_std=learn_std,
            about_old_mean=True,
            noise_exponent=noise_exponent,
        ),
        exponential(temperature, by_range=True),
        options,
        family_options={
            "std": unless(0.5, std),
            "learn_std": unless(False, learn_std),
            "std_min": std_min,
            "smoothing": smoothing,
            "noise_exponent": noise_exponent,
        },
        per_step=True,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
