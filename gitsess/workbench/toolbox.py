"""The tools that let a model work on the files of one worktree.

What a model asks for is never an exception: it reads why not, in a line. Whatever it gets to read was redacted
first, files as wholes, because what is sent is what is stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from gitsess.errors import GitsessError
from gitsess.gitcli import Git
from gitsess.model import JSONObject
from gitsess.providers.tools import Tool, ToolResult
from gitsess.text import UNSAFE, clip, one_line, plural
from gitsess.values import Value
from gitsess.workbench.files import MAX_FILE_BYTES, Files, Target
from gitsess.workbench.paths import Failed, Parts, Refused, shown

MAX_LISTED = 500
MAX_FOUND = 200
MAX_LINES = 1000
MAX_READ_CHARS = 60_000
MAX_LINE_CHARS = 2000
MAX_FOUND_CHARS = 300
MAX_PATTERN_CHARS = 1000
_MARKER = re.compile(r"\[redacted:[^\]\s]{0,110}\]?")
_NUMBERED = re.compile(r" {0,7}\d+\t")
_HIDDEN = "(left out: it is a part of a secret)"


class Input(Value):
    """One thing that a tool takes. ``kind`` is a JSON type: string, integer or boolean."""

    name: str
    kind: str
    about: str
    needed: bool = True
    longest: int = MAX_FILE_BYTES


_TYPES: Mapping[str, type] = {"string": str, "integer": int, "boolean": bool}
_PATH = Input(name="path", kind="string", about="path from the top of the worktree, as in src/app.py")


class Toolbox:
    """The tools for the worktree at ``top``: looking, and with ``writes`` changing files; ``run_tests`` runs the
    project's tests where it is given. ``redact`` takes secrets out of a text.

    ``refusals`` are the paths that a model may not have but asked for, each with the reason, in order; ``changed``
    the files that were written or deleted.
    """

    def __init__(
        self,
        top: Path,
        git: Git,
        redact: Callable[[str], str],
        *,
        writes: bool,
        run_tests: Callable[[], ToolResult] | None = None,
    ) -> None:
        self.refusals: list[str] = []
        self.changed: set[str] = set()
        self._files = Files(top, git)
        self._redact = redact
        self._writes = writes
        self._run_tests = run_tests

    def tools(self) -> tuple[Tool, ...]:
        """The tools, the same and in the same order each time: their definitions are the first part of what the
        service caches."""
        return tuple(self._tools())

    def _tools(self) -> Iterator[Tool]:
        pattern = Input(
            name="pattern",
            kind="string",
            about="only files of this pattern, as in *.py or src/**/*.ts",
            needed=False,
            longest=MAX_PATTERN_CHARS,
        )
        below = _PATH.replace(about="only below this folder", needed=False)
        yield self._tool(
            "list_files",
            f"Lists the files of the worktree that git does not ignore, sorted, at most {MAX_LISTED} at a time.",
            [pattern, below],
            self._list,
        )
        yield self._tool(
            "read_file",
            "Reads a text file. Each line comes with its number and a tab before it, which are not a part of the"
            f" file. At most {MAX_LINES} lines at a time. A secret shows as [redacted:...].",
            [
                _PATH,
                Input(name="from_line", kind="integer", about="first line to read, 1 if left out", needed=False),
                Input(name="lines", kind="integer", about="how many lines to read", needed=False),
            ],
            self._read,
        )
        yield self._tool(
            "search",
            f"Searches the files for a regular expression, line by line; at most {MAX_FOUND} lines are shown.",
            [
                pattern.replace(about="regular expression (Perl's kind)", needed=True),
                below.replace(about="only in this file, or below this folder"),
                Input(name="fixed", kind="boolean", about="the pattern is a plain text", needed=False),
                Input(name="ignore_case", kind="boolean", about="upper and lower case are the same", needed=False),
            ],
            self._search,
        )
        if self._writes:
            yield from self._writing_tools()
        if self._run_tests is not None:
            run = self._run_tests
            yield self._tool("run_tests", "Runs the project's tests and shows what they print.", [], lambda: run())

    def _writing_tools(self) -> Iterator[Tool]:
        yield self._tool(
            "write_file",
            "Writes a file whole, with the folders that it needs. For a change to a file that is there edit_file is"
            " better.",
            [_PATH, Input(name="content", kind="string", about="all of the file's new text")],
            self._write,
        )
        yield self._tool(
            "edit_file",
            "Replaces a text in a file by another. The old text must be in the file just once, to the letter: give"
            " some lines around it. Line endings stay as they are.",
            [
                _PATH,
                Input(name="old", kind="string", about="the text to replace, without line numbers"),
                Input(name="new", kind="string", about="the text to put there"),
                Input(name="all", kind="boolean", about="replace it wherever it occurs", needed=False),
            ],
            self._edit,
        )
        yield self._tool("delete_file", "Deletes a file.", [_PATH], self._delete)

    def _tool(self, name: str, about: str, inputs: list[Input], do: Callable[..., str | ToolResult]) -> Tool:
        def call(given: JSONObject) -> ToolResult:
            try:
                done = do(**_checked(inputs, given))
                text, is_error = (done, False) if isinstance(done, str) else (done.text, done.is_error)
            except Refused as refusal:
                text, is_error = self._refused(name, str(given.get("path", "")), refusal), True
            except (Failed, GitsessError) as error:
                text, is_error = one_line(str(error)), True
            return ToolResult(text=self._redact(text), is_error=is_error)

        properties = {one.name: {"type": one.kind, "description": one.about} for one in inputs}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        if needed := [one.name for one in inputs if one.needed]:
            schema["required"] = needed
        return Tool(name=name, description=about, input_schema=schema, call=call)

    def _refused(self, name: str, path: str, refusal: Refused) -> str:
        self.refusals.append(self._redact(f"{name} {shown(path)}: {refusal}"))
        return f"{shown(path)} is refused: {refusal}"

    # --- looking

    def _list(self, pattern: str | None = None, path: str | None = None) -> str:
        where = self._files.place(path) if path else ()
        chosen = [] if pattern is None else [_pathspec(pattern)]
        gone = self._names("ls-files", "-z", "--deleted", "--", *chosen)
        there = self._names("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *chosen)
        # A folder that git names whole is another repository.
        names = sorted(n for n in there - gone if not n.endswith("/") and tuple(n.split("/"))[: len(where)] == where)
        fit = [name for name in names if not _unsafe(name)]
        if not fit:
            return "there is no such file"
        left_out = len(fit) - MAX_LISTED
        notes = [f"({left_out:,} more: give a pattern or a path)"] if left_out > 0 else []
        if odd := len(names) - len(fit):
            notes.append(f"({plural(odd, 'file')} with control characters in the name left out)")
        return "\n".join([*fit[:MAX_LISTED], *notes])

    def _names(self, *args: str) -> set[str]:
        part = self._files.git(*args)
        if part.result.code and part.cut is None:
            raise Failed(f"git does not list the files: {part.result.complaint}")
        if part.cut == "time":
            raise Failed("listing the files takes too long: give a pattern")
        # The last name may be cut off, and is only then without its end.
        return {os.fsdecode(name) for name in part.result.out.split(b"\0")[:-1]}

    def _read(self, path: str, from_line: int = 1, lines: int = MAX_LINES) -> str:
        if from_line < 1 or lines < 1:
            raise Failed("from_line and lines count from 1")
        data = self._files.read(path)
        if b"\0" in data:
            raise Failed(f"{shown(path)} is no text: it is binary")
        text = self._redact(data.decode("utf-8", "replace").removeprefix("\ufeff"))
        if not text:
            return "(the file is empty)"
        whole = text.removesuffix("\n").split("\n")
        if from_line > len(whole):
            raise Failed(f"{shown(path)} has only {plural(len(whole), 'line')}")
        chosen, room = [], MAX_READ_CHARS
        for number, line in enumerate(islice(whole, from_line - 1, from_line - 1 + min(lines, MAX_LINES)), from_line):
            chosen.append(f"{number:6}\t{_clipped(line.removesuffix(chr(13)), MAX_LINE_CHARS)}")
            room -= len(chosen[-1])
            if room < 0:
                break
        last = from_line + len(chosen) - 1
        notes = []
        if from_line > 1 or last < len(whole):
            notes.append(f"lines {from_line} to {last} of {len(whole)}")
        if "\r\n" in text:
            notes.append("lines end in CR LF")
        if not text.endswith("\n"):
            notes.append("no line break at the end")
        if "\ufffd" in text and not _is_text(data):
            notes.append("not UTF-8, it cannot be edited")
        return "\n".join([*chosen, *([f"({'; '.join(notes)})"] if notes else [])])

    def _search(self, pattern: str, path: str | None = None, fixed: bool = False, ignore_case: bool = False) -> str:
        if "\n" in pattern or "\0" in pattern:
            raise Failed("a pattern is on one line")
        if not pattern:
            raise Failed("the pattern is empty")
        where = self._files.place(path) if path else ()
        found, cut = self._hits(pattern, where, fixed=fixed, ignore_case=ignore_case)
        chosen: dict[Parts, list[int]] = {}
        room = MAX_FOUND
        for parts, numbers in found.items():
            if room > 0 and not _unsafe("/".join(parts)):
                chosen[parts] = numbers[:room]
                room -= len(numbers)
        texts = self._files.read_some(list(chosen))
        shown_lines = [
            f"{'/'.join(parts)}:{line}"
            for parts, numbers in chosen.items()
            if parts in texts
            for line in self._lines_of(texts[parts], numbers)
        ]
        if cut == "time":
            shown_lines.append("(it took too long: not all files were searched)")
        elif cut == "size" or room < 0 or len(chosen) < len(found):
            shown_lines.append("(more lines match than are shown: narrow the pattern or the path)")
        return "\n".join(shown_lines) or "nothing matches"

    def _hits(
        self, pattern: str, where: Parts, *, fixed: bool, ignore_case: bool
    ) -> tuple[dict[Parts, list[int]], str | None]:
        """The numbers of the lines that match, by file. What the lines say is not taken from git: it reads files in
        its own way."""
        words = ["grep", "-n", "-z", "-I", "--full-name", "--no-color", "--no-column", "--no-recurse-submodules"]
        words += ["-i"] if ignore_case else []
        limits = ["--", f":(top,literal){'/'.join(where)}"] if where else ["--"]
        kind = "-F" if fixed else "-P"
        found: dict[Parts, list[int]] = {}
        cut: str | None = None
        # With new files those are left out that are tracked though a pattern ignores them.
        odd = self._names("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        for which in [["--untracked"], *([[]] if odd else [])]:
            part = self._files.git(*words, *which, kind, "-e", pattern, *limits)
            if "Perl-compatible" in part.result.err:
                # A git without them.
                kind = "-E"
                part = self._files.git(*words, *which, kind, "-e", pattern, *limits)
            if part.cut is None and part.result.code not in (0, 1):
                raise Failed(f"the search is not possible: {part.result.complaint}")
            cut = cut or part.cut
            for parts, numbers in _numbers(part.result.out).items():
                found.setdefault(parts, numbers)
        return found, cut

    def _lines_of(self, data: bytes, numbers: list[int]) -> Iterator[str]:
        """Those lines of a file, with their numbers, as far as they show in all of it redacted."""
        text = data.decode("utf-8", "replace")
        lines = text.split("\n")
        redacted = self._redact(text)
        left = set(redacted.split("\n"))
        for number in numbers:
            # It may have become shorter since.
            line = lines[number - 1] if number <= len(lines) else ""
            if line not in left:
                line = self._redact(line)
            yield f"{number}: {_clipped(line.rstrip(), MAX_FOUND_CHARS) if line in left else _HIDDEN}"

    # --- changing

    def _write(self, path: str, content: str) -> str:
        target = self._files.target(path)
        return self._put(path, target, content, _text_of(target))

    def _edit(self, path: str, old: str, new: str, all: bool = False) -> str:
        target = self._files.target(path)
        if not target.exists:
            raise Failed(f"{shown(path)} is not there: write_file makes it")
        text = _text_of(target)
        if text is None:
            raise Failed(f"{shown(path)} is not UTF-8 text, or larger than 1 MiB: it cannot be edited")
        if not old:
            raise Failed("the old text is empty: give the text to replace")
        if old == new:
            raise Failed("the old and the new text are the same")
        changed, places = _replaced(text, old, new, all)
        if places == 0:
            raise Failed(self._why_not_found(path, old))
        if places > 1 and not all:
            raise Failed(f"the old text is in {shown(path)} more than once: give more lines around it, or all")
        self._put(path, target, changed, text)
        return f"edited {shown(path)} in {plural(places, 'place')}"

    def _why_not_found(self, path: str, old: str) -> str:
        if _MARKER.search(old):
            return (
                "the old text holds a [redacted:...] marker, which stands for a secret in the file: leave that line as"
                " it is, and give old texts before or after it"
            )
        lines = [line for line in old.split("\n") if line]
        if lines and all(_NUMBERED.match(line) for line in lines):
            return "the old text begins with line numbers, which are not a part of the file: leave them out"
        return f"the old text is not in {shown(path)}: read the file again; it must be the same to the letter"

    def _put(self, path: str, target: Target, text: str, before: str | None) -> str:
        if "\0" in text:
            raise Failed("a text holds no NUL character")
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise Failed("the text has half a surrogate pair in it, which has no UTF-8") from None
        if len(data) > MAX_FILE_BYTES:
            raise Failed("the text is larger than 1 MiB")
        self._check_markers(text, before or "")
        if data == target.data:
            return f"{shown(path)} is so already"
        self._files.write(target, data)
        self.changed.add("/".join(target.parts))
        return f"{'replaced' if target.exists else 'made'} {shown(path)}, {plural(len(text.splitlines()), 'line')}"

    def _check_markers(self, text: str, before: str) -> None:
        """Raises Failed where a marker would be written that stands for a secret."""
        hidden: str | None = None
        for marker in {match[0] for match in _MARKER.finditer(text)}:
            if marker in before and text.count(marker) <= before.count(marker):
                continue
            hidden = self._redact(before) if hidden is None else hidden
            # A text about markers may have one more, if none of that kind hides a secret.
            if marker not in before or hidden.count(marker) > before.count(marker):
                raise Failed(
                    f"the text holds {clip(marker, 60)}, which only stands for a secret when a file is shown: writing"
                    " it would destroy the secret; use edit_file on other lines"
                )

    def _delete(self, path: str) -> str:
        parts = self._files.delete(path)
        self.changed.add("/".join(parts))
        return f"deleted {shown(path)}"


def _numbers(out: bytes) -> dict[Parts, list[int]]:
    """The line numbers that ``git grep -n -z`` printed, by file."""
    found: dict[Parts, list[int]] = {}
    for line in out.split(b"\n"):
        name, _, rest = line.partition(b"\0")
        if number := re.match(rb"\d{1,9}", rest):
            found.setdefault(tuple(os.fsdecode(name).split("/")), []).append(int(number[0]))
    return found


def _checked(inputs: list[Input], given: JSONObject) -> dict[str, Any]:
    """What a model gave, or Failed with what is wrong about it. A null is as good as nothing."""
    known = {one.name: one for one in inputs}
    for name in given:
        if name not in known:
            names = ", ".join(known) or "nothing"
            raise Failed(f"{shown(str(name))} is not among its inputs, which are: {names}")
    found: dict[str, Any] = {}
    for one in inputs:
        value = given.get(one.name)
        if value is None:
            if one.needed:
                raise Failed(f"{one.name} is missing: {one.about}")
            continue
        if not isinstance(value, _TYPES[one.kind]) or (isinstance(value, bool) and one.kind != "boolean"):
            raise Failed(f"{one.name} must be of the type {one.kind}")
        if isinstance(value, str) and len(value) > one.longest:
            raise Failed(f"{one.name} is longer than {one.longest:,} characters")
        found[one.name] = value
    return found


def _pathspec(pattern: str) -> str:
    """A pattern as git takes it: one without a slash is for names, wherever the file lies."""
    if _unsafe(pattern) or not pattern:
        raise Failed("a pattern is a line of text, as in *.py")
    anywhere = pattern if "/" in pattern else f"**/{pattern}"
    return f":(top,glob){anywhere.lstrip('/')}"


def _unsafe(name: str) -> bool:
    return "\n" in name or "\t" in name or UNSAFE.search(name) is not None


def _clipped(line: str, most: int) -> str:
    """Whole lines are what a model can work with: one that is no text but a heap of data is cut."""
    return line if len(line) <= most else f"{line[:most]}… ({len(line) - most:,} more characters)"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _text_of(target: Target) -> str | None:
    """The text of the file that is there; None where there is none."""
    return target.data.decode() if target.data is not None and _is_text(target.data) else None


def _replaced(text: str, old: str, new: str, everywhere: bool) -> tuple[str, int]:
    """(the text with ``new`` for ``old``, in how many places that is in it), in the line endings of the text."""
    crlf = text.count("\r\n")
    if crlf and crlf == text.count("\n"):
        # A model writes plain line breaks. All of the file's are CR LF, and so those that are new.
        plain, old, new = (part.replace("\r\n", "\n") for part in (text, old, new))
        changed, places = _replaced(plain, old, new, everywhere)
        return changed.replace("\n", "\r\n"), places
    if crlf and old not in text:
        old, new = (part.replace("\r\n", "\n").replace("\n", "\r\n") for part in (old, new))
    first = text.find(old)
    if first < 0:
        return text, 0
    if everywhere:
        return text.replace(old, new), text.count(old)
    # Two that overlap are two.
    places = 1 if text.find(old, first + 1) < 0 else 2
    return text[:first] + new + text[first + len(old) :], places
