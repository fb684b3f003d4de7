"""The vectors that docs/format.md refers to, held against the package and against git itself."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gitsess import commit, content, names, strictjson, trailers
from gitsess.agents.captured import turn_id_of
from gitsess.commit import Person
from gitsess.content import Content
from gitsess.errors import FormatError, NewerFormat
from gitsess.history import reading_order
from gitsess.model import Oid
from gitsess.money import format_usd
from gitsess.names import session_name
from gitsess.report import row_of, total_of
from gitsess.store import Store
from gitsess.store.libgit import LibgitStore
from gitsess.store.plumbing import PlumbingStore
from gitsess.text import subject, width
from tests.conftest import NOON, Repo, turn

VECTORS = Path(__file__).parent / "vectors"
FORMATS = ("sha1", "sha256")
TREES = {"sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}
TREES["sha256"] = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"


def vectors(name: str) -> Any:
    return strictjson.loads((VECTORS / f"{name}.json").read_bytes(), what=name)


def commits(object_format: str) -> list[dict[str, Any]]:
    return list(vectors(f"commits-{object_format}")["commits"])


def named(items: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(item, id=item["name"]) for item in items]


CONTENTS = {item["name"]: item for item in vectors("contents")}
BY_FORMAT = {form: {item["name"]: item for item in commits(form)} for form in FORMATS}
PAIRS = [(form, item) for form, items in BY_FORMAT.items() for item in items.values()]
EVERY_COMMIT = [pytest.param(form, item, id=f"{form} {item['name']}") for form, item in PAIRS]
EVERY_MERGE = [
    pytest.param(form, item, id=f"{form} {item['name']}")
    for form, item in PAIRS
    if ["AI-Kind", "merge"] in item["trailers"]
]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture
def repository(tmp_path: Path) -> Callable[[str], Repo]:
    """Makes an empty repository of an object format."""

    def make(object_format: str) -> Repo:
        path = tmp_path / object_format
        subprocess.run(["git", "init", "-q", "--bare", f"--object-format={object_format}", str(path)], check=True)
        return Repo(path=path)

    return make


def hash_objects(repo: Repo, kind: str, datas: list[bytes]) -> list[str]:
    """Objects written by git, which checks each: their oids, by one process."""
    paths = []
    for number, data in enumerate(datas):
        path = repo.path / f"{kind}-{number}"
        path.write_bytes(data)
        paths.append(f"{path}\n")
    return repo.git(
        "hash-object", "-w", "-t", kind, "--no-filters", "--stdin-paths", stdin="".join(paths).encode()
    ).split()


def write_contents(repo: Repo, store: Store) -> None:
    """The trees of every content vector, by a store; asserts their oids."""
    object_format = repo.git_handle.repository.object_format
    for item in CONTENTS.values():
        files = {path: text.encode() for path, text in item["files"].items()}
        assert store.write_tree(files) == item["tree"][object_format], item["name"]


@pytest.mark.parametrize("object_format", FORMATS)
def test_git_gives_the_commits_the_same_oids_and_finds_no_fault(
    object_format: str, repository: Callable[[str], Repo]
) -> None:
    """Trees by our store, commits by ``git hash-object``, and ``git fsck --strict`` over all of it."""
    repo = repository(object_format)
    write_contents(repo, PlumbingStore(repo.git_handle))
    items = commits(object_format)
    oids = hash_objects(repo, "commit", [item["bytes"].encode() for item in items])
    assert oids == [item["oid"] for item in items]
    for number, item in enumerate(items):
        repo.git("update-ref", f"refs/ai-sessions/vector-{number}", item["oid"])
    repo.fsck()


def test_both_stores_write_the_same_objects(repository: Callable[[str], Repo]) -> None:
    """libgit2 gives the trees and commits the oids that git gave them."""
    repo = repository("sha1")
    store = LibgitStore(repo.git_handle.repository)
    write_contents(repo, store)
    for item in commits("sha1"):
        assert store.write_commit(item["bytes"].encode()) == item["oid"]


@pytest.mark.parametrize(("object_format", "item"), EVERY_COMMIT)
def test_a_commit_is_encoded_to_its_exact_bytes(object_format: str, item: dict[str, Any]) -> None:
    """From people, dates, subject and trailers to the bytes, and their hash is the oid."""
    known = BY_FORMAT[object_format]
    pairs = [(key, text) for key, text in item["trailers"]]
    data = commit.encode(
        tree=Oid(CONTENTS[item["tree"]]["tree"][object_format]),
        parents=[Oid(known[name]["oid"]) for name in item["parents"]],
        author=Person(name=item["author"]["name"], email=item["author"]["email"]),
        authored_at=moment(item["author"]["at"]),
        committer=Person(name=item["committer"]["name"], email=item["committer"]["email"]),
        committed_at=moment(item["committer"]["at"]),
        message=f"{item['subject']}\n\n{trailers.write(pairs)}",
    )
    assert data == item["bytes"].encode()
    header = b"commit %d\0" % len(data)
    assert hashlib.new(object_format, header + data).hexdigest() == item["oid"]


@pytest.mark.parametrize(("object_format", "item"), EVERY_COMMIT)
def test_a_commit_is_read_and_written_again_without_a_change(object_format: str, item: dict[str, Any]) -> None:
    """Every trailer is understood: from the facts alone the same message is made."""
    raw = item["bytes"].encode()
    read = commit.decode(Oid(item["oid"]), raw)
    message = raw.partition(b"\n\n")[2]
    assert [list(pair) for pair in trailers.parse(message)] == item["trailers"]
    assert commit.message_of(read.subject, read.facts).encode() == message
    assert (read.author.name, read.author.email) == (item["author"]["name"], item["author"]["email"])
    assert (read.authored_at, read.committed_at) == (moment(item["author"]["at"]), moment(item["committer"]["at"]))
    assert list(read.parents) == [BY_FORMAT[object_format][name]["oid"] for name in item["parents"]]


@pytest.mark.parametrize(("object_format", "item"), EVERY_COMMIT)
def test_a_commit_says_the_same_in_its_header_and_its_trailers(object_format: str, item: dict[str, Any]) -> None:
    """Author, subject, number, epoch and the place of the session id follow from the rest."""
    known = BY_FORMAT[object_format]
    facts = commit.decode(Oid(item["oid"]), item["bytes"].encode()).facts
    parents = [commit.decode(Oid(known[p]["oid"]), known[p]["bytes"].encode()).facts for p in item["parents"]]
    assert facts.seq == max((p.seq for p in parents), default=0) + 1
    assert facts.epoch == max((p.epoch for p in parents), default=0) + (facts.event == "purged")
    assert (facts.session_id is None) == bool(parents)
    if facts.kind in ("turn", "compaction"):
        assert facts.metrics is not None
        assert facts.agent is not None
        assert item["author"]["name"] == trailers.encode_model(facts.metrics.model)
        assert item["author"]["email"] == commit.agent_email(facts.agent)
        prompt = CONTENTS[item["tree"]]["content"]["prompt"]
        assert item["subject"] == subject(prompt, task=facts.task)
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
            assert getattr(facts.metrics.usage, name) == sum(getattr(u.usage, name) for u in facts.metrics.lines)
        assert facts.metrics.requests == sum(line.requests for line in facts.metrics.lines)
    else:
        assert (item["author"]["name"], item["author"]["email"]) == ("gitsess", "gitsess@invalid")
        assert item["tree"] == "empty"


def test_every_kind_and_event_has_a_vector() -> None:
    for form in FORMATS:
        facts = [commit.decode(Oid(i["oid"]), i["bytes"].encode()).facts for i in commits(form)]
        assert {f.kind for f in facts} == set(commit.KINDS)
        assert {f.event for f in facts} - {None} == {
            *("commit", "rewrite", "started", "completed", "reopened", "task", "purged"),
        }
        written = {key for i in commits(form) for key, _ in i["trailers"]}
        assert written == commit.SINGLE | {"AI-Usage", "AI-Commit", "AI-Context", "AI-Rewrites"}


@pytest.mark.parametrize("swapped", [False, True], ids=["in order", "swapped"])
@pytest.mark.parametrize(("object_format", "item"), EVERY_MERGE)
def test_a_merge_has_one_oid_whichever_side_makes_it(object_format: str, item: dict[str, Any], swapped: bool) -> None:
    known = BY_FORMAT[object_format]
    tips = []
    for name in item["parents"]:
        read = commit.decode(Oid(known[name]["oid"]), known[name]["bytes"].encode())
        tips.append((read.oid, read.committed_at, read.facts))
    data = commit.encode_merge(
        tips=reversed(tips) if swapped else tips, empty_tree=Oid(CONTENTS["empty"]["tree"][object_format])
    )
    assert data == item["bytes"].encode()
    assert [oid for oid, _, _ in tips] == sorted(oid for oid, _, _ in tips)


@pytest.mark.parametrize("object_format", FORMATS)
def test_the_empty_tree_is_gits_own(object_format: str) -> None:
    assert CONTENTS["empty"]["tree"][object_format] == TREES[object_format]


@pytest.mark.parametrize("item", named(list(CONTENTS.values())))
def test_a_tree_is_read_as_its_content(item: dict[str, Any]) -> None:
    read = content.decode({path: text.encode() for path, text in item["files"].items()})
    value = item["content"]
    messages = value["messages"]
    assert read == Content(
        prompt=value["prompt"],
        response=value["response"],
        started_at=value["started_at"],
        ended_at=value["ended_at"],
        requests=tuple(value["requests"]),
        params=value["params"],
        messages=None if messages is None else tuple(messages),
        documents=value.get("documents", {}),
        step=value.get("step"),
        extra=value["extra"],
    )
    again = content.decode(content.encode(read))
    assert again == read, "a rewrite keeps all of it"


def test_a_plain_turn_is_written_to_exactly_its_files() -> None:
    """Where nothing is long, a writer has no choice but the vector's bytes."""
    item = CONTENTS["plain"]
    files = {path: text.encode() for path, text in item["files"].items()}
    assert content.encode(content.decode(files)) == files


