"""Capture of Codex, Gemini CLI and opencode: what each writes down, a line or a row at a time, and what it tells its
hook, in the ledger."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
import tomllib
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitsess.agents.captured import turn_id_of
from tests.agents.make_gemini import FIXTURES as CHATS
from tests.agents.make_opencode import FIXTURES as DATABASES
from tests.agents.make_opencode import database
from tests.conftest import Repo
from tests.test_events import Captures, moved


class Agent(ABC):
    """An agent in a repository, with a clock that goes a step a line; a request uses ``tokens`` and one more."""

    name: str
    step = timedelta(seconds=1)

    def __init__(self, captures: Captures, *, number: int = 1, at: datetime | None = None) -> None:
        self.captures, self.number = captures, number
        self.at = at or datetime.now(UTC) - timedelta(hours=1)
        self.count = 0
        self.environment: dict[str, str] = {}
        self.begin()

    def tick(self) -> str:
        self.at += self.step
        self.count += 1
        return self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def milliseconds(self) -> int:
        return round(self.at.timestamp() * 1000)

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def prompt(self, text: str) -> str:
        """Writes a prompt; its turn id."""

    @abstractmethod
    def answer(self, text: str, *, tokens: int = 10) -> None: ...

    @abstractmethod
    def tell(self, said: str) -> None:
        """Runs the hook: the turn has ended."""

    def turn(self, prompt: str, *answers: str, tokens: int = 10) -> str:
        found = self.prompt(prompt)
        for text in answers:
            self.answer(text, tokens=tokens)
        self.tell(answers[-1])
        return found

    def run(self, words: list[str], given: str = "", *, cwd: Path = Path("/")) -> None:
        done = subprocess.run(
            words,
            input=given.encode(),
            env={**os.environ, **self.environment},
            cwd=cwd,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


class Codex(Agent):
    """A rollout below CODEX_HOME."""

    name = "codex"
    key = asked = ""

    def begin(self) -> None:
        self.home = self.captures.home / "codex home"
        self.environment["CODEX_HOME"] = str(self.home)
        self.thread = self.uuid(self.number)
        folder = self.home / "sessions" / f"{self.at:%Y/%m/%d}"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"rollout-{self.at:%Y-%m-%dT%H-%M-%S}-{self.thread}.jsonl"
        git = {"branch": "main"}
        self.line("session_meta", id=self.thread, cwd=str(self.captures.repo.path), cli_version="0.169.0", git=git)

    def uuid(self, number: int) -> str:
        text = f"{self.milliseconds:012x}"
        return f"{text[:8]}-{text[8:]}-7000-8000-{number:012x}"

    def line(self, kind: str, **payload: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"timestamp": self.tick(), "type": kind, "payload": payload}) + "\n")

    def prompt(self, text: str) -> str:
        self.key, self.asked = self.uuid(1000 + self.count), text
        self.line("event_msg", type="task_started", turn_id=self.key)
        self.line("turn_context", turn_id=self.key, cwd=str(self.captures.repo.path), model="gpt-5-codex")
        self.line("response_item", type="message", role="user", content=[{"type": "input_text", "text": text}])
        self.line("event_msg", type="user_message", message=text)
        return turn_id_of("codex", self.thread, self.key)

    def answer(self, text: str, *, tokens: int = 10) -> None:
        usage = {"input_tokens": tokens, "cached_input_tokens": 0, "output_tokens": 1, "total_tokens": tokens + 1}
        content = [{"type": "output_text", "text": text}]
        self.line("response_item", type="message", role="assistant", content=content)
        response = f"resp_{self.number}_{self.count}"
        self.line("token_usage_record", thread_id=self.thread, turn_id=self.key, response_id=response, usage=usage)

    def tell(self, said: str) -> None:
        self.line("event_msg", type="task_complete", turn_id=self.key, last_agent_message=said)
        event = {
            "type": "agent-turn-complete",
            "thread-id": self.thread,
            "turn-id": self.key,
            "cwd": str(self.captures.repo.path),
            "input-messages": [self.asked],
            "last-assistant-message": said,
        }
        self.run([str(self.captures.script), "codex", json.dumps(event)])


class Gemini(Agent):
    """A chat, whose answers are told together."""

    name = "gemini"

    def begin(self) -> None:
        self.session = f"00000000-0000-4000-8000-{self.number:012x}"
        self.path = self.captures.home / f".gemini/tmp/project/chats/session-2026-01-01T00-00-{self.number:08x}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        (self.path.parent.parent / ".project_root").write_text(str(self.captures.repo.path))
        self.said: list[str] = []
        self.line(sessionId=self.session, startTime=self.tick(), kind="main")

    def line(self, **value: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(value) + "\n")

    def hook(self, name: str, **more: str) -> None:
        body = {
            "session_id": self.session,
            "transcript_path": str(self.path),
            "cwd": str(self.captures.repo.path),
            "hook_event_name": name,
            **more,
        }
        self.run([str(self.captures.script), "gemini"], json.dumps(body))

    def prompt(self, text: str) -> str:
        when, self.said = self.tick(), []
        key = f"{self.number}-{self.count}"
        self.line(id=key, timestamp=when, type="user", content=[{"text": text}])
        self.hook("BeforeAgent", prompt=text)
        return turn_id_of("gemini", self.session, key)

    def answer(self, text: str, *, tokens: int = 10) -> None:
        when = self.tick()
        used = {"input": tokens, "output": 1, "cached": 0, "thoughts": 0, "tool": 0, "total": tokens + 1}
        key = f"{self.number}-{self.count}"
        self.line(id=key, timestamp=when, type="gemini", content=text, tokens=used, model="gemini-2.5-pro")
        self.said.append(text)

    def tell(self, said: str) -> None:
        self.hook("AfterAgent", prompt="…", prompt_response="\n".join(self.said))


class Opencode(Agent):
    """A session in the database."""

    name = "opencode"

    def begin(self) -> None:
        self.path = self.captures.home / ".local/share/opencode/opencode.db"
        self.session = f"ses_{self.number:026d}"
        if not self.path.exists():
            rows = json.loads((DATABASES / "edit/rows.json").read_text())
            database(rows, self.path)
            for table in rows:
                self.query(f"DELETE FROM {table}")
        self.put(
            "session",
            id=self.session,
            directory=str(self.captures.repo.path),
            version="1.18.33",
            time_created=self.milliseconds,
            time_updated=self.milliseconds,
        )

    def query(self, text: str, *values: Any) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(text, values)
        connection.close()

    def put(self, table: str, **row: Any) -> None:
        marks = ", ".join("?" * len(row))
        self.query(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    def message(self, role: str, *parts: dict[str, Any], **info: Any) -> str:
        self.tick()
        key = f"msg_{self.number}{self.count:020d}"
        data = {"role": role, "time": {"created": self.milliseconds, "completed": self.milliseconds}, **info}
        place = {"session_id": self.session, "time_created": self.milliseconds, "time_updated": self.milliseconds}
        self.put("message", id=key, data=json.dumps(data), **place)
        for number, part in enumerate(parts):
            name = f"prt_{self.number}{self.count:020d}{number}"
            self.put("part", id=name, message_id=key, data=json.dumps(part), **place)
        return key

    def prompt(self, text: str) -> str:
        return turn_id_of("opencode", self.session, self.message("user", {"type": "text", "text": text}))

    def answer(self, text: str, *, tokens: int = 10) -> None:
        cache = {"read": 0, "write": 0}
        used = {"input": tokens, "output": 1, "reasoning": 0, "total": tokens + 1, "cache": cache}
        step = {"type": "step-finish", "tokens": used}
        self.message("assistant", {"type": "text", "text": text}, step, modelID="claude-sonnet-4-5")

    def tell(self, said: str) -> None:
        event = {
            "hook_event_name": "session.idle",
            "session_id": self.session,
            "transcript_path": str(self.path / self.session),
            "cwd": str(self.captures.repo.path),
        }
        self.run([str(self.captures.script), "opencode", json.dumps(event)])


AGENTS: tuple[type[Agent], ...] = (Codex, Gemini, Opencode)
each = pytest.mark.parametrize("kind", AGENTS, ids=lambda kind: kind.name)
# A turn of Codex is over where it says so; those of others may grow.
open_ended = pytest.mark.parametrize("kind", [Gemini, Opencode], ids=lambda kind: kind.name)


@pytest.fixture
def captures(repo: Repo, sealed: dict[str, str]) -> Captures:
    return Captures(repo, Path(sealed["HOME"]))


@each
def test_a_conversation_is_captured_turn_by_turn(kind: type[Agent], captures: Captures) -> None:
    """Each turn lands once, when it has ended, with its id and its tokens; telling of it again changes nothing."""
    agent = kind(captures)
    name = f"{agent.name}-main"
    ids = []
    for number in range(3):
        ids.append(agent.turn(f"Prompt {number}", "Looking.", "Found it."))
        captures.drain()
        assert captures.prompts(name) == [f"Prompt {one}" for one in range(number + 1)]
    agent.tell("Found it.")
    captures.drain()
    turns = captures.repo.session(name).commits
    assert [item.facts.turn_id for item in turns] == ids
    assert {item.facts.worktree for item in turns} == {"."}
    assert len({item.facts.conversation for item in turns}) == 1
    assert captures.repo.git("show", f"{turns[2].oid}:response.md") == "Found it."
    assert captures.sums(name) == (3, 66)
    captures.repo.fsck()


@each
def test_without_what_is_remembered_nothing_is_doubled(kind: type[Agent], captures: Captures) -> None:
    """The files are gone between turns: every turn is where it was, once."""
    agent = kind(captures)
    for number in range(2):
        agent.turn(f"Prompt {number}", "Yes.")
        captures.drain()
        assert len(captures.memories()) == 1
        shutil.rmtree(captures.state / "agents")
    agent.turn("Prompt 2", "Yes.")
    captures.drain()
    assert captures.prompts(f"{agent.name}-main") == [f"Prompt {number}" for number in range(3)]
    assert captures.sums(f"{agent.name}-main") == (3, 33)


@open_ended
def test_a_turn_that_grew_after_its_end_is_corrected(kind: type[Agent], captures: Captures) -> None:
    """One turn and one correction, with what it came to in the end."""
    agent = kind(captures)
    agent.turn("Look", "Looking.")
    captures.drain()
    agent.answer("Found it.", tokens=100)
    agent.tell("Found it.")
    captures.drain()
    agent.turn("Next", "Yes.")
    captures.drain()
    name = f"{agent.name}-main"
    kinds = [item.facts.kind for item in captures.repo.session(name).commits]
    assert kinds == ["turn", "correction", "turn"]
    assert captures.sums(name) == (2, 123)


@each
def test_events_that_are_drained_together(kind: type[Agent], captures: Captures) -> None:
    """Each turn goes where its own event says, however late it is drained."""
    agent = kind(captures)
    for prompt, environment in (
        ("Secret", {"USE_SESSIONS": "false"}),
        ("Planned", {"AI_SESSION": "plan-x"}),
        ("Plain", {}),
    ):
        agent.environment = {**agent.environment, "AI_SESSION": "", "USE_SESSIONS": "", **environment}
        # Where its event does not name a turn, the time tells.
        agent.step, agent.at = timedelta(microseconds=1), datetime.now(UTC)
        agent.turn(prompt, "Yes.")
        time.sleep(0.05)
    captures.drain()
    assert captures.prompts("plan-x") == ["Planned"]
    assert captures.prompts(f"{agent.name}-main") == ["Plain"]
    assert len(captures.repo.refs()) == 2


def test_an_answer_of_gemini_that_is_written_down_after_the_event(captures: Captures) -> None:
    """The event has all that was said, the turn the last of it: the drain waits a moment for that."""
    agent = Gemini(captures)
    agent.prompt("Look")
    agent.answer("Looking.")
    agent.said.append("Found it.")
    agent.tell("Found it.")
    late = threading.Timer(0.3, agent.answer, args=["Found it."])
    late.start()
    captures.drain()
    late.join()
    (turn,) = captures.repo.session("gemini-main").commits
    assert captures.repo.git("show", f"{turn.oid}:response.md") == "Found it."
    assert captures.sums("gemini-main") == (1, 22)


def test_all_at_once_in_one_worktree(captures: Captures) -> None:
    """Each agent has its session, two conversations of one share it; all in one session stand in the order of time."""
    start = datetime.now(UTC) - timedelta(hours=1)
    captures.repo.ai("use", "plan", "all")
    agents = [
        kind(captures, number=number + 2 * place, at=start + timedelta(milliseconds=100 * (number + 2 * place)))
        for place, kind in enumerate(AGENTS)
        for number in (1, 2)
    ]
    for number in range(2):
        at = start + timedelta(minutes=number + 1)
        for place, agent in enumerate(agents):
            agent.at = at + timedelta(milliseconds=100 * place)
            agent.turn(f"{agent.name} {agent.number} {number}", "Yes.")
        agents.sort(key=lambda agent: agent.at)
        if number == 0:
            captures.drain()
            captures.repo.ai("use", "--none")
    captures.drain()
    for name in ("plan-all", *(f"{kind.name}-main" for kind in AGENTS)):
        number = 0 if name == "plan-all" else 1
        some = [agent for agent in agents if name in ("plan-all", f"{agent.name}-main")]
        assert captures.prompts(name) == [f"{agent.name} {agent.number} {number}" for agent in some]


@each
def test_a_branch_that_was_switched_since(kind: type[Agent], captures: Captures) -> None:
    """A turn is on the branch that it ended on, whatever its agent says, and is checked out once it is drained."""
    agent = kind(captures)
    captures.repo.git("reflog", "expire", "--expire=all", "HEAD")
    moved(captures.repo, agent.at - timedelta(minutes=1), "commit", "--allow-empty", "-qm", "Long ago")
    agent.turn("One", "Yes.")
    agent.at += timedelta(minutes=1)
    moved(captures.repo, agent.at, "switch", "-qc", "topic")
    agent.turn("Two", "Yes.")
    captures.drain()
    assert captures.prompts(f"{agent.name}-main") == ["One"]
    assert captures.prompts(f"{agent.name}-topic") == ["Two"]


def test_a_fork_of_codex_that_begins_with_a_copy(captures: Captures) -> None:
    """What it repeats of its parent is not captured again."""
    parent = Codex(captures)
    parent.turn("One", "Yes.")
    captures.drain()
    fork = Codex(captures, number=2, at=parent.at + timedelta(minutes=1))
    with fork.path.open("a") as file:
        for line in parent.path.read_text().splitlines():
            # It is written at once.
            file.write(json.dumps({**json.loads(line), "timestamp": fork.at.isoformat()}) + "\n")
    fork.turn("Two", "Yes.")
    captures.drain()
    assert captures.prompts("codex-main") == ["One", "Two"]
    assert captures.sums("codex-main") == (2, 22)


def test_a_thread_that_is_nowhere(captures: Captures) -> None:
    """Without a rollout there is what was told of the turn; with ids that are none there is no turn; nothing else is
    looked at, and nothing waits."""
    agent = Codex(captures)
    agent.turn("One", "Yes.")
    agent.path.unlink()
    captures.drain()
    event = {
        "type": "agent-turn-complete",
        "turn-id": "1",
        "cwd": str(captures.repo.path),
        "last-assistant-message": "No.",
    }
    for thread in ("../../../etc/passwd", "*", "", None, agent.thread.upper()):
        agent.run([str(captures.script), "codex", json.dumps({**event, "thread-id": thread})])
    captures.repo.ai("drain", code=None)
    assert captures.repo.refs() == ["refs/ai-sessions/codex-main"]
    assert captures.prompts("codex-main") == ["One"]
    assert captures.sums("codex-main") == (1, 0)
    assert [path for path in captures.spool.iterdir() if path.is_file()] == []


def test_codex_where_it_keeps_its_own_by_default(captures: Captures) -> None:
    """Without CODEX_HOME the rollouts are in the home folder."""
    agent = Codex(captures)
    del agent.environment["CODEX_HOME"]
    agent.home.rename(captures.home / ".codex")
    agent.path = captures.home / ".codex" / agent.path.relative_to(agent.home)
    agent.turn("One", "Yes.")
    captures.drain()
    assert captures.prompts("codex-main") == ["One"]


def test_the_notify_of_codex_has_its_turns_captured(captures: Captures) -> None:
    """The words in its config.toml, run as Codex runs them, wherever it was started: only repositories of init."""
    agent = Codex(captures)
    agent.home.mkdir(exist_ok=True)
    captures.repo.ai("init", "--agent", "codex", env=agent.environment)
    words = tomllib.loads((agent.home / "config.toml").read_text())["notify"]
    captures.script.write_text(captures.script.read_text().replace('"$@" drain', ": drain"))
    elsewhere = captures.home / "elsewhere"
    elsewhere.mkdir()
    agent.prompt("One")
    agent.answer("Yes.")
    agent.line("event_msg", type="task_complete", turn_id=agent.key)
    event = {"type": "agent-turn-complete", "thread-id": agent.thread, "turn-id": agent.key}
    for cwd, count in ((elsewhere, 0), (captures.repo.path, 1)):
        agent.run([*words, json.dumps({**event, "cwd": str(cwd)}, separators=(",", ":"))])
        assert len(list(captures.spool.glob("*.event"))) == count
    captures.drain()
    assert captures.prompts("codex-main") == ["One"]
    # What JSON has to escape in a path is not read out of it.
    odd = captures.repo.path / 'a "b" \\c'
    odd.mkdir()
    agent.prompt("Two")
    agent.answer("Yes.")
    agent.line("event_msg", type="task_complete", turn_id=agent.key)
    agent.run([*words, json.dumps({**event, "cwd": str(odd)}, separators=(",", ":"))], cwd=odd)
    captures.drain()
    assert captures.prompts("codex-main") == ["One", "Two"]


def test_a_path_with_blanks_and_other_letters(captures: Captures, tmp_path: Path) -> None:
    """Codex writes them as they are."""
    other = Repo(path=tmp_path / "it's a $(touch x) `ünï`")
    other.path.mkdir()
    other.git("init", "-q")
    agent = Codex(captures)
    other.ai("init", "--agent", "codex", env=agent.environment)
    words = tomllib.loads((agent.home / "config.toml").read_text())["notify"]
    script = other.path / ".git/ai-sessions/agent"
    script.write_text(f'#!/bin/sh\nprintf %s "$2" >"{tmp_path}/told"\n')
    event = json.dumps({"cwd": str(other.path)}, separators=(",", ":"), ensure_ascii=False)
    agent.run([*words, event])
    assert (tmp_path / "told").read_text() == event


def test_a_script_that_came_with_a_checkout_is_not_run(captures: Captures) -> None:
    """A folder that looks like a bare repository may be anybody's: what lies in it is not what init put there."""
    trap, seen = captures.repo.path / "trap", captures.home / "seen"
    subprocess.run(["git", "init", "-q", "--bare", str(trap)], check=True)
    (trap / "ai-sessions").mkdir()
    (trap / "ai-sessions/agent").write_text(f"#!/bin/sh\ntouch {seen}\n")
    (trap / "ai-sessions/agent").chmod(0o755)
    agent = Codex(captures)
    captures.repo.ai("init", "--agent", "codex", "--agent", "gemini", env=agent.environment)
    words = tomllib.loads((agent.home / "config.toml").read_text())["notify"]
    agent.run([*words, json.dumps({"cwd": str(trap)}, separators=(",", ":"))])
    settings = json.loads((captures.repo.path / ".gemini/settings.json").read_text())
    command = settings["hooks"]["AfterAgent"][0]["hooks"][0]["command"]
    agent.environment["GEMINI_PROJECT_DIR"] = str(trap)
    agent.run(["sh", "-c", command])
    assert not seen.exists()


