"""``review`` and ``verify``: what is wrong, and whether it is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from gitsess import review, verdict
from gitsess.cli.benching import At, at_work, files_of, said_json, sessions_of, unanswered
from gitsess.cli.output import Style, print_json, print_lines, style
from gitsess.errors import GitsessError, InvalidName, NotFound, UsageError
from gitsess.text import clip, one_line, plural
from gitsess.workbench.testing import TestCommand
from gitsess.workflow import features, plans, reviewing, verifying
from gitsess.workflow.verifying import ACCEPTANCE, INTEGRATION, KINDS, UNIT, Tested, Verified
from gitsess.workspace import Surroundings

SEVERITIES = review.SEVERITIES
_COLUMNS = 100


def review_feature(around: Surroundings, values: dict[str, Any]) -> int:
    try:
        return _review(around, values)
    except (NotFound, InvalidName) as error:
        name = values["feature"]
        if name is None or not os.path.isfile(name):
            raise
        told = f"{error}; files come after the feature: 'git ai-session review FEATURE {one_line(name)}'"
        raise type(error)(told) from None


def _review(around: Surroundings, values: dict[str, Any]) -> int:
    if values["files"] and values["diff"] is not None:
        raise UsageError("give either FILES or --diff")
    with at_work(around, values) as at:
        files = files_of({"file": values["files"]})
        subject = reviewing.subject_of(at.bench, at.feature, files, values["diff"])
        focuses = [focus for focus in reviewing.FOCUSES if values[focus]]
        at.teller.note(f"reviews {subject.text}")
        done = reviewing.make(at.bench, at.feature, subject, focuses, sessions=sessions_of(values))
        if done.review is None:
            code = unanswered(done.said)
            if code is None:
                raise reviewing.refusal(f"review-{at.feature}", done.problems, "findings")
            return code
        grave = review.at_least(done.review, values["fail_on"]) if values["fail_on"] else []
        if values["json"]:
            print_json({**review.to_json(done.review), **said_json(at, done.said)})
        else:
            look = style(around.environment)
            print_lines(one_line(line) for line in review.lines(done.review))
            print(look.dim(_said(done.review)))
        return 1 if grave else 0


def _said(found: review.Review) -> str:
    counts = {word: sum(one.severity == word for one in found.findings) for word in SEVERITIES}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{plural(len(found.findings), 'finding')}: {told}" if told else "no findings"


def verify(around: Surroundings, values: dict[str, Any]) -> int:
    wanted = [kind for kind in KINDS if values[kind]]
    everything = values["all"] or not wanted
    if values["all"] and wanted:
        raise UsageError(f"--all is all of them: leave --{wanted[0]} out")
    with at_work(around, values) as at:
        found = features.sessions(at.workspace, at.feature)
        current = plans.current(at.workspace, found)
        if current is None and (everything or ACCEPTANCE in wanted):
            raise NotFound(f"{at.feature} has no plan, and so no criteria: 'git ai-session plan {at.feature} \"…\"'")
        tested = tuple(_tested(at, *one) for one in _commands(at, wanted, everything))
        if current is not None and (everything or ACCEPTANCE in wanted):
            done = verifying.judge(at.bench, at.feature, current.plan, tested)
        else:
            done = Verified(tested=tested, criteria=(), verdicts=None, said=None, problems=())
            if at.workspace.settings.enabled:
                verifying.put(at.bench, at.feature, done)
        if done.said is not None and done.verdicts is None:
            code = unanswered(done.said)
            if code is None:
                raise reviewing.refusal(f"verify-{at.feature}", done.problems, "verdicts")
            return code
        passed = done.verification.passed
        if values["json"]:
            print_json({**verdict.to_json(done.verification), **said_json(at, done.said)})
        else:
            print_lines(_lines(done, style(around.environment)))
        return 0 if passed else 1


def _commands(at: At, wanted: list[str], everything: bool) -> list[tuple[str, TestCommand]]:
    """The tests that are asked for, with all of them those that there are; raises GitsessError before any is run."""
    found = []
    for kind, command in ((UNIT, at.bench.test_command()), (INTEGRATION, at.bench.integration_command())):
        if not everything and kind not in wanted:
            continue
        setting = "testCommand" if kind == UNIT else "integrationTestCommand"
        if command is not None:
            found.append((kind, command))
        elif kind in wanted:
            raise GitsessError(
                f"there are no {kind} tests to be seen: 'git config ai-session.{setting} \"…\"' names their command"
            )
        else:
            at.teller.note(f"no {kind} tests are to be seen; ai-session.{setting} would name them")
    return found


def _tested(at: At, kind: str, command: TestCommand) -> Tested:
    at.teller.testing(command)
    run = at.bench.test(command)
    at.teller.tested(kind, run, run.passed)
    return Tested(kind=kind, command=command, run=run)


def _lines(done: Verified, look: Style) -> Iterator[str]:
    judged = {} if done.verdicts is None else done.verdicts
    rows = [("pass" if one.run.passed else "fail", f"{one.kind} tests: {one.command.shown}", "") for one in done.tested]
    for criterion in done.criteria if done.verdicts is not None else ():
        found = judged[criterion.id]
        evidence = "" if found.verdict == "pass" else one_line(found.evidence)
        rows.append((found.verdict, f"{criterion.id}  {one_line(criterion.text)}", evidence))
    colours = {"pass": look.green, "fail": look.red, "unclear": look.yellow}
    room = max((len(word) for word, _, _ in rows), default=0)
    for word, text, evidence in rows:
        yield f"{colours[word](word)}{' ' * (room - len(word))}  {clip(text, _COLUMNS)}"
        if evidence:
            yield look.dim(f"{' ' * (room + 4)}{clip(evidence, _COLUMNS)}")
    verification = done.verification
    met = sum(one.verdict == "pass" for one in verification.verdicts.values())
    parts = []
    if done.tested:
        parts.append(f"{sum(one.run.passed for one in done.tested)} of {plural(len(done.tested), 'test run')} passed")
    if verification.criteria:
        parts.append(f"{met} of {len(verification.criteria)} criteria met")
    ended = look.green("verified") if verification.passed else look.red("not verified")
    yield f"{ended}: {', '.join(parts) or 'nothing was looked at'}"
