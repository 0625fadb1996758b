"""The options of planners as flags of the command line, from their declaration in `planners.options`."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mirrax import planners
from mirrax.planners.factory import narrowed_options, options_of
from mirrax.planners.option import Option
from mirrax.planners.options import OPTIONS

PLANNERS = tuple(factory.__name__ for factory in planners.PLANNERS)

_ELSEWHERE = {"horizon"}  # a flag of the command itself
_TYPES = {"integer": int, "boolean": bool, "choice": str, "number": float, "real": float, "array": float}

NOTHING = object()  # the word None, where an option that is not given is None


class Flag(NamedTuple):
    """An option of planners on the command line.

    Attributes:
        name: of the option.
        type: int, float, bool or str.
        help: what it does, and of which planners it is.
        planners: that take it.
        words: that stand for a number.
        several: whether it may be several numbers, with commas between them.
        shared: whether it is one of those that all sampling planners share, and no planner's own.
    """

    name: str
    type: type
    help: str
    planners: tuple[str, ...]
    words: frozenset[str] = frozenset()
    several: bool = False
    shared: bool = False

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return f"--{self.name.replace('_', '-')}"


def planner_flags(only: str | None = None) -> list[Flag]:
    """The flags of all planners, or of one.

    Args:
        only: its name; None for all.

    Returns:
        The flags, those that belong to several planners once.
    """
    takers: dict[str, list[str]] = {}
    words: dict[str, frozenset[str]] = {}
    several: dict[str, bool] = {}
    for name in PLANNERS if only is None else (only,):
        for option, own in _options_of(name).items():
            takers.setdefault(option, []).append(name)
            several[option] = several.get(option, False) or own.kind == "array" or own.several
            words[option] = words.get(option, frozenset()) | {*own.words}
    flags, known = [], OPTIONS if only is None else _options_of(only)
    for option, names in takers.items():
        text = _described(known[option])
        if option == "risk":
            text = (
                "Risk measure of a plan's returns in several scenarios: mean, worst, best, entropic:θ, var:α, cvar:α."
            )
        if only is not None:
            default = _defaults(only).get(option)
            text = text if default is None else f"{text.removesuffix('.')} (default: {default})."
        elif names != list(PLANNERS) and option not in planners.LoopOptions.__annotations__:
            text = f"{text.removesuffix('.')} ({_takers(names)})."
        text = capitalized(text).replace("`", "")
        shared = option in planners.LoopOptions.__annotations__
        if only is not None:  # what its factory names is its own
            shared = option not in options_of(getattr(planners, only))
        flags.append(Flag(option, _type(known[option]), text, tuple(names), words[option], several[option], shared))
    return flags


def planner_arguments(planner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that were given, as the factory wants them.

    Args:
        planner: the name of a planner.
        given: option -> value; None where it was not given, `NOTHING` where it was None.

    Returns:
        Arguments of the factory.

    Raises:
        ValueError: for an option that the planner does not have, or that cannot be None.
    """
    own, options = {flag.name: flag for flag in planner_flags(planner)}, _options_of(planner)
    arguments = {name: value for name, value in given.items() if value is not None}
    for name, value in arguments.items():
        if name not in own:
            takes = ", ".join(flag.flag for flag in own.values())
            raise ValueError(f"--{name.replace('_', '-')} is not an option of {planner}, which takes {takes}")
        if value is NOTHING and not options[name].none:
            raise ValueError(f"{own[name].flag} must have a value, got None")
    arguments = {name: None if value is NOTHING else value for name, value in arguments.items()}
    if arguments.get("risk") is not None:
        arguments["risk"] = _risk(arguments["risk"])
    return arguments


def takes_loop_options(planner: str) -> bool:
    """Whether a planner is one of the sampling loop, which share their options."""
    parameters = inspect.signature(getattr(planners, planner)).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _takers(names: list[str]) -> str:
    """The planners that take an option, or all but the others, whichever is shorter."""
    others = [name for name in PLANNERS if name not in names]
    return ", ".join(names) if len(names) <= len(others) else f"all but {', '.join(others)}"


def _options_of(planner: str) -> dict[str, Option]:
    """The options of a planner that have flags: its own first, then those of the loop."""
    options = options_of(getattr(planners, planner))
    if takes_loop_options(planner):
        shared = narrowed_options("LoopOptions", planners.LoopOptions.__annotations__)
        options |= {name: known for name, known in shared.items() if name not in options}
    return {name: known for name, known in options.items() if name not in _ELSEWHERE and _has_flag(known)}


def _defaults(planner: str) -> dict[str, Any]:
    return {
        name: None if own.default is own.empty else own.default
        for name, own in inspect.signature(getattr(planners, planner)).parameters.items()
    }


def _has_flag(option: Option) -> bool:
    return option.word or option.kind in _TYPES


def _described(option: Option) -> str:
    """What an option is, as far as a command line can say it."""
    text = option.describe().replace("; a scalar, [A] or [H, A]", "; one, or one for each actuator, such as 0.5,0.1")
    text = text.replace("one, or one for each iteration", "one, or one for each iteration, such as 64,32")
    if option.choices:  # a narrower planner's help is that of the others: what it refuses is left out
        text = re.sub(r" [^,:()]+ \((\w+)\),", lambda found: found[0] if found[1] in option.choices else "", text)
    return text


def _type(option: Option) -> type:
    return _TYPES.get(option.kind, str)


def capitalized(text: str) -> str:
    """A sentence that begins with a capital letter, unless it begins with a symbol."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text  # λ is a symbol, not a word


def _risk(text: str) -> Any:
    """The risk measure of that name, with its number behind a colon."""
    named = {
        "entropic": planners.risk.entropic,
        "var": planners.risk.value_at_risk,
        "cvar": planners.risk.conditional_value_at_risk,
    }
    name, _, number = text.partition(":")
    if name in ("mean", "worst", "best"):
        return name
    if name not in named:
        raise ValueError(f"risk must be one of mean, worst, best, entropic:θ, var:α, cvar:α, got {text!r}")
    try:
        value = float(number)
    except ValueError as error:
        raise ValueError(f"risk {name} needs a number, as in {name}:0.1, got {text!r}") from error
    return named[name](value)
