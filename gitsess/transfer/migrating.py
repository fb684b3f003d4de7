"""The shell tool's folders as sessions: one commit an interaction, once however often it is imported.

A folder gives a session its name, in lower case and without what no name may hold; the folder's own name is kept in
``turn.json``, under ``imported``. What was kept of a prompt is its beginning, and is marked as that:

    "imported": {"from": "session-dir", "folder": "My_Feature", "session_name": …, "prompt": "preview"}

Session ids and turn ids follow from what is in the folder, so that two clones that import it have the same session.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from gitsess import content, names, turns
from gitsess.agents import sessiondir
from gitsess.agents.sessiondir import Found, Interaction, Passed
from gitsess.append import Parent, commit_on
from gitsess.commit import MERGER, Commit, Facts
from gitsess.content import Content
from gitsess.draft import Draft
from gitsess.errors import Locked, NotASession
from gitsess.locks import flock
from gitsess.model import JSONObject, Oid, SessionName, TokenUsage, TurnId
from gitsess.store.pack import Names, Packs
from gitsess.text import iso, subject, well_formed
from gitsess.transfer.importing import LOCK_WAIT_S, MESSAGE, Outcome, holding
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Workspace

_BEGUN = "Begun in the folder"
"""How the first commit of such a session begins, for people, and for telling it from others of its name."""
_ID_DIGITS = 32
_SUFFIX_DIGITS = 6
_MAX_NAME = 90


class Migration:
    """What a migration did. ``passed``: folders that are none; ``problems``: (folder, line) of what was left out of
    a folder that is one."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[Outcome, str]] = []
        self.passed: list[Passed] = []
        self.problems: list[tuple[str, str]] = []


class _Standing(Value):
    """A session as it is here: its tip, the ids of all its commits, and when it was last used. ``migrated``: its
    session id where it began as a folder."""

    parent: Parent
    ids: frozenset[str]
    last_used: datetime
    migrated: str | None


def migrate(workspace: Workspace, directory: Path, *, dry_run: bool = False) -> Migration:
    """Imports every session below ``directory``; what is no session is left alone and counted.

    Raises StoreError where the directory cannot be read or the repository not be written, Locked where a session
    moved meanwhile: nothing has changed then.
    """
    done = Migration()
    with holding(workspace.git) as folder:
        packs = Packs(workspace.git, folder)
        try:
            moves = list(_Migrator(workspace, packs, done).moves(directory))
            if moves and not dry_run:
                with flock(os.path.join(workspace.repository.state_dir, "lock"), shared=True, wait_s=LOCK_WAIT_S):
                    packs.install()
                    complaint = workspace.git.move_refs(moves, message=MESSAGE)
                if complaint is not None:
                    raise Locked(f"a session moved meanwhile; nothing was imported, try again ({complaint})")
        finally:
            packs.close()
    return done


