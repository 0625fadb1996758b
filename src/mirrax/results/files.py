"""Files that are whole, the old one until the new one is complete; and folders that one process writes to."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def write_whole(contents: Mapping[Path, bytes | str], *, durable: bool = True) -> None:
    """Write files so that whoever reads one finds all of the old one or all of the new one.

    Args:
        contents: of each file, bytes, or text to be written as UTF-8; the folders must exist. None is replaced before
            all are written.
        durable: whether to wait until they are on the disk, so that they outlive a loss of power too; without, they
            outlive the process.

    Raises:
        OSError: if one cannot be written, say for want of space; the old ones are untouched then.
    """
    new = {path: path.with_name(f".{path.name}.new") for path in contents}  # what a killed process leaves is replaced
    try:
        for path, content in contents.items():
            with new[path].open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
        for path in contents:
            new[path].replace(path)
    except BaseException:
        for path in new.values():
            path.unlink(missing_ok=True)
        raise


def claim(folder: Path) -> BinaryIO | None:
    """Keep other processes from the files of a folder.

    Args:
        folder: that exists.

    Returns:
        What holds them off until it is closed, or this process ends; None where the system has no such locks.

    Raises:
        ValueError: if another process has claimed it.
    """
    if fcntl is None:
        return None
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueError(
            f"out must be a folder where no other run is under way, got {str(folder.parent)!r}"
        ) from None
    return lock
