"""What is handed over behind a prompt is told once, and is no part of what was asked."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess.handed import Block, lay_out, prompt_of, taken_apart
from tests.agents import stand_in
from tests.conftest import Repo

AGENTS = ("claude", "codex", "gemini")
BLOCKS = [
    Block(kind="earlier-work", text="## Turn 1\n\nasked\n"),
    Block(kind="file", text="<file name='b' id=\"000000000000\">\n</file>", name='it\'s "a".txt'),
    Block(kind="file", text="", name="empty"),
]


# The blocks

ANY = st.text(st.characters(codec="utf-8"))
LIKE_BLOCKS = ["\n", "\n\n", "<file name='a' id=\"0123456789ab\">", "</file>", "</earlier-work>"]
WRITTEN = st.lists(st.sampled_from(LIKE_BLOCKS) | ANY).map("".join)
KINDS = st.sampled_from(["instructions", "earlier-work", "other-work"])
BLOCK = st.builds(Block, kind=KINDS, text=WRITTEN) | st.builds(Block, kind=st.just("file"), text=WRITTEN, name=ANY)


@given(WRITTEN.filter(str.strip), st.lists(BLOCK, max_size=4))
def test_what_is_laid_out_is_taken_apart(prompt: str, blocks: list[Block]) -> None:
    """Whatever stands in a prompt, in a block or in the name of a file; spaces around all of it may be lost."""
    text = lay_out(prompt, blocks)
    found, parts = taken_apart(f" {text}\n" if blocks else text)
    assert (found, parts) == (prompt.strip() if blocks else prompt, blocks)


def test_the_format_says_how_they_are_written() -> None:
    """The example of docs/format.md §3.2 is what is sent."""
    sent = lay_out("Do step 2", [Block(kind="earlier-work", text="…"), Block(kind="file", text="…", name="a.txt")])
    assert sent in (Path(__file__).parent.parent / "docs/format.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "<earlier-work>\nmine\n</earlier-work>", "\n\n<file name='a'>\nb\n</file>"])
def test_what_a_person_wrote_is_theirs(text: str) -> None:
    """Also where it looks like a block, is cut, or was pasted behind another prompt."""
    assert prompt_of(f"Do it{text}") == f"Do it{text}"
    sent = lay_out("Do it", BLOCKS)
    assert prompt_of(sent) == "Do it"
    assert prompt_of(f"Now {sent}") == f"Now {sent}"
    assert prompt_of(sent[:-1]) == sent[:-1]
    assert prompt_of(lay_out(f"Now {sent}", BLOCKS)) == f"Now {sent}"


def test_many_beginnings_take_no_longer_than_few() -> None:
    """A text of nothing but what looks like beginnings of blocks is read once."""
    text = "\n\n<file name='a' id=\"0123456789ab\">\n" * 200_000
    assert prompt_of(text) == text


# The agents


@pytest.fixture
def seen(repo: Repo, tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Puts the stand-ins in the place of the agents; what they were given."""
    file = tmp_path / "seen"
    (tmp_path / "bin").mkdir()
    for name in AGENTS:
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in.__file__} {name} {file} "$@"\n')
        path.chmod(0o755)
    repo.environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def prompts(repo: Repo, session: str) -> list[str]:
    turns = [item.oid for item in repo.session(session).commits if item.facts.kind == "turn"]
    return list(repo.workspace().history.prompts(turns))


