"""What a turn changed in the working tree, whoever changed it, and the commit of that.

    with snapshot(git, top) as before:
        …
        with snapshot(git, top) as after:
            print(*between(git, before, after).summary(80), sep="\\n")

A snapshot is a tree of all files that git tracks or would track. Its objects are in a temporary folder, with the
repository's own behind them, and it is made in a copy of the index: untracked files may hold secrets, of which nothing
is to be left in the repository, and the real index is neither changed nor locked.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

from gitsess.errors import StoreError, UsageError
from gitsess.gitcli import Git, Result
from gitsess.model import Oid
from gitsess.text import clip, one_line, pad, plural, well_formed, width
from gitsess.values import Value

MAX_DIFF = 2 << 20
MAX_SHOWN = 50
"""Files that a summary names; the rest are counted."""
_MAX_TOLD = 300
"""Columns of what a hook said."""
NONE_CHANGED = "no file was changed"

# The person's hooks, monitor and checks have no part in a look at the tree, and nothing of it has to last.
_LOOKING = tuple(
    word
    for setting in (
        f"core.hooksPath={os.devnull}",
        "core.fsmonitor=false",
        "core.splitIndex=false",
        "core.untrackedCache=false",
        "core.safecrlf=false",
        "core.fsync=none",
        "core.looseCompression=0",
        "advice.addEmbeddedRepo=false",
    )
    for word in ("-c", setting)
)
# Neither programs of the person nor their wishes for a form take part in what diff-tree prints, but for this one.
_WHOLE = "--ignore-submodules=none"
_NARROWEST_NAME, _NARROWEST_GRAPH = 10, 6
_HEADER = b"\ndiff --git "


class Change(Value):
    """``path`` from the top, bytes that are no UTF-8 as surrogates, as ``os.fsdecode`` has them; ``status`` is git's
    letter: A, M, D, or T for another type of file. Lines are None where git takes the file for a binary one."""

    path: str
    status: str
    added: int | None
    removed: int | None


class Changes(Value):
    """The files that differ, in git's order; a renamed one is one that is gone and one that is new.

    ``unsaved`` are those of them that differed from HEAD before, each with what it was (``Unsaved.now``).
    """

    files: tuple[Change, ...]
    unsaved: Mapping[str, str] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(change.path for change in self.files)

    def summary(self, columns: int) -> Iterator[str]:
        """Lines as of ``git diff --stat``: a file each, and their sum."""
        if not self.files:
            yield NONE_CHANGED
            return
        shown = self.files[:MAX_SHOWN]
        counts = [(change.added or 0) + (change.removed or 0) for change in shown]
        figures = ["Bin" if change.added is None else str(count) for change, count in zip(shown, counts, strict=True)]
        names = [one_line(change.path) or "?" for change in shown]
        figure_columns = max(map(len, figures))
        free = max(columns - figure_columns - len("  |  "), _NARROWEST_NAME + _NARROWEST_GRAPH)
        name_columns = min(max(map(width, names)), max(free - min(max(counts), free * 3 // 8), _NARROWEST_NAME))
        room = max(free - name_columns, _NARROWEST_GRAPH)
        for change, name, figure in zip(shown, names, figures, strict=True):
            plus, minus = _graph(change.added or 0, change.removed or 0, max(counts), room)
            line = f" {pad(_end(name, name_columns), name_columns)} | {pad(figure, figure_columns, right=True)}"
            yield f"{line} {'+' * plus}{'-' * minus}".rstrip()
        if len(self.files) > MAX_SHOWN:
            yield f" … {plural(len(self.files) - MAX_SHOWN, 'more file')}"
        added = sum(change.added or 0 for change in self.files)
        removed = sum(change.removed or 0 for change in self.files)
        parts = [f"{plural(len(self.files), 'file')} changed"]
        if added or not removed:
            parts.append(f"{plural(added, 'insertion')}(+)")
        if removed or not added:
            parts.append(f"{plural(removed, 'deletion')}(-)")
        yield ", ".join(parts)


def _graph(added: int, removed: int, most: int, room: int) -> tuple[int, int]:
    """How many signs each gets: as many as lines where they all fit, else in proportion, and one at least."""
    if most <= room:
        return added, removed
    total = added + removed
    signs = max(round(total * room / most), bool(added) + bool(removed))
    plus = round(signs * added / total) if total else 0
    plus = min(max(plus, bool(added)), signs - bool(removed))
    return plus, signs - plus


def _end(name: str, columns: int) -> str:
    """The end of a file's name, which says more than its beginning."""
    if width(name) <= columns:
        return name
    while width(name) > columns - 1:
        name = name[1:]
    return f"…{name}"


