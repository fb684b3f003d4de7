"""Turns in which a model calls tools, against the stand-in: what is sent, what comes back, what goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from gitsess.model import JSONObject
from gitsess.providers import Reply, Request
from gitsess.providers.anthropic_api import AnthropicApi
from gitsess.providers.caching import lay_out
from gitsess.providers.standin import LABEL, Answer, Clock, Fault, StandIn, ToolUse
from gitsess.providers.tools import Tool, ToolResult, Worked
from gitsess.resume import joined, tools_of
from tests.test_run import signals_by_default

MODEL = "claude-sonnet-4-5"
LONG = "The words of a long system prompt, which is worth caching. " * 200


class Script:
    """What the stand-in answers, one entry after the other; the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def calls(*names: str, text: str = "", **given: Any) -> Answer:
    return Answer(text=text, tool_uses=tuple(ToolUse(name=name, input=given) for name in names))


@pytest.fixture
def script() -> Script:
    return Script(Answer(text="Done."))


@pytest.fixture
def service(script: Script) -> Iterator[StandIn]:
    with StandIn(answer=script, clock=Clock(1_780_000_000.0, frozen=True)) as running:
        yield running


@pytest.fixture
def provider(service: StandIn) -> Iterator[AnthropicApi]:
    made = AnthropicApi({"ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_API_KEY": "any"})
    yield made
    made.close()


def tool(name: str = "read", call: Callable[[JSONObject], ToolResult] | None = None) -> Tool:
    return Tool(
        name=name,
        description=f"Does {name}.",
        input_schema={"type": "object", "properties": {"path": {"type": "string"}}},
        call=call or (lambda given: ToolResult(text=f"{name} of {given.get('path')}")),
    )


def asked(text: str = "Do it", **more: Any) -> Request:
    return Request(**{"model": MODEL, "max_tokens": 2000, "messages": (user(text),), **more})


def user(text: str) -> JSONObject:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def work(provider: AnthropicApi, request: Request, tools: Sequence[Tool] = (), **more: Any) -> Worked:
    told: dict[str, Any] = {"on_call": lambda name, given: None, "room": lambda replies, messages: 2000}
    return provider.work(request, tools or [tool()], more.pop("on_text", lambda text: None), **told | more)


def bodies(service: StandIn) -> list[dict[str, Any]]:
    return [dict(r.body or {}) for r in service.requests]


def results(worked: Worked) -> list[JSONObject]:
    return [b for m in worked.messages for b in m["content"] if b["type"] == "tool_result"]


