"""Properties of every codec: it round-trips, any bytes raise only our own error, and git reads the same."""

from __future__ import annotations

import json
import string
import subprocess
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gitsess import commit, content, names, records, report, strictjson, trailers, turns
from gitsess.cli.output import json_text
from gitsess.commit import KINDS, Commit, Facts, Metrics, Person, UsageLine
from gitsess.content import Content
from gitsess.draft import Draft
from gitsess.errors import FormatError, GitsessError
from gitsess.history import Session
from gitsess.model import Oid, SessionName, TokenUsage, TurnId
from gitsess.money import format_usd, parse_usd
from gitsess.redact import Redactor
from gitsess.text import SUBJECT_COLUMNS, UNSAFE, printable, subject, width
from gitsess.usage import usage_json

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOBODY = Oid("0" * 40)
EMPTY_TREE = Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

# --- what the codecs are fed ---------------------------------------------------------------------------------

NASTY = (
    *("---", "---\n", "# --- >8", "# ------------------------ >8 ------------------------", "diff --git a/x b/x"),
    *("Conflicts:\n\tx", "; x", "AI-Format: 2", "AI-Kind: merge\nAI-Seq: 9", "Signed-off-by: A <a@b>", "x\n\n"),
    *("\x1b[31mred\x1b[0m", "\x1b]0;t\x07", "\x9b31m", "\0", "\u202eevil\u2066", "\u2028", "\ufeff", "%41", "100%"),
    *("\r\nAI-Seq: 1", " lead", "trail ", "🎉", "日本", "e\u0301", "<a@b>", "[T1] x", "a/b~1c"),
)
plain_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
hostile = st.one_of(plain_texts, st.lists(st.sampled_from(NASTY) | plain_texts, max_size=3).map("".join))
worded = hostile.filter(bool)
hexes = st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}")
oids = st.integers(0, 2**160 - 1).map(lambda n: Oid(f"{n:040x}"))
counts = st.integers(0, 10**12)
costs = st.integers(0, 10**27).map(lambda n: Decimal(n).scaleb(-18).normalize())
seconds = st.integers(0, 253402300799).map(lambda n: datetime.fromtimestamp(n, UTC))
tiers = st.sampled_from(["standard", "over-200k", "over-128k"])


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    written = draw(counts)
    return TokenUsage(
        input_tokens=draw(counts),
        output_tokens=draw(counts),
        cache_read_tokens=draw(counts),
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
    )


lines = st.builds(
    UsageLine, model=worded, requests=st.integers(1, 10**6), usage=usages(), tier=tiers, cost_usd=st.none() | costs
)


@st.composite
def metrics(draw: st.DrawFn) -> Metrics:
    """Metrics whose lines sum to the totals, as every writer's do."""
    listed = tuple(draw(st.lists(lines, max_size=2)))
    cost = draw(st.none() | costs)
    return Metrics(
        model=draw(worded),
        usage=sum((line.usage for line in listed), TokenUsage()),
        requests=sum(line.requests for line in listed),
        duration_ms=draw(st.none() | counts),
        cost_usd=cost,
        cost_basis=None if cost is None else draw(st.sampled_from(commit.BASES)),
        lines=listed,
    )


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """The facts of any commit: of any kind, one that is not known among them, and with whatever trailers."""
    kind = draw(st.sampled_from((*KINDS, "dream")))
    some = st.none() | worded
    word = st.none() | st.sampled_from(["pending", "in_progress", "task", "a-new-word"])
    return Facts(
        kind=kind,
        turn_id=None if kind == "merge" else TurnId(draw(hexes)),
        seq=draw(st.integers(0, 10**9)),
        epoch=draw(st.integers(0, 5)),
        session_id=draw(st.none() | hexes),
        status=draw(st.none() | st.sampled_from(commit.STATUSES)),
        agent=draw(some),
        metrics=draw(st.none() | metrics()),
        task=draw(some),
        task_status=draw(word),
        estimated_cost_usd=draw(st.none() | costs),
        conversation=draw(some),
        head=draw(st.none() | oids),
        branch=draw(some),
        worktree=draw(some),
        commits=tuple(draw(st.lists(oids, max_size=2))),
        event=draw(word),
        rewrites=tuple(draw(st.lists(worded, max_size=1))),
        context=tuple(draw(st.lists(worded, max_size=1))),
        compacts=draw(st.none() | hexes.map(TurnId)),
        corrects=draw(st.none() | hexes.map(TurnId)),
    )


