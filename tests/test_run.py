"""``run`` against the stand-in for the Messages API: what is sent, what is kept, what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gitsess.asking import Conversation, Wish, provider_of
from gitsess.cli.output import Style
from gitsess.cli.showing import _messages as shown_messages
from gitsess.commit import Commit
from gitsess.content import Content
from gitsess.names import session_name
from gitsess.providers.caching import lay_out, lifetime
from gitsess.providers.standin import Answer, Clock, Fault, StandIn
from gitsess.resume import context_of, sendable_messages
from gitsess.workspace import Surroundings, Workspace
from tests.conftest import PROGRAM, Repo

MODEL = "claude-sonnet-4-5"
NAME = session_name("plan-auth")


def bodies(api: StandIn) -> list[dict[str, Any]]:
    """The requests for messages that the stand-in received."""
    return [dict(r.body) for r in api.requests if r.path == "/v1/messages" and r.body is not None]


def texts(message: Mapping[str, Any]) -> list[str]:
    return [block["text"] for block in message["content"] if block["type"] == "text"]


def turns(repo: Repo, name: str = NAME) -> list[tuple[Commit, Content]]:
    workspace = repo.workspace()
    session = workspace.history.one(name)
    return list(workspace.history.contents(session.counted()))


class Talk:
    """Runs in this process, at a clock that the service shares: what a person does over days, in no time."""

    def __init__(self, repo: Repo, service: StandIn, clock: Clock) -> None:
        self.clock = clock
        self.environment = {
            **os.environ,
            "ANTHROPIC_BASE_URL": service.url,
            "ANTHROPIC_API_KEY": "key-for-the-stand-in",
        }
        around = Surroundings(environment=self.environment, cwd=repo.path, now=self.now)
        self.workspace = Workspace.open(around)
        self.provider = provider_of(self.environment)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def say(self, prompt: str, *, name: str = NAME, model: str = MODEL, **more: Any) -> Conversation:
        conversation = Conversation(self.workspace, session_name(name))
        wish = Wish(prompt=prompt, model=model, max_tokens=1000, **more)
        prepared = conversation.budgeted(conversation.prepare(wish), self.provider)
        answered = conversation.ask(prepared, self.provider, lambda _: None)
        assert answered.reply.failure is None, answered.reply.failure
        return conversation


@pytest.fixture
def clock() -> Clock:
    return Clock(start=1_780_000_000.0, frozen=True)


@pytest.fixture
def talk(repo: Repo, clock: Clock) -> Any:
    with StandIn(clock=clock) as service:
        made = Talk(repo, service, clock)
        made.service = service  # type: ignore[attr-defined]
        yield made
        # Left to the collector, the connection would be found open while some other test runs.
        made.provider.close()


def test_a_provider_that_was_closed_connects_anew(talk: Any) -> None:
    talk.say("Plan it")
    client = talk.provider._client
    talk.provider.close()
    assert client.is_closed()
    talk.say("Go on")
    assert talk.workspace.history.one(NAME).commits[-1].facts.seq == 2


def test_a_run_streams_the_answer_and_commits_the_turn(repo: Repo, api: StandIn) -> None:
    ran = repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL)
    [(commit, content)] = turns(repo)
    assert ran.out == content.response + "\n"
    assert content.prompt == "Plan it"
    assert commit.author.name == MODEL
    assert commit.facts.branch == "main"
    assert commit.facts.head == repo.git("rev-parse", "HEAD")
    [received] = [r for r in api.requests if r.path == "/v1/messages"]
    metrics = commit.facts.metrics
    assert metrics is not None
    assert received.usage is not None
    assert metrics.usage.input_tokens == received.usage["input_tokens"]
    assert metrics.usage.output_tokens == received.usage["output_tokens"]
    assert metrics.cost_usd == Decimal(3 * metrics.usage.input_tokens + 15 * metrics.usage.output_tokens) / 1_000_000
    assert content.requests[0]["request_id"] == received.request_id
    assert commit.facts.metrics is not None
    assert commit.facts.metrics.duration_ms is not None
    repo.fsck()


def test_a_run_says_model_context_and_cost_before_the_answer(repo: Repo, api: StandIn) -> None:
    first = repo.ai("run", "plan", "auth", "Plan it", "-m", "opus").err.splitlines()[0]
    assert first.startswith("plan-auth  opus-5-5  a new session")
    assert "about $" in first
    second = repo.ai("run", "plan", "auth", "Go on").err.splitlines()[0]
    assert "sonnet-5-5" in second
    assert "resumes 1 turn" in second


def test_another_model_is_not_promised_the_first_ones_cache(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 4000)
    talk.say("First", files=(("a.py", repo.path / "a.py"),))
    for model, cached in ((MODEL, True), ("claude-opus-4-5", False)):
        prepared = Conversation(talk.workspace, NAME).prepare(Wish(prompt="Second", model=model, max_tokens=100))
        assert bool(prepared.cached_tokens) is cached


def test_the_next_run_sends_the_conversation_so_far(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "First", "-m", MODEL)
    repo.ai("run", "plan", "auth", "Second", "-m", MODEL)
    first, second = bodies(api)
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][0] == first["messages"][0]
    assert second["system"] == first["system"]
    assert texts(second["messages"][1]) == [turns(repo)[0][1].response]
    assert texts(second["messages"][2]) == ["Second"]


def test_a_request_can_be_rebuilt_from_the_commit(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 2000)
    talk.say("First", files=(("a.py", repo.path / "a.py"),))
    talk.say("Second", system="Be brief. " * 600)
    sent = bodies(talk.service)[-1]  # type: ignore[attr-defined]
    history = talk.workspace.history
    found = history.one(NAME)
    [(_, content)] = history.contents([found.commits[-1]])
    assert content.params is not None
    assert content.params["system"] == [{"type": "text", "text": sent["system"][0]["text"]}]
    assert content.params["max_tokens"] == sent["max_tokens"]
    marks = [
        [i, j]
        for i, message in enumerate(sent["messages"])
        for j, block in enumerate(message["content"])
        if "cache_control" in block
    ]
    assert [place for place in content.params["breakpoints"] if place[0] >= 0] == marks


def test_files_go_along_once_and_again_when_they_change(repo: Repo, api: StandIn) -> None:
    path = repo.path / "a.py"
    path.write_text("print('one')\n")
    repo.ai("run", "plan", "auth", "Read it", "-f", "a.py", "-m", MODEL)
    again = repo.ai("run", "plan", "auth", "Again", "-f", "a.py", "-m", MODEL)
    assert "a.py is in the context already" in again.err
    path.write_text("print('two')\n")
    repo.ai("run", "plan", "auth", "Changed", "-f", "./a.py", "-m", MODEL)
    documents = [
        block["source"]["data"]
        for message in bodies(api)[-1]["messages"]
        for block in message["content"]
        if block["type"] == "document"
    ]
    assert documents == ["print('one')\n", "print('two')\n"]


def test_a_file_shares_its_blob_with_the_repository(repo: Repo, api: StandIn) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 400)
    repo.git("add", "a.py")
    repo.git("commit", "-qm", "a")
    repo.ai("run", "plan", "auth", "Read it", "-f", "a.py", "-m", MODEL)
    listed = repo.git("ls-tree", "-r", "refs/ai-sessions/plan-auth")
    assert repo.git("rev-parse", "HEAD:a.py") in listed


def test_another_session_is_read_in_once_and_then_only_what_is_new(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "The plan", "-m", MODEL)
    repo.ai("run", "implement", "auth", "Do it", "--with", "plan-auth", "-m", MODEL)
    [(commit, _)] = turns(repo, "implement-auth")
    plan = repo.session("plan-auth")
    assert commit.facts.context == (f"{plan.session_id}@{plan.commits[-1].facts.turn_id}",)
    sent = texts(bodies(api)[-1]["messages"][0])
    assert "The plan" in sent
    repeated = repo.ai("run", "implement", "auth", "More", "--with", "plan-auth", "-m", MODEL)
    assert "no new turns" in repeated.err
    repo.ai("run", "plan", "auth", "A second thought", "-m", MODEL)
    repo.ai("run", "implement", "auth", "More", "--with", "plan-auth", "-m", MODEL)
    sent = texts(bodies(api)[-1]["messages"][-1])
    assert "A second thought" in sent
    assert "The plan" not in sent


def test_the_second_turn_reads_from_the_cache_what_the_first_wrote(talk: Talk, repo: Repo) -> None:
    for number in range(5):
        (repo.path / f"{number}.py").write_text(f"x = {number}\n" * 1000)
    talk.say("First", files=tuple((f"{n}.py", repo.path / f"{n}.py") for n in range(5)))
    talk.clock.advance(60)
    talk.say("Second")
    talk.clock.advance(60)
    talk.say("Third")
    usages = [m.usage for m in (c.facts.metrics for c in talk.workspace.history.one(NAME).commits) if m is not None]
    first, second, third = usages
    assert first.cache_read_tokens == 0
    assert first.cache_write_tokens > 0.5 * first.prompt_tokens
    assert first.cache_write_tokens <= 0.8 * first.prompt_tokens
    assert second.cache_read_tokens == first.cache_write_tokens
    assert third.cache_read_tokens == second.cache_read_tokens + second.cache_write_tokens
    assert third.input_tokens < 20


def test_the_read_finds_the_first_entry_behind_more_than_twenty_blocks(talk: Talk, repo: Repo) -> None:
    files = []
    for number in range(120):
        path = repo.path / f"{number}.txt"
        path.write_text(f"line {number}\n" * 60)
        files.append((path.name, path))
    talk.say("First", files=tuple(files))
    talk.say("Second")
    usages = [c.facts.metrics.usage for c in talk.workspace.history.one(NAME).commits if c.facts.metrics is not None]
    assert usages[0].cache_write_tokens > 0
    assert usages[1].cache_read_tokens == usages[0].cache_write_tokens


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([], "5m"),
        ([10], "5m"),
        ([600], "1h"),
        ([86_400], None),
        ([60, 60, 60, 60, 50_000], "5m"),
        ([86_400, 60, 60, 60, 60, 60], "5m"),
        ([600, 600, 600, 600, 86_400], "1h"),
        ([7200] * 5, None),
    ],
)
def test_the_lifetime_follows_the_gaps(gaps: list[float], expected: str | None) -> None:
    """A lifetime is chosen where reads at such gaps save more than writes cost."""
    assert lifetime(gaps) == expected


def test_at_gaps_of_a_day_nothing_is_written_to_the_cache(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 4000)
    talk.say("First", files=(("a.py", repo.path / "a.py"),))
    talk.clock.advance(86_400)
    talk.say("Second")
    last = talk.workspace.history.one(NAME).commits[-1].facts.metrics
    assert last is not None
    assert (last.usage.cache_write_tokens, last.usage.cache_read_tokens) == (0, 0)


def test_at_gaps_of_ten_minutes_the_cache_lives_an_hour(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 4000)
    talk.say("First", files=(("a.py", repo.path / "a.py"),))
    for prompt in ("Second", "Third"):
        talk.clock.advance(600)
        talk.say(prompt)
    second, third = [c.facts.metrics for c in talk.workspace.history.one(NAME).commits[1:]]
    assert second is not None
    assert third is not None
    assert second.usage.cache_write_1h_tokens == second.usage.cache_write_tokens > 0
    assert third.usage.cache_read_tokens == second.usage.cache_write_tokens
    # An hour's write is priced at twice the input, not at five minutes' 1.25 times.
    assert second.cost_usd == (
        Decimal(3 * second.usage.input_tokens + 6 * second.usage.cache_write_tokens + 15 * second.usage.output_tokens)
        / 1_000_000
    )


def test_no_request_ever_has_more_than_four_breakpoints(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 4000)
    for number in range(6):
        talk.say(f"Turn {number}", system="Be brief. " * 1000, files=(("a.py", repo.path / "a.py"),))
        talk.clock.advance(30)
    for body in bodies(talk.service):  # type: ignore[attr-defined]
        assert json.dumps(body).count("cache_control") <= 4
    assert json.dumps(bodies(talk.service)[-1]).count("cache_control") >= 2  # type: ignore[attr-defined]


FAULTS_BEFORE: list[tuple[Fault, str]] = [
    (Fault(kind="status", status=429, retry_after=0.01, times=9), "rate limit"),
    (Fault(kind="status", status=500, times=9), "failed (500)"),
    (Fault(kind="status", status=529, times=9), "overloaded"),
    (Fault(kind="cut_before_first_byte", times=9), "cannot be reached"),
]
FAULTS_WITHIN: list[tuple[Fault, str]] = [
    (Fault(kind="cut", after_deltas=3), "broke off"),
    (Fault(kind="truncated", after_deltas=3), "broke off"),
    (Fault(kind="malformed", after_deltas=3), "cannot be read"),
    (Fault(kind="error_event", after_deltas=3), "overloaded in the middle"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS_BEFORE, ids=lambda v: v.kind if isinstance(v, Fault) else "")
def test_a_failure_before_the_answer_is_a_failed_turn_that_costs_nothing(
    repo: Repo, api: StandIn, fault: Fault, said: str
) -> None:
    api.fail(fault)
    ran = repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL, code=1)
    assert said in ran.err.splitlines()[-1]
    assert ran.err.splitlines()[-1].startswith("error: ")
    [(commit, content)] = turns(repo)
    assert (commit.facts.status, content.prompt, content.response) == ("error", "Plan it", "")
    assert commit.facts.metrics is not None
    assert commit.facts.metrics.cost_usd == 0


@pytest.mark.parametrize(("fault", "said"), FAULTS_WITHIN, ids=lambda v: v.kind if isinstance(v, Fault) else "")
def test_a_failure_within_the_answer_keeps_what_was_paid_for(repo: Repo, api: StandIn, fault: Fault, said: str) -> None:
    api.fail(fault)
    ran = repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL, code=1)
    assert said in ran.err.splitlines()[-1]
    [(commit, content)] = turns(repo)
    assert commit.facts.status == "error"
    assert content.response
    assert ran.out == content.response + "\n"
    metrics = commit.facts.metrics
    assert metrics is not None
    assert metrics.cost_basis == "estimated"
    assert metrics.usage.input_tokens > 0
    assert metrics.usage.output_tokens > 1
    repo.ai("run", "plan", "auth", "Go on", "-m", MODEL)
    sent = bodies(api)[-1]["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user"]
    assert texts(sent[1]) == [content.response]


@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_failure_that_passes_is_retried_in_silence(repo: Repo, api: StandIn, status: int) -> None:
    api.fail(Fault(kind="status", status=status, retry_after=0.01, times=2))
    repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL)
    [(commit, _)] = turns(repo)
    assert commit.facts.status == "ok"


def test_a_slow_first_byte_is_waited_for(repo: Repo, api: StandIn) -> None:
    api.fail(Fault(kind="slow", seconds=1.0))
    repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL)
    [(commit, _)] = turns(repo)
    assert commit.facts.metrics is not None
    assert (commit.facts.metrics.duration_ms or 0) >= 1000


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(kind="status", status=401), "ANTHROPIC_API_KEY"),
        (Fault(kind="status", status=400), "refused the request (400)"),
        (Fault(kind="status", status=404), "there is no model"),
    ],
    ids=["401", "400", "404"],
)
def test_a_refused_request_records_nothing(repo: Repo, api: StandIn, fault: Fault, said: str) -> None:
    api.fail(fault)
    ran = repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL, code=1)
    assert said in ran.err.splitlines()[-1]
    assert repo.refs() == []


def signals_by_default() -> None:
    """A job in the background, as the tests may be, hands on that it ignores ^C."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def begun(repo: Repo) -> Iterator[tuple[subprocess.Popen[bytes], bytes]]:
    """A run whose answer comes slowly, and the 90 bytes of it that have come."""
    with StandIn(chunk_delay=0.2) as service:
        environment = {**os.environ, "ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_API_KEY": "any"}
        command = [*PROGRAM, "run", "plan", "auth", "Plan it at length", "-m", MODEL]
        process = subprocess.Popen(
            command,
            cwd=repo.path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            preexec_fn=signals_by_default,
        )
        assert process.stdout is not None
        arrived = b""
        while len(arrived) < 90:
            arrived += process.stdout.read(90 - len(arrived))
        yield process, arrived


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_interrupting_keeps_what_had_arrived(repo: Repo, number: signal.Signals) -> None:
    """^C, a closed terminal and a plain kill alike."""
    with begun(repo) as (process, arrived):
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in err
    [(commit, content)] = turns(repo)
    assert commit.facts.status == "interrupted"
    assert content.response == (arrived + out).decode().removesuffix("\n")
    assert commit.facts.metrics is not None
    assert commit.facts.metrics.cost_basis == "estimated"


