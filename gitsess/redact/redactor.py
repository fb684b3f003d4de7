"""The redactor: searches a text by every rule until nothing more is found, and replaces."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gitsess.model import JSON
from gitsess.redact import assignments, formats
from gitsess.redact.known import custom_rule, secret_variables
from gitsess.redact.spans import (
    Span,
    before_replacing,
    continued,
    fold,
    marker,
    markers,
    replace,
    settle,
    unfold,
    widen,
    wrapped,
)

_KEPT_TYPES = frozenset(("thinking", "redacted_thinking", "base64"))
_KEPT_KEYS = frozenset(("signature", "encrypted_content"))
# In {"name": "DB_PASSWORD", "value": "…"} and {"password": {"value": "…"}} the name stands elsewhere.
_NAMING_KEYS = ("name", "Name", "key", "Key")
_NAMED_KEYS = frozenset(("value", "Value", "default", "text", "_text", "$t", "S"))

# How many texts in which nothing was found are remembered, and how long they may be.
_REMEMBERED, _REMEMBERED_LENGTH = 512, 4096

# Replacing can uncover more, since a marker ends a word where none ended before. Texts of which each replacement
# uncovers another would take a round each: what is found late is widened to its word, line, and the whole text.
_SEPARATORS = (None, None, r"\s+", r"\s+", r"\n", r"\n", r"\Z")


class Redactor:
    """Finds and replaces secrets; one is made for a run, and counts what it replaced.

    ``patterns`` are the user's regular expressions, each alone (rule ``custom``) or as ``name=expression`` (rule
    ``name``: lower-case letters, digits and ``-``). One that is invalid, or would match ordinary text, or may take
    forever, raises :class:`~gitsess.errors.UsageError` that names it. ``environment`` is the process environment
    as the caller read it: only the values of secret-looking names are kept, and only where such a value is no
    word, path, number or URL without a credential; their rule is ``env:NAME``, in markers ``env-NAME``.

    ``counts`` says how many spans of each rule were replaced so far.
    """

    def __init__(self, *, patterns: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._custom = [custom_rule(source) for source in patterns]
        self._variables = list(secret_variables(environment or {}))
        self._clean: set[tuple[str, str | None]] = set()

    def spans(self, text: str) -> list[Span]:
        """What to replace in a text: spans that do not overlap, ascending."""
        return self._spans(text, None)

    def text(self, text: str) -> str:
        """The text with each span replaced by ``[redacted:<rule>]``; ``counts`` grows by what was replaced."""
        return self._redacted(text, None)

    def value(self, value: JSON) -> JSON:
        """A decoded JSON value with its strings redacted, keys as well as values; the given one is not changed.

        A string is also judged by the key it stands under. Structure and key order stay; a redacted key that would
        fall together with another one gets a ``'``. Thinking blocks, ``signature``, ``encrypted_content`` and
        base64 sources are kept as they are.
        """
        root: list[JSON] = [None]
        waiting: list[tuple[JSON, Any, Any, str | None]] = [(value, root, 0, None)]
        while waiting:
            node, into, slot, name = waiting.pop()
            if isinstance(node, str):
                into[slot] = self._redacted(node, name)
            elif isinstance(node, list):
                items: list[JSON] = [None] * len(node)
                into[slot] = items
                waiting.extend((child, items, number, name) for number, child in enumerate(node))
            elif isinstance(node, dict) and not _is_kept(node):
                made: dict[str, JSON] = {}
                into[slot] = made
                named = next((node[key] for key in _NAMING_KEYS if isinstance(node.get(key), str)), None)
                named = name if named is None else self._as_name(named)
                for key, child in node.items():
                    new = self._redacted(key, None)
                    while new in made or (new != key and new in node):
                        new += "'"
                    made[new] = child
                    if key not in _KEPT_KEYS:
                        waiting.append((child, made, new, named if key in _NAMED_KEYS else self._as_name(key)))
            else:
                into[slot] = node
        return root[0]

    def preview(self, text: str, *, context: int = 20) -> list[tuple[str, str, str]]:
        """What would be redacted, to be shown: (rule, what was found, where), in the text's order.

        What was found is at most four characters of the format's public prefix, and the length: ``ghp_…(40)``.
        Where is ``context`` characters of the same line to each side of the marker, everything redacted.
        """
        spans = self._spans(text, None)
        redacted = replace(text, spans)
        shown, shift = [], 0
        for span in spans:
            length = len(marker(span.rule))
            start, end = span.start + shift, span.start + shift + length
            shift += length - (span.end - span.start)
            line_start = redacted.rfind("\n", 0, start) + 1
            line_end = redacted.find("\n", end)
            line_end = len(redacted) if line_end < 0 else line_end
            where = redacted[max(line_start, start - context) : min(line_end, end + context)]
            secret = text[span.start : span.end]
            shown.append((span.rule, f"{formats.public_prefix(span.rule, secret)}…({len(secret)})", where))
        return shown

    def _as_name(self, key: str) -> str | None:
        """The key, if it says what its value is; a redacted one says nothing, before redaction as after it."""
        is_telling = assignments.kind_of(key) is not None and "[redacted:" not in key
        return key if is_telling and not self._search(key, None) else None

    def _redacted(self, text: str, name: str | None) -> str:
        # Keys and ids, a prompt that its message repeats: most of what a turn holds was looked at just before.
        if (text, name) in self._clean:
            return text
        spans = self._spans(text, name)
        if not spans:
            if len(text) <= _REMEMBERED_LENGTH:
                if len(self._clean) >= _REMEMBERED:
                    self._clean.clear()
                self._clean.add((text, name))
            return text
        self.counts.update(span.rule for span in spans)
        return replace(text, spans)

    def _spans(self, text: str, name: str | None) -> list[Span]:
        spans = more = self._search(text, name)
        rounds = 0
        while more:
            redacted = replace(text, spans)
            more = self._search(redacted, name)
            separator = _SEPARATORS[min(rounds, len(_SEPARATORS) - 1)]
            if separator is not None:
                more = widen(redacted, more, separator)
            spans = sorted((*spans, *before_replacing(more, spans)), key=lambda span: span.start)
            rounds += 1
        return spans

    def _search(self, text: str, name: str | None) -> list[Span]:
        """One search: of the text as it is, with its continued lines joined, and by the key it stands under."""
        found: list[Span] = []
        joints = continued(text)
        if joints:
            found += unfold(self._find(fold(text, joints)), joints)
        joints = wrapped(text)
        if joints:
            whole = unfold(formats.find(fold(text, joints)), joints)
            found += (span for span in whole if "\n" in text[span.start : span.end])
        found += self._find(text)
        kind = assignments.kind_of(name) if name else None
        judged = assignments.judge(kind, text, literal=True) if kind else None
        if judged:
            found.append(Span(start=judged[0], end=len(text), rule=judged[1]))
        return settle(found, markers(text)) if found else found

    def _find(self, text: str) -> Iterator[Span]:
        """The spans by every rule, those with the most telling names first; they may overlap."""
        for rule, pattern in self._custom:
            yield from (Span(start=match.start(), end=match.end(), rule=rule) for match in pattern.finditer(text))
        for name, value in self._variables:
            at = text.find(value)
            while at >= 0:
                yield Span(start=at, end=at + len(value), rule=f"env:{name}")
                at = text.find(value, at + len(value))
        yield from formats.find(text)
        yield from assignments.find(text)


def _is_kept(node: Mapping[str, JSON]) -> bool:
    kind = node.get("type")
    return isinstance(kind, str) and kind in _KEPT_TYPES
