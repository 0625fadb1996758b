"""Plans optimised by gradients through the model."""

from collections.abc import Sequence
from typing import Annotated, Any

from jax.sharding import NamedSharding

from ..dynamics.checks import check_unused
from .beliefs.warm_start import optional_shift
from .factory import planner
from .gradients.objective import target
from .gradients.optimizers import optimizer as make_optimizer
from .gradients.planner import GradientPlanner
from .gradients.plans import PlanAscent
from .gradients.points import SCATTER, points
from .info import check_keep
from .option import narrowed
from .options import checked
from .rest import RestingPlanner, resting

_BOUNDS = (
    "how plans are kept within the actuators' range: clipped to it (clip), by a = tanh z (squash), or not (none)"
)


@planner
def gradient(
    horizon: int,
    *,
    num_samples: Annotated[int, narrowed(help="number K of plans that are moved at once", minimum=1)] = 16,
    num_iterations: int = 100,
    initial_plan: Any = 0.0,
    std: Annotated[Any, narrowed(help=SCATTER, above=None, minimum=0.0)] = None,
    optimizer: Any = "adam",
    learning_rate: Any = 0.1,
    max_norm: Any = 1.0,
    bounds: Annotated[str | None, narrowed(help=_BOUNDS)] = None,
    temperature: Annotated[Any, narrowed(help="weight λ of log p in reward units", none="without a prior")] = None,
    prior: Annotated[Any, narrowed(none="leaves it out")] = None,
    num_scenarios: int | None = None,
    risk: Any = None,
    warm_start: bool = True,
    tail: str = "hold",
    rest_steps: int | None = None,
    rest_speed: Any = None,
    rest_distance: Any = None,
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner | RestingPlanner:
    """Gradient ascent on plans from several starts, through the model (Srinivas et al., 2018).

    Reverse mode goes through the rollout step by step, and computes each step anew on the way back: memory holds the
    states of the rollout and no more. All iterations meet the same noise of the model, so that each plan ends as the
    best that it has been. Where its return or gradient is not finite, it goes half way back there. Derivatives do
    not see when an episode ends, and one through a contact may be huge: hence `max_norm`.

    The first plan starts at `initial_plan`, the others around it with noise of `std`. A `prior` adds λ log p, and
    needs a temperature. The belief has all `plans` [K, H, A] and the `objective` [K] of each; the best is executed.
    """
    if temperature is not None and prior is None:
        raise ValueError(f"temperature is of the prior: give both, got temperature={temperature!r} and prior=None")
    if num_samples == 1:
        check_unused("there are no others than the first plan", std=std)
    climbed = target(
        temperature,
        prior,
        risk=risk,
        num_scenarios=num_scenarios,
        rollout_chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    made = GradientPlanner(
        family=points(num_samples=num_samples, initial_plan=initial_plan, std=0.5 if std is None else std),
        objective=PlanAscent(climbed, None, None, bounds),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        warm_start=optional_shift(warm_start, tail),
        horizon=checked("horizon", horizon),
        num_iterations=checked("num_iterations", num_iterations),
        execute="mode",
        keep=check_keep(keep),
        name="gradient",
    )
    return resting(made, rest_steps, rest_speed, rest_distance)
