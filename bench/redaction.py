"""Redaction of text without secrets, which is nearly all text, against what git does with it: deflating it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from bench.material import Writer
from bench.measuring import Ratio, World, heading, in_turns
from gitsess.redact import Redactor

SIZE = 10_000
REPEATS = 20


def report(world: World) -> Iterator[str]:
    writer = Writer("redaction")
    redactor = Redactor(environment=world.environment)
    yield f"REDACTION, {SIZE // 1000} KB of text in which there is nothing to redact, {REPEATS} times a measurement"
    yield ""
    yield heading("REDACT", "ZLIB")
    for what, text in (("prose", writer.prose(SIZE)), ("code", writer.code(SIZE))):
        assert redactor.text(text) == text
        ways = {
            "redact": lambda text=text: [redactor.text(text) for _ in range(REPEATS)],
            "zlib": lambda text=text: [zlib.compress(text.encode()) for _ in range(REPEATS)],
        }
        found = in_turns(ways, times=15)
        each = {name: [seconds / REPEATS for seconds in times] for name, times in found.items()}
        yield Ratio(ours=each["redact"], other=each["zlib"]).line(what)
    yield "  redaction loses, as it must: every rule looks at every text"
