"""The command line: `mirrax run`, `mirrax list`, `mirrax bench`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command (that of the process unless given); a user's mistake exits with 2."""
    try:
        from mirrax.cli.main import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("tyro", "rich", "matplotlib", "viser"):
            raise
        print(f"mirrax: error: the command line needs {error.name}: pip install 'mirrax[cli]'", file=sys.stderr)
        raise SystemExit(2) from error
    run(arguments)


__all__ = ["main"]
