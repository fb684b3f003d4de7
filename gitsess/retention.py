"""Removing sessions that have not been used for long: chosen, looked at by a person, then removed.

Each ref is deleted in its own repository, by git, and only while it stands where it stood when it was looked at; then
its copy in the mirror goes. Folders that no repository backs are deleted as files, and only while the file in them is
the one that was read. The commits stay until git prunes what no ref reaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatchcase

from gitsess import everywhere, metadata, names
from gitsess.errors import FormatError, StoreError
from gitsess.everywhere import Located, Repositories
from gitsess.mirror import Mirror, Stamp
from gitsess.model import SessionName
from gitsess.names import ref_of
from gitsess.report import Row, row_of
from gitsess.spool import noun
from gitsess.text import well_formed
from gitsess.values import Value
from gitsess.workspace import Surroundings, Workspace


class Plan(Value):
    """What would be removed, by name, and what is old enough or cannot be judged and yet is ``kept``, with the reason.

    ``unreached``: (repository, why) of those whose sessions were not looked at; ``warnings``: a line for everything
    else that was passed over. ``stamps`` tell whether a folder was written to since.
    """

    rows: tuple[Row, ...]
    kept: tuple[tuple[Located, str], ...]
    unreached: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    stamps: Mapping[str, Stamp]

    @property
    def sessions(self) -> list[Located]:
        return [row.session for row in self.rows if isinstance(row.session, Located)]


class Removal(Value):
    """What became of a session: ``removed``, ``changed`` (it was used meanwhile, and stays) or ``failed``."""

    session: Located
    outcome: str
    reason: str = ""


def plan(
    around: Surroundings,
    workspace: Workspace | None,
    patterns: Sequence[str],
    *,
    before: datetime,
    keep: Sequence[str] = (),
) -> Plan:
    """The sessions that were last used at ``before`` or earlier, in ``workspace``, or everywhere where that is None.

    ``patterns``: only what matches any; ``keep``: nothing that matches any. Raises NotFound for a name or pattern
    that nothing has, and what looking raises.
    """
    stamps: Mapping[str, Stamp] = {}
    if workspace is None:
        # Taken before the folders are read: what is written between the two counts as written since.
        stamps = _stamps(around)
        found = everywhere.find(around, patterns)
    else:
        found = _here(workspace, patterns)
    unreached = {place for place, _ in found.unreached}
    rows: list[Row] = []
    kept: list[tuple[Located, str]] = []
    for session in found.sessions:
        if session.repository in unreached or any(fnmatchcase(session.name, pattern) for pattern in keep):
            continue
        row, why = row_of(session), _unread(session)
        if row.last_used is not None and row.last_used > before:
            continue
        if why:
            kept.append((session, why))
        else:
            rows.append(row)
    rows = _certain(rows, kept)
    said = [f"--keep {names.shown(pattern)} matches no session" for pattern in keep if not _has(found, pattern)]
    return Plan(
        rows=tuple(rows),
        kept=tuple(sorted(kept, key=lambda item: item[0].key)),
        unreached=found.unreached,
        warnings=(*found.warnings, *said),
        stamps=stamps,
    )


def _stamps(around: Surroundings) -> dict[str, Stamp]:
    if around.session_dir is None:
        return {}
    mirror = Mirror(around.session_dir)
    found = ((folder, mirror.stamp(folder)) for folder in map(well_formed, mirror.folders()))
    return {folder: stamp for folder, stamp in found if stamp is not None}


def _here(workspace: Workspace, patterns: Sequence[str]) -> Repositories:
    ledger = workspace.accounts(patterns)
    sessions = [
        Located(
            name=account.name,
            tip=account.tip,
            repository=metadata.repository_text(workspace.repository.common_dir),
            folder=None,
            workspace=workspace,
            held=account,
            outline=account.outline,
        )
        for account in ledger.sessions
    ]
    return Repositories(sessions=tuple(sessions), unreached=(), warnings=ledger.warnings)


def _has(found: Repositories, pattern: str) -> bool:
    return any(fnmatchcase(session.name, pattern) for session in found.sessions)


def _unread(session: Located) -> str:
    """Why it is not known when a session was last used; empty where it is."""
    if session.outline.newer:
        return "it was written by a newer gitsess"
    if session.outline.problems or session.outline.ended is None:
        return "a part of it cannot be read"
    return ""


def _certain(rows: Sequence[Row], kept: list[tuple[Located, str]]) -> list[Row]:
    """The rows but those of sessions with a turn on its way, or with commits missing: these join ``kept``."""
    left: list[Row] = []
    for workspace, own in _by_workspace(rows).items():
        waiting = set() if workspace is None else _waiting(workspace)
        tips = [row.session.tip for row in own if row.session.tip is not None]
        whole = workspace is None or workspace.git.is_whole(tips)
        for row in own:
            session = row.session
            assert isinstance(session, Located)
            if session.name in waiting:
                kept.append((session, "a turn waits for it in the spool"))
            elif not whole and workspace is not None and session.tip and not workspace.git.is_whole([session.tip]):
                kept.append((session, "a part of its history is missing"))
            else:
                left.append(row)
    order = {id(row): number for number, row in enumerate(rows)}
    return sorted(left, key=lambda row: order[id(row)])


def _by_workspace(rows: Sequence[Row]) -> dict[Workspace | None, list[Row]]:
    found: dict[Workspace | None, list[Row]] = {}
    for row in rows:
        assert isinstance(row.session, Located)
        found.setdefault(row.session.workspace, []).append(row)
    return found


def _waiting(workspace: Workspace) -> set[str]:
    """The sessions of turns that wait in the spool, a moment ago or for as long as something stands in their way."""
    found = set()
    for path in workspace.spool.waiting():
        if noun(path) == "turn":
            # What cannot be read names nothing.
            with suppress(FormatError, OSError):
                found.add(workspace.spool.read(path).session)
    return found


def remove(around: Surroundings, chosen: Plan) -> Iterator[Removal | str]:
    """Removes what was chosen; what became of each, and a line for a copy that is left behind.

    A repository's sessions are removed together, and what is said of them comes before the next one's.
    """
    folders: list[Located] = []
    for workspace, rows in _by_workspace(chosen.rows).items():
        own = [row.session for row in rows if isinstance(row.session, Located)]
        if workspace is None:
            folders = own
        else:
            yield from _remove_refs(workspace, own)
    if folders and around.session_dir is not None:
        mirror = Mirror(around.session_dir)
        for session in folders:
            yield _remove_folder(mirror, session, chosen.stamps)


def _remove_refs(workspace: Workspace, sessions: Sequence[Located]) -> Iterator[Removal | str]:
    refused = workspace.git.delete_refs([(ref_of(item.name), item.tip) for item in sessions if item.tip is not None])
    tips = workspace.history.tips()[0] if refused else {}
    removed: list[SessionName] = []
    for session in sessions:
        complaint = refused.get(ref_of(session.name))
        if complaint is None:
            removed.append(session.name)
            yield Removal(session=session, outcome="removed")
        elif session.name not in tips:
            yield Removal(session=session, outcome="changed", reason="it is gone already")
        elif tips[session.name] != session.tip:
            yield Removal(session=session, outcome="changed", reason="it was used meanwhile")
        else:
            yield Removal(session=session, outcome="failed", reason=complaint)
    if workspace.mirroring is not None:
        yield from workspace.mirroring.forget(removed)


def _remove_folder(mirror: Mirror, session: Located, stamps: Mapping[str, Stamp]) -> Removal:
    folder = session.folder
    assert folder is not None, "what is in no repository is in a folder"
    try:
        now = mirror.stamp(folder)
        if now is None or now != stamps.get(folder):
            reason = "it is gone already" if now is None else "it was written to meanwhile"
            return Removal(session=session, outcome="changed", reason=reason)
        # Beside a copy of ours others may keep what is theirs.
        if session.repository is None or not mirror.remove(folder):
            mirror.discard(folder)
    except StoreError as error:
        return Removal(session=session, outcome="failed", reason=str(error))
    except OSError as error:
        return Removal(session=session, outcome="failed", reason=error.strerror or str(error))
    return Removal(session=session, outcome="removed")
