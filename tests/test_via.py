"""``run --via``: the agents' own programs, asked with a session's context, and their turns in the ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gitsess.providers import processes
from tests.agents import gemini_server, make_codex, make_gemini, responses_server
from tests.agents.loopback import Loopback
from tests.conftest import PROGRAM, Repo
from tests.test_past import Asked, transcript
from tests.test_real_agents import COMMIT, installed, script_of, served_by, tool
from tests.test_run import signals_by_default

MARK = "5e5510aa-0000-4000-8000-000000000001"


def sums(repo: Repo, session: str) -> dict[str, int]:
    """The tokens of a session, and its turns."""
    (found,) = repo.ai("list", session, "--json").json
    names = ("turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    return {name: found[name] for name in names}


def conversations(repo: Repo, session: str) -> list[str | None]:
    return [item.facts.conversation for item in repo.session(session).commits if item.facts.kind == "turn"]


# The real programs


@pytest.fixture
def claude(repo: Repo, tmp_path: Path) -> Iterator[Loopback]:
    installed("claude")
    write = tool("Write", file_path=str(repo.path / "hello.txt"), content="hello\n")
    with Loopback(script=script_of(write, tool("Bash", command=COMMIT, description="Commit"))) as service:
        repo.environment |= {
            "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
            "ANTHROPIC_BASE_URL": service.url,
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        yield service


ALLOWED = ("--agent-args", "--permission-mode acceptEdits --allowedTools 'Bash(git:*)' Write")


def test_via_the_real_claude_code(repo: Repo, claude: Loopback) -> None:
    """It edits and commits; the next turn is in the same conversation, and each has what was served for it; what was
    said otherwise in between is handed over."""
    ran = repo.ai("run", "--via", "claude", "implement", "x", "Write and commit", *ALLOWED)
    assert ran.out == "It is committed.\n"
    assert "implement-x  via claude  a new conversation\n" in ran.err
    assert sums(repo, "implement-x") == {"turns": 1, **served_by(claude)}
    made = repo.git("rev-parse", "HEAD")
    (turn,) = (item for item in repo.session("implement-x").commits if item.facts.kind == "turn")
    assert (turn.facts.commits, turn.facts.agent.partition("/")[0]) == ((made,), "claude-code")  # type: ignore[union-attr]
    assert repo.git("notes", "--ref=ai-sessions", "show", made).startswith("implement-x turn 1: ")

    repo.record("implement-x", {"prompt": "By another", "response": "Said by another."})
    ran = repo.ai("run", "--via", "claude", "implement", "x", "And now?", "--json")
    first, other, last = conversations(repo, "implement-x")
    assert (first, other) == (last, None)
    assert ran.json["conversation"] == first
    assert "goes on with" in ran.err
    assert "hands over 1 turn" in ran.err
    sent = json.dumps(claude.bodies[-1]["messages"])
    assert all(text in sent for text in ("Write and commit", "Said by another.", "And now?"))
    shown = repo.ai("show", "implement-x", "--full", "--json").json["turn_list"][-1]
    assert (shown["prompt"], shown["messages"][0]["content"]) == ("And now?", [{"type": "text", "text": "And now?"}])
    assert sums(repo, "implement-x") == {"turns": 3, **served_by(claude)}
    assert [item["path"] for item in repo.ai("doctor", "--json").json["findings"] if "path" in item] == []
    repo.fsck()


def test_via_the_real_claude_code_with_its_hooks(repo: Repo, claude: Loopback) -> None:
    """Where its own hooks are in place the turn lands once, in the session that was named."""
    repo.ai("init", "--agent", "claude")
    (repo.path / ".git/info/exclude").write_text(".claude\n")
    repo.ai("use", "plan", "other")
    repo.ai("run", "--via", "claude", "implement", "x", "Write and commit", *ALLOWED)
    repo.ai("drain", "--wait")
    assert [found["session"] for found in repo.ai("list", "--json").json] == ["implement-x"]
    assert sums(repo, "implement-x") == {"turns": 1, **served_by(claude)}
    assert repo.ai("use", "--json").json["session"] == "plan-other"


def test_via_the_real_claude_code_after_its_transcript_is_gone(repo: Repo, claude: Loopback, tmp_path: Path) -> None:
    """The conversation is put back from the turns, and gone on with."""
    repo.ai("run", "--via", "claude", "implement", "x", "Write and commit", *ALLOWED)
    shutil.rmtree(tmp_path / "claude/projects")
    ran = repo.ai("run", "--via", "claude", "implement", "x", "And now?")
    assert "its transcript was put back" in ran.err
    first, last = conversations(repo, "implement-x")
    assert first == last
    assert "Write and commit" in json.dumps(claude.bodies[-1]["messages"])


def test_via_the_real_codex(repo: Repo, tmp_path: Path) -> None:
    """A thread, and its next turn in the same thread: each with what was served for it, not with the thread's total."""
    installed("codex")
    home = tmp_path / "codex"
    home.mkdir()
    with responses_server.Service() as service:
        (home / "config.toml").write_text(make_codex.CONFIG.format(url=service.url))
        repo.environment |= {"CODEX_HOME": str(home), "LOOPBACK_KEY": "none"}
        uses = responses_server.usage
        service.play(responses_server.said("First."), uses=uses(input_tokens=1000, cached=400, output_tokens=50))
        ran = repo.ai("run", "--via", "codex", "plan", "x", "One", "--system", "Be brief.")
        assert ran.out == "First.\n"
        service.play(responses_server.said("Second."), uses=uses(input_tokens=2000, cached=900, output_tokens=60))
        assert repo.ai("run", "--via", "codex", "plan", "x", "-", stdin="Two").out == "Second.\n"
        first, last = conversations(repo, "plan-x")
        assert first == last
        assert sums(repo, "plan-x") == {
            "turns": 2,
            "input_tokens": 600 + 1100,
            "cache_read_tokens": 400 + 900,
            "output_tokens": 110,
            "cache_write_tokens": 0,
        }
        assert "Be brief." in json.dumps(service.asked[0])
        assert "Be brief." not in repo.ai("show", "plan-x", "--full").out
        assert "First." in json.dumps(service.asked[-1])


