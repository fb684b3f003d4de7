"""The agents' own programs as providers: one invocation, its words, and what it prints of what it does.

    claude -p --output-format stream-json     prompt on standard input
    codex exec --json [resume ID] -           the same
    gemini -o stream-json                     the same

Each prints an object a line. What these say of tokens is of this invocation or of all so far, with or without
subagents, as the program likes: it serves where the program left no transcript. The prompt stands in no list of
processes; the environment is the caller's. Whatever the program does, the caller gets what had arrived.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gitsess import strictjson
from gitsess.errors import FormatError, UsageError
from gitsess.model import JSON, JSONObject, TokenUsage
from gitsess.providers.processes import Asked
from gitsess.text import one_line
from gitsess.values import Value


class Call(Value):
    """One invocation: ``conversation`` to resume, or the id that a new one is to have where the program takes one.

    ``arguments`` are the person's own; ``timeout_s`` None waits for ever.
    """

    prompt: str
    conversation: str | None = None
    new_id: str | None = None
    model: str | None = None
    system: str | None = None
    budget_usd: str | None = None
    arguments: tuple[str, ...] = ()
    timeout_s: float | None = None


class Done(Value):
    """What an invocation came to. ``usage`` is this invocation's where the program says so, None where it does not;
    ``failure`` is one line. ``started``: whether the program came so far as to name its conversation."""

    text: str
    conversation: str | None
    model: str | None
    usage: TokenUsage | None
    started: bool
    interrupted: bool
    failure: str | None


class Program:
    """A program by the command of its sessions; ``refused`` are options of its that would take its output from us."""

    name: str
    title: str
    package: str
    refused: tuple[str, ...]
    keeps_budgets = False
    takes_system = False
    takes_id = False

    def words(self, call: Call) -> list[str]:
        raise NotImplementedError

    def take(self, event: JSONObject, heard: Heard) -> str:
        """The text that an object of the output has; everything else goes to ``heard``."""
        raise NotImplementedError


class Heard:
    """What a program said so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.final: str | None = None
        self.conversation: str | None = None
        self.model: str | None = None
        self.usage: TokenUsage | None = None
        self.failure: str | None = None
        self.ended = False


class _Claude(Program):
    name, title, package = "claude", "Claude Code", "@anthropic-ai/claude-code"
    refused = (
        *("-p", "--print", "--output-format", "--input-format", "-c", "--continue", "-r", "--resume"),
        *("--session-id", "--fork-session", "--no-session-persistence"),
    )
    keeps_budgets = takes_system = takes_id = True

    def words(self, call: Call) -> list[str]:
        words = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
        if call.conversation is not None:
            words += ["--resume", call.conversation]
        elif call.new_id is not None:
            words += ["--session-id", call.new_id]
        for option, value in (
            ("--model", call.model),
            ("--append-system-prompt", call.system),
            ("--max-budget-usd", call.budget_usd),
        ):
            words += [] if value is None else [option, value]
        return [*words, *call.arguments]

    def take(self, event: JSONObject, heard: Heard) -> str:
        heard.conversation = _text(event.get("session_id")) or heard.conversation
        if event.get("type") == "assistant" and event.get("parent_tool_use_id") is None:
            message = _object(event.get("message"))
            heard.model = _text(message.get("model")) or heard.model
            blocks = message.get("content")
            return "\n\n".join(
                block["text"]
                for block in (blocks if isinstance(blocks, list) else ())
                if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str)
            )
        if event.get("type") == "result":
            heard.ended = True
            heard.final = _text(event.get("result"))
            heard.usage = _usage(event.get("usage"), "input_tokens", "cache_read_input_tokens", "output_tokens")
            if event.get("is_error") is True:
                word = _text(event.get("subtype")) or ""
                reason = heard.final or _CLAUDES_WORDS.get(word, word) or "no reason given"
                heard.failure = one_line(reason)[:300]
        return ""


_CLAUDES_WORDS = {
    "error_max_budget_usd": "Claude Code spent its budget; what was done is kept: raise --budget to go on",
    "error_max_turns": "Claude Code came to the most turns that it may take; what was done is kept: run again to go on",
    "error_during_execution": "Claude Code failed in the middle, and did not say why; what was done is kept",
}
"""What stands where it gives no reason in words."""


class _Codex(Program):
    name, title, package = "codex", "Codex", "@openai/codex"
    refused = ("--json", "--last", "--all", "--ephemeral", "-C", "--cd", "-o", "--output-last-message", "resume")

    def words(self, call: Call) -> list[str]:
        words = ["codex", "exec", "--json", *([] if call.model is None else ["--model", call.model]), *call.arguments]
        return [*words, *(["resume", call.conversation] if call.conversation is not None else []), "-"]

    def take(self, event: JSONObject, heard: Heard) -> str:
        kind, item = event.get("type"), _object(event.get("item"))
        if kind == "thread.started":
            heard.conversation = _text(event.get("thread_id")) or heard.conversation
        elif kind == "item.completed" and item.get("type") == "agent_message":
            heard.final = _text(item.get("text"))
            return heard.final or ""
        elif kind == "turn.completed":
            # It counts all of the thread: of a resumed one this is no invocation's.
            heard.ended = True
        elif kind in ("turn.failed", "error"):
            said = _text(_object(event.get("error")).get("message")) or _text(event.get("message"))
            heard.failure = one_line(said or "no reason given")[:300]
            heard.ended = heard.ended or kind == "turn.failed"
        return ""


