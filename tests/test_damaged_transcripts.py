"""Transcripts of the agents that were cut off, or whose lines stand in another order: no turn that is whole is lost."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess import agents
from gitsess.agents import opencode
from gitsess.agents.captured import START, Captured
from gitsess.errors import NotFound, StoreError
from tests.agents import make_opencode

FIXTURES = Path(__file__).parent / "agents"
TRANSCRIPTS = {
    "claude": sorted(FIXTURES.glob("claude/*/*/*.jsonl")),
    "codex": sorted(FIXTURES.glob("codex/*/rollout-*.jsonl")),
    "gemini": sorted(FIXTURES.glob("gemini/*/**/chats/session-*.jsonl")),
}
each = pytest.mark.parametrize("agent", TRANSCRIPTS)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def copied(data: st.DataObject, agent: str, folder: Path) -> Path:
    """A copy of one of the transcripts, with all that lies beside it."""
    source = data.draw(st.sampled_from(TRANSCRIPTS[agent]))
    shutil.rmtree(folder, ignore_errors=True)
    # The folder of a project has a say in where a chat of Gemini CLI happened.
    top = source.parent.parent if agent == "gemini" else source.parent
    shutil.copytree(top, folder)
    return folder / source.relative_to(top)


def told(found: Captured) -> tuple[Any, ...]:
    """What of a turn stands in its own transcript. A subagent's file does not end where it is cut."""
    turn = found.turn
    own = [one for one in turn.requests if "subagent" not in one]
    mine = [one for one in own if str(one.get("id")) in str(turn.native["main.jsonl"])]
    return turn.turn_id, turn.prompt, turn.response, turn.status, mine, turn.native["main.jsonl"]


@each
@shared
@given(data=st.data())
def test_what_is_before_a_cut_is_whole(agent: str, data: st.DataObject, tmp_path: Path) -> None:
    """Wherever a transcript is cut off, turns that ended before are as they were, and later ones go on there."""
    reader = agents.reader(agent)
    path = copied(data, agent, tmp_path / "x")
    whole = list(reader.read(path, closed=True))
    text = path.read_bytes()
    cut = data.draw(st.integers(0, len(text)))
    path.write_bytes(text[:cut])
    found = {one.turn.turn_id: told(one) for one in reader.read(path, closed=True)}
    for one in whole:
        if one.position.offset <= cut:
            assert found[one.turn.turn_id] == told(one)
    position, seen = START, {}
    for one in reader.read(path, closed=False):
        if one.complete:
            position, seen[one.turn.turn_id] = one.position, told(one)
    path.write_bytes(text)
    seen |= {one.turn.turn_id: told(one) for one in reader.read(path, position, closed=True)}
    assert seen == {one.turn.turn_id: told(one) for one in whole}


@each
@shared
@given(data=st.data())
def test_lines_in_another_order_lose_no_turn(agent: str, data: st.DataObject, tmp_path: Path) -> None:
    """Neighbours that changed places, as those of two writers may, cost no turn and no request."""
    reader = agents.reader(agent)
    path = copied(data, agent, tmp_path / "x")

    def everything() -> Counter[str]:
        found = list(reader.read(path, closed=True))
        asked = Counter(str(request.get("id")) for one in found for request in one.turn.requests)
        return asked + Counter(str(one.turn.turn_id) for one in found)

    before = everything()
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(1, max(1, len(lines) - 2)))
    lines[at : at + 2] = reversed(lines[at : at + 2])
    path.write_bytes(b"".join(lines))
    assert before <= everything()


@settings(shared, max_examples=30)
@given(data=st.data())
def test_a_database_that_was_cut_off(data: st.DataObject, tmp_path: Path) -> None:
    """opencode's: what can be read of it is read, and nothing else is raised than that it cannot."""
    home = {"XDG_DATA_HOME": str(tmp_path)}
    path = opencode.database_of(tmp_path, home)
    shutil.rmtree(path.parent, ignore_errors=True)
    case = data.draw(st.sampled_from(sorted(make_opencode.FIXTURES.glob("*/rows.json"))))
    make_opencode.database(json.loads(case.read_text()), path)
    places = [place.path for place in opencode.transcripts(tmp_path, home)]
    known = {one.turn.turn_id for place in places for one in opencode.read(place, closed=True)}
    text = path.read_bytes()
    path.write_bytes(text[: data.draw(st.integers(0, len(text)))])
    list(opencode.transcripts(tmp_path, home))
    for place in places:
        with suppress(NotFound, StoreError):
            assert {one.turn.turn_id for one in opencode.read(place, closed=True)} <= known
        with suppress(NotFound, StoreError):
            opencode.reported(place)