def test_keys_keep_the_order_in_which_they_came() -> None:
    """A tool's input is sent back as it was: another order would miss the provider's cache."""
    read = content.decode({p: t.encode() for p, t in CONTENTS["tools"]["files"].items()})
    assert read.messages is not None
    assert list(read.messages[1]["content"][0]["input"]) == ["file_path", "z", "a/b~c"]


@pytest.mark.parametrize("item", named(vectors("contents-refused")))
def test_a_tree_that_breaks_the_format_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as raised:
        content.decode({path: text.encode() for path, text in item["files"].items()})
    assert isinstance(raised.value, NewerFormat) == (item["error"] == "newer")


@pytest.mark.parametrize("item", vectors("trailers")["values"], ids=lambda item: repr(item["text"]))
def test_a_value_is_encoded_and_decoded(item: dict[str, str]) -> None:
    assert trailers.encode_value(item["text"]) == item["value"]
    assert trailers.decode_value(item["value"]) == item["text"]


@pytest.mark.parametrize("item", vectors("trailers")["models"], ids=lambda item: repr(item["model"]))
def test_a_model_id_becomes_one_word(item: dict[str, str]) -> None:
    assert trailers.encode_model(item["model"]) == item["word"]
    assert trailers.decode_value(item["word"]) == (item["model"] or "unknown")


