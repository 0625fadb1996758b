"""The figure of whole episodes: the share still up against time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mirrax.benchmarks.panels import label_outside, panels


def figure(drawn: Mapping[str, Mapping[str, Sequence[dict[str, Any]]]]) -> Any:
    """The share of episodes still up against time, one panel per model.

    Args:
        drawn: model -> planner -> episodes.

    Returns:
        A matplotlib figure.
    """
    from matplotlib import colormaps

    made, axes = panels([*drawn], height=2.6, x_label="time step", y_label="share still up")
    names = list(dict.fromkeys(name for episodes in drawn.values() for name in episodes))
    for axis, of_planners in zip(axes, drawn.values(), strict=True):
        shown = {name: episodes for name, episodes in of_planners.items() if episodes}
        for number, (name, episodes) in enumerate(shown.items()):
            steps, share = curve(episodes)
            beside = 0.012 * (number - (len(shown) - 1) / 2)  # or they would hide each other
            color = colormaps["tab20"](2 * names.index(name) % 20 + names.index(name) // 10 % 2)
            axis.step(steps, share - beside, where="post", color=color, label=name, lw=1.2)
        axis.set_xlim(0, max((episode["of"] for episodes in shown.values() for episode in episodes), default=1))
        axis.set_ylim(-0.08, 1.05)
    label_outside(made)
    return made


def curve(episodes: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The share of episodes that have not ended, against time.

    Args:
        episodes: of one planner, of equal length but for those that ended.

    Returns:
        The steps at which the share changes, from 0 to the last of a whole episode; the share from each of them on.
    """
    lengths = np.array([episode["steps"] for episode in episodes])
    ended = np.array([episode["ended"] for episode in episodes])
    steps = np.unique(np.concatenate([[0], lengths, [episode["of"] for episode in episodes]]))
    return steps, np.array([1.0 - (ended & (lengths <= step)).mean() for step in steps])
