"""An answer as its events build it up, whole or as much of it as arrived, and what to say of a failure."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gitsess.errors import FormatError
from gitsess.model import TokenUsage
from gitsess.providers import Failure, Reply
from gitsess.text import one_line
from gitsess.usage import usage_of


def sdk_module() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import anthropic
    return anthropic


CUT = "the answer broke off before its end; what arrived is kept: run again to go on from it"


class Gathered:
    """An answer as its events build it up."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.request_id: str | None = None
        self.ended = False
        self._message_id: str | None = None
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._final = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._json: dict[int, str] = {}
        self._bytes = 0

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has arrived."""
        return self._message_id is not None

    def take(self, event: Any, on_text: Callable[[str], None]) -> None:
        match event.type:
            case "message_start":
                message = event.message
                self.model = message.model or self.model
                self._message_id = message.id
                self._usage = message.usage.model_dump(mode="json", exclude_none=True)
            case "content_block_start":
                self._blocks[event.index] = event.content_block.model_dump(mode="json", exclude_none=True)
                if self._blocks[event.index].get("text"):
                    on_text(self._blocks[event.index]["text"])
            case "content_block_delta":
                self._take_delta(self._blocks.setdefault(event.index, {"type": "text", "text": ""}), event, on_text)
            case "content_block_stop":
                if event.index in self._json:
                    self._close_input(event.index)
            case "message_delta":
                self._stop_reason = event.delta.stop_reason
                if event.usage is not None:
                    self._usage.update(event.usage.model_dump(mode="json", exclude_none=True))
                    self._final = True
            case "message_stop":
                self.ended = True

    def _take_delta(self, block: dict[str, Any], event: Any, on_text: Callable[[str], None]) -> None:
        delta = event.delta
        match delta.type:
            case "text_delta":
                block["text"] = block.get("text", "") + delta.text
                self._count(delta.text)
                on_text(delta.text)
            case "input_json_delta":
                self._json[event.index] = self._json.get(event.index, "") + delta.partial_json
                self._count(delta.partial_json)
            case "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta.thinking
                self._count(delta.thinking)
            case "signature_delta":
                block["signature"] = delta.signature
            case "citations_delta":
                block.setdefault("citations", []).append(delta.citation.model_dump(mode="json", exclude_none=True))

    def _count(self, text: str) -> None:
        self._bytes += len(text.encode("utf-8", "replace"))

    def _close_input(self, index: int) -> None:
        try:
            self._blocks[index]["input"] = json.loads(self._json.pop(index) or "{}")
        except ValueError:
            # Half a tool call is no call: it would be refused when sent back.
            del self._blocks[index]

    def reply(self, *, interrupted: bool = False, failure: Failure | None = None) -> Reply:
        for index in list(self._json):
            self._close_input(index)
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        if not self.ended:
            # A thinking block without its signature cannot go back either.
            blocks = [b for b in blocks if b.get("type") != "thinking" or b.get("signature")]
        content = tuple(b for b in blocks if b.get("type") != "text" or b.get("text"))
        usage = _stated(self._usage)
        return Reply(
            content=content,
            model=self.model,
            usage=usage,
            exact=self._final,
            arrived_bytes=self._bytes,
            stop_reason=self._stop_reason,
            message_id=self._message_id,
            request_id=self.request_id,
            interrupted=interrupted,
            failure=failure,
            raw_usage=self._usage,
        )


def _stated(raw: Mapping[str, Any]) -> TokenUsage | None:
    """The usage that the service stated; one that cannot be read must not cost the answer."""
    try:
        return usage_of(raw) if raw else None
    except FormatError:
        return None


_REFUSALS = {
    401: "the API key was refused (401): check ANTHROPIC_API_KEY",
    403: "the API key may not do this (403): check the key's permissions",
    413: "the request is too large (413): leave files out, or set ai-session.maxContextTokens lower",
}


def failure_of(error: Exception, model: str) -> Failure:
    """What happened, in one line that says what to do. The SDK has retried by then."""
    sdk = sdk_module()
    if isinstance(error, sdk.APIStatusError):
        status = error.status_code
        detail = one_line(_detail(error))[:300]
        if status < 400:
            # An error that came as an event of a stream that had begun well: nothing was retried.
            overloaded = getattr(error, "type", None) == "overloaded_error" or "overloaded" in detail.lower()
            what = "the service became overloaded" if overloaded else f"the service failed ({detail})"
            return Failure(text=f"{what} in the middle of the answer; what arrived is kept: run again to go on from it")
        if status in _REFUSALS:
            return Failure(text=_REFUSALS[status], sent=False)
        if status == 404:
            return Failure(text=f"there is no model {model!r} for this key (404): try --model sonnet", sent=False)
        if status == 429:
            return Failure(text="the rate limit was reached (429), also on retries: wait a minute and run again")
        if status == 529 or "overloaded" in detail.lower():
            return Failure(text="the service is overloaded (529), also on retries: run again in a while")
        if 400 <= status < 500 and status not in (408, 409):
            return Failure(text=f"the service refused the request ({status}): {detail}", sent=False)
        return Failure(text=f"the service failed ({status}), also on retries: {detail}; run again in a while")
    if isinstance(error, sdk.APITimeoutError):
        return Failure(text="the service did not answer in time: run again")
    if isinstance(error, sdk.APIConnectionError):
        return Failure(text="the service cannot be reached: check the network and ANTHROPIC_BASE_URL, and run again")
    if isinstance(error, json.JSONDecodeError):
        return Failure(text="the service sent an event that cannot be read; what arrived is kept: run again to go on")
    if isinstance(error, sdk.AnthropicError | TypeError | ValueError):
        return Failure(text=f"the request could not be made ({one_line(str(error))[:200]})", sent=False)
    return Failure(text=CUT)


def _detail(error: Any) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        return str(inner["message"])
    return str(getattr(error, "message", error))
