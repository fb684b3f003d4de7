"""opencode's sessions as turns: what the real program wrote, against what it was served; and rows that are broken."""

from __future__ import annotations

import copy
import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess.agents import opencode
from gitsess.agents.captured import START, Captured, turn_id_of
from gitsess.errors import NotFound, StoreError
from gitsess.model import TokenUsage
from gitsess.turns import Turn
from gitsess.usage import usage_of
from tests.agents.make_opencode import FIXTURES, database

CASES = sorted(path.name for path in FIXTURES.iterdir())
Rows = dict[str, list[dict[str, Any]]]


def rows_of(case: str) -> Rows:
    found: Rows = json.loads((FIXTURES / case / "rows.json").read_text())
    return found


def runs(case: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FIXTURES / case / "served.json").read_text())["runs"]
    return found


def put(rows: Rows, folder: Path) -> Path:
    """A home with a database of these rows."""
    path = opencode.database_of(folder, {})
    path.unlink(missing_ok=True)
    database(rows, path)
    return folder


def captured(home: Path) -> list[Captured]:
    return [item for one in opencode.transcripts(home, {}) for item in opencode.read(one.path, closed=True)]


def used(found: list[Captured], *, subagents: bool = True) -> TokenUsage:
    requests = (request for one in found for request in one.turn.requests)
    kept = [request for request in requests if subagents or "subagent" not in request]
    return sum((usage_of(request["usage"]) for request in kept), TokenUsage())


def by_prompt(case: str, folder: Path) -> dict[str, Captured]:
    """The turns of a case; the program puts what has a blank into quotation marks."""
    return {one.turn.prompt.strip('"'): one for one in captured(put(rows_of(case), folder))}


@pytest.mark.parametrize("case", CASES)
def test_each_turn_used_what_was_served(case: str, tmp_path: Path) -> None:
    """Tokens of each turn, subagents too, are those that the service sent for it; what it asks of its own is none's."""
    found = by_prompt(case, tmp_path)
    assert len(found) == len(runs(case)) == len(captured(tmp_path))
    for run in runs(case):
        served = [one for one in run["served"] if one["kind"] != "aside" and one["whole"]]
        # The session of one that was interrupted was not printed.
        assert run["session"] in ("", found[run["prompt"]].turn.conversation)
        turn = found[run["prompt"]].turn
        assert used([found[run["prompt"]]]) == sum((plain(one["usage"]) for one in served), TokenUsage())
        assert len(turn.requests) == len(served)
        assert {request["model"] for request in turn.requests} == {one["model"] for one in served}
        assert len({request["id"] for request in turn.requests}) == len(served)


def plain(usage: Mapping[str, Any]) -> TokenUsage:
    """Without the lifetime of what was cached, which the program does not keep."""
    return usage_of({key: value for key, value in usage.items() if key != "cache_creation"})


def test_what_a_turn_is_made_of(tmp_path: Path) -> None:
    """Prompt, answer, times, version, folder, id, and entries in the form of the program's own export."""
    one = by_prompt("edit", tmp_path)["make a file #edit"]
    turn = one.turn
    assert (turn.response, turn.status, turn.agent, turn.model, one.cwd) == (
        "Done.",
        "ok",
        "opencode/1.18.33",
        "claude-sonnet-4-5",
        "/home/ann/project",
    )
    header, *entries = turn.native["main.jsonl"]
    assert header["info"]["id"] == turn.conversation
    assert turn.turn_id == turn_id_of("opencode", str(turn.conversation), entries[0]["info"]["id"])
    assert [entry["info"]["role"] for entry in entries] == ["user", "assistant", "assistant", "assistant"]
    assert {part["messageID"] for entry in entries for part in entry["parts"]} == {e["info"]["id"] for e in entries}
    assert 0 < (turn.duration_ms or 0) < 60_000
    again = by_prompt("edit", tmp_path)["again #plain"]
    assert "parts" in again.turn.native["main.jsonl"][0]


def test_how_turns_end(tmp_path: Path) -> None:
    """A refusal is an error, what a person stopped is interrupted."""
    assert by_prompt("refused", tmp_path)["be refused #broken"].turn.status == "error"
    found = by_prompt("interrupted", tmp_path)
    assert {prompt: one.turn.status for prompt, one in found.items()} == {
        "be interrupted #hang": "interrupted",
        "go on #plain": "ok",
    }


def test_the_list_is_what_was_written_last(tmp_path: Path) -> None:
    """A turn that did not touch it leaves it as it was."""
    found = by_prompt("edit", tmp_path)
    listed = opencode.todos(found["make a file #edit"].turn.native)
    assert listed == [{"content": "Write", "status": "completed"}, {"content": "Test", "status": "in_progress"}]
    assert opencode.todos(found["again #plain"].turn.native, listed) == listed


