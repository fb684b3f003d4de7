"""What a worktree remembers, in files of its own git directory, 0600, always safe to delete.

    <git dir>/ai-sessions/active      the session in use there, and the branch it was set on: two lines
    <git dir>/ai-sessions/pending     the sessions that had turns there since its last commit: a name a line

``pending`` is the marker that the post-commit hook tests before it leaves: no file, nothing to do. It is
written to after each turn and cleared by the drain, under the lock of ``pending.lock``: a turn that was
appended while the drain looked at the sessions has changed the file, which then stays. A name too many costs
a look at that session and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from gitsess.errors import Locked, StoreError
from gitsess.gitcli import Repository
from gitsess.locks import append_private, flock, make_private, write_private
from gitsess.model import SessionName
from gitsess.names import is_valid
from gitsess.values import Value

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20
COMPACT_BYTES = 4096
"""Bytes of ``pending`` past which names that it holds more than once are dropped: the hook reads it all."""
_LOCK_S = 0.5

Version = tuple[int, int] | None
"""Inode and size of ``pending``: changed by every mark. None: there was no file."""


class InUse(Value):
    """A session that captured turns go to, while ``branch`` is checked out (None: a detached HEAD)."""

    session: SessionName
    branch: str | None


class Worktree:
    """The files of one worktree; ``git_dir`` is its own git directory, not the common one."""

    def __init__(self, git_dir: str | Path) -> None:
        # Paths are text here: a listing looks for the session in use, and starts sooner without pathlib.
        self.git_dir = os.fspath(git_dir)
        self.folder = os.path.join(git_dir, "ai-sessions")
        self._active = os.path.join(self.folder, "active")
        self._pending = os.path.join(self.folder, "pending")

    @classmethod
    def named(cls, repository: Repository, name: str) -> Worktree | None:
        """The worktree that ``AI-Worktree`` calls ``name``, or None where it is gone or the name is none."""
        if name == repository.worktree:
            return cls(repository.git_dir)
        if name == ".":
            return cls(repository.common_dir)
        if not is_name(name):
            return None
        git_dir = os.path.join(repository.common_dir, "worktrees", name)
        return cls(git_dir) if os.path.isdir(git_dir) else None

    def in_use(self) -> InUse | None:
        """What was set, whatever is checked out now."""
        lines = _read(self._active).split("\n")
        if not is_valid(lines[0]):
            return None
        return InUse(session=SessionName(lines[0]), branch=lines[1] if len(lines) > 1 and lines[1] else None)

    def use(self, in_use: InUse | None) -> None:
        """Sets what is in use, or that nothing is; raises StoreError."""
        try:
            if in_use is None:
                with suppress(FileNotFoundError):
                    os.unlink(self._active)
            else:
                write_private(self._active, f"{in_use.session}\n{in_use.branch or ''}\n".encode())
        except OSError as error:
            raise StoreError(f"{self._active} cannot be written: {error.strerror}") from None

    def mark(self, session: SessionName) -> None:
        """Notes that ``session`` had a turn here. Best effort: without it a commit gets no event, no more."""
        with suppress(OSError), self._locked():
            if _size(self._pending) > COMPACT_BYTES:
                write_private(self._pending, _lines(self.pending()[0]))
            append_private(self._pending, f"{session}\n".encode())

    def pending(self) -> tuple[list[SessionName], Version]:
        """The sessions marked, each once, and the version to hand to ``clear``."""
        try:
            found = os.lstat(self._pending)
        except OSError:
            return [], None
        # Read after the look at its version: a name that comes between keeps the file from being cleared.
        lines = _read(self._pending).split("\n")
        names = [SessionName(line) for line in dict.fromkeys(lines) if is_valid(line)]
        return names, (found.st_ino, found.st_size)

    def clear(self, version: Version, *, keep: Iterable[SessionName] = ()) -> None:
        """Takes the marker away, or leaves only ``keep`` of it, unless it was marked since ``version``."""
        with suppress(OSError), self._locked():
            found = os.lstat(self._pending)
            if (found.st_ino, found.st_size) != version:
                return
            left = list(keep)
            if left:
                write_private(self._pending, _lines(left))
            else:
                os.unlink(self._pending)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_private(self.folder)
        with ExitStack() as held:
            # Whoever holds it that long is stopped, not at work.
            with suppress(Locked, StoreError):
                held.enter_context(flock(os.path.join(self.folder, "pending.lock"), shared=False, wait_s=_LOCK_S))
            yield


def is_name(name: str) -> bool:
    """Whether ``name`` may be that of a worktree: ``.``, or one component of a path."""
    return name == "." or (bool(name) and name != ".." and not set(name) & {"/", "\0", "\n"})


def _lines(names: Iterable[SessionName]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _read(path: str) -> str:
    try:
        # Not blocking: a pipe in its place would be waited for.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
