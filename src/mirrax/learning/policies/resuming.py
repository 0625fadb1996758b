"""What the training of a policy writes, and how it goes on: learner and environments as checkpoints of its store."""

import dataclasses
from typing import Any

import numpy as np

from mirrax.learning.kinds import bare, described, observing
from mirrax.learning.policies.experience import Actors
from mirrax.learning.policies.records import PolicyTraining, UpdateRecord
from mirrax.learning.saving import LEARNT, save
from mirrax.learning.store import Store
from mirrax.results.numbers import shortest


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


def restored(store: Store, learner: Any, actors: Actors, observe: Any) -> tuple[Any, Actors, list[UpdateRecord]]:
    """Where a training stands: that of its last checkpoint whose updates have all been told.

    Args:
        store: its files.
        learner: where learning begins.
        actors: where the environments begin.
        observe: what the policy observes of a state.

    Returns:
        Learner, environments, and the records of the updates so far.

    Raises:
        ValueError: if the checkpoint is damaged, or of another training.
    """
    lines, known = store.metrics(), store.checkpoints()
    number = max((one for one in known if one <= len(lines)), default=0)
    for one in {number + 1, *known}:  # what a killed process has left
        if one > number:
            store.tidy(one)
    store.keep(number)
    if number == 0:
        return learner, actors, []
    before = max((one for one in known if one < number), default=0)
    remedy = f"remove it to go on from update {before}" if before else "nothing comes before it: train anew"
    learner, actors = store.load_checkpoint(number, (bare(learner), actors), remedy)
    return observing(learner, observe), actors, [UpdateRecord(**line) for line in lines[:number]]


def write(store: Store, learner: Any, actors: Actors, training: PolicyTraining) -> None:
    """Write a checkpoint, and what has been learnt so far; the checkpoint before stays, of older ones none.

    Args:
        store: the files.
        learner: as it is.
        actors: the environments.
        training: what came of it so far.

    Raises:
        OSError: if they cannot be written; those before stay.
    """
    number, before = len(training.records), store.checkpoints()
    store.save_checkpoint(number, (bare(learner), actors))
    save(store.folder / LEARNT, training)
    store.remove_checkpoints(*before[:-1])
