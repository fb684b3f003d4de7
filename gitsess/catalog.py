"""What is known of the models besides their prices: names, limits, and the rules of the prompt cache.

The tables are facts of a day, and models appear faster than releases. Every lookup therefore answers for
a model it has never heard of, and errs on the side that costs a missed discount, never a refused request.

Sources: platform.claude.com/docs, "Models overview" (context window, maximum output) and "Prompt caching"
(minimum length, lifetimes, breakpoints); context windows of other providers from genai-prices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gitsess.errors import UsageError

DEFAULT_MODEL = "claude-sonnet-5-5"
"""The model asked where none is named."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "opus": "claude-opus-5-5",
        "sonnet": "claude-sonnet-5-5",
        "haiku": "claude-haiku-5-5",
    }
)
"""Short names a person may type, and the model id each stands for."""

CACHE_LIFETIME_5M_S = 300
"""Seconds a cache entry lives by default; every read starts them anew (docs: "Prompt caching")."""
CACHE_LIFETIME_1H_S = 3600
"""Seconds a cache entry lives when written with ``"ttl": "1h"``, at a higher write price."""
MAX_BREAKPOINTS = 4
"""``cache_control`` marks allowed in one request; a fifth is an error 400."""
LOOKBACK_BLOCKS = 20
"""Content blocks before a breakpoint that are searched for an earlier entry; beyond them a mark misses."""

_OLDEST = (0, 0)

# (version, value) of one family, the newest first: a version takes the first row that it reaches. In the
# cache's table a first row names the newest version that was documented.
_Rows = tuple[tuple[tuple[int, int], int], ...]

_CACHE_MINIMUM: Mapping[str, _Rows] = {
    "opus": (
        ((5, 5), 512),
        ((5, 0), 512),
        ((4, 8), 1024),
        ((4, 7), 2048),
        ((4, 5), 4096),
        (_OLDEST, 1024),
    ),
    "sonnet": (((5, 5), 512), (_OLDEST, 1024)),
    "haiku": (((5, 5), 512), ((4, 5), 4096), (_OLDEST, 2048)),
    "fable": (((5, 1), 512), (_OLDEST, 512)),
    "mythos": (((5, 1), 512), (_OLDEST, 512)),
}
# Guessing high loses a discount; guessing low promises one that never comes. So: the largest minimum that
# was ever documented.
_CACHE_MINIMUM_UNKNOWN = 4096

_CONTEXT_WINDOW: Mapping[str, _Rows] = {
    "opus": (((4, 6), 1_000_000), (_OLDEST, 200_000)),
    "sonnet": (((4, 6), 1_000_000), (_OLDEST, 200_000)),
    "haiku": (((5, 0), 1_000_000), (_OLDEST, 200_000)),
    "fable": ((_OLDEST, 1_000_000),),
    "mythos": ((_OLDEST, 1_000_000),),
}
_CONTEXT_WINDOW_UNKNOWN = 200_000
# Longest prefix wins.
_CONTEXT_WINDOW_OTHERS: Mapping[str, int] = {
    "gpt-4": 8_192,
    "gpt-4-turbo": 128_000,
    "gpt-4.1": 1_000_000,
    "gpt-4.5": 128_000,
    "gpt-4o": 128_000,
    "gpt-5": 400_000,
    "gpt-5.3": 128_000,
    "gpt-5.3-codex": 400_000,
    "gpt-5.4": 1_050_000,
    "gpt-5.4-mini": 400_000,
    "gpt-5.4-nano": 400_000,
    "gpt-5.5": 1_000_000,
    "gpt-5.6": 1_050_000,
    "gpt-6": 1_050_000,
    "gemini-2": 1_000_000,
    "gemini-3": 1_000_000,
    "gemini-4": 1_000_000,
}

_MAX_OUTPUT: Mapping[str, _Rows] = {
    "opus": (((4, 6), 128_000), ((4, 5), 64_000), ((4, 0), 32_000), (_OLDEST, 4_096)),
    "sonnet": (((4, 6), 128_000), ((3, 7), 64_000), ((3, 5), 8_192), (_OLDEST, 4_096)),
    "haiku": (((5, 0), 128_000), ((4, 5), 64_000), ((3, 5), 8_192), (_OLDEST, 4_096)),
    "fable": ((_OLDEST, 128_000),),
    "mythos": ((_OLDEST, 128_000),),
}
_MAX_OUTPUT_UNKNOWN = 8_192

# Those that only ``run`` needs are compiled when it does.
# ``openrouter/anthropic/…``, ``vertex_ai/…``, ``us.anthropic.…``, ``anthropic.…`` before a Claude model.
_CLAUDE_PREFIX = r"(?i)(?:[a-z0-9_.-]+/)*(?:(?:[a-z]+\.)?anthropic\.)?(?=claude-)"
_SHORT_PREFIX = re.compile(r"anthropic/|(?:[a-z]+\.)?anthropic\.", re.IGNORECASE)
# ``-20250929``, ``@20250929``, ``-v1:0``, ``-latest``, and both a date and a version as Bedrock writes them.
# Claude Code's ``[1m]`` behind them stays: the long context is another thing to have bought.
_CLAUDE_SUFFIX = re.compile(r"(?:[-@]\d{8}|-latest|@latest|@default)?(?:-v\d+(?::\d+)?)?(?=(?:\[1m\])?$)")
_FAMILIES = "opus|sonnet|haiku|fable|mythos"
_FAMILY_FIRST = rf"(?i)claude-({_FAMILIES})-(\d{{1,2}})(?:[-.](\d{{1,2}}))?(?!\d)"
_VERSION_FIRST = rf"(?i)claude-(\d{{1,2}})(?:[-.](\d{{1,2}}))?-({_FAMILIES})(?![a-z])"


