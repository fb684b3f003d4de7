"""Which commit bears which turn, in histories made by hand: what git itself has no part in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gitsess.attribution import shares
from gitsess.commit import Commit, Facts, Metrics, Person
from gitsess.costnotes import texts
from gitsess.history import Session
from gitsess.links import event_id
from gitsess.model import Oid, SessionName, TurnId
from gitsess.trails import Trail
from tests.conftest import NOON, Repo

COST = Decimal("0.25")


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def no_git() -> Any:
    """Stands where nothing is to be asked of git: any use of it fails."""
    return None


def made_turn(
    turn_id: str,
    at: datetime,
    *,
    parents: Sequence[str] = (),
    worktree: str | None = ".",
    commits: Sequence[str] = (),
    cost: Decimal | None = COST,
) -> Commit:
    facts = Facts(
        kind="turn",
        turn_id=TurnId(turn_id),
        worktree=worktree,
        commits=tuple(commits),
        metrics=Metrics(model="m", requests=1, cost_usd=cost),
    )
    return made_commit(turn_id, at, facts, parents)


def made_event(commit_oid: str, at: datetime, *, parents: Sequence[str] = (), worktree: str = ".") -> Commit:
    facts = Facts(kind="event", event="commit", turn_id=event_id(commit_oid), worktree=worktree, commits=(commit_oid,))
    return made_commit(f"e{commit_oid}", at, facts, parents)


def made_commit(oid: str, at: datetime, facts: Facts, parents: Sequence[str]) -> Commit:
    who = Person(name="Ann", email="ann@example.com")
    return Commit(
        oid=Oid(oid),
        tree=Oid("tree"),
        parents=tuple(Oid(parent) for parent in parents),
        author=who,
        authored_at=at,
        committer=who,
        committed_at=at,
        subject="",
        facts=facts,
    )


def made_session(name: str, commits: Sequence[Commit], session_id: str = "a" * 32) -> Session:
    return Session(name=SessionName(name), tip=commits[-1].oid, session_id=session_id, commits=tuple(commits))


def test_a_corrected_cost_is_what_counts(repo: Repo) -> None:
    """Sessions that two files of a clone disagree on are summed as everywhere: the correction holds."""
    oid = "c" * 40
    one = made_turn("t1", NOON, commits=(oid,), cost=Decimal(1))
    session = made_session("plan-x", [one]).replace(
        corrections={TurnId("t1"): Metrics(model="m", requests=1, cost_usd=Decimal(7))}
    )
    assert "AI-Cost-USD: 7\n" in texts(shares(no_git(), [session]))[oid]


def test_the_other_side_of_a_merge_is_another_clone(repo: Repo) -> None:
    """Both clones call their worktree '.': a turn goes to the first commit of its own side, or after the merge."""
    root = made_turn("root", NOON)
    ours = made_turn("ours", NOON + seconds(10), parents=["root"])
    theirs = made_turn("theirs", NOON + seconds(11), parents=["root"])
    their_commit = made_event("c1", NOON + seconds(20), parents=["theirs"])
    merge = made_commit("merge", NOON + seconds(20), Facts(kind="merge"), ["ours", "ec1"])
    our_commit = made_event("c2", NOON + seconds(30), parents=["merge"])
    session = made_session("plan-x", [root, ours, theirs, their_commit, merge, our_commit])
    bearers = {share.turn.oid: share.commit for share in shares(no_git(), [session])}
    assert bearers == {"root": "c1", "theirs": "c1", "ours": "c2"}


def test_a_turn_that_a_fork_has_as_well_counts_once() -> None:
    """It goes to the first commit that followed it in either of the two."""
    one = made_turn("t1", NOON)
    original = made_session("plan-x", [one, made_event("c2", NOON + seconds(60), parents=["t1"])])
    fork = made_session("plan-y", [one, made_event("c1", NOON + seconds(30), parents=["t1"])])
    for order in ([original, fork], [fork, original]):
        (share,) = shares(no_git(), order)
        assert (share.session, share.commit) == ("plan-y", "c1")


@st.composite
def histories(draw: st.DrawFn) -> list[Session]:
    """Sessions of turns and commit events in two worktrees, every one in a second of its own."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["plan-x", "plan-y"]),
                st.sampled_from([".", "side", None]),
                st.sampled_from(["turn", "turn", "event", "named"]),
                st.integers(0, 9),
            ),
            max_size=30,
        )
    )
    made: Mapping[str, list[Commit]] = {"plan-x": [], "plan-y": []}
    for number, (name, worktree, what, cents) in enumerate(steps):
        at = NOON + seconds(number)
        if what == "event":
            made[name].append(made_event(f"c{number}", at, worktree=worktree or "."))
        else:
            named = [f"n{number}a", f"n{number}b"] if what == "named" else []
            cost = Decimal(cents) / 100 if cents else None
            made[name].append(made_turn(f"t{number}", at, worktree=worktree, commits=named, cost=cost))
    return [made_session(name, found, name) for name, found in made.items() if found]


@settings(max_examples=200, deadline=None)
@given(histories())
def test_every_cent_is_borne_once_and_by_the_commit_that_the_rule_names(sessions: list[Session]) -> None:
    """Against the rule spelt out turn by turn; and what the notes say adds up to what was borne."""
    found = shares(no_git(), sessions)
    expected = {}
    for session in sessions:
        for number, item in enumerate(session.commits):
            if item.facts.kind == "turn":
                later = [
                    other.facts.commits[0]
                    for other in session.commits[number:]
                    if other.facts.event == "commit" and other.facts.worktree == item.facts.worktree
                ]
                expected[item.oid] = item.facts.commits[-1:] or tuple(later[:1])
    assert {share.turn.oid: () if share.commit is None else (share.commit,) for share in found} == expected
    said = [Decimal(cost) for text in texts(found).values() for cost in re.findall(r"(?m)^AI-Cost-USD: (.*)$", text)]
    metrics = [share.turn.facts.metrics for share in found if share.commit is not None]
    assert sum(said) == sum(one.cost_usd for one in metrics if one is not None and one.cost_usd is not None)


def test_a_trail_says_what_no_commit_has_followed_yet() -> None:
    session = made_session("plan-x", [made_event("c1", NOON), made_turn("t1", NOON + seconds(5))])
    trail = Trail.of(no_git(), session, ".")
    assert trail.left
    assert trail.next_event(Oid("t1")) is None
    assert not trail.led_to("c1")
