"""``run``: from a prompt to a recorded turn.

    prepare   context from the commits + files + other sessions + prompt, redacted, cached where it pays
    compact   while the context is past the limit, the oldest turns become a summary turn
    ask       one request, streamed; whatever came back becomes a commit

What is sent is what is stored, so that the next request begins with the very bytes that are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from gitsess import exchanges, turns
from gitsess.budgets import Limit, hold
from gitsess.catalog import CACHE_LIFETIME_1H_S, CACHE_LIFETIME_5M_S, context_window, max_output_tokens
from gitsess.commit import Commit
from gitsess.errors import NotFound, ProviderError, UsageError
from gitsess.estimates import TYPICAL_ANSWER_TOKENS, expected_usd
from gitsess.exchanges import Timed
from gitsess.handed import document
from gitsess.history import Session
from gitsess.model import JSONObject, SessionName, TokenUsage, TurnId
from gitsess.names import split
from gitsess.providers import Provider, Reply, Request, anthropic_api
from gitsess.providers.caching import Place, estimate_tokens, lay_out, lifetime
from gitsess.providers.tools import Tool, Worked, Worker, with_others
from gitsess.resume import Context, context_of, documents_of, joined, tools_of
from gitsess.text import well_formed
from gitsess.toolloop import Outcome, ToolLoop
from gitsess.turns import Turn
from gitsess.workspace import Recorded, Workspace

MAX_FILE_BYTES = 5 * 1024 * 1024
SUMMARY_TOKENS = 4_096
_MOST_NAMED = 3

_SYSTEM = (
    "You work with a developer on {feature!r}, a feature of their software project; this conversation is its"
    " {command!r} part. You see what this conversation holds and nothing else: you cannot read or change files"
    " or run commands. Answer in plain Markdown."
)
_SUMMARISE = (
    "Summarise our conversation up to here, for yourself: the next messages go on from your summary alone."
    " Keep every decision and its reason, names of files, functions and commands, open questions, what is done"
    " and what remains. Leave out pleasantries and anything that was withdrawn."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asked for. ``files`` as (name to show, path); ``model`` is a full id; ``tools`` are for work."""

    prompt: str
    model: str
    max_tokens: int
    system: str | None = None
    files: tuple[tuple[str, Path], ...] = ()
    sessions: tuple[SessionName, ...] = ()
    limit: Limit | None = None
    task: str | None = None
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request ready to be sent, and what is to be said about it beforehand.

    ``context_tokens`` and ``cached_tokens`` are estimates for the part before the prompt; ``input_tokens``
    is of the whole request; ``cost_usd`` is an estimate for it, ``expected_usd`` what such turns have cost before,
    where there are any. ``notes`` are lines for the person, such as a file that is there already.
    """

    session: SessionName
    wish: Wish
    context: Context
    request: Request
    places: tuple[Place, ...]
    asked: tuple[JSONObject, ...]
    read_in: tuple[str, ...]
    input_tokens: int
    context_tokens: int
    cached_tokens: int
    cost_usd: Decimal | None
    expected_usd: Decimal | None
    answer_tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A reply, and the turn it was recorded as; ``recorded`` is None where nothing was to be kept."""

    reply: Reply
    recorded: Recorded | None


def warm_up(environment: Mapping[str, str]) -> None:
    """Begins in the background what a request will need, where one can be made."""
    if can_ask(environment):
        anthropic_api.warm()


def can_ask(environment: Mapping[str, str]) -> bool:
    """Whether the environment holds what a request needs."""
    return anthropic_api.has_key(environment)


def provider_of(environment: Mapping[str, str], home: str | Path | None = None) -> anthropic_api.AnthropicApi:
    """Who is asked; raises ProviderError where there is no key, which says how to set one, and which agent somebody
    is logged in with, as far as files below ``home`` tell."""
    try:
        return anthropic_api.AnthropicApi(environment)
    except ProviderError as error:
        from gitsess.via import who_could

        could = who_could(home, environment)
        if not could:
            raise
        raise ProviderError(f"{error}; or ask {could[0]}, where you are logged in, with '--via {could[0]}'") from None