@pytest.mark.parametrize("item", vectors("trailers")["amounts"], ids=lambda item: item["usd"])
def test_an_amount_is_a_plain_decimal(item: dict[str, str]) -> None:
    assert format_usd(Decimal(item["usd"])) == item["value"]


@pytest.mark.parametrize("item", named(vectors("trailers")["blocks"]))
def test_the_trailers_of_a_message_are_its_last_paragraph(item: dict[str, Any]) -> None:
    assert [list(pair) for pair in trailers.parse(item["message"].encode("utf-8", "surrogateescape"))] == item[
        "trailers"
    ]


@pytest.mark.parametrize("item", named(vectors("trailers")["messages"]))
def test_a_message_is_kept_refused_or_left_to_a_newer_reader(item: dict[str, Any]) -> None:
    message = item["message"].encode()
    if item["reading"] == "kept":
        assert commit.decode_facts(message).seq == 1
        return
    with pytest.raises(FormatError) as raised:
        commit.decode_facts(message)
    assert isinstance(raised.value, NewerFormat) == (item["reading"] == "newer")


@pytest.mark.parametrize("name", vectors("names")["valid"])
def test_a_name_is_valid(name: str) -> None:
    assert names.is_valid(name)


@pytest.mark.parametrize("item", vectors("names")["invalid"], ids=lambda item: repr(item["name"])[:40])
def test_a_name_is_invalid_and_the_nearest_is_offered(item: dict[str, str | None]) -> None:
    assert item["name"] is not None
    assert not names.is_valid(item["name"])
    assert names.nearest(item["name"]) == item["nearest"]


@pytest.mark.parametrize("item", vectors("names")["split"], ids=lambda item: item["session"])
def test_a_session_is_its_command_and_feature(item: dict[str, str]) -> None:
    assert names.split(item["session"]) == (item["command"], item["feature"])


@pytest.mark.parametrize("item", vectors("names")["derived"], ids=lambda item: item["why"])
def test_a_derived_name_is_valid_and_its_suffix_is_of_the_branch(item: dict[str, str]) -> None:
    session, branch = item["session"], item["branch"]
    assert names.split(session)[0] == item["command"]
    digits = hashlib.sha256(branch.encode()).hexdigest()[:6]
    assert names.is_valid(session)
    assert names.derived(item["command"], branch) == session
    assert session.endswith(f"-{digits}") == (not branch.isascii() or len(f"{item['command']}-{branch}") > 90)


@pytest.mark.parametrize("item", vectors("subjects"), ids=lambda item: repr(item["prompt"])[:40])
def test_a_subject_is_the_first_words(item: dict[str, Any]) -> None:
    assert subject(item["prompt"], task=item["task"]) == item["subject"]
    assert width(item["subject"]) <= 72


