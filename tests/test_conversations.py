"""Captured turns by conversation: ``list --by conversation`` and ``show --conversation``."""

from __future__ import annotations

from typing import Any

import pytest

from gitsess.names import session_name
from gitsess.records import parse
from tests.conftest import NOON, Repo

LONG = "4f1c6c1e-7d1b-4a52-9d0f-0d6a4f5b1a11"
OTHER = "4f1c7777-0000-4000-8000-000000000000"


def entry(number: int, conversation: str | None, agent: str = "claude/2.1.330", **more: Any) -> dict[str, Any]:
    return {
        "prompt": f"Question {number}",
        "response": f"Answer {number}",
        "model": "claude-sonnet-4-5",
        "agent": agent,
        "usage": {"input_tokens": 100, "output_tokens": 10},
        "cost_usd": f"0.0{number}",
        "ended_at": f"2026-03-01T12:{number:02}:00Z",
        "turn_id": f"{number:032x}",
        **({} if conversation is None else {"conversation": conversation}),
        **more,
    }


@pytest.fixture
def switched(repo: Repo) -> Repo:
    """One conversation in two sessions, as after a switch of the branch; another beside it; and turns of none."""
    repo.record("claude-main", entry(1, LONG), entry(2, "codex-1", "codex/0.169"), entry(3, None, "test"))
    repo.record("claude-alt", entry(4, LONG, "claude/2.1.331"), entry(5, OTHER))
    return repo


def listed(repo: Repo, *options: str) -> dict[str, Any]:
    return {item["conversation"]: item for item in repo.ai("list", "--by", "conversation", "--json", *options).json}


def test_each_conversation_has_its_own_sums(switched: Repo) -> None:
    """Over versions of the agent and over sessions; a turn of no conversation is in none."""
    found = listed(switched)
    assert list(found) == [OTHER, LONG, "codex-1"]
    assert found[LONG] == {
        **found[LONG],
        "agent": "claude",
        "sessions": ["claude-main", "claude-alt"],
        "turns": 2,
        "failed_turns": 0,
        "created_at": "2026-03-01T12:01:00Z",
        "last_used": "2026-03-01T12:04:00Z",
        "models": ["claude-sonnet-4-5"],
        "input_tokens": 200,
        "output_tokens": 20,
        "cost_usd": 0.05,
    }
    assert found["codex-1"]["agent"] == "codex"
    assert sum(item["turns"] for item in found.values()) == 4


def test_the_table_says_the_same(switched: Repo) -> None:
    text = switched.ai("list", "--by", "conversation").out
    head, *rows, foot = text.splitlines()
    assert head.split() == ["CONVERSATION", "AGENT", "SESSION", "TURNS", "LAST", "USED", "MODEL", "TOKENS", "COST"]
    assert [row.split()[:4] for row in rows if LONG in row] == [[LONG, "claude", "claude-main", "+1"]]
    assert foot.split()[:3] == ["3", "conversations", "4"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--sort", "cost"], [OTHER, LONG, "codex-1"]),
        (["--sort", "tokens"], [LONG, OTHER, "codex-1"]),
        (["--sort", "name"], [LONG, OTHER, "codex-1"]),
        (["claude-main"], ["codex-1", LONG]),
        (["--active"], []),
    ],
)
def test_order_and_choice_are_those_of_list(switched: Repo, options: list[str], expected: list[str]) -> None:
    if options == ["--sort", "cost"]:
        switched.record("claude-alt", entry(9, OTHER))
    assert list(listed(switched, *options)) == expected


def test_one_conversation_is_shown_in_the_order_of_time(switched: Repo) -> None:
    """From wherever its turns went, by the beginning of its id, each turn with its session."""
    value = switched.ai("show", "--conversation", "4f1c6", "--json").json
    assert [(item["session"], item["summary"]) for item in value["turn_list"]] == [
        ("claude-main", "Question 1"),
        ("claude-alt", "Question 4"),
    ]
    assert value["turns"] == 2
    text = switched.ai("show", "--conversation", LONG).out
    assert f"claude {LONG}  2 turns" in text
    assert "in claude-main, claude-alt" in text
    assert [line.split()[0] for line in text.splitlines() if "Question" in line] == ["claude-main", "claude-alt"]
    assert "Question 3" not in text
    assert "Question 5" not in text


def test_what_was_asked_and_answered_is_there_in_full(switched: Repo) -> None:
    text = switched.ai("show", "--conversation", LONG, "--full").out
    assert text.index("Answer 1") < text.index("Answer 4")
    assert "Answer 5" not in text
    last = switched.ai("show", "--conversation", LONG, "--last", "1", "--json").json
    assert [(item["prompt"], item["response"]) for item in last["turn_list"]] == [("Question 4", "Answer 4")]
    assert last["turns"] == 2


def test_a_fork_does_not_repeat_turns(switched: Repo) -> None:
    """A session that was begun from another's tip holds the same turns: the conversation has them once."""
    switched.git("update-ref", "refs/ai-sessions/claude-copy", "refs/ai-sessions/claude-main")
    assert listed(switched)[LONG]["turns"] == 2
    assert len(switched.ai("show", "--conversation", LONG, "--json").json["turn_list"]) == 2


def test_a_correction_counts(switched: Repo) -> None:
    """A turn that grew after it was recorded: the sums and the line of the turn are those it has now."""
    grown = {**entry(4, LONG), "usage": {"input_tokens": 700, "output_tokens": 10}, "cost_usd": "0.40"}
    switched.workspace().correct(session_name("claude-alt"), parse(grown, now=NOON))
    assert (listed(switched)[LONG]["input_tokens"], listed(switched)[LONG]["cost_usd"]) == (800, 0.41)
    value = switched.ai("show", "--conversation", LONG, "--json").json
    assert (value["cost_usd"], [item["cost_usd"] for item in value["turn_list"]]) == (0.41, [0.01, 0.40])


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (["show", "--conversation", "nothing-like-it"], 1, "no turn is of a conversation"),
        (["show", "--conversation", "4f1"], 2, "'4f1' is too short for a conversation: give at least 4 characters"),
        (["show", "--conversation", "4f1c"], 2, "could be any of 2 conversations"),
        (["show", "--conversation", LONG, "--turn", "1"], 2, "without --conversation"),
        (["show", "--conversation", "\x1b]0;evil\x07"], 1, "no turn is of a conversation"),
        (["show"], 2, "missing argument"),
        (["list", "--by", "conversation", "--everywhere"], 2, "without --everywhere"),
        (["list", "--by", "weather"], 2, "weather"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(switched: Repo, options: list[str], code: int, why: str) -> None:
    done = switched.ai(*options, code=code)
    assert done.out == ""
    assert why in done.err
    assert "\x1b" not in done.err


def test_a_turn_that_names_no_model_says_nothing_of_models(repo: Repo) -> None:
    """After a compaction, or where the service refused, the session's models are those of its other turns."""
    asked = {"prompt": "p", "response": "r", "agent": "claude-code/2.1.330", "conversation": LONG}
    repo.record("claude-x", asked)
    assert "unknown" in repo.ai("list").out
    repo.record("claude-x", {**asked, "model": "claude-opus-4-8"}, asked)
    for words in (["list"], ["list", "--by", "conversation"], ["list", "--everywhere"]):
        out = repo.ai(*words).out
        assert "opus-4-8  " in out, out
        assert "unknown" not in out


def test_no_conversation_yet(repo: Repo) -> None:
    done = repo.ai("list", "--by", "conversation")
    assert done.out == ""
    assert "no captured conversations" in done.err
    assert repo.ai("list", "--by", "conversation", "--json").json == []
