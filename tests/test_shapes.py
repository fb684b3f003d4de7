"""What the looking verbs answer: JSON with exactly the documented keys, and text made from the same values."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gitsess.text import short_count, width
from tests.conftest import NOON, PROGRAM, Repo, append_all, hours, turn

SESSION = (
    *("session", "command", "feature", "status", "turns", "failed_turns", "created_at", "last_used", "models"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd", "unpriced_turns"),
    *("duration_ms", "tip"),
)
TURN = (
    *("oid", "seq", "turn_id", "kind", "status", "agent", "model", "summary", "task", "started_at", "ended_at"),
    *("duration_ms", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "requests"),
    *("cost_usd", "commits"),
)
SUMS = (
    *("turns", "failed_turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("cost_usd", "unpriced_turns", "duration_ms"),
)
STATS = ("sessions", "active_sessions", *SUMS)
WHOLE = {
    *("turns", "failed_turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("unpriced_turns", "duration_ms", "seq", "requests", "sessions", "active_sessions"),
}
USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
TIMES = {"created_at", "last_used", "started_at", "ended_at"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
TINY = "0.000000000000000001"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def exactly(out: str) -> Any:
    """JSON with its fractions as they are written."""
    return json.loads(out, parse_float=Decimal)


def check(value: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Asserts the keys, in order, and the types that hold wherever a key stands."""
    assert tuple(value) == tuple(keys)
    for key, item in value.items():
        if key in WHOLE:
            assert type(item) is int or (item is None and key == "duration_ms"), key
        elif key in TIMES:
            assert STAMP.fullmatch(item), key
        elif key == "cost_usd":
            assert item is None or type(item) in (int, Decimal), key
        elif key in ("models", "commits"):
            assert all(type(word) is str for word in item), key


_BUILT: dict[str, Path] = {}


def built(name: str, folder: pytest.TempPathFactory, fill: Callable[[Repo], None]) -> Repo:
    """A repository that is only looked at: made once, for all the tests that do."""
    if name not in _BUILT:
        path = folder.mktemp(name)
        made = Repo(path=path)
        made.git("init", "-q", "-b", "main")
        for key, value in (("user.name", "Ann Example"), ("user.email", "ann@example.com")):
            made.git("config", key, value)
        made.git("commit", "-q", "--allow-empty", "-m", "Begin")
        fill(made)
        _BUILT[name] = path
    return Repo(path=_BUILT[name])


