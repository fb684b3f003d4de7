"""``--show-redactions``: what would be taken out, before anything is sent or recorded."""

from __future__ import annotations

from gitsess.records import block_text
from gitsess.redact import Redactor
from gitsess.text import printable
from gitsess.turns import Turn


def preview(redactor: Redactor, turn: Turn, *, where: str) -> None:
    """Prints a line for every span of the turn's texts that would be redacted."""
    texts = [("prompt", turn.prompt), ("response", turn.response)]
    texts += [(f"message {n}", block_text(m)) for n, m in enumerate(turn.messages or (), 1)]
    preview_texts(redactor, [(f"{where}, {name}", text) for name, text in texts])


def preview_texts(redactor: Redactor, texts: list[tuple[str, str]]) -> None:
    """The same for named texts; says so where there is nothing to redact."""
    for name, text in texts:
        found = redactor.preview(text)
        if not found:
            print(f"{name}: nothing to redact")
        for rule, masked, line in found:
            print(f"{name}: {rule}: {printable(masked)}")
            print(f"    {printable(line).strip()}")
