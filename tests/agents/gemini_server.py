"""A service on the loopback that speaks the Gemini API, streaming and not, and plays what it is told.

    with Service() as service:
        service.play({"text": "Done."}, uses=usage(prompt=1200, cached=1000, output=30, thoughts=5))
        … a program asks service.url …
    service.served                  the usage of every response that was sent to its end

Each streamed request takes the next response of the script; where none is left the service says so and has used
nothing. What is asked without streaming is the program's own (titles, routing) and is answered with a word.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Object = dict[str, Any]


def usage(*, prompt: int, cached: int = 0, output: int, thoughts: int = 0, tool: int = 0) -> Object:
    """The usage of a response: ``prompt`` with the cached tokens, ``output`` without the thoughts, and what tools of
    the service's own were given besides the prompt."""
    return {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": output,
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tool,
        "totalTokenCount": prompt + output + thoughts + tool,
    }


def called(name: str, **arguments: Any) -> Object:
    """A call of a tool."""
    return {"functionCall": {"name": name, "args": arguments}}


def thought(text: str) -> Object:
    """A summary of what the model thought."""
    return {"text": text, "thought": True}


class Service:
    """Answers on ``url`` until the block ends."""

    def __init__(self) -> None:
        self.served: list[Object] = []
        """For every streamed response that was sent to its end: its model and its usage."""
        self.asked: list[Object] = []
        """The streamed requests, decoded."""
        self._script: list[Object] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def play(self, *parts: Object, uses: Object) -> None:
        """The next request is answered with these parts."""
        self._script.append({"parts": parts, "uses": uses})

    def refuse(self, status: int, message: str) -> None:
        """The next request is refused."""
        self._script.append({"status": status, "message": message})

    def stall(self, *parts: Object, uses: Object) -> None:
        """The next request is answered no further than this."""
        self._script.append({"parts": parts, "uses": uses, "stall": True})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, asked: Object) -> Object:
        with self._lock:
            self.asked.append(asked)
            return self._script.pop(0) if self._script else {"status": 400, "message": "nothing left to say"}

    def _handler(service) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
                model, _, method = self.path.partition("?")[0].rpartition("/")[2].partition(":")
                if method == "countTokens":
                    self._whole(200, {"totalTokens": 10})
                elif method == "streamGenerateContent":
                    given = service._next(body)
                    if "status" in given:
                        self._whole(given["status"], {"error": {"code": given["status"], "message": given["message"]}})
                    else:
                        self._stream(given, model)
                else:
                    answer = _chunk(model, [{"text": "A title"}], usage(prompt=7, output=3), last=True)
                    self._whole(200, answer)

            def _whole(self, status: int, value: Object) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _stream(self, given: Object, model: str) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                parts = list(given["parts"])
                for part in parts[:-1]:
                    # What is said of the usage on the way is not the end of it.
                    partial = {**given["uses"], "candidatesTokenCount": 1, "totalTokenCount": 1}
                    self._event(_chunk(model, [part], partial, last=False))
                if "stall" in given:
                    service._closing.wait()
                    return
                self._event(_chunk(model, parts[-1:], given["uses"], last=True))
                with service._lock:
                    service.served.append({"model": model, "usage": given["uses"]})
                self.close_connection = True

            def _event(self, value: Object) -> None:
                self.wfile.write(f"data: {json.dumps(value)}\r\n\r\n".encode())
                self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _chunk(model: str, parts: list[Object], uses: Object, *, last: bool) -> Object:
    candidate: Object = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    return {"candidates": [candidate], "usageMetadata": uses, "modelVersion": model, "responseId": "none"}
