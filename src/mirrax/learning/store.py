"""The folder of a training: episodes, checkpoints and metrics, each written whole."""

import contextlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mirrax.dynamics.learned import Transitions, transitions
from mirrax.dynamics.saving import from_state_dict, to_state_dict
from mirrax.results.files import write_whole

ABOUT, METRICS = "train.json", "metrics.jsonl"
_EPISODES, _CHECKPOINTS = "episodes", "checkpoints"
_OVERHEAD = 1 << 18  # bytes that orbax writes besides arrays, at most


class Store:
    """The files of a training.

    `train.json` says what is trained; `metrics.jsonl` has a line for each episode that is complete, its last file to
    be written; `episodes/0003.npz` has the arrays of episode 3, numbered from 0, and `checkpoints/0003` the
    parameters that it was planned with, written by orbax. A process that is killed at any moment loses the episode
    under way. No file holds code.

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
        for name in (_EPISODES, _CHECKPOINTS):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
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

    def complete(self, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of an episode, all of whose other files are written."""
        path = self.folder / METRICS
        before = path.read_text(encoding="utf-8")
        write_whole({path: before + json.dumps(dict(metrics)) + "\n"})

    def save_episode(self, number: int, episode: Transitions, others: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of an episode.

        Args:
            number: of the episode, from 0.
            episode: its steps.
            others: what else is kept of it, by name.
        """
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
        """Write arrays, by orbax.

        Args:
            number: of the episode that they are for.
            tree: any pytree of arrays.

        Raises:
            OSError: if they cannot be written.
        """
        import orbax.checkpoint as ocp

        path, parts = self._checkpoint(number), to_state_dict(tree)
        shutil.rmtree(path, ignore_errors=True)
        # orbax tells of a full disk in several threads and many lines: find out before
        probe = path.with_suffix(".probe")
        write_whole({probe: bytes(sum(leaf.nbytes for leaf in jax.tree.leaves(parts)) + _OVERHEAD)})
        probe.unlink()
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, parts)
        except OSError:
            raise
        except Exception as error:  # of tensorstore, where a disk is full
            raise OSError(f"{path} cannot be written: {error}") from error

    def load_checkpoint(self, number: int, like: Any) -> Any:
        """Read arrays.

        Args:
            number: of the episode that they are for.
            like: a pytree of the same structure.

        Raises:
            ValueError: if they are missing, damaged, or of another structure.
        """
        import orbax.checkpoint as ocp

        path = self._checkpoint(number)
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                found = checkpointer.restore(path, to_state_dict(like))
            return from_state_dict(like, found)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{path} is missing, damaged or of another model: {reason}; {self._remedy(number)}"
            ) from error

    def tidy(self, number: int) -> None:
        """Remove what a killed process left of the episode of that number, which is not complete."""
        with contextlib.suppress(FileNotFoundError):
            self._episode(number).unlink()
        for path in (self.folder / _CHECKPOINTS).glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self._checkpoint(number), ignore_errors=True)

    def _episode(self, number: int) -> Path:
        return self.folder / _EPISODES / f"{number:04d}.npz"

    def _checkpoint(self, number: int) -> Path:
        return (self.folder / _CHECKPOINTS / f"{number:04d}").absolute()

    def _remedy(self, number: int) -> str:
        before = f"keep the first {number} lines of {METRICS} to go on from there"
        return before if number else "nothing comes before it: train anew"
