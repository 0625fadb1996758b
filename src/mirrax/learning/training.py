"""The loop around a learned model: drive, fit, plan with it, drive again."""

import dataclasses
import inspect
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mirrax.dynamics.base import Model, check_model
from mirrax.dynamics.checks import callback, integer, told, unknown
from mirrax.dynamics.figures import figure
from mirrax.dynamics.learned import LearnedModel, Transitions, learned
from mirrax.dynamics.learned.data import matched
from mirrax.dynamics.learned.fitting import FitProgress, FitReport, fit
from mirrax.dynamics.learned.likelihood import first_params
from mirrax.learning.collecting import Collected, record_episode
from mirrax.learning.horizon_errors import HorizonErrors, horizon_errors
from mirrax.learning.store import ABOUT, Store, opened
from mirrax.planners.checks import check_key

_LEAST = 10  # transitions, of which one is held out
_HORIZON = 20  # steps, over which errors of the model are measured


class EpisodeRecord(NamedTuple):
    """One episode of a training.

    Attributes:
        number: from 0.
        earned: the sum of its rewards.
        num_steps: how many it had.
        ended: whether the environment ended it.
        by_chance: whether its actions were random.
        num_transitions: that the model had been fitted to, 0 by chance.
        epochs: of that fit.
        holdout_loss: of the fit, mean of the networks, nats per number; NaN by chance.
        fit_seconds: that the fit took.
        drive_seconds: that the episode took, planning included.
    """

    number: int
    earned: float
    num_steps: int
    ended: bool
    by_chance: bool
    num_transitions: int
    epochs: int
    holdout_loss: float
    fit_seconds: float
    drive_seconds: float


@dataclasses.dataclass(frozen=True)
class Training:
    """What came of a training.

    Attributes:
        model: fitted to all transitions but those of the last episode; without parameters where none was planned.
        dataset: all transitions.
        records: of the episodes, in their order.
        best: the episode that earned most.
        best_number: its number.
        errors: of the last model along the last episode, one array per step ahead; None where it was too short.
        report: of the last fit; None where there was none in this process.
    """

    model: LearnedModel
    dataset: Transitions
    records: tuple[EpisodeRecord, ...]
    best: Collected
    best_number: int
    errors: HorizonErrors | None
    report: FitReport | None

    @property
    def returns(self) -> np.ndarray:
        """Of the episodes, in their order."""
        return np.array([record.earned for record in self.records])


def train(
    env: Model,
    planner: Any,
    key: PRNGKeyArray,
    *,
    model: LearnedModel | None = None,
    dataset: Transitions | None = None,
    num_episodes: int = 10,
    num_steps: int = 200,
    num_random: int = 1,
    fit_options: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[EpisodeRecord], None] | None = None,
    fitting: Callable[[int, FitProgress], None] | None = None,
) -> Training:
    """Learn a model of an environment while planning with it (PETS: Chua et al., 2018, algorithm 1).

    The first episodes are by chance. Before each of the others the model is fitted to all transitions so far, and a
    planner drives the environment by it. Numbers depend on the key and the number of the episode alone, so that a
    training that goes on is the one that was not ended.

    Args:
        env: the environment.
        planner: that plans with the model.
        key: of everything random.
        model: to fit; None for `dynamics.learned(env)`.
        dataset: what to learn from besides, such as what a robot has done; None for nothing. It is not written to
            `out`: a training that goes on is given it again.
        num_episodes: how many there are in all.
        num_steps: the greatest number of steps of an episode.
        num_random: how many of the episodes are by chance, at least one unless the model has been fitted before or
            there is a dataset.
        fit_options: of `learning.fit`, by name.
        out: the folder to write to, episode by episode; None writes nothing.
        resume: whether to go on with the training in `out`.
        about: what else to say in `train.json`, JSON.
        progress: called after each episode.
        fitting: called after each epoch of a fit, with the number of the episode.

    Returns:
        The training.

    Raises:
        ValueError: for a parameter outside its range, if `env`, `model` and `dataset` do not fit, as `learning.fit`
            and `planners.episode` do, or if what is in `out` is damaged, or of another training.
        OSError: if `out` cannot be written; what was written before stays whole.
    """
    check_model("env", env)
    model = learned(env) if model is None else model
    if not isinstance(model, LearnedModel):
        raise ValueError(f"model must be a learned model (dynamics.learned), got {type(model).__name__}")
    num_episodes, num_steps = integer("num_episodes", num_episodes), integer("num_steps", num_steps)
    num_random = integer("num_random", num_random, 1 if model.params is None and dataset is None else 0)
    dataset = None if dataset is None else matched(model, dataset)
    key = check_key(key)
    if num_random and dataset is None and num_random * num_steps < _LEAST:
        raise ValueError(
            f"num_steps must be such that the episodes by chance have at least {_LEAST} steps to learn from, "
            f"got {num_random} of {num_steps}"
        )
    for name, function in (("progress", progress), ("fitting", fitting)):
        callback(name, function)
    options = _fit_options(fit_options)
    whole = {"key": [int(word) for word in jax.random.key_data(key).ravel()], "num_steps": num_steps}
    whole |= {"num_random": num_random, "fit_options": {name: repr(value) for name, value in options.items()}}
    done: list[EpisodeRecord] = []
    episodes: list[Collected] = []
    whole["num_given"] = 0 if dataset is None else dataset.size
    store = opened(out, resume, about, lambda: whole)
    if store is not None and resume:
        done, episodes, model = _continued(store, model)
    if len(done) > num_episodes:
        raise ValueError(f"num_episodes must be at least the {len(done)} that are done, got {num_episodes}")
    report, looks = None, figure(env)
    for number in range(len(done), num_episodes):
        fit_key, drive_key = jax.random.split(jax.random.fold_in(key, number))
        by_chance = number < num_random
        if store is not None:
            store.tidy(number)
        report, known = None, _dataset(dataset, episodes)
        if not by_chance and known is not None:
            shown = None if fitting is None else _numbered(fitting, number)
            model, report = fit(model, known, fit_key, progress=shown, **options)
        if not by_chance and store is not None:
            store.save_checkpoint(number, (model.params, model.scaling))
        began = time.perf_counter()
        collected = record_episode(env, model, drive_key, num_steps, None if by_chance else planner, looks)
        record = EpisodeRecord(
            number=number,
            earned=float(np.sum(collected.rewards, dtype=float)),
            num_steps=collected.transitions.size,
            ended=bool(collected.transitions.discounts[-1] == 0),
            by_chance=by_chance,
            num_transitions=0 if report is None else report.num_transitions,
            epochs=0 if report is None else len(report.loss),
            holdout_loss=float("nan") if report is None else float(report.holdout_loss.min(0).mean()),
            fit_seconds=0.0 if report is None else report.seconds,
            drive_seconds=time.perf_counter() - began,
        )
        if store is not None:
            store.save_episode(number, collected.transitions, _others(collected))
            store.complete(record._asdict())
        done.append(record)
        episodes.append(collected)
        if progress is not None:
            progress(record)
    best = int(np.argmax([record.earned for record in done]))
    errors, last = None, episodes[-1].transitions
    if model.params is not None and last.size >= _HORIZON:
        errors = horizon_errors(model, last, jax.random.fold_in(key, num_episodes), horizon=_HORIZON)
    everything = _dataset(dataset, episodes)
    assert everything is not None
    return Training(model, everything, tuple(done), episodes[best], best, errors, report)


