"""The reader of Claude Code's transcripts, on transcripts that Claude Code wrote (tests/agents/make_claude.py)."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess import records, strictjson, usage
from gitsess.agents import claude
from gitsess.agents.captured import START, Captured, Position, turn_id_of
from gitsess.errors import NotFound, StoreError
from gitsess.model import TokenUsage
from gitsess.providers.standin.check import check

FIXTURES = Path(__file__).parent / "agents" / "claude"
OLDER, NEWER = "2.1.197", "2.1.330"
SESSION = "5e5510aa-0000-4000-8000-000000000001"
NOW = datetime(2100, 1, 1, tzinfo=UTC)
SCENARIOS = sorted(path.parent.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/*/served.json"))
TRANSCRIPTS = sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/*/*.jsonl"))
both = pytest.mark.parametrize("version", [OLDER, NEWER])
nothing_shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def read(path: Path, position: Position = START, *, closed: bool = True) -> list[Captured]:
    return list(claude.read(path, position, closed=closed))


def scenario(version: str, name: str) -> list[Captured]:
    return read(FIXTURES / version / name / f"{SESSION}.jsonl")


def usage_of(captured: Sequence[Captured]) -> TokenUsage:
    found = [usage.usage_of(request["usage"]) for one in captured for request in one.turn.requests]
    return sum(found, TokenUsage())


def copied(source: str, folder: Path) -> Path:
    """A transcript of the fixtures with its subagents, where it may be changed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree((FIXTURES / source).parent, folder)
    return folder / Path(source).name


def stored(position: Position) -> Position:
    """A position as it comes back from a file."""
    return Position(offset=position.offset, carry=json.loads(json.dumps(dict(position.carry))))


# --- what was served ------------------------------------------------------------------------------------------


def test_fixtures_of_both_versions_are_there() -> None:
    """Every scenario was played with both versions."""
    assert len(SCENARIOS) == 18
    assert {name.partition("/")[0] for name in SCENARIOS} == {OLDER, NEWER}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_request_that_was_served_is_in_one_turn(name: str) -> None:
    """Over all transcripts of a scenario, forks and subagents too, each request is there once, with what was served."""
    served = json.loads((FIXTURES / name / "served.json").read_text())
    found = [r for path in (FIXTURES / name).glob("*.jsonl") for one in read(path) for r in one.turn.requests]
    by_id = {request["id"]: request for request in found}
    assert len(by_id) == len(found)
    # Of an answer that was broken off there is a line or none, by chance.
    expected = [s for s in served if s["kind"] != "compaction" and (s["whole"] or s["id"] in by_id)]
    assert by_id.keys() == {said["id"] for said in expected}
    for said in expected:
        request = by_id[said["id"]]
        assert request["request_id"] == said["request_id"]
        assert request["model"] == said["model"]
        if said["whole"]:
            assert usage.usage_of(request["usage"]) == usage.usage_of(said["usage"])
            assert request["stop_reason"] == said["stop_reason"]
        else:
            # All that is known of an answer that was broken off is what its beginning said.
            assert request["usage"]["input_tokens"] == said["usage"]["input_tokens"]
            assert request["usage"]["output_tokens"] == 1


# In the others part of what was served was for several forks, or never came to its end.
COUNTED = [name for name in SCENARIOS if name.startswith(NEWER) and not name.endswith(("fork", "interrupted"))]


@pytest.mark.parametrize("name", COUNTED)
def test_what_the_agent_counted_is_read(name: str) -> None:
    """What the agent counted itself, with its compactions, equals what was served to its conversation."""
    path = FIXTURES / name / f"{SESSION}.jsonl"
    forks = {
        r["id"] for other in path.parent.glob("*.jsonl") if other != path for c in read(other) for r in c.turn.requests
    }
    served = [s for s in json.loads((path.parent / "served.json").read_text()) if s["id"] not in forks]
    reported = claude.reported(path)
    assert reported is not None
    assert (reported.cost_usd or 0) > 0
    assert sum(reported.usage.values(), TokenUsage()) == sum((usage.usage_of(s["usage"]) for s in served), TokenUsage())


