"""The real agents, each captured by what ``init`` told it to run: they edit a file and commit it, against a service on
the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.agents import gemini_server, make_codex, make_gemini, make_opencode, responses_server
from tests.agents.loopback import Loopback, Said
from tests.conftest import Repo

COMMIT = "git add hello.txt && git commit -qm agent"


def installed(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not on PATH: the real one is not tried")
    return program


def ask(repo: Repo, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Runs an agent to its end."""
    done = subprocess.run(
        words,
        cwd=repo.path,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def captured(repo: Repo, session: str, served: Mapping[str, int]) -> None:
    """One turn is in the ledger, with the tokens that were served, and the note is on the commit that it made."""
    repo.ai("drain", "--wait")
    (found,) = repo.ai("list", "--json").json
    assert (found["session"], found["turns"]) == (session, 1)
    assert {key: found[key] for key in served} == served
    assert Decimal(found["cost_usd"] or 0) >= 0
    made = repo.git("rev-parse", "HEAD")
    assert repo.git("log", "-1", "--format=%s") == "agent"
    assert repo.git("show", "HEAD:hello.txt") == "hello"
    (turn,) = (item for item in repo.session(session).commits if item.facts.kind == "turn")
    assert turn.facts.commits == (made,)
    assert repo.git("notes", "--ref=ai-sessions", "show", made).startswith(f"{session} turn 1: ")
    repo.fsck()


def tool(name: str, **given: Any) -> Mapping[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": given}


def script_of(*calls: Mapping[str, Any]) -> Callable[[Mapping[str, Any], int], Said]:
    """One call after the other, then an answer; what is asked without tools is the agent's own."""

    def script(body: Mapping[str, Any], number: int) -> Said:
        if not body.get("tools"):
            return Said(content=({"type": "text", "text": "An aside."},), kind="aside")
        results = sum(
            block.get("type") == "tool_result"
            for message in body["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
        )
        return Said(content=(calls[results] if results < len(calls) else {"type": "text", "text": "It is committed."},))

    return script


def served_by(service: Loopback) -> dict[str, int]:
    """The sums of what was served to turns, in the words of ``list --json``."""
    keys = {
        "input_tokens": "input_tokens",
        "output_tokens": "output_tokens",
        "cache_read_tokens": "cache_read_input_tokens",
        "cache_write_tokens": "cache_creation_input_tokens",
    }
    turn = [one["usage"] for one in service.served if one["kind"] == "turn"]
    return {ours: sum(one[theirs] for one in turn) for ours, theirs in keys.items()}


def test_the_real_claude_code_is_captured(repo: Repo, tmp_path: Path) -> None:
    """After ``init`` its turn is in the ledger with the tokens that were served, and the note is on its commit."""
    program = installed("claude")

    write = tool("Write", file_path=str(repo.path / "hello.txt"), content="hello\n")
    script = script_of(write, tool("Bash", command=COMMIT, description="Commit"))
    with Loopback(script=script) as service:
        environment = claude_environment(service, tmp_path)
        repo.ai("init", "--agent", "claude")
        words = ["-p", "Write and commit", "--output-format", "json", "--permission-mode", "acceptEdits"]
        ask(repo, [program, *words, "--allowedTools", "Bash(git:*)", "Write"], environment)
        captured(repo, "claude-main", served_by(service))


def claude_environment(service: Loopback, tmp_path: Path) -> dict[str, str]:
    return {
        "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
        "ANTHROPIC_BASE_URL": service.url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def test_the_real_claude_code_while_branches_are_switched(repo: Repo, tmp_path: Path) -> None:
    """Of one process, which looked for its branch when it began, each turn goes to the branch that it ended on, once:
    also where a person switched in between, or the agent did itself."""
    program = installed("claude")

    def script(body: Mapping[str, Any], number: int) -> Said:
        last = json.dumps(body["messages"][-1]["content"])
        if "#switch" in last and "tool_result" not in last:
            return Said(content=(tool("Bash", command="git switch -qc mine", description="Switch"),))
        return Said(content=({"type": "text", "text": "It is so."},), kind="turn" if body.get("tools") else "aside")

    with Loopback(script=script) as service:
        repo.ai("init", "--agent", "claude")
        words = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
        with subprocess.Popen(
            [program, *words, "--allowedTools", "Bash(git:*)"],
            cwd=repo.path,
            env={**os.environ, **claude_environment(service, tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            for prompt in ("One", "Two", "Three #switch", "Four"):
                if prompt == "Two":
                    # As after every answer that a person reads: git's record of HEAD goes by the second.
                    time.sleep(1.1)
                    repo.git("switch", "-qc", "theirs")
                said = {"type": "user", "message": {"role": "user", "content": prompt}}
                running.stdin.write(json.dumps(said) + "\n")
                running.stdin.flush()
                next(line for line in running.stdout if json.loads(line).get("type") == "result")
            running.stdin.close()
            running.stdout.read()
        assert_on_branches(repo, "claude", {"main": ["One"], "theirs": ["Two"], "mine": ["Three #switch", "Four"]})
        listed = repo.ai("list", "--json").json
        assert {key: sum(one[key] for one in listed) for key in served_by(service)} == served_by(service)


def assert_on_branches(repo: Repo, agent: str, expected: Mapping[str, list[str]]) -> None:
    """The turns of one conversation stand in the sessions of these branches, and nowhere else."""
    repo.ai("drain", "--wait")
    sessions = {f"{agent}-{branch}": prompts for branch, prompts in expected.items()}
    found = {ref.rpartition("/")[2]: repo.session(ref.rpartition("/")[2]).commits for ref in repo.refs()}
    turns = {name: [item for item in items if item.facts.kind == "turn"] for name, items in found.items()}
    assert {name: [item.subject for item in items] for name, items in turns.items()} == sessions
    for name, items in turns.items():
        assert {f"{agent}-{item.facts.branch}" for item in items} == {name}
    assert len(repo.ai("list", "--by", "conversation", "--json").json) == 1


def test_the_real_codex_is_captured(repo: Repo, tmp_path: Path) -> None:
    """After ``init`` its turn is in the ledger, and the program that it told before is still told, once, after ours."""
    program = installed("codex")
    home, told = tmp_path / "codex", tmp_path / "told"
    home.mkdir()
    uses = responses_server.usage
    with responses_server.Service() as service:
        theirs = f"notify = ['sh', '-c', 'printf \"%s\\n\" \"$#\" \"$1\" >>{told}', 'theirs'] # mine\n"
        (home / "config.toml").write_text(theirs + make_codex.CONFIG.format(url=service.url))
        environment = {"CODEX_HOME": str(home), "LOOPBACK_KEY": "none"}
        repo.ai("init", "--agent", "codex", env=environment)
        write = responses_server.called("exec_command", cmd="printf 'hello\\n' >hello.txt")
        service.play(write, uses=uses(input_tokens=1000, output_tokens=50))
        commit = responses_server.called("exec_command", cmd=COMMIT)
        service.play(commit, uses=uses(input_tokens=1100, cached=1000, output_tokens=51, reasoning=7))
        service.play(responses_server.said("It is committed."), uses=uses(input_tokens=1200, output_tokens=52))
        ask(repo, [program, "exec", "--json", "-s", "danger-full-access", "Write and commit"], environment)
        wait_for(told)
        captured(
            repo, "codex-main", {"input_tokens": 1000 + 100 + 1200, "cache_read_tokens": 1000, "output_tokens": 153}
        )
    count, event = told.read_text().splitlines()
    assert (count, json.loads(event)["last-assistant-message"]) == ("1", "It is committed.")


def test_the_real_codex_while_branches_are_switched(repo: Repo, tmp_path: Path) -> None:
    """Codex writes the branch down once, when a thread begins; each turn goes to the branch that it ended on."""
    program = installed("codex")
    home = tmp_path / "codex"
    home.mkdir()
    told = tmp_path / "told"
    uses = responses_server.usage(input_tokens=1000, output_tokens=50)
    with responses_server.Service() as service:
        theirs = f"notify = ['sh', '-c', 'echo >>{told}']\n"
        (home / "config.toml").write_text(theirs + make_codex.CONFIG.format(url=service.url))
        environment = {"CODEX_HOME": str(home), "LOOPBACK_KEY": "none"}
        repo.ai("init", "--agent", "codex", env=environment)
        ask_codex = [program, "exec", "--json", "-s", "danger-full-access"]
        service.play(responses_server.said("It is so."), uses=uses)
        ask(repo, [*ask_codex, "One"], environment)
        wait_for(told)
        told.unlink()
        (rollout,) = home.rglob("rollout-*.jsonl")
        thread = json.loads(rollout.read_text().splitlines()[0])["payload"]["id"]
        repo.git("switch", "-qc", "mine")
        service.play(responses_server.said("It is so."), uses=uses)
        ask(repo, [*ask_codex, "resume", thread, "Two"], environment)
        wait_for(told)
    assert_on_branches(repo, "codex", {"main": ["One"], "mine": ["Two"]})


def wait_for(path: Path) -> None:
    """Codex does not wait for the program that it tells."""
    for _ in range(600):
        if path.exists() and path.read_bytes().endswith(b"\n"):
            return
        time.sleep(0.05)


def test_the_real_gemini_cli_is_captured(repo: Repo, tmp_path: Path) -> None:
    """After ``init`` its turn is in the ledger, and the commit that it made has its note: no hook of git ran there."""
    program = installed("gemini")
    home = tmp_path / "gemini"
    (home / ".gemini").mkdir(parents=True)
    (home / ".gemini/settings.json").write_text(json.dumps(make_gemini.SETTINGS))
    called, uses = gemini_server.called, gemini_server.usage
    with gemini_server.Service() as service:
        environment = {
            "GEMINI_CLI_HOME": str(home),
            "GEMINI_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": service.url,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GEMINI_CLI_NO_RELAUNCH": "1",
            # It hides the file that they are in.
            **{f"GIT_{who}_NAME": "Ann" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "ann@example.com" for who in ("AUTHOR", "COMMITTER")},
        }
        repo.ai("init", "--agent", "gemini", env=environment)
        write = called("write_file", file_path=str(repo.path / "hello.txt"), content="hello\n")
        service.play(write, uses=uses(prompt=1000, output=50, thoughts=7))
        commit = called("run_shell_command", command=COMMIT, description="Commit")
        service.play(commit, uses=uses(prompt=1100, cached=1000, output=51))
        service.play({"text": "It is committed."}, uses=uses(prompt=1200, output=52))
        words = ["-m", "gemini-2.5-pro", "--approval-mode", "yolo", "-o", "json", "-p", "Write and commit"]
        ask(repo, [program, *words], environment)
        captured(
            repo, "gemini-main", {"input_tokens": 1000 + 100 + 1200, "cache_read_tokens": 1000, "output_tokens": 160}
        )


def test_the_real_opencode_is_captured(repo: Repo, tmp_path: Path) -> None:
    """After ``init`` its turn is in the ledger, from its database, and what it runs knows the session's id."""
    program = installed("opencode")
    write = tool("write", filePath=str(repo.path / "hello.txt"), content="hello\n")
    commit = tool("bash", command=f'printf %s "$OPENCODE_SESSION_ID" >.git/whose && {COMMIT}', description="Commit")
    with Loopback(script=script_of(write, commit)) as service:
        make_opencode.configure(tmp_path, service.url)
        environment = make_opencode.environment(tmp_path)
        repo.ai("init", "--agent", "opencode", env=environment)
        (repo.path / ".git/info/exclude").write_text(".opencode\n")
        ask(repo, [program, "run", "--format", "json", "Write and commit"], environment)
        captured(repo, "opencode-main", served_by(service))
    (turn,) = (item for item in repo.session("opencode-main").commits if item.facts.kind == "turn")
    assert turn.facts.conversation == (repo.path / ".git/whose").read_text()
