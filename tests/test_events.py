"""Capture by hooks: hooks/agent run for real, its events drained, and what the transcripts say in the ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitsess import attribution, costnotes, setup
from gitsess.agents.captured import turn_id_of
from gitsess.capture import wiring
from gitsess.capture.holding import hold
from gitsess.cli.shipped import hooks_dir
from gitsess.model import SessionName
from gitsess.spool import EVENT_SUFFIX
from tests.conftest import PROGRAM, Repo

SHELLS = [shell for shell in ("dash", "bash", "busybox", "zsh") if shutil.which(shell)]
TEMPLATE = (hooks_dir() / "agent").read_text(encoding="utf-8")
TALK = "5e5510aa-0000-4000-8000-000000000001"
OTHER = "5e5510aa-0000-4000-8000-000000000002"
MODEL = "claude-sonnet-4-5"


class Talk:
    """A transcript as Claude Code writes it, a line at a time, by a clock that goes a second a line."""

    def __init__(self, path: Path, cwd: Path, conversation: str = TALK, *, at: datetime | None = None) -> None:
        self.path, self.cwd, self.conversation = path, cwd, conversation
        self.branch = "main"
        self.at = at or datetime.now(UTC) - timedelta(hours=1)
        self.count = 0
        self.prompt_id = ""
        path.parent.mkdir(parents=True, exist_ok=True)

    def prompt(self, text: str) -> str:
        """Writes a prompt; its id."""
        self.count += 1
        self.prompt_id = f"{self.conversation[-4:]}-prompt-{self.count}"
        self.line("user", message={"role": "user", "content": text}, promptId=self.prompt_id)
        return self.prompt_id

    def answer(self, text: str, *, tokens: int = 10) -> None:
        """Writes the answer of a request."""
        self.count += 1
        number = f"{self.conversation[-4:]}_{self.count}"
        self.line(
            "assistant",
            requestId=f"req_{number}",
            message={
                "id": f"msg_{number}",
                "type": "message",
                "role": "assistant",
                "model": MODEL,
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {
                    "input_tokens": tokens,
                    "output_tokens": 1,
                    "cache_read_input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                },
            },
        )

    def line(self, kind: str, **more: Any) -> None:
        self.at += timedelta(seconds=1)
        entry = {
            "type": kind,
            "uuid": f"{self.conversation[:-6]}{self.count:06d}",
            "parentUuid": None,
            "sessionId": self.conversation,
            "timestamp": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "cwd": str(self.cwd),
            "gitBranch": self.branch,
            "version": "2.1.330",
            "isSidechain": False,
            **more,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def body(self, name: str, said: str | None = None) -> dict[str, Any]:
        body = {
            "session_id": self.conversation,
            "transcript_path": str(self.path),
            "cwd": str(self.cwd),
            "prompt_id": self.prompt_id,
            "hook_event_name": name,
        }
        return body if said is None else {**body, "last_assistant_message": said}


class Captures:
    """A repository whose script for agents is in place, with a program that does nothing: the tests drain."""

    def __init__(self, repo: Repo, home: Path) -> None:
        self.repo, self.home = repo, home
        self.state = repo.path / ".git/ai-sessions"
        self.script = wiring.install_script(str(self.state), TEMPLATE, ["/bin/true"])
        self.spool = self.state / "spool"

    def link_commits(self) -> None:
        """Puts the post-commit hook in place, with the same program."""
        template = (hooks_dir() / "post-commit").read_text(encoding="utf-8")
        setup.install(self.repo.path / ".git/hooks", template, ["/bin/true"])

    def talk(self, conversation: str = TALK, *, cwd: Path | None = None, at: datetime | None = None) -> Talk:
        folder = self.home / ".claude/projects/-p"
        return Talk(folder / f"{conversation}.jsonl", cwd or self.repo.path, conversation, at=at)

    def hook(self, body: Mapping[str, Any], **environment: str) -> None:
        done = subprocess.run(
            [str(self.script), "claude"],
            input=json.dumps(body).encode(),
            env={**os.environ, **environment},
            cwd=body["cwd"] if os.path.isdir(body["cwd"]) else "/",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def turn(self, talk: Talk, prompt: str, *answers: str, tokens: int = 10, **environment: str) -> None:
        """A whole turn with its two events, drained after each."""
        talk.prompt(prompt)
        self.hook(talk.body("UserPromptSubmit"), **environment)
        self.drain()
        for answer in answers:
            talk.answer(answer, tokens=tokens)
        self.hook(talk.body("Stop", answers[-1]), **environment)
        self.drain()

    def drain(self) -> None:
        self.repo.ai("drain", "--wait")
        assert [path.name for path in self.spool.rglob("*") if path.is_file()] == []

    def memories(self) -> list[Path]:
        return sorted((self.state / "agents").glob("*.json"))

    def prompts(self, session: str) -> list[str]:
        """The turns of a session: their subjects, in order."""
        if f"refs/ai-sessions/{session}" not in self.repo.refs():
            return []
        return [item.subject for item in self.repo.session(session).commits if item.facts.kind == "turn"]

    def sums(self, session: str) -> tuple[int, int]:
        """(turns, tokens) of a session."""
        found = self.repo.ai("list", session, "--json").json[0]
        return found["turns"], found["input_tokens"] + found["output_tokens"]


@pytest.fixture
def captures(repo: Repo, sealed: dict[str, str]) -> Captures:
    return Captures(repo, Path(sealed["HOME"]))


# The hook


@pytest.mark.parametrize("shell", SHELLS)
def test_the_hook_leaves_an_event_and_starts_the_drain_there(shell: str, repo: Repo, tmp_path: Path) -> None:
    """In any shell: the event is whole and private, and the program is started on the repository of the spool."""
    program, seen = tmp_path / "git-ai-session", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\nprintf "%s %s %s" "$1" "$GIT_DIR" "$(umask)" >{seen}.part; mv {seen}.part {seen}\n')
    program.chmod(0o755)
    state = repo.path / ".git/ai-sessions"
    script = wiring.install_script(str(state), TEMPLATE, [str(program)])
    words = ["busybox", "sh"] if shell == "busybox" else [shell]
    environment = {**os.environ, "AI_SESSION": "plan-x", "GIT_WORK_TREE": "/elsewhere", "GIT_DIR": "/elsewhere"}
    environment["CODEX_HOME"] = "/a home"
    done = subprocess.run(
        [*words, str(script), "claude"],
        input=b'{"a": "\\n"}\n',
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (event,) = (state / "spool").iterdir()
    assert event.suffix == EVENT_SUFFIX
    assert event.read_text() == 'agent claude\nuse true\nsession plan-x\nhome /a home\n\n{"a": "\\n"}\n'
    assert (event.stat().st_mode & 0o777, event.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for _ in range(600):
        if seen.exists():
            break
        time.sleep(0.05)
    assert seen.read_text() == f"drain {repo.path}/.git 0022"


@pytest.mark.parametrize("shell", SHELLS)
def test_an_event_that_is_an_argument(shell: str, captures: Captures) -> None:
    """It is taken as it is, of any length that a system takes, and standard input is left alone: it is not ours."""
    words = ["busybox", "sh"] if shell == "busybox" else [shell]
    event = '{"a": "%s \\n $x `y` ' + "x" * 100_000 + '"}'
    reading, writing = os.pipe()
    environment = {**os.environ, "CODEX_HOME": "one\ntwo"}
    command = [*words, str(captures.script), "codex", event]
    done = subprocess.run(command, stdin=reading, env=environment, capture_output=True, timeout=60, check=False)
    os.close(reading)
    os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (found,) = captures.spool.iterdir()
    assert found.read_text() == f"agent codex\nuse true\nsession \nhome \n\n{event}"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("broken", ["gone", "readonly", "a file", "no repository", "no program"])
def test_whatever_is_broken_the_agent_is_neither_failed_nor_kept(shell: str, broken: str, captures: Captures) -> None:
    """A hundred megabytes are read to their end, nothing is said, and the exit code is 0."""
    words = ["busybox", "sh"] if shell == "busybox" else [shell]
    script = captures.script
    if broken == "gone":
        script.unlink()
    elif broken == "readonly":
        captures.spool.mkdir()
        captures.spool.chmod(0o500)
        # Who may write everywhere is stopped by what is no folder.
        if os.geteuid() == 0:
            captures.spool.rmdir()
            captures.spool.symlink_to("/proc/1/nowhere")
    elif broken == "a file":
        captures.spool.write_text("")
    elif broken == "no repository":
        script = captures.home / "agent"
        captures.script.rename(script)
        shutil.rmtree(captures.repo.path)
    else:
        script.write_text(script.read_text().replace("/bin/true", "/nowhere/git-ai-session"))
    command = wiring.words_of("claude", "local", str(captures.state), plugin="").replace(
        str(captures.script), str(script)
    )
    process = subprocess.Popen(
        [*words, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )
    assert process.stdin is not None
    for _ in range(100):
        # This raises where the pipe was closed before its end.
        process.stdin.write(b" " * 1_000_000)
    process.stdin.close()
    process.stdin = None
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"", b"")
    if broken == "no repository":
        assert not captures.repo.path.exists()
    kept = sum(path.stat().st_size for path in captures.state.rglob("*") if path.is_file())
    assert kept < 5_000_000


def test_the_hook_without_a_standard_input(captures: Captures) -> None:
    """Closed, or empty: the agent is not failed, and no turn is made of it."""
    for words in (f"'{captures.script}' claude <&-", f"'{captures.script}' claude </dev/null"):
        done = subprocess.run(["sh", "-c", words], capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    captures.repo.ai("drain", code=None)
    assert captures.repo.refs() == []


@pytest.mark.parametrize("scope", ["shared", "user"])
def test_the_command_for_all_finds_the_repository_or_nothing(scope: str, captures: Captures, tmp_path: Path) -> None:
    """One text for every clone: in a repository with the script it is run, elsewhere nothing happens."""
    command = wiring.words_of("claude", scope, "/not/used", plugin="")
    for folder, count in ((tmp_path, 0), (captures.repo.path, 1)):
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, input=b"{}", capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert len(list(captures.state.glob("spool/*"))) == count


# Turns


def test_a_conversation_is_captured_turn_by_turn(captures: Captures) -> None:
    """Each turn lands once it has ended, with its conversation, its branch, its tokens and HEAD; no event is left."""
    talk = captures.talk()
    talk.prompt("Why?")
    captures.hook(talk.body("UserPromptSubmit"))
    captures.drain()
    assert captures.repo.refs() == []
    talk.answer("Because.")
    captures.hook(talk.body("Stop", "Because."))
    captures.drain()
    captures.turn(talk, "And then?", "It went on.", "It ended.")
    (first, second) = captures.repo.session("claude-main").commits
    assert [first.subject, second.subject] == ["Why?", "And then?"]
    assert first.facts.turn_id == turn_id_of("claude-code", TALK, "0001-prompt-1")
    assert (first.facts.conversation, first.facts.branch, first.facts.worktree) == (TALK, "main", ".")
    assert first.facts.agent == "claude-code/2.1.330"
    assert captures.repo.git("show", f"{second.oid}:response.md") == "It ended."
    assert captures.sums("claude-main") == (2, 33)
    captures.hook(talk.body("SessionEnd"))
    captures.drain()
    assert captures.sums("claude-main") == (2, 33)
    captures.repo.fsck()


def test_what_was_read_is_not_read_again(captures: Captures) -> None:
    """A second event reads from the turn before: what stands earlier may be anything by then."""
    talk = captures.talk()
    for number in range(5):
        captures.turn(talk, f"Prompt {number}", "Yes.")
    (memory,) = captures.memories()
    kept = json.loads(memory.read_text())
    assert kept["offset"] > 0
    assert memory.stat().st_mode & 0o777 == 0o600
    # Whoever read from the beginning would find other prompts there, by which no turn is known.
    data, cut = talk.path.read_bytes(), kept["offset"] - 1000
    talk.path.write_bytes(data[:cut].replace(b"-prompt-", b"-tpmorp-") + data[cut:])
    captures.turn(talk, "One more", "Yes.")
    assert captures.prompts("claude-main") == [*(f"Prompt {number}" for number in range(5)), "One more"]


def test_without_what_is_remembered_nothing_is_doubled(captures: Captures) -> None:
    """The files are deleted between turns, and the session in use is another by then: every turn stays where it is."""
    talk = captures.talk()
    captures.repo.ai("use", "plan", "x")
    captures.turn(talk, "One", "Yes.")
    captures.repo.ai("use", "--none")
    for memory in captures.memories():
        memory.unlink()
    captures.turn(talk, "Two", "Yes.")
    assert captures.prompts("plan-x") == ["One"]
    assert captures.prompts("claude-main") == ["Two"]
    shutil.rmtree(captures.state / "agents")
    captures.hook(talk.body("SessionEnd"), AI_SESSION="review-z")
    captures.drain()
    assert captures.repo.refs() == ["refs/ai-sessions/claude-main", "refs/ai-sessions/plan-x"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"v":1,"offset":-1}', '{"v":9}', "links"])
def test_what_is_remembered_may_be_damaged(damage: str, captures: Captures) -> None:
    """It is read anew then: nothing is lost, nothing is doubled."""
    talk = captures.talk()
    captures.turn(talk, "One", "Yes.")
    (memory,) = captures.memories()
    memory.unlink()
    if damage == "links":
        memory.symlink_to("/etc/passwd")
    else:
        memory.write_text(damage)
    captures.turn(talk, "Two", "Yes.")
    assert captures.prompts("claude-main") == ["One", "Two"]


def test_a_turn_that_grew_after_its_end_is_corrected(captures: Captures) -> None:
    """One turn and one correction, with what it came to in the end; a third look changes nothing."""
    talk = captures.talk()
    captures.turn(talk, "Look", "Looking.")
    assert captures.sums("claude-main") == (1, 11)
    talk.answer("Found it.", tokens=100)
    captures.hook(talk.body("Stop", "Found it."))
    captures.drain()
    assert captures.sums("claude-main") == (1, 112)
    captures.hook(talk.body("SessionEnd"))
    captures.drain()
    captures.turn(talk, "Next", "Yes.")
    kinds = [item.facts.kind for item in captures.repo.session("claude-main").commits]
    assert kinds == ["turn", "correction", "turn"]
    correction = captures.repo.session("claude-main").commits[1]
    assert correction.subject == "Correct turn 1"
    assert captures.repo.git("show", f"{correction.oid}:response.md") == "Found it."
    assert captures.sums("claude-main") == (2, 123)
    captures.repo.fsck()
    assert captures.repo.ai("doctor", code=None).code == 0
    for words in (
        ("show", "claude-main", "--full"),
        ("show", "--conversation", TALK, "--full"),
        ("resume", "claude-main", "--as-prompt"),
        ("run", "claude", "main", "And?", "--dry-run"),
    ):
        assert "Found it." in captures.repo.ai(*words).out, words


def test_a_turn_that_grew_is_corrected_also_where_nothing_is_remembered(captures: Captures) -> None:
    """Its session says what was known of it."""
    talk = captures.talk()
    captures.turn(talk, "Look", "Looking.")
    shutil.rmtree(captures.state / "agents")
    talk.answer("Found it.", tokens=100)
    captures.turn(talk, "Next", "Yes.")
    kinds = [item.facts.kind for item in captures.repo.session("claude-main").commits]
    assert kinds == ["turn", "correction", "turn"]
    assert captures.sums("claude-main") == (2, 123)


def test_two_conversations_at_once_in_one_worktree(captures: Captures) -> None:
    """Their turns land in one session in the order of time, each once; the conversation tells them apart."""
    one = captures.talk()
    two = captures.talk(OTHER, at=one.at + timedelta(milliseconds=500))
    for number in range(3):
        one.prompt(f"One {number}")
        two.prompt(f"Two {number}")
        one.answer("Yes.")
        two.answer("No.")
        captures.hook(two.body("Stop", "No."))
        captures.hook(one.body("Stop", "Yes."))
    captures.drain()
    turns = captures.repo.session("claude-main").commits
    assert [item.subject for item in turns] == [f"{who} {number}" for number in range(3) for who in ("One", "Two")]
    assert [item.facts.conversation for item in turns] == [TALK, OTHER] * 3


def test_worktrees_side_by_side(captures: Captures, tmp_path: Path) -> None:
    """Turns in a linked worktree have its name and its branch, and the session that is in use there."""
    side = tmp_path / "side"
    captures.repo.git("worktree", "add", "-q", "-b", "fix", str(side))
    here, there = captures.talk(), captures.talk(OTHER, cwd=side)
    there.branch = "fix"
    captures.turn(here, "Here", "Yes.")
    captures.turn(there, "There", "Yes.")
    captures.repo.ai("use", "review", "fix", cwd=side)
    captures.turn(there, "Again", "Yes.")
    captures.turn(here, "Here again", "Yes.")
    assert captures.prompts("claude-main") == ["Here", "Here again"]
    assert captures.prompts("claude-fix") == ["There"]
    assert captures.prompts("review-fix") == ["Again"]
    facts = captures.repo.session("review-fix").commits[0].facts
    assert (facts.worktree, facts.branch) == ("side", "fix")


def test_a_branch_switched_in_the_middle_of_a_conversation(captures: Captures) -> None:
    """Each turn goes to its own branch's session, and what is in use holds on the branch that it was set on."""
    talk = captures.talk()
    captures.repo.ai("use", "plan", "x")
    captures.turn(talk, "On main", "Yes.")
    captures.repo.git("switch", "-qc", "topic/a")
    talk.branch = "topic/a"
    captures.turn(talk, "On topic", "Yes.")
    captures.repo.git("switch", "-q", "main")
    talk.branch = "main"
    captures.turn(talk, "Back", "Yes.")
    assert captures.prompts("plan-x") == ["On main", "Back"]
    assert captures.prompts("claude-topic-a") == ["On topic"]


