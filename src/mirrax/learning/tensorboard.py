"""Trainings in TensorBoard."""

import math
from collections.abc import Callable
from pathlib import Path

from mirrax.learning.training import EpisodeRecord


def tensorboard(folder: Path | str) -> Callable[[EpisodeRecord], None]:
    """What `learning.train` takes as `progress` to write its records as events of TensorBoard.

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

    def write(record: EpisodeRecord) -> None:
        for name, value in record._asdict().items():
            if name != "number" and math.isfinite(value):
                writer.add_scalar(name, float(value), record.number)
        writer.flush()

    return write
