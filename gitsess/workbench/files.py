"""The files of one worktree, by paths that a model gives.

Nothing outside the worktree is read or changed, nor anything of git's own. Paths are never handed to the system
whole: folders are opened one below the other, each by its name in the folder that is open and without following
links, so that a link made meanwhile leads nowhere. Links inside the worktree are followed by reading where they point
to and going there the same way.

git's own is told by name, and by what it is: the folders of this repository wherever they lie, and every folder with
a ``.git`` in it but the top. Ignored files are kept from a model (they hold what nobody shares), and so are those
that would make them no longer ignored. Settings (``settings``) are read and not written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gitsess.errors import StoreError
from gitsess.gitcli import Git, Part, hooks_folder
from gitsess.text import one_line
from gitsess.values import Value
from gitsess.workbench import settings
from gitsess.workbench.paths import Failed, Parts, Refused, check_name, parts_of, plain

MAX_FILE_BYTES = 1024 * 1024
_MOST_LINKS = 20
_GIT_LIMIT_BYTES = 16 * 1024 * 1024
_GIT_TIMEOUT_S = 20.0

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Target(Value):
    """A file that may be written. ``data`` is what is there: None where nothing is, or more than may be read."""

    parts: Parts
    exists: bool
    data: bytes | None


class Files:
    """Reads and changes the files of the worktree at ``top``, as a model asks for them.

    Every method takes the model's path, and raises Refused or Failed.
    """

    def __init__(self, top: Path, git: Git) -> None:
        self._top = os.path.realpath(top)
        self._git = git
        self._git_folders: set[tuple[int, int]] = set()
        for folder in (git.repository.git_dir, git.repository.common_dir):
            with suppress(OSError):
                seen = os.stat(folder)
                self._git_folders.add((seen.st_dev, seen.st_ino))

    # --- where a path leads

    def place(self, path: str, *, follow_last: bool = True) -> Parts:
        """Where ``path`` leads inside the worktree, its links resolved; the end of it need not exist."""
        waiting = list(parts_of(path))
        done: list[str] = []
        links = 0
        while waiting:
            name = waiting.pop(0)
            if name == "..":
                if not done:
                    raise Refused("a link on the way leads out of the worktree")
                done.pop()
                continue
            check_name(name)
            target = self._link(tuple(done), name) if waiting or follow_last else None
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise Refused("its links lead in a circle")
            if target.startswith("/") or not target:
                raise Refused("a link on the way leads out of the worktree")
            # What it points to counts from its own folder, which has no links on the way to it.
            waiting[:0] = [part for part in target.split("/") if part not in ("", ".")]
        return tuple(done)

    def _link(self, folder: Parts, name: str) -> str | None:
        """Where a link points to; None where it is no link, or not there."""
        try:
            with _told(), self._opened(folder) as at:
                if not stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                    return None
                return os.readlink(name, dir_fd=at)
        except _Missing:
            return None

    @contextmanager
    def _opened(self, folder: Parts, *, create: bool = False) -> Iterator[int]:
        """A folder of the worktree, open. Raises OSError where it is not there."""
        at = os.open(self._top, _FOLDER)
        try:
            for name in folder:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=at)
                below = os.open(name, _FOLDER, dir_fd=at)
                os.close(at)
                at = below
                self._check_folder(at)
            yield at
        finally:
            os.close(at)

    def _check_folder(self, at: int) -> None:
        seen = os.fstat(at)
        if (seen.st_dev, seen.st_ino) in self._git_folders:
            raise Refused("what is git's own is off limits")
        try:
            os.stat(".git", dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return
        raise Refused("it lies in another repository, a submodule or a worktree")

    # --- what is kept from a model

    def ignored(self, places: Sequence[Parts]) -> set[Parts]:
        """Those of ``places`` that git ignores; raises Refused where one is not of this repository."""
        words = b"".join(b"./" + os.fsencode("/".join(parts)) + b"\0" for parts in places)
        part = self.git("check-ignore", "-z", "--stdin", stdin=words)
        if part.cut or part.result.code not in (0, 1):
            complaint = part.result.complaint
            if "submodule" in complaint:
                raise Refused("it lies in a submodule")
            if "symbolic link" in complaint:
                raise Refused("a link on the way leads elsewhere")
            raise Failed(f"git does not say whether it is ignored: {complaint}")
        return {tuple(os.fsdecode(one)[2:].split("/")) for one in part.result.out.split(b"\0") if one}

    def _allowed(self, parts: Parts) -> Parts:
        if not parts:
            raise Failed("the path names no file")
        if self.ignored([parts]):
            raise Refused("git ignores it, and ignored files are kept from you")
        return parts

    def _writable(self, path: str, *, follow_last: bool = True) -> Parts:
        parts = self.place(path, follow_last=follow_last)
        if not parts:
            raise Failed("the path names no file")
        self._check_hooks(parts)
        self._check_settings(path, parts)
        return self._allowed(parts)

    def _check_hooks(self, parts: Parts) -> None:
        try:
            hooks = hooks_folder(self._git.environment, Path(self._top))[0]
        except StoreError as error:
            raise Failed(str(error)) from None
        if self._is_below(parts, hooks):
            raise Refused("git runs the hooks there")

    def _check_settings(self, path: str, parts: Parts) -> None:
        links = (os.path.join(self._top, name) for name in settings.NAMES)
        linked = any(os.path.islink(link) and self._is_below(parts, link) for link in links)
        if linked or any(map(settings.is_settings, (parts_of(path), parts))):
            raise Refused("it is a setting of git ai-session or of an agent, which you may read and not change")

    def _is_below(self, parts: Parts, folder: str | Path) -> bool:
        """Whether a place is a file or folder, or in it, wherever that leads."""
        inside = os.path.relpath(os.path.realpath(folder), self._top).split(os.sep)
        where = [] if inside == ["."] else [name.casefold() for name in inside]
        # Where it lies outside, the first of these is "..", which no path has.
        return [name.casefold() for name in parts[: len(where)]] == where

    # --- reading

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        return self._data(self._allowed(self.place(path)))

    def read_some(self, places: Sequence[Parts]) -> dict[Parts, bytes]:
        """The bytes of those of many files that may be read, with git asked once for all of them."""
        try:
            ignored = self.ignored(places) if places else set()
        except (Refused, Failed):
            return {} if len(places) < 2 else {k: v for one in places for k, v in self.read_some([one]).items()}
        found = {}
        for parts in places:
            with suppress(Refused, Failed):
                for name in parts:
                    check_name(name)
                if parts not in ignored:
                    found[parts] = self._data(parts)
        return found

    def _data(self, parts: Parts) -> bytes:
        with _told(), self._opened(parts[:-1]) as at:
            _check_kind(os.stat(parts[-1], dir_fd=at, follow_symlinks=False))
            # What it is may have changed since: it is asked again of what is open.
            with open(os.open(parts[-1], _READ, dir_fd=at), "rb") as file:
                _check_kind(os.fstat(file.fileno()))
                data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Failed("the file is larger than 1 MiB")
        return data

    # --- changing

    def target(self, path: str) -> Target:
        """The file that a write to ``path`` would make or replace, with what is there now."""
        parts = self._writable(path)
        if path.endswith("/"):
            raise Failed("the path names a folder, and not a file")
        try:
            with _told(), self._opened(parts[:-1]) as at:
                seen = os.stat(parts[-1], dir_fd=at, follow_symlinks=False)
        except _Missing:
            return Target(parts=parts, exists=False, data=None)
        _check_kind(seen, any_size=True)
        known = seen.st_size <= MAX_FILE_BYTES
        return Target(parts=parts, exists=True, data=self._data(parts) if known else None)

    def write(self, target: Target, data: bytes) -> None:
        """Writes a file whole or not at all, with the mode that it has; folders are made."""
        if _says_what_is_ignored(target.parts):
            _check_ignores(target, data)
        name, temporary = target.parts[-1], f".gitsess-{os.urandom(8).hex()}"
        with _told(), self._opened(target.parts[:-1], create=True) as at:
            try:
                mode: int | None = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode & 0o777
            except FileNotFoundError:
                mode = None
            try:
                with open(os.open(temporary, _MAKE, 0o666, dir_fd=at), "wb") as file:
                    file.write(data)
                    if mode is not None:
                        os.fchmod(file.fileno(), mode)
                os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=at)

    def delete(self, path: str) -> Parts:
        """Removes a file, or a link and not what it points to."""
        parts = self._writable(path, follow_last=False)
        if _says_what_is_ignored(parts):
            raise Refused(_IGNORES)
        with _told(), self._opened(parts[:-1]) as at:
            seen = os.stat(parts[-1], dir_fd=at, follow_symlinks=False)
            if not stat.S_ISLNK(seen.st_mode):
                _check_kind(seen, any_size=True)
            os.unlink(parts[-1], dir_fd=at)
        return parts

    # --- git

    def git(self, *args: str, stdin: bytes = b"") -> Part:
        """git in the worktree, within limits of time and of what it prints."""
        return self._git.in_worktree(
            self._top, *args, stdin=stdin, limit_bytes=_GIT_LIMIT_BYTES, timeout_s=_GIT_TIMEOUT_S
        )


class _Missing(Failed):
    """Nothing is there."""


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the system, in a sentence."""
    try:
        yield
    except FileNotFoundError:
        raise _Missing("there is no such file") from None
    except NotADirectoryError:
        raise Failed("a name on the way is no folder") from None
    except IsADirectoryError:
        raise Failed("it is a folder: list_files says what is in it") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused("it became a link meanwhile") from None
        raise Failed(f"the system says: {one_line(error.strerror or str(error))}") from None


