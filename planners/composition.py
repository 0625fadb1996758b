"""How planners are composed: the components and options that make one, checked together."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from jax.sharding import NamedSharding

from ..dynamics.base import boolean, fraction, integer, real
from .base import Belief, Likelihood, Sequential, check_part
from .families import (
    Annealed,
    Categorical,
    Enumeration,
    Gaussian,
    Particles,
    Remembering,
    Splined,
    Strategy,
    remembering,
    splined,
)
from .loop import SamplingPlanner
from .priors import ShrunkPrior, check_prior
from .refinement import Refiner
from .resampling import Resampler
from .risk import as_risk, entropic
from .rollout import check_sharding
from .step_sizes import StepSize
from .tempering import Tempering
from .warm_start import optional_shift

BOUNDS = ("clip", "none")
EXECUTIONS = ("mode", "mean", "best", "sample", "component")


class LoopOptions(TypedDict, total=False):
    """What every sampling planner takes besides its own arguments.

    Attributes:
        num_knots: plan over so many knots of a spline rather than over steps; None (the default) for steps. `std` and
            the like are then those of the knots.
        interpolation: "zero" holds each knot until the next, "linear", or "cubic" (the default).
        num_scenarios: number of scenarios, each with its own noise, in which a plan is tried; None (the default) for
            as many as the model says, 1 for most.
        common_noise: whether all plans meet the same scenarios; True unless given. Fresh noise for each plan lets
            planners profit from luck.
        risk: what the returns of a plan in several scenarios are worth together (in one scenario all measures are the
            same): "mean" (the default), "worst", "best", `planners.entropic(theta)`, `value_at_risk(alpha)`,
            `conditional_value_at_risk(alpha)`, or a function that maps returns [M] to a scalar.
        explore_fraction: share of the plans that have the initial spread around the present plan, in [0, 1); 0 unless
            given.
        bounds: "clip" keeps the centre of the belief, after each fit, within the actuators' range [-1, 1] and a
            margin of half a standard deviation (0.25 at least): further off nothing changes, so that plans would
            wander, and be long in coming back. Densities stay exact, and the plan to execute is clipped to the range.
            "none" lets the centre go, for models whose actions have no range. None (the default) as the model says,
            see `dynamics.bounded`.
        clip_plans: whether the plans themselves are clipped to [-1, 1] before they are tried and fitted to; False
            unless given. Not under a prior.
        num_kept: number of the best plans of an iteration that the next one looks at again, and the next time step,
            shifted; 0 unless given. Under a prior they count in no fit, which would bias the posterior.
        refine: a planner that goes on from where this ends, over the same horizon: `planners.gradient(...)` or
            `planners.ilqr(...)`. It starts from the belief's mode (if it takes several plans, from samples as well);
            its plan is executed, and planned on from, if its rollout is better. None (the default) for none.
        execute: "mode" (the default) or "mean" of the belief (of a Gaussian the same), "best" takes the best plan
            that was tried in any iteration, `belief.best()` (under noise: that had the most luck, if there are few
            scenarios), "sample" draws from the belief, "component" draws one of a mixture's modes.
        diagnostics: whether `info` has more than the returns, such as evidence, effective sample sizes and
            divergences; True unless given. What they cost is little, but counts where a planning takes a millisecond.
        warm_start: whether planning at the next time step starts from this one's belief, shifted; True unless given.
        tail: the action that a warm start appends: "hold" (the default) repeats the last, "zero", or "initial".
        inflation: the factor ≥ 1 by which a warm start widens the variances that it carries on; None (the default)
            starts from the initial ones again. For beliefs that learn their spread.
        rollout_chunk_size: number of rollouts to do at once; None (the default) chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.
    """

    num_knots: int | None
    interpolation: str | None
    num_scenarios: int | None
    common_noise: bool
    risk: Any
    explore_fraction: float
    bounds: str | None
    clip_plans: bool
    num_kept: int
    refine: Any
    execute: str
    diagnostics: bool
    warm_start: bool
    tail: str
    inflation: Any
    rollout_chunk_size: int | None
    sharding: NamedSharding | None


def sampling_planner(
    belief: Belief,
    likelihood: Likelihood,
    *,
    prior: Any = None,
    step_size: StepSize | None = None,
    num_samples: int | Sequence[int],
    num_iterations: int = 1,
    include_mode: bool = False,
    per_step: bool = False,
    num_scenarios: int | None = None,
    common_noise: bool = True,
    risk: Any = None,
    resampler: Resampler | None = None,
    explore_fraction: float = 0.0,
    bounds: str | None = None,
    clip_plans: bool = False,
    refine: Any = None,
    execute: str = "mode",
    diagnostics: bool = True,
    warm_start: bool = True,
    tail: str = "hold",
    inflation: Any = None,
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> SamplingPlanner:
    """Compose a planner of any components; the factories do no more. `LoopOptions` tells of the other options.

    Args:
        belief: q₀, where inference starts.
        likelihood: W, how returns become weights.
        prior: an object with `log_prob(plans [K, H, A]) -> [K]` or a `Prior`, a pytree: adds log p − log q to the
            log-weights. None leaves it out, at no cost.
        step_size: chooses κ of the mirror descent, see `planners.step_size`; needs a prior. None goes all the way.
        num_samples: the number K of plans per iteration, at least 2; or one number for each iteration.
        num_iterations: the number I of iterations, at least 1.
        include_mode: whether the centre of the belief is one of the K plans.
        per_step: whether every step is weighed by what remains of the return from there on (path integrals); for
            Gaussian beliefs over steps, without a prior.
        num_scenarios: see `LoopOptions`.
        common_noise: see `LoopOptions`.
        risk: see `LoopOptions`.
        resampler: resamples plans on the way, see `planners.resampler`: sequential Monte Carlo. The likelihood must
            then be `planners.tempering`, and the belief one that can be drawn step by step (Gaussian over steps,
            mixture, categorical), or `planners.particles` of one. None for plans that go their own way.
        explore_fraction: see `LoopOptions`.
        bounds: see `LoopOptions`.
        clip_plans: see `LoopOptions`.
        refine: see `LoopOptions`.
        execute: see `LoopOptions`.
        diagnostics: see `LoopOptions`.
        warm_start: see `LoopOptions`.
        tail: see `LoopOptions`.
        inflation: see `LoopOptions`.
        rollout_chunk_size: see `LoopOptions`.
        sharding: see `LoopOptions`.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    belief = check_part("belief", belief, *(name for name in vars(Belief) if not name.startswith("_")))
    num_iterations = integer("num_iterations", num_iterations)
    sizes: int | tuple[int, ...]
    if isinstance(num_samples, Sequence):
        sizes = tuple(integer("num_samples", size, 2) for size in num_samples)
        if len(sizes) != num_iterations:
            raise ValueError(f"num_samples must be one number, or {num_iterations} of them, got {num_samples!r}")
        sizes = sizes[0] if len(set(sizes)) == 1 else sizes
    else:
        sizes = integer("num_samples", num_samples, 2)
    if step_size is not None and prior is None:
        raise ValueError("step_size needs a prior: mirror descent goes towards the posterior under it, got None")
    family = _family(belief)
    include_mode, clip_plans = boolean("include_mode", include_mode), boolean("clip_plans", clip_plans)
    per_step = boolean("per_step", per_step)
    if per_step and (prior is not None or not isinstance(family, Gaussian) or isinstance(belief, Splined)):
        raise ValueError("per_step takes no prior, and a Gaussian belief over steps: it weighs each step by itself")
    if clip_plans and prior is not None:
        raise ValueError("clip_plans takes no prior: the density of clipped plans is not the belief's")
    real("explore_fraction", explore_fraction, minimum=0.0, below=1.0)
    explored = fraction("explore_fraction", explore_fraction)
    if explored and isinstance(family, Categorical | Enumeration | Strategy):  # whose plans have no centre to move to
        raise ValueError(f"explore_fraction must be 0 for {type(family).__name__}, got {explore_fraction!r}")
    fewest = sizes if isinstance(sizes, int) else min(sizes)
    kept = max(belief.num_kept, belief.num_shifted) if isinstance(belief, Remembering) else 0
    if fewest - kept - round(explored * fewest) - include_mode < 1:
        raise ValueError(
            f"num_samples must leave plans to draw beside {kept} kept ones, the fraction {explored:g} of explorers"
            f"{' and the mode' if include_mode else ''}, got {fewest}"
        )
    if resampler is not None:
        _check_tempering(likelihood, prior)
        if isinstance(prior, ShrunkPrior) and not isinstance(getattr(belief, "proposal", belief), Sequential):
            raise ValueError("a prior around the present mean needs a proposal that has one, got a policy")
        _check_resampled(belief, sizes, step_size is not None, include_mode, explored, clip_plans, per_step)
    elif isinstance(likelihood, Tempering):
        raise ValueError("tempering needs a resampler, got None; without one use planners.exponential(...)")
    elif isinstance(belief, Particles):
        raise ValueError("a belief of particles needs a resampler, got None")
    if isinstance(family, Enumeration) and (kept or include_mode):
        raise ValueError("num_kept and include_mode replace plans: an enumeration has them all already")
    if inflation is not None and not _learns_spread(family.proposal if isinstance(family, Particles) else family):
        raise ValueError(f"inflation needs a belief that learns its spread, got {inflation!r}")
    if refine is not None:
        _check_refiner(refine, belief, execute)
    if bounds not in (None, *BOUNDS):
        raise ValueError(f"bounds must be one of {', '.join(BOUNDS)}, or None, got {bounds!r}")
    if execute not in EXECUTIONS:
        raise ValueError(f"execute must be one of {', '.join(EXECUTIONS)}, got {execute!r}")
    if execute == "mean" and not hasattr(family, "mean"):
        raise ValueError(f"execute='mean' needs a belief that has a mean, got {type(family).__name__}")
    if execute == "component" and not hasattr(family, "random_mode"):
        raise ValueError(f"execute='component' needs a belief of several modes, got {type(family).__name__}")
    if execute == "sample" and isinstance(family, Strategy):
        raise ValueError("execute='sample' needs a belief to draw from, got Strategy")
    return SamplingPlanner(
        belief=belief,
        likelihood=check_part("likelihood", likelihood, "__call__"),
        prior=None if prior is None else check_prior(prior, belief.mode().shape),
        step_size=None if step_size is None else check_part("step_size", step_size, "__call__"),
        risk=None if risk is None else as_risk(risk),
        resampler=None if resampler is None else check_part("resampler", resampler),
        refine=None if refine is None else check_part("refine", refine),
        warm_start=optional_shift(len(belief.mode()), warm_start, tail, inflation),
        num_samples=sizes,
        num_iterations=num_iterations,
        include_mode=include_mode,
        explore_fraction=explored,
        bounds=bounds,
        discrete=isinstance(family.proposal if isinstance(family, Particles) else family, Categorical | Enumeration),
        clip_plans=clip_plans,
        per_step=per_step,
        execute=execute,
        diagnostics=boolean("diagnostics", diagnostics),
        num_scenarios=None if num_scenarios is None else integer("num_scenarios", num_scenarios),
        common_noise=boolean("common_noise", common_noise),
        rollout_chunk_size=None if rollout_chunk_size is None else integer("rollout_chunk_size", rollout_chunk_size),
        sharding=check_sharding(sharding),
    )


