"""A run on one page: the motion in 3-D, the plans it followed, its traces. The file needs no network."""

import html
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mirrax.dynamics.base import Model, duration
from mirrax.dynamics.figures import Figure
from mirrax.dynamics.figures import figure as figure_of
from mirrax.planners import Episode
from mirrax.report.scene import record
from mirrax.report.traces import draw_traces
from mirrax.results.files import write_whole

# Nothing may be fetched: not by this page, nor by the player in its frame, which inherits the rule.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'unsafe-inline' 'unsafe-eval' data: blob:",
        "style-src 'unsafe-inline' data:",
        "img-src data: blob:",
        "font-src data:",
        "connect-src data: blob:",
        "worker-src data: blob:",
    ]
)

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f5f8; color: #1f2937;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 40px; }
h1 { font-size: 1.5rem; line-height: 1.25; letter-spacing: -0.01em; margin: 0 0 16px;
  overflow-wrap: anywhere; }
h2 { font-size: 0.95rem; margin: 0; }
.card { background: #fff; border-radius: 12px;
  box-shadow: 0 1px 2px rgb(15 23 42 / 8%), 0 4px 16px rgb(15 23 42 / 5%); }
.scene { overflow: hidden; margin-bottom: 16px; }
.scene iframe { display: block; width: 100%; height: min(600px, 64vh); min-height: 380px; border: 0; }
.summary { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px 20px;
  padding: 16px 20px; margin: 0 0 16px; }
