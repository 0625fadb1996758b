"""Variational inference MPC: mirror descent on the ELBO."""

from typing import Annotated, Any, Unpack

from ..dynamics.checks import check_unused
from .beliefs.categorical import categorical
from .beliefs.choice import by_space, family_of, unless
from .beliefs.enumeration import enumeration
from .beliefs.gaussian import gaussian
from .beliefs.spline import splined
from .composition import ComposedPlanner, LoopOptions, compose, renamed
from .factory import planner
from .option import narrowed
from .options import checked
from .rollouts.risk import risk_at
from .sampling.likelihoods import exponential
from .sampling.step_sizes import step_size as choose_step

_TARGET = "effective sample size of the weights that adapts the step size, as a fraction of the plans (two at least)"
_OWN_TARGET = "for 0.1, or as many plans as a plan (or its knots) has dimensions where these are fewer"
_MAX_KL = "greatest divergence of an iteration's belief from the one before, nats"
_NOISE = (
    "exponent of the spectrum 1/f^exponent of the noise of the initial belief and the default prior; 'pink' is 1, "
    "and white noise for mixtures"
)


@planner
def vi_mpc(
    horizon: int,
    *,
    num_samples: Annotated[int | None, narrowed(none="for 512", several=True)] = None,
    num_iterations: int = 2,
    std: Any = None,
    temperature: Annotated[Any, narrowed(none="for 0.01 spreads of the better returns")] = None,
    standardize: bool = False,
    step_size: Any = None,
    target_ess: Annotated[Any, narrowed(help=_TARGET, none=_OWN_TARGET)] = None,
    max_kl: Annotated[Any, narrowed(help=_MAX_KL, none="for no such limit")] = None,
    prior: Annotated[Any, narrowed(none="for N(0, prior_std²), uniform over discrete actions")] = None,
    prior_std: Annotated[Any, narrowed(none="for std, 0.5 unless given")] = None,
    rho: Any = None,
    covariance: Annotated[str, narrowed(choices=("diagonal", "full", "kronecker"))] = "diagonal",
    num_components: int = 1,
    enumerate_plans: bool = False,
    std_min: Any = None,
    noise_exponent: Annotated[Any, narrowed(words=("pink",), help=_NOISE)] = "pink",
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Variational inference MPC: mirror descent to the posterior p(a) exp(R/λ) over plans, q⁺ ∝ q^(1−κ) (p W)^κ.

    Plans have the weights softmax(κ (R/λ + log p − log q)). For every step size κ in (0, 1] the iterations end at the
    member of the family nearest to the posterior; with a full covariance on a quadratic return that is the posterior
    itself. λ decides where they end, κ only how fast. (For a posterior to rely on rather than a plan to
    execute, take a full covariance, or `noise_exponent=None`: see `planners.beliefs.Gaussian.fit`; and a small
    `std_min`.) The published update (Okada and Taniguchi, 2019; Millidge et al., 2020, Eq. 5) is `planners.okada`.

    Give one of `step_size`, `target_ess` and `max_kl`, or none: then the greatest κ is taken that leaves an
    effective sample size of a tenth of the plans, or of as many plans as a plan (or its knots) has numbers. A
    temperature that is not given is 0.01 spreads of the better returns: cold enough that the noise in the estimates
    of log p − log q does not dominate the returns.

    The noise of the initial belief and of the default prior is pink, and white for mixtures; a diagonal covariance
    keeps its correlation. Of a mixture the heaviest component is executed: where there is but one way to go all
    share it, and its mean is further from the posterior's than that of one Gaussian. With `enumerate_plans` all C^H
    plans of discrete actions are evaluated, whose number `num_samples` (512 unless given) then is, in one whole
    step unless a step size is given.
    """
    if prior_std is not None and prior is not None:
        raise ValueError(
            f"prior_std is of the default prior of Gaussian beliefs: give it or another prior, got {prior_std!r}"
        )
    exponent, color = unless("pink", noise_exponent), noise_exponent
    if isinstance(noise_exponent, str):
        color = 1.0 if num_components == 1 else None
    own = {"covariance": unless("diagonal", covariance), "num_components": unless(1, num_components)}
    own |= {"std": std, "std_min": std_min}
    continuous = family_of(
        covariance=covariance, num_components=num_components, std=std, std_min=std_min, noise_exponent=color
    )
    exhaustive = checked("enumerate_plans", enumerate_plans)
    if exhaustive:
        check_unused("enumerate_plans tries all plans", num_samples=num_samples, belief=options.get("belief"))
    family = enumeration() if exhaustive else continuous
    if prior is not None and options.get("belief") is not None:
        check_unused("belief and prior have correlations of their own", noise_exponent=exponent)
    if prior is None:
        spread = (0.5 if std is None else std) if prior_std is None else prior_std
        uninformed = gaussian(std=checked("prior_std", spread, required=True), noise_exponent=color)
        prior = by_space(uninformed, prior_std=prior_std, noise_exponent=exponent)
        prior = splined(prior, options.get("num_knots"), options.get("interpolation"))
    risk = risk_at(rho, temperature, checked("standardize", standardize))
    if temperature is None:
        temperature, standardize = 0.01, True
    if exhaustive and step_size is None and max_kl is None and target_ess is None:
        step_size = 1.0
    return compose(
        "vi_mpc",
        horizon,
        family,
        exponential(temperature, standardize=standardize),
        options,
        discrete=enumeration() if exhaustive else categorical(),
        family_options=own if options.get("belief") is not None else own | {"noise_exponent": exponent},
        prior=prior,
        step_size=choose_step(step_size, target_ess=target_ess, max_kl=max_kl),
        risk=risk,
        num_samples=512 if num_samples is None else num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


@planner
def okada(
    horizon: int,
    *,
    temperature: Annotated[Any, narrowed(help="temperature β of W = exp(R/β), in reward units", none="")] = 1.0,
    lam: Any = 1.0,
    kappa: Any = 0.5,
    **options: Annotated[Any, "those of `planners.vi_mpc`, but for its step size, which kappa is"],
) -> ComposedPlanner:
    """VI-MPC as Okada and Taniguchi (2019, Eq. 6~) parametrise it: plans have the weights W^(1/λ) q^(−κ).

    With W = exp(R/β) that is mirror descent with step size κ to the posterior at the temperature c β, c = λ κ, which
    `info.temperature` shows: the two numbers are not independent of the temperature β, and the answer is exp(R/β)
    itself for c = 1 only. At κ = 0 nothing would be left to chance, at a stationary temperature of 0: that is `mppi`
    at the temperature β λ with an adapted covariance. The prior is flat unless it or `prior_std` is given.
    """
    fixed = ("step_size", "target_ess", "max_kl", "standardize")
    check_unused(
        "kappa is the step size, of a temperature in reward units", **{name: options.get(name) for name in fixed}
    )
    step = checked("kappa", kappa)
    stationary = checked("temperature", temperature, required=True) * checked("lam", lam) * step
    options = ({} if "prior_std" in options else {"prior": "flat"}) | options
    if (rho := options.pop("rho", None)) is not None:  # of W itself, whose temperature is β
        check_unused("rho is a risk measure", risk=options.get("risk"))
        options["risk"] = risk_at(rho, temperature)
    try:
        return renamed(vi_mpc(horizon, temperature=stationary, step_size=step, **options), "okada")
    except TypeError as error:
        raise TypeError(str(error).replace("vi_mpc()", "okada()")) from error