class Conversation:
    """One session, about to be continued."""

    def __init__(self, workspace: Workspace, session: SessionName, *, fresh: bool = False) -> None:
        """``fresh``: nothing of the session goes into its requests; what comes of them is appended to it."""
        self._workspace = workspace
        self.session = session
        self._fresh = fresh
        self._found = self._load()
        self.spent_usd = Decimal(0)

    def _load(self) -> Session | None:
        if not self._workspace.settings.enabled:
            return None
        # Refused before anything is paid for, if it must be.
        self._workspace.appender.check(self.session)
        tips, _ = self._workspace.history.tips()
        if self.session not in tips or self._fresh:
            return None
        return self._workspace.history.one(self.session)

    def prepare(self, wish: Wish) -> Prepared:
        """The request that ``wish`` comes to; raises UsageError for a file or prompt that cannot be sent."""
        redactor, now = self._workspace.redactor, self._workspace.around.now()
        context = Context() if self._found is None else context_of(self._workspace.history, self._found)
        prompt = redactor.text(well_formed(wish.prompt))
        if not prompt.strip():
            raise UsageError("the prompt is empty")
        notes: list[str] = []
        blocks: list[JSONObject] = []
        read_in: list[str] = []
        for name in wish.sessions:
            read, trailer = self._read_in(name, notes)
            blocks += read
            read_in += trailer
        known = documents_of(context.messages)
        unchanged: list[str] = []
        for title, path in wish.files:
            text = redactor.text(file_text(title, path))
            if known.get(title) == text:
                unchanged.append(title)
            else:
                blocks.append(document(title, text))
        if len(unchanged) > _MOST_NAMED:
            notes.append(f"{len(unchanged)} files are in the context already, unchanged")
        else:
            notes += [f"{title} is in the context already, unchanged" for title in unchanged]
        blocks.append({"type": "text", "text": prompt})
        asked = ({"role": "user", "content": blocks},)
        request = self._request(wish, context, asked)
        request, places = lay_out(request, gaps_s=context.gaps_s(now) if context.starts else [], turns=context.turns)
        wish = replace(wish, prompt=prompt)
        return self._estimated(wish, context, request, places, asked, tuple(read_in), tuple(notes), now)

    def _request(self, wish: Wish, context: Context, asked: Sequence[JSONObject]) -> Request:
        command, feature = split(self.session)
        redactor = self._workspace.redactor
        if wish.system is not None:
            system: tuple[JSONObject, ...] = _text_blocks(redactor.text(well_formed(wish.system)))
        else:
            kept = context.system
            default = _text_blocks(_SYSTEM.format(feature=feature or command, command=command))
            system = default if kept is None else kept
        messages = joined([*context.messages, *asked])
        return Request(
            model=wish.model,
            max_tokens=_longest(wish),
            system=system,
            messages=messages,
            tools=_definitions(wish.tools, tools_of(messages)),
        )

    def _estimated(
        self,
        wish: Wish,
        context: Context,
        request: Request,
        places: tuple[Place, ...],
        asked: tuple[JSONObject, ...],
        read_in: tuple[str, ...],
        notes: tuple[str, ...],
        now: datetime,
    ) -> Prepared:
        new = estimate_tokens(list(asked))
        before = estimate_tokens([*request.system, *request.tools, *context.messages])
        usage_of_last = _measured(context, self._found)
        if usage_of_last is not None:
            before = usage_of_last.prompt_tokens + usage_of_last.output_tokens
        # A cache is one model's own.
        same_model = bool(context.pieces) and self._model_of(context.pieces[-1].turn) == wish.model
        cached = _still_cached(context, usage_of_last, now) if same_model else 0
        answers = [self._output_of(piece.turn) for piece in context.pieces]
        answer = sum(answers) // len(answers) if answers else TYPICAL_ANSWER_TOKENS
        total = before + new
        written = total - cached if places else 0
        one_hour = lifetime(context.gaps_s(now)) == "1h" if context.starts else False
        usage = TokenUsage(
            input_tokens=total - cached - written,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=written if one_hour else 0,
            output_tokens=min(answer, request.max_tokens),
        )
        cost = self._workspace.price(wish.model, usage, now)[0]
        before_usd = expected_usd(self._workspace, split(self.session)[0], model=wish.model)
        return Prepared(
            session=self.session,
            wish=wish,
            context=context,
            request=request,
            places=places,
            asked=asked,
            read_in=read_in,
            input_tokens=total,
            context_tokens=before if context.turns else 0,
            cached_tokens=cached,
            cost_usd=cost,
            expected_usd=cost if before_usd is None else before_usd,
            answer_tokens=usage.output_tokens,
            notes=notes,
        )

    def _model_of(self, turn: Commit) -> str | None:
        metrics = None if self._found is None else self._found.metrics(turn)
        return None if metrics is None else metrics.model

    def _output_of(self, turn: Commit) -> int:
        metrics = None if self._found is None else self._found.metrics(turn)
        return 0 if metrics is None else metrics.usage.output_tokens

    def _read_in(self, name: SessionName, notes: list[str]) -> tuple[list[JSONObject], list[str]]:
        """The blocks of another session, from where it was last read in, and its AI-Context trailer."""
        if name == self.session:
            raise UsageError(f"--with {name}: a session is its own context already")
        other = self._workspace.history.one(name)
        items = [item for item in other.counted() if item.facts.kind == "turn"]
        if not items:
            raise NotFound(f"{name} has no turns to read in")
        had = self._last_read(other.session_id)
        ids = [item.facts.turn_id for item in items]
        fresh = items[ids.index(had) + 1 :] if had in ids else items
        if not fresh:
            notes.append(f"{name} was read in before and has no new turns")
            return [], []
        blocks: list[JSONObject] = []
        for item, content in self._workspace.history.contents(fresh):
            if not content.response.strip():
                continue
            blocks += _text_blocks(f"From the session {name}, turn {item.facts.seq}. It was asked:")
            blocks += _text_blocks(content.prompt if content.prompt.strip() else "(nothing)")
            blocks += _text_blocks("It was answered:")
            blocks += _text_blocks(content.response)
        notes.append(f"reads in {len(fresh)} turn{'' if len(fresh) == 1 else 's'} of {name}")
        return blocks, [f"{other.session_id}@{fresh[-1].facts.turn_id}"]

    def _last_read(self, session_id: str | None) -> TurnId | None:
        for item in reversed(self._found.commits if self._found is not None else ()):
            for text in reversed(item.facts.context):
                read, _, turn_id = text.partition("@")
                if read == session_id and session_id is not None:
                    return TurnId(turn_id)
        return None

    def overfull(self, prepared: Prepared) -> bool:
        """Whether the oldest turns are to be compacted before this request."""
        limit = min(self._workspace.settings.max_context_tokens, context_window(prepared.wish.model))
        return prepared.input_tokens > limit and len(prepared.context.pieces) > 1

    def compact(self, prepared: Prepared, provider: Provider) -> Answered:
        """Asks for a summary of the oldest turns and records it; the next ``prepare`` uses it.

        Raises BudgetExceeded, or ProviderError where no summary came: nothing has changed then.
        """
        limit = min(self._workspace.settings.max_context_tokens, context_window(prepared.wish.model))
        count = _oldest(prepared.context, limit)
        context = replace(prepared.context, pieces=prepared.context.pieces[:count])
        wish = replace(prepared.wish, prompt=_SUMMARISE, max_tokens=SUMMARY_TOKENS, system=None, task=None)
        asked = ({"role": "user", "content": list(_text_blocks(_SUMMARISE))},)
        request = self._request(wish, context, asked)
        input_tokens = estimate_tokens([*request.system, *request.messages])
        request = self._held(request, wish.limit, input_tokens)
        provider.prepare()
        started = self._workspace.around.now()
        reply = provider.ask(request, lambda _: None)
        turn = exchanges.turn_of(
            [Timed(reply=reply, started=started, ended=self._workspace.around.now())],
            prompt=wish.prompt,
            request=request,
            asked=asked,
            places=(),
            worked=None,
            agent=provider.agent,
            price=self._workspace.price,
        )
        if reply.failure is not None or reply.interrupted or not reply.text.strip():
            why = reply.failure.text if reply.failure is not None else "the summary did not arrive"
            if reply.usage is not None:
                self._keep(turn)
            raise ProviderError(f"the context could not be compacted: {why}")
        last = context.pieces[-1].turn.facts.turn_id
        recorded = self._keep(replace(turn, kind="compaction", compacts=last))
        self._found = self._load()
        return Answered(reply=reply, recorded=recorded)

    def _held(self, request: Request, limit: Limit | None, input_tokens: int, *, tools: bool = False) -> Request:
        """``request`` with its answer no longer than the budget pays for; raises BudgetExceeded."""
        if limit is None:
            return request
        return hold(
            request,
            limit.after(self.spent_usd),
            input_tokens=input_tokens,
            price=self._workspace.price,
            at=self._workspace.around.now(),
            tools=tools,
        )

    def budgeted(self, prepared: Prepared, provider: Provider) -> Prepared:
        """``prepared`` held to its budget by the service's own count of its tokens."""
        if prepared.wish.limit is None:
            return prepared
        counted = provider.count_tokens(prepared.request)
        tools = bool(prepared.wish.tools)
        request = self._held(prepared.request, prepared.wish.limit, counted, tools=tools)
        return replace(prepared, request=request, input_tokens=counted)

    def ask(
        self,
        prepared: Prepared,
        provider: Provider,
        on_text: Callable[[str], None],
        on_end: Callable[[], None] = lambda: None,
        *,
        shape: Callable[[Turn], Turn] = lambda turn: turn,
    ) -> Answered:
        """Sends the request and records what came: an answer, a part of one, or that it failed.

        ``on_end`` is called between the two: what arrived is paid for, and from here on must not be lost. ``shape``
        adds to the turn what is known of it by then.
        """
        provider.prepare()
        started = self._workspace.around.now()
        reply = provider.ask(prepared.request, on_text)
        on_end()
        refused = reply.failure is not None and not reply.failure.sent and not reply.content
        if refused or not self._workspace.settings.enabled:
            return Answered(reply=reply, recorded=None)
        answer = Timed(reply=reply, started=started, ended=self._workspace.around.now())
        turn = shape(self._turn_of(prepared, provider, [answer], None))
        return Answered(reply=reply, recorded=self._keep(turn))

    def work(
        self,
        prepared: Prepared,
        provider: Worker,
        on_text: Callable[[str], None],
        on_end: Callable[[], None] = lambda: None,
        *,
        on_call: Callable[[str, JSONObject], None] = lambda name, given: None,
        shape: Callable[[Turn], Turn] = lambda turn: turn,
    ) -> tuple[Outcome, Recorded | None]:
        """Sends the request with the wish's tools at hand, and as many more as their results take; all of it is one
        turn. Each of them is held to the wish's budget.
        """
        provider.prepare()
        wish, limit = prepared.wish, prepared.wish.limit
        loop = ToolLoop(
            self._workspace,
            provider,
            prepared.request,
            wish.tools,
            limit=None if limit is None else limit.after(self.spent_usd),
            longest_tokens=_longest(wish),
        )
        if not self._workspace.settings.enabled:
            return loop.run(on_text, on_end, on_call, None), None
        turn_id = TurnId(uuid4().hex)

        def turn_of(answers: Sequence[Timed], worked: Worked) -> Turn:
            return shape(replace(self._turn_of(prepared, provider, answers, worked), turn_id=turn_id))

        with self._workspace.working(self.session, turn_id) as keep:
            outcome = loop.run(
                on_text,
                on_end,
                on_call,
                lambda answers, worked: keep(self._workspace.situated(turn_of(answers, worked))),
            )
            return outcome, None if outcome.refused else self._keep(turn_of(outcome.answers, outcome.worked))

    def _turn_of(self, prepared: Prepared, provider: Provider, answers: Sequence[Timed], worked: Worked | None) -> Turn:
        turn = exchanges.turn_of(
            answers,
            prompt=prepared.wish.prompt,
            request=prepared.request,
            asked=prepared.asked,
            places=prepared.places,
            worked=worked,
            agent=provider.agent,
            price=self._workspace.price,
        )
        return replace(
            turn, context=prepared.read_in, task=prepared.wish.task, estimated_cost_usd=prepared.expected_usd
        )

    def _keep(self, turn: Turn) -> Recorded:
        recorded = self._workspace.record(self.session, self._workspace.situated(turn), paid=True)
        metrics = turns.metrics_of(turn, self._workspace.price)
        self.spent_usd += metrics.cost_usd or 0
        return recorded


