"""What the catalog says of models that are known, and of those that are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gitsess.catalog import (
    ALIASES,
    DEFAULT_MODEL,
    cache_minimum_tokens,
    context_window,
    max_output_tokens,
    resolve_model,
    short_model,
)
from gitsess.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        ("opus", "claude-opus-5-5"),
        ("Sonnet", "claude-sonnet-5-5"),
        ("HAIKU", "claude-haiku-5-5"),
        ("claude-opus-4-1", "claude-opus-4-1"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "us.anthropic.claude-opus-4-5-20251101-v1:0"),
        ("My-Own/Model", "My-Own/Model"),
    ],
)
def test_an_alias_stands_for_its_model_and_an_id_for_itself(typed: str, model: str) -> None:
    assert resolve_model(typed) == model


@pytest.mark.parametrize(
    ("typed", "near"),
    [("opsu", "opus"), ("Sonet", "sonnet"), ("haikou", "haiku"), ("OPUSS", "opus"), ("codx", "codex")],
)
def test_a_slip_of_an_alias_is_no_model(typed: str, near: str) -> None:
    """It is asked for in the same way as a slip of a verb's name; an agent's, only where one could be named."""
    with pytest.raises(UsageError, match=f"there is no model '{typed}'; did you mean {near}"):
        resolve_model(typed, ("claude", "codex", "gemini"))
    if near == "codex":
        assert resolve_model(typed) == typed


@pytest.mark.parametrize(
    "typed",
    ["claude-foo-9", "opus-", "opus5", "opsu/x", "o3", "gpt-5", "llama", "codestral", "gemma", "sonar", "fable"],
)
def test_whatever_else_may_be_a_model_is_one(typed: str) -> None:
    """Services of one's own have names for models that nobody else knows."""
    assert resolve_model(typed, ("claude", "codex", "gemini")) == typed


def test_the_default_model_is_what_an_alias_stands_for() -> None:
    assert DEFAULT_MODEL in ALIASES.values()


