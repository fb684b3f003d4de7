"""Bad input, through the real program: one clear line and the right exit code, and nothing else changes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gitsess.providers.standin import StandIn
from gitsess.records import PUBLIC_KEYS
from gitsess.text import UNSAFE
from tests.conftest import PROGRAM, Ran, Repo

MESSAGE = (
    "AI-Format: 1\nAI-Session-Id: {session}\nAI-Kind: turn\nAI-Turn-Id: {turn}\nAI-Seq: 1\nAI-Status: ok\n"
    "AI-Agent: %1B[31ma\nAI-Model: m%1B[31m%E2%80%AE\nAI-Input-Tokens: 1\nAI-Requests: 1\n"
    "AI-Usage: m%251B[31m requests=1 input=1\nAI-Task: T%1B]0;x%07%0A1\nAI-Branch: b%1B[2J\n"
    "AI-Conversation: c%C2%9B1m\nAI-Context: %1B[31m@x\nAI-Commit: %1B[31m\n"
)


def census(repo: Repo) -> tuple[str, ...]:
    """Every ref, the number of objects, and the files that wait in the spool."""
    counted = repo.git("count-objects", "-v").split("\n")
    spool = sorted(str(path) for path in (repo.path / ".git" / "ai-sessions" / "spool").rglob("*"))
    return (repo.git("for-each-ref"), counted[0], *spool)


def refused(ran: Ran, *parts: str) -> None:
    """Asserts that the program said one line of error, these parts in it, and printed nothing."""
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.endswith("\n")
    assert UNSAFE.search(ran.err) is None
    assert len(ran.err) < 400
    for part in parts:
        assert part in ran.err


def lines(*entries: Any) -> bytes:
    return b"".join((e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n" for e in entries)


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "feature", "offered"),
    [
        ("..", "x", "'run'"),
        ("a/b", "x", "'a'"),
        (".lock", "x", "'lock'"),
        ("c" * 300, "x", f"'{'c' * 30}'"),
        ("CON", "x", "'con'"),
        ("Plan", "x", "'plan'"),
        ("", "x", "'implement'"),
        ("plan-it", "x", "'plan'"),
        ("plan", "..", "'auth-service'"),
        ("plan", "a/b", "'a-b'"),
        ("plan", ".lock", "'lock'"),
        ("plan", "x.lock", "'x'"),
        ("plan", "f" * 300, f"'{'f' * 85}'"),
        ("plan", "CON", "'con'"),
        ("plan", "Auth\x1b[31m", "'auth'"),
        ("plan", "", "'auth-service'"),
        ("plan", "a b\n", "'a-b'"),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one_and_no_ref(
    repo: Repo, command: str, feature: str, offered: str
) -> None:
    before = census(repo)
    ran = repo.ai("record", command, feature, stdin=lines({"prompt": "Why?"}), code=2)
    refused(ran, offered)
    assert census(repo) == before


@pytest.mark.parametrize(
    ("words", "name", "offered"),
    [
        (["show"], "..", "'implement-auth-service'"),
        (["show"], "a/b", "'a-b'"),
        (["show"], "n" * 300, "'nnn"),
        (["list"], "Implement-X", "'implement-x'"),
        (["log"], "Implement-X", "'implement-x'"),
        (["stats", "--session"], "Implement-X", "'implement-x'"),
    ],
    ids=["two dots", "slash", "long", "list", "log", "stats"],
)
def test_looking_at_a_wrong_name_offers_the_right_one(repo: Repo, words: list[str], name: str, offered: str) -> None:
    refused(repo.ai(*words, name, code=2), offered)


@pytest.mark.parametrize("words", [["show"], ["list"], ["log"], ["stats", "--session"]], ids=lambda words: words[0])
def test_a_session_that_is_not_there_is_said_with_the_closest(repo: Repo, words: list[str]) -> None:
    repo.record("implement-login", {"prompt": "Why?"})
    refused(repo.ai(*words, "implement-logni", code=1), "no session implement-logni", "did you mean implement-login?")


def test_a_session_like_no_other_is_said_with_where_to_look(repo: Repo) -> None:
    repo.record("implement-login", {"prompt": "Why?"})
    refused(repo.ai("show", "review-zzz", code=1), "'git ai-session list'")
    refused(repo.ai("show", "zzz-*", code=1), "no session matches 'zzz-*'")


# --- lines of record -----------------------------------------------------------------------------------------

HUGE = b'{"prompt":"x","usage":{"input_tokens":%s}}'
BAD_LINES: list[tuple[bytes, str]] = [
    (b"not json", "it is no JSON"),
    (b'{"prompt":"x"', "it is no JSON"),
    (b'{"prompt":"x"} {"prompt":"y"}', "it is no JSON"),
    (b'{"prompt":"\xff\xfe"}', "it is not UTF-8"),
    (b"\xef\xbb\xbf{}", "it is no JSON"),
    (b"[]", "a JSON object"),
    (b'"Why?"', "a JSON object"),
    (b"null", "a JSON object"),
    (b"{}", "'prompt' is missing"),
    (b'{"prompt":null}', "'prompt' is missing"),
    (b'{"prompt":"a","prompt":"b"}', "the key 'prompt' is there twice"),
    (b'{"prompt":"x","usage":{"input_tokens":1,"input_tokens":2}}', "'input_tokens' is there twice"),
    (b'{"prompt":"x","cost_usd":NaN}', "NaN"),
    (b'{"prompt":"x","cost_usd":-Infinity}', "-Infinity"),
    (b'{"prompt":"x","cost_usd":1e999999999}', "out of range"),
    (b'{"prompt":"x","cost_usd":1e-999999999}', "out of range"),
    (b'{"prompt":"x","cost_usd":1e99999999999999999999}', "out of range"),
    (b'{"prompt":"x","cost_usd":1e25}', "'cost_usd'"),
    (b'{"prompt":"x","cost_usd":-0.01}', "'cost_usd'"),
    (b'{"prompt":"x","cost_usd":1000000000.01}', "'cost_usd' must be at most 1,000,000,000"),
    (b'{"prompt":"x","cost_usd":0.0000000000000000001}', "'cost_usd'"),
    (b'{"prompt":"x","cost_usd":"1,50"}', "'cost_usd'"),
    (HUGE % b"1e999999999", "out of range"),
    (HUGE % b"1e250", "'input_tokens'"),
    (HUGE % b"-1", "'input_tokens'"),
    (HUGE % b"1.5", "'input_tokens'"),
    (HUGE % b"true", "'input_tokens'"),
    (HUGE % b'"5"', "'input_tokens'"),
    (HUGE % b"1000000000001", "'input_tokens'"),
    (HUGE % (b"9" * 5000), "digits"),
    (b'{"prompt":"x","duration_ms":-1}', "'duration_ms'"),
    (b'{"prompt":"x","duration_ms":99999999999}', "'duration_ms'"),
    (b'{"prompt":"x","started_at":"9999-12-31T23:59:59Z","duration_ms":9999}', "'duration_ms'"),
    (b'{"prompt":"x","ended_at":"1970-01-01T00:00:00Z","duration_ms":9999}', "1970"),
    (b'{"prompt":"x","ended_at":"yesterday"}', "'ended_at'"),
    (b'{"prompt":"x","ended_at":"9999-01-01T00:00:00Z"}', "'ended_at' is in the future"),
    (b'{"prompt":"x","ended_at":"0001-01-01T00:00:00+23:59"}', "'ended_at'"),
    (b'{"prompt":"x","started_at":"2026-03-02","ended_at":"2026-03-01"}', "'started_at' is after"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"prompt":"x","messages":' + b"[" * 150 + b"]" * 150 + b"}", "nested too deeply"),
    (b'{"promt":"x"}', "unknown key 'promt'; did you mean 'prompt'?"),
    (b'{"prompt":"x","tokens":5}', "unknown key 'tokens'"),
    (b'{"prompt":"x","kind":"merge"}', "unknown key 'kind'"),
    (b'{"prompt":"x","\\u001b[31m\\u202e":5}', "unknown key"),
    (b'{"prompt":"x","turn_id":"abc"}', "'turn_id'"),
    (b'{"prompt":"x","commits":["HEAD"]}', "'commits'"),
    (b'{"prompt":"x","status":"great"}', "'status' must be one of ok, error, interrupted"),
    (b'{"prompt":"x","usage":{"input_tokens":1},"requests":[{"usage":{"input_tokens":2}}]}', "not the sum"),
    (b'{"prompt":"x","usage":{"cache_creation":{"ephemeral_1h_input_tokens":2}}}', "'cache_creation'"),
    (b'{"prompt":"x","messages":[{"role":"system","content":"x"}]}', "'messages'"),
    (b'{"prompt":"x","messages":[{"role":"user","content":[1]}]}', "'messages'"),
    (b'{"prompt":"x","messages":[{"role":"user","content":[{"n":1e400}]}]}', "out of range"),
    (b'{"prompt":"x","messages":[{"role":"user","content":[{"type":"tool_result","content":[1]}]}]}', "'tool_result'"),
    (b'{"prompt":"x","task":"' + b"t" * 2_000_000 + b'"}', "too long"),
]


def test_every_bad_line_is_refused_with_its_number_and_the_good_ones_are_kept(repo: Repo) -> None:
    """One stream: good, all the bad, good. Each bad line is one line of error, and leaves no object."""
    repo.record("implement-x", {"prompt": "first", "started_at": "2026-03-01"})
    before = census(repo)
    ran = repo.ai("record", "implement", "x", stdin=lines(*(line for line, _ in BAD_LINES)), code=1)
    assert census(repo) == before
    errors = ran.err.rstrip("\n").split("\n")
    assert ran.out == ""
    assert len(errors) == len(BAD_LINES)
    for number, (error, (line, part)) in enumerate(zip(errors, BAD_LINES, strict=True), 1):
        assert error.startswith(f"error: line {number}: "), line[:80]
        assert part in error, line[:80]
        assert UNSAFE.search(error) is None
        assert len(error) < 300

    good = [{"prompt": "second"}, b"broken", b"", b"   ", {"prompt": "third"}]
    ran = repo.ai("record", "implement", "x", stdin=lines(*good), code=1)
    assert len(ran.out.split()) == 2
    assert ran.err.startswith("error: line 2: ")
    assert ran.err.count("\n") == 1, "empty lines are no error"
    assert [item.subject for item in repo.session("implement-x").commits] == ["first", "second", "third"]


WRONG = {"a text": "x", "a number": 5, "a truth": True, "a list": [5], "an object": {"a": 5}}
RIGHT = {
    **{key: {"a text"} for key in PUBLIC_KEYS},
    "usage": {"an object"},
    "cost_usd": {"a number"},
    "duration_ms": {"a number"},
    "messages": set(),
    "requests": set(),
    "started_at": set(),
    "ended_at": set(),
    "status": set(),
    "task_status": set(),
    "turn_id": set(),
    "commits": set(),
}


def test_a_value_of_the_wrong_type_is_refused_by_its_key(repo: Repo) -> None:
    """Every key of ``record`` with every type that is not its own."""
    before = census(repo)
    cases = [(key, value, kind) for key in PUBLIC_KEYS for kind, value in WRONG.items() if kind not in RIGHT[key]]
    ran = repo.ai("record", "plan", "x", stdin=lines(*({"prompt": "p", k: v} for k, v, _ in cases)), code=1)
    errors = ran.err.rstrip("\n").split("\n")
    assert len(errors) == len(cases)
    for error, (key, _, kind) in zip(errors, cases, strict=True):
        assert f"'{key}'" in error, f"{key} was {kind}: {error}"
    assert census(repo) == before


def test_nothing_on_standard_input_records_nothing(repo: Repo) -> None:
    before = census(repo)
    assert repo.ai("record", "plan", "x", stdin=b"").out == ""
    assert census(repo) == before


# --- texts that want to be something else --------------------------------------------------------------------

PROMPTS = [
    "NUL \0 in the middle",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m",
    "bidi \u202eevil\u202c \u2066x\u2069",
    "---\nAI-Format: 2\n",
    "# ------------------------ >8 ------------------------\ncut here",
    "diff --git a/x b/x\n--- a/x\n+++ b/x",
    "fine\n\nAI-Format: 1\nAI-Kind: merge\nAI-Seq: 99\nAI-Cost-USD: 0",
    "AI-Kind: merge",
    "Conflicts:\n\tx",
    "; a comment for some",
    "\u2028\u2029\ufeff",
    "",
    "🎉",
    "\r\nwindows\r\n",
]
MODELS = ["evil\n\nAI-Seq: 99\nAI-Kind: merge", "<a> <b>", " ", "\x1b[31m", "100%", "naïve\u202e"]


def test_texts_are_kept_as_they_are_and_cannot_pass_for_anything_else(repo: Repo) -> None:
    """Prompts, models, tasks and agents that forge trailers, hide them, or move the terminal."""
    entries: list[dict[str, Any]] = [
        {"prompt": prompt, "response": prompt, "task": prompt or None} for prompt in PROMPTS
    ]
    entries += [{"prompt": "p", "model": m, "agent": m, "usage": {"input_tokens": 1}} for m in MODELS]
    entries += [
        {"prompt": "tool", "messages": [{"role": "user", "content": [hostile_block(kind)]}]}
        for kind in ("text", "tool_use", "tool_result", "thinking", "document", "\x1b[31m")
    ]
    oids = repo.record("implement-x", *entries)
    repo.fsck()
    session = repo.session("implement-x")
    assert [item.oid for item in session.commits] == oids
    assert [item.facts.seq for item in session.commits] == list(range(1, len(entries) + 1))
    for item, entry in zip(session.commits, entries, strict=True):
        assert item.facts.kind == "turn"
        assert repo.git("cat-file", "blob", f"{item.oid}:prompt.md") == entry["prompt"].rstrip("\n")
        assert item.facts.task == entry.get("task")
        assert item.facts.metrics is not None
        assert item.facts.metrics.model == (entry.get("model") or "unknown")
    kinds = repo.git("log", "--format=%(trailers:key=AI-Kind,valueonly,separator=%x2C)", "refs/ai-sessions/implement-x")
    assert set(kinds.split("\n")) == {"turn"}, "git sees one kind on each"
    assert_safe(repo, "implement-x")


def hostile_block(kind: str) -> dict[str, Any]:
    text = "\x1b[31mred\u202e\x07"
    return {
        "type": kind,
        "text": text,
        "name": text,
        "id": "t",
        "tool_use_id": "t",
        "input": {text: text},
        "content": [{"type": "text", "text": text}],
        "thinking": text,
        "title": text,
    }


def assert_safe(repo: Repo, session: str) -> None:
    """Asserts that no look prints a character that moves the terminal, as text or as JSON."""
    looks = [["list"], *(["show", session, *more] for more in ([], ["--full"], ["--full", "--json"]))]
    looks += [["stats", "--by", by] for by in ("task", "model", "agent", "person")]
    for words in looks:
        ran = repo.ai(*words)
        assert UNSAFE.search(ran.out) is None, words
        assert UNSAFE.search(ran.err) is None, words
        assert ran.out


def test_a_prompt_of_ten_megabytes_is_a_turn(repo: Repo) -> None:
    """It is kept whole, its subject is short, and one line of 64 MiB and more is refused unread."""
    prompt = "word " * (2 * 1024 * 1024)
    big = b'{"prompt":"' + b"x" * (64 * 1024 * 1024) + b'"}'
    ran = repo.ai("record", "plan", "big", stdin=lines({"prompt": prompt}, big, {"prompt": "after"}), code=1)
    assert ran.err == "error: line 2: it is larger than 64 MiB\n"
    first, second = ran.out.split()
    assert int(repo.git("cat-file", "-s", f"{first}:prompt.md")) == len(prompt)
    assert len(repo.git("log", "-1", "--format=%s", first)) <= 72
    assert repo.git("log", "-1", "--format=%s", second) == "after"


# --- stored by somebody else ---------------------------------------------------------------------------------


def stored(repo: Repo, session: str, message: bytes, *, tree: str = "") -> str:
    """A commit of exactly this message on a session's ref, as a stranger might have pushed it."""
    tree = tree or repo.git("mktree", stdin=b"")
    people = b"author \x1b[31ma\xff <a@b> 1767225600 +0000\ncommitter C\x1b[2J\xe2\x80\xae <c@d> 1767225600 +0000\n"
    raw = f"tree {tree}\n".encode() + people + b"\n" + message
    oid = repo.git("hash-object", "-w", "-t", "commit", "--literally", "--stdin", stdin=raw)
    repo.git("update-ref", f"refs/ai-sessions/{session}", oid)
    return oid


