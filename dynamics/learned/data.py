"""Transitions as the networks of a learned model see them: checked, scaled down to inputs and targets, padded."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .model import LearnedModel
from .transitions import Transitions, transitions

LEAST_CAPACITY = 256
_ROUNDING = 1e-5  # relative to the greatest value: some hundred units in the last place of float32
_GOLDEN = 0.6180339887498949  # of the golden ratio


class Data(NamedTuple):
    """Transitions as networks see them, padded to a capacity.

    Attributes:
        inputs: [N, f].
        targets: [N, T].
        goes_on: [N].
        chosen: whose turn it is: of each network the numbers of transitions to draw from, [E, N].
        num_chosen: how many of these there are.
        held_out: 1 for those held out, [N].
    """

    inputs: Float[Array, "N f"]
    targets: Float[Array, "N T"]
    goes_on: Float[Array, " N"]
    chosen: Int[Array, "E N"]
    num_chosen: Int[Array, ""]
    held_out: Float[Array, " N"]


def matched(model: LearnedModel, dataset: Transitions) -> Transitions:
    """The dataset, checked once more, and against the model.

    Args:
        model: to be fitted.
        dataset: as a user gives it.

    Returns:
        The dataset.

    Raises:
        ValueError: if it is none, is of another environment, or has fewer than ten transitions.
    """
    if not isinstance(dataset, Transitions):
        raise ValueError(f"dataset must be of learning.transitions(...), got {type(dataset).__name__}")
    dataset = transitions(*dataset)
    if (size := dataset.observations.shape[1]) != model.observation_size:
        raise ValueError(f"observations must have {model.observation_size} numbers, as the model has, got {size}")
    actions = dataset.actions
    if model.num_actions is not None:
        if actions.ndim != 1 or actions.min() < 0 or actions.max() >= model.num_actions:
            raise ValueError(f"actions must be integers from 0 to {model.num_actions - 1}, got {actions.dtype}")
    elif actions.ndim != 2 or actions.shape[1] != model.action_size:
        raise ValueError(f"actions must be [N, {model.action_size}], as the model has, got {actions.shape}")
    if dataset.size < 10:
        raise ValueError(f"dataset must have at least 10 transitions, got {dataset.size}")
    return dataset


def split(size: int, holdout_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of so many transitions are held out, one at least, and which are not.

    The same ones whenever there are more: networks that go on from a fit before have never seen them.

    Args:
        size: the number of transitions, 2 at least.
        holdout_fraction: the share that is held out.
    """
    turned = np.modf(_GOLDEN * np.arange(1, size + 1))[0]  # spread evenly, in whatever order they come
    held_out = np.flatnonzero(turned < holdout_fraction)
    held_out = held_out[: size - 1] if len(held_out) else np.array([0])
    return held_out, np.setdiff1d(np.arange(size), held_out)


def prepared(model: LearnedModel, dataset: Transitions, key: Any, holdout_fraction: float, bootstrap: bool) -> Data:
    """The data as networks see them, in arrays of a size that is the same until there are twice as many.

    Args:
        model: to be fitted.
        dataset: that matches it.
        key: of bootstraps.
        holdout_fraction: the share of transitions that is held out.
        bootstrap: whether each network draws its transitions with replacement.

    Returns:
        The data.
    """
    capacity = LEAST_CAPACITY
    while capacity < dataset.size:
        capacity *= 2

    def padded(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.repeat(array[:1], capacity - len(array), axis=0)])

    held_out, rest = split(dataset.size, holdout_fraction)
    if bootstrap:
        draws = np.asarray(jax.random.randint(key, (model.num_members, len(rest)), 0, len(rest)))
    else:
        draws = np.broadcast_to(np.arange(len(rest)), (model.num_members, len(rest)))
    chosen = np.zeros((model.num_members, capacity), np.int32)
    chosen[:, : len(rest)] = rest[draws]
    mask = np.zeros(capacity, np.float32)
    mask[held_out] = 1.0
    whole = Transitions(*(padded(array) for array in dataset))
    inputs, targets = _seen(dataclasses.replace(model, params=None), *map(jnp.asarray, whole[:4]))
    numbers, goes_on = jnp.asarray(chosen), jnp.asarray(whole.discounts)
    return Data(inputs, targets, goes_on, numbers, jnp.asarray(len(rest)), jnp.asarray(mask))


def least_scale(model: LearnedModel, dataset: Transitions) -> Float[Array, " T"]:
    """The standard deviation of targets below which they are the rounding of what they are differences of.

    Args:
        model: to be fitted.
        dataset: that matches it.
    """
    greatest = [np.abs(dataset.observations).max(0)]
    greatest += [np.abs(dataset.rewards).max(keepdims=True)] if model.learns_reward else []
    return jnp.asarray(_ROUNDING * np.concatenate(greatest))


def present(data: Data, size: int) -> Float[Array, " N"]:
    """1 for what is no padding.

    Args:
        data: padded.
        size: how many transitions it has without.
    """
    return (jnp.arange(len(data.held_out)) < size).astype(float)


@jax.jit
def _seen(model: LearnedModel, before: Array, actions: Array, after: Array, rewards: Array) -> tuple[Array, Array]:
    """Inputs and targets of networks."""
    changes = jax.vmap(model.change)(before, after)
    targets = [changes, rewards[:, None]] if model.learns_reward else [changes]
    actions = actions if model.action_size is None else jnp.clip(actions, -1.0, 1.0)
    return jax.vmap(model.inputs)(before, actions), jnp.concatenate(targets, -1)
