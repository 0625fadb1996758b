"""What has happened in a run that is under way, kept step by step: whatever ends it, its steps stay."""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from mirrax.results.checkpoint import sealed, unsealed
from mirrax.results.files import remove_folder, write_whole

FOLDER, RESULT = "unfinished", "result.json"
_HEADER, _STEPS, _PLANS = "run.json", "steps.bin", "plans.bin"
_PATIENCE = 10.0  # s, after which what was written is put onto the disk, which takes its time
_CHECKPOINTS = ("checkpoint-0.bin", "checkpoint-1.bin")


class Journal:
    """The files of a run under way, in a folder of their own beside the results.

    `run.json` says what runs, and of which fields a step consists (`step`, a NumPy `descr`) and a plan (`plan`).
    `steps.bin` has one record of that type per step, appended as steps happen: `numpy.fromfile(path, dtype)` reads
    it. `plans.bin` likewise has the plans that are kept. What the run goes on from, number of steps and the arrays
    of state and belief, is in `checkpoint-0.bin` and `-1.bin`, written in turn so that one is always whole. A process
    that is killed at any moment loses at most the step under way; a record that it left incomplete is dropped.

    Attributes:
        folder: of the files.
        header: what `run.json` holds.
        num_steps: how many steps are kept.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder, self.header = folder, header
        self._types = {_STEPS: _dtype(header["step"]), _PLANS: _dtype(header["plan"])}
        self._files: dict[str, BinaryIO] = {}
        self._synchronized = time.monotonic()
        self.num_steps = self._count(_STEPS)

    @classmethod
    def create(
        cls, out: Path, header: Mapping[str, Any], step: Mapping[str, Any], plan: Mapping[str, Any]
    ) -> "Journal":
        """Begin, in a folder without an unfinished run (`make_room`).

        Args:
            out: the folder of the results, which exists.
            header: what runs; JSON.
            step: the fields of a step, with values like those to come.
            plan: the fields of a plan that is kept, likewise.

        Raises:
            OSError: if it cannot be written.
        """
        folder = out / FOLDER
        folder.mkdir()
        whole = dict(header) | {"step": _fields(step), "plan": _fields({"step": np.int64(0)} | dict(plan))}
        journal = cls(folder, whole)
        journal.write_header()
        return journal

    @classmethod
    def open(cls, out: Path) -> "Journal":
        """Find what a run has left unfinished.

        Args:
            out: the folder of its results.

        Raises:
            FileNotFoundError: if there is nothing unfinished.
            ValueError: if what is there cannot be read.
        """
        folder = out / FOLDER
        try:
            return cls(folder, json.loads((folder / _HEADER).read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / _HEADER} must be what a run has written, got something else") from error

    def write_header(self) -> None:
        """Write what is known about the run."""
        write_whole({self.folder / _HEADER: json.dumps(self.header, indent=2) + "\n"})

    def append(self, step: Mapping[str, Any], plan: Mapping[str, Any] | None = None) -> None:
        """Keep a step.

        Args:
            step: its fields, as `create` was given them.
            plan: the plan that was made in it; None for one that is not kept.

        Raises:
            OSError: if it cannot be written; the steps before are there.
        """
        if plan is not None:
            self._write(_PLANS, {"step": self.num_steps} | dict(plan))
        self._write(_STEPS, step)
        self.num_steps += 1

    def save(self, tree: Any) -> None:
        """Keep what the run goes on from after the steps so far.

        Args:
            tree: of arrays and keys: state and belief.

        Raises:
            OSError: if it cannot be written; the one before is there.
        """
        name = _CHECKPOINTS[self.num_steps % 2]
        self._file(name).seek(0)  # files that stay open: to make one takes longer than many a planner
        self._put(name, sealed(self.num_steps, tree))
        if time.monotonic() - self._synchronized > _PATIENCE:
            for file in self._files.values():
                os.fsync(file.fileno())
            self._synchronized = time.monotonic()

    def restore(self, like: Any) -> Any:
        """What the run goes on from; steps that were kept after it are dropped, to be done once more.

        Args:
            like: what the run started from, a tree of the same structure.

        Returns:
            The tree that was saved last; `like` if none was.

        Raises:
            ValueError: if the trees differ, or there are steps and nothing to go on from.
        """
        last, num_steps, kept = like, 0, self._count(_STEPS)
        for name in _CHECKPOINTS:
            with contextlib.suppress(FileNotFoundError):
                found = unsealed((self.folder / name).read_bytes(), like)
                if found is not None and num_steps < found[0] <= kept:  # a loss of power may take steps
                    num_steps, last = found
        if num_steps == 0 and kept > 1:
            raise ValueError(
                f"the checkpoints of {str(self.folder)!r} must be whole to go on from, got none that is; its {kept} "
                "steps can be read by `results.load`"
            )
        self._drop(_STEPS, num_steps)
        self._drop(_PLANS, int((self.plans()["step"] < num_steps).sum()))
        self.num_steps = num_steps
        return last

    def steps(self) -> np.ndarray:
        """The steps so far, a structured array [T]."""
        return self._read(_STEPS)

    def plans(self) -> np.ndarray:
        """The plans that were kept, a structured array; `step` says when each was made."""
        return self._read(_PLANS)

    def check(self) -> None:
        """Raise an `OSError` if steps are not where they were written to: somebody has removed the files."""
        if self._count(_STEPS) != self.num_steps:
            raise OSError(f"{self.folder / _STEPS} has {self._count(_STEPS)} of {self.num_steps} steps")

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.popitem()[1].close()

    def remove(self) -> None:
        """Remove the files: the run is finished, and its results are whole."""
        self.close()
        remove_folder(self.folder, first=_HEADER)

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        dtype = self._types[name]
        record = np.zeros((), dtype)
        for field in dtype.names or ():
            record[field] = values[field]
        self._file(name).seek(0, os.SEEK_END)
        self._put(name, record.tobytes())

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            path = self.folder / name
            path.touch()
            self._files[name] = path.open("r+b", buffering=0)  # what is written is there at once
        return self._files[name]

    def _put(self, name: str, data: bytes) -> None:
        while data:  # of what is too much for the disk a part is written first
            data = data[self._file(name).write(data) :]

    def _drop(self, name: str, num: int) -> None:
        """Keep the first records of a file only."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.folder / name, num * self._types[name].itemsize)

    def _count(self, name: str) -> int:
        """How many whole records a file has."""
        path = self.folder / name
        return path.stat().st_size // self._types[name].itemsize if path.exists() else 0

    def _read(self, name: str) -> np.ndarray:
        num, dtype = self._count(name), self._types[name]
        return np.fromfile(self.folder / name, dtype, count=num) if num else np.zeros(0, dtype)