def test_the_branch_is_the_one_that_git_had(captures: Captures) -> None:
    """An agent that is at work goes on naming the branch that it began on, and what is in use goes by the real one; a
    turn that is drained late is on the branch that it ended on."""
    talk = captures.talk()
    now = talk.at
    captures.repo.git("reflog", "expire", "--expire=all", "HEAD")
    moved(captures.repo, now - timedelta(minutes=1), "commit", "--allow-empty", "-qm", "Long ago")
    captures.turn(talk, "On main", "Yes.")
    moved(captures.repo, now + timedelta(minutes=1), "switch", "-qc", "topic/a")
    captures.repo.ai("use", "plan", "x")
    talk.at = now + timedelta(minutes=2)
    captures.turn(talk, "On topic", "Yes.")
    captures.repo.ai("use", "--none")
    talk.at = now + timedelta(minutes=3)
    talk.prompt("On topic, late")
    talk.answer("Yes.")
    moved(captures.repo, now + timedelta(minutes=4), "switch", "-q", "--detach", "main")
    captures.hook(talk.body("Stop", "Yes."))
    captures.drain()
    talk.at = now + timedelta(minutes=5)
    captures.turn(talk, "On none", "Yes.")
    assert captures.prompts("claude-main") == ["On main"]
    assert captures.prompts("plan-x") == ["On topic"]
    assert captures.prompts("claude-topic-a") == ["On topic, late"]
    assert captures.prompts("claude-head") == ["On none"]
    branches = [captures.repo.session(name).commits[0].facts.branch for name in ("plan-x", "claude-head")]
    assert branches == ["topic/a", None]