def test_via_the_real_gemini_cli(repo: Repo, tmp_path: Path) -> None:
    """A chat, and its next turn in the same chat: each with what was served for it."""
    installed("gemini")
    (tmp_path / ".gemini").mkdir()
    (tmp_path / ".gemini/settings.json").write_text(json.dumps(make_gemini.SETTINGS))
    with gemini_server.Service() as service:
        repo.environment |= {
            "GEMINI_CLI_HOME": str(tmp_path),
            "GEMINI_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": service.url,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GEMINI_CLI_NO_RELAUNCH": "1",
        }
        uses = gemini_server.usage
        service.play({"text": "First."}, uses=uses(prompt=1000, cached=400, output=50))
        words = ["-m", "gemini-2.5-pro", "--system", "Be brief."]
        assert repo.ai("run", "--via", "gemini", "plan", "x", "One", *words).out == "First.\n"
        assert "Be brief." in json.dumps(service.asked)
        assert "Be brief." not in repo.ai("show", "plan-x", "--full").out
        service.play({"text": "Second."}, uses=uses(prompt=2000, cached=900, output=60))
        assert repo.ai("run", "--via", "gemini", "plan", "x", "Two", "-m", "gemini-2.5-pro").out == "Second.\n"
        first, last = conversations(repo, "plan-x")
        assert first == last
        assert sums(repo, "plan-x") == {
            "turns": 2,
            "input_tokens": 600 + 1100,
            "cache_read_tokens": 400 + 900,
            "output_tokens": 110,
            "cache_write_tokens": 0,
        }
        assert "First." in json.dumps(service.asked[-1])


