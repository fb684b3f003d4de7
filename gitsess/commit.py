"""A turn as a commit: the facts in its message, and the exact bytes of the object.

    tree <oid>
    parent <oid>                                       none at the root, two or more on a merge
    author <model> <<agent>@agents.invalid> <s> +0000       who wrote the answer, when the turn began
    committer <name> <email> <s> +0000                      the human, when it ended

    <subject>

    AI-Format: 1
    …

Both stores write these bytes and read them back, so a turn has one oid whichever wrote it.
docs/format.md §2 is the public form, with test vectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from gitsess import trailers
from gitsess.errors import FormatError, NewerFormat
from gitsess.model import Oid, TokenUsage, TurnId
from gitsess.money import format_usd, parse_usd
from gitsess.text import well_formed
from gitsess.values import Value

FORMAT = 1
KINDS = ("turn", "compaction", "event", "correction", "merge")
STATUSES = ("ok", "error", "interrupted")
BASES = ("reported", "computed", "estimated")
SINGLE = frozenset(
    "AI-" + key
    for key in (
        *("Format", "Session-Id", "Kind", "Turn-Id", "Seq", "Epoch", "Status", "Agent", "Model"),
        *("Input-Tokens", "Output-Tokens", "Cache-Read-Tokens", "Cache-Write-Tokens", "Requests", "Duration-Ms"),
        *("Cost-USD", "Cost-Basis", "Task", "Task-Status", "Estimated-Cost-USD", "Conversation", "Head", "Branch"),
        *("Worktree", "Event", "Compacts", "Corrects"),
    )
)
"""Keys that stand once. ``AI-Usage``, ``AI-Commit``, ``AI-Context`` and ``AI-Rewrites`` may be repeated."""
_WORDED = ("AI-Status", "AI-Cost-Basis", "AI-Task-Status", "AI-Event")

_COUNT = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_TURN_ID = re.compile(r"[0-9a-f]{32}")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_WORD = re.compile(r"[a-z][a-z_-]{0,31}")
_PERSON = re.compile(rb"(.*?) ?<([^<>\n]*)> (-?[0-9]{1,18}) [+-][0-9]{4}")
_LATEST = 253402300799
"""The last second of the year 9999: what datetime can hold."""


class Person(Value):
    name: str
    email: str


class UsageLine(Value):
    """One ``AI-Usage`` trailer: what one model used at one price tier within a turn."""

    model: str
    requests: int
    usage: TokenUsage
    tier: str = "standard"
    cost_usd: Decimal | None = None


class Metrics(Value):
    """What a turn took. ``lines`` sum to the totals; ``cost_usd`` is None where the price is unknown."""

    model: str = "unknown"
    usage: TokenUsage = TokenUsage()
    requests: int = 0
    duration_ms: int | None = None
    cost_usd: Decimal | None = None
    cost_basis: str | None = None
    lines: tuple[UsageLine, ...] = ()


class Facts(Value):
    """Everything a commit's message says, in the trailers' own terms. Absent is None or empty."""

    kind: str
    turn_id: TurnId | None = None
    seq: int = 1
    epoch: int = 0
    session_id: str | None = None
    status: str | None = None
    agent: str | None = None
    metrics: Metrics | None = None
    task: str | None = None
    task_status: str | None = None
    estimated_cost_usd: Decimal | None = None
    conversation: str | None = None
    head: Oid | None = None
    branch: str | None = None
    worktree: str | None = None
    commits: tuple[str, ...] = ()
    event: str | None = None
    rewrites: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    compacts: TurnId | None = None
    corrects: TurnId | None = None


class Commit(Value):
    """A commit as it is stored. Dates are UTC; ``parents`` in the object's order."""

    oid: Oid
    tree: Oid
    parents: tuple[Oid, ...]
    author: Person
    authored_at: datetime
    committer: Person
    committed_at: datetime
    subject: str
    facts: Facts


def agent_email(agent: str) -> str:
    """``anthropic-api`` → ``anthropic-api@agents.invalid``; the version after ``/`` is left out."""
    return trailers.encode_model(agent.partition("/")[0]) + "@agents.invalid"