def test_the_older_version_counted_nothing() -> None:
    """Where the agent wrote no count, None is read, and not 0."""
    assert claude.reported(FIXTURES / OLDER / "edit" / f"{SESSION}.jsonl") is None


def test_a_fork_goes_on_counting_from_its_parent() -> None:
    """The count of a fork has its parent's in it."""
    folder = FIXTURES / NEWER / "edit"
    parent = claude.reported(folder / f"{SESSION}.jsonl")
    (other,) = [path for path in folder.glob("*.jsonl") if path.stem != SESSION]
    fork = claude.reported(other)
    assert parent is not None
    assert fork is not None
    assert parent.cost_usd is not None
    assert fork.cost_usd is not None
    assert fork.cost_usd > parent.cost_usd
    assert (parent.inherited, fork.inherited) == (False, True)


# --- turns ----------------------------------------------------------------------------------------------------


@both
def test_a_conversation_is_its_turns(version: str) -> None:
    """Prompts, answers, ids, times, place and version of a conversation with tools, subagents and a compaction."""
    edit, agents, compaction, after = scenario(version, "edit")
    assert [c.turn.prompt for c in (edit, agents, compaction, after)] == [
        *("Greet me #edit", "Look around #agents", "/compact", "And then? #plain"),
    ]
    assert edit.turn.response == "hello.py is there, and committed."
    assert agents.turn.response == "Both have looked."
    for captured in (edit, agents, after):
        turn = captured.turn
        assert (turn.kind, turn.status, turn.model) == ("turn", "ok", "claude-opus-4-8")
        assert turn.agent == f"claude-code/{version}"
        assert (turn.conversation, turn.branch, captured.cwd) == (SESSION, "main", "/home/ann/project")
        prompt = turn.native["main.jsonl"][0]
        assert turn.turn_id == turn_id_of("claude-code", SESSION, prompt["promptId"])
        assert turn.started_at == datetime.fromisoformat(prompt["timestamp"])
        assert turn.ended_at > turn.started_at
        assert turn.duration_ms is not None
        assert turn.usage is None
        assert turn.cost_usd is None
        assert captured.complete


@both
def test_subagents_belong_to_the_turn_that_waited_for_them(version: str) -> None:
    """Requests of subagents, and of theirs, are in the turn, with their own model; their entries are in its native."""
    _, agents, _, after = scenario(version, "edit")
    models = Counter(request["model"] for request in agents.turn.requests)
    assert models["claude-opus-4-8"] == 6
    assert sum(models.values()) == 7
    assert sum("haiku" in model for model in models) == 1
    assert len([path for path in agents.turn.native if path.startswith("subagents/agent-")]) == 3
    assert set(after.turn.native) == {"main.jsonl"}


@both
def test_a_subagent_in_the_background_is_on_the_account_of_its_time(version: str) -> None:
    """What a subagent asked after the next prompt is in that turn, and its end begins no turn."""
    first, second = scenario(version, "background")
    assert (first.turn.prompt, second.turn.prompt) == ("Look later #background", "Meanwhile? #plain")
    assert len(first.turn.requests) == 3
    assert len(second.turn.requests) == 3
    assert (claude.waiting(first.turn.native), claude.waiting(second.turn.native)) == (True, False)
    (path,) = (path for path in first.turn.native if path != "main.jsonl")
    assert len(first.turn.native[path]) == len(second.turn.native[path]) == 2


@both
def test_a_compaction_is_a_turn_of_its_kind(version: str) -> None:
    """A compaction has the command as its prompt, the summary as its answer, and no request."""
    _, before, compaction, after = scenario(version, "edit")
    assert compaction.turn.kind == "compaction"
    assert compaction.turn.response.startswith("This session is being continued")
    assert compaction.turn.requests == ()
    assert before.turn.ended_at < compaction.turn.started_at <= compaction.turn.ended_at < after.turn.started_at
    assert claude.messages(compaction.turn.native) == [
        {"role": "user", "content": [{"type": "text", "text": compaction.turn.response}]}
    ]


