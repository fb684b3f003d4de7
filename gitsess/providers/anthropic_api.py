"""The Messages API through the ``anthropic`` SDK.

The SDK takes two seconds to import: ``warm`` starts that in a thread while the caller does its own work.
Retries of 408, 409, 429 and 5xx before the first byte are the SDK's; once an answer streams, nothing is
sent again, because what arrived is paid for.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitsess.errors import ProviderError
from gitsess.model import JSONObject
from gitsess.providers import Failure, Reply, Request
from gitsess.providers.gathered import CUT, Gathered, failure_of, sdk_module
from gitsess.providers.tools import MAX_REQUESTS, Room, Tool, Worked
from gitsess.providers.working import Loop

AGENT = "anthropic-api"
NO_KEY = (
    "no API key: put one in the environment with 'export ANTHROPIC_API_KEY=…'"
    " (console.anthropic.com makes them); 'git ai-session demo' works without"
)


def warm() -> None:
    """Starts importing the SDK in the background."""
    threading.Thread(target=sdk_module, name="import anthropic", daemon=True).start()


def has_key(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("ANTHROPIC_API_KEY") or environment.get("ANTHROPIC_AUTH_TOKEN"))


class AnthropicApi:
    """A provider over the API at ``ANTHROPIC_BASE_URL``, with the key of the environment given.

    Raises ProviderError where there is no key. ``max_retries`` is the SDK's.
    """

    agent = AGENT

    def __init__(self, environment: Mapping[str, str], *, max_retries: int = 2) -> None:
        if not has_key(environment):
            raise ProviderError(NO_KEY)
        self._environment = environment
        self._max_retries = max_retries
        self._client: Any = None

    def prepare(self) -> None:
        self._connected()

    def _connected(self) -> Any:
        if self._client is None:
            sdk = sdk_module()
            key = self._environment.get("ANTHROPIC_API_KEY")
            self._client = sdk.Anthropic(
                api_key=key,
                auth_token=None if key else self._environment.get("ANTHROPIC_AUTH_TOKEN"),
                base_url=self._environment.get("ANTHROPIC_BASE_URL") or None,
                max_retries=self._max_retries,
            )
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def count_tokens(self, request: Request) -> int:
        body = request.body()
        del body["max_tokens"]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                return int(self._connected().messages.count_tokens(**body).input_tokens)
        except Exception as error:  # noqa: BLE001 - the SDK's errors share no base with its transport's
            raise ProviderError(failure_of(error, request.model).text) from None

    def ask(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        gathered = Gathered(request.model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                client = self._connected()
                stream = client.messages.create(**request.body(), stream=True)
            gathered.request_id = stream.response.headers.get("request-id")
            with stream:
                for event in stream:
                    gathered.take(event, on_text)
        except KeyboardInterrupt:
            return gathered.reply(interrupted=True)
        except BrokenPipeError:
            # Whoever reads the answer is gone, and with it the wish for more of it.
            return gathered.reply(interrupted=True)
        except Exception as error:  # noqa: BLE001 - whatever broke the stream, what arrived is kept
            return gathered.reply(failure=failure_of(error, request.model))
        if not gathered.ended:
            return gathered.reply(failure=Failure(text=CUT))
        return gathered.reply()

    def work(
        self,
        request: Request,
        tools: Sequence[Tool],
        on_text: Callable[[str], None],
        *,
        on_call: Callable[[str, JSONObject], None],
        room: Room,
        max_requests: int = MAX_REQUESTS,
        on_request: Callable[[], None] = lambda: None,
        on_reply: Callable[[], None] = lambda: None,
    ) -> Worked:
        """As ``Worker`` has it. After ``max_requests`` requests no further one goes out."""
        loop = Loop(
            request,
            tools,
            on_text,
            on_call=on_call,
            room=room,
            max_requests=max_requests,
            on_request=on_request,
            on_reply=on_reply,
        )
        return loop.run(self._connected)
