"""The planners' own arguments as options of the command line, read off the factories and their docstrings."""

import inspect
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from mirrax import planners

PLANNERS = (
    "random_shooting",
    "predictive_sampling",
    "cem",
    "icem",
    "mppi",
    "pi2",
    "tsallis",
    "dial",
    "evolution",
    "vi_mpc",
    "smc",
    "gradient",
    "elbo_gradient",
    "stein",
    "ilqr",
    "iterative_policy",
)

# what only an object of Python can say, and what the run says itself
_LEFT_OUT = {
    "horizon",
    "action_size",
    "options",
    "prior",
    "params",
    "actions",
    "enumerate_plans",
    "sharding",
    "proposal",
    "limits",
    "plan",
    "mean",
    "refine",
    "policy",
    "hidden",
}
_WORDS = {
    "strategy",
    "risk",
    "tail",
    "interpolation",
    "resampling",
    "value",
    "optimizer",
    "gradient",
    "kernel",
}  # of any type in Python, words on the command line


NOTHING = object()  # the word None, where an option that is not given is None


def check_planner(name: str) -> str:
    """Return the name of a planner, or raise a `ValueError` that lists those that there are."""
    if name not in PLANNERS:
        raise ValueError(f"unknown planner {name!r}; choose one of: {', '.join(PLANNERS)}")
    return name


class Option(NamedTuple):
    """An argument of planners.

    Attributes:
        name: of the argument.
        type: int, float, bool or str.
        help: what the docstring says, and of which planners.
        planners: that take it.
    """

    name: str
    type: type
    help: str
    planners: tuple[str, ...]

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return f"--{self.name.replace('_', '-')}"


def planner_options(only: str | None = None) -> list[Option]:
    """The options of all planners, or of one.

    Args:
        only: its name; None for all.

    Returns:
        The options, those that belong to several planners once.
    """
    found: dict[str, list[tuple[str, type, str]]] = {}
    for planner in PLANNERS if only is None else (only,):
        factory = getattr(planners, planner)
        parameters = inspect.signature(factory).parameters
        for name, text in _described(factory, "Args").items():
            if name in parameters and name not in _LEFT_OUT:
                default = parameters[name].default
                if only is not None and default is not None:
                    text = f"{text.removesuffix('.')} (default: {default})."
                found.setdefault(name, []).append((planner, _type(name, parameters[name].annotation), text))
    # what planners of another kind share with the loop is told once
    others = {name: tuple(planner for planner, _, _ in uses) for name, uses in found.items()}
    common = planners.LoopOptions.__annotations__ if only is None else {}
    options = [_merge(name, uses, only) for name, uses in found.items() if name not in common]
    looping = tuple(planner for planner in (PLANNERS if only is None else (only,)) if takes_loop_options(planner))
    shared = _described(planners.LoopOptions, "Attributes")
    for name, annotation in planners.LoopOptions.__annotations__.items():
        if name not in _LEFT_OUT and looping:
            takers = tuple(planner for planner in PLANNERS if planner in looping or planner in others.get(name, ()))
            text = shared[name]
            if name == "risk":
                text = (
                    "What the returns in several scenarios are worth: mean, worst, best, entropic:θ, var:α, cvar:α."
                )
            options.append(Option(name, _type(name, annotation), text, takers))
    return options


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
    own = {option.name: option for option in planner_options(planner)}
    arguments = {name: value for name, value in given.items() if value is not None}
    for name in arguments:
        if name not in own:
            takes = ", ".join(option.flag for option in own.values())
            raise ValueError(f"--{name.replace('_', '-')} is not an option of {planner}, which takes {takes}")
    annotations = planners.LoopOptions.__annotations__ | inspect.get_annotations(getattr(planners, planner))
    for name, value in arguments.items():
        if value is NOTHING and annotations[name] in (int, float, bool, str):
            raise ValueError(f"{own[name].flag} must have a value, got None")
    arguments = {name: None if value is NOTHING else value for name, value in arguments.items()}
    if arguments.get("risk") is not None:
        arguments["risk"] = _risk(arguments["risk"])
    return arguments


def takes_loop_options(planner: str) -> bool:
    """Whether a planner is one of the sampling loop, which share their options."""
    parameters = inspect.signature(getattr(planners, planner)).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _merge(name: str, uses: Sequence[tuple[str, type, str]], only: str | None) -> Option:
    takers, kind = tuple(planner for planner, _, _ in uses), uses[0][1]
    texts: dict[str, list[str]] = {}
    for planner, _, text in uses:
        texts.setdefault(text, []).append(planner)
    if only is not None or list(texts.values()) == [list(PLANNERS)]:
        return Option(name, kind, uses[0][2], takers)
    return Option(name, kind, " ".join(f"{', '.join(names)}: {text}" for text, names in texts.items()), takers)


def _type(name: str, annotation: Any) -> type:
    """int, float, bool or str."""
    if name in _WORDS:
        return str
    choices = [choice for choice in get_args(annotation) or (annotation,) if choice is not types.NoneType]
    return choices[0] if choices[0] in (int, float, bool, str) else float


def _described(documented: Any, section: str) -> dict[str, str]:
    """What a docstring says of each argument, in one line each."""
    text = inspect.getdoc(documented) or ""
    block = re.search(rf"^{section}:\n((?:[ ].*\n?|\n)*)", text, re.MULTILINE)
    entries: dict[str, str] = {}
    for line in block.group(1).splitlines() if block else ():
        if match := re.match(r"    \*{0,2}(\w+): (.*)", line):
            name = match.group(1)
            entries[name] = match.group(2)
        elif line.strip():
            entries[name] += f" {line.strip()}"
    return {name: _capitalized(entry).replace("`", "") for name, entry in entries.items()}


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1].isascii() else text  # λ is a symbol, not a word


def _risk(text: str) -> Any:
    """The risk measure of that name, with its number behind a colon."""
    named = {
        "entropic": planners.entropic,
        "var": planners.value_at_risk,
        "cvar": planners.conditional_value_at_risk,
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