class _Migrator:
    def __init__(self, workspace: Workspace, packs: Packs, done: Migration) -> None:
        self._workspace = workspace
        self._packs = packs
        self._done = done
        self._names = Names(workspace.repository.object_format)
        self._tips, _ = workspace.history.tips()

    def moves(self, directory: Path) -> Iterator[tuple[str, Oid, Oid | None]]:
        """Writes what is new, a folder at a time; the refs to move then."""
        taken = {name: name for name in sessiondir.folders(directory)}
        for found in sessiondir.read(directory):
            if isinstance(found, Passed):
                self._done.passed.append(found)
                continue
            self._done.problems += [(found.folder, line) for line in found.problems]
            outcome, old = self._session(found, self._name(found, taken))
            self._done.outcomes.append((outcome, found.folder))
            if outcome.tip != old:
                yield names.ref_of(outcome.session), outcome.tip, old

    def _name(self, found: Found, taken: dict[str, str]) -> SessionName:
        """The folder's name as a session's; with a suffix where another folder has that, here or in the repository."""
        plain = derived_name(found.folder)
        suffixed = names.with_suffix(plain, _digits(found.folder)[:_SUFFIX_DIGITS])
        free = taken.setdefault(plain, found.folder) == found.folder
        for name in (plain, suffixed):
            here = self._standing(name)
            if here is not None and here.migrated == session_id_of(found):
                return name
            if name == plain and here is not None and here.migrated is not None:
                free = False
        return plain if free else suffixed

    def _session(self, found: Found, name: SessionName) -> tuple[Outcome, Oid | None]:
        conversation = found.session_id or found.folder
        apart = names.with_suffix(name, f"import-{_digits(conversation)[:_SUFFIX_DIGITS]}")
        here, aside = self._standing(name), self._standing(apart)
        present = {turn_id for place in (here, aside) if place is not None for turn_id in place.ids}
        beginning, *exchanges = self._drafts(found)
        drafts = [draft for draft in exchanges if draft.facts.turn_id not in present]
        count = len(drafts)
        # Turns that would land behind newer ones are a session of their own.
        behind = here is not None and any(draft.committed_at < here.last_used for draft in drafts)
        if behind or (aside is not None and (drafts or here is None)):
            name, here = apart, aside
        parent = old = None
        if here is None:
            drafts.insert(0, beginning)
        else:
            parent, old = here.parent, here.parent.oid
        for draft in drafts:
            parent = self._write(parent, draft)
        assert parent is not None, "a session that is not here has at least its beginning"
        outcome = "unchanged" if not drafts else "created" if old is None else "updated"
        return Outcome(session=name, given=name, outcome=outcome, tip=parent.oid, turns=count), old

    def _standing(self, name: SessionName) -> _Standing | None:
        tip = self._tips.get(name)
        if tip is None:
            return None
        ledger = self._workspace.history.read({name: tip}, [])
        if not ledger.sessions or ledger.sessions[0].newer or not ledger.sessions[0].commits:
            why = ledger.warnings[0] if ledger.warnings else "it cannot be read"
            raise NotASession(f"{name} cannot be added to: {why}; nothing was imported")
        commits = ledger.sessions[0].commits
        last = next((item for item in commits if item.oid == tip), None)
        if last is None:
            raise NotASession(f"{name} cannot be added to: its tip {tip[:12]} is not a turn; nothing was imported")
        used = [item.committed_at for item in commits if item.facts.kind == "turn"]
        facts = last.facts
        return _Standing(
            parent=Parent(oid=tip, seq=facts.seq, epoch=facts.epoch, committed_at=last.committed_at),
            ids=frozenset(str(item.facts.turn_id) for item in commits),
            last_used=max(used, default=commits[0].committed_at),
            migrated=ledger.sessions[0].session_id if _began_as_folder(commits[0]) else None,
        )

    def _drafts(self, found: Found) -> Iterator[Draft]:
        """The session's beginning, at the date that the folder gives it, and its turns."""
        redactor = self._workspace.redactor
        committer = self._workspace.committer
        conversation = redactor.text(found.session_id)
        imported: JSONObject = {"from": sessiondir.AGENT, "folder": redactor.text(found.folder)}
        if found.session_name and found.session_name != found.folder:
            imported = {**imported, "session_name": redactor.text(found.session_name)}
        yield Draft(
            subject=subject(f"{_BEGUN} {imported['folder']}"),
            facts=Facts(
                kind="event",
                turn_id=turn_id_of(found, ""),
                session_id=session_id_of(found),
                event="started",
            ),
            files={},
            author=MERGER,
            authored_at=found.created_at,
            committer=committer,
            committed_at=found.created_at,
            checked=True,
        )
        for item in found.interactions:
            turn = turns.redacted(_turn(found, item, conversation), redactor)
            draft = turns.draft_of(turn, committer=committer, price=_no_price)
            kept = Content(
                prompt=turn.prompt,
                started_at=iso(turn.started_at),
                ended_at=iso(turn.ended_at),
                extra={"imported": {**imported, "prompt": "preview"}},
            )
            yield replace(draft, files=content.encode(kept))

    def _write(self, parent: Parent | None, draft: Draft) -> Parent:
        blobs = {path: self._names.of("blob", data) for path, data in draft.files.items()}
        for path, data in draft.files.items():
            self._packs.add("blob", blobs[path], data)
        tree = Oid("")
        for tree, data in self._names.trees(blobs):
            self._packs.add("tree", tree, data)
        facts, committed_at, raw = commit_on(parent, draft, tree)
        oid = self._names.of("commit", raw)
        self._packs.add("commit", oid, raw)
        return Parent(oid=oid, seq=facts.seq, epoch=facts.epoch, committed_at=committed_at)


def derived_name(folder: str) -> SessionName:
    """The session's name for a folder: lower case, other characters than a name's as ``-``.

    A suffix tells folders apart of which that left little: where it replaced what is not ASCII, or had to cut.
    """
    near = names.nearest(folder)
    if near is None:
        return names.with_suffix(SessionName("imported"), _digits(folder)[:_SUFFIX_DIGITS])
    if folder.isascii() and len(folder) <= _MAX_NAME:
        return near
    return names.with_suffix(near, _digits(folder)[:_SUFFIX_DIGITS])


def _turn(found: Found, item: Interaction, conversation: str) -> Turn:
    return Turn(
        prompt=item.preview,
        model=item.model,
        agent=sessiondir.AGENT,
        usage=item.usage,
        cost_usd=item.cost_usd,
        cost_basis="estimated",
        duration_ms=item.duration_ms,
        started_at=item.started_at,
        ended_at=item.ended_at,
        conversation=conversation or None,
        turn_id=turn_id_of(found, item.key),
        checked=True,
    )


def turn_id_of(found: Found, key: str) -> TurnId:
    """The turn id of a folder's interaction."""
    # The rule of docs/format.md §5: the agent, its own id of the conversation, its own id of the prompt.
    return TurnId(_digits(sessiondir.AGENT, found.session_id or found.folder, key)[:_ID_DIGITS])


def _began_as_folder(first: Commit) -> bool:
    return first.facts.event == "started" and first.subject.startswith(_BEGUN)


def session_id_of(found: Found) -> str:
    """The session id that a folder is given when it is imported."""
    return _digits(sessiondir.AGENT, found.session_id, found.folder)[:_ID_DIGITS]


def _digits(*parts: str) -> str:
    return hashlib.sha256("\0".join(well_formed(part) for part in parts).encode()).hexdigest()


def _no_price(model: str, usage: TokenUsage, at: datetime) -> tuple[Decimal | None, str]:
    # What was used is itself an estimate: a price of ours would look like more than that.
    return None, "standard"
