"""What the actuators of a Brax environment take: the action that its own `step` hands to the engine."""

import copy
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .environments import within


class _HandedOver(BaseException):  # not an Exception: no environment catches it by mistake
    """Carries an action out of a step, before the engine computes anything."""

    def __init__(self, action: Any) -> None:
        super().__init__()
        self.action = action


# environment -> the shapes of its states; None where its step changes actions in a way that is no scale and offset
_SHAPES: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def engine_range(
    env: Any, own: Any, low: Float[Array, " A"], high: Float[Array, " A"]
) -> tuple[Float[Array, " A"], Float[Array, " A"]]:
    """What the engine is given where the environment's `step` is given `low` and `high`.

    Args:
        env: a Brax environment.
        own: the same with the physical parameters in question, which may be traced.
        low: an action.
        high: another.

    Returns:
        Both, as the engine is given them; unchanged where `step` calls no `pipeline_step`, or does anything but scale
        and shift each action, the same in all states.
    """
    try:
        if env not in _SHAPES:
            _SHAPES[env] = _scaled_states(env, low.size)
        shapes = _SHAPES[env]
    except TypeError:  # of what has no hash or no weak references
        shapes = _scaled_states(env, low.size)
    if shapes is None:
        return low, high
    state = _filled(shapes, 0)
    return _handed_over(own, state, low), _handed_over(own, state, high)


def engine_limits(sys: Any, size: int) -> tuple[Float[Array, " A"], Float[Array, " A"]] | None:
    """To what the engine clips what it is given; None where that is not known.

    Args:
        sys: the physical parameters, or None.
        size: the number A of actuators.
    """
    limits: Any = getattr(getattr(sys, "actuator", None), "ctrl_range", None)
    return None if getattr(limits, "shape", None) != (size, 2) else (limits[:, 0], limits[:, 1])


def _scaled_states(env: Any, size: int) -> Any:
    """The shapes of the states of an environment whose step scales and shifts each action; None of any other."""
    innermost = env
    while (inner := within(innermost)) is not None:
        innermost = inner
    if not callable(getattr(innermost, "pipeline_step", None)):
        return None
    try:
        shapes = jax.eval_shape(env.reset, jax.random.key(0))
        with jax.ensure_compile_time_eval():  # numbers, within jit too
            states = [_filled(shapes, number) for number in (0, 1)]
            actions = [jnp.zeros(size), jnp.ones(size), jnp.linspace(-0.7, 0.9, size)]
            given = [[np.asarray(_handed_over(env, state, action)) for action in actions] for state in states]
    except Exception:  # of an environment that steps from no such state
        return None
    (offset, one, found), others = given
    fits = offset.shape == one.shape == found.shape == (size,) and np.allclose(given[0], others)
    linear = fits and np.allclose(found, offset + (one - offset) * np.asarray(actions[2]), atol=1e-5)
    return shapes if linear and np.isfinite(given).all() else None


def _handed_over(env: Any, state: Any, action: Any) -> Any:
    """The action that `step` hands to the engine.

    Raises:
        ValueError: if it hands over none.
    """
    try:
        with jax.disable_jit():  # else a wrapper that repeats actions would hand over what is of another trace
            _stopping(env).step(state, action)
    except _HandedOver as found:
        return jnp.asarray(found.action, float)
    raise ValueError("step must call pipeline_step of the environment")


def _stopping(env: Any) -> Any:
    """A copy of an environment, through all its wrappers, that stops where it would call the engine."""

    def stop(pipeline_state: Any, action: Any) -> Any:
        raise _HandedOver(action)

    env = copy.copy(env)
    name, value = ("env", _stopping(env.env)) if within(env) is not None else ("pipeline_step", stop)
    object.__setattr__(env, name, value)
    return env


def _filled(shapes: Any, number: int) -> Any:
    """A state of these shapes, all of whose numbers are the same."""

    def full(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(number), leaf.shape)
        return jnp.full(leaf.shape, number, leaf.dtype)

    return jax.tree.map(full, shapes)