def pairs_of(facts: Facts) -> list[trailers.Pair]:
    """The trailers of ``facts``, in the order in which they are written."""
    pairs: list[trailers.Pair] = [("AI-Format", str(FORMAT))]

    def put(key: str, value: object) -> None:
        if value is not None and value != "":
            pairs.append((key, str(value)))

    put("AI-Session-Id", facts.session_id)
    put("AI-Kind", facts.kind)
    put("AI-Turn-Id", facts.turn_id)
    put("AI-Seq", facts.seq)
    put("AI-Epoch", facts.epoch or None)
    put("AI-Corrects", facts.corrects)
    put("AI-Compacts", facts.compacts)
    put("AI-Event", facts.event)
    pairs.extend(("AI-Rewrites", text) for text in facts.rewrites)
    put("AI-Status", facts.status)
    put("AI-Agent", facts.agent)
    if facts.metrics is not None:
        pairs.extend(_metric_pairs(facts.metrics))
    put("AI-Task", facts.task)
    put("AI-Task-Status", facts.task_status)
    put(
        "AI-Estimated-Cost-USD",
        None if facts.estimated_cost_usd is None else format_usd(facts.estimated_cost_usd),
    )
    put("AI-Conversation", facts.conversation)
    put("AI-Head", facts.head)
    put("AI-Branch", facts.branch)
    put("AI-Worktree", facts.worktree)
    pairs.extend(("AI-Commit", oid) for oid in facts.commits)
    pairs.extend(("AI-Context", text) for text in facts.context)
    return pairs


def _metric_pairs(metrics: Metrics) -> list[trailers.Pair]:
    usage = metrics.usage
    pairs = [
        ("AI-Model", metrics.model or "unknown"),
        ("AI-Input-Tokens", str(usage.input_tokens)),
        ("AI-Output-Tokens", str(usage.output_tokens)),
        ("AI-Cache-Read-Tokens", str(usage.cache_read_tokens)),
        ("AI-Cache-Write-Tokens", str(usage.cache_write_tokens)),
        ("AI-Requests", str(metrics.requests)),
    ]
    if metrics.duration_ms is not None:
        pairs.append(("AI-Duration-Ms", str(metrics.duration_ms)))
    if metrics.cost_usd is not None:
        pairs.append(("AI-Cost-USD", format_usd(metrics.cost_usd)))
        pairs.append(("AI-Cost-Basis", metrics.cost_basis or "computed"))
    pairs.extend(("AI-Usage", _usage_text(line)) for line in metrics.lines)
    return pairs


def _usage_text(line: UsageLine) -> str:
    usage = line.usage
    text = (
        f"{trailers.encode_model(line.model)} requests={line.requests} input={usage.input_tokens}"
        f" output={usage.output_tokens} cache-read={usage.cache_read_tokens}"
        f" cache-write={usage.cache_write_tokens} cache-write-1h={usage.cache_write_1h_tokens}"
        f" tier={line.tier}"
    )
    return text if line.cost_usd is None else f"{text} cost={format_usd(line.cost_usd)}"


def message_of(subject: str, facts: Facts) -> str:
    """The whole commit message: the subject, a blank line, one block of trailers."""
    return f"{subject}\n\n{trailers.write(pairs_of(facts))}"


def encode(
    *,
    tree: Oid,
    parents: Sequence[Oid],
    author: Person,
    authored_at: datetime,
    committer: Person,
    committed_at: datetime,
    message: str,
) -> bytes:
    """A commit object's bytes, without git's ``commit <size>`` header. Dates are written at +0000."""
    lines = [f"tree {tree}", *(f"parent {oid}" for oid in parents)]
    lines.append(f"author {_ident(author)} {_seconds(authored_at)} +0000")
    lines.append(f"committer {_ident(committer)} {_seconds(committed_at)} +0000")
    return ("\n".join(lines) + "\n\n" + message).encode()


MERGER = Person(name="gitsess", email="gitsess@invalid")
MERGE_SUBJECT = "Merge turns recorded apart"


def encode_merge(*, tips: Iterable[tuple[Oid, datetime, Facts]], empty_tree: Oid) -> bytes:
    """The merge of diverged tips, ``(oid, committer date, facts)`` each: the same bytes on every clone.

    Parents are sorted by oid, both people are gitsess, the date is the latest of the parents'; no
    encoding header, never signed. The caller has made sure that session ids and epochs agree.
    """
    ordered = sorted(tips, key=lambda tip: tip[0])
    date = max(when for _, when, _ in ordered)
    facts = Facts(
        kind="merge",
        seq=max(f.seq for _, _, f in ordered) + 1,
        epoch=max(f.epoch for _, _, f in ordered),
    )
    return encode(
        tree=empty_tree,
        parents=[oid for oid, _, _ in ordered],
        author=MERGER,
        authored_at=date,
        committer=MERGER,
        committed_at=date,
        message=message_of(MERGE_SUBJECT, facts),
    )


