"""A policy optimised for where it is, by policy gradients."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import NamedSharding

from ..dynamics.base import integer, real
from .families import NetworkPolicy, network_policy
from .imagination import GRADIENTS
from .optimizers import optimizer as make_optimizer
from .policy_ascent import PolicyPlanner
from .rollout import check_sharding
from .warm_start import optional_shift


def iterative_policy(
    horizon: int,
    action_size: int,
    *,
    policy: NetworkPolicy | None = None,
    hidden: Sequence[int] = (32, 32),
    std: Any = 0.5,
    num_samples: int = 128,
    num_iterations: int = 20,
    temperature: Any = 0.01,
    max_kl: Any = None,
    gradient: str = "score",
    optimizer: Any = "adam",
    learning_rate: Any = 0.02,
    max_norm: Any = None,
    execute: str = "mode",
    warm_start: bool = True,
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> PolicyPlanner:
    """Iterative inference of a policy: it begins as a given one φ, and is improved for the states ahead.

    Trajectories that the policy imagines from the current state climb E_θ[R/λ + log π_φ − log π_θ], the evidence
    bound of posterior policies under the prior π_φ: no further from what was learnt for all states than what is won
    here is worth. φ itself is never changed. All iterations meet the same noise, of the model and of actions (Ng &
    Jordan, 2000), so that policies can be compared, and the best of all is kept.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        policy: π_φ, a `planners.network_policy`, such as an amortised one; None for a perceptron that begins as
            N(0, std²) in all states.
        hidden: the sizes of its hidden layers, with tanh; of the perceptron.
        std: of its actions where it begins, scalar or [A]; of the perceptron. 1 is half the actuators' range.
        num_samples: the number K of trajectories, at least 2.
        num_iterations: the number I of gradient steps.
        temperature: λ in reward units: what a nat of divergence from π_φ costs.
        max_kl: the greatest divergence KL(π_θ ‖ π_φ), nats per step on average over the states met: a policy that
            went further goes half way back; None for no limit.
        gradient: "score" weighs actions by what came of them and needs no derivatives of the model, "pathwise" goes
            through the model.
        optimizer: the name of one in optax, or what makes one of a learning rate; see `planners.optimizer`. To move
            the last layer only, one that sets the updates of the others to zero.
        learning_rate: of the optimiser, > 0.
        max_norm: the norm, in reward units, to which a longer gradient is shortened; None for no limit.
        execute: "mode" executes the mean action, "sample" a sample of the policy.
        warm_start: whether planning at the next time step goes on from this one's policy, or from π_φ again.
        rollout_chunk_size: how many rollouts to do at once; None chooses for the backend.
        sharding: how to spread trajectories over devices, by a mesh axis named first in its spec; None for one
            device.

    Returns:
        The planner. Its belief has the `policy`, the `given` one, and the `plan` of the policy's mean actions.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if policy is None:
        policy = network_policy(action_size, std=std, hidden=hidden)
    if not isinstance(policy, NetworkPolicy):
        raise ValueError(f"policy must be a planners.network_policy, got {type(policy).__name__}")
    if len(policy.scale) != integer("action_size", action_size):
        raise ValueError(f"policy must have action_size = {action_size} actuators, got {len(policy.scale)}")
    for name, value, choices in (("gradient", gradient, GRADIENTS), ("execute", execute, ("mode", "sample"))):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return PolicyPlanner(
        policy=policy,
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=real("temperature", temperature, above=0.0),
        max_kl=None if max_kl is None else real("max_kl", max_kl, above=0.0),
        warm_start=optional_shift(integer("horizon", horizon), warm_start, "hold"),
        horizon=integer("horizon", horizon),
        num_samples=integer("num_samples", num_samples, 2),
        num_iterations=integer("num_iterations", num_iterations),
        gradient=gradient,
        execute=execute,
        chunk_size=None if rollout_chunk_size is None else integer("rollout_chunk_size", rollout_chunk_size),
        sharding=check_sharding(sharding),
    )
