"""The file of a user's task: what a robot is rewarded for, and settings of the run, as names of a Python module."""

import ast
import difflib
import linecache
import sys
import traceback
import types
from pathlib import Path
from typing import Any, NamedTuple

from mirrax.dynamics.checks import unknown

FUNCTIONS = ("reward", "terminate", "value", "reset")
OF_THE_MODEL = ("control_dt", "substeps", "keyframe", "action_range", "planning_options")
OF_THE_RUN = ("planner", "horizon", "steps", "planner_options")
KNOWN = (*FUNCTIONS, *OF_THE_MODEL, *OF_THE_RUN)

_NEAR = 0.8  # of names that are meant to be the same


class TaskFile(NamedTuple):
    """What a task file says.

    Attributes:
        functions: `reward`, and those of `terminate`, `value`, `reset` that it has.
        model: further arguments of `dynamics.mjx` and `dynamics.mujoco`.
        run: settings of the run, by name.
        hints: names that it defines, which are read by nobody and near to one that is, a line each.
    """

    functions: dict[str, Any]
    model: dict[str, Any]
    run: dict[str, Any]
    hints: list[str]


def load_task_file(path: Path) -> TaskFile:
    """Run a task file, and read what it defines. Modules beside it can be imported.

    Args:
        path: of the file.

    Returns:
        What it says.

    Raises:
        ValueError: in one line, with the file's name and the number of the line where there is one: if there is no
            such file, it is no Python, it raises an error, has no `reward`, or a setting of the wrong type.
    """
    names, lines = _executed(path)
    hints = {name: near for name in lines if name not in KNOWN and (near := _near(name))}
    if "reward" not in names:
        meant = next((name for name, near in hints.items() if near == "reward"), None)
        found = f", got {meant} in line {lines[meant]}: did you mean reward?" if meant else ""
        raise ValueError(f"{path} must define reward, a function of (data, action){found}")
    functions = {name: names[name] for name in FUNCTIONS if names.get(name) is not None or name == "reward"}
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f"{path}: {name} must be a function, got {function!r}")
    run = {name: names[name] for name in OF_THE_RUN if name in names}
    _check_run(path, run)
    return TaskFile(
        functions=functions,
        model={name: names[name] for name in OF_THE_MODEL if name in names},
        run=run,
        hints=[
            f"{path}:{lines[name]}: {name} is read by nobody; did you mean {near}?"
            for name, near in hints.items()
            if near not in names
        ],
    )


def _executed(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The names of a file that was run, and the lines of those that it assigns or defines."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "which does not exist"
        raise ValueError(
            f"task must be the path of a Python file, got {str(path)!r}, {what}; `mirrax new` writes one"
        )
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, str(path))
        code = compile(tree, str(path), "exec")
    except SyntaxError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}, got {(error.text or '').strip()!r}") from error
    except ValueError as error:  # no text, or a null byte
        raise ValueError(f"{path} must be a Python file: {error}") from error
    module = types.ModuleType(f"mirrax_task_{path.stem}")
    module.__file__ = str(path.absolute())
    sys.modules[module.__name__] = module  # where dataclasses and pickles look for it
    importable(path.absolute().parent)
    linecache.checkcache(str(path))
    try:
        exec(code, vars(module))
    except (Exception, SystemExit) as error:
        own = [
            line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)
        ]
        raise ValueError(f"{path}:{own[-1] if own else 1}: {type(error).__name__}: {error}") from error
    return vars(module), _assigned(tree)


def importable(folder: Path) -> None:
    """Let the modules of a folder be imported, as Python does with the folder of a script."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _assigned(tree: ast.Module) -> dict[str, int]:
    """What a module assigns or defines at its top, but for what is private -> the number of the line."""
    found: dict[str, int] = {}
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.lineno
        elif isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        found |= {target.id: node.lineno for target in targets if isinstance(target, ast.Name)}
    return {name: line for name, line in found.items() if not name.startswith("_")}


def _near(name: str) -> str | None:
    """What was meant by a name, if it is near to one that is known."""
    return next(iter(difflib.get_close_matches(name.lower(), KNOWN, 1, _NEAR)), None)


def _check_run(path: Path, run: dict[str, Any]) -> None:
    """Raise a `ValueError` for settings of the run that are none; what ranges they have planners say."""
    from mirrax import planners
    from mirrax.benchmarks.mistakes import check_planner
    from mirrax.dynamics.checks import integer
    from mirrax.planners.factory import options_of

    try:
        for name in ("horizon", "steps"):
            if name in run:
                integer(name, run[name])
        if "planner" in run:
            check_planner(run["planner"])
        options = run.get("planner_options", {})
        if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
            raise ValueError(f"planner_options must be a dictionary, name -> value, got {options!r}")
        if options and "planner" not in run:
            raise ValueError("planner_options must stand beside planner, which says whose options they are")
        if options:
            own = options_of(getattr(planners, run["planner"]))
            known = [name for name in {**own, **planners.LoopOptions.__annotations__} if name != "horizon"]
            for name in options:
                if name not in known:
                    raise unknown(f"option of {run['planner']}", name, known, of="planner_options")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
