"""A model tried out: what is wrong with it or with a state is said in words, found by tracing a step."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .actuators import actuator_limits, actuator_names, from_actuators, to_actuators
from .base import HasCoordinates, Step, check_model, checked_step
from .checks import scalar, truth
from .constraints import constraint_names, violations
from .coordinates import coordinate_names, coordinates
from .ends import end_reasons
from .errors import because, by_statement, is_users, own_words, said, words
from .figures import figure
from .pytrees import difference
from .randomness import is_key
from .rewards import checked_terms, reward_terms
from .spaces import Continuous, action_space

_NUMBERS = (jax.Array, np.ndarray, np.generic, complex, float, int)
_SIZES = range(1, 33)  # of actions that are tried where those of `action_size` fail


def check(model: Any, state: Any = None) -> None:
    """Try a model out, or a state of it: all its functions are traced, nothing is computed or compiled.

    What planners and reports would say of a mistake is said at once. Planners do so by themselves where something
    fails.

    Args:
        model: any model.
        state: a state of the model; None for one that its `init` gives.

    Raises:
        ValueError: if it is no model, the state is none, `step` does not take the state and an action of the model's
            space, or returns no triple of next state, scalar reward and scalar discount, the state changes its
            structure, shapes or dtypes, or `value` is no scalar; if what reports use does not fit: coordinates and
            actuators are vectors with as many names, the figure has a pose for each body, the terms of the reward
            are scalars and the reasons of an end booleans; and if one of these functions raises any error at all,
            which is then the cause: "step of ... raised NameError: ... (at file:line)".
    """
    check_model("model", model)
    if state is None:
        state = _first_state(model)
    found = mistake(model, state, own=True) or _of_reports(model, state)
    if found is not None:
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
            raise ValueError(
                f"{where} must have no NaN, got {leaf!r} (let a placeholder be another number; only a model with "
                "coordinates of its own, dynamics.HasCoordinates, may have NaN in what is none of them)"
            )
    return state


def _coordinates_are_known(model: Any, state: Any) -> bool:
    """Whether a model has coordinates of its own, and those of a state are numbers."""
    with contextlib.suppress(Exception):  # of what is no state of the model
        return isinstance(model, HasCoordinates) and not np.isnan(model.coordinates(state)).any()
    return False


def mistake(
    model: Any,
    state: Any,
    unlike: str = "state must be one of the model, as its init gives",
    *,
    own: bool = False,
) -> ValueError | None:
    """What is wrong with a model or a state; None where a step can be traced.

    Args:
        model: any model.
        state: a state of the model.
        unlike: how to say that the model can go on from the states of its `init`, but not from this one.
        own: whether errors that only the user's code can mean are told too: those of classes that are neither
            Python's nor of a library here, and those that no argument gives rise to. Else they count as None.
    """
    try:
        check_model("model", model)
        check_state("state", state, model)
    except ValueError as error:
        return error

    def wrong(state: Any) -> ValueError | None:
        return _of_step(model, state, own) or _of_value(model, state, own)

    found = wrong(state)
    if found is None:
        return None
    with contextlib.suppress(Exception):  # a model may have no init
        first = jax.eval_shape(model.init, jax.random.key(0))
        other = difference("state", first, state)
        if other is not None and wrong(first) is None:
            return because(f"{unlike}: {other}", found)
    return found


def _first_state(model: Any) -> Any:
    """What the states that `init` gives are like, or a `ValueError`."""
    try:
        return _traced(
            jax.eval_shape, lambda key: check_state("what init returns", model.init(key), model), jax.random.key(0)
        )
    except Exception as error:
        raise because(said("init", model, error, "a key"), error) from error


def _of_step(model: Any, state: Any, own: bool) -> ValueError | None:
    space = action_space(model)
    try:
        _trace_step(model, state, space.zeros())
    except Exception as error:
        if not own and is_users(error):
            return None
        text = own_words(error)
        if text is None and isinstance(space, Continuous) and (sizes := _taken_sizes(model, state)):
            text = f"action_size must be the size of the actions that step takes, got {space.size}; {_listed(sizes)}"
        if text is None and not jax.tree.leaves(state) and not by_statement(error):
            text = f"state must hold what step takes (does init return it?), got {state!r}: {words(error)}"
        if text is None:
            text = said("step", model, error, f"(key, state, action {list(space.shape)})")
        return because(text, error)
    return None


def _of_value(model: Any, state: Any, own: bool) -> ValueError | None:
    try:
        _trace(lambda state: scalar("value", model.value(state)), state)
    except Exception as error:
        if not own and is_users(error):
            return None
        return because(said("value", model, error, "a state"), error)
    return None


def _of_reports(model: Any, state: Any) -> ValueError | None:
    """What is wrong with that which only reports use."""
    action, form = action_space(model).zeros(), jax.eval_shape(lambda state: state, state)

    def actuators(action: Any) -> None:
        values = jnp.asarray(to_actuators(model, action))
        if values.ndim != 1:
            raise ValueError(f"to_actuators must return one value for each actuator, [B], got {values.shape}")
        names = actuator_names(model)
        if names is not None and len(names) != values.size:
            raise ValueError(
                f"actuator_names must be one for each of {values.size} actuators, got {len(names)}: {names!r}"
            )
        if (back := jnp.shape(from_actuators(model, values))) != action.shape:
            raise ValueError(f"from_actuators must return an action, {list(action.shape)}, got {list(back)}")
        actuator_limits(model)

    def place(state: Any) -> None:
        if (x := jnp.asarray(coordinates(model, state))).ndim != 1:
            raise ValueError(f"coordinates must be a vector, [n], got {x.shape}")
        coordinate_names(model, form)

    def looks() -> None:
        # not as part of what is traced: sizes of shapes are numbers
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(model))
        if not traced and (found := figure(model)) is not None:
            _trace(found.poses, state)

    def terms(state: Any, action: Any) -> None:
        found: Any = reward_terms(model, state, action, state)
        if found is not None and not isinstance(found, Mapping):
            raise ValueError(f"reward_terms must return name -> scalar, or None, got {type(found).__name__}")
        checked_terms("reward_terms", found)

    def reasons(state: Any, action: Any) -> None:
        found: Any = end_reasons(model, state, action, state)
        if found is not None and not isinstance(found, Mapping):
            raise ValueError(f"end_reasons must return words -> boolean scalar, or None, got {type(found).__name__}")
        for reason, happened in (found or {}).items():
            truth(f"end_reasons[{reason!r}]", happened)

    def kept(state: Any, action: Any) -> None:
        names, found = constraint_names(model), violations(model, state, action, state)
        if (size := None if names is None else len(names)) != (None if found is None else jnp.size(found)):
            raise ValueError(f"violations must be one for each name of a constraint, {size}, got {found!r}")

    parts: list[tuple[str, Callable[[], None], str]] = [
        ("to_actuators", lambda: _trace(actuators, action), f"an action {list(action.shape)}"),
        ("coordinates", lambda: _trace(place, state), "a state"),
        ("figure", looks, "a state"),
        ("reward_terms", lambda: _trace(terms, state, action), "(state, action, next state)"),
        ("end_reasons", lambda: _trace(reasons, state, action), "(state, action, next state)"),
        ("violations", lambda: _trace(kept, state, action), "(state, action, next state)"),
    ]
    for name, call, taken in parts:
        try:
            call()
        except Exception as error:
            return because(said(name, model, error, taken), error)
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
    forms = jax.eval_shape(lambda *parts: parts, *arguments)
    for constant in _traced(lambda function, *forms: jax.make_jaxpr(function)(*forms), function, *forms).consts:
        if isinstance(constant, jax.core.Tracer) and not jax.dtypes.issubdtype(constant.dtype, jax.dtypes.extended):
            jnp.array(constant, copy=True)  # of a trace that is over nothing can be computed


def _traced(transform: Callable[..., Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """`transform(function, *arguments)`, whose errors keep all their frames: JAX leaves out its own."""
    frames: list[Any] = []

    def seen(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            frames[:] = [error.__traceback__]
            raise

    try:
        return transform(seen, *arguments)
    except Exception as error:
        # `raise` adds the frames above: the last one is where the error comes from
        raise (error.with_traceback(frames[0]) if frames else error) from error.__cause__


def _taken_sizes(model: Any, state: Any) -> list[int]:
    """The sizes of actions that a step takes."""
    declared = dataclasses.is_dataclass(model) and "action_size" in {
        field.name for field in dataclasses.fields(model)
    }
    sizes = []
    for size in _SIZES:
        with contextlib.suppress(Exception):
            other: Any = dataclasses.replace(model, action_size=size) if declared else model
            _trace_step(other, state, Continuous(size).zeros())
            sizes.append(size)
    return sizes


def _listed(sizes: list[int]) -> str:
    """Which sizes work, in words. That 1 is among them may mean no more than that it is broadcast."""
    first, last = sizes[0], sizes[-1]
    if len(sizes) == 1:
        return f"{first} works"
    if len(sizes) > 2 and sizes == list(range(first, last + 1)):
        return f"{first} or more work" if last == _SIZES[-1] else f"{first} to {last} work"
    return f"{', '.join(map(str, sizes[:-1]))} and {last} work"
