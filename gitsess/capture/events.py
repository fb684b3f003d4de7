"""What agents told their hooks, made into turns: of each transcript what was written since the last time.

An event holds no turn; it says that there may be one, and that the last may have ended. Where nothing is remembered of
a transcript, all of it is read again, and every session is asked for its turns.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gitsess.agents import restoring
from gitsess.capture.conversation import FOLDER, KINDS, Conversation
from gitsess.capture.holding import is_held
from gitsess.capture.landing import Landing
from gitsess.errors import FormatError, StoreError
from gitsess.spool import Event, Spool
from gitsess.text import plural
from gitsess.workspace import Drained, Workspace


class Taken:
    """Events whose turns were recorded. Once the notes of the commits that they name are written, ``finish``."""

    def __init__(self, done: Drained, patience: float) -> None:
        self._done = done
        self._patience = patience
        self.conversations: list[Conversation] = []
        self.elsewhere: list[Workspace] = []

    def leave(self, why: str) -> None:
        """Has all events wait."""
        for conversation in self.conversations:
            conversation.why = conversation.why or why

    def finish(self, spool: Spool) -> None:
        """Remembers how far was read, and removes the events; those whose turns could not be recorded wait."""
        for workspace in self.elsewhere:
            try:
                workspace.settle(patience=self._patience)
            except StoreError as error:
                self.leave(str(error))
            workspace.finish()
        for conversation in self.conversations:
            if not conversation.why:
                conversation.remember()
                if conversation.lost:
                    lost = plural(conversation.lost, "turn")
                    self._done.problems.append(f"{lost} not recorded: the transcript {conversation.path} is gone")
            for event in conversation.events:
                if conversation.why:
                    self._done.waiting.append((event.path, conversation.why))
                    continue
                try:
                    spool.discard(event.path)
                except OSError as error:
                    self._done.waiting.append((event.path, f"its file cannot be removed: {error.strerror}"))


def take(workspace: Workspace, paths: Sequence[Path], done: Drained, *, patience: float) -> Taken:
    """Records the turns that the events in ``paths`` tell of, those of all conversations in the order of time."""
    taken = Taken(done, patience)
    grouped: dict[tuple[str, str], list[Event]] = {}
    for path in paths:
        try:
            event = workspace.spool.read_event(path)
            if event.agent not in KINDS:
                raise FormatError(f"no agent is known as {event.agent[:40]!r}")
            if event.session is not None and is_held(workspace.repository.state_dir, event.session):
                done.held.append(path)
                continue
            grouped.setdefault((event.agent, _transcript(workspace, event)), []).append(event)
        except FileNotFoundError:
            continue
        except FormatError as error:
            workspace.set_aside(path, str(error), done)
        except OSError as error:
            done.waiting.append((path, error.strerror or "it cannot be read"))
    landing = Landing(workspace, taken.elsewhere, done, patience)
    for (agent, transcript), found in grouped.items():
        found.sort(key=lambda event: event.at)
        taken.conversations.append(Conversation(workspace, agent, Path(transcript), found))
    for conversation in taken.conversations:
        landing.owe(conversation.unnoted)
    for conversation, captured, before in heapq.merge(
        *(one.turns() for one in taken.conversations), key=lambda item: item[1].turn.ended_at
    ):
        landing.land(conversation, captured, before)
    landing.finish()
    return taken


def forget(state_dir: str) -> None:
    """Has every transcript read from its beginning again: turns came into the sessions by another way."""
    with suppress(OSError), os.scandir(os.path.join(state_dir, FOLDER)) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)


def _transcript(workspace: Workspace, event: Event) -> str:
    path = event.body.get("transcript_path")
    if event.agent == "codex":
        path = _rollout(workspace, event)
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise FormatError(f"{event.path.name} names no transcript")
    with suppress(OSError):
        # Neither what was never one nor a link becomes one by waiting.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FormatError(f"the transcript {path} is no regular file")
    return path


def _rollout(workspace: Workspace, event: Event) -> str | None:
    """Codex names the thread alone; one that it keeps nowhere has a name all the same."""
    thread, home = event.body.get("thread-id"), workspace.around.home
    if not (isinstance(thread, str) and restoring.is_conversation(thread)):
        return None
    top = Path(event.home) if event.home else None if home is None else Path(home, ".codex")
    if top is None:
        return None
    found = restoring.Codex(top).find(thread)
    return str(found or top / "sessions" / f"rollout-{thread}.jsonl")
