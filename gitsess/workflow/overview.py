"""A feature at a glance: its plan and how far that is, what it took by phase and by task, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gitsess import budgets, plan, report, strictjson
from gitsess.commit import Commit
from gitsess.content import DATA, RESPONSE, REVIEW, VERDICT
from gitsess.errors import FormatError
from gitsess.history import Session
from gitsess.model import JSON, Oid, SessionName
from gitsess.money import plus
from gitsess.names import split
from gitsess.plan import Plan
from gitsess.tally import Sums
from gitsess.text import iso, one_line
from gitsess.values import Value
from gitsess.workflow import features, plans, tasks
from gitsess.workflow.tasks import COMPLETED, FAILED, IN_PROGRESS, PENDING, Taken
from gitsess.workspace import Workspace

BLOCKED = "blocked"
SEVERITIES = ("critical", "high", "medium", "low", "info")
"""Of a review's findings, the gravest first; any other word counts as ``other``."""
TODO = "todo-"
"""How the ids of tasks begin that a person wrote down."""


class Reached(Value):
    """A task of the plan and how far it is. ``waits_for``: the tasks that must be done before and are not."""

    id: str
    title: str
    phase: str
    status: str
    waits_for: tuple[str, ...]
    taken: Taken


class Line(Value):
    """A feature in one line. ``state`` is what is next with it, ``health`` how long it was left alone.

    ``plan`` is None where there is none, or where ``problem`` says why it cannot be read.
    """

    feature: str
    in_use: bool
    plan: Plan | None
    problem: str
    tasks: tuple[Reached, ...]
    total: Sums
    closed: bool
    last_used: datetime | None
    health: str

    @property
    def done(self) -> int:
        return sum(task.status == COMPLETED for task in self.tasks)

    @property
    def active(self) -> tuple[str, ...]:
        """The tasks that are being worked on."""
        return tuple(task.id for task in self.tasks if task.status == IN_PROGRESS)

    @property
    def state(self) -> str:
        if self.closed:
            return "closed"
        if self.problem:
            return "plan broken"
        if not self.tasks:
            return "no plan"
        found = {task.status for task in self.tasks}
        if found == {COMPLETED}:
            return "done"
        if IN_PROGRESS in found:
            return "in progress"
        if FAILED in found:
            return "failed"
        return "begun" if COMPLETED in found else "planned"

    def json(self) -> dict[str, JSON]:
        return {
            "feature": self.feature,
            "in_use": self.in_use,
            "state": self.state,
            "health": self.health,
            "last_used": None if self.last_used is None else iso(self.last_used),
            "tasks_done": self.done,
            "tasks_total": len(self.tasks),
            "active": list(self.active),
            **self.total.json(),
        }


class Failure(Value):
    """The newest turn that failed."""

    session: SessionName
    at: datetime
    text: str


class Reviewed(Value):
    """The newest review: how many findings there are of each severity, the gravest first."""

    session: SessionName
    at: datetime
    findings: Mapping[str, int]


class Verified(Value):
    """The newest verdict. ``met`` of ``criteria`` are, ``tests_passed`` of the runs of ``tests`` did."""

    session: SessionName
    at: datetime
    passed: bool
    met: int
    criteria: int
    tests_passed: int
    tests: int


class Overview(Value):
    """A feature in one screen. ``by_command`` is in the order in which a feature goes through them, then by name;
    ``by_model`` has the dearest first."""

    line: Line
    description: str
    sessions: tuple[SessionName, ...]
    by_command: tuple[tuple[str, Taken], ...]
    by_model: tuple[tuple[str, Sums], ...]
    estimated_usd: Decimal | None
    open_todos: int
    failure: Failure | None
    review: Reviewed | None
    verdict: Verified | None
    budgets: tuple[budgets.Standing, ...]
    warnings: tuple[str, ...]

    def json(self) -> dict[str, JSON]:
        line = self.line.json()
        summary = None if self.line.plan is None else self.line.plan.summary
        return {
            **line,
            "description": self.description,
            "summary": summary,
            "sessions": list(self.sessions),
            "estimated_cost_usd": self.estimated_usd,
            "open_todos": self.open_todos,
            "tasks": [
                {
                    "task": task.id,
                    "title": task.title,
                    "phase": task.phase,
                    "status": task.status,
                    "waits_for": list(task.waits_for),
                    **_taken_json(task.taken),
                }
                for task in self.line.tasks
            ],
            "by_command": [{"command": command, **_taken_json(taken)} for command, taken in self.by_command],
            "by_model": [{"model": model, **sums.json()} for model, sums in self.by_model],
            "last_failure": None if self.failure is None else _dated(self.failure, text=self.failure.text),
            "review": None if self.review is None else _dated(self.review, findings=dict(self.review.findings)),
            "verdict": None if self.verdict is None else _verdict_json(self.verdict),
            "budgets": [
                {
                    "span": one.span,
                    "of": one.of,
                    "limit_usd": one.limit_usd,
                    "spent_usd": one.spent_usd,
                    "left_usd": one.left_usd,
                    "unpriced_turns": one.unpriced_turns,
                }
                for one in self.budgets
            ],
        }


