"""One turn of a model that calls tools: the SDK's tool runner, driven request by request.

The runner sends, and runs the tools; what goes back to the service is put together here, so that it is known to
the byte: the next turn sends the same again, and finds it in the cache. For that the runner is told to hold the
calls of a reply until it has been read (``run_tools_eagerly`` with ``defer_tool_call``): their results can then be
had before the runner goes on, and no call runs twice. ``thread=False`` keeps the conversation here, and not with
the service.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from gitsess.catalog import MAX_BREAKPOINTS
from gitsess.model import JSONObject
from gitsess.providers import Failure, Reply, Request
from gitsess.providers.gathered import CUT, Gathered, failure_of, sdk_module
from gitsess.providers.tools import Room, Tool, ToolResult, Worked, with_others

_UNREADABLE = "the model's call of a tool cannot be read; what arrived is kept: run again to go on from it"


class Loop:
    """A turn under way: the requests and their replies, until the model calls no tool."""

    def __init__(
        self,
        request: Request,
        tools: Sequence[Tool],
        on_text: Callable[[str], None],
        *,
        on_call: Callable[[str, JSONObject], None],
        room: Room,
        max_requests: int,
        on_request: Callable[[], None],
        on_reply: Callable[[], None],
    ) -> None:
        self._request = request
        self._tools = with_others(tools, request.tools)
        self._on_text = on_text
        self._on_call = on_call
        self._room = room
        self._max_requests = max_requests
        self._on_request = on_request
        self._on_reply = on_reply
        self._replies: list[Reply] = []
        self._messages: list[JSONObject] = []
        self._arriving: Gathered | None = None
        self._ran: list[ToolResult] = []
        self._interrupted = False
        self._failure: Failure | None = None
        self._stopped = False

    def run(self, connect: Callable[[], Any]) -> Worked:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                # A model may call what it was not offered; the result tells it, and it is nobody else's concern.
                warnings.filterwarnings("ignore", message="Tool '", category=UserWarning)
                with closing(self._runner(connect())) as runner:
                    while self._asked(runner) and self._continued(runner):
                        pass
        except (KeyboardInterrupt, BrokenPipeError):
            # A broken pipe: whoever reads the answer is gone, and with it the wish for more of it.
            self._interrupted = True
            self._end(interrupted=True)
        except Exception as error:  # noqa: BLE001 - whatever broke the turn, what arrived is kept
            self._failure = _failure(error, self._request.model, self._arriving)
            self._end(failure=self._failure)
        return Worked(
            replies=tuple(self._replies),
            messages=tuple(self._messages),
            text=next((reply.text for reply in reversed(self._replies) if reply.text.strip()), ""),
            interrupted=self._interrupted,
            failure=self._failure,
            stopped=self._stopped,
        )

    def _runner(self, client: Any) -> Any:
        body, marked = _moving_mark(self._request)
        if self._tools:
            body["tools"] = [_runnable(tool, self._run) for tool in self._tools]
            body["tool_choice"] = {"type": "auto"}
        else:
            body["tools"] = []
        return client.beta.messages.tool_runner(
            **body,
            cache_control=marked,
            stream=True,
            run_tools_eagerly=True,
            max_iterations=self._max_requests,
            thread=False,
        )

    def _asked(self, runner: Any) -> bool:
        """Sends one request and reads its reply; whether there is one."""
        self._on_request()
        self._arriving = Gathered(self._request.model)
        stream = next(runner, None)
        if stream is None:
            self._arriving, self._stopped = None, True
            return False
        self._arriving.request_id = stream.request_id
        for event in stream:
            if event.type == "content_block_start" and event.content_block.type == "tool_use":
                runner.defer_tool_call(event.content_block)
            self._arriving.take(event, self._on_text)
        if not self._arriving.ended:
            self._failure = Failure(text=CUT)
        self._end(failure=self._failure)
        return self._failure is None

    def _end(self, *, interrupted: bool = False, failure: Failure | None = None) -> None:
        """The reply that is arriving, if one is, has as much as it will have."""
        if self._arriving is None:
            return
        reply = self._arriving.reply(interrupted=interrupted, failure=failure)
        self._arriving = None
        self._replies.append(reply)
        # The service takes no blank text back.
        content = [b for b in reply.content if b.get("type") != "text" or str(b.get("text", "")).strip()]
        if content:
            self._messages.append({"role": "assistant", "content": content})
        self._on_reply()

    def _continued(self, runner: Any) -> bool:
        """Whether a further request is to go out; the runner then has what it says."""
        reply = self._replies[-1]
        answered = self._messages[-1:]
        if reply.stop_reason not in ("tool_use", "pause_turn") or not answered or answered[0]["role"] != "assistant":
            return False
        if reply.stop_reason == "tool_use":
            results = self._answered(runner)
            if results is None:
                return False
            self._messages.append(results)
            answered.append(results)
        room = 0
        if len(self._replies) < self._max_requests:
            room = self._room(tuple(self._replies), tuple(self._messages))
        if room <= 0:
            self._stopped = True
            return False
        runner.set_messages_params(lambda params: {**params, "max_tokens": room})
        runner.append_messages(*answered)
        return True

    def _answered(self, runner: Any) -> JSONObject | None:
        """Runs the tools that the last reply calls; the message with their results."""
        self._ran.clear()
        try:
            found: JSONObject | None = runner.generate_tool_call_response()
        except BaseException:
            self._keep_results()
            raise
        return found

    def _keep_results(self) -> None:
        """The results of the calls that ended before the one that was interrupted: they changed files."""
        names = {tool.name for tool in self._tools}
        calls = [b for b in self._replies[-1].content if b.get("type") == "tool_use" and b.get("name") in names]
        results = [_result(call["id"], ran) for call, ran in zip(calls, self._ran, strict=False)]
        if results:
            self._messages.append({"role": "user", "content": results})

    def _run(self, tool: Tool, given: object) -> ToolResult:
        try:
            self._on_call(tool.name, given if isinstance(given, dict) else {})
        except BrokenPipeError:
            # The runner would take it for the tool's own failure.
            raise KeyboardInterrupt from None
        result = tool.run(given)
        self._ran.append(result)
        return result


def _runnable(tool: Tool, run: Callable[[Tool, object], ToolResult]) -> Any:
    """``tool`` as the runner takes it. The class is made here, because its base takes two seconds to import."""
    sdk_module()
    from anthropic.lib.tools import BetaBuiltinFunctionTool, ToolError

    class Runnable(BetaBuiltinFunctionTool):
        def to_dict(self) -> Any:
            return tool.definition

        def call(self, input: object) -> str:
            result = run(tool, input)
            if result.is_error:
                raise ToolError(result.text)
            return result.text

    return Runnable()


def _result(call: str, result: ToolResult) -> JSONObject:
    made: dict[str, Any] = {"type": "tool_result", "tool_use_id": call, "content": result.text}
    return {**made, "is_error": True} if result.is_error else made


def _moving_mark(request: Request) -> tuple[dict[str, Any], JSONObject]:
    """The request's body with its breakpoints but the last, and the one that the service moves along instead.

    In a turn of many requests the next one comes at once: each prefix is read again, so even where caching would
    not pay between turns it does here. The lifetime is that of the other breakpoints.
    """
    body = request.body()
    body.pop("tools", None)
    body.pop("tool_choice", None)
    control: JSONObject = {"type": "ephemeral"}
    body["messages"] = [{**m, "content": _blocks(m["content"])} for m in body["messages"]]
    body["system"] = _blocks(body.get("system", ()))
    blocks = [*body["system"], *(block for m in body["messages"] for block in m["content"])]
    marked = [block for block in blocks if "cache_control" in block]
    if marked:
        control = marked[-1]["cache_control"]
    # The last block has the moving one on it, which counts.
    others = [block for block in marked if block is not blocks[-1]]
    kept = others[-(MAX_BREAKPOINTS - 1) :]
    for block in marked:
        if not any(block is one for one in kept):
            del block["cache_control"]
    if not body["system"]:
        del body["system"]
    return body, control


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Copies of the blocks of a message or a system prompt."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else [dict(block) for block in content]


def _failure(error: Exception, model: str, arriving: Gathered | None) -> Failure:
    unread = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
    if arriving is not None and arriving.begun and unread:
        return Failure(text=_UNREADABLE)
    return failure_of(error, model)