def compose(
    factory: str,
    make: Callable[[int], Any],
    horizon: int,
    likelihood: Likelihood,
    options: LoopOptions,
    *,
    kept: tuple[int, int] | None = None,
    **own: Any,
) -> SamplingPlanner:
    """What factories do: a belief over steps or knots, a likelihood, the factory's own arguments, and the options.

    Args:
        factory: its name, for errors.
        make: makes the belief over so many steps, or knots.
        horizon: the number H of steps.
        likelihood: how returns become weights.
        options: those that the user gave.
        kept: how many plans are looked at again in the next iteration and in the next time step; None for `num_kept`.
        **own: arguments of `sampling_planner` that the factory chooses.

    Returns:
        The planner.

    Raises:
        TypeError: for an option that does not exist.
        ValueError: for one outside its range.
    """
    for name in options:
        if name not in LoopOptions.__annotations__:
            raise TypeError(f"{factory}() got an unexpected keyword argument {name!r}")
    if own.get("risk") is not None and options.get("risk") is not None:
        raise ValueError("rho is a risk measure, where the expectation sits: give it or risk, got both")
    given: dict[str, Any] = own | options
    belief = splined(make, horizon, given.pop("num_knots", None), given.pop("interpolation", None))
    number = integer("num_kept", given.pop("num_kept", 0), 0)
    num_kept, num_shifted = (number, number) if kept is None else kept
    if num_kept or num_shifted:
        belief = remembering(belief, num_kept=num_kept, num_shifted=num_shifted)
    return sampling_planner(belief, likelihood, **given)


