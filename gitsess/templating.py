"""The prompts of the workflow: built in, and overridden by a repository's or a person's own.

A template is a text with variables. ``{{name}}`` stands for a value; what is between ``{{#name}}`` and ``{{/name}}`` is
kept where the value is not empty, and lines that hold nothing but such a mark leave no line behind. There is nothing
more to it: values are put in as they are, and nothing in them is looked at again.

    .ai-session/templates/<name>.md    of the repository: goes first
    <user folder>/<name>.md            of the person
    gitsess/templates/<name>.md        built in

A file that holds nothing is as if it were not there: the shell makes one before ``template show`` writes into it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from gitsess.errors import StoreError, UsageError
from gitsess.names import shown
from gitsess.text import one_line, printable
from gitsess.values import Value

MAX_BYTES = 256 * 1024
FOLDER = ".ai-session"
BELOW = ".ai-session/templates"
_SUFFIX = ".md"
_MOST_FILES = 1000
_BUILT_IN = Path(__file__).parent / "templates"

BUILT_IN, REPOSITORY, USER = "built in", "repository", "user"

_FEATURE = {
    "feature": "the feature's name",
    "description": "what was said of the feature when it was started",
}
_PLANNING = {
    **_FEATURE,
    "what": "what is to be planned, in the person's words",
    "plan": "the plan that is there, as YAML; empty the first time",
    "statuses": "how far its tasks are, a line each",
    "branch": "the branch that is checked out",
}
_TASK = {
    **_FEATURE,
    "task": "the task's id, such as T1.2",
    "title": "its title",
    "details": "its description",
    "tests": "the tests that it asks for, a line each",
    "acceptance": "its acceptance criteria, a line each",
    "files": "the files that it names, a line each",
    "plan": "the plan as YAML, where the session has not been told it yet",
    "command": "the command that runs the project's tests; empty where there is none",
    "step": "red, green or refactor",
    "attempt": "the number of this try, from 1",
    "attempts": "how many tries there are",
}
_TRIED = {**_TASK, "output": "what the tests printed"}
_REVIEWING = {
    **_FEATURE,
    "diff": "the changes to look at; empty where files are",
    "files": "the names of the files to look at, a line each; they go along with the prompt",
    "focus": "what to look at above all, a line each",
}
_VERIFYING = {
    "feature": "the feature's name",
    "criteria": "the criteria with their ids, a line each",
    "output": "the tests that were run, how they ended and what they printed",
}
_ERRORS = {"errors": "what was wrong with the answer, a line each"}

VARIABLES: Mapping[str, Mapping[str, str]] = {
    "plan": _PLANNING,
    "plan-again": {**_PLANNING, **_ERRORS},
    "implement-tests": _TASK,
    "implement-tests-again": _TRIED,
    "implement": _TASK,
    "implement-alone": _TASK,
    "implement-again": _TRIED,
    "implement-refactor": _TASK,
    "review": _REVIEWING,
    "review-again": {**_REVIEWING, **_ERRORS},
    "verify": _VERIFYING,
    "verify-again": {**_VERIFYING, "answer": "the answer that did not fit", **_ERRORS},
    "escalate": {
        **_FEATURE,
        "what": "what to do, in the person's words; empty where nothing was said",
        "task": "the id of the task of the last turn; empty where it was of none",
    },
    "system": {"feature": "the feature's name"},
    "system-answer": {"feature": "the feature's name"},
}
"""The variables of every template, and what each stands for."""

USES: Mapping[str, str] = {
    "plan": "plan: the first question",
    "plan-again": "plan: where the plan does not fit",
    "implement-tests": "implement: tests first, which must fail",
    "implement-tests-again": "implement: where the new tests pass",
    "implement": "implement: make the new tests pass",
    "implement-alone": "implement --no-tests: without tests first",
    "implement-again": "implement: where the tests fail",
    "implement-refactor": "implement --tdd: tidy up",
    "review": "review: findings",
    "review-again": "review: where the findings do not fit",
    "verify": "verify: a verdict on each criterion",
    "verify-again": "verify: where the verdicts do not fit",
    "escalate": "escalate: take over from another model",
    "system": "system prompt of turns that change files",
    "system-answer": "system prompt of turns that only answer",
}
"""What every template is for."""


class Template(Value):
    """``source`` is BUILT_IN, REPOSITORY or USER."""

    name: str
    text: str
    source: str
    path: Path


class Standing(Value):
    """What stands for ``name`` here: ``problem`` says why it cannot be used, None where it can."""

    name: str
    source: str
    path: Path
    problem: str | None = None


class Problem(Value):
    """Something about a template's file. ``line`` is from 1, None where it is of the whole file; a ``note`` is no
    fault."""

    path: Path
    line: int | None
    text: str
    note: bool = False

    def __str__(self) -> str:
        return one_line(f"{_place(self.path, self.line)}: {'note: ' if self.note else ''}{self.text}")


class Fault(NamedTuple):
    line: int
    text: str


# The language


class _Text(NamedTuple):
    text: str


class _Mark(NamedTuple):
    """``kind`` is ``#`` or ``/`` of a part, or empty for a value."""

    kind: str
    name: str
    line: int