def test_a_reader_that_leaves_ends_the_answer_and_keeps_it(repo: Repo) -> None:
    with begun(repo) as (process, _):
        assert process.stdout is not None
        process.stdout.close()
        process.communicate(timeout=60)
    [(commit, content)] = turns(repo)
    assert commit.facts.status == "interrupted"
    assert content.response


def test_a_cut_answer_is_said_to_be_cut(repo: Repo, api: StandIn) -> None:
    ran = repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL, "--max-tokens", "30")
    assert "the answer was cut at 30 tokens (--max-tokens)" in ran.err
    [(_, content)] = turns(repo)
    assert content.requests[0]["stop_reason"] == "max_tokens"


def test_a_budget_stops_the_request_before_it_is_sent(repo: Repo, api: StandIn) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 20_000)
    ran = repo.ai("run", "plan", "auth", "Read", "-f", "a.py", "-m", MODEL, "--budget", "0.01", code=1)
    assert "would pass the budget of $0.01" in ran.err
    assert bodies(api) == []
    assert repo.refs() == []


def test_a_budget_bounds_the_answer(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "Plan", "-m", MODEL, "--budget", "$0.006")
    [body] = bodies(api)
    assert 256 <= body["max_tokens"] < 0.006 / 0.000015
    [(commit, _)] = turns(repo)
    assert commit.facts.metrics is not None
    assert commit.facts.metrics.cost_usd is not None
    assert commit.facts.metrics.cost_usd <= Decimal("0.006")


