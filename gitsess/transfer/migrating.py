"""The shell tool's folders as sessions: one commit an interaction, once however often it is imported.

A folder gives a session its name, in lower case and without what no name may hold; the folder's own name is kept in
``turn.json``, under ``imported``. What was kept of a prompt is its beginning, and is marked as that:

    "imported": {"from": "session-dir", "folder": "My_Feature", "session_name": …, "prompt": "preview"}

Session ids and turn ids follow from what is in the folder, so that two clones that import it have the same session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from gitsess import content, names, turns
from gitsess.agents import sessiondir
from gitsess.agents.sessiondir import Found, Interaction, Passed
from gitsess.commit import MERGER, Commit, Facts
from gitsess.content import Content
from gitsess.draft import Draft
from gitsess.model import JSONObject, Oid, SessionName, TokenUsage, TurnId
from gitsess.store.pack import Packs
from gitsess.text import iso, subject, well_formed
from gitsess.transfer.building import Builder, Standing
from gitsess.transfer.importing import Outcome, holding
from gitsess.turns import Turn
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


def migrate(workspace: Workspace, directory: Path, *, dry_run: bool = False) -> Migration:
    """Imports every session below ``directory``; what is no session is left alone and counted.

    Raises StoreError where the directory cannot be read or the repository not be written, Locked where a session
    moved meanwhile: nothing has changed then.
    """
    done = Migration()
    with holding(workspace.git) as folder:
        packs = Packs(workspace.git, folder)
        try:
            builder = Builder(workspace, packs)
            moves = list(_Migrator(workspace, builder, done).moves(directory))
            if moves and not dry_run:
                builder.move(moves)
        finally:
            packs.close()
    return done


class _Migrator:
    def __init__(self, workspace: Workspace, builder: Builder, done: Migration) -> None:
        self._workspace = workspace
        self._builder = builder
        self._done = done

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
            here = self._builder.standing(name)
            migrated = None if here is None else _migrated(here)
            if migrated is not None and migrated == session_id_of(found):
                return name
            if name == plain and migrated is not None:
                free = False
        return plain if free else suffixed

    def _session(self, found: Found, name: SessionName) -> tuple[Outcome, Oid | None]:
        conversation = found.session_id or found.folder
        apart = names.with_suffix(name, f"import-{_digits(conversation)[:_SUFFIX_DIGITS]}")
        here, aside = self._builder.standing(name), self._builder.standing(apart)
        present = {item.facts.turn_id for place in (here, aside) if place is not None for item in place.session.commits}
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
            parent = self._builder.commit(parent, draft, self._builder.tree(draft.files))
        assert parent is not None, "a session that is not here has at least its beginning"
        outcome = "unchanged" if not drafts else "created" if old is None else "updated"
        return Outcome(session=name, given=name, outcome=outcome, tip=parent.oid, turns=count), old

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


def _migrated(here: Standing) -> str | None:
    """The session id of one that began as a folder."""
    return here.session.session_id if _began_as_folder(here.session.commits[0]) else None


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
