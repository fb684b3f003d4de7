"""``run --via``: a prompt through an agent's own program, and the turn that it makes of it.

The conversation is the one that the session holds of this agent, brought back where the agent has lost it; what the
session holds besides since then is handed over behind the prompt. Tokens and entries come from the transcript that
the program leaves, read as capture reads it: so the turn has the id that the agent's own hooks would give it, and
lands once, in the session that was named.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from gitsess import agents, handed, handoff, setup
from gitsess.agents import restoring
from gitsess.agents.captured import Captured
from gitsess.capture import returning
from gitsess.capture.holding import hold
from gitsess.capture.moves import Moves
from gitsess.capture.returning import Chosen
from gitsess.commit import Commit
from gitsess.content import plain_messages
from gitsess.conversations import conversations
from gitsess.errors import GitsessError, NotFound, ProviderError, StoreError, UsageError
from gitsess.estimates import TYPICAL_ANSWER_TOKENS, expected_usd
from gitsess.handed import Block
from gitsess.history import Session
from gitsess.model import SessionName, TokenUsage
from gitsess.names import split
from gitsess.providers import agentcli
from gitsess.providers.agentcli import Call, Done
from gitsess.providers.caching import estimate_tokens
from gitsess.text import plural, well_formed
from gitsess.turns import Turn, metrics_of
from gitsess.values import Value
from gitsess.workspace import Recorded, Workspace

NAMES = tuple(agentcli.PROGRAMS)
"""The agents that can be asked, by the command of their sessions."""
_SKEW = timedelta(seconds=2)
"""How far the clock of an agent's transcript may be from ours."""


class Wish(Value):
    """What a person asked for. ``model`` is the agent's own word for one, None its default; ``documents`` are
    (title, text); ``sessions`` are read in. ``fresh``: nothing of the session is gone on with or handed over."""

    agent: str
    prompt: str
    model: str | None = None
    system: str | None = None
    documents: tuple[tuple[str, str], ...] = ()
    sessions: tuple[SessionName, ...] = ()
    task: str | None = None
    budget_usd: Decimal | None = None
    arguments: tuple[str, ...] = ()
    timeout_s: float | None = None
    fresh: bool = False


class Prepared(Value):
    """An invocation ready to be made. ``turns`` of the conversation are resumed, ``handed`` are handed over, and
    ``left_out`` did not fit; ``known`` are the ids of the turns so far; ``notes`` are lines for the person."""

    session: SessionName
    wish: Wish
    call: Call
    words: tuple[str, ...]
    folder: Path
    turns: int
    handed: int
    left_out: int
    known: frozenset[str | None]
    notes: tuple[str, ...]


class Answered(Value):
    """What came, and the turn it was recorded as; None where nothing took place, or nothing is to be recorded.
    ``cost_usd`` is of either, None where that is not known."""

    done: Done
    recorded: Recorded | None
    cost_usd: Decimal | None


def who_could(home: str | Path | None, environment: Mapping[str, str]) -> list[str]:
    """The agents that somebody is logged in with, as far as files and variables tell."""
    path = environment.get("PATH")
    if home is None:
        return []
    return agentcli.logged_in(Path(home), environment, lambda name: shutil.which(name, path=path) is not None)


def keeps_budgets(agent: str) -> bool:
    """Whether the agent's program can be held to a budget."""
    return agentcli.PROGRAMS[agent].keeps_budgets