def is_unfinished(out: Path) -> bool:
    """Whether a folder has a run that can go on."""
    return (out / FOLDER / _HEADER).exists()


def make_room(out: Path) -> Path | None:
    """Let a new run begin in a folder where another one was left unfinished.

    Args:
        out: the folder of the results, which exists and is claimed.

    Returns:
        The folder within it to which the other was moved, to be read and gone on from there; None if it has no steps
        or was done.
    """
    folder = out / FOLDER
    if not folder.exists():
        return None
    try:
        left = Journal.open(out)
        steps = left.steps()
        done = bool(steps["ended"].any()) or len(steps) >= left.header["num_steps"]
        worth = len(steps) > 0 and not (done and _has_results(out, left.header["run"]))
    except (OSError, ValueError, KeyError):  # killed before there was a step, or what is there cannot be read
        worth = (folder / _STEPS).exists()
    if not worth:
        remove_folder(folder, first=_HEADER)
        return None
    free = next(path for n in itertools.count(1) if not (path := out / f"{FOLDER}-{n}").exists())
    free.mkdir()
    folder.rename(free / FOLDER)
    return free


def _has_results(out: Path, run: str) -> bool:
    """Whether the results in a folder are those of a run."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((out / RESULT).read_text(encoding="utf-8")).get("run") == run
    return False


def _fields(values: Mapping[str, Any]) -> Any:
    """The type of a record, as JSON."""
    return npy.dtype_to_descr(np.dtype([(name, *_shape(value)) for name, value in values.items()]))


def _shape(value: Any) -> tuple[Any, tuple[int, ...]]:
    array = np.asarray(value)
    return array.dtype.newbyteorder("<"), array.shape


def _dtype(fields: Any) -> np.dtype:
    return npy.descr_to_dtype([(name, kind, *map(tuple, shape)) for name, kind, *shape in fields])
