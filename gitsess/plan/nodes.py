"""What a YAML text says, as nodes: lists and mappings of texts that are not taken for numbers or dates yet.

Only what says the same to every reader is taken: no aliases, no tags, no key twice. What is wrong is told by line.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from gitsess import strictjson
from gitsess.errors import FormatError
from gitsess.model import JSON
from gitsess.names import shown
from gitsess.plan import refuse
from gitsess.text import clip, one_line, printable

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
PROBLEM_COLUMNS = 240
"""Columns of the line that tells a problem."""

_KEY_LIMIT = 100
_NOTHING = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FRACTION = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,30}", re.ASCII)


class Scalar(NamedTuple):
    """``plain``: without quotes, so that it may be a number or nothing at all."""

    text: str
    plain: bool


Node = Any
"""Scalar, a list of nodes, or a dict of them by text."""


class Loaded(NamedTuple):
    """``problems``: what is wrong, a line each, and hides nothing else."""

    node: Node
    problems: list[str]


def load(text: str) -> Loaded:
    """What a YAML or JSON text says; raises PlanError for what hides all else."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        refuse("a plan has at most 1 MiB")
    text = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    if text.lstrip().startswith("{"):
        # JSON is YAML but for a few escapes.
        try:
            return Loaded(_of_json(strictjson.loads(text, what="the plan", exact=True), 0), [])
        except FormatError:
            pass
    return _Composer().load(text)


def _of_json(value: JSON, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise FormatError("nested too deeply")
    if isinstance(value, dict):
        return {one_line(key): _of_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_json(item, depth + 1) for item in value]
    if isinstance(value, str):
        return Scalar(printable(value), False)
    return Scalar("" if value is None else str(value).lower(), True)


class _Composer:
    """Makes nodes of YAML's events, one after the other: what is deep or refers to itself never comes to be."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._fatal: list[str] = []
        self._open: list[tuple[Node, str | None]] = []
        """The lists and mappings that are not at their end, each with the key to which it goes in the one around."""
        self._key: str | None = None
        self._root: Node = None

    def load(self, text: str) -> Loaded:
        import yaml

        documents = 0
        try:
            # The same events come from libyaml, where it is there, in a tenth of the time.
            for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        refuse(f"line {_line(event)}: a second document begins; a plan is one")
                elif isinstance(event, yaml.NodeEvent):
                    self._node(event, yaml)
                elif isinstance(event, yaml.CollectionEndEvent):
                    node, self._key = self._open.pop()
                    self._put(node, event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
            hint = " (put a text with ': ' in it in quotes)" if "mapping values" in (error.problem or "") else ""
            refuse(*self._fatal, f"not YAML: {where}{one_line(error.problem or error.context or '')}{hint}")
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # A character out of range raises what chr() raises.
            refuse(*self._fatal, clip(f"not YAML: {one_line(str(error))}", PROBLEM_COLUMNS))
        if self._fatal:
            refuse(*self._fatal)
        return Loaded(self._root, self.problems)

    def _node(self, event: Any, yaml: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._fatal.append(f"line {_line(event)}: an alias (*{shown(event.anchor)[1:-1]}); say it again instead")
            self._put(Scalar("", True), event)
            return
        if event.anchor is not None:
            self._fatal.append(f"line {_line(event)}: an anchor (&{shown(event.anchor)[1:-1]}); leave it out")
        if event.tag is not None and event.tag != "!":
            self._fatal.append(f"line {_line(event)}: a tag ({shown(event.tag)[1:-1]}); leave it out")
        if isinstance(event, yaml.ScalarEvent):
            self._put(Scalar(printable(event.value), not event.style), event)
            return
        if self._open and isinstance(self._open[-1][0], dict) and self._key is None:
            refuse(*self._fatal, f"line {_line(event)}: a list or mapping stands where a key should")
        if len(self._open) == MAX_DEPTH:
            refuse(*self._fatal, f"line {_line(event)}: nested too deeply")
        self._open.append(([] if isinstance(event, yaml.SequenceStartEvent) else {}, self._key))
        self._key = None

    def _put(self, node: Node, event: Any) -> None:
        if not self._open:
            self._root = node
            return
        around = self._open[-1][0]
        if isinstance(around, list):
            around.append(node)
        elif self._key is None:
            self._key = one_line(node.text)
            if len(self._key) > _KEY_LIMIT:
                refuse(*self._fatal, f"line {_line(event)}: a key has at most {_KEY_LIMIT} characters")
        else:
            if self._key in around:
                self.problems.append(f"line {_line(event)}: the key {shown(self._key)} is there twice")
            around.setdefault(self._key, node)
            self._key = None


def _line(event: Any) -> int:
    number: int = event.start_mark.line
    return number + 1


def is_nothing(node: Node) -> bool:
    """Whether a node is YAML's null: empty, or ``~``, without quotes."""
    return isinstance(node, Scalar) and node.plain and node.text in _NOTHING


def json_of(node: Node) -> JSON:
    """A node that is kept as it is, with the numbers that it holds."""
    if isinstance(node, dict):
        return {key: json_of(item) for key, item in node.items()}
    if isinstance(node, list):
        return [json_of(item) for item in node]
    return resolved(node.text) if node.plain else node.text


def resolved(text: str) -> JSON:
    """What a text without quotes is: nothing, a number, or itself. A number that would be written in another way,
    such as 1.10, stays as it was written."""
    if text in _NOTHING:
        return None
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    if _FRACTION.fullmatch(text):
        number = float(text)
        if math.isfinite(number) and repr(number) == text:
            return number
    return text
