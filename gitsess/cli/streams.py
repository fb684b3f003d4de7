"""The three standard streams: open, and standard output so that its failures are known for what they are."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


class Output(io.TextIOWrapper):
    """Standard output. Where it takes no more, for a full disk say, that is a broken pipe to who prints: all that stops
    for a reader that has gone stops then. ``failure`` keeps the reason, None where there was none but such a reader.

    The layers below know nothing of it: one of Python's between them could be interrupted when what it had to write
    is written, and the layer above would write it again.
    """

    failure: str | None = None
    gone = False
    """Whether it takes no more, for whatever reason."""

    def write(self, text: str, /) -> int:
        with self.noticing():
            return super().write(text)

    def flush(self) -> None:
        with self.noticing():
            super().flush()

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Keeps what goes wrong meanwhile; for who writes to ``buffer``."""
        try:
            yield
        except BrokenPipeError:
            self.gone = True
            raise
        except OSError as error:
            self.gone = True
            self.failure = error.strerror or type(error).__name__
            raise BrokenPipeError(errno.EPIPE, f"standard output: {self.failure}") from error


def prepare() -> Output:
    """Opens what is closed, and has standard output be an Output, which is returned."""
    _open()
    old = sys.stdout
    old.flush()
    raw = io.FileIO(old.fileno(), "w", closefd=False)
    unbuffered = getattr(old, "write_through", False)
    output = Output(
        # Of a raw file nothing is asked but what a buffered one has.
        cast(io.BufferedWriter, raw) if unbuffered else io.BufferedWriter(raw),
        encoding=old.encoding,
        line_buffering=getattr(old, "line_buffering", False),
        write_through=unbuffered,
    )
    sys.stdout = output
    return output


def is_gone() -> bool:
    """Whether standard output was found to take no more."""
    return isinstance(sys.stdout, Output) and sys.stdout.gone


def _open() -> None:
    """Opens those of the three that are closed on nothing, as git does.

    Python has None in their place, and the next file that is opened would take their number: a program that is
    started then would write into it.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    # They take the lowest numbers that are free.
    while os.open(os.devnull, os.O_RDWR) < 2:
        pass
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process is
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def finish() -> bool:
    """Writes out what standard output still holds; whether that could be done. Where not, it is dropped: the
    interpreter's own last flush would complain again."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return False
    return True