messages = st.builds(
    lambda prompt, task, found: commit.message_of(subject(prompt, task=task), found),
    prompt=hostile,
    task=st.none() | hostile,
    found=facts(),
)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(hostile, values, max_size=3)
Got = TypeVar("Got")


def tried(codec: Callable[[], Got]) -> Got | GitsessError:
    """What ``codec`` gives, or the error of ours that it raised, which fits on a line. Any other error fails."""
    try:
        return codec()
    except GitsessError as error:
        line = str(error)
        if line != printable(line) or "\n" in line or len(line) > 300:
            raise AssertionError(f"not a line to print: {line!r}") from error
        return error


def some(strategy: st.SearchStrategy[Got], count: int) -> list[Got]:
    """Many examples at once, for what is checked by one process over all of them."""
    found: list[Got] = []

    @settings(max_examples=count, database=None, phases=[Phase.generate])
    @given(strategy)
    def collect(item: Got) -> None:
        found.append(item)

    collect()
    return found


# --- trailers and messages -----------------------------------------------------------------------------------


@given(hostile)
def test_a_trailers_value_is_printable_and_gives_the_text_back(given_text: str) -> None:
    value = trailers.encode_value(given_text)
    assert value.isascii()
    assert value.isprintable()
    assert value == value.strip(" "), "git would trim it"
    assert trailers.decode_value(value) == given_text


@given(hostile)
def test_a_model_id_is_one_word_and_comes_back(model: str) -> None:
    word = trailers.encode_model(model)
    assert set(word) <= set(string.ascii_letters + string.digits + "._:/@+-%")
    assert trailers.decode_value(word) == (model or "unknown")


keys = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20)


@given(st.lists(st.tuples(keys, hostile), min_size=1))
def test_a_block_of_trailers_comes_back_in_order(pairs: list[trailers.Pair]) -> None:
    message = f"subject\n\n{trailers.write(pairs)}".encode()
    assert trailers.parse(message) == pairs


@given(facts(), hostile, st.none() | hostile)
def test_the_facts_of_every_kind_come_back(found: Facts, prompt: str, task: str | None) -> None:
    """Whatever the prompt: nothing in it is taken for a trailer."""
    message = commit.message_of(subject(prompt, task=task), found)
    assert commit.decode_facts(message.encode()) == found


def encoded(message: str) -> bytes:
    ann = Person(name="Ann", email="ann@example.com")
    return commit.encode(
        tree=EMPTY_TREE, parents=[], author=ann, authored_at=NOW, committer=ann, committed_at=NOW, message=message
    )


people = st.builds(Person, name=hostile, email=hostile)


@given(people, people, seconds, seconds, st.lists(oids, max_size=3), hostile)
def test_a_commit_comes_back(
    author: Person, committer: Person, begun: datetime, ended: datetime, parents: list[Oid], prompt: str
) -> None:
    """People come back without what git cannot hold in a name, all else exactly."""
    found = Facts(kind="event", turn_id=TurnId("a" * 32), event="started")
    raw = commit.encode(
        tree=EMPTY_TREE,
        parents=parents,
        author=author,
        authored_at=begun,
        committer=committer,
        committed_at=ended,
        message=commit.message_of(subject(prompt), found),
    )

    def held(person: Person) -> Person:
        name = "".join(c for c in person.name if c not in "<>\n\0\r").strip()
        return Person(name=name or "unknown", email="".join(c for c in person.email if c not in "<>\n\0\r "))

    assert commit.decode(NOBODY, raw) == Commit(
        oid=NOBODY,
        tree=EMPTY_TREE,
        parents=tuple(parents),
        author=held(author),
        authored_at=begun,
        committer=held(committer),
        committed_at=ended,
        subject=subject(prompt),
        facts=found,
    )
    assert commit.parents_of(raw) == tuple(parents)


