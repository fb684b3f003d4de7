"""The mirror: ``~/.ai-sessions/<session>/metadata.json``, a copy of each session for scripts and other folders.

    {"created_at":…,"last_used":…,"session_id":…,"command":…,"session_name":…,"feature":…,"repository":…,"tip":…,
     "interactions":[
    {…},
    {…}
    ],"check":"<crc32 of the lines between; empty where they are not to be added to>"}

Folders are 0700 and files 0600. A file is replaced by rename and never synced: it can always be made again. What came
after the tip that a copy is of is spliced in at its end, once its check says that the rest is as it was written.

Beside the copies lie folders of other programs; nothing is written into those, and no link is followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain

from gitsess import metadata, strictjson
from gitsess.errors import FormatError, StoreError
from gitsess.locks import make_private
from gitsess.model import JSON, SessionName
from gitsess.text import well_formed
from gitsess.values import Value

FILE = "metadata.json"
_TEMPORARY = f"t.{FILE}."
_STALE_S = 3600
"""Seconds after which a temporary file is nobody's any more."""
_MAX_HEAD = 64 * 1024
_BORDER = b',"interactions":['
_END = re.compile(rb'\n\],"check":"([0-9a-f]{8})"\}\n\Z')
_MOST_IDS = 100
"""Turn ids that are looked for in a copy before it is sooner made anew."""
_END_BYTES = len('\n],"check":"00000000"}\n')
_DIGITS = 6

Stamp = tuple[int, int, int]
"""What tells that a file was written since: its inode, size and time of change."""


class Copy(Value):
    """The copy of a session, as its file begins. ``folder`` is the folder's name, ``written_at`` when it was
    written, in seconds since 1970; ``last_used`` is as it stands there."""

    folder: str
    session: str
    session_id: str | None
    repository: str
    tip: str
    created_at: str | None
    last_used: str | None
    written_at: float