class Unsaved(Value):
    """A file that differs from HEAD: its mode and the name of its blob, there and now; empty where it is not there."""

    head: str
    now: str


class Snapshot:
    """The working tree at ``top`` as it was, and what HEAD was then; gone when it is closed."""

    tree: Oid
    head: str

    def __init__(self, folder: tempfile.TemporaryDirectory[str], top: Path) -> None:
        self._folder = folder
        self.top = top

    @property
    def objects(self) -> str:
        return os.path.join(self._folder.name, "objects")

    @property
    def index(self) -> str:
        return os.path.join(self._folder.name, "index")

    def close(self) -> None:
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def snapshot(git: Git, top: Path) -> Snapshot:
    """The working tree as it is now: to be closed, or used in a ``with``. Raises StoreError.

    Filters convert as they do for ``git add``, so that a file of git-lfs is its pointer; one that fails leaves the file
    as it is, even where it is required. What git cannot read counts as unchanged. Submodules are the commits that they
    are at.
    """
    made = Snapshot(_scratch(), top)
    try:
        os.mkdir(made.objects)
        variables = {
            "GIT_INDEX_FILE": made.index,
            "GIT_OBJECT_DIRECTORY": made.objects,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _alternates(git),
        }
        made.head = _head(git)
        made.tree = _tree(git.working(top, variables), made.index, [*_LOOKING, *_lenient(git.config())])
    except BaseException as error:
        made.close()
        if isinstance(error, OSError):
            raise StoreError(f"the working tree cannot be looked at: {error.strerror}") from None
        raise
    return made


def _scratch() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="gitsess-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StoreError(f"no temporary folder can be made: {error.strerror}") from None


def _tree(working: Git, index: str, looking: Sequence[str]) -> Oid:
    real = os.path.join(working.repository.git_dir, "index")
    complaint = ""
    # A file may vanish while it is read; an index that cannot be used is made anew.
    for source in (real, real, None):
        for path in (index, f"{index}.lock"):
            with suppress(FileNotFoundError):
                os.unlink(path)
        if source is not None:
            with suppress(FileNotFoundError):
                # With its time: by that git knows which files may have changed since without looking different.
                shutil.copy2(source, index)
        done = working.run(*looking, "add", "--all", "--sparse", "--ignore-errors")
        if done.code in (0, 1):
            done = working.run(*looking, "write-tree", "--missing-ok")
            if done.code == 0:
                return Oid(done.out.decode().strip())
        complaint = done.complaint
    raise StoreError(f"git cannot look at the working tree: {complaint}")


