"""What is to be done, in one view: tasks of plans, what a person wrote down, the lists that agents keep, and turns.

A person's todo is a ``task`` event of ``todo-<feature>``, with an id of its own and the status ``pending``; another one
with ``completed`` ends it. A turn that a verb asked for was opened with what it was expected to cost, where that is
known, and closed by its own commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from gitsess import plan, report
from gitsess import todos as lists
from gitsess.commit import Commit, Facts
from gitsess.content import NATIVE, Content
from gitsess.conversations import conversations
from gitsess.errors import FormatError, NotFound, UsageError
from gitsess.history import Session
from gitsess.model import JSON, Oid, SessionName
from gitsess.money import plus
from gitsess.names import join, shown, split
from gitsess.providers.anthropic_api import AGENT
from gitsess.tally import Sums
from gitsess.text import iso, one_line, well_formed
from gitsess.values import Value
from gitsess.workflow import events, features, overview, plans, tasks
from gitsess.workflow.overview import TODO
from gitsess.workflow.tasks import COMPLETED, PENDING
from gitsess.workspace import Workspace

COMMAND = "todo"
GENERAL = "general"
"""The feature of todos that are of none."""
DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"
OPEN = ("in_progress", "failed", "blocked", "pending")
STATUSES = (DONE, *OPEN, INTERRUPTED, "cancelled")
KINDS = ("turn", "task", "todo", "agent")
_OF_TURNS = {"ok": DONE, "error": FAILED, "interrupted": INTERRUPTED}
_CALLS = (b"TodoWrite", b"TaskCreate", b"TaskUpdate", b"update_plan", b"write_todos", b"todowrite")
"""What stands in a turn's entries where its agent changed its list."""
_MAIN = f"{NATIVE}main.jsonl"


class Todo(Value):
    """One thing to do. ``kind`` is one of KINDS, ``status`` of STATUSES.

    ``id``: a task's, a todo's, or the number of a turn in its session; empty for an agent's. ``at``: when it last
    changed. ``agent`` keeps it, where one does.
    """

    kind: str
    id: str
    session: SessionName
    text: str
    status: str
    at: datetime
    task: str | None = None
    agent: str | None = None
    turn: Commit | None = None
    sums: Sums | None = None
    estimated_usd: Decimal | None = None

    @property
    def over_usd(self) -> Decimal | None:
        """By how much it cost more than was expected, or less; None where one of them is not known."""
        cost = None if self.sums is None or self.sums.unpriced_turns else self.sums.known_cost_usd
        return None if cost is None or self.estimated_usd is None else plus(cost, -self.estimated_usd)

    def json(self) -> dict[str, JSON]:
        command, feature = split(self.session)
        return {
            "kind": self.kind,
            "id": self.id or None,
            "session": self.session,
            "command": command,
            "feature": feature,
            "text": self.text,
            "status": self.status,
            "at": iso(self.at),
            "task": self.task,
            "agent": self.agent,
            "turn_id": None if self.turn is None else self.turn.facts.turn_id,
            "estimated_cost_usd": self.estimated_usd,
            **(self.sums or Sums()).json(),
        }


class Found(Value):
    """Todos by session, the one that changed last first, and a line for everything that was passed over."""

    todos: tuple[Todo, ...]
    warnings: tuple[str, ...]


def find(
    workspace: Workspace, *, feature: str | None = None, everything: bool = False, since: datetime | None = None
) -> Found:
    """What is open, or ``everything``, of one feature or all; ``since``: what changed then or later.

    What is in sessions that are closed is not open, nor are the lists of agents that were not used for a month.
    """
    tips, _ = workspace.history.tips()
    if feature is not None:
        tips = {name: oid for name, oid in tips.items() if split(name)[1] == feature}
    horizon = None if everything else workspace.around.now() - timedelta(days=report.ACTIVE_DAYS)
    wanted = tips if horizon is None else _looked_at(workspace, tips, horizon)
    ledger = workspace.history.read(wanted, ())
    sessions = [session for session in ledger.sessions if not session.newer]
    warnings = list(ledger.warnings)
    found = [
        *_planned(workspace, sessions, warnings),
        *_written(workspace, sessions),
        *_listed(workspace, sessions, max((at for at in (horizon, since) if at is not None), default=None)),
    ]
    if everything:
        found += _turns(sessions)
    else:
        closed = {session.name for session in sessions if report.row_of(session).status == "completed"}
        found = [todo for todo in found if todo.status in OPEN and todo.session not in closed]
    if since is not None:
        found = [todo for todo in found if todo.at >= since]
    newest: dict[str, float] = {}
    for todo in found:
        newest[todo.session] = max(newest.get(todo.session, 0), todo.at.timestamp())
    found.sort(key=lambda todo: (-newest[todo.session], todo.session))
    return Found(todos=tuple(found), warnings=tuple(dict.fromkeys(warnings)))


