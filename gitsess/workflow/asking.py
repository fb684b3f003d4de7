"""Asking for a turn of the workflow: by the API with tools, or by an agent's own program; and by the next one on the
list where one fails.

Whatever comes of it is one turn, recorded with what is known of it by then. Each try is a turn of its own, with its
status.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Protocol, Self

from gitsess import asking, catalog, via
from gitsess.asking import Conversation
from gitsess.budgets import Purse
from gitsess.errors import ProviderError
from gitsess.model import JSONObject, SessionName
from gitsess.providers import Reply
from gitsess.providers.tools import Tool, Worker
from gitsess.text import one_line, short_count
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Recorded, Workspace

WORK_TOKENS = 32_000
"""The longest answer to one request where tools write files."""
_EDITING = {
    "claude": ("--permission-mode", "acceptEdits"),
    "codex": ("--sandbox", "workspace-write"),
    "gemini": ("--approval-mode", "auto_edit"),
}
"""What lets an agent change files without a question, where the person says nothing else of it."""


_ODD_ENDS = {
    "max_tokens": "the answer was cut at {tokens:,} tokens: --max-tokens allows more",
    "model_context_window_exceeded": "the answer was cut: the context is full",
    "refusal": "the model declined to answer",
}
"""What is said of a last answer that ended before its time."""


class Source(Value):
    """Who is asked: an agent by the command of its sessions, or the API where that is None. ``model`` is a full id, or
    the agent's own word for one; None its default."""

    agent: str | None
    model: str | None

    @property
    def shown(self) -> str:
        if self.agent is None:
            return catalog.short_model(self.model or "")
        return self.agent if self.model is None else f"{self.agent} ({one_line(self.model)})"


class Question(Value):
    """What is asked for. ``tools`` are for the API, an agent has its own; ``edits``: files may be changed.

    ``fresh``: nothing that was said before goes along. ``files`` are (title, path).
    """

    session: SessionName
    prompt: str
    system: str
    tools: tuple[Tool, ...] = ()
    edits: bool = False
    fresh: bool = False
    task: str | None = None
    files: tuple[tuple[str, Path], ...] = ()
    sessions: tuple[SessionName, ...] = ()


class Said(Value):
    """What came. ``recorded`` is None where nothing took place, or nothing is to be recorded; ``beyond_budget``: it was
    stopped before a request that could have passed a budget."""

    source: Source
    text: str
    recorded: Recorded | None
    interrupted: bool
    failure: str | None
    cost_usd: Decimal | None
    beyond_budget: bool = False


class Voice(Protocol):
    """What is told while a turn is asked for, and what must not be interrupted meanwhile."""

    def note(self, text: str) -> None: ...
    def asking(self, session: SessionName, source: Source, context: str, expected_usd: Decimal | None) -> None: ...
    def text(self, text: str) -> None: ...
    def called(self, name: str, given: JSONObject) -> None: ...
    def keeping(self) -> None:
        """The answer is there, and is about to be recorded: from here on it must not be lost."""

    def kept(self, said: Said) -> None:
        """It is recorded, or there is nothing to record."""


