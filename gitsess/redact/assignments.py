"""Values that stand under a secret-looking name: ``password = …``, ``"api_key": "…"``, ``--token …``.

The name decides what is expected, and the value must bear it out: see :mod:`gitsess.redact.values`. Between the
two stands whatever assigns in code, configuration, markup, command lines and prose.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gitsess.redact.formats import is_basic
from gitsess.redact.lazy import lazy
from gitsess.redact.spans import Span
from gitsess.redact.values import (
    SEGMENT,
    is_dotted,
    is_expression,
    is_password,
    is_random,
    is_reference,
    is_secret,
    words,
)

# --- Names -------------------------------------------------------------------------------------------------

_PASSWORD_WORDS = frozenset(
    words("password passwd passphrase passcode pwd pass passwort psw pw dbpass sshpass ftppass")
)
_SECRET_WORDS = frozenset(words("secret secrets token tokens apikey authkey credential credentials bearer pat"))
_KEY_OWNERS = frozenset(
    words(
        "api access secret private auth account master encryption encrypt crypto signing sign service client app "
        "application session storage shared deploy admin root hmac jwt aes cookie webhook server license consumer "
        "subscription write integration personal user ingest security stream function functions host"
    )
)
_GLUED = lazy(r"\w+(?:password|passwd|passphrase|secret|token|apikey|accesskey|secretkey|privatekey|authkey)")
# Words that mean something else unless they are a whole name's end: bypass_rate, pass it on, author.
_PLAIN_WORDS = frozenset(words("pass pwd pw auth pat"))
# A name is not a secret's where one of these words stands before the one that says so …
_NOT_AFTER = frozenset(
    words(
        "public publishable cache primary foreign partition routing idempotency dedup deduplication unique sort page "
        "next continuation pagination cursor sync change lock request update cancel cancellation bos eos pad unk sep "
        "cls mask special gpg pgp max min"
    )
)
# … or one of these behind it: password_hash, tokenUrl, API_KEY_HEADER.
_NOT_BEFORE = frozenset(
    words(
        "hash hashed fingerprint thumbprint digest checksum count limit ttl expiry expires expiration expire length "
        "len size min max name names path paths file files dir url uri urls endpoint type types field fields label "
        "hint header headers prefix pattern regex policy version arn ref selector index issuer audience placeholder "
        "format algorithm alg provider manager store backend mount location preview class color icon id ids kid "
        "enabled required exists validator validators error errors message title text description help email "
        "username region address owner position pos line column kind span symbol price supply contract usage budget"
    )
)


@functools.lru_cache(maxsize=4096)
def kind_of(name: str) -> str | None:
    """What a name says its value is: ``password``, ``pass`` (perhaps a password), ``secret``, or ``None`` of these."""
    found = [word.lower() for word in SEGMENT().findall(name)]
    at = max((number for number in range(len(found)) if _says_secret(found, number, name)), default=-1)
    if at < 0 or not _NOT_AFTER.isdisjoint(found[:at]) or not _NOT_BEFORE.isdisjoint(found[at + 1 :]):
        return None
    word, is_last = found[at], all(map(str.isdigit, found[at + 1 :]))
    if is_last and (word in _PASSWORD_WORDS or word.endswith(("password", "passwd", "passphrase"))):
        return "pass" if word in _PLAIN_WORDS else "password"
    return None if word in _PLAIN_WORDS and not is_last else "secret"


def _says_secret(found: Sequence[str], at: int, name: str) -> bool:
    word, is_last = found[at], at == len(found) - 1
    if word in _PASSWORD_WORDS or word in _SECRET_WORDS or _GLUED().fullmatch(word):
        return True
    if word == "key":
        return at > 0 and (found[at - 1] in _KEY_OWNERS or (is_last and name.isupper()))
    return is_last and word in ("auth", "authorization")


# --- What assigns ------------------------------------------------------------------------------------------

# Matched against the lower-cased text; it begins with the name's word, since nothing else in a text is as rare.
_ASSIGNMENT = lazy(
    r"""
