"""Templates: the language, whose file is used, what is refused, and that the built-in ones ask for what is read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess import review, templating, verdict
from gitsess.answers import find_json
from gitsess.errors import UsageError
from gitsess.plan import parsing
from gitsess.templating import BUILT_IN, MAX_BYTES, REPOSITORY, USER, USES, VARIABLES, Templates, faults, uses
from tests.conftest import PROGRAM, Repo

FOLDER = Path(templating.__file__).parent / "templates"


class Place:
    """A worktree and a person's folder, with templates written into either."""

    def __init__(self, folder: Path) -> None:
        self.top, self.user = folder / "top", folder / "own"
        self.top.mkdir()
        self.templates = Templates(self.top, self.user)

    def put(self, name: str, text: str | bytes, *, user: bool = False) -> Path:
        folder = self.user if user else self.top / ".ai-session/templates"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def fill(self, text: str, **values: str) -> str:
        """``text`` filled as the template 'review'."""
        self.put("review.md", text)
        return self.templates.fill("review", values)

    def refused(self, text: str) -> str:
        with pytest.raises(UsageError) as caught:
            self.fill(text)
        return str(caught.value)

    def checked(self) -> list[str]:
        below = re.escape(str(self.top.parent))
        return [re.sub(f"^{below}/(top/.ai-session/templates/)?", "", str(one)) for one in self.templates.check()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# The language


def test_values_are_put_in_and_never_looked_at_again(place: Place) -> None:
    """What a value holds is text, also where it looks like a variable, a part or an escape of a regular expression."""
    told = place.fill("{{feature}} {{ feature }}: {{diff}}\n", feature="{{diff}}", diff="{{#focus}}\\1{{files}}\n")
    assert told == "{{diff}} {{diff}}: {{#focus}}\\1{{files}}\n"
    assert place.fill("a{{description}}b {{ }} {{a.b}} ${{{ {x} {{#}}") == "ab {{ }} {{a.b}} ${{{ {x} {{#}}\n"


def test_a_part_is_kept_where_its_value_is_not_empty(place: Place) -> None:
    """With parts in parts, on their own lines and within a line; their lines leave nothing behind."""
    inner = "  D{{#focus}} of {{focus}}{{/focus}}\n  {{#files}}\nF\n{{/files}}\nE\n"
    text = f"a\n{{{{#diff}}}}\n{inner}{{{{/diff}}}}\nz{{{{#files}}}}!{{{{/files}}}}\n"
    assert place.fill(text) == "a\nz\n"
    assert place.fill(text, diff=" \n") == "a\nz\n"
    assert place.fill(text, diff="x") == "a\n  D\nE\nz\n"
    assert place.fill(text, diff="x", focus="y", files="f") == "a\n  D of y\nF\nE\nz!\n"
    assert place.fill(text, files="f") == "a\nz!\n"
    assert place.fill("{{#diff}}{{#diff}}x{{/diff}}{{/diff}}y", diff="1") == "xy\n"


def test_a_fault_is_refused_with_its_file_and_line(place: Place) -> None:
    """An unknown variable, with the nearest one that there is; a part without end, or without beginning."""
    path = f"{place.top}/.ai-session/templates/review.md"
    assert (
        place.refused("a\n{{#diff}}\n\n{{/diff}}\n{{Foucs}}")
        == f"{path}:5: there is no variable Foucs; did you mean focus?"
    )
    assert place.refused("{{zzz}}").startswith(f"{path}:1: there is no variable zzz; there are feature, description")
    assert place.refused("a\n{{#diff}}\n{{focus}}") == f"{path}:2: the part diff has no end: {{{{/diff}}}} is missing"
    assert place.refused("a {{/diff}}") == f"{path}:1: the part diff ends here and does not begin"
    assert (
        place.refused("{{#diff}}\n{{#focus}}\n{{/diff}}\n{{/focus}}")
        == f"{path}:3: the part diff ends before focus, begun in it on line 2"
    )


@given(st.text(st.sampled_from("{}#/ \nfeaturdi}{-x"), max_size=60) | st.text(max_size=30))
def test_any_text_is_filled_or_has_faults(text: str) -> None:
    """Without marks a text stays as it is; with them nothing but faults comes of it, on lines that there are."""
    known = VARIABLES["review"]
    for fault in faults(text, known):
        assert 1 <= fault.line <= text.count("\n") + 1
    if not uses(text):
        assert templating._filled(text, {}) == text.strip("\n") + "\n"


# Whose file is used


def test_the_repository_goes_before_the_person_and_both_before_what_is_built_in(place: Place) -> None:
    """And each template is looked for by itself."""
    assert place.templates.find("review").source == BUILT_IN
    own = place.put("review.md", "mine {{feature}}", user=True)
    found = place.templates.find("review")
    assert (found.source, found.path, found.text) == (USER, own, "mine {{feature}}")
    theirs = place.put("review.md", "\ufeffours\r\n{{feature}}\x1b[31m")
    found = place.templates.find("review")
    assert (found.source, found.path, found.text) == (REPOSITORY, theirs, "ours\n{{feature}}")
    assert place.templates.find("verify").source == BUILT_IN
    assert Templates(None, None).find("review").source == BUILT_IN
    assert Templates(None, place.user).find("review").source == USER
    with pytest.raises(UsageError, match="there is no template 'reveiw'; did you mean review"):
        place.templates.find("reveiw")
    with pytest.raises(UsageError, match=r"there is no template '\.\./\.\./x'"):
        place.templates.find("../../x")


def test_a_link_of_the_repository_does_not_lead_out(place: Place, tmp_path: Path) -> None:
    """Neither to a file outside nor to a secret inside, by the file or by a folder; within the folder it may lead, and
    one's own links may lead anywhere."""
    secret = tmp_path / "secret"
    secret.write_text("a key")
    (place.top / ".env").write_text("a key")
    folder = place.top / ".ai-session/templates"
    place.put("plan.md", "ours")
    for target in (secret, place.top / ".env", Path("../../.env")):
        link = folder / "review.md"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(UsageError, match=r"review.md is a link that leads out of .ai-session"):
            place.templates.find("review")
    (folder / "verify.md").symlink_to("plan.md")
    assert place.templates.find("verify").text == "ours"
    (folder / "escalate.md").symlink_to("nothing")
    (folder / "system.md").symlink_to("system.md")
    for name, why in (("escalate", "leads nowhere"), ("system", "leads in a circle|cannot be read")):
        with pytest.raises(Exception, match=why):
            place.templates.find(name)
    place.user.mkdir()
    (place.user / "implement.md").symlink_to(secret)
    assert place.templates.find("implement").text == "a key"
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    (other.top / ".ai-session").symlink_to(place.top / ".ai-session")
    with pytest.raises(UsageError, match="leads out"):
        other.templates.find("plan")
    assert "is a link that leads out of .ai-session" in str(other.templates.check()[0])


def test_a_top_that_is_reached_through_a_link_is_no_link_that_leads_out(place: Place, tmp_path: Path) -> None:
    """As where the temporary folder, or the home, is a link."""
    place.put("plan.md", "ours")
    (tmp_path / "link").symlink_to(place.top)
    assert Templates(tmp_path / "link", None).find("plan").text == "ours"


def test_what_cannot_be_a_text_is_refused(place: Place) -> None:
    """Other bytes than UTF-8, more than 256 KiB, a folder."""
    for text, why in ((b"\xff", "not UTF-8"), (b"x" * (MAX_BYTES + 1), "larger than 256 KiB")):
        place.put("review.md", text)
        with pytest.raises(UsageError, match=f"review.md .*{why}"):
            place.templates.find("review")
    place.put("review.md", b"x" * MAX_BYTES)
    assert len(place.templates.find("review").text) == MAX_BYTES
    (place.top / ".ai-session/templates/plan.md").mkdir()
    with pytest.raises(Exception, match=r"plan\.md"):
        place.templates.find("plan")


@pytest.mark.parametrize("nothing", [b"", b" \r\n\n"])
def test_a_file_that_holds_nothing_is_as_if_it_were_not_there(nothing: bytes, place: Place) -> None:
    """The next one is used; it takes nobody's place, and is named by a note."""
    place.put("review.md", nothing)
    assert place.templates.find("review").source == BUILT_IN
    assert place.templates.overriding() == 0
    place.put("review.md", "{{feature}} {{description}} {{diff}} {{files}} {{focus}}", user=True)
    assert place.templates.find("review").source == USER
    assert [one.source for one in place.templates.standings() if one.name == "review"] == [USER]
    assert place.checked() == ["review.md: note: is empty, and passed over"]
    assert place.templates.overriding() == 1


# Checking


def test_what_looks_like_a_mark_and_is_none_is_noted(place: Place) -> None:
    """It goes out as it stands, which may be meant."""
    place.put("review-again.md", "{{#errors}}\n{{errors}}\n{{/errors}}\n{{#if errors}} and {{ errors\n\n{{{errors}}}\n")
    assert place.checked() == [
        "review-again.md:4: note: '{{#if errors}}' is no variable and no part, and goes out as it stands",
        "review-again.md:4: note: '{{ errors' is no variable and no part, and goes out as it stands",
    ]


def test_every_fault_of_every_file_is_told(place: Place) -> None:
    """Faults with file and line; variables left out, and files that are not used, as notes; README and hidden files
    are nobody's business."""
    place.put("review.md", "{{x}}\n{{#diff}}\n{{foucs}}")
    place.put("reviews.md", "x")
    place.put("verify.txt", "x")
    place.put("plan.md", b"\xff")
    place.put("README.md", "x")
    place.put(".gitignore", "x")
    place.put("review.md", "{{feature}} {{description}} {{diff}} {{files}} {{focus}}", user=True)
    place.put("review-again.md", "Again.", user=True)
    place.put("notes~", "x", user=True)
    assert place.checked() == [
        "plan.md: is not UTF-8",
        f"review.md:1: there is no variable x; there are {', '.join(VARIABLES['review'])}",
        "review.md:2: the part diff has no end: {{/diff}} is missing",
        "review.md:3: there is no variable foucs; did you mean focus?",
        "review.md: note: does not use files: the names of the files to look at, a line each; they go along with the"
        " prompt",
        "review.md: note: does not use feature: the feature's name",
        "review.md: note: does not use description: what was said of the feature when it was started",
        "review.md: note: does not use focus: what to look at above all, a line each",
        "reviews.md: is the file of no template; did you mean review.md?",
        "verify.txt: is the file of no template; did you mean verify.md?",
        "own/notes~: is the file of no template",
        "own/review-again.md: note: does not use errors: what was wrong with the answer, a line each",
        "own/review.md: note: is not used here: the repository has its own",
    ]
    assert Templates(None, None).check() == []
    assert Templates(place.top / "nothing", place.top / "nothing").check() == []


# Those that are built in


def test_there_is_a_file_for_every_template_and_no_other() -> None:
    """Names, uses and files agree."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.md" for name in VARIABLES}
    assert list(USES) == list(VARIABLES)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_built_in_template_reads_well_whatever_is_known(name: str) -> None:
    """It has no faults; with no value but those that there always are, with all, and with each one besides, no mark is
    left, and no two blank lines."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert faults(text, VARIABLES[name]) == []
    everything = {variable: f"<<{variable}>>" for variable in VARIABLES[name]}
    templates = Templates(None, None)
    always = dict.fromkeys(("errors", "criteria", "output"), "x")
    for values in ({}, everything, *({variable: "x"} for variable in everything)):
        filled = templates.fill(name, always | values)
        assert "{{" not in filled
        assert "\n\n\n" not in filled
    filled = templates.fill(name, everything)
    for variable in uses(text):
        assert f"<<{variable}>>" in filled or (variable == "files" and name == "review")


def test_the_forms_that_are_asked_for_are_those_that_are_read() -> None:
    """The example in each prompt is found and taken as an answer would be."""
    templates = Templates(None, None)
    text = parsing.find_in(templates.fill("plan", {"feature": "login"}))
    assert text is not None
    made = parsing.parse(text, feature="rate-limit")
    assert [task.id for task in made.tasks] == ["T1.1", "T2.1"]
    assert made.tasks[1].depends_on == ("T1.1",)
    found = review.parse(find_json(templates.fill("review", {}), key=review.KEY))
    assert set(re.findall(r"- `(\w+)`: ", templates.fill("review", {}))) == set(review.SEVERITIES)
    assert set(re.findall(r"`(\w+)`", re.findall(r"Kinds: .*", templates.fill("review", {}))[0])) == set(review.KINDS)
    assert found.findings[0].line == 42
    criterion = verdict.Criterion(id="T1.1/1", task="T1.1", text="x")
    value = find_json(templates.fill("verify", {}), key=verdict.KEY)
    assert verdict.parse_verdicts(value, [criterion])["T1.1/1"].evidence
    assert set(re.findall(r"^- `(\w+)`: ", templates.fill("verify", {}), re.MULTILINE)) == set(verdict.VERDICTS)


# The verb


def test_templates_are_listed_shown_and_checked(repo: Repo, tmp_path: Path) -> None:
    """By the program: where each comes from, its text and its variables; a fault is exit code 1."""
    assert repo.ai("template", "check").err == "all templates are built in\n"
    folder = repo.path / ".ai-session/templates"
    folder.mkdir(parents=True)
    (folder / "review.md").write_text("Look at {{diff}}.\n")
    own = tmp_path / "home/.config/gitsess/templates"
    own.mkdir(parents=True)
    (own / "verify.md").write_text("Judge {{criteria}}.\n")

    listed = repo.ai("template", "list").out
    assert re.search(r"^  review +repository  \.ai-session/templates/review\.md$", listed, re.MULTILINE)
    assert re.search(r"^  plan +built in    plan: the first question$", listed, re.MULTILINE)
    assert "~/.config/gitsess/templates/verify.md" in listed
    assert max(map(len, listed.splitlines())) <= 80
    rows: list[Any] = repo.ai("template", "list", "--json").json
    assert [row["name"] for row in rows] == list(VARIABLES)
    assert {row["name"]: row["source"] for row in rows}["verify"] == "user"

    assert repo.ai("template", "show", "review").out == "Look at {{diff}}.\n"
    table = repo.ai("template", "show", "review", "--variables").out
    assert re.search(r"^  diff +yes +the changes to look at", table, re.MULTILINE)
    shown = repo.ai("template", "show", "review", "--json").json
    assert (shown["source"], shown["text"]) == ("repository", "Look at {{diff}}.\n")
    assert shown["variables"]["focus"] == "what to look at above all, a line each"

    ran = repo.ai("template", "check")
    assert "note: does not use focus" in ran.out
    assert ran.err == "2 templates of your own, no fault\n"
    (folder / "review.md").write_text("{{dif}}")
    ran = repo.ai("template", "check", code=1)
    assert f"{folder}/review.md:1: there is no variable dif; did you mean diff?" in ran.out
    assert [one["line"] for one in repo.ai("template", "check", "--json", code=1).json if not one["note"]] == [1]
    (folder / "review.md").write_bytes(b"\xff")
    ran = repo.ai("template", "list", code=1)
    assert "warning: review: " in ran.err
    assert re.search(r"^  review +broken +\.ai-session/templates/review\.md$", ran.out, re.MULTILINE)
    assert len(ran.out.splitlines()) == 1 + len(VARIABLES)
    rows = repo.ai("template", "list", "--json", code=1).json
    assert {row["name"]: row["problem"] for row in rows if row["problem"]} == {
        "review": f"{folder}/review.md is not UTF-8"
    }
    (folder / "review.md").write_text("{{#diff}}")
    assert "  review                 broken" in repo.ai("template", "list", code=1).out


def test_the_way_to_begin_that_is_documented_works(repo: Repo) -> None:
    """The shell empties the file before the template that is to go there is read."""
    made = repo.path / ".ai-session/templates/review.md"
    made.parent.mkdir(parents=True)
    for _ in range(2):
        with made.open("wb") as out:
            subprocess.run([*PROGRAM, "template", "show", "review"], cwd=repo.path, stdout=out, check=True)
        assert made.read_bytes() == (FOLDER / "review.md").read_bytes()
    assert repo.ai("template", "check").err == "1 template of your own, no fault\n"


def test_templates_are_shown_outside_of_a_repository_too(repo: Repo, tmp_path: Path) -> None:
    """Those that are built in, and one's own; what is asked wrongly is told."""
    assert "Plan the work" in repo.ai("template", "show", "plan", cwd=tmp_path).out
    assert "name the template: plan, " in repo.ai("template", "show", code=2, cwd=tmp_path).err
    assert "did you mean review?" in repo.ai("template", "show", "reviw", code=2, cwd=tmp_path).err
    assert "are for show" in repo.ai("template", "list", "plan", code=2, cwd=tmp_path).err
