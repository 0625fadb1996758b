"""Sequential Monte Carlo: particles that are resampled on the way."""

from typing import Any, Unpack

from ..dynamics.base import real
from .base import check_unused
from .composition import LoopOptions, compose, risk_at
from .families import belief_of, gaussian, gaussian_of, particles
from .loop import SamplingPlanner
from .resampling import resampler
from .tempering import tempering


def smc(
    horizon: int,
    action_size: int,
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
    actions: Any = None,
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
        action_size: the number A of actuators.
        num_samples: the number K of particles.
        num_iterations: the number I of iterations.
        std: standard deviation of the plans that are proposed, scalar, [A] or [H, A]; 1 is half the actuators' range.
            0.5 unless given.
        temperature: λ of the posterior, in reward units; None adapts it.
        target_ess: with a temperature, temper: what an iteration leaves of the effective sample size, as a fraction,
            on the way from the prior to λ, where the last one ends. Without, cool on and on in this way.
        max_kl: adapt the temperature, from one time step to the next, to so many nats KL(posterior ‖ proposal); 2
            unless one of the three is given. Without a prior only.
        prior: p: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree; `planners.policy_prior` for one over
            actions in states; "flat" for p = 1. None for the proposal itself, wherever fits and warm starts move it:
            plans weigh exp(R/λ), as in MPPI. For the posterior of one problem give a prior and a temperature; for
            control leave both.
        prior_std: the prior N(0, prior_std²) with the noise's correlation, instead; scalar, [A] or [H, A].
        proposal: a policy that draws actions in states, instead of a belief that is fitted: a pytree with
            `sample(key, state) -> action [A]` and `log_prob(state, action)`, on the scale of plans.
        value: what states are expected to be worth, to look ahead: a function state -> scalar, reward units, "model"
            for the model's own, or None; see `planners.resampler`.
        resampling: "systematic", "stratified", "residual", "multinomial", or a function (key, weights [K], n) ->
            parents [n].
        ess_threshold: resample after a step where the effective sample size is below this fraction of the particles,
            in [0, 1]; never after the last step.
        rho: place of the expectation over scenarios: 0 inside of exp(R/λ) as `None`, 1 outside, the posterior that is
            optimistic about the noise; needs a temperature in reward units.
        covariance: covariance of the proposal: "fixed" learns its mean only; "diagonal", "full" or "kronecker" (but
            of the first steps few particles may be left to learn it from).
        num_components: above 1 the proposal is a mixture of so many diagonal Gaussians, without correlation in time.
        actions: a list [C, A] of discrete actions to choose from, instead of a Gaussian.
        std_min: the floor of a learnt std; 0.05 unless given.
        noise_exponent: correlates the proposal in time as noise of the spectrum 1/f^exponent; None for none.
        **options: see `LoopOptions`. `execute` is "mean" of the weighted plans unless given, but with `actions`,
            which have no mean, "mode": the heaviest first action. "mode" of continuous actions is the mean of the
            plans that share the heaviest first action, "sample" a sample of the posterior, "best" the best particle
            of all iterations. Options that change plans after they were drawn have no meaning here.

    Returns:
        The planner. Its belief has the particles, `plans` [K, H, A] and `log_weights` [K], and `roots()`.

    Raises:
        ValueError: for a parameter outside its range, or several families at once.
    """
    chosen = {
        "covariance": covariance != "fixed",
        "num_components": num_components != 1,
        "actions": actions is not None,
        "noise_exponent": noise_exponent is not None,
    }
    if proposal is not None and any(chosen.values()):
        names = ", ".join(name for name, given in chosen.items() if given)
        raise ValueError(f"proposal draws actions: give no belief to draw them from as well, got {names}")
    if proposal is not None:
        check_unused("proposal draws actions", std=std, std_min=std_min)
    fixed = covariance == "fixed" and num_components == 1 and actions is None

    def proposed(steps: int) -> Any:
        if proposal is not None:
            return proposal
        parameters = {"std": std, "std_min": std_min, "noise_exponent": noise_exponent}
        if fixed:
            return gaussian_of("fixed", steps, action_size, **parameters)
        return belief_of(
            steps,
            action_size,
            covariance="diagonal" if covariance == "fixed" else covariance,
            num_components=num_components,
            actions=actions,
            enumerate_plans=False,
            **parameters,
        )

    if prior_std is not None:
        if prior is not None or actions is not None:
            raise ValueError(f"prior_std is of a Gaussian prior: give it or another prior, got {prior_std!r}")
        spread = real("prior_std", prior_std, above=0.0, shape=None)
        prior = gaussian(horizon, action_size, std=spread, noise_exponent=noise_exponent)
    return compose(
        "smc",
        lambda steps: particles(proposed(steps), steps, action_size, num_samples),
        horizon,
        tempering(temperature, target_ess=target_ess, max_kl=max_kl),
        options,
        prior=prior,
        risk=risk_at(rho, temperature),
        resampler=resampler(resampling, ess_threshold=ess_threshold, value=value),
        num_samples=num_samples,
        num_iterations=num_iterations,
        execute="mean" if actions is None else "mode",
    )