(?P<name>
  (?:pass|pwd|secret|token|credential|key|auth|bearer|identified\ by(?=\ ['"])|p(?:at|w)(?![a-z]))[a-z0-9_.-]{0,40}+
)
(?:\\{0,4}["'`]|&quot;|&\#3[49];|\\u0022|\*\*|__)?
(?:\[\d{0,4}\]|\])?
(?:
  (?P<assign>
    [ \t]{0,40}(?:\r?\n[ \t]{0,80})?
    (?: :[ \t]{0,4}[&a-z][^=:\n"'`,;(){}]{0,40}=[ \t]{0,4}(?=[rbf]?["'`])   # password: str = "…"
      | [ \t]{1,4}[a-z\[\]*&]{1,20}[ \t]{0,4}=[ \t]{0,4}(?=["'`])           # var password string = "…"
      | [=!]==?|=>|:=|%3d|\?=|<-|\+=|:(?!//)|=
    )
    (?:\*\*)?(?:[ \t]{0,4}[|>][+-]?\d?(?=[ \t]{0,4}\r?\n))?                 # password: >-
    [ \t]{0,40}(?:\\?\r?\n[ \t]{0,80}){0,2}
  )
| (?P<tag>[^<>\n]{0,40}>\s{0,40}|</(?:key|name)>\s{0,40}<(?:string|value)>\s{0,8})
| (?P<pair>[ \t]{0,4}[,{]?\s{0,80}\\{0,4}["']?(?:type\s{0,8}=\s{0,8}string\s{1,40})?   # "name": "…", "value": "…"
    (?:value|default)\\{0,4}["']?\s{0,8}[=:]\s{0,8})
| (?P<call>[ \t]{0,4}[,(]\s{0,40}(?=\\{0,4}["'`]|&quot;|\\u0022))
| (?P<space>(?:[ \t]{1,4}(?:is|was|to|=|:))?[ \t]{1,20}(?=[^\s=:|])|[ \t]{0,20}\|[ \t]{0,20})
)
""",
    re.VERBOSE,
)
# The words that it begins with: finding these takes a tenth of the time that running it over a text does.
_NAME_WORDS = ("pass", "pwd", "secret", "token", "credential", "key", "auth", "bearer", "identified by")
_SHORT_NAME_WORDS = ("pat", "pw")
_SHORT_NAME = lazy(r"p(?:at|w)(?![a-z])")
_NAME_CHARACTERS = string.ascii_letters + string.digits + "_.$-"
_NAME_BEGINNINGS = ("api ", "access ", "secret ", "private ", "auth ", "client ")


def find(text: str) -> Iterator[Span]:
    """The spans of all values under secret-looking names, in order."""
    for match in _assignments(_lower(text)):
        start = _name_start(text, match.start())
        shape = match.lastgroup or ""
        name = text[start : match.end("name")]
        kind = "password" if name[:10].lower() == "identified" else kind_of(name)
        if kind is None or text.endswith("[redacted:", 0, start) or _is_qualified(text, start):
            continue
        # "pass it on", or an id that happens to end in "Pw4".
        is_loose = name.lower() in _PLAIN_WORDS or (kind == "pass" and not name.isupper())
        if shape == "space" and is_loose and not text.startswith("--", start):
            continue
        for value in _values(text, start, match, shape):
            found = judge(kind, text[value.start : value.end], literal=value.literal, alone=value.alone)
            if found is not None:
                skip, rule = found
                yield Span(start=value.start + skip, end=_whole_end(text, value), rule=rule)


def possible(text: str) -> bool:
    """Whether a name's word is in a text; of texts with null characters between, whether one is in any of them."""
    lower = _lower(text)
    return any(word in lower for word in _NAME_WORDS) or _SHORT_NAME().search(lower) is not None


def _assignments(lower: str) -> Iterator[re.Match[str]]:
    """What running the expression over a lower-cased text finds."""
    starts: list[int] = []
    for word in _NAME_WORDS:
        at = lower.find(word)
        while at >= 0:
            starts.append(at)
            at = lower.find(word, at + 1)
    if any(word in lower for word in _SHORT_NAME_WORDS):
        starts += (match.start() for match in _SHORT_NAME().finditer(lower))
    end = 0
    for at in sorted(starts):
        if at >= end and (match := _ASSIGNMENT().match(lower, at)) is not None:
            yield match
            end = match.end()


def _lower(text: str) -> str:
    """Lower case of the same length: the dotted capital I is the one letter that becomes two."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.replace("\u0130", "I").lower()


def _name_start(text: str, at: int) -> int:
    """Where the name begins of which a word begins at ``at``; "API key" counts as one."""
    while True:
        before = text[max(0, at - 48) : at]
        at -= len(before) - len(before.rstrip(_NAME_CHARACTERS))
        if not text[max(0, at - 8) : at].lower().endswith(_NAME_BEGINNINGS):
            return at
        at -= 1


def _is_qualified(text: str, at: int) -> bool:
    """Whether a name is part of something else: arn:aws:…:secret, AWS::IAM::AccessKey, https://x-access-token:…"""
    before = text[max(0, at - 5) : at]
    if before.endswith("://"):
        return True
    return before.endswith(":") and (before[-2:-1].isalnum() or before.endswith("::")) and before != "$env:"


# --- Values ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    """``text[start:end]`` may be an assignment's value, or the first part of a long one.

    ``literal``: it cannot be code. ``alone``: only a space or a line end stands between it and the name.
    """

    start: int
    end: int
    literal: bool
    alone: bool = False


_LONGEST = 320
_LONGEST_LITERAL = 4096
_OPENING = lazy(r"(?:[rbfuLRBFU@$]{1,2}(?=[\"']))?(?:(\\{0,4})([\"'`])|(&quot;|&#3[49];|\\u0022))")
_LITERAL = {mark: lazy(rf"[^{mark}\\\n]*+(?:\\.[^{mark}\\\n]*+)*+(?={mark})") for mark in "\"'`"}
_RUN = lazy(r"(?:[^\s\"'`<>,;&|(){}\[\]\\]|&(?![A-Za-z_][\w.-]*=))+")
_WORD = lazy(r"[^\s\"'`<>\\]+")
_LINE_REST = lazy(r"[^\s\"'`<>\\]++(?=[ \t]*(?:\\?\r?\n|\Z)|[ \t]+#|\\n|\\r)")
_LINE_START = lazy(
    r"[ \t]*(?:\d{1,6}[\t→|:][ \t]*)?[-+*>#]{0,2}[ \t]*(?:(?:export|set|env|ENV|ARG|-e|declare -x)[ \t]+|\$env:)?[\"']?"
)
# A call or a fallback before a literal: SecretStr("…"), os.environ.get("X", "…"), process.env.X || "…".
_BEFORE_LITERAL = lazy(
    r"[\w.:$!]{0,60}(?:\[\])?[({]\s{0,4}(?:[\w.:]{1,40}\(\s{0,4})?"
    r"(?:([\"'])[\w./-]{1,60}\1\s{0,4},\s{0,4}(?:default\s{0,2}=\s{0,2})?)?(?=[\"'`])"
    r"|[\w.:$!?()\[\]\"']{1,80}\s{1,4}(?:\|\||\?\?|or)\s{1,4}(?=[\"'`])"
)
# Base64 that goes on on the next lines, to a shorter last one that is no word.
_MORE_LINES = lazy(
    r"(?:\r?\n[ \t]*[A-Za-z0-9+/_-]{20,}+={0,2}(?=[\s\"']|\Z))+"
    r"(?:\r?\n[ \t]*(?![A-Z]?[a-z]+\s)[A-Za-z0-9+/_-]{1,19}={0,2}(?=[\s\"']|\Z))?"
)


def _values(text: str, name: int, match: re.Match[str], shape: str) -> Iterator[_Value]:
    """Where the values of an assignment may be; most have one."""
    at = match.end()
    opening = _OPENING().match(text, at)
    if opening:
        # In "PWD=" + path the quote after the sign ends a string that began before the name.
        mark = opening[2]
        if not (mark and text[name - 1 : name] == mark and mark not in text[name:at]):
            yield _quoted(text, opening)
        return
    is_option = text.startswith("--", name)
    if shape == "space":
        run = (_WORD if is_option else _RUN)().match(text, at, at + _LONGEST)
        if run and not text.startswith(("(", "[", "."), run.end()):
            yield _Value(at, run.end() if is_option else _trimmed(text, run), literal=is_option, alone=not is_option)
    elif shape == "tag":
        run = _RUN().match(text, at, at + _LONGEST)
        if run and text.startswith("<", run.end()):
            yield _Value(at, run.end(), literal=True)
    elif shape in ("assign", "pair"):
        is_line = is_option or shape == "pair" or _begins_line(text, name)
        yield from _assigned(text, name, match, at, is_line=is_line)


def _assigned(text: str, name: int, match: re.Match[str], at: int, *, is_line: bool) -> Iterator[_Value]:
    """The values after a sign, without quotes."""
    sign = match["assign"] or ""
    if "\n" in sign and not _is_continued(text, name, sign):
        # A label with its value on the next line, as people write it.
        rest = _LINE_REST().match(text, at, at + _LONGEST) if ":" in sign else None
        if rest and is_line:
            yield _Value(at, rest.end(), literal=False, alone=True)
        return
    if is_line:
        is_option = text.startswith("--", name)
        rest = (_WORD if is_option else _LINE_REST)().match(text, at, at + _LONGEST)
        if rest and not is_expression(rest[0]) and rest[0][-1] not in ",;":
            yield _Value(at, rest.end(), literal=is_option or not is_dotted(rest[0]))
            return
    run = _RUN().match(text, at, at + _LONGEST)
    if run and sign.lower() == "%3d":
        yield _Value(at, at + len(run[0].split("%26")[0]), literal=False)
        return
    if run and not text.startswith(("(", "[", "."), run.end()):
        yield _Value(at, _trimmed(text, run), literal=False)
    before = _BEFORE_LITERAL().match(text, at)
    opening = _OPENING().match(text, before.end()) if before else None
    if opening:
        yield _quoted(text, opening)


def _trimmed(text: str, run: re.Match[str]) -> int:
    """The end of a run without the full stop of a sentence."""
    is_last = text[run.end() : run.end() + 1].strip() == ""
    return run.start() + len(run[0].rstrip(".:!?")) if is_last else run.end()


def _begins_line(text: str, name: int) -> bool:
    return _LINE_START().fullmatch(text, _line_start(text, name), name) is not None


def _is_continued(text: str, name: int, sign: str) -> bool:
    """Whether what follows a sign and a line end is the value: after a backslash, or indented below the name."""
    if sign.rstrip(" \t\r\n").endswith("\\"):
        return True
    line = text[_line_start(text, name) : name]
    return ":" in sign and len(sign) - len(sign.rstrip(" \t")) > len(line) - len(line.lstrip(" \t"))


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", max(0, at - 200), at) + 1


def _quoted(text: str, opening: re.Match[str]) -> _Value:
    start, limit = opening.end(), opening.end() + _LONGEST_LITERAL
    escapes, mark, entity = opening.groups()
    if entity or escapes:
        end = text.find(entity or escapes + mark, start, limit)
    else:
        if text.startswith(mark * 2, start):
            start += 2
        content = _LITERAL[mark]().match(text, start, limit)
        end = content.end() if content else -1
    if end < 0:
        # Cut off: what is left of the string is read as if it had no quotes.
        run = _RUN().match(text, start, start + _LONGEST)
        end = run.end() if run else start
    return _Value(start, end, literal=True)


def _whole_end(text: str, value: _Value) -> int:
    """The end of a value that goes on, longer than was judged or on the next lines."""
    end = value.end
    if end - value.start >= _LONGEST:
        more = _RUN().match(text, end)
        end = more.end() if more else end
    lines = _MORE_LINES().match(text, end) if text.startswith(("\n", "\r\n"), end) else None
    return lines.end() if lines else end


# --- Both together -----------------------------------------------------------------------------------------

# What stands before the secret in some values.
_SCHEME = lazy(r"(?i)(?:bearer|(basic)|token|api-?key|key|bot|ssws|oauth|jwt)[ \t]+(?=\S)|django-insecure-|base64:")


def judge(kind: str, value: str, *, literal: bool, alone: bool = False) -> tuple[int, str] | None:
    """Whether a value under a name of that kind is a secret: (characters at its beginning that are not, rule)."""
    scheme = _SCHEME().match(value)
    skip = scheme.end() if scheme else 0
    value = value[skip:].rstrip() if scheme else value
    # A long one of few characters repeats something, such as another assignment.
    if len(value) < 8 or (len(value) > 64 and len(set(value)) < 10) or (alone and "=" in value.rstrip("=")):
        return None
    if re.search(r"\s", value) or is_reference(value, literal=literal):
        return None
    if kind == "secret":
        if is_basic(value) or (scheme and scheme[1]):
            return (skip, "basic-auth") if is_basic(value) else None
        return (skip, "secret") if is_secret(value, 20 if alone else 16) else None
    if (alone or kind == "pass") and not (
        value[0].isalnum() and (any(map(str.isdigit, value)) or is_random(value, 14))
    ):
        return None
    return (skip, "password") if is_password(value, literal=literal) else None
