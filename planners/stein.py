"""Stein variational inference of plans."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import NamedSharding

from ..dynamics.checks import integer, real
from .beliefs.gaussian import gaussian_prior
from .beliefs.warm_start import optional_shift
from .gradients.ascent import GradientPlanner
from .gradients.objective import target
from .gradients.optimizers import optimizer as make_optimizer
from .gradients.points import points
from .gradients.stein import GRADIENTS, KERNELS, SteinAscent
from .info import check_keep


def stein(
    horizon: int,
    *,
    num_samples: int = 32,
    num_iterations: int = 50,
    initial_plan: Any = 0.0,
    std: Any = 0.5,
    temperature: Any = 1.0,
    prior: Any = None,
    prior_std: Any = None,
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
    execute: str = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    keep: Sequence[str] = (),
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner:
    """Stein variational inference (Liu & Wang, 2016; Lambert et al., 2020): particles that move to the posterior.

    Plans go up the gradient of log p(a) exp(R/λ), their own and that of their neighbours, and push each other away:
    several ways to go are kept, each by some of them, and no weights degenerate. In many dimensions so few particles
    fall short of the posterior's spread.

    Args:
        horizon: the number H of steps.
        num_samples: the number K of particles.
        num_iterations: the number I of steps.
        initial_plan: where the first particle starts, scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: standard deviation of the noise by which the others start elsewhere, scalar, [A] or [H, A].
        temperature: λ of the posterior, in reward units.
        prior: p: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree, or `planners.priors.policy_prior`; None for
            N(0, prior_std²); "flat" for p = 1, under which nothing holds plans back that are beyond the actuators'
            range, where all are worth the same.
        prior_std: standard deviation of the prior, scalar, [A] or [H, A]; 1 unless given.
        gradient: "pathwise" goes through the model; "score" weighs perturbed plans and needs no derivatives.
        num_perturbations: number of these for each particle, at least 2; 16 unless given.
        perturbation: std of these, scalar, [A] or [H, A], > 0: the posterior that is found is smoothed by it; 0.1
            unless given.
        kernel: "plans" compares whole plans; "steps" each step by itself, which keeps particles apart in long plans,
            but knows nothing of how steps hang together.
        bandwidth: bandwidth h > 0 of the kernel exp(−|a − b|²/h); None for the median of the squared distances over
            log(K + 1).
        optimizer: the name of one in optax, or what makes one of a learning rate; see `planners.gradients.optimizer`.
        learning_rate: learning rate of the optimiser, > 0.
        max_norm: the norm to which a longer direction of a plan is shortened; None for no limit.
        num_scenarios: number of scenarios in which a plan is tried; None (the default) for as many as the model
            wants.
        risk: what a plan's returns in several scenarios are worth together; None for their mean.
        execute: "mode" executes the particle of the greatest density, "mean" their mean, "sample" one of them.
        warm_start: whether planning at the next time step starts from this one's particles, shifted.
        tail: the action that a warm start appends: "hold" repeats the last, "zero", or "initial".
        keep: which arrays `info` keeps of each iteration: "returns" of all plans; none unless given.
        rollout_chunk_size: number of rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.

    Returns:
        The planner. Its belief has all `plans` [K, H, A] and λ times the log of the posterior's density, up to a
        constant, as their `objective` [K].

    Raises:
        ValueError: for a parameter outside its range.
    """
    for name, value, choices in (
        ("gradient", gradient, GRADIENTS),
        ("kernel", kernel, KERNELS),
        ("execute", execute, ("mode", "mean", "sample")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if temperature is None:
        raise ValueError("temperature must be a number: particles go to a posterior, got None")
    climbed = target(
        temperature,
        gaussian_prior(prior, prior_std),
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
    smoothing = real("perturbation", std_of, above=0.0, shape=None)
    return GradientPlanner(
        family=points(num_samples=integer("num_samples", num_samples, 2), initial_plan=initial_plan, std=std),
        objective=SteinAscent(
            climbed,
            None if bandwidth is None else real("bandwidth", bandwidth, above=0.0),
            smoothing if gradient == "score" else None,
            16 if num_perturbations is None else integer("num_perturbations", num_perturbations, 2),
            kernel,
        ),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=climbed.temperature,
        warm_start=optional_shift(warm_start, tail),
        horizon=integer("horizon", horizon),
        num_iterations=integer("num_iterations", num_iterations),
        execute=execute,
        keep=check_keep(keep),
        name="stein",
    )