def test_a_prompt_on_the_heels_of_an_answer_is_not_taken_to_be_answered(captures: Captures) -> None:
    """It begins within milliseconds of the event that ended the turn before, and its branch is the one it ends on."""
    talk = captures.talk()
    talk.prompt("One")
    talk.answer("Yes.")
    captures.hook(talk.body("Stop", "Yes."))
    (event,) = captures.spool.iterdir()
    ended = event.stat().st_mtime_ns // 1_000_000
    os.utime(event, ns=(ended * 1_000_000, ended * 1_000_000))
    talk.at = datetime.fromtimestamp(ended / 1000, UTC) + timedelta(milliseconds=4) - timedelta(seconds=1)
    talk.prompt("Two, and switch")
    captures.drain()
    talk.at += timedelta(minutes=1)
    moved(captures.repo, talk.at, "switch", "-qc", "mine")
    talk.answer("It is so.")
    captures.hook(talk.body("Stop", "It is so."))
    captures.drain()
    assert captures.prompts("claude-main") == ["One"]
    assert captures.prompts("claude-mine") == ["Two, and switch"]


def test_what_was_said_before_anything_was_installed(captures: Captures) -> None:
    """It comes in with the conversation: what is older than git's record leads to no commit, the rest to the commit
    that came after it then, and only what came since the last one to the next."""
    captures.link_commits()
    repo, talk = captures.repo, captures.talk()
    now = talk.at
    repo.git("reflog", "expire", "--expire=all", "HEAD")
    moved(repo, now - timedelta(minutes=30), "commit", "--allow-empty", "-qm", "Long ago")
    for minutes, prompt in ((-40, "Old"), (-20, "One"), (-19, "Two"), (-5, "Three")):
        talk.at = now + timedelta(minutes=minutes)
        talk.prompt(prompt)
        talk.answer("Yes.")
    moved(repo, now - timedelta(minutes=10), "commit", "--allow-empty", "-qm", "Then")
    then = repo.git("rev-parse", "HEAD")
    talk.at = now
    captures.turn(talk, "Four", "Yes.")
    repo.git("commit", "--allow-empty", "-qm", "Now")
    captures.drain()
    session = repo.session("claude-main")
    workspace = repo.workspace()
    borne = {share.turn.subject: share.commit for share in attribution.shares(workspace.git, [session])}
    after = repo.git("rev-parse", "HEAD")
    assert borne == {"Old": None, "One": then, "Two": then, "Three": after, "Four": after}
    assert [item.facts.commits for item in session.commits if item.facts.event] == [(then,), (after,)]
    assert costnotes.rebuild(workspace.git, workspace.history, at=talk.at) == 0
    assert repo.git("notes", "--ref=ai-sessions", "show", then).startswith("claude-main turns 2-3: ")


