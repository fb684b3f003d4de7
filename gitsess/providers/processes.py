"""A program run to its end, or until it is to end: started, listened to, and ended with all that it started.

It has a process group of its own: a ^C of the terminal reaches us alone, for what the program has done is to be
written down first.
"""

from __future__ import annotations

import os
import queue
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
_STEP_S = 0.1


class Asked:
    """A program that is given a prompt and answers in lines: neither waits for the other.

    Raises what starting a process raises (OSError).
    """

    def __init__(self, words: Sequence[str], prompt: str, *, folder: Path, environment: Mapping[str, str]) -> None:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stderr = b""
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
                self._stderr = (self._stderr + chunk)[-_KEPT_STDERR:]

    def lines(self, deadline: float | None) -> Iterator[bytes]:
        """The lines of the output, until it ends or the time (of ``time.monotonic``) is over."""
        idle_s = 0.0
        while deadline is None or time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=_STEP_S)
                idle_s = 0.0
            except queue.Empty:
                # A child that it left behind may keep its output open.
                idle_s += _STEP_S if self._process.poll() is not None else 0
                if idle_s >= GRACE_S:
                    return
                continue
            if line is None:
                return
            yield line

    def end(self, *, patient: bool) -> int | None:
        """Sees the program to its end, whatever it takes; its exit code, None where it had to be ended."""
        if patient or self._process.poll() is not None:
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(GRACE_S)
        for number, wait_s in ((signal.SIGINT, GRACE_S), (signal.SIGTERM, GRACE_S / 2), (signal.SIGKILL, GRACE_S)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                break
        # What it started itself is ended with it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return None

    def complaint(self) -> str:
        """The last line that the program printed beside its output."""
        self._complaining.join(_STEP_S * 10)
        lines = self._stderr.decode("utf-8", "replace").strip().splitlines()
        return one_line(lines[-1])[:300] if lines else ""
