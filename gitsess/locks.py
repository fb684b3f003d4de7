"""flock on files in the repository's ``ai-sessions`` folder.

``lock``: every append holds it shared; whoever prunes objects holds it exclusively, because an object
just written and not yet reachable from a ref must not be pruned. ``drain.lock``: one drain at a time.
``implement.lock``, in the worktree's own folder: one ``implement`` at a time. A file of the spool may be held by who
goes on writing it: it is let go of however that ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gitsess.errors import Locked, StoreError

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":  # pragma: no cover
    fcntl = None
else:
    import fcntl

_POLL_S = 0.01


@contextmanager
def flock(path: str | Path, *, shared: bool, wait_s: float) -> Iterator[None]:
    """Holds ``path``'s flock; raises Locked after ``wait_s`` seconds, StoreError where it cannot be opened.

    Without flock (Windows) refs are still moved by compare-and-swap; only pruning beside it is unguarded.
    """
    if fcntl is None:  # pragma: no cover
        yield
        return
    try:
        make_private(os.path.dirname(path))
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Locked(f"{path} is held by another process") from None
                time.sleep(_POLL_S)
            except OSError as error:
                raise StoreError(f"{path} cannot be locked: {error.strerror}") from None
        yield
    finally:
        os.close(handle)


class Held:
    """A private file that is written again and again, and held all the while, so that others leave it alone."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._handle: int | None = None

    def write(self, data: bytes) -> None:
        """Writes the file anew, whole or not at all. Raises OSError."""
        before, self._handle = self._handle, None
        try:
            self._handle = _write(self.path, data, held=True)
        finally:
            if before is not None:
                os.close(before)

    def let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def take_over(path: str | Path, name: str | Path) -> bool:
    """Gives a file that was ``Held`` another name where nobody holds it any more; whether that was so."""
    if fcntl is None:  # pragma: no cover
        return False
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been written anew meanwhile: that is another file.
        if not os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False)):
            return False
        os.rename(path, name)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def make_private(folder: str | Path) -> None:
    """Makes ``folder`` and what is missing above it, 0700."""
    if folder and not os.path.isdir(folder):
        make_private(os.path.dirname(folder))
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def append_private(path: str | Path, data: bytes) -> None:
    """Adds to the end of ``path``, made 0600 where it is not there, in one write: of several at once none is lost."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(path, flags, 0o600)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def write_private(path: str | Path, data: bytes) -> None:
    """Writes ``path``, 0600, whole or not at all: a synced temporary file, then a rename, then the folder synced."""
    os.close(_write(path, data))


def _write(path: str | Path, data: bytes, *, held: bool = False) -> int:
    above, name = os.path.split(path)
    make_private(above)
    temporary = os.path.join(above, f"t.{name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "wb", closefd=False) as out:
            out.write(data)
            out.flush()
            os.fsync(handle)
        if held and fcntl is not None:
            # Before it has its name: nobody finds it free.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(temporary, path)
        _sync(above)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, OSError):
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        raise
    return handle


def _sync(above: str) -> None:
    folder = os.open(above, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
