"""``review.json``: what a review found, each finding with its file, line and severity.

    {"v": 1, "findings": [{"file": "src/auth.py", "line": 12, "severity": "high", "kind": "security",
                           "text": "The token is compared with ==."}], "summary": "…"}

``line`` is null where a finding is of a whole file, and ``file`` is empty where it is of none. What a model writes is
taken with the words that it has for a severity, and written with ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gitsess.errors import Faulty, NewerFormat, UsageError
from gitsess.model import JSON
from gitsess.names import shown
from gitsess.text import clip, one_line, printable
from gitsess.values import Value

FILE = "review.json"
KEY = "findings"
VERSION = 1

SEVERITIES = ("critical", "high", "medium", "low", "info")
"""The gravest first."""
KINDS = ("security", "performance", "architecture", "correctness", "tests", "style")
"""The usual ones; another word is kept as it is."""

_ALSO = {
    "critical": "blocker blocking fatal severe p0",
    "high": "major error important serious p1",
    "medium": "moderate normal warning warn p2",
    "low": "minor small p3",
    "info": "informational information note notice nit nitpick hint suggestion trivial style p4",
}
_SEVERITY = {word: name for name, words in _ALSO.items() for word in (name, *words.split())}
_PLACE = re.compile(r"(.+?):([0-9]{1,9})(?:[-:].*)?")
_LINE = re.compile(r"[Ll]?(?:ines? )?([0-9]{1,9})(?:\s*[-–,:].*)?")
_COLUMNS = 240


class ReviewError(Faulty):
    """A review that does not fit."""


class Finding(Value):
    """``line`` from 1, None for the whole file; ``severity`` is one of SEVERITIES; ``kind`` one word or a few."""

    file: str
    line: int | None
    severity: str
    kind: str
    text: str


class Review(Value):
    findings: tuple[Finding, ...]
    summary: str = ""


def parse(value: JSON) -> Review:
    """A review of decoded JSON: the object of the file, or a list of findings.

    Raises ReviewError, whose ``problems`` names every fault; NewerFormat for a newer version's file.
    """
    problems: list[str] = []
    if isinstance(value, list):
        value = {KEY: value}
    if not isinstance(value, dict) or not isinstance(value.get(KEY), list):
        raise ReviewError("the review does not fit", [f"it is no object with a list of {KEY!r}"])
    check_version(value, FILE)
    findings = [_finding(item, f"finding {number}", problems) for number, item in enumerate(value[KEY], 1)]
    summary = value.get("summary")
    if summary is not None and not isinstance(summary, str):
        problems.append("'summary' is no text")
    if problems:
        raise ReviewError("the review does not fit", [clip(one_line(problem), _COLUMNS) for problem in problems])
    return Review(
        findings=tuple(one for one in findings if one is not None), summary=printable(str(summary or "")).strip()
    )


def check_version(value: dict[str, Any], what: str) -> None:
    """Raises NewerFormat where an object says that it is of a version that is yet to come."""
    version = value.get("v")
    if isinstance(version, int) and version > VERSION:
        raise NewerFormat(f"{what} was written by a newer gitsess: upgrade to read it")


def _finding(item: JSON, where: str, problems: list[str]) -> Finding | None:
    if not isinstance(item, dict):
        problems.append(f"{where}: is no object")
        return None
    before = len(problems)
    text = item.get("text", item.get("message", item.get("description")))
    if not isinstance(text, str) or not one_line(text):
        problems.append(f"{where}: 'text' is missing" if text is None else f"{where}: 'text' is no text, or empty")
    file, line = _place(item, where, problems)
    word = item.get("severity")
    severity = severity_of(word) if isinstance(word, str) else None
    if severity is None:
        known = f"one of {', '.join(SEVERITIES)}"
        said = "is missing" if word is None else f"is {shown(str(word))}"
        problems.append(f"{where}: 'severity' {said}: it is {known}")
    kind = item.get("kind")
    if kind is not None and not isinstance(kind, str):
        problems.append(f"{where}: 'kind' is no text")
    if len(problems) > before:
        return None
    return Finding(
        file=file,
        line=line,
        severity=severity or "",
        kind=clip(one_line(str(kind or "")).lower(), 40) or "other",
        text=one_line(str(text)),
    )


def _place(item: dict[str, Any], where: str, problems: list[str]) -> tuple[str, int | None]:
    """The file and the line, also where both are in one or the line is a range: its first one counts."""
    file, line = item.get("file"), item.get("line")
    if file is not None and not isinstance(file, str):
        problems.append(f"{where}: 'file' is no text")
        file = ""
    file = one_line(file or "")
    number: int | None = None
    if isinstance(line, int) and not isinstance(line, bool):
        number = line
    elif isinstance(line, str) and line.strip():
        found = _LINE.fullmatch(line.strip())
        if found is None:
            problems.append(f"{where}: 'line' is {shown(line)}: it is a number, or null")
        else:
            number = int(found[1])
    elif line is not None and line != "":
        problems.append(f"{where}: 'line' is no whole number, and not null")
    if line is None:
        both = _PLACE.fullmatch(file)
        if both is not None:
            file, number = both[1], int(both[2])
    return file.removeprefix("./"), number if number is not None and 0 < number < 10**9 else None


def severity_of(word: str) -> str | None:
    """The severity that a word means, in any case and by a common synonym; None for any other word."""
    return _SEVERITY.get(one_line(word).lower())


def to_json(review: Review) -> dict[str, JSON]:
    """The object of the file."""
    return {
        "v": VERSION,
        KEY: [
            {"file": one.file, "line": one.line, "severity": one.severity, "kind": one.kind, "text": one.text}
            for one in review.findings
        ],
        "summary": review.summary,
    }


def lines(review: Review) -> Iterator[str]:
    """``file:line: severity: text`` for every finding, by file and line, the gravest first."""
    for one in sorted(review.findings, key=lambda one: (one.file, one.line or 0, SEVERITIES.index(one.severity))):
        place = one.file if one.line is None or not one.file else f"{one.file}:{one.line}"
        yield f"{place}: {one.severity}: {one.text}" if place else f"{one.severity}: {one.text}"


def at_least(review: Review, severity: str) -> list[Finding]:
    """The findings that are as grave as ``severity``, or graver; raises UsageError for a word that is none."""
    least = severity_of(severity)
    if least is None:
        raise UsageError(f"{shown(severity)} is no severity: one of {', '.join(SEVERITIES)}")
    counted = SEVERITIES[: SEVERITIES.index(least) + 1]
    return [one for one in review.findings if one.severity in counted]
