"""Control-limited iterative LQR."""

from collections.abc import Sequence
from typing import Any

from ..dynamics.checks import boolean, check_unused, integer, interval, real
from .beliefs.gaussian import GaussianFamily, gaussian
from .beliefs.warm_start import optional_shift
from .checks import check_part
from .info import check_keep
from .lqr.solver import IterativeLQR
from .sampling.priors import PolicyPrior


def ilqr(
    horizon: int,
    *,
    num_iterations: int = 50,
    initial_plan: Any = 0.0,
    num_samples: int = 8,
    std: Any = None,
    noise_exponent: Any = "brownian",
    temperature: Any = None,
    prior: Any = None,
    limits: tuple[Any, Any] | None = None,
    regularization: Any = 0.0,
    tolerance: Any = 1e-6,
    second_order: bool = False,
    convex: bool = True,
    execute: str = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    keep: Sequence[str] = (),
) -> IterativeLQR:
    """Iterative LQR (Tassa et al., 2012, 2014): the optimal plan and policy of the problem expanded around a plan.

    Dynamics are expanded to first order and rewards to second, by forward-mode derivatives with respect to the
    coordinates of a state (`dynamics.coordinates`): any model will do that is smooth enough, simulators with solver
    loops included. A step is taken only if its rollout is better. On a stochastic model it
    plans for one draw of the noise, on several models for the first.

    Args:
        horizon: the number H of steps.
        num_iterations: the most iterations; it ends where nothing is to be gained. In closed loop, started from the
            step before, one to five do.
        initial_plan: where the first optimisation starts: a scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        num_samples: number of random plans around `initial_plan` that are tried as well, at every time step: where none of
            the plans at hand is better, the optimisation starts from the best of them (of those that do not end the
            episode, which derivatives do not see coming). 0 for none.
        std: standard deviation of these plans, scalar, [A] or [H, A]; 0.5 unless given.
        noise_exponent: correlates these plans in time as noise of the spectrum 1/f^exponent; None for none.
            "brownian" is 2.
        temperature: λ in reward units: the belief is then the policy of greatest return plus λ times its entropy,
            N(u + K (x − x̄), λ Q_uu⁻¹), an approximation of the posterior that is exact on linear-quadratic problems;
            None for a policy without noise.
        prior: prior of actions, which adds λ log p(a): a `planners.beliefs.gaussian` without correlation in time, or a
            `planners.priors.policy_prior`; needs a temperature. None for none.
        limits: the least and the greatest action (low, high), scalars or [A]; None for the range that the model's
            actions have, if they have one (see `dynamics.bounded`). The belief's noise knows nothing of them.
        regularization: μ of the first backward pass, in reward units per squared action; it then adapts.
        tolerance: what counts as nothing to be gained, relative to 1 + |return|.
        second_order: whether dynamics are expanded to second order too: differential dynamic programming, which takes
            fewer and slower iterations.
        convex: whether what curves rewards upwards is taken as flat, which steadies iterations far from an optimum;
            False for Newton's exact steps.
        execute: "mode" executes the plan, "sample" (with a temperature) a sample of the policy.
        warm_start: whether planning at the next time step starts from this one's policy, feedback included, shifted.
        tail: the action that a warm start appends: "hold" repeats the last, "zero", or "initial".
        keep: which arrays `info` keeps of each iteration: "returns" of the plans that were tried; none unless given.

    Returns:
        The planner. Its beliefs are affine policies, `planners.lqr.AffinePolicy`; start one with `planner.init(model, state)`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if prior is not None:
        if temperature is None:
            raise ValueError("prior needs a temperature, which says how much it counts, got None")
        independent = isinstance(prior, GaussianFamily) and prior.noise_exponent is None
        if not isinstance(prior, PolicyPrior) and not independent:
            raise ValueError(
                "prior must be planners.beliefs.gaussian(...) of uncorrelated steps or planners.priors.policy_prior(...), "
                f"got {type(prior).__name__}"
            )
    if execute not in ("mode", "sample"):
        raise ValueError(f"execute must be one of mode, sample, got {execute!r}")
    if execute == "sample" and temperature is None:
        raise ValueError("execute='sample' needs a temperature, got None")
    exponent = noise_exponent
    if isinstance(noise_exponent, str):
        if noise_exponent != "brownian":
            raise ValueError(f"noise_exponent must be a number, 'brownian' or None, got {noise_exponent!r}")
        exponent = 2.0
    if integer("num_samples", num_samples, 0) == 0:
        given = None if isinstance(noise_exponent, str) else noise_exponent
        check_unused("num_samples=0 draws no plans", std=std, noise_exponent=given)
    return IterativeLQR(
        proposal=gaussian(mean=initial_plan, std=0.5 if std is None else std, noise_exponent=exponent),
        temperature=None if temperature is None else real("temperature", temperature, above=0.0),
        prior=None if prior is None else check_part("prior", prior),
        regularization=real("regularization", regularization, minimum=0.0),
        tolerance=real("tolerance", tolerance, minimum=0.0),
        limits=None if limits is None else interval("limits", limits),
        warm_start=optional_shift(warm_start, tail),
        horizon=integer("horizon", horizon),
        num_samples=integer("num_samples", num_samples, 0),
        num_iterations=integer("num_iterations", num_iterations),
        second_order=boolean("second_order", second_order),
        convex=boolean("convex", convex),
        execute=execute,
        keep=check_keep(keep),
        name="ilqr",
    )
