"""Resampling: particles that weigh much have several children, those that weigh little none.

All schemes are unbiased, E[children of k] = n w_k, and none ever chooses a particle of weight zero, whatever rounding
does to sums of float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ...dynamics.pytrees import pytree, traceable
from ..options import checked


def systematic(key: Key[Array, ""], weights: Float[Array, " K"], num_samples: int) -> Int[Array, " n"]:
    """One uniform number u, positions (i + u)/n: the least variance, ⌊n w⌋ or ⌈n w⌉ children.

    Args:
        key: of u.
        weights: [K], not negative, of any scale.
        num_samples: the number n of children.

    Returns:
        The parents, [n], in order.
    """
    return _by_strata(weights, jnp.broadcast_to(jax.random.uniform(key), (num_samples,)))


def stratified(key: Key[Array, ""], weights: Float[Array, " K"], num_samples: int) -> Int[Array, " n"]:
    """A uniform number for each stratum, positions (i + u_i)/n (Kitagawa, 1996). Arguments as of `systematic`."""
    return _by_strata(weights, jax.random.uniform(key, (num_samples,)))


def multinomial(key: Key[Array, ""], weights: Float[Array, " K"], num_samples: int) -> Int[Array, " n"]:
    """Independent draws, in no order. Arguments as of `systematic`."""
    return _draw(jax.random.uniform(key, (num_samples,)), weights)


def residual(key: Key[Array, ""], weights: Float[Array, " K"], num_samples: int) -> Int[Array, " n"]:
    """⌊n w⌋ children for sure, the others by independent draws from what is left (Liu and Chen, 1998).

    Arguments as of `systematic`; in no order.
    """
    expected = num_samples * (weights / weights.sum())
    sure = jnp.floor(expected * (1.0 + 4.0 * jnp.finfo(expected.dtype).eps))  # 0.9999999 is one child
    rest = jnp.maximum(expected - sure, 0.0)
    place = jnp.arange(num_samples)
    # where nothing is left the draws are not used, but must be finite
    drawn = _draw(jax.random.uniform(key, (num_samples,)), jnp.where(rest.sum() > 0, rest, weights))
    children = jnp.cumsum(sure.astype(int))
    return jnp.where(place < children[-1], jnp.searchsorted(children, place, side="right"), drawn)


SCHEMES: dict[str, Callable[..., Any]] = {
    "systematic": systematic,
    "stratified": stratified,
    "residual": residual,
    "multinomial": multinomial,
}


@pytree
class Resampler:
    """When and how a rollout resamples, and by which values it looks ahead. Make one with `resampler`.

    Attributes:
        ess_threshold: resample where the effective sample size is below this fraction of the particles, a scalar.
        value: (model, state) -> scalar, reward units, the look-ahead; None for none.
        scheme: (key, weights [K], n) -> parents [n].
    """

    ess_threshold: Float[Array, ""]
    value: Callable[..., Any] | None
    scheme: Callable[..., Any]


def resampler(resampling: Any = "systematic", *, ess_threshold: Any = 0.5, value: Any = None) -> Resampler:
    """Make the resampler of sequential Monte Carlo.

    Args:
        resampling: "systematic", "stratified", "residual", "multinomial", or a function (key, weights [K], n) ->
            parents [n], which lie in [0, K); the evidence is unbiased if E[children of k] = n w_k.
        ess_threshold: resample after a step where the effective sample size is below this fraction of the particles,
            in [0, 1]: 0 never, 1 wherever weights differ.
        value: the expected return of a state, a function state -> scalar, reward units, so that weights look ahead:
            a critic, the optimal cost of a linearisation, the soft value V = λ log E exp(R/λ) best of all. It
            need not be right: errors cost variance only. "model" takes the model's `value`; None looks no further
            than the rewards. Beyond the horizon the model's `value` counts in any case.

    Returns:
        The resampler.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if not callable(resampling) and not (isinstance(resampling, str) and resampling in SCHEMES):
        raise ValueError(f"resampling must be one of {', '.join(SCHEMES)}, or a function, got {resampling!r}")
    if value is not None and value != "model" and not callable(value):
        raise ValueError(f"value must be a function of a state, 'model' or None, got {value!r}")
    if value is not None:
        value = jax.tree_util.Partial(_of_state, traceable(value)) if callable(value) else traceable(_of_model)
    return Resampler(
        ess_threshold=checked("ess_threshold", ess_threshold),
        value=value,
        scheme=traceable(resampling if callable(resampling) else SCHEMES[resampling]),
    )


def _of_state(value: Callable[..., Any], model: Any, state: Any) -> Any:
    return value(state)


def _of_model(model: Any, state: Any) -> Any:
    return model.value(state)


def _by_strata(weights: Float[Array, " K"], uniforms: Float[Array, " n"]) -> Int[Array, " n"]:
    """Parents of the positions (i + u_i)/n.

    By counting the positions below each cumulated weight c: all of the strata below ⌊n c⌋, and that of stratum ⌊n c⌋
    if u is less than the fraction. The positions themselves, near 1 in float32, could not resolve 100 000 of them.
    """
    num_samples = len(uniforms)
    cumulated = num_samples * _cumulated(weights)
    whole = jnp.floor(cumulated).astype(int)
    below = uniforms[jnp.minimum(whole, num_samples - 1)] < cumulated - whole
    return jnp.searchsorted(whole + below, jnp.arange(num_samples), side="right")


def _draw(uniforms: Float[Array, " n"], weights: Float[Array, " K"]) -> Int[Array, " n"]:
    """The particle in whose share of [0, 1) each number lies; `uniform` never gives 1."""
    return jnp.searchsorted(_cumulated(weights), uniforms, side="right")


def _cumulated(weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """Cumulated weights, the last of them exactly 1, so that rounding leaves no one beyond it."""
    # a sum by blocks, as XLA does it, may fall by a rounding error, and change where nothing is added
    cumulated = jax.lax.cummax(jnp.where(weights > 0, jnp.cumsum(weights), 0.0))
    return cumulated / cumulated[-1]