def _check_kind(seen: os.stat_result, *, any_size: bool = False) -> None:
    if stat.S_ISDIR(seen.st_mode):
        raise Failed("it is a folder: list_files says what is in it")
    if not stat.S_ISREG(seen.st_mode):
        raise Refused("it is no ordinary file")
    if not any_size and seen.st_size > MAX_FILE_BYTES:
        raise Failed("the file is larger than 1 MiB")


_IGNORES = "it says which files are kept from you: lines may be added to it, but none taken away, nor any with '!'"


def _says_what_is_ignored(parts: Parts) -> bool:
    return plain(parts[-1]) == ".gitignore"


def _check_ignores(target: Target, data: bytes) -> None:
    """Raises Refused where a ``.gitignore`` would let through what it held back: what git ignores is kept from a
    model, and it must not be the model who says what that is."""
    if target.exists and target.data is None:
        raise Refused(_IGNORES)
    rest = iter(_rules(data))
    old = _rules(target.data or b"")
    # The old lines are all there, in their order; between them are new ones.
    for line in old:
        for one in rest:
            if one == line:
                break
            if one.startswith(b"!"):
                raise Refused(_IGNORES)
        else:
            raise Refused(_IGNORES)
    if any(line.startswith(b"!") for line in rest):
        raise Refused(_IGNORES)


def _rules(data: bytes) -> list[bytes]:
    """The lines of a ``.gitignore`` that say something, as git reads them."""
    lines = [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    return [line for line in lines if line.strip() and not line.startswith(b"#")]