def test_messages_for_another_model(tmp_path: Path) -> None:
    """Each call has its result, an error where it failed; what the program kept for itself is left out."""
    made = opencode.messages(by_prompt("edit", tmp_path)["make a file #edit"].turn.native)
    blocks = [(message["role"], block["type"]) for message in made for block in message["content"]]
    assert blocks == [
        ("user", "text"),
        ("assistant", "text"),
        ("assistant", "tool_use"),
        ("user", "tool_result"),
        ("assistant", "tool_use"),
        ("user", "tool_result"),
        ("assistant", "tool_use"),
        ("user", "tool_result"),
        ("assistant", "text"),
    ]
    calls = [block["id"] for message in made for block in message["content"] if block["type"] == "tool_use"]
    results = [block["tool_use_id"] for m in made for block in m["content"] if block["type"] == "tool_result"]
    assert calls == results == [f"toolu_loopback_{number}" for number in (1, 2, 3)]


def test_a_fork_does_not_repeat_its_parent(tmp_path: Path) -> None:
    """What it began with are the parent's turns; its own total has them in it, and says so."""
    home = put(rows_of("edit"), tmp_path)
    (parent, fork) = opencode.transcripts(home, {})
    assert [one.turn.prompt.strip('"') for one in opencode.read(fork.path, closed=True)] == ["another way #plain"]
    reported = opencode.reported(parent.path)
    assert reported is not None
    assert (reported.tokens, reported.inherited) == (
        used(list(opencode.read(parent.path, closed=True))).total_tokens,
        False,
    )
    other = opencode.reported(fork.path)
    assert other is not None
    assert other.inherited
    assert other.tokens > used(list(opencode.read(fork.path, closed=True))).total_tokens


def test_a_subagents_session_has_no_turns_of_its_own(tmp_path: Path) -> None:
    """It belongs to the turn that it was started in: its requests, and its entries beside the turn's."""
    rows = rows_of("subagent")
    home = put(rows, tmp_path)
    (child,) = (row["id"] for row in rows["session"] if row["parent_id"])
    (transcript,) = opencode.transcripts(home, {})
    assert list(opencode.read(transcript.path.with_name(child), closed=True)) == []
    turn = by_prompt("subagent", tmp_path)["delegate #agent"].turn
    assert [request["subagent"] for request in turn.requests if "subagent" in request] == [child, child]
    assert len(turn.native[f"subagents/agent-{child}.jsonl"]) == 4
    reported = opencode.reported(transcript.path)
    assert reported is not None
    assert reported.tokens == used(captured(home), subagents=False).total_tokens


@pytest.mark.parametrize("case", CASES)
def test_reading_goes_on_where_it_was(case: str, tmp_path: Path) -> None:
    """From any turn's position on come the turns after it, just as in one go; nothing new is nothing."""
    home = put(rows_of(case), tmp_path)
    for one in opencode.transcripts(home, {}):
        whole = list(opencode.read(one.path, closed=True))
        for number, item in enumerate(whole):
            rest = list(opencode.read(one.path, item.position, closed=True))
            assert [found.turn for found in rest] == [found.turn for found in whole[number + 1 :]]


@pytest.mark.parametrize("case", CASES)
def test_a_session_that_grows(case: str, tmp_path: Path) -> None:
    """Read after every message, each turn comes when it has ended; a turn that goes on is not complete, and is found
    again from the position that it came with."""
    rows = rows_of(case)
    whole = {one.turn.turn_id: one.turn for one in captured(put(rows, tmp_path))}
    moments = sorted({row["time_created"] for row in rows["message"]})
    for session in [row["id"] for row in rows["session"] if not row["parent_id"]]:
        path = opencode.database_of(tmp_path, {}) / session
        position, seen = START, {}
        for until in moments:
            cut = {**rows, "message": [row for row in rows["message"] if row["time_created"] <= until]}
            put(cut, tmp_path)
            for one in opencode.read(path, position, closed=False):
                if one.complete:
                    seen[one.turn.turn_id] = one.turn
                    position = one.position
                else:
                    assert one.position.offset <= until
        for one in opencode.read(path, position, closed=True):
            seen[one.turn.turn_id] = one.turn
        mine = {key: turn for key, turn in whole.items() if turn.conversation == session}
        assert {key: turn.prompt for key, turn in seen.items()} == {key: turn.prompt for key, turn in mine.items()}
        assert {key: turn.native for key, turn in seen.items()} == {key: turn.native for key, turn in mine.items()}


# Broken rows