class Asker:
    """Asks ``sources`` in order, until one answers; one for a whole command.

    ``timeout_s`` is for each of them; ``arguments`` are for agents, ``max_tokens`` for the API.
    """

    def __init__(
        self,
        workspace: Workspace,
        voice: Voice,
        purse: Purse,
        sources: Sequence[Source],
        *,
        max_tokens: int | None = None,
        arguments: tuple[str, ...] = (),
        timeout_s: float | None = None,
    ) -> None:
        self.workspace, self.voice, self.purse = workspace, voice, purse
        self._sources = list(sources)
        self._max_tokens, self._arguments, self._timeout_s = max_tokens, arguments, timeout_s
        self._worker: Worker | None = None
        self._asked = False

    @property
    def source(self) -> Source:
        """Who is asked first."""
        return self._sources[0]

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def ask(self, question: Question, shape: Callable[[Turn], Turn] = lambda turn: turn) -> Said:
        """The answer of the first that gives one, else the failure of the last.

        Raises BudgetExceeded; ProviderError where nobody could be asked, UsageError for what cannot be sent.
        """
        for source, following in zip(self._sources, [*self._sources[1:], None], strict=True):
            if self._asked:
                self.purse.look_again()
            self._asked = True
            self.purse.check()
            try:
                said = self._one(source, question, shape)
            except ProviderError as error:
                if following is None:
                    raise
                self.voice.note(f"{source.shown} cannot be asked ({error}); {following.shown} is asked instead")
                continue
            # Whoever is asked instead would spend of the same budget.
            if said.failure is None or said.interrupted or said.beyond_budget or following is None:
                return said
            self.voice.note(f"{source.shown} failed ({one_line(said.failure)}); {following.shown} is asked instead")
        raise AssertionError("there is always somebody to ask")

    def _one(self, source: Source, question: Question, shape: Callable[[Turn], Turn]) -> Said:
        said = self._api(source, question, shape) if source.agent is None else self._agent(source, question, shape)
        self.purse.spend(said.cost_usd)
        self.voice.kept(said)
        return said

    def _api(self, source: Source, question: Question, shape: Callable[[Turn], Turn]) -> Said:
        workspace, voice = self.workspace, self.voice
        if self._worker is None:
            self._worker = asking.provider_of(workspace.around.environment, workspace.around.home)
        worker = self._worker
        settings = workspace.settings
        wish = asking.Wish(
            prompt=question.prompt,
            model=source.model or catalog.resolve_model(settings.model),
            max_tokens=self._max_tokens or max(settings.max_tokens, WORK_TOKENS),
            system=question.system,
            files=question.files,
            sessions=question.sessions,
            limit=self.purse.limit,
            task=question.task,
            tools=question.tools,
        )
        conversation = Conversation(workspace, question.session, fresh=question.fresh)
        try:
            prepared = self._fitting(conversation, wish, worker)
        finally:
            self.purse.spend(conversation.spent_usd)
        prepared = conversation.budgeted(prepared, worker)
        turns = prepared.context.turns
        context = f"resumes {turns} turn{'s' * (turns != 1)} ({short_count(prepared.context_tokens)} tokens)"
        voice.asking(question.session, source, context if turns else "", prepared.expected_usd)
        for line in prepared.notes:
            voice.note(f"  {line}")
        with _Alarm(self._timeout_s) as alarm:

            def keeping() -> None:
                alarm.cancel()
                voice.keeping()

            outcome, recorded = conversation.work(
                prepared,
                worker,
                voice.text,
                keeping,
                on_call=voice.called,
                shape=lambda turn: shape(replace(turn, status="error") if alarm.rang else turn),
            )
        worked = outcome.worked
        failure = None if worked.failure is None else worked.failure.text
        if alarm.rang:
            failure = f"it did not end within {self._timeout_s:g} s; what had arrived is kept: run again to go on"
        if worked.stopped and failure is None and not worked.interrupted:
            failure = outcome.beyond_budget or _unending(worked.replies)
        elif failure is None and worked.replies and worked.replies[-1].stop_reason in _ODD_ENDS:
            voice.note(f"  {_ODD_ENDS[worked.replies[-1].stop_reason].format(tokens=outcome.longest_tokens)}")
        return Said(
            source=source,
            text=worked.text,
            recorded=recorded,
            interrupted=worked.interrupted and not alarm.rang,
            failure=failure,
            cost_usd=outcome.cost_usd,
            beyond_budget=outcome.beyond_budget is not None,
        )

    def _fitting(self, conversation: Conversation, wish: asking.Wish, worker: Worker) -> asking.Prepared:
        """The request, its oldest turns compacted until it fits."""
        prepared = conversation.prepare(wish)
        while conversation.overfull(prepared):
            tokens = short_count(prepared.input_tokens)
            self.voice.note(f"the context has {tokens} tokens: its oldest turns are compacted")
            conversation.compact(prepared, worker)
            before, prepared = prepared.input_tokens, conversation.prepare(wish)
            if prepared.input_tokens >= before:
                break
        return prepared

    def _agent(self, source: Source, question: Question, shape: Callable[[Turn], Turn]) -> Said:
        workspace, voice = self.workspace, self.voice
        assert source.agent is not None
        arguments = self._arguments
        if question.edits and not arguments:
            arguments = _EDITING.get(source.agent, ())
        wish = via.Wish(
            agent=source.agent,
            prompt=question.prompt,
            model=source.model,
            # An agent has a system prompt of its own, which says what its tools are.
            documents=tuple((title, asking.file_text(title, path)) for title, path in question.files),
            sessions=question.sessions,
            task=question.task,
            budget_usd=self.purse.left_usd if via.keeps_budgets(source.agent) else None,
            arguments=arguments,
            timeout_s=self._timeout_s,
            fresh=question.fresh,
        )
        prepared = via.prepare(workspace, question.session, wish)
        goes_on = f"goes on with {prepared.turns} turn{'s' * (prepared.turns != 1)}" if prepared.turns else ""
        voice.asking(question.session, source, goes_on, via.expected(workspace, prepared))
        for line in prepared.notes:
            voice.note(f"  {line}")
        limit = self.purse.limit
        if limit is not None and not via.keeps_budgets(source.agent):
            voice.note(
                f"  {source.agent} keeps no budget: whether that of {limit.name} is spent is seen behind the turn"
            )
        answered = via.ask(workspace, prepared, voice.text, voice.keeping, shape=shape)
        done = answered.done
        return Said(
            source=source,
            text=done.text,
            recorded=answered.recorded,
            interrupted=done.interrupted,
            failure=done.failure,
            cost_usd=answered.cost_usd,
        )


def _unending(replies: Sequence[Reply]) -> str:
    return f"the model did not come to an end in {len(replies)} requests; what was done is kept: run again to go on"


class _Alarm:
    """Ends what the main thread waits for after so many seconds, as ^C would; never where that is None."""

    def __init__(self, after_s: float | None) -> None:
        self.rang = False
        self._timer = None if after_s is None else threading.Timer(after_s, self._ring)

    def _ring(self) -> None:
        self.rang = True
        # A real signal, to the thread that waits: nothing else ends what it waits for.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()


def source_of(word: str) -> Source:
    """Who a word of ``ai-session.fallback``, or a MODEL on the command line, means: an agent, or a model of the API."""
    if word in via.NAMES:
        return Source(agent=word, model=None)
    return Source(agent=None, model=catalog.resolve_model(word, via.NAMES))


def sources(workspace: Workspace, *, agent: str | None, model: str | None) -> list[Source]:
    """Who is to be asked: the one chosen, then those of ``ai-session.fallback``, each once."""
    if agent is not None:
        first = Source(agent=agent, model=model)
    else:
        first = Source(agent=None, model=catalog.resolve_model(model or workspace.settings.model))
    return list(dict.fromkeys([first, *map(source_of, workspace.settings.fallback)]))