@pytest.fixture
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Four sessions with everything that a look tells apart, one of them used today."""
    return built("ledger", tmp_path_factory, _fill)


def _fill(repo: Repo) -> None:
    work = repo.workspace(now=NOON)
    used = dict(zip(USAGE, (1000, 200, 3000, 40), strict=True))
    oid = repo.git("rev-parse", "HEAD")
    begun = turn("Begin", at=NOON, usage=used, cost_usd=TINY, duration_ms=1500, task="T1", commits=[oid])
    failed = turn("Go on", at=NOON + hours(1), usage=used, cost_usd="0.3", agent="claude-code/2.1", status="error")
    unpriced = turn("Unknown", at=NOON + hours(25), model="secret-model", task="T2")
    append_all(work, "implement-login", [begun, failed, unpriced])
    append_all(work, "implement-search", [turn("Find", at=NOON + hours(2), usage=used, cost_usd="12.5")])
    append_all(work, "plan-login", [turn("Plan", at=NOON - hours(48), model="nobody-knows", usage=used)])
    append_all(work, "review-login", [turn("Look", at=datetime.now(UTC), usage={"input_tokens": 9}, cost_usd="0")])


# --- JSON ----------------------------------------------------------------------------------------------------


def test_list_has_the_documented_keys_in_their_order(ledger: Repo) -> None:
    rows = exactly(ledger.ai("list", "--json").out)
    assert len(rows) == 4
    for row in rows:
        check(row, SESSION)
    row = next(row for row in rows if row["session"] == "implement-login")
    assert row == {
        "session": "implement-login",
        "command": "implement",
        "feature": "login",
        "status": "open",
        "turns": 3,
        "failed_turns": 1,
        "created_at": "2026-03-01T11:59:58Z",
        "last_used": "2026-03-02T13:00:00Z",
        "models": ["secret-model", "claude-sonnet-4-5"],
        "input_tokens": 2010,
        "output_tokens": 405,
        "cache_read_tokens": 6000,
        "cache_write_tokens": 80,
        "cost_usd": Decimal("0.3") + Decimal(TINY),
        "unpriced_turns": 1,
        "duration_ms": 1500,
        "tip": ledger.git("rev-parse", "refs/ai-sessions/implement-login"),
    }


def test_show_adds_the_turns_with_the_documented_keys(ledger: Repo) -> None:
    shown = exactly(ledger.ai("show", "implement-login", "--json").out)
    check(shown, (*SESSION, "turn_list"))
    for item in shown["turn_list"]:
        check(item, TURN)
    assert [item["summary"] for item in shown["turn_list"]] == ["[T1] Begin", "Go on", "[T2] Unknown"]
    assert [item["cost_usd"] for item in shown["turn_list"]] == [Decimal(TINY), Decimal("0.3"), None]
    assert [item["seq"] for item in shown["turn_list"]] == [1, 2, 3]
    first = shown["turn_list"][0]
    assert first["commits"] == [ledger.git("rev-parse", "HEAD")]
    assert (first["status"], first["agent"], first["task"], first["kind"]) == ("ok", "test", "T1", "turn")
    assert ledger.git("rev-list", "--reverse", "refs/ai-sessions/implement-login").split() == [
        item["oid"] for item in shown["turn_list"]
    ]
    assert shown["tip"] == shown["turn_list"][-1]["oid"]
    listed = exactly(ledger.ai("list", "implement-login", "--json").out)[0]
    assert {key: shown[key] for key in SESSION} == listed, "the same session says the same in both"


def test_show_in_full_adds_what_was_said(ledger: Repo) -> None:
    shown = exactly(ledger.ai("show", "implement-login", "--last", "1", "--json").out)
    check(shown["turn_list"][0], (*TURN, "prompt", "response", "messages", "request_list"))
    assert shown["turn_list"][0]["prompt"] == "Unknown"
    assert shown["turns"] == 3, "the sums are the whole session's"
    assert [message["role"] for message in shown["turn_list"][0]["messages"]] == ["user", "assistant"]
    two = exactly(ledger.ai("show", "implement-*", "--json").out)
    assert [item["session"] for item in two] == ["implement-login", "implement-search"], "several are a list"


def test_stats_have_the_documented_keys_in_their_order(ledger: Repo) -> None:
    found = exactly(ledger.ai("stats", "--json").out)
    check(found, STATS)
    assert found == {
        "sessions": 4,
        "active_sessions": 1,
        "turns": 6,
        "failed_turns": 1,
        "input_tokens": 4019,
        "output_tokens": 805,
        "cache_read_tokens": 12000,
        "cache_write_tokens": 160,
        "cost_usd": Decimal("12.8") + Decimal(TINY),
        "unpriced_turns": 2,
        "duration_ms": 1500,
    }


BY = {
    "model": ["claude-sonnet-4-5", "nobody-knows", "secret-model"],
    "command": ["implement", "plan", "review"],
    "feature": ["login", "search"],
    "session": ["implement-login", "implement-search", "plan-login", "review-login"],
    "day": ["2026-02-27", "2026-03-01", "2026-03-02"],
    "person": ["Ann Example"],
    "agent": ["claude-code", "test"],
    "task": ["(none)", "T1", "T2"],
}


@pytest.mark.parametrize("by", BY)
def test_stats_by_each_key_sum_to_the_total(ledger: Repo, by: str) -> None:
    found = exactly(ledger.ai("stats", "--by", by, "--json").out)
    check(found, (*STATS, "by"))
    for group in found["by"]:
        check(group, ("key", "sessions", *SUMS))
    keys = [group["key"] for group in found["by"]]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    expected = {**BY, "day": [*BY["day"], today]}[by]
    assert sorted(keys) == expected
    for key in SUMS:
        parts = [group[key] for group in found["by"]]
        assert sum(part or 0 for part in parts) == found[key], key
    costs = [group["cost_usd"] or 0 for group in found["by"]]
    assert keys == expected if by == "day" else costs == sorted(costs, reverse=True)


def test_an_unknown_cost_is_null_and_a_free_turn_costs_nothing(ledger: Repo) -> None:
    rows = {row["session"]: row for row in exactly(ledger.ai("list", "--json").out)}
    assert (rows["plan-login"]["cost_usd"], rows["plan-login"]["unpriced_turns"]) == (None, 1)
    assert (rows["review-login"]["cost_usd"], rows["review-login"]["unpriced_turns"]) == (0, 0)
    raw = ledger.ai("list", "--json").out
    assert f'"cost_usd": 0.3{TINY[3:]},' in raw, "eighteen digits, and no quotes"
    assert '"cost_usd": 12.5,' in raw
    assert '"cost_usd": null,' in raw


def test_nothing_recorded_is_an_empty_list_and_zeros(repo: Repo) -> None:
    assert repo.ai("list", "--json").json == []
    found = repo.ai("stats", "--by", "model", "--json").json
    assert found == {**dict.fromkeys(STATS, 0), "by": []}
    assert repo.ai("list").out == "", "text of nothing is nothing; the hint is on standard error"


def test_record_and_drain_answer_with_their_keys(repo: Repo) -> None:
    entry = {"prompt": "p", "turn_id": "a" * 32}
    first = repo.ai("record", "plan", "x", "--json", stdin=json.dumps(entry)).json
    assert tuple(first) == ("session", "oid", "turn_id", "existed", "spooled")
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-x")
    assert first == {"session": "plan-x", "oid": tip, "turn_id": "a" * 32, "existed": False, "spooled": None}
    again = repo.ai("record", "plan", "x", "--json", stdin=json.dumps(entry)).json
    assert again == {**first, "existed": True}

    (repo.path / ".git/refs/ai-sessions/plan-x.lock").touch()
    spooled = repo.ai("record", "plan", "x", "--json", stdin=json.dumps({"prompt": "q"})).json
    assert (spooled["oid"], spooled["existed"]) == (None, False)
    waiting = repo.ai("drain", "--json").json
    assert tuple(waiting) == ("appended", "events", "waiting", "failed", "problems", "busy")
    assert waiting["appended"] == 0
    assert [tuple(item) for item in waiting["waiting"]] == [("file", "reason")]
    assert waiting["waiting"][0]["file"] == spooled["spooled"]
    (repo.path / ".git/refs/ai-sessions/plan-x.lock").unlink()
    assert repo.ai("drain", "--json").json == {
        "appended": 1,
        "events": 0,
        "waiting": [],
        "failed": [],
        "problems": [],
        "busy": False,
    }


def test_times_are_utc_with_milliseconds_only_where_there_are_any(repo: Repo) -> None:
    entry = {"prompt": "p", "started_at": "2026-03-01T13:00:00.250+02:00", "ended_at": "2026-03-01T12:00:01+01:00"}
    repo.record("plan-x", entry)
    shown = repo.ai("show", "plan-x", "--full", "--json").json
    assert shown["turn_list"][0]["started_at"] == "2026-03-01T11:00:00Z", "a commit has whole seconds"
    assert shown["turn_list"][0]["duration_ms"] == 750
    assert repo.git("cat-file", "blob", f"{shown['tip']}:turn.json").startswith(
        '{"v":1,"started_at":"2026-03-01T11:00:00.250Z","ended_at":"2026-03-01T11:00:01Z"'
    )


# --- choosing and ordering -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sessions"),
    [
        ([], ["review-login", "implement-login", "implement-search", "plan-login"]),
        (["--sort", "date"], ["review-login", "implement-login", "implement-search", "plan-login"]),
        (["--sort", "name"], ["implement-login", "implement-search", "plan-login", "review-login"]),
        (["--sort", "cost"], ["implement-search", "implement-login", "plan-login", "review-login"]),
        (["--sort=tokens"], ["implement-login", "implement-search", "plan-login", "review-login"]),
        (["--active"], ["review-login"]),
        (["implement-*", "--sort", "name"], ["implement-login", "implement-search"]),
        (["*-login", "implement-s*", "--sort", "name"], sorted(BY["session"])),
        (["plan-login", "review-[a-z]*", "--sort", "name"], ["plan-login", "review-login"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_list_chooses_and_sorts(ledger: Repo, words: list[str], sessions: list[str]) -> None:
    """The same in JSON and in text."""
    assert [row["session"] for row in ledger.ai("list", *words, "--json").json] == sessions
    lines = ledger.ai("list", *words).out.split("\n")[1:]
    assert [line.split()[0] for line in lines[: len(sessions)]] == sessions


@pytest.mark.parametrize(
    ("words", "turns"),
    [
        (["--since", "2026-03-01T12:00:00Z"], 5),
        (["--since", "2026-03-01T12:00:01Z"], 4),
        (["--until", "2026-03-01T13:00:00Z"], 2),
        (["--until", "2026-03-01"], 4),
        (["--since", "2026-03-01", "--until", "2026-03-01"], 3),
        (["--since", "2026-03-02", "--until", "2026-03-02T12:59"], 0),
        (["--since", "yesterday"], 1),
        (["--since", "2 weeks ago"], 1),
        (["--since", "30d"], 1),
        (["--session", "plan-login", "--session", "*-search"], 2),
        (["--session", "implement-*", "--since", "2026-03-02"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_stats_count_what_ended_in_the_span(ledger: Repo, words: list[str], turns: int) -> None:
    """From the first moment on, up to the second and not it; a day as an end is the whole day."""
    assert ledger.ai("stats", *words, "--json").json["turns"] == turns


def test_show_picks_turns_by_number_and_from_the_end(ledger: Repo) -> None:
    def subjects(*words: str) -> list[str]:
        return [item["summary"] for item in ledger.ai("show", "implement-login", *words, "--json").json["turn_list"]]

    assert subjects("--turn", "2") == ["Go on"]
    assert subjects("--last", "2") == ["Go on", "[T2] Unknown"]
    assert subjects("--last", "99") == ["[T1] Begin", "Go on", "[T2] Unknown"]
    assert "its turns are 1 to 3" in ledger.ai("show", "implement-login", "--turn", "9", code=1).err


# --- text ----------------------------------------------------------------------------------------------------


def test_the_text_of_list_says_what_its_json_says(ledger: Repo) -> None:
    rows = {row["session"]: row for row in ledger.ai("list", "--json").json}
    lines = ledger.ai("list").out.rstrip("\n").split("\n")
    assert lines[0].split() == ["SESSION", "TURNS", "LAST", "USED", "MODEL", "TOKENS", "COST"]
    for line in lines[1:-1]:
        words = line.split()
        row = rows[words[0]]
        total = sum(row[f"{kind}_tokens"] for kind in ("input", "output", "cache_read", "cache_write"))
        assert words[1] == str(row["turns"])
        assert words[-2] == short_count(total)
    cells = {line.split()[0]: line.split()[-1] for line in lines[1:-1]}
    assert cells == {
        "implement-login": "$0.30+",
        "implement-search": "$12.50",
        "plan-login": "?",
        "review-login": "$0.00",
    }
    assert lines[-1].split()[:4] == ["4", "sessions,", "6", "turns"]
    assert lines[-1].split()[-1] == "$12.80+"
    assert "2026-03-02" in lines[2], "more than a month ago is a date"
    assert "just now" in lines[1]
    assert "secret-model +1" in lines[2]


def test_the_text_of_stats_says_what_its_json_says(ledger: Repo) -> None:
    lines = ledger.ai("stats").out.rstrip("\n").split("\n")
    figures = {line.split()[0]: line.split()[1] for line in lines}
    assert figures == {
        "Sessions": "4",
        "Turns": "6",
        "Input": short_count(4019 + 12000 + 160),
        "Output": "805",
        "Time": "1.5s",
        "Cost": "$12.80+",
    }
    table = ledger.ai("stats", "--by", "command").out.rstrip("\n").split("\n")
    assert table[0].split() == ["COMMAND", "SESSIONS", "TURNS", "TOKENS", "CACHED", "COST"]
    assert table[1].split()[:-1] == ["implement", "2", "4", short_count(12735), "74", "%", "$12.80+"]
    assert table[1].endswith("█" * 16)
    assert table[2].split() == ["plan", "1", "1", short_count(4240), "74", "%", "?"]
    assert table[-1].split()[:3] == ["total", "4", "6"]


def test_the_text_of_show_says_what_its_json_says(ledger: Repo) -> None:
    short = ledger.ai("show", "implement-login").out
    for part in (
        "implement-login",
        "3 turns",
        "begun 2026-03-01",
        "$0.30+",
        "(error) Go on",
        "[T1] Begin",
        "secret-model",
    ):
        assert part in short
    full = ledger.ai("show", "implement-login", "--full").out
    oid = ledger.git("rev-parse", "refs/ai-sessions/implement-login~2")
    for part in (
        oid[:12],
        "> asked\nBegin\n",
        "< answered\nBecause.\n",
        "price not known",
        "task T1",
        "<$0.0001 reported",
    ):
        assert part in full


# --- the terminal --------------------------------------------------------------------------------------------


def on_terminal(repo: Repo, words: Sequence[str], *, columns: int = 80, env: Mapping[str, str] | None = None) -> str:
    """What the program prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, *words],
        cwd=repo.path,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "GIT_PAGER": "cat", **(env or {})},
    )
    os.close(theirs)
    seen = b""
    # The other end is closed as an error on Linux and as an end of file elsewhere.
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:
        pass
    os.close(ours)
    assert process.wait() == 0, seen
    return seen.decode().replace("\r\n", "\n")


