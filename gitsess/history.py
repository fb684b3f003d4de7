"""Reading sessions: refs by ``for-each-ref``, commits by one ``cat-file --batch`` for all of them.

Nothing is checked out and nothing is trusted: a ref must be direct, well named and point at a commit of
ours; a commit that breaks the format is passed over with a warning that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING

from gitsess import commit, names
from gitsess.commit import Commit, Metrics
from gitsess.errors import FormatError, GitsessError, NewerFormat, NotFound, StoreError
from gitsess.gitcli import Git, Objects
from gitsess.model import COMMIT_LIMIT, OBJECT_LIMIT, Oid, SessionName, TurnId
from gitsess.values import Value

if TYPE_CHECKING:
    from gitsess.content import Content

MAX_ENTRIES = 10_000
"""Tree entries of one turn past which it is not read."""


class Session(Value):
    """A session's commits in reading order.

    ``corrections``: replacement metrics by turn id, the last in reading order. ``newer``: written by a
    newer gitsess, its contents are refused. ``session_id`` is None only for a broken root.
    """

    name: SessionName
    tip: Oid
    session_id: str | None
    commits: tuple[Commit, ...]
    corrections: Mapping[TurnId, Metrics] = MappingProxyType({})
    newer: bool = False

    def metrics(self, turn: Commit) -> Metrics | None:
        """A commit's metrics, as corrected; None for what has none."""
        turn_id = turn.facts.turn_id
        corrected = None if turn_id is None else self.corrections.get(turn_id)
        return corrected if corrected is not None and turn.facts.metrics is not None else turn.facts.metrics

    def counted(self) -> Iterator[Commit]:
        """Turns and compactions, each turn id once, in reading order: what sums are made of."""
        seen: set[TurnId] = set()
        for item in self.commits:
            turn_id = item.facts.turn_id
            if item.facts.kind in ("turn", "compaction") and turn_id is not None and turn_id not in seen:
                seen.add(turn_id)
                yield item


class Ledger(Value):
    """What a look found: sessions by name, and a line for everything that was passed over."""

    sessions: tuple[Session, ...]
    warnings: tuple[str, ...]


