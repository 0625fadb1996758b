"""What models of other people's environments have in common: their states' rewards, ends and noise."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import State
from .checks import number
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
    fields = {}
    for name in ("reward", "done"):
        try:
            value = fields[name] = jnp.asarray(getattr(state, name))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} of a state must be a scalar, got {getattr(state, name)!r}") from error
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

    Raises:
        ValueError: if `truncation` is no scalar.
    """
    info = getattr(state, "info", None)
    truncated = info.get("truncation") if isinstance(info, Mapping) else None
    truncated = jnp.asarray(0.0 if truncated is None else truncated, float)
    if truncated.size != 1:
        raise ValueError(f"truncation of info must be a scalar, got shape {truncated.shape}")
    ended = state.done * (1.0 - truncated.reshape(()))
    return jnp.where(ended > 0, 0.0, 1.0)


def within(env: Any) -> Any:
    """The environment that another one wraps as its `env`; None for one that wraps none.

    Args:
        env: an environment, which may call something else `env`.
    """
    inner = getattr(env, "__dict__", {}).get("env")
    return inner if all(callable(getattr(inner, part, None)) for part in ("reset", "step")) else None


def check_duration(env: Any) -> None:
    """Raise a `ValueError` if the duration of an environment's steps is known and is none."""
    if getattr(env, "dt", None) is not None:
        number("env.dt", env.dt, above=0.0)


def step_duration(env: Any) -> float | None:
    """The duration of one step of an environment, s, through wrappers that repeat actions; None where unknown."""
    if getattr(env, "dt", None) is None:
        return None
    with jax.ensure_compile_time_eval():  # within jit MJX's, a product, would be traced
        dt = float(env.dt)
    while (inner := within(env)) is not None:  # Brax's wrappers, one of which repeats actions
        dt, env = dt * vars(env).get("action_repeat", 1), inner
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
    names: Any = noise
    listed = isinstance(names, Iterable) and not isinstance(names, str)
    if noise is not None and not (listed and all(isinstance(name, str) for name in names)):
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