@pytest.fixture
def wide(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Sessions whose names, models, tasks and prompts are as long as they may be."""
    return built("wide", tmp_path_factory, _fill_wide)


def _fill_wide(repo: Repo) -> None:
    name = "implement-" + "very-long-feature-" * 4 + "name"
    entry: dict[str, Any] = {
        "model": "some.provider/an-unusually-long-model-name-2026-03-01-with-a-suffix:v1",
        "task": "T1." + "9" * 60,
        "usage": {"input_tokens": 10**11, "output_tokens": 10**9},
        "cost_usd": "123456.78",
    }
    now = datetime.now(UTC)
    turns = [turn("日本語の長い文章 " * 20, at=now - timedelta(days=n), **entry) for n in (29, 0)]
    append_all(repo.workspace(), name, turns)
    append_all(repo.workspace(), "plan-x", [turn("Short", at=now)])


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["stats"],
        ["show", "plan-x"],
        ["show", "implement-*"],
        *(["stats", "--by", by] for by in ("model", "session", "task", "day")),
    ],
    ids=" ".join,
)
def test_eighty_columns_suffice(wide: Repo, words: list[str]) -> None:
    """No line of a table is wider than the terminal, and none is without its last figures."""
    out = on_terminal(wide, words)
    lines = [ESCAPE.sub("", line) for line in out.rstrip("\n").split("\n")]
    assert max(width(line) for line in lines if not line.startswith("implement-")) <= 80, out
    assert "\x1b[" in out, "colour is for terminals"
    if words[0] != "show" or "implement-*" in words:
        assert any("$246913.56" in line or "$123456.78" in line for line in lines), "figures stay whole"


@pytest.mark.parametrize("columns", [120, 80, 60, 40])
@pytest.mark.parametrize("words", [["list"], ["list", "--by", "conversation"]], ids=" ".join)
def test_lists_fit_any_terminal(repo: Repo, words: list[str], columns: int) -> None:
    """Lines are never wider than it: what is of lesser worth goes, and the figures and the total stay whole."""
    for number in range(1, 12):
        entry: dict[str, Any] = {
            "prompt": "p",
            "agent": "claude-code/2.1",
            "model": "claude-sonnet-4-5",
            "cost_usd": "0.12",
        }
        entry |= {"conversation": f"{number:08x}-1111-4111-8111-111111111111", "usage": {"input_tokens": 12345}}
        repo.record(f"implement-auth-service-{number}", entry)
    out = ESCAPE.sub("", on_terminal(repo, words, columns=columns)).rstrip("\n")
    head, *rows, total = out.split("\n")
    assert max(width(line) for line in out.split("\n")) <= columns, out
    assert len(rows) == 11
    assert all(row.endswith("$0.12") and " 12.3k " in row for row in rows)
    assert total.endswith("$1.32")
    assert total.startswith("  11 sessions, 11 turns " if words == ["list"] else "  11 conversations "), out
    assert head.split()[0] == ("SESSION" if words == ["list"] else "CONVERSATION")
    if len(words) > 1:
        assert all(re.match(r" +[0-9a-f]{8}", row) for row in rows), "the beginning of an id is enough to name it"
        assert ("AGENT" in head, "SESSION" in head) == (columns == 120, columns > 40)


def test_without_a_terminal_nothing_is_cut_and_nothing_is_coloured(wide: Repo) -> None:
    ran = wide.ai("list")
    assert "\x1b" not in ran.out + ran.err
    assert "implement-" + "very-long-feature-" * 4 + "name" in ran.out
    assert "an-unusually-long-model-name-2026-03-01-with-a-suffix:v1" in ran.out


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
@pytest.mark.parametrize("words", [["list"], ["stats", "--by", "day"], ["show", "plan-x", "--full"]], ids=" ".join)
def test_no_escape_is_printed_where_none_is_wanted(wide: Repo, words: list[str], env: dict[str, str]) -> None:
    assert "\x1b" not in on_terminal(wide, words, env=env)


def test_json_is_never_coloured_nor_paged(wide: Repo) -> None:
    for words in (["list", "--json"], ["show", "plan-x", "--json"]):
        out = on_terminal(wide, words, env={"GIT_PAGER": "sed s/^/paged/"})
        assert "\x1b" not in out
        json.loads(out)


def test_a_pager_gets_the_text_in_the_width_of_the_terminal(wide: Repo) -> None:
    """``show`` on a terminal goes through git's pager, coloured and as wide as what is behind it."""
    for columns in (80, 120):
        out = on_terminal(wide, ["show", "implement-*"], columns=columns, env={"GIT_PAGER": "sed s/^/paged:/"})
        lines = [ESCAPE.sub("", line) for line in out.rstrip("\n").split("\n")]
        assert all(line.startswith("paged:") for line in lines)
        table = [width(line.removeprefix("paged:")) for line in lines[3:]]
        assert columns - 12 < max(table) <= columns
