"""Variational inference MPC: mirror descent on the ELBO."""

from typing import Any, Unpack

from ..dynamics.checks import boolean, check_unused, real
from .beliefs.choice import by_space, family_of
from .beliefs.enumeration import enumeration
from .beliefs.gaussian import gaussian
from .beliefs.spline import splined
from .composition import LoopOptions, compose, risk_at
from .sampling.likelihoods import exponential
from .sampling.loop import SamplingPlanner
from .sampling.step_sizes import step_size as choose_step


def vi_mpc(
    horizon: int,
    *,
    num_samples: int | None = None,
    num_iterations: int = 2,
    std: Any = None,
    temperature: Any = None,
    standardize: bool = False,
    step_size: Any = None,
    target_ess: Any = None,
    max_kl: Any = None,
    prior: Any = None,
    prior_std: Any = None,
    rho: Any = None,
    covariance: str = "diagonal",
    num_components: int = 1,
    enumerate_plans: bool = False,
    std_min: Any = None,
    noise_exponent: Any = "pink",
    include_mode: bool = False,
    **options: Unpack[LoopOptions],
) -> SamplingPlanner:
    """Variational inference MPC: mirror descent to the posterior p(a) exp(R/λ) over plans, q⁺ ∝ q^(1−κ) (p W)^κ.

    Plans weigh softmax(κ (R/λ + log p − log q)). For every step size κ in (0, 1] the iterations end at the member of
    the family nearest to the posterior; with a full covariance on a quadratic return that is the posterior itself. λ
    says how much is left to chance, κ only how fast. (For a posterior to rely on rather than a plan to execute, take
    a full covariance, or `noise_exponent=None`: see `Gaussian.fit`; and a small `std_min`.) The published update
    (Okada and Taniguchi, 2019; Millidge et al., 2020, Eq. 5) is `planners.okada`.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of plans per iteration; 512 unless given.
        num_iterations: the number I of iterations.
        std: standard deviation of the initial belief (a mixture's components start that far apart besides), and of
            the prior unless that is given, scalar, [A] or [H, A]; 1 is half the actuators' range. 0.5 unless given.
        temperature: λ of the posterior, in reward units; None adapts it, to 0.01 spreads of the better returns:
            as cold as this log p − log q, which the samples know only up to some noise, does not drown the returns.
        standardize: divide returns by the spread of the better half first; `temperature` is then relative to it.
        step_size: κ in (0, 1]; None adapts it.
        target_ess: take the greatest κ that leaves this effective sample size, as a fraction of the plans; 0.1 unless
            one of the three is given, or as many plans as there are numbers in a plan (or in its knots), if that is
            less: to fit them takes no more, and the mean of more plans that differ by a knot is no good plan.
        max_kl: take the greatest κ that moves the belief no further than this, nats.
        prior: a family of beliefs (`planners.beliefs.gaussian(std=1.0)`), or an object with `log_prob(plans [K, H, A])
            -> [K]`, a pytree; `planners.priors.policy_prior` for one over actions in states; "flat" for none; None for the Gaussian of `prior_std` (discrete actions: uniform).
        prior_std: standard deviation of the prior N(0, prior_std²), with the noise's correlation, scalar, [A] or [H,
            A]; `std` unless given.
        rho: place of the expectation over scenarios: 0 inside of exp(R/λ) as `None`, the structured posterior; 1
            outside, the posterior that is optimistic about the noise; needs a temperature in reward units.
        covariance: "diagonal", "full" or "kronecker" (between steps and between actuators).
        num_components: above 1 a mixture of so many diagonal Gaussians, whose heaviest is executed: where there is
            but one way to go they share it, and its mean is further from the posterior's than that of one Gaussian.
        enumerate_plans: try all C^H plans of discrete actions: exact inference, in one whole step unless a step size
            is given. `num_samples`, which must then not be given, is their number.
        std_min: the floor of the std, in every direction of a covariance. 0.05 unless given.
        noise_exponent: correlates the initial belief in time as noise of the spectrum 1/f^exponent; None for none;
            "pink" is 1, and none for mixtures. A diagonal covariance keeps that correlation.
        include_mode: whether the mean is one of the plans.
        **options: see `LoopOptions`.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range, or several families at once.
    """
    if prior_std is not None and prior is not None:
        raise ValueError(
            f"prior_std is of the default prior of Gaussian beliefs: give it or another prior, got {prior_std!r}"
        )
    color = noise_exponent
    if isinstance(noise_exponent, str):
        if noise_exponent != "pink":
            raise ValueError(f"noise_exponent must be a number, 'pink' or None, got {noise_exponent!r}")
        color = 1.0 if num_components == 1 else None
    given = {"std": std, "std_min": std_min, "prior_std": prior_std}
    if not isinstance(noise_exponent, str):
        given["noise_exponent"] = noise_exponent
    continuous = family_of(
        covariance=covariance, num_components=num_components, std=std, std_min=std_min, noise_exponent=color
    )
    exhaustive = boolean("enumerate_plans", enumerate_plans)
    if exhaustive:
        check_unused("enumerate_plans tries all plans", num_samples=num_samples)
    family = enumeration() if exhaustive else by_space(continuous, **given)
    if prior is None:
        spread = (0.5 if std is None else std) if prior_std is None else prior_std
        uninformed = gaussian(std=real("prior_std", spread, above=0.0, shape=None), noise_exponent=color)
        prior = splined(by_space(uninformed), options.get("num_knots"), options.get("interpolation"))
    risk = risk_at(rho, temperature, boolean("standardize", standardize))
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
        prior=prior,
        step_size=choose_step(step_size, target_ess=target_ess, max_kl=max_kl),
        risk=risk,
        num_samples=512 if num_samples is None else num_samples,
        num_iterations=num_iterations,
        include_mode=include_mode,
    )


def okada(
    horizon: int, *, temperature: Any = 1.0, lam: Any = 1.0, kappa: Any = 0.5, **options: Any
) -> SamplingPlanner:
    """VI-MPC as Okada and Taniguchi (2019, Eq. 6~) parametrise it: plans weigh W^(1/λ) q^(−κ), with W = exp(R/β).

    That is mirror descent with step size κ to the posterior at the temperature c β, c = λ κ, which `info.temperature`
    tells: the two numbers are not independent of the temperature, and the answer is exp(R/β) itself for c = 1 only.

    Args:
        horizon: the number H of steps.
        temperature: β, in reward units.
        lam: λ > 0.
        kappa: κ in (0, 1]. RolloutState 0 nothing would be left to chance, at a stationary temperature of 0: that is `mppi` at
            the temperature β λ with an adapted covariance.
        **options: as `vi_mpc` takes them; the prior is flat unless given.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    step = real("kappa", kappa, above=0.0, maximum=1.0)
    stationary = real("temperature", temperature, above=0.0) * real("lam", lam, above=0.0) * step
    options = {"prior": "flat"} | options
    if (rho := options.pop("rho", None)) is not None:  # of W itself, whose temperature is β
        options["risk"] = risk_at(rho, temperature)
    return vi_mpc(horizon, temperature=stationary, step_size=step, **options)
