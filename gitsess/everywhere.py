"""A person's sessions in all repositories, which the mirror names, and the folders there that no repository backs.

A repository that can be reached is read itself: the mirror only says where it is, so what is wrong or old in a copy
changes no sum. Of others the copies are read, and of the shell tool's folders what they hold. A turn that is in
several of these places is counted once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import chain

from gitsess import metadata, names
from gitsess.accounts import Account
from gitsess.agents import sessiondir
from gitsess.agents.sessiondir import Found
from gitsess.errors import GitsessError, NotFound, UsageError
from gitsess.gitcli import repository_at
from gitsess.mirror import Copy, Mirror
from gitsess.model import Oid, SessionName
from gitsess.report import shared_ids
from gitsess.tally import Entry, Outline, counted, outline_of, within
from gitsess.transfer.migrating import session_id_of, turn_id_of
from gitsess.values import Value
from gitsess.workspace import Surroundings, Workspace


class Located:
    """A session and where it is: in ``workspace``, or in a ``folder`` of the mirror alone.

    ``repository`` is the common git directory, also where that cannot be reached, and None for the shell tool's
    folders; ``folder`` is None for what has no copy. ``name`` is the folder's where there is no session's.
    """

    def __init__(
        self,
        *,
        name: SessionName,
        tip: Oid | None,
        repository: str | None,
        folder: str | None,
        workspace: Workspace | None,
        held: Account | Sequence[Entry],
        outline: Outline,
    ) -> None:
        self.name = name
        self.repository = repository
        self.folder = folder
        self.workspace = workspace
        self._tip = tip
        self._held = held
        self.outline = outline

    @property
    def tip(self) -> Oid | None:
        return self._tip

    @property
    def key(self) -> str:
        return f"{self.name}\0{self.repository or self.folder}"

    def turns(self, since: float | None = None, until: float | None = None) -> list[Entry]:
        if isinstance(self._held, Account):
            return self._held.turns(since, until)
        return within(counted(self._held), since, until)


class Repositories(Value):
    """What was found. ``unreached``: (repository, why) of those whose copies stand in for them; ``warnings``: a line
    for everything that was passed over."""

    sessions: tuple[Located, ...]
    unreached: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def find(around: Surroundings, patterns: Sequence[str] = (), *, turns: bool = False) -> Repositories:
    """Every session whose name matches any pattern (all, where none is given), by name and repository.

    ``turns``: with every turn, for sums over a part. Raises UsageError where no folder of copies is known,
    NotFound for a name or pattern that nothing has.
    """
    directory = around.session_dir
    if directory is None:
        raise UsageError("there is neither SESSION_DIR nor a home folder to look for sessions in")
    mirror = Mirror(directory)
    copies = list(mirror.copies())
    reached, unreached = _reach(around, {copy.repository for copy in copies})
    said: list[str] = []
    found = list(_in_repositories(reached, copies, said, turns=turns))
    backed = {(item.repository, item.name) for item in found}
    loose = {copy.folder for copy in copies if (copy.repository, copy.session) not in backed}
    found += _in_folders(directory, loose, found, said)
    chosen = _matching(found, patterns)
    chosen.sort(key=lambda item: (item.name, item.repository or "", item.folder or ""))
    return Repositories(
        sessions=tuple(chosen), unreached=tuple(sorted(unreached.items())), warnings=tuple(dict.fromkeys(said))
    )


def _reach(around: Surroundings, repositories: Iterable[str]) -> tuple[dict[str, Workspace], dict[str, str]]:
    reached: dict[str, Workspace] = {}
    unreached: dict[str, str] = {}
    for repository in sorted(repositories):
        try:
            reached[repository] = Workspace(repository_at(repository, around.environment), around)
        except GitsessError as error:
            unreached[repository] = str(error)
    try:
        here = Workspace.open(around)
    except GitsessError:
        # Outside of a repository there is none to add; one that git refuses is none of the mirror's.
        return reached, unreached
    reached.setdefault(metadata.repository_text(here.repository.common_dir), here)
    return reached, unreached


def _in_repositories(
    reached: Mapping[str, Workspace], copies: Sequence[Copy], said: list[str], *, turns: bool
) -> Iterator[Located]:
    folders = {(copy.repository, copy.session): copy.folder for copy in copies}
    accounts = {place: workspace.accounts(turns=turns) for place, workspace in reached.items()}
    shared = shared_ids(account.outline for found in accounts.values() for account in found.sessions)
    for place, workspace in reached.items():
        found = accounts[place]
        # Clones have turns in common: which ones must be known to count them once.
        if any(one.outline.session_id in shared and one.entries is None for one in found.sessions):
            found = workspace.accounts(turns=True)
        said += found.warnings
        for account in found.sessions:
            yield Located(
                name=account.name,
                tip=account.tip,
                repository=place,
                folder=folders.get((place, account.name)),
                workspace=workspace,
                held=account,
                outline=account.outline,
            )


def _in_folders(directory: str, loose: set[str], known: Sequence[Located], said: list[str]) -> Iterator[Located]:
    """The folders that no repository backs, but those whose every turn is ``known``: imported ones."""
    ids: dict[str | None, set[str | None]] = {}
    if not os.path.isdir(directory):
        return
    for found in sessiondir.read(directory, copies=loose):
        if not isinstance(found, Found):
            if found.kind in ("broken", "link"):
                said.append(f"{names.shown(found.folder)} in {directory} is passed over: {found.why}")
            continue
        said += [f"{names.shown(found.folder)} in {directory}: {line}; left out" for line in found.problems]
        session_id, entries = _entries(found)
        if session_id not in ids:
            same = [item for item in known if item.outline.session_id == session_id and not item.outline.newer]
            ids[session_id] = {entry.turn_id for entry in chain.from_iterable(item.turns() for item in same)}
            if same and len(entries) == 1:
                continue
        if len(entries) > 1 and all(entry.turn_id in ids[session_id] for entry in entries[1:]):
            continue
        is_copy = found.repository is not None and names.is_valid(found.session_name)
        yield Located(
            name=SessionName(found.session_name if is_copy else found.folder),
            tip=None if found.tip is None else Oid(found.tip),
            repository=found.repository,
            folder=found.folder,
            workspace=None,
            held=entries,
            outline=_outline(found, session_id, entries),
        )


def _outline(found: Found, session_id: str, entries: Sequence[Entry]) -> Outline:
    outline = outline_of(entries)
    # The shell tool says for itself when a session was last used, also where it logged nothing then.
    used = [at for at in (outline.used, _seconds(found.last_used)) if at is not None]
    return outline._replace(session_id=session_id, used=max(used, default=None), problems=found.problems)


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _entries(found: Found) -> tuple[str, list[Entry]]:
    """A folder's session id and turns, as they are or would be in a repository."""
    copy = found.repository is not None
    began = int(found.created_at.timestamp())
    entries = [
        Entry(
            kind="turn",
            turn_id=(item.turn_id if copy else None) or turn_id_of(found, item.key),
            status="ok",
            agent=None if copy else sessiondir.AGENT,
            person="(unknown)",
            authored_at=int(item.started_at.timestamp()),
            committed_at=int(item.ended_at.timestamp()),
            model=item.model or "unknown",
            input_tokens=0 if item.usage is None else item.usage.input_tokens,
            output_tokens=0 if item.usage is None else item.usage.output_tokens,
            cache_read_tokens=0 if item.usage is None else item.usage.cache_read_tokens,
            cache_write_tokens=0 if item.usage is None else item.usage.cache_write_tokens,
            cache_write_1h_tokens=0,
            duration_ms=item.duration_ms,
            cost_usd=None if item.cost_usd is None else f"{item.cost_usd:f}",
            task=None,
        )
        for item in found.interactions
    ]
    # A session begins with its folder, also where nothing was asked in it.
    begun = Entry("event", None, None, None, "", began, began, None, 0, 0, 0, 0, 0, None, None, None, event="started")
    return (found.session_id if copy else session_id_of(found)), [begun, *entries]


def _matching(found: Sequence[Located], patterns: Sequence[str]) -> list[Located]:
    if not patterns:
        return list(found)
    for pattern in patterns:
        if not any(fnmatchcase(item.name, pattern) for item in found):
            raise NotFound(f"no session anywhere matches {names.shown(pattern)}")
    return [item for item in found if any(fnmatchcase(item.name, pattern) for pattern in patterns)]
