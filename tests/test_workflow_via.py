"""The workflow through an agent's own program: the real Claude Code against a loopback service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.agents.loopback import Loopback, Said
from tests.conftest import Repo
from tests.test_real_agents import installed, served_by, tool
from tests.test_workflow import ADD, BOTH, PLAN, TEST_ADD, TEST_MUL, TESTS, statuses


@pytest.fixture
def claude(repo: Repo, tmp_path: Path) -> Iterator[tuple[Loopback, list[Mapping[str, Any]]]]:
    """The service, and the blocks that it answers with, one for each request that offers tools."""
    installed("claude")
    blocks: list[Mapping[str, Any]] = []

    def script(body: Mapping[str, Any], number: int) -> Said:
        if not body.get("tools") or not blocks:
            return Said(content=({"type": "text", "text": "An aside."},), kind="aside")
        return Said(content=(blocks.pop(0),))

    with Loopback(script=script) as service:
        repo.environment |= {
            "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
            "ANTHROPIC_BASE_URL": service.url,
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        (repo.path / ".gitignore").write_text("__pycache__\n.claude\n")
        repo.git("add", "-A")
        repo.git("commit", "-qm", "A project")
        repo.git("config", "ai-session.testCommand", TESTS)
        yield service, blocks


def test_via_the_real_claude_code_tasks_are_implemented_in_one_conversation(
    repo: Repo, claude: tuple[Loopback, list[Mapping[str, Any]]], tmp_path: Path
) -> None:
    """One task test-first, and the next one in the conversation of the first: each turn is recorded once, with its task
    and its step, though the agent's own hooks are in place, and what is in the ledger is what was served."""
    service, blocks = claude
    repo.ai("init", "--agent", "claude")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.split("```yaml\n")[1].split("```")[0])
    repo.ai("plan", "calc", "--import", str(path))
    top = repo.path.resolve()

    def written(name: str, content: str, text: str) -> None:
        blocks.append(tool("Write", file_path=str(top / name), content=content))
        blocks.append({"type": "text", "text": text})

    written("test_add.py", TEST_ADD, "It fails.")
    written("calc.py", ADD, "It passes.")
    ran = repo.ai("implement", "calc", "--task", "T1.1", "--via", "claude")
    assert "calc.py" in ran.err
    assert statuses(repo) == {"T1.1": "completed", "T1.2": "pending"}
    written("test_mul.py", TEST_MUL, "It fails.")
    # A file that is there has to be read before it may be written, by older versions in each process.
    blocks.append(tool("Read", file_path=str(top / "calc.py")))
    written("calc.py", BOTH, "It passes.")
    repo.ai("implement", "calc", "--task", "T1.2", "--via", "claude")
    repo.ai("drain", "--wait")
    assert statuses(repo) == {"T1.1": "completed", "T1.2": "completed"}
    turns = [item for item in repo.session("implement-calc").commits if item.facts.kind == "turn"]
    assert [item.facts.task for item in turns] == ["T1.1", "T1.1", "T1.2", "T1.2"]
    assert len({item.facts.conversation for item in turns}) == 1
    (found,) = repo.ai("list", "implement-calc", "--json").json
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    assert {name: found[name] for name in names} == served_by(service)
    assert (repo.path / "calc.py").read_text() == BOTH
    assert repo.ai("doctor", "--json").json["findings"] == []
    repo.fsck()
