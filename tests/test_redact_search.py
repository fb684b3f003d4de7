"""Redaction looks only where something may be, and finds what looking everywhere finds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess.redact import Redactor, Span, assignments, formats, spans
from tests import corpus
from tests.corpus import Filler

_CASES = [case.text for part in (corpus.written_secrets, corpus.generated_secrets) for case in part()]
_LOOKALIKES = [text for part in (corpus.written_lookalikes, corpus.generated_lookalikes) for _, text in part()]
CORPUS = [*_CASES, *_LOOKALIKES, *(line for text in _LOOKALIKES for line in text.splitlines())]
made = Filler(11).fill
VALUE = made("{{alnum:24}}")
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

    # Of texts made after a pattern, what looks around itself takes some only; the same ones each time, so that there
    # are some.
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.filter_too_much],
    )
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


@settings(max_examples=100, deadline=None)
@given(text=pieces())
def test_formats_are_found_as_everywhere_in_pieces(text: str) -> None:
    """The same where secrets are cut, glued to words, and beside others."""
    assert list(formats.find(text)) == list(everywhere(text))


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(pieces(), st.sampled_from(CORPUS)))
def test_assignments_are_matched_as_by_running_over_the_text(text: str) -> None:
    """The same matches from the places of the words as from every place."""
    lower = assignments._lower(text)
    found = [match.regs for match in assignments._assignments(lower)]
    assert found == [match.regs for match in assignments._ASSIGNMENT().finditer(lower)]


@settings(max_examples=100, deadline=None)
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


KEYS = st.sampled_from(
    ["text", "value", "name", "type", "password", "api_key", "tokens", "signature", "data", "encrypted_content", "key"]
)
LEAVES = st.one_of(
    st.sampled_from(["DB_PASSWORD", "thinking", "base64", "Read", "hello", "\ud83d", "é", "password", "a\0b", ""]),
    st.text(max_size=20),
    pieces(),
    st.sampled_from(CORPUS),
    st.integers(),
    st.floats(allow_nan=False),
    st.none(),
    st.booleans(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
)
VALUES = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS | pieces() | st.text(), below, max_size=3)
)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=4), seen=st.lists(VALUES, max_size=2))
def test_what_is_plainly_left_is_left(values: list[Any], seen: list[Any]) -> None:
    """Values that are passed over together are those of which nothing would change, one by one and looked at whole."""
    redactor = Redactor(environment={"MY_TOKEN": VALUE})
    redactor.leaves(seen)
    if redactor.leaves(values):
        assert [Redactor().value(value) for value in values] == values
        json.dumps(values, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "value",
    [
        made("ghp_{{alnum:36}}"),
        {"a": [1, made("ghp_{{alnum:36}}")]},
        {made("ghp_{{alnum:36}}"): 1},
        {"password": made("{{alnum:20}}")},
        {"password": {"value": made("{{alnum:20}}")}},
        {"name": "DB_PASSWORD", "value": made("{{alnum:20}}")},
        "x" * 300 + " password=" + made("{{alnum:20}}"),
        f'connect("{VALUE[:9]}" + "{VALUE[9:]}")',
        f"see {VALUE}",
        "\ud83d",
        {"signature": "\ud83d"},
        {"type": "thinking", "thinking": "\ud83d"},
        Decimal("1.5"),
    ],
)
def test_what_would_change_is_not_plainly_left(value: Any) -> None:
    """A secret, whichever way it is told, a text without a UTF-8 form, and what is no JSON: once and again."""
    redactor = Redactor(environment={"MY_TOKEN": VALUE})
    assert not redactor.leaves(["hello", value])
    assert not redactor.leaves([value])


def test_the_entries_of_agents_are_plainly_left() -> None:
    """Counts of tokens, names of tools and thinking are nothing unusual, or every turn would be looked at whole."""
    entry = {
        "type": "assistant",
        "message": {
            "usage": {"input_tokens": 3, "output_tokens": 4, "service_tier": None},
            "content": [
                {"type": "thinking", "thinking": made("ghp_{{alnum:36}}"), "signature": made("{{alnum:200}}")},
                {"type": "tool_use", "name": "Read", "input": {"file_path": "src/token.py", "text": "a key to it"}},
            ],
        },
    }
    redactor = Redactor()
    assert redactor.leaves([entry])
    assert redactor.value(entry) == entry