def test_a_budget_from_the_configuration_counts_too(repo: Repo, api: StandIn) -> None:
    repo.git("config", "ai-session.budget", "0.0001")
    ran = repo.ai("run", "plan", "auth", "Plan", "-m", MODEL, code=1)
    assert "would pass the budget" in ran.err


def test_a_dry_run_counts_and_sends_nothing(repo: Repo, api: StandIn) -> None:
    (repo.path / "a.py").write_text("print('hello')\n")
    ran = repo.ai("run", "plan", "auth", "Plan it", "-f", "a.py", "-n", "-m", MODEL)
    assert "print('hello')" in ran.out
    assert "Plan it" in ran.out
    assert "counted by the service" in ran.out
    assert "cost: about $" in ran.out
    assert bodies(api) == []
    assert repo.refs() == []
    counted = int(ran.out.partition("input tokens: ")[2].partition(",")[0].replace(",", ""))
    repo.ai("run", "plan", "auth", "Plan it", "-f", "a.py", "-m", MODEL)
    [received] = [r for r in api.requests if r.path == "/v1/messages"]
    assert received.usage is not None
    assert counted == received.usage["input_tokens"]


def test_a_dry_run_works_without_a_key(repo: Repo) -> None:
    ran = repo.ai("run", "plan", "auth", "Plan it", "--dry-run")
    assert "estimated from the text" in ran.out


