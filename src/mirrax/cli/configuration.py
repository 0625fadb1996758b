"""What is to run: planner, model and folder, from what the user has said and what their task decides."""

import dataclasses
import functools
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mirrax.cli.commands import Run
    from mirrax.cli.learnt import Guide


_WIDE = 30.0  # times the half of the actuators' range: of so wide a spread one plan in forty is within it


class Environment(NamedTuple):
    """What is to be driven.

    Attributes:
        model: the environment, of which planners have a model that is exact.
        task: what it decides about settings.
        title: what to call the model.
        num_steps: of an episode, at most.
        origin: of a model of the user's own, where it came from; see `OwnModel`.
    """

    model: Any
    task: Any
    title: str
    num_steps: int
    origin: dict[str, Any]


class Configuration(NamedTuple):
    """What it takes to run.

    Attributes:
        name: of the planner.
        planner: how to plan.
        make: options -> the same planner on one device, with these options and without what reports draw.
        model: what to drive, and to plan with.
        task: what the model's task decides.
        settings: of the planner, and number of steps and devices, for the reader.
        seed: of everything random.
        num_steps: at most.
        replan_every: how many of them are by one planning.
        title: what to call the model.
        origin: of what is the user's own, where it came from; see `OwnModel`.
    """

    name: str
    planner: Any
    make: Callable[..., Any]
    model: Any
    task: Any
    settings: dict[str, Any]
    seed: int
    num_steps: int
    replan_every: int
    title: str
    origin: dict[str, Any]


def find_environment(command: Any, folder: Path = Path()) -> Environment:
    """Make what is to be driven.

    Args:
        command: what the user has said: `model`, `task`, `engine`, `backend`, `steps`, `seed`.
        folder: where the paths of a model of the user's own begin.

    Raises:
        ValueError: for what the user got wrong.
    """
    from mirrax.benchmarks.tasks import find_task
    from mirrax.cli.own_models import check_engine, is_own, own_model

    if command.model is None:
        raise needs_model(type(command).__name__.lower())
    if not 0 <= command.seed < 2**32:
        raise ValueError(f"seed must lie between 0 and {2**32 - 1}, got {command.seed}")
    _keep_compiled_programs()
    own = own_model(command, folder) if is_own(command.model, folder) else None
    if own is None and command.task is not None:
        kind = "a folder, " if Path(command.model).is_dir() else ""
        raise ValueError(
            f"task goes with a MuJoCo file, mirrax run FILE.xml --task FILE.py, got {kind}{command.model!r}"
        )
    task = find_task(command.model) if own is None else own.task
    num_steps = task.num_steps if command.steps is None else command.steps
    if num_steps < 1:
        raise ValueError(f"steps must be an integer of at least 1, got {num_steps}")
    model = task.make(command.backend)
    check_engine(command, model)
    title, origin = (command.model, {}) if own is None else (own.title, own.origin)
    return Environment(model, task, title, num_steps, origin)


def needs_model(verb: str) -> ValueError:
    """The error for a command without a model."""
    return ValueError(f"{verb} needs a model, the first word: mirrax {verb} MODEL; `mirrax list` shows them")


def configure(command: "Run", folder: Path = Path(), *, valued: bool = False) -> Configuration:
    """Choose what to run.

    Args:
        command: what the user has said.
        folder: where the paths of a model of the user's own begin.
        valued: whether plans end with a value that is learnt; with a `terminal_value` they do.

    Returns:
        Planner, model and their settings.

    Raises:
        ValueError: for what the user got wrong.
    """
    import jax

    from mirrax import planners
    from mirrax.benchmarks.devices import use_cores
    from mirrax.benchmarks.mistakes import check_planner
    from mirrax.cli.learnt import ALONE, NOBODY, RESTING, check_alone, guide, load_policy, origin_of, with_value

    if command.planner is not None:
        check_planner(command.planner)
    most = 8 * (os.cpu_count() or 1)
    if command.devices is not None and not 1 <= command.devices <= most:
        raise ValueError(f"devices must lie between 1 and {most}, got {command.devices}")
    if command.plans_every < 1:
        raise ValueError(f"plans_every must be an integer of at least 1, got {command.plans_every}")
    if command.replan_every < 1:
        raise ValueError(f"replan_every must be an integer of at least 1, got {command.replan_every}")
    alone = command.policy is not None and command.planner is None
    if alone:
        check_alone(command)
    use_cores(1 if alone else command.devices)
    env = find_environment(command, folder)
    model, task, told = env.model, env.task, NOBODY
    if not command.beyond or alone:
        task = dataclasses.replace(task, beyond=None)
    if command.terminal_value is not None:
        task = with_value(command, model, task, folder)
    policy = None if command.policy is None else load_policy(command, model, folder)
    origin = origin_of(command, folder)
    prints = {**env.origin.get("fingerprints", {}), **origin.get("fingerprints", {})}
    origin = env.origin | origin | ({"fingerprints": prints} if prints else {})
    spread: dict[str, Any] = {}
    if alone:
        name, number = ALONE, 1
        make: Callable[..., Any] = functools.partial(planners.controller, policy)
        settings: dict[str, Any] = {"horizon": make().horizon}
    else:
        name = task.planner if command.planner is None else command.planner
        factory = getattr(planners, name)
        if policy is not None:
            told = guide(policy, name)
        if valued or command.terminal_value is not None:
            told = told._replace(without=(*told.without, *RESTING))  # the value stands for what follows a plan
        settings = _settings(command, task, factory, told)
        make = functools.partial(_made, told.around, factory, settings | dict(told.options))
    planner = make()  # what is wrong is said before anything is measured
    if command.replan_every > settings["horizon"]:
        raise ValueError(
            f"replan_every must not exceed the horizon of {settings['horizon']} steps, got {command.replan_every}"
        )
    _check_memory(model, settings)
    jax.eval_shape(lambda key: planner.init(model, model.init(key)), jax.random.key(0))  # do they fit?
    if not alone:
        _warn_of_wide_plans(model, settings)
        number, spread = _devices(command, model, settings, factory)
        planner = make(**spread, keep=("weights", "samples"))  # which reports draw
    chosen = dict(settings)
    if policy is not None:
        chosen["policy"] = str(command.policy)
    chosen |= {"steps": env.num_steps, "devices": number}
    if command.replan_every > 1:
        chosen["replan_every"] = command.replan_every
    if task.beyond is not None:
        chosen["beyond"] = task.beyond.summary
    sizes = command.seed, env.num_steps, command.replan_every
    return Configuration(name, planner, make, model, task, chosen, *sizes, env.title, origin)