def _looked_at(workspace: Workspace, tips: Mapping[SessionName, Oid], horizon: datetime) -> dict[SessionName, Oid]:
    """The sessions of features that have tasks or todos, and those that were used since."""
    own = {feature for command, feature in map(split, tips) if command in (*features.COMMANDS, COMMAND)}
    used = {
        account.name
        for account in workspace.accounts().sessions
        if account.outline.newest is not None and account.outline.newest >= horizon.timestamp()
    }
    return {name: oid for name, oid in tips.items() if name in used or split(name)[1] in own}


def _by_feature(sessions: Iterable[Session]) -> dict[str, tuple[Session, ...]]:
    found: dict[str, tuple[Session, ...]] = {}
    for session in sessions:
        feature = split(session.name)[1]
        found[feature] = (*found.get(feature, ()), session)
    return found


def _changed(sessions: Iterable[Session]) -> dict[str, datetime]:
    """When something was last done for each task."""
    found: dict[str, datetime] = {}
    for session in sessions:
        for item in session.commits:
            task = item.facts.task
            if task is not None:
                found[task] = max(found.get(task, item.committed_at), item.committed_at)
    return found


def _planned(workspace: Workspace, sessions: Sequence[Session], warnings: list[str]) -> Iterator[Todo]:
    """The tasks of the plans."""
    for found in _by_feature(sessions).values():
        try:
            standing = plans.current(workspace, found)
        except FormatError as error:
            warnings.append(str(error))
            continue
        if standing is None:
            continue
        session = features.session_of(found, "implement") or features.session_of(found, "plan")
        assert session is not None
        changed = _changed(found)
        for task in overview.reached(standing.plan, found):
            yield Todo(
                kind="task",
                id=task.id,
                session=session.name,
                text=task.title,
                status=DONE if task.status == COMPLETED else task.status,
                at=changed.get(task.id, standing.item.committed_at),
                task=task.id,
                sums=task.taken.sums,
                estimated_usd=task.taken.estimated_usd,
            )


def _written(workspace: Workspace, sessions: Sequence[Session]) -> Iterator[Todo]:
    """What a person wrote down."""
    by_feature = _by_feature(sessions)
    for session in sessions:
        command, feature = split(session.name)
        items = _first(session) if command == COMMAND else {}
        if not items:
            continue
        own = by_feature[feature]
        statuses, taken, changed = tasks.statuses(own), tasks.taken(own), _changed(own)
        texts = workspace.history.prompts([item.oid for item in items.values()])
        for (id, item), text in zip(items.items(), texts, strict=True):
            status = statuses.get(id, PENDING)
            yield Todo(
                kind="todo",
                id=id,
                session=session.name,
                text=text.strip() or item.subject,
                status=DONE if status == COMPLETED else status,
                at=changed[id],
                task=id,
                sums=taken[id].sums if id in taken else None,
                estimated_usd=taken[id].estimated_usd if id in taken else None,
            )


def _first(session: Session) -> dict[str, Commit]:
    """The todos of a session by id, each with the event that it began with."""
    found: dict[str, Commit] = {}
    for item in session.commits:
        facts = item.facts
        if facts.event == "task" and facts.task is not None and facts.task.startswith(TODO):
            found.setdefault(facts.task, item)
    return found


def _listed(workspace: Workspace, sessions: Sequence[Session], since: datetime | None) -> Iterator[Todo]:
    """The items of the lists that agents keep, of conversations that went on ``since``."""
    for conversation in conversations(sessions):
        if since is not None and conversation.last_used < since:
            continue
        of = {item.oid: session.name for session, item in conversation.items}
        for kept in lists.lists(_telling(workspace, conversation.items)):
            for entry in kept.todos:
                status = str(entry.get("status"))
                yield Todo(
                    kind="agent",
                    id="",
                    session=of[kept.turn.oid],
                    text=str(entry["content"]),
                    status=DONE if status == COMPLETED else status if status in STATUSES else PENDING,
                    at=kept.turn.committed_at,
                    agent=kept.agent,
                    turn=kept.turn,
                )