def moved(repo: Repo, at: datetime, *words: str) -> None:
    """Runs git at another time: it dates the moves of HEAD so."""
    date = {"GIT_COMMITTER_DATE": at.isoformat(timespec="seconds")}
    subprocess.run(["git", *words], cwd=repo.path, env={**os.environ, **date}, check=True, capture_output=True)


def test_the_session_that_the_environment_names(captures: Captures) -> None:
    """AI_SESSION comes before what is in use; what is no name is as if it were not there."""
    talk = captures.talk()
    captures.repo.ai("use", "plan", "x")
    captures.turn(talk, "One", "Yes.", AI_SESSION="implement-y")
    captures.turn(talk, "Two", "Yes.", AI_SESSION="No Name\nagent evil")
    captures.turn(talk, "Three", "Yes.", AI_SESSION="a..b")
    assert captures.prompts("implement-y") == ["One"]
    assert captures.prompts("plan-x") == ["Two", "Three"]


def test_a_conversation_resumed_later(captures: Captures) -> None:
    """It goes on in the same session, and what was said before it was first captured is not in the one in use."""
    talk = captures.talk()
    talk.prompt("Long ago")
    talk.answer("Yes.")
    captures.turn(talk, "Now", "Yes.", AI_SESSION="plan-x")
    assert captures.prompts("claude-main") == ["Long ago"]
    assert captures.prompts("plan-x") == ["Now"]
    captures.hook(talk.body("SessionEnd"), AI_SESSION="plan-x")
    captures.drain()
    captures.turn(talk, "Later", "Yes.")
    assert captures.prompts("claude-main") == ["Long ago", "Later"]
    assert captures.prompts("plan-x") == ["Now"]


