"""Gemini CLI's chats are read as they are: the fixtures were written by the program (tests/agents/make_gemini.py)."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsess import agents
from gitsess.agents import gemini
from gitsess.agents.captured import START, Captured, Position, turn_id_of
from gitsess.errors import NotFound, StoreError
from gitsess.model import TokenUsage
from gitsess.turns import Turn
from gitsess.usage import usage_of
from tests.agents.damage import assert_readable, made_hostile, with_noise

FIXTURES = Path(__file__).parent / "agents" / "gemini"
CASES = sorted(path.name for path in FIXTURES.iterdir())
NOW = datetime(2100, 1, 1, tzinfo=UTC)
fuzzed = settings(max_examples=60, deadline=None)


def chats(home: Path) -> list[Path]:
    return [found.path for found in gemini.transcripts(home, {})]


def captured(case: str) -> list[Captured]:
    return [found for path in chats(FIXTURES / case) for found in gemini.read(path, closed=True)]


def runs(case: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FIXTURES / case / "served.json").read_text())["runs"]
    return found


def used(found: Sequence[Turn]) -> TokenUsage:
    total = TokenUsage()
    for turn in found:
        for request in turn.requests:
            total += usage_of(request["usage"])
    return total


def served(run: dict[str, Any]) -> TokenUsage:
    total = TokenUsage()
    for response in run["served"]:
        usage = response["usage"]
        prompt, cached = usage["promptTokenCount"], usage["cachedContentTokenCount"]
        one = TokenUsage(
            input_tokens=prompt - cached + usage["toolUsePromptTokenCount"],
            output_tokens=usage["candidatesTokenCount"] + usage["thoughtsTokenCount"],
            cache_read_tokens=cached,
        )
        assert one.total_tokens == usage["totalTokenCount"]
        total += one
    return total


def only(case: str, prompt: str) -> Captured:
    (found,) = (one for one in captured(case) if one.turn.prompt == prompt)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_turn_has_the_tokens_that_were_served_for_it(case: str) -> None:
    """Each prompt is one turn, with exactly the requests that the service answered to the end, subagents' too."""
    found = {one.turn.prompt: one.turn for one in captured(case)}
    assert list(found) == [run["prompt"] for run in runs(case)]
    for run in runs(case):
        turn = found[run["prompt"]]
        assert used([turn]) == served(run), run["prompt"]
        assert len(turn.requests) == len(run["served"])
        assert {request["model"] for request in turn.requests} <= {"gemini-2.5-pro"}


def test_statuses_and_answers() -> None:
    """The last words are the response; without them a turn was refused, or interrupted at its work."""
    ends = {one.turn.prompt: (one.turn.status, one.turn.response) for case in CASES for one in captured(case)}
    assert ends == {
        "make a file": ("ok", "Done."),
        "again": ("ok", "Again."),
        "list the files": ("ok", "Listed."),
        "and later?": ("ok", "Later."),
        "be refused": ("error", ""),
        "be interrupted": ("interrupted", ""),
        "delegate": ("ok", "It was found."),
        "and now?": ("ok", "Nothing more."),
    }


def test_where_and_by_whom() -> None:
    """A turn knows its folder and its program; its id follows from the session and the message."""
    (path,) = chats(FIXTURES / "edit")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    asked = [line["id"] for line in lines if line.get("type") == "user" and "text" in line["content"][0]]
    found = captured("edit")
    assert [one.turn.turn_id for one in found] == [turn_id_of("gemini", lines[0]["sessionId"], key) for key in asked]
    for one in found:
        assert (one.cwd, one.turn.agent, one.turn.model) == ("/home/ann/project", "gemini", "gemini-2.5-pro")
        assert one.turn.started_at <= one.turn.ended_at
        assert one.complete


def test_a_history_is_read_where_a_file_begins_with_it(tmp_path: Path) -> None:
    """A chat of which only what a resumption remembered is left has the same turns, and no more are made of a
    history that follows its own turns."""
    (path,) = chats(FIXTURES / "edit")
    before = list(gemini.read(path, closed=True))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    history = next(n for n, line in enumerate(lines) if len(line.get("$set", {}).get("messages", ())) > 1)
    chat = tmp_path / "session-x.jsonl"
    chat.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines[:2], *lines[history:]]))
    after = list(gemini.read(chat, closed=True))
    assert [one.turn.turn_id for one in after] == [one.turn.turn_id for one in before]
    assert [one.turn.prompt for one in after] == ["make a file", "again"]
    assert after[1].turn.requests == before[1].turn.requests


def test_the_programs_own_context_is_not_kept() -> None:
    """The session's context is no prompt, and stands in no entry."""
    for case in CASES:
        for one in captured(case):
            assert "<session_context>" not in json.dumps(one.turn.native)