.summary dt { color: #6b7280; font-size: 0.78rem; }
.summary dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.summary .long { grid-column: span 2; }
.traces { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 16px; }
.traces .card { padding: 14px 16px 8px; }
.traces .wide { grid-column: 1 / -1; }
.traces header { display: flex; flex-wrap: wrap; gap: 0 10px; align-items: baseline;
  justify-content: space-between; }
.traces p, .empty, footer { color: #6b7280; font-size: 0.8rem; margin: 0; }
.traces svg { display: block; width: 100%; height: auto; }
.traces svg text { font-family: inherit !important; }
.traces svg.narrow { display: none; }
.empty { padding: 24px 20px; margin-bottom: 16px; font-size: 0.95rem; }
footer { margin-top: 20px; text-align: right; }
@media (max-width: 600px) { main { padding: 16px 10px 28px; }
  .scene iframe { height: 62vw; min-height: 320px; }
  .summary { grid-template-columns: repeat(2, 1fr); } }
.traces .card:not(.wide) svg.narrow { display: block; } .traces .card:not(.wide) svg.wide { display: none; }
@media (max-width: 760px) { .traces svg.narrow { display: block; } .traces svg.wide { display: none; } }
"""


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, str],
    figure: Figure | None,
    poses: Float[np.ndarray, "T B 7"] | None,
    paths: Float[np.ndarray, "T H 3"] | None,
    dt: float | None,
    rewards: Float[np.ndarray, " T"],
    plan_ms: Float[np.ndarray, " T"] | None,
    ess: Float[np.ndarray, " T"] | None,
    actions: Float[np.ndarray, "T A"],
) -> None:
    """Write one self-contained HTML page about a run.

    Args:
        path: the file to write; its folder must exist.
        title: the heading, plain text.
        summary: of the run, label -> value, plain text.
        figure: the looks of the model; None leaves out the 3-D scene.
        poses: of each body of `figure` after each step, [T, B, 7]: position (m), quaternion (w, x, y, z).
        paths: of the tracked body under each step's plan, [T, H, 3], m; None draws none.
        dt: duration of a step, s; None where steps have none: they are counted then, and one lasts a second in 3-D.
        rewards: per step, [T].
        plan_ms: planning time per step, [T], ms; None leaves out its trace.
        ess: effective sample size per step, [T], plans; None leaves it out.
        actions: executed, clipped to [-1, 1], the actuators' range, [T, A].

    Raises:
        ValueError: if the arrays disagree about the number of steps, or `dt` is not positive.
    """
    rewards, actions = np.asarray(rewards, float), np.asarray(actions, float)
    plan_ms, ess = (None if series is None else np.asarray(series, float) for series in (plan_ms, ess))
    num_steps, dt = len(rewards), None if dt is None else float(dt)
    if dt is not None and not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt}")
    series = {"plan_ms": plan_ms, "ess": ess, "actions": actions, "poses": poses, "paths": paths}
    for name, value in series.items():
        if value is not None and len(value) != num_steps:
            raise ValueError(f"{name} must have one row per step ({num_steps}), got {len(value)}")

    scene = None
    if figure is not None and poses is not None and num_steps > 0:
        plans = None if paths is None else np.asarray(paths, float)
        scene = record(figure, np.asarray(poses, float), plans, 1.0 if dt is None else dt)
    traces = draw_traces(dt, rewards=rewards, plan_ms=plan_ms, ess=ess, actions=actions) if num_steps > 0 else []
    write_whole({Path(path): _page(title, summary, scene, traces)})


def report_episode(
    path: str | os.PathLike[str],
    model: Model,
    episode: Episode,
    *,
    title: str = "Episode",
    summary: Mapping[str, str] | None = None,
    dt: float | None = None,
) -> None:
    """Write one self-contained HTML page about an episode of `planners.episode`, up to its end.

    Args:
        path: the file to write; its folder must exist.
        model: whose states the episode's are. It decides what they look like: a Brax environment like its robot; of
            another model of one's own the page has the traces only.
        episode: one episode; of a batch choose one first.
        title: the heading, plain text.
        summary: of the run, label -> value, plain text; the return unless given.
        dt: duration of a step, s; the model's own unless given.

    Raises:
        ValueError: if `episode` is a batch of episodes, or `dt` is not positive.
    """
    if episode.rewards.ndim != 1:
        raise ValueError(
            f"episode must be one episode, with rewards [T], got rewards of shape {episode.rewards.shape}"
        )
    ended = np.asarray(episode.discounts) == 0
    num_steps = int(ended.argmax()) + 1 if ended.any() else len(ended)
    looks = figure_of(model)
    poses = None
    if looks is not None:  # states are those before each step
        states = jax.tree.map(
            lambda before, last: jnp.concatenate([before[1:], last[None]])[:num_steps],
            episode.states,
            episode.final_state,
        )
        poses = np.asarray(jax.jit(jax.vmap(looks.poses))(states))
    rewards = np.asarray(episode.rewards)[:num_steps]
    ess = episode.infos.ess
    write_report(
        path,
        title=title,
        summary={"Return": f"{rewards.sum():.1f} in {num_steps} steps"} if summary is None else summary,
        figure=looks,
        poses=poses,
        paths=None,
        dt=known_duration(model) if dt is None else dt,
        rewards=rewards,
        plan_ms=None,
        ess=None if ess is None else np.asarray(ess)[:num_steps, -1],
        actions=as_taken(np.asarray(episode.actions)[:num_steps]),
    )


def as_taken(actions: np.ndarray) -> np.ndarray:
    """Actions as the actuators take them.

    Args:
        actions: on the scale of plans, [T, A]; discrete ones [T].

    Returns:
        [T, A], clipped to [-1, 1]; discrete ones as a column [T, 1].
    """
    return actions[:, None] if actions.ndim == 1 else np.clip(actions, -1.0, 1.0)


def known_duration(model: Model) -> float | None:
    """The duration of a step of the model, s; None if it is not known."""
    try:
        return float(duration(model))
    except (ValueError, TypeError):  # none, or one for each of a batch of models
        return None


def _page(title: str, summary: Mapping[str, str], scene: str | None, traces: list[tuple[str, str, str]]) -> str:
    def kind(value: str) -> str:
        return " class=long" if len(value) > 40 else ""

    rows = "".join(
        f"<div{kind(str(value))}><dt>{html.escape(str(label))}</dt><dd>{html.escape(str(value))}</dd></div>"
        for label, value in summary.items()
    )
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if scene is not None:
        player = f'<iframe title="3-D playback" srcdoc="{html.escape(scene, quote=True)}"></iframe>'
        parts.append(f'<div class="card scene">{player}</div>')
    if rows:
        parts.append(f'<dl class="card summary">{rows}</dl>')
    if traces:
        cards = "".join(
            f'<section class="card{" wide" if i == len(traces) - 1 and i % 2 == 0 else ""}"><header>'
            f"<h2>{html.escape(heading)}</h2><p>{html.escape(remark)}</p></header>{svg}</section>"
            for i, (heading, remark, svg) in enumerate(traces)
        )
        parts.append(f'<div class="traces">{cards}</div>')
    else:
        parts.append('<p class="card empty">The run ended before its first step: nothing to show.</p>')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(parts)}<footer>mirrax</footer></main></body></html>\n"
    )
