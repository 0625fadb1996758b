"""Sequential Monte Carlo: particles that are resampled on the way."""

from typing import Any, Unpack

from ..dynamics.checks import check_unused
from .beliefs.choice import by_space, family_of
from .beliefs.gaussian import gaussian_prior
from .composition import LoopOptions, compose, risk_at
from .particles.belief import particles
from .particles.resampling import resampler
from .particles.tempering import tempering
from .sampling.loop import SamplingPlanner


def smc(
    horizon: int,
    *,
    num_samples: int = 256,
    num_iterations: int = 1,
    std: Any = None,
    temperature: Any = None,
    target_ess: Any = None,
    max_kl: Any = None,
    prior: Any = None,
    prior_std: Any = None,
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
) -> SamplingPlanner:
    """Sequential Monte Carlo: plans grow step by step, and those that earn little give way to copies of others.

    Whatever the proposal q and the look-ahead, the evidence is unbiased, and the weighted plans are, as their number
    grows, samples of the posterior p(a) exp(R/λ): the weights are exact (Piché et al., 2019, with the look-ahead of
    the state itself in the place of its expectation; Millidge et al., 2020, misprint its time index, so that it
    cancels). Each iteration draws all plans anew from a proposal that is fitted to those that survived.

    On a stochastic model particles are plans under common noise, whose posterior is exp(E[R]/λ) over `num_scenarios`
    draws of it; with one (the default of most models) it knows that one draw beforehand. With `common_noise=False` in
    one scenario each has its own noise, and success selects luck as well: the posterior that is optimistic about the
    dynamics.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of particles.
        num_iterations: the number I of iterations.
        std: standard deviation of the plans that are proposed, scalar, [A] or [H, A]; 1 is half the actuators' range.
            0.5 unless given.
        temperature: λ of the posterior, in reward units; None adapts it.
        target_ess: with a temperature, temper: what an iteration leaves of the effective sample size, as a fraction,
            on the way from the prior to λ, where the last one ends. Without, cool on and on in this way.
        max_kl: adapt the temperature, from one time step to the next, to so many nats KL(posterior ‖ proposal); 2
            unless one of the three is given. Without a prior only.
        prior: p: a family of beliefs, or an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree;
            `planners.priors.policy_prior` for one over
            actions in states; "flat" for p = 1. None for the proposal itself, wherever fits and warm starts move it:
            plans weigh exp(R/λ), as in MPPI. For the posterior of one problem give a prior and a temperature; for
            control leave both.
        prior_std: the prior N(0, prior_std²) with the noise's correlation, instead; scalar, [A] or [H, A].
        proposal: a policy that draws actions in states, instead of a belief that is fitted: a pytree with
            `sample(key, state) -> action [A]` and `log_prob(state, action)`, on the scale of plans.
        value: what states are expected to be worth, to look ahead: a function state -> scalar, reward units, "model"
            for the model's own, or None; see `planners.particles.resampler`.
        resampling: "systematic", "stratified", "residual", "multinomial", or a function (key, weights [K], n) ->
            parents [n].
        ess_threshold: resample after a step where the effective sample size is below this fraction of the particles,
            in [0, 1]; never after the last step.
        rho: place of the expectation over scenarios: 0 inside of exp(R/λ) as `None`, 1 outside, the posterior that is
            optimistic about the noise; needs a temperature in reward units.
        covariance: covariance of the proposal: "fixed" learns its mean only; "diagonal", "full" or "kronecker" (but
            of the first steps few particles may be left to learn it from).
        num_components: above 1 the proposal is a mixture of so many diagonal Gaussians, without correlation in time.
        std_min: the floor of a learnt std; 0.05 unless given.
        noise_exponent: correlates the proposal in time as noise of the spectrum 1/f^exponent; None for none.
        **options: see `LoopOptions`. `execute` is "mean" of the weighted plans unless given, but of discrete actions,
            which have no mean, "mode": the heaviest first action. "mode" of continuous actions is the mean of the
            plans that share the heaviest first action, "sample" a sample of the posterior, "best" the best particle
            of all iterations. Options that change plans after they were drawn have no meaning here.

    Returns:
        The planner. Its belief has the particles, `plans` [K, H, A] and `log_weights` [K], and `roots()`.

    Raises:
        ValueError: for a parameter outside its range, or several families at once.
    """
    if proposal is not None:
        given = {
            "covariance": None if covariance == "fixed" else covariance,
            "num_components": None if num_components == 1 else num_components,
        }
        given |= {"std": std, "std_min": std_min, "noise_exponent": noise_exponent}
        check_unused("proposal draws actions, in the place of a belief", **given)
        family = proposal
    else:
        parameters = {"std": std, "std_min": std_min, "noise_exponent": noise_exponent}
        family = by_space(
            family_of(covariance=covariance, num_components=num_components, **parameters),
            prior_std=prior_std,
            **parameters,
        )
    if (belief := options.pop("belief", None)) is not None:
        check_unused("belief draws plans", proposal=proposal, std=std, std_min=std_min, noise_exponent=noise_exponent)
        family = belief
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