class Mirror:
    """The mirror in ``directory``, which need not be there."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def folders(self) -> list[str]:
        """The names of the folders in it, sorted; links are none. Raises StoreError where they cannot be listed."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.directory} cannot be read: {error.strerror}") from None

    def copies(self) -> Iterator[Copy]:
        """Every copy, by the name of its folder; what is none is passed over."""
        for folder in self.folders():
            found = self.copy(folder)
            if found is not None:
                yield found

    def copy(self, folder: str) -> Copy | None:
        """The copy in a folder, or None where there is none that can be recognised."""
        try:
            with self._opened(folder) as at, _file(at) as handle:
                head = os.read(handle, _MAX_HEAD)
                written_at = os.fstat(handle).st_mtime
        except OSError:
            return None
        return _copy(folder, head, written_at)

    def own(self, session: SessionName, repository: str) -> Copy | None:
        """The copy of a repository's session."""
        plain = self.copy(session)
        if plain is not None and _is_of(plain, session, repository):
            return plain
        if plain is None and not os.path.lexists(os.path.join(self.directory, session)):
            return None
        with suppress(StoreError):
            for folder in self.folders():
                if folder.startswith(f"{session}~"):
                    found = self.copy(folder)
                    if found is not None and _is_of(found, session, repository):
                        return found
        return None

    def place(
        self, session: SessionName, session_id: str | None, repository: str, gone: Callable[[str], bool]
    ) -> str | None:
        """The name of the folder for a copy that is not there yet; None where every name is somebody else's.

        The first of a name keeps it plain. A copy of the same session whose repository is ``gone`` is taken over: the
        repository was moved.
        """
        suffixed = f"{session}~{(session_id or '')[:_DIGITS]}"
        digits = hashlib.sha256(repository.encode("utf-8", "replace")).hexdigest()[:_DIGITS]
        for folder in (session, suffixed, f"{suffixed}-{digits}"):
            if self._is_free(folder):
                return folder
            found = self.copy(folder)
            moved = found is not None and session_id is not None and found.session_id == session_id
            if moved and found is not None and found.session == session and gone(found.repository):
                return folder
        return None

    def _is_free(self, folder: str) -> bool:
        """Whether nothing is there, or no more than a writer that was killed, or a crash, leaves behind."""
        if not os.path.lexists(os.path.join(self.directory, folder)):
            return True
        try:
            with self._opened(folder) as at:
                left = [name for name in os.listdir(at) if not name.startswith(_TEMPORARY)]
                return not left or (left == [FILE] and os.stat(FILE, dir_fd=at, follow_symlinks=False).st_size == 0)
        except OSError:
            return False

    def write(self, folder: str, head: dict[str, JSON], lines: Iterable[str], *, extensible: bool) -> None:
        """Writes a copy whole: ``head`` is ``metadata.metadata_of``, ``lines`` the JSON of its interactions.

        ``extensible``: it may be added to, since what comes later changes nothing in it. Raises OSError where it
        cannot be written; the copy there, if any, is then as it was.
        """
        make_private(self.directory)
        with suppress(FileExistsError):
            os.mkdir(os.path.join(self.directory, folder), 0o700)
        with self._opened(folder) as at:
            os.fchmod(at, 0o700)
            with _replaced(at) as file:
                _put_all(file, _head(head))
                check = 0
                portion: list[bytes] = []
                for number, line in enumerate(lines):
                    portion.append(_line(line, first=not number))
                    if len(portion) == 1000:
                        check = _put(file, portion, check)
                        portion = []
                check = _put(file, portion, check)
                _put_all(file, _end(check if extensible else None))

    def extend(self, copy: Copy, head: dict[str, JSON], turn_ids: Sequence[str], lines: Iterable[str]) -> bool:
        """Adds interactions to a copy and gives it a new head; False where it is not as it was written, or has one
        of the turn ids already.

        Raises OSError where it cannot be written.
        """
        if len(turn_ids) > _MOST_IDS or len(set(turn_ids)) < len(turn_ids):
            return False
        with self._opened(copy.folder) as at:
            with _file(at) as handle, open(handle, "rb", closefd=False) as file:
                data = file.read()
            border = data.find(_BORDER)
            end = _END.search(data, max(len(data) - _END_BYTES, 0))
            if border < 0 or end is None or _copy(copy.folder, data[:_MAX_HEAD], copy.written_at) != copy:
                return False
            body = memoryview(data)[border + len(_BORDER) : end.start()]
            check = zlib.crc32(body)
            known = any(data.find(turn_id.encode(), border) >= 0 for turn_id in turn_ids)
            if known or f"{check:08x}".encode() != end[1]:
                return False
            added = b"".join(_line(line, first=not (number or body)) for number, line in enumerate(lines))
            with _replaced(at) as out:
                _put_all(out, _head(head))
                _put_all(out, body)
                _put_all(out, added + _end(zlib.crc32(added, check)))
        return True

    def matches(self, copy: Copy, head: dict[str, JSON], lines: Iterable[str]) -> bool:
        """Whether a copy is as ``write`` would write it."""
        try:
            with self._opened(copy.folder) as at, _file(at) as handle, open(handle, "rb", closefd=False) as file:
                data = file.read()
        except OSError:
            return False
        place = 0
        for part in chain([_head(head)], (_line(line, first=not number) for number, line in enumerate(lines))):
            if not data.startswith(part, place):
                return False
            place += len(part)
        check = zlib.crc32(memoryview(data)[data.find(_BORDER) + len(_BORDER) : place])
        return data[place:] in (_end(check), _end(None))

    def remove(self, folder: str) -> bool:
        """Deletes a copy, and its folder where nothing else is in it; False where there is no copy. Raises OSError."""
        if self.copy(folder) is None:
            return False
        with self._opened(folder) as at:
            for name in os.listdir(at):
                if name == FILE or name.startswith(_TEMPORARY):
                    os.unlink(name, dir_fd=at)
        with suppress(OSError):
            os.rmdir(os.path.join(self.directory, folder))
        return True

    def stamp(self, folder: str) -> Stamp | None:
        """How the file in a folder, by its name as text, looks; None where it is not there. Raises StoreError."""
        with suppress(OSError), self._opened(self._named(folder)) as at:
            seen = os.stat(FILE, dir_fd=at, follow_symlinks=False)
            return seen.st_ino, seen.st_size, seen.st_mtime_ns
        return None

    def discard(self, folder: str) -> None:
        """Deletes a folder, by its name as text, whoever made it and with all that is in it; of a link there the link
        alone. Raises OSError where any of it stays."""
        import shutil

        top = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Below a handle, step by step: what is put in the place of a folder meanwhile is not entered.
            shutil.rmtree(self._named(folder), dir_fd=top)
        finally:
            os.close(top)

    def _named(self, folder: str) -> str:
        """The folder's own name, which need not be text; raises OSError where two read alike."""
        if "\ufffd" not in folder:
            return folder
        found = [name for name in self.folders() if well_formed(name) == folder]
        if len(found) != 1:
            raise OSError(errno.ENOENT, "more than one folder has that name" if found else "it is gone")
        return found[0]

    @contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        """The folder, itself and not what a link in its place leads to."""
        top = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        finally:
            os.close(top)
        try:
            yield at
        finally:
            os.close(at)