@both
def test_a_compaction_that_a_turn_needed_is_inside_it(version: str) -> None:
    """A compaction in the middle of a turn, which nobody asked for, ends no turn, and its summary is no message."""
    begun, compacted, after = scenario(version, "auto")
    assert [c.turn.prompt for c in (begun, compacted, after)] == ["Begin #plain", "Greet me #edit", "And then? #plain"]
    assert {c.turn.kind for c in (begun, compacted, after)} == {"turn"}
    assert any(entry.get("isCompactSummary") for entry in compacted.turn.native["main.jsonl"])
    said = claude.messages(compacted.turn.native)
    assert [message["role"] for message in said] == ["user", "assistant", "user", "assistant"]
    assert said[0]["content"] == [{"type": "text", "text": "Greet me #edit"}]
    assert [block["type"] for block in said[2]["content"]] == ["tool_result"]
    assert after.turn.status == "ok"


@both
def test_what_is_asked_meanwhile_is_part_of_the_turn(version: str) -> None:
    """A prompt that came while the agent was at work is in the messages of the turn that it came into."""
    (captured,) = scenario(version, "queued")
    assert captured.turn.prompt == "Wait for it #slow"
    result, meanwhile = claude.messages(captured.turn.native)[2]["content"]
    assert result["type"] == "tool_result"
    assert meanwhile == {"type": "text", "text": "By the way #plain"}


@both
def test_no_turn_of_a_fork_is_there_twice(version: str) -> None:
    """The parent, its fork, and the fork's fork have their own turns each, with ids of their own."""
    folder = FIXTURES / version / "fork"
    found = {path.stem: read(path) for path in folder.glob("*.jsonl")}
    prompts = sorted([c.turn.prompt.removesuffix(" #plain") for c in captured] for captured in found.values())
    assert prompts == [["One", "Two, in the parent"], ["Three"], ["Two, in the fork"]]
    assert len({c.turn.turn_id for captured in found.values() for c in captured}) == 4
    for conversation, captured in found.items():
        assert {c.turn.conversation for c in captured} == {conversation}


@both
def test_lines_that_name_their_parent_are_passed_over(version: str, tmp_path: Path) -> None:
    """Lines with ``forkedFrom`` are a copy, and name the conversation that it was made of."""
    path = copied(f"{version}/fork/{SESSION}.jsonl", tmp_path / "x")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    second = next(n for n, e in enumerate(entries) if "Two" in str(e.get("message")))
    for entry in entries[:second]:
        if "uuid" in entry:
            entry["forkedFrom"] = {"sessionId": "the-parent", "messageUuid": entry["uuid"]}
    path.write_text("".join(f"{json.dumps(e)}\n" for e in entries))
    (captured,) = read(path)
    assert (captured.turn.prompt, captured.parent) == ("Two, in the parent #plain", "the-parent")


@both
def test_errors_and_interruptions_are_told_apart(version: str) -> None:
    """An error of the API is no request and its turn has the status error, the next one is well again."""
    at_once, late, well = scenario(version, "errors")
    assert [c.turn.status for c in (at_once, late, well)] == ["error", "error", "ok"]
    assert at_once.turn.response.startswith("API Error: 400")
    assert (at_once.turn.requests, at_once.turn.model) == ((), "")
    assert len(late.turn.requests) == 1
    interrupted, picture, texts = scenario(version, "interrupted")
    assert [c.turn.status for c in (interrupted, picture, texts)] == ["interrupted", "ok", "ok"]
    assert picture.turn.prompt == "What is on this? #plain"
    assert texts.turn.prompt == "First.\n\nSecond. #plain"
    content = claude.messages(picture.turn.native)[0]["content"]
    assert [block["type"] for block in content][:2] == ["text", "image"]