def test_without_a_key_one_line_says_how_to_set_one(repo: Repo) -> None:
    ran = repo.ai("run", "plan", "auth", "Plan it", code=1)
    assert ran.err.startswith("error: no API key")
    assert "ANTHROPIC_API_KEY" in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_secrets_are_neither_sent_nor_stored(repo: Repo, api: StandIn) -> None:
    secret = "ghp_" + "k3J9dQ2mXv7RtB1nLc8ZsWy4HfPa6GuE0iTo"
    (repo.path / "a.env").write_text(f"GITHUB_TOKEN={secret}\n")
    ran = repo.ai("run", "plan", "auth", f"Use {secret}", "-f", "a.env", "--system", f"Key {secret}", "-m", MODEL)
    assert "redacted before sending" in ran.err
    assert secret not in json.dumps(bodies(api))
    assert "[redacted:" in texts(bodies(api)[0]["messages"][0])[-1]
    blobs = repo.git("cat-file", "--batch-all-objects", "--batch")
    assert secret not in blobs


def test_redactions_are_previewed_without_sending(repo: Repo, api: StandIn) -> None:
    secret = "ghp_" + "k3J9dQ2mXv7RtB1nLc8ZsWy4HfPa6GuE0iTo"
    ran = repo.ai("run", "plan", "auth", f"Use {secret}", "--show-redactions", "-m", MODEL)
    assert "[redacted:" in ran.out
    assert secret not in ran.out + ran.err
    assert api.requests == []


