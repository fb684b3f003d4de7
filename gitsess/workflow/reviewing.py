"""``review``: findings on files or on a diff, as ``file:line: severity: text``, and beside the answer as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gitsess import answers, review, strictjson
from gitsess.content import REVIEW
from gitsess.errors import FormatError, UsageError
from gitsess.history import Session
from gitsess.model import SessionName
from gitsess.names import join
from gitsess.review import Review, ReviewError
from gitsess.text import clip, one_line, plural, well_formed
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workbench import changes
from gitsess.workflow import features
from gitsess.workflow.asking import Said
from gitsess.workflow.bench import Bench

FOCUSES = {
    "security": "security: what an attacker could make of it, from input to storage; secrets; permissions",
    "performance": "performance: work that grows with the data, is done twice, or holds up what waits for it",
    "architecture": "architecture: what depends on what, where the same is said twice, what is hard to change later",
}
"""What a review may look at above all, by the option that says so."""
_KEY = "findings"


class Subject(Value):
    """What is reviewed: ``text`` for people, and the diff or the files."""

    text: str
    diff: str = ""
    files: tuple[tuple[str, Path], ...] = ()


class Reviewed(Value):
    """``review`` is None where no answer came that fits; ``problems`` say why then."""

    said: Said
    review: Review | None
    problems: tuple[str, ...]


def subject_of(bench: Bench, feature: str, files: tuple[tuple[str, Path], ...], spec: str | None) -> Subject:
    """The files, the range, or where neither is given what has changed since the feature was begun."""
    git = bench.workspace.git
    if files:
        return Subject(text=", ".join(one_line(title) for title, _ in files), files=files)
    if spec is not None:
        found, text = changes.diff(git, bench.top, spec), one_line(spec)
    else:
        since = _since(features.sessions(bench.workspace, feature))
        found = changes.diff(git, bench.top, since or "HEAD")
        text = "what has changed since the feature was begun" if since else "what is not committed"
    if not found.strip():
        raise UsageError(f"there is nothing to review: {text} is empty; name files, or --diff RANGE")
    return Subject(text=text, diff=found)


def _since(found: Sequence[Session]) -> str | None:
    """HEAD as it was at the first turn of the feature that knows it."""
    heads = [(item.committed_at, item.facts.head) for session in found for item in session.commits if item.facts.head]
    return min(heads)[1] if heads else None


def make(
    bench: Bench, feature: str, subject: Subject, focuses: Sequence[str], *, sessions: tuple[SessionName, ...] = ()
) -> Reviewed:
    """Asks for the findings, and once more with what is wrong with the answer where it does not fit."""
    values = {
        "feature": feature,
        "description": features.description(bench.workspace, features.sessions(bench.workspace, feature)),
        "diff": bench.workspace.redactor.text(well_formed(subject.diff)),
        "files": "\n".join(f"- {title}" for title, _ in subject.files),
        "focus": "\n".join(f"- {FOCUSES[focus]}" for focus in focuses),
    }
    session = join("review", feature)
    prompt = bench.templates.fill("review", values)
    said, made, problems = _asked(bench, session, prompt, subject.files, sessions, feature)
    if made is None and said.failure is None and not said.interrupted:
        bench.asker.voice.note(f"the findings do not fit ({clip(problems[0], 100)}); they are asked for again")
        errors = "\n".join(f"- {problem}" for problem in problems)
        prompt = bench.templates.fill("review-again", {**values, "errors": errors})
        said, made, problems = _asked(bench, session, prompt, (), (), feature)
    return Reviewed(said=said, review=made, problems=problems)


def _asked(
    bench: Bench,
    session: SessionName,
    prompt: str,
    files: tuple[tuple[str, Path], ...],
    sessions: tuple[SessionName, ...],
    feature: str,
) -> tuple[Said, Review | None, tuple[str, ...]]:
    redact = bench.workspace.redactor.text
    found: list[tuple[Review | None, tuple[str, ...]]] = []

    def shape(turn: Turn) -> Turn:
        found.append(_review_in(turn.response, redact))
        made = found[-1][0]
        return turn if made is None else replace(turn, documents={REVIEW: written(review.to_json(made))})

    question = bench.question(session, prompt, files=files, sessions=sessions, feature=feature)
    said = bench.asker.ask(question, shape)
    made, problems = found[-1] if said.recorded is not None else _review_in(said.text, redact)
    return said, made, problems


def _review_in(answer: str, redact: Callable[[str], str]) -> tuple[Review | None, tuple[str, ...]]:
    value = answers.find_json(redact(well_formed(answer)), key=_KEY)
    if value is None:
        return None, ("there is no fenced json block with 'findings' in the answer",)
    try:
        return review.parse(value), ()
    except ReviewError as error:
        return None, tuple(error.problems)


def written(value: object) -> str:
    """A document of JSON, as it is kept."""
    return strictjson.dumps(value) + "\n"


def refusal(feature: str, problems: Sequence[str], what: str) -> FormatError:
    """The error of an answer that does not fit."""
    more = f" and {plural(len(problems) - 1, 'more fault')}" if len(problems) > 1 else ""
    first = clip(one_line(problems[0]), 120) if problems else "it is empty"
    return FormatError(f"the model gave no {what} that fit: {first}{more}; its answers are in {feature}: ask again")
