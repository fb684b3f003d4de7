"""Session names and the refs they live at.

A session is ``<command>-<feature>`` and lives at ``refs/ai-sessions/<session>``, flat. The rule is strict
because a name becomes a ref, a folder of the mirror and a word on a command line, on file systems that
fold case and on those that reserve device names. docs/format.md §1 is the public form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from gitsess.errors import InvalidName
from gitsess.model import SessionName
from gitsess.text import printable

REF_PREFIX = "refs/ai-sessions/"
MAX_LENGTH = 90

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,89}", re.ASCII)
_DEVICES = frozenset(["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)])
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
SUFFIX_DIGITS = 6
_TOO_LONG = f"a session name has at most {MAX_LENGTH} characters"
_EXAMPLES = {"session name": "implement-auth-service", "command": "implement", "feature": "auth-service"}


def is_valid(name: str) -> bool:
    """Whether ``name`` is a session name as docs/format.md §1 has it."""
    return (
        _NAME.fullmatch(name) is not None
        and ".." not in name
        and not name.endswith((".", ".lock"))
        and name.partition(".")[0] not in _DEVICES
    )


def nearest(text: str) -> SessionName | None:
    """The valid name closest to what was typed, or None where nothing of it can be kept."""
    folded = unicodedata.normalize("NFKD", printable(text)).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", folded)
    name = re.sub(r"\.{2,}", ".", name)
    name = _trimmed(re.sub(r"-{2,}", "-", name))
    if name.partition(".")[0] in _DEVICES:
        name = _trimmed(f"x-{name}")
    return SessionName(name) if is_valid(name) else None


def _trimmed(name: str) -> str:
    name = name.lstrip("._-")[:MAX_LENGTH]
    while name.endswith((".", "-", "_", ".lock")):
        name = name.removesuffix(".lock").rstrip("._-")
    return name


def session_name(text: str) -> SessionName:
    """``text`` as a session name; raises InvalidName, which offers the nearest valid one."""
    if is_valid(text):
        return SessionName(text)
    raise InvalidName(_refusal("session name", text, nearest(text)))


def join(command: str, feature: str) -> SessionName:
    """The session of a command and a feature; raises InvalidName where the two do not make a name."""
    if not command:
        raise InvalidName("the command is empty: name one, such as 'implement'")
    if not feature:
        raise InvalidName("the feature is empty: name one, such as 'auth-service'")
    if "-" in command:
        raise InvalidName(f"a command is a single word: {shown(command)} has a '-'; try {_word(command)!r}")
    name = f"{command}-{feature}"
    if is_valid(name):
        return SessionName(name)
    if not is_valid(f"{command}-x"):
        raise InvalidName(_refusal("command", command, _word(command)))
    reason = _TOO_LONG if len(name) > MAX_LENGTH else _reason(feature)
    raise InvalidName(_refusal("feature", feature, _tail(command, feature), reason))


def _word(text: str) -> str:
    """The command nearest to what was typed, short enough to leave room for a feature."""
    near = nearest(f"{text[:30]}-x") or ""
    return near.partition("-")[0] if near.endswith("-x") else "run"


def _tail(command: str, feature: str) -> str | None:
    """The feature nearest to what was typed that makes a name with ``command``."""
    near = (nearest(f"{command}-{feature}") or "").partition("-")[2] or nearest(feature)
    return near if near is not None and is_valid(f"{command}-{near}") else None


def split(name: str) -> tuple[str, str]:
    """(command, feature) of a session: the command is the part up to the first ``-``."""
    command, _, feature = name.partition("-")
    return command, feature


def derived(command: str, branch: str, *, taken: Callable[[SessionName], bool] = lambda name: False) -> SessionName:
    """The session that a program derives for a command and a branch, by docs/format.md §1.

    ``taken``: whether the session of a name holds turns of another branch.
    """
    slug = re.sub(r"[^a-z0-9._-]+", "-", branch.translate(_LOWER))
    slug = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", slug))
    slug = _ends_cleaned(slug)
    plain = f"{command}-{slug}"
    if branch.isascii() and slug and len(plain) <= MAX_LENGTH and is_valid(plain) and not taken(SessionName(plain)):
        return SessionName(plain)
    import hashlib

    suffix = hashlib.sha256(branch.encode("utf-8", "surrogateescape")).hexdigest()[:SUFFIX_DIGITS]
    slug = _ends_cleaned(slug[: MAX_LENGTH - len(command) - len(suffix) - 2])
    return SessionName(f"{command}-{slug}-{suffix}" if slug else f"{command}-{suffix}")


def _ends_cleaned(slug: str) -> str:
    while True:
        cleaned = slug.strip("._-").removesuffix(".lock")
        if cleaned == slug:
            return slug
        slug = cleaned


def with_suffix(name: SessionName, suffix: str) -> SessionName:
    """``<name>-<suffix>``, the name cut where the whole would be too long, and its end cleaned again."""
    return SessionName(f"{_trimmed(name[: MAX_LENGTH - 1 - len(suffix)])}-{suffix}")


def ref_of(name: SessionName) -> str:
    return REF_PREFIX + name


def shown(text: str, limit: int = 40) -> str:
    """What a person typed, quoted for an error line: control characters escaped, cut to ``limit``."""
    plain = printable(text).replace("\n", " ").replace("\t", " ")
    return repr(plain if len(plain) <= limit else plain[: limit - 1] + "…")


def _refusal(what: str, text: str, offered: str | None, reason: str | None = None) -> str:
    if not text:
        return f"the {what} is empty"
    hint = f"try {offered!r}" if offered else f"one is {_EXAMPLES[what]!r}"
    return f"{shown(text)} is no valid {what}: {reason or _reason(text)}; {hint}"


def _reason(text: str) -> str:
    if len(text) > MAX_LENGTH:
        return _TOO_LONG
    if "/" in text:
        return "it may not hold '/'"
    if any(c.isupper() for c in text):
        return "it is lower case"
    if ".." in text or text.endswith("."):
        return "it may not hold '..' or end in '.'"
    if text.endswith(".lock"):
        return "it may not end in '.lock'"
    if text.partition(".")[0].lower() in _DEVICES:
        return "Windows reserves that name"
    return "use a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
