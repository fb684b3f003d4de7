"""plan.yaml: what is taken, what is refused and how it is told, and that what is written reads the same again."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitsess.plan import Phase, Plan, PlanError, Task, changed, missing, order
from gitsess.plan.parsing import MAX_TASKS, find_in, parse
from gitsess.plan.writing import dump, to_json

LOGIN = """\
feature: login
summary: Tokens that end.
phases:
  - name: Tokens
    tasks:
      - id: T1.1
        title: Reject expired tokens
        description: |
          Look at exp before anything else.

          Clocks differ: allow 30 s.
        depends_on: []
        files:
          - src/auth.py
        tests:
          - an expired token is refused
        acceptance:
          - verify() gives None for an expired token
          - "POST /login: 401 for it"
  - name: Refresh
    tasks:
      - id: T2.1
        title: Renew a token
        depends_on: [T1.1]
        files: []
        tests: []
        acceptance:
          - the old token ends
"""


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers that PyYAML may have: the one in C is not in every installation."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    return str(request.param)


def problems(text: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        parse(textwrap.dedent(text), feature="login")
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.problems[0] in message
    return list(caught.value.problems)


def tasks(*lines: str) -> str:
    """A plan of one phase with these tasks in YAML's flow style."""
    return "phases:\n- name: One\n  tasks:\n" + "".join(f"  - {line}\n" for line in lines)


def of(**depends: str) -> Plan:
    """A plan of tasks with these dependencies: ``T1_2="T1.1"``."""
    lines = [
        f"{{id: {id.replace('_', '.')}, title: x, acceptance: [x], depends_on: [{on}]}}" for id, on in depends.items()
    ]
    return parse(tasks(*lines), feature="x")


# What is taken


def test_a_plan_is_read_and_written_as_people_write_it() -> None:
    """A plan in our own style is read to values, and dumped to the same bytes."""
    plan = parse(LOGIN, feature="login")
    assert [phase.name for phase in plan.phases] == ["Tokens", "Refresh"]
    assert plan.task("T1.1") == Task(
        id="T1.1",
        title="Reject expired tokens",
        description="Look at exp before anything else.\n\nClocks differ: allow 30 s.",
        files=("src/auth.py",),
        tests=("an expired token is refused",),
        acceptance=("verify() gives None for an expired token", "POST /login: 401 for it"),
    )
    assert plan.task("T9.9") is None
    assert dump(plan) == LOGIN


def test_a_status_is_shown_and_not_kept() -> None:
    """Statuses are dumped where they are asked for; one in a plan is dropped."""
    plan = parse(LOGIN, feature="login")
    text = dump(plan, statuses={"T1.1": "completed"})
    assert "title: Reject expired tokens\n        status: completed\n" in text
    assert parse(text, feature="login") == plan
    kept = plan.replace(phases=(Phase(name="x", tasks=(Task(id="T1.1", title="x", extra={"status": "a", "b": 1}),)),))
    assert "status" not in dump(kept)
    assert "b: 1" in dump(kept)


def test_texts_stay_texts() -> None:
    """yes, on, dates and numbers are texts where texts are expected, and are written so that others see texts too."""
    plan = parse(
        tasks("{id: T1.1, title: on, tests: [yes, 2024-01-01, 1.10, 12:30], acceptance: 0x1F}"), feature="login"
    )
    (task,) = plan.tasks
    assert task.title == "on"
    assert task.tests == ("yes", "2024-01-01", "1.10", "12:30")
    assert task.acceptance == ("0x1F",)
    others: Any = yaml.safe_load(dump(plan))
    assert others["phases"][0]["tasks"][0]["tests"] == list(task.tests)
    assert others["phases"][0]["tasks"][0]["title"] == "on"