def _taken_json(taken: Taken) -> dict[str, JSON]:
    return {**taken.sums.json(), "estimated_cost_usd": taken.estimated_usd}


def _dated(found: Failure | Reviewed | Verified, **more: JSON) -> dict[str, JSON]:
    return {"session": found.session, "at": iso(found.at), **more}


def _verdict_json(found: Verified) -> dict[str, JSON]:
    return _dated(
        found,
        passed=found.passed,
        criteria_met=found.met,
        criteria=found.criteria,
        tests_passed=found.tests_passed,
        tests=found.tests,
    )


class Lines(Value):
    """Features in a line each, the one used last first, and a line for everything that was passed over."""

    lines: tuple[Line, ...]
    total: Sums
    warnings: tuple[str, ...]


def lines(workspace: Workspace) -> Lines:
    """All features."""
    names = features.names(workspace)
    found, warnings = _read(workspace, names)
    in_use = features.in_use(workspace)
    made = [_line(workspace, name, found[name], in_use) for name in names]
    made.sort(key=lambda line: (0 if line.last_used is None else -line.last_used.timestamp(), line.feature))
    total = report.total_of(session for name in names for session in found[name])
    return Lines(lines=tuple(made), total=total, warnings=warnings)


def overview(workspace: Workspace, feature: str) -> Overview:
    """A feature that has begun."""
    read, warnings = _read(workspace, [feature])
    found = read[feature]
    line = _line(workspace, feature, found, features.in_use(workspace))
    now = workspace.around.now()
    by_model = report.stats_of(found, now=now, by="model").by or ()
    return Overview(
        line=line,
        description=features.description(workspace, found),
        sessions=tuple(session.name for session in found),
        by_command=_by_command(found, now),
        by_model=by_model,
        estimated_usd=_estimated(found),
        open_todos=sum(
            id.startswith(TODO) and status not in (COMPLETED, "cancelled")
            for id, status in tasks.statuses(found).items()
        ),
        failure=_failure(workspace, found),
        review=_review(workspace, found),
        verdict=_verdict(workspace, found),
        budgets=tuple(budgets.standings(workspace, feature)),
        warnings=warnings,
    )


def _read(workspace: Workspace, names: Iterable[str]) -> tuple[dict[str, tuple[Session, ...]], tuple[str, ...]]:
    """The sessions of these features, in one reading."""
    tips, _ = workspace.history.tips()
    found: dict[str, tuple[Session, ...]] = dict.fromkeys(names, ())
    ledger = workspace.history.read({name: oid for name, oid in tips.items() if split(name)[1] in found}, ())
    for session in ledger.sessions:
        if not session.newer:
            found[split(session.name)[1]] += (session,)
    return found, ledger.warnings


def _line(workspace: Workspace, feature: str, found: tuple[Session, ...], in_use: str | None) -> Line:
    problem, standing = "", None
    try:
        standing = plans.current(workspace, found)
    except FormatError as error:
        problem = str(error)
    rows = [report.row_of(session) for session in found]
    own = [row for row in rows if split(row.session.name)[0] in features.COMMANDS]
    # An event is no use; a session has nothing else to be dated by where it has no turn.
    dated = [row for row in rows if row.session.outline.used is not None] or rows
    last_used = max((row.last_used for row in dated if row.last_used is not None), default=None)
    made = None if standing is None else standing.plan
    return Line(
        feature=feature,
        in_use=feature == in_use,
        plan=made,
        problem=problem,
        tasks=() if made is None else reached(made, found),
        total=report.total_of(found),
        closed=bool(own) and all(row.status == "completed" for row in own),
        last_used=last_used,
        health=_health(last_used, workspace.around.now()),
    )


def _health(last_used: datetime | None, now: datetime) -> str:
    if last_used is None or last_used < now - timedelta(days=report.ACTIVE_DAYS):
        return "stale"
    return "active" if last_used >= now - timedelta(days=1) else "idle"


