"""The commits of every session: whether they can be read, follow on each other, and sum to what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from gitsess import commit, content, names, trees
from gitsess.commit import Commit, Metrics
from gitsess.doctor.findings import Finding
from gitsess.errors import FormatError, GitsessError, NewerFormat
from gitsess.gitcli import Objects
from gitsess.history import Session
from gitsess.model import Oid, SessionName, TokenUsage, TurnId
from gitsess.money import format_usd, plus
from gitsess.store.pack import Names
from gitsess.workspace import Workspace

_PASSED = "; passed over"
_STRANGE = "see what made it, then rename it, or 'git update-ref --no-deref -d' it"
_FSCK = "restore the object from a clone or an export; 'git fsck' names what else is damaged"
_KEEP = "nothing is lost: sums count it once"


class Seen:
    """What was looked at, and the turn ids that were met: by id, the first session's id and name."""

    def __init__(self) -> None:
        self.sessions = 0
        self.turns = 0
        self.turn_ids: dict[TurnId, tuple[str | None, SessionName]] = {}


def check(workspace: Workspace, seen: Seen, progress: Callable[[str], None]) -> Iterator[Finding]:
    """Every ref, then every session's history and files."""
    tips, warnings = workspace.history.tips()
    for warning in warnings:
        yield Finding(check="ref", subject="", message=warning.removesuffix(_PASSED), advice=_STRANGE)
    objects = workspace.git.start_objects()
    try:
        for name, tip in tips.items():
            progress(name)
            yield from _session(workspace, objects, name, tip, seen)
    finally:
        objects.close()


def _session(workspace: Workspace, objects: Objects, name: SessionName, tip: Oid, seen: Seen) -> Iterator[Finding]:
    ledger = workspace.history.read({name: tip}, [])
    for warning in ledger.warnings:
        yield _warned(name, warning)
    seen.sessions += 1
    for session in ledger.sessions:
        seen.turns += sum(item.facts.kind == "turn" for item in session.counted())
        findings = [
            *_chain(workspace, session),
            *_sums(session),
            *_turn_ids(session, seen),
            *_files(workspace, objects, session),
        ]
        for kind, oid, message, advice in findings:
            yield Finding(check=kind, subject=name, message=f"commit {oid[:12]} {message}", advice=advice)


_Fault = tuple[str, Oid, str, str]
"""The kind, the commit, what is wrong with it, what to do."""


def _warned(name: SessionName, warning: str) -> Finding:
    message = warning.removesuffix(_PASSED)
    if "needs an upgrade" in message:
        return Finding(check="format", subject=name, message=message, advice="upgrade gitsess")
    if message.startswith(names.REF_PREFIX):
        return Finding(check="ref", subject=name, message=message, advice=_STRANGE)
    missing = "missing" in message or "cannot be read" in message
    advice = _FSCK if missing else "every other turn of the session is read; an export from before it restores it"
    return Finding(check="chain" if missing else "format", subject=name, message=message, advice=advice)


def _chain(workspace: Workspace, session: Session) -> Iterator[_Fault]:
    """Whether each commit follows on those before it, by the rules of docs/format.md §2, §4 and §6."""
    known = {item.oid: item for item in session.commits}
    restore = "an export or a clone from before it has the session as it was"
    begun = False
    for item in session.commits:
        facts = item.facts
        before = [known[oid] for oid in item.parents if oid in known]
        if len(before) < len(item.parents):
            # What comes before it cannot be read, and is a finding of its own.
            continue
        if not before:
            if begun:
                yield "chain", item.oid, "begins the session a second time", restore
            if facts.session_id is None:
                yield "chain", item.oid, "begins the session without an AI-Session-Id", restore
            begun = True
        if facts.seq != 1 + max((one.facts.seq for one in before), default=0):
            yield "chain", item.oid, f"has AI-Seq {facts.seq} where that does not follow", "nothing: it is for display"
        if facts.epoch < max((one.facts.epoch for one in before), default=0):
            yield "chain", item.oid, "has a lower AI-Epoch than the commit before it", restore
        if item.committed_at < max((one.committed_at for one in before), default=item.committed_at):
            advice = "nothing: 'git log --since' may stop too early at it"
            yield "chain", item.oid, "is dated before the commit that it follows", advice
        merges = facts.kind == "merge"
        if merges != (len(item.parents) == 2) or len(item.parents) > 2:
            yield "chain", item.oid, f"is a {facts.kind} and has {len(item.parents)} parents", restore
        elif merges and _merge_of(workspace, before, item) != item.oid:
            yield "chain", item.oid, "is not the merge that both sides would have made", restore