_MARK = re.compile(r"\{\{[ \t]*([#/]?)[ \t]*([A-Za-z][A-Za-z0-9_-]{0,40})[ \t]*\}\}")
_ALONE = re.compile(r"^[ \t]*\{\{[ \t]*[#/][ \t]*[A-Za-z][A-Za-z0-9_-]{0,40}[ \t]*\}\}[ \t]*(?:\n|\Z)", re.MULTILINE)

_BRACES = re.compile(r"\{\{[^\n{}]{0,40}\}{0,2}")


def _pieces(text: str) -> Iterator[_Text | _Mark]:
    """The text and the marks of a template, in order. Other braces are text."""
    at, line = 0, 1
    # Where a mark is alone on its line, the line goes with it.
    alone = {_mark_at(found): (found.start(), found.end()) for found in _ALONE.finditer(text)}
    for found in _MARK.finditer(text):
        start, end = alone.get(found.start(), (found.start(), found.end()))
        yield _Text(text[at:start])
        line += text.count("\n", at, found.start())
        yield _Mark(found[1], found[2], line)
        line += text.count("\n", found.start(), end)
        at = end
    yield _Text(text[at:])


def _mark_at(found: re.Match[str]) -> int:
    return found.start() + found[0].index("{{")


def odd_braces(text: str) -> Iterator[tuple[int, str]]:
    """(line, beginning) of what looks as if it were meant as a mark, and is text."""
    marks = {found.start() for found in _MARK.finditer(text)}
    for found in _BRACES.finditer(text):
        if not marks & {found.start(), found.start() + 1}:
            yield text.count("\n", 0, found.start()) + 1, found[0]


def faults(text: str, known: Mapping[str, str]) -> list[Fault]:
    """What is wrong with a template's text, by line: variables that are not ``known``, parts that do not end."""
    found: list[Fault] = []
    opened: list[_Mark] = []
    for piece in _pieces(text):
        if isinstance(piece, _Text):
            continue
        if piece.name not in known:
            found.append(Fault(piece.line, f"there is no variable {piece.name}{_nearest(piece.name, known)}"))
        if piece.kind == "#":
            opened.append(piece)
        elif piece.kind == "/" and opened and opened[-1].name == piece.name:
            opened.pop()
        elif piece.kind == "/" and any(mark.name == piece.name for mark in opened):
            inner = opened[-1]
            found.append(
                Fault(piece.line, f"the part {piece.name} ends before {inner.name}, begun in it on line {inner.line}")
            )
            while opened.pop().name != piece.name:
                pass
        elif piece.kind == "/":
            found.append(Fault(piece.line, f"the part {piece.name} ends here and does not begin"))
    found += [Fault(mark.line, f"the part {mark.name} has no end: {{{{/{mark.name}}}}} is missing") for mark in opened]
    return sorted(found)


