"""Sequential Monte Carlo: particles that are resampled during the rollout."""

from typing import Annotated, Any, Unpack

from ..dynamics.checks import check_unused
from .beliefs.choice import by_space, family_of, unless
from .beliefs.gaussian import gaussian_prior
from .composition import ComposedPlanner, LoopOptions, compose, family_or_belief
from .factory import planner
from .option import narrowed
from .particles.belief import particles
from .particles.resampling import resampler
from .particles.tempering import tempering
from .rollouts.risk import risk_at

_TARGET = "effective sample size that each step of tempering keeps, as a fraction of the particles"
_MAX_KL = "divergence of the posterior from the proposal to which the temperature adapts, nats"


@planner
def smc(
    horizon: int,
    *,
    num_samples: int = 256,
    num_iterations: int = 1,
    std: Any = None,
    temperature: Annotated[
        Any, narrowed(none="adapts it to max_kl, or with target_ess lowers it in every iteration")
    ] = None,
    target_ess: Annotated[Any, narrowed(help=_TARGET, none="for no tempering")] = None,
    max_kl: Annotated[Any, narrowed(help=_MAX_KL, none="for 2, unless temperature or target_ess is given")] = None,
    prior: Annotated[Any, narrowed(none="for the proposal")] = None,
    prior_std: Annotated[Any, narrowed(none="for no such prior")] = None,
    proposal: Any = None,
    value: Any = None,
    resampling: Any = "systematic",
    ess_threshold: Any = 0.5,
    rho: Any = None,
    covariance: str = "fixed",
    num_components: int = 1,
    std_min: Any = None,
    noise_exponent: Any = None,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Sequential Monte Carlo: plans grow step by step, and those that earn little give way to copies of others.

    Whatever the proposal q and the look-ahead, the evidence is unbiased, and the weighted plans are, as their number
    grows, samples of the posterior p(a) exp(R/λ): the weights are exact (Piché et al., 2019, with the look-ahead of
    the state itself in the place of its expectation; Millidge et al., 2020, misprint its time index, so that it
    cancels). Each iteration draws all plans anew from a proposal that is fitted to those that survived.

    Without a prior plans weigh exp(R/λ) under the proposal, wherever fits and warm starts move it, as in MPPI. For
    the posterior of one problem give a prior and a temperature; for control leave both. With a temperature,
    `target_ess` tempers: it is the effective sample size that each iteration keeps on the way from the prior to λ,
    where the last one ends. Without a temperature, the iterations cool further and further in this way. `max_kl`
    adapts the temperature from one time step to the next.

    On a stochastic model particles are plans under common noise, whose posterior is exp(E[R]/λ) over `num_scenarios`
    draws of it; with one (the default of most models) it knows that one draw beforehand. With `common_noise=False` in
    one scenario each has its own noise, and success selects luck as well: the posterior that is optimistic about the
    dynamics.

    The belief has the particles, `plans` [K, H, A] and `log_weights` [K], and `roots()`. The weighted mean is
    executed unless `execute` says otherwise; of discrete actions the mode: the heaviest first action. The mode of
    continuous actions is the mean of the plans that share the heaviest first action. Options that change plans
    after they were drawn are refused: `num_knots`, `explore_fraction`, `clip_plans`, `num_kept`, `refine`. A policy
    as a `proposal` draws actions in states, in the place of a belief that is fitted; errors of a look-ahead `value`
    cost variance only.
    """
    chosen = {"covariance": unless("fixed", covariance), "num_components": unless(1, num_components)}
    parameters = {"std": std, "std_min": std_min, "noise_exponent": noise_exponent}
    if proposal is not None:
        check_unused("proposal draws actions, in the place of a belief", **chosen, **parameters)
        family = proposal
    else:
        family = by_space(
            family_of(covariance=covariance, num_components=num_components, **parameters),
            prior_std=prior_std,
            **chosen,
            **parameters,
        )
    if (belief := options.pop("belief", None)) is not None:
        check_unused("belief draws plans", proposal=proposal, **chosen, **parameters)
        family = family_or_belief(belief)
    if prior_std is not None:
        prior = gaussian_prior(prior, prior_std, noise_exponent=noise_exponent)
    return compose(
        "smc",
        horizon,
        particles(family, num_samples),
        tempering(temperature, target_ess=target_ess, max_kl=max_kl),
        options,
        prior=prior,
        risk=risk_at(rho, temperature),
        resampler=resampler(resampling, ess_threshold=ess_threshold, value=value),
        num_samples=num_samples,
        num_iterations=num_iterations,
        execute=None,
    )
