"""Make the fixtures of opencode's database by running the program itself against a service on the loopback.

    python -m tests.agents.make_opencode [--opencode PROGRAM]

Below tests/agents/opencode, a folder for each case holds ``rows.json``, the rows of the tables that are read, and
``served.json``: ``{"runs": [{"session", "prompt", "served": [{"kind", "model", "usage"}]}]}``, what was asked in each
run and what the service sent. Home and repository are made for the purpose; in the fixtures they are /home/ann and
/home/ann/project.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.agents.loopback import Loopback, Refused, Said

FIXTURES = Path(__file__).with_name("opencode")
HOME = "/home/ann"
TABLES = ("session", "message", "part")


def configure(home: Path, url: str) -> None:
    """Has opencode ask the service, and nobody else."""
    config = {
        "autoupdate": False,
        "share": "disabled",
        "model": "anthropic/claude-sonnet-4-5",
        "small_model": "anthropic/claude-haiku-4-5",
        "provider": {"anthropic": {"options": {"baseURL": f"{url}/v1", "apiKey": "dummy"}}},
        "permission": {"edit": "allow", "bash": "allow"},
    }
    folder = home / ".config" / "opencode"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "opencode.json").write_text(json.dumps(config))


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        # With a folder of plugins it would look for packages, and wait for the network.
        "npm_config_offline": "true",
    }


def database(rows: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """Makes a database of the rows of a fixture, with the columns that they have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    with connection:
        for table in TABLES:
            columns = list(dict.fromkeys(name for row in rows.get(table, []) for name in row)) or ["id"]
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            for row in rows.get(table, []):
                marks = ", ".join("?" * len(columns))
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", [row.get(name) for name in columns])
    connection.close()


class Stage:
    """A home with a repository, a service, and what was run there."""

    def __init__(self, program: str, home: Path, service: Loopback) -> None:
        self.program, self.home, self.service = program, home, service
        self.project = home / "project"
        self.project.mkdir()
        configure(home, service.url)
        self.environment = {
            **environment(home),
            "PATH": os.environ["PATH"],
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_NAME": "Ann" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "ann@example.org" for who in ("AUTHOR", "COMMITTER")},
        }
        for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "begin"]):
            subprocess.run(["git", *command], cwd=self.project, env=self.environment, check=True)
        self.runs: list[dict[str, Any]] = []

    def ask(self, prompt: str, *options: str, interrupt: bool = False) -> str:
        """Run the program with a prompt; returns the session's id."""
        begun = len(self.service.served)
        process = subprocess.Popen(
            [self.program, "run", "--format", "json", *options, prompt],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if interrupt:
            self.service.hanging.wait(60)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        found = [json.loads(line)["sessionID"] for line in output.splitlines() if '"sessionID"' in line]
        session = str(found[0]) if found else ""
        self.runs.append({"session": session, "prompt": prompt, "served": self.service.served[begun:]})
        return session

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the tables that are read, in the order of their ids."""
        path = self.home / ".local/share/opencode/opencode.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        found = {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")] for table in TABLES
        }
        connection.close()
        return found

    def keep(self, name: str) -> None:
        """Write the rows and what was served as the fixture of that name."""
        folder = FIXTURES / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file, value in (("rows", self.rows()), ("served", {"runs": self.runs})):
            text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
            (folder / f"{file}.json").write_text(
                text.replace(str(self.home), HOME).replace(self.service.url, "http://127.0.0.1:8000")
            )


def script_of(project: Path) -> Callable[[Mapping[str, Any], int], Said | Refused]:
    """Answers by the last ``#mark`` that a prompt bears, and the number of answers since."""

    def text(said: str) -> dict[str, Any]:
        return {"type": "text", "text": said}

    def call(number: int, name: str, **given: Any) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"toolu_loopback_{number}", "name": name, "input": given}

    listed = [{"content": "Write", "status": "completed", "priority": "high", "id": "1"}]
    listed.append({"content": "Test", "status": "in_progress", "priority": "low", "id": "2"})
    steps: dict[str, list[tuple[dict[str, Any], ...]]] = {
        "#edit": [
            (text("I write."), call(1, "write", filePath=f"{project}/a.py", content="print(1)\n")),
            (call(2, "todowrite", todos=listed), call(3, "bash", command="false", description="Fail")),
            (text("Done."),),
        ],
        "#agent": [
            (call(4, "task", description="Look", prompt="Look around #look", subagent_type="general"),),
            (text("It has looked."),),
        ],
        "#look": [(call(5, "read", filePath=f"{project}/a.py"),), (text("I see."),)],
    }

    def script(body: Mapping[str, Any], number: int) -> Said | Refused:
        answers = 0
        for message in reversed(body["messages"]):
            if message["role"] == "assistant":
                answers += 1
                continue
            said = message["content"] if isinstance(message["content"], str) else json.dumps(message["content"])
            if "#" not in said:
                continue
            if "#broken" in said:
                return Refused(status=400)
            if "#hang" in said:
                return Said(content=(text("This takes a while…"),), hang=True)
            mark = next((mark for mark in ("#look", "#agent", "#edit") if mark in said), "")
            kind = "subagent" if mark == "#look" else "turn"
            if not body.get("tools"):
                break
            if mark and answers < len(steps[mark]):
                return Said(content=steps[mark][answers], kind=kind)
            return Said(content=(text(f"Answer {number}."),), kind=kind)
        return Said(content=(text("A summary." if not body.get("tools") else f"Answer {number}."),), kind="aside")

    return script


def edit(stage: Stage) -> None:
    """Tools and a list, a resumption, and a fork of the whole."""
    session = stage.ask("make a file #edit")
    stage.ask("again #plain", "--session", session)
    stage.ask("another way #plain", "--session", session, "--fork")
    stage.ask("once more #plain", "--session", session)


def subagent(stage: Stage) -> None:
    """A subagent with a tool, and a turn after it."""
    session = stage.ask("delegate #agent")
    stage.ask("and now? #plain", "--session", session)


def refused(stage: Stage) -> None:
    """The service refuses, and then answers."""
    session = stage.ask("be refused #broken")
    stage.ask("more #plain", "--session", session)


def interrupted(stage: Stage) -> None:
    """The person interrupts an answer, and goes on."""
    session = stage.ask("be interrupted #hang", interrupt=True)
    stage.ask("go on #plain", "--session", session)


CASES: tuple[Callable[[Stage], None], ...] = (edit, subagent, refused, interrupted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opencode", default="opencode")
    parser.add_argument("cases", nargs="*")
    given = parser.parse_args()
    for case in CASES:
        if given.cases and case.__name__ not in given.cases:
            continue
        with tempfile.TemporaryDirectory(prefix="opencode-") as folder:
            home = Path(folder).resolve()
            with Loopback(script=script_of(home / "project")) as service:
                stage = Stage(given.opencode, home, service)
                case(stage)
                stage.keep(case.__name__)
        print(case.__name__, file=sys.stderr)


if __name__ == "__main__":
    main()