def prepare(workspace: Workspace, session: SessionName, wish: Wish, *, dry_run: bool = False) -> Prepared:
    """The invocation that ``wish`` comes to; but for a dry run the agent's transcript is brought back where it is gone.

    Raises UsageError for what the agent does not take, NotFound for a session to read in that is not there.
    """
    program = agentcli.PROGRAMS[wish.agent]
    arguments = agentcli.checked(program, wish.arguments)
    budget = wish.budget_usd
    if program.keeps_budgets:
        budget = workspace.settings.budget_usd if budget is None else budget
    elif budget is not None:
        raise UsageError(f"{program.title} keeps no budget: leave --budget out")
    redactor = workspace.redactor
    prompt = redactor.text(well_formed(wish.prompt))
    if not prompt.strip():
        raise UsageError("the prompt is empty")
    found = _session(workspace, session)
    known = frozenset(item.facts.turn_id for item in found.counted()) if found is not None else frozenset()
    if wish.fresh:
        found = None
    chosen, notes = _conversation(workspace, found, wish.agent, dry_run=dry_run)
    since = _unseen(found, chosen)
    blocks: list[Block] = []
    turns, left_out = 0, 0
    system = None if wish.system is None else redactor.text(well_formed(wish.system))
    if system is not None and not program.takes_system:
        blocks.append(Block(kind="instructions", text=system))
    limit = max(handoff.SMALLEST, workspace.settings.max_context_tokens)
    if found is not None and since:
        made = handoff.hand_off(workspace.history, since, title=f"the session {session}", limit=limit)
        blocks.append(Block(kind="earlier-work", text=redactor.text(made.text)))
        turns, left_out = made.turns, made.left_out
    for name in wish.sessions:
        if name == session:
            raise UsageError(f"--with {name}: a session is its own context already")
        other = workspace.history.one(name)
        items = [(other, item) for item in other.counted()]
        made = handoff.hand_off(workspace.history, items, title=f"the session {name}", limit=limit)
        blocks.append(Block(kind="other-work", text=redactor.text(made.text)))
        notes.append(f"reads in {plural(made.turns, 'turn')} of {name}")
    for title, text in wish.documents:
        blocks.append(Block(kind="file", text=redactor.text(well_formed(text)), name=title))
    call = Call(
        prompt=handed.lay_out(prompt, blocks),
        conversation=None if chosen is None else chosen.conversation.id,
        new_id=str(uuid.uuid4()) if chosen is None and program.takes_id else None,
        model=wish.model,
        system=system if program.takes_system else None,
        budget_usd=None if budget is None else f"{budget:f}",
        arguments=arguments,
        timeout_s=wish.timeout_s,
    )
    return Prepared(
        session=session,
        wish=wish.replace(prompt=prompt),
        call=call,
        words=tuple(program.words(call)),
        folder=setup.top(workspace),
        turns=0 if chosen is None else chosen.conversation.sums.turns,
        handed=turns,
        left_out=left_out,
        known=known,
        notes=tuple(notes),
    )


def _session(workspace: Workspace, session: SessionName) -> Session | None:
    if not workspace.settings.enabled:
        return None
    # Refused before anything is paid for, if it must be.
    workspace.appender.check(session)
    tips, _ = workspace.history.tips()
    return workspace.history.one(session) if session in tips else None


def _conversation(
    workspace: Workspace, found: Session | None, agent: str, *, dry_run: bool
) -> tuple[Chosen | None, list[str]]:
    """The newest conversation of the session that the agent can go on with."""
    if found is None:
        return None, []
    mine = [
        item.facts.conversation
        for item in found.counted()
        if agents.command_of((item.facts.agent or "").partition("/")[0]) == agent
        and item.facts.conversation is not None
        and restoring.is_conversation(item.facts.conversation)
    ]
    if not mine:
        return None, []
    known = conversations(workspace.history.find().sessions)
    conversation = next(one for one in known if one.id == mine[-1] and agents.command_of(one.agent) == agent)
    chosen = Chosen(conversation=conversation, command=agent, later=0)
    if dry_run:
        return chosen, []
    try:
        done = returning.give_back(workspace, chosen)
    except (GitsessError, OSError) as error:
        home = _home(workspace, agent)
        if home is not None and home.find(conversation.id) is not None:
            # The agent's own state of it is newer, or went another way: it goes on with that.
            return chosen, []
        return None, [f"its conversation cannot be gone on with ({error}); a new one is begun"]
    return chosen, [] if done.action == "present" else [f"its transcript was put back: {done.path}"]


def _unseen(found: Session | None, chosen: Chosen | None) -> Sequence[tuple[Session, Commit]]:
    """What the session holds that the agent has not seen: all that came after its last turn."""
    if found is None:
        return []
    items = [item for item in found.counted() if item.facts.kind in ("turn", "compaction")]
    if chosen is not None:
        ours = [n for n, item in enumerate(items) if item.facts.conversation == chosen.conversation.id]
        items = items[ours[-1] + 1 :] if ours else items
    return [(found, item) for item in items]


def _home(workspace: Workspace, agent: str) -> restoring.Home | None:
    around = workspace.around
    return None if around.home is None else restoring.home_of(agent, Path(around.home), around.environment)


