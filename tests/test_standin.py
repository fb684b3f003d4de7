"""The stand-in for the Messages API, driven by the real SDK."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import anthropic
import httpx2
import pytest
from anthropic.types import Message, Usage

from gitsess.catalog import cache_minimum_tokens
from gitsess.providers.standin import (
    LABEL,
    LABEL_HEADER,
    Answer,
    Clock,
    Fault,
    StandIn,
    ToolUse,
    count_tokens,
)

MODEL = "claude-sonnet-5-5"
OLDER = "claude-haiku-4-5"
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
KEY = "sk-not-a-key"


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0, frozen=True)


@pytest.fixture
def service(clock: Clock) -> Iterator[StandIn]:
    with StandIn(clock=clock) as running:
        yield running


@pytest.fixture
def client(service: StandIn) -> Iterator[anthropic.Anthropic]:
    with connect(service) as made:
        yield made


def connect(service: StandIn, **options: Any) -> anthropic.Anthropic:
    # Reading the certificates of the machine would take most of the time of a test, for http.
    plain = anthropic.DefaultHttpxClient(verify=False)
    settings: dict[str, Any] = {"api_key": KEY, "max_retries": 0, "timeout": 10.0, "http_client": plain}
    return anthropic.Anthropic(base_url=service.url, **(settings | options))


def ask(client: anthropic.Anthropic, *content: Any, **params: Any) -> Message:
    """One request without streaming; ``content`` is the blocks of one user message."""
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 1024, "messages": [user(*content)]} | params
    return cast(Message, client.messages.create(**body))


def post(client: anthropic.Anthropic, body: Mapping[str, Any], path: str = "/v1/messages") -> Any:
    """Send ``body`` as it is, past the SDK's own checks of the arguments."""
    return client.post(path, cast_to=object, body=dict(body))


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [text(one) if isinstance(one, str) else one for one in content]}


def assistant(*content: Any) -> dict[str, Any]:
    return user(*content) | {"role": "assistant"}


def text(said: str, **extra: Any) -> dict[str, Any]:
    return {"type": "text", "text": said} | extra


def long(tokens: int, seed: str = "a") -> str:
    """A text of exactly that many tokens."""
    return (seed * 3 + " ") * (tokens - 1) + seed * 4


def called(name: str, **extra: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "read", "input": {"path": "a"}} | extra


def result(name: str, **extra: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": "done"} | extra


def tool(name: str = "read", **extra: Any) -> dict[str, Any]:
    return {"name": name, "description": "reads", "input_schema": {"type": "object"}} | extra


def split(usage: Usage) -> tuple[int | None, int | None, int]:
    """Read, written, uncached."""
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens


def spoken(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- answers


def test_every_answer_says_that_no_model_wrote_it(service: StandIn) -> None:
    """Label and header are there, whoever chose the words, even where the answer is only a tool call."""
    answers: list[Answer | str] = [Answer(text="A."), "B.", Answer(tool_uses=(ToolUse(name="t", input={}),))]
    with StandIn(answer=lambda request: answers.pop(0)) as chosen:
        for running in (service, chosen, chosen, chosen):
            with connect(running) as client:
                raw = client.messages.with_raw_response.create(
                    model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "Hello"}]
                )
                assert spoken(raw.parse()).startswith(LABEL)
                assert "no model" in raw.headers[LABEL_HEADER]


def test_the_default_answer_names_the_prompt_and_depends_on_it_alone(client: anthropic.Anthropic) -> None:
    """The same prompt gets the same text; different prompts get different lengths."""
    first = spoken(ask(client, "Plan the auth service, and then some more words"))
    assert first == spoken(ask(client, "Plan the auth service, and then some more words"))
    assert 'begins "Plan the auth service, and then some more"' in first
    tails = {spoken(ask(client, f"prompt {number}")).partition('". ')[2] for number in range(20)}
    assert len(tails) > 8
    assert len({len(tail) for tail in tails}) > 8


def test_a_stream_carries_what_a_single_response_does(service: StandIn, client: anthropic.Anthropic) -> None:
    """Streaming gives the same content and usage in several deltas; the usage at the start says 1 token."""
    whole = ask(client, "Hello")
    with client.messages.stream(
        model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": "Hello"}]
    ) as stream:
        events = list(stream)
        final = stream.get_final_message()
        assert stream.request_id == service.requests[-1].request_id
    assert final.content[0].model_dump() == whole.content[0].model_dump()
    assert final.usage == whole.usage
    assert (final.stop_reason, whole.stop_reason) == ("end_turn", "end_turn")
    deltas = [event for event in events if event.type == "content_block_delta"]
    assert len(deltas) > 3
    start = next(event for event in events if event.type == "message_start")
    assert start.message.usage.output_tokens == 1
    assert start.message.usage.input_tokens == whole.usage.input_tokens


