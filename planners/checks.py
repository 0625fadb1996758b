"""Checks of what users give to planners."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped

from ..dynamics.base import check_model
from ..dynamics.checks import told
from ..dynamics.constraints import constraint_names
from ..dynamics.pytrees import difference
from ..dynamics.resting import Resting
from ..dynamics.spaces import ActionSpace, action_space
from ..dynamics.trial import check_state, mistake


def check_part(name: str, part: Any, *methods: str) -> Any:
    """Return `part`, or raise a `ValueError` unless it is a pytree (so that jit can take it) with these methods."""
    if isinstance(part, type):
        raise ValueError(f"{name} must be an instance, got the class {part.__name__}")
    if inspect.isfunction(part) and part.__module__.startswith("mirrax."):
        raise ValueError(f"{name} must be what {part.__name__} returns: call it")
    missing = [method for method in methods if not callable(getattr(part, method, None))]
    if missing:
        raise ValueError(f"{name} must have {', '.join(missing)}, got {told(part)}")
    if jax.tree_util.all_leaves([part]):
        raise ValueError(f"{name} must be a pytree: register {type(part).__name__} with JAX, got {told(part)}")
    return part


def check_key(key: Any) -> PRNGKeyArray:
    """Return one key as `jax.random.key` makes it, of either kind, or raise a `ValueError`."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
        return key
    if dtype == jnp.uint32 and shape == jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape:
        return jax.random.wrap_key_data(jnp.asarray(key))
    got = f"{key!r}" if dtype is None or shape == () else f"{dtype}{list(shape or ())}"
    raise ValueError(
        f"key must be one key, jax.random.key(seed) or jax.random.PRNGKey(seed) (of several take one, or vmap over "
        f"them), got {got}"
    )


def check_belief(own: Any, given: Any) -> Any:
    """Return the belief `given`, or raise a `ValueError` unless its structure, shapes and dtypes are those of `own`.

    Args:
        own: a belief that the planner's `init` gives, or its shapes, from `jax.eval_shape`.
        given: by the user.
    """
    if (found := difference("belief", own, given)) is not None:
        raise ValueError(
            f"{found}: it is of another planner, of other options or of another model; planner.init(model, state) "
            "makes one that fits"
        )
    return given


def check_own_belief(planner: Any, model: Any, state: Any, given: Any) -> Any:
    """Return the belief `given`, or raise a `ValueError` unless it is one that the planner gives on this model.

    Args:
        planner: that has a `name`.
        model: whose actions are planned.
        state: a state of `model`.
        given: by the user.
    """
    own = jax.eval_shape(lambda: planner.init(model, state))
    with binding(planner.name, model, state):
        return check_belief(own, given)


@contextlib.contextmanager
def named(*parts: str) -> Iterator[None]:
    """Begin the message of a `ValueError` of this block with what it is of, such as a planner and a model."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{' on '.join(parts)}: {error}") from error


@contextlib.contextmanager
def explained(what: str, model: Any, state: Any, unlike: str = "") -> Iterator[None]:
    """Say what is wrong with a model or a state where a block raises an error because of it, see `dynamics.check`.

    Any other error stays what it is.

    Args:
        what: what was done, for the note that every error gets.
        model: that is stepped in the block.
        state: where it begins.
        unlike: how to say that this is no state of the model; empty for the usual words.
    """
    try:
        yield
    except Exception as error:
        found = None
        with contextlib.suppress(Exception):  # whatever else is wrong, the first error says it
            found = mistake(model, state, *([unlike] if unlike else []))
        raised = error if found is None or str(error).endswith(str(found)) else found
        if what not in getattr(raised, "__notes__", ()):
            raised.add_note(what)
        if raised is error:
            raise
        raise raised from error


def noted(planner: Any, model: Any, state: Any, unlike: str = "") -> contextlib.AbstractContextManager[None]:
    """`explained`, of planning: with a note of what was planned on what."""
    return explained(f"raised while {name_of(planner)} planned on {_kind(model)}", model, state, unlike)


def name_of(planner: Any) -> str:
    """What errors call a planner, or what was given in the place of one."""
    if isinstance(planner, type) or inspect.isroutine(planner):
        return planner.__name__
    return getattr(planner, "name", type(planner).__name__)


@contextlib.contextmanager
def binding(planner: str, model: Any, state: Any) -> Iterator[ActionSpace]:
    """The space of a model's actions; errors of this block name the planner, the model and its space."""
    with named(planner):
        space = action_space(check_model("model", model))
        check_state("state", state, model)
    what = f"{_kind(model)} ({space})"
    with named(planner, what), explained(f"raised while {planner} was bound to {what}", model, state):
        yield space


def _kind(model: Any) -> str:
    """What the user knows the model as, who may have asked for plans that end at rest but for no such model."""
    return type(model.model if isinstance(model, Resting) else model).__name__


def check_unconstrained(model: Any) -> None:
    """Raise a `ValueError` if a model has constraints, for planners that cannot keep to them."""
    if (names := constraint_names(model)) is not None:
        raise ValueError(
            f"model has constraints ({', '.join(names)}), which this planner does not keep: take one that weighs "
            "sampled plans (cem, icem, mppi, pi2, vi_mpc, tsallis, dial, evolution, predictive_sampling, "
            "random_shooting, smc), without refine"
        )


def check_per_plan(name: str, values: Any, num_samples: int) -> Shaped[Array, " K"]:
    """Return what a user's function gave for K plans, or raise a `ValueError` unless its shape is [K]."""
    if jnp.shape(values) != (num_samples,):
        raise ValueError(f"{name} must have shape ({num_samples},), one entry per plan, got {jnp.shape(values)}")
    return values


def fresh(tree: Any) -> Any:
    """Copies of arrays and keys in memory of their own, so that the caller may donate them.

    Within jit nothing is copied: results have memory of their own anyway.
    """
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.core.Tracer) else jnp.array(leaf, copy=True), tree)