def test_use_sessions_false_runs_fresh_and_records_nothing(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "First", "-m", MODEL)
    repo.ai("run", "plan", "auth", "Second", "-m", MODEL, env={"USE_SESSIONS": "false"})
    assert len(bodies(api)[-1]["messages"]) == 1
    assert len(turns(repo)) == 1


def test_the_system_prompt_stays_until_another_is_given(repo: Repo, api: StandIn) -> None:
    (repo.path / "system.md").write_text("Answer in verse.")
    repo.ai("run", "plan", "auth", "One", "--system", "@system.md", "-m", MODEL)
    repo.ai("run", "plan", "auth", "Two", "-m", MODEL)
    assert [b["system"][0]["text"] for b in bodies(api)] == ["Answer in verse."] * 2


def test_the_json_of_a_run_is_the_recorded_turn(repo: Repo, api: StandIn) -> None:
    value = repo.ai("run", "plan", "auth", "Plan it", "-m", MODEL, "--json").json
    [(commit, content)] = turns(repo)
    assert value["turn"]["oid"] == commit.oid
    assert value["response"] == content.response
    assert value["stop_reason"] == "end_turn"


def test_the_prompt_can_come_from_standard_input(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "-", stdin="From a pipe", env=repo.environment)
    [(_, content)] = turns(repo)
    assert content.prompt == "From a pipe"


