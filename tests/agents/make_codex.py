"""Make the fixtures of Codex's rollouts by running the program itself against a service on the loopback.

    python -m tests.agents.make_codex [--codex PROGRAM] [--earlier PROGRAM]

Below tests/agents/codex, a folder for each case holds the rollouts and ``served.json``: ``{"runs": [{"thread",
"prompt", "served": [{"id", "model", "usage"}]}]}``, what was asked in each run and what the service sent to its end.
``--earlier`` is a version whose rollouts have no turn ids (0.63.0 made these); without it, its cases stay as they are.
Home and repository are made for the purpose; in the fixtures they are /home/ann and /home/ann/project, and the
program's own instructions are left out.
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

from tests.agents.responses_server import Service, called, called_freely, said, thought, usage

FIXTURES = Path(__file__).with_name("codex")
HOME = "/home/ann"
LEFT_OUT = "(left out)"
SUMMARY = "The summary so far."

CONFIG = """\
model = "gpt-5-codex"
model_provider = "loopback"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.loopback]
name = "loopback"
base_url = "{url}"
env_key = "LOOPBACK_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 1
"""


class Stage:
    """A home with a repository, a service, and what was run there."""

    def __init__(self, program: str, service: Service) -> None:
        self.program, self.service = program, service
        self.home = Path(tempfile.mkdtemp(prefix="codex-"))
        self.project = self.home / "project"
        self.project.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CODEX_HOME": str(self.home / ".codex"),
            "LOOPBACK_KEY": "none",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in (("NAME", "Ann"), ("EMAIL", "ann@example.org"), ("DATE", "2026-01-01T00:00:00Z"))
            },
        }
        (self.home / ".codex").mkdir()
        (self.home / ".codex" / "config.toml").write_text(CONFIG.format(url=service.url))
        for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "begin"]):
            subprocess.run(["git", *command], cwd=self.project, env=self.environment, check=True)
        self.runs: list[dict[str, Any]] = []

    def ask(self, prompt: str, *options: str, how: str = "new", thread: str = "", interrupt: bool = False) -> str:
        """Run the program with a prompt; returns the thread's id."""
        begun, heard = len(self.service.served), len(self.service.asked)
        command = [self.program, "exec", "--json", "-s", "danger-full-access", *options]
        command += [prompt] if how == "new" else [how, thread, prompt]
        process = subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if interrupt:
            while len(self.service.asked) == heard and process.poll() is None:
                time.sleep(0.05)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        found = next(json.loads(line)["thread_id"] for line in output.splitlines() if '"thread.started"' in line)
        self.runs.append({"thread": found, "prompt": prompt, "served": self.service.served[begun:]})
        return str(found)

    def keep(self, name: str) -> None:
        """Write the rollouts and what was served as the fixture of that name."""
        folder = FIXTURES / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in sorted((self.home / ".codex" / "sessions").rglob("rollout-*.jsonl")):
            lines = [cleaned(json.loads(line)) for line in path.read_text().splitlines()]
            text = "".join(f"{json.dumps(line, ensure_ascii=False, separators=(',', ':'))}\n" for line in lines)
            (folder / path.name).write_text(text.replace(str(self.home), HOME))
        (folder / "served.json").write_text(json.dumps({"runs": self.runs}, indent=1) + "\n")

    def leave(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def cleaned(line: dict[str, Any]) -> dict[str, Any]:
    """A line without the texts that the program brings along."""
    payload = line["payload"]
    if line["type"] == "session_meta":
        for key in ("base_instructions", "instructions", "dynamic_tools"):
            if payload.get(key):
                payload[key] = {"text": LEFT_OUT}
    elif line["type"] == "world_state":
        payload["state"] = {}
    elif line["type"] == "compacted":
        payload["message"] = _only_summary(payload["message"])
        for item in payload.get("replacement_history") or ():
            _clean_message(item)
    elif line["type"] == "response_item":
        _clean_message(payload)
    return line


def _clean_message(item: dict[str, Any]) -> None:
    for part in item.get("content") or () if item.get("type") == "message" else ():
        if "text" not in part:
            continue
        if item["role"] == "developer":
            part["text"] = LEFT_OUT
        part["text"] = _only_summary(
            re.sub(r"(?s)(<turn_aborted>).*(</turn_aborted>)", rf"\1{LEFT_OUT}\2", part["text"])
        )


def _only_summary(text: str) -> str:
    return f"{LEFT_OUT}\n{SUMMARY}" if text.endswith(SUMMARY) and text != SUMMARY else text


def edit(stage: Stage) -> None:
    """Three requests with calls and a plan, a resumption of it, and a fork."""
    play = stage.service.play
    play(
        thought("Look first."),
        said("Creating the file."),
        called("exec_command", cmd="printf hi > a.txt"),
        uses=usage(input_tokens=1000, written=600, output_tokens=50, reasoning=7),
    )
    plan = [{"step": "Write", "status": "completed"}, {"step": "Test", "status": "in_progress"}]
    play(
        called("update_plan", plan=plan),
        called("exec_command", cmd="false"),
        uses=usage(input_tokens=1100, cached=1000, output_tokens=51, reasoning=7),
    )
    play(said("Done."), uses=usage(input_tokens=1200, cached=1100, output_tokens=52))
    thread = stage.ask("make a file")
    play(said("Again."), uses=usage(input_tokens=1300, cached=1200, output_tokens=53))
    stage.ask("again", how="resume", thread=thread)
    play(said("Forked."), uses=usage(input_tokens=1400, cached=1300, output_tokens=54))
    stage.ask("the other way", how="fork", thread=thread)


def refused(stage: Stage) -> None:
    """The service refuses."""
    stage.service.refuse(400, "no such thing")
    stage.ask("be refused")


def interrupted(stage: Stage) -> None:
    """The user interrupts while the service is at work, and goes on."""
    stage.service.stall(said("never heard of"), uses=usage(input_tokens=1500, output_tokens=55))
    thread = stage.ask("be interrupted", interrupt=True)
    stage.service.play(said("Went on."), uses=usage(input_tokens=1600, output_tokens=56))
    stage.ask("go on", how="resume", thread=thread)


def retried(stage: Stage) -> None:
    """An answer breaks off, and is asked for a second time."""
    stage.service.cut(said("Cut off"), uses=usage(input_tokens=9999, output_tokens=99))
    stage.service.play(said("Second try."), uses=usage(input_tokens=1700, output_tokens=57))
    stage.ask("be cut off")


def compacted(stage: Stage) -> None:
    """The history grows too long within a turn."""
    stage.service.play(called("exec_command", cmd="true"), uses=usage(input_tokens=190_000, output_tokens=58))
    stage.service.play(said(SUMMARY), uses=usage(input_tokens=190_100, cached=190_000, output_tokens=59))
    stage.service.play(said("After it."), uses=usage(input_tokens=1900, output_tokens=60))
    stage.ask("work long", "-c", "model_auto_compact_token_limit=150000")


def subagent(stage: Stage) -> None:
    """The model starts a subagent, whose requests come between its own."""
    spawn = called("spawn_agent", namespace="multi_agent_v1", message="look into it")
    stage.service.play(spawn, uses=usage(input_tokens=2000, output_tokens=61))
    stage.service.play(called("exec_command", cmd="sleep 2"), uses=usage(input_tokens=2100, output_tokens=62))
    for number in range(2):
        stage.service.play(said(f"Answer {number}."), uses=usage(input_tokens=2200 + number, output_tokens=63 + number))
    thread = stage.ask("delegate")
    stage.service.play(said("Nothing more."), uses=usage(input_tokens=2300, output_tokens=65))
    stage.ask("and now?", how="resume", thread=thread)


def earlier(stage: Stage) -> None:
    """The same in the form before turn ids; every resumption counts from nothing again."""
    play = stage.service.play
    play(
        thought("Look first."),
        said("Creating the file."),
        called("shell", command=["bash", "-lc", "printf hi > a.txt"]),
        uses=usage(input_tokens=1000, output_tokens=50, reasoning=7),
    )
    plan = [{"step": "Write", "status": "completed"}, {"step": "Test", "status": "in_progress"}]
    play(
        called("update_plan", plan=plan),
        called("shell", command=["false"]),
        uses=usage(input_tokens=1100, cached=1000, output_tokens=51, reasoning=7),
    )
    patch = "*** Begin Patch\n*** Add File: b.txt\n+x\n*** End Patch\n"
    play(called_freely("apply_patch", patch), uses=usage(input_tokens=1150, cached=1100, output_tokens=51))
    play(said("Done."), uses=usage(input_tokens=1200, cached=1100, output_tokens=52))
    thread = stage.ask("make a file")
    # The same usage twice: the totals of two programs are equal then.
    for prompt in ("again", "and again"):
        play(said("Again."), uses=usage(input_tokens=1300, cached=1100, output_tokens=53))
        stage.ask(prompt, how="resume", thread=thread)
    stage.service.stall(said("never heard of"), uses=usage(input_tokens=1500, output_tokens=55))
    stage.ask("be interrupted", how="resume", thread=thread, interrupt=True)
    stage.service.refuse(400, "no such thing")
    stage.ask("be refused", how="resume", thread=thread)
    play(said("More."), uses=usage(input_tokens=1400, cached=1100, output_tokens=54))
    stage.ask("more", how="resume", thread=thread)


def forked(stage: Stage, thread: str) -> None:
    """The later program forks and resumes a rollout of the earlier one."""
    stage.service.play(said("Forked."), uses=usage(input_tokens=1600, cached=1100, output_tokens=55))
    stage.ask("the other way", how="fork", thread=thread)
    stage.service.play(said("New."), uses=usage(input_tokens=1700, cached=1100, output_tokens=56))
    stage.ask("a new program", how="resume", thread=thread)


CASES: tuple[Callable[[Stage], None], ...] = (edit, refused, interrupted, retried, compacted, subagent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex", default="codex")
    parser.add_argument("--earlier")
    given = parser.parse_args()
    for case in CASES:
        with Service() as service:
            stage = Stage(given.codex, service)
            case(stage)
            stage.keep(case.__name__)
            stage.leave()
            print(case.__name__, file=sys.stderr)
    if given.earlier is None:
        return
    with Service() as service:
        stage = Stage(given.earlier, service)
        earlier(stage)
        stage.program = given.codex
        forked(stage, stage.runs[0]["thread"])
        stage.keep("earlier")
        migrate = [given.codex, "migrate-rollouts", "--apply"]
        subprocess.run(migrate, cwd=stage.project, env=stage.environment, check=True, capture_output=True)
        stage.keep("migrated")
        stage.leave()
        print("earlier migrated", file=sys.stderr)


if __name__ == "__main__":
    main()
