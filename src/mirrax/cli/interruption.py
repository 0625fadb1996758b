"""Signals that end a process while JAX computes: between two steps, or at once where there is nothing to save."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

# Ctrl-C, the end of a batch job, a terminal that was closed
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def interruptible(patience: Callable[[], int], leave: Callable[[int], None]) -> Iterator[Callable[[], int]]:
    """Take over the signals that end a process for a block.

    Python's own `KeyboardInterrupt` waits until a compilation has ended, and is lost or fatal where it then meets
    JAX's callbacks; of other signals a process dies. Here a thread hears them while JAX computes, and the block is
    asked to end when it can.

    Args:
        patience: how many signals the block may wait through; with one more the process ends at once. 0 where there
            is nothing to save.
        leave: called with the signal before it does. Its exit status is 128 + the signal, 130 of Ctrl-C.

    Yields:
        The first signal so far, 0 for none: whether the block is asked to end.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be taken over
        yield lambda: 0
        return
    heard: list[int] = []
    ears, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        while word := ears.recv(1):
            if word[0] in taken:
                if word[0] == getattr(signal, "SIGHUP", None):
                    _hang_up()
                heard.append(word[0])
                if len(heard) > patience():
                    try:
                        leave(word[0])
                    finally:  # whether or not there is somebody to tell
                        os._exit(128 + word[0])

    # `nohup` stays in force; without a handler a signal would not be written to the socket
    taken = [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in taken}
    wakeup_before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield lambda: heard[0] if heard else 0
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        mouth.close()  # ends the listener
        listener.join()
        ears.close()


@contextlib.contextmanager
def nobody_may_listen() -> Iterator[None]:
    """Print to whoever is there: a pipe's reader may have been ended by the same signal."""
    try:
        yield
        sys.stdout.flush()
    except (OSError, SystemExit):  # which rich makes of a broken pipe
        _silence(1)


def _hang_up() -> None:
    """Let nothing fail for want of the terminal, which is gone."""
    for stream in (1, 2):
        if os.isatty(stream):
            _silence(stream)


def _silence(stream: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def say_interrupted(number: int) -> None:
    """Say on stderr that a signal has ended the process."""
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    print(f"mirrax: {how}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def pipe_may_close() -> Iterator[None]:
    """Exit quietly where the reader of standard output has seen enough, as `mirrax run --help | head` does."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        sys.exit(1)
