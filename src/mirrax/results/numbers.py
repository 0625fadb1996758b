"""Numbers as people write them: the shortest decimal that is the same number."""

from typing import Any

import numpy as np
from jaxtyping import Float


def shortest(values: Any) -> Any:
    """Numbers as the shortest decimals that their own precision gives: 0.008, not 0.00800000037997961.

    Args:
        values: an array, or a number, of any type.

    Returns:
        JSON: numbers, in lists as the array has axes.
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        return array.tolist()
    decimals = [float(str(value)) for value in array.reshape(-1)]
    return np.array(decimals, float).reshape(array.shape).tolist()


def told(value: Any) -> str:
    """A number in words of a reader: all its digits, and none that rounding has made.

    Args:
        value: a number; one of Python that single precision has is taken for such.
    """
    number = float(value)
    if not np.isfinite(number) or number == 0.0:
        return f"{abs(number) if number == 0.0 else number:g}"
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(number)
    exact = single if float(single) == number else np.float64(number)
    if 1e-4 <= abs(number) < 1e16:
        return np.format_float_positional(exact, trim="-")
    return np.format_float_scientific(exact, trim="-", exp_digits=1)


def total(rewards: Float[np.ndarray, " T"]) -> float:
    """The sum of rewards, without a warning where infinite ones make it no number.

    Args:
        rewards: per step.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return float(rewards.sum())


def running_total(rewards: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """The sum of the rewards up to each step, likewise, [T].

    Args:
        rewards: per step.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return np.cumsum(rewards)


def always(values: Float[np.ndarray, " T"]) -> str | None:
    """What is told of numbers that never change.

    Args:
        values: one per step.

    Returns:
        The number, where all are equal, or differ by rounding only, as sums do that are taken in another order; None
        where they change, or are unknown (NaN).
    """
    if len(values) < 2 or np.isnan(values).any():
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        return told(low)
    if not np.isfinite([low, high]).all():
        return None
    with np.errstate(over="ignore"):
        single = bool((values.astype(np.float32) == values).all())
    rounding = 2.0 * np.finfo(np.float32 if single else np.float64).eps * max(abs(low), abs(high))
    if not high - low <= rounding:
        return None
    return told(float(f"{low:.7g}" if single else f"{low:.15g}"))