HOSTILE = [None, "", "{", "[]", "1", '{"a":1,"a":2}', '{"role":1}', "[" * 5000, '{"n":1e999}', "\x00", 7, b"\xff\xfe"]
FIELDS = ["id", "message_id", "session_id", "data", "time_created", "parent_id", "directory", "version", "cost"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("opencode")


@given(data=st.data())
def test_a_broken_row_costs_at_most_its_own_turn(data: st.DataObject, folder: Path) -> None:
    """Whatever one message or part holds, nothing is raised, and every other turn is as it was."""
    case = data.draw(st.sampled_from(CASES))
    rows = copy.deepcopy(rows_of(case))
    before = {one.turn.turn_id: one.turn for one in captured(put(rows, folder))}
    table = data.draw(st.sampled_from(["message", "part"]))
    row = data.draw(st.sampled_from(rows[table]))
    of = row["id"] if table == "message" else row["message_id"]
    row["data"] = data.draw(st.sampled_from(HOSTILE))
    found = {one.turn.turn_id: one.turn for one in captured(put(rows, folder))}
    for turn_id, turn in before.items():
        whose = {entry["info"]["id"] for path in turn.native for entry in turn.native[path]}
        if of not in whose and not _after(turn, of, rows):
            assert without_header(found[turn_id]) == without_header(turn)
    for turn in found.values():
        opencode.messages(turn.native)
        opencode.todos(turn.native)


def without_header(turn: Turn) -> Turn:
    """The session's own entry stands in the first turn, whichever that is."""
    main = tuple(entry for entry in turn.native["main.jsonl"] if "parts" in entry)
    return replace(turn, native={**turn.native, "main.jsonl": main})


def _after(turn: Turn, message: str, rows: Rows) -> bool:
    """Whether the message begins the turn after this one: without its words, what follows goes on with this one."""
    mine = [row["id"] for row in rows["message"] if row["session_id"] == turn.conversation]
    last = turn.native["main.jsonl"][-1]["info"]["id"]
    return message in mine and last in mine and mine.index(message) == mine.index(last) + 1


@given(data=st.data())
def test_hostile_rows_crash_nothing(data: st.DataObject, folder: Path) -> None:
    """Any value in any column of any rows, rows twice and rows gone: what is left is read, or passed over."""
    rows = copy.deepcopy(rows_of(data.draw(st.sampled_from(CASES))))
    for _ in range(data.draw(st.integers(1, 6))):
        table = data.draw(st.sampled_from(["session", "message", "part"]))
        if not rows[table]:
            continue
        number = data.draw(st.integers(0, len(rows[table]) - 1))
        change = data.draw(st.sampled_from(["value", "twice", "gone", "column"]))
        if change == "value":
            field = data.draw(st.sampled_from(FIELDS))
            rows[table][number][field] = data.draw(st.sampled_from([*HOSTILE, -1, 2**62, 1.5, "../x", "ses_1"]))
        elif change == "twice":
            rows[table].append(dict(rows[table][number]))
        elif change == "gone":
            del rows[table][number]
        else:
            rows[table][number]["new"] = "x"
    for one in opencode.transcripts(put(rows, folder), {}):
        try:
            for item in opencode.read(one.path, closed=True):
                usage_of(item.turn.requests[0]["usage"]) if item.turn.requests else None
            opencode.reported(one.path)
        except (StoreError, NotFound):
            pass


@pytest.mark.parametrize(
    ("tokens", "output"),
    [
        ({"input": 1, "output": 5, "reasoning": 3, "cache": {"read": 0, "write": 0}}, 8),
        ({"total": 9, "input": 1, "output": 5, "reasoning": 3, "cache": {"read": 0, "write": 0}}, 8),
        ({"total": 6, "input": 1, "output": 5, "reasoning": 3, "cache": {"read": 0, "write": 0}}, 5),
        ({"input": 1, "output": 5}, 5),
        ({"input": -4, "output": 5.0, "reasoning": None, "cache": []}, 5),
        ({"input": True, "output": 10**12}, 10**9),
    ],
)
def test_what_the_model_thought_is_counted_once(tokens: dict[str, Any], output: int) -> None:
    """Providers count it in the output or beside it; the total tells which."""
    usage = opencode._usage(tokens)
    assert usage is not None
    assert usage["output_tokens"] == output
    assert opencode._usage({"input": 0, "output": 0}) is None


@pytest.mark.parametrize("kind", ["gone", "text", "empty", "link", "pipe", "folder", "other tables"])
def test_what_is_no_database_of_it(kind: str, tmp_path: Path) -> None:
    """It has no history, and reading it says so in one line; a link is not followed, a pipe not waited for."""
    path = opencode.database_of(tmp_path, {})
    path.parent.mkdir(parents=True)
    if kind == "text":
        path.write_text("no database" * 1000)
    elif kind == "empty":
        path.touch()
    elif kind == "link":
        database(rows_of("edit"), tmp_path / "real.db")
        path.symlink_to(tmp_path / "real.db")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "other tables":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE x (y)")
        connection.close()
    assert list(opencode.transcripts(tmp_path, {})) == []
    for use in (lambda at: list(opencode.read(at, closed=True)), opencode.reported):
        with pytest.raises((NotFound, StoreError)) as raised:
            use(path / "ses_x")
        assert str(raised.value).count("\n") == 0


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """The database has the bytes that it had, and nothing is left beside it."""
    home = put(rows_of("edit"), tmp_path)
    path = opencode.database_of(home, {})
    before = path.read_bytes()
    captured(home)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["opencode.db"]
