"""Variational inference by pathwise gradients."""

from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import NamedSharding

from ..dynamics.checks import boolean, integer
from .beliefs.full import full_gaussian
from .beliefs.gaussian import gaussian, gaussian_prior
from .beliefs.warm_start import optional_shift
from .gradients.ascent import GradientPlanner
from .gradients.elbo import ElboAscent
from .gradients.objective import target
from .gradients.optimizers import optimizer as make_optimizer
from .info import check_keep


def elbo_gradient(
    horizon: int,
    *,
    num_samples: int = 32,
    num_iterations: int = 100,
    initial_plan: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.001,
    covariance: str = "diagonal",
    temperature: Any = 1.0,
    prior: Any = None,
    prior_std: Any = None,
    antithetic: bool = True,
    stick: bool = True,
    optimizer: Any = "adam",
    learning_rate: Any = 0.05,
    max_norm: Any = None,
    num_scenarios: int | None = None,
    risk: Any = None,
    execute: str = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    inflation: Any = None,
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner:
    """Variational inference by pathwise gradients: a Gaussian posterior over plans climbs its own evidence bound.

    What `vi_mpc` finds by weighing plans this finds by differentiating them, on the same model and in the same
    family: with a full covariance the posterior where that is Gaussian; with a diagonal one the variances 1/Λᵢᵢ of
    its precision Λ, the greatest bound, where `vi_mpc` at κ = 1 ends at marginal variances. Where its mean
    diverges the belief goes half way back. Derivatives know nothing of when an episode ends.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of plans per step, at least 2; must be even when `antithetic`.
        num_iterations: the number I of steps.
        initial_plan: mean of the belief at the start, scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: standard deviation of the belief at the start, scalar, [A] or [H, A].
        std_min: the floor of the learnt std (of a full covariance, that of each action given those before), > 0.
        covariance: "diagonal" or "full".
        temperature: λ of the posterior, in reward units.
        prior: p: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree, or `planners.priors.policy_prior`; None for
            N(0, prior_std²); "flat" for p = 1, under which nothing holds plans back that are beyond the actuators'
            range, where all are worth the same.
        prior_std: standard deviation of the prior, scalar, [A] or [H, A]; 1 unless given.
        antithetic: whether noise comes in pairs ε, −ε, which makes the gradient of the mean exact where returns are
            quadratic.
        stick: whether log q is differentiated along plans only: the gradient then has no variance where the belief is
            the posterior (Roeder et al., 2017, "sticking the landing").
        optimizer: the name of one in optax, or what makes one of a learning rate; see `planners.gradients.optimizer`.
        learning_rate: learning rate of the optimiser, > 0.
        max_norm: the norm to which a longer gradient is shortened; None for no limit.
        num_scenarios: number of scenarios in which a plan is tried; None (the default) for as many as the model
            wants.
        risk: what a plan's returns in several scenarios are worth together; None for their mean.
        execute: "mode" executes the mean, "sample" a sample of the belief.
        warm_start: whether planning at the next time step starts from this one's belief, shifted.
        tail: the action that a warm start appends: "hold" repeats the last, "zero", or "initial".
        inflation: the factor >= 1 by which a warm start widens the variances that it carries on; None starts from the
            initial ones again.
        keep: which arrays `info` keeps of each iteration: "returns" of all plans; none unless given.
        rollout_chunk_size: number of rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    makers: dict[str, Callable[..., Any]] = {"diagonal": gaussian, "full": full_gaussian}
    if covariance not in makers:
        raise ValueError(f"covariance must be one of {', '.join(makers)}, got {covariance!r}")
    number, antithetic = integer("num_samples", num_samples, 2), boolean("antithetic", antithetic)
    if antithetic and number % 2:
        raise ValueError(f"num_samples must be even where noise comes in pairs, got {num_samples!r}")
    if temperature is None:
        raise ValueError("temperature must be a number: the evidence bound is that of a posterior, got None")
    if execute not in ("mode", "sample"):
        raise ValueError(f"execute must be one of mode, sample, got {execute!r}")
    climbed = target(
        temperature,
        gaussian_prior(prior, prior_std),
        risk=risk,
        num_scenarios=num_scenarios,
        rollout_chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    return GradientPlanner(
        family=makers[covariance](mean=initial_plan, std=std, std_min=std_min),
        objective=ElboAscent(climbed, None, number, antithetic, boolean("stick", stick)),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=climbed.temperature,
        warm_start=optional_shift(warm_start, tail, inflation),
        horizon=integer("horizon", horizon),
        num_iterations=integer("num_iterations", num_iterations),
        execute=execute,
        keep=check_keep(keep),
        name="elbo_gradient",
    )