def test_what_models_write_is_taken() -> None:
    """One text for a list, a line with ': ' in a list, ids in one text, other names of keys, nothing for a list."""
    plan = parse(
        textwrap.dedent("""\
            feature: another
            phases:
            - tasks:
              - id: T1.1
                title: One
                tests:
                acceptance_criteria: it works
                files: ~
              - id: T1.2.1
                title: Two
                depends: T1.1, T1.1
                acceptance:
                - POST /login: gives 401
            """),
        feature="login",
    )
    one, two = plan.tasks
    assert plan.feature == "login"
    assert plan.phases[0].name == "Phase 1"
    assert (one.acceptance, one.tests, one.files) == (("it works",), (), ())
    assert (two.acceptance, two.depends_on) == (("POST /login: gives 401",), ("T1.1",))


def test_unknown_keys_are_kept_everywhere() -> None:
    """What a person added at the top, in a phase and in a task is there after a round, as it was written."""
    text = LOGIN.replace("        title: Renew a token", "        title: Renew a token\n        points: 3")
    text = text.replace("  - name: Refresh", "  - name: Refresh\n    due: 2026-12-24")
    text = text + "owner:\n  names:\n    - Ann\n    - 1.10\n    - 2.5\n    - null\n    - '5'\n  draft: true\n"
    plan = parse(text, feature="login")
    assert plan.extra == {"owner": {"names": ["Ann", "1.10", 2.5, None, "5"], "draft": "true"}}
    assert plan.phases[1].extra == {"due": "2026-12-24"}
    assert plan.phases[1].tasks[0].extra == {"points": 3}
    made = dump(plan)
    assert parse(made, feature="login") == plan
    assert "due: 2026-12-24\n" in made
    assert "draft: true\n" in made
    assert "- 1.10\n" in made
    assert '- "5"\n' in made
    assert to_json(plan)["owner"]["draft"] == "true"
    assert to_json(plan)["phases"][1]["tasks"][0] == {
        "id": "T2.1",
        "title": "Renew a token",
        "description": "",
        "depends_on": ["T1.1"],
        "files": [],
        "tests": [],
        "acceptance": ["the old token ends"],
        "points": 3,
    }


def test_json_is_taken_with_its_own_escapes() -> None:
    """A plan in JSON is read as JSON: surrogate pairs, tabs and all."""
    task = '{"id": "T1.1", "title": "\\ud83d\\ude00 \\/", "acceptance": ["x"], "n": 1.5, "t": true}'
    text = f'{{"phases": [\n\t{{"name": "A", "tasks": [{task}]}}]}}'
    plan = parse(text, feature="x")
    assert plan.tasks[0].title == "\U0001f600 /"
    assert plan.tasks[0].extra == {"n": 1.5, "t": "true"}


def test_control_characters_are_stripped() -> None:
    """Escapes for a terminal, bidirectional characters and lone surrogates do not get in, raw or escaped."""
    plan = parse(tasks('{id: T1.1, title: "a\\u202e\\e[31mb", acceptance: ["\x1b[1mc\u2066"]}'), feature="x")
    assert plan.tasks[0].title == "ab"
    assert plan.tasks[0].acceptance == ("c",)


# What is refused