def _telling(workspace: Workspace, items: Sequence[tuple[Session, Commit]]) -> Iterator[tuple[Commit, Content]]:
    """The turns in which an agent may have changed its list, with what they hold.

    Most turns do not: one file is looked through before a whole turn is decoded.
    """
    texts = workspace.history.files([item.oid for _, item in items], _MAIN)
    wanted = [
        item
        for (session, item), text in zip(items, texts, strict=True)
        # A turn that was corrected has a tree that was written later.
        if item.facts.turn_id in session.corrections or any(call in (text or b"") for call in _CALLS)
    ]
    return workspace.history.contents(wanted)


def _is_ours(facts: Facts) -> bool:
    """Whether a turn was asked for by a verb. Those bear what they were expected to cost; where no price is known, or
    an agent has no past yet, they are told by who was asked, or by the task that was worked on."""
    return facts.estimated_cost_usd is not None or facts.agent == AGENT or facts.task_status is not None


def _turns(sessions: Sequence[Session]) -> Iterator[Todo]:
    """The turns that verbs asked for; one that several sessions share is there once."""
    seen: set[tuple[str | None, str | None]] = set()
    for session in sessions:
        for item, entry in zip(session.counted(), session.turns(), strict=True):
            facts, key = item.facts, (session.session_id, item.facts.turn_id)
            if facts.kind != "turn" or not _is_ours(facts) or key in seen:
                continue
            seen.add(key)
            sums = Sums()
            sums.add(session.name, [entry])
            yield Todo(
                kind="turn",
                id=f"#{facts.seq}",
                session=session.name,
                text=item.subject.removeprefix(f"[{facts.task}] "),
                status=_OF_TURNS.get(facts.status or "ok", DONE),
                at=item.committed_at,
                task=facts.task,
                turn=item,
                sums=sums,
                estimated_usd=facts.estimated_cost_usd,
            )


class Marked(Value):
    """A todo or task that was added or done. ``changed`` is False where it was done already."""

    id: str
    session: SessionName
    text: str
    status: str
    changed: bool = True
    estimated_usd: Decimal | None = None

    def json(self) -> dict[str, JSON]:
        return {
            "id": self.id,
            "session": self.session,
            "feature": split(self.session)[1],
            "text": self.text,
            "status": self.status,
            "changed": self.changed,
            "estimated_cost_usd": self.estimated_usd,
        }


def feature_of(workspace: Workspace, feature: str) -> str:
    """A feature that has begun, or that has todos; raises NotFound."""
    if join(COMMAND, feature) in workspace.history.tips()[0]:
        return feature
    return features.named(workspace, feature)


def add(workspace: Workspace, text: str, *, feature: str | None = None, estimated_usd: Decimal | None = None) -> Marked:
    """Writes something down for a feature: that in use where none is given, else none."""
    text = workspace.redactor.text(well_formed(text)).strip()
    if not one_line(text):
        raise UsageError('say what is to be done: git ai-session todo add "…"')
    name = feature_of(workspace, feature) if feature is not None else features.in_use(workspace) or GENERAL
    session = join(COMMAND, name)
    tips, _ = workspace.history.tips()
    known = _first(workspace.history.one(session)) if session in tips else {}
    id = next(id for id in iter(lambda: f"{TODO}{uuid4().hex[:6]}", "") if id not in known)
    events.put(workspace, session, "task", text, task=id, status=PENDING, estimated_usd=estimated_usd)
    return Marked(id=id, session=session, text=text, status=PENDING, estimated_usd=estimated_usd)


def done(workspace: Workspace, wanted: str, *, feature: str | None = None) -> Marked:
    """Ends a todo, by its id or the beginning of it, or a task of a plan, of the feature in use where none is given.

    Raises NotFound, or UsageError where several begin so.
    """
    if plan.is_id(wanted):
        return _task_done(workspace, features.named(workspace, feature), wanted)
    if feature is not None:
        feature = feature_of(workspace, feature)
    tips, _ = workspace.history.tips()
    own = {
        name: oid
        for name, oid in tips.items()
        if split(name)[0] == COMMAND and (feature is None or split(name)[1] == feature)
    }
    found = {
        id: (session, item)
        for session in workspace.history.read(own, ()).sessions
        for id, item in _first(session).items()
    }
    start = wanted.removeprefix(TODO)
    near = [id for id in sorted(found) if start and id.startswith(TODO + start)]
    if not near:
        raise NotFound(f"there is no todo {shown(wanted)}; 'git ai-session todo list' shows them")
    if len(near) > 1 and TODO + start not in near:
        raise UsageError(f"{shown(wanted)} could be any of {len(near)} todos: {', '.join(near[:5])}")
    id = TODO + start if TODO + start in near else near[0]
    session, item = found[id]
    text = next(workspace.history.prompts([item.oid]), "").strip() or item.subject
    changes = tasks.statuses([session]).get(id) != COMPLETED
    if changes:
        events.put(workspace, session.name, "task", f"Done: {text}", task=id, status=COMPLETED)
    return Marked(id=id, session=session.name, text=text, status=DONE, changed=changes)


