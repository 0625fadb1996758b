"""What the training of a policy, or of a value, writes, and how it goes on: from checkpoints of its store."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mirrax.dynamics.base import Model
from mirrax.dynamics.saving import to_state_dict
from mirrax.learning.kinds import bare, described, observing
from mirrax.learning.policies.records import UpdateRecord
from mirrax.learning.saving import LEARNT, fingerprint, save
from mirrax.learning.store import Store
from mirrax.results.numbers import shortest
from mirrax.results.parameters import described as parameters


def settings_of(algorithm: Any, policy: Any) -> dict[str, Any]:
    """What decides about the numbers of a training besides its key and its sizes, as JSON.

    Args:
        algorithm: that learns.
        policy: bound.
    """
    told: dict[str, Any] = {"algorithm": algorithm.name, "policy": described(policy)}
    if dataclasses.is_dataclass(algorithm):
        for field in dataclasses.fields(algorithm):
            value = getattr(algorithm, field.name)
            told[field.name] = (
                value if value is None or isinstance(value, int | tuple) else shortest(np.asarray(value))
            )
    return told


def planned_settings(
    env: Model, planner: Any, key: PRNGKeyArray, value: Any, numbers: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides about the numbers of a value that is learnt from a planner's episodes, as JSON.

    Args:
        env: the environment, told by its kind and a digest of its numbers.
        planner: told by its parameters, and such a digest: of large arrays the parameters have the range alone.
        key: of everything random.
        value: as it is at first.
        numbers: all others, by name.
    """
    return {
        "algorithm": "learn_value",
        "env": {"kind": type(env).__name__, "numbers": fingerprint(to_state_dict(env))},
        "planner": {"parameters": parameters(planner), "numbers": fingerprint(to_state_dict(planner))},
        "value": described(value),
        "key": jax.random.key_data(key).ravel().tolist(),
        **{name: of if isinstance(of, int) else shortest(np.asarray(of)) for name, of in numbers.items()},
    }


def restored(
    store: Store, state: Callable[[int], Any], observe: Any, most: int, of: str
) -> tuple[Any, list[UpdateRecord]]:
    """Where a training stands: that of its last checkpoint whose updates have all been told.

    Args:
        store: its files.
        state: number of updates -> a pytree of the structure that learner and environments have after so many; of 0
            where they begin.
        observe: what the policy, or the value, observes of a state.
        most: how many updates there are to be in all.
        of: the parameter that says so.

    Returns:
        Learner and environments, and the records of the updates so far.

    Raises:
        ValueError: if the checkpoint is damaged, or of another training, or more updates are done.
    """
    lines, known = store.metrics(), store.checkpoints()
    number = max((one for one in known if one <= len(lines)), default=0)
    for one in {number + 1, *known}:  # what a killed process has left
        if one > number:
            store.tidy(one)
    store.keep(number)
    if number > most:
        raise ValueError(f"{of} must be at least the {number} that are done, got {most}")
    if number == 0:
        return state(0), []
    before = max((one for one in known if one < number), default=0)
    remedy = f"remove it to go on from update {before}" if before else "nothing comes before it: train anew"
    found = store.load_checkpoint(number, bare(state(number)), remedy)
    return observing(found, observe), [UpdateRecord(**line) for line in lines[:number]]


def write(store: Store, state: Any, training: Any) -> None:
    """Write a checkpoint, and what has been learnt so far; the checkpoint before stays, of older ones none.

    Args:
        store: the files.
        state: learner and environments as they are, a pytree.
        training: what came of it so far: it has `records`, and `learning.save` takes it.

    Raises:
        OSError: if they cannot be written; those before stay.
    """
    number, before = len(training.records), store.checkpoints()
    store.save_checkpoint(number, bare(state))
    save(store.folder / LEARNT, training)
    store.remove_checkpoints(*before[:-1])