def test_the_events_of_a_stream_come_in_the_documented_order(service: StandIn) -> None:
    """On the wire: start, block start, ping, deltas, block stop, message delta, stop, each named twice."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=10)
    body = {"model": MODEL, "max_tokens": 900, "stream": True, "messages": [user("Hello")]}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    connection.request("POST", "/v1/messages?beta=true", json.dumps(body), headers)
    response = connection.getresponse()
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = [frame.split("\n") for frame in response.read().decode().split("\n\n") if frame]
    names = [name.removeprefix("event: ") for name, _ in frames]
    assert names == [json.loads(data.removeprefix("data: "))["type"] for _, data in frames]
    order = [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]
    while "ping" in order[3:]:
        at = order.index("ping", 3)
        del order[at : at + 2]
    assert order == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    connection.close()


def test_thinking_text_and_tool_calls_arrive_and_can_be_sent_back() -> None:
    """An answer with every kind of block comes through both ways, and is accepted in the next request."""
    answer = Answer(thinking="Let me see.", text="I read it.", tool_uses=(ToolUse(name="read", input={"path": "é\n"}),))
    answers = [answer, answer, Answer(text="Done.")]
    with StandIn(answer=lambda request: answers.pop(0)) as service, connect(service) as client:
        whole = ask(client, "Go", tools=[tool()])
        with client.messages.stream(
            model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": "Go"}]
        ) as stream:
            streamed = stream.get_final_message()
        for message in (whole, streamed):
            thought, said, call = message.content
            assert thought.type == "thinking"
            assert thought.thinking == "Let me see."
            assert thought.signature
            assert said.type == "text"
            assert said.text == f"{LABEL}\n\nI read it."
            assert call.type == "tool_use"
            assert call.input == {"path": "é\n"}
            assert message.stop_reason == "tool_use"
        sent = [user("Go"), whole.to_param(), user(result(call_id(whole)))]
        assert "Done." in spoken(ask(client, messages=sent, tools=[tool()]))
        assert call_id(whole) != call_id(streamed)


def call_id(message: Message) -> str:
    return next(block.id for block in message.content if block.type == "tool_use")


def test_max_tokens_cuts_the_answer(client: anthropic.Anthropic) -> None:
    """A smaller max_tokens gives the answer's beginning, and says so."""
    whole = ask(client, "Hello")
    cut = ask(client, "Hello", max_tokens=30)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 30)
    assert spoken(cut) == spoken(whole)[: 30 * 4]


def test_a_chosen_number_of_output_tokens_is_reported_and_cut_in_proportion() -> None:
    """output_tokens is what the usage says; a max_tokens of a half lets about half of the text through."""
    said = "word " * 400
    with (
        StandIn(answer=lambda request: Answer(text=said, output_tokens=100)) as service,
        connect(service) as client,
    ):
        assert ask(client, "Hello", max_tokens=100).usage.output_tokens == 100
        cut = ask(client, "Hello", max_tokens=50)
    assert (cut.usage.output_tokens, cut.stop_reason) == (50, "max_tokens")
    assert 900 < len(spoken(cut)) < 1200


def test_a_cut_tool_call_is_left_out() -> None:
    """Half a tool call never reaches the client, in which it could not be paired."""
    call = ToolUse(name="write", input={"text": "x" * 4000})
    with (
        StandIn(answer=lambda request: Answer(text="Now.", tool_uses=(call,))) as service,
        connect(service) as client,
    ):
        message = ask(client, "Hello", max_tokens=100)
    assert [block.type for block in message.content] == ["text"]
    assert message.stop_reason == "max_tokens"


def test_a_stop_sequence_ends_the_answer() -> None:
    """The text stops before the first stop sequence in it, which is named."""
    with StandIn(answer=lambda request: "one two three") as service, connect(service) as client:
        message = ask(client, "Hello", stop_sequences=["three", "two"])
    assert spoken(message).endswith("one ")
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "two")


def test_an_answer_ends_where_the_context_window_does(client: anthropic.Anthropic) -> None:
    """A prompt that nearly fills the window leaves room for few tokens; a longer one is refused."""
    full = long(200_000 - 27)
    message = ask(client, full, model=OLDER)
    assert message.stop_reason == "model_context_window_exceeded"
    assert message.usage.output_tokens == 20
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: 200010 tokens > 200000"):
        ask(client, full, long(30), model=OLDER)


def test_no_tokens_warm_the_cache(client: anthropic.Anthropic) -> None:
    """max_tokens 0 answers nothing and writes the cache."""
    warm = ask(client, text(long(600), cache_control=EPHEMERAL), max_tokens=0)
    assert (warm.content, warm.usage.output_tokens) == ([], 0)
    assert split(ask(client, text(long(600), cache_control=EPHEMERAL)).usage)[0] == 604


# --- tokens


@pytest.mark.parametrize(
    "params",
    [
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"messages": [user("Hello", "again"), assistant("Yes"), user("Then?")], "system": "Be brief."},
        {
            "messages": [user("é😀"), assistant("x", called("t1")), user(result("t1"), "and")],
            "tools": [tool(), tool("write", cache_control=EPHEMERAL)],
            "system": [text(long(700), cache_control=EPHEMERAL)],
        },
        {
            "messages": [
                user(
                    {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/x.png"}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 9000},
                        "cache_control": EPHEMERAL,
                    },
                )
            ],
        },
    ],
    ids=["text", "turns", "tools", "media"],
)
def test_count_tokens_says_what_is_billed(client: anthropic.Anthropic, params: dict[str, Any]) -> None:
    """The counting endpoint and the function agree with read + written + uncached, cold and warm."""
    counted = cast(Any, client.messages).count_tokens(model=MODEL, **params).input_tokens
    for _ in range(2):
        assert sum(part or 0 for part in split(ask(client, **params).usage)) == counted
    assert count_tokens({"model": MODEL, **params}) == counted


def test_consecutive_user_messages_are_one(client: anthropic.Anthropic) -> None:
    """Two user messages cost the same as one with both blocks, and read its cache."""
    first, second = text(long(700)), text("And?", cache_control=EPHEMERAL)
    written = ask(client, messages=[user(first, second)])
    again = ask(client, messages=[user(first), user(second)])
    assert split(again.usage) == (split(written.usage)[1], 0, split(written.usage)[2])


# --- the cache