def _task_done(workspace: Workspace, feature: str, id: str) -> Marked:
    found = features.sessions(workspace, feature)
    task = plans.needed(workspace, feature, found).task(id)
    if task is None:
        raise NotFound(f"{feature} has no task {id}; 'git ai-session status {feature}' shows its tasks")
    changes = tasks.statuses(found).get(id) != COMPLETED
    if changes:
        tasks.put(workspace, feature, id, COMPLETED, text=f"Done by hand: {task.title}")
    return Marked(id=id, session=join("implement", feature), text=task.title, status=DONE, changed=changes)


class Compared(Value):
    """Turns of verbs, what they were expected to cost, and what they did: ``foreseen_usd`` is what those of them cost
    for which something was expected. ``statuses`` counts them by status."""

    sums: Sums
    estimated_usd: Decimal
    foreseen_usd: Decimal
    statuses: Mapping[str, int]

    def json(self) -> dict[str, JSON]:
        return {
            **self.sums.json(),
            "estimated_cost_usd": self.estimated_usd,
            "foreseen_cost_usd": self.foreseen_usd,
            "statuses": dict(self.statuses),
        }


class Report(Value):
    """``by_command``: the dearest first. ``by_kind``: how many there are of each status. ``overruns``: the turns that
    passed what was expected by most."""

    total: Compared
    by_command: tuple[tuple[str, Compared], ...]
    by_kind: tuple[tuple[str, Mapping[str, int]], ...]
    overruns: tuple[Todo, ...]
    warnings: tuple[str, ...]

    def json(self) -> dict[str, JSON]:
        return {
            "total": self.total.json(),
            "by_command": [{"command": command, **compared.json()} for command, compared in self.by_command],
            "by_kind": [{"kind": kind, "statuses": dict(statuses)} for kind, statuses in self.by_kind],
            "overruns": [{**todo.json(), "over_usd": todo.over_usd} for todo in self.overruns],
        }


def sum_up(workspace: Workspace, *, feature: str | None = None, since: datetime | None = None, most: int = 5) -> Report:
    """What was done, and how well it was foreseen."""
    found = find(workspace, feature=feature, everything=True, since=since)
    turns = [todo for todo in found.todos if todo.kind == "turn"]
    commands: dict[str, list[Todo]] = {}
    for todo in turns:
        commands.setdefault(split(todo.session)[0], []).append(todo)
    by_command = [(command, _compared(own)) for command, own in commands.items()]
    by_command.sort(key=lambda one: (-one[1].sums.cost_usd, one[0]))
    by_kind = [(kind, _statuses(todo for todo in found.todos if todo.kind == kind)) for kind in KINDS]
    over = [(todo.over_usd, todo) for todo in turns if todo.over_usd is not None and todo.over_usd > 0]
    over.sort(key=lambda one: (-one[0], one[1].session, one[1].id))
    return Report(
        total=_compared(turns),
        by_command=tuple(by_command),
        by_kind=tuple((kind, statuses) for kind, statuses in by_kind if statuses),
        overruns=tuple(todo for _, todo in over[:most]),
        warnings=found.warnings,
    )


def _compared(turns: Sequence[Todo]) -> Compared:
    sums = Sums()
    foreseen = Decimal(0)
    for todo in turns:
        if todo.sums is not None:
            sums.merge(todo.session, todo.sums.plain())
        if todo.over_usd is not None and todo.estimated_usd is not None:
            foreseen = plus(foreseen, todo.over_usd, todo.estimated_usd)
    return Compared(
        sums=sums,
        foreseen_usd=foreseen,
        estimated_usd=plus(*(todo.estimated_usd or Decimal(0) for todo in turns)),
        statuses=_statuses(turns),
    )


def _statuses(found: Iterable[Todo]) -> dict[str, int]:
    counts = dict.fromkeys(STATUSES, 0)
    for todo in found:
        counts[todo.status] = counts.get(todo.status, 0) + 1
    return {status: count for status, count in counts.items() if count}
