"""``resume``: captured conversations back to their agents, and handed on to others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gitsess.agents import claude, codex, gemini, opencode
from gitsess.providers.caching import estimate_tokens
from tests.agents import gemini_server, make_claude, make_codex, make_gemini, make_opencode, responses_server
from tests.agents.loopback import Loopback
from tests.conftest import NOON, PROGRAM, Repo, hours
from tests.test_past import ALPHA, BETA, Asked, transcript

FORKS = Path(__file__).parent / "agents/claude/2.1.330/fork"


@pytest.fixture
def home(sealed: dict[str, str]) -> Path:
    return Path(sealed["HOME"])


@pytest.fixture
def kept(repo: Repo, home: Path) -> Path:
    """A transcript of two turns, which were imported."""
    path = transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(1))])
    repo.ai("import", "--from", "claude")
    return path


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def put_back(repo: Repo, home: Path) -> Path:
    """The transcript that ``resume`` said it made."""
    (path,) = (home / ".claude/projects").rglob("*.jsonl")
    return path


def test_the_transcript_is_made_again(repo: Repo, home: Path, kept: Path) -> None:
    """Where the agent has nothing left, it has what it had, and the command to go on is all that is on stdout."""
    before = entries(kept)
    shutil.rmtree(home / ".claude")
    ran = repo.ai("resume", "claude-main")
    assert ran.out == f"claude --resume {ALPHA}\n"
    path = put_back(repo, home)
    assert ran.err == f"restored {path} (2 turns)\n"
    assert entries(path) == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == f"{ALPHA}.jsonl"


def test_what_was_restored_is_not_captured_again(repo: Repo, home: Path, kept: Path) -> None:
    """The same turns come in from the restored transcript as from the first one: nothing is new."""
    shutil.rmtree(home / ".claude")
    repo.ai("resume", "claude-main")
    assert "nothing to import; 2 there already" in repo.ai("import", "--from", "claude").err


def test_a_transcript_that_is_there_stays(repo: Repo, home: Path, kept: Path) -> None:
    """One that has all turns, and one that has more of them, are not touched."""
    for _ in range(2):
        before = kept.read_bytes()
        ran = repo.ai("resume", "claude-main")
        assert (ran.out, kept.read_bytes()) == (f"claude --resume {ALPHA}\n", before)
        assert ran.err.startswith("there already: ")
        more = entries(kept)[-2:]
        late = [{**entry, "uuid": f"{entry['uuid']}-x", "promptId": "later"} for entry in more]
        kept.write_bytes(before + "".join(json.dumps(entry) + "\n" for entry in late).encode())


def test_an_older_transcript_is_replaced(repo: Repo, home: Path, kept: Path) -> None:
    """One that lacks turns, and has none of its own, is the same conversation at an earlier time."""
    whole = entries(kept)
    kept.write_text("".join(json.dumps(entry) + "\n" for entry in whole[:2]))
    ran = repo.ai("resume", "claude-main", "--json")
    assert (ran.json["action"], ran.json["turns"], ran.json["commands"]) == (
        "replaced",
        2,
        [["claude", "--resume", ALPHA]],
    )
    assert entries(kept) == whole


def test_a_transcript_that_went_another_way_is_left_alone(repo: Repo, home: Path, kept: Path) -> None:
    """Where the agent has turns that the session has not, and the other way round, nothing is decided."""
    whole = entries(kept)
    changed = [*whole[:2], {**whole[2], "promptId": "another", "uuid": "other"}, whole[3]]
    kept.write_text("".join(json.dumps(entry) + "\n" for entry in changed))
    before = kept.read_bytes()
    ran = repo.ai("resume", "claude-main", code=3)
    assert ran.err.startswith(f"error: {kept} has turns that are not here, and lacks 1 that are")
    assert kept.read_bytes() == before


def test_a_conversation_of_two_sessions(repo: Repo, home: Path) -> None:
    """All of it is restored, whichever session is named; its turns then go to that session."""
    asked = [Asked("one", NOON), Asked("two", NOON + hours(1), branch="fix")]
    before = entries(transcript(home, ALPHA, repo.path, asked))
    repo.ai("import", "--from", "claude")
    shutil.rmtree(home / ".claude")
    ran = repo.ai("resume", "claude-fix")
    assert ran.out == f"AI_SESSION=claude-fix claude --resume {ALPHA}\n"
    assert entries(put_back(repo, home)) == before


def test_from_below_the_top(repo: Repo, kept: Path) -> None:
    """Elsewhere in the working tree the command begins by going to its top, where the agent was."""
    (repo.path / "deep").mkdir()
    assert repo.ai("resume", "claude-main", cwd=repo.path / "deep").out.startswith(f"cd {repo.path} && claude --resume")


def test_one_of_two_conversations(repo: Repo, home: Path) -> None:
    """The newest turn's is gone on with, or the one that is named; later turns of others are counted aloud."""
    transcript(home, ALPHA, repo.path, [Asked("one", NOON)])
    transcript(home, BETA, repo.path, [Asked("two", NOON + hours(1)), Asked("three", NOON + hours(2))])
    repo.ai("import", "--from", "claude")
    assert repo.ai("resume", "claude-main").out == f"claude --resume {BETA}\n"
    ran = repo.ai("resume", "claude-main", "--conversation", ALPHA[:6])
    assert ran.out == f"claude --resume {ALPHA}\n"
    assert "2 turns of claude-main after it are not of this conversation\n" in ran.err
    assert "no turn is of a conversation" in repo.ai("resume", "claude-main", "--conversation", "ffff", code=1).err