def _continued(store: Store, model: LearnedModel) -> tuple[list[EpisodeRecord], list[Collected], LearnedModel]:
    """What a training has done so far: records, episodes, the model as it was fitted last."""
    records = [EpisodeRecord(**metrics) for metrics in store.metrics()]
    episodes = []
    for record in records:
        steps, others = store.load_episode(record.number)
        measures = {name.removeprefix("info_"): values for name, values in others.items() if name.startswith("info_")}
        episodes.append(Collected(steps, others["actuators"], others.get("poses"), measures))
    if records and not records[-1].by_chance:
        model = _fitted(store, records[-1].number, model)
    return records, episodes, model


def load_model(path: Path | str, model: Any) -> LearnedModel:
    """Read the networks that a training has fitted last, to plan with them without training on.

    Args:
        path: the folder of the training: `out` of `train`, or that of `mirrax train`.
        model: of the same sizes, fitted or not: what `train` was given, or `dynamics.learned(env)` where it was given
            none (`mirrax train`: with `hidden=(64, 64)`). Functions (a reward, an end, what is observed) are its own.

    Returns:
        The model with these networks.

    Raises:
        ImportError: without the package orbax-checkpoint, which says how to install it.
        ValueError: if there is no training, none of its episodes was planned yet, or the networks are damaged or of
            other sizes.
    """
    if not isinstance(model, LearnedModel):
        raise ValueError(f"model must be a learned model (dynamics.learned), got {type(model).__name__}")
    store = Store(Path(path))
    if not (store.folder / ABOUT).is_file():
        raise ValueError(f"path must be the folder of a training, got {str(path)!r}")
    planned = [metrics["number"] for metrics in store.metrics() if not metrics.get("by_chance", True)]
    if not planned:
        raise ValueError(f"path must be the folder of a training that has planned an episode, got {str(path)!r}")
    return _fitted(store, planned[-1], model)


def _fitted(store: Store, number: int, model: LearnedModel) -> LearnedModel:
    """The model with the networks of an episode."""
    like = jax.eval_shape(lambda: _like(model))
    like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    params, scaling = store.load_checkpoint(number, like)
    return dataclasses.replace(model, params=params, scaling=scaling)


def _like(model: LearnedModel) -> tuple[Any, Any]:
    """Parameters and scaling of the shapes that a fitted model has."""
    return first_params(model, jax.random.key(0)), model.scaling


def _others(collected: Collected) -> dict[str, np.ndarray]:
    """What is kept of an episode beside its transitions."""
    poses = {} if collected.poses is None else {"poses": collected.poses}
    measures = {f"info_{name}": values for name, values in collected.measures.items()}
    return {"actuators": collected.actuators} | poses | measures


def _dataset(given: Transitions | None, episodes: list[Collected]) -> Transitions | None:
    """All transitions so far; None for none."""
    parts = [collected.transitions for collected in episodes]
    parts = parts if given is None else [given, *parts]
    return parts[0].joined(*parts[1:]) if parts else None


def _fit_options(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping | None):
        raise ValueError(f"fit_options must be options of learning.fit by name, a dict, got {told(given)}")
    options, own = dict(given or {}), ("progress", "warm_start")
    if taken := set(own) & options.keys():
        raise ValueError(f"fit_options must leave {' and '.join(sorted(taken))} to train, got {options!r}")
    parameters = inspect.signature(fit).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in own]
    for name in options:
        if name not in known:
            raise unknown("option", name, known, "fit_options")
    return options


def _numbered(fitting: Callable[[int, FitProgress], None], number: int) -> Callable[[FitProgress], None]:
    return lambda progress: fitting(number, progress)