@given(costs)
def test_an_amount_comes_back_exactly(cost: Decimal) -> None:
    assert parse_usd(format_usd(cost)) == cost


# --- subjects ------------------------------------------------------------------------------------------------


@given(hostile, st.none() | hostile)
def test_a_subject_is_one_short_line_that_hides_nothing(prompt: str, task: str | None) -> None:
    line = subject(prompt, task=task)
    assert 0 < width(line) <= SUBJECT_COLUMNS
    assert line == printable(line)
    assert not set(line) & set("\n\t\r")
    assert line[0].isalnum() or line[0] in "[(\"'“”‘’«»„"
    if task is None:
        assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Co", "Cn"}


@given(hostile)
def test_what_is_printable_stays_so_and_holds_nothing_unsafe(given_text: str) -> None:
    shown = printable(given_text)
    assert UNSAFE.search(shown) is None
    assert printable(shown) == shown
    assert "\x1b" not in shown


# --- names ---------------------------------------------------------------------------------------------------

typed = st.one_of(
    hostile,
    st.text(st.sampled_from("aZ0.-_/ é~^:\\"), max_size=120),
    st.sampled_from(["con", "NUL.x", "x.lock.lock", "a" * 300, "-" * 200 + "a", "con." + "a" * 90, "lock.lock"]),
)


@given(typed)
def test_the_nearest_name_is_valid_or_there_is_none(given_text: str) -> None:
    near = names.nearest(given_text)
    assert near is None or names.is_valid(near)
    if set(printable(given_text)) & set(string.ascii_letters + string.digits):
        assert near is not None, "something of it can be kept"


@given(typed, typed)
def test_two_words_make_a_name_or_a_line_that_offers_one(command: str, feature: str) -> None:
    made = tried(lambda: names.join(command, feature))
    if not isinstance(made, GitsessError):
        assert made == f"{command}-{feature}"
        assert names.is_valid(made)
        assert names.split(made) == (command, feature)
        return
    line = str(made)
    assert made.exit_code == 2
    if "; try " in line:
        offered = line.rpartition("; try ")[2].strip("'")
        assert names.is_valid(f"{offered}-x" if "command" in line else f"{command}-{offered}")


valid_names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,89}", fullmatch=True).filter(names.is_valid)


def test_git_accepts_every_valid_name_as_a_ref(store: Path) -> None:
    found = set(some(valid_names, 200))
    oid = commits_of(store, ["subject\n"])[0]
    moves = "".join(f"update {names.ref_of(SessionName(name))} {oid}\n" for name in found)
    git(store, "update-ref", "--stdin", stdin=moves.encode())
    held = git(store, "for-each-ref", "--format=%(refname:lstrip=2)", names.REF_PREFIX).decode().split()
    assert set(held) == found


# --- content -------------------------------------------------------------------------------------------------

