"""Redaction looks only where something may be, and finds what looking everywhere finds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsess.redact import Span, assignments, formats, spans
from tests import corpus

_CASES = [case.text for part in (corpus.written_secrets, corpus.generated_secrets) for case in part()]
_LOOKALIKES = [text for part in (corpus.written_lookalikes, corpus.generated_lookalikes) for _, text in part()]
CORPUS = [*_CASES, *_LOOKALIKES, *(line for text in _LOOKALIKES for line in text.splitlines())]
GLUE = st.sampled_from(["", " ", "\n", "\\n", "_", "-", "%0A", "\x1b[31m", "x", "é", "K", '"', "='", ".", "/"])
WRAPPED = st.builds(
    "{}{}\n{}".format, st.sampled_from(["", "x ", "é"]), st.integers(54, 58).map(lambda n: "a" * n), GLUE
)


@st.composite
def pieces(draw: st.DrawFn) -> str:
    """Parts of the corpus, cut anywhere and put together with what may join or part them."""
    made: list[str] = []
    for text in draw(st.lists(st.sampled_from(_CASES + _LOOKALIKES), min_size=1, max_size=3)):
        start = draw(st.integers(0, len(text)))
        made += (text[start : start + draw(st.integers(0, 300))], draw(GLUE))
    return "".join(made)


def everywhere(text: str) -> Iterator[Span]:
    """What ``formats.find`` finds, by looking for every literal in all of a text."""
    for form in formats._formats():
        for match in re.finditer(form.pattern, text) if form.literal in text else ():
            if form.accept(match):
                start, end = formats._found(match)
                yield Span(start=start, end=end, rule=form.rule)
                if form.rule == "aws-access-key":
                    yield from formats._aws_secrets(text, start, end)


@pytest.mark.parametrize("number", range(len(formats._formats())))
def test_every_text_of_a_format_is_searched_for_it(number: int) -> None:
    """Whatever a pattern can match, and wherever it stands, leads to the pattern."""
    form = formats._formats()[number]

    @settings(max_examples=6, deadline=None, database=None)
    @given(before=GLUE, found=st.from_regex(form.pattern, fullmatch=True), after=GLUE)
    def check(before: str, found: str, after: str) -> None:
        text = before + found + after
        if form.literal in text and re.search(form.pattern, text):
            assert number in formats._possible(text)

    check()


def test_formats_are_found_as_everywhere_in_the_corpus() -> None:
    """The same spans in the same order."""
    for text in CORPUS:
        assert list(formats.find(text)) == list(everywhere(text))


@settings(max_examples=300, deadline=None)
@given(text=pieces())
def test_formats_are_found_as_everywhere_in_pieces(text: str) -> None:
    """The same where secrets are cut, glued to words, and beside others."""
    assert list(formats.find(text)) == list(everywhere(text))


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(pieces(), st.sampled_from(CORPUS)))
def test_assignments_are_matched_as_by_running_over_the_text(text: str) -> None:
    """The same matches from the places of the words as from every place."""
    lower = assignments._lower(text)
    found = [match.regs for match in assignments._assignments(lower)]
    assert found == [match.regs for match in assignments._ASSIGNMENT().finditer(lower)]


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        pieces(),
        st.sampled_from(CORPUS),
        st.text(st.sampled_from("\"' +.&\n\r\\\tfux"), max_size=60),
        st.builds("{}{}".format, WRAPPED, st.sampled_from(["b" * 8, " " * 4 + "b" * 8, "b" * 7])),
    )
)
def test_joints_are_found_as_by_running_over_the_text(text: str) -> None:
    """The same joints by an expression for each mark as by one for both, and the same ends of wrapped lines."""
    joined = re.compile(rf"([\"']){spans._BETWEEN}\1")
    joints: list[tuple[int, int]] = []
    for start, end in sorted(m.span() for pattern in (spans._CONTINUED(), joined) for m in pattern.finditer(text)):
        if joints and start < joints[-1][1]:
            start, end = joints[-1][0], max(end, joints.pop()[1])
        joints.append((start, end))
    assert spans.continued(text) == joints
    assert spans.wrapped(text) == [match.span() for match in spans._WRAPPED().finditer(text)]