def _nearest(name: str, known: Mapping[str, str]) -> str:
    near = get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text of a template without faults with its values; those that are missing are empty."""
    out: list[str] = []
    hidden: list[str] = []
    for piece in _pieces(text):
        if isinstance(piece, _Text):
            if not hidden:
                out.append(piece.text)
        elif piece.kind == "/":
            if hidden:
                hidden.pop()
        elif piece.kind == "#":
            # What is within a part that is left out is left out, whatever it depends on.
            if hidden or not values.get(piece.name, "").strip():
                hidden.append(piece.name)
        elif not hidden:
            out.append(values.get(piece.name, "").strip("\n"))
    return "".join(out).strip("\n") + "\n"


# The files


class Templates:
    """The templates as they are for one worktree. ``top`` is its folder, None without one; ``user_folder`` is where a
    person's own are, None where no home is known. Neither has to be there."""

    def __init__(self, top: Path | None, user_folder: Path | None) -> None:
        self._top, self._user_folder = top, user_folder

    def find(self, name: str) -> Template:
        """The template that is used for ``name``.

        Raises UsageError where there is no such template, or its file is not fit to be read; StoreError where it
        cannot be.
        """
        if name not in VARIABLES:
            near = get_close_matches(name, list(VARIABLES), n=1)
            hint = f"did you mean {near[0]}?" if near else "'git ai-session template list' shows what there is"
            raise UsageError(f"there is no template {shown(name)}; {hint}")
        for source, path in self._places(name):
            text = self._read(path, source)
            if text is not None:
                return Template(name=name, text=text, source=source, path=path)
        path = _BUILT_IN / f"{name}{_SUFFIX}"
        return Template(name=name, text=path.read_text(encoding="utf-8"), source=BUILT_IN, path=path)

    def standings(self) -> list[Standing]:
        """What stands for each template, those too that are refused when they are to be used."""
        return [self._standing(name) for name in VARIABLES]

    def _standing(self, name: str) -> Standing:
        for source, path in self._places(name):
            try:
                text = self._read(path, source)
            except (UsageError, StoreError) as error:
                return Standing(name=name, source=source, path=path, problem=str(error))
            if text is not None:
                problem = next((_told(path, fault) for fault in faults(text, VARIABLES[name])), None)
                return Standing(name=name, source=source, path=path, problem=problem)
        return Standing(name=name, source=BUILT_IN, path=_BUILT_IN / f"{name}{_SUFFIX}")

    def fill(self, name: str, values: Mapping[str, str]) -> str:
        """The prompt: the template of ``name`` with its values; those that it has no variable for are left out.

        Raises UsageError that names file and line of the first fault; what ``find`` raises.
        """
        template = self.find(name)
        found = faults(template.text, VARIABLES[name])
        if found:
            raise UsageError(_told(template.path, found[0]))
        return _filled(template.text, values)

    def check(self) -> list[Problem]:
        """What is wrong with the files that override templates, and worth a note about them; by file and line."""
        found: list[Problem] = []
        seen: set[str] = set()
        for source, folder in self._folders():
            try:
                names = self._names(folder, source)
            except (UsageError, StoreError) as error:
                found.append(Problem(path=folder, line=None, text=_without(str(error), folder)))
                continue
            for file in names:
                found += self._checked(folder / file, source, seen)
        return found

    def overriding(self) -> int:
        """How many files there are that take a built-in template's place."""
        count = 0
        for source, folder in self._folders():
            try:
                names = [name for name in self._names(folder, source) if name.removesuffix(_SUFFIX) in VARIABLES]
                count += sum(self._read(folder / name, source) is not None for name in names)
            except (UsageError, StoreError):
                continue
        return count

    def _places(self, name: str) -> Iterator[tuple[str, Path]]:
        """Where a file may take the place of the built-in template, in the order in which they are looked at."""
        for source, folder in self._folders():
            yield source, folder / f"{name}{_SUFFIX}"

    def _folders(self) -> Iterator[tuple[str, Path]]:
        if self._top is not None:
            yield REPOSITORY, self._top / BELOW
        if self._user_folder is not None:
            yield USER, self._user_folder

    def _names(self, folder: Path, source: str) -> list[str]:
        """The names in a folder that could be meant as templates, sorted."""
        try:
            if not self._real(folder, source).is_dir():
                return []
            names = sorted(entry.name for entry in os.scandir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{one_line(str(folder))} cannot be read: {error.strerror}") from None
        named = [name for name in names if not name.startswith(".") and not name.lower().startswith("readme")]
        return named[:_MOST_FILES]

    def _checked(self, path: Path, source: str, seen: set[str]) -> Iterator[Problem]:
        """``seen`` has the templates whose place a file before took, and gets this one."""
        name = path.name.removesuffix(_SUFFIX)
        if name == path.name or name not in VARIABLES:
            near = get_close_matches(path.stem, list(VARIABLES), n=1)
            hint = f"; did you mean {near[0]}{_SUFFIX}?" if near else ""
            yield Problem(path=path, line=None, text=f"is the file of no template{hint}")
            return
        try:
            text = self._read(path, source)
        except (UsageError, StoreError) as error:
            seen.add(name)
            yield Problem(path=path, line=None, text=_without(str(error), path))
            return
        if text is None:
            yield Problem(path=path, line=None, text="is empty, and passed over", note=True)
            return
        for fault in faults(text, VARIABLES[name]):
            yield Problem(path=path, line=fault.line, text=fault.text)
        for line, braces in odd_braces(text):
            told = f"{shown(braces)} is no variable and no part, and goes out as it stands"
            yield Problem(path=path, line=line, text=told, note=True)
        if name in seen:
            yield Problem(path=path, line=None, text="is not used here: the repository has its own", note=True)
        seen.add(name)
        used = set(uses(text))
        built_in = (_BUILT_IN / path.name).read_text(encoding="utf-8")
        for variable in uses(built_in):
            if variable not in used:
                told = f"does not use {variable}: {VARIABLES[name][variable]}"
                yield Problem(path=path, line=None, text=told, note=True)

    def _real(self, path: Path, source: str) -> Path:
        """Where a file is, through links. A repository's must not lead to what was never meant to be sent: whoever
        made the link need not be who runs this. One's own may lead anywhere."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            raise UsageError(f"{one_line(str(path))} is a link that leads in a circle") from None
        if source == REPOSITORY and self._top is not None and real != path:
            # git itself may have named the top through a link.
            inside = self._top.resolve() / FOLDER
            if not real.is_relative_to(inside):
                raise UsageError(f"{one_line(str(path))} is a link that leads out of {FOLDER}: put a file in its place")
        return real

    def _read(self, path: Path, source: str) -> str | None:
        """The text of a file, None where there is none, or none in it."""
        place = one_line(str(path))
        if not os.path.lexists(path):
            return None
        real = self._real(path, source)
        try:
            handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise UsageError(f"{place} is no regular file")
                data = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise UsageError(f"{place} is a link that leads nowhere") from None
        except OSError as error:
            raise StoreError(f"{place} cannot be read: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise UsageError(f"{place} is larger than {MAX_BYTES >> 10} KiB")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{place} is not UTF-8") from None
        text = printable(text.replace("\r\n", "\n"))
        return text if text.strip() else None


def uses(text: str) -> list[str]:
    """The variables of a template, each once, in the order in which they come."""
    return list(dict.fromkeys(piece.name for piece in _pieces(text) if isinstance(piece, _Mark)))


def _told(path: Path, fault: Fault) -> str:
    return one_line(f"{_place(path, fault.line)}: {fault.text}")


def _place(path: Path, line: int | None) -> str:
    return str(path) if line is None else f"{path}:{line}"


def _without(message: str, path: Path) -> str:
    """An error's message without the path that stands before it anyway."""
    return message.removeprefix(one_line(str(path))).lstrip(" :")
