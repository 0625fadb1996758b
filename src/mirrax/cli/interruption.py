"""Ctrl-C while JAX computes: between two steps, or at once where there is nothing to save."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible(nothing_to_save: Callable[[], bool], leave: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Take over Ctrl-C for a block.

    Python's own `KeyboardInterrupt` waits until a compilation has ended, and is lost or fatal where it then meets
    JAX's callbacks. Here a thread hears the signal while JAX computes, and the block is asked to end when it can.

    Args:
        nothing_to_save: whether the process may end at once.
        leave: called before it does, which is also what a second Ctrl-C brings about; its exit status is 130.

    Yields:
        Whether the user has asked for an end.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be taken over
        yield lambda: False
        return
    asked = threading.Event()
    ears, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        while heard := ears.recv(1):
            if heard[0] == signal.SIGINT:
                if asked.is_set() or nothing_to_save():
                    leave()
                    os._exit(130)
                asked.set()

    handler_before = signal.signal(signal.SIGINT, lambda *_: None)  # else the signal would not be written
    wakeup_before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield asked.is_set
    finally:
        signal.set_wakeup_fd(wakeup_before)
        signal.signal(signal.SIGINT, handler_before)
        mouth.close()  # ends the listener
        listener.join()
        ears.close()


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