def reached(made: Plan, found: Sequence[Session]) -> tuple[Reached, ...]:
    """The tasks of a plan in its order, with what its sessions say of them."""
    said, taken = tasks.statuses(found), tasks.taken(found)
    nothing = Taken(sums=Sums(), estimated_usd=None)
    done = {id for id, status in said.items() if status == COMPLETED}
    statuses: dict[str, str] = {}
    waits: dict[str, tuple[str, ...]] = {}
    # What a task waits for is looked at before it.
    for task in plan.order(made, ()):
        waits[task.id] = () if task.id in done else tuple(plan.missing(made, task, done))
        status = said.get(task.id, PENDING)
        if status == BLOCKED and task.depends_on and not waits[task.id]:
            status = PENDING
        elif status == PENDING and waits[task.id]:
            stuck = any(statuses[other] in (FAILED, BLOCKED) for other in waits[task.id])
            if stuck or taken.get(task.id, nothing).sums.turns:
                status = BLOCKED
        statuses[task.id] = status
    return tuple(
        Reached(
            id=task.id,
            title=task.title,
            phase=phase.name,
            status=statuses[task.id],
            waits_for=waits[task.id],
            taken=taken.get(task.id, nothing),
        )
        for phase in made.phases
        for task in phase.tasks
    )


def _by_command(found: Sequence[Session], now: datetime) -> tuple[tuple[str, Taken], ...]:
    order = {command: place for place, command in enumerate(features.COMMANDS)}
    summed = dict(report.stats_of(found, now=now, by="command").by or ())
    made = []
    for command in sorted(summed, key=lambda command: (order.get(command, len(order)), command)):
        own = [session for session in found if split(session.name)[0] == command]
        made.append((command, Taken(sums=summed[command], estimated_usd=_estimated(own))))
    return tuple(made)


def _estimated(found: Iterable[Session]) -> Decimal | None:
    """What the turns were expected to cost, as far as that was said."""
    # A turn that two sessions share, as a fork does, was expected once.
    known = {
        (session.session_id, item.facts.turn_id): item.facts.estimated_cost_usd
        for session in found
        for item in session.counted()
        if item.facts.estimated_cost_usd is not None
    }
    return plus(*known.values()) if known else None


def _failure(workspace: Workspace, found: Iterable[Session]) -> Failure | None:
    failed = [
        (item.committed_at, session.name, item)
        for session in found
        for item in session.counted()
        if item.facts.kind == "turn" and item.facts.status == "error"
    ]
    if not failed:
        return None
    at, name, item = max(failed, key=lambda one: (one[0], one[1], one[2].facts.seq))
    return Failure(session=name, at=at, text=_why(workspace, item.oid))


def _why(workspace: Workspace, oid: Oid) -> str:
    """Why a turn failed, as its last request says it; else the first line of what came."""
    value = _object(next(workspace.history.files([oid], DATA)))
    requests = value.get("requests")
    for request in reversed(requests if isinstance(requests, list) else []):
        error = request.get("error") if isinstance(request, dict) else None
        if isinstance(error, str) and one_line(error):
            return one_line(error)
    said = next(workspace.history.files([oid], RESPONSE)) or b""
    first = said[:4096].decode("utf-8", "replace").strip().partition("\n")[0]
    return one_line(first)


def _newest(workspace: Workspace, found: tuple[Session, ...], command: str, path: str) -> tuple[Commit, Any] | None:
    """The newest turn of a command that has this file, and the file's object."""
    session = features.session_of(found, command)
    items = [] if session is None else [item for item in reversed(session.commits) if item.facts.kind == "turn"]
    for item, data in zip(items, workspace.history.files([item.oid for item in items], path), strict=True):
        if data is not None:
            return item, _object(data)
    return None


def _object(data: bytes | None) -> dict[str, Any]:
    try:
        value = {} if data is None else strictjson.loads(data, what="the file")
    except FormatError:
        return {}
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _review(workspace: Workspace, found: tuple[Session, ...]) -> Reviewed | None:
    newest = _newest(workspace, found, "review", REVIEW)
    if newest is None:
        return None
    item, value = newest
    counts = dict.fromkeys((*SEVERITIES, "other"), 0)
    for finding in _objects(value.get("findings")):
        word = finding.get("severity")
        counts[word if isinstance(word, str) and word in SEVERITIES else "other"] += 1
    session = features.session_of(found, "review")
    assert session is not None
    return Reviewed(
        session=session.name,
        at=item.committed_at,
        findings={severity: count for severity, count in counts.items() if count},
    )


def _verdict(workspace: Workspace, found: tuple[Session, ...]) -> Verified | None:
    newest = _newest(workspace, found, "verify", VERDICT)
    if newest is None:
        return None
    item, value = newest
    criteria, tests = _objects(value.get("criteria")), _objects(value.get("tests"))
    session = features.session_of(found, "verify")
    assert session is not None
    return Verified(
        session=session.name,
        at=item.committed_at,
        passed=value.get("passed") is True,
        met=sum(one.get("verdict") == "pass" for one in criteria),
        criteria=len(criteria),
        tests_passed=sum(one.get("passed") is True for one in tests),
        tests=len(tests),
    )