def test_every_fault_is_told_in_one_go() -> None:
    """Each fault is one line that names where."""
    found = problems("""\
        phases:
          - name: a
            tasks:
              - {id: T1.1, title: x, acceptance: [a], depends_on: [T1.3, T9.9]}
              - {id: T1.2, title: x, title: y, acceptance: [a], depends_on: [T1.1]}
              - {id: T1.3, title: x, acceptance: [""], depends_on: [T1.2, T1.3]}
              - {title: x, acceptance: [[b]]}
              - {id: foo, title: [x], acceptance: a, depends_on: T8.8}
              - {id: T1.3, title: , acceptance: {a: b, c: d}}
              - not a task
          - 3
          - {name: b}
        """)
    assert found == [
        "line 5: the key 'title' is there twice",
        "T1.3: 'acceptance' is empty: each task needs at least one criterion",
        "phase 1, task 4: 'id' is missing",
        "phase 1, task 4: 'acceptance', item 1: is no text",
        "phase 1, task 5: the id 'foo' is not of the form T1.1 or T1.1.1",
        "phase 1, task 5: 'title' is no text",
        "T1.3: 'title' is empty",
        "T1.3: 'acceptance' is no list of texts",
        "phase 1, task 7: is no mapping with 'id', 'title' and 'acceptance'",
        "phase 2: is no mapping with 'name' and 'tasks'",
        "phase 3: 'tasks' is missing",
        "T1.3 is there twice",
        "T1.1: depends on T9.9, which is no task",
        "T1.3: depends on itself",
        "the task '': depends on T8.8, which is no task",
        "T1.1, T1.2, T1.3 depend on each other in a circle",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the plan is no mapping: it begins with 'feature:', 'summary:' and 'phases:'"),
        ("- a", "the plan is no mapping: it begins with 'feature:', 'summary:' and 'phases:'"),
        ("I could not.", "the plan is no mapping: it begins with 'feature:', 'summary:' and 'phases:'"),
        ("summary: x", "there are no phases: 'phases' is missing"),
        ("phases:", "there are no phases: 'phases' is empty"),
        ("phases: many", "phases: is no list"),
        ("phases: [{name: x, tasks: []}]", "there are no tasks in any phase"),
        ("a: b: c", "not YAML: line 1, column 5: mapping values are not allowed"),
        ("phases:\n  - 'x", "not YAML: line 2, column 7: found unexpected end of stream"),
        ("phases: []\n---\nphases: []", "line 2: a second document begins; a plan is one"),
        ('a: "\\UFFFFFFFF"', "not YAML"),
        ("? [a]\n: b", "line 1: a list or mapping stands where a key should"),
        (f"{'k' * 101}: x", "line 1: a key has at most 100 characters"),
        ("[" * 100, "line 1: nested too deeply"),
        ("{" * 100_000, ""),
        ("x" * (1024 * 1024 + 1), "a plan has at most 1 MiB"),
    ],
)
def test_what_is_no_plan_is_told_in_a_line(text: str, problem: str) -> None:
    """The first problem says what is wrong, with its line where it is the YAML."""
    (found,) = problems(text)
    assert found.startswith(problem)


def test_aliases_and_tags_are_refused_together() -> None:
    """What could grow without end, or make objects, is named by line; nothing of it is made."""
    found = problems("a: &a [x]\nb: [*a, *a]\nc: !!python/object/apply:os.system [ls]\nd: !mine x\n")
    assert found == [
        "line 1: an anchor (&a); leave it out",
        "line 2: an alias (*a); say it again instead",
        "line 2: an alias (*a); say it again instead",
        "line 3: a tag (tag:yaml.org,2002:python/object/apply:o…); leave it out",
        "line 4: a tag (!mine); leave it out",
    ]


def test_a_plan_too_long_is_refused_and_its_faults_are_counted() -> None:
    """More than 500 tasks are refused; fifty faults are told, and how many more there are."""
    lines = [f"{{id: T1.{n // 100 + 1}.{n % 100 + 1}, title: x, acceptance: [x]}}" for n in range(MAX_TASKS + 1)]
    assert problems(tasks(*lines)) == ["there are 501 tasks: a plan has at most 500"]
    assert len(parse(tasks(*lines[:-1]), feature="x").tasks) == MAX_TASKS
    found = problems(tasks(*["{}"] * 200))
    assert len(found) == 50
    assert found[-1] == "and 551 more"


@given(
    st.text(
        st.sampled_from("ab:-[]{}&*!|>'\"%@`#?,~<=. \n\t\\T1é\x00\x85\u2028\ud800\ufeff\uffff\U0001f600"), max_size=40
    )
)
def test_any_text_raises_only_our_own_error(text: str) -> None:
    """Whatever a text holds, it is a plan or a PlanError."""
    for given_text in (text, tasks(text), f"phases: {text}"):
        try:
            plan = parse(given_text, feature="x")
        except PlanError:
            continue
        assert parse(dump(plan), feature="x") == plan


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_our_own_error(data: bytes) -> None:
    """As the bytes of a file that somebody wrote: a plan, or a PlanError."""
    with suppress(PlanError):
        parse(data.decode("utf-8", "surrogateescape"), feature="x")