long_texts = st.builds(lambda word, count: (word * count)[:6000], worded, st.integers(1, 2000))
blocks = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, long_texts),
    st.builds(
        lambda n, p, v: {"type": "tool_use", "id": "tu_1", "name": n, "input": {"file_path": p, **v}},
        *(hostile, hostile | long_texts, st.dictionaries(hostile, long_texts | values, max_size=2)),
    ),
    st.builds(lambda t: {"type": "tool_result", "tool_use_id": "tu_1", "content": t}, long_texts | values),
    st.builds(lambda v: {"type": "thinking", **v}, objects),
)
roles = st.sampled_from(["user", "assistant"])
conversations = st.lists(
    st.builds(lambda role, said: {"role": role, "content": said}, roles, long_texts | st.lists(blocks, max_size=2)),
    max_size=2,
)
param_keys = hostile | st.sampled_from(["system", "tools"])
contents = st.builds(
    Content,
    prompt=hostile | long_texts,
    response=hostile | long_texts,
    started_at=st.none() | hostile,
    ended_at=st.none() | hostile,
    requests=st.lists(objects, max_size=1).map(tuple),
    params=st.none() | st.dictionaries(param_keys, long_texts | values, max_size=3),
    messages=st.none() | conversations.map(tuple),
    extra=st.dictionaries(hostile.map(lambda key: f"x-{key}"), long_texts | values, max_size=2),
)


@given(contents)
def test_a_turns_content_comes_back_with_its_moved_texts(whole: Content) -> None:
    files = content.encode(whole)
    assert all(path.count("/") <= 1 and path.isascii() for path in files)
    read = content.decode(files)
    plain = whole.messages == content.plain_messages(whole.prompt, whole.response)
    assert read == (replace(whole, messages=None) if plain else whole)
    assert json.dumps(content.messages_of(read)) == json.dumps(content.messages_of(whole)), "keys keep their order"
    data = json.loads(files["turn.json"])
    for pointer, path in data.get("refs", {}).items():
        place = data
        for token in pointer.split("/")[1:]:
            place = place[int(token) if isinstance(place, list) else token.replace("~1", "/").replace("~0", "~")]
        assert place == "", "what was moved out is not there as well"
        assert path in files


def test_a_prompt_and_an_answer_are_told_from_messages_that_say_the_same() -> None:
    """Only what they say it all is left out; a list of blocks and a text are not the same messages."""
    plain = content.plain_messages("p", "r")
    assert b"messages" not in content.encode(Content(prompt="p", response="r", messages=plain))["turn.json"]
    as_text = ({"role": "user", "content": "p"}, {"role": "assistant", "content": "r"})
    assert content.decode(content.encode(Content(prompt="p", response="r", messages=as_text))).messages == as_text


def test_a_turn_has_no_more_files_than_a_reader_takes() -> None:
    """Past the limit long texts stay inside turn.json, and nothing is lost."""
    said = [{"type": "text", "text": f"{number:05d} " * 200} for number in range(content.MAX_FILES + 50)]
    whole = Content(prompt="p", messages=({"role": "user", "content": said},))
    files = content.encode(whole)
    assert len(files) == content.MAX_FILES + 1
    assert content.decode(files).messages == whole.messages


# --- any bytes -----------------------------------------------------------------------------------------------


@st.composite
def spoiled(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """Something sound in which bytes were replaced, put in or cut out."""
    data = bytearray(draw(sound))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data[at:end] = draw(st.binary(max_size=6) | st.sampled_from([b"\n\n", b"AI-Format: 1\n", b" ", b"%", b"\0"]))
    return bytes(data)


SOUND = encoded(commit.message_of("s", Facts(kind="merge")))


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"tree ", b"three "),
        (b"author Ann", b"auteur Ann"),
        (b"committer Ann <ann@example.com>", b"committer Ann"),
        (b" 1772366400 +0000\ncommitter", b" 99999999999999999 +0000\ncommitter"),
        (b" 1772366400 +0000\ncommitter", b" -1 +0000\ncommitter"),
        (b" 1772366400 +0000\ncommitter", b" soon +0000\ncommitter"),
        (b"\n\n", b"\n"),
    ],
)
def test_a_commit_without_what_every_commit_has_is_refused(part: bytes, instead: bytes) -> None:
    commit.decode(NOBODY, SOUND)
    assert SOUND.count(part) in (1, 2)
    with pytest.raises(FormatError):
        commit.decode(NOBODY, SOUND.replace(part, instead))