def test_a_fork_is_restored_with_what_it_goes_on_from(repo: Repo, home: Path) -> None:
    """A fork of a fork begins with the turns of both its parents, which are not taken for its own."""
    folder = home / ".claude/projects/-p"
    folder.mkdir(parents=True)
    for path in FORKS.glob("*.jsonl"):
        (folder / path.name).write_text(path.read_text().replace("/home/ann/project", str(repo.path)))
    repo.ai("import", "--from", "claude")
    (turn,) = (item for item in repo.session("claude-main").commits if item.subject.startswith("Three"))
    shutil.rmtree(home / ".claude")
    repo.ai("resume", "claude-main", "--conversation", str(turn.facts.conversation))
    path = put_back(repo, home)
    said = [entry["message"]["content"] for entry in entries(path) if entry["type"] == "user"]
    assert said == ["One #plain", "Two, in the fork #plain", "Three #plain"]
    assert {entry["sessionId"] for entry in entries(path)} == {turn.facts.conversation}
    assert [item.turn.turn_id for item in claude.read(path, closed=True)] == [turn.facts.turn_id]


@pytest.mark.parametrize("name", ["../../../escaped", "-x", "$(reboot)", "a" * 300])
def test_a_hostile_id(name: str, repo: Repo, home: Path) -> None:
    """An id that no agent gives is refused in one line, and nothing is written."""
    repo.record("claude-x", {"prompt": "p", "response": "r", "agent": "claude-code/2.1.330", "conversation": name})
    ran = repo.ai("resume", "claude-x", code=1)
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert not (home / ".claude").exists()


def test_a_session_that_no_agent_wrote(repo: Repo) -> None:
    """It says what goes on with it instead."""
    repo.record("plan-x", {"prompt": "p", "response": "r"})
    assert "'git ai-session run' goes on with it" in repo.ai("resume", "plan-x", code=1).err
    assert "## Turn 1\n\np\n\n### Answer\n\nr\n" in repo.ai("resume", "plan-x", "--as-prompt").out
    assert repo.ai("resume", "plan-x", "--for", "codex").out.startswith("This is the record of earlier work")
    repo.ai("resume", "plan-y", code=1)


def test_turns_without_entries_of_the_agent(repo: Repo) -> None:
    """What holds no entries cannot be made a transcript of, and says so."""
    turn = {"prompt": "p", "response": "r", "agent": "claude-code/2.1.330", "conversation": ALPHA}
    repo.record("claude-x", turn)
    assert "1 of its 1 turns have no entries" in repo.ai("resume", "claude-x", code=1).err


# Handing on


LONG = [{"prompt": f"question {n} " + "why " * 400, "response": f"answer {n} " + "because " * 400} for n in range(8)]


@pytest.mark.parametrize("limit", [500, 1200, 4000, 100_000])
def test_a_handoff_keeps_to_its_limit(limit: int, repo: Repo) -> None:
    """It has the end, as much before it as there is room for, and what all of it is about."""
    repo.record("plan-x", *LONG)
    ran = repo.ai("resume", "plan-x", "--as-prompt", "--max-tokens", str(limit))
    assert estimate_tokens(ran.out) <= limit
    assert "answer 7" in ran.out
    assert "question 0" in ran.out
    told = [n for n in range(8) if f"## Turn {n + 1}\n" in ran.out]
    assert told == list(range(8 - len(told), 8))
    assert len(told) == {500: 1, 1200: 1, 4000: 3, 100_000: 8}[limit]
    between = re.findall(r"^\((\d) turns? after it left out\)$", ran.out, re.MULTILINE)
    assert between == ([str(7 - len(told))] if len(told) < 7 else [])
    found = repo.ai("resume", "plan-x", "--as-prompt", "--max-tokens", str(limit), "--json").json
    assert (found["prompt"], found["turns"], found["turns_left_out"]) == (ran.out, len(told), 8 - len(told))


