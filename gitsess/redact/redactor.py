"""The redactor: searches a text by every rule until nothing more is found, and replaces."""

from __future__ import annotations

import collections
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from gitsess.model import JSON
from gitsess.redact import assignments, formats
from gitsess.redact.known import custom_rule, secret_variables
from gitsess.redact.lazy import lazy
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
_PLAIN_TYPES = frozenset((int, float, bool, type(None)))
_SURROGATE = lazy("[\ud800-\udfff]")
# In {"name": "DB_PASSWORD", "value": "…"} and {"password": {"value": "…"}} the name stands elsewhere.
_NAMING_KEYS = ("name", "Name", "key", "Key")
_NAMED_KEYS = frozenset(("value", "Value", "default", "text", "_text", "$t", "S"))

# How many texts in which nothing was found are remembered, how many characters they have together, and one may have.
_REMEMBERED, _REMEMBERED_SIZE, _REMEMBERED_LENGTH = 4096, 1 << 22, 1 << 16
_REMEMBERED_KEYS = 4096
# Texts up to this length are looked at together: to begin anew for each takes longer than to look at it.
_SHORT = 256

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
        # Texts in which nothing is found; with the name that they stand under, where that was judged.
        self._clean: set[str | tuple[str, str]] = set()
        self._clean_length = 0
        # Keys in which nothing is found, and whether they say that their value is a secret.
        self._quiet: dict[str, bool] = {}

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

    def leaves(self, values: Sequence[JSON]) -> bool:
        """Whether it is plain that ``value`` leaves these as they are, and that all text in them has a UTF-8 form.

        Most of what agents keep is so, and this takes a fraction of the time that looking at each string does. Where it
        is not plain there need be nothing to redact.
        """
        leaves = _Leaves(self._quiet, self._clean)
        if not all(map(leaves.gather, values)):
            return False
        short = "\0".join(text for text in leaves.texts if len(text) <= _SHORT)
        long = [text for text in leaves.texts if len(text) > _SHORT]
        if not all(map(_has_utf8, (short, *long, *leaves.kept))):
            return False
        suspects = long if not self._may_hold(short) else leaves.texts
        if any(self._search(text, None) for text in suspects):
            return False
        for text in leaves.texts:
            self._remember(text)
        if len(self._quiet) > _REMEMBERED_KEYS:
            self._quiet.clear()
        self._quiet.update((key, telling) for key, telling in leaves.keys.items() if len(key) <= _SHORT)
        return True

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
        known = text if name is None else (text, name)
        if known in self._clean:
            return text
        spans = self._spans(text, name)
        if not spans:
            self._remember(known)
            return text
        self.counts.update(span.rule for span in spans)
        return replace(text, spans)

    def _remember(self, known: str | tuple[str, str]) -> None:
        length = len(known if isinstance(known, str) else known[0])
        if length <= _REMEMBERED_LENGTH:
            self._clean_length += length
            if len(self._clean) >= _REMEMBERED or self._clean_length > _REMEMBERED_SIZE:
                self._clean.clear()
                self._clean_length = length
            self._clean.add(known)

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

    def _may_hold(self, text: str) -> bool:
        """Whether something may be found in one of the texts that stand in ``text`` with null characters between."""
        return (
            bool(self._custom)
            or any(value in text for _, value in self._variables)
            or formats.possible(text)
            or assignments.possible(text)
            or bool(continued(text) or wrapped(text))
        )

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


class _Leaves:
    """The strings of values, as far as they are to be looked at: ``texts`` and ``keys`` that are new, and what is
    ``kept`` without a look."""

    def __init__(self, quiet: Mapping[str, bool], clean: Container[object]) -> None:
        self._quiet, self._clean = quiet, clean
        self.texts: dict[str, None] = {}
        self.keys: dict[str, bool] = {}
        self.kept: list[str] = []

    def gather(self, value: JSON) -> bool:
        """Adds those of ``value``; False where the name that one stands under matters, or something is unusual."""
        quiet, clean, texts = self._quiet, self._clean, self.texts
        waiting: list[Any] = [value]
        while waiting:
            node = waiting.pop()
            kind = type(node)
            if kind is str:
                if node not in clean:
                    texts[node] = None
            elif kind is list:
                waiting += node
            elif kind is dict:
                is_kept = _is_kept(node)
                if not is_kept and not _NAMED_KEYS.isdisjoint(node) and _is_named(node):
                    return False
                for key, child in node.items():
                    kind = type(child)
                    telling = quiet.get(key)
                    if telling is None:
                        telling = self.keys[key] = assignments.kind_of(key) is not None
                        texts[key] = None
                    if kind in _PLAIN_TYPES:
                        continue
                    if is_kept or key in _KEPT_KEYS:
                        if kind is not str:
                            return False
                        self.kept.append(child)
                    elif telling:
                        return False
                    elif kind is not str:
                        waiting.append(child)
                    elif child not in clean:
                        texts[child] = None
            elif kind not in _PLAIN_TYPES:
                return False
        return True


def _is_named(node: Mapping[str, JSON]) -> bool:
    return any(isinstance(name := node.get(key), str) and assignments.kind_of(name) for key in _NAMING_KEYS)


def _has_utf8(text: str) -> bool:
    return text.isascii() or _SURROGATE().search(text) is None


def _is_kept(node: Mapping[str, JSON]) -> bool:
    kind = node.get("type")
    return isinstance(kind, str) and kind in _KEPT_TYPES