@both
def test_only_commands_that_a_model_answers_are_turns(version: str) -> None:
    """A command of the project is a turn, with what it stands for in its messages; the agent's own is none."""
    shout, skill = scenario(version, "commands")
    assert (shout.turn.prompt, skill.turn.prompt) == ("/shout now", "Use the skill #skill")
    asked = claude.messages(shout.turn.native)[0]["content"]
    assert asked == [{"type": "text", "text": "Shout now, as the project does. #shout\n"}]


@both
def test_todos_are_as_the_turn_left_them(version: str) -> None:
    """The list of the older tool, of the newer ones, and one that is changed in a later turn."""
    plan, again, later = (c.turn.native for c in scenario(version, "todos"))
    first = {"id": "1", "content": "Write tests", "status": "completed"}
    second = {"id": "2", "content": "Write docs", "status": "in_progress"}
    assert claude.todos(plan) == [first, second]
    assert claude.todos(again) == [first, {**second, "status": "pending"}]
    assert claude.todos(later, claude.todos(again)) == [first, second]
    assert claude.todos(later) == [{**second, "content": ""}]
    assert claude.todos({}, [first]) == [first]


# --- messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_messages_are_a_conversation(name: str) -> None:
    """The messages of a transcript's turns, put together, are what the API accepts."""
    said = [m for captured in read(FIXTURES / name) for m in claude.messages(captured.turn.native)]
    check(
        {"model": "claude-opus-4-8", "max_tokens": 10, "messages": [*said, {"role": "user", "content": "Go on"}]},
        models=None,
    )


@both
def test_an_answer_is_one_message_with_its_thinking_unchanged(version: str) -> None:
    """The blocks of an answer, which are a line each, are together again, and results follow their calls."""
    edit, agents, *_ = scenario(version, "edit")
    asked, answer, result, *_ = claude.messages(edit.turn.native)
    assert asked == {"role": "user", "content": [{"type": "text", "text": "Greet me #edit"}]}
    thought, told, called = answer["content"]
    assert thought["signature"] == "c2lnbmVkIGJ5IHRoZSBsb29wYmFjaw=="
    assert thought["thinking"] == "The greeting needs a file."
    assert (told["type"], called["type"]) == ("text", "tool_use")
    assert [block["tool_use_id"] for block in result["content"]] == [called["id"]]
    answer, results = claude.messages(agents.turn.native)[1:3]
    calls = [block["id"] for block in answer["content"] if block["type"] == "tool_use"]
    assert [block["tool_use_id"] for block in results["content"]] == calls
    assert len(calls) == 2


@both
def test_the_usage_of_an_answer_is_its_last(version: str, tmp_path: Path) -> None:
    """Where the lines of an answer differ, the usage counts that has all of it, not a beginning or an empty one."""
    path = copied(f"{version}/edit/{SESSION}.jsonl", tmp_path / "x")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    of_one = [n for n, e in enumerate(entries) if (e.get("message") or {}).get("id") == "msg_loopback_0001"]
    assert len(of_one) == 3
    for number, tokens in zip(of_one, (1, 41, 0), strict=True):
        entries[number]["message"]["usage"]["output_tokens"] = tokens
    path.write_text("".join(f"{json.dumps(e)}\n" for e in entries))
    assert usage_of(read(path)) == usage_of(scenario(version, "edit"))


def test_blocks_that_are_none_are_passed_over() -> None:
    """Ids, contents and inputs of wrong types in an answer end up in no message and no list."""
    no_ids: list[Any] = [[], {}, None]
    no_texts: list[Any] = ["", " ", None, []]
    blocks: list[Any] = [
        *({"type": "tool_use", "id": wrong, "name": "TodoWrite", "input": {"todos": [[]]}} for wrong in no_ids),
        {"type": "tool_use", "id": "t", "name": "TodoWrite", "input": {"todos": [[], {"content": 5}]}},
        *({"type": "text", "text": wrong} for wrong in no_texts),
        *("text", None),
    ]
    results = [{"type": "tool_result", "tool_use_id": wrong, "content": 5} for wrong in [*no_ids, "t"]]
    native: dict[str, list[dict[str, Any]]] = {
        "main.jsonl": [
            {"type": "assistant", "message": {"id": [], "model": "m", "usage": {}, "content": blocks}},
            {"type": "user", "message": {"content": results}},
            {"type": "attachment", "attachment": {"type": "queued_command", "prompt": 5}},
        ]
    }
    said = claude.messages(native)
    assert [len(message["content"]) for message in said] == [1, 1]
    assert said[1]["content"] == [{"type": "tool_result", "tool_use_id": "t", "content": ""}]
    assert claude.todos(native) == [{"id": "1", "content": "", "status": "pending"}]


