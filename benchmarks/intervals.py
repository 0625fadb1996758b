"""Means of a few runs, robust ones, with intervals: the interquartile mean and the stratified bootstrap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import trim_mean

_RESAMPLES = 2000


def interquartile_mean(scores: Sequence[Float[np.ndarray, "seeds *b"]]) -> Float[np.ndarray, "*b"]:
    """The mean of the middle half of the scores of all tasks together (Agarwal et al., 2021).

    Args:
        scores: of each task those of its runs, [seeds, *b], of one unit.

    Returns:
        [*b].
    """
    return np.asarray(trim_mean(np.concatenate(list(scores)), 0.25, axis=0))


def interval_of_means(
    scores: Sequence[Any], *, level: float = 0.95, seed: int = 0
) -> tuple[Float[np.ndarray, "*b"], Float[np.ndarray, "*b"], Float[np.ndarray, "*b"]]:
    """The interquartile mean with its interval by the stratified bootstrap (Agarwal et al., 2021).

    Runs are drawn anew, with replacement, among those of the same task.

    Args:
        scores: of each task those of its runs, [seeds, *b], of one unit.
        level: how often intervals of this kind hold the true value.
        seed: of the draws.

    Returns:
        The mean, and the ends of the interval, each [*b].
    """
    scores, rng = [np.asarray(each, float) for each in scores], np.random.default_rng(seed)
    drawn = np.stack(
        [
            interquartile_mean([each[rng.integers(len(each), size=len(each))] for each in scores])
            for _ in range(_RESAMPLES)
        ]
    )
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    return interquartile_mean(scores), np.asarray(low), np.asarray(high)