class History:
    """Reads the sessions of one repository."""

    def __init__(self, git: Git) -> None:
        self._git = git

    def tips(self) -> tuple[dict[SessionName, Oid], list[str]]:
        """Session refs that may be read, sorted by name, and a warning for every one that may not."""
        refs, broken = self._git.refs(names.REF_PREFIX)
        tips: dict[SessionName, Oid] = {}
        warnings = [f"{names.shown(ref, 110)} is a broken ref; passed over" for ref in broken]
        for ref in refs:
            name = ref.name.removeprefix(names.REF_PREFIX)
            if not names.is_valid(name):
                warnings.append(f"{names.shown(ref.name, 110)} is no session name; passed over")
            elif ref.symbolic:
                warnings.append(f"{ref.name} is a symbolic ref, which no session is; passed over")
            else:
                tips[SessionName(name)] = ref.oid
        return tips, warnings

    def find(self, patterns: Sequence[str] = ()) -> Ledger:
        """The sessions whose names match any pattern (all, where none is given), by name.

        A name without ``*``, ``?`` or ``[`` must exist: NotFound, with the closest names.
        """
        tips, warnings = self.tips()
        if patterns:
            tips = matching(tips, patterns)
            warnings = []
        return self.read(tips, warnings)

    def one(self, name: str) -> Session:
        """The session called ``name``; raises NotFound, or FormatError where it cannot be read."""
        session = names.session_name(name)
        tips, _ = self.tips()
        ledger = self.read(matching(tips, [session]), [])
        if not ledger.sessions:
            raise FormatError(ledger.warnings[0] if ledger.warnings else f"{session} cannot be read")
        found = ledger.sessions[0]
        if found.newer:
            raise NewerFormat(f"{session} was written by a newer gitsess: upgrade to read it")
        return found

    def read(self, tips: Mapping[SessionName, Oid], warnings: Iterable[str]) -> Ledger:
        """The sessions at these tips."""
        said = list(warnings)
        pool: dict[Oid, _Entry] = {}
        own: dict[SessionName, Oid] = {}
        if tips:
            objects = self._git.start_objects()
            try:
                own, refused = self._own(tips, objects, pool)
                self._walk(objects, pool)
            finally:
                objects.close()
            said += refused
        sessions = [_session(name, tip, pool, said) for name, tip in sorted(own.items())]
        return Ledger(sessions=tuple(sessions), warnings=tuple(dict.fromkeys(said)))

    def _own(
        self, tips: Mapping[SessionName, Oid], objects: Objects, pool: dict[Oid, _Entry]
    ) -> tuple[dict[SessionName, Oid], list[str]]:
        """The tips that are commits of ours, which go into ``pool``: only their history is walked."""
        own: dict[SessionName, Oid] = {}
        refused: list[str] = []
        found = objects.read_all(list(tips.values()), limit=COMMIT_LIMIT)
        for (name, oid), (_, answer) in zip(tips.items(), found, strict=True):
            kind, raw = answer or ("", None)
            if kind not in ("", "commit"):
                refused.append(f"{names.ref_of(name)} points at a {kind}, not at a turn; passed over")
            elif raw is None:
                refused.append(f"{name}: its tip {oid[:12]} cannot be read; passed over")
            elif b"\nAI-Format: " in raw:
                own[name] = oid
                pool[oid] = _entry(oid, raw)
            else:
                refused.append(f"{names.ref_of(name)} points at {oid[:12]}, which is not a turn; passed over")
        return own, refused

    def _walk(self, objects: Objects, pool: dict[Oid, _Entry]) -> None:
        """Adds to ``pool`` every commit that is reachable from those in it; what cannot be read is left out.

        All sessions go back together, a generation at a time: one process, and as many round trips as the
        longest has turns.
        """
        newest = list(pool)
        tried = set(pool)
        # What is no oid is not asked for: a parent may be any text, of any length.
        length = self._git.repository.oid_length
        while newest:
            parents = (p for oid in newest for p in pool[oid].parents if len(p) == length)
            asked = [p for p in dict.fromkeys(parents) if p not in tried]
            tried.update(asked)
            newest = []
            for name, answer in objects.read_all(asked, limit=COMMIT_LIMIT):
                kind, raw = answer or ("", None)
                if kind == "commit":
                    oid = Oid(name)
                    pool[oid] = self._too_large(oid) if raw is None else _entry(oid, raw)
                    newest.append(oid)

    def _too_large(self, oid: Oid) -> _Entry:
        # What stands before it is read all the same, so its parents are asked of git.
        words = self._git.run("rev-list", "--parents", "-1", oid).out.decode("ascii", "replace").split()
        return _Entry(parents=tuple(Oid(word) for word in words[1:]), commit=None, problem="it is too large")

    def contents(self, turns: Iterable[Commit]) -> Iterator[tuple[Commit, Content]]:
        """The turns with what their trees hold, one at a time; raises FormatError for one that is broken."""
        from gitsess.content import decode

        objects = self._git.start_objects()
        try:
            for turn in turns:
                try:
                    yield turn, decode(read_tree(objects, turn.tree, self._git.repository.oid_length // 2))
                except GitsessError as error:
                    raise type(error)(f"turn {turn.oid[:12]}: {error}") from None
        finally:
            objects.close()


class _Entry(Value):
    parents: tuple[Oid, ...]
    commit: Commit | None
    problem: str = ""
    newer: bool = False


def _entry(oid: Oid, raw: bytes) -> _Entry:
    try:
        decoded = commit.decode(oid, raw)
    except NewerFormat as error:
        return _Entry(parents=commit.parents_of(raw), commit=None, problem=str(error), newer=True)
    except FormatError as error:
        return _Entry(parents=commit.parents_of(raw), commit=None, problem=str(error))
    return _Entry(parents=decoded.parents, commit=decoded)


def reading_order(tip: Oid, parents: Mapping[Oid, Sequence[Oid]]) -> list[Oid]:
    """The commits reachable from ``tip``, oldest first, in the order in which they are read everywhere.

    At a merge: the whole history of the first parent, then what only the second parent has, then the
    merge. Interleaving the sides by time would part answers from their questions.
    """
    order: list[Oid] = []
    done: set[Oid] = set()
    stack: list[tuple[Oid, bool]] = [(tip, False)]
    while stack:
        oid, ready = stack.pop()
        if oid in done or oid not in parents:
            continue
        if ready:
            done.add(oid)
            order.append(oid)
            continue
        stack.append((oid, True))
        stack.extend((parent, False) for parent in reversed(parents[oid]))
    return order


def _session(name: SessionName, tip: Oid, pool: Mapping[Oid, _Entry], warnings: list[str]) -> Session:
    order = reading_order(tip, _Parents(pool))
    commits: list[Commit] = []
    corrections: dict[TurnId, Metrics] = {}
    newer = False
    for oid in order:
        entry = pool[oid]
        newer = newer or entry.newer
        if entry.commit is None:
            if not entry.newer:
                warnings.append(f"{name}: commit {oid[:12]} was passed over: {entry.problem}")
            continue
        commits.append(entry.commit)
        facts = entry.commit.facts
        if facts.kind == "correction" and facts.corrects is not None and facts.metrics is not None:
            corrections[facts.corrects] = facts.metrics
    if any(parent not in pool for oid in order for parent in pool[oid].parents):
        warnings.append(f"{name}: a part of its history is missing; 'git fsck' tells more")
    if newer:
        warnings.append(f"{name} was written by a newer gitsess and needs an upgrade to be read")
    ids = [c.facts.session_id for c in commits if c.facts.session_id is not None]
    return Session(
        name=name,
        tip=tip,
        session_id=ids[0] if ids else None,
        commits=() if newer else tuple(commits),
        corrections=corrections,
        newer=newer,
    )


class _Parents(Mapping[Oid, Sequence[Oid]]):
    """The pool seen as parents by commit, without a copy of it."""

    def __init__(self, pool: Mapping[Oid, _Entry]) -> None:
        self._pool = pool

    def __getitem__(self, oid: Oid) -> Sequence[Oid]:
        return self._pool[oid].parents

    def __iter__(self) -> Iterator[Oid]:
        return iter(self._pool)

    def __len__(self) -> int:
        return len(self._pool)


def matching(tips: Mapping[SessionName, Oid], patterns: Sequence[str]) -> dict[SessionName, Oid]:
    chosen: dict[SessionName, Oid] = {}
    for pattern in patterns:
        if any(c in pattern for c in "*?["):
            found = {name: oid for name, oid in tips.items() if fnmatchcase(name, pattern)}
            if not found:
                raise NotFound(f"no session matches {names.shown(pattern)}; 'git ai-session list' shows them all")
            chosen.update(found)
            continue
        name = names.session_name(pattern)
        if name not in tips:
            raise NotFound(f"there is no session {name}{_closest(name, tips)}")
        chosen[name] = tips[name]
    return chosen


def _closest(name: str, tips: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(tips), n=1)
    return f"; did you mean {near[0]}?" if near else "; 'git ai-session list' shows what there is"


def read_tree(objects: Objects, tree: Oid, oid_bytes: int) -> dict[str, bytes]:
    """The regular files of a turn's tree, by path, one folder deep.

    Entries of any other mode, and deeper folders, are ignored; StoreError for an object that is missing
    or too large.
    """
    files: dict[str, bytes] = {}
    for mode, name, oid in _entries(objects, tree, oid_bytes):
        if mode == b"100644":
            files[name] = _object(objects, "blob", oid)
        elif mode == b"40000" and name == "attachments":
            for inner_mode, inner_name, inner_oid in _entries(objects, oid, oid_bytes):
                if inner_mode == b"100644":
                    files[f"{name}/{inner_name}"] = _object(objects, "blob", inner_oid)
    return files


def _entries(objects: Objects, tree: Oid, oid_bytes: int) -> Iterator[tuple[bytes, str, Oid]]:
    data, at, count = _object(objects, "tree", tree), 0, 0
    while at < len(data):
        space, nul = data.find(b" ", at), data.find(b"\0", at)
        if not at < space < nul or nul + 1 + oid_bytes > len(data):
            raise FormatError(f"tree {tree} cannot be read")
        count += 1
        if count > MAX_ENTRIES:
            raise FormatError(f"tree {tree} has more than {MAX_ENTRIES} entries")
        name = data[space + 1 : nul].decode("utf-8", "replace")
        yield data[at:space], name, Oid(data[nul + 1 : nul + 1 + oid_bytes].hex())
        at = nul + 1 + oid_bytes


def _object(objects: Objects, kind: str, oid: Oid) -> bytes:
    found = objects.read(oid, limit=OBJECT_LIMIT)
    if found is None or found[0] != kind:
        raise StoreError(f"{kind} {oid} is missing; try 'git fsck'")
    if found[1] is None:
        raise StoreError(f"{kind} {oid} is larger than {OBJECT_LIMIT} bytes")
    return found[1]
