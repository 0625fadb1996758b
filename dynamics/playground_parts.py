"""Parts of models of Playground's environments: what wraps them, their parameters, actuators and rewards."""

import copy
import types
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .environments import metric_terms, within

_TERM = "reward/"
_SUITE = "mujoco_playground._src.dm_control_suite."
_PLAYGROUND = "mujoco_playground._src."
# from Playground's sources: those of its own whose metrics, with these weights, sum to the reward
_WEIGHTS: dict[str, dict[str, float]] = {f"{_SUITE}fish": {"in_target": 7 / 8, "upright": 1 / 8}}
# and those that sum their metrics, times the duration of a step, and may clip the sum
_PER_SECOND = {
    f"{_PLAYGROUND}{name}"
    for name in (
        *(f"locomotion.{robot}.joystick" for robot in ("apollo", "barkour", "berkeley_humanoid", "g1", "go1", "h1")),
        *(f"locomotion.{robot}.joystick" for robot in ("op3", "spot", "t1")),
        *("locomotion.go1.getup", "locomotion.go1.handstand", "locomotion.spot.getup"),
        *("manipulation.leap_hand.rotate_z", "manipulation.aero_hand.rotate_z"),
    )
}
_BATCHED = {
    "VmapWrapper",
    "DomainRandomizationVmapWrapper",
    "BraxDomainRandomizationVmapWrapper",
    "RSLRLBraxWrapper",
}
_RESETTING = {"AutoResetWrapper", "BraxAutoResetWrapper"}


def refuse_wrappers(env: Any) -> None:
    """Refuse what a planner must not imagine with.

    Raises:
        ValueError: with the wrapper's name, if one resets automatically or takes batches.
    """
    at = env
    while at is not None:
        kinds = [kind.__name__ for kind in type(at).__mro__]
        if resetting := next((kind for kind in kinds if kind in _RESETTING), None):
            raise ValueError(
                f"name_or_env must be an environment that does not reset itself, got one within {resetting}: a "
                "planner must see the end of an episode, not the start of the next"
            )
        if batched := next((kind for kind in kinds if kind in _BATCHED), None):
            raise ValueError(f"name_or_env must be a single environment, got a batched one, within {batched}")
        at = within(at)


def innermost(env: Any) -> Any:
    """The environment within all its wrappers."""
    while (inner := within(env)) is not None:
        env = inner
    return env


def with_sys(env: Any, sys: Any) -> Any:
    """The environment, through all its wrappers, with other physical parameters, as Playground's randomiser has it.

    Args:
        env: an environment.
        sys: `mujoco.mjx.Model`, or None for those that it has.
    """
    if sys is None:
        return env
    own = copy.copy(env)
    if within(env) is not None:
        own.env = with_sys(env.env, sys)
        return own
    own._mjx_model = sys
    for name, value in vars(env).items():  # methods that were chosen at its making, as Playground's cart-poles do
        if isinstance(value, types.MethodType) and value.__self__ is env:
            setattr(own, name, types.MethodType(value.__func__, own))
    return own


# environment -> what the engine is given for actions of 0, and how much more for 1; None where that is not known
_SCALES: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def engine_range(
    env: Any, low: Float[Array, " A"], high: Float[Array, " A"]
) -> tuple[Float[Array, " A"], Float[Array, " A"]]:
    """What the engine is given where the environment's `step` is given `low` and `high`.

    Args:
        env: an environment.
        low: an action.
        high: another.

    Returns:
        Both as `ctrl`; unchanged where `step` does anything but scale and shift each action, the same in all states.
    """
    if env not in _SCALES:
        _SCALES[env] = _scale(env, low.size)
    if _SCALES[env] is None:
        return low, high
    offset, factor = _SCALES[env]
    return offset + factor * low, offset + factor * high


def _scale(env: Any, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        with jax.ensure_compile_time_eval():  # numbers, within jit too
            shapes = jax.eval_shape(env.reset, jax.random.key(0))
            states = [jax.tree.map(lambda leaf, number=number: _full(leaf, number), shapes) for number in (0, 1)]
            # XLA leaves out the physics, which this does not need
            program = jax.jit(lambda state, action: env.step(state, action).data.ctrl)
            actions = [jnp.zeros(size), jnp.ones(size), jnp.linspace(-0.7, 0.9, size)]
            found = [[np.asarray(program(state, action)) for action in actions] for state in states]
    except Exception:  # of an environment that steps from no such state, or keeps no data
        return None
    (offset, one, other), others = found
    fits = offset.shape == (size,) and np.allclose(found[0], others)
    linear = fits and np.allclose(other, offset + (one - offset) * np.asarray(actions[2]), atol=1e-5)
    return (offset, one - offset) if linear and np.isfinite(found).all() else None


def _full(leaf: Any, number: int) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(number), leaf.shape)
    return jnp.full(leaf.shape, number, leaf.dtype)


def terms_of(env: Any, after: Any) -> dict[str, Float[Array, ""]] | None:
    """The terms of the reward that a step of an environment gave.

    Args:
        env: an environment.
        after: its state after the step.

    Returns:
        Name -> scalar, which sum to the reward; None where there are none, as where factors are multiplied.
    """
    own, at = innermost(env), env
    while at is not own:
        if vars(at).get("action_repeat", 1) != 1:  # its metrics are those of the last repetition only
            return None
        at = at.env
    module = type(own).__module__
    if module in _WEIGHTS:
        return metric_terms(after, _TERM, _WEIGHTS[module], whole=True)
    if module in _PER_SECOND:
        return metric_terms(after, _TERM, {}, usual=float(own.dt), whole=False)
    return None if module.startswith(_PLAYGROUND) else metric_terms(after, _TERM, {}, whole=False)
