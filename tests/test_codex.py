"""Codex's rollouts are read as they are: the fixtures were written by the program (tests/agents/make_codex.py)."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsess import agents
from gitsess.agents import codex
from gitsess.agents.captured import START, Captured, Position, turn_id_of
from gitsess.errors import NotFound, StoreError
from gitsess.model import TokenUsage
from gitsess.turns import Turn
from gitsess.usage import usage_of
from tests.agents.damage import assert_paired, assert_readable, made_hostile, with_noise

FIXTURES = Path(__file__).parent / "agents" / "codex"
CASES = sorted(path.name for path in FIXTURES.iterdir())
ROLLOUTS = sorted(FIXTURES.glob("*/rollout-*.jsonl"))
NOW = datetime(2100, 1, 1, tzinfo=UTC)
fuzzed = settings(max_examples=60, deadline=None)


def rollouts(case: str) -> list[Path]:
    return sorted((FIXTURES / case).glob("rollout-*.jsonl"))


def captured(case: str) -> list[Captured]:
    return [found for path in rollouts(case) for found in codex.read(path, closed=True)]


def runs(case: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FIXTURES / case / "served.json").read_text())["runs"]
    return found


def used(found: Sequence[Turn]) -> TokenUsage:
    total = TokenUsage()
    for turn in found:
        for request in turn.requests:
            total += usage_of(request.get("usage", {}))
    return total


def served(asked: Sequence[dict[str, Any]]) -> TokenUsage:
    total = TokenUsage()
    for run in asked:
        for response in run["served"]:
            usage, detail = response["usage"], response["usage"]["input_tokens_details"]
            cached, written = detail["cached_tokens"], detail["cache_write_tokens"]
            total += TokenUsage(
                input_tokens=usage["input_tokens"] - cached - written,
                output_tokens=usage["output_tokens"],
                cache_read_tokens=cached,
                cache_write_tokens=written,
            )
    return total


def only(case: str, prompt: str) -> Captured:
    (found,) = (one for one in captured(case) if one.turn.prompt == prompt)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_turn_has_the_tokens_that_were_served_for_it(case: str) -> None:
    """Each prompt is one turn, with exactly the requests that the service answered to the end."""
    found = {(one.turn.conversation, one.turn.prompt): one.turn for one in captured(case)}
    assert len(found) == len(captured(case)) == len(runs(case))
    for run in runs(case):
        turn = found[run["thread"], run["prompt"]]
        assert used([turn]) == served([run]), run["prompt"]
        assert len(turn.requests) == len(run["served"])
        assert {request["model"] for request in turn.requests} <= {"gpt-5-codex"}


@pytest.mark.parametrize("path", ROLLOUTS, ids=lambda path: f"{path.parent.name}-{path.stem[-4:]}")
def test_the_rollouts_own_total_is_the_sum_of_its_requests(path: Path) -> None:
    """What Codex says of a thread, less what it inherited, is what the turns of the thread come to."""
    found = [one.turn for one in codex.read(path, closed=True)]
    own = [replace(turn, requests=tuple(r for r in turn.requests if "subagent" not in r)) for turn in found]
    if found:
        reported = codex.reported(path)
        assert (0 if reported is None else reported.tokens) == used(own).total_tokens


def test_statuses_and_answers() -> None:
    """What the program says of a turn's end is its status, and its last words are the response."""
    ends = {
        (case, one.turn.prompt): (one.turn.status, one.turn.response)
        for case in ("edit", "refused", "interrupted", "retried", "compacted")
        for one in captured(case)
    }
    assert ends == {
        ("edit", "make a file"): ("ok", "Done."),
        ("edit", "again"): ("ok", "Again."),
        ("edit", "the other way"): ("ok", "Forked."),
        ("refused", "be refused"): ("error", ""),
        ("interrupted", "be interrupted"): ("interrupted", ""),
        ("interrupted", "go on"): ("ok", "Went on."),
        ("retried", "be cut off"): ("ok", "Second try."),
        ("compacted", "work long"): ("ok", "After it."),
    }
    assert only("earlier", "be refused").turn.status == "error"


def test_where_and_by_whom() -> None:
    """A turn knows its folder, its branch, its program and its parent."""
    for one in captured("edit"):
        assert one.cwd == "/home/ann/project"
        assert one.turn.branch == "main"
        assert one.turn.agent == "codex/0.169.0"
        assert one.turn.model == "gpt-5-codex"
        assert one.turn.started_at <= one.turn.ended_at
        assert one.complete
    first, fork = runs("edit")[0]["thread"], runs("edit")[2]["thread"]
    assert {one.turn.conversation: one.parent for one in captured("edit")} == {first: None, fork: first}