def _ident(person: Person) -> str:
    # git cuts an identity at these, and fsck refuses an object that holds them.
    name = re.sub(r"[<>\n\0\r]", "", well_formed(person.name)).strip() or "unknown"
    email = re.sub(r"[<>\n\0\r ]", "", well_formed(person.email))
    return f"{name} <{email}>"


def _seconds(moment: datetime) -> int:
    return max(0, int(moment.timestamp()))


def decode(oid: Oid, raw: bytes) -> Commit:
    """A commit from its object's bytes.

    Raises NewerFormat where a newer gitsess wrote it, FormatError where it is no commit of ours or breaks
    the format.
    """
    head, gap, message = raw.partition(b"\n\n")
    if not gap:
        raise FormatError("the commit has no message")
    tree, parents, author, committer = _headers(head)
    subject, _, _ = message.partition(b"\n")
    return Commit(
        oid=oid,
        tree=tree,
        parents=parents,
        author=author[0],
        authored_at=author[1],
        committer=committer[0],
        committed_at=committer[1],
        subject=subject.decode("utf-8", "replace"),
        facts=decode_facts(message),
    )


def parents_of(raw: bytes) -> tuple[Oid, ...]:
    """The parents of any commit, ours or not."""
    head, _, _ = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    return tuple(Oid(line[7:].decode("ascii", "replace")) for line in lines if line.startswith(b"parent "))


def tree_of(raw: bytes) -> Oid | None:
    """The tree of any commit, ours or not; None where it names none."""
    line, _, _ = raw.partition(b"\n")
    name = line[5:].decode("ascii", "replace")
    return Oid(name) if line.startswith(b"tree ") and _OID.fullmatch(name) else None


def _headers(head: bytes) -> tuple[Oid, tuple[Oid, ...], tuple[Person, datetime], tuple[Person, datetime]]:
    tree: Oid | None = None
    parents: list[Oid] = []
    author: tuple[Person, datetime] | None = None
    committer: tuple[Person, datetime] | None = None
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"parent":
            parents.append(Oid(value.decode("ascii", "replace")))
        elif key == b"tree":
            tree = Oid(value.decode("ascii", "replace"))
        elif key == b"author":
            author = _person(value)
        elif key == b"committer":
            committer = _person(value)
    if tree is None or author is None or committer is None:
        raise FormatError("the commit lacks a header")
    return tree, tuple(parents), author, committer


def _person(value: bytes) -> tuple[Person, datetime]:
    match = _PERSON.fullmatch(value)
    if match is None:
        raise FormatError("the commit has an identity that cannot be read")
    seconds = int(match[3])
    if not 0 <= seconds <= _LATEST:
        raise FormatError("the commit has a date out of range")
    name, email = match[1].decode("utf-8", "replace"), match[2].decode("utf-8", "replace")
    return Person(name=name, email=email), datetime.fromtimestamp(seconds, UTC)


