"""What models of other people's environments have in common: their states' rewards, ends and noise."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import State
from .randomness import is_key, raw_keys, redrawn


def canonical(state: State) -> State:
    """Give reward and done one type, so that a step returns what it was given: some write them as Python numbers.

    Args:
        state: of an environment of Brax or Playground.

    Raises:
        ValueError: if it has no reward and done, or these are no scalars.
    """
    if not (hasattr(state, "reward") and hasattr(state, "done")):
        raise ValueError(f"reset and step must return a State with reward and done, got {type(state).__name__}")
    fields = {name: jnp.asarray(getattr(state, name)) for name in ("reward", "done")}
    for name, value in fields.items():
        if value.size != 1 or jnp.iscomplexobj(value):
            raise ValueError(f"{name} of a state must be a scalar, got {value.dtype} of shape {value.shape}")
    replace = getattr(state, "replace", None) or getattr(state, "_replace", None)  # flax dataclass, named tuple
    return (replace or functools.partial(dataclasses.replace, state))(
        **{name: value.astype(float).reshape(()) for name, value in fields.items()}
    )


def discount_of(state: Any) -> Float[Array, ""]:
    """0 where an episode has truly ended, else 1.

    A time limit, which environments and their wrappers tell as `truncation` of `info`, says nothing about the value
    of a state.

    Args:
        state: after a step.
    """
    info = getattr(state, "info", None)
    truncated = info.get("truncation") if isinstance(info, dict) else None
    ended = state.done * (1.0 - (0.0 if truncated is None else truncated))
    return jnp.where(ended > 0, 0.0, 1.0)


def step_duration(env: Any) -> float | None:
    """The duration of one step of an environment, s, through wrappers that repeat actions; None where unknown."""
    if getattr(env, "dt", None) is None:
        return None
    with jax.ensure_compile_time_eval():  # within jit MJX's, a product, would be traced
        dt = float(env.dt)
    while "env" in vars(env):  # Brax's wrappers, one of which repeats actions
        dt, env = dt * vars(env).get("action_repeat", 1), env.env
    return dt


def metric_terms(
    after: Any, prefix: str, weights: Mapping[str, float], *, usual: float = 1.0, whole: bool
) -> dict[str, Float[Array, ""]] | None:
    """The terms of a reward, of what an environment's metrics say.

    Args:
        after: the state after a step, with the reward.
        prefix: what the names of metrics that are terms begin with.
        weights: of terms, by name without the prefix, in the reward.
        usual: of those that are not named.
        whole: whether nothing else is part of the reward.

    Returns:
        Name -> scalar, which sum to the reward: metrics, and what they leave as "other"; None where there are none.
    """
    metrics = getattr(after, "metrics", None) or {}
    found = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    if not found:
        return None
    terms = {name: weights.get(name, usual) * jnp.asarray(v, float).reshape(()) for name, v in found.items()}
    if not whole:
        rest = jnp.asarray(after.reward, float).reshape(()) - sum(terms.values())
        terms["other"] = terms.get("other", 0.0) + rest
    return terms


def noise_names(noise: Sequence[str] | None) -> tuple[str, ...] | None:
    """The option `noise`, checked.

    Raises:
        ValueError: if it is no sequence of names.
    """
    if noise is not None and (isinstance(noise, str) or not all(isinstance(name, str) for name in noise)):
        raise ValueError(f"noise must be a sequence of names, got {noise!r}")
    return None if noise is None else tuple(noise)


def noise_redrawn(model: Any, key: PRNGKeyArray, state: Any, noise: tuple[str, ...] | None) -> State:
    """The state with its keys drawn anew, which make the noise that is yet to come.

    Args:
        model: whose state it is.
        key: of what they will be.
        state: of an environment, with `info`.
        noise: the entries of `info` that are keys; None for those that a step uses as keys.

    Raises:
        ValueError: if `noise` names what is no entry of `info`, or no key.
    """
    if noise is None:
        return redrawn(key, state, raw_keys(model, state))
    info = getattr(state, "info", {})
    if absent := [name for name in noise if name not in info]:
        raise ValueError(f"noise must name entries of info, {', '.join(info)}, got {', '.join(absent)}")
    named = {name: info[name] for name in noise}
    raw = [not is_key(leaf) for leaf in jax.tree.leaves(named)]
    for leaf, plain in zip(jax.tree.leaves(named), raw, strict=True):
        if plain and not jnp.issubdtype(leaf.dtype, jnp.unsignedinteger):
            raise ValueError(f"noise must name keys, got {noise!r}, with an array of {leaf.dtype}")
    state = redrawn(key, state)
    return state.replace(info=state.info | redrawn(key, named, raw))