def test_a_prefix_is_written_read_and_forgotten(client: anthropic.Anthropic, clock: Clock) -> None:
    """Five minutes after the last use the prefix must be written again; each read starts them anew."""
    system = [text(long(1000), cache_control=EPHEMERAL)]
    bills = []
    for seconds in (0, 299, 299, 300):
        clock.advance(seconds)
        bills.append(split(ask(client, "Hi", system=system).usage))
    assert bills == [(0, 1003, 8), (1003, 0, 8), (1003, 0, 8), (0, 1003, 8)]


def test_one_hour_entries_outlive_five_minute_ones(client: anthropic.Anthropic, clock: Clock) -> None:
    """ttl 1h is billed apart, read after 59 minutes and again 59 minutes later; it expires after an hour."""
    params: dict[str, Any] = {"system": [text(long(1000), cache_control=HOUR)]}
    params["messages"] = [user(text(long(600), cache_control=EPHEMERAL))]
    first = ask(client, **params).usage
    assert split(first) == (0, 1607, 3)
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_1h_input_tokens == 1003
    assert first.cache_creation.ephemeral_5m_input_tokens == 604
    for _ in range(2):
        clock.advance(3599)
        later = ask(client, **params).usage
        assert split(later) == (1003, 604, 3)
        assert later.cache_creation is not None
        assert later.cache_creation.ephemeral_1h_input_tokens == 0
    clock.advance(3600)
    assert split(ask(client, **params).usage) == (0, 1607, 3)


def test_a_lifetime_counts_from_the_start_of_the_request(clock: Clock) -> None:
    """Time spent on answering counts: after a 4-minute answer one minute is left."""

    def slowly(request: Mapping[str, Any]) -> str:
        clock.advance(240)
        return "At last."

    with StandIn(clock=clock, answer=slowly) as service, connect(service) as client:
        cached = text(long(1000), cache_control=EPHEMERAL)
        reads = []
        for seconds in (0, 60, 59, 60):
            clock.advance(seconds)
            reads.append(split(ask(client, cached).usage)[0])
    assert reads == [0, 0, 1004, 0]


def test_what_is_written_can_be_read_once_the_response_begins(service: StandIn, client: anthropic.Anthropic) -> None:
    """A request that failed before its response wrote nothing; one that was cut in the middle did."""
    cached = text(long(1000), cache_control=EPHEMERAL)
    service.fail(Fault(kind="status", status=529), Fault(kind="cut", after_deltas=1))
    with pytest.raises(anthropic.OverloadedError):
        ask(client, cached)
    with pytest.raises(anthropic.APIConnectionError):
        ask(client, cached)
    assert service.requests[-1].usage is not None
    assert service.requests[-1].usage["cache_creation_input_tokens"] == 1004
    assert split(ask(client, cached).usage)[0] == 1004


@pytest.mark.parametrize("model", [MODEL, "claude-sonnet-4-6", "claude-opus-4-7", OLDER])
def test_a_prefix_below_the_minimum_of_the_model_is_not_cached(client: anthropic.Anthropic, model: str) -> None:
    """One token short of the minimum nothing is cached and no error is given; at the minimum it is."""
    minimum = cache_minimum_tokens(model)
    for tokens, cached in ((minimum - 1, 0), (minimum, minimum)):
        params: dict[str, Any] = {"model": model, "system": [text(long(tokens - 3), cache_control=EPHEMERAL)]}
        assert split(ask(client, "Hi", **params).usage)[:2] == (0, cached)
        assert split(ask(client, "Hi", **params).usage)[:2] == (cached, 0)


def test_twenty_positions_are_searched_back_from_a_breakpoint(client: anthropic.Anthropic) -> None:
    """An entry 5 blocks back is found, and so is one 19 blocks back: the breakpoint is the first position."""
    blocks = [text(long(100, chr(97 + number % 26))) for number in range(35)]

    def sent(upto: int, *marks: int) -> tuple[int | None, int | None, int]:
        content = [
            block | ({"cache_control": EPHEMERAL} if number + 1 in marks else {})
            for number, block in enumerate(blocks[:upto])
        ]
        return split(ask(client, *content).usage)

    assert sent(10, 10) == (0, 1004, 3)
    assert sent(15, 15) == (1004, 500, 3)
    assert sent(34, 34) == (1504, 1900, 3)


def test_an_entry_past_the_window_is_missed_and_a_second_breakpoint_finds_it(
    client: anthropic.Anthropic,
) -> None:
    """Turn 3 of the documented example: 35 blocks, and the last entry is at block 15."""
    blocks = [text(long(100, chr(97 + number % 26))) for number in range(35)]
    ask(client, *blocks[:14], blocks[14] | {"cache_control": EPHEMERAL})
    far = [*blocks[:34], blocks[34] | {"cache_control": EPHEMERAL}]
    helped = [*far[:14], far[14] | {"cache_control": EPHEMERAL}, *far[15:]]
    assert split(ask(client, *helped, max_tokens=1).usage) == (1504, 2000, 3)
    # The entry at block 35 is there now, so that the miss needs another last block.
    other = [*far[:34], text(long(100, "!"), cache_control=EPHEMERAL)]
    assert split(ask(client, *other).usage) == (0, 3504, 3)


def test_a_run_of_parallel_tool_calls_is_one_position(client: anthropic.Anthropic) -> None:
    """30 calls and their 30 results push an entry no further away than two blocks do."""
    start = user(text(long(1000), cache_control=EPHEMERAL))
    ask(client, messages=[start])
    ids = [f"t{number}" for number in range(30)]
    results = [result(name) for name in ids]
    results[-1] |= {"cache_control": EPHEMERAL}
    messages = [start, assistant(*map(called, ids)), user(*results)]
    del start["content"][0]["cache_control"]
    assert split(ask(client, messages=messages).usage)[0] == 1004


