"""The options of algorithms that learn policies as flags of the command line, from signatures and docstrings."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from mirrax.cli.flags import NOTHING, Flag, capitalized

_ELSEWHERE = {"hidden"}  # a flag of the command itself


def algorithm_names() -> tuple[str, ...]:
    """The names of the algorithms."""
    from mirrax.learning.policies import ALGORITHMS

    return tuple(factory.__name__ for factory in ALGORITHMS)


def check_algorithm(name: str) -> str:
    """Return the name of an algorithm, or raise a `ValueError` that names the nearest, and those that there are."""
    from mirrax.dynamics.checks import unknown

    if name not in algorithm_names():
        raise unknown("algorithm", name, list(algorithm_names()))
    return name


def algorithm_flags(only: str | None = None) -> list[Flag]:
    """The flags of all algorithms, or of one.

    Args:
        only: its name; None for all.

    Returns:
        The flags, those that belong to several algorithms once.
    """
    takers: dict[str, list[str]] = {}
    found: dict[str, Flag] = {}
    for name in algorithm_names() if only is None else (only,):
        for option, parameter in _parameters(name).items():
            takers.setdefault(option, []).append(name)
            found.setdefault(option, _flag(name, option, parameter.default))
    if only is not None:
        return list(found.values())
    return [
        flag._replace(
            help=f"{flag.help.removesuffix('.')} ({', '.join(takers[name])}).", planners=tuple(takers[name])
        )
        for name, flag in found.items()
    ]


def make_algorithm(name: str, given: Mapping[str, Any], hidden: tuple[int, ...]) -> Any:
    """The algorithm with the options that were given.

    Args:
        name: of its factory.
        given: option -> value; None where it was not given, `NOTHING` where it was None.
        hidden: the sizes of the hidden layers of its networks, where it has some.

    Raises:
        ValueError: for an unknown algorithm, an option that it does not have, or a value outside its range.
    """
    from mirrax.learning import policies

    factory = getattr(policies, check_algorithm(name))
    own = _parameters(name)
    arguments = {option: value for option, value in given.items() if value is not None}
    for option in arguments:
        if option not in own:
            takes = ", ".join(f"--{known.replace('_', '-')}" for known in own)
            raise ValueError(f"--{option.replace('_', '-')} is not an option of {name}, which takes {takes}")
    arguments = {option: None if value is NOTHING else value for option, value in arguments.items()}
    if "hidden" in inspect.signature(factory).parameters:
        arguments["hidden"] = hidden
    return factory(**arguments)


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    from mirrax.learning import policies

    known = inspect.signature(getattr(policies, name)).parameters
    return {option: parameter for option, parameter in known.items() if option not in _ELSEWHERE}


def _flag(name: str, option: str, default: Any) -> Flag:
    several = default is None or isinstance(default, tuple)
    kind: type = type(default) if isinstance(default, bool | int | str) else float
    text = _help(name, option)
    if default is not None:
        text = f"{text.removesuffix('.')} (default: {default})."
    return Flag(option, kind, capitalized(text), (name,), several=several)


def _help(name: str, option: str) -> str:
    """What the docstring of the factory says of an option."""
    from mirrax.learning import policies

    text = inspect.getdoc(getattr(policies, name)) or ""
    told = re.search(rf"^    {option}: (.*?)(?=^    \w|^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(told[1].split()).replace("`", "") if told else ""
