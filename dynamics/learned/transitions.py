"""Transitions: what a model is learnt from."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Transitions(NamedTuple):
    """N steps of an environment, in any order. Make one with `transitions`, which checks it.

    Attributes:
        observations: before each step, [N, n].
        actions: on the scale of plans, [N, A]; integers [N] where actions are discrete.
        next_observations: after it, [N, n].
        rewards: [N].
        discounts: [N]; 0 where the episode ended by this step, else 1.
    """

    observations: np.ndarray
    actions: np.ndarray
    next_observations: np.ndarray
    rewards: np.ndarray
    discounts: np.ndarray

    @property
    def size(self) -> int:
        """Their number N."""
        return len(self.observations)

    def joined(self, *others: "Transitions") -> "Transitions":
        """These and others, one after the other.

        Raises:
            ValueError: if they are of another environment: of other shapes.
        """
        for other in others:
            for name, own, more in zip(self._fields, self, other, strict=True):
                if own.shape[1:] != more.shape[1:]:
                    raise ValueError(f"{name} must have rows of shape {own.shape[1:]}, got {more.shape[1:]}")
        return Transitions(*(np.concatenate(arrays) for arrays in zip(self, *others, strict=True)))

    def save(self, path: Path | str) -> None:
        """Write them to a file of NumPy's format npz, which `load` reads; what was there is replaced."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **self._asdict())

    @staticmethod
    def load(path: Path | str) -> "Transitions":
        """Read what `save` wrote, or arrays of these names that something else wrote. No code is loaded.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read, or holds no transitions.
        """
        try:
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise
        except Exception as error:  # of zip, zlib, NumPy: whatever a damaged file makes of them
            raise ValueError(
                f"{path} must be a whole file of NumPy's format npz, got one that fails: {error}"
            ) from error
        needed = Transitions._fields[:3]
        if missing := [name for name in needed if name not in arrays]:
            raise ValueError(f"{path} must have the arrays {', '.join(needed)}, got none named {', '.join(missing)}")
        return transitions(**{name: arrays[name] for name in Transitions._fields if name in arrays})


def transitions(
    observations: Any, actions: Any, next_observations: Any, rewards: Any = None, discounts: Any = None
) -> Transitions:
    """Check arrays of transitions.

    Args:
        observations: before each step, [N, n].
        actions: on the scale of plans, [-1, 1], [N, A]; integers [N] where actions are discrete.
        next_observations: after it, [N, n].
        rewards: [N]; None where the reward is known, and need not be learnt.
        discounts: [N], 0 where the episode ended by this step (not where a time limit cut it off), else 1; None
            for 1.

    Returns:
        The transitions, in NumPy's arrays.

    Raises:
        ValueError: if shapes do not fit, or a number is not finite: it says which row.
    """
    before = _rows("observations", observations)
    number = len(before)
    after = _rows("next_observations", next_observations)
    if after.shape != before.shape:
        raise ValueError(f"next_observations must have the shape of observations {before.shape}, got {after.shape}")
    given = np.asarray(actions)
    acted = given if np.issubdtype(given.dtype, np.integer) else np.asarray(_numbers("actions", given), np.float32)
    if acted.ndim not in (1, 2) or len(acted) != number or (acted.ndim == 1 and acted.dtype == np.float32):
        raise ValueError(
            f"actions must be [{number}, A], or integers [{number}], got {acted.dtype}{list(acted.shape)}"
        )
    earned = np.zeros(number) if rewards is None else _each("rewards", rewards, number)
    goes_on = np.ones(number) if discounts is None else _each("discounts", discounts, number)
    if goes_on.min(initial=0.0) < 0 or goes_on.max(initial=0.0) > 1:
        raise ValueError(f"discounts must lie in [0, 1], got {goes_on.min():g} to {goes_on.max():g}")
    return Transitions(before, acted, after, earned.astype(np.float32), goes_on.astype(np.float32))


def _rows(name: str, values: Any) -> np.ndarray:
    array = _numbers(name, values)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must be [N, n], at least one row of at least one number, got {array.shape}")
    return array.astype(np.float32)


def _each(name: str, values: Any, number: int) -> np.ndarray:
    array = _numbers(name, values)
    if array.shape != (number,):
        raise ValueError(f"{name} must be [{number}], one for each transition, got {array.shape}")
    return array


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values).astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {type(values).__name__}: {error}") from error
    if not np.isfinite(array).all():
        wrong = ~np.isfinite(array.reshape(len(array), -1)).all(-1) if array.ndim else np.array([True])
        raise ValueError(f"{name} must be finite, got {wrong.sum()} rows that are not, the first is {wrong.argmax()}")
    return array
