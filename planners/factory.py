"""What makes a function a planner's factory: its arguments are options, by which they are checked and described."""

import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin

from .option import Narrowing, Option
from .options import OPTIONS

P = ParamSpec("P")
R = TypeVar("R")


def options_of(factory: Callable[..., Any]) -> dict[str, Option]:
    """The options that a factory declares itself, as they are for it: name -> option.

    Raises:
        TypeError: if it has a parameter that is no option.
    """
    return narrowed_options(factory.__name__, _own(factory))


def narrowed_options(name: str, annotations: Mapping[str, Any]) -> dict[str, Option]:
    """Options by name, changed as the annotations say: `Annotated[str, narrowed(choices=("mode", "sample"))]`.

    Args:
        name: of what is annotated, for errors.
        annotations: name of the option -> type.

    Raises:
        TypeError: for a name that is no option.
    """
    options = {}
    for option_name, annotation in annotations.items():
        if option_name not in OPTIONS:
            raise TypeError(f"{name} has the parameter {option_name!r}, which planners.options does not declare")
        known = OPTIONS[option_name]
        for part in get_args(annotation):
            known = part.of(known) if isinstance(part, Narrowing) else known
        options[option_name] = known
    return options


def described(options: Mapping[str, Option], defaults: Mapping[str, Any] | None = None) -> str:
    """Options as a docstring lists them, with their defaults where a signature does not show them."""
    lines = []
    for name, known in options.items():
        text = f"{name}: {known.describe()}"
        default = None if defaults is None else defaults.get(name)
        lines.append(text if default is None else f"{text} Default: {default!r}.")
    return "\n".join(textwrap.fill(line, 110, initial_indent=" " * 4, subsequent_indent=" " * 8) for line in lines)


def planner(factory: Callable[P, R]) -> Callable[P, R]:
    """Make a factory's arguments options: they are checked before it is called, and its docstring completed.

    Returns:
        The factory, whose docstring describes every argument by the declaration of the option.

    Raises:
        TypeError: if it has a parameter that is no option.
    """
    options, signature = options_of(factory), inspect.signature(factory)

    @functools.wraps(factory)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return factory(*args, **kwargs)  # which says it with its name
        for name, known in options.items():
            if name in given:
                known.check(name, given[name])
        return factory(*args, **kwargs)

    arguments = described(options)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            more = [part for part in get_args(parameter.annotation) if isinstance(part, str)]
            arguments += (
                f"\n    **options: {more[0] if more else 'of all sampling planners, `planners.LoopOptions`'}."
            )
    ends = "\n\nReturns:\n    The planner.\n\nRaises:\n    ValueError: for an option outside its range.\n"
    text = f"{inspect.cleandoc(factory.__doc__ or '')}\n\nArgs:\n{arguments}{ends}"
    shown = [own.replace(annotation=_plain(own.annotation)) for own in signature.parameters.values()]
    made: Any
    for made in (factory, checking):  # tools that read documentation look at either
        made.__doc__, made.__signature__ = text, signature.replace(parameters=shown)
    return checking


def _plain(annotation: Any) -> Any:
    """The type alone, as users read it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _own(factory: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a factory's own parameters, with what its signature does not show."""
    annotations = inspect.get_annotations(factory)
    parameters = inspect.signature(factory).parameters.values()
    return {own.name: annotations[own.name] for own in parameters if own.kind is not own.VAR_KEYWORD}
