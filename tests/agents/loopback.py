"""A server on loopback that speaks the Messages API to the real agents, without judging what they send.

    with Loopback(script) as service:
        …                        # ANTHROPIC_BASE_URL=service.url
    service.served               # one object for each answer that was sent whole or in part

``script(body, number)`` is a request's answer: ``Said``, or ``Refused``. The answers are framed by the stand-in's own
code; its checks would refuse what an agent sends to the beta of the API.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from gitsess.providers.standin.answer import Composed, events, message


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer: its content blocks, and how it ends. ``kind`` says in ``served`` what the request was for;
    ``hang`` sends the content and then nothing more."""

    content: tuple[Mapping[str, Any], ...]
    kind: str = "turn"
    stop_reason: str | None = None
    hang: bool = False


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An error of the API."""

    status: int
    kind: str = "turn"


Script = Callable[[Mapping[str, Any], int], Said | Refused]


@dataclass(kw_only=True)
class Loopback:
    script: Script
    served: list[dict[str, Any]] = field(default_factory=list)
    """id, kind, model, usage and stop_reason of every answer, in order; ``whole`` is False where it hung."""
    bodies: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.hanging = threading.Event()
        """Set once an answer hangs."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    loopback: Loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        # An agent that leaves without a word is its own affair.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_GET(self) -> None:
        self._send(404, _error(404))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        if path.endswith("/count_tokens"):
            self._send(200, {"input_tokens": 100})
        elif path == "/v1/messages":
            self._messages(body)
        else:
            self._send(404, _error(404))

    def _messages(self, body: Mapping[str, Any]) -> None:
        owner = self.server.loopback
        with owner.lock:
            owner.bodies.append(body)
            number = len(owner.bodies)
        said = owner.script(body, number)
        if isinstance(said, Refused):
            self._send(said.status, _error(said.status))
            return
        calls = any(block["type"] == "tool_use" for block in said.content)
        composed = Composed(
            content=said.content,
            stop_reason=said.stop_reason or ("tool_use" if calls else "end_turn"),
            stop_sequence=None,
            # Every number differs from every other: one that is counted twice or left out changes the sum.
            output_tokens=40 + number,
        )
        opening = {
            "input_tokens": 10 + number,
            "cache_creation_input_tokens": 200 + 3 * number,
            "cache_read_input_tokens": 1000 * number,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 200 + 2 * number,
                "ephemeral_1h_input_tokens": number,
            },
            "service_tier": "standard",
        }
        served = {
            "id": f"msg_loopback_{number:04d}",
            "request_id": f"req_loopback_{number:04d}",
            "kind": said.kind,
            "model": body["model"],
            "usage": {**opening, "output_tokens": composed.output_tokens},
            "stop_reason": composed.stop_reason,
            "whole": not said.hang,
        }
        with owner.lock:
            owner.served.append(served)
        if not body.get("stream"):
            self._send(
                200,
                message(composed, message_id=str(served["id"]), model=body["model"], usage=opening),
                request_id=str(served["request_id"]),
            )
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", str(served["request_id"]))
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in events(composed, message_id=str(served["id"]), model=body["model"], usage=opening):
            if said.hang and event["type"] == "message_delta":
                owner.hanging.set()
                owner.stopping.wait(60)
                return
            try:
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            except OSError:
                return

    def _send(self, status: int, value: Mapping[str, Any], request_id: str | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if request_id:
            self.send_header("request-id", request_id)
        self.end_headers()
        self.wfile.write(data)


def _error(status: int) -> dict[str, Any]:
    names = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
    said = {"type": names.get(status, "api_error"), "message": "refused by the loopback server"}
    return {"type": "error", "error": said}
