"""Printing: tables, JSON with exact money, a little colour on a terminal, and git's pager."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal

from gitsess.model import JSON
from gitsess.money import format_usd
from gitsess.text import UNSAFE, clip, pad, width

NARROWEST = 12
"""Columns that a text in a table keeps, however narrow the terminal."""


def print_json(value: JSON) -> None:
    """``value`` as indented JSON; a Decimal becomes a number with its exact digits."""
    print(json_text(value, indent=2))


def json_text(value: JSON, *, indent: int | None = None) -> str:
    """JSON text of ``value``. json knows no Decimal: each is written as a marked text, then unquoted."""
    import json
    import re

    mark = os.urandom(16).hex()
    # Where the output cannot hold every character, JSON has an escape of its own for it.
    plain = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    text = json.dumps(
        value, indent=indent, ensure_ascii=plain, default=lambda item: _marked(item, mark), allow_nan=False
    )
    text = re.sub(f'"{mark}:(-?[0-9.]+)"', r"\1", text)
    # Only texts hold such characters, and there an escape says the same to every reader but a terminal.
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _marked(item: object, mark: str) -> str:
    if isinstance(item, Decimal):
        return f"{mark}:{format_usd(item)}"
    raise TypeError(f"no JSON for {type(item).__name__}")


class Style:
    """ANSI styles, or none where the output is no terminal or ``NO_COLOR`` is set."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[m" if self._on and text else text

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def yellow(self, text: str) -> str:
        return self._wrap("33", text)

    def green(self, text: str) -> str:
        return self._wrap("32", text)

    def red(self, text: str) -> str:
        return self._wrap("31", text)

    def cyan(self, text: str) -> str:
        return self._wrap("36", text)


def style(environment: Mapping[str, str], *, stderr: bool = False) -> Style:
    """The styles for standard output (or standard error)."""
    stream = sys.stderr if stderr else sys.stdout
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return Style(stream.isatty() and not plain)


_behind_pager: int | None = None
"""Columns of the terminal while a pager stands between it and standard output."""


def terminal_width() -> int | None:
    """Columns of the terminal, or None where the output goes to none."""
    if not sys.stdout.isatty():
        return _behind_pager
    import shutil

    return shutil.get_terminal_size().columns


class Column:
    """A column of a table: its head, and whether its cells align to the right."""

    __slots__ = ("head", "right")

    def __init__(self, head: str, *, right: bool = False) -> None:
        self.head = head
        self.right = right


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    footer: Sequence[str] = (),
    look: Style,
    columns_available: int | None = None,
) -> Iterator[str]:
    """The lines of a table: head, rows, footer.

    Where the terminal is narrow (``columns_available``, else what it says itself) the widest texts give way;
    figures and what has no head stay whole.
    """
    cells = [[c.head for c in columns], *rows, *([footer] if footer else [])]
    widths = [max(width(row[i]) for row in cells if i < len(row)) for i in range(len(columns))]
    available = columns_available or terminal_width()
    if available is not None:
        excess = 2 + sum(widths) + 2 * (len(widths) - 1) - available
        texts = [i for i, column in enumerate(columns) if i == 0 or (column.head and not column.right)]
        while excess > 0 and max(widths[i] for i in texts) > NARROWEST:
            widths[max(texts, key=lambda i: widths[i])] -= 1
            excess -= 1
    for number, row in enumerate(cells):
        fitted = [pad(clip(cell, widths[i]), widths[i], right=columns[i].right) for i, cell in enumerate(row)]
        line = ("  " + "  ".join(fitted)).rstrip()
        last = bool(footer) and number == len(cells) - 1
        yield look.dim(line) if number == 0 else look.bold(line) if last else line


_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, columns: int) -> str:
    """A bar of ``share`` (0 to 1) of ``columns``, exact to an eighth of a column."""
    eighths = round(share * columns * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


@contextmanager
def paged(environment: Mapping[str, str], pager: str | None) -> Iterator[None]:
    """Standard output through ``pager`` while it is a terminal; as git does, less quits if one screen does."""
    if pager is None or not sys.stdout.isatty() or pager in ("", "cat"):
        yield
        return
    import subprocess

    settings = {"LESS": "FRX", "LV": "-c", **environment}
    try:
        process = subprocess.Popen(pager, shell=True, stdin=subprocess.PIPE, env=settings)
    except OSError:
        yield
        return
    assert process.stdin is not None
    global _behind_pager
    _behind_pager = terminal_width()
    terminal = os.dup(sys.stdout.fileno())
    sys.stdout.flush()
    os.dup2(process.stdin.fileno(), sys.stdout.fileno())
    process.stdin.close()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough and quit.
        pass
    finally:
        _behind_pager = None
        os.dup2(terminal, sys.stdout.fileno())
        os.close(terminal)
        process.wait()


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
