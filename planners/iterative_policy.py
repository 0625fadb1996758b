"""A policy optimised for where it is, by policy gradients."""

from collections.abc import Sequence
from typing import Annotated, Any

import jax.numpy as jnp
from jax.sharding import NamedSharding

from ..dynamics.checks import integer
from .factory import planner
from .gradients.optimizers import optimizer as make_optimizer
from .info import check_keep
from .option import narrowed
from .options import MODE_OR_SAMPLE, checked
from .policies.ascent import PolicyPlanner
from .policies.network import NetworkPolicy, network_policy
from .rest import RestingPlanner, resting
from .rollouts.placement import check_sharding

_TEMPERATURE = 0.001
_RELATIVE = f"for {_TEMPERATURE:g} spreads of the better returns of the given policy"
_MAX_KL = "greatest divergence of the policy from the given one, nats per step"


@planner
def iterative_policy(
    horizon: int,
    *,
    policy: NetworkPolicy | None = None,
    hidden: Any = None,
    std: Annotated[Any, narrowed(help="standard deviation of the perceptron's actions at first")] = None,
    num_samples: int = 128,
    num_iterations: int = 20,
    temperature: Annotated[Any, narrowed(none=_RELATIVE)] = None,
    max_kl: Annotated[Any, narrowed(help=_MAX_KL, none="for no such limit")] = None,
    gradient: str = "score",
    antithetic: bool = True,
    optimizer: Any = "adam",
    learning_rate: Any = 0.02,
    max_norm: Any = None,
    execute: Annotated[str, MODE_OR_SAMPLE] = "mode",
    warm_start: bool = True,
    rest_steps: int | None = None,
    rest_speed: Any = None,
    rest_distance: Any = None,
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> PolicyPlanner | RestingPlanner:
    """Iterative inference of a policy: it begins as a given one φ, and is improved for the states ahead.

    Trajectories that the policy imagines from the current state climb E_θ[R/λ + log π_φ − log π_θ], the evidence
    bound of posterior policies under the prior π_φ: no further from what was learnt for all states than the gain
    here justifies. φ itself is never changed. All iterations meet the same noise, of the model and of actions (Ng &
    Jordan, 2000), so that policies can be compared, and the best of all is kept.

    The score-function gradient weighs actions by what came of them and needs no derivatives of the model; the
    pathwise one goes through the model, and does not see when an episode ends. Without pairs of noise its mean,
    which is not 0, pulls on standard deviations. What went further than `max_kl` is not kept, and goes half way
    back. An optimiser that sets the updates of other layers to zero moves the last only. The belief has the
    `improved` policy, the `given` one, and the `plan` of mean actions.
    """
    if policy is None:
        policy = network_policy(std=std, hidden=(32, 32) if hidden is None else hidden)
    elif hidden is not None or std is not None:
        raise ValueError(f"hidden and std are of the perceptron: give them or a policy, got {hidden!r} and {std!r}")
    if not isinstance(policy, NetworkPolicy):
        raise ValueError(f"policy must be a planners.policies.network_policy, got {type(policy).__name__}")
    antithetic = checked("antithetic", antithetic)
    number = integer("num_samples", num_samples, 4 if antithetic else 2)
    if antithetic and number % 2:
        raise ValueError(f"num_samples must be even where noise comes in pairs, got {num_samples!r}")
    checked("gradient", gradient)
    made = PolicyPlanner(
        policy=policy,
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=checked("temperature", temperature),
        relative=jnp.asarray(_TEMPERATURE, float),
        max_kl=checked("max_kl", max_kl),
        horizon=checked("horizon", horizon),
        num_samples=number,
        num_iterations=checked("num_iterations", num_iterations),
        warm_start=checked("warm_start", warm_start),
        antithetic=antithetic,
        gradient=gradient,
        execute=execute,
        chunk_size=checked("rollout_chunk_size", rollout_chunk_size),
        sharding=check_sharding(sharding),
        keep=check_keep(keep),
        name="iterative_policy",
    )
    return resting(made, rest_steps, rest_speed, rest_distance)
