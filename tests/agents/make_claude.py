"""Make the fixtures below tests/agents/claude with the real Claude Code, against the loopback server.

    python -m tests.agents.make_claude [PROGRAM] [SCENARIO …]

PROGRAM is ``claude`` on PATH where it is not given. Every scenario runs in a folder of its own, with its own home, and
leaves ``<version>/<scenario>/``: the transcripts as the agent wrote them, and ``served.json``, what the server sent.
Only paths and times of this machine are replaced, and the long texts of the agent's own prompts and tools cut.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.agents.loopback import Loopback, Refused, Said

FIXTURES = Path(__file__).parent / "claude"
SESSION = "5e5510aa-0000-4000-8000-000000000001"
PROJECT = "/home/ann/project"
HOME = "/home/ann"
LONGEST = 120
"""Characters of the agent's own texts that are kept."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

_MARK = re.compile("#(agents|background|broken|edit|glance|hang|late|look|more|plain|shout|skill|slow|tasks|todo)")


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def thinking(thought: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": thought, "signature": "c2lnbmVkIGJ5IHRoZSBsb29wYmFjaw=="}


def call(number: str, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_loopback_{number}", "name": name, "input": given}


def agent(number: str, mark: str, **given: Any) -> dict[str, Any]:
    given = {"run_in_background": False, **given}
    return call(number, "Agent", description=f"Look {number}", prompt=mark, subagent_type="general-purpose", **given)


def script_of(project: Path) -> Callable[[Mapping[str, Any], int], Said | Refused]:
    """Answers by the last ``#mark`` that a prompt bears, and the number of answers since."""
    steps: dict[str, list[tuple[dict[str, Any], ...]]] = {
        "edit": [
            (
                thinking("The greeting needs a file."),
                text("I'll create the file."),
                call("write", "Write", file_path=f"{project}/hello.py", content="print('hello')\n"),
            ),
            (call("commit", "Bash", command="git add hello.py && git commit -qm first", description="Commit"),),
            (call("false", "Bash", command="false", description="Fail"),),
            (text("hello.py is there, and committed."),),
        ],
        "agents": [
            (
                text("Two helpers look."),
                agent("one", "#look"),
                agent("two", "#glance", model="haiku"),
            ),
            (text("Both have looked."),),
        ],
        "look": [
            (call("read", "Read", file_path=f"{project}/README"),),
            (agent("deep", "#glance"),),
            (text("It says: a project."),),
        ],
        "slow": [
            (call("nap", "Bash", command="sleep 2", description="Wait"),),
            (text("It took a while."),),
        ],
        "glance": [(text("Nothing new."),)],
        "background": [
            (agent("back", "#slow", run_in_background=True),),
            (text("It is looking."),),
            (text("It has looked."),),
        ],
        "todo": [
            (call("todo0", "ToolSearch", query="select:TodoWrite", max_results=1),),
            (call("todo1", "TodoWrite", todos=_todos("in_progress", "pending")),),
            (call("todo2", "TodoWrite", todos=_todos("completed", "in_progress")),),
            (text("One is left."),),
        ],
        "tasks": [
            (call("task1", "TaskCreate", subject="Write tests", description="All", activeForm="Writing tests"),),
            (call("task2", "TaskCreate", subject="Write docs", description="Some", activeForm="Writing docs"),),
            (call("task3", "TaskUpdate", taskId="1", status="completed"),),
            (text("One is left."),),
        ],
        "more": [
            (call("task4", "TaskUpdate", taskId="2", status="in_progress"),),
            (text("It is begun."),),
        ],
        "shout": [(text("SHOUTED."),)],
        "skill": [(call("skill", "Skill", skill="shout", args="loud"),), (text("The skill has shouted."),)],
    }

    def script(body: Mapping[str, Any], number: int) -> Said | Refused:
        # What the agent says of its own to the model may stand behind what it asks.
        if any("CRITICAL: Respond with TEXT ONLY" in _text_of(message) for message in body["messages"][-3:]):
            return Said(content=(text("<summary>\nThe greeting was written.\n</summary>"),), kind="compaction")
        if not body.get("tools"):
            return Said(content=(text("An answer without tools."),), kind="aside")
        answers = 0
        for message in reversed(body["messages"]):
            if message["role"] == "assistant":
                answers += 1
                continue
            marks = _MARK.findall(_text_of(message))
            if not marks:
                continue
            mark = marks[-1]
            kind = "subagent" if mark in ("look", "glance", "slow") else "turn"
            if mark == "broken":
                return Refused(status=400)
            if mark == "hang":
                return Said(content=(text("This will take a while…"),), hang=True)
            if mark == "late" and answers:
                return Refused(status=400)
            if mark == "late":
                return Said(content=(text("First I look."), call("late", "Read", file_path=f"{project}/README")))
            if mark in steps and answers < len(steps[mark]):
                return Said(content=steps[mark][answers], kind=kind)
            break
        return Said(content=(text(f"Answer {number}."),))

    return script


def _todos(first: str, second: str) -> list[dict[str, str]]:
    return [
        {"content": "Write tests", "status": first, "activeForm": "Writing tests"},
        {"content": "Write docs", "status": second, "activeForm": "Writing docs"},
    ]


def _text_of(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


class Run:
    """A sealed home with a project in it, and the program."""

    def __init__(self, program: str, root: Path, service: Loopback) -> None:
        self.program, self.root, self.service = program, root, service
        self.home, self.project = root / "home", root / "project"
        self.config = self.home / ".claude"
        for folder in (self.home, self.project, self.config):
            folder.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.config),
            "ANTHROPIC_BASE_URL": service.url,
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }
        for name, value in (("user.name", "Ann"), ("user.email", "ann@example.org"), ("init.defaultBranch", "main")):
            self.git("config", "--global", name, value)
        self.git("init", "-q")
        (self.project / "README").write_text("a project\n")
        commands = self.project / ".claude" / "commands"
        commands.mkdir(parents=True)
        (commands / "shout.md").write_text(
            "---\ndescription: Shouts\n---\nShout $ARGUMENTS, as the project does. #shout\n"
        )
        self.git("add", ".")
        self.git("commit", "-qm", "begin")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.project, env=self.environment, check=True)

    def arguments(self, *more: str) -> list[str]:
        return [
            *(self.program, "-p", "--output-format", "json", "--permission-mode", "acceptEdits"),
            *("--allowedTools", "Bash", "--model", "claude-opus-4-8"),
            *more,
        ]

    def ask(self, prompt: str, *more: str, **environment: str) -> dict[str, Any]:
        """The result that one invocation prints."""
        done = subprocess.run(
            [*self.arguments(*more), prompt],
            cwd=self.project,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        print(f"    {prompt[:40]!r}: {done.returncode} {done.stderr.strip()[-200:]}", file=sys.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def talk(self, prompts: list[Any], *more: str, interrupt: bool = False, meanwhile: str = "") -> None:
        """One invocation that is fed prompts as they come; ``interrupt`` stops the first once its answer
        hangs, and ``meanwhile`` is asked while the agent is at work on it."""
        arguments = self.arguments(*more)
        arguments[arguments.index("json")] = "stream-json"
        running = subprocess.Popen(
            [*arguments, "--input-format", "stream-json", "--verbose"],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert running.stdin is not None
        assert running.stdout is not None

        def send(value: Mapping[str, Any]) -> None:
            assert running.stdin is not None
            running.stdin.write(json.dumps(value) + "\n")
            running.stdin.flush()

        for number, prompt in enumerate(prompts):
            send({"type": "user", "message": {"role": "user", "content": prompt}})
            if interrupt and number == 0:
                self.service.hanging.wait(30)
                send({"type": "control_request", "request_id": "stop", "request": {"subtype": "interrupt"}})
            if meanwhile:
                while not self.service.served:
                    time.sleep(0.05)
                # The tool that it calls takes two seconds.
                time.sleep(0.7)
                send({"type": "user", "message": {"role": "user", "content": meanwhile}})
            for line in running.stdout:
                if json.loads(line).get("type") == "result":
                    break
        running.stdin.close()
        running.stdout.read()
        running.wait(60)


def edit(run: Run) -> None:
    """Tools, a resume, subagents of two models, a compaction, a fork of the whole."""
    run.ask("Greet me #edit", "--session-id", SESSION)
    run.ask("Look around #agents", "--resume", SESSION)
    run.ask("/compact", "--resume", SESSION)
    run.ask("And then? #plain", "--resume", SESSION)
    run.ask("Another way #plain", "--resume", SESSION, "--fork-session")


def fork(run: Run) -> None:
    """A fork of a fork, and the parent that goes on."""
    run.ask("One #plain", "--session-id", SESSION)
    forked = str(run.ask("Two, in the fork #plain", "--resume", SESSION, "--fork-session")["session_id"])
    run.ask("Two, in the parent #plain", "--resume", SESSION)
    run.ask("Three #plain", "--resume", forked, "--fork-session")


def todos(run: Run) -> None:
    """The todo list, with the older tool and the newer ones."""
    run.ask("Plan #todo", "--session-id", SESSION, CLAUDE_CODE_ENABLE_TASKS="0", CLAUDE_CODE_ENABLE_TODO_TOOLS="1")
    run.ask("Plan again #tasks", "--resume", SESSION, CLAUDE_CODE_ENABLE_TASKS="1", CLAUDE_CODE_ENABLE_TODO_TOOLS="1")
    run.ask("Go on #more", "--resume", SESSION, CLAUDE_CODE_ENABLE_TASKS="1", CLAUDE_CODE_ENABLE_TODO_TOOLS="1")


def errors(run: Run) -> None:
    """Errors of the API: at once, after a first answer, and then a good turn."""
    run.ask("This fails #broken", "--session-id", SESSION)
    run.ask("This fails late #late", "--resume", SESSION)
    run.ask("Try something else #plain", "--resume", SESSION)


def interrupted(run: Run) -> None:
    """A turn that is interrupted, a prompt with a picture, and one of two texts."""
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    run.talk(
        [
            "Take your time #hang",
            [text("What is on this? #plain"), {"type": "image", "source": source}],
            [text("First."), text("Second. #plain")],
        ],
        "--session-id",
        SESSION,
        interrupt=True,
    )


def commands(run: Run) -> None:
    """Commands: the agent's own, the project's, and a skill that the model calls."""
    run.ask("/context", "--session-id", SESSION)
    run.ask("/shout now", "--resume", SESSION)
    run.ask("Use the skill #skill", "--resume", SESSION)


def background(run: Run) -> None:
    """A subagent that goes on while the main conversation has answered."""
    run.talk(["Look later #background", "Meanwhile? #plain"], "--session-id", SESSION)


def queued(run: Run) -> None:
    """Something that is asked while the agent is at work."""
    run.talk(["Wait for it #slow"], "--session-id", SESSION, meanwhile="By the way #plain")


def auto(run: Run) -> None:
    """A compaction in the middle of a turn, which nobody asked for."""
    run.ask("Begin #plain", "--session-id", SESSION)
    small = {"CLAUDE_AUTOCOMPACT_PCT_OVERRIDE": "1", "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000"}
    run.ask("Greet me #edit", "--resume", SESSION, **small)
    run.ask("And then? #plain", "--resume", SESSION)


SCENARIOS = (edit, fork, todos, errors, interrupted, commands, background, queued, auto)


def make(program: str, scenario: Callable[[Run], None], version: str) -> None:
    target = FIXTURES / version / scenario.__name__
    print(f"{version} {scenario.__name__}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        with Loopback(script=script_of(root / "project")) as service:
            run = Run(program, root, service)
            scenario(run)
        slug = re.sub(r"[^A-Za-z0-9]", "-", str(run.project))
        changes = {
            str(run.project): PROJECT,
            str(run.home): HOME,
            slug: re.sub(r"[^A-Za-z0-9]", "-", PROJECT),
            str(root): HOME,
            re.sub(r"[^A-Za-z0-9]", "-", str(root)): re.sub(r"[^A-Za-z0-9]", "-", HOME),
            service.url: "http://127.0.0.1:8000",
            os.uname().release: "6.1.0",
        }
        shutil.rmtree(target, ignore_errors=True)
        written = run.config / "projects" / slug
        for path in sorted(written.rglob("*")):
            if path.is_file() and path.suffix in (".json", ".jsonl"):
                to = target / path.relative_to(written)
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_text(_cleaned(path.read_text(encoding="utf-8"), changes), encoding="utf-8")
        served = json.dumps(service.served, indent=1)
        (target / "served.json").write_text(_cleaned(served + "\n", changes), encoding="utf-8")


def _cleaned(data: str, changes: Mapping[str, str]) -> str:
    """``data`` without this machine, and the agent's own texts short. Broken lines stay as they are."""
    for ours, theirs in changes.items():
        data = data.replace(ours, theirs)
    data = re.sub(r"/tmp/claude-\d+", f"{HOME}/.cache/claude", data)
    lines = []
    for line in data.split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            lines.append(line)
            continue
        own = isinstance(value, dict) and (
            value.get("type") == "attachment"
            or str(value.get("type")).startswith("api-request")
            or value.get("isMeta") is True
        )
        lines.append(json.dumps(_short(value), ensure_ascii=False, separators=(",", ":")) if own else line)
    return "\n".join(lines)


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:60]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        # Forty tools are as good as two.
        return [_short(item) for item in value[:2]]
    return value


def main(arguments: list[str]) -> None:
    program = arguments[0] if arguments else shutil.which("claude")
    if program is None:
        raise SystemExit("claude is not on PATH: name the program, or install @anthropic-ai/claude-code with npm")
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    for scenario in SCENARIOS:
        if not arguments[1:] or scenario.__name__ in arguments[1:]:
            make(program, scenario, said.split()[0])


if __name__ == "__main__":
    main(sys.argv[1:])