def test_the_parts_of_the_prefix_that_a_change_invalidates(client: anthropic.Anthropic) -> None:
    """Each change keeps what stands before it: tools, system, messages; a model shares nothing."""
    tools = [tool(description=long(600), cache_control=EPHEMERAL)]
    system = [text(long(600), cache_control=EPHEMERAL)]
    messages = [user(text(long(600), cache_control=EPHEMERAL))]
    base: dict[str, Any] = {"tools": tools, "system": system, "messages": messages}
    ask(client, **base)
    upto_tools = split(ask(client, **(base | {"system": "Other", "messages": [user("x")]})).usage)[0]
    upto_system = split(ask(client, **(base | {"messages": [user("x")]})).usage)[0]
    all_of_it = split(ask(client, **base).usage)[0]
    assert upto_tools is not None
    assert upto_system == upto_tools + 603
    assert all_of_it == upto_system + 604

    def read(**change: Any) -> int | None:
        return split(ask(client, **(base | change)).usage)[0]

    picture = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/x.png"}}
    assert read(tool_choice={"type": "auto"}) == all_of_it
    assert read(tool_choice={"type": "none"}) == upto_system
    assert read(thinking={"type": "adaptive"}) == upto_system
    assert read(output_config={"effort": "low"}) == upto_system
    assert read(messages=[*messages, user(picture)]) == upto_system
    assert read(speed="fast") == upto_tools
    assert read(system=[text(long(600, "b"), cache_control=EPHEMERAL)]) == upto_tools
    assert read(tools=[tools[0] | {"name": "other"}]) == 0
    assert read(model="claude-opus-5-5") == 0


def test_the_order_of_keys_in_a_tool_call_is_part_of_the_prefix(client: anthropic.Anthropic) -> None:
    """Sorting the input of a tool call breaks the cache; the order of a block's own keys does not."""
    answered = user(result("t1", cache_control=EPHEMERAL))

    def read(call: dict[str, Any]) -> int | None:
        return split(ask(client, messages=[user(long(800)), assistant(call), answered]).usage)[0]

    call = called("t1", input={"b": 1, "a": 2})
    assert read(call) == 0
    assert read(dict(reversed(call.items()))) == read(call) != 0
    assert read(call | {"input": {"a": 2, "b": 1}}) == 0


def test_a_read_refreshes_the_breakpoints_before_it(client: anthropic.Anthropic, clock: Clock) -> None:
    """The system's entry stays alive as long as it is marked in requests that read past it."""
    system = [text(long(1000), cache_control=EPHEMERAL)]
    messages = [user(text(long(600), cache_control=EPHEMERAL))]
    for _ in range(3):
        ask(client, system=system, messages=messages)
        clock.advance(200)
    assert split(ask(client, "Another prompt", system=system).usage)[0] == 1003


def test_automatic_caching_moves_its_breakpoint_forward(client: anthropic.Anthropic) -> None:
    """A top-level cache_control caches up to the last block, and the next request reads that."""
    first = [user(long(700))]
    second = [*first, assistant("Yes."), user("Go on.")]
    assert split(ask(client, messages=first, cache_control=EPHEMERAL).usage) == (0, 704, 3)
    assert split(ask(client, messages=second, cache_control=EPHEMERAL).usage)[0] == 704


def test_automatic_caching_beside_explicit_breakpoints(client: anthropic.Anthropic) -> None:
    """On a block marked alike it changes nothing; another ttl there, or no slot left, is refused."""
    marked = [text(long(600), cache_control=EPHEMERAL)]
    assert split(ask(client, *marked, cache_control=EPHEMERAL).usage) == (0, 604, 3)
    with pytest.raises(anthropic.BadRequestError, match="another ttl"):
        ask(client, *marked, cache_control=HOUR)
    with pytest.raises(anthropic.BadRequestError, match="at most 4"):
        ask(client, *(marked * 4), "last", cache_control=EPHEMERAL)
    assert ask(client, "first", *(marked * 4), cache_control=EPHEMERAL).stop_reason == "end_turn"


def test_older_models_do_not_see_the_thinking_of_earlier_exchanges(client: anthropic.Anthropic) -> None:
    """Haiku 4.5 drops thinking once a person speaks again, which changes the prefix; newer models keep it."""
    thought = {"type": "thinking", "thinking": long(500), "signature": "s"}
    loop = [user("Go"), assistant(thought, called("t1")), user(result("t1"))]
    after = [*loop, assistant("Done."), user("Thanks")]
    for model, kept in ((OLDER, 0), (MODEL, 500)):
        count = client.messages.count_tokens
        with_it = count(model=model, messages=cast(Any, after)).input_tokens
        del after[1]["content"][0]
        without = count(model=model, messages=cast(Any, after)).input_tokens
        after[1]["content"].insert(0, thought)
        assert with_it - without == kept
        assert count(model=model, messages=cast(Any, loop)).input_tokens > 500


# --- refusals