def test_headers_that_are_not_ours_are_read_past() -> None:
    """A signature, whose lines may look like headers, changes nothing."""
    signed = SOUND.replace(b"\n\n", b"\ngpgsig -----BEGIN\n tree 1\n parent 2\n \n -----END\nencoding latin-1\n\n", 1)
    assert commit.decode(NOBODY, signed) == commit.decode(NOBODY, SOUND)


@given(st.binary() | spoiled(messages.map(encoded)))
def test_any_bytes_are_a_commit_or_our_own_error(data: bytes) -> None:
    commit.parents_of(data)
    read = tried(lambda: commit.decode(NOBODY, data))
    if isinstance(read, Commit):
        assert read.committed_at.tzinfo is UTC


@given(st.binary() | spoiled(messages.map(str.encode)))
def test_any_message_has_facts_or_our_own_error(data: bytes) -> None:
    """What was read, odd as it may be, can be written and is read the same again."""
    trailers.parse(data)
    read = tried(lambda: commit.decode_facts(data))
    if isinstance(read, Facts):
        again = commit.decode_facts(commit.message_of("subject", read).encode())
        assert (again.kind, again.turn_id, again.seq, again.commits) == (
            read.kind,
            read.turn_id,
            read.seq,
            read.commits,
        )


ODD_JSON = (
    *(b"1e999999999", b"-1e99999999999999999999", b"1e-99999999999999999999", b"0e99999999999999999999", b"NaN"),
    *(b"[" * 100_000, b'{"a":' * 500, b"9" * 5000, b'"\\ud800"', b"[1e400]", b'{"a":1,"a":1}', b"-Infinity", b"-0.0"),
)
json_texts = st.sampled_from(ODD_JSON) | values.map(lambda value: json.dumps(value).encode())


@given(st.binary() | json_texts | spoiled(json_texts), st.booleans())
def test_any_bytes_are_json_or_our_own_error(data: bytes, exact: bool) -> None:
    value = tried(lambda: strictjson.loads(data, what="it", exact=exact))
    if isinstance(value, GitsessError):
        assert str(value).startswith("it is ")
    elif not exact:
        assert strictjson.loads(strictjson.dumps(value), what="it") == value


@given(values)
def test_json_that_is_sound_comes_back(value: Any) -> None:
    assert strictjson.loads(strictjson.dumps(value).encode(), what="it") == value


pointers = st.lists(st.sampled_from(["params", "messages", "0", "1", "01", "-", "~0", "~1", "~", "", "x"]))
turn_keys = st.sampled_from(["v", "params", "messages", "requests", "started_at"]) | hostile
odd_turns = st.builds(
    lambda data, refs: {
        "turn.json": json.dumps({**data, "refs": refs}).encode(),
        "prompt.md": b"p",
        "attachments/01-x": b"x",
    },
    st.dictionaries(turn_keys, values, max_size=4),
    st.dictionaries(
        pointers.map(lambda tokens: "/".join(["", *tokens])) | hostile,
        st.sampled_from(["prompt.md", "attachments/01-x", "nowhere"]) | values,
        max_size=3,
    )
    | values,
)
odd_files = st.dictionaries(st.sampled_from(["turn.json", "prompt.md", "response.md", "attachments/01-x"]), st.binary())


@st.composite
def spoiled_turns(draw: st.DrawFn) -> dict[str, bytes]:
    files = content.encode(draw(contents))
    return {**files, "turn.json": draw(spoiled(st.just(files["turn.json"])))}


@given(odd_files | odd_turns | spoiled_turns())
def test_any_files_are_a_turns_content_or_our_own_error(files: dict[str, bytes]) -> None:
    """And what was read can be shown."""
    read = tried(lambda: content.decode(files))
    if isinstance(read, Content):
        json_text({"messages": list(content.messages_of(read)), "params": read.params, "extra": dict(read.extra)})