def test_an_agent_that_keeps_no_budget_is_said_to(repo: Repo, stand_in: Any) -> None:
    """A verb of the workflow may ask several: it is no mistake to give one, and no promise either."""
    said = {"type": "item.completed", "item": {"type": "agent_message", "text": '```json\\n{"findings": []}\\n```'}}
    started = {"type": "thread.started", "thread_id": MARK}
    stand_in(say(*map(json.dumps, (started, said, {"type": "turn.completed"}))), name="codex")
    (repo.path / "a.txt").write_text("x")
    repo.ai("start", "x")
    ran = repo.ai("review", "x", "a.txt", "--via", "codex", "--budget", "1")
    assert "codex keeps no budget: whether that of $1.00 is spent is seen behind the turn" in ran.err
    assert "no findings" in ran.out
    assert "keeps no budget" not in repo.ai("review", "x", "a.txt", "--via", "codex").err


# Programs that behave badly


@pytest.fixture
def stand_in(repo: Repo, tmp_path: Path) -> Any:
    """Puts a script in the place of ``claude``."""

    def put(text: str, name: str = "claude") -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        repo.environment["PATH"] = f"{path.parent}{os.pathsep}{os.environ['PATH']}"
        return path

    return put


INIT = json.dumps({"type": "system", "subtype": "init", "session_id": MARK})
SAID = json.dumps({"type": "assistant", "message": {"model": "m", "content": [{"type": "text", "text": "Half."}]}})
USED = {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 8}
RESULT = json.dumps({"type": "result", "result": "Whole.", "session_id": MARK, "usage": USED, "is_error": False})


def say(*lines: str) -> str:
    return "cat >/dev/null\n" + "\n".join(f"echo '{line}'" for line in lines)


def test_what_the_program_is_given(repo: Repo, stand_in: Any, tmp_path: Path) -> None:
    """Its words, the prompt on standard input and in no word, the folder, and the session for its hooks."""
    seen = tmp_path / "seen"
    stand_in(f'{{ pwd; echo "$AI_SESSION"; echo "$*"; cat; }} >{seen}\necho \'{RESULT}\'')
    (repo.path / "deep").mkdir()
    (repo.path / "a.txt").write_text("in the file")
    words = ["--model", "opus", "--system", "Be brief.", "--budget", "1.50", "-f", "../a.txt", "--task", "T1.1"]
    ran = repo.ai("run", "--via", "claude", "plan", "x", "Do it", *words, cwd=repo.path / "deep")
    assert ran.out == "Whole.\n"
    folder, session, given, *prompt = seen.read_text().splitlines()
    assert (folder, session) == (str(repo.path), "plan-x")
    assert given.startswith("-p --output-format stream-json --verbose --session-id ")
    assert given.endswith(" --model opus --append-system-prompt Be brief. --max-budget-usd 1.50")
    assert prompt[:2] + prompt[3:] == ["Do it", "", "in the file", "</file>"]
    assert prompt[2].startswith("<file name='../a.txt' id=")
    (turn,) = (item for item in repo.session("plan-x").commits if item.facts.kind == "turn")
    assert (turn.facts.task, turn.facts.conversation) == ("T1.1", MARK)
    assert turn.subject == "[T1.1] Do it"


def test_without_a_transcript_its_own_words_count(repo: Repo, stand_in: Any) -> None:
    """What it says of this invocation is the turn's usage, where nothing else is known."""
    stand_in(say(INIT, SAID, RESULT))
    repo.ai("run", "--via", "claude", "plan", "x", "Do it")
    assert sums(repo, "plan-x") == {
        "turns": 1,
        "input_tokens": 5,
        "output_tokens": 6,
        "cache_read_tokens": 7,
        "cache_write_tokens": 8,
    }


