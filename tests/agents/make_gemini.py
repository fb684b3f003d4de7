"""Make the fixtures of Gemini CLI's chats by running the program itself against a service on the loopback.

    python -m tests.agents.make_gemini [--gemini PROGRAM]

Below tests/agents/gemini, a folder for each case is a home with its ``.gemini/tmp``, and ``served.json``: ``{"runs":
[{"prompt", "served": [{"model", "usage"}]}]}``, what was asked in each run and what the service streamed to its end.
One case waits for the clock's next minute. Home and repository are made for the purpose; in the fixtures they are
/home/ann and /home/ann/project, and what the program tells the model of itself is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.agents.gemini_server import Service, called, thought, usage

FIXTURES = Path(__file__).with_name("gemini")
HOME = "/home/ann"
SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}


class Stage:
    """A home with a repository, a service, and what was run there."""

    def __init__(self, program: str, service: Service) -> None:
        self.program, self.service = program, service
        self.home = Path(tempfile.mkdtemp(prefix="gemini-"))
        self.project = self.home / "project"
        self.project.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GEMINI_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": service.url,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GEMINI_CLI_NO_RELAUNCH": "1",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        (self.home / ".gemini").mkdir()
        (self.home / ".gemini" / "settings.json").write_text(json.dumps(SETTINGS))
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=self.project, env=self.environment, check=True)
        self.runs: list[dict[str, Any]] = []

    def ask(self, prompt: str, *options: str, interrupt: bool = False) -> None:
        """Run the program with a prompt."""
        begun, heard = len(self.service.served), len(self.service.asked)
        command = [
            self.program,
            "-m",
            "gemini-2.5-pro",
            "--approval-mode",
            "yolo",
            "-o",
            "json",
            "-p",
            prompt,
            *options,
        ]
        process = subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if interrupt:
            while len(self.service.asked) == heard and process.poll() is None:
                time.sleep(0.05)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
        self.runs.append({"prompt": prompt, "served": self.service.served[begun:]})

    def keep(self, name: str) -> None:
        """Write the chats and what was served as the fixture of that name."""
        folder = FIXTURES / name
        shutil.rmtree(folder, ignore_errors=True)
        top = self.home / ".gemini" / "tmp"
        for path in sorted(top.rglob("*")):
            if path.name == ".project_root" or (path.suffix == ".jsonl" and "chats" in path.parts):
                text = path.read_text()
                if path.suffix == ".jsonl":
                    lines = [cleaned(json.loads(line)) for line in text.splitlines()]
                    text = "".join(f"{json.dumps(line, ensure_ascii=False, separators=(',', ':'))}\n" for line in lines)
                kept = folder / path.relative_to(self.home)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(text.replace(str(self.home), HOME))
        (folder / "served.json").write_text(json.dumps({"runs": self.runs}, indent=1) + "\n")

    def leave(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def cleaned(value: Any) -> Any:
    """A line without what the program tells the model of itself."""
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(?s)(<session_context>).*(</session_context>)", r"\1(left out)\2", value)
    return value


def edit(stage: Stage) -> None:
    """Three requests with calls and a list, and a resumption within the same minute, or nearly so."""
    play, file = stage.service.play, str(stage.project / "a.py")
    play(
        thought("**Looking** at it"),
        {"text": "Creating "},
        {"text": "the file."},
        called("write_file", file_path=file, content="print(1)\n"),
        uses=usage(prompt=1000, output=50, thoughts=7),
    )
    todos = [{"description": "Write", "status": "completed"}, {"description": "Test", "status": "in_progress"}]
    play(
        called("write_todos", todos=todos),
        called("run_shell_command", command="false", description="fail"),
        uses=usage(prompt=1100, cached=1000, output=51, thoughts=7, tool=9),
    )
    play({"text": "Done."}, uses=usage(prompt=1200, cached=1000, output=52, thoughts=7))
    stage.ask("make a file")
    play({"text": "Again."}, uses=usage(prompt=1300, cached=1000, output=53))
    stage.ask("again", "--resume", "latest")


def later(stage: Stage) -> None:
    """A resumption in a later minute, which begins a file of its own."""
    stage.service.play(called("list_directory", dir_path="."), uses=usage(prompt=1400, output=54))
    stage.service.play({"text": "Listed."}, uses=usage(prompt=1450, output=55))
    stage.ask("list the files")
    time.sleep(61 - time.time() % 60)
    stage.service.play({"text": "Later."}, uses=usage(prompt=1500, cached=1400, output=56))
    stage.ask("and later?", "--resume", "latest")


def refused(stage: Stage) -> None:
    """The service refuses."""
    stage.service.refuse(400, "no such thing")
    stage.ask("be refused")


def interrupted(stage: Stage) -> None:
    """The user interrupts while a later answer is on its way."""
    stage.service.play(called("list_directory", dir_path="."), uses=usage(prompt=1600, output=57))
    stage.service.stall({"text": "half "}, {"text": "never"}, uses=usage(prompt=1700, output=58))
    stage.ask("be interrupted", interrupt=True)


def subagent(stage: Stage) -> None:
    """The model starts a subagent, whose requests come between its own."""
    play = stage.service.play
    play(called("invoke_agent", agent_name="generalist", prompt="look into it"), uses=usage(prompt=2000, output=61))
    play(called("list_directory", dir_path="."), uses=usage(prompt=2100, output=62))
    play(called("complete_task", result={"response": "Found it."}), uses=usage(prompt=2200, cached=2100, output=63))
    play({"text": "It was found."}, uses=usage(prompt=2300, output=64))
    stage.ask("delegate")
    play({"text": "Nothing more."}, uses=usage(prompt=2400, output=65))
    stage.ask("and now?", "--resume", "latest")


CASES: tuple[Callable[[Stage], None], ...] = (edit, later, refused, interrupted, subagent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemini", default="gemini")
    given = parser.parse_args()
    for case in CASES:
        with Service() as service:
            stage = Stage(given.gemini, service)
            case(stage)
            stage.keep(case.__name__)
            stage.leave()
            print(case.__name__, file=sys.stderr)


if __name__ == "__main__":
    main()