def test_the_prompt_id_is_the_turn_id() -> None:
    """The turn id follows from the thread and Codex's own id of the turn."""
    (path, _) = rollouts("edit")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    begun = [line["payload"]["turn_id"] for line in lines if line["payload"].get("type") == "task_started"]
    thread = lines[0]["payload"]["id"]
    found = [one.turn.turn_id for one in codex.read(path, closed=True)]
    assert found == [turn_id_of("codex", thread, turn) for turn in begun]


def test_migrating_a_rollout_keeps_its_turn_ids() -> None:
    """The n-th prompt is the n-th, before and after ``codex migrate-rollouts`` rewrote the file."""
    earlier, migrated = captured("earlier"), captured("migrated")
    assert [one.turn.turn_id for one in earlier] == [one.turn.turn_id for one in migrated]
    assert [one.turn.requests for one in earlier] == [one.turn.requests for one in migrated]
    thread = runs("earlier")[0]["thread"]
    assert earlier[0].turn.turn_id == turn_id_of("codex", thread, "#1")


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_there_twice(case: str) -> None:
    """Forks and resumptions repeat no turn, request or entry."""
    found = [one.turn for one in captured(case)]
    assert len({turn.turn_id for turn in found}) == len(found)
    ids = [request["id"] for turn in found for request in turn.requests if "id" in request]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("case", CASES)
def test_the_programs_own_instructions_are_not_kept(case: str) -> None:
    """System and developer instructions, the environment and what the program says as the user are in no entry."""
    for one in captured(case):
        for entry in one.turn.native["main.jsonl"]:
            assert entry["type"] not in ("world_state",)
            assert entry["payload"].get("role") != "developer"
            text = json.dumps(entry)
            assert "<environment_context>" not in text
            assert "base_instructions" not in text


def test_a_subagent_belongs_to_the_turn_that_started_it() -> None:
    """Its entries and requests are in that turn and in no other, and its own rollout has no turns."""
    parent, child = rollouts("subagent")
    assert list(codex.read(child, closed=True)) == []
    name = child.stem[-36:]
    first, second = codex.read(parent, closed=True)
    assert set(first.turn.native) == {"main.jsonl", f"subagents/agent-{name}.jsonl"}
    assert [request["id"] for request in first.turn.requests if request.get("subagent") == name] == ["resp_0003"]
    assert set(second.turn.native) == {"main.jsonl"}
    assert not [request for request in second.turn.requests if "subagent" in request]


def test_what_a_subagent_does_later_belongs_to_the_later_turn(tmp_path: Path) -> None:
    """A subagent's turn that began after the end of one belongs to the next one."""
    parent, child = (tmp_path / path.name for path in rollouts("subagent"))
    parent.write_bytes(rollouts("subagent")[0].read_bytes())
    before = list(codex.read(parent, closed=True))
    later = before[1].turn.started_at.isoformat()
    text = rollouts("subagent")[1].read_text()
    child.write_text(re.sub(r'^{"timestamp":"[^"]*"', f'{{"timestamp":"{later}"', text, flags=re.M))
    first, second = codex.read(parent, closed=True)
    assert not [request for request in first.turn.requests if "subagent" in request]
    assert [request["id"] for request in second.turn.requests if "subagent" in request] == ["resp_0003"]


def test_a_copy_that_does_not_say_so_is_one(tmp_path: Path) -> None:
    """Where another thread's header follows the first one, what follows is that thread's, to the first own turn."""
    path = tmp_path / rollouts("earlier")[1].name
    text = rollouts("earlier")[1].read_text()
    path.write_text(re.sub(r'"forked_from_id":"[^"]*",', "", text))
    assert path.read_text() != text
    (found,) = codex.read(path, closed=True)
    assert (found.turn.prompt, found.parent) == ("the other way", runs("earlier")[0]["thread"])