def test_a_pointer_of_endless_steps_is_refused_before_it_is_followed() -> None:
    """A megabyte of hostile text must not become a hundred of memory."""
    data = json.dumps({"v": 1, "messages": [], "refs": {"/messages" + "/0" * 500_000: "prompt.md"}}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="leads nowhere"):
            content.decode({"turn.json": data, "prompt.md": b"x"})
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()


def test_a_file_that_is_referred_to_a_thousand_times_is_held_once() -> None:
    texts = [""] * 1000
    refs = {f"/messages/0/content/{n}/text": "attachments/01-x" for n in range(1000)}
    said = [{"type": "text", "text": text} for text in texts]
    data = json.dumps({"v": 1, "messages": [{"role": "user", "content": said}], "refs": refs}).encode()
    read = content.decode({"turn.json": data, "attachments/01-x": b"x" * 5000})
    assert read.messages is not None
    assert len({id(block["text"]) for block in read.messages[0]["content"]}) == 1


# --- a turn on its way in ------------------------------------------------------------------------------------

WORDS = ("ok", "error", "completed", "2026-03-01T12:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01", "2026", "a" * 32)
entries = st.dictionaries(
    st.sampled_from(records.PUBLIC_KEYS) | hostile,
    st.one_of(
        values,
        counts,
        st.sampled_from(WORDS),
        st.builds(lambda n, m: {"input_tokens": n, "cache_creation_input_tokens": m}, counts | values, counts),
        st.lists(st.builds(lambda r, v: {"role": r, "content": v}, roles, hostile | values), max_size=2),
        st.lists(st.builds(lambda m, u: {"model": m, "usage": u}, hostile | st.none(), values), max_size=2),
    ),
    max_size=6,
)
requests = st.fixed_dictionaries(
    {"model": hostile},
    optional={"usage": st.none() | usages().map(usage_json), "temperature": st.floats(0, 1)},
)
plausible = st.fixed_dictionaries(
    {"prompt": hostile | long_texts},
    optional={
        "response": hostile | long_texts,
        "model": hostile,
        "agent": hostile,
        "cost_usd": costs.map(format_usd),
        "duration_ms": st.integers(0, 10**9),
        "started_at": seconds.map(lambda d: d.isoformat()),
        "status": st.sampled_from(commit.STATUSES),
        "task": hostile,
        "task_status": st.sampled_from(["pending", "blocked"]),
        "conversation": hostile,
        "messages": conversations,
        "turn_id": hexes,
        "commits": st.lists(oids, max_size=2),
        "requests": st.lists(requests, max_size=3),
    },
)
EXACT = ("1e9999999", "1e-9999999", "1E+2", "0.000000000000000001", "1e300", "-0.0", "1.5", "0e9999999")
numbered = st.none() | st.tuples(
    st.sampled_from(["cost_usd", "duration_ms", "usage", "messages"]), st.sampled_from(EXACT)
)


@given(entries | plausible, numbered)
def test_any_json_is_a_turn_that_becomes_a_commit_or_our_own_error(
    entry: dict[str, Any], number: tuple[str, str] | None
) -> None:
    """What ``record`` lets in can be redacted, priced, written, spooled and read again."""
    line = json.dumps(entry)
    if number is not None and number[0] not in entry:
        key, written = number
        form = {"usage": '{"input_tokens":%s}', "messages": '[{"role":"user","content":"x","n":%s}]'}.get(key, "%s")
        line = f'{line[:-1]}{", " if entry else ""}"{key}":{form % written}}}'
    redactor = Redactor(patterns=(), environment={})
    ann = Person(name="Ann", email="ann@example.com")

    def taken() -> tuple[turns.Turn, Draft]:
        turn = turns.redacted(records.parse(strictjson.loads(line, what="it", exact=True), now=NOW), redactor)
        return turn, turns.draft_of(turn, committer=ann, price=lambda *_: (Decimal("0.5"), "standard"))

    done = tried(taken)
    if isinstance(done, GitsessError):
        assert done.exit_code == 1
        return
    turn, draft = done
    read = commit.decode(NOBODY, encoded(commit.message_of(draft.subject, draft.facts)))
    assert read.facts == draft.facts
    assert content.decode(dict(draft.files)).prompt == turn.prompt
    kept = strictjson.loads(strictjson.dumps(records.dump(turn)).encode(), what="it", exact=True)
    again = turns.redacted(records.parse(kept, now=NOW, spooled=True), redactor)
    assert again == replace(turn, checked=True), "the spool gives the same turn back"