@contextmanager
def _file(at: int) -> Iterator[int]:
    """The file in a folder; raises OSError for what is no regular file."""
    # A named pipe would keep whoever opens it waiting.
    handle = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{FILE} is no regular file")
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _replaced(at: int) -> Iterator[int]:
    """A new file that takes the place of the one in the folder once it is whole."""
    temporary = f"{_TEMPORARY}{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=at)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(temporary, flags, 0o600, dir_fd=at)
    try:
        try:
            yield handle
        finally:
            os.close(handle)
        os.replace(temporary, FILE, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=at)
        raise
    with suppress(OSError):
        now = os.stat(FILE, dir_fd=at).st_mtime
        for name in os.listdir(at):
            if name.startswith(_TEMPORARY) and now - os.stat(name, dir_fd=at).st_mtime > _STALE_S:
                os.unlink(name, dir_fd=at)


def _copy(folder: str, data: bytes, written_at: float) -> Copy | None:
    # Inside a text of JSON the quotes of the border would be escaped.
    start, border, _ = data.partition(_BORDER)
    try:
        head = strictjson.loads(start + b"}", what=FILE) if border else None
    except FormatError:
        return None
    if not isinstance(head, dict):
        return None

    def text(key: str) -> str | None:
        value = head.get(key)
        return value if isinstance(value, str) else None

    session, repository, tip = text("session_name"), text("repository"), text("tip")
    if session is None or repository is None or tip is None:
        return None
    return Copy(
        folder=folder,
        session=session,
        session_id=text("session_id"),
        repository=repository,
        tip=tip,
        created_at=text("created_at"),
        last_used=text("last_used"),
        written_at=written_at,
    )


def _is_of(copy: Copy, session: SessionName, repository: str) -> bool:
    return copy.session == session and copy.repository == repository


def _head(head: dict[str, JSON]) -> bytes:
    return metadata.dumps({**head, "interactions": []}).encode().removesuffix(b"]}")


def _line(text: str, *, first: bool) -> bytes:
    return (b"\n" if first else b",\n") + text.encode()


def _end(check: int | None) -> bytes:
    return f'\n],"check":"{"" if check is None else f"{check:08x}"}"}}\n'.encode()


def _put(file: int, portion: list[bytes], check: int) -> int:
    data = b"".join(portion)
    _put_all(file, data)
    return zlib.crc32(data, check)


def _put_all(file: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