def test_a_subagent_belongs_to_the_turn_that_started_it() -> None:
    """Its messages and requests are in that turn and in no other, and its own chat has no turns."""
    first, second = captured("subagent")
    (child,) = (FIXTURES / "subagent").rglob("chats/*/*.jsonl")
    assert set(first.turn.native) == {"main.jsonl", f"subagents/agent-{child.stem}.jsonl"}
    assert [request.get("subagent") for request in first.turn.requests] == [None, None, child.stem, child.stem]
    assert set(second.turn.native) == {"main.jsonl"}
    assert list(gemini.read(child, closed=True)) == []


def test_what_began_later_belongs_to_the_later_turn(tmp_path: Path) -> None:
    """A subagent that began during the second turn is not the first one's."""
    shutil.copytree(FIXTURES / "subagent", tmp_path / "ann")
    (child,) = (tmp_path / "ann").rglob("chats/*/*.jsonl")
    later = captured("subagent")[1].turn.started_at.isoformat()
    child.write_text(re.sub(r'"startTime":"[^"]*"', f'"startTime":"{later}"', child.read_text()))
    first, second = (one.turn for path in chats(tmp_path / "ann") for one in gemini.read(path, closed=True))
    assert not [request for request in first.requests if "subagent" in request]
    assert len([request for request in second.requests if "subagent" in request]) == 2


def test_a_late_state_of_a_message_is_no_second_request(tmp_path: Path) -> None:
    """What is written again after the next prompt is not counted there."""
    (path,) = chats(FIXTURES / "edit")
    lines = path.read_text().splitlines()
    answer = next(line for line in lines if '"Done."' in line)
    chat = tmp_path / path.name
    chat.write_text("".join(f"{line}\n" for line in [*lines, answer]))
    before = list(gemini.read(path, closed=True))
    after = list(gemini.read(chat, closed=True))
    assert [one.turn.requests for one in after] == [one.turn.requests for one in before]


def test_messages() -> None:
    """Calls and results are paired, thoughts are left out."""
    found = gemini.messages(only("edit", "make a file").turn.native)
    assert [message["role"] for message in found] == ["user", "assistant"] * 3
    assert found[0]["content"] == [{"type": "text", "text": "make a file"}]
    said, wrote = found[1]["content"]
    assert said == {"type": "text", "text": "Creating the file."}
    assert (wrote["name"], wrote["input"]["content"]) == ("write_file", "print(1)\n")
    (result,) = found[2]["content"]
    assert result["tool_use_id"] == wrote["id"]
    assert result["content"].startswith("Successfully created")
    assert [block["name"] for block in found[3]["content"]] == ["write_todos", "run_shell_command"]
    assert found[5]["content"] == [{"type": "text", "text": "Done."}]


def test_the_list() -> None:
    """The list is what write_todos said last, and None where a turn did not touch it."""
    assert gemini.todos(only("edit", "make a file").turn.native) == [
        {"content": "Write", "status": "completed"},
        {"content": "Test", "status": "in_progress"},
    ]
    before = [{"content": "kept", "status": "pending"}]
    assert gemini.todos(only("edit", "again").turn.native, before) == before


def test_a_turn_in_the_making(tmp_path: Path) -> None:
    """The last turn is not complete, and is read again from its beginning; closed, it is complete."""
    (path,) = chats(FIXTURES / "refused")
    chat = tmp_path / "session-x.jsonl"
    chat.write_bytes(path.read_bytes() + b'{"id": "half')
    (found,) = gemini.read(chat, closed=False)
    assert not found.complete
    assert found.position == START
    (found,) = gemini.read(chat, closed=True)
    assert found.complete
    assert list(gemini.read(chat, found.position, closed=True)) == []