def test_messages() -> None:
    """Calls and results are paired, arguments decoded, reasoning is left out."""
    found = codex.messages(only("edit", "make a file").turn.native)
    assert [message["role"] for message in found] == ["user", "assistant"] * 3
    assert found[0]["content"] == [{"type": "text", "text": "make a file"}]
    said, ran = found[1]["content"]
    assert said == {"type": "text", "text": "Creating the file."}
    assert ran == {
        "type": "tool_use",
        "id": "call_0001_2",
        "name": "exec_command",
        "input": {"cmd": "printf hi > a.txt"},
    }
    (result,) = found[2]["content"]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", "call_0001_2")
    assert "exited with code 0" in result["content"]
    assert found[5]["content"] == [{"type": "text", "text": "Done."}]
    patch = [
        block for message in codex.messages(only("earlier", "make a file").turn.native) for block in message["content"]
    ]
    assert [block["input"] for block in patch if block.get("name") == "apply_patch"] == [
        {"input": "*** Begin Patch\n*** Add File: b.txt\n+x\n*** End Patch\n"}
    ]


def test_messages_leave_out_what_compacting_came_to() -> None:
    """The summary is no answer to anybody."""
    found = codex.messages(only("compacted", "work long").turn.native)
    assert "summary" not in json.dumps(found)
    assert found[-1]["content"] == [{"type": "text", "text": "After it."}]


def test_the_plan() -> None:
    """The plan is what update_plan said last, and None where a turn did not touch it."""
    for case in ("edit", "earlier", "migrated"):
        assert codex.todos(only(case, "make a file").turn.native) == [
            {"content": "Write", "status": "completed"},
            {"content": "Test", "status": "in_progress"},
        ]
        assert codex.todos(only(case, "again").turn.native, [{"content": "kept", "status": "pending"}]) == [
            {"content": "kept", "status": "pending"}
        ]


def test_what_was_added_while_the_model_worked_belongs_to_the_prompt(tmp_path: Path) -> None:
    """A second message within a turn makes no other turn."""
    lines = rollouts("refused")[0].read_text().splitlines()
    said = next(n for n, line in enumerate(lines) if '"UserMessage"' in line)
    more = lines[said].replace("be refused", "or not").replace('"ordinal":', '"ordinal":9')
    path = tmp_path / "rollout.jsonl"
    path.write_text("\n".join([*lines[: said + 1], more, *lines[said + 1 :]]) + "\n")
    (found,) = codex.read(path, closed=True)
    assert found.turn.prompt == "be refused\n\nor not"


def test_compacting_by_itself_is_a_turn(tmp_path: Path) -> None:
    """Where the user said nothing but to compact, that is the prompt."""
    lines = rollouts("compacted")[0].read_text().splitlines()
    path = tmp_path / "rollout.jsonl"
    kept = [line for line in lines if '"compacted"' in line or not re.search("user.text|UserMessage", line)]
    path.write_text("".join(f"{line}\n" for line in kept))
    (found,) = codex.read(path, closed=True)
    assert found.turn.prompt == "/compact"


def test_a_turn_in_the_making(tmp_path: Path) -> None:
    """Without its end a turn is not complete, and is read again from its beginning; closed, it is complete."""
    lines = rollouts("edit")[0].read_text().splitlines(keepends=True)
    end = next(n for n, line in enumerate(lines) if '"task_complete"' in line)
    path = tmp_path / "rollout.jsonl"
    path.write_text("".join(lines[:end]) + lines[end][:40])
    (found,) = codex.read(path, closed=False)
    assert not found.complete
    assert found.position == START
    (found,) = codex.read(path, closed=True)
    assert found.complete
    assert found.turn.status == "ok"
    path.write_text("".join(lines))
    whole = list(codex.read(path, closed=False))
    assert [one.turn.turn_id for one in codex.read(path, found.position, closed=False)] == [whole[1].turn.turn_id]


