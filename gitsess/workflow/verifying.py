"""``verify``: with fresh eyes. The tests are run, and each criterion of the plan is judged by a model that has seen
nothing of the conversation; the verdict is a session of its own, of which nothing goes into the next one either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gitsess import answers, verdict
from gitsess.content import VERDICT
from gitsess.names import join
from gitsess.plan import Plan
from gitsess.text import clip, well_formed
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.verdict import Criterion, Verdict, VerdictError, Verification
from gitsess.workbench.testing import TestCommand, TestRun
from gitsess.workflow import events
from gitsess.workflow.asking import Said
from gitsess.workflow.bench import Bench
from gitsess.workflow.reviewing import written

UNIT, INTEGRATION, ACCEPTANCE = "unit", "integration", "acceptance"
KINDS = (UNIT, INTEGRATION, ACCEPTANCE)
_KEY = "criteria"


class Tested(Value):
    """A run of tests: ``kind`` is UNIT or INTEGRATION."""

    kind: str
    command: TestCommand
    run: TestRun


class Verified(Value):
    """``verdicts`` by criterion, None where they were not asked for or no answer came that fits; ``problems`` say why
    then. ``said`` is the last answer, None where nobody was asked."""

    tested: tuple[Tested, ...]
    criteria: tuple[Criterion, ...]
    verdicts: dict[str, Verdict] | None
    said: Said | None
    problems: tuple[str, ...]

    @property
    def verification(self) -> Verification:
        """As verify.json has it."""
        return Verification(
            criteria=self.criteria if self.verdicts is not None else (),
            verdicts=self.verdicts or {},
            tests=tuple(
                verdict.TestRun(kind=one.kind, command=one.command.shown, passed=one.run.passed, code=one.run.code)
                for one in self.tested
            ),
        )


def put(bench: Bench, feature: str, verified: Verified) -> None:
    """Records a verdict for which no model was asked."""
    text = f"Run the {' and the '.join(one.kind for one in verified.tested)} tests"
    events.put(
        bench.workspace,
        join("verify", feature),
        "task",
        text,
        output="\n\n".join(_told(one) for one in verified.tested),
        step={"name": "verify"},
        documents={VERDICT: written(verdict.to_json(verified.verification))},
    )


def judge(bench: Bench, feature: str, found: Plan, tested: Sequence[Tested]) -> Verified:
    """Has the criteria of the plan judged, and once more where the answer leaves one out."""
    criteria = tuple(verdict.criteria_of(found))
    values = {
        "feature": feature,
        "criteria": "\n".join(f"- {one.id}: {one.text}" for one in criteria),
        "output": "\n\n".join(_told(one) for one in tested),
    }
    verified = _asked(bench, feature, bench.templates.fill("verify", values), criteria, tested)
    said = verified.said
    if verified.verdicts is None and said is not None and said.failure is None and not said.interrupted:
        problems = verified.problems
        bench.asker.voice.note(f"the verdicts do not fit ({clip(problems[0], 100)}); they are asked for again")
        values["errors"] = "\n".join(f"- {problem}" for problem in problems)
        values["answer"] = said.text
        verified = _asked(bench, feature, bench.templates.fill("verify-again", values), criteria, tested)
    return verified


def _asked(
    bench: Bench, feature: str, prompt: str, criteria: tuple[Criterion, ...], tested: Sequence[Tested]
) -> Verified:
    redact = bench.workspace.redactor.text
    found: list[tuple[dict[str, Verdict] | None, tuple[str, ...]]] = []

    def verified(said: Said | None) -> Verified:
        verdicts, problems = found[-1]
        return Verified(tested=tuple(tested), criteria=criteria, verdicts=verdicts, said=said, problems=problems)

    def shape(turn: Turn) -> Turn:
        found.append(_verdicts_in(turn.response, criteria, redact))
        step = {"name": "verify"}
        if found[-1][0] is None:
            return replace(turn, step=step)
        return replace(turn, step=step, documents={VERDICT: written(verdict.to_json(verified(None).verification))})

    # Nothing of any conversation goes along, this session's own included.
    question = bench.question(join("verify", feature), prompt, fresh=True, feature=feature)
    said = bench.asker.ask(question, shape)
    if said.recorded is None:
        found.append(_verdicts_in(said.text, criteria, redact))
    return verified(said)


def _verdicts_in(
    answer: str, criteria: Sequence[Criterion], redact: Callable[[str], str]
) -> tuple[dict[str, Verdict] | None, tuple[str, ...]]:
    value = answers.find_json(redact(well_formed(answer)), key=_KEY)
    if value is None:
        return None, ("there is no fenced json block with 'criteria' in the answer",)
    try:
        return verdict.parse_verdicts(value, criteria), ()
    except VerdictError as error:
        return None, tuple(error.problems)


def _told(one: Tested) -> str:
    ended = "passed" if one.run.passed else f"failed, with the exit code {one.run.code}"
    return f"The {one.kind} tests ({one.command.shown}) {ended}:\n\n{one.run.output}"