def test_agents_that_take_turns(repo: Repo, seen: Callable[[], list[dict[str, Any]]]) -> None:
    """Each is told what the others did since its own last turn, each turn of them once, and nothing of its own; what is
    kept, shown and told of a prompt is what was asked."""
    order = [*AGENTS, *AGENTS, "claude", "gemini", "claude"]
    asked = [f"Ask {name} for {number}" for number, name in enumerate(order, 1)]
    for name, prompt in zip(order, asked, strict=True):
        repo.ai("run", "--via", name, "implement", "x", prompt)
    assert prompts(repo, "implement-x") == asked
    items = [item for item in repo.session("implement-x").commits if item.facts.kind == "turn"]
    assert [item.subject for item in items] == asked
    assert len({item.facts.conversation for item in items}) == len(AGENTS)
    for number, (name, given_) in enumerate(zip(order, seen(), strict=True)):
        told = [int(found) for found in re.findall(r"^## Turn (\d+)", given_["prompt"], re.MULTILINE)]
        had = [before for before in range(number) if order[before] == name]
        since = range(had[-1] + 2 if had else 1, number + 1)
        assert told == list(since), given_["prompt"]
        assert f"{name} answers" not in given_["prompt"]
    shown = repo.ai("show", "implement-x", "--full").out
    assert [line for line in shown.splitlines() if line.startswith("Ask ")] == asked
    assert "earlier-work" not in shown
    told = re.findall(r"^## Turn (\d+)", repo.ai("resume", "implement-x", "--as-prompt").out, re.MULTILINE)
    assert [int(found) for found in told] == list(range(1, len(order) + 1))
    # What was sent is kept as the agent wrote it down.
    native = repo.git("show", f"{items[-1].oid}:native/main.jsonl").splitlines()
    assert json.loads(native[0])["message"]["content"] == seen()[-1]["prompt"]
    assert repo.ai("doctor", "--json").json["findings"] == []


def test_what_is_read_in_and_files_are_no_part_of_the_prompt(
    repo: Repo, seen: Callable[[], list[dict[str, Any]]]
) -> None:
    """Nor are instructions, which Codex takes with the prompt alone; a file goes on as one."""
    repo.record("plan-x", {"prompt": "What is to be done?", "response": "Much."})
    (repo.path / "a.txt").write_text("in the file")
    typed = "Do it\n\n<earlier-work>\nmine\n</earlier-work>"
    words = ["--with", "plan-x", "-f", "a.txt", "--system", "Be brief."]
    repo.ai("run", "--via", "codex", "implement", "x", typed, *words)
    (given_,) = seen()
    assert all(text in given_["prompt"] for text in ("Much.", "in the file", "Be brief."))
    assert prompts(repo, "implement-x") == [typed]
    (turn,) = repo.ai("show", "implement-x", "--full", "--json").json["turn_list"]
    source = {"type": "text", "media_type": "text/plain", "data": "in the file"}
    assert turn["messages"][0]["content"] == [
        {"type": "document", "source": source, "title": "a.txt"},
        {"type": "text", "text": typed},
    ]


def test_turns_that_come_from_the_transcripts_alone(repo: Repo, seen: Callable[[], list[dict[str, Any]]]) -> None:
    """Another ledger that takes in the same transcripts has the same prompts, and the same turns by their ids."""
    order = [*AGENTS, *AGENTS]
    for number, name in enumerate(order):
        repo.ai("run", "--via", name, "implement", "x", f"Ask {number}")
    items = [item for item in repo.session("implement-x").commits if item.facts.kind == "turn"]
    ids = {item.facts.turn_id for item in items}
    assert repo.ai("import", "--from", "all").err == "nothing to import; 6 there already\n"
    repo.git("update-ref", "-d", "refs/ai-sessions/implement-x")
    repo.ai("import", "--from", "all")
    found = [prompt for name in AGENTS for prompt in prompts(repo, f"{name}-main")]
    assert found == ["Ask 0", "Ask 3", "Ask 1", "Ask 4", "Ask 2", "Ask 5"]
    again = [item for name in AGENTS for item in repo.session(f"{name}-main").commits if item.facts.kind == "turn"]
    assert {item.facts.turn_id for item in again} == ids


def test_where_there_is_no_transcript(repo: Repo, seen: Callable[[], list[dict[str, Any]]], tmp_path: Path) -> None:
    """What was sent is kept beside what was asked."""
    path = tmp_path / "bin" / "claude"
    path.write_text(f"{path.read_text().rstrip()} && rm -r ~/.claude/projects\n".replace("exec ", ""))
    repo.record("implement-x", {"prompt": "Before", "response": "Said before."})
    repo.ai("run", "--via", "claude", "implement", "x", "Do it")
    assert not (Path(os.environ["HOME"]) / ".claude/projects").exists()
    assert prompts(repo, "implement-x") == ["Before", "Do it"]
    data = json.loads(repo.git("show", "refs/ai-sessions/implement-x:turn.json"))
    assert data["params"] == {"prompt": seen()[0]["prompt"]}
    assert "messages" not in data
    assert "Said before." in data["params"]["prompt"]