def test_a_handoff_of_a_single_long_turn(repo: Repo) -> None:
    """It is cut in its middle, by as much as is said."""
    repo.record("plan-x", {"prompt": "begin " + "x" * 40_000 + " end", "response": "start " + "ä" * 40_000 + " stop"})
    out = repo.ai("resume", "plan-x", "--as-prompt", "--max-tokens", "1000").out
    assert estimate_tokens(out) <= 1000
    assert all(word in out for word in ("begin ", " end", "start ", " stop", "characters left out"))


def test_a_handoff_tells_of_tools_commits_and_what_is_left(repo: Repo, home: Path) -> None:
    """What was done with tools is a line each; the list as it stood last says what is to be done."""
    folder = home / ".claude/projects/-p"
    folder.mkdir(parents=True)
    for path in (FORKS.parent / "todos").glob("*.jsonl"):
        (folder / path.name).write_text(path.read_text().replace("/home/ann/project", str(repo.path)))
    repo.ai("import", "--from", "claude")
    out = repo.ai("resume", "claude-main", "--as-prompt").out
    assert "Still to be done:\n- Write docs (begun)\n" in out
    assert "- TaskCreate: All\n" in out
    assert "Branch: main\n" in out


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "opencode"])
def test_another_agent_is_given_what_was_said(agent: str, repo: Repo, tmp_path: Path) -> None:
    """It is started with the prompt, at the top of the working tree, and told which session its turns go to."""
    repo.record("plan-x", {"prompt": "p", "response": "r"})
    stand_in = tmp_path / "bin" / agent
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\npwd\necho "$AI_SESSION"\nfor word; do :; done\nprintf %s "$word"\n')
    stand_in.chmod(0o755)
    (repo.path / "deep").mkdir()
    path = f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"
    ran = repo.ai("resume", "plan-x", "--for", agent, "--exec", cwd=repo.path / "deep", env={"PATH": path})
    text = repo.ai("resume", "plan-x", "--as-prompt").out
    assert ran.out == f"{repo.path}\nplan-x\n{text}"


def test_where_a_handoff_would_go_on(repo: Repo, tmp_path: Path) -> None:
    """As JSON it says in which folder: the top of the working tree, and none where there is none."""
    repo.record("plan-x", {"prompt": "p", "response": "r"})
    (repo.path / "deep").mkdir()
    for words in (["--for", "gemini"], ["--as-prompt"]):
        found = repo.ai("resume", "plan-x", *words, "--json", cwd=repo.path / "deep").json
        assert found["folder"] == str(repo.path)
    bare = tmp_path / "bare.git"
    repo.git("clone", "-q", "--bare", "--mirror", str(repo.path), str(bare))
    assert repo.ai("resume", "plan-x", "--as-prompt", "--json", cwd=bare).json["folder"] is None


def test_an_agent_that_is_not_installed(repo: Repo, kept: Path, tmp_path: Path) -> None:
    """What was asked for is said to be missing, and which way there is without it."""
    (tmp_path / "bin").mkdir()
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin/git").symlink_to(git)
    ran = repo.ai("resume", "claude-main", "--exec", env={"PATH": str(tmp_path / "bin")}, code=1)
    assert ran.err.splitlines()[-1] == "error: claude is not on PATH: install it, or leave out --exec"


def test_options_that_make_no_sense_together(repo: Repo, kept: Path) -> None:
    """A limit that nothing could be said in, and an agent that nobody named."""
    assert "--max-tokens: at least 500" in repo.ai("resume", "claude-main", "--max-tokens", "10", code=2).err
    assert "say with --for" in repo.ai("resume", "claude-main", "--as-prompt", "--exec", code=2).err
    ran = repo.ai("resume", "claude-main", "--exec", "--json", code=2)
    assert (ran.out, ran.err) == ("", "error: --exec starts the agent instead of printing how: leave --json out\n")


# The real agents


def installed(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} on PATH")
    return program