def test_tools_run_until_the_model_calls_none(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """Every call gets its result, in order, and what the turn keeps is what went back to the service."""
    script.answers[:0] = [calls("read", text="I look.", path="a"), calls("read", "write", path="b")]
    told: list[Any] = []
    worked = work(
        provider,
        asked(),
        [tool(), tool("write")],
        on_call=lambda name, given: told.append((name, dict(given))),
        on_request=lambda: told.append("request"),
        on_reply=lambda: told.append("reply"),
        on_text=lambda text: told.append("text") if told[-1] != "text" else None,
    )
    said = ["request", "text", "reply"]
    b = {"path": "b"}
    assert told == [*said, ("read", {"path": "a"}), *said, ("read", b), ("write", b), *said]
    assert not worked.interrupted
    assert not worked.stopped
    assert worked.failure is None
    assert worked.text == f"{LABEL}\n\nDone."
    assert [r["content"] for r in results(worked)] == ["read of a", "read of b", "write of b"]
    sent = bodies(service)
    assert [body["messages"] for body in sent] == [[user("Do it"), *worked.messages[: 2 * i]] for i in range(3)]
    assert {json.dumps([body["tools"], body["tool_choice"], body["stream"]]) for body in sent} == {
        json.dumps([[dict(tool().definition), dict(tool("write").definition)], {"type": "auto"}, True])
    }
    assert worked.messages[-1] == {"role": "assistant", "content": [{"type": "text", "text": worked.text}]}


def test_each_reply_has_the_facts_of_its_request(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """Ids, model, usage and stop reason are those that the service gave for it."""
    script.answers.insert(0, calls("read"))
    worked = work(provider, asked())
    assert [r.stop_reason for r in worked.replies] == ["tool_use", "end_turn"]
    for reply, received in zip(worked.replies, service.requests, strict=True):
        assert received.usage is not None
        assert (reply.request_id, reply.model, reply.exact) == (received.request_id, MODEL, True)
        assert (reply.message_id or "").startswith("msg_")
        assert reply.usage is not None
        assert reply.usage.output_tokens == received.usage["output_tokens"]
        assert reply.usage.input_tokens == received.usage["input_tokens"]


@pytest.mark.parametrize("gaps_s", [[], [600.0], [9000.0]], ids=["5m", "1h", "none"])
def test_what_was_sent_is_read_from_the_cache(
    provider: AnthropicApi, service: StandIn, script: Script, gaps_s: list[float]
) -> None:
    """From the second request on most input is read from the cache, in this turn and on into the next one, whatever
    breakpoints the request has of its own."""
    script.answers[:0] = [calls("read", text="Word " * 300, path=str(n)) for n in range(3)]
    first = asked(system=({"type": "text", "text": LONG},))
    worked = work(provider, lay_out(first, gaps_s=gaps_s, turns=0)[0])
    script.answers[:0] = [calls("read", text="Word " * 300, path=str(n)) for n in range(3)]
    messages = joined([user("Do it"), *worked.messages, user("And on")])
    again = asked(system=first.system, messages=messages, tools=tools_of(messages))
    more = work(provider, lay_out(again, gaps_s=gaps_s, turns=3)[0])
    assert worked.failure is None
    assert more.failure is None
    for reply in (*worked.replies[1:], *more.replies):
        assert reply.usage is not None
        assert reply.usage.cache_read_tokens > 0.75 * reply.usage.prompt_tokens, reply.usage
    written = [reply.usage.cache_write_1h_tokens for reply in more.replies if reply.usage is not None]
    assert any(written) == (gaps_s == [600.0])


def test_there_are_four_breakpoints_at_most(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """A request that has all that are allowed makes room for the one that moves along."""
    script.answers.insert(0, calls("read"))
    marked = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    blocks: list[JSONObject] = [marked, marked, {"type": "text", "text": "Do it"}]
    prompt: JSONObject = {"role": "user", "content": blocks}
    worked = work(provider, asked(system=(marked, marked), messages=(prompt,)))
    assert worked.failure is None
    assert [str(body).count("cache_control") for body in bodies(service)] == [4, 4]
    assert "cache_control" in blocks[0]


def test_tools_of_the_context_are_defined_too(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """A tool that only the context calls is in the request, or it would be refused; whoever calls it is told."""
    script.answers.insert(0, calls("old", "read", "never"))
    call = {"type": "tool_use", "id": "t1", "name": "old", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
    messages = (user("x"), {"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]})
    worked = work(provider, asked(messages=messages, tools=tools_of(messages)))
    assert [t["name"] for t in bodies(service)[0]["tools"]] == ["read", "old"]
    old, read, never = results(worked)
    assert old["is_error"]
    assert old["content"] == "this tool is not available now; those that are: read"
    assert "is_error" not in read
    assert never["is_error"]
    assert worked.text.endswith("Done.")


def broken(given: JSONObject) -> ToolResult:
    raise RuntimeError("a bug, and a secret")


def refused(given: JSONObject) -> ToolResult:
    return ToolResult(text="no such file", is_error=True)


def mute(given: JSONObject) -> ToolResult:
    return ToolResult(text="", is_error=True)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (broken, "the tool failed: RuntimeError"),
        (refused, "no such file"),
        (mute, "it failed and did not say why"),
        (lambda given: ToolResult(text="a\ud800b", is_error=True), "a\ufffdb"),
    ],
    ids=["raises", "refuses", "says nothing", "surrogate"],
)
def test_a_failing_tool_is_a_result(
    provider: AnthropicApi, script: Script, call: Callable[[JSONObject], ToolResult], said: str
) -> None:
    """The model reads what went wrong, without the words of a bug, and the turn goes on."""
    script.answers.insert(0, calls("read"))
    worked = work(provider, asked(), [tool(call=call)])
    [result] = results(worked)
    assert (result["content"], result["is_error"]) == (said, True)
    assert worked.text.endswith("Done.")
    assert worked.failure is None


def test_the_caller_stops_it(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """Where a further request may not go out the calls have been carried out, and the next turn goes on from them."""
    script.answers.insert(0, calls("read"))
    asked_with: list[tuple[int, int]] = []

    def room(replies: Sequence[Reply], messages: Sequence[JSONObject]) -> int:
        asked_with.append((len(replies), len(messages)))
        return 0

    worked = work(provider, asked(), room=room)
    assert (worked.stopped, worked.interrupted, worked.failure) == (True, False, None)
    assert asked_with == [(1, 2)]
    assert len(service.requests) == 1
    assert [m["role"] for m in worked.messages] == ["assistant", "user"]
    more = work(provider, asked(messages=joined([user("Do it"), *worked.messages, user("Go on")])))
    assert more.text.endswith("Done.")


def test_each_answer_is_as_long_as_the_caller_says(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """The limit of an answer is asked for before each further request; nothing else of the request changes."""
    script.answers[:0] = [calls("read"), calls("read")]
    rooms = iter([700, 500])
    worked = work(provider, asked(), room=lambda replies, messages: next(rooms))
    assert worked.text.endswith("Done.")
    sent = bodies(service)
    assert [body.pop("max_tokens") for body in sent] == [2000, 700, 500]
    assert [body["messages"] for body in sent] == [[user("Do it"), *worked.messages[: 2 * i]] for i in range(3)]
    assert len({json.dumps({**body, "messages": []}, sort_keys=True) for body in sent}) == 1


def test_a_turn_has_so_many_requests(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """A model that never ends is stopped."""
    script.answers[:] = [calls("read")]
    begun: list[str] = []
    worked = work(provider, asked(), max_requests=3, on_request=lambda: begun.append("request"))
    assert worked.stopped
    assert len(begun) == len(service.requests) == len(worked.replies) == 3
    assert len(results(worked)) == 3


def test_an_answer_that_was_cut_runs_nothing(provider: AnthropicApi, script: Script) -> None:
    """A reply that ends at the limit of tokens may hold a call, but it is not carried out."""
    script.answers.insert(0, Answer(tool_uses=(ToolUse(name="read", input={}),), stop_reason="max_tokens"))
    ran: list[str] = []
    worked = work(provider, asked(), on_call=lambda name, given: ran.append(name))
    assert ran == []
    assert worked.replies[-1].stop_reason == "max_tokens"
    assert worked.messages[-1]["content"][-1]["type"] == "tool_use"


def test_thinking_goes_back_within_the_turn(provider: AnthropicApi, service: StandIn, script: Script) -> None:
    """A reply's thinking is sent back unchanged, and before the results of its calls."""
    call = ToolUse(name="read", input={"é": "ü\n", "deep": {"z": 1, "a": [1.5, None]}})
    script.answers.insert(0, Answer(thinking="Hm.", signature="c2ln", text="I read.", tool_uses=(call,)))
    worked = work(provider, asked())
    back = bodies(service)[1]["messages"][1]["content"]
    assert back[0] == {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    assert json.dumps(back[-1]["input"]) == json.dumps(call.input)
    assert back == worked.messages[0]["content"]


@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_request_that_fails_at_first_is_sent_again(
    provider: AnthropicApi, service: StandIn, script: Script, status: int
) -> None:
    """Nothing of it shows but one more request at the service."""
    script.answers.insert(0, calls("read"))
    service.fail(Fault(kind="status", status=status, retry_after=0.01))
    worked = work(provider, asked())
    assert worked.failure is None
    assert len(worked.replies) == 2
    assert [r.status for r in service.requests] == [status, 200, 200]


def second(fault: Fault) -> Callable[[Mapping[str, Any]], Fault | None]:
    return lambda body: fault if len(body["messages"]) > 1 else None


@pytest.mark.parametrize(
    ("fault", "said", "text"),
    [
        (Fault(kind="cut", after_deltas=3), "broke off", True),
        (Fault(kind="truncated", after_deltas=3), "broke off", True),
        (Fault(kind="error_event", after_deltas=3), "overloaded", True),
        (Fault(kind="malformed", after_deltas=3), "cannot be read", True),
        (Fault(kind="status", status=400), "refused the request (400)", False),
    ],
    ids=["cut", "truncated", "error_event", "malformed", "400"],
)
def test_a_failure_keeps_what_had_arrived(script: Script, fault: Fault, said: str, text: bool) -> None:
    """A turn whose second request breaks has the first one whole, with its usage, and the part of the second."""
    script.answers[:] = [calls("read"), Answer(text="One two three four five six seven eight nine ten " * 3)]
    ends: list[str] = []
    with StandIn(answer=script, fault=second(fault)) as service:
        provider = AnthropicApi({"ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_API_KEY": "any"})
        worked = work(provider, asked(), on_reply=lambda: ends.append("reply"))
        provider.close()
    assert worked.failure is not None
    assert said in worked.failure.text
    assert not worked.interrupted
    one, two = worked.replies
    assert len(ends) == 2
    assert one.failure is None
    assert one.usage is not None
    assert one.usage.output_tokens > 0
    assert two.failure == worked.failure
    assert ("One two" in two.text) == text
    assert (two.usage is not None) == text
    assert [m["role"] for m in worked.messages] == ["assistant", "user", "assistant"][: 3 if text else 2]


def test_no_service_is_a_failure() -> None:
    """A service that cannot be reached costs nothing and raises nothing."""
    provider = AnthropicApi({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "any"}, max_retries=0)
    worked = work(provider, asked())
    provider.close()
    assert worked.failure is not None
    assert "cannot be reached" in worked.failure.text
    assert worked.messages == ()
    assert [reply.usage for reply in worked.replies] == [None]


def test_stopping_in_a_tool_keeps_the_results_before_it(provider: AnthropicApi, script: Script) -> None:
    """^C while a tool runs ends the turn; of its reply's calls those that had ended are answered."""
    script.answers.insert(0, calls("read", "slow", "read", path="a"))

    def slow(given: JSONObject) -> ToolResult:
        raise KeyboardInterrupt

    worked = work(provider, asked(), [tool(), tool("slow", slow)])
    assert (worked.interrupted, worked.failure, worked.stopped) == (True, None, False)
    assert len(worked.replies) == 1
    [result] = results(worked)
    assert result["content"] == "read of a"
    assert result["tool_use_id"] == next(b["id"] for b in worked.messages[0]["content"] if b.get("name") == "read")


@pytest.mark.parametrize("where", ["on_text", "on_call"])
def test_a_reader_that_left_ends_it(provider: AnthropicApi, script: Script, where: str) -> None:
    """A broken pipe is an interruption wherever it shows, and no tool runs after it."""
    script.answers.insert(0, calls("read"))
    ran: list[str] = []

    def gone(*told: Any) -> None:
        raise BrokenPipeError

    def read(given: JSONObject) -> ToolResult:
        ran.append("read")
        return ToolResult(text="")

    worked = work(provider, asked(), [tool(call=read)], **{where: gone})
    assert worked.interrupted
    assert worked.failure is None
    assert ran == []
    assert len(worked.replies) == 1


CHILD = """
import json, sys
from gitsess.providers import Request
from gitsess.providers.anthropic_api import AnthropicApi
from gitsess.providers.tools import Tool, ToolResult
provider = AnthropicApi({"ANTHROPIC_BASE_URL": sys.argv[1], "ANTHROPIC_API_KEY": "any"})
tool = Tool(name="read", description="", input_schema={"type": "object"}, call=lambda given: ToolResult(text="x"))
message = {"role": "user", "content": [{"type": "text", "text": "Do it"}]}
requests = []
def on_text(text):
    if len(requests) == 2:
        print("text", flush=True)
worked = provider.work(
    Request(model="claude-sonnet-4-5", max_tokens=2000, messages=(message,)), [tool], on_text,
    on_call=lambda name, given: None, room=lambda replies, messages: 2000, on_request=lambda: requests.append(1),
)
last = worked.replies[-1]
print(json.dumps([worked.interrupted, len(worked.replies), last.interrupted, last.exact, last.text, worked.text]))
"""


def test_ctrl_c_in_the_second_request_keeps_both(script: Script) -> None:
    """A real ^C in the middle of an answer leaves the first request whole and the second as far as it came."""
    script.answers[:] = [calls("read"), Answer(text="One two three four five six seven eight nine ten " * 30)]
    with StandIn(answer=script, chunk_delay=0.1) as service:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, service.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=signals_by_default,
        )
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    interrupted, replies, last_interrupted, exact, text, whole = json.loads(out.splitlines()[-1])
    assert (interrupted, replies, last_interrupted, exact) == (True, 2, True, False)
    assert text == whole
    assert text.startswith("[stand-in")