def ask(
    workspace: Workspace,
    prepared: Prepared,
    on_text: Callable[[str], None],
    on_end: Callable[[], None] = lambda: None,
    *,
    shape: Callable[[Turn], Turn] = lambda turn: turn,
) -> Answered:
    """Runs the agent and records what came of it. ``on_end`` is called between the two: what arrived is paid for.
    ``shape`` adds to the turn what is known of it by then.

    Raises ProviderError where the agent is not installed, or cannot be started.
    """
    wish, around = prepared.wish, workspace.around
    program = agentcli.PROGRAMS[wish.agent]
    path = shutil.which(program.name, path=around.environment.get("PATH"))
    if path is None:
        raise ProviderError(
            f"{program.title} is not on PATH: 'npm install -g {program.package}' installs it; nothing was sent"
        )
    started = around.now()
    environment = {**around.environment}
    if workspace.settings.enabled:
        # Its own hooks, where there are some, are to take the turn to the same session.
        environment["AI_SESSION"] = prepared.session
    with hold(workspace.repository.state_dir, prepared.session):
        try:
            done = agentcli.ask(
                program, path, prepared.call, folder=prepared.folder, environment=environment, on_text=on_text
            )
        except OSError as error:
            raise ProviderError(f"{program.title} cannot be started: {error.strerror}; nothing was sent") from None
        on_end()
        turn = _turn_of(workspace, prepared, done, started)
        recorded = None
        if turn is not None and workspace.settings.enabled:
            recorded = _recorded(workspace, prepared, *turn, shape)
    if recorded is not None and workspace.spool.waiting():
        # What its hooks told meanwhile is there now.
        workspace.drain()
    cost_usd = None if turn is None else metrics_of(turn[0], workspace.price).cost_usd
    return Answered(done=done, recorded=recorded, cost_usd=cost_usd)


def _turn_of(workspace: Workspace, prepared: Prepared, done: Done, started: datetime) -> tuple[Turn, bool] | None:
    """(what came of an invocation as a turn, whether it is from the agent's transcript); None where nothing took
    place."""
    captured = _captured(workspace, prepared, done, started - _SKEW)
    if captured is None and not done.started and not done.text:
        return None
    return _turn(workspace, prepared, done, captured, started), captured is not None


def _recorded(
    workspace: Workspace, prepared: Prepared, turn: Turn, captured: bool, shape: Callable[[Turn], Turn]
) -> Recorded:
    wish = prepared.wish
    moves = Moves(workspace)
    turn = replace(
        workspace.situated(turn),
        task=wish.task,
        # Where no model was named, which one it would be is known only now.
        estimated_cost_usd=expected(workspace, prepared, turn.model or None),
        commits=tuple(dict.fromkeys((*turn.commits, *moves.commits(turn.started_at, turn.ended_at)))),
    )
    turn = shape(turn)
    recorded = workspace.record(prepared.session, turn, paid=True)
    if recorded.existed and captured:
        # Its own hook was faster, and may have seen less of it.
        workspace.correct(prepared.session, turn)
    with suppress(StoreError):
        # A note that cannot be written now is written with the next one of its commit.
        workspace.settle()
    return recorded


def expected(workspace: Workspace, prepared: Prepared, model: str | None = None) -> Decimal | None:
    """What such turns have cost before; else what the prompt alone comes to, by ``model``, or that which the agent was
    given, where the price is known."""
    agent, model = agents.reader(prepared.wish.agent).AGENT, model or prepared.wish.model
    before = expected_usd(workspace, split(prepared.session)[0], agent=agent)
    if before is not None or model is None:
        return before
    usage = TokenUsage(input_tokens=estimate_tokens(prepared.call.prompt), output_tokens=TYPICAL_ANSWER_TOKENS)
    return workspace.price(model, usage, workspace.around.now())[0]


def _captured(workspace: Workspace, prepared: Prepared, done: Done, since: datetime) -> Captured | None:
    """The turn that the invocation made, from the agent's transcript."""
    name = done.conversation or prepared.call.conversation or prepared.call.new_id
    home = _home(workspace, prepared.wish.agent)
    path = None if name is None or home is None or not restoring.is_conversation(name) else home.find(name)
    if path is None:
        return None
    last: Captured | None = None
    try:
        for captured in agents.reader(prepared.wish.agent).read(path, closed=True):
            turn = captured.turn
            if turn.kind == "turn" and turn.ended_at >= since and turn.turn_id not in prepared.known:
                last = captured
    except (NotFound, StoreError):
        return None
    return last


def _turn(workspace: Workspace, prepared: Prepared, done: Done, captured: Captured | None, started: datetime) -> Turn:
    status = "interrupted" if done.interrupted else "ok" if done.failure is None else "error"
    prompt, sent = prepared.wish.prompt, prepared.call.prompt
    if captured is not None:
        # The agent may have written down what it was sent in another way.
        turn = captured.turn if sent == prompt else replace(captured.turn, prompt=prompt)
        # What the program said of its end counts for more than what its transcript looks like.
        return turn if status == "ok" else replace(turn, status=status)
    ended = workspace.around.now()
    return Turn(
        prompt=prompt,
        response=done.text,
        messages=tuple(handed.messages_without(plain_messages(sent, done.text))),
        params=None if sent == prompt else {"prompt": sent},
        model=done.model or "",
        agent=agents.reader(prepared.wish.agent).AGENT,
        usage=done.usage,
        duration_ms=max(0, round((ended - started).total_seconds() * 1000)),
        started_at=started,
        ended_at=max(started, ended),
        status=status,
        conversation=done.conversation,
    )