def test_stored_characters_that_move_the_terminal_are_never_printed(repo: Repo) -> None:
    """A commit with escapes in every field, and raw ones in its subject, names and texts."""
    text = "a\x1b[31m\u202e\x9b1m\x07\x00b"
    files = {"prompt.md": text, "response.md": text, "turn.json": json.dumps({"v": 1, "requests": [{"id": text}]})}
    blobs = {path: repo.git("hash-object", "-w", "--stdin", stdin=data.encode()) for path, data in files.items()}
    tree = repo.git("mktree", stdin="".join(f"100644 blob {oid}\t{path}\n" for path, oid in blobs.items()).encode())
    message = MESSAGE.format(session="a" * 32, turn="b" * 32).encode()
    stored(repo, "implement-evil", b"subject \x1b[31m\xe2\x80\xae\xff\n\n" + message, tree=tree)
    assert_safe(repo, "implement-evil")
    assert repo.ai("show", "implement-evil", "--json").json["turn_list"][0]["summary"].startswith("subject \x1b[31m")


@pytest.mark.parametrize("word", ["AI-Status", "AI-Event", "AI-Cost-Basis", "AI-Kind"])
def test_a_word_that_is_none_makes_the_commit_pass_over(repo: Repo, word: str) -> None:
    message = MESSAGE.format(session="a" * 32, turn="b" * 32)
    kept = "".join(line for line in message.splitlines(True) if not line.startswith(("AI-Kind:", "AI-Status:")))
    block = kept + "".join(f"{key}: {value}\n" for key, value in {"AI-Kind": "turn", word: "%1B[31m"}.items())
    oid = stored(repo, "implement-evil", b"subject\n\n" + block.encode())
    ran = repo.ai("list")
    assert f"commit {oid[:12]} was passed over: {word}" in ran.err
    assert UNSAFE.search(ran.out + ran.err) is None


