"""Stands in for ``claude``, ``codex`` and ``gemini`` as ``run --via`` starts them: it goes on with the conversation
that it is told of, writes its transcript as the real one does, and answers with its name and the number of the turn.

    python stand_in.py NAME FILE WORD...    FILE: what it was given, an object a line
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def main(name: str, seen: str, words: list[str]) -> None:
    prompt = sys.stdin.read()
    with open(seen, "a") as stream:
        stream.write(json.dumps({"agent": name, "prompt": prompt}) + "\n")
    {"claude": claude, "codex": codex, "gemini": gemini}[name](prompt, words)


def given(words: list[str], *options: str) -> str | None:
    return next((words[words.index(option) + 1] for option in options if option in words), None)


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def append(path: Path, *lines: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)


def turns(path: Path, kind: str) -> int:
    """The number of the turn that is asked for."""
    return path.read_text().count(f'"type": "{kind}"') + 1 if path.exists() else 1


def say(*events: dict[str, Any]) -> None:
    for event in events:
        print(json.dumps(event), flush=True)


def claude(prompt: str, words: list[str]) -> None:
    session = given(words, "--resume", "--session-id")
    folder = Path.home() / ".claude/projects" / os.getcwd().replace("/", "-")
    path = folder / f"{session}.jsonl"
    text = f"claude answers {turns(path, 'user')}"
    common = {"sessionId": session, "cwd": os.getcwd(), "version": "2.1.330", "isSidechain": False, "gitBranch": "main"}
    asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
    usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    content = [{"type": "text", "text": text}]
    message = {"id": f"msg_{answered}", "role": "assistant", "model": "claude-opus-4-5", "content": content}
    user = {"type": "user", "uuid": asked, "parentUuid": None, "promptId": asked, "timestamp": now()}
    answer = {"type": "assistant", "uuid": answered, "parentUuid": asked, "timestamp": now()}
    append(
        path,
        {**common, **user, "message": {"role": "user", "content": prompt}},
        {**common, **answer, "message": {**message, "usage": usage, "stop_reason": "end_turn"}},
    )
    say(
        {"type": "system", "subtype": "init", "session_id": session},
        {"type": "assistant", "session_id": session, "message": message},
        {"type": "result", "session_id": session, "result": text, "usage": usage, "is_error": False},
    )


def codex(prompt: str, words: list[str]) -> None:
    thread = given(words, "resume")
    home = Path.home() / ".codex/sessions/2026/01/02"
    new = thread is None
    thread = thread or "019b7c00-0000-7000-8000-000000000001"
    path = home / f"rollout-2026-01-02T03-04-05-{thread}.jsonl"
    number = turns(path, "task_started")
    text, turn = f"codex answers {number}", f"019b7c00-0001-7000-8000-{number:012d}"

    def line(kind: str, **payload: Any) -> dict[str, Any]:
        return {"timestamp": now(), "type": kind, "payload": payload}

    if new:
        meta = {"id": thread, "timestamp": "2026-01-02T03:04:05.000Z", "cwd": os.getcwd(), "cli_version": "0.150.0"}
        append(path, line("session_meta", **meta))
    used = {"input_tokens": 3, "cached_input_tokens": 0, "output_tokens": 2, "total_tokens": 5}
    total = {key: count * number for key, count in used.items()}
    append(
        path,
        line("event_msg", type="task_started", turn_id=turn),
        line("turn_context", turn_id=turn, cwd=os.getcwd(), model="gpt-5-codex"),
        line("response_item", type="message", role="user", content=[{"type": "input_text", "text": prompt}]),
        line("event_msg", type="user_message", message=prompt),
        line("response_item", type="message", role="assistant", content=[{"type": "output_text", "text": text}]),
        line("event_msg", type="token_count", info={"total_token_usage": total, "last_token_usage": used}),
        line("event_msg", type="task_complete", turn_id=turn, last_agent_message=text),
    )
    say(
        {"type": "thread.started", "thread_id": thread},
        {"type": "item.completed", "item": {"type": "agent_message", "text": text}},
        {"type": "turn.completed"},
    )


def gemini(prompt: str, words: list[str]) -> None:
    session = given(words, "--resume", "--session-id") or ""
    project = Path.home() / ".gemini/tmp/project"
    path = project / "chats" / f"session-2026-01-02T03-04-{session[:8]}.jsonl"
    text = f"gemini answers {turns(path, 'user')}"
    if not path.exists():
        append(path, {"sessionId": session, "projectHash": "0", "startTime": now(), "kind": "main"})
        (project / ".project_root").write_text(os.getcwd())
    tokens = {"input": 3, "output": 2, "cached": 0, "thoughts": 0, "tool": 0, "total": 5}
    said = {"content": text, "model": "gemini-2.5-pro", "tokens": tokens}
    append(
        path,
        {"id": str(uuid.uuid4()), "timestamp": now(), "type": "user", "content": [{"text": prompt}]},
        {"id": str(uuid.uuid4()), "timestamp": now(), "type": "gemini", **said},
    )
    say(
        {"type": "init", "session_id": session, "model": "gemini-2.5-pro"},
        {"type": "message", "role": "assistant", "content": text},
        {"type": "result", "status": "success", "stats": {"input": 3, "cached": 0, "output_tokens": 2}},
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
