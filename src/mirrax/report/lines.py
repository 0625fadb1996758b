"""Paths of plans as coloured lines of a scene."""

from typing import Any

import numpy as np
from jaxtyping import Float

FLOOR, PLAN = (248, 250, 252), (37, 99, 235)
_OTHERS = (234, 88, 12)


def plan_lines(
    starts: Float[np.ndarray, "N 3"], paths: Float[np.ndarray, "N P 3"], far: float
) -> Float[np.ndarray, "N P 2 3"]:
    """Each path as segments that begin at the body; where it is not finite, or leads too far, it stops."""
    points = np.concatenate([starts[:, None], paths], axis=1)
    for i in range(1, points.shape[1]):
        with np.errstate(invalid="ignore", over="ignore"):
            lost = ~(np.linalg.norm(points[:, i] - starts, axis=-1) <= far)
        points[lost, i] = points[lost, i - 1]
    return np.stack([points[:, :-1], points[:, 1:]], axis=2).astype(np.float32)


def fan_lines(
    starts: Float[np.ndarray, "T 3"], fans: Float[np.ndarray, "T F Q 3"], far: float
) -> Float[np.ndarray, "T F Q 2 3"]:
    """All paths of a fan as segments."""
    steps, number = fans.shape[:2]
    lines = plan_lines(np.repeat(starts, number, axis=0), fans.reshape(steps * number, *fans.shape[2:]), far)
    return rounded(lines).astype(np.float32).reshape(steps, number, *lines.shape[1:])


def fading(num_segments: int, colour: tuple[int, int, int], weight: Any = 1.0) -> np.ndarray:
    """Colours of paths, [..., P, 2, 3]: the farther ahead, and the less weight, the closer to the floor's."""
    seen = np.asarray(weight, float)[..., None, None] * np.linspace(0.9, 0.2, num_segments + 1)[:, None]
    colours = seen * colour + (1 - seen) * FLOOR
    # viser takes the colours of lines, and of nothing else, as linear light
    colours = (255 * (colours / 255) ** 2.2).astype(np.uint8)
    return np.stack([colours[..., :-1, :], colours[..., 1:, :]], axis=-2)


def fan_colours(weights: Float[np.ndarray, " F"], num_segments: int) -> np.ndarray:
    """Colours of the paths of a fan, [F · Q, 2, 3]; even the lightest can just be seen."""
    shares = np.nan_to_num(np.clip(weights, 0.0, 1.0))
    return fading(num_segments, _OTHERS, 0.15 + 0.85 * shares).reshape(-1, 2, 3)


def rounded(values: np.ndarray) -> np.ndarray:
    """Round to 1/8192 (0.1 mm): the zero bits that it leaves are what compression lives on."""
    return np.round(values * 8192.0) / 8192.0
