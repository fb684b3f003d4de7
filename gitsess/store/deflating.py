"""The entries of pack files, deflated here or by a process beside ours.

Deflating takes longer than anything else that is done to an object. The process is this file, run by itself: it reads
``<type: 1 byte><size: 8 bytes, big-endian><object>`` until its input ends, and writes an entry for each behind what
its output, the pack file, has already. Nothing comes back from it; what it leaves out because it was killed is missed
by its exit code, and by git, which counts the objects of a pack.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
import zlib
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen

# git deflates anew when it packs for good.
_QUICK = 1
_FRAME = struct.Struct(">BQ")


def entry(kind: int, data: bytes) -> bytes:
    """An object as it stands in a pack file: its type and its size, seven bits a byte, then its bytes deflated."""
    size = len(data)
    byte = kind << 4 | size & 15
    size >>= 4
    made = bytearray()
    while size:
        made.append(byte | 0x80)
        byte = size & 0x7F
        size >>= 7
    made.append(byte)
    return bytes(made) + zlib.compress(data, _QUICK)


def helps() -> bool:
    """Whether there is another processor, and a way to start the process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count > 1 and bool(sys.executable) and os.path.isfile(__file__)


class Deflater:
    """The process, at work on one pack file. Everything here raises OSError where it is gone or fails."""

    def __init__(self, out: IO[bytes]) -> None:
        """``out`` is written to by nobody else until ``finish``."""
        import subprocess

        out.flush()
        self._process: Popen[bytes] = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
            bufsize=1 << 16,
        )

    def add(self, kind: int, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_FRAME.pack(kind, len(data)))
            self._process.stdin.write(data)
        except BrokenPipeError:
            raise _gone(self._process.wait()) from None

    def finish(self) -> None:
        """Waits until everything is written."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        if code:
            raise _gone(code)

    def close(self) -> None:
        """Ends the process, whatever it was at."""
        self._process.kill()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait()


def _gone(code: int) -> OSError:
    return OSError(errno.EPIPE, f"the process that deflates them ended with {code}")


def serve(given: IO[bytes], out: IO[bytes]) -> None:
    """What the process does. It ends when its input does: a ^C is for the process that has objects for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while frame := given.read(_FRAME.size):
        kind, size = _FRAME.unpack(frame)
        data = given.read(size)
        if len(data) < size:
            raise EOFError
        out.write(entry(kind, data))
    out.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