@pytest.mark.parametrize("typed", ["", " ", "claude opus", "opus\n", "a\x1b[31m", "a\u202eb", "\udce9", "\u00a0opus"])
def test_a_name_that_is_empty_or_holds_invisible_characters_is_a_usage_error_of_one_line(typed: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve_model(typed)
    message = str(raised.value)
    assert message.isprintable()
    assert message.isascii()
    assert DEFAULT_MODEL in message, "the message offers a name that works"


@pytest.mark.parametrize(
    ("model", "short"),
    [
        ("claude-sonnet-4-5-20250929", "sonnet-4-5"),
        ("claude-opus-5-5", "opus-5-5"),
        ("claude-opus-4-20250514", "opus-4"),
        ("claude-opus-4@20250514", "opus-4"),
        ("claude-3-5-haiku-latest", "3-5-haiku"),
        ("claude-sonnet-4-5-20250929[1m]", "sonnet-4-5[1m]"),
        ("anthropic/claude-opus-4.5", "opus-4.5"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "opus-4-5"),
        ("anthropic.claude-haiku-5-5", "haiku-5-5"),
        ("gpt-5-2025-08-07", "gpt-5-2025-08-07"),
        ("gemini-2.5-pro", "gemini-2.5-pro"),
        ("claude-", "claude-"),
        ("claude-20250514", "20250514"),
        ("anthropic/", "anthropic/"),
        ("<synthetic>", "<synthetic>"),
        ("", ""),
    ],
)
def test_a_table_shows_the_part_of_a_model_id_that_tells_it_apart(model: str, short: str) -> None:
    assert short_model(model) == short


# As the provider's pages on prompt caching and on models had them, one row a model:
# id, smallest prefix that is cached, context window, largest max_tokens.
DOCUMENTED = [
    ("claude-opus-5-5", 512, 1_000_000, 128_000),
    ("claude-sonnet-5-5", 512, 1_000_000, 128_000),
    ("claude-haiku-5-5", 512, 1_000_000, 128_000),
    ("claude-fable-5", 512, 1_000_000, 128_000),
    ("claude-fable-5-1", 512, 1_000_000, 128_000),
    ("claude-mythos-5-1", 512, 1_000_000, 128_000),
    ("claude-opus-5", 512, 1_000_000, 128_000),
    ("claude-sonnet-5", 1024, 1_000_000, 128_000),
    ("claude-opus-4-8", 1024, 1_000_000, 128_000),
    ("claude-opus-4-7", 2048, 1_000_000, 128_000),
    ("claude-opus-4-6", 4096, 1_000_000, 128_000),
    ("claude-sonnet-4-6", 1024, 1_000_000, 128_000),
    ("claude-opus-4-5-20251101", 4096, 200_000, 64_000),
    ("claude-haiku-4-5-20251001", 4096, 200_000, 64_000),
    ("claude-sonnet-4-5-20250929", 1024, 200_000, 64_000),
    ("claude-opus-4-1-20250805", 1024, 200_000, 32_000),
    ("claude-opus-4-20250514", 1024, 200_000, 32_000),
    ("claude-sonnet-4-20250514", 1024, 200_000, 64_000),
    ("claude-3-7-sonnet-20250219", 1024, 200_000, 64_000),
    ("claude-3-5-haiku-20241022", 2048, 200_000, 8_192),
    ("claude-3-haiku-20240307", 2048, 200_000, 4_096),
]


@pytest.mark.parametrize(("model", "minimum", "window", "output"), DOCUMENTED)
def test_the_limits_of_a_documented_model(model: str, minimum: int, window: int, output: int) -> None:
    assert (cache_minimum_tokens(model), context_window(model), max_output_tokens(model)) == (
        minimum,
        window,
        output,
    )


@pytest.mark.parametrize(
    "spelling",
    [
        "anthropic/claude-opus-4.7",
        "us.anthropic.claude-opus-4-7-v1:0",
        "vertex_ai/claude-opus-4-7@20260416",
        "openrouter/anthropic/claude-4.7-opus-20260416",
        "CLAUDE-OPUS-4-7",
    ],
)
def test_the_spelling_of_another_provider_has_the_same_limits(spelling: str) -> None:
    assert cache_minimum_tokens(spelling) == 2048
    assert max_output_tokens(spelling) == 128_000


@pytest.mark.parametrize("model", ["claude-opus-6", "claude-sonnet-7-1", "claude-novella-1", "gpt-5", "llama", ""])
def test_an_unknown_model_needs_the_largest_minimum(model: str) -> None:
    """A guess too low would promise a cache entry that never comes."""
    assert cache_minimum_tokens(model) == max(minimum for _, minimum, _, _ in DOCUMENTED)


def test_a_newer_version_of_a_family_keeps_the_limits_of_the_newest_known() -> None:
    assert context_window("claude-opus-6") == 1_000_000
    assert max_output_tokens("claude-opus-6") == 128_000


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("gpt-5", 400_000),
        ("openai/gpt-5-mini", 400_000),
        ("gpt-50", 200_000),
        ("gpt-4o-mini", 128_000),
        ("gpt-4-0613", 8_192),
        ("gemini-2.5-pro", 1_000_000),
        ("claude-sonnet-4-5[1m]", 1_000_000),
        ("llama", 200_000),
        ("", 200_000),
    ],
)
def test_the_window_of_other_models_is_that_of_the_longest_known_name(model: str, window: int) -> None:
    assert context_window(model) == window


def test_models_nobody_knows_get_a_modest_output() -> None:
    assert max_output_tokens("llama") == 8_192


def test_the_catalog_is_cheap_to_import() -> None:
    """It loads nothing of ours but the errors, and no third-party package."""
    code = (
        "import sys; before = set(sys.modules); import gitsess.catalog;"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(loaded - set(sys.stdlib_module_names)));"
        "print(*sorted(name for name in sys.modules if name.startswith('gitsess.')))"
    )
    root = Path(__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert ran.stdout.splitlines() == ["gitsess", "gitsess.catalog gitsess.errors"]