def risk_at(rho: Any, temperature: Any, standardize: bool = False) -> Any:
    """The risk measure that places the expectation over scenarios in or out of exp(R/λ).

    Args:
        rho: ρ: 0 inside, 1 outside; None for no risk measure.
        temperature: λ in reward units.
        standardize: whether λ is relative to the returns instead.

    Returns:
        log E[exp(ρ R/λ)] · λ/ρ as a measure, or None.

    Raises:
        ValueError: if ρ is given, but not the λ that it refers to.
    """
    if rho is None:
        return None
    if temperature is None or standardize:
        raise ValueError(f"rho needs a temperature in reward units, got rho={rho!r} and temperature={temperature!r}")
    return entropic(real("rho", rho) / real("temperature", temperature, above=0.0))


def _check_refiner(refine: Any, belief: Any, execute: str) -> None:
    """Raise a `ValueError` unless a planner can go on from the plans of this belief, and its plan is executed."""
    if not isinstance(refine, Refiner):
        raise ValueError(
            f"refine must be a planner that goes on from plans (gradient, elbo_gradient, stein, ilqr), "
            f"got {type(refine).__name__}"
        )
    if hasattr(belief, "actions"):
        raise ValueError("refine moves actions freely: give it, or discrete actions to choose from, got both")
    if execute in ("sample", "component"):
        raise ValueError(f"refine executes the plan that it finds: execute must not be {execute!r}")
    if refine.plan_shape != belief.mode().shape:
        raise ValueError(
            f"refine must be over plans of shape [H, A] = {belief.mode().shape}, got {refine.plan_shape}"
        )