def our(words: list[str], environment: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run([*PROGRAM, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_real_claude_code_goes_on_with_what_was_restored(tmp_path: Path) -> None:
    """From an empty configuration it sends what was said before, its own tools included."""
    program = installed("claude")
    root = tmp_path / "agent"
    root.mkdir()
    with Loopback(script=make_claude.script_of(root / "project")) as service:
        run = make_claude.Run(program, root, service)
        run.ask("Greet me #edit", "--session-id", make_claude.SESSION)
        run.ask("Look around #agents", "--resume", make_claude.SESSION)
        environment = {**run.environment, "SESSION_DIR": str(tmp_path / "copies")}
        our(["import", "--from", "claude"], environment, run.project)
        shutil.rmtree(run.config / "projects")
        assert our(["resume", "claude-main"], environment, run.project) == f"claude --resume {make_claude.SESSION}\n"
        run.ask("And then? #plain", "--resume", make_claude.SESSION)
    sent = json.dumps(service.bodies[-1]["messages"])
    assert all(text in sent for text in ("Greet me #edit", "toolu_loopback_commit", "Both have looked.", "And then?"))


def test_the_real_codex_goes_on_with_what_was_restored() -> None:
    """From an empty configuration it sends what was said before."""
    program = installed("codex")
    uses = responses_server.usage(input_tokens=100, output_tokens=5)
    with responses_server.Service() as service:
        stage = make_codex.Stage(program, service)
        try:
            service.play(responses_server.said("First answer."), uses=uses)
            thread = stage.ask("first question")
            environment = {**stage.environment, "SESSION_DIR": str(stage.home / "copies")}
            our(["import", "--from", "codex"], environment, stage.project)
            shutil.rmtree(stage.home / ".codex/sessions")
            for left in (stage.home / ".codex").glob("*.sqlite*"):
                left.unlink()
            assert our(["resume", "codex-main"], environment, stage.project) == f"codex resume {thread}\n"
            service.play(responses_server.said("Second answer."), uses=uses)
            assert stage.ask("second question", how="resume", thread=thread) == thread
            (again,) = codex.transcripts(stage.home, stage.environment)
            said = [found.turn.response for found in codex.read(again.path, closed=True)]
        finally:
            stage.leave()
    assert "First answer." in json.dumps(service.asked[-1])
    assert said == ["First answer.", "Second answer."]


def test_the_real_gemini_goes_on_with_what_was_restored() -> None:
    """From an empty home it sends what was said before."""
    program = installed("gemini")
    uses = gemini_server.usage(prompt=100, output=5)
    with gemini_server.Service() as service:
        stage = make_gemini.Stage(program, service)
        try:
            service.play({"text": "First answer."}, uses=uses)
            stage.ask("first question")
            environment = {**stage.environment, "SESSION_DIR": str(stage.home / "copies")}
            our(["import", "--from", "gemini"], environment, stage.project)
            shutil.rmtree(stage.home / ".gemini/tmp")
            (stage.home / ".gemini/projects.json").unlink()
            words = our(["resume", "gemini-head"], environment, stage.project).split()
            service.play({"text": "Second answer."}, uses=uses)
            stage.ask("second question", *words[-2:])
            found = [
                item
                for one in gemini.transcripts(stage.home, stage.environment)
                for item in gemini.read(one.path, closed=True)
            ]
        finally:
            stage.leave()
    assert "First answer." in json.dumps(service.asked[-1])
    assert [item.turn.response for item in found] == ["First answer.", "Second answer."]


def test_the_real_opencode_goes_on_with_what_was_restored(tmp_path: Path) -> None:
    """Into an empty database, by its own import; its total is what it was."""
    program = installed("opencode")
    root = tmp_path / "agent"
    root.mkdir()
    with Loopback(script=make_opencode.script_of(root / "project")) as service:
        stage = make_opencode.Stage(program, root, service)
        session = stage.ask("make a file #edit")
        environment = {**stage.environment, "SESSION_DIR": str(tmp_path / "copies")}
        our(["import", "--from", "opencode"], environment, stage.project)
        shutil.rmtree(root / ".local/share/opencode")
        (name,) = (
            line.split()[0] for line in our(["list"], environment, stage.project).splitlines() if "opencode" in line
        )
        line = our(["resume", name], environment, stage.project)
        assert line.endswith(f"opencode --session {session}\n")
        before, _, _ = line.partition(" && ")
        subprocess.run(before, shell=True, cwd=stage.project, env=stage.environment, check=True, capture_output=True)
        assert our(["doctor", "--accounting"], environment, stage.project)
        assert stage.ask("again #plain", "--session", session) == session
        assert "there already" not in our(["resume", name], environment, stage.project)
    sent = json.dumps(service.bodies[-1]["messages"])
    assert all(text in sent for text in ("make a file #edit", "toolu_loopback_3", "Done.", "again #plain"))


def test_a_session_of_opencode_that_is_there_stays(repo: Repo, home: Path) -> None:
    """What its database has is not imported into it."""
    text = json.dumps(json.loads((make_opencode.FIXTURES / "edit/rows.json").read_text()))
    rows = json.loads(text.replace("/home/ann/project", str(repo.path)))
    make_opencode.database(rows, opencode.database_of(home, {}))
    repo.ai("import", "--from", "opencode")
    conversation = rows["session"][1]["id"]
    ran = repo.ai("resume", "opencode-head", "--conversation", conversation)
    assert ran.out.endswith(f"opencode --session {conversation}\n")
    assert "import" not in ran.out
    assert ran.err.startswith("there already: ")
