"""Where derivatives tell the truth: those of returns along random directions of a plan, against finite differences.

`python -m mirrax.benchmarks.agreement` prints the table; see --help.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line, some
from mirrax.benchmarks.tasks import named_model
from mirrax.benchmarks.timing import print_table
from mirrax.dynamics import action_space
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer, real

EPSILONS = (0.1, 0.01, 0.001)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    models: tuple[str, ...] = ("inverted_double_pendulum", "reacher", "hopper", "walker2d", "halfcheetah", "ant")
    """Names of models, of Brax environments with a backend after a colon if another than the first is meant:
    hopper:mjx."""
    horizon: int = 15
    """Steps of the plan."""
    num_samples: int = 32
    """Number of directions of it to look along."""
    std: float = 0.3
    """Standard deviation of the plan, which is drawn at random; 1 is half the actuators' range."""
    reverse: bool = False
    """Whether to take the derivatives in reverse mode as well, which compiles long."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(Options, arguments)
    with one_clear_line():
        integer("horizon", options.horizon)
        integer("num_samples", options.num_samples, 2)
        real("std", options.std, above=0.0)
        models = {name: named_model(name) for name in some("models", options.models)}
    print_table(
        f"d return/d plan along {options.num_samples} directions, {options.horizon} steps, and differences",
        ("model", "size", *(f"r at {epsilon:g}" for epsilon in EPSILONS), "r of these", "reverse", "verdict"),
        (_compare(name, model, options) for name, model in models.items()),
        width=8,
    )
    print("\nsize: root mean square of the derivatives. r: their correlation with central differences over ±ε,")
    print("and that of those over the two smaller ε with each other. reverse: whether reverse mode gives the same")


def _compare(name: str, model: Model, options: Options) -> list[str]:
    plan_key, direction_key, noise, start = jax.random.split(jax.random.key(0), 4)
    shape = (options.horizon, *action_space(model).shape)
    state = jax.jit(model.init)(start)
    plan = options.std * jax.random.normal(plan_key, shape)
    directions = jax.random.normal(direction_key, (options.num_samples, *shape))
    directions /= jnp.linalg.norm(directions.reshape(len(directions), -1), axis=1)[:, None, None]

    def value(model: Model, state: Any, plans: Any) -> Any:
        return planners.rollout(model, noise, state, plans)

    def slopes(model: Model, state: Any) -> Any:
        along = lambda direction: jax.jvp(lambda a: value(model, state, a[None])[0], (plan,), (direction,))[1]  # noqa: E731
        return jax.vmap(along)(directions)

    told = np.asarray(jax.jit(slopes)(model, state), float)
    returns = jax.jit(value)
    differences = []
    for epsilon in EPSILONS:
        ends = returns(model, state, jnp.concatenate([plan + epsilon * directions, plan - epsilon * directions]))
        high, low = np.asarray(ends, float).reshape(2, -1)
        differences.append((high - low) / (2 * epsilon))
    size = float(np.sqrt(np.mean(told**2)))
    correlations = [_correlation(told, difference) for difference in differences]
    among = _correlation(*differences[1:])
    return [
        name,
        f"{size:.2g}",
        *(f"{r:.3f}" for r in correlations),
        f"{among:.3f}",
        _reverse(lambda: _reversed(value, model, state, plan, directions), told) if options.reverse else "-",
        _verdict(size, correlations, among),
    ]


def _reversed(value: Callable[..., Any], model: Model, state: Any, plan: Any, directions: Any) -> Any:
    gradient = jax.jit(jax.grad(lambda a, model, state: value(model, state, a[None])[0]))(plan, model, state)
    return jnp.einsum("dha,ha->d", directions, gradient)


def _reverse(compute: Callable[[], Any], told: np.ndarray) -> str:
    try:
        found = np.asarray(compute(), float)
    except ValueError as error:
        if "everse-mode" not in str(error):
            raise
        return "refused"
    if not np.isfinite(found).all():
        return "not finite"
    return "same" if np.abs(found - told).max() <= 0.01 * np.abs(told).max() + 1e-6 else "differs"


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    """About zero, not about the mean: a derivative of the wrong sign everywhere is wrong."""
    scale = np.sqrt((left**2).sum() * (right**2).sum())
    return float((left * right).sum() / scale) if scale > 0 else float("nan")


def _verdict(size: float, correlations: Sequence[float], among: float) -> str:
    if size == 0.0:
        return "absent"
    if min(correlations) > 0.9:
        return "useful"
    return "useful, near by" if max(correlations) > 0.9 and among > 0.5 else "noisy"


if __name__ == "__main__":
    main()
