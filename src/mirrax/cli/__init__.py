"""The command line: `mirrax run`, `train`, `learn`, `value`, `distil`, `new`, `compare`, `list`, `bench`."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command (that of the process unless given); a user's mistake exits with 2."""
    try:
        with _leaving_at_once():
            from mirrax.cli.main import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("tyro", "rich", "matplotlib", "bokeh", "viser"):
            raise
        print(f"mirrax: error: the command line needs {error.name}: pip install 'mirrax[cli]'", file=sys.stderr)
        raise SystemExit(2) from error
    run(arguments)


@contextlib.contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process with one line while modules are imported; in a thread it is not ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(*_: object) -> None:
    os.write(2, b"mirrax: interrupted\n")
    os._exit(130)


__all__ = ["main"]