def test_the_first_turn_of_an_agent_is_foreseen_by_the_model_that_answered(repo: Repo, stand_in: Any) -> None:
    """None was named, and nothing like it was asked before; from then on it is by what such turns have cost."""
    stand_in(say(INIT, SAID.replace('"m"', '"claude-sonnet-4-5"'), RESULT))
    for _ in range(2):
        repo.ai("run", "--via", "claude", "plan", "x", "Do it")
    first, second = (item for item in repo.session("plan-x").commits if item.facts.kind == "turn")
    tokens, answer = 2, 1000  # "Do it", and an answer as they are taken to be
    assert first.facts.estimated_cost_usd == (tokens * 3 + answer * 15) * Decimal("1e-6")
    assert second.facts.estimated_cost_usd == repo.session("plan-x").metrics(first).cost_usd  # type: ignore[union-attr]
    todos = repo.ai("todo", "list", "--all", "--json").json
    assert len([todo for todo in todos if todo["kind"] == "turn" and todo["estimated_cost_usd"] is not None]) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Invalid API key · Please run /login' >&2; exit 1", "exit code 1: Invalid API key"),
        (
            "printf \"warning: odd\\n\\033[31merror:\\033[m unexpected argument '--nosuch' found\\n\\n"
            "Usage: codex exec\\n\\nFor more information, try '--help'.\\n\" >&2; exit 2",
            "exit code 2: error: unexpected argument '--nosuch' found",
        ),
        (
            "echo 'Unknown argument: nosuch' >&2; seq 5000 >&2; echo '  -h, --help  Show help  [boolean]' >&2; exit 1",
            "exit code 1: Unknown argument: nosuch",
        ),
        ("echo 'Not logged in.' >&2; echo 'Please run login.' >&2; exit 1", "exit code 1: Please run login."),
        ("cat >/dev/null; exit 3", "ended with exit code 3"),
        ("cat >/dev/null; head -c 100000 /dev/urandom", "ended with exit code 0"),
        ("exec <&-; exit 1", "ended with exit code 1"),
        ('echo \'[1]\'; echo \'{"a":1,"a":2}\'; printf "{"', "ended with exit code 0"),
    ],
)
def test_a_program_that_says_nothing_of_use(script: str, message: str, repo: Repo, stand_in: Any) -> None:
    """One line says what is known, and there is no turn: nothing is known to have taken place."""
    stand_in(script)
    # More than a pipe holds, for one that does not read it.
    ran = repo.ai("run", "--via", "claude", "plan", "x", "-", stdin="Do it " * 100_000, code=1)
    assert message in ran.err.splitlines()[-1]
    assert ran.err.splitlines()[-1].startswith("error: Claude Code ")
    assert repo.refs() == []


def test_a_failure_after_something_was_said_is_a_turn(repo: Repo, stand_in: Any) -> None:
    """What was paid for is kept, with what it came to."""
    stand_in(say(INIT, SAID, json.dumps({"type": "result", "is_error": True, "result": "API Error: 529"})))
    ran = repo.ai("run", "--via", "claude", "plan", "x", "Do it", code=1)
    assert ran.err.splitlines()[-1] == "error: API Error: 529"
    (turn,) = (item for item in repo.session("plan-x").commits if item.facts.kind == "turn")
    assert turn.facts.status == "error"
    stand_in(say(INIT, SAID) + "\nexit 7")
    assert "exit code 7" in repo.ai("run", "--via", "claude", "plan", "y", "Do it", code=1).err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("error_max_budget_usd", "Claude Code spent its budget; what was done is kept: raise --budget to go on"),
        ("error_of_another_kind", "error_of_another_kind"),
    ],
)
def test_a_word_of_the_agents_is_told_in_ours(word: str, said: str, repo: Repo, stand_in: Any) -> None:
    end = {"type": "result", "subtype": word, "session_id": MARK, "usage": USED, "is_error": True}
    stand_in(say(INIT, SAID, json.dumps(end)))
    assert repo.ai("run", "--via", "claude", "plan", "x", "Do it", code=1).err.splitlines()[-1] == f"error: {said}"
    assert repo.session("plan-x").commits[-1].facts.status == "error"


