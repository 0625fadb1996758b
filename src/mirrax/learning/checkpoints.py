"""Arrays in a folder, by orbax: all of them or none, and no code."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mirrax.dynamics.saving import from_state_dict, to_state_dict
from mirrax.results.files import write_whole

_OVERHEAD = 1 << 18  # bytes that orbax writes besides arrays, at most
_UNDER_WAY = ".orbax-checkpoint-tmp"  # in the name of a folder that orbax has not completed


def write_checkpoint(path: Path, tree: Any) -> None:
    """Write arrays. The folder has its name once it is complete; one that is there is removed first.

    Args:
        path: the folder, in one that exists.
        tree: any pytree of arrays.

    Raises:
        ImportError: without the package orbax-checkpoint, which says how to install it.
        OSError: if they cannot be written.
    """
    ocp, path, parts = _orbax(), path.absolute(), _without_empty(to_state_dict(tree))
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


def read_checkpoint(path: Path, like: Any, remedy: str) -> Any:
    """Read arrays.

    Args:
        path: the folder.
        like: a pytree of the same structure.
        remedy: what to do where they cannot be read, for the error.

    Returns:
        The pytree.

    Raises:
        ImportError: without the package orbax-checkpoint, which says how to install it.
        ValueError: if they are missing, damaged, or of another structure.
    """
    ocp, path = _orbax(), path.absolute()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            found = checkpointer.restore(path, _without_empty(to_state_dict(like)))
        return from_state_dict(like, _with_empty(found, to_state_dict(like)))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is missing, damaged or of another model: {reason}; {remedy}") from error


def tidy(folder: Path) -> None:
    """Remove what a process that was killed in `write_checkpoint` has left.

    Args:
        folder: of checkpoints.
    """
    for path in folder.glob(f"*{_UNDER_WAY}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("*.probe*"):
        path.unlink(missing_ok=True)


def _without_empty(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Dictionaries without the arrays that have no numbers, as of a robot without muscles, which orbax refuses."""
    inner = {name: _without_empty(part) if isinstance(part, Mapping) else part for name, part in parts.items()}
    return {name: part for name, part in inner.items() if isinstance(part, Mapping) or np.size(part)}


def _with_empty(parts: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionaries with those again."""
    inner = {
        name: _with_empty(parts.get(name) or {}, part) if isinstance(part, Mapping) else part
        for name, part in like.items()
        if isinstance(part, Mapping) or not np.size(part)
    }
    return {**parts, **inner}


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError("checkpoints need orbax-checkpoint: pip install 'mirrax[learning]'") from error
    return orbax.checkpoint
