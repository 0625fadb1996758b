"""Functions of the user's own on the command line: module:function."""

import hashlib
import importlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirrax.cli.task_file import importable


def own_function(name: str, word: str, folder: Path) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A function of the user's own that an option names, and where it came from, as `OwnModel.origin` has it.

    Args:
        name: of the option.
        word: what the user has said, module:function.
        folder: where modules are looked for.

    Raises:
        ValueError: for what the user got wrong.
    """
    module_name, _, attribute = word.partition(":")
    if not attribute:
        raise ValueError(f"{name} must be module:function, got {word!r}")
    module = module_of(name, word, folder)
    found = _named(module, module_name, attribute)
    if not callable(found):
        raise ValueError(f"{name} must be module:function, got {word!r}, which is of {type(found).__name__}")
    return found, {name: getattr(module, "__file__", None), **source_of(name, module, folder)}


def module_of(name: str, word: str, folder: Path) -> Any:
    """The module of a word, module:function.

    Args:
        name: of the option, for errors.
        word: what the user has said.
        folder: where it is looked for first.

    Raises:
        ValueError: if there is none, or it cannot be imported.
    """
    module_name = word.partition(":")[0]
    importable(folder.absolute())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{name} must be module:function, got {word!r}: there is no module {error.name!r} here or installed"
            ) from error
        raise ValueError(f"{module_name} cannot be imported: {in_one_line(error)}") from error


def source_of(name: str, module: Any, folder: Path) -> dict[str, Any]:
    """Where a module is looked for, and what it was, as `OwnModel.origin` has it.

    Args:
        name: what its fingerprint is called.
        module: the module.
        folder: where it is looked for first.
    """
    source = getattr(module, "__file__", None)
    prints = {name: fingerprint(Path(source))} if source is not None and Path(source).is_file() else {}
    return {"folder": str(folder.absolute()), "fingerprints": prints}


def _named(module: Any, module_name: str, attribute: str) -> Any:
    from mirrax.dynamics.checks import unknown

    if attribute not in vars(module):
        raise unknown("function", attribute, [one for one in vars(module) if not one.startswith("_")], of=module_name)
    return vars(module)[attribute]


def made_by(module: Any, module_name: str, attribute: str, word: str) -> Any:
    """What stands behind the colon of a model's word, called if it is a function.

    Args:
        module: the module.
        module_name: its name.
        attribute: what stands behind the colon.
        word: all of it, for errors.

    Raises:
        ValueError: if there is nothing of that name, or it is a function that takes arguments or fails.
    """
    if not attribute:
        raise ValueError(f"model must be module:function, got {word!r}, without a function")
    made = _named(module, module_name, attribute)
    if not (inspect.isfunction(made) or inspect.isclass(made) or inspect.isbuiltin(made)):
        return made
    try:
        inspect.signature(made).bind()
    except TypeError as error:
        raise ValueError(
            f"model must be a function without arguments, got {word}{inspect.signature(made)}: {error}"
        ) from error
    try:
        return made()
    except Exception as error:
        raise ValueError(f"{word} raised {in_one_line(error)}") from error


def fingerprint(path: Path) -> str:
    """A digest of a file.

    Args:
        path: of the file.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_one_line(error: Exception) -> str:
    """An error of the user's code in one line, with its place.

    Args:
        error: as it was raised.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in frames if "importlib" not in place[0]][-1:]
    if isinstance(error, SyntaxError):
        own = [(str(error.filename), error.lineno or 1)]
    told = "".join(f" (at {file}:{line})" for file, line in own)
    return f"{type(error).__name__}: {getattr(error, 'msg', None) or error}{told}"