@given(st.integers(0, 10**11), st.integers(0, 10**11))
def test_the_lines_of_a_turn_sum_to_its_totals(first: int, second: int) -> None:
    used = [("a", first), ("b", second), ("a", 1)]
    entry = {"prompt": "p", "requests": [{"model": m, "usage": {"output_tokens": n}} for m, n in used]}
    turn = records.parse(entry, now=NOW)
    found = turns.metrics_of(turn, lambda model, usage, at: (Decimal(usage.output_tokens) / 10**6, "standard"))
    assert found.usage.output_tokens == first + second + 1
    assert [line.model for line in found.lines] == ["a", "b"]
    assert sum((line.usage for line in found.lines), TokenUsage()) == found.usage
    assert sum((line.cost_usd or Decimal(0) for line in found.lines), Decimal(0)) == found.cost_usd
    assert sum(line.requests for line in found.lines) == found.requests == 3


# --- JSON shapes ---------------------------------------------------------------------------------------------


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """A session of turns with any metrics and texts."""
    items = []
    for number in range(draw(st.integers(0, 3))):
        began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 10**8)))
        items.append(
            Commit(
                oid=Oid(f"{number:040x}"),
                tree=EMPTY_TREE,
                parents=(),
                author=Person(name="m", email="a@agents.invalid"),
                authored_at=began,
                committer=Person(name=draw(hostile), email="a@b"),
                committed_at=began + timedelta(seconds=draw(st.integers(0, 10**6))),
                subject=draw(hostile),
                facts=draw(facts()),
            )
        )
    return Session(name=SessionName("implement-x"), tip=Oid("1" * 40), session_id="0" * 32, commits=tuple(items))


@given(sessions(), st.sampled_from(report.GROUPS))
def test_the_json_of_a_look_gives_its_values_back(session: Session, by: str) -> None:
    """Decimals keep every digit, texts come back whole, and nothing in them can move a terminal."""
    shapes: Iterable[Any] = (
        report.row_of(session).json(),
        report.stats_of([session], now=NOW, by=by).json(),
        [report.turn_json(session, item) for item in session.commits],
    )
    for shape in shapes:
        written = json_text(shape, indent=2)
        assert UNSAFE.search(written) is None
        assert strictjson.loads(written, what="it", exact=True) == shape
        assert strictjson.loads(json_text(shape), what="it", exact=True) == shape


@given(objects, costs, st.booleans())
def test_json_gives_any_value_back_with_money_among_it(value: dict[str, Any], cost: Decimal, negative: bool) -> None:
    amount = -cost if negative else cost
    read = json.loads(json_text({"cost": amount, "inner": [amount, {"n": None}]}), parse_float=Decimal)
    assert read == {"cost": amount, "inner": [amount, {"n": None}]}
    assert json.loads(json_text(value)) == value


# --- git reads the same --------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A bare repository that holds the empty tree."""
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "git")], check=True)
    git(tmp_path / "git", "hash-object", "-w", "-t", "tree", "--stdin")
    return tmp_path / "git"


