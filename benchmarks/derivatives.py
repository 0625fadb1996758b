"""What derivatives cost: seconds per solve of iLQR, and slopes of plans against their returns.

`python -m mirrax.benchmarks.derivatives` prints both tables; see --help.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import dynamics, planners
from mirrax.benchmarks.arguments import parse
from mirrax.benchmarks.mistakes import one_clear_line
from mirrax.benchmarks.tasks import find_task
from mirrax.benchmarks.timing import compare, print_table
from mirrax.dynamics.base import Model
from mirrax.dynamics.checks import integer


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    problems: tuple[str, ...] = ()
    """Names of problems that iLQR is to solve; all unless given."""
    models: tuple[str, ...] = ("pendulum", "cartpole", "reacher", "hopper", "ant")
    """Names of models whose plans are differentiated; none leaves the second table out."""
    num_samples: int = 16
    """Number of plans that are differentiated side by side."""
    horizon: int = 32
    """Steps of these plans."""
    rounds: int = 11
    """How often each program is timed."""


class Problem(NamedTuple):
    """What iLQR is to solve: a model, from where, how far, and with what options."""

    model: Model
    state: Any
    horizon: int
    options: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    options = parse(Options, arguments)
    with one_clear_line():
        for name in ("num_samples", "horizon", "rounds"):
            integer(name, getattr(options, name))
        known = problems()
        for name in options.problems:
            if name not in known:
                raise ValueError(f"unknown problem {name!r}; choose one of: {'; '.join(known)}")
        models = {name: find_task(name).make(None) for name in options.models}
    jax.config.update("jax_enable_compilation_cache", False)  # to measure compilation, not the reading of a file
    kind = jax.devices()[0].device_kind
    print_table(
        f"iLQR from a cold start, on one device of kind {kind}",
        ("problem", "states", "actions", "steps", "iterations", "ms", "ms each", "compile s", "objective"),
        (_solve(name, known[name], options.rounds) for name in options.problems or known),
    )
    if models:
        print()
        print_table(
            f"{options.num_samples} plans of {options.horizon} steps: slopes against returns, on one {kind}",
            ("model", "returns ms", "slopes ms", "ratio", "compile s", "compile s", "MB", "MB"),
            (_differentiate(name, model, options) for name, model in models.items()),
        )
        print("\ncompile s, MB: of the returns and of the slopes; MB is temporary memory")


def problems() -> dict[str, Problem]:
    """The problem that trajax publishes, linear-quadratic ones of the sizes that it publishes, and swing-ups."""
    key, free = jax.random.key(0), {"limits": None, "num_samples": 0}
    start = jnp.array([0.0, 0.2, 0.0, -0.1])
    found = {
        "trajax's cart-pole": Problem(_trajax_cartpole(0.0), start, 50, free),
        "trajax's cart-pole, within π": Problem(_trajax_cartpole(-jnp.pi), start, 50, free),
    }
    for n, m, horizon in ((2, 2, 50), (2, 5, 50), (20, 30, 100)):
        model = _linear_quadratic(n, m)
        found[f"linear {n}x{m}x{horizon}"] = Problem(model, model.start, horizon, free)
    swings: tuple[tuple[str, Any, int], ...] = (
        ("pendulum", dynamics.pendulum(), 120),
        ("cart-pole", dynamics.cartpole(), 60),
        ("acrobot", dynamics.acrobot(), 100),
        ("double cart-pole", dynamics.double_cartpole(), 100),
    )
    for name, model, horizon in swings:
        found[f"{name}, swing up"] = Problem(model, model.init(key), horizon, {"num_samples": 64})
    return found


def _solve(name: str, problem: Problem, rounds: int) -> list[str]:
    model, state, horizon, options = problem
    planner = planners.ilqr(horizon, num_iterations=1000, **options)
    arguments = (planner, model, jax.random.key(0), state)
    timing = compare({"solve": (planners.infer, arguments)}, rounds)["solve"]
    belief, info = timing.value
    converged = np.asarray(info.converged)
    # rows after the last iteration repeat it
    promised = np.asarray(info.expected_improvement)
    changed = np.flatnonzero(promised[1:] != promised[:-1])
    iterations = 1 + (int(changed[-1]) + 1 if len(changed) else 0)
    return [
        name,
        str(len(dynamics.coordinates(model, state))),
        str(belief.plan.shape[1]),
        str(horizon),
        f"{iterations}{'' if converged[-1] else ', no end'}",
        f"{timing.milliseconds:.2f}",
        f"{timing.milliseconds / iterations:.3f}",
        f"{timing.compile_seconds:.1f}",
        f"{float(info.objective[-1]):.4g}",
    ]


def _differentiate(name: str, model: Model, options: Options) -> list[str]:
    planner: Any = planners.gradient(
        options.horizon, num_samples=options.num_samples, rollout_chunk_size=options.num_samples
    )
    objective: Any = planner.objective
    target, key = objective.target, jax.random.key(0)
    state = jax.jit(model.init)(key)
    arguments = (target, model, key, state, planner.init(model, state).scattered(key))
    programs = {"returns": (_returns, arguments), "slopes": (_slopes, arguments)}
    returns, slopes = compare(programs, options.rounds).values()
    return [
        name,
        f"{returns.milliseconds:.2f}",
        f"{slopes.milliseconds:.2f}",
        f"{slopes.ratios['returns']:.2f}",
        f"{returns.compile_seconds:.1f}",
        f"{slopes.compile_seconds:.1f}",
        f"{returns.temporary_bytes / 1e6:.2f}",
        f"{slopes.temporary_bytes / 1e6:.2f}",
    ]


def _returns(target: Any, *arguments: Any) -> Any:
    return target.evaluate(*arguments)


def _slopes(target: Any, *arguments: Any) -> Any:
    return target.slopes(*arguments)


def _linear_quadratic(n: int, m: int) -> dynamics.LinearQuadratic:
    """A random stable problem."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n, n))
    return dynamics.linear_quadratic(
        A=a / np.abs(np.linalg.eigvals(a)).max(),
        B=rng.normal(size=(n, m)),
        Q=np.eye(n),
        R=np.eye(m),
        start=np.ones(n),
    )


def _trajax_cartpole(least: float) -> Model:
    """The cart-pole of trajax's benchmark: its masses, Euler steps of 0.1 s, squashed forces, costs and start.

    Its error of the angle is in [0, 2π), least = 0, so that its costs jump at the goal itself; they do not for −π.
    """
    cart, pole, length, gravity, dt = 10.0, 1.0, 0.5, 9.81, 0.1

    def error(state: Any) -> Any:
        goal = state - jnp.array([0.0, jnp.pi, 0.0, 0.0])
        return goal.at[1].set((goal[1] - least) % (2 * jnp.pi) + least)

    def step(key: Any, state: Any, action: Any) -> tuple[Any, Any, Any]:
        _, angle, velocity, spin = state
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        force = 5.0 * jnp.tanh(action[0]) + pole * length * spin**2 * sin
        acceleration = (force + pole * gravity * sin * cos) / (cart + pole * sin**2)
        turning = -(acceleration * cos + gravity * sin) / length
        after = state + dt * jnp.stack([velocity, spin, acceleration, turning])
        return after, -0.1 * (error(state) ** 2).sum() - 0.01 * (action**2).sum(), 1.0

    return dynamics.from_function(step, 1, value=lambda state: -1000.0 * (error(state) ** 2).sum(), dt=dt)


if __name__ == "__main__":
    main()