def valid(**params: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": [user("Hello")]} | params


def said(*messages: Any, **params: Any) -> dict[str, Any]:
    return valid(messages=list(messages), **params)


NOT_A_NUMBER = valid(metadata={"user_id": float("nan")})
SURROGATE = valid(messages=[{"role": "user", "content": "\ud800"}])


def lacking(name: str) -> dict[str, Any]:
    return {key: value for key, value in valid().items() if key != name}


MARKED = text("x", cache_control=EPHEMERAL)
THOUGHT = {"type": "thinking", "thinking": "t", "signature": "s"}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no max_tokens": (lacking("max_tokens"), "max_tokens: this field is needed"),
    "max_tokens is text": (valid(max_tokens="9"), "max_tokens: must be a whole number"),
    "max_tokens is true": (valid(max_tokens=True), "max_tokens: must be a whole number"),
    "max_tokens negative": (valid(max_tokens=-1), "max_tokens: must not be negative"),
    "max_tokens too large": (valid(max_tokens=10**7), "10000000 > 128000"),
    "max_tokens 0 streamed": (valid(max_tokens=0, stream=True), "0 does not go with stream"),
    "no model": (lacking("model"), "model: this field is needed"),
    "empty model": (valid(model=""), "model: a model's id"),
    "no messages": (lacking("messages"), "messages: this field is needed"),
    "empty messages": (said(), "at least one message"),
    "unknown parameter": (valid(colour="red"), "colour: extra inputs"),
    "first is assistant": (said(assistant("Hi"), user("x")), "first message must"),
    "first is system": (said({"role": "system", "content": "x"}, user("x")), "first message must"),
    "unknown role": (said({"role": "tool", "content": "x"}), "messages.0.role: 'tool'"),
    "key of ours in a message": (said(user("x") | {"request": "r"}), "messages.0.request: extra inputs"),
    "no content": (said({"role": "user"}), "messages.0.content: this field is needed"),
    "content is a number": (said({"role": "user", "content": 1}), "must be a text or a list"),
    "empty text": (said({"role": "user", "content": ""}), "must not be empty"),
    "empty list": (said({"role": "user", "content": []}), "messages.0.content: must not be empty"),
    "empty text block": (said(user("x", "")), "messages.0.content.1: text content blocks must not be empty"),
    "blank text block": (said(user(" \n")), "more than whitespace"),
    "empty system block": (valid(system=[text("")]), "system.0: text content blocks"),
    "system is no text": (valid(system=[{"type": "image", "source": {}}]), "system.0: must be a text block"),
    "unknown block": (said(user({"type": "video"})), "'video' is no type"),
    "unknown key in a block": (said(user(text("x", colour="red"))), "content.0.text.colour: extra inputs"),
    "block lacks its text": (said(user({"type": "text"})), "text.text: this field is needed"),
    "trailing whitespace": (said(user("x"), assistant("So ")), "end in whitespace"),
    "prefill on a new model": (said(user("x"), assistant("So")), "the last message must be the user's"),
    "image by the assistant": (
        said(user("x"), assistant({"type": "image", "source": {}}), user("x")),
        "`image` blocks have no place in an assistant message",
    ),
    "tool_use by the user": (said(user(called("t1"))), "`tool_use` blocks have no place in a user message"),
    "tool_use unanswered": (said(user("x"), assistant(called("t1")), user("y")), "right after for t1"),
    "tool_use at the end": (said(user("x"), assistant(called("t1"))), "right after for t1"),
    "one of two answered": (
        said(user("x"), assistant(called("t1"), called("t2")), user(result("t1"))),
        "right after for t2",
    ),
    "answered too late": (
        said(user("x"), assistant(called("t1")), user("y"), assistant("z"), user(result("t1"))),
        "right after for t1",
    ),
    "tool_result of nothing": (said(user(result("t1"))), "answers no `tool_use`"),
    "tool_result twice": (
        said(user("x"), assistant(called("t1")), user(result("t1"), result("t1"))),
        "answered twice",
    ),
    "text before tool_result": (
        said(user("x"), assistant(called("t1")), user("y", result("t1"))),
        "before all others",
    ),
    "same tool_use id twice": (
        said(user("x"), assistant(called("t1"), called("t1")), user(result("t1"))),
        "is there twice",
    ),
    "odd tool_use id": (said(user("x"), assistant(called("t 1")), user("y")), "letters, digits"),
    "odd part of a result": (
        said(user("x"), assistant(called("t1")), user(result("t1", content=[THOUGHT]))),
        "is no part of a tool's result",
    ),
    "five breakpoints": (said(user(*[MARKED] * 5)), "found 5"),
    "unknown cache type": (said(user(text("x", cache_control={"type": "keep"}))), "must be 'ephemeral'"),
    "unknown ttl": (said(user(text("x", cache_control=EPHEMERAL | {"ttl": "2h"}))), "'5m' or '1h'"),
    "1h after 5m": (
        said(user(MARKED, text("y", cache_control=HOUR))),
        "messages.0.content.1.cache_control.ttl: a '1h' block must not come after",
    ),
    "1h after 5m over sections": (valid(system=[MARKED], cache_control=HOUR), "must not come after"),
    "breakpoint on empty text": (
        said(user(text("", cache_control=EPHEMERAL))),
        "cannot be set on an empty text",
    ),
    "breakpoint on thinking": (
        said(user("x"), assistant(THOUGHT | {"cache_control": EPHEMERAL}, "y"), user("z")),
        "cannot be set on a `thinking` block",
    ),
    "thinking without signature": (
        said(user("x"), assistant({"type": "thinking", "thinking": "t"}, "y"), user("z")),
        "thinking.signature: this field is needed",
    ),
    "tool without schema": (valid(tools=[{"name": "t"}]), "tools.0.input_schema: this field is needed"),
    "two tools of one name": (valid(tools=[tool(), tool()]), "the name read is there twice"),
    "odd tool name": (valid(tools=[tool("a b")]), "tools.0.name"),
    "tool_choice without tools": (valid(tool_choice={"type": "auto"}), "tool_choice: needs tools"),
    "thinking budget too small": (
        valid(thinking={"type": "enabled", "budget_tokens": 9}),
        "at least 1024",
    ),
    "thinking budget too large": (
        valid(thinking={"type": "enabled", "budget_tokens": 2000}),
        "less than max_tokens",
    ),
    "temperature on a new model": (valid(temperature=0), "takes no sampling"),
    "temperature of 2": (valid(model=OLDER, temperature=2), "between 0 and 1"),
    "blank stop sequence": (valid(stop_sequences=[" "]), "stop_sequences"),
    "system message on an old model": (
        said(user("x"), {"role": "system", "content": "y"}, model=OLDER),
        "takes no system messages",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_api_refuses_is_refused(service: StandIn, client: anthropic.Anthropic, name: str) -> None:
    """Each of these is an invalid_request_error with its place in the message, and is logged."""
    body, fragment = REFUSED[name]
    with pytest.raises(anthropic.BadRequestError) as caught:
        post(client, body)
    assert fragment in str(caught.value)
    assert caught.value.type == "invalid_request_error"
    assert cast(Any, caught.value.body)["request_id"] == caught.value.request_id
    assert [(one.status, one.body) for one in service.requests] == [(400, body)]


@pytest.mark.parametrize(
    "body",
    [
        valid(),
        said(user("x"), assistant(called("t1"), called("t2")), user(result("t2"), result("t1"), "y")),
        said(user("x"), assistant("So"), model=OLDER),
        said(user("x"), assistant("So"), assistant(called("t1")), user(result("t1")), user("y")),
        said(user(*[MARKED] * 4)),
        said(user(text("x", cache_control=HOUR), MARKED)),
        said(user("x"), {"role": "system", "content": "y"}),
        said(user("x"), assistant(THOUGHT, {"type": "redacted_thinking", "data": "d"}, "y"), user("z")),
        valid(model=OLDER, temperature=0.5, top_k=5, metadata={"user_id": "u"}, service_tier="auto"),
        valid(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
        valid(tools=[{"type": "web_search_20260318", "name": "web_search"}], tool_choice={"type": "auto"}),
        valid(cache_control=None, system="Be brief."),
    ],
    ids=range(12),
)
def test_what_the_api_takes_is_taken(client: anthropic.Anthropic, body: dict[str, Any]) -> None:
    """The neighbours of what is refused are answered."""
    assert post(client, body)["type"] == "message"


def test_counting_refuses_what_only_an_answer_needs(client: anthropic.Anthropic) -> None:
    """count_tokens takes no max_tokens, and holds messages to the same rules."""
    for body, fragment in ((valid(), "max_tokens: extra inputs"), (REFUSED["empty text"][0], "not be empty")):
        asked = {key: value for key, value in body.items() if key != "max_tokens" or body == valid()}
        with pytest.raises(anthropic.BadRequestError, match=fragment):
            post(client, asked, "/v1/messages/count_tokens")


def test_keys_and_models_are_held_to_what_was_configured() -> None:
    """A missing or wrong key is 401, an unknown model 404; a bearer token is a key as well."""
    with StandIn(api_key="right", models=["m-1"]) as service:
        with connect(service, api_key="wrong") as client, pytest.raises(anthropic.AuthenticationError):
            ask(client, "Hi", model="m-1")
        with connect(service, api_key="right") as client:
            with pytest.raises(anthropic.NotFoundError, match="m-2"):
                ask(client, "Hi", model="m-2")
            assert ask(client, "Hi", model="m-1").model == "m-1"
            assert [model.id for model in client.models.list()] == ["m-1"]
            assert client.models.retrieve("m-1").type == "model"
            with pytest.raises(anthropic.NotFoundError):
                client.models.retrieve("m-2")
        with connect(service, api_key=None, auth_token="right") as client:
            assert ask(client, "Hi", model="m-1").model == "m-1"
        assert raw(service, "POST", "/v1/messages", "{}", {})[:2] == (401, "authentication_error")


def raw(
    service: StandIn, method: str, path: str, body: str | bytes, headers: Mapping[str, str]
) -> tuple[int, str, str]:
    """Status, error type and message of a request that the SDK would not send."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, {"anthropic-version": "2023-06-01", **headers})
        response = connection.getresponse()
        error = json.loads(response.read())
        assert error["request_id"] == response.headers["request-id"]
        return response.status, error["error"]["type"], error["error"]["message"]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "kind"),
    [
        ("POST", "/v1/messages", "{", {}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", "[]", {}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", json.dumps(NOT_A_NUMBER), {}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", "[" * 100_000, {}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", json.dumps(SURROGATE), {}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"\xff", {}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", " " * (32 * 1024 * 1024 + 1), {}, 413, "request_too_large"),
        ("POST", "/v1/complete", "{}", {}, 404, "not_found_error"),
        ("GET", "/v1/messages", "", {}, 405, "invalid_request_error"),
        ("POST", "/v1/messages", json.dumps(valid()), {"anthropic-version": ""}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", json.dumps(valid()), {"x-api-key": ""}, 401, "authentication_error"),
        ("POST", "/v1/messages", "{}", {"host": "evil.example:80"}, 403, "permission_error"),
        ("POST", "/v1/messages", "{}", {"host": "127.0.0.1.evil.example"}, 403, "permission_error"),
        ("BREW", "/v1/messages", "", {}, 501, "api_error"),
    ],
)
def test_what_is_no_request_gets_the_error_json_too(
    service: StandIn,
    method: str,
    path: str,
    body: str | bytes,
    headers: dict[str, str],
    status: int,
    kind: str,
) -> None:
    """Bad JSON, sizes, paths, methods and hosts are refused with the API's error form."""
    found = raw(service, method, path, body, {"x-api-key": KEY, **headers})
    assert found[:2] == (status, kind)


def test_only_loopback_is_listened_on(service: StandIn) -> None:
    """The port is bound to 127.0.0.1, not to every address of the machine."""
    port = int(service.url.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), 5):
        pass


# --- faults


def streamed(client: anthropic.Anthropic) -> tuple[str, Exception | None, Message | None]:
    """The text that arrived, how it ended, and the message where it ended well."""
    arrived = ""
    try:
        with client.messages.stream(
            model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": "Hello"}]
        ) as stream:
            for part in stream.text_stream:
                arrived += part
            return arrived, None, stream.get_final_message()
    except (anthropic.APIError, httpx2.HTTPError, ValueError) as error:
        return arrived, error, None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.OverloadedError),
    ],
)
def test_a_status_reaches_the_sdk_as_its_own_error(
    service: StandIn, client: anthropic.Anthropic, status: int, error: type[anthropic.APIStatusError]
) -> None:
    """Each status comes once, streamed or not, and the request after it is answered."""
    service.fail(Fault(kind="status", status=status, times=2))
    with pytest.raises(error):
        ask(client, "Hello")
    assert isinstance(streamed(client)[1], error)
    assert ask(client, "Hello").stop_reason == "end_turn"
    assert [one.status for one in service.requests] == [status, status, 200]


