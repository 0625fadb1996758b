"""A run, read back: what it was, and its arrays."""

import contextlib
import dataclasses
import io
import json
import math
import os
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from mirrax.results.files import write_whole
from mirrax.results.journal import RESULT, Journal
from mirrax.results.numbers import running_total

ARRAYS = "arrays.npz"
SCHEMA = 3
# Of the fields of a step; all others are numbers of the planner's.
_OF_STEPS = (
    *("reward", "terms", "ended", "reasons", "plan_ms", "action", "actuators", "coordinates"),
    *("pose", "path", "fan", "fan_weights"),
)
_IN_JSON = ("rewards", "plan_ms", "diagnostics")  # what arrays have, too


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """What happened in a run of T steps.

    Attributes:
        about: what ran: `model`, `planner`, `settings`, `seed`, `versions`, `device`, ...; `result.json` without what
            the other attributes hold. Of a run that is not finished what is known when it starts.
        rewards: of each step, [T].
        ended: whether the episode ended with the step, [T]; true of the last one at most.
        actions: as the planner gave them, on the scale of plans, which the model clips to [-1, 1], [T, A]; of
            discrete ones [T].
        actuators: the same in the units of the actuators (`dynamics.to_actuators`), within their range, [T, U].
        states: by their coordinates (`dynamics.coordinates`), before the first step and after each, [T + 1, n].
        plan_ms: the time that planning took, [T], ms.
        diagnostics: the numbers of the planner's info, of the last iteration of each step, by name, each [T].
        plans: those that were kept, [P, H, A]; of discrete actions [P, H].
        plan_steps: in which steps these were made, [P].
        poses: of the bodies of the model's figure before the first step and after each, position (m) and quaternion
            (w, x, y, z), [T + 1, B, 7]; None for a model without looks.
        paths: of the tracked body under the plan of each step, [T, Q, 3], m, thinned out to 64 points; None likewise.
        fans: of the tracked body under other plans, the modes of a mixture and the weightiest samples, [T, F, R, 3],
            m, thinned out to 16 points; None where there are none.
        fan_weights: of these plans, the greatest of either kind 1, [T, F].
        reasons: whether each of the reasons to end was given in a step, [T, M], in words by `about["end_reasons"]`;
            None for a model that does not tell.
        terms: of the rewards, [T, N], named by `about["term_names"]`; None for a model that does not tell them apart.
    """

    about: dict[str, Any]
    rewards: Float[np.ndarray, " T"]
    ended: Bool[np.ndarray, " T"]
    actions: Num[np.ndarray, "T *A"]
    actuators: Float[np.ndarray, "T U"]
    states: Float[np.ndarray, "T1 n"]
    plan_ms: Float[np.ndarray, " T"]
    diagnostics: dict[str, Float[np.ndarray, " T"]]
    plans: Num[np.ndarray, "P H *A"]
    plan_steps: Int[np.ndarray, " P"]
    poses: Float[np.ndarray, "T1 B 7"] | None = None
    paths: Float[np.ndarray, "T Q 3"] | None = None
    fans: Float[np.ndarray, "T F R 3"] | None = None
    fan_weights: Float[np.ndarray, "T F"] | None = None
    terms: Float[np.ndarray, "T N"] | None = None
    reasons: Bool[np.ndarray, "T M"] | None = None

    @property
    def num_steps(self) -> int:
        """The number T of steps."""
        return len(self.rewards)

    @property
    def times(self) -> Float[np.ndarray, " T1"]:
        """When the states were, [T + 1], s from the start; counted in steps where these have no duration."""
        dt = self.about.get("dt")
        return np.arange(self.num_steps + 1) * (1.0 if dt is None else dt)

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """The names of the actuators, with their unit where it is known; numbers for those without."""
        return tuple(self.about.get("actuator_names") or map(str, range(self.actuators.shape[1])))

    @property
    def actuator_limits(self) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, " U"]] | None:
        """The least and the greatest that actuators do, in their units, [U] each; None where they have no range."""
        limits = self.about.get("actuator_limits")
        return None if limits is None else (np.asarray(limits[0], float), np.asarray(limits[1], float))

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the coordinates of states, with their unit where it is known."""
        return tuple(self.about.get("coordinate_names") or map(str, range(self.states.shape[1])))

    @property
    def end_reason(self) -> str | None:
        """Why the episode ended, in words; None where it did not, or its model does not tell."""
        if self.reasons is None or not self.ended.any():
            return None
        given = self.reasons[int(self.ended.argmax())]
        return ", ".join(name for name, was in zip(self.about["end_reasons"], given, strict=True) if was) or None

    @property
    def reward_terms(self) -> dict[str, Float[np.ndarray, " T"]]:
        """The terms of the rewards by name, each [T]; none for a model that does not tell them apart."""
        return {} if self.terms is None else dict(zip(self.about["term_names"], self.terms.T, strict=True))

    def table(self) -> dict[str, np.ndarray]:
        """The steps as columns: `pandas.DataFrame(results.table())`, or any other table.

        Returns:
            Name -> [T]: `step`, `time` when it began (s, or steps), `reward`, `return` so far, `ended`, `plan_ms`,
            the planner's numbers by name, `reward: NAME` for each term, `action_0`, ... on the scale of plans,
            `actuator: NAME` in their units, and `state: NAME` after the step.
        """
        actions = self.actions.reshape(self.num_steps, -1)
        return (
            {
                "step": np.arange(self.num_steps),
                "time": self.times[:-1],
                "reward": self.rewards,
                "return": running_total(self.rewards),
                "ended": self.ended,
                "plan_ms": self.plan_ms,
            }
            | self.diagnostics
            | {f"reward: {name}": column for name, column in self.reward_terms.items()}
            | {f"action_{i}": column for i, column in enumerate(actions.T)}
            | {
                f"actuator: {name}": column
                for name, column in zip(self.actuator_names, self.actuators.T, strict=True)
            }
            | {f"state: {name}": column for name, column in zip(self.state_names, self.states[1:].T, strict=True)}
        )


def load(path: str | os.PathLike[str], *, unfinished: bool = False) -> Results:
    """Read the results of a run.

    Args:
        path: the folder that it wrote to, or the `result.json` in it.
        unfinished: whether to read what is kept of a run that is under way, or was ended from outside, even where
            there are results of another one. Where there are none it is read anyway.

    Returns:
        Its results.

    Raises:
        ValueError: if there are none, or none that are whole, or none of this version.
    """
    folder = Path(path)
    if folder.name == RESULT and not folder.is_dir():
        folder = folder.parent
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"path must be a folder with results of a run, got {str(path)!r}, which is a file")
    if unfinished or not (folder / RESULT).exists():
        try:
            return from_journal(Journal.open(folder))
        except FileNotFoundError as error:
            kind = "an unfinished run" if unfinished else "results of a run"
            raise ValueError(f"path must be a folder with {kind}, got {str(path)!r}") from error
    try:
        about = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:  # no JSON, no text, no file
        raise ValueError(f"{folder / RESULT} must be what a run has written, got something else ({error})") from error
    if not isinstance(about, dict):
        raise ValueError(f"{folder / RESULT} must be what a run has written, got a {type(about).__name__}")
    if about.get("schema") != SCHEMA:
        raise ValueError(
            f"{folder / RESULT} must be of schema {SCHEMA}, got {about.get('schema', 1)}: run it once more"
        )
    missing = [name for name in ("saved", *_IN_JSON) if name not in about]
    if missing or not isinstance(about["diagnostics"], dict):
        lacks = ", ".join(missing) or "numbers in diagnostics"
        raise ValueError(f"{folder / RESULT} must be what a run has written, got something without {lacks}")
    arrays = {}
    try:
        with contextlib.suppress(FileNotFoundError), np.load(folder / ARRAYS) as file:
            arrays = dict(file)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
        raise ValueError(f"{folder / ARRAYS} must be whole, got a part of it ({error})") from error
    if str(arrays.pop("saved", None)) != about["saved"]:  # killed between the two
        try:
            return from_journal(Journal.open(folder))
        except FileNotFoundError as error:
            raise ValueError(f"{folder / ARRAYS} must be of the run of {RESULT}, got that of another") from error
    names = about["diagnostics"]
    for name in ("saved", *_IN_JSON):
        about.pop(name)
    try:
        return Results(about, diagnostics={name: arrays.pop(name) for name in names}, **arrays)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / ARRAYS} must have the arrays of a run, got others ({error})") from error


def from_journal(journal: Journal) -> Results:
    """The results so far of a run under way.

    Args:
        journal: of the run.

    Returns:
        Its results; what is known when a run starts is what they are about.
    """
    steps, plans = journal.steps(), journal.plans()
    plans = plans[plans["step"] < len(steps)]  # a plan is written before its step
    names = steps.dtype.names or ()
    start = {name: np.asarray(value, steps.dtype[name].base) for name, value in journal.header["start"].items()}

    def with_start(name: str) -> Any:
        return np.concatenate([start[name].reshape(1, *steps[name].shape[1:]), steps[name]])

    return Results(
        about={name: value for name, value in journal.header.items() if name not in ("start", "step", "plan")},
        rewards=steps["reward"],
        ended=steps["ended"],
        actions=steps["action"],
        actuators=steps["actuators"],
        states=with_start("coordinates"),
        plan_ms=steps["plan_ms"],
        diagnostics={name: steps[name] for name in names if name not in _OF_STEPS},
        plans=plans["plan"],
        plan_steps=plans["step"],
        poses=with_start("pose") if "pose" in names else None,
        paths=steps["path"] if "path" in names else None,
        fans=steps["fan"] if "fan" in names else None,
        fan_weights=steps["fan_weights"] if "fan" in names else None,
        reasons=steps["reasons"] if "reasons" in names else None,
        terms=steps["terms"] if "terms" in names else None,
    )


def save(path: Path, results: Results, **more: Any) -> None:
    """Write the results of a run; those of another one stay until these are whole.

    Args:
        path: the folder, which exists.
        results: of the run.
        **more: what is known about it at its end.

    Raises:
        OSError: if they cannot be written; those before are untouched then.
    """
    about = {"schema": SCHEMA} | results.about | more | {"saved": uuid.uuid4().hex}  # which arrays belong to it
    numbers = {"rewards": results.rewards.tolist(), "plan_ms": results.plan_ms.tolist()}
    diagnostics = {name: values.tolist() for name, values in results.diagnostics.items()}
    known = {field.name: getattr(results, field.name) for field in dataclasses.fields(results)}
    del known["about"], known["diagnostics"]
    arrays = {name: values for name, values in known.items() if values is not None} | results.diagnostics
    packed = io.BytesIO()
    np.savez_compressed(packed, saved=np.array(about["saved"]), **arrays)
    text = json.dumps(plain(about | numbers | {"diagnostics": diagnostics}), indent=2) + "\n"
    write_whole({path / ARRAYS: packed.getvalue(), path / RESULT: text})


def plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null stands for them."""
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