def test_a_chat_of_gemini_that_goes_on_in_another_file(captures: Captures) -> None:
    """It begins with the history of the first, without its tokens: every turn is there once, with what it used."""
    folder = captures.home / ".gemini"
    shutil.copytree(CHATS / "later/.gemini", folder)
    first, second = sorted(folder.rglob("session-*.jsonl"))
    for path in (first, second, next(folder.rglob(".project_root"))):
        path.write_text(path.read_text().replace("/home/ann/project", str(captures.repo.path)))
    agent = Gemini(captures, number=9)
    for path in (first, second):
        agent.path = path
        agent.session = json.loads(path.read_text().splitlines()[0])["sessionId"]
        agent.hook("AfterAgent", prompt="…", prompt_response="")
        captures.drain()
    assert captures.prompts("gemini-main") == ["list the files", "and later?"]
    served = [
        one["usage"] for run in json.loads((CHATS / "later/served.json").read_text())["runs"] for one in run["served"]
    ]
    total = sum(one["totalTokenCount"] - one["cachedContentTokenCount"] for one in served)
    assert captures.sums("gemini-main") == (2, total)
    first.unlink()
    agent.hook("SessionEnd")
    captures.drain()
    assert captures.sums("gemini-main") == (2, total)


def test_a_chat_of_gemini_that_is_gone(captures: Captures) -> None:
    """By no id of its prompt the turn could be told from the same one in another chat: that it is lost is said."""
    agent = Gemini(captures)
    agent.path.unlink()
    agent.hook("AfterAgent", prompt="One", prompt_response="Yes.")
    done = captures.repo.ai("drain", "--wait", code=None)
    assert done.err == f"warning: 1 turn not recorded: the transcript {agent.path} is gone\n"
    assert captures.repo.refs() == []
    assert captures.repo.ai("drain", "--wait").err == "nothing waits in the spool\n"
