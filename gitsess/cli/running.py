"""``run``: says what it resumes, streams the answer, says what it cost."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from gitsess import catalog
from gitsess.asking import Answered, Conversation, Prepared, Wish, can_ask, provider_of, warm_up
from gitsess.budgets import Purse
from gitsess.cli.handling import note, opened, warn
from gitsess.cli.output import Style, print_json, style
from gitsess.config import usd
from gitsess.errors import ProviderError, UsageError
from gitsess.model import JSONObject, SessionName
from gitsess.names import join, session_name
from gitsess.report import turn_json
from gitsess.text import one_line, plural, printable, short_count, short_duration, short_usd
from gitsess.turns import metrics_of
from gitsess.workspace import Recorded, Surroundings, Workspace

MAX_PROMPT_BYTES = 64 * 1024 * 1024
_SAME_S = 0.5
"""Seconds within which two signals are taken for one."""


def run(around: Surroundings, values: dict[str, Any]) -> int:
    if values["via"] is not None:
        from gitsess.cli.delegating import run_via

        return run_via(around, values)
    given = [option for option in ("timeout", "agent_args") if values[option] is not None]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} is for an agent: say with --via which one")
    session = join(values["command"], values["feature"])
    wish_model = values["model"]
    dry = bool(values["dry_run"] or values["show_redactions"])
    provider = None if dry else provider_of(around.environment, around.home)
    if not values["show_redactions"]:
        warm_up(around.environment)
    workspace = opened(around)
    settings = workspace.settings
    wish = Wish(
        prompt=prompt_of(values["prompt"]),
        model=catalog.resolve_model(wish_model or settings.model),
        max_tokens=values["max_tokens"] or settings.max_tokens,
        system=system_of(values["system"]),
        files=tuple((title_of(name), Path(name)) for name in values["file"]),
        sessions=tuple(session_name(name) for name in values["with"]),
        limit=None if dry else purse_of(workspace, values).limit,
        task=values["task"],
    )
    conversation = Conversation(workspace, session)
    if values["show_redactions"]:
        return _show_redactions(workspace, wish)
    prepared = conversation.prepare(wish)
    quiet = bool(values["quiet"])
    if provider is None:
        return _dry_run(prepared, around)
    look = style(around.environment, stderr=True)
    say = (lambda text: None) if quiet else note
    while conversation.overfull(prepared):
        say(look.dim(f"the context has {short_count(prepared.input_tokens)} tokens: its oldest turns are compacted"))
        done = conversation.compact(prepared, provider)
        say(look.dim(summary(workspace, done.recorded)))
        before, prepared = prepared.input_tokens, conversation.prepare(wish)
        if prepared.input_tokens >= before:
            break
    prepared = conversation.budgeted(prepared, provider)
    for line in _announcement(prepared, workspace, look):
        say(line)
    end_gently()
    with _waiting(look, around, prepared, quiet=quiet) as begun:
        on_text = printer(begun, as_json=bool(values["json"]))
        answered = conversation.ask(prepared, provider, on_text, not_to_be_interrupted)
    return _finish(workspace, prepared, answered, values, look, say)


def purse_of(workspace: Workspace, values: dict[str, Any]) -> Purse:
    """What may be spent, with a warning where little is left of a budget; raises BudgetExceeded where nothing is."""
    budget = usd(values["budget"], "--budget")
    purse = Purse(
        workspace,
        values["feature"],
        budget_usd=workspace.settings.budget_usd if budget is None else budget,
        over=bool(values["over_budget"]),
    )
    purse.check()
    for line in purse.warnings():
        warn(line)
    return purse


def end_gently() -> None:
    """A closed terminal or a plain kill ends the answer as ^C does: what had arrived is kept.

    What is ignored from the start stays ignored: nohup means it.
    """
    interrupt = _Interrupt()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


class _Interrupt:
    """Raises KeyboardInterrupt once for signals on the heels of each other: a ^C reaches git and us, and git, which
    waits for us, hands its own on."""

    def __init__(self) -> None:
        self._last_s = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        again, self._last_s = now_s - self._last_s < _SAME_S, now_s
        if not again:
            raise KeyboardInterrupt


def kept(recorded: Recorded | None) -> str:
    """What became of that which had come before an interruption."""
    return "not recorded" if recorded is None else "kept as a turn"


def not_to_be_interrupted() -> None:
    """Once the answer is there, a second ^C must not lose it on its way to the commit."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def prompt_of(given: str | None) -> str:
    if given is not None and given != "-":
        return given
    if sys.stdin.isatty() and given is None:
        raise UsageError("no prompt: give it as the last argument, or '-' to read it from standard input")
    data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise UsageError("the prompt is larger than 64 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None


def system_of(given: str | None) -> str | None:
    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_bytes().decode()
    except OSError as error:
        raise UsageError(f"--system: {given[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--system: {given[1:]} is not UTF-8 text") from None


def title_of(name: str) -> str:
    """A file's name as the model sees it: from here, with forward slashes."""
    return printable(os.path.normpath(name).replace(os.sep, "/"))


def _show_redactions(workspace: Workspace, wish: Wish) -> int:
    from gitsess.cli.redacting import preview_texts

    texts = [("prompt", wish.prompt)]
    if wish.system is not None:
        texts.append(("system", wish.system))
    texts += [(title, path.read_bytes().decode("utf-8", "replace")) for title, path in wish.files]
    preview_texts(workspace.redactor, texts)
    return 0


def _announcement(prepared: Prepared, workspace: Workspace, look: Style) -> Iterator[str]:
    """Model, what is resumed, the estimated cost; then what is worth a line of its own."""
    context = prepared.context
    model = catalog.short_model(prepared.wish.model)
    if not workspace.settings.enabled:
        resumes = "USE_SESSIONS is false: fresh, not recorded"
    elif context.turns:
        cached = f", {short_count(prepared.cached_tokens)} cached" if prepared.cached_tokens else ""
        resumes = f"resumes {plural(context.turns, 'turn')} ({short_count(prepared.context_tokens)} tokens{cached})"
    else:
        resumes = "a new session"
    cost = "price not known" if prepared.cost_usd is None else f"about {short_usd(prepared.cost_usd)}"
    yield look.dim(f"{prepared.session}  {model}  {resumes}  {short_count(prepared.input_tokens)} tokens in, {cost}")
    if context.summary is not None:
        yield look.dim(f"  a summary stands in for the first {plural(context.summarised, 'turn')}")
    for line in prepared.notes:
        yield look.dim(f"  {one_line(line)}")
    yield from redactions(workspace, look)


def redactions(workspace: Workspace, look: Style) -> Iterator[str]:
    """What was redacted so far, where there was something."""
    found = workspace.redactor.counts
    if found:
        what = ", ".join(f"{rule} ×{count}" if count > 1 else rule for rule, count in sorted(found.items()))
        yield look.yellow(f"  redacted before sending: {what}")


def printer(begun: Callable[[], None], *, as_json: bool) -> Callable[[str], None]:
    def on_text(text: str) -> None:
        begun()
        if not as_json:
            # The answer is shown without control characters; the record keeps it as it came.
            sys.stdout.write(printable(text))
            sys.stdout.flush()

    return on_text


@contextmanager
def _waiting(look: Style, around: Surroundings, prepared: Prepared, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A spinner on a terminal until the first text; ``begun`` ends it."""
    if quiet or not sys.stderr.isatty() or around.environment.get("TERM") == "dumb":
        yield lambda: None
        return
    from rich.console import Console
    from rich.status import Status

    status = Status(f"asking {catalog.short_model(prepared.wish.model)}", console=Console(stderr=True))
    running = True

    def begun() -> None:
        nonlocal running
        if running:
            running = False
            status.stop()

    status.start()
    try:
        yield begun
    finally:
        begun()


def _finish(
    workspace: Workspace,
    prepared: Prepared,
    answered: Answered,
    values: dict[str, Any],
    look: Style,
    say: Callable[[str], None],
) -> int:
    reply, recorded = answered.reply, answered.recorded
    if values["json"]:
        print_json(_json(workspace, prepared, answered))
    elif reply.text and not reply.text.endswith("\n"):
        print()
    say_recorded(workspace, recorded, look, say)
    if reply.stop_reason == "max_tokens":
        limit = prepared.request.max_tokens
        by = "the budget" if limit < prepared.wish.max_tokens and prepared.wish.limit is not None else "--max-tokens"
        warn(f"the answer was cut at {limit:,} tokens ({by}): raise it, or run again with the prompt 'Go on'")
    elif reply.stop_reason == "refusal":
        warn("the model declined to answer")
    if reply.interrupted:
        note(look.yellow(f"interrupted; what had arrived is {kept(recorded)}"))
        return 130
    if reply.failure is not None:
        print(f"error: {reply.failure.text}", file=sys.stderr)
        return 1
    return 0


def say_recorded(workspace: Workspace, recorded: Recorded | None, look: Style, say: Callable[[str], None]) -> None:
    """Says what a turn took, and where it waits, if it does."""
    sys.stdout.flush()
    if recorded is not None and recorded.spooled is not None:
        warn(f"{recorded.reason}; the turn is kept in {recorded.spooled}, and the next command appends it")
    say(look.dim(summary(workspace, recorded)))


def summary(workspace: Workspace, recorded: Recorded | None) -> str:
    """What the turn took: ``implement-x turn 4  8c1f2aa  38.5k in (36.0k cached)  1.1k out  $0.0342  12.4s``."""
    if recorded is None:
        return "not recorded"
    metrics = metrics_of(recorded.turn, workspace.price)
    usage = metrics.usage
    parts = [
        "spooled" if recorded.oid is None else recorded.oid[:12],
        f"{short_count(usage.prompt_tokens)} in ({short_count(usage.cache_read_tokens)} cached)",
        f"{short_count(usage.output_tokens)} out",
        "price not known" if metrics.cost_usd is None else short_usd(metrics.cost_usd),
        short_duration(metrics.duration_ms or 0),
    ]
    return "  ".join(parts)


def _json(workspace: Workspace, prepared: Prepared, answered: Answered) -> dict[str, Any]:
    value: dict[str, Any] = {"session": prepared.session, "response": answered.reply.text}
    value["stop_reason"] = answered.reply.stop_reason
    value["error"] = None if answered.reply.failure is None else answered.reply.failure.text
    return {**value, **recorded_json(workspace, prepared.session, answered.recorded)}


def recorded_json(workspace: Workspace, session: SessionName, recorded: Recorded | None) -> dict[str, Any]:
    """The recorded turn, or where it waits."""
    if recorded is None or recorded.oid is None:
        return {"turn": None, "spooled": None if recorded is None else str(recorded.spooled)}
    found = workspace.history.one(session)
    return {"turn": turn_json(found, next(item for item in found.commits if item.oid == recorded.oid))}


def _dry_run(prepared: Prepared, around: Surroundings) -> int:
    counted = None
    if can_ask(around.environment):
        try:
            counted = provider_of(around.environment).count_tokens(prepared.request)
        except ProviderError as error:
            warn(f"the tokens are estimated, because they could not be counted: {error}")
    marked = {(i, j) for i, j in prepared.places}
    print(f"session: {prepared.session}")
    print(f"model: {prepared.request.model}")
    print(f"max_tokens: {prepared.request.max_tokens}")
    for j, block in enumerate(prepared.request.system):
        _print_block("system", block, (-1, j) in marked)
    for i, message in enumerate(prepared.request.messages):
        for j, block in enumerate(message["content"]):
            _print_block(message["role"], block, (i, j) in marked)
    print("--")
    if counted is None:
        print(f"input tokens: about {prepared.input_tokens:,}, estimated from the text")
    else:
        print(f"input tokens: {counted:,}, counted by the service")
    print(f"in the cache: about {prepared.cached_tokens:,}")
    cost = "not known" if prepared.cost_usd is None else f"about {short_usd(prepared.cost_usd)}"
    print(f"cost: {cost}, with an answer of {prepared.answer_tokens:,} tokens")
    for line in prepared.notes:
        print(f"note: {line}")
    print("no answer was asked for")
    return 0


def _print_block(role: str, block: JSONObject, breakpoint: bool) -> None:
    kind = block.get("type")
    source = block.get("source")
    if kind == "text":
        text = str(block.get("text", ""))
    elif kind == "document" and isinstance(source, dict):
        text = f"[file {block.get('title')}]\n{source.get('data', '')}"
    else:
        text = f"[{kind}] {block.get('name') or block.get('content') or ''}"
    print(f"-- {role}")
    print(printable(text))
    if breakpoint:
        print("-- (cache breakpoint)")