def test_where_sessions_are_not_to_be_used_nothing_is_captured(captures: Captures) -> None:
    """Neither then, nor when the conversation goes on with them."""
    talk = captures.talk()
    for value in ("false", "0", "No", "OFF"):
        captures.turn(talk, f"Secret {value}", "Yes.", USE_SESSIONS=value)
    assert captures.repo.refs() == []
    captures.turn(talk, "Open", "Yes.")
    assert captures.prompts("claude-main") == ["Open"]
    captures.turn(talk, "Secret again", "Yes.", USE_SESSIONS="false")
    captures.turn(talk, "Open again", "Yes.")
    assert captures.prompts("claude-main") == ["Open", "Open again"]
    # No import brings in what was not to be recorded, and nobody calls it missing, until its ids are forgotten.
    ran = captures.repo.ai("import", "--from", "claude")
    assert ran.err == "nothing to import; 2 there already; 5 left out, as USE_SESSIONS=false had it\n"
    assert captures.repo.ai("import", "--from", "claude", "--json").json["declined_turns"] == 5
    captures.hook(talk.body("SessionEnd"))
    captures.drain()
    assert captures.prompts("claude-main") == ["Open", "Open again"]
    assert (captures.state / "declined").stat().st_mode & 0o777 == 0o600
    (captures.state / "declined").unlink()
    assert captures.repo.ai("import", "--from", "claude").err.startswith("5 turns imported")


