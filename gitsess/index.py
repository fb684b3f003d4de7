"""The index: what sessions come to, by the oid of a tip, so that their commits need not be read again.

``<git common dir>/ai-sessions/index.sqlite``, 0600:

    lines    id, tip, outline (JSON), chunks (their checksums), sum (a checksum of the three)
    chunks   line, number, body (JSON of some of its entries, in reading order)

A body is the number of entries and their columns; a column that holds one thing all along holds it once.

What a tip stands for never changes, so a row is right or absent, and it is checked before it is believed. A file that
is in doubt is deleted, to be made anew; a link, or what is somebody else's, is left alone and not read. Whatever goes
wrong, a lock or a full disk, the answer is "not known": nothing is raised and nothing waited for.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from gitsess import __version__
from gitsess.commit import FORMAT
from gitsess.locks import make_private
from gitsess.model import Oid
from gitsess.tally import Entry, Outline
from gitsess.values import Value

if TYPE_CHECKING:
    import pathlib
    from sqlite3 import Connection

T = TypeVar("T")
_Row = tuple[int, Oid, str, str, int]

SCHEMA = 1
# What another version made of the commits is not what this one would: it is made anew.
_STAMP = 1 + zlib.crc32(f"{SCHEMA} {FORMAT} {__version__}".encode()) % 0x7FFFFFFF
_TABLES = (
    "CREATE TABLE lines (id INTEGER PRIMARY KEY, tip TEXT NOT NULL UNIQUE, outline TEXT NOT NULL,"
    " chunks TEXT NOT NULL, sum INTEGER NOT NULL)",
    "CREATE TABLE chunks (line INTEGER NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,"
    " PRIMARY KEY (line, number)) WITHOUT ROWID",
)
_CHUNK = 200
"""Entries of a chunk: an append writes the last one anew."""
_PATIENCE_S = 0.1
_ONE_BY_ONE = 500
"""Tips up to which they are looked up; for more, the whole table is read."""
_SHARES = Entry._fields.index("shares")
_PASSING = frozenset("BUSY CANTOPEN FULL INTERRUPT IOERR LOCKED NOLFS NOMEM PERM PROTOCOL READONLY".split())
"""SQLite's failures that say nothing against the file."""


class Line(Value):
    """What is new of a tip: ``entries`` after the tip ``after``, or all where that is None; the outline is of all."""

    tip: Oid
    after: Oid | None
    entries: Sequence[Entry]
    outline: Outline