def _oldest(context: Context, limit: int) -> int:
    """How many of the oldest turns to compact: all but the newest third of the limit, and no more at once
    than a request can hold."""
    sizes = [estimate_tokens(list(piece.messages)) for piece in context.pieces]
    kept, count = 0, len(sizes)
    while count > 1 and kept + sizes[count - 1] <= limit // 3:
        count -= 1
        kept += sizes[count]
    while count > 1 and sum(sizes[:count]) > limit:
        count -= 1
    return count


def _measured(context: Context, session: Session | None) -> TokenUsage | None:
    """The usage of the last turn, where the next request goes on from just that request."""
    if not context.pieces or session is None:
        return None
    last = context.pieces[-1].turn
    metrics = session.metrics(last)
    newest = [item for item in session.counted() if item.facts.kind == "turn"][-1]
    whole = newest.oid == last.oid and metrics is not None and metrics.requests == 1
    compacted = session.commits[-1].facts.kind == "compaction"
    if not whole or compacted or metrics is None or last.facts.status != "ok":
        return None
    return metrics.usage if last.facts.agent == "anthropic-api" else None


def _still_cached(context: Context, usage: TokenUsage | None, now: datetime) -> int:
    """Tokens that the last request read from or wrote to the cache, if they live yet."""
    if usage is None:
        return 0
    life = CACHE_LIFETIME_1H_S if usage.cache_write_1h_tokens else CACHE_LIFETIME_5M_S
    alive = (now - context.starts[-1]).total_seconds() <= life
    return usage.cache_read_tokens + usage.cache_write_tokens if alive else 0


def _longest(wish: Wish) -> int:
    """How many tokens an answer may have where no budget says less."""
    return min(wish.max_tokens, max_output_tokens(wish.model))


def _definitions(tools: Sequence[Tool], others: tuple[JSONObject, ...]) -> tuple[JSONObject, ...]:
    return tuple(tool.definition for tool in with_others(tools, others)) if tools else others


def _text_blocks(text: str) -> tuple[JSONObject, ...]:
    return ({"type": "text", "text": text},)


def file_text(title: str, path: Path) -> str:
    """A file's text; raises UsageError for one that is missing, too large, empty or no text."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{title} is larger than 5 MiB: give a part of it")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{title} cannot be read: {error.strerror}") from None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{title} is not UTF-8 text: only text files can be added") from None
    if not text.strip() or "\0" in text:
        raise UsageError(f"{title} {'is binary' if chr(0) in text else 'is empty'}: there is nothing to add")
    return text
