"""A page about a training: how returns grew, how far the model can be trusted, and the best episode in motion."""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mirrax.dynamics.base import Model
from mirrax.dynamics.figures import figure
from mirrax.learning.horizon_errors import HorizonErrors
from mirrax.learning.training import Training
from mirrax.report.charts import Chart, Line
from mirrax.report.page import charted, drawing, facts, heading, player, write_page
from mirrax.report.run_report import known_duration
from mirrax.report.scene import Motion, record

_MOST_PANELS = 8  # of errors, one per coordinate


def write_training_report(
    path: str | os.PathLike[str],
    env: Model,
    training: Training,
    *,
    title: str = "Training",
    summary: Mapping[str, str] | None = None,
) -> None:
    """Write one self-contained HTML page about a training.

    Args:
        path: the file to write; its folder must exist.
        env: the environment.
        training: what `learning.train` returned.
        title: the heading, plain text.
        summary: label -> value, plain text; more than the page says by itself.

    Raises:
        OSError: if it cannot be written.
    """
    records, best = training.records, training.best
    told = {
        "Episodes": f"{len(records)}, {sum(record.by_chance for record in records)} of them by chance",
        "Transitions": f"{training.dataset.size}",
        "Best return": f"{records[training.best_number].earned:.1f} in episode {training.best_number}",
        "Last return": f"{records[-1].earned:.1f} in {records[-1].num_steps} steps",
        **(summary or {}),
    }
    looks = figure(env)
    scene = []
    if looks is not None and best.poses is not None:
        scene = [
            heading("The best episode", f"Episode {training.best_number}, {best.transitions.size} steps."),
            player(record(Motion(looks, best.poses), known_duration(env) or 1.0)),
        ]
    numbers = np.array([record.number for record in records], float)
    charts = [
        _chart("Return", "Of each episode; the first are by chance.", "return", training.returns),
        _chart("Steps", "Of each episode.", "steps", [record.num_steps for record in records], small=True),
        _chart(
            "Loss on transitions held out",
            "Negative log-likelihood per number, mean of the networks: the lower, the better the model.",
            "nats",
            [record.holdout_loss for record in records],
            small=True,
        ),
        _chart(
            "Epochs", "Of the fit before the episode.", "epochs", [r.epochs for r in records], floor=0.0, small=True
        ),
        _chart("Fit", "Seconds.", "s", [record.fit_seconds for record in records], floor=0.0, small=True),
        _chart(
            "Episode", "Seconds, planning included.", "s", [r.drive_seconds for r in records], floor=0.0, small=True
        ),
    ]
    sections = [("How returns grew", "", charts[:1]), ("What it took", "", charts[1:])]
    made, library = charted(sections, numbers, float(max(len(records) - 1, 1)), "episode")
    errors = [] if training.errors is None else _errors(training.errors, _names(training))
    write_page(path, title, [*scene, facts(told), *made, *errors], library=library)


def _chart(title: str, remark: str, unit: str, values: Any, **more: Any) -> Chart:
    return Chart(title, remark, unit, {"": [Line("", np.asarray(values, float))]}, **more)


def _names(training: Training) -> list[str]:
    """What the numbers of an observation are called."""
    size = training.model.observation_size
    known = training.model.coordinate_names
    return list(known) if known is not None else [f"[{i}]" for i in range(size)]


def _errors(errors: HorizonErrors, names: list[str]) -> list[str]:
    """A section on how far the model goes astray."""
    from matplotlib.figure import Figure

    order = np.argsort(-errors.error[-1] / np.maximum(errors.error[0], 1e-12), kind="stable")
    chosen = np.sort(order[:_MOST_PANELS])
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    picture = Figure(figsize=(3.2 * columns, 2.2 * rows + 0.3), layout="constrained")
    axes = picture.subplots(rows, columns, squeeze=False).ravel()
    ahead = np.arange(1, len(errors.error) + 1)
    for axis, place in zip(axes, chosen, strict=False):
        axis.plot(ahead, errors.error[:, place], color="#bd1f01", label="error")
        axis.plot(ahead, errors.spread[:, place], color="#3f90da", label="what the model expects")
        axis.set_title(names[place], fontsize=9)
        axis.set_xlabel("steps ahead", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        axis.set_ylim(bottom=0.0)
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    picture.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    buffer = io.StringIO()
    picture.savefig(buffer, format="svg")
    remark = "Predictions from states of the last episode on, beside what happened: root mean squares."
    return [heading("How far the model can be trusted", remark), drawing(buffer.getvalue())]