class Index:
    """The index of one repository, in the folder ``ai-sessions``; opened for every question."""

    def __init__(self, folder: str | pathlib.Path) -> None:
        self._folder = os.fspath(folder)
        self._path = os.path.join(folder, "index.sqlite")

    @property
    def path(self) -> pathlib.Path:
        from pathlib import Path

        return Path(self._path)

    @property
    def exists(self) -> bool:
        """Whether there is a file to be used: one's own, that nobody else may write."""
        return _is_own(self._folder, stat.S_ISDIR) and _is_own(self._path, stat.S_ISREG)

    def fault(self) -> str | None:
        """What keeps the file from being used, where there is one; nothing is changed by asking."""
        if not os.path.lexists(self._path):
            return None
        if not _is_own(self._path, stat.S_ISREG, writers=True):
            return "is no file of one's own"
        import sqlite3
        from pathlib import Path

        try:
            where = f"{Path(self._path).as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(where, uri=True, timeout=_PATIENCE_S)) as connection:
                if _stamp(connection) in (0, _STAMP):
                    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                    rows = connection.execute("SELECT id, tip, outline, chunks, sum FROM lines").fetchall()
                    for row in rows if said == "ok" else ():
                        if _sum(*row[1:4]) != row[4]:
                            raise _InDoubt
                        _bodies(connection, row)
                    return None if said == "ok" else "is damaged"
        except (sqlite3.Error, _InDoubt, ValueError, TypeError, LookupError):
            return "is damaged"
        return None

    def outlines(self, tips: Collection[Oid]) -> dict[Oid, Outline]:
        """The outlines of those tips that are known."""
        return self._ask(lambda connection: _outlines(_rows(connection, tips)), {})

    def tips(self) -> set[Oid]:
        """Every tip that is known."""
        return self._ask(lambda connection: {tip for (tip,) in connection.execute("SELECT tip FROM lines")}, set())

    def entries(self, tips: Collection[Oid]) -> dict[Oid, list[Entry]]:
        """The entries of those tips that are known, in reading order."""
        return self._ask(lambda connection: {row[1]: _entries(connection, row) for row in _rows(connection, tips)}, {})

    def mentions(self, words: Mapping[Oid, Collection[str]]) -> set[Oid]:
        """The tips whose entries hold any of the words that are given for each; those that are not known too."""

        def found(connection: Connection) -> set[Oid]:
            bodies = {row[1]: _bodies(connection, row) for row in _rows(connection, words)}
            without = {tip for tip, texts in bodies.items() if not any(w in t for t in texts for w in words[tip])}
            return set(words) - without

        return self._ask(found, set(words))

    def save(self, lines: Iterable[Line], *, alive: Collection[Oid]) -> None:
        """Adds lines and drops those whose tip is not ``alive``: all of it, or nothing where that cannot be at once.

        A line whose ``after`` another process has moved meanwhile is left out: it will be read again.
        """
        if not self.exists:
            self.discard()
            self._make()

        def write(connection: Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            if _stamp(connection) == 0:
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_STAMP}")
            for line in lines:
                _put(connection, line, alive)
            gone = [(number,) for number, tip in connection.execute("SELECT id, tip FROM lines") if tip not in alive]
            connection.executemany("DELETE FROM chunks WHERE line = ?", gone)
            connection.executemany("DELETE FROM lines WHERE id = ?", gone)
            connection.execute("COMMIT")

        self._ask(write, None, empty=True)

    def discard(self) -> None:
        """Deletes the file, if it is one's own. The journal goes first: it would be played into the next file."""
        if _is_own(self._folder, stat.S_ISDIR) and _is_own(self._path, stat.S_ISREG, writers=True):
            with contextlib.suppress(OSError):
                for path in (f"{self._path}-journal", self._path):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)

    def _make(self) -> None:
        # SQLite would make a file that others may read.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            make_private(self._folder)
            if _is_own(self._folder, stat.S_ISDIR):
                os.close(os.open(self._path, flags, 0o600))

    def _ask(self, work: Callable[[Connection], T], otherwise: T, *, empty: bool = False) -> T:
        """What ``work`` makes of the file, else ``otherwise``; ``empty``: also of a file without tables."""
        if not self.exists:
            return otherwise
        try:
            import sqlite3
            from pathlib import Path
        except ImportError:
            return otherwise
        try:
            # Named so that SQLite makes no file where this one has just gone.
            where = f"{Path(self._path).as_uri()}?mode=rw"
            with contextlib.closing(
                sqlite3.connect(where, uri=True, timeout=_PATIENCE_S, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute("PRAGMA synchronous = NORMAL")
                if not empty:
                    connection.execute("BEGIN")
                stamp = _stamp(connection)
                if stamp not in (0, _STAMP):
                    raise _InDoubt
                return work(connection) if stamp or empty else otherwise
        except sqlite3.Error as error:
            # SQLITE_IOERR_WRITE is an IOERR. What is no answer of SQLite has no name.
            if getattr(error, "sqlite_errorname", "_IOERR").split("_")[1] in _PASSING:
                return otherwise
        except (_InDoubt, ValueError, TypeError, LookupError):
            pass
        self.discard()
        return otherwise


class _InDoubt(Exception):
    """The file does not hold what was written."""


def _is_own(path: str, kind: Callable[[int], bool], *, writers: bool = False) -> bool:
    """Whether what is there, itself and not what it leads to, is one's own, and nobody else may write it."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return own and kind(found.st_mode) and (writers or not found.st_mode & 0o022)


def _stamp(connection: Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _sum(*texts: str) -> int:
    return zlib.crc32("\n".join(texts).encode())


def _rows(connection: Connection, tips: Collection[Oid]) -> list[_Row]:
    """The lines of these tips, checked."""
    columns = "SELECT id, tip, outline, chunks, sum FROM lines"
    if len(tips) > _ONE_BY_ONE:
        wanted = set(tips)
        rows = [row for row in connection.execute(columns) if row[1] in wanted]
    else:
        marks = ",".join("?" * len(tips))
        rows = connection.execute(f"{columns} WHERE tip IN ({marks})", tuple(tips)).fetchall()
    if any(_sum(*row[1:4]) != row[4] for row in rows):
        raise _InDoubt
    return rows


def _outlines(rows: Sequence[_Row]) -> dict[Oid, Outline]:
    import json

    decoded = json.loads(f"[{','.join(row[2] for row in rows)}]")
    return {row[1]: _outline(*items) for row, items in zip(rows, decoded, strict=True)}


def _outline(sums: Any, models: Any, problems: Any, *others: Any) -> Outline:
    # JSON has no tuples.
    numbers, cost = sums
    return Outline((tuple(numbers), cost), tuple(models), tuple(problems), *others)


def _bodies(connection: Connection, row: _Row) -> list[str]:
    """The chunks of a line, checked."""
    found = connection.execute("SELECT body FROM chunks WHERE line = ? ORDER BY number", row[:1])
    bodies = [body for (body,) in found]
    if _sums(bodies) != row[3]:
        raise _InDoubt
    return bodies


def _sums(bodies: Iterable[str]) -> str:
    return " ".join(str(_sum(body)) for body in bodies)


def _entries(connection: Connection, row: _Row) -> list[Entry]:
    return [entry for body in _bodies(connection, row) for entry in _read(body)]


def _written(entries: Sequence[Entry]) -> str:
    """The body of a chunk."""
    import json

    count = len(entries)
    columns = [column[:1] if column.count(column[0]) == count else column for column in zip(*entries, strict=True)]
    return json.dumps((count, columns), separators=(",", ":"))


def _read(body: str) -> Iterator[Entry]:
    import json

    count, columns = json.loads(body)
    # JSON has no tuples.
    columns[_SHARES] = [tuple(map(tuple, shares)) for shares in columns[_SHARES]]
    whole = [column if len(column) == count else column * count for column in columns]
    # What _make does, without a call of Python's for each of many.
    return map(tuple.__new__, repeat(Entry), zip(*whole, strict=True))


def _put(connection: Connection, line: Line, alive: Collection[Oid]) -> None:
    if connection.execute("SELECT 1 FROM lines WHERE tip = ?", (line.tip,)).fetchone():
        return
    number, old = None, []
    if line.after is not None:
        base = _rows(connection, [line.after])
        if not base:
            return
        old = _bodies(connection, base[0])
        if line.after not in alive:
            number = base[0][0]
    kept = max(len(old) - 1, 0)
    entries = [*(entry for body in old[kept:] for entry in _read(body)), *line.entries]
    bodies = [_written(entries[start : start + _CHUNK]) for start in range(0, len(entries), _CHUNK)]
    import json

    outline = json.dumps(line.outline, separators=(",", ":"))
    chunks = _sums([*old[:kept], *bodies])
    values = (line.tip, outline, chunks, _sum(line.tip, outline, chunks))
    if number is None:
        words = "INSERT INTO lines (tip, outline, chunks, sum) VALUES (?, ?, ?, ?)"
        number, kept, bodies = connection.execute(words, values).lastrowid, 0, [*old[:kept], *bodies]
    else:
        connection.execute("UPDATE lines SET tip = ?, outline = ?, chunks = ?, sum = ? WHERE id = ?", (*values, number))
    connection.executemany(
        "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?)", [(number, kept + n, body) for n, body in enumerate(bodies)]
    )
