"""Parsing without click, for the verbs that must start at once.

It accepts a command line that is plainly right and declines any other, so that click alone decides what is
wrong with it and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gitsess.cli.verbs import Verb


def parse(verb: Verb, argv: Sequence[str]) -> dict[str, Any] | None:
    """The values by name, as click would give them, or None where click shall have a look."""
    options = {flag: opt for opt in verb.opts for flag in opt.flags}
    values: dict[str, Any] = {opt.name: (() if opt.many else None) if opt.metavar else False for opt in verb.opts}
    positional: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            positional.append(word)
            continue
        flag, equals, value = word.partition("=")
        opt = options.get(flag)
        if opt is None or opt.kind != "text" or (equals and not opt.metavar):
            return None
        if not opt.metavar:
            values[opt.name] = True
            continue
        given = value if equals else next(words, None)
        if given is None or (opt.choices and given not in opt.choices):
            return None
        values[opt.name] = (*values[opt.name], given) if opt.many else given
    if positional and not verb.args:
        return None
    for arg in verb.args:
        values[arg.name] = tuple(positional)
    return values
