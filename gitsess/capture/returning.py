"""A captured conversation back to its agent, which then goes on with it: also on another machine.

The transcript is made of the entries that the turns hold. One that the agent has already stays as it is, unless it
lacks turns and has none of its own; a transcript is never put in the place of a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gitsess import agents, setup
from gitsess.agents import restoring
from gitsess.agents.captured import Reader
from gitsess.agents.restoring import Home, Native
from gitsess.commit import Commit
from gitsess.conversations import Conversation, conversations, pick
from gitsess.errors import Conflict, FormatError, NotFound, StoreError
from gitsess.history import Session
from gitsess.locks import write_private
from gitsess.model import SessionName, TurnId
from gitsess.names import shown
from gitsess.values import Value
from gitsess.workspace import Workspace


class Chosen(Value):
    """The conversation that a session is gone on with; ``command`` is that of its agent's sessions. ``later`` turns
    of the session came after its last one."""

    conversation: Conversation
    command: str
    later: int


class Returned(Value):
    """``action``: ``restored``, ``replaced`` (an older one) or ``present``. ``commands``, one after the other, go on
    with it in ``folder``."""

    action: str
    path: Path
    commands: tuple[tuple[str, ...], ...]
    folder: Path


def choose(workspace: Workspace, session: SessionName, wanted: str | None) -> Chosen:
    """The conversation of the session's newest captured turn, or the one that is wanted; raises NotFound."""
    found = workspace.history.one(session)
    ledger = workspace.history.find()
    turns = [item for item in found.counted() if item.facts.kind == "turn"]
    if wanted is None:
        newest = next((item for item in reversed(turns) if item.facts.conversation is not None), None)
        if newest is None or newest.facts.conversation is None:
            raise NotFound(
                f"no turn of {session} is of an agent's conversation; 'git ai-session run' goes on with it, and"
                " --as-prompt hands it to an agent"
            )
        of = (newest.facts.agent or "unknown").partition("/")[0], newest.facts.conversation
        known = conversations(ledger.sessions)
        conversation = next(item for item in known if (item.agent, item.id) == of)
    else:
        conversation = pick([one for one in conversations(ledger.sessions) if session in one.sessions], wanted)
    later = 0
    for item in reversed(turns):
        if item.facts.conversation == conversation.id:
            break
        later += 1
    command = agents.command_of(conversation.agent)
    if command is None:
        raise NotFound(
            f"conversations of {shown(conversation.agent)} cannot be handed back; --as-prompt prints what was said"
        )
    return Chosen(conversation=conversation, command=command, later=later)


def give_back(workspace: Workspace, chosen: Chosen) -> Returned:
    """Puts a conversation where its agent looks for it.

    Raises NotFound where its entries are not here, Conflict where the agent has another state of it, StoreError where
    it cannot be written.
    """
    around, conversation = workspace.around, chosen.conversation
    if around.home is None:
        raise StoreError("there is no home folder: set HOME")
    home = restoring.home_of(chosen.command, Path(around.home), around.environment)
    if home is None or not restoring.is_conversation(conversation.id):
        raise NotFound(
            f"{shown(conversation.id)} is no name that {chosen.command} gives a conversation; --as-prompt prints what"
            " was said"
        )
    folder = setup.top(workspace)
    standing = home.find(conversation.id)
    action = "restored"
    if standing is not None:
        if not _is_older(agents.reader(chosen.command), standing, conversation):
            commands = tuple(map(tuple, home.commands(conversation.id, None)))
            return Returned(action="present", path=standing, commands=commands, folder=folder)
        action = "replaced"
    files = _files(workspace, home, conversation, folder)
    *_, path = files
    if standing is not None and standing.is_file():
        # Wherever the agent has it.
        files[standing] = files.pop(path)
        path = standing
    try:
        for place, data in files.items():
            # What else belongs to it may be a parent's, which goes on elsewhere.
            if place == path or not place.exists():
                write_private(place, data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    commands = tuple(map(tuple, home.commands(conversation.id, path)))
    return Returned(action=action, path=path, commands=commands, folder=folder)


def _is_older(reader: Reader, standing: Path, conversation: Conversation) -> bool:
    """Whether the agent's transcript lacks turns and has none of its own; raises Conflict where it has both."""
    ours = [item.facts.turn_id for _, item in conversation.items]
    theirs = {captured.turn.turn_id for captured in reader.read(standing, closed=True)}
    missing = sum(turn_id not in theirs for turn_id in ours)
    if missing and not theirs <= set(ours):
        raise Conflict(
            f"{standing} has turns that are not here, and lacks {missing} that are: move it away to have these"
            " restored, or go on with it as it is"
        )
    return bool(missing)


def _files(workspace: Workspace, home: Home, conversation: Conversation, folder: Path) -> dict[Path, bytes]:
    def others() -> Iterator[tuple[str, Sequence[Native]]]:
        for one in conversations(workspace.history.find().sessions):
            if one.agent == conversation.agent and one.id != conversation.id:
                yield one.id, _natives(workspace, one)

    turns = _natives(workspace, conversation)
    bare = sum(not native for native in turns)
    if bare:
        raise NotFound(
            f"{bare} of its {len(turns)} turns have no entries of the agent's own; --as-prompt prints what was said"
        )
    try:
        return home.lay_out(conversation.id, turns, str(folder), others)
    except FormatError as error:
        raise NotFound(f"{error}; --as-prompt prints what was said") from None


def _natives(workspace: Workspace, conversation: Conversation) -> list[Native]:
    """The agent's entries of each turn, as they were last corrected."""
    sources: list[Commit] = []
    corrected: dict[int, dict[TurnId, Commit]] = {}
    for session, item in conversation.items:
        if id(session) not in corrected:
            corrected[id(session)] = _corrections(session)
        turn_id = item.facts.turn_id
        found = None if turn_id is None else corrected[id(session)].get(turn_id)
        sources.append(found or item)
    made: list[Native] = [dict(content.native) for _, content in workspace.history.contents(sources, corrected=False)]
    # A correction may be of the metrics alone.
    for number, (_, item) in enumerate(conversation.items):
        if not made[number] and sources[number] is not item:
            own = workspace.history.contents([item], corrected=False)
            made[number] = next(dict(content.native) for _, content in own)
    return made


def _corrections(session: Session) -> dict[TurnId, Commit]:
    """The last correction of each turn."""
    return {
        item.facts.corrects: item
        for item in session.commits
        if item.facts.kind == "correction" and item.facts.corrects is not None
    }