_NEAR = 0.7
"""How like an alias a word is that is taken for a slip of it, from 0 to 1: ``opsu`` is, ``codestral`` is not."""


def resolve_model(name: str, others: Sequence[str] = ()) -> str:
    """The model id that ``name`` stands for: an alias in any case, or an id, which is returned as given.

    Whether a provider knows the id is for the provider to say. Raises UsageError where ``name`` is empty
    or holds whitespace, control or other invisible characters, and where it is nearly an alias, or one of ``others``,
    words that could have been given as well: letters alone, as no id of a provider's has.
    """
    hint = f"use {', '.join(ALIASES)}, or a full id such as {DEFAULT_MODEL}"
    if not name:
        raise UsageError(f"the model's name is empty; {hint}")
    if any(character.isspace() or not character.isprintable() for character in name):
        raise UsageError(f"{name[:80]!a} is not a model's name: it holds spaces or control characters; {hint}")
    found = ALIASES.get(name.lower())
    if found is None and name.isalpha():
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), [*ALIASES, *others], n=1, cutoff=_NEAR)
        if near:
            raise UsageError(f"there is no model {name[:80]!a}; did you mean {near[0]}?")
    return found or name


def short_model(model: str) -> str:
    """``model`` as tables show it.

    ``claude-sonnet-4-5-20250929`` is ``sonnet-4-5``; ``us.anthropic.claude-opus-4-5-20251101-v1:0`` is
    ``opus-4-5``. Any other model keeps its id, but for a prefix ``anthropic/`` or ``us.anthropic.``.
    """
    bare = model[found.end() :] if (found := _SHORT_PREFIX.match(model)) else model
    if not bare.lower().startswith("claude-"):
        return bare or model
    return _CLAUDE_SUFFIX.sub("", bare[len("claude-") :]) or bare


def cache_minimum_tokens(model: str) -> int:
    """The shortest prefix, in tokens, that the provider caches for ``model``.

    A shorter one is processed without caching, and no error says so. Documented per model, not per family,
    and not falling with time: 512, 1,024, 2,048 or 4,096. An unknown model gets 4,096, the largest.
    """
    return _claude(_CACHE_MINIMUM, model, newest_known_only=True) or _CACHE_MINIMUM_UNKNOWN


def context_window(model: str) -> int:
    """How many tokens of prompt ``model`` takes; 200,000 where that is not known.

    Claude Code marks a model that it asked for a million with ``[1m]`` at the end.
    """
    if model.endswith("[1m]"):
        return 1_000_000
    if found := _claude(_CONTEXT_WINDOW, model):
        return found
    bare = model.rpartition("/")[2].lower()
    prefixes = [prefix for prefix in _CONTEXT_WINDOW_OTHERS if _starts(bare, prefix)]
    return _CONTEXT_WINDOW_OTHERS[max(prefixes, key=len)] if prefixes else _CONTEXT_WINDOW_UNKNOWN


def max_output_tokens(model: str) -> int:
    """The largest ``max_tokens`` that ``model`` accepts in one request; 8,192 where that is not known."""
    return _claude(_MAX_OUTPUT, model) or _MAX_OUTPUT_UNKNOWN


def _claude(table: Mapping[str, _Rows], model: str, *, newest_known_only: bool = False) -> int | None:
    """The value of ``model``'s family and version, None where it is no Claude model that we can read.

    A newer version than the first row takes that row's value, unless ``newest_known_only``: limits only
    grew so far, while the cache's minimum went up and down.
    """
    version = _family_and_version(model)
    if version is None:
        return None
    family, number = version
    rows = table[family]
    if newest_known_only and number > rows[0][0]:
        return None
    return next(value for floor, value in rows if number >= floor)


def _family_and_version(model: str) -> tuple[str, tuple[int, int]] | None:
    """``claude-opus-4-1``, ``claude-3-5-haiku`` and their spellings by other providers, taken apart."""
    prefix = re.match(_CLAUDE_PREFIX, model)
    if prefix is None:
        return None
    bare = model[prefix.end() :]
    if found := re.match(_FAMILY_FIRST, bare):
        family, major, minor = found.groups()
    elif found := re.match(_VERSION_FIRST, bare):
        major, minor, family = found.groups()
    else:
        return None
    return family.lower(), (int(major), int(minor or 0))


def _starts(model: str, prefix: str) -> bool:
    """Whether ``prefix`` ends at a boundary of ``model``: ``gpt-5`` is no prefix of ``gpt-50``."""
    return model.startswith(prefix) and not model[len(prefix) : len(prefix) + 1].isdigit()
