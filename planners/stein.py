"""Stein variational inference of plans."""

from collections.abc import Sequence
from typing import Annotated, Any

from jax.sharding import NamedSharding

from ..dynamics.checks import integer
from .beliefs.gaussian import gaussian_prior
from .beliefs.warm_start import optional_shift
from .factory import planner
from .gradients.objective import target
from .gradients.optimizers import optimizer as make_optimizer
from .gradients.planner import GradientPlanner
from .gradients.points import SCATTER, points
from .gradients.stein import SteinAscent
from .info import check_keep
from .option import narrowed
from .options import checked
from .rest import RestingPlanner, resting

_TEMPERATURE = 0.1
_RELATIVE = f"for {_TEMPERATURE:g} spreads of the better returns of plans drawn around the present one with std"


@planner
def stein(
    horizon: int,
    *,
    num_samples: int = 32,
    num_iterations: int = 50,
    initial_plan: Any = 0.0,
    std: Annotated[Any, narrowed(help=SCATTER, none="", above=None, minimum=0.0)] = 0.5,
    temperature: Annotated[Any, narrowed(none=_RELATIVE)] = None,
    prior: Annotated[Any, narrowed(none="for N(0, prior_std²)")] = None,
    prior_std: Annotated[Any, narrowed(none="for 1")] = None,
    gradient: str = "pathwise",
    num_perturbations: int | None = None,
    perturbation: Any = None,
    kernel: str = "plans",
    bandwidth: Any = None,
    optimizer: Any = "adam",
    learning_rate: Any = 0.05,
    max_norm: Any = None,
    num_scenarios: int | None = None,
    risk: Any = None,
    execute: Annotated[
        str,
        narrowed(
            help="what is executed: the plan of the greatest density, the mean of all, or one of them by chance",
            choices=("mode", "mean", "sample"),
            none="",
        ),
    ] = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    rest_steps: int | None = None,
    rest_speed: Any = None,
    rest_distance: Any = None,
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner | RestingPlanner:
    """Stein variational inference (Liu & Wang, 2016; Lambert et al., 2020): particles that move to the posterior.

    Plans go up the gradient of log p(a) exp(R/λ), their own and that of their neighbours, and push each other away:
    several ways to go are kept, each by some of them, and no weights degenerate. In many dimensions so few
    particles fall short of the posterior's spread. A kernel over steps keeps particles apart in long plans, but
    does not see how steps hang together.

    The prior is N(0, prior_std²) unless given. Under a flat prior nothing holds plans back that are beyond the
    actuators' range, where all earn the same. The belief has all `plans` [K, H, A] and the `objective` [K] of each, λ
    times the log of the posterior's density, up to a constant; the plan of the greatest density is executed.
    """
    checked("gradient", gradient)
    checked("kernel", kernel)
    climbed = target(
        temperature,
        gaussian_prior(prior, prior_std),
        relative=_TEMPERATURE,
        risk=risk,
        num_scenarios=num_scenarios,
        rollout_chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    if gradient == "pathwise" and (perturbation is not None or num_perturbations is not None):
        raise ValueError(
            "perturbation and num_perturbations are of gradient='score': a pathwise gradient perturbs nothing, "
            f"got {perturbation!r} and {num_perturbations!r}"
        )
    std_of = 0.1 if perturbation is None else perturbation
    smoothing = checked("perturbation", std_of, required=True)
    made = GradientPlanner(
        family=points(num_samples=integer("num_samples", num_samples, 2), initial_plan=initial_plan, std=std),
        objective=SteinAscent(
            climbed,
            checked("bandwidth", bandwidth),
            smoothing if gradient == "score" else None,
            None,
            16 if num_perturbations is None else checked("num_perturbations", num_perturbations, required=True),
            kernel,
        ),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        warm_start=optional_shift(warm_start, tail),
        horizon=checked("horizon", horizon),
        num_iterations=checked("num_iterations", num_iterations),
        execute=execute,
        keep=check_keep(keep),
        name="stein",
    )
    return resting(made, rest_steps, rest_speed, rest_distance)