class _Gemini(Program):
    name, title, package = "gemini", "Gemini CLI", "@google/gemini-cli"
    refused = (
        *("-p", "--prompt", "-i", "--prompt-interactive", "-o", "--output-format", "-r", "--resume"),
        *("--session-id", "--session-file", "--list-sessions", "--delete-session"),
    )
    takes_id = True

    def words(self, call: Call) -> list[str]:
        words = ["gemini", "--output-format", "stream-json"]
        if call.conversation is not None:
            words += ["--resume", call.conversation]
        elif call.new_id is not None:
            words += ["--session-id", call.new_id]
        return [*words, *([] if call.model is None else ["--model", call.model]), *call.arguments]

    def take(self, event: JSONObject, heard: Heard) -> str:
        kind = event.get("type")
        if kind == "init":
            heard.conversation = _text(event.get("session_id")) or heard.conversation
            heard.model = _text(event.get("model")) or heard.model
        elif kind == "message" and event.get("role") == "assistant":
            return _text(event.get("content")) or ""
        elif kind == "result":
            heard.ended = True
            heard.usage = _usage(event.get("stats"), "input", "cached", "output_tokens")
            if event.get("status") not in ("success", None):
                heard.failure = one_line(_reason(event))[:300]
        elif kind == "error" and event.get("severity") != "warning":
            heard.failure = one_line(_reason(event))[:300]
        return ""


PROGRAMS: Mapping[str, Program] = {one.name: one for one in (_Claude(), _Codex(), _Gemini())}
"""Those that can be asked, by the command of their sessions."""

# The files that say that somebody logged in, below the home folder; nothing in them is read.
_LOGINS = {
    "claude": (("CLAUDE_CONFIG_DIR", ".claude", ".credentials.json"), ("CLAUDE_CODE_OAUTH_TOKEN",)),
    "codex": (("CODEX_HOME", ".codex", "auth.json"), ("OPENAI_API_KEY", "CODEX_API_KEY")),
    "gemini": (("", ".gemini", "oauth_creds.json"), ("GEMINI_API_KEY",)),
}


def logged_in(home: Path, environment: Mapping[str, str], installed: Callable[[str], bool]) -> list[str]:
    """The programs that are installed and that somebody is logged in with, as far as files and variables tell."""
    found = []
    for name, ((variable, folder, file), keys) in _LOGINS.items():
        top = environment.get(variable) if variable else None
        if installed(name) and (
            os.path.exists(os.path.join(top or home / folder, file)) or any(environment.get(key) for key in keys)
        ):
            found.append(name)
    return found


def checked(program: Program, arguments: Sequence[str]) -> tuple[str, ...]:
    """A person's own options for a program; raises UsageError for one that the invocation depends on."""
    for word in arguments:
        option = word.partition("=")[0]
        if option in program.refused:
            raise UsageError(f"--agent-args: {option} is given to {program.title} by this command itself")
    return tuple(arguments)


def ask(
    program: Program,
    path: str,
    call: Call,
    *,
    folder: Path,
    environment: Mapping[str, str],
    on_text: Callable[[str], None],
) -> Done:
    """Runs the program at ``path`` in ``folder`` to its end, or until it is to end: by ^C, or by its time.

    Text is handed to ``on_text`` as it arrives. Raises nothing but what starting a process raises (OSError).
    """
    words = [path, *program.words(call)[1:]]
    heard, running = Heard(), Asked(words, call.prompt, folder=folder, environment=environment)
    interrupted, why = False, None
    deadline = None if call.timeout_s is None else time.monotonic() + call.timeout_s
    try:
        for event in _objects(running.lines(deadline)):
            text = program.take(event, heard)
            if text:
                on_text(text if not heard.texts or program.name == "gemini" else f"\n\n{text}")
                heard.texts.append(text)
            if heard.ended:
                break
        if not heard.texts and heard.final is not None and heard.failure is None:
            on_text(heard.final)
            heard.texts.append(heard.final)
        if deadline is not None and not heard.ended and time.monotonic() >= deadline:
            why = f"{program.title} took longer than {call.timeout_s:g} seconds and was stopped"
    except (KeyboardInterrupt, BrokenPipeError):
        interrupted = True
    code = None
    try:
        code = running.end(patient=why is None and not interrupted)
    except KeyboardInterrupt:
        # It was ended at once; what it had done is to be kept all the same.
        interrupted = not heard.ended
    said = "".join(heard.texts) if program.name == "gemini" else "\n\n".join(heard.texts)
    failure = why or heard.failure
    if failure is None and not interrupted and not (heard.ended and code in (0, None)):
        last = running.complaint()
        how = "did not end" if code is None else f"ended with exit code {code}"
        failure = f"{program.title} {how}{f': {last}' if last else ''}"
    return Done(
        text=said,
        conversation=heard.conversation,
        model=heard.model,
        usage=heard.usage,
        started=heard.conversation is not None,
        interrupted=interrupted,
        failure=None if interrupted else failure,
    )


def _objects(lines: Iterable[bytes]) -> Iterator[JSONObject]:
    """The objects among the lines; what else a program prints is passed over."""
    for line in lines:
        try:
            value = strictjson.loads(line, what="a line")
        except FormatError:
            continue
        if isinstance(value, dict):
            yield value


def _usage(value: JSON, given: str, cached: str, output: str) -> TokenUsage | None:
    found = _object(value)
    counts = [
        count
        for key in (given, cached, output, "cache_creation_input_tokens")
        if isinstance(count := found.get(key, 0), int) and not isinstance(count, bool) and count >= 0
    ]
    if len(counts) < 4 or not any(counts):
        return None
    read, kept, said, written = counts
    return TokenUsage(input_tokens=read, cache_read_tokens=kept, output_tokens=said, cache_write_tokens=written)


def _reason(event: JSONObject) -> str:
    error = event.get("error")
    said = _text(_object(error).get("message")) or _text(error) or _text(event.get("message"))
    return said or "no reason given"


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) and value else None


def _object(value: JSON) -> JSONObject:
    return value if isinstance(value, dict) else {}