def test_events_of_both_kinds_that_are_drained_together(captures: Captures) -> None:
    """Each turn goes by the event that tells of its own end, however late it is drained."""
    talk = captures.talk()
    for prompt, environment in (
        ("Secret", {"USE_SESSIONS": "false"}),
        ("Planned", {"AI_SESSION": "plan-x"}),
        ("Plain", {}),
    ):
        talk.prompt(prompt)
        captures.hook(talk.body("UserPromptSubmit"), **environment)
        talk.answer("Yes.")
        captures.hook(talk.body("Stop", "Yes."), **environment)
    captures.drain()
    assert captures.prompts("plan-x") == ["Planned"]
    assert captures.prompts("claude-main") == ["Plain"]
    assert len(captures.repo.refs()) == 2


@pytest.mark.parametrize("before", [(), ("Because of this.",)])
def test_an_answer_that_is_written_down_after_the_event(before: tuple[str, ...], captures: Captures) -> None:
    """The drain waits a moment for the answer that the event speaks of, also where the turn before had the same."""
    talk = captures.talk()
    for answer in before:
        captures.turn(talk, "And before?", answer)
    talk.prompt("Why?")
    captures.hook(talk.body("Stop", "Because of this."))
    writer = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read(1)"], stdin=subprocess.PIPE)
    drain = subprocess.Popen([*PROGRAM, "drain", "--wait"], cwd=captures.repo.path, stderr=subprocess.DEVNULL)
    time.sleep(0.4)
    talk.answer("Because of this.")
    assert drain.wait(60) == 0
    writer.communicate(b"x")
    turns = len(before) + 1
    assert captures.sums("claude-main") == (turns, 11 * turns)
    captures.hook(talk.body("SessionEnd"))
    captures.drain()
    assert len(captures.repo.session("claude-main").commits) == turns


def test_events_that_lead_nowhere(captures: Captures) -> None:
    """A transcript that is not there is no error; an event that cannot be read is set aside, and stops no other."""
    talk = captures.talk()
    missing = {**talk.body("SessionEnd"), "transcript_path": str(captures.home / "gone.jsonl")}
    captures.hook(missing)
    captures.drain()
    for body in ({"cwd": "/"}, {**missing, "transcript_path": 7}, {**missing, "transcript_path": "relative"}):
        captures.hook(body)
    (captures.home / "link.jsonl").symlink_to(talk.path)
    for place in (captures.home, captures.home / "link.jsonl", Path("/dev/zero")):
        captures.hook({**missing, "transcript_path": str(place)})
    (captures.spool / "x.event").write_text("agent\n\n{}")
    (captures.spool / "y.event").write_text("agent nobody\nuse true\n\n{}")
    (captures.spool / "z.event").write_text("agent claude\n\nno JSON")
    talk.prompt("Why?")
    talk.answer("Because.")
    captures.hook(talk.body("Stop", "Because."))
    done = captures.repo.ai("drain", code=1)
    assert done.err.count("a spooled event cannot be appended and was set aside") == 9
    assert captures.prompts("claude-main") == ["Why?"]
    assert len(list((captures.spool / "failed").iterdir())) == 9
    assert [path for path in captures.spool.iterdir() if path.is_file()] == []


