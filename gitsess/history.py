"""Reading sessions: refs by ``for-each-ref``, commits by one ``cat-file --batch`` for all of them.

Nothing is checked out and nothing is trusted: a ref must be direct, well named and point at a commit of
ours; a commit that breaks the format is passed over with a warning that names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gitsess import commit, names
from gitsess.commit import Commit, Metrics
from gitsess.errors import FormatError, GitsessError, NewerFormat, NotFound
from gitsess.gitcli import Git, Objects
from gitsess.model import COMMIT_LIMIT, OBJECT_LIMIT, Oid, SessionName, TurnId
from gitsess.tally import Entry, Outline, counted, entry_of, outline_of, read_entry, within
from gitsess.values import Value

if TYPE_CHECKING:
    from gitsess.content import Content

WAITS, FEW = 50, 30
"""Generations of fewer than FEW commits that are waited for, before git is asked for all that is left."""


_EMPTY_TREES = (
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
)
"""git's, by SHA-1 and by SHA-256."""


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

    @property
    def key(self) -> str:
        return self.name

    @property
    def repository(self) -> str | None:
        return None

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

    def turns(self, since: float | None = None, until: float | None = None) -> list[Entry]:
        """What sums are made of, as far as it ended in [since, until), in seconds since 1970."""
        return within(counted(self._entries()), since, until)

    @property
    def outline(self) -> Outline:
        return outline_of(self._entries())._replace(newer=self.newer)

    def _entries(self) -> list[Entry]:
        return [entry_of(item) for item in self.commits]


class Strand(Value):
    """A session's entries in reading order, after the tip ``after``, or from its root where that is None.

    ``order``: the commits that they are of. ``missing``: some of them cannot be read now, and might be later.
    """

    name: SessionName
    tip: Oid
    after: Oid | None
    order: list[Oid]
    entries: list[Entry]
    missing: bool


class Ledger(Value):
    """What a look found: sessions by name, and a line for everything that was passed over."""

    sessions: tuple[Session, ...]
    warnings: tuple[str, ...]


T = TypeVar("T")
Pool = dict[Oid, tuple[tuple[Oid, ...], T]]
"""Commits that were read, each with its parents."""
Parser = Callable[[Oid, bytes | None], tuple[tuple[Oid, ...], T]]
"""Makes them of an object's bytes, or of None for one that is too large."""


