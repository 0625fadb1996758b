"""How sampling planners are composed: the components and options that make one, checked together."""

import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import NamedSharding

from ..dynamics.checks import boolean, check_unused, choice, integer
from .beliefs.choice import as_family, by_space
from .beliefs.memory import remembering
from .beliefs.spline import splined
from .beliefs.warm_start import optional_shift
from .checks import check_part
from .info import check_keep
from .loop_options import BOUNDS, LoopOptions, document
from .options import OPTIONS, checked
from .particles.belief import ParticlesFamily
from .particles.particle_filter import ParticleFilter, check_resampled
from .particles.resampling import Resampler
from .particles.tempering import Tempering, check_tempering
from .rest import RestingPlanner, resting
from .rollouts.settings import rollout_settings
from .sampling.evaluation import Evaluator
from .sampling.importance import ImportanceSampler
from .sampling.incumbent import Incumbent
from .sampling.likelihoods import Likelihood
from .sampling.loop import SamplingPlanner
from .sampling.policy_samples import policy_samples
from .sampling.priors import as_prior
from .sampling.refinement import RefinedPlanner, refined
from .sampling.step_sizes import StepSize

ComposedPlanner = SamplingPlanner | RefinedPlanner | RestingPlanner  # what factories return


def sampling_planner(
    horizon: int,
    belief: Any,
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
    policy: Any = None,
    num_policy_samples: int | None = None,
    bounds: str | None = None,
    clip_plans: bool = False,
    num_kept: int = 0,
    rest_steps: int | None = None,
    rest_speed: Any = None,
    rest_distance: Any = None,
    refine: Any = None,
    execute: str | None = "mode",
    diagnostics: bool = True,
    keep: Sequence[str] = (),
    warm_start: bool = True,
    tail: str = "hold",
    inflation: Any = None,
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
    name: str = "sampling_planner",
) -> ComposedPlanner:
    """Compose a planner of any components; the factories do no more. `LoopOptions` describes the other options.

    Args:
        horizon: the number H of steps.
        belief: the family of beliefs (`planners.beliefs.gaussian(...)` and the like), or a belief over plans [H, A]
            where inference starts.
        likelihood: W, how returns become weights.
        prior: a family of beliefs, an object with `log_prob(plans [K, H, A]) -> [K]`, or a `Prior`, a pytree: adds
            log p − log q to the log-weights. None leaves it out, at no cost.
        step_size: chooses κ of the mirror descent, see `planners.step_sizes`; needs a prior. None for κ = 1.
        num_samples: the number K of plans per iteration, at least 2; or one number for each iteration.
        num_iterations: the number I of iterations, at least 1.
        include_mode: whether the mode of the belief is one of the K plans.
        per_step: whether every step is weighed by what remains of the return from there on (path integrals); for
            Gaussian beliefs over steps, without a prior.
        num_scenarios: see `LoopOptions`.
        common_noise: see `LoopOptions`.
        risk: see `LoopOptions`.
        resampler: resamples plans during the rollout, see `planners.particles.resampler`: sequential Monte Carlo. The
            likelihood must then be `planners.particles.tempering`, and the belief one that can be drawn step by step
            (Gaussian over steps, mixture, categorical), or `planners.particles.particles` of one. None for plans that
            are rolled out each by itself.
        explore_fraction: see `LoopOptions`.
        policy: see `LoopOptions`.
        num_policy_samples: see `LoopOptions`.
        bounds: see `LoopOptions`.
        clip_plans: see `LoopOptions`.
        num_kept: see `LoopOptions`.
        rest_steps: see `LoopOptions`.
        rest_speed: see `LoopOptions`.
        rest_distance: see `LoopOptions`.
        refine: see `LoopOptions`.
        execute: see `LoopOptions`.
        diagnostics: see `LoopOptions`.
        keep: see `LoopOptions`.
        warm_start: see `LoopOptions`.
        tail: see `LoopOptions`.
        inflation: see `LoopOptions`.
        rollout_chunk_size: see `LoopOptions`.
        sharding: see `LoopOptions`.
        name: of the planner, for errors and reports.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    horizon, family = checked("horizon", horizon), family_or_belief(belief)
    num_iterations = checked("num_iterations", num_iterations)
    sizes = _sizes(num_samples, num_iterations)
    include_mode, clip_plans = checked("include_mode", include_mode), checked("clip_plans", clip_plans)
    per_step = boolean("per_step", per_step)
    explored = checked("explore_fraction", explore_fraction)
    samples = policy_samples(policy, num_policy_samples)
    kept = checked("num_kept", num_kept)
    if kept:
        family = remembering(family, num_kept=kept, num_shifted=kept)
    checked_prior = None if prior is None else as_prior(prior)
    rollouts = rollout_settings(
        risk=risk,
        num_scenarios=num_scenarios,
        common_noise=common_noise,
        rollout_chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    evaluator: Evaluator
    if resampler is None:
        if isinstance(likelihood, Tempering):
            raise ValueError("tempering needs a resampler, got None; see planners.likelihoods.exponential")
        if isinstance(family, ParticlesFamily):
            raise ValueError("a belief of particles needs a resampler, got None")
        if step_size is not None and prior is None:
            raise ValueError("step_size needs a prior: mirror descent goes towards the posterior under it, got None")
        if per_step and prior is not None:
            raise ValueError("per_step takes no prior: it weighs each step by itself")
        if clip_plans and prior is not None:
            raise ValueError("clip_plans takes no prior: the density of clipped plans is not the belief's")
        evaluator = ImportanceSampler(
            likelihood=check_part("likelihood", likelihood, "__call__"),
            prior=checked_prior,
            step_size=None if step_size is None else check_part("step_size", step_size, "__call__"),
            rollouts=rollouts,
            include_mode=include_mode,
            explore_fraction=explored,
            policy_samples=samples,
            clip_plans=clip_plans,
            per_step=per_step,
        )
    else:
        check_resampled(
            sizes,
            num_kept=kept > 0,
            step_size=step_size is not None,
            include_mode=include_mode,
            explore_fraction=explored > 0.0,
            policy=policy is not None,
            clip_plans=clip_plans,
            per_step=per_step,
        )
        evaluator = ParticleFilter(
            likelihood=check_tempering(likelihood, prior),
            prior=checked_prior,
            resampler=check_part("resampler", resampler),
            rollouts=rollouts,
        )
    choice("bounds", bounds, (None, *BOUNDS))
    checked("execute", execute)
    planner = SamplingPlanner(
        family=check_part("belief", family, "bind"),
        evaluator=evaluator,
        warm_start=optional_shift(warm_start, tail, inflation),
        horizon=horizon,
        num_samples=sizes,
        num_iterations=num_iterations,
        bounds=bounds,
        execute=execute,
        diagnostics=checked("diagnostics", diagnostics),
        keep=check_keep(keep),
        name=name,
    )
    if isinstance(refine, RestingPlanner):
        raise ValueError("refine must have no rest_steps: give them to the planner that it refines")
    made = planner if refine is None else refined(planner, refine)
    return resting(made, rest_steps, rest_speed, rest_distance)


document(inspect.signature(sampling_planner))


def compose(
    name: str,
    horizon: int,
    family: Any,
    likelihood: Likelihood,
    options: LoopOptions,
    *,
    family_options: Mapping[str, Any] | None = None,
    discrete: Any = None,
    kept: tuple[int, int] | None = None,
    **own: Any,
) -> Any:
    """What factories do: a family over steps or knots, a likelihood, the factory's own arguments, and the options.

    Args:
        name: of the factory.
        horizon: the number H of steps.
        family: of continuous actions, over steps or over knots.
        likelihood: how returns become weights.
        options: those that the user gave.
        family_options: those that are of the planner's own family: name -> value, None where it was not given.
            None for no such options.
        discrete: the family of discrete actions; None for the same.
        kept: how many plans are evaluated again in the next iteration and in the next time step; None for `num_kept`.
        **own: arguments of `sampling_planner` that the factory chooses.

    Returns:
        The planner.

    Raises:
        TypeError: for an option that does not exist.
        ValueError: for one outside its range.
    """
    for option in options:
        if option not in LoopOptions.__annotations__:
            raise TypeError(f"{name}() got an unexpected keyword argument {option!r}. {_hint(name, option)}".rstrip())
    if own.get("risk") is not None and options.get("risk") is not None:
        raise ValueError("rho is a risk measure, where the expectation sits: give it or risk, got both")
    given: dict[str, Any] = own | options
    if (belief := given.pop("belief", None)) is not None:
        check_unused("belief has options of its own", **(family_options or {}))
        family = family_or_belief(belief)
    elif discrete is not None:
        family = by_space(family, discrete, **(family_options or {}))
    family = splined(family, given.pop("num_knots", None), given.pop("interpolation", None))
    if kept is not None and any(kept):
        family = remembering(family, num_kept=kept[0], num_shifted=kept[1])
    return sampling_planner(horizon, family, likelihood, name=name, **given)


def _hint(name: str, option: str) -> str:
    """What may have been meant by an option that a planner does not have; empty for nothing."""
    package = importlib.import_module(__package__)  # it imports this module, so only where something is wrong
    own = {*inspect.signature(getattr(package, name, sampling_planner)).parameters} & {*OPTIONS}
    if near := difflib.get_close_matches(option, sorted(own | {*LoopOptions.__annotations__}), 1):
        return f"Did you mean {near[0]!r}?"
    others = [other.__name__ for other in package.PLANNERS if option in inspect.signature(other).parameters]
    return f"{name} has no {option}; it is an option of {', '.join(others)}." if others else ""


def family_or_belief(belief: Any) -> Any:
    """A family, or a belief as one; of what `infer` returns the belief."""
    return as_family(belief.belief if isinstance(belief, Incumbent) else belief)


def renamed(planner: Any, name: str) -> Any:
    """A sampling planner, or one around it, of another name."""
    if isinstance(planner, RefinedPlanner | RestingPlanner):
        return dataclasses.replace(planner, planner=renamed(planner.planner, name))
    return dataclasses.replace(planner, name=name)


def _sizes(num_samples: Any, num_iterations: int) -> int | tuple[int, ...]:
    """The number of plans per iteration, or of each iteration where they differ."""
    if not isinstance(num_samples, Sequence) or isinstance(num_samples, str | bytes):
        return integer("num_samples", num_samples, 2)
    sizes = tuple(integer("num_samples", size, 2) for size in num_samples)
    if len(sizes) != num_iterations:
        raise ValueError(f"num_samples must be one number, or {num_iterations} of them, got {num_samples!r}")
    return sizes[0] if len(set(sizes)) == 1 else sizes
