"""Variational inference by pathwise gradients."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from jax.sharding import NamedSharding

from .beliefs.full import full_gaussian
from .beliefs.gaussian import gaussian, gaussian_prior
from .beliefs.warm_start import optional_shift
from .factory import planner
from .gradients.elbo import ElboAscent
from .gradients.objective import target
from .gradients.optimizers import optimizer as make_optimizer
from .gradients.planner import GradientPlanner
from .info import check_keep
from .option import narrowed
from .options import MODE_OR_SAMPLE, checked
from .rest import RestingPlanner, resting

_TEMPERATURE = 0.1
_RELATIVE = f"for {_TEMPERATURE:g} spreads of the better returns of plans drawn around the present one with std"


@planner
def elbo_gradient(
    horizon: int,
    *,
    num_samples: int = 32,
    num_iterations: int = 100,
    initial_plan: Any = 0.0,
    std: Annotated[Any, narrowed(none="")] = 0.5,
    std_min: Annotated[Any, narrowed(none="")] = 0.001,
    covariance: Annotated[
        str,
        narrowed(help="covariance that is learnt: of each number by itself, or of all", choices=("diagonal", "full")),
    ] = "diagonal",
    temperature: Annotated[Any, narrowed(none=_RELATIVE)] = None,
    prior: Annotated[Any, narrowed(none="for N(0, prior_std²)")] = None,
    prior_std: Annotated[Any, narrowed(none="for 1")] = None,
    antithetic: bool = True,
    stick: bool = True,
    optimizer: Any = "adam",
    learning_rate: Any = 0.05,
    max_norm: Any = None,
    num_scenarios: int | None = None,
    risk: Any = None,
    execute: Annotated[str, MODE_OR_SAMPLE] = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    inflation: Any = None,
    rest_steps: int | None = None,
    rest_speed: Any = None,
    rest_distance: Any = None,
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner | RestingPlanner:
    """Variational inference by pathwise gradients: a Gaussian posterior over plans climbs its own evidence bound.

    What `vi_mpc` finds by weighing plans this finds by differentiating them, on the same model and in the same
    family: with a full covariance the posterior where that is Gaussian; with a diagonal one the variances 1/Λᵢᵢ of
    its precision Λ, the greatest bound, where `vi_mpc` at κ = 1 ends at marginal variances. Where its mean diverges
    the belief goes half way back. Derivatives do not see when an episode ends.

    The prior is N(0, prior_std²) unless given. Under a flat prior nothing holds plans back that are beyond the
    actuators' range, where all earn the same.
    """
    makers: dict[str, Callable[..., Any]] = {"diagonal": gaussian, "full": full_gaussian}
    number, antithetic = checked("num_samples", num_samples), checked("antithetic", antithetic)
    if antithetic and number % 2:
        raise ValueError(f"num_samples must be even where noise comes in pairs, got {num_samples!r}")
    climbed = target(
        temperature,
        gaussian_prior(prior, prior_std),
        relative=_TEMPERATURE,
        risk=risk,
        num_scenarios=num_scenarios,
        rollout_chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    made = GradientPlanner(
        family=makers[covariance](mean=checked("initial_plan", initial_plan), std=std, std_min=std_min),
        objective=ElboAscent(climbed, None, number, antithetic, checked("stick", stick)),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        warm_start=optional_shift(warm_start, tail, inflation),
        horizon=checked("horizon", horizon),
        num_iterations=checked("num_iterations", num_iterations),
        execute=execute,
        keep=check_keep(keep),
        name="elbo_gradient",
    )
    return resting(made, rest_steps, rest_speed, rest_distance)