def test_a_file_that_got_shorter_is_another_one(tmp_path: Path) -> None:
    """What is known of the longer file is not taken for the shorter one."""
    chat = tmp_path / "session-x.jsonl"
    chat.write_bytes(chats(FIXTURES / "edit")[0].read_bytes())
    last = list(gemini.read(chat, closed=True))[-1].position
    chat.write_bytes(chats(FIXTURES / "refused")[0].read_bytes())
    assert chat.stat().st_size < last.offset
    assert list(gemini.read(chat, last, closed=True)) == list(gemini.read(chat, closed=True))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A chat that is gone, and a link, are errors of ours."""
    with pytest.raises(NotFound):
        list(gemini.read(tmp_path / "none", closed=True))
    (tmp_path / "link").symlink_to(chats(FIXTURES / "edit")[0])
    with pytest.raises(StoreError):
        list(gemini.read(tmp_path / "link", closed=True))


def test_the_history_on_disk(tmp_path: Path) -> None:
    """Chats are found below ~/.gemini, or $GEMINI_CLI_HOME's, without subagents, links, and other files."""
    shutil.copytree(FIXTURES / "subagent", tmp_path / "ann")
    folder = next((tmp_path / "ann").rglob("chats"))
    (path,) = (file for file in folder.iterdir() if file.suffix == ".jsonl")
    (folder / "session-link.jsonl").symlink_to(path)
    os.mkfifo(folder / "session-pipe.jsonl")
    (folder / "notes.txt").write_text("x")
    (tmp_path / "ann" / ".gemini" / "tmp" / "link").symlink_to(folder.parent)
    os.utime(path, (100, 100))
    (found,) = gemini.transcripts(tmp_path / "ann", {})
    assert (found.path, found.project, found.modified) == (path, "/home/ann/project", 100)
    assert list(gemini.transcripts(tmp_path, {"GEMINI_CLI_HOME": str(tmp_path / "ann")})) == [found]
    assert list(gemini.transcripts(tmp_path, {})) == []


def copy_of(case: str, folder: str) -> list[Path]:
    shutil.copytree(FIXTURES / case, folder, dirs_exist_ok=True)
    return chats(Path(folder))


@fuzzed
@given(st.sampled_from(CASES), st.booleans(), st.data())
def test_reading_in_pieces_is_reading_at_once(case: str, remembered: bool, data: st.DataObject) -> None:
    """Wherever a chat ended when it was read, and whoever kept the position, the complete turns are the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(st.sampled_from(copy_of(case, folder)))
        raw = path.read_bytes()
        if remembered:
            # A file that begins with the history of several turns.
            found = [json.loads(line) for line in raw.splitlines()]
            said = [line for line in found if "type" in line]
            history = json.dumps({"$set": {"messages": said}}).encode()
            raw = b"\n".join([*raw.split(b"\n")[:1], history, *raw.split(b"\n")[-3:]])
            raw = raw.replace(b'"id":"', b'"id":"n') if not said else raw
            path.write_bytes(raw)
        whole = list(gemini.read(path, closed=True))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
        position, complete = START, []
        for cut in [*cuts, len(raw)]:
            path.write_bytes(raw[:cut])
            for one in gemini.read(path, position, closed=cut == len(raw)):
                if one.complete:
                    complete.append(one)
                    kept = json.loads(json.dumps({"offset": one.position.offset, "carry": dict(one.position.carry)}))
                    position = Position(offset=kept["offset"], carry=kept["carry"])
                else:
                    assert one.position.offset <= cut
        assert [(one.turn, one.cwd) for one in complete] == [(one.turn, one.cwd) for one in whole]
        assert list(gemini.read(path, position, closed=True)) == []


def summary(path: Path) -> list[tuple[Any, ...]]:
    return [
        (one.turn.turn_id, one.turn.prompt, one.turn.response, used([one.turn]))
        for one in gemini.read(path, closed=True)
    ]


NOISE = st.sampled_from(
    [
        b"",
        b"no json",
        b"[]",
        b'{"type": "gemini"}',
        b'{"type": "gemini", "id": 5, "tokens": {"input": 5}}',
        b'{"type": "later_than_us", "id": "x", "tokens": {"input": 5}}',
        b'{"type": "user", "id": "x y", "content": "x"}',
        b'{"$set": 5}',
        b'{"$set": {"messages": 5}}',
        b'{"$set": {"sessionId": 5}}',
        b'{"$rewindTo": "x"}',
        b'{"a": 1, "a": 2}',
        b'{"type": "user", "content": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"type": NaN}',
        b"\xff\xfe",
    ]
)


@fuzzed
@given(st.sampled_from(CASES), st.data())
def test_lines_that_are_none_cost_no_turn(case: str, data: st.DataObject) -> None:
    """Unknown, broken and hostile lines between the others, and lines that stand there twice, change no turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(st.sampled_from(copy_of(case, folder)))
        before = summary(path)
        path.write_bytes(with_noise(data, path.read_bytes(), NOISE))
        assert summary(path) == before


@fuzzed
@given(st.sampled_from(CASES), st.data())
def test_no_chat_is_too_hostile(case: str, data: st.DataObject) -> None:
    """Whatever a line's values are, in whatever order lines stand, reading ends, and its turns can be recorded."""
    with tempfile.TemporaryDirectory() as folder:
        copy_of(case, folder)
        for path in Path(folder).rglob("*.jsonl"):
            path.write_text(made_hostile(data, path.read_bytes()))
        for path in chats(Path(folder)):
            assert_readable(agents.reader("gemini"), path, NOW)
