"""Plans optimised by gradients through the model."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import NamedSharding

from ..dynamics.checks import check_unused, integer
from .beliefs.warm_start import optional_shift
from .gradients.ascent import GradientPlanner
from .gradients.objective import target
from .gradients.optimizers import optimizer as make_optimizer
from .gradients.plans import BOUNDS, PlanAscent
from .gradients.points import points
from .info import check_keep


def gradient(
    horizon: int,
    *,
    num_samples: int = 16,
    num_iterations: int = 100,
    initial_plan: Any = 0.0,
    std: Any = None,
    optimizer: Any = "adam",
    learning_rate: Any = 0.1,
    max_norm: Any = 1.0,
    bounds: str | None = None,
    temperature: Any = None,
    prior: Any = None,
    num_scenarios: int | None = None,
    risk: Any = None,
    warm_start: bool = True,
    tail: str = "hold",
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner:
    """Gradient ascent on plans from several starts, through the model (Srinivas et al., 2018).

    Reverse mode goes through the rollout step by step, and computes each step anew on the way back: memory holds the
    states of the rollout and no more. All iterations meet the same noise of the model, so that each plan ends as the
    best that it has been. Where its return or gradient is not finite, it goes half way back there.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of plans that are optimised side by side.
        num_iterations: the number I of steps.
        initial_plan: where the first plan starts, scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: standard deviation of the noise by which the others start elsewhere, scalar, [A] or [H, A]; 0.5
            unless given.
        optimizer: the name of one in optax ("adam", "sgd", "lbfgs", ...), or what makes one of a learning rate; see
            `planners.gradients.optimizer`.
        learning_rate: learning rate of the optimiser, > 0.
        max_norm: the norm, in reward units per action, to which a longer gradient of a plan is shortened, so that one
            through a contact does not decide; None for no limit. (Derivatives know nothing of when an episode ends.)
        bounds: "clip" projects plans onto [-1, 1] after each step, "squash" optimises z of a = tanh z, "none" leaves
            them unbounded; None for "clip" or "none" as the model says (see `dynamics.bounded`).
        temperature: λ in reward units, of the prior, without which there is none.
        prior: adds λ log p(a): an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree, or
            `planners.priors.policy_prior`; needs a temperature. None for none.
        num_scenarios: number of scenarios in which a plan is tried; None (the default) for as many as the model
            wants.
        risk: what a plan's returns in several scenarios are worth together; None for their mean.
        warm_start: whether planning at the next time step starts from this one's plans, shifted.
        tail: the action that a warm start appends: "hold" repeats the last, "zero", or "initial".
        keep: which arrays `info` keeps of each iteration: "returns" of all plans; none unless given.
        rollout_chunk_size: number of rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.

    Returns:
        The planner. Its belief, which executes the best, has all `plans` [K, H, A] and the `objective` [K] of each.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if bounds is not None and bounds not in BOUNDS:
        raise ValueError(f"bounds must be one of {', '.join(BOUNDS)}, got {bounds!r}")
    if temperature is not None and prior is None:
        raise ValueError(f"temperature is of the prior: give both, got temperature={temperature!r} and prior=None")
    if integer("num_samples", num_samples) == 1:
        check_unused("there are no others than the first plan", std=std)
    climbed = target(
        temperature,
        prior,
        risk=risk,
        num_scenarios=num_scenarios,
        rollout_chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    return GradientPlanner(
        family=points(num_samples=num_samples, initial_plan=initial_plan, std=0.5 if std is None else std),
        objective=PlanAscent(climbed, None, bounds),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=climbed.temperature,
        warm_start=optional_shift(warm_start, tail),
        horizon=integer("horizon", horizon),
        num_iterations=integer("num_iterations", num_iterations),
        execute="mode",
        keep=check_keep(keep),
        name="gradient",
    )
