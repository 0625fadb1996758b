"""Trainings in TensorBoard."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mirrax.learning.policies.records import UpdateRecord
from mirrax.learning.training import EpisodeRecord


def tensorboard(folder: Path | str) -> Callable[[EpisodeRecord | UpdateRecord], None]:
    """What trainings take as `progress` to write their records as events of TensorBoard.

    These are `learning.train`, `learn_policy` and `learn_value`.

    Args:
        folder: to write to.

    Returns:
        The function.

    Raises:
        ImportError: without the package tensorboardX, which says how to install it.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard needs tensorboardX: pip install 'mirrax[learning]'") from error
    writer = SummaryWriter(str(folder))

    def write(record: EpisodeRecord | UpdateRecord) -> None:
        for name, value in _flat(record._asdict()):
            if name != "number" and math.isfinite(value):
                writer.add_scalar(name, float(value), record.number)
        writer.flush()

    return write


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield name, value
