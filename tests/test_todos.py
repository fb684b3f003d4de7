"""The lists that agents kept, from the commits."""

from __future__ import annotations

from typing import Any

from gitsess import todos
from tests.conftest import Repo
from tests.test_events import OTHER as BESIDE
from tests.test_events import TALK, Captures, Talk, captures

__all__ = ["captures"]


def call(talk: Talk, name: str, result: Any, **given: Any) -> None:
    """Writes a call of a tool, and what came of it."""
    talk.answer("")
    talk.count += 1
    number = f"{talk.conversation[-4:]}_{talk.count}"
    usage = {"input_tokens": 1, "output_tokens": 1}
    block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}
    message = {"id": f"msg_{number}", "role": "assistant", "model": "claude-sonnet-4-5", "content": [block]}
    talk.line("assistant", message={**message, "usage": usage, "stop_reason": "tool_use"})
    talk.count += 1
    answer = {"type": "tool_result", "tool_use_id": block["id"], "content": "Done."}
    talk.line("user", message={"role": "user", "content": [answer]}, toolUseResult=result)


def create(talk: Talk, number: int, subject: str) -> None:
    task = {"id": str(number), "subject": subject}
    call(talk, "TaskCreate", {"task": task}, subject=subject, description="")


def listed(repo: Repo, name: str) -> list[tuple[str | None, list[tuple[str, str]], int]]:
    history = repo.workspace().history
    found = todos.lists(history.contents(history.one(name).counted()))
    return [
        (one.conversation, [(item["content"], item["status"]) for item in one.todos], one.turn.facts.seq)
        for one in found
    ]


def test_two_conversations_in_one_session_have_a_list_each(captures: Captures) -> None:
    """Both number their items from one, and neither takes the other's for its own."""
    one, two = captures.talk(), captures.talk(BESIDE)
    two.at = one.at
    one.prompt("Plan")
    create(one, 1, "Write the parser")
    create(one, 2, "Write its tests")
    captures.turn(one, "Anything else?", "No.")
    two.at = one.at
    two.prompt("Plan as well")
    create(two, 1, "Look at the docs")
    captures.turn(two, "And?", "No.")
    one.at = two.at
    one.prompt("Do it")
    call(one, "TaskUpdate", {"success": True}, taskId="1", status="completed")
    captures.turn(one, "Done?", "Yes.")
    history = captures.repo.workspace().history
    assert [item.facts.conversation for item in history.one("claude-main").counted()] == [TALK] * 2 + [BESIDE] * 2 + [
        TALK
    ] * 2
    assert listed(captures.repo, "claude-main") == [
        (BESIDE, [("Look at the docs", "pending")], 3),
        (TALK, [("Write the parser", "completed"), ("Write its tests", "pending")], 5),
    ]
    out = captures.repo.ai("resume", "claude-main", "--as-prompt").out
    assert "Still to be done:\n- Write its tests\n- Look at the docs\n\n" in out


def test_an_item_that_is_known_by_its_number_alone(captures: Captures) -> None:
    """A fork changes what its parent's turns named: there is nothing to say of it."""
    talk = captures.talk()
    talk.prompt("Go on")
    call(talk, "TaskUpdate", {"success": True}, taskId="7", status="in_progress")
    captures.turn(talk, "Done?", "Yes.")
    assert listed(captures.repo, "claude-main") == []
    assert "Still to be done" not in captures.repo.ai("resume", "claude-main", "--as-prompt").out