def test_the_model_of_the_environment_is_used(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "Plan", env={"AI_MODEL": "haiku"})
    assert bodies(api)[0]["model"] == "claude-haiku-5-5"


def test_a_captured_conversation_resumes_whatever_it_holds(repo: Repo, api: StandIn) -> None:
    """Unpaired calls, foreign tool names, thinking, empty answers: nothing that the service refuses is sent."""
    call = {"type": "tool_use", "id": "call:1", "name": "mcp.read file", "input": {"path": "a"}}
    entries: list[dict[str, Any]] = [
        {"prompt": "a", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [call]}]},
        {"prompt": "b", "response": ""},
        {
            "prompt": "c",
            "response": "d",
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "other", "content": "x"}]},
                {"role": "user", "content": "c"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "text", "text": ""},
                        {"type": "text", "text": "d"},
                    ],
                },
            ],
        },
        {"prompt": "e", "response": "f", "status": "interrupted"},
    ]
    repo.record("plan-auth", *entries)
    repo.ai("run", "plan", "auth", "Go on", "-m", MODEL)
    sent = bodies(api)[-1]
    assert sent["tools"][0]["name"] == "mcp_read_file"
    roles = [m["role"] for m in sent["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user", "assistant", "user"]
    assert sent["messages"][2]["content"][0]["is_error"] is True
    assert "thinking" not in json.dumps(sent["messages"])


def test_past_the_limit_the_oldest_turns_are_compacted(repo: Repo, api: StandIn) -> None:
    repo.git("config", "ai-session.maxContextTokens", "3k")
    for number in range(4):
        entry = {"prompt": f"Question {number}", "response": f"answer {number} " * 400, "model": MODEL}
        repo.record("plan-auth", entry)
    ran = repo.ai("run", "plan", "auth", "Go on", "-m", MODEL)
    assert "compacted" in ran.err
    session = repo.session("plan-auth")
    kinds = [c.facts.kind for c in session.commits]
    assert kinds == ["turn"] * 4 + ["compaction", "turn"]
    compaction = session.commits[4]
    ids = [c.facts.turn_id for c in session.commits]
    assert compaction.facts.compacts in ids[:4]
    sent = bodies(api)[-1]["messages"]
    assert "summary of our conversation" in texts(sent[0])[0]
    kept = 4 - 1 - ids.index(compaction.facts.compacts)
    assert len([m for m in sent if m["role"] == "assistant"]) == kept
    listed = repo.ai("list", "--json").json[0]
    assert listed["turns"] == 5
    assert listed["output_tokens"] > 0
    repo.ai("run", "plan", "auth", "And on", "-m", MODEL)
    assert [c.facts.kind for c in repo.session("plan-auth").commits][-1] == "turn"


def test_a_stale_lock_costs_no_answer(repo: Repo, api: StandIn) -> None:
    repo.ai("run", "plan", "auth", "One", "-m", MODEL)
    lock = repo.path / ".git/refs/ai-sessions/plan-auth.lock"
    lock.touch()
    ran = repo.ai("run", "plan", "auth", "Two", "-m", MODEL)
    assert ran.err.count("warning: ") == 1
    assert "kept in" in ran.err
    lock.unlink()
    assert "1 turn from the spool appended" in repo.ai("list").err
    assert [content.prompt for _, content in turns(repo)] == ["One", "Two"]


def test_savings_are_the_difference_of_two_prices(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 8000)
    for prompt in ("First", "Second", "Third"):
        talk.say(prompt, files=(("a.py", repo.path / "a.py"),))
        talk.clock.advance(60)
    repo.record("ask-else", {"prompt": "not ours", "model": MODEL, "usage": {"input_tokens": 10**6}})
    found = repo.ai("stats", "--savings", "--json").json
    usages = [c.facts.metrics.usage for c in repo.session(NAME).commits if c.facts.metrics is not None]
    asked = sum(u.prompt_tokens for u in usages)
    assert found["requests"] == 3
    assert found["prompt_tokens"] == asked
    assert found["full_price_tokens"] == sum(u.input_tokens + u.cache_write_tokens for u in usages)
    fresh = Decimal(3 * asked + 15 * sum(u.output_tokens for u in usages)) / 1_000_000
    assert Decimal(str(found["fresh_usd"])) == fresh
    assert Decimal(str(found["saved_usd"])) == fresh - Decimal(str(found["paid_usd"]))
    assert "Saved" in repo.ai("stats", "--savings").out


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda repo: (repo.path / "x").write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda repo: (repo.path / "x").write_bytes(b"a\0b"), "binary"),
        (lambda repo: (repo.path / "x").write_bytes(b""), "empty"),
        (lambda repo: None, "cannot be read"),
        (lambda repo: (repo.path / "x").mkdir(), "cannot be read"),
    ],
    ids=["encoding", "binary", "empty", "missing", "folder"],
)
def test_a_file_that_cannot_be_added_is_named(
    repo: Repo, api: StandIn, make: Callable[[Repo], object], said: str
) -> None:
    make(repo)
    ran = repo.ai("run", "plan", "auth", "Read", "-f", "x", code=2)
    assert ran.err.startswith("error: x ")
    assert said in ran.err
    assert api.requests == []