def test_the_turn_before_is_not_taken_for_this_one(repo: Repo, stand_in: Any) -> None:
    """Where the program fails before it writes anything down, the last turn of its transcript is an earlier one."""
    at = datetime.now(UTC) - timedelta(seconds=31)
    transcript(Path(os.environ["HOME"]), MARK, repo.path, [Asked("one", at)])
    repo.ai("import", "--from", "claude")
    stand_in(say(INIT, SAID) + "\nexit 1")
    repo.ai("run", "--via", "claude", "claude", "main", "two", code=1)
    first, last = (item for item in repo.session("claude-main").commits if item.facts.kind == "turn")
    assert (first.subject, last.subject) == ("one", "two")
    assert (first.facts.status, last.facts.status) == ("ok", "error")


@pytest.mark.parametrize("stubborn", ["", "trap '' INT TERM\n"])
def test_a_program_that_hangs_is_stopped_in_time(stubborn: str, repo: Repo, stand_in: Any, tmp_path: Path) -> None:
    """With all that it started, also where it will not; what it had said is a turn."""
    alive = tmp_path / "alive"
    stand_in(
        f'{stubborn}{say(INIT, SAID)}\nsh -c "$0 while :; do :; done" 2>/dev/null\n'
        f"(while :; do date >{alive}; sleep 0.1; done) &\nwait; sleep 100"
    )
    ran = repo.ai("run", "--via", "claude", "plan", "x", "Do it", "--timeout", "1", code=1)
    assert ran.out == "Half.\n"
    assert ran.err.splitlines()[-1] == "error: Claude Code took longer than 1 seconds and was stopped"
    (turn,) = (item for item in repo.session("plan-x").commits if item.facts.kind == "turn")
    assert turn.facts.status == "error"
    alive.unlink(missing_ok=True)
    time.sleep(0.5)
    assert not alive.exists()


def test_a_program_that_does_not_end_after_its_result(repo: Repo, stand_in: Any) -> None:
    """The answer is there: it is given time to end, and then ended."""
    stand_in(say(INIT, RESULT) + "\nexec sleep 100")
    ran = repo.ai("run", "--via", "claude", "plan", "x", "Do it")
    assert ran.out == "Whole.\n"