def _lenient(config: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for key in config:
        if key.startswith("filter.") and key.endswith(".required") and "=" not in key:
            yield from ("-c", f"{key}=false")


def _alternates(git: Git, *more: str) -> str:
    """The folders of objects, in the form of git's variable: quoted, for a path may hold a colon."""
    paths = [*more, os.path.join(git.repository.common_dir, "objects")]
    quoted = (path.replace("\\", "\\\\").replace('"', '\\"') for path in paths)
    return ":".join(f'"{path}"' for path in quoted)


def _reading(git: Git, last: Snapshot, *others: Snapshot) -> Git:
    """git that has the objects of these snapshots as well, and the index of the last one: attributes come from it."""
    alternates = _alternates(git, *(one.objects for one in (last, *others)))
    return git.working(last.top, {"GIT_INDEX_FILE": last.index, "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates})


def between(git: Git, before: Snapshot, after: Snapshot) -> Changes:
    """What differs between two snapshots, both still open; raises StoreError.

    A file that is no longer in the second one because it is ignored meanwhile has not changed.
    """
    words = (*_LOOKING, "diff-tree", "-r", "-z", "--raw", "--numstat", _WHOLE)
    out = _reading(git, after, before).output(*words, before.tree, after.tree)
    found = (change for change in _changes(out) if change.status != "D" or not _is_there(after.top, change.path))
    files = tuple(found)
    had = unsaved(git, before)
    return Changes(files=files, unsaved={one.path: had[one.path].now for one in files if one.path in had})


def unsaved(git: Git, then: Snapshot) -> Mapping[str, Unsaved]:
    """The files of a snapshot, still open, that differed from HEAD then, by path; raises StoreError."""
    words = (*_LOOKING, "diff-tree", "-r", "-z", "--raw", "--no-abbrev", _WHOLE)
    tokens = iter(_reading(git, then).output(*words, then.head, then.tree).split(b"\0"))
    found = {}
    for token in tokens:
        if token.startswith(b":"):
            old_mode, mode, old, new, _ = token[1:].decode().split()
            sides = (f"{m} {blob}" if int(m, 8) else "" for m, blob in ((old_mode, old), (mode, new)))
            found[os.fsdecode(next(tokens))] = Unsaved(head=next(sides), now=next(sides))
    return found


def _head(git: Git) -> str:
    """What HEAD is, to compare with: where there is no commit yet, nothing."""
    done = git.run("rev-parse", "--verify", "--quiet", "HEAD")
    return done.out.decode().strip() if done.code == 0 else _empty_tree(git)


def _is_there(top: Path, path: str) -> bool:
    full = os.path.join(os.fsencode(top), os.fsencode(path))
    return os.path.lexists(full) and not _is_folder(full)


def _is_folder(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _changes(out: bytes) -> Iterator[Change]:
    """The two lists that git printed, the one of types and the one of lines, brought together."""
    tokens = iter(out.split(b"\0"))
    letters: dict[bytes, str] = {}
    for token in tokens:
        if token.startswith(b":"):
            letters[next(tokens)] = chr(token.rpartition(b" ")[2][0])
        elif token:
            added, removed, path = token.split(b"\t", 2)
            yield Change(
                path=os.fsdecode(path),
                status=letters[path],
                added=int(added) if added.isdigit() else None,
                removed=int(removed) if removed.isdigit() else None,
            )


# A commit


def commit(git: Git, top: Path, paths: Sequence[str], message: str) -> Oid | None:
    """Commits these paths as they are in the working tree, and nothing else, whatever is staged; None where none of
    them differs from HEAD.

    As if the person had typed ``git commit --only``: with their hooks, identity and signing. Raises StoreError with
    git's complaint where it refuses; the index is then as it was.
    """
    person = git.working(top, as_person=True)
    index = os.path.join(git.repository.git_dir, "index")
    with _scratch() as folder, _readable(index):
        listed = os.path.join(folder, "paths")
        known = set(person.output("ls-files", "-z").split(b"\0"))
        wanted = [os.fsencode(path) for path in dict.fromkeys(paths)]
        new = [path for path in wanted if path not in known and os.path.lexists(os.path.join(os.fsencode(top), path))]
        kept = _Index(index, os.path.join(folder, "index"))
        try:
            if new:
                _list(listed, new)
                # Git has to know a path before it can be committed alone.
                adding = ("add", "--intent-to-add", "--force", "--sparse", *_from_file(listed))
                try:
                    _must(person.run("-c", "advice.addEmbeddedRepo=false", *adding))
                finally:
                    kept.remember()
            # 'git diff' writes down what it finds unchanged: in a copy.
            looked_at = os.path.join(folder, "looked-at")
            with suppress(FileNotFoundError):
                shutil.copy2(index, looked_at)
            differing = _differing(git.working(top, {"GIT_INDEX_FILE": looked_at}), top, wanted)
            if not differing:
                return None
            _list(listed, differing)
            making = ("commit", "--quiet", "--only", "--cleanup=whitespace", "--file=-", *_from_file(listed))
            _must(person.run("-c", "i18n.commitEncoding=UTF-8", *making, stdin=well_formed(message).encode()))
            kept.done = True
            # What a hook added to the commit is only in git's own temporary index: the person's would take it back.
            person.run("reset", "--quiet", *_from_file(listed))
        finally:
            kept.restore(person, new)
        return Oid(person.output("rev-parse", "--verify", "HEAD").decode().strip())


def _must(done: Result) -> None:
    if done.code:
        # git explains itself behind a line that says it; of a hook any line may be the one that tells.
        fatal = [line for line in done.err.splitlines() if line.startswith("fatal: ")]
        complaint = one_line(fatal[-1].removeprefix("fatal: ")) if fatal else _told(done)
        raise StoreError(f"git does not commit: {complaint or 'a hook refused, and did not say why'}")


def _told(done: Result) -> str:
    """All that was said, in one line, as far as that goes."""
    if done.code < 0:
        return done.complaint
    lines = [one_line(line).removeprefix("error: ") for line in done.err.splitlines()]
    return clip("; ".join(line for line in lines if line and not line.startswith(("warning: ", "hint: "))), _MAX_TOLD)


def _list(path: str, names: Iterable[bytes]) -> None:
    with open(path, "wb") as stream:
        # Not by a variable, which the person's hooks would have as well.
        stream.write(b"".join(b":(top,literal)%b\0" % name for name in names))


def _from_file(path: str) -> tuple[str, str]:
    return f"--pathspec-from-file={path}", "--pathspec-file-nul"


def _differing(git: Git, top: Path, wanted: Sequence[bytes]) -> list[bytes]:
    """Those of the paths that differ from HEAD, as far as they are to be named to ``git commit``."""
    words = (
        *_LOOKING,
        "diff",
        "--name-only",
        "-z",
        "--no-renames",
        "--no-relative",
        "--ignore-submodules=dirty",
        _head(git),
        "--",
    )
    changed = set(git.output(*words).split(b"\0"))
    found = [path for path in wanted if path in changed]
    # A file that became a folder goes with what is in there now, and git would not take its name.
    folders = {path for path in found if _is_folder(os.path.join(os.fsencode(top), path))}
    return [path for path in found if path not in folders or not any(one.startswith(path + b"/") for one in found)]


def _empty_tree(git: Git) -> str:
    return git.output("hash-object", "-t", "tree", "--stdin", stdin=b"").decode().strip()


@contextmanager
def _readable(index: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{index} cannot be copied: {error.strerror}") from None


class _Index:
    """The person's index, to be put back as it was if nothing else has touched it meanwhile."""

    def __init__(self, path: str, copy: str) -> None:
        self._path = path
        self._copy = copy
        self._was_there = os.path.exists(path)
        if self._was_there:
            shutil.copy2(path, copy)
        self._ours: tuple[int, int, int] | None = None
        self.done = False

    def _stamp(self) -> tuple[int, int, int] | None:
        with suppress(FileNotFoundError):
            found = os.stat(self._path)
            return found.st_ino, found.st_size, found.st_mtime_ns
        return None

    def remember(self) -> None:
        self._ours = self._stamp()

    def restore(self, person: Git, new: Sequence[bytes]) -> None:
        if self.done or self._ours is None:
            return
        lock = f"{self._path}.lock"
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except OSError:
            return
        try:
            if self._stamp() == self._ours:
                if self._was_there:
                    shutil.copyfile(self._copy, lock)
                    shutil.copystat(self._copy, lock)
                    os.replace(lock, self._path)
                else:
                    os.unlink(self._path)
                return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(lock)
        person.run("update-index", "--force-remove", "-z", "--stdin", stdin=b"".join(b"%b\0" % path for path in new))


# A diff


def diff(git: Git, top: Path, spec: str = "HEAD") -> str:
    """The text of a diff for review: of a range ``main..HEAD`` or ``main...HEAD``, or of the working tree, with its
    untracked files, against a commit. Of more than 2 MiB the rest is counted. Empty where nothing differs.

    Raises UsageError where ``spec`` names no commits.
    """
    found = re.fullmatch(r"(.*?)(\.{2,3})(.*)", spec)
    if found is None:
        unborn = spec == "HEAD" and git.run("rev-parse", "--verify", "--quiet", "HEAD").code != 0
        base = _empty_tree(git) if unborn else _commit(git, spec)
        with snapshot(git, top) as now:
            return _patch(_reading(git, now), base, now.tree)
    old, new = (_commit(git, side or "HEAD") for side in (found[1], found[3]))
    if found[2] == "...":
        done = git.run("merge-base", old, new)
        if done.code:
            raise UsageError(f"'{one_line(spec)}': these have no commit in common; '..' in place of '...' needs none")
        old = done.out.decode().split()[0]
    return _patch(git, old, new)


def _commit(git: Git, name: str) -> str:
    done = None if name.startswith("-") or "\0" in name else git.run("rev-parse", "--verify", f"{name}^{{commit}}")
    if done is None or done.code:
        raise UsageError(f"'{one_line(name)}' is no commit here: give one, or a range such as main..HEAD")
    return done.out.decode().strip()


def _patch(git: Git, old: str, new: str) -> str:
    with git.reading(*_LOOKING, "diff-tree", "--patch", "--find-renames", _WHOLE, old, new) as stream:
        return _bounded(stream)


def _bounded(stream: IO[bytes]) -> str:
    kept = stream.read(MAX_DIFF + 1)
    if len(kept) <= MAX_DIFF:
        return kept.decode("utf-8", "replace")
    file_end, line_end = kept.rfind(_HEADER) + 1, kept.rfind(b"\n", 0, MAX_DIFF) + 1
    end = file_end if file_end > MAX_DIFF // 2 else line_end or MAX_DIFF
    left, files, carried = 0, 0, b"\n" + kept[end:]
    while carried:
        left += len(carried)
        files += carried.count(_HEADER)
        # A header may lie across two pieces.
        more = stream.read(1 << 20)
        keep = carried[-len(_HEADER) + 1 :] if more else b""
        left -= len(keep)
        carried = keep + more
    rest = f"{left - 1:,} bytes, {plural(files, 'more file')}" if files else f"{left - 1:,} bytes"
    shown = kept[:end].decode("utf-8", "replace")
    return f"{shown}[… the diff is longer than {MAX_DIFF >> 20} MiB: {rest} left out …]\n"