@both
def test_a_call_without_a_result_gets_one(version: str) -> None:
    """A call that was broken off has a result that says so."""
    native = scenario(version, "edit")[0].turn.native
    entries = [entry for entry in native["main.jsonl"] if "toolUseResult" not in entry]
    said = claude.messages({"main.jsonl": entries})
    assert said[2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_loopback_write",
            "content": "no result is on record",
            "is_error": True,
        }
    ]


def test_the_agents_own_snapshots_are_left_out() -> None:
    """Prompts, tools and requests of the agent are not kept, what the conversation needs is."""
    kept = {
        (entry["type"], str(entry.get("attachment", {}).get("type")))
        for name in TRANSCRIPTS
        for captured in read(FIXTURES / name)
        for entries in captured.turn.native.values()
        for entry in entries
    }
    assert {kind for kind, _ in kept} <= {"user", "assistant", "system", "attachment"}
    assert not {what for _, what in kept} & {"prompt_snapshot", "skill_listing", "deferred_tools_delta"}


# --- reading on -----------------------------------------------------------------------------------------------


@given(data=st.data())
@nothing_shared
def test_reading_in_pieces_gives_the_same_turns(data: st.DataObject, tmp_path: Path) -> None:
    """However a transcript grows between two reads, in the middle of a line too, the turns are those of one read."""
    name = data.draw(st.sampled_from(TRANSCRIPTS))
    path = copied(name, tmp_path / "x")
    whole = path.read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    found: list[Captured] = []
    position = START
    for cut in cuts:
        path.write_bytes(whole[:cut])
        for captured in claude.read(path, position, closed=False):
            if captured.complete:
                found.append(captured)
            position = stored(captured.position)
            assert position.offset <= cut
    path.write_bytes(whole)
    found += read(path, position)
    assert [c.turn for c in found] == [c.turn for c in read(FIXTURES / name)]


@both
def test_the_last_turn_is_complete_when_its_end_is_known(version: str) -> None:
    """A turn that nothing has ended is not complete, and is read again from its beginning."""
    path = FIXTURES / version / "edit" / f"{SESSION}.jsonl"
    *before, last = read(path, closed=False)
    assert all(c.complete for c in before)
    assert not last.complete
    assert last.position == before[-1].position
    (again,) = read(path, last.position)
    assert again.complete
    assert again.turn == last.turn
    assert again.position.offset == path.stat().st_size
    assert read(path, stored(again.position)) == []


@both
def test_only_new_lines_are_read(version: str, tmp_path: Path) -> None:
    """What stands before a position is not looked at again."""
    path = copied(f"{version}/edit/{SESSION}.jsonl", tmp_path / "x")
    position = read(path)[1].position
    data = path.read_bytes()
    # All but the bytes that the file is known by.
    path.write_bytes(b"#" * (position.offset - 300) + data[position.offset - 300 :])
    assert [c.turn.prompt for c in read(path, position)] == ["/compact", "And then? #plain"]


