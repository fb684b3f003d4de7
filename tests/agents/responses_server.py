"""A service on the loopback that speaks the Responses API as server-sent events, and plays what it is told.

    with Service() as service:
        service.play(said("Done."), usage(input_tokens=1200, cached=1000, output_tokens=30))
        … a program asks service.url …
    service.served                  the usage of every response that was sent to its end

Each request takes the next response of the script; where none is left the service says so and has used nothing.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Object = dict[str, Any]


def usage(*, input_tokens: int, cached: int = 0, written: int = 0, output_tokens: int, reasoning: int = 0) -> Object:
    """The usage of a response: ``input_tokens`` with those from and to the cache, ``output_tokens`` with the
    reasoning."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + output_tokens,
    }


def said(text: str) -> Object:
    """An answer in words."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "status": "completed", "content": content}


def thought(summary: str) -> Object:
    """Reasoning, of which only the summary can be read."""
    return {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": summary}],
        "encrypted_content": "bm90IHRvIGJlIHJlYWQ=",
    }


def called(name: str, *, namespace: str | None = None, **arguments: Any) -> Object:
    """A call of a tool whose arguments are an object."""
    made = {"type": "function_call", "status": "completed", "name": name, "arguments": json.dumps(arguments)}
    return made if namespace is None else {**made, "namespace": namespace}


def called_freely(name: str, text: str) -> Object:
    """A call of a tool whose input is a text."""
    return {"type": "custom_tool_call", "status": "completed", "name": name, "input": text}


class Service:
    """Answers on ``url`` until the block ends."""

    def __init__(self) -> None:
        self.served: list[Object] = []
        """For every response that was sent to its end: its id, its model and its usage."""
        self.asked: list[Object] = []
        """The requests, decoded."""
        self._script: list[Object] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._count = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where the API begins."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def play(self, *items: Object, uses: Object) -> None:
        """The next request is answered with these items."""
        self._script.append({"items": items, "uses": uses})

    def refuse(self, status: int, message: str) -> None:
        """The next request is refused."""
        self._script.append({"status": status, "message": message})

    def stall(self, *items: Object, uses: Object) -> None:
        """The next request is answered no further than its first words."""
        self._script.append({"items": items, "uses": uses, "stall": True})

    def cut(self, *items: Object, uses: Object) -> None:
        """The next answer breaks off before it says what it used."""
        self._script.append({"items": items, "uses": uses, "cut": True})

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
            self._count += 1
            given = self._script.pop(0) if self._script else {"status": 400, "message": "nothing left to say"}
            return {**given, "number": self._count}

    def _handler(service) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if not self.path.endswith("/responses"):
                    self._refuse(404, "there is nothing here")
                    return
                asked = json.loads(body)
                given = service._next(asked)
                if "status" in given:
                    self._refuse(given["status"], given["message"])
                else:
                    self._answer(given, str(asked.get("model")))

            def do_GET(self) -> None:
                self._refuse(404, "there is nothing here")

            def _refuse(self, status: int, message: str) -> None:
                body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": None}})
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def _answer(self, given: Object, model: str) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                number = given["number"]
                response: Object = {"id": f"resp_{number:04d}", "object": "response", "model": model}
                self._event("response.created", response={**response, "status": "in_progress"})
                for place, item in enumerate(given["items"]):
                    whole = _with_ids(item, f"{number:04d}_{place}")
                    begun = {**whole, "content": []} if item["type"] == "message" else whole
                    self._event("response.output_item.added", output_index=place, item=begun)
                    if item["type"] == "message":
                        for delta in item["content"][0]["text"].split(" "):
                            self._event(
                                "response.output_text.delta",
                                output_index=place,
                                item_id=whole["id"],
                                content_index=0,
                                delta=delta,
                            )
                    if "stall" in given:
                        service._closing.wait()
                        return
                    self._event("response.output_item.done", output_index=place, item=whole)
                if "cut" in given:
                    self.close_connection = True
                    return
                self._event("response.completed", response={**response, "status": "completed", "usage": given["uses"]})
                with service._lock:
                    service.served.append({"id": response["id"], "model": model, "usage": given["uses"]})
                self.close_connection = True

            def _event(self, kind: str, **fields: Any) -> None:
                self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
                self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _with_ids(item: Object, ending: str) -> Object:
    match item["type"]:
        case "message":
            return {"id": f"msg_{ending}", **item}
        case "reasoning":
            return {"id": f"rs_{ending}", **item}
        case "custom_tool_call":
            return {"id": f"ctc_{ending}", "call_id": f"call_{ending}", **item}
        case _:
            return {"id": f"fc_{ending}", "call_id": f"call_{ending}", **item}