def git(folder: Path, *args: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", *args], cwd=folder, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commits_of(folder: Path, found: Iterable[str]) -> list[str]:
    """The messages as commits, written by one git: their oids."""
    listed = ""
    for number, message in enumerate(found):
        (folder / f"c{number}").write_bytes(encoded(message))
        listed += f"c{number}\n"
    options = ("-w", "-t", "commit", "--no-filters", "--stdin-paths")
    return git(folder, "hash-object", *options, stdin=listed.encode()).decode().split()


def encoded_pairs(message: str) -> list[tuple[str, str]]:
    """What our parser finds, in the form in which git prints it."""
    return [(key, trailers.encode_value(value)) for key, value in trailers.parse(message.encode())]


def written_messages(count: int) -> list[str]:
    """Messages of every kind, and one for each odd prompt and task."""
    found = Facts(kind="turn", turn_id=TurnId("a" * 32), status="ok", metrics=Metrics(model="m\n\nAI-Seq: 2"))
    odd = [
        commit.message_of(subject(prompt, task=task), found)
        for prompt in NASTY
        for task in (None, "T1", prompt, f"\n{prompt}")
    ]
    return list(dict.fromkeys([*odd, *some(messages, count)]))


def test_git_log_reads_the_trailers_that_we_read(store: Path) -> None:
    """``%(trailers)`` and our parser agree on every message we write, as a block and pair by pair."""
    found = written_messages(300)
    oids_written = commits_of(store, found)
    form = "%H%x01%s%x01%(trailers)%x01%(trailers:only,unfold,separator=%x02,key_value_separator=%x03)"
    listed = "".join(f"{oid}\n" for oid in oids_written).encode()
    out = git(store, "log", "--no-walk=unsorted", "-z", f"--format={form}", "--stdin", stdin=listed).decode()
    logged = {entry[:40]: entry[41:].split("\x01") for entry in out.split("\0")}
    for oid, message in zip(oids_written, found, strict=True):
        line, block, pairs = logged[oid]
        assert line == message.partition("\n")[0]
        assert block == message.partition("\n\n")[2]
        assert [tuple(pair.split("\x03")) for pair in pairs.split("\x02")] == encoded_pairs(message)


@pytest.mark.parametrize("options", [[], ["--no-divider"]], ids=["divider", "no divider"])
def test_interpret_trailers_reads_the_trailers_that_we_read(store: Path, options: list[str]) -> None:
    """Where a line ``---`` would begin a patch, and where it would not: no subject of ours is one."""
    found = written_messages(200)
    for number, message in enumerate(found):
        (store / f"m{number}").write_bytes(message.encode())
    out = git(store, "interpret-trailers", "--parse", *options, *(f"m{n}" for n in range(len(found)))).decode()
    ours = [f"{key}: {value}".rstrip(" ") for message in found for key, value in encoded_pairs(message)]
    assert [line.rstrip(" ") for line in out.split("\n")[:-1]] == ours


def test_git_finds_no_fault_in_the_commits_we_write(store: Path) -> None:
    """Any names, dates and messages: ``git fsck --strict`` is content."""
    data = some(st.tuples(people, people, seconds, seconds, messages), 200)
    for number, (author, committer, begun, ended, message) in enumerate(data):
        raw = commit.encode(
            tree=EMPTY_TREE,
            parents=[],
            author=author,
            authored_at=begun,
            committer=committer,
            committed_at=ended,
            message=message,
        )
        (store / f"f{number}").write_bytes(raw)
    listed = "".join(f"f{number}\n" for number in range(len(data))).encode()
    git(store, "hash-object", "-w", "-t", "commit", "--no-filters", "--literally", "--stdin-paths", stdin=listed)
    git(store, "fsck", "--strict", "--no-dangling")


@pytest.mark.parametrize("line", ["---", "--- x", "# ------------------------ >8 ------------------------"])
def test_git_loses_every_trailer_behind_a_first_line_that_we_never_write(store: Path, line: str) -> None:
    """The reason for the rule of the subject."""
    (store / "m").write_text(f"{line}\n\nAI-Format: 1\n", encoding="utf-8")
    assert git(store, "interpret-trailers", "--parse", "m") == b""
    assert not subject(line).startswith(line[:2])
