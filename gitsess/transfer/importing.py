"""Sessions coming in: checked as a whole, then their objects taken over, then all refs moved together or none.

What becomes of a session whose name is taken follows docs/format.md §6: the newer of two tips of one history is
the session; sides that were appended to apart are merged; another session of that name comes in beside it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from gitsess import commit, names
from gitsess.commit import Facts
from gitsess.errors import Conflict, FormatError, Locked, NotASession, StoreError, UsageError
from gitsess.gitcli import Git, Ref, scratch_repository
from gitsess.history import History
from gitsess.locks import flock, make_private
from gitsess.model import Oid, SessionName
from gitsess.store import Store
from gitsess.store.pack import Names, Packs
from gitsess.transfer.checking import Checked, Checker
from gitsess.transfer.parsing import End, Line, Readable, elements
from gitsess.transfer.reading import Reader
from gitsess.values import Value

MESSAGE = "ai-session: import"
LOCK_WAIT_S = 15.0
_ATTEMPTS = 5
_BUNDLE = (b"# v2 git bundle\n", b"# v3 git bundle\n")
_COPIED = 1 << 20


class Outcome(Value):
    """What became of a session. ``outcome``: ``created``, ``updated`` (it went on), ``unchanged`` (all of it was
    there), ``merged``, or ``renamed`` (another session has its name, ``given``); ``turns`` came with it."""

    session: SessionName
    given: SessionName
    outcome: str
    tip: Oid
    turns: int


class _Move(Value):
    outcome: Outcome
    old: Oid | None
    merge: bytes | None = None


class Importer:
    """Brings sessions into one repository."""

    def __init__(self, git: Git, store: Store) -> None:
        self._git = git
        self._store = store
        self._names = Names(git.repository.object_format)
        self._present: frozenset[bytes] = frozenset()

    def take(self, stream: Readable, what: str, *, dry_run: bool = False) -> list[Outcome]:
        """Imports what ``export`` wrote: JSON, JSON lines or a bundle, told apart by how it begins.

        Raises FormatError where anything in it is not as it must be, Conflict where a session cannot be brought
        together with the one here: nothing has changed then. ``dry_run`` stops before anything does.
        """
        opening = stream.read(len(_BUNDLE[0]))
        joined = _Joined(opening, stream)
        with holding(self._git) as folder:
            self._present = frozenset(self._reached())
            packs = Packs(self._git, folder)
            try:
                checker = Checker(
                    self._names,
                    self._git.repository.oid_length,
                    packs,
                    lambda oid: bytes.fromhex(oid) in self._present,
                )
                if opening in _BUNDLE:
                    checked = list(self._from_bundle(joined, folder, checker))
                else:
                    checked = list(_from_json(joined, what, checker))
                return self._finish(checked, packs, dry_run=dry_run)
            except FormatError as error:
                raise type(error)(f"{error}; nothing was imported") from None
            finally:
                packs.close()

    def _reached(self) -> Iterator[bytes]:
        """Every commit that a session here reaches."""
        done = self._git.run("rev-list", f"--glob={names.REF_PREFIX}*")
        # Where a part of a history is missing nothing is taken for present: then objects are written again.
        for line in done.out.split() if done.code == 0 else ():
            yield bytes.fromhex(line.decode("ascii"))

    def _from_bundle(self, stream: _Joined, folder: Path, checker: Checker) -> Iterator[Checked]:
        """The sessions of a bundle: fetched by git into a repository of their own, and read from there."""
        path = folder / "bundle"
        with open(path, "xb") as out:
            while chunk := stream.read(_COPIED):
                out.write(chunk)
        scratch = scratch_repository(folder / "scratch", self._git)
        refspec = f"{names.REF_PREFIX}*:{names.REF_PREFIX}*"
        settings = ("fetch.fsckObjects=true", "protocol.file.allow=always", "core.hooksPath=/dev/null", "gc.auto=0")
        options = [word for setting in settings for word in ("-c", setting)]
        done = scratch.run(*options, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(path), refspec)
        if done.code:
            raise FormatError(f"git cannot read the bundle: {done.complaint}")
        path.unlink()
        tips, warnings = History(scratch).tips()
        if warnings:
            raise FormatError(f"the bundle holds what is no session: {warnings[0]}")
        reader = Reader(scratch)
        try:
            for name, tip in tips.items():
                where = f"{name} in the bundle"
                for exact in reader.commits(reader.order(tip)):
                    paths = list(exact.files)
                    blobs = reader.blobs([exact.files[path] for path in paths])
                    files = {path: data for path, (_, data) in zip(paths, blobs, strict=True)}
                    checker.commit(exact.oid, exact.raw, files, where)
                yield checker.end(name, tip, where)
        finally:
            reader.close()

    def _finish(self, checked: list[Checked], packs: Packs, *, dry_run: bool) -> list[Outcome]:
        given = [item.name for item in checked]
        twice = next((name for name in given if given.count(name) > 1), None) if len(set(given)) < len(given) else None
        if twice is not None:
            raise FormatError(f"{twice} is in the file twice")
        moves = self._moves(checked)
        if dry_run or all(move.old == move.outcome.tip for move in moves):
            return [move.outcome for move in moves]
        with flock(os.path.join(self._git.repository.state_dir, "lock"), shared=True, wait_s=LOCK_WAIT_S):
            packs.install()
            complaint: str | None = ""
            for _ in range(_ATTEMPTS):
                complaint = self._move(moves)
                if complaint is None:
                    return [move.outcome for move in moves]
                # Somebody appended meanwhile: what is to become of each session is decided anew.
                moves = self._moves(checked)
        raise Locked(f"the sessions cannot be moved: {complaint}")

    def _move(self, moves: list[_Move]) -> str | None:
        for move in moves:
            if move.merge is not None:
                self._git.empty_tree()
                self._store.write_commit(move.merge)
        wanted = [
            (names.ref_of(move.outcome.session), move.outcome.tip, move.old)
            for move in moves
            if move.old != move.outcome.tip
        ]
        return self._git.move_refs(wanted, message=MESSAGE) if wanted else None

    def _moves(self, checked: list[Checked]) -> list[_Move]:
        """What is to become of each; raises Conflict, or NotASession for a ref that no session may replace."""
        refs = {ref.name: ref for ref in self._git.refs(names.REF_PREFIX)[0]}
        taken: dict[SessionName, Checked] = {}
        moves = []
        for item in checked:
            move = self._one(item, item.name, refs)
            other = taken.setdefault(move.outcome.session, item)
            if other is not item:
                raise Conflict(f"{item.name} would come in as {move.outcome.session}, as {other.name} does")
            moves.append(move)
        return moves

    def _one(self, item: Checked, name: SessionName, refs: dict[str, Ref]) -> _Move:
        tip = item.tip.oid

        def become(outcome: str, *, tip: Oid = tip, merge: bytes | None = None, turns: int = item.new) -> _Move:
            done = Outcome(session=name, given=item.name, outcome=outcome, tip=tip, turns=turns)
            return _Move(outcome=done, old=current, merge=merge)

        ref = refs.get(names.ref_of(name))
        current = None if ref is None else ref.oid
        if ref is None or current is None:
            return become("created" if name == item.name else "renamed")
        if ref.symbolic:
            raise NotASession(f"{ref.name} is a symbolic ref, which no session is; nothing was changed")
        if current == tip:
            return become("unchanged", turns=0)
        if bytes.fromhex(current) in item.commits:
            return become("updated")
        if bytes.fromhex(tip) in self._present and self._is_ancestor(tip, current):
            return become("unchanged", tip=current, turns=0)
        here = self._standing(current, name)
        ours = self._session_id(current)
        if ours != item.session_id:
            if name != item.name:
                raise Conflict(f"{item.name} cannot come in: {name}, which it would be called, is another session")
            return self._one(item, beside(name, item.session_id), refs)
        facts = item.tip.facts
        if here[1].epoch != facts.epoch:
            raise Conflict(
                f"{name} cannot be brought together with the one here: text was taken out of its history on one side"
                f" (epoch {here[1].epoch} here, {facts.epoch} in the file); nothing was changed"
            )
        tips = [(current, *here), (tip, item.tip.committed_at, facts)]
        merge = commit.encode_merge(tips=tips, empty_tree=self._names.of("tree", b""))
        return become("merged", tip=self._names.of("commit", merge), merge=merge)

    def _standing(self, tip: Oid, name: SessionName) -> tuple[datetime, Facts]:
        try:
            found = commit.decode(tip, self._store.read_commit(tip))
        except FormatError as error:
            raise NotASession(f"{names.ref_of(name)} points at {tip[:12]}: {error}; nothing was changed") from None
        return found.committed_at, found.facts

    def _session_id(self, tip: Oid) -> str | None:
        roots = self._git.output("rev-list", "--max-parents=0", tip).decode("ascii").split()
        for root in roots:
            try:
                found = commit.decode(Oid(root), self._store.read_commit(Oid(root))).facts.session_id
            except FormatError:
                continue
            if found is not None:
                return found
        return None

    def _is_ancestor(self, older: Oid, newer: Oid) -> bool:
        return self._git.run("merge-base", "--is-ancestor", older, newer).code == 0


@contextmanager
def holding(git: Git) -> Iterator[Path]:
    """A private folder on the repository's own disk, for what is not yet known to be good."""
    parent = git.repository.state_dir
    try:
        make_private(parent)
        folder = tempfile.TemporaryDirectory(prefix="import-", dir=parent)
    except OSError as error:
        raise StoreError(f"{parent} cannot be written: {error.strerror}") from None
    with folder as path:
        yield Path(path)


def beside(name: SessionName, session_id: str) -> SessionName:
    """The name under which another session of this name comes in: ``<name>-<first 6 of its id>``."""
    return names.with_suffix(name, session_id[:6])


def _from_json(stream: _Joined, what: str, checker: Checker) -> Iterator[Checked]:
    for element in elements(stream, what):
        if isinstance(element, Line):
            checker.line(element.value, element.where)
            continue
        yield _ended(element, checker)


def _ended(end: End, checker: Checker) -> Checked:
    given = end.value.get("session_name")
    if not isinstance(given, str):
        raise FormatError(f"{end.where} has no session_name")
    try:
        name = names.session_name(given)
    except UsageError as error:
        raise FormatError(f"{end.where}: {error}") from None
    return checker.end(name, end.value.get("tip"), end.where)


class _Joined:
    """A stream with what was read of it put back."""

    def __init__(self, opening: bytes, rest: Readable) -> None:
        self._opening = opening
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if self._opening:
            taken, self._opening = self._opening, b""
            return taken
        return self._rest.read(size)