@pytest.mark.parametrize("status", [429, 500, 529])
def test_the_sdk_recovers_by_its_own_retries(service: StandIn, status: int) -> None:
    """Two failures are retried away, three exhaust two retries; retry-after is what the SDK waits."""
    with connect(service, max_retries=2) as client:
        service.fail(Fault(kind="status", status=status, retry_after=0.01, times=2))
        assert streamed(client)[2] is not None
        service.fail(Fault(kind="status", status=status, retry_after=0.01, times=3))
        error = streamed(client)[1]
    assert isinstance(error, anthropic.APIStatusError)
    assert error.response.headers["retry-after"] == "0.01"
    assert [one.status for one in service.requests] == [status, status, 200, status, status, status]


def test_a_connection_cut_before_the_first_byte_is_retried(service: StandIn) -> None:
    """Nothing was answered, so the SDK asks again; the log has both."""
    with connect(service, max_retries=1) as client:
        service.fail(Fault(kind="cut_before_first_byte"))
        assert ask(client, "Hello").stop_reason == "end_turn"
    assert [(one.status, one.usage is None) for one in service.requests] == [(0, True), (200, False)]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cut", httpx2.RemoteProtocolError),
        ("malformed", json.JSONDecodeError),
        ("error_event", anthropic.APIStatusError),
    ],
)
def test_a_stream_breaks_after_so_many_deltas(
    service: StandIn, client: anthropic.Anthropic, kind: Any, error: type[Exception]
) -> None:
    """What came before the break has arrived: the label, and one group of words for each further delta."""
    whole = streamed(client)[0]
    for deltas, arrives in ((0, ""), (1, LABEL), (2, f'{LABEL}\n\nThe prompt begins "Hello". ')):
        service.fail(Fault(kind=kind, after_deltas=deltas))
        arrived, ended, _ = streamed(client)
        assert isinstance(ended, error)
        assert whole.startswith(arrived)
        assert arrived.startswith(arrives[:-20])
        assert bool(arrived) == bool(deltas)
    service.fail(Fault(kind=kind, after_deltas=1000))
    arrived, ended, _ = streamed(client)
    assert (arrived, type(ended)) == (whole, error)