def test_a_turn_whose_transcript_is_gone(captures: Captures) -> None:
    """What the agent told its hooks is recorded, at an unknown cost; should the transcript come back, with what it
    took."""
    talk = captures.talk()
    captures.turn(talk, "One", "Yes.")
    talk.prompt("Two")
    captures.hook({**talk.body("UserPromptSubmit"), "prompt": "Two"})
    talk.answer("Done.", tokens=100)
    captures.hook(talk.body("Stop", "Done."))
    kept = talk.path.read_bytes()
    talk.path.unlink()
    captures.drain()
    assert captures.prompts("claude-main") == ["One", "Two"]
    item = captures.repo.session("claude-main").commits[-1]
    assert item.facts.metrics is not None
    assert (item.facts.metrics.cost_usd, item.facts.status, item.facts.branch) == (None, "ok", "main")
    assert captures.repo.git("show", f"{item.oid}:response.md") == "Done."
    talk.path.write_bytes(kept)
    captures.hook(talk.body("SessionEnd"))
    captures.drain()
    assert captures.sums("claude-main") == (2, 112)


def test_a_turn_of_another_repository(captures: Captures, tmp_path: Path) -> None:
    """A turn belongs to the repository in whose folder it happened; of none there is, to the one of the hook."""
    other = Repo(path=tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    other.git("commit", "--allow-empty", "-qm", "Begin")
    talk = captures.talk()
    captures.turn(talk, "Here", "Yes.")
    talk.cwd = other.path
    captures.turn(talk, "There", "Yes.")
    talk.cwd = tmp_path / "gone"
    captures.turn(talk, "Nowhere", "Yes.")
    assert captures.prompts("claude-main") == ["Here", "Nowhere"]
    assert [item.subject for item in other.session("claude-main").commits] == ["There"]


def test_a_turn_that_was_imported_while_it_went_on(captures: Captures) -> None:
    """Its hook finds it in the session that the import chose, and corrects it there."""
    talk = captures.talk()
    captures.turn(talk, "One", "Yes.", AI_SESSION="plan-x")
    talk.prompt("Two")
    captures.hook(talk.body("UserPromptSubmit"), AI_SESSION="plan-x")
    captures.drain()
    talk.answer("Wait.")
    captures.repo.ai("import", "--from", "claude")
    talk.answer("Done.", tokens=100)
    captures.hook(talk.body("Stop", "Done."), AI_SESSION="plan-x")
    captures.drain()
    assert captures.prompts("plan-x") == ["One"]
    assert captures.prompts("claude-main") == ["Two"]
    assert captures.sums("claude-main") == (1, 112)


def test_a_locked_session_has_the_turns_wait_in_order(captures: Captures) -> None:
    """A turn that cannot be appended now is spooled, the ones after it wait, and none is doubled or lost."""
    talk = captures.talk()
    captures.turn(talk, "One", "Yes.")
    lock = captures.repo.path / ".git/refs/ai-sessions/claude-main.lock"
    lock.touch()
    for number in range(3):
        talk.prompt(f"Locked {number}")
        talk.answer("Yes.")
        captures.hook(talk.body("Stop", "Yes."))
        captures.repo.ai("drain", code=None)
    assert captures.prompts("claude-main") == ["One"]
    lock.unlink()
    captures.repo.ai("drain", "--wait")
    captures.drain()
    assert captures.prompts("claude-main") == ["One", "Locked 0", "Locked 1", "Locked 2"]


# Commits


def commit(repo: Repo, text: str) -> str:
    repo.git("commit", "--allow-empty", "-qm", text)
    return repo.git("rev-parse", "HEAD")


def note(repo: Repo, oid: str) -> str:
    return repo.git("notes", "--ref=ai-sessions", "show", oid, check=False)


def test_a_commit_of_the_agent_and_then_one_of_a_human(captures: Captures) -> None:
    """Only the commit that was made in the turn bears it, though the other follows within the same second."""
    captures.link_commits()
    before = commit(captures.repo, "Before")
    talk = captures.talk(at=datetime.now(UTC) - timedelta(seconds=1))
    talk.prompt("Commit it")
    replaced = commit(captures.repo, "Agent")
    captures.repo.git("commit", "--allow-empty", "--amend", "-qm", "Agent, better")
    made = captures.repo.git("rev-parse", "HEAD")
    talk.at = datetime.now(UTC) - timedelta(seconds=1)
    talk.answer("Done.")
    time.sleep(0.05)
    human = commit(captures.repo, "Human")
    captures.hook(talk.body("Stop", "Done."))
    captures.drain()
    facts = captures.repo.session("claude-main").commits[0].facts
    assert (facts.commits, facts.head) == ((made,), made)
    assert note(captures.repo, made).startswith("claude-main turn 1: 11 tokens")
    after = commit(captures.repo, "After")
    captures.drain()
    for other in (before, replaced, human, after):
        assert note(captures.repo, other) == ""


def test_a_commit_after_the_turn_bears_it(captures: Captures) -> None:
    """A turn that made none is borne by the next commit, also where its correction came in between."""
    captures.link_commits()
    talk = captures.talk()
    captures.turn(talk, "Change it", "Done.")
    made = commit(captures.repo, "After")
    captures.repo.ai("drain", "--wait")
    assert note(captures.repo, made).startswith("claude-main turn 1: 11 tokens")
    talk.answer("And more.", tokens=100)
    captures.hook(talk.body("Stop", "And more."))
    captures.drain()
    assert note(captures.repo, made).startswith("claude-main turn 1: 112 tokens")


# Kills

_KILLED = """
import os, signal, sys
import gitsess.capture.events, gitsess.workspace, gitsess.locks, gitsess.notes, gitsess.spool
left = int(sys.argv.pop(1))

def count(owner, name):
    real = getattr(owner, name)
    def counted(*words, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*words, **more)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(owner, name, counted)

count(os, "replace")
count(os, "unlink")
count(gitsess.workspace.Workspace, "record")
count(gitsess.workspace.Workspace, "correct")
count(gitsess.workspace.Workspace, "settle")
count(gitsess.spool.Spool, "discard")
from gitsess.cli.entry import script
script()
"""


def test_a_drain_that_is_killed_anywhere_loses_and_doubles_nothing(captures: Captures) -> None:
    """Killed before and after every step, while the session in use changes: every turn is there once, in order, the
    correction too, and the notes are right."""
    captures.link_commits()
    repo, killed = captures.repo, 0
    for step in range(1, 200):
        talk = captures.talk(f"5e5510aa-0000-4000-8000-{step:012d}")
        name = f"plan-{step}"
        talk.prompt("One")
        talk.answer("Yes.")
        captures.hook(talk.body("Stop", "Yes."), AI_SESSION=name)
        repo.ai("drain", "--wait")
        talk.answer("More.", tokens=100)
        # A second each, whose commits nobody else claims: of turns at once each would name them.
        talk.at = datetime.now(UTC) - timedelta(seconds=1)
        talk.prompt("Two")
        made = commit(repo, f"Of step {step}")
        talk.at = datetime.now(UTC) - timedelta(seconds=1)
        talk.answer("Yes.")
        talk.at = datetime.now(UTC) - timedelta(seconds=2)
        talk.prompt("Three")
        talk.answer("Yes.")
        captures.hook(talk.body("Stop", "Yes."), AI_SESSION=name)
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(step), "drain", "--wait"],
            cwd=repo.path,
            capture_output=True,
            check=False,
        )
        captures.hook(talk.body("SessionEnd"), AI_SESSION=name)
        captures.drain()
        assert captures.prompts(name) == ["One", "Two", "Three"]
        assert captures.sums(name) == (3, 134)
        assert [item.facts.kind for item in repo.session(name).commits].count("correction") == 1
        assert f"{name} turn" in note(repo, made)
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr
            break
        killed += 1
    assert killed > 10
    repo.fsck()


def test_a_turn_that_somebody_asks_for_is_theirs_to_record(repo: Repo, captures: Captures) -> None:
    """While a session's lock is held its events wait without a word; once it is not, by a kill too, they are taken."""
    with hold(str(captures.state), SessionName("implement-x")):
        for conversation, session in ((TALK, "implement-x"), (OTHER, "plan-x")):
            talk = captures.talk(conversation)
            talk.prompt("Go")
            talk.answer("Gone")
            captures.hook(talk.body("Stop", "Gone"), AI_SESSION=session)
        repo.ai("drain")
        assert repo.ai("list").err == ""
        assert repo.refs() == ["refs/ai-sessions/plan-x"]
    captures.drain()
    assert repo.refs() == ["refs/ai-sessions/implement-x", "refs/ai-sessions/plan-x"]