# What is written reads the same again

_CHARS = st.sampled_from("abT1 .:-#[]{}&*!|>'\"%@`?,~<=/\\()é\u00a0\u3000\U0001f600\uffff")
_LINES = st.text(_CHARS, max_size=140).map(lambda text: " ".join(text.split()))
_FULL = _LINES.filter(bool) | st.sampled_from(["yes", "~", "null", "1.0", "1", "---", "2024-01-01", "- a", "a: b", "#"])
_RAW = st.text(_CHARS | st.sampled_from(" \n\t"), max_size=200)
_PROSE = _RAW.map(
    lambda text: textwrap.dedent("\n".join(line.rstrip() for line in text.split("\n")).strip("\n"))
).filter(lambda text: text == textwrap.dedent(text.strip("\n")))
_NUMBERS = st.none() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False, width=16)
_VALUES = st.recursive(
    _NUMBERS.filter(lambda n: not isinstance(n, float) or "e" not in repr(n)).map(lambda n: 0 if n == 0 else n) | _RAW,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_LINES.map(lambda k: k[:90].strip()), inner, max_size=3)
    ),
    max_leaves=6,
)
_EXTRA = st.dictionaries(_FULL.map(lambda key: f"x{key}"[:90].strip()), _VALUES, max_size=2)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans as ``parse`` makes them."""
    ids = draw(st.lists(st.sampled_from(["T1.1", "T1.2", "T2.3.1", "T999.999"]), min_size=1, max_size=4, unique=True))
    made = []
    for place, id in enumerate(ids):
        on = draw(st.lists(st.sampled_from(ids[:place]), unique=True)) if place else []
        several = [tuple(draw(st.lists(_FULL, max_size=2))) for _ in range(2)]
        made.append(
            Task(
                id=id,
                title=draw(_FULL),
                description=draw(_PROSE),
                depends_on=tuple(on),
                files=several[0],
                tests=several[1],
                acceptance=tuple(draw(st.lists(_FULL, min_size=1, max_size=2))),
                extra=draw(_EXTRA),
            )
        )
    return Plan(
        feature="x",
        summary=draw(_PROSE),
        phases=(Phase(name=draw(_FULL), tasks=tuple(made), extra=draw(_EXTRA)),),
        extra=draw(_EXTRA),
    )


@given(plans())
def test_a_plan_that_is_dumped_is_parsed_to_itself(plan: Plan) -> None:
    """Dump, then parse, gives the same plan, and other readers of YAML take what is written."""
    text = dump(plan)
    assert parse(text, feature="x") == plan
    yaml.safe_load(text)


def test_long_prose_is_folded_and_long_titles_are_not() -> None:
    """A paragraph is broken at spaces and comes back whole; one with lines of its own keeps them."""
    long = "All that is to be done, in words. " * 9 + "end"
    plan = Plan(
        feature="x", summary=long, phases=(Phase(name=long, tasks=(Task(id="T1.1", title="x", acceptance=("x",)),)),)
    )
    text = dump(plan)
    assert "summary: >\n  All that" in text
    assert max(len(line) for line in text.partition("phases")[0].split("\n")) < 110
    assert parse(text, feature="x") == plan
    indented = plan.replace(summary="    x = 1\n\nis what it comes to")
    assert parse(dump(indented), feature="x") == indented


# In an answer


def answer(text: str) -> str:
    """The plan that is found, with its indentation out of the way."""
    found = find_in(text)
    assert found is not None
    return parse(found, feature="login").summary


def fenced(plan: str, mark: str = "yaml", fence: str = "```") -> str:
    return f"{fence}{mark}\n{plan}{fence}\n"


def numbered(summary: str) -> str:
    return LOGIN.replace("Tokens that end.", summary)


def test_the_last_marked_plan_of_an_answer_is_found() -> None:
    """Among blocks and prose the last one marked as YAML that has phases."""
    text = f"First:\n{fenced(numbered('one'))}Better:\n{fenced(numbered('two'), 'yml', '~~~')}"
    text = f"{text}As in:\n{fenced('a: b')}"
    assert answer(f"{text}{fenced(numbered('three'), '')}") == "two"


JSON = """\
{"summary": "Tokens that end.",
 "phases": [{"tasks": [{"id": "T1.1", "title": "x", "acceptance": "x"}]}]}
