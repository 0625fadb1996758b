"""Control-limited iterative LQR."""

from collections.abc import Sequence
from typing import Annotated, Any

from ..dynamics.checks import check_unused, integer, interval
from .beliefs.choice import Bound, unless
from .beliefs.gaussian import Gaussian, GaussianFamily, gaussian
from .beliefs.warm_start import optional_shift
from .checks import check_part
from .factory import planner
from .info import check_keep
from .lqr.solver import IterativeLQR
from .option import narrowed
from .options import MODE_OR_SAMPLE, checked
from .rest import RestingPlanner, resting
from .sampling.priors import PolicyPrior

_NOISE = "exponent of the spectrum 1/f^exponent of the noise of random plans; 'brownian' is 2"
_PRIOR = (
    "prior p of actions, which needs a temperature: a Gaussian of independent steps such as "
    "`planners.beliefs.gaussian(std=1.0)`, or `planners.priors.policy_prior`"
)


@planner
def ilqr(
    horizon: int,
    *,
    num_iterations: int = 50,
    initial_plan: Any = 0.0,
    num_samples: Annotated[int, narrowed(help="number of random plans from which it may start", minimum=0)] = 8,
    std: Annotated[Any, narrowed(help="standard deviation of random plans around the initial one")] = None,
    noise_exponent: Annotated[Any, narrowed(words=("brownian",), help=_NOISE)] = "brownian",
    temperature: Annotated[
        Any, narrowed(help="temperature λ of the policy's noise, in reward units", none="leaves the noise out")
    ] = None,
    prior: Annotated[Any, narrowed(help=_PRIOR, none="leaves it out")] = None,
    limits: tuple[Any, Any] | None = None,
    regularization: Any = 0.0,
    tolerance: Any = 1e-6,
    second_order: bool = False,
    convex: bool = True,
    execute: Annotated[str, MODE_OR_SAMPLE] = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    rest_steps: int | None = None,
    rest_speed: Any = None,
    rest_distance: Any = None,
    keep: Sequence[str] = (),
) -> IterativeLQR | RestingPlanner:
    """Iterative LQR (Tassa et al., 2012, 2014): the optimal plan and policy of the problem expanded around a plan.

    Dynamics are expanded to first order and rewards to second, by forward-mode derivatives with respect to the
    coordinates of a state (`dynamics.coordinates`): any model will do that is smooth enough, simulators with solver
    loops included. A step is taken only if its rollout is better. On a stochastic model it plans for one draw of the
    noise, on several models for the first. It ends where nothing is to be gained; in closed loop, started from the
    step before, one to five iterations do.

    At every time step `num_samples` random plans around `initial_plan` are tried as well, with Brownian noise of
    `std`: where none of the plans at hand is better, the optimisation starts from the best of them (of those that do
    not end the episode, which derivatives do not see coming).

    With a temperature the belief is the policy of greatest return plus λ times its entropy, N(u + K (x − x̄), λ
    Q_uu⁻¹), an approximation of the posterior that is exact on linear-quadratic problems, and a `prior` of actions
    (a Gaussian without correlation in time, or a policy) adds λ log p(a). Beliefs are affine policies,
    `planners.lqr.AffinePolicy`, whose noise ignores the limits.
    """
    if prior is not None:
        if temperature is None:
            raise ValueError("prior needs a temperature, which weighs it, got None")
        independent = isinstance(prior, GaussianFamily) and prior.noise_exponent is None
        if isinstance(prior, Gaussian) and prior.color is None:
            prior, independent = Bound(prior), True
        if not isinstance(prior, PolicyPrior) and not independent:
            raise ValueError(
                "prior must be planners.beliefs.gaussian(...) of uncorrelated steps or planners.priors.policy_prior"
                f", got {type(prior).__name__}"
            )
    if execute == "sample" and temperature is None:
        raise ValueError("execute='sample' needs a temperature, got None")
    if integer("num_samples", num_samples, 0) == 0:
        given = unless("brownian", noise_exponent)
        check_unused("num_samples=0 draws no plans", std=std, noise_exponent=given)
    exponent = 2.0 if isinstance(noise_exponent, str) else noise_exponent
    made = IterativeLQR(
        proposal=gaussian(
            mean=checked("initial_plan", initial_plan), std=0.5 if std is None else std, noise_exponent=exponent
        ),
        temperature=checked("temperature", temperature),
        prior=None if prior is None else check_part("prior", prior),
        regularization=checked("regularization", regularization),
        tolerance=checked("tolerance", tolerance),
        limits=None if limits is None else interval("limits", limits),
        warm_start=optional_shift(warm_start, tail),
        horizon=checked("horizon", horizon),
        num_samples=integer("num_samples", num_samples, 0),
        num_iterations=checked("num_iterations", num_iterations),
        second_order=checked("second_order", second_order),
        convex=checked("convex", convex),
        execute=execute,
        keep=check_keep(keep),
        name="ilqr",
    )
    return resting(made, rest_steps, rest_speed, rest_distance)