BROKEN_TREES = {
    "turn.json that is no JSON": b"{",
    "turn.json nested too deeply": b"[" * 100_000,
    "turn.json with a key twice": b'{"v":1,"v":1}',
    "turn.json with NaN": b'{"v":NaN}',
    "a number no float holds": b'{"v":1,"messages":[{"role":"user","content":[{"n":1e999}]}]}',
    "a newer turn.json": b'{"v":2}',
    "a ref that leads nowhere": b'{"v":1,"refs":{"/messages/0":"prompt.md"}}',
    "a ref out of the tree": b'{"v":1,"messages":[""],"refs":{"/messages/0":"../../etc/passwd"}}',
    "text that is no UTF-8": b"\xff",
}


@pytest.mark.parametrize("what", BROKEN_TREES)
def test_a_broken_tree_is_one_line_where_it_is_read_and_nothing_where_it_is_not(repo: Repo, what: str) -> None:
    """Sums need no tree; ``show --full`` names the commit."""
    blob = repo.git("hash-object", "-w", "--stdin", stdin=BROKEN_TREES[what])
    tree = repo.git("mktree", stdin=f"100644 blob {blob}\tturn.json\n".encode())
    message = MESSAGE.format(session="a" * 32, turn="b" * 32).encode()
    oid = stored(repo, "implement-evil", b"subject\n\n" + message, tree=tree)
    before = census(repo)
    assert repo.ai("list", "--json").json[0]["turns"] == 1
    ran = repo.ai("show", "implement-evil", "--full", "--json", code=1)
    refused(ran, f"turn {oid[:12]}")
    assert census(repo) == before