@both
def test_what_follows_a_turn_that_was_closed_is_not_lost(version: str, tmp_path: Path) -> None:
    """Wherever a conversation is taken for ended, every request of the rest is in some turn, and no turn id twice."""
    path = copied(f"{version}/background/{SESSION}.jsonl", tmp_path / "x")
    lines = path.read_bytes().splitlines(keepends=True)
    wanted = {r["id"] for c in read(path) for r in c.turn.requests}
    for cut in range(len(lines) + 1):
        path.write_bytes(b"".join(lines[:cut]))
        first = read(path)
        path.write_bytes(b"".join(lines))
        rest = read(path, stored(first[-1].position) if first else START)
        requests = [r["id"] for c in [*first, *rest] for r in c.turn.requests]
        assert len(requests) == len(set(requests))
        assert set(requests) == wanted
        ids = [c.turn.turn_id for c in [*first, *rest]]
        assert len(ids) == len(set(ids))


@both
def test_what_subagents_write_late_is_in_the_next_turn(version: str, tmp_path: Path) -> None:
    """Lines of a subagent that were not there when their turn was read are in the turn that comes next."""
    path = copied(f"{version}/background/{SESSION}.jsonl", tmp_path / "x")
    whole = read(path)
    (agent,) = (path.with_suffix("") / "subagents").glob("*.jsonl")
    data = agent.read_bytes()
    agent.write_bytes(b"")
    first = read(path)[0]
    agent.write_bytes(data)
    assert len(first.turn.requests) == 2
    assert usage_of([first, *read(path, first.position)]) == usage_of(whole)


@both
def test_a_file_that_is_another_one_is_read_from_its_beginning(version: str, tmp_path: Path) -> None:
    """A transcript that was cut, or written anew, shorter or longer, is read as a new one."""
    path = copied(f"{version}/edit/{SESSION}.jsonl", tmp_path / "x")
    position = read(path)[-1].position
    other = (FIXTURES / version / "commands" / f"{SESSION}.jsonl").read_bytes()
    for data in (other, other * 3, path.read_bytes()[: position.offset // 2]):
        path.write_bytes(data)
        assert [c.turn.turn_id for c in read(path, position)] == [c.turn.turn_id for c in read(path)]
        assert read(path, position) != []


@both
def test_half_a_line_is_left_for_later(version: str, tmp_path: Path) -> None:
    """A last line that is still being written does not count yet, even where the conversation is closed."""
    path = copied(f"{version}/fork/{SESSION}.jsonl", tmp_path / "x")
    whole = path.read_bytes()
    at = whole.index(b"msg_loopback_0003")
    path.write_bytes(whole[:at])
    first, second = read(path)
    assert (second.turn.prompt, second.turn.status) == ("Two, in the parent #plain", "interrupted")
    assert second.turn.requests == ()
    path.write_bytes(whole)
    (rest,) = read(path, stored(second.position))
    assert [r["id"] for r in rest.turn.requests] == ["msg_loopback_0003"]
    assert rest.turn.turn_id not in (first.turn.turn_id, second.turn.turn_id)


# --- hostile files --------------------------------------------------------------------------------------------

JUNK = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b'{"type":"user"}',
    b'{"type":"user","message":5}',
    b'{"type":"user","message":{"role":"user","content":""}}',
    b'{"type":"user","message":{"role":"user","content":{"a":1}},"isMeta":true}',
    b'{"type":"assistant","message":[]}',
    b'{"type":["user"],"message":{"content":"x"}}',
    b'{"type":"attachment","attachment":{"type":["file"]}}',
    b'{"type":"a-type-of-tomorrow","message":{"content":"x"}}',
    b'{"type":"queue-operation","timestamp":"9999-12-31T23:59:59+23:59"}',
    b'{"type":"cost-state","totalCostUSD":1e999}',
    b'{"a":1,"a":2}',
    b'{"a":NaN}',
    b"[" * 5000 + b"]" * 5000,
    b'{"n":' + b"9" * 5000 + b"}",
)


@given(data=st.data())
@nothing_shared
def test_junk_between_the_lines_costs_no_turn(data: st.DataObject, tmp_path: Path) -> None:
    """Lines that are no JSON, hostile, of wrong types or of unknown kinds change no turn."""
    name = data.draw(st.sampled_from(TRANSCRIPTS))
    path = copied(name, tmp_path / "x")
    lines = path.read_bytes().splitlines()
    for junk in data.draw(st.lists(st.sampled_from(JUNK), min_size=1, max_size=8)):
        lines.insert(data.draw(st.integers(1, len(lines))), junk)
    path.write_bytes(b"\n".join(lines) + b"\n")

    def known(found: Sequence[Captured]) -> list[Any]:
        return [(c.turn.turn_id, c.turn.prompt, c.turn.response, c.turn.status, c.turn.requests) for c in found]

    assert known(read(path)) == known(read(FIXTURES / name))


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_what_a_line_says_does_not_hang_on_the_order_of_its_keys(name: str, tmp_path: Path) -> None:
    """Lines that name their type last are all parsed, and come to the same turns as where most are not."""
    path = copied(name, tmp_path / "x")
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    for entry in entries:
        entry["type"] = entry.pop("type")
    assert not any(claude._UNREAD.match(json.dumps(entry).encode()) for entry in entries)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for found, wanted in zip(read(path), read(FIXTURES / name), strict=True):
        assert (found.turn, found.cwd, found.parent) == (wanted.turn, wanted.cwd, wanted.parent)
        assert found.position.carry["seen"] == wanted.position.carry["seen"]


@given(data=st.data())
@nothing_shared
def test_lines_that_are_repeated_count_once(data: st.DataObject, tmp_path: Path) -> None:
    """A line that comes again, at once or much later, adds no turn and no token."""
    name = data.draw(st.sampled_from(TRANSCRIPTS))
    path = copied(name, tmp_path / "x")
    lines = path.read_bytes().splitlines()
    begins = next(n for n, line in enumerate(lines) if b'"type":"user"' in line)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(begins, len(lines) - 1))
        if b"compact" not in lines[at]:
            lines.insert(data.draw(st.integers(at + 1, len(lines))), lines[at])
    path.write_bytes(b"\n".join(lines) + b"\n")
    found, wanted = read(path), read(FIXTURES / name)
    assert [c.turn.turn_id for c in found] == [c.turn.turn_id for c in wanted]
    assert usage_of(found) == usage_of(wanted)
    assert [c.turn.prompt for c in found] == [c.turn.prompt for c in wanted]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*where, key)
        yield from _places(item, (*where, key))


