"""Secrets known beforehand: the values of environment variables, and patterns of the user's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gitsess.errors import UsageError
from gitsess.redact import assignments, formats
from gitsess.redact.lazy import lazy
from gitsess.redact.values import is_password, is_random, is_reference

# --- The environment ---------------------------------------------------------------------------------------

_SHORTEST_VALUE = 12
_NAME = lazy(
    r"(?:.*_)?"
    r"(?:[^_]*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|CREDENTIAL|PRIVATE)[^_]*|KEYS?|PASS|PWD|AUTH|PAT|CREDS)"
    r"(?:_.*)?",
    re.IGNORECASE,
)
_OTHER_NAME = lazy(r".*_(?:ID|NAME|USER|USERNAME|EMAIL|HOST|REGION|TYPE|VERSION|FINGERPRINT)", re.IGNORECASE)
_URL = lazy(r"[A-Za-z][\w+.-]*://")
_NUMBER = lazy(r"[\d\s.,:;_+-]*")
_EMAIL = lazy(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def secret_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, value) of the variables that hold a secret; a value also as it is written in JSON and in URLs.

    The name must look like one (KEY, TOKEN, SECRET, PASSWORD …), and the value has at least twelve characters and
    is no word, path, number, e-mail address or URL without a credential: it is searched for everywhere.
    """
    for name, value in sorted(environment.items()):
        value = value.strip()
        if _NAME().fullmatch(name) and not _OTHER_NAME().fullmatch(name) and _is_worth_finding(value):
            forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], _in_url(value)}
            yield from ((name, form) for form in sorted(forms))


def _in_url(value: str) -> str:
    from urllib.parse import quote

    return quote(value, safe="", errors="replace")


def _is_worth_finding(value: str) -> bool:
    if len(value) < _SHORTEST_VALUE or _NUMBER().fullmatch(value) or _EMAIL().fullmatch(value):
        return False
    if _URL().match(value):
        return any(True for finder in (formats.find, assignments.find) for _ in finder(value))
    if is_reference(value, literal=True):
        return False
    has_many_digits = sum(map(str.isdigit, value)) >= 10
    return has_many_digits or is_random(value, _SHORTEST_VALUE) or is_password(value, literal=True)


# --- The user's patterns -----------------------------------------------------------------------------------

_NAMED = lazy(r"([a-z][a-z0-9-]{0,31})=(.+)", re.DOTALL)
_ORDINARY_TEXT = (
    "the quick brown fox jumps over the lazy dog, and 12 or 345 others follow.\n"
    "def main(argv: list[str]) -> int:\n    return 0  # done\n/usr/local/bin/git --version\nAlice met Bob in Rome.\n"
)
_ENDLESS = 100


def custom_rule(source: str) -> tuple[str, re.Pattern[str]]:
    """(rule, pattern) of one ``ai-session.redact``: an expression, or ``name=expression``.

    :class:`UsageError` names one that is no expression, matches nothing or ordinary text, or may take forever.
    """
    named = _NAMED().fullmatch(source)
    rule, expression = (named[1], named[2]) if named else ("custom", source)
    where = f"ai-session.redact: the pattern {source!r}"
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{where} is not a regular expression ({error}): correct or remove it") from None
    if pattern.search(""):
        raise UsageError(f"{where} matches the empty text: make it match something only a secret has")
    if _may_explode(expression):
        raise UsageError(f"{where} repeats a repetition and may take forever: use one repetition, or limits")
    matches = [match[0] for match in pattern.finditer(_ORDINARY_TEXT)]
    if len(matches) >= 3 or any(len(match) >= 30 for match in matches):
        raise UsageError(f"{where} matches ordinary text: make it match something only a secret has")
    return rule, pattern


def _may_explode(expression: str) -> bool:
    """Whether an unlimited repetition holds another one and nothing literal between, as in ``(a+)+``."""
    parser: Any = getattr(re, "_parser", None)
    return parser is not None and _explodes(parser.parse(expression))


def _explodes(parsed: Any) -> bool:
    for code, argument in _items(parsed):
        if code == "BRANCH" and any(map(_explodes, argument[1])):
            return True
        if code in ("MAX_REPEAT", "MIN_REPEAT"):
            _, most, repeated = argument
            inside = list(_items(repeated))
            is_nested = any(inner in ("MAX_REPEAT", "MIN_REPEAT") and of[1] > _ENDLESS for inner, of in inside)
            if most > _ENDLESS and is_nested and not any(inner == "LITERAL" for inner, _ in inside):
                return True
            if _explodes(repeated):
                return True
    return False


def _items(parsed: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a parsed expression, those of its groups among them."""
    for code, argument in parsed:
        if str(code) == "SUBPATTERN":
            yield from _items(argument[-1])
        else:
            yield str(code), argument
