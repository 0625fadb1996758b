"""How good a plan planners find: trajectory optimisation from rest, without feedback, at equal numbers of plans.

The task is the hopper of model-based diffusion (Pan et al., 2024; `mbd/envs/hopper.py` of its code): Brax's hopper
under positional physics, 20 substeps of 2 ms per step, that earns its position less half its distance from a height
of 1 m and never ends. `python -m mirrax.benchmarks.open_loop` prints a row per planner; see --help.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import dynamics, planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.returns import fitting, parse_planner, refiner, told
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer, real
from mirrax.planners.lqr.solver import FRACTIONS

# What planners take besides the same std; the published baselines keep it fixed (MPPI, CEM) or adapt it (CMA-ES).
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "random_shooting": {},
    "predictive_sampling": {},
    "cem": {},
    "icem": {"population_decay": 1.0},
    "mppi": {},
    "pi2": {},
    "tsallis": {},
    "tsallis, std learnt": {"learn_std": True},
    "dial, diffusion": {"diffusion": True, "horizon_factor": 1.0},  # its own schedule is one for few iterations
    "evolution": {},
    "vi_mpc": {},
    "smc": {},
    "vi_mpc, best kept": {"num_kept": 3, "execute": "best"},
    "vi_mpc, refined": {"refine": {"num_samples": 2, "num_iterations": 8}},  # by `gradient`, besides the plans of all
    "gradient": {},
    "elbo_gradient": {},
    "stein": {},
    "ilqr": {},
    "iterative_policy": {},
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    model: str | None = None
    """Name of a model, or "upright", Brax's inverted pendulum that earns less the further it leans; the hopper of
    model-based diffusion unless given."""
    planners: tuple[str, ...] = tuple(SETTINGS)
    """Names of planners, with options of their own after a colon: vi_mpc:target_ess=0.2."""
    num_samples: int = 128
    """Plans per iteration."""
    num_iterations: int = 30
    """Iterations of the one planning."""
    horizon: int = 50
    """Steps of a plan."""
    std: float = 1.0
    """Standard deviation of the first plans."""
    seeds: int = 3
    """Plannings per planner, each from a state of its own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        some("planners", options.planners)
        for name in ("num_iterations", "horizon", "seeds"):
            integer(name, getattr(options, name))
        integer("num_samples", options.num_samples, 2)
        real("std", options.std, above=0.0)
        model = _make(options.model)
        chosen = {name: fitting(make_planner(name, options), model) for name in options.planners}
    print_table(
        f"{options.num_samples} plans × {options.num_iterations} iterations × {options.horizon} steps, mean reward "
        f"of a step, mean of {options.seeds} seeds ± half of the 95 % confidence interval",
        ("planner", "plan of the belief", "best plan tried", "s / planning"),
        ([name, *_measure(planner, model, options)] for name, planner in chosen.items()),
        width=18,
    )


def hopper() -> Model:
    """The hopper of model-based diffusion, as a model."""
    body = dynamics.brax("hopper", "positional", n_frames=20, terminate_when_unhealthy=False)

    def step(body: Any, key: Any, state: Any, action: Any) -> tuple[Any, Any, Any]:
        state, _, discount = body.step(key, state, action)
        x, _, z = state.pipeline_state.x.pos[0]
        return state, x - 0.5 * jnp.minimum(jnp.abs(z - 1.0), 1.0), discount

    return dynamics.from_function(jax.tree_util.Partial(step, body), body.action_size, init=body.init, dt=body.dt)


def upright() -> Model:
    """Brax's inverted pendulum, that does not end, and pays for being upright: its own reward does not tell how."""
    body = dynamics.brax("inverted_pendulum")

    def step(body: Any, key: Any, state: Any, action: Any) -> tuple[Any, Any, Any]:
        state, _, _ = body.step(key, state, action)
        x, angle = state.pipeline_state.q
        return state, 1.0 - angle**2 - 0.1 * x**2, 1.0

    return dynamics.from_function(jax.tree_util.Partial(step, body), body.action_size, init=body.init, dt=body.dt)


def _make(name: str | None) -> Model:
    if name is None:
        return hopper()
    if name == "upright":
        return upright()
    try:
        task = find_task(name)
    except ValueError as error:
        raise ValueError(f"{error}, upright") from None
    return task.make(None)


def make_planner(name: str, options: Options) -> planners.Planner:
    """The planner of that name, over as many plans as the others.

    Args:
        name: as `parse_planner` takes it.
        options: how many plans, iterations and steps.

    Returns:
        The planner. That of random search draws all plans at once; that of iLQR has as many iterations as may follow
        so many plans.

    Raises:
        ValueError: if there is none of that name, it does not take an option, or not in this range.
    """
    factory, own = parse_planner(name, SETTINGS)
    if "num_iterations" in own:
        raise ValueError(f"num_iterations must be the same for all planners, got {name!r}")
    own |= refiner(own, options.horizon)
    sizes = {"num_samples": options.num_samples, "num_iterations": options.num_iterations}
    if factory == "random_shooting":
        sizes = {"num_samples": options.num_samples * options.num_iterations}
    if factory == "ilqr":
        most = options.num_samples * options.num_iterations
        if most < (least := 2 * len(FRACTIONS)):
            raise ValueError(f"num_samples × num_iterations must be at least {least} for {name}, got {most}")
        sizes = {"num_iterations": most // len(FRACTIONS) - 1}
    given: dict[str, Any] = sizes | {"std": options.std} | own | {"keep": ("returns",)}
    return getattr(planners, factory)(options.horizon, **given)


def _measure(planner: planners.Planner, model: Model, options: Options) -> list[str]:
    """A row of the table."""

    def search(planner: Any, model: Any, key: Any) -> tuple[Any, Any]:
        state = model.init(key)
        belief, info = planners.infer(planner, model, key, state)
        plan, tried = belief.mode()[None], jnp.asarray(info.returns)  # which is kept
        return planners.rollout(model, key, state, plan)[0], jnp.nanmax(tried)

    keys = jax.random.split(jax.random.key(0), options.seeds)
    program = jax.jit(search).lower(planner, model, keys[0]).compile()
    began = time.perf_counter()
    found = np.asarray([program(planner, model, key) for key in keys]) / options.horizon
    seconds = (time.perf_counter() - began) / options.seeds
    return [*(told(list(column), 2) for column in found.T), f"{seconds:.1f}"]


if __name__ == "__main__":
    main()