def test_a_commit_that_is_not_ours_stays_what_it_is(repo: Repo) -> None:
    """On a session's ref: listed with a warning, not shown, not appended to, not moved."""
    repo.record("plan-x", {"prompt": "Why?"})
    for name, target in (("implement-a", "HEAD"), ("implement-b", "HEAD^{tree}")):
        repo.git("update-ref", f"refs/ai-sessions/{name}", repo.git("rev-parse", target), check=False)
    repo.git("symbolic-ref", "refs/ai-sessions/implement-c", "refs/heads/main")
    before = census(repo)
    ran = repo.ai("list")
    assert "plan-x" in ran.out
    assert "implement-" not in ran.out
    assert ran.err.startswith("warning: ")
    for name in ("implement-a", "implement-c"):
        assert name in ran.err
    for feature in ("a", "c"):
        refused(repo.ai("show", f"implement-{feature}", code=1), f"implement-{feature}")
        refused(repo.ai("record", "implement", feature, stdin=lines({"prompt": "p"}, {"prompt": "q"}), code=1))
    assert census(repo) == before


# --- no place, no reader -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["list"], ["stats"], ["show", "a-b"], ["log"], ["record", "a", "b"], ["drain"]])
def test_outside_a_repository_every_verb_says_so(repo: Repo, tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    refused(repo.ai(*words, stdin=lines({"prompt": "p"}), cwd=folder, code=1), "not in a git repository", "git init")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["lsit"], "did you mean 'list'?"),
        (["list", "--sort", "size"], "name, date, tokens, cost"),
        (["stats", "--by", "weather"], "model"),
        (["stats", "--since", "nonsense"], "--since wants a date"),
        (["stats", "--since", "9" * 5000 + "d"], "--since wants a date"),
        (["stats", "--since", "2026-03-02", "--until", "2026-03-01"], "--since is not before --until"),
        (["show"], "SESSION"),
        (["show", "plan-x", "--turn", "0"], "--turn"),
        (["show", "plan-x", "--turn", "1", "--last", "2"], "--turn"),
        (["record", "plan"], "FEATURE"),
        (["list", "--frob"], "--frob"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_one_line_and_exit_2(repo: Repo, words: list[str], part: str) -> None:
    refused(repo.ai(*words, code=2), part)


def to_nobody(repo: Repo, words: Sequence[str], stdin: bytes | None = None) -> tuple[int, str]:
    """Runs the program with a standard output whose reader has gone: (exit code, standard error)."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, *words], cwd=repo.path, input=stdin, stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        *(["list"], ["list", "--json"], ["stats", "--by", "day"], ["show", "plan-x", "--full"], ["-h"]),
        *(["log", "plan-x", "-p"], ["export"], ["export", "--format", "bundle"]),
    ],
)
def test_a_reader_that_has_gone_gets_no_complaint(repo: Repo, words: list[str]) -> None:
    """As in ``list | head -1``: not a word on standard error, and no bug."""
    repo.record("plan-x", *({"prompt": f"prompt {n}", "response": "r" * 5000} for n in range(30)))
    code, err = to_nobody(repo, words)
    assert err == ""
    assert code in (1, 141)


def test_turns_are_recorded_though_nobody_reads_their_oids(repo: Repo) -> None:
    code, err = to_nobody(repo, ["record", "plan", "x"], lines(*({"prompt": f"p{n}"} for n in range(5))))
    assert err == ""
    assert code in (0, 141)
    assert len(repo.session("plan-x").commits) == 5


def to_full(repo: Repo, words: Sequence[str], stdin: bytes | None = None, **env: str) -> tuple[int, str]:
    """Runs the program with a standard output that takes nothing, as on a full disk: (exit code, standard error)."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=repo.path,
            input=stdin,
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, **repo.environment, **env},
            check=False,
        )
    return done.returncode, done.stderr.decode()


