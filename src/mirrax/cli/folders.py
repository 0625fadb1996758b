"""The folder that a run writes to."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirrax.cli.commands import Run
    from mirrax.cli.configuration import Configuration


def folder_of(command: "Run", chosen: "Configuration") -> tuple[Path, list[Path]]:
    """The folder to write to, made.

    Args:
        command: what the user has said.
        chosen: what is to run.

    Returns:
        The folder, and what of it and the folders around it was not there before, the innermost first.

    Raises:
        ValueError: if it cannot be written to.
    """
    from mirrax.cli.results import REPORT
    from mirrax.results.results import ARRAYS, RESULT

    stem = chosen.title if ":" in chosen.title else Path(chosen.title).stem
    usual = Path("runs") / f"{stem.replace(':', '.')}-{chosen.name}"
    out = usual if command.out is None else command.out
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # not writable? better now than after the run
    except OSError as error:
        raise ValueError(f"out must be a folder to write to, got {str(out)!r}: {error.strerror}") from error
    for name in (RESULT, ARRAYS, REPORT):
        if (out / name).is_dir():
            raise ValueError(f"out must be a folder to write {name} to, got {str(out)!r}, where this is a folder")
    return out, new