@given(data=st.data())
@settings(nothing_shared, max_examples=150)
def test_nothing_that_is_wrong_crashes_anything(data: st.DataObject, tmp_path: Path) -> None:
    """Whatever is deleted, exchanged, cut or replaced, in subagents too: turns come out that can be kept."""
    path = copied(data.draw(st.sampled_from(TRANSCRIPTS)), tmp_path / "x")
    for file in (path, *sorted((path.parent / path.stem).glob("subagents/*.jsonl"))):
        lines = file.read_bytes().splitlines()
        for _ in range(data.draw(st.integers(0, 6))):
            at, other = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
            match data.draw(st.sampled_from(("replace", "replace", "delete", "exchange", "cut"))):
                case "delete":
                    lines[at] = b"{}"
                case "exchange":
                    lines[at], lines[other] = lines[other], lines[at]
                case "cut":
                    lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
                case "replace":
                    lines[at] = _replaced(lines[at], data)
        file.write_bytes(b"\n".join(lines) + b"\n")
    found = read(path)
    ids = [c.turn.turn_id for c in found]
    assert len(ids) == len(set(ids))
    for captured in found:
        native = captured.turn.native
        strictjson.dumps(claude.messages(native))
        records.parse({"prompt": "x", "messages": claude.messages(native)}, now=NOW)
        claude.todos(native)
        claude.waiting(native)
        spooled = json.loads(json.dumps(records.dump(captured.turn)))
        records.parse(spooled, now=NOW, spooled=True)
        json.dumps(dict(captured.position.carry))
    claude.reported(path)


