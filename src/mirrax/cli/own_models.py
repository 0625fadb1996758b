"""Models of the user's own on the command line: a MuJoCo file with a task, or a function of a module."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mirrax.cli.own_functions import fingerprint, made_by, module_of, source_of
from mirrax.cli.task_file import OF_THE_MODEL, TaskFile, load_task_file

if TYPE_CHECKING:
    from mirrax.benchmarks.task import Task
    from mirrax.cli.commands import Run

ENGINES = ("mujoco", "mjx", "brax")
SUFFIXES = (".xml", ".urdf", ".mjb")

# Settings that swing poles up and walk without being tuned: iCEM, whose noise is smooth, a second ahead, with an
# action every fiftieth of a second.
_PLANNER, _SECONDS, _CONTROL_DT, _PLANS = "icem", 1.0, 0.02, 64
_STEPS_WITHOUT_TIME = 50


class OwnModel(NamedTuple):
    """A model of the user's own.

    Attributes:
        task: it, and settings for it.
        title: what to call it.
        origin: where it came from, and what it then was, for the results: `file`, `task`, `folder`, `fingerprints`.
    """

    task: "Task"
    title: str
    origin: dict[str, Any]


def is_own(word: str, folder: Path) -> bool:
    """Whether MODEL is a file or a function of a module, not a name.

    Args:
        word: what the user has said.
        folder: where paths begin.
    """
    from mirrax.benchmarks.tasks import TASKS

    return _is_file(word) or _is_function(word) or (word not in TASKS and (folder / word).is_file())


def own_model(command: "Run", folder: Path) -> OwnModel:
    """Make the model that MODEL stands for, and try it out.

    Args:
        command: what the user has said, with a MODEL that `is_own`.
        folder: where paths begin, and modules are looked for.

    Raises:
        ValueError: for what the user got wrong.
    """
    from mirrax import dynamics

    found = _of_function(command, folder) if _is_function(command.model or "") else _of_file(command, folder)
    dynamics.check(found.task.make(None))
    return found


def engine_of(model: Any) -> str | None:
    """The engine of a model, beneath its wrappers: mujoco, mjx or brax; None for another."""
    from mirrax import dynamics

    while isinstance(model, dynamics.Wrapper):
        model = model.model
    kinds = ((dynamics.MujocoModel, "mujoco"), (dynamics.MjxModel, "mjx"), (dynamics.BraxModel, "brax"))
    return next((engine for kind, engine in kinds if isinstance(model, kind)), None)


def check_engine(command: "Run", model: Any) -> None:
    """Raise a `ValueError` unless the model is on the engine that the user has asked for, or any is as good."""
    found = engine_of(model)
    if command.engine is None or command.engine == found:
        return
    if found is None:
        raise ValueError(
            f"engine chooses what simulates a MuJoCo file; {command.model} has none, got {command.engine!r}"
        )
    more = ", and --backend says on which of its physics" if found == "brax" else ""
    raise ValueError(f"engine must be {found} for {command.model}, which runs on nothing else{more}, "
                     f"got {command.engine!r}")  # fmt: skip


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], *, same_mujoco: bool) -> None:
    """Raise a `ValueError` if what a run was made of has changed since it began.

    Args:
        before: the origin of the run that goes on.
        now: that of today.
        same_mujoco: whether the version of MuJoCo is the same, by which alone fingerprints of models can differ.
    """
    for name, digest in before.get("fingerprints", {}).items():
        if digest != now["fingerprints"].get(name) and (same_mujoco or name != "file"):
            raise ValueError(
                f"resume must find files as they were, got {before.get(name)!r}, which has changed since the run "
                "began: start a new one"
            )


def _is_file(word: str) -> bool:
    return Path(word).suffix.lower() in SUFFIXES


def _is_function(word: str) -> bool:
    from mirrax.benchmarks.tasks import PREFIXES

    return ":" in word and not word.startswith(PREFIXES) and Path(word).suffix.lower() not in SUFFIXES


def _of_file(command: "Run", folder: Path) -> OwnModel:
    from mirrax.dynamics.mujoco_file import Robot, load_model

    word = command.model or ""
    if Path(word).suffix == ".py":
        raise ValueError(f"model must be a MuJoCo file, a name or module:function, got {word!r}: give it as --task")
    path = folder / word
    mj = load_model(path)
    if command.task is None:
        raise ValueError(
            f"{word} needs a task, a Python file with a reward: `mirrax new {word}` writes one to start from, "
            f"`mirrax run {word} --task FILE` takes it"
        )
    task_path = folder / command.task
    task = load_task_file(task_path)
    for hint in task.hints:
        print(hint, file=sys.stderr)
    model = _on_engine(command, mj, task)
    return OwnModel(
        task=_task(model, f"{path.name} with {task_path.name}", task.run),
        title=path.name,
        origin={
            "file": str(path.absolute()),
            "task": str(task_path.absolute()),
            "folder": str(folder.absolute()),
            "fingerprints": {"file": Robot(mj).digest.hex(), "task": fingerprint(task_path)},
        },
    )


def _on_engine(command: "Run", mj: Any, task: TaskFile) -> Any:
    """The model of a file on the engine that the user has asked for, or the one that is fastest here."""
    import jax

    from mirrax import dynamics
    from mirrax.dynamics.checks import choice

    engine = command.engine or ("mujoco" if jax.default_backend() == "cpu" else "mjx")
    choice("engine", engine, ENGINES)
    arguments = {name: task.model[name] for name in OF_THE_MODEL if name in task.model}
    if not {"control_dt", "substeps"} & set(arguments):
        arguments["substeps"] = usual_substeps(mj)
    if engine == "brax":
        from mirrax.cli.brax_file import brax_model

        return brax_model(mj, task.functions, arguments, command.backend)
    if command.backend is not None:
        raise ValueError(f"backend chooses the physics of the engine brax, got {command.backend!r} for {engine}")
    factory: Callable[..., Any] = dynamics.mujoco if engine == "mujoco" else dynamics.mjx
    return factory(mj, **task.functions, **arguments)


def usual_substeps(mj: Any) -> int:
    """How many timesteps of a file one step of the model takes unless a task says otherwise: 0.02 s, or nearly.

    Args:
        mj: a `mujoco.MjModel`.
    """
    return max(1, round(_CONTROL_DT / float(mj.opt.timestep)))


def _of_function(command: "Run", folder: Path) -> OwnModel:
    word = command.model or ""
    for name, value in (("task", command.task), ("backend", command.backend)):
        if value is not None:
            raise ValueError(f"{name} goes with a file or a name; {word} says all by itself, got {str(value)!r}")
    module_name, _, attribute = word.partition(":")
    module = module_of("model", word, folder)
    made = made_by(module, module_name, attribute, word)
    model = _as_model(made, word)
    source = getattr(module, "__file__", None)
    return OwnModel(
        task=_task(model, f"made by {word}", {}),
        title=word,
        origin={"file": source, "task": None, "module": source, **source_of("module", module, folder)},
    )


def _as_model(made: Any, word: str) -> Any:
    """A model as it is; an environment of Brax or of MuJoCo Playground as a model."""
    from mirrax import dynamics

    if isinstance(made, dynamics.Model):
        return made
    kinds = {kind.__module__.split(".")[0] for kind in type(made).__mro__}
    if "brax" in kinds:
        return dynamics.brax(made)
    if "mujoco_playground" in kinds:
        return dynamics.playground(made)
    raise ValueError(
        f"model must be one, with init, step and value, or an environment of Brax or Playground, got "
        f"{type(made).__name__} of {word}"
    )


def _task(model: Any, summary: str, run: Mapping[str, Any]) -> "Task":
    """A model with settings that work without being tuned, or that its task file gives."""
    from mirrax import dynamics
    from mirrax.benchmarks.task import Task
    from mirrax.report import known_duration

    horizon = _STEPS_WITHOUT_TIME if known_duration(model) is None else dynamics.steps(model, _SECONDS)
    planner = run.get("planner", _PLANNER)
    return Task(
        summary,
        lambda backend: model,
        horizon=run.get("horizon", horizon),
        num_samples=256,
        num_steps=run.get("steps", Task.num_steps),
        planner=planner,
        options=run.get("planner_options", {"num_samples": _PLANS} if planner == _PLANNER else {}),
    )