FULL = "error: standard output: No space left on device\n"
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


@full
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_said_in_a_line(repo: Repo, unbuffered: str, tmp_path: Path) -> None:
    """By whichever verb: no bug of ours, exit code 1, and nothing in the folder where crashes are written down."""
    crashes = tmp_path / "crashes"
    crashes.mkdir()
    repo.ai("start", "x")
    repo.record("plan-x", {"prompt": "p", "response": "r" * 50_000})
    task = "{id: T1.1, title: T, acceptance: [It holds]}"
    repo.ai("plan", "x", "--import", "-", stdin=f"feature: x\nphases: [{{name: P, tasks: [{task}]}}]\n")
    looking = "list, list --json, stats, show plan-x --full, status, status --json, features, history x, export, use"
    others = "--version, -h, show -h, plan x --show, todo list, template list, template show plan, completion bash"
    for words in f"{looking}, {others}".split(", "):
        ran = to_full(repo, words.split(), TMPDIR=str(crashes), PYTHONUNBUFFERED=unbuffered)
        assert (words, *ran) == (words, 1, FULL)
    assert list(crashes.iterdir()) == []


@full
def test_what_was_to_be_recorded_is_though_the_disk_behind_the_output_is_full(repo: Repo, api: StandIn) -> None:
    """The oids and the answer go nowhere; the turns are kept, and no other model is asked for the answer."""
    assert to_full(repo, ["record", "plan", "x"], lines(*({"prompt": f"p{n}"} for n in range(5)))) == (1, FULL)
    assert len(repo.session("plan-x").commits) == 5
    repo.git("config", "ai-session.fallback", "haiku")
    code, err = to_full(repo, ["escalate", "opus", "--feature", "x"])
    assert code == 1
    # That is no interruption: why it stopped is said, and nothing else.
    assert err.endswith("what had arrived is kept as a turn: run again to go on\n" + FULL)
    assert "interrupted" not in err
    assert len(api.requests) == 1
    assert repo.session("plan-x").commits[-1].facts.status == "interrupted"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words", [["list"], ["stats", "--by", "model"], ["show", "plan-auth"], ["record", "plan", "auth"]]
)
def test_a_stream_that_is_closed_is_one_that_leads_nowhere(repo: Repo, closed: str, words: list[str]) -> None:
    """No traceback, no file that is written into by mistake, and what is on standard input is recorded."""
    repo.record("plan-auth", {"prompt": "one"})
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, *words]
    done = subprocess.run(command, cwd=repo.path, input=b'{"prompt":"two"}', capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr == b""
    fed = words[0] == "record" and "<" not in closed
    assert len(repo.session("plan-auth").commits) == (2 if fed else 1)
    repo.fsck()