class History:
    """Reads the sessions of one repository."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._renewed: dict[Oid, Commit] = {}
        """Turns of the sessions read so far whose files a correction has anew, by oid: the last such correction."""

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

    def present(self, wanted: Iterable[SessionName]) -> tuple[Session, ...]:
        """Those of the ``wanted`` sessions that are there and can be read, by name."""
        tips, _ = self.tips()
        return self.read({name: tips[name] for name in sorted(set(wanted)) if name in tips}, ()).sessions

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
        pool: Pool[Commit | Entry] = {}
        own: dict[SessionName, Oid] = {}
        if tips:
            objects = self._git.start_objects()
            try:
                own, refused = self._own(tips, objects, pool, _commit)
                self._walk(objects, pool, list(pool), _commit)
            finally:
                objects.close()
            said += refused
        sessions = [_session(name, tip, pool, said) for name, tip in sorted(own.items())]
        for session in sessions:
            self._renewed.update(_renewed(session))
        return Ledger(sessions=tuple(sessions), warnings=tuple(dict.fromkeys(said)))

    def strands(self, tips: Mapping[SessionName, Oid], known: Set[Oid]) -> tuple[list[Strand], list[str]]:
        """The entries of these sessions, by name, each from its tip back to a ``known`` tip or to its root, and a
        warning for every tip that is no session's."""
        pool: Pool[Entry] = {}
        objects = self._git.start_objects()
        try:
            own, refused = self._own(tips, objects, pool, read_entry)
            self._walk(objects, pool, list(pool), read_entry, known)
            # What lies behind a known tip is needed after all where a merge has it on one side.
            straight = {name: _straight(tip, pool, known) for name, tip in own.items()}
            merged = [oid for name, tip in own.items() if straight[name] is None for oid in _reachable(tip, pool)]
            self._walk(objects, pool, merged, read_entry)
        finally:
            objects.close()
        strands = [_strand(name, own[name], straight[name], pool) for name in sorted(own)]
        return strands, refused

    def ends(self, tips: Iterable[Oid], count: int) -> dict[Oid, tuple[Commit, ...]] | None:
        """The last ``count`` commits of each, merges left out, oldest first: all of them, where there are fewer.

        None where that takes more than going from parent to parent: at a commit of two parents, or one that cannot
        be read.
        """
        found: dict[Oid, tuple[Commit, ...]] = {}
        objects = self._git.start_objects()
        try:
            for tip in tips:
                line: list[Commit] = []
                oid: Oid | None = tip
                while oid is not None and len(line) < count:
                    if not self._is_oid(oid):
                        return None
                    kind, raw = objects.read(oid, limit=COMMIT_LIMIT) or ("", None)
                    item = None if kind != "commit" else _commit(oid, raw)[1]
                    if not isinstance(item, Commit) or len(item.parents) > 1:
                        return None
                    if item.facts.kind != "merge":
                        line.append(item)
                    oid = item.parents[0] if item.parents else None
                found[tip] = tuple(reversed(line))
        finally:
            objects.close()
        return found

    def _own(
        self, tips: Mapping[SessionName, Oid], objects: Objects, pool: Pool[T], parse: Parser[T]
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
                pool[oid] = parse(oid, raw)
            else:
                refused.append(f"{names.ref_of(name)} points at {oid[:12]}, which is not a turn; passed over")
        return own, refused

    def _walk(
        self, objects: Objects, pool: Pool[T], newest: list[Oid], parse: Parser[T], known: Set[Oid] = frozenset()
    ) -> None:
        """Adds to ``pool`` every commit that is reachable from ``newest``, up to those that are in it or ``known``;
        what cannot be read is left out.

        All sessions go back together, a generation at a time. For each, git is waited for: where a few sessions are
        long, it is asked at once for all that is left. It stops where something is missing, and what is then left
        is read by generations all the same.
        """
        tried = {*pool, *known}
        waits = WAITS
        while newest:
            asked: dict[Oid, None] = {}
            for oid in newest:
                for parent in pool[oid][0]:
                    if parent not in tried and self._is_oid(parent):
                        asked[parent] = None
            newest = []
            waits -= 0 < len(asked) < FEW
            if waits == 0:
                waits = -1
                for oid, raw in self._git.reachable(asked, known, limit=COMMIT_LIMIT):
                    if oid not in tried:
                        pool[oid] = parse(oid, raw) if raw is not None else self._too_large(oid, parse)
                        newest.append(oid)
                tried.update(newest)
                asked = {oid: None for oid in asked if oid not in tried}
            tried.update(asked)
            for name, answer in objects.read_all(list(asked), limit=COMMIT_LIMIT):
                kind, raw = answer or ("", None)
                if kind == "commit":
                    oid = Oid(name)
                    pool[oid] = parse(oid, raw) if raw is not None else self._too_large(oid, parse)
                    newest.append(oid)

    def _is_oid(self, parent: Oid) -> bool:
        # A parent may be any text, of any length, which git would take for an expression or an option.
        return len(parent) == self._git.repository.oid_length and parent.isalnum()

    def _too_large(self, oid: Oid, parse: Parser[T]) -> tuple[tuple[Oid, ...], T]:
        # What stands before it is read all the same, so its parents are asked of git.
        words = self._git.run("rev-list", "--parents", "-1", oid).out.decode("ascii", "replace").split()
        return tuple(Oid(word) for word in words[1:]), parse(oid, None)[1]

    def prompts(self, oids: Sequence[Oid]) -> Iterator[str]:
        """What was asked in these turns, one after the other; nothing where that cannot be read."""
        from gitsess.content import PROMPT

        for data in self.files(oids, PROMPT):
            yield "" if data is None else data.decode("utf-8", "replace")

    def files(self, oids: Sequence[Oid], path: str) -> Iterator[bytes | None]:
        """The file at ``path`` of each of these commits, one after the other; None where it is not there."""
        objects = self._git.start_objects()
        try:
            for _, answer in objects.read_all([f"{oid}:{path}" for oid in oids], limit=OBJECT_LIMIT):
                kind, data = answer or ("", None)
                yield data if kind == "blob" else None
        finally:
            objects.close()

    def contents(self, turns: Iterable[Commit], *, corrected: bool = True) -> Iterator[tuple[Commit, Content]]:
        """The turns with what their trees hold, one at a time; raises FormatError for one that is broken.

        The messages of a captured turn are those that its agent's own entries stand for. Of a turn that went on after
        it was recorded they are all of it, unless not ``corrected``.
        """
        from gitsess import trees
        from gitsess.agents import with_messages
        from gitsess.content import decode

        objects = self._git.start_objects()
        try:
            for turn in turns:
                try:
                    source = self._renewed.get(turn.oid, turn) if corrected else turn
                    content = decode(trees.read(objects, source.tree, self._git.repository.oid_length // 2))
                    yield turn, with_messages(content, turn.facts.agent)
                except GitsessError as error:
                    raise type(error)(f"turn {turn.oid[:12]}: {error}") from None
        finally:
            objects.close()


def _commit(oid: Oid, raw: bytes | None) -> tuple[tuple[Oid, ...], Commit | Entry]:
    if raw is not None:
        with contextlib.suppress(FormatError, NewerFormat):
            decoded = commit.decode(oid, raw)
            return decoded.parents, decoded
    return read_entry(oid, raw)


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


def _session(name: SessionName, tip: Oid, pool: Pool[Commit | Entry], warnings: list[str]) -> Session:
    order = _reachable(tip, pool)
    commits: list[Commit] = []
    corrections: dict[TurnId, Metrics] = {}
    unread: list[Entry] = []
    for oid in order:
        item = pool[oid][1]
        if isinstance(item, Entry):
            unread.append(item)
            continue
        commits.append(item)
        facts = item.facts
        if facts.kind == "correction" and facts.corrects is not None and facts.metrics is not None:
            corrections[facts.corrects] = facts.metrics
    newer = any(item.newer for item in unread)
    problems = [item.problem for item in unread if item.problem]
    warnings += warnings_of(name, problems, missing=_gaps(order, pool), newer=newer)
    ids = [c.facts.session_id for c in commits if c.facts.session_id is not None]
    return Session(
        name=name,
        tip=tip,
        session_id=ids[0] if ids else None,
        commits=() if newer else tuple(commits),
        corrections=corrections,
        newer=newer,
    )


def _renewed(session: Session) -> Iterator[tuple[Oid, Commit]]:
    last: dict[TurnId | None, Commit] = {
        item.facts.corrects: item
        for item in session.commits
        # One of the metrics alone has no files.
        if item.facts.corrects is not None and item.tree not in _EMPTY_TREES
    }
    for item in session.commits if last else ():
        found = last.get(item.facts.turn_id) if item.facts.kind in ("turn", "compaction") else None
        if found is not None:
            yield item.oid, found


def warnings_of(name: SessionName, problems: Iterable[str], *, missing: bool, newer: bool) -> Iterator[str]:
    """A line for everything that is wrong with a session's history."""
    yield from (f"{name}: {problem}" for problem in problems)
    if missing:
        yield f"{name}: a part of its history is missing; 'git fsck' tells more"
    if newer:
        yield f"{name} was written by a newer gitsess and needs an upgrade to be read"


class _Straight(NamedTuple):
    """A line without merges: the commits after ``after``, a known tip or None, oldest first."""

    after: Oid | None
    order: list[Oid]
    missing: bool


def _straight(tip: Oid, pool: Pool[Any], known: Set[Oid]) -> _Straight | None:
    """The line that leads to ``tip``; None where there is a merge in it."""
    order: list[Oid] = []
    oid = tip
    while found := pool.get(oid):
        order.append(oid)
        parents = found[0]
        if not parents:
            return _Straight(None, order[::-1], missing=False)
        if len(parents) > 1:
            return None
        oid = parents[0]
    return _Straight(oid if oid in known else None, order[::-1], missing=oid not in known)


def _strand(name: SessionName, tip: Oid, straight: _Straight | None, pool: Pool[Entry]) -> Strand:
    if straight is None:
        order = _reachable(tip, pool)
        straight = _Straight(None, order, missing=_gaps(order, pool))
    entries = [pool[oid][1] for oid in straight.order]
    return Strand(
        name=name,
        tip=tip,
        after=straight.after,
        order=straight.order,
        entries=entries,
        missing=straight.missing,
    )


def _reachable(tip: Oid, pool: Pool[T]) -> list[Oid]:
    return reading_order(tip, _Parents(pool))


def _gaps(order: Iterable[Oid], pool: Pool[T]) -> bool:
    return any(parent not in pool for oid in order for parent in pool[oid][0])


class _Parents(Mapping[Oid, Sequence[Oid]]):
    """The pool seen as parents by commit, without a copy of it."""

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = pool

    def __getitem__(self, oid: Oid) -> Sequence[Oid]:
        return self._pool[oid][0]

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
