"""What has happened in a run that is under way, kept step by step: whatever ends it, its steps stay."""

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from mirrax.results.checkpoint import sealed, unsealed
from mirrax.results.files import claim, write_whole

FOLDER, RESULT = "unfinished", "result.json"
_HEADER, _STEPS, _PLANS = "run.json", "steps.bin", "plans.bin"
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

    def __init__(self, folder: Path, header: dict[str, Any], lock: BinaryIO | None) -> None:
        self.folder, self.header = folder, header
        self._types = {_STEPS: _dtype(header["step"]), _PLANS: _dtype(header["plan"])}
        self._files: dict[str, BinaryIO] = {}
        self._lock = lock
        self.num_steps = len(self.steps())

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
        lock = claim(folder)
        whole = dict(header) | {"step": _fields(step), "plan": _fields({"step": np.int64(0)} | dict(plan))}
        journal = cls(folder, whole, lock)
        journal.write_header()
        return journal

    @classmethod
    def open(cls, out: Path, *, exclusive: bool = False) -> "Journal":
        """Find what a run has left unfinished.

        Args:
            out: the folder of its results.
            exclusive: whether it shall go on here, rather than be read.

        Raises:
            FileNotFoundError: if there is nothing unfinished.
            ValueError: if another process is at it, and it shall go on here.
        """
        folder = out / FOLDER
        header = json.loads((folder / _HEADER).read_text(encoding="utf-8"))
        return cls(folder, header, claim(folder) if exclusive else None)

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

    def restore(self, like: Any) -> Any:
        """What the run goes on from; steps that were kept after it are dropped, to be done once more.

        Args:
            like: what the run started from, a tree of the same structure.

        Returns:
            The tree that was saved last; `like` if none was.

        Raises:
            ValueError: if the trees differ.
        """
        last, num_steps = like, 0
        for name in _CHECKPOINTS:
            with contextlib.suppress(FileNotFoundError):
                found = unsealed((self.folder / name).read_bytes(), like)
                if found is not None and num_steps < found[0] <= self.num_steps:  # a loss of power may take steps
                    num_steps, last = found
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

    def close(self) -> None:
        """Close the files, and let another process go on."""
        while self._files:
            self._files.popitem()[1].close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Remove the files: the run is finished, and its results are whole."""
        self.close()
        shutil.rmtree(self.folder)

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

    def _read(self, name: str) -> np.ndarray:
        path, dtype = self.folder / name, self._types[name]
        if not path.exists():
            return np.zeros(0, dtype)
        return np.fromfile(path, dtype, count=path.stat().st_size // dtype.itemsize)


def is_unfinished(out: Path) -> bool:
    """Whether a folder has a run that can go on."""
    return (out / FOLDER / _HEADER).exists()


def make_room(out: Path) -> Path | None:
    """Let a new run begin in a folder: what another one has left unfinished goes, unless the results lack it.

    Args:
        out: the folder of the results, which exists.

    Returns:
        The folder to which steps that are in no results were moved, to be read and gone on from there; None if there
        were none.

    Raises:
        ValueError: if another process is at it.
    """
    folder = out / FOLDER
    if not folder.exists():
        return None
    lock = claim(folder)
    try:
        if not _lacking(out):
            shutil.rmtree(folder)
            return None
        free = next(path for n in itertools.count(1) if not (path := out.with_name(f"{out.name}-{n}")).exists())
        free.mkdir()
        folder.rename(free / FOLDER)
        return free
    finally:
        if lock is not None:
            lock.close()


def _lacking(out: Path) -> bool:
    """Whether a folder has steps of an unfinished run that its results lack."""
    try:
        left = Journal.open(out)
    except (FileNotFoundError, ValueError):  # killed before there was a step
        return False
    try:
        known = json.loads((out / RESULT).read_text(encoding="utf-8"))
        return known.get("run") != left.header["run"] or len(known["rewards"]) < left.num_steps
    except (FileNotFoundError, ValueError, KeyError):
        return left.num_steps > 0


def _fields(values: Mapping[str, Any]) -> Any:
    """The type of a record, as JSON."""
    return npy.dtype_to_descr(np.dtype([(name, *_shape(value)) for name, value in values.items()]))


def _shape(value: Any) -> tuple[Any, tuple[int, ...]]:
    array = np.asarray(value)
    return array.dtype.newbyteorder("<"), array.shape


def _dtype(fields: Any) -> np.dtype:
    return npy.descr_to_dtype([(name, kind, *map(tuple, shape)) for name, kind, *shape in fields])
