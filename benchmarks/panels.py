"""Figures of benchmarks: a panel per model, and one legend for all."""

from collections.abc import Sequence
from typing import Any

_COLUMNS = 4


def panels(names: Sequence[str], *, height: float, x_label: str, y_label: str) -> tuple[Any, list[Any]]:
    """A figure with a panel for each of these names.

    Args:
        names: the titles of the panels, one at least.
        height: of a panel, inches.
        x_label: of each panel.
        y_label: of the panels on the left.

    Returns:
        A matplotlib figure, and its panels.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, height * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(x_label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis in axes[::columns]:
        axis.set_ylabel(y_label, fontsize=8)
    return figure, list(axes[: len(names)])


def label_outside(figure: Any) -> None:
    """Write one legend below all panels: every label once."""
    labelled: dict[str, Any] = {}
    for axis in figure.axes:
        labelled |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    if labelled:
        columns = max(1, 3 * min(_COLUMNS, len(figure.axes)) // 2)
        figure.legend(
            [*labelled.values()], [*labelled], loc="outside lower center", ncols=columns, fontsize=8, frameon=False
        )