def test_a_stream_that_ends_too_early_has_no_stop_reason(service: StandIn, client: anthropic.Anthropic) -> None:
    """A truncated stream is well formed to HTTP: only the missing stop_reason tells, even after all the text."""
    whole = streamed(client)[0]
    for deltas in (2, 1000):
        service.fail(Fault(kind="truncated", after_deltas=deltas))
        arrived, ended, final = streamed(client)
        assert ended is None
        assert final is not None
        assert (spoken(final), final.stop_reason) == (arrived, None)
        assert arrived.startswith(LABEL)
        assert (arrived == whole) == (deltas == 1000)


@pytest.mark.parametrize("kind", ["cut", "truncated", "malformed", "error_event"])
def test_a_fault_breaks_a_single_response_too(service: StandIn, client: anthropic.Anthropic, kind: Any) -> None:
    """Without streaming the same faults are errors, never half an answer."""
    service.fail(Fault(kind=kind, after_deltas=2))
    with pytest.raises((anthropic.APIError, json.JSONDecodeError)):
        ask(client, "Hello")
    assert ask(client, "Hello").stop_reason == "end_turn"


def test_a_silent_server_runs_into_the_timeout(service: StandIn) -> None:
    """hang stops before the first byte or after some deltas, and slow is no error to who waits."""
    service.fail(Fault(kind="hang"), Fault(kind="hang", after_deltas=1), Fault(kind="slow", seconds=0.8, times=2))
    with connect(service, timeout=0.5) as client:
        arrived, error, _ = streamed(client)
        assert (arrived, type(error)) == ("", anthropic.APITimeoutError)
        arrived, error, _ = streamed(client)
        assert (arrived, type(error)) == (LABEL, httpx2.ReadTimeout)
        assert isinstance(streamed(client)[1], anthropic.APITimeoutError)
    with connect(service) as client:
        assert streamed(client)[2] is not None
    assert [one.status for one in service.requests] == [0, 200, 200, 200]