def test_an_empty_prompt_is_refused(repo: Repo, api: StandIn) -> None:
    assert "the prompt is empty" in repo.ai("run", "plan", "auth", "  ", code=2).err


def test_a_session_that_is_not_ours_is_refused_before_anything_is_paid_for(repo: Repo, api: StandIn) -> None:
    repo.git("update-ref", "refs/ai-sessions/plan-auth", "HEAD")
    ran = repo.ai("run", "plan", "auth", "Plan", code=1)
    assert "is not a turn" in ran.err
    assert api.requests == []


def test_an_unanswered_turn_is_no_context() -> None:
    assert sendable_messages(Content(prompt="asked", response="")) == ()


def test_a_breakpoint_stands_at_the_end_of_the_new_prompt(talk: Talk, repo: Repo) -> None:
    (repo.path / "a.py").write_text("x = 1\n" * 4000)
    talk.say("First", files=(("a.py", repo.path / "a.py"),))
    context = context_of(talk.workspace.history, talk.workspace.history.one(NAME))
    conversation = Conversation(talk.workspace, NAME)
    prepared = conversation.prepare(Wish(prompt="Second", model=MODEL, max_tokens=100))
    _, places = lay_out(prepared.request, gaps_s=[10.0], turns=context.turns)
    assert places[-1] == (len(prepared.request.messages) - 1, 0)


