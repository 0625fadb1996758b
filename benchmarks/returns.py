"""What planners earn in closed loop for equal numbers of model steps, over seeds, with confidence intervals.

`python -m mirrax.benchmarks.returns` prints a table per model, keeps every return in a folder (a run that was
interrupted goes on where it was), and draws the figure; see --help.
"""

import ast
import dataclasses
import hashlib
import inspect
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import t as student

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.devices import spreads
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.page import write_benchmark
from mirrax.benchmarks.panels import label_outside, panels
from mirrax.benchmarks.task import Task
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer
from mirrax.planners.lqr.solver import FRACTIONS
from mirrax.planners.rest import RestingPlanner

# What planners take here besides their defaults: iterations that leave the smallest budget enough plans for each.
# After a comma stands what sets a second entry of the same planner apart.
SETTINGS: Mapping[str, Mapping[str, Any]] = {factory.__name__: {} for factory in planners.PLANNERS} | {
    "cem": {"num_iterations": 4},
    "icem": {"num_iterations": 3},
    "pi2": {"num_iterations": 2},
    "dial": {"num_iterations": 2, "num_knots": 8},
    "evolution": {"num_iterations": 2},
    "vi_mpc": {"num_iterations": 2},
    "vi_mpc, best kept": {"num_iterations": 2, "num_kept": 3, "execute": "best"},
    "vi_mpc, refined": {"num_iterations": 2, "refine": {"num_samples": 2, "num_iterations": 8}},  # by `gradient`
    "gradient": {"num_iterations": 16},
    "elbo_gradient": {"num_iterations": 8, "temperature": 0.1},  # a tenth of what a good step earns here
    "stein": {"num_iterations": 8, "temperature": 0.1},
    "iterative_policy": {"num_iterations": 4},
}


# whose noise comes in pairs
PAIRED = ("elbo_gradient", "iterative_policy")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = ("hopper", "halfcheetah", "ant", "walker2d", "cartpole", "pendulum", "point_mass")
    """Names of models."""
    planners: tuple[str, ...] = tuple(SETTINGS)
    """Names of planners, with options of their own after a colon: vi_mpc:target_ess=0.2,num_iterations=1."""
    budgets: tuple[int, ...] = (64, 256)
    """Plans per time step, over all iterations; times the horizon these are the model steps. What derivatives cost
    besides, the time tells."""
    seeds: int = 5
    """Episodes per planner and budget."""
    steps: int = 100
    """Time steps of an episode."""
    out: Path = Path("runs/returns")
    """Folder of the returns, one file per model, and of the figure; a run goes on with what it finds there.
    benchmarks/results/returns holds the measurements that the repository publishes."""
    draw_only: bool = False
    """Print and draw what is there, measure nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, print the tables, draw the figure and the page."""
    options = parse(Options, arguments)
    with one_clear_line():
        _check(options)
        options.out.mkdir(parents=True, exist_ok=True)
        known = {name: _read(options.out / f"{name}.json") for name in options.models}
    tables = []
    for name in options.models:
        if not options.draw_only:
            _measure(name, options, known[name])
        task = find_task(name)
        table = print_table(
            f"\n`{name}`: return of {options.steps} steps, horizon {task.horizon}, mean of {options.seeds} seeds "
            "± half of the 95 % confidence interval, by plans per time step",
            ("planner", *(str(budget) for budget in options.budgets), "s / episode"),
            (_row(planner, options, known[name]) for planner in options.planners),
            width=16,
        )
        tables.append(table)
    write_benchmark(
        options.out, "returns", "Returns for equal numbers of model steps", tables, figure(known, options)
    )