def _made(around: Callable[[Any], Any], factory: Callable[..., Any], settings: Mapping[str, Any], **more: Any) -> Any:
    """A planner with its settings and more, and what is around it."""
    return around(factory(**settings, **more))


def _keep_compiled_programs() -> None:
    """Let the next run start at once, unless the user has chosen a place for compiled programs."""
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirrax"
        jax.config.update("jax_compilation_cache_dir", str(cache))


def _check_memory(model: Any, settings: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if not even the plans fit, which compilers find out only after hours."""
    from mirrax.dynamics import action_space

    horizon = settings["horizon"]
    sizes = settings.get("num_samples") or 1
    number = max(sizes) if isinstance(sizes, tuple) else sizes
    plans = 4 * horizon * number * math.prod(action_space(model).shape)
    if "SC_PHYS_PAGES" in os.sysconf_names and plans > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise ValueError(
            f"this does not fit the machine: {number} plans of horizon {horizon} take {plans / 2**30:,.0f} GiB"
        )


def _warn_of_wide_plans(model: Any, settings: Mapping[str, Any]) -> None:
    """Say it where nearly all plans are at the ends of the actuators' range: more often than not a mistake."""
    import numpy as np

    from mirrax.dynamics import bounded
    from mirrax.results.numbers import told

    for name in ("std", "prior_std"):
        value = settings.get(name)
        if value is not None and bounded(model) and (most := float(np.max(np.asarray(value, float)))) > _WIDE:
            print(f"{name} of {told(most)} is far beyond the range [-1, 1] of actions", file=sys.stderr)


def _settings(command: "Run", task: Any, factory: Callable[..., Any], told: "Guide") -> dict[str, Any]:
    """The factory's arguments: the task's, overruled by the user's; an option that the planner lacks is a mistake."""
    from mirrax.cli.flags import planner_arguments

    try:
        given = planner_arguments(factory.__name__, command.planner_options or {})
    except ValueError as error:
        if command.planner is not None:
            raise
        name = factory.__name__
        raise ValueError(
            f"{error} ({name} is the default planner of {command.model}; choose another with --planner)"
        ) from error
    parameters = inspect.signature(factory).parameters
    shown = ("num_samples", "num_iterations", "std", "elite_fraction")
    usual = {name: parameters[name].default for name in shown if name in parameters}
    usual |= task.settings(factory.__name__)
    if "rest_steps" in told.without:
        usual["horizon"] -= usual.get("rest_steps") or 0  # of which they are the last
    usual = {name: value for name, value in usual.items() if name not in told.without}
    if told.horizon is not None:
        usual["horizon"] = told.horizon
    if given.get("target_ess") is not None:
        usual.pop("temperature", None)
    rest = given.get("rest_steps", usual.get("rest_steps"))
    if command.horizon is not None:
        given["horizon"] = command.horizon
        if rest is not None and rest >= command.horizon and "rest_steps" not in given:
            print(
                f"--horizon {command.horizon} has no room for the {rest} steps of coming to rest with which "
                f"{command.model} is planned: without them; --rest-steps gives fewer",
                file=sys.stderr,
            )
            rest = None
    if rest is None:
        for name in ("rest_steps", "rest_speed", "rest_distance"):
            usual.pop(name, None)
    return {name: value for name, value in usual.items() if value is not None} | given


def _devices(
    command: "Run", model: Any, settings: dict[str, Any], factory: Callable[..., Any]
) -> tuple[int, dict[str, Any]]:
    """The number of devices over which plans are spread, and the factory's argument for it."""
    import jax

    from mirrax.benchmarks.devices import sample_sharding, spreads
    from mirrax.cli.devices import choose_devices

    if not spreads(factory.__name__):
        if command.devices in (None, 1):
            return 1, {}
        raise ValueError(
            f"devices must be 1 for {factory.__name__}, which has no plans to spread, got {command.devices}"
        )
    number = command.devices
    if number is None:
        number, reason = choose_devices(model, settings, len(jax.devices()))
        why = f", {reason}" if reason else ""
        print(f"devices: {number} of {len(jax.devices())}{why} (--devices takes another number)", flush=True)
    return number, {"sharding": sample_sharding(number)}
