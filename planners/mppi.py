"""Model predictive path integral control."""

from typing import Any, Unpack

from ..dynamics.checks import boolean, check_unused, real
from .beliefs.choice import COVARIANCES, by_space, gaussian_of
from .beliefs.gaussian import gaussian
from .composition import LoopOptions, compose, risk_at
from .sampling.likelihoods import exponential
from .sampling.loop import SamplingPlanner
from .sampling.priors import ShrunkPrior


def mppi(
    horizon: int,
    *,
    num_samples: int = 1024,
    num_iterations: int = 1,
    std: Any = None,
    temperature: Any = None,
    target_ess: Any = None,
    standardize: bool = False,
    rho: Any = None,
    cross_term: Any = None,
    prior: Any = None,
    covariance: str = "fixed",
    std_min: Any = None,
    smoothing: Any = None,
    noise_exponent: Any = None,
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """Model predictive path integral control (Williams et al., 2017): the mean of plans weighted by exp(R/λ).

    Args:
        horizon: the number H of steps.
        num_samples: the number K of plans per iteration.
        num_iterations: the number I of iterations.
        std: standard deviation of the plans around their mean, scalar, [A] or [H, A]; 1 is half the actuators' range.
            0.5 unless given.
        temperature: λ in reward units; None adapts it to `target_ess`.
        target_ess: the effective sample size to adapt to, as a fraction of the plans, no fewer than two; 0.1 unless
            given.
        standardize: divide returns by the spread of the better half first; `temperature` is then relative to it.
        rho: place of the expectation over scenarios: 0 inside of exp(R/λ) as `None`, 1 outside, below 0 averse; needs
            a temperature in reward units.
        cross_term: the weight 1 − α of Williams' cross term λ uᵀΣ⁻¹ε, in [0, 1], which prices control; 1 is the
            original, None (as most implementations) leaves it out.
        prior: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree: the weights become those of the posterior
            under it. Not together with `cross_term`, which is such a prior.
        covariance: "fixed" learns the mean only; "diagonal", "full" and "kronecker" adapt the covariance too, which
            without a prior collapses to `std_min` sooner or later.
        std_min: the floor of an adapted std; 0.05 unless given.
        smoothing: the share of the old mean and std that an iteration keeps, in [0, 1); None for none.
        noise_exponent: correlates the plans in time as noise of the spectrum 1/f^exponent; None for none.
        include_mode: whether the mean is one of the plans.
        **options: see `LoopOptions`.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if covariance not in ("fixed", *COVARIANCES):
        raise ValueError(f"covariance must be one of fixed, {', '.join(COVARIANCES)}, got {covariance!r}")
    if cross_term is not None and prior is not None:
        raise ValueError("cross_term is a prior around the present mean: give it or prior, got both")
    if cross_term is not None:
        prior = ShrunkPrior(real("cross_term", cross_term, minimum=0.0, maximum=1.0))
    parameters = {"std": std, "std_min": std_min, "smoothing": smoothing, "noise_exponent": noise_exponent}
    return compose(
        "mppi",
        horizon,
        by_space(gaussian_of(covariance, **parameters), **parameters),
        exponential(temperature, target_ess=target_ess, standardize=standardize),
        options,
        prior=prior,
        risk=risk_at(rho, temperature, standardize),
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


def pi2(
    horizon: int,
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
        per_step=True,
        num_samples=num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )
