"""The folder of a training, of a model or of a policy: episodes, checkpoints and metrics, each written whole."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mirrax.dynamics.learned import Transitions, transitions
from mirrax.learning.checkpoints import read_checkpoint, tidy, write_checkpoint
from mirrax.results.files import write_whole

ABOUT, METRICS = "train.json", "metrics.jsonl"
_EPISODES, _CHECKPOINTS = "episodes", "checkpoints"


class Store:
    """The files of a training.

    `train.json` says what is trained. `metrics.jsonl` has a line for each episode, or update of a policy, that is
    complete; `episodes/0003.npz` has the arrays of episode 3, numbered from 0, and `checkpoints/0003` what it needs
    to go on from there, by orbax. A process that is killed at any moment loses what came after the last checkpoint
    whose line is there. No file holds code.

    Attributes:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, about: Mapping[str, Any]) -> None:
        """Make the folder, for a new training.

        Raises:
            ValueError: if there is a training in it already.
            OSError: if it cannot be written.
        """
        if (self.folder / ABOUT).exists():
            raise ValueError(f"out must be a folder without a training, or resume it, got {str(self.folder)!r}")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole({self.folder / METRICS: "", self.folder / ABOUT: json.dumps(dict(about), indent=2) + "\n"})

    def about(self) -> dict[str, Any]:
        """What is trained.

        Raises:
            ValueError: if there is no training in the folder, or its description cannot be read.
        """
        try:
            return json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(f"resume must be the folder of a training, got {str(self.folder)!r}") from error
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.folder / ABOUT} is damaged: {error}") from error

    def check_same(self, whole: Mapping[str, Any]) -> None:
        """Raise a `ValueError` unless what decides about numbers is as it was when the training began.

        Args:
            whole: name -> JSON, of what was given to `begin`.
        """
        _check_same(self.about(), json.loads(json.dumps(dict(whole))))

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of all episodes that are complete; what a killed process left of another is dropped.

        Raises:
            ValueError: if a line before the last one is damaged.
        """
        text = (self.folder / METRICS).read_text(encoding="utf-8", errors="replace")
        lines = text.split("\n")
        whole, rest = lines[:-1], lines[-1]
        found = []
        for number, line in enumerate(whole):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{self.folder / METRICS} is damaged in line {number + 1}: {error}") from error
        if rest:
            write_whole({self.folder / METRICS: "".join(f"{line}\n" for line in whole)})
        return found

    def complete(self, metrics: Mapping[str, Any], *, synced: bool = True) -> None:
        """Add the metrics of an episode, all of whose other files are written.

        Args:
            metrics: JSON.
            synced: whether they are to survive a loss of power, too.

        Raises:
            OSError: if they cannot be written; half a line is dropped by `metrics`.
        """
        path = self.folder / METRICS
        try:
            with path.open("ab") as file:
                file.write((json.dumps(dict(metrics)) + "\n").encode())
                file.flush()
                if synced:
                    os.fsync(file.fileno())
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(path)) from error  # a write names no file

    def keep(self, number: int) -> None:
        """Drop the metrics behind the first lines.

        Args:
            number: of lines that stay.
        """
        path = self.folder / METRICS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) > number:
            write_whole({path: "".join(lines[:number])})

    def save_episode(self, number: int, episode: Transitions, others: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of an episode.

        Args:
            number: of the episode, from 0.
            episode: its steps.
            others: what else is kept of it, by name.
        """
        (self.folder / _EPISODES).mkdir(exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **episode._asdict(), **others)  # type: ignore[arg-type]
        write_whole({self._episode(number): buffer.getvalue()})

    def load_episode(self, number: int) -> tuple[Transitions, dict[str, np.ndarray]]:
        """Read the arrays of an episode.

        Raises:
            ValueError: if they are missing or damaged.
        """
        path = self._episode(number)
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            own = {name: arrays.pop(name) for name in Transitions._fields}
            return transitions(**own), arrays
        except Exception as error:  # of zip, zlib, NumPy: whatever a damaged file makes of them
            raise ValueError(f"{path} is missing or damaged: {error}; {self._remedy(number)}") from error

    def save_checkpoint(self, number: int, tree: Any) -> None:
        """Write arrays.

        Args:
            number: of the episode that they are for, or of updates so far.
            tree: any pytree of arrays.

        Raises:
            OSError: if they cannot be written.
        """
        (self.folder / _CHECKPOINTS).mkdir(exist_ok=True)
        write_checkpoint(self._checkpoint(number), tree)

    def load_checkpoint(self, number: int, like: Any, remedy: str | None = None) -> Any:
        """Read arrays.

        Args:
            number: of the checkpoint.
            like: a pytree of the same structure.
            remedy: what to do where they cannot be read; None for what helps where each episode has a checkpoint.

        Raises:
            ValueError: if they are missing, damaged, or of another structure.
        """
        return read_checkpoint(self._checkpoint(number), like, self._remedy(number) if remedy is None else remedy)

    def checkpoints(self) -> list[int]:
        """The numbers of the checkpoints that are complete, in their order."""
        return sorted(int(path.name) for path in (self.folder / _CHECKPOINTS).glob("*") if path.name.isdigit())

    def remove_checkpoints(self, *numbers: int) -> None:
        """Remove checkpoints of those numbers."""
        for number in numbers:
            shutil.rmtree(self._checkpoint(number), ignore_errors=True)

    def tidy(self, number: int) -> None:
        """Remove what a killed process left of the episode, or checkpoint, of that number, which is not complete."""
        with contextlib.suppress(FileNotFoundError):
            self._episode(number).unlink()
        tidy(self.folder / _CHECKPOINTS)
        self.remove_checkpoints(number)

    def _episode(self, number: int) -> Path:
        return self.folder / _EPISODES / f"{number:04d}.npz"

    def _checkpoint(self, number: int) -> Path:
        return self.folder / _CHECKPOINTS / f"{number:04d}"

    def _remedy(self, number: int) -> str:
        before = f"keep the first {number} lines of {METRICS} to go on from there"
        return before if number else "nothing comes before it: train anew"


def _check_same(began: Any, now: Mapping[str, Any], within: str = "") -> None:
    """Name the first number that is another one now, with the dictionaries that it is in."""
    for name, value in now.items():
        before = began.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            _check_same(before, dict.fromkeys(before) | value, f"{within}{name}: ")
        elif before != value:
            raise ValueError(f"{within}{name} must be {before!r}, as the training began, got {value!r}")


def opened(
    out: Path | str | None, resume: bool, about: Mapping[str, Any] | None, whole: Callable[[], Mapping[str, Any]]
) -> Store | None:
    """The store of a training that begins, or goes on.

    Args:
        out: its folder; None for no store.
        resume: whether it goes on.
        about: what else to say of it, JSON.
        whole: tells what decides about its numbers, JSON.

    Raises:
        ValueError: if there is no folder to go on in, another training in it, or one where it is to begin.
        OSError: if it cannot be written.
    """
    if out is None:
        if resume:
            raise ValueError("resume needs out, the folder of the training, got None")
        return None
    store = Store(Path(out))
    if resume:
        store.check_same(whole())
    else:
        store.begin({**(about or {}), **whole()})
    return store
