"""A program run to its end, or until it is to end: started, listened to, and ended with all that it started.

It has a process group of its own: a ^C of the terminal reaches us alone, for what the program has done is to be
written down first.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from gitsess import strictjson
from gitsess.text import one_line

MAX_LINE = strictjson.MAX_BYTES
"""Bytes of a line past which it is passed over."""
GRACE_S = 5.0
"""How long a program may take to end once it was asked to."""
_KEPT_STDERR = 8192
"""Bytes that are kept of the beginning of what a program complains of, and as many of the end."""
_AN_ERROR = re.compile(
    r"\W*(?:\w*error|fatal|panic|unknown|unexpected|unrecogni[sz]ed|unsupported|invalid|missing|no such)\b",
    re.IGNORECASE,
)
_STEP_S = 0.1
_PIECE_BYTES = 1 << 16
_WAITING_PIECES = 64
"""Pieces of output past which a program waits until somebody has listened."""


class _Process:
    """What both kinds have in common: raises what starting a process raises (OSError)."""

    def __init__(
        self, words: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: int, stderr: int
    ) -> None:
        self._process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def end(self, *, patient: bool) -> int | None:
        """Sees the program to its end, whatever it takes; its exit code, None where it had to be ended."""
        if patient or self._process.poll() is not None:
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(GRACE_S)
        try:
            for number, wait_s in ((signal.SIGINT, GRACE_S), (signal.SIGTERM, GRACE_S / 2), (signal.SIGKILL, GRACE_S)):
                self._signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(wait_s)
                    break
        finally:
            # What it started itself is ended with it, and with a second ^C at once.
            self._signal(signal.SIGKILL)
        return None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Asked(_Process):
    """A program that is given a prompt and answers in lines: neither waits for the other."""

    def __init__(self, words: Sequence[str], prompt: str, *, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(words, folder=folder, environment=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stderr = self._stderr_end = b""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._complaining = threading.Thread(target=self._complain, args=(process.stderr,), daemon=True)
        writing = threading.Thread(target=self._write, args=(process.stdin, prompt), daemon=True)
        reading = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        for thread in (self._complaining, writing, reading):
            thread.start()

    @staticmethod
    def _write(stream: IO[bytes], prompt: str) -> None:
        with suppress(OSError), stream:
            stream.write(prompt.encode("utf-8", "replace"))

    def _read(self, stream: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            while line := stream.readline(MAX_LINE + 1):
                if line.endswith(b"\n") or len(line) <= MAX_LINE:
                    self._lines.put(line)
                else:
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(1 << 20)
        self._lines.put(None)

    def _complain(self, stream: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            while chunk := stream.read1(4096):  # type: ignore[attr-defined]
                room = _KEPT_STDERR - len(self._stderr)
                self._stderr += chunk[:room]
                self._stderr_end = (self._stderr_end + chunk[room:])[-_KEPT_STDERR:]

    def lines(self, deadline: float | None) -> Iterator[bytes]:
        """The lines of the output, until it ends or the time (of ``time.monotonic``) is over."""
        idle_s = 0.0
        while deadline is None or time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=_STEP_S)
                idle_s = 0.0
            except queue.Empty:
                # A child that it left behind may keep its output open.
                idle_s += _STEP_S if self.code is not None else 0
                if idle_s >= GRACE_S:
                    return
                continue
            if line is None:
                return
            yield line

    def complaint(self) -> str:
        """The first line beside its output in which the program names an error, else the last one: its usage may follow
        an error."""
        self._complaining.join(_STEP_S * 10)
        text = (self._stderr + self._stderr_end).decode("utf-8", "replace")
        lines = [line for given in text.splitlines() if (line := one_line(given))]
        found = next((line for line in lines if _AN_ERROR.match(line)), lines[-1] if lines else "")
        return found[:300]


class Watched(_Process):
    """A program without input, whose two outputs are one; the program waits while too much of it is unread."""

    def __init__(self, words: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(
            words, folder=folder, environment=environment, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_WAITING_PIECES)
        self._deaf = threading.Event()
        self._open = True
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        with suppress(OSError, ValueError), stream:
            while piece := stream.read1(_PIECE_BYTES):  # type: ignore[attr-defined]
                self._put(piece)
        self._put(None)

    def _put(self, piece: bytes | None) -> None:
        while not self._deaf.is_set():
            with suppress(queue.Full):
                return self._pieces.put(piece, timeout=_STEP_S)

    def pieces(self, deadline: float) -> Iterator[bytes]:
        """What it prints, in pieces of any size, until it has ended or the time (of ``time.monotonic``) is over."""
        while self.code is None and (left_s := deadline - time.monotonic()) > 0:
            if self._open:
                yield from self._next()
            else:
                # It goes on without an output.
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(left_s)

    def rest(self) -> Iterator[bytes]:
        """What is left of the output once it has ended. What it left running is ended first; where something holds the
        output open even so, that is not waited for."""
        self._signal(signal.SIGKILL)
        until = time.monotonic() + GRACE_S
        while self._open and time.monotonic() < until:
            yield from self._next()
        self._deaf.set()

    def drop(self) -> None:
        """Ends it, and whatever it still has to say is lost."""
        self._deaf.set()
        self.end(patient=False)
        self._signal(signal.SIGKILL)

    def _next(self) -> Iterator[bytes]:
        try:
            piece = self._pieces.get(timeout=_STEP_S)
        except queue.Empty:
            return
        if piece is None:
            self._open = False
        else:
            yield piece