def test_an_answer_of_several_blocks_is_kept_whole(repo: Repo) -> None:
    with StandIn(answer=lambda _: Answer(text="So.", thinking="Let me see.")) as service:
        environment = {"ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_API_KEY": "any"}
        repo.ai("run", "plan", "auth", "Think", "-m", MODEL, env=environment)
    [(_, content)] = turns(repo)
    assert content.messages is not None
    kinds = [block["type"] for block in content.messages[-1]["content"]]
    assert "text" in kinds
    assert content.response.endswith("So.")


def test_the_turn_lasts_as_long_as_the_request_and_no_longer(repo: Repo, api: StandIn) -> None:
    """The SDK's import is not part of a turn's duration."""
    began = time.monotonic()
    repo.ai("run", "plan", "auth", "Plan", "-m", MODEL)
    whole_ms = (time.monotonic() - began) * 1000
    [(commit, _)] = turns(repo)
    assert commit.facts.metrics is not None
    assert commit.facts.metrics.duration_ms is not None
    assert commit.facts.metrics.duration_ms < whole_ms / 2


def test_what_is_ignored_from_the_start_does_not_end_the_answer(repo: Repo) -> None:
    """Under nohup a closed terminal changes nothing."""
    with StandIn(chunk_delay=0.05) as service:
        environment = {**os.environ, "ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_API_KEY": "any"}
        command = ["nohup", *PROGRAM, "run", "plan", "auth", "Plan it at length", "-m", MODEL]
        process = subprocess.Popen(
            command, cwd=repo.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0
    [(commit, _)] = turns(repo)
    assert commit.facts.status == "ok"


@pytest.mark.parametrize("odd", [5, [1], None, {"x": 1}, [{"type": "text", "text": "seen"}]])
def test_stored_blocks_of_any_shape_are_shown_and_resumed(odd: object) -> None:
    """What another tool stored as content is data: it is printed or passed over, never a crash."""
    result = {"type": "tool_result", "tool_use_id": "a", "content": odd}
    content = Content(
        prompt="p",
        response="r",
        messages=({"role": "user", "content": [7, result]}, {"role": "assistant", "content": odd}),
    )
    look = Style(False)
    assert any("it returned" in text for text in shown_messages(content, look))
    assert isinstance(sendable_messages(content), tuple)