"""


@pytest.mark.parametrize(
    "text",
    [
        LOGIN,
        f"Here it is.\n\n{fenced(LOGIN, '')}\nDone.",
        textwrap.indent(fenced(LOGIN), "   "),
        textwrap.indent(fenced(LOGIN, "yaml", "~~~~"), "\t"),
        fenced(LOGIN, " YAML plan.yaml"),
        fenced(LOGIN).replace("\n", "\r\n"),
        f"```text\nphases: none\n```\n{fenced(LOGIN, '')}",
        f"```yaml\n{LOGIN}",
        fenced(JSON, "json"),
        fenced(LOGIN.replace("Clocks differ", "```sh\n          date\n          ```\n          Clocks differ")),
    ],
    ids=["bare", "unmarked", "indented", "tab", "words", "crlf", "text", "unclosed", "json", "nested"],
)
def test_a_plan_is_found_however_it_is_fenced(text: str) -> None:
    assert answer(text) == "Tokens that end."


def test_a_broken_plan_is_found_so_that_its_faults_can_be_told() -> None:
    """A block that is cut off, or is no YAML, is given back as it is; an answer without a plan gives None."""
    cut = find_in(f"Here:\n```yaml\n{LOGIN[:200]}")
    assert cut == LOGIN[:200]
    assert find_in("```yaml\nphases: [\n```") == "phases: ["
    assert find_in("I think there should be phases: three of them.") is None
    assert find_in("```python\nphases: int\n```") is None
    assert find_in("") is None


# What is asked of a plan


def test_tasks_come_after_what_they_depend_on_and_otherwise_in_place() -> None:
    """Order is that of dependencies, then of the plan; what is done is left out."""
    plan = of(T1_1="T2.1", T1_2="", T1_3="T1.1, T1.2", T2_1="", T2_2="")
    assert [task.id for task in order(plan, set())] == ["T1.2", "T2.1", "T1.1", "T1.3", "T2.2"]
    assert [task.id for task in order(plan, {"T2.1", "T1.2"})] == ["T1.1", "T1.3", "T2.2"]
    assert order(plan, {task.id for task in plan.tasks}) == []
    third = plan.task("T1.3")
    assert third is not None
    assert missing(plan, third, {"T1.1"}) == ["T1.2"]
    assert missing(plan, third, {"T1.1", "T1.2"}) == []


def test_circles_are_named_apart() -> None:
    """Each circle is one line; a task that merely leads to one is in none."""
    with pytest.raises(PlanError) as caught:
        of(T1_1="T1.2", T1_2="T1.1", T1_3="T1.1", T2_1="T2.3", T2_2="T2.1", T2_3="T2.2")
    assert sorted(caught.value.problems) == [
        "T1.1, T1.2 depend on each other in a circle",
        "T2.1, T2.2, T2.3 depend on each other in a circle",
    ]


def test_planning_again_keeps_the_tasks_that_stay() -> None:
    """By id and title, white space and case aside."""
    old = of(T1_1="", T1_2="", T1_3="")
    text = dump(of(T1_1="", T1_2="", T2_1="")).replace("title: x", "title: X ", 1)
    new = parse(text.replace("title: x", "title: y", 1), feature="x")
    found = changed(old, new)
    assert (found.kept, found.replaced, found.added, found.removed) == (("T1.1",), ("T1.2",), ("T2.1",), ("T1.3",))
    assert changed(None, old).added == ("T1.1", "T1.2", "T1.3")