def test_stop_ends_a_hanging_request(clock: Clock) -> None:
    """Whoever waits for a silent server is let go when it stops; idle connections and the port are closed."""
    service = StandIn(clock=clock)
    service.start()
    service.fail(Fault(kind="hang", after_deltas=1))
    with connect(service, timeout=60.0) as client, ThreadPoolExecutor(1) as pool:
        first = threading.Event()

        def wait() -> Exception | None:
            try:
                with client.messages.stream(
                    model=MODEL, max_tokens=99, messages=[{"role": "user", "content": "Hello"}]
                ) as stream:
                    for _ in stream.text_stream:
                        first.set()
            except httpx2.HTTPError as error:
                return error
            return None

        waiting = pool.submit(wait)
        assert first.wait(10)
        port = int(service.url.rpartition(":")[2])
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        idle.request("GET", "/v1/models", headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"})
        idle.getresponse().read()
        service.stop()
        assert idle.sock.recv(1) == b""
        idle.close()
        assert isinstance(waiting.result(10), httpx2.RemoteProtocolError)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
        pass
    with pytest.raises(RuntimeError):
        _ = service.url
    with service, connect(service) as client:
        assert ask(client, "Hello").stop_reason == "end_turn"


def test_faults_wait_for_the_requests_they_are_meant_for(service: StandIn, client: anthropic.Anthropic) -> None:
    """Neither a refused request nor a count uses a fault up; one for counting is left alone by messages."""
    service.fail(Fault(kind="status", status=500))
    with pytest.raises(anthropic.BadRequestError):
        post(client, REFUSED["empty text"][0])
    assert client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(anthropic.InternalServerError):
        ask(client, "Hello")
    service.fail(Fault(kind="status", status=429, path="/v1/messages/count_tokens"))
    assert ask(client, "Hello").stop_reason == "end_turn"
    with pytest.raises(anthropic.RateLimitError):
        client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hi"}])


def test_a_callable_chooses_the_fault_by_the_request() -> None:
    """fault= sees each body, and lets the others pass."""

    def choose(request: Mapping[str, Any]) -> Fault | None:
        return Fault(kind="status", status=500) if request["max_tokens"] == 13 else None

    with StandIn(fault=choose) as service, connect(service) as client:
        assert ask(client, "Hello", max_tokens=99).stop_reason
        with pytest.raises(anthropic.InternalServerError):
            ask(client, "Hello", max_tokens=13)


def test_a_fault_that_makes_no_sense_is_a_mistake_of_the_test() -> None:
    """A status needs a number, and only it has one."""
    with pytest.raises(ValueError, match="status"):
        Fault(kind="status")
    with pytest.raises(ValueError, match="status"):
        Fault(kind="cut", status=500)


# --- the log, the clock, the module


def test_the_log_has_what_was_sent_but_no_key(service: StandIn, client: anthropic.Anthropic) -> None:
    """Body, headers, usage and ids are there for tests to look at; credentials are nowhere."""
    message = ask(client, "Hello", system="Be brief.")
    (received,) = service.requests
    assert (received.method, received.path, received.status) == ("POST", "/v1/messages", 200)
    assert received.body == {
        "model": MODEL,
        "max_tokens": 1024,
        "system": "Be brief.",
        "messages": [user("Hello")],
    }
    assert received.usage is not None
    assert received.usage["output_tokens"] == message.usage.output_tokens
    assert received.request_id == message._request_id
    assert received.headers["anthropic-version"]
    assert KEY not in repr(received)


def test_many_clients_at_once_are_all_logged_and_told_apart(service: StandIn) -> None:
    """80 requests on 8 connections: 80 log entries and 80 ids; one of the first wrote what the rest read."""
    cached = text(long(1000), cache_control=EPHEMERAL)

    def several(_: int) -> list[Message]:
        with connect(service) as client:
            return [ask(client, cached) for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        messages = [message for found in pool.map(several, range(8)) for message in found]
    assert len({message.id for message in messages}) == 80
    assert len({one.request_id for one in service.requests}) == 80
    reads = [message.usage.cache_read_input_tokens for message in messages]
    assert set(reads) == {0, 1004}
    assert reads.count(0) <= 8


def test_a_delay_comes_before_each_delta() -> None:
    """With a chunk_delay the message begins at once, its text comes late, and is the same text."""
    with StandIn(chunk_delay=60) as service, connect(service, timeout=0.5) as client:
        arrived, error, _ = streamed(client)
        assert (arrived, type(error)) == ("", httpx2.ReadTimeout)
        assert ask(client, "Hello").stop_reason == "end_turn"
    with StandIn(chunk_delay=0.001) as service, connect(service) as client:
        assert streamed(client)[0] == spoken(ask(client, "Hello"))


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(
    service: StandIn, client: anthropic.Anthropic, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a stream was closed early the next request is answered, and the server printed nothing."""
    with client.messages.stream(
        model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": "Hello"}]
    ) as stream:
        assert next(iter(stream.text_stream)) == LABEL
    assert ask(client, "Hello").stop_reason == "end_turn"
    service.stop()
    assert capfd.readouterr() == ("", "")


def test_a_frozen_clock_moves_only_when_told() -> None:
    """advance adds seconds, never takes any; a clock that is not frozen passes on its own."""
    frozen = Clock(5.0, frozen=True)
    frozen.advance(2.5)
    assert frozen.now() == frozen.now() == 7.5
    with pytest.raises(ValueError, match="backwards"):
        frozen.advance(-1)
    running = Clock(5.0)
    before = running.now()
    running.advance(100)
    assert running.now() >= before + 100
    assert Clock(frozen=True).now() > 1_600_000_000


def test_importing_the_stand_in_loads_no_sdk() -> None:
    """The server is the standard library's: neither the SDK nor its HTTP client comes with it."""
    seen = subprocess.run(
        [sys.executable, "-c", "import sys, gitsess.providers.standin; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "gitsess.providers.standin.server" in seen
    assert not {"anthropic", "httpx", "httpx2", "pydantic", "click", "rich", "pygit2"} & set(seen)
