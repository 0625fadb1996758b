"""A model tried out: what is wrong with it or with a state is said in words, found by tracing a step."""

import contextlib
import dataclasses
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .base import HasCoordinates, Step, check_model, checked_step
from .checks import scalar
from .pytrees import difference
from .randomness import is_key
from .spaces import Continuous, action_space

# what a function raises that is given other arguments than it takes, or traced ones; what else it raises is its own
_RAISED = (ValueError, TypeError, LookupError, AttributeError)
_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
)
_NUMBERS = (jax.Array, np.ndarray, np.generic, complex, float, int)
_SIZES = range(1, 33)  # of actions that are tried where those of `action_size` fail


def check(model: Any, state: Any = None) -> None:
    """Try a model out, or a state of it: `init`, `step` and `value` are traced, nothing is computed or compiled.

    What planners would say of a mistake is said at once. Planners do so by themselves where something fails.

    Args:
        model: any model.
        state: a state of the model; None for one that its `init` gives.

    Raises:
        ValueError: if it is no model, the state is none, `step` does not take the state and an action of the model's
            space, or returns no triple of next state, scalar reward and scalar discount, the state changes its
            structure, shapes or dtypes, or `value` is no scalar.
    """
    check_model("model", model)
    if state is None:
        state = _first_state(model)
    if (found := mistake(model, state)) is not None:
        raise found


def check_state(name: str, state: Any, model: Any = None) -> Any:
    """Return a state, or raise a `ValueError` unless it is a pytree of arrays and numbers, none of which is NaN.

    Args:
        name: what to call it.
        state: any pytree; of what is traced no numbers are known.
        model: whose state it is: what is not among the coordinates that it has may be NaN; None if that is not known.
    """
    if isinstance(state, Step):
        raise ValueError(f"{name} must be a state of the model, got a Step: take its `state`")
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        where = f"{name}{jax.tree_util.keystr(path)}"
        if isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct) or is_key(leaf):
            continue
        known = np.asarray(leaf) if isinstance(leaf, _NUMBERS) else None
        if known is None or known.dtype.kind in "OSUMm":
            raise ValueError(f"{where} must be an array of numbers, got {leaf!r}")
        inexact = jax.dtypes.issubdtype(known.dtype, np.inexact)
        if inexact and np.isnan(known).any() and not _coordinates_are_known(model, state):
            raise ValueError(f"{where} must have no NaN, got {leaf!r}")
    return state


def _coordinates_are_known(model: Any, state: Any) -> bool:
    """Whether a model has coordinates of its own, and those of a state are numbers."""
    with contextlib.suppress(Exception):  # of what is no state of the model
        return isinstance(model, HasCoordinates) and not np.isnan(model.coordinates(state)).any()
    return False


def mistake(
    model: Any, state: Any, unlike: str = "state must be one of the model, as its init gives"
) -> ValueError | None:
    """What is wrong with a model or a state; None where a step can be traced, or raises an error of its own.

    Args:
        model: any model.
        state: a state of the model.
        unlike: how to say that the model can go on from the states of its `init`, but not from this one.
    """
    try:
        check_model("model", model)
        check_state("state", state, model)
    except ValueError as error:
        return error
    found = _of_step(model, state) or _of_value(model, state)
    if found is None:
        return None
    with contextlib.suppress(Exception):  # a model may have no init
        own = jax.eval_shape(model.init, jax.random.key(0))
        other = difference("state", own, state)
        if other is not None and (_of_step(model, own) or _of_value(model, own)) is None:
            return _because(f"{unlike}: {other}", found)
    return found


def _first_state(model: Any) -> Any:
    """What the states that `init` gives are like, or a `ValueError`."""
    try:
        return jax.eval_shape(lambda key: check_state("what init returns", model.init(key), model), jax.random.key(0))
    except _RAISED as error:
        raise ValueError(_own_words(error) or f"init of {_kind(model)} must {_duty(error, 'a key')}") from error


def _of_step(model: Any, state: Any) -> ValueError | None:
    space = action_space(model)
    try:
        _trace_step(model, state, space.zeros())
    except _RAISED as error:
        said = _own_words(error)
        if said is None and isinstance(space, Continuous) and (size := _taken_size(model, state)) is not None:
            said = f"action_size must be the size of the actions that step takes, got {space.size}; {size} works"
        if said is None and not jax.tree.leaves(state):
            said = f"state must hold what step takes (does init return it?), got {state!r}: {_words(error)}"
        if said is None:
            said = f"step of {_kind(model)} must {_duty(error, f'(key, state, action {list(space.shape)})')}"
        return _because(said, error)
    except Exception:  # the user's own
        return None
    return None


def _of_value(model: Any, state: Any) -> ValueError | None:
    try:
        _trace(lambda state: scalar("value", model.value(state)), state)
    except _RAISED as error:
        return _because(_own_words(error) or f"value of {_kind(model)} must {_duty(error, 'a state')}", error)
    except Exception:
        return None
    return None


def _trace_step(model: Any, state: Any, action: Any) -> None:
    def step(state: Any, action: Any) -> Step:
        result = model.step(jax.random.key(0), state, action)
        if isinstance(result, tuple) and len(result) == 3:
            check_state("state after a step, state", result[0])
        return checked_step(result, state)

    _trace(step, state, action)


def _trace(function: Callable[..., Any], *arguments: Any) -> None:
    """Trace a function, and raise what JAX would raise of it later."""
    for constant in jax.make_jaxpr(function)(*jax.eval_shape(lambda *parts: parts, *arguments)).consts:
        if isinstance(constant, jax.core.Tracer) and not jax.dtypes.issubdtype(constant.dtype, jax.dtypes.extended):
            jnp.array(constant, copy=True)  # of a trace that is over nothing can be computed


def _taken_size(model: Any, state: Any) -> int | None:
    """The least size of actions that a step takes, if there is any."""
    declared = dataclasses.is_dataclass(model) and "action_size" in {
        field.name for field in dataclasses.fields(model)
    }
    for size in _SIZES:
        with contextlib.suppress(Exception):
            other: Any = dataclasses.replace(model, action_size=size) if declared else model
            _trace_step(other, state, Continuous(size).zeros())
            return size
    return None


def _own_words(error: Exception) -> str | None:
    """The message, if mirrax has written it."""
    return str(error) if isinstance(error, ValueError) and _place(error)[0].startswith("mirrax.") else None


def _duty(error: Exception, arguments: str) -> str:
    """What a user's function that raised an error failed to do."""
    if isinstance(error, _UNTRACEABLE):
        duty = "compute by JAX alone, of its arguments and of what is constant"
    else:
        duty = f"take {arguments}"
    return f"{duty}, got {_words(error)}"


def _words(error: Exception) -> str:
    """An error of a user's function in one line, and where it was raised."""
    module, file, line = _place(error)
    what = next(iter(str(error).splitlines()), "").rstrip(".")
    where = "" if module.startswith("mirrax.") else f" (at {file}:{line})"  # it could not even be called
    return f"{type(error).__name__}: {what}{where}"


def _place(error: Exception) -> tuple[str, str, int]:
    """The module, file and line where an error was raised, outside of JAX and of checks of types."""
    place = ("", "", 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in ("jax", "jaxlib", "jaxtyping", "beartype", "numpy", "contextlib"):
            place = (module, frame.f_code.co_filename, line)
    return place


def _because(said: str, error: Exception) -> ValueError:
    found = ValueError(said)
    found.__cause__ = error
    return found


def _kind(model: Any) -> str:
    return type(model).__name__