def _check_tempering(likelihood: Any, prior: Any) -> None:
    """Raise a `ValueError` unless the likelihood can weigh particles under the prior."""
    if not isinstance(likelihood, Tempering):
        raise ValueError(f"a resampler needs the likelihood planners.tempering(...), got {type(likelihood).__name__}")
    if likelihood.max_kl is not None and prior is not None:
        raise ValueError("a prior needs a temperature, or target_ess: max_kl adapts it to the proposal, got max_kl")


def _check_resampled(
    belief: Any,
    sizes: int | tuple[int, ...],
    step_size: bool,
    include_mode: bool,
    explored: float,
    clip_plans: bool,
    per_step: bool,
) -> None:
    """Raise a `ValueError` unless plans can be resampled on the way."""
    if isinstance(belief, Remembering):
        raise ValueError("num_kept has no meaning where plans are resampled: particles are drawn anew")
    if not isinstance(belief, Particles | Sequential):
        told = type(belief).__name__
        more = " (dynamics.action_repeat holds actions instead)" if isinstance(belief, Splined) else ""
        raise ValueError(f"a resampler needs a belief whose plans can be drawn step by step, got {told}{more}")
    if not isinstance(sizes, int):
        raise ValueError(f"num_samples must be one number where plans are resampled, got {sizes}")
    if isinstance(belief, Particles) and len(belief.plans) != sizes:
        raise ValueError(f"num_samples must be the number of particles {len(belief.plans)}, got {sizes}")
    others = {
        "step_size": step_size,
        "include_mode": include_mode,
        "explore_fraction": explored > 0.0,
        "clip_plans": clip_plans,
        "per_step": per_step,
    }
    for name, given in others.items():
        if given:
            raise ValueError(f"{name} has no meaning where plans are resampled (target_ess of tempering paces them)")


def _learns_spread(family: Any) -> bool:
    if isinstance(family, Annealed | Categorical | Enumeration | Strategy) or not isinstance(family, Belief):
        return False
    return getattr(family, "learn_std", True)


def _family(belief: Any) -> Any:
    """What is inside of splines and memories."""
    while isinstance(belief, Remembering | Splined):
        belief = belief.belief if isinstance(belief, Remembering) else belief.knots
    return belief