def _replaced(line: bytes, data: st.DataObject) -> bytes:
    """``line`` with something else in one place."""
    try:
        value = copy.deepcopy(json.loads(line))
    except ValueError:
        return line
    places = list(_places(value))
    if not places:
        return line
    # What the reader looks at is drawn as often as all the rest.
    looked_at = [p for p in places if p[-1] in _LOOKED_AT] or places
    *way, last = data.draw(st.sampled_from(looked_at) | st.sampled_from(places))
    holder = value
    for key in way:
        holder = holder[key]
    holder[last] = data.draw(values)
    return json.dumps(value).encode()


_LOOKED_AT = frozenset(
    "type subtype message content model id usage cache_creation input_tokens output_tokens timestamp uuid promptId"
    " sessionId text tool_use_id input todos task taskId status toolUseResult attachment origin compactMetadata"
    " requestId stop_reason version cwd gitBranch ephemeral_1h_input_tokens name modelUsage totalCostUSD".split()
)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    """A transcript, a folder or a subagent that is a link or a pipe is not read."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    projects = home / ".claude" / "projects"
    projects.mkdir(parents=True)
    shutil.copytree(FIXTURES / NEWER / "edit", outside)
    (projects / "linked").symlink_to(outside)
    folder = projects / "-home-ann-project"
    folder.mkdir()
    (folder / "linked.jsonl").symlink_to(outside / f"{SESSION}.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    (folder / f"{SESSION}.jsonl").write_bytes((outside / f"{SESSION}.jsonl").read_bytes())
    (folder / SESSION).symlink_to(outside / SESSION)
    (found,) = claude.transcripts(home, {})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "projects").symlink_to(projects)
    assert list(claude.transcripts(home, {"CLAUDE_CONFIG_DIR": str(elsewhere)})) == []
    assert found.path == folder / f"{SESSION}.jsonl"
    assert all(set(captured.turn.native) == {"main.jsonl"} for captured in read(found.path))
    for name, error in (("linked.jsonl", StoreError), ("pipe.jsonl", StoreError), ("gone.jsonl", NotFound)):
        with pytest.raises(error):
            read(folder / name)


def test_the_history_is_where_the_configuration_is(tmp_path: Path) -> None:
    """The conversations below ~/.claude, or below what CLAUDE_CONFIG_DIR names, with their folder."""
    for place in (tmp_path / "home" / ".claude", tmp_path / "elsewhere"):
        (place / "projects").mkdir(parents=True)
        shutil.copytree(FIXTURES / OLDER / "fork", place / "projects" / "-home-ann-project")
    environments: list[Mapping[str, str]] = [{}, {"CLAUDE_CONFIG_DIR": str(tmp_path / "elsewhere")}]
    for environment in environments:
        found = list(claude.transcripts(tmp_path / "home", environment))
        assert len(found) == 3
        assert [f.path for f in found] == sorted(f.path for f in found)
        assert {f.project for f in found} == {"/home/ann/project"}
        assert all(f.path.is_relative_to(tmp_path / ("elsewhere" if environment else "home")) for f in found)
    assert list(claude.transcripts(tmp_path / "nobody", {})) == []


def test_what_is_remembered_stays_small(tmp_path: Path) -> None:
    """What a position carries does not grow with the conversation."""
    lines = (FIXTURES / OLDER / "fork" / f"{SESSION}.jsonl").read_text().splitlines()
    pair = [line for line in lines if '"type":"user"' in line or '"type":"assistant"' in line][:2]
    path = tmp_path / "long.jsonl"
    unique = random.Random(1)
    with path.open("w") as stream:
        for _ in range(2_000):
            number = f"{unique.getrandbits(64):016x}"
            for line in pair:
                entry = json.loads(line)
                entry["uuid"] = f"{entry['type']}-{number}"
                entry["promptId"] = number
                if entry["type"] == "assistant":
                    entry["message"]["id"] = f"msg_{number}"
                stream.write(json.dumps(entry) + "\n")
    found = read(path)
    assert len(found) == 2_000
    assert max(len(json.dumps(dict(c.position.carry))) for c in found) < 16_000
