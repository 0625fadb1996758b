"""What users get wrong is told in one clear line."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def one_clear_line() -> Iterator[None]:
    """Take the errors of this block, where nothing but the user's input is looked at, for the user's.

    Raises:
        SystemExit: with 2, after the line on stderr, in place of a `ValueError`, `TypeError` or `OSError`.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        print(f"mirrax: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
