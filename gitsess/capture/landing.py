"""Where turns go: each to the repository of its folder, and there to the session of its branch, or the one in use.

Before a turn is appended it is written down where it goes: whoever goes on after a kill has it go to the same session.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace

from gitsess.agents.captured import Captured, Position
from gitsess.capture.conversation import Conversation, Last, folder_of, size_of
from gitsess.capture.declined import decline, declined
from gitsess.capture.moves import Moves
from gitsess.capture.place import Places
from gitsess.draft import Draft
from gitsess.errors import FormatError, GitsessError, Locked, StoreError
from gitsess.gitcli import repository_of
from gitsess.model import Oid, SessionName
from gitsess.spool import Event
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Drained, Workspace


class Spot(Value):
    """Where a turn happened: ``workspace`` is what it is recorded with, ``local`` the same at its worktree."""

    workspace: Workspace
    local: Workspace


class Landing:
    """Records turns, each in the session and the repository that it belongs to; other repositories than ``workspace``
    are added to ``elsewhere``."""

    def __init__(self, workspace: Workspace, elsewhere: list[Workspace], done: Drained, patience: float) -> None:
        self._own = workspace
        self._elsewhere, self._done, self._patience = elsewhere, done, patience
        self._spots: dict[str, Spot | None] = {}
        self._workspaces: dict[str, Workspace] = {os.path.realpath(workspace.repository.common_dir): workspace}
        self._locals: dict[str, Workspace] = {}
        self._places: dict[str, Places] = {}
        self._known: dict[str, dict[str, tuple[SessionName, int]]] = {}
        self._declined: dict[str, set[str]] = {}
        self._moves: dict[str, Moves] = {}
        self._following: dict[tuple[SessionName, Oid], tuple[Conversation, Workspace, Draft]] = {}

    def land(self, conversation: Conversation, captured: Captured, before: Position) -> None:
        """Records a turn, or what came to it since it was recorded. What fails has the conversation wait."""
        try:
            self._land(conversation, captured, before)
        except FormatError as error:
            # It will never be a commit; what comes after it may.
            self._done.problems.append(f"a turn of {conversation.path} is left out: {error}")
        except StoreError as error:
            conversation.why = str(error)

    def _land(self, conversation: Conversation, captured: Captured, before: Position) -> None:
        turn, last = captured.turn, conversation.last
        requests, tokens = size_of(turn)
        again = last is not None and last.turn_id == turn.turn_id
        event = conversation.event_of(turn)
        spot = self._spot(captured.cwd) or self._spot(folder_of(event))
        spot = spot or Spot(workspace=self._own, local=self._own)
        if again and last is not None:
            if last.session is None:
                return
            if last.repository is not None:
                spot = self._remembered(last.repository, spot)
            if conversation.whole and (last.requests, last.tokens) == (requests, tokens):
                return
            session = last.session
        else:
            known = None if conversation.whole else self._known_in(spot.workspace).get(turn.turn_id)
            if known is not None:
                session = known[0]
            elif not event.enabled or turn.turn_id in self._declined_in(spot.workspace):
                if conversation.is_current(turn) and not event.enabled:
                    decline(spot.workspace.repository.state_dir, turn.turn_id)
                left_out = Last(turn_id=turn.turn_id, session=None, repository=None, requests=0, tokens=0)
                conversation.note(left_out, before)
                return
            else:
                session = self._session(conversation, captured, event, spot)
            here = spot.workspace.repository.common_dir
            place = os.fsencode(here).decode("utf-8", "backslashreplace")
            conversation.note(
                Last(turn_id=turn.turn_id, session=session, repository=place, requests=requests, tokens=tokens), before
            )
            if known is not None:
                # Whoever appended it may have been killed before the notes were written.
                turn = self._situated(turn, spot, recent=conversation.is_current(turn))
                spot.workspace.appended(session, turn)
                self._follow(conversation, session, turn, spot)
                if known[1] < tokens:
                    spot.workspace.correct(session, turn, patience=self._patience)
                return
        self._record(conversation, spot, session, turn)
        if again and last is not None:
            conversation.note(last.replace(requests=requests, tokens=tokens), before)

    def _record(self, conversation: Conversation, spot: Spot, session: SessionName, turn: Turn) -> None:
        workspace = spot.workspace
        if any(turn.turn_id in path.name for path in workspace.spool.waiting()):
            raise Locked("its last turn waits in the spool")
        if any(turn.turn_id in path.name for path in workspace.spool.failed()):
            return
        turn = self._situated(turn, spot, recent=conversation.is_current(turn))
        conversation.write(self._owed())
        try:
            recorded = workspace.record(session, turn, patience=self._patience, paid=True)
        except FormatError:
            if not turn.native:
                raise
            # What was asked and answered, and what it cost, is kept without the rest.
            turn = replace(turn, native={})
            recorded = workspace.record(session, turn, patience=self._patience, paid=True)
        if recorded.spooled is not None:
            # The turns after it come after it.
            raise Locked(recorded.reason)
        if recorded.existed:
            workspace.correct(session, turn, patience=self._patience)
        else:
            self._done.appended += 1
        self._follow(conversation, session, turn, spot)

    def _follow(self, conversation: Conversation, session: SessionName, turn: Turn, spot: Spot) -> None:
        """Notes the commit that came after a turn of the past, for no hook told of it."""
        if turn.worktree is None or conversation.is_current(turn):
            return
        moves = self._moves_of(spot, turn)
        following = moves.next_commit(turn.ended_at)
        if following is not None:
            at, commit = following
            event = moves.event_of(commit, at, turn.worktree, spot.workspace)
            self._following[session, commit] = (conversation, spot.workspace, event)

    def finish(self) -> None:
        """Appends the events of the commits that came after turns of the past. What fails has its conversation wait."""
        for (session, commit), (conversation, workspace, event) in self._following.items():
            try:
                workspace.happened(session, event, patience=self._patience)
                workspace.touch(commit, session)
            except StoreError as error:
                conversation.why = conversation.why or str(error)

    def owe(self, unnoted: Iterable[tuple[str, Oid, SessionName]]) -> None:
        """Has the notes of these commits written."""
        for repository, oid, session in unnoted:
            spot = self._spot(repository)
            if spot is not None:
                spot.workspace.touch(oid, session)

    def _owed(self) -> Iterator[tuple[str, Oid, SessionName]]:
        for workspace in self._workspaces.values():
            place = os.fsencode(workspace.repository.common_dir).decode("utf-8", "backslashreplace")
            for oid, sessions in workspace.touched.items():
                yield from ((place, oid, session) for session in sorted(sessions))

    # --- the repository, and the worktree

    def _spot(self, folder: str | None) -> Spot | None:
        """Where a folder is; None where it is in no repository now."""
        if folder is None:
            return None
        if folder not in self._spots:
            self._spots[folder] = self._find(folder)
        return self._spots[folder]

    def _find(self, folder: str) -> Spot | None:
        try:
            found = repository_of(folder, self._own.around.environment)
        except (GitsessError, OSError, ValueError):
            # A path from a transcript may be any text.
            return None
        local = self._locals.setdefault(found.git_dir, Workspace(found, self._own.around))
        return Spot(workspace=self._workspace(local), local=local)

    def _workspace(self, found: Workspace) -> Workspace:
        place = os.path.realpath(found.repository.common_dir)
        if place not in self._workspaces:
            self._workspaces[place] = found
            self._elsewhere.append(found)
        return self._workspaces[place]

    def _remembered(self, repository: str, spot: Spot) -> Spot:
        """The repository that a turn was sent to before, wherever its folder is now."""
        if os.path.realpath(spot.workspace.repository.common_dir) == os.path.realpath(repository):
            return spot
        return self._spot(repository) or spot

    # --- the session

    def _known_in(self, workspace: Workspace) -> Mapping[str, tuple[SessionName, int]]:
        """Every turn of a repository: its session, and its tokens as they are summed."""
        place = workspace.repository.common_dir
        if place not in self._known:
            known: dict[str, tuple[SessionName, int]] = {}
            for account in workspace.accounts(turns=True).sessions:
                for entry in account.turns():
                    if entry.turn_id is not None:
                        total = entry.input_tokens + entry.output_tokens
                        total += entry.cache_read_tokens + entry.cache_write_tokens
                        known.setdefault(entry.turn_id, (account.name, total))
            self._known[place] = known
        return self._known[place]

    def _declined_in(self, workspace: Workspace) -> Container[str]:
        place = workspace.repository.state_dir
        if place not in self._declined:
            self._declined[place] = declined(place)
        return self._declined[place]

    def _session(self, conversation: Conversation, captured: Captured, event: Event, spot: Spot) -> SessionName:
        """AI_SESSION, else what was in use on the turn's branch, else the session of the agent and the branch."""
        moves = self._moves_of(spot, captured.turn)
        branch = moves.branch_of(captured.turn, moves.branch)
        if conversation.is_current(captured.turn):
            if event.session is not None:
                return event.session
            in_use = None if spot.local.worktree is None else spot.local.worktree.in_use()
            if in_use is not None and in_use.branch == branch:
                return in_use.session
        place = spot.workspace.repository.common_dir
        if place not in self._places:
            history = spot.workspace.history
            self._places[place] = Places(history, history.tips()[0])
        return self._places[place].session(conversation.reader.NAME, branch)

    # --- what was checked out

    def _situated(self, turn: Turn, spot: Spot, *, recent: bool) -> Turn:
        moves = self._moves_of(spot, turn)
        worktree = spot.local.repository.worktree if recent or moves.reach(turn.ended_at) else None
        return replace(moves.situated(turn, worktree, moves.branch), checked=True)

    def _moves_of(self, spot: Spot, turn: Turn) -> Moves:
        place = spot.local.repository.git_dir
        self._moves[place] = Moves.during(spot.local, turn.started_at, turn.ended_at, self._moves.get(place))
        return self._moves[place]