@pytest.mark.parametrize("item", vectors("turn-ids"), ids=lambda item: item["agent"])
def test_a_captured_turns_id_follows_from_its_source(item: dict[str, str]) -> None:
    source = "\0".join((item["agent"], item["conversation"], item["prompt"]))
    assert hashlib.sha256(source.encode()).hexdigest()[:32] == item["turn_id"]
    assert turn(turn_id=item["turn_id"]).turn_id == item["turn_id"]
    assert turn_id_of(item["agent"], item["conversation"], item["prompt"]) == item["turn_id"]


@pytest.mark.parametrize("item", named(vectors("reading-order")))
def test_commits_are_read_side_by_side(item: dict[str, Any]) -> None:
    parents = {Oid(oid): [Oid(p) for p in found] for oid, found in item["parents"].items()}
    assert reading_order(Oid(item["tip"]), parents) == item["order"]


@pytest.mark.parametrize("number", range(len(vectors("epochs")["meetings"])))
def test_what_becomes_of_two_tips_follows_from_session_ids_and_epochs(number: int) -> None:
    """The table agrees with its rule, and names what is renamed by a valid name."""
    meeting = vectors("epochs")["meetings"][number]
    ours, theirs = meeting["ours"], meeting["theirs"]
    if ours["session_id"] != theirs["session_id"]:
        assert meeting["outcome"] == "rename theirs"
        assert session_name(meeting["name"]) == f"{vectors('epochs')['session']}-{theirs['session_id'][:6]}"
    else:
        higher = (ours["epoch"] > theirs["epoch"]) - (ours["epoch"] < theirs["epoch"])
        assert meeting["outcome"] == ("merge", "replay theirs on ours", "replay ours on theirs")[higher]


@pytest.mark.parametrize("object_format", FORMATS)
def test_an_append_goes_on_with_the_number_and_the_epoch_of_its_parent(
    object_format: str, repository: Callable[[str], Repo]
) -> None:
    """A turn recorded on the merge of epoch 1, through whichever store the repository gets."""
    repo = repository(object_format)
    install(repo, object_format, {"plan-auth-service": "merge in epoch 1"})
    done = repo.workspace(now=NOON).record(session_name("plan-auth-service"), turn())
    assert done.oid is not None
    session = repo.session("plan-auth-service")
    assert session.tip == done.oid
    last = session.commits[-1]
    assert (last.facts.seq, last.facts.epoch, last.facts.session_id) == (16, 1, None)
    assert last.parents == (BY_FORMAT[object_format]["merge in epoch 1"]["oid"],)


@pytest.mark.parametrize("object_format", FORMATS)
def test_the_sessions_of_the_vectors_are_read_as_the_format_says(
    object_format: str, repository: Callable[[str], Repo]
) -> None:
    """Sums, corrections, dates and reading order of real repositories that hold the vectors."""
    repo = repository(object_format)
    install(repo, object_format, {"plan-x": "merge", "implement-x": "merge in epoch 1"})
    known = BY_FORMAT[object_format]

    read = repo.session("plan-x")
    left, right = (["left 1", "left 2"], ["right 1"])
    first = left if known["merge"]["parents"][0] == "left 2" else right
    order = ["fork", *first, *(right if first is left else left), "merge"]
    assert [item.oid for item in read.commits] == [known[name]["oid"] for name in order]
    assert row_of(read).last_used == moment(known["right 1"]["committer"]["at"])
    assert row_of(read).sums.turns == 4

    whole = repo.session("implement-x")
    row = row_of(whole)
    assert whole.session_id == known["root turn"]["trailers"][1][1]
    assert (row.sums.turns, row.sums.failed_turns) == (6, 0), "the compaction is no turn"
    assert row.sums.usage.output_tokens == 310 + 1050 + 1 + 2400 + 900, "but its tokens count"
    paid = ("0.027", "1.30416", "0.0004", "0.123456789012345678", "0.02556")
    assert row.sums.cost_usd == sum(map(Decimal, paid)), "the correction gives the strange model's turn its cost"
    assert row.sums.unpriced_turns == 2
    assert row.created_at == moment(known["root turn"]["author"]["at"])
    assert row.status == "open", "it was completed and reopened"
    assert total_of([whole, whole]).turns == 6, "a turn that two sessions share counts once"


def install(repo: Repo, object_format: str, refs: Mapping[str, str]) -> None:
    """Puts every vector into ``repo``, and refs of sessions on some of them."""
    write_contents(repo, PlumbingStore(repo.git_handle))
    hash_objects(repo, "commit", [item["bytes"].encode() for item in commits(object_format)])
    for session, name in refs.items():
        repo.git("update-ref", f"refs/ai-sessions/{session}", BY_FORMAT[object_format][name]["oid"])


def test_the_document_refers_to_every_file_of_vectors() -> None:
    text = (Path(__file__).parent.parent / "docs" / "format.md").read_text(encoding="utf-8")
    for path in VECTORS.iterdir():
        assert f"vectors/{path.name}" in text