def decode_facts(message: bytes) -> Facts:
    """The facts in a commit's message; raises FormatError or NewerFormat."""
    pairs = trailers.parse(message)
    # The version comes first: what a newer format does with its trailers is for its own readers to judge.
    versions = [_integer("AI-Format", text) for text in trailers.every(pairs, "AI-Format")]
    if not versions:
        raise FormatError("it is no turn: it has no AI-Format trailer")
    if max(versions) > FORMAT:
        raise NewerFormat(f"it has format {max(versions)}, which needs a newer gitsess")
    if versions != [FORMAT]:
        raise FormatError("AI-Format is there twice, or 0")
    found = trailers.single(pairs, SINGLE)
    kind = found.get("AI-Kind", "")
    if _WORD.fullmatch(kind) is None:
        raise FormatError("AI-Kind is missing or no word")
    for key in _WORDED:
        if key in found and _WORD.fullmatch(found[key]) is None:
            raise FormatError(f"{key} is no word")
    turn_id = _hex("AI-Turn-Id", found.get("AI-Turn-Id"), _TURN_ID)
    if turn_id is None and kind != "merge" and kind in KINDS:
        raise FormatError("AI-Turn-Id is missing")
    estimated = found.get("AI-Estimated-Cost-USD")
    compacts = _hex("AI-Compacts", found.get("AI-Compacts"), _TURN_ID)
    corrects = _hex("AI-Corrects", found.get("AI-Corrects"), _TURN_ID)
    head = _hex("AI-Head", found.get("AI-Head"), _OID)
    return Facts(
        kind=kind,
        turn_id=None if turn_id is None else TurnId(turn_id),
        seq=_integer("AI-Seq", found.get("AI-Seq", "")),
        epoch=_integer("AI-Epoch", found.get("AI-Epoch", "0")),
        session_id=_hex("AI-Session-Id", found.get("AI-Session-Id"), _TURN_ID),
        status=found.get("AI-Status"),
        agent=found.get("AI-Agent"),
        metrics=_metrics(pairs, found) if "AI-Model" in found else None,
        task=found.get("AI-Task"),
        task_status=found.get("AI-Task-Status"),
        estimated_cost_usd=None if estimated is None else parse_usd(estimated),
        conversation=found.get("AI-Conversation"),
        head=None if head is None else Oid(head),
        branch=found.get("AI-Branch"),
        worktree=found.get("AI-Worktree"),
        commits=trailers.every(pairs, "AI-Commit"),
        event=found.get("AI-Event"),
        rewrites=trailers.every(pairs, "AI-Rewrites"),
        context=trailers.every(pairs, "AI-Context"),
        compacts=None if compacts is None else TurnId(compacts),
        corrects=None if corrects is None else TurnId(corrects),
    )


def _metrics(pairs: Sequence[trailers.Pair], found: dict[str, str]) -> Metrics:
    lines = tuple(_usage_line(text) for text in trailers.every(pairs, "AI-Usage"))
    usage = TokenUsage(
        input_tokens=_integer("AI-Input-Tokens", found.get("AI-Input-Tokens", "0")),
        output_tokens=_integer("AI-Output-Tokens", found.get("AI-Output-Tokens", "0")),
        cache_read_tokens=_integer("AI-Cache-Read-Tokens", found.get("AI-Cache-Read-Tokens", "0")),
        cache_write_tokens=_integer("AI-Cache-Write-Tokens", found.get("AI-Cache-Write-Tokens", "0")),
        cache_write_1h_tokens=sum(line.usage.cache_write_1h_tokens for line in lines),
    )
    cost, duration = found.get("AI-Cost-USD"), found.get("AI-Duration-Ms")
    return Metrics(
        model=found["AI-Model"],
        usage=usage,
        requests=_integer("AI-Requests", found.get("AI-Requests", "0")),
        duration_ms=None if duration is None else _integer("AI-Duration-Ms", duration),
        cost_usd=None if cost is None else parse_usd(cost),
        cost_basis=found.get("AI-Cost-Basis"),
        lines=lines,
    )


def _usage_line(text: str) -> UsageLine:
    # The value was decoded once as a whole; the model's own encoding is the inner one.
    words = text.split(" ")
    fields: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or key in fields:
            raise FormatError("an AI-Usage trailer cannot be read")
        fields[key] = value
    cost = fields.get("cost")
    return UsageLine(
        model=trailers.decode_value(words[0]),
        requests=_integer("AI-Usage", fields.get("requests", "0")),
        usage=TokenUsage(
            input_tokens=_integer("AI-Usage", fields.get("input", "0")),
            output_tokens=_integer("AI-Usage", fields.get("output", "0")),
            cache_read_tokens=_integer("AI-Usage", fields.get("cache-read", "0")),
            cache_write_tokens=_integer("AI-Usage", fields.get("cache-write", "0")),
            cache_write_1h_tokens=_integer("AI-Usage", fields.get("cache-write-1h", "0")),
        ),
        tier=fields.get("tier", "standard"),
        cost_usd=None if cost is None else parse_usd(cost),
    )


def _integer(key: str, text: str) -> int:
    if _COUNT.fullmatch(text) is None:
        raise FormatError(f"{key} is missing or no whole number")
    return int(text)


def _hex(key: str, text: str | None, shape: re.Pattern[str]) -> str | None:
    if text is not None and shape.fullmatch(text) is None:
        raise FormatError(f"{key} is malformed")
    return text
