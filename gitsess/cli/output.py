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
"""Columns that a text in a table keeps, as long as there is anything else to leave out."""
READABLE = 20
"""The same as long as there are columns of lesser worth."""


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
    """A column of a table: its head, and whether its cells align to the right.

    ``goes`` where the terminal is too narrow for all of them: 1 before texts are cut below READABLE, 2 once they are
    cut to NARROWEST, as what has neither head nor figures does, 3 after these; the one on the right first. 0 stays.
    """

    __slots__ = ("goes", "head", "right")

    def __init__(self, head: str, *, right: bool = False, goes: int = 0) -> None:
        self.head = head
        self.right = right
        self.goes = goes


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    footer: Sequence[str] = (),
    look: Style,
    columns_available: int | None = None,
) -> Iterator[str]:
    """The lines of a table: head, rows, footer, whose first text runs on over the empty cells behind it.

    No line is wider than the terminal (``columns_available``, else what it says itself). Where it is narrow the widest
    texts give way first, then columns that may go; figures stay whole as long as they can.
    """
    body = [[c.head for c in columns], *rows]
    available = columns_available or terminal_width()
    whole = [*body, *([footer] if footer else [])]
    widths = {i: max(width(row[i]) for row in whole if i < len(row)) for i in range(len(columns))}
    if available is not None:
        widths = _fit(columns, widths, max(width(row[0]) for row in body), available)
    for number, row in enumerate(whole):
        last = bool(footer) and number == len(body)
        cells = [(row[i], room, columns[i].right) for i, room in widths.items() if i < len(row)]
        if last:
            cells = _run_on(cells)
        line = ("  " + "  ".join(pad(clip(cell, room), room, right=right) for cell, room, right in cells)).rstrip()
        if available is not None:
            line = clip(line, available)
        yield look.dim(line) if number == 0 else look.bold(line) if last else line


def _fit(columns: Sequence[Column], widths: Mapping[int, int], first: int, available: int) -> dict[int, int]:
    """The columns that stay and their widths, which fit as far as that is possible. ``first``: what the first column
    needs without the footer."""
    kept = dict(widths)
    behind = [i for i in reversed(kept) if i]
    early = [i for i in behind if columns[i].goes == 1]
    bare = [i for i in behind if columns[i].goes == 2 or not (columns[i].head or columns[i].right)]
    late = [*bare, *(i for i in behind if columns[i].goes == 3)]
    found = kept
    for floor, going in [
        (READABLE, None),
        *((READABLE, i) for i in early),
        (NARROWEST, None),
        *((NARROWEST, i) for i in late),
        (1, None),
    ]:
        if going is not None:
            del kept[going]
        found = dict(kept)
        excess = 2 + sum(found.values()) + 2 * (len(found) - 1) - available
        over = max(0, min(excess, found[0] - first))
        found[0] -= over
        excess -= over
        texts = [i for i in found if i == 0 or (columns[i].head and not columns[i].right)]
        while excess > 0 and max(found[i] for i in texts) > floor:
            found[max(texts, key=lambda i: found[i])] -= 1
            excess -= 1
        if excess <= 0:
            break
    return found


def _run_on(cells: Sequence[tuple[str, int, bool]]) -> list[tuple[str, int, bool]]:
    """The cells of a footer with the first one as wide as it and the empty ones behind it."""
    (text, room, right), *others = cells
    while others and not others[0][0]:
        room += 2 + others.pop(0)[1]
    return [(text, room, right), *others]


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
