"""A policy optimised for where it is, by policy gradients."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import NamedSharding

from ..dynamics.checks import boolean, integer, real
from .gradients.optimizers import optimizer as make_optimizer
from .info import check_keep
from .policies.ascent import PolicyPlanner
from .policies.imagination import GRADIENTS
from .policies.network import NetworkPolicy, network_policy
from .rollouts.placement import check_sharding


def iterative_policy(
    horizon: int,
    *,
    policy: NetworkPolicy | None = None,
    hidden: Any = None,
    std: Any = None,
    num_samples: int = 128,
    num_iterations: int = 20,
    temperature: Any = 0.01,
    max_kl: Any = None,
    gradient: str = "score",
    antithetic: bool = True,
    optimizer: Any = "adam",
    learning_rate: Any = 0.02,
    max_norm: Any = None,
    execute: str = "mode",
    warm_start: bool = True,
    keep: Sequence[str] = (),
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
        policy: π_φ, a `planners.policies.network_policy`, such as an amortised one; None for a perceptron that begins as
            N(0, std²) in all states.
        hidden: the sizes of the perceptron's hidden layers, with tanh; (32, 32) unless given.
        std: standard deviation of the perceptron's actions where it begins, scalar or [A]; 0.5 unless given. 1 is
            half the actuators' range.
        num_samples: the number K of trajectories, at least 2 (if drawn in pairs: even, and at least 4).
        num_iterations: the number I of gradient steps.
        temperature: λ in reward units: what a nat of divergence from π_φ costs.
        max_kl: the greatest divergence KL(π_θ ‖ π_φ), nats per step, the mean over the states met: what went further
            is not kept, and goes half way back; None for no limit.
        gradient: "score" weighs actions by what came of them and needs no derivatives of the model; "pathwise" goes
            through the model, and knows nothing of when an episode ends.
        antithetic: whether noise comes in pairs ε, −ε: else its mean, which is not 0, pulls on standard deviations.
        optimizer: the name of one in optax, or what makes one of a learning rate; see `planners.gradients.optimizer`. One that
            sets the updates of other layers to zero moves the last only.
        learning_rate: learning rate of the optimiser, > 0.
        max_norm: the norm, in reward units, to which a longer gradient is shortened; None for no limit.
        execute: "mode" executes the mean action, "sample" a sample of the policy.
        warm_start: whether planning at the next time step goes on from this one's policy, or from π_φ again.
        keep: which arrays `info` keeps of each iteration: "returns" of all plans; none unless given.
        rollout_chunk_size: number of rollouts to do at once; None chooses for the backend.
        sharding: how to spread trajectories over devices, by a mesh axis named first in its spec; None for one
            device.

    Returns:
        The planner. Its belief has the `improved` policy, the `given` one, and the `plan` of mean actions.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if policy is None:
        policy = network_policy(std=std, hidden=(32, 32) if hidden is None else hidden)
    elif hidden is not None or std is not None:
        raise ValueError(f"hidden and std are of the perceptron: give them or a policy, got {hidden!r} and {std!r}")
    if not isinstance(policy, NetworkPolicy):
        raise ValueError(f"policy must be a planners.policies.network_policy, got {type(policy).__name__}")
    antithetic = boolean("antithetic", antithetic)
    number = integer("num_samples", num_samples, 4 if antithetic else 2)
    if antithetic and number % 2:
        raise ValueError(f"num_samples must be even where noise comes in pairs, got {num_samples!r}")
    for name, value, choices in (("gradient", gradient, GRADIENTS), ("execute", execute, ("mode", "sample"))):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return PolicyPlanner(
        policy=policy,
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=real("temperature", temperature, above=0.0),
        max_kl=None if max_kl is None else real("max_kl", max_kl, above=0.0),
        horizon=integer("horizon", horizon),
        num_samples=number,
        num_iterations=integer("num_iterations", num_iterations),
        warm_start=boolean("warm_start", warm_start),
        antithetic=antithetic,
        gradient=gradient,
        execute=execute,
        chunk_size=None if rollout_chunk_size is None else integer("rollout_chunk_size", rollout_chunk_size),
        sharding=check_sharding(sharding),
        keep=check_keep(keep),
        name="iterative_policy",
    )