def test_a_file_that_got_shorter_is_another_one(tmp_path: Path) -> None:
    """What is known of the longer file is not taken for the shorter one."""
    path = tmp_path / "rollout.jsonl"
    path.write_bytes(rollouts("edit")[0].read_bytes())
    last = list(codex.read(path, closed=True))[-1].position
    path.write_bytes(rollouts("interrupted")[0].read_bytes())
    assert path.stat().st_size < last.offset
    assert list(codex.read(path, last, closed=True)) == list(codex.read(path, closed=True))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A rollout that is gone, and a link, are errors of ours."""
    with pytest.raises(NotFound):
        list(codex.read(tmp_path / "none", closed=True))
    (tmp_path / "link").symlink_to(rollouts("edit")[0])
    with pytest.raises(StoreError):
        list(codex.read(tmp_path / "link", closed=True))


def test_the_history_on_disk(tmp_path: Path) -> None:
    """Rollouts are found below $CODEX_HOME or ~/.codex, archived ones too, but no subagents and no links."""
    day = tmp_path / ".codex" / "sessions" / "2026" / "11" / "23"
    day.mkdir(parents=True)
    archive = tmp_path / ".codex" / "archived_sessions"
    archive.mkdir()
    for path in rollouts("subagent"):
        (day / path.name).write_bytes(path.read_bytes())
    (refused,) = rollouts("refused")
    (archive / refused.name).write_bytes(refused.read_bytes())
    (day / "rollout-link.jsonl").symlink_to(refused)
    os.mkfifo(day / "rollout-pipe.jsonl")
    (day / "rollout-empty.jsonl").write_text("")
    os.utime(day / rollouts("subagent")[0].name, (100, 100))
    found = list(codex.transcripts(tmp_path, {}))
    assert [(one.path, one.project) for one in found] == [
        (day / rollouts("subagent")[0].name, "/home/ann/project"),
        (day / "rollout-empty.jsonl", None),
        (archive / refused.name, "/home/ann/project"),
    ]
    assert found[0].modified == 100
    assert list(codex.transcripts(tmp_path / "other", {"CODEX_HOME": str(tmp_path / ".codex")})) == found
    assert list(codex.transcripts(tmp_path / "other", {})) == []


def copy_of(case: str, folder: str) -> list[Path]:
    found = []
    for path in rollouts(case):
        found.append(Path(folder, path.name))
        found[-1].write_bytes(path.read_bytes())
    return found


@fuzzed
@given(st.sampled_from(CASES), st.data())
def test_reading_in_pieces_is_reading_at_once(case: str, data: st.DataObject) -> None:
    """Wherever a rollout ended when it was read, and whoever kept the position, the complete turns are the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(st.sampled_from(copy_of(case, folder)))
        whole, raw = list(codex.read(path, closed=True)), path.read_bytes()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
        position, found = START, []
        for cut in [*cuts, len(raw)]:
            path.write_bytes(raw[:cut])
            for one in codex.read(path, position, closed=cut == len(raw)):
                if one.complete:
                    found.append(one)
                    kept = json.loads(json.dumps({"offset": one.position.offset, "carry": dict(one.position.carry)}))
                    position = Position(offset=kept["offset"], carry=kept["carry"])
                else:
                    assert one.position.offset <= cut
        assert [(one.turn, one.cwd, one.parent) for one in found] == [(w.turn, w.cwd, w.parent) for w in whole]
        assert list(codex.read(path, position, closed=True)) == []


def summary(path: Path) -> list[tuple[Any, ...]]:
    return [
        (one.turn.turn_id, one.turn.prompt, one.turn.response, used([one.turn]))
        for one in codex.read(path, closed=True)
    ]


NOISE = st.sampled_from(
    [
        b"",
        b"no json",
        b"[]",
        b'{"type": "event_msg"}',
        b'{"type": "event_msg", "payload": []}',
        b'{"type": "later_than_us", "payload": {"type": "message", "role": "user", "content": "x"}}',
        b'{"type": "response_item", "payload": {"type": "later_than_us", "role": "user"}}',
        b'{"type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": 1}}}',
        b'{"type": "token_usage_record", "payload": {"usage": {"input_tokens": -5, "output_tokens": 1e300}}}',
        b'{"type": "token_usage_record", "payload": {"usage": null, "response_id": 7}}',
        b'{"type": "session_meta", "payload": {"id": 5, "git": 7}}',
        b'{"timestamp": 1e400, "type": null, "payload": null}',
        b'{"a": 1, "a": 2}',
        b'{"type": "event_msg", "payload": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"type": NaN}',
        b"\xff\xfe",
        b'"' + b"x" * 10000,
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
def test_no_rollout_is_too_hostile(case: str, data: st.DataObject) -> None:
    """Whatever a line's values are, in whatever order lines stand, reading ends, and its turns can be recorded."""
    with tempfile.TemporaryDirectory() as folder:
        path = data.draw(st.sampled_from(copy_of(case, folder)))
        path.write_text(made_hostile(data, path.read_bytes()))
        assert_readable(agents.reader("codex"), path, NOW)
        list(codex.transcripts(Path(folder), {"CODEX_HOME": folder}))


@pytest.mark.parametrize("case", CASES)
def test_messages_are_paired(case: str) -> None:
    """Every turn's messages are such as the Messages API takes."""
    for one in captured(case):
        found = codex.messages(one.turn.native)
        assert found
        assert_paired(found)
