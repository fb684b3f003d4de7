"""The HTTP server: loopback only, HTTP/1.1 with keep-alive, one thread a connection."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import unquote, urlsplit

from gitsess.catalog import ALIASES, context_window, max_output_tokens
from gitsess.providers.standin.answer import Answer, Composed, compose, default_answer, events, message
from gitsess.providers.standin.cache import Cache, Clock, Plan
from gitsess.providers.standin.check import Refusal, check
from gitsess.providers.standin.fault import REASONS, Fault, until
from gitsess.providers.standin.prompt import compact, count_tokens, flatten

LABEL_HEADER = "x-stand-in"
"""The response header that says what answered."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""The largest request body; a larger one is an error 413."""

MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
MODELS_PATH = "/v1/models"

_SECRET_HEADERS = frozenset(("x-api-key", "authorization", "proxy-authorization", "cookie"))
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, as it was received and answered.

    ``headers`` have lower-case names and no credentials. ``body`` is None where it was no JSON object;
    ``usage`` is what the answer reported, None where there was no answer; ``status`` is 0 where not even a
    status line was sent; ``fault`` is the one that was applied.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None
    request_id: str
    status: int
    usage: Mapping[str, Any] | None = None
    fault: Fault | None = None


class StandIn:
    """The server. A context manager: it listens from ``start`` until ``stop``, on a free port of 127.0.0.1.

    ``clock`` is what the cache goes by. ``answer`` is called with each request body that will be answered,
    from the connection's thread, and says what to answer. ``fault`` is asked before the queue of ``fail``.
    ``api_key`` is the only key that is accepted, any key where it is None; ``models`` likewise.
    ``chunk_delay`` is a pause before each content delta, in real seconds.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        answer: Callable[[Mapping[str, Any]], Answer | str] | None = None,
        fault: Callable[[Mapping[str, Any]], Fault | None] | None = None,
        api_key: str | None = None,
        models: Collection[str] | None = None,
        chunk_delay: float = 0.0,
    ) -> None:
        self.clock = clock or Clock()
        self.requests: list[Received] = []
        """Every request so far, in the order of their answers. Appended to by the server's threads."""
        self._answer = answer or default_answer
        self._fault = fault
        self._api_key = api_key
        self._models = models
        self._chunk_delay = chunk_delay
        self._cache = Cache(self.clock)
        self._lock = threading.Lock()
        self._faults: deque[Fault] = deque()
        self._number = 0
        self._stopping = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, for ANTHROPIC_BASE_URL. Raises RuntimeError where it is not started."""
        if self._server is None:
            raise RuntimeError("the stand-in is not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, *faults: Fault) -> None:
        """Queue ``faults``: each is used up by its next ``times`` requests, in this order."""
        with self._lock:
            for fault in faults:
                self._faults.extend([fault] * fault.times)

    def start(self) -> None:
        if self._server is not None:
            raise RuntimeError("the stand-in is started already")
        self._stopping.clear()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and the port. Does nothing where it is not started."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
        server.close_connections()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def _take_fault(self, path: str, body: Mapping[str, Any]) -> Fault | None:
        if self._fault is not None and (fault := self._fault(body)) is not None and fault.path == path:
            return fault
        with self._lock:
            if self._faults and self._faults[0].path == path:
                return self._faults.popleft()
        return None

    def _log(self, received: Received) -> None:
        with self._lock:
            self.requests.append(received)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: StandIn) -> None:
        self.owner = owner
        self._open: dict[socket.socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.pop(request, None)

    def close_connections(self) -> None:
        """End the connections that clients keep alive, and wait for their threads."""
        with self._open_lock:
            left = dict(self._open)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in left.values():
            thread.join(5.0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is its own affair; anything else is a bug, shown with its traceback.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"
    sys_version = ""
    # Else each small event of a stream waits for the acknowledgement of the one before (40 ms).
    disable_nagle_algorithm = True
    server: _Server
    _request_id = "req_standin_000000"

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # Called by the base class, for what it cannot read as HTTP; its own page would be HTML.
        self.close_connection = True
        self._refuse(Refusal(code, message or "this is no request that can be read"))

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        self._number = self.server.owner._next_number()
        self._request_id = f"req_standin_{self._number:06d}"
        self._path = unquote(urlsplit(self.path).path)
        self._body: dict[str, Any] | None = None
        try:
            raw = self._read()
            self._authorize()
            self._route(raw)
        except Refusal as refusal:
            self._note(refusal.status)
            self._refuse(refusal)

    def _route(self, raw: bytes) -> None:
        post, get = self.command == "POST", self.command == "GET"
        if self._path == MESSAGES_PATH and post:
            self._messages(self._parse(raw))
        elif self._path == COUNT_PATH and post:
            self._count(self._parse(raw))
        elif self._path == MODELS_PATH and get:
            data = [_model_info(model) for model in self._models()]
            ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
            self._note(200)
            self._send(200, {"data": data, "has_more": False, "first_id": None, "last_id": None} | ends)
        elif self._path.startswith(f"{MODELS_PATH}/") and get:
            model = self._path[len(MODELS_PATH) + 1 :]
            if model not in self._models():
                raise Refusal(404, f"model: {model}")
            self._note(200)
            self._send(200, _model_info(model))
        elif self._path in (MESSAGES_PATH, COUNT_PATH, MODELS_PATH):
            raise Refusal(405, f"{self.command} is not a method of {self._path}")
        else:
            raise Refusal(404, f"nothing is at {self._path}")

    # --- what came in

    def _read(self) -> bytes:
        """The body, whole. A connection whose body was left unread could not be used again."""
        if self.headers.get("transfer-encoding"):
            self.close_connection = True
            raise Refusal(411, "the body's length must be given in content-length")
        length = self.headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            self.close_connection = True
            raise Refusal(400, "content-length: must be a number")
        left = int(length)
        if left <= MAX_BODY_BYTES:
            return self.rfile.read(left)
        # A client that is still sending would see a reset instead of the answer.
        while left > 0 and (part := self.rfile.read(min(left, 1 << 20))):
            left -= len(part)
        raise Refusal(413, f"the request is larger than {MAX_BODY_BYTES} bytes")

    def _authorize(self) -> None:
        # A web page that a browser was led to by DNS rebinding sends the name of its own host.
        host = self.headers.get("host", "")
        if (host if host.endswith("]") else host.rpartition(":")[0] or host) not in _LOOPBACK:
            raise Refusal(403, "host: only requests to this machine are answered")
        key = self.headers.get("x-api-key")
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if key is None and scheme.lower() == "bearer":
            key = token
        if not key:
            raise Refusal(401, "x-api-key: this header is needed")
        wanted = self.server.owner._api_key
        if wanted is not None and key != wanted:
            raise Refusal(401, "x-api-key: this key is not valid")
        if not self.headers.get("anthropic-version"):
            raise Refusal(400, "anthropic-version: this header is needed")

    def _parse(self, raw: bytes) -> dict[str, Any]:
        try:
            body = json.loads(raw, parse_constant=_no_constant)
            # A lone surrogate is no text: it has no bytes in UTF-8.
            compact(body).encode("utf-8")
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise Refusal(400, "the body must be a JSON object")
        self._body = body
        return body

    # --- what goes out

    def _count(self, body: dict[str, Any]) -> None:
        owner = self.server.owner
        check(body, models=owner._models, counting=True)
        fault = owner._take_fault(COUNT_PATH, body)
        if self._fail_early(fault):
            return
        self._note(200, fault=fault)
        if fault is not None:
            owner._stopping.wait(fault.seconds)
        self._send(200, {"input_tokens": count_tokens(body)})

    def _messages(self, body: dict[str, Any]) -> None:
        owner = self.server.owner
        check(body, models=owner._models)
        plan = owner._cache.plan(body, flatten(body))
        stream = bool(body.get("stream"))
        fault = owner._take_fault(MESSAGES_PATH, body)
        if fault is not None and fault.kind == "error_event" and not stream:
            fault = Fault(kind="status", status=529)
        if self._fail_early(fault):
            return
        said = owner._answer(body)
        composed = compose(
            Answer(text=said) if isinstance(said, str) else said,
            body,
            room=max(1, context_window(body["model"]) - plan.total),
            ids=f"standin_{self._number:06d}",
        )
        usage = _usage(plan)
        self._note(200, usage={**usage, "output_tokens": composed.output_tokens}, fault=fault)
        if fault is not None and fault.kind == "slow":
            owner._stopping.wait(fault.seconds)
        # The response begins: from here on what this request wrote can be read.
        owner._cache.commit(plan)
        if stream:
            self._stream(composed, usage, fault)
            return
        whole = message(composed, message_id=self._message_id, model=body["model"], usage=usage)
        data = compact(whole).encode("utf-8")
        if fault is None or fault.kind == "slow":
            self._send(200, whole)
        elif fault.kind == "hang":
            self._hang()
        else:
            half = data[: len(data) // 2]
            self._head(200, "application/json", len(data) if fault.kind == "cut" else len(half))
            self._write(half)
            self.close_connection = fault.kind == "cut"

    def _fail_early(self, fault: Fault | None) -> bool:
        """Let ``fault`` end the request where it allows no response; whether it did."""
        if fault is None or not fault.before_response:
            return False
        self._note(fault.status or 0, fault=fault)
        if fault.status is not None:
            reason = REASONS.get(fault.status, "an error, as a test asked for")
            self._refuse(Refusal(fault.status, reason, retry_after=fault.retry_after))
        elif fault.kind == "hang":
            self._hang()
        self.close_connection = self.close_connection or fault.status is None
        return True

    def _stream(self, composed: Composed, usage: Mapping[str, Any], fault: Fault | None) -> None:
        assert self._body is not None
        self._head(200, "text/event-stream; charset=utf-8", None)
        parts = events(composed, message_id=self._message_id, model=self._body["model"], usage=usage)
        limit = fault.after_deltas if fault is not None and fault.kind != "slow" else None
        for event in until(parts, limit):
            if event["type"] == "content_block_delta" and self.server.owner._chunk_delay:
                self.server.owner._stopping.wait(self.server.owner._chunk_delay)
            if not self._chunk(_event(event["type"], compact(event))):
                return
        if fault is None or fault.kind == "slow":
            self._chunk(b"")
            return
        match fault.kind:
            case "cut":
                self.close_connection = True
            case "hang":
                self._hang()
            case "malformed":
                self._chunk(_event("content_block_delta", '{"type":"content_block_delta","ind'))
                self._chunk(b"")
            case "error_event":
                self._chunk(_event("error", compact(Refusal(529, REASONS[529]).body)))
                self._chunk(b"")
            case "truncated":
                self._chunk(b"")

    def _hang(self) -> None:
        """Wait until the client closes the connection, or the server stops."""
        self.close_connection = True
        stopping = self.server.owner._stopping
        while not stopping.wait(0.01):
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def _send(self, status: int, value: Mapping[str, Any], retry_after: float | None = None) -> None:
        data = compact(value).encode("utf-8")
        self._head(status, "application/json", len(data), retry_after)
        if self.command != "HEAD":
            self._write(data)

    def _refuse(self, refusal: Refusal) -> None:
        self._send(refusal.status, refusal.body | {"request_id": self._request_id}, refusal.retry_after)

    def _head(self, status: int, content_type: str, length: int | None, retry_after: float | None = None) -> None:
        """Status line and headers; ``length`` None is a body in chunks."""
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("request-id", self._request_id)
        self.send_header(LABEL_HEADER, "gitsess; no model answered")
        if length is None:
            self.send_header("transfer-encoding", "chunked")
            self.send_header("cache-control", "no-cache")
        else:
            self.send_header("content-length", str(length))
        if retry_after is not None:
            self.send_header("retry-after", f"{retry_after:g}")
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()

    def _chunk(self, data: bytes) -> bool:
        """One chunk of a streamed body, its end where ``data`` is empty; False where the client left."""
        return self._write(b"%x\r\n" % len(data) + data + b"\r\n")

    def _write(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
        except ConnectionError:
            self.close_connection = True
            return False
        return True

    def _note(self, status: int, *, usage: Mapping[str, Any] | None = None, fault: Fault | None = None) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.owner._log(
            Received(
                method=self.command,
                path=self._path,
                headers={name: value for name, value in headers.items() if name not in _SECRET_HEADERS},
                body=self._body,
                request_id=self._request_id,
                status=status,
                usage=usage,
                fault=fault,
            )
        )

    @property
    def _message_id(self) -> str:
        return f"msg_standin_{self._number:06d}"

    def _models(self) -> list[str]:
        models = self.server.owner._models
        return sorted(ALIASES.values() if models is None else models)


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def _usage(plan: Plan) -> dict[str, Any]:
    """The input's part of a usage object."""
    return {
        "input_tokens": plan.uncached,
        "cache_creation_input_tokens": plan.written_5m + plan.written_1h,
        "cache_read_input_tokens": plan.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": plan.written_5m,
            "ephemeral_1h_input_tokens": plan.written_1h,
        },
        "service_tier": "standard",
    }


def _model_info(model: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model,
        "display_name": f"{model} (stand-in)",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": context_window(model),
        "max_tokens": max_output_tokens(model),
    }


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
