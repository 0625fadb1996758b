"""Files that are whole, the old one until the new one is complete; and folders that one process writes to."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def write_whole(contents: Mapping[Path, bytes | str]) -> None:
    """Write files so that whoever reads one finds all of the old one or all of the new, after a loss of power too.

    Args:
        contents: of each file, bytes, or text to be written as UTF-8; the folders must exist. None is replaced before
            all are written.

    Raises:
        OSError: if one cannot be written, say for want of space, with the name that it was to have; the old ones are
            untouched then.
    """
    new = {path: path.with_name(f".{path.name}.new") for path in contents}  # what a killed process leaves is replaced
    path = next(iter(contents), Path())
    try:
        for path, content in contents.items():
            with new[path].open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            new[path].replace(path)
    except BaseException as error:
        for left in new.values():
            with contextlib.suppress(OSError):  # where it could not be made it need not be removed
                left.unlink()
        meant = {os.fspath(own): os.fspath(path) for path, own in new.items()} | {None: os.fspath(path)}
        if isinstance(error, OSError) and error.filename in meant:  # None where a write fails, which has no name
            raise type(error)(error.errno, error.strerror, meant[error.filename]) from error
        raise
    for folder in {path.parent for path in contents}:
        with contextlib.suppress(OSError), _opened(folder) as handle:  # not every system lets folders be opened
            os.fsync(handle)


def remove_folder(folder: Path, first: str) -> None:
    """Remove a folder, one file before all others: without it what is left is known as nothing.

    Args:
        folder: that may exist.
        first: the name of that file.
    """
    (folder / first).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder for as long as a block runs.

    Args:
        folder: that exists. Where the system has no such locks nothing happens.

    Raises:
        ValueError: if another process has claimed it.
    """
    with contextlib.ExitStack() as until_the_end:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                handle = until_the_end.enter_context(_opened(folder))
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise ValueError(f"another run is under way in {str(folder)!r}; choose another folder") from error
        yield


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