def make_planner(name: str, task: Task, budget: int, sharding: Any = None) -> planners.Planner:
    """The planner of that name, with as many plans per iteration as the budget allows (or one fewer, if they shrink).

    Args:
        name: as `parse_planner` takes it.
        task: whose horizon it looks ahead, unless that is one of the options; and whose std, where the planner's
            noise is one of all plans.
        budget: plans per time step, over all iterations.
        sharding: how to spread plans over devices, where the planner can; None for one device.

    Returns:
        The planner.

    Raises:
        ValueError: if the budget is too small for it, it does not take an option, or not in this range.
    """
    factory, own = parse_planner(name, SETTINGS, beside=("horizon",))
    horizon = integer("horizon", own.pop("horizon", task.horizon))
    own = task.std_of(factory) | own
    if own.get("num_knots") is not None:
        own["num_knots"] = min(integer("num_knots", own["num_knots"]), horizon)
    own |= refiner(own, horizon)
    if sharding is not None and spreads(factory):
        own["sharding"] = sharding

    def make(size: int) -> planners.Planner:
        """With so many plans per iteration; what searches along a line, with so many iterations."""
        if factory == "ilqr":
            sizes = {} if "num_iterations" in own else {"num_iterations": size}
        else:
            sizes = {"num_samples": size - size % 2 if factory in PAIRED else size}
        return getattr(planners, factory)(horizon, **sizes, **own)

    iterations = integer("num_iterations", own.get("num_iterations", 1))
    if budget < (least := 2 * iterations):
        raise ValueError(f"budgets must be at least {least} for {name} with {iterations} iterations, got {budget}")
    equal = budget // iterations
    # a population that shrinks may begin with more, what takes other plans too must with fewer
    for size in range(max(equal, equal * budget // plans_per_step(make(equal))), 1, -1):
        if plans_per_step(planner := make(size)) <= budget:
            return planner
    least_of = "iterations" if factory == "ilqr" else "plans per iteration"
    raise ValueError(f"budgets must leave {name} two {least_of} at least, got {budget}")


def refiner(own: Mapping[str, Any], horizon: int) -> dict[str, Any]:
    """The option `refine` where it is written as options of `planners.gradient`.

    Args:
        own: options of a planner.
        horizon: the number H of steps.

    Returns:
        It as a planner, or no option.

    Raises:
        ValueError: for an option that `planners.gradient` does not take, or not in this range.
    """
    refine = own.get("refine")
    if not isinstance(refine, Mapping):
        return {}
    for option in refine:
        if option not in inspect.signature(planners.gradient).parameters:
            raise ValueError(f"refine must have options of gradient, got {option!r}")
    return {"refine": planners.gradient(horizon, **refine)}


def fitting(planner: planners.Planner, model: Model) -> planners.Planner:
    """The planner, if it fits a model.

    Args:
        planner: any.
        model: which.

    Returns:
        The planner.

    Raises:
        ValueError: by the planner's `init`, if it does not.
    """
    jax.eval_shape(lambda key: planner.init(model, model.init(key)), jax.random.key(0))
    return planner


def parse_planner(
    name: str, settings: Mapping[str, Mapping[str, Any]], *, beside: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """What a planner of a benchmark is called, and what it takes.

    Args:
        name: a key of `settings`, where what follows a comma sets it apart from another; with options after a colon,
            if any, as Python writes them: "vi_mpc:target_ess=0.2,std=[0.5, 0.3],execute='best'".
        settings: what each takes besides its defaults.
        beside: options that most benchmarks choose themselves, but not this one.

    Returns:
        The name of its factory in `planners`, and the arguments.

    Raises:
        ValueError: if there is none of that name, or what follows the colon are no options.
    """
    known, _, words = name.partition(":")
    if known not in settings:
        raise ValueError(f"unknown planner {known!r}; choose one of: {'; '.join(settings)}")
    factory = known.split(",")[0]
    takes = {*inspect.signature(getattr(planners, factory)).parameters, *planners.LoopOptions.__annotations__}
    try:
        call: Any = ast.parse(f"options({words})", mode="eval").body
        given = {keyword.arg: _literal(keyword.value) for keyword in call.keywords if keyword.arg is not None}
        if call.args or len(given) < len(call.keywords):
            raise SyntaxError
    except SyntaxError:
        raise ValueError(f"options of a planner are written name=value, got {words!r} in {name!r}") from None
    for option in given:
        if option not in takes - ({"horizon", "num_samples", "options"} - {*beside}):
            raise ValueError(f"{factory} takes no {option} here, got {name!r}")
    return factory, dict(settings[known]) | given


def _literal(value: ast.expr) -> Any:
    """A number, a list, None; or a word."""
    try:
        return ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)


def figure(known: Mapping[str, Sequence[dict[str, Any]]], options: Options) -> Any:
    """Return over model steps, one panel per model.

    Args:
        known: model -> what was measured.
        options: which of it to draw.

    Returns:
        A matplotlib figure.
    """
    from matplotlib import colormaps

    drawn, axes = panels(
        [*known], height=2.9, x_label="model steps per time step", y_label=f"return of {options.steps} steps"
    )
    shades = [colormaps["tab20"](number) for number in (*range(0, 20, 2), *range(1, 20, 2))]
    names = [*SETTINGS, *(name for name in options.planners if name not in SETTINGS)]
    styles = {name: (shades[number % 20], "osD^v<>Ph*X"[number % 11]) for number, name in enumerate(names)}
    for axis, (name, records) in zip(axes, known.items(), strict=True):
        for number, planner in enumerate(options.planners):
            found = [_find(records, planner, budget, options) for budget in options.budgets]
            chosen = [record for record in found if record is not None]
            if not chosen:
                continue
            color, marker = styles[planner]
            beside = 1.02 ** (number - len(options.planners) // 2)  # or the intervals would hide each other
            steps = [beside * record["model_steps"] for record in chosen]
            middle, half = zip(*(interval(record["returns"]) for record in chosen), strict=True)
            axis.errorbar(
                steps, middle, yerr=half, color=color, marker=marker, ms=4, lw=1.0, elinewidth=0.8, label=planner
            )
        axis.set_xscale("log")
        axis.set_xticks([budget * find_task(name).horizon for budget in options.budgets])
        axis.minorticks_off()
        axis.xaxis.set_major_formatter("{x:.0f}")
    label_outside(drawn)
    return drawn


def interval(returns: Sequence[float]) -> tuple[float, float]:
    """The mean of returns, and half the length of its 95 % confidence interval by Student's t."""
    values = np.asarray(returns, float)
    half = (
        student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    )
    return float(values.mean()), float(half)


def told(values: Sequence[float], digits: int) -> str:
    """The mean of values with its confidence interval, as a cell of a table; of a single one there is no interval."""
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


def _check(options: Options) -> None:
    """Raise a `ValueError` for what the user got wrong, before anything is measured."""
    for name in some("models", options.models):
        find_task(name)
    task = find_task(options.models[0])
    model = task.make(None)
    for planner in some("planners", options.planners):
        for budget in some("budgets", options.budgets):
            fitting(make_planner(planner, task, budget), model)
    integer("seeds", options.seeds)
    integer("steps", options.steps)


def _measure(name: str, options: Options, known: list[dict[str, Any]]) -> None:
    task = find_task(name)
    model = task.make(None)
    keys = jax.random.split(jax.random.key(0), options.seeds)
    state = jax.jit(model.init)(jax.random.key(0))

    def play(planner: Any, model: Any, keys: Any) -> Any:
        # one after another: the blocks of a rollout are made to fit the cache
        return jax.lax.map(
            lambda key: planners.episode(planner, model, model, key, options.steps).rewards.sum(), keys
        )

    for planner_name in options.planners:
        for budget in options.budgets:
            planner: Any = make_planner(planner_name, task, budget)
            known_one = _find(known, planner_name, budget, options)
            digest = fingerprint(planner, planner.init(model, state))
            if known_one is not None and known_one.get("fingerprint") == digest:
                continue
            if known_one is not None:  # of another planner of that name: its defaults have changed
                known.remove(known_one)
            print(f"{name}: {planner_name} with {budget} plans ...", file=sys.stderr, flush=True)
            program = jax.jit(play).lower(planner, model, keys).compile()
            began = time.perf_counter()
            returns = np.asarray(program(planner, model, keys))
            known.append(
                {
                    "planner": planner_name,
                    "budget": budget,
                    "fingerprint": digest,
                    "model_steps": plans_per_step(planner) * planner.horizon,
                    "steps": options.steps,
                    "returns": [round(float(value), 4) for value in returns],
                    "seconds": round((time.perf_counter() - began) / options.seeds, 3),
                }
            )
            beside = options.out / f"{name}.json.new"  # whole, or not at all
            beside.write_text("[\n" + ",\n".join(json.dumps(record) for record in known) + "\n]\n")
            beside.replace(options.out / f"{name}.json")


def fingerprint(planner: planners.Planner, belief: Any) -> str:
    """A digest of a planner's numbers, three digits of each, by which planners of one name are distinguished.

    Args:
        planner: any.
        belief: where it starts, which has numbers that follow of shapes.

    Returns:
        Eight characters.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path((planner, belief)):
        if jax.tree_util.keystr(path[-1:]) == ".residual":  # what rounding has taken so far: of nothing yet
            continue
        numbers = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        digest.update("".join(f"{number:.3g} " for number in np.ravel(numbers) + 0.0).encode())
    return digest.hexdigest()[:8]


def plans_per_step(planner: Any) -> int:
    """How many plans a planner rolls out at each time step.

    Args:
        planner: one of `SETTINGS`.

    Returns:
        Their number; of those whose derivatives are taken no more than of others.
    """
    if isinstance(planner, planners.sampling.RefinedPlanner):
        return plans_per_step(planner.planner) + plans_per_step(planner.refiner) + 3  # which are compared
    if isinstance(planner, RestingPlanner):
        return plans_per_step(planner.planner)
    iterations = planner.num_iterations
    if isinstance(planner, planners.lqr.IterativeLQR):
        first = planner.num_samples if planner.num_samples > len(FRACTIONS) - 2 else 0
        return len(FRACTIONS) * (1 + iterations) + first
    if isinstance(planner, planners.policies.PolicyPlanner):
        return planner.num_samples * (iterations + 2) + 1  # the given policy, the last one, and its plan
    if isinstance(planner, planners.gradients.GradientPlanner):
        objective: Any = planner.objective
        if not isinstance(planner.family, planners.gradients.PointsFamily):
            return (objective.num_samples + 1) * iterations  # and the mean
        each = objective.num_perturbations if getattr(objective, "std", None) is not None else 1
        return planner.family.num_samples * (each * iterations + 1)
    sizes = planner.num_samples
    return sizes * iterations if isinstance(sizes, int) else sum(sizes)


def _row(planner: str, options: Options, known: Sequence[dict[str, Any]]) -> list[str]:
    records = [_find(known, planner, budget, options) for budget in options.budgets]
    cells = ["–" if record is None else told(record["returns"], 1) for record in records]
    last = records[-1]
    return [planner, *cells, "–" if last is None else f"{last['seconds']:.1f}"]


def _find(known: Sequence[dict[str, Any]], planner: str, budget: int, options: Options) -> dict[str, Any] | None:
    for record in known:
        if (record["planner"], record["budget"], record["steps"]) == (planner, budget, options.steps) and len(
            record["returns"]
        ) == options.seeds:
            return record
    return None


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


if __name__ == "__main__":
    main()