def _merge_of(workspace: Workspace, before: Sequence[Commit], item: Commit) -> Oid:
    tips = [(one.oid, one.committed_at, one.facts) for one in before]
    return Names(workspace.repository.object_format).of("commit", commit.encode_merge(tips=tips, empty_tree=item.tree))


def _sums(session: Session) -> Iterator[_Fault]:
    """Whether the AI-Usage lines of a turn sum to its totals."""
    for item in session.commits:
        metrics = item.facts.metrics
        if metrics is not None and metrics.lines:
            for what, total, parts in _totals(metrics):
                if total != parts:
                    message = f"says {what} {total}, and its AI-Usage lines sum to {parts}"
                    yield "sums", item.oid, message, "sums use the totals; a correction would replace both"


def _totals(metrics: Metrics) -> Iterator[tuple[str, object, object]]:
    lines = metrics.lines
    usage = sum((line.usage for line in lines), TokenUsage())
    yield "AI-Input-Tokens", metrics.usage.input_tokens, usage.input_tokens
    yield "AI-Output-Tokens", metrics.usage.output_tokens, usage.output_tokens
    yield "AI-Cache-Read-Tokens", metrics.usage.cache_read_tokens, usage.cache_read_tokens
    yield "AI-Cache-Write-Tokens", metrics.usage.cache_write_tokens, usage.cache_write_tokens
    yield "AI-Requests", metrics.requests, sum(line.requests for line in lines)
    costs = [line.cost_usd for line in lines if line.cost_usd is not None]
    # Lines without a cost say nothing of it.
    if len(costs) == len(lines):
        yield "AI-Cost-USD", _usd(metrics.cost_usd), _usd(plus(*costs))


def _usd(cost: Decimal | None) -> str:
    return "nothing" if cost is None else format_usd(cost)


def _turn_ids(session: Session, seen: Seen) -> Iterator[_Fault]:
    """Turns that are there twice: on one line of a session, or in two sessions that share no beginning."""
    known = {item.oid: item for item in session.commits}
    first: dict[TurnId, Commit] = {}
    for item in session.commits:
        turn_id = item.facts.turn_id
        if turn_id is None or item.facts.kind not in ("turn", "compaction"):
            continue
        if turn_id in first:
            # Sides that were merged may both have it, as docs/format.md §7.2 says.
            if _leads_to(first[turn_id].oid, item, known):
                yield "turn-id", item.oid, f"is turn {turn_id[:12]} once more", _KEEP
            continue
        first[turn_id] = item
        place = seen.turn_ids.setdefault(turn_id, (session.session_id, session.name))
        if place[0] != session.session_id:
            message = f"is turn {turn_id[:12]}, which {place[1]} has too: sums over both count it twice"
            yield "turn-id", item.oid, message, f"compare them: 'git ai-session show {session.name} {place[1]}'"


def _leads_to(early: Oid, late: Commit, known: Mapping[Oid, Commit]) -> bool:
    asked, done = list(late.parents), set(late.parents)
    while asked:
        oid = asked.pop()
        if oid == early:
            return True
        parents = known[oid].parents if oid in known else ()
        asked += [parent for parent in parents if parent not in done]
        done.update(parents)
    return False


def _files(workspace: Workspace, objects: Objects, session: Session) -> Iterator[_Fault]:
    """Whether every turn's files are there and can be read."""
    for item in session.commits:
        if item.facts.kind == "merge":
            continue
        try:
            files = trees.read(objects, item.tree, workspace.repository.oid_length // 2)
            if item.facts.kind in ("turn", "compaction"):
                content.decode(files)
        except NewerFormat as error:
            yield "format", item.oid, f"cannot be shown: {error}", "upgrade gitsess"
        except FormatError as error:
            yield "format", item.oid, f"cannot be shown: {error}", "its sums count; an export from before restores it"
        except GitsessError as error:
            yield "chain", item.oid, f"lacks a part: {names.shown(str(error), 90)}", _FSCK