def test_a_line_without_end(repo: Repo, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is too long is passed over, in bounded memory, and what comes after it is read."""
    size = processes.MAX_LINE + 10
    stand_in(f"cat >/dev/null\nhead -c {size} /dev/zero | tr '\\0' x; echo\necho '{INIT}'\necho '{RESULT}'")
    assert repo.ai("run", "--via", "claude", "plan", "x", "Do it").out == "Whole.\n"


@pytest.mark.parametrize("pauses_s", [(), (0.05,), (1.5,)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_said(
    number: signal.Signals, pauses_s: tuple[float, ...], repo: Repo, stand_in: Any, tmp_path: Path
) -> None:
    """^C ends the agent, and the turn is kept as interrupted: also where git, which the terminal told as well, hands
    it on, and where a person who does not want to wait for the agent's end gives it again."""
    begun = tmp_path / "begun"
    end = "trap '' INT TERM; sleep 100; sleep 100" if pauses_s else "exec sleep 100"
    stand_in(f"{say(INIT, SAID)}\n: >{begun}\n{end}")
    process = subprocess.Popen(
        [*PROGRAM, "run", "--via", "claude", "plan", "x", "Do it"],
        cwd=repo.path,
        env={**os.environ, **repo.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=signals_by_default,
    )
    for _ in range(600):
        if begun.exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    for pause_s in pauses_s:
        time.sleep(pause_s)
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "Half.\n"), err
    (turn,) = (item for item in repo.session("plan-x").commits if item.facts.kind == "turn")
    assert turn.facts.status == "interrupted"


def test_a_program_that_is_not_installed(repo: Repo, tmp_path: Path) -> None:
    """One line says what installs it; nothing is recorded."""
    (tmp_path / "bin").mkdir()
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin/git").symlink_to(git)
    repo.environment["PATH"] = str(tmp_path / "bin")
    ran = repo.ai("run", "--via", "gemini", "plan", "x", "Do it", code=1)
    assert ran.err.splitlines()[-1].endswith("'npm install -g @google/gemini-cli' installs it; nothing was sent")
    assert repo.refs() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--via", "claude", "--agent-args", "--output-format json"], "--output-format is given to Claude Code"),
        (["--via", "claude", "--agent-args", "--resume=x"], "--resume is given to Claude Code"),
        (["--via", "codex", "--agent-args", "--last"], "--last is given to Codex"),
        (["--via", "gemini", "--agent-args", "'"], "--agent-args: No closing quotation"),
        (["--via", "codex", "--budget", "1"], "Codex keeps no budget"),
        (["--via", "claude", "--max-tokens", "5"], "--max-tokens is for requests of our own"),
        (["--timeout", "5"], "--timeout is for an agent"),
        (["--agent-args", "x"], "--agent-args is for an agent"),
        (["--via", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_asked_for(words: list[str], message: str, repo: Repo) -> None:
    """One line says why, before anything is started."""
    ran = repo.ai("run", *words, "plan", "x", "Do it", code=2)
    assert message in ran.err
    assert repo.refs() == []


def test_a_dry_run_starts_nothing(repo: Repo, stand_in: Any, tmp_path: Path) -> None:
    """It shows the words, the folder and the whole prompt."""
    stand_in(f": >{tmp_path}/started")
    repo.record("plan-x", {"prompt": "Before", "response": "Said before."})
    out = repo.ai("run", "--via", "claude", "plan", "x", "Do it", "--dry-run").out
    assert "command: claude -p --output-format stream-json" in out
    assert "Said before." in out
    assert out.endswith("resumes: 0 turns; hands over: 1 turn\nnothing was started\n")
    assert not (tmp_path / "started").exists()


def test_secrets_are_redacted_before_they_are_sent(repo: Repo, stand_in: Any, tmp_path: Path) -> None:
    """In the prompt and in files: the program sees what is stored."""
    seen = tmp_path / "seen"
    stand_in(f"cat >{seen}\necho '{RESULT}'")
    key = "AKIA" + "IOSFODNN7EXAMPLX"
    (repo.path / "a.txt").write_text(f"key = {key}\n")
    ran = repo.ai("run", "--via", "claude", "plan", "x", f"Use {key}", "-f", "a.txt")
    assert key not in seen.read_text()
    assert "redacted before sending" in ran.err


def test_sessions_that_are_not_to_be_used(repo: Repo, stand_in: Any) -> None:
    """The agent is asked afresh, and nothing is recorded."""
    stand_in(f"cat >/dev/null\nprintf %s \"$AI_SESSION\" >&2\necho '{RESULT}'")
    repo.environment["USE_SESSIONS"] = "false"
    ran = repo.ai("run", "--via", "claude", "plan", "x", "Do it")
    assert (ran.out, repo.refs()) == ("Whole.\n", [])
    assert "fresh, not recorded" in ran.err


@pytest.mark.parametrize(
    ("name", "file"), [("claude", ".claude/.credentials.json"), ("codex", ".codex/auth.json"), ("gemini", "")]
)
def test_where_there_is_no_key_an_agent_may_be_logged_in(name: str, file: str, repo: Repo, stand_in: Any) -> None:
    """``run`` says so, looking only at whether a file is there."""
    repo.environment["ANTHROPIC_API_KEY"] = ""
    assert "--via" not in repo.ai("run", "plan", "x", "Do it", code=1).err
    stand_in("exit 1", name)
    path = Path(os.environ["HOME"]) / (file or ".gemini/oauth_creds.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff not to be read")
    path.chmod(0)
    err = repo.ai("run", "plan", "x", "Do it", code=1).err
    assert f"or ask {name}, where you are logged in, with '--via {name}'" in err
