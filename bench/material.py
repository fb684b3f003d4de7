"""Seeded material: prose and code that compress like the real thing, turns made of them, and repositories of turns."""

from __future__ import annotations

import random
import string
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from gitsess import commit, content
from gitsess.commit import Facts, Metrics, Person, UsageLine
from gitsess.content import Content
from gitsess.model import TokenUsage, TurnId
from gitsess.text import iso, subject

MODEL = "claude-sonnet-4-5"
AGENT = "bench/1"
BEGIN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
USAGE = {
    "input_tokens": 412,
    "output_tokens": 356,
    "cache_read_input_tokens": 18_204,
    "cache_creation_input_tokens": 2_310,
}

_ONSETS = "b c d f g h l m n p r s t v w br cl dr fl gr pl pr sc sh sl sp st th tr".split()
_RIMES = (
    "a ack ade ail ain ake al an ang ap ar ate ave e eal ear eck ed een ell en end er est et ice id ig ill in ine ing"
    " ink ip ire it ive o oad ock oke old on ong ook op or ore ot ough ound ow uck ug ull um un unk up ush ut"
).split()
_COMMON = (
    "the of and to a in is it that for on with as be this by not are from or an at when one each all so then".split()
)


class Writer:
    """Writes prose and code from a seed, with some 2,400 words of its own used as unequally as words are."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        made = {a + b + c for a in _ONSETS for b in _RIMES for c in ("", "er", "ing", "ed", "tion")}
        words = self.random.sample(sorted(made), 2_400)
        self._words = _COMMON + words
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]

    def word(self) -> str:
        return self.random.choices(self._words, self._weights)[0]

    def prose(self, size: int) -> str:
        """Sentences of ``size`` characters."""
        text: list[str] = []
        while sum(map(len, text)) < size:
            words = self.random.choices(self._words, self._weights, k=self.random.randint(5, 18))
            text.append(" ".join(words).capitalize() + self.random.choice((". ", ". ", ", ", ".\n")))
        return "".join(text)[: size - 1] + "."

    def name(self) -> str:
        return "_".join(self.random.choices(self._words[len(_COMMON) :], self._weights[len(_COMMON) :], k=2))

    def line(self, names: list[str]) -> str:
        """A line of a function's body."""
        one, two, three = self.random.choices(names, k=3)
        number = self.random.randint(0, 9_999)
        return self.random.choice(
            (
                f"    {one} = {two}.{self.name()}({three}, {number})",
                f"    if {one} is None or {two} > {number}:",
                f"        return {one}[{number}] + {self.name()}({two})",
                f"    for {one} in {two}.{self.word()}s({three}):",
                f'        raise ValueError(f"{self.prose(38)} {{{one}!r}}")',
                f"    # {self.prose(60)}".rstrip(),
                f"    {one}.{self.word()} = {{{two!r}: {three}, {self.word()!r}: {number}}}",
            )
        )

    def code(self, size: int) -> str:
        """A module of about ``size`` characters."""
        lines: list[str] = []
        while sum(map(len, lines)) + len(lines) < size:
            names = [self.name() for _ in range(5)]
            lines += ["", f"def {self.name()}({', '.join(names[:3])}):", f'    """{self.prose(70)}"""']
            lines += [self.line(names) for _ in range(self.random.randint(6, 14))]
        return "\n".join(lines)[:size] + "\n"


class Project:
    """A small project being worked on: every turn reads one of its files again and changes a few lines of it."""

    def __init__(self, seed: str, *, files: int = 12, file_size: int = 4_000) -> None:
        self._writer = Writer(seed)
        self._files = {f"src/{self._writer.name()}.py": self._writer.code(file_size) for _ in range(files)}
        self._count = 0

    def turn(self) -> dict[str, Any]:
        """The next turn as ``record`` takes it, some 8 KB: what was asked, two tool calls with their results, the
        answer."""
        writer, number = self._writer, self._count
        self._count += 1
        path = writer.random.choice(sorted(self._files))
        before = self._files[path]
        lines = before.split("\n")
        at = writer.random.randrange(3, len(lines) - 6)
        old = "\n".join(lines[at : at + 3])
        new = "\n".join(writer.line([writer.name() for _ in range(3)]) for _ in range(3))
        lines[at : at + 3] = new.split("\n")
        self._files[path] = "\n".join(lines)
        snippet = "\n".join(lines[max(0, at - 8) : at + 11])
        prompt, answer = writer.prose(420), writer.prose(900)
        read, edit = self._tool_id(), self._tool_id()
        messages = [
            {"role": "user", "content": [{"type": "text", "text": prompt}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": writer.prose(160)},
                    {"type": "tool_use", "id": read, "name": "Read", "input": {"file_path": path}},
                ],
            },
            _result(read, before),
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": edit,
                        "name": "Edit",
                        "input": {"file_path": path, "old_string": old, "new_string": new},
                    }
                ],
            },
            _result(edit, f"The file {path} has been updated. The lines around the change:\n{snippet}"),
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        begun = BEGIN + timedelta(minutes=7 * number)
        return {
            "prompt": prompt,
            "response": answer,
            "model": MODEL,
            "agent": AGENT,
            "usage": USAGE,
            "started_at": iso(begun),
            "ended_at": iso(begun + timedelta(seconds=40)),
            "messages": messages,
        }

    def _tool_id(self) -> str:
        return "toolu_" + "".join(self._writer.random.choices(string.ascii_letters + string.digits, k=24))


def _result(tool_id: str, text: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": tool_id, "content": [{"type": "text", "text": text}]}
    return {"role": "user", "content": [block]}


def make_repository(path: Path, environment: Mapping[str, str]) -> Path:
    """An ordinary repository with one commit, at ``path``."""
    git(path, environment, "init", "--quiet", "--initial-branch=main", str(path), cwd=path.parent)
    git(path, environment, "commit", "--quiet", "--allow-empty", "--message=Begin")
    return path


def git(path: Path, environment: Mapping[str, str], *args: str, cwd: Path | None = None) -> bytes:
    done = subprocess.run(["git", *args], cwd=cwd or path, env=environment, capture_output=True, check=True)
    return done.stdout


def import_sessions(path: Path, environment: Mapping[str, str], *, sessions: int, turns: int, seed: str) -> None:
    """Writes whole sessions by ``git fast-import``: the commits that appending these turns would have made."""
    stream = b"".join(_stream(sessions, turns, seed))
    command = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(command, cwd=path, env=environment, input=stream, check=True, stdout=subprocess.DEVNULL)


def _stream(sessions: int, turns: int, seed: str) -> Iterator[bytes]:
    writer = Writer(seed)
    texts = [(writer.prose(220), writer.prose(700)) for _ in range(64)]
    blobs: list[list[tuple[str, int]]] = []
    mark = 0
    for prompt, answer in texts:
        entries = []
        for name, data in content.encode(Content(prompt=prompt, response=answer, started_at=iso(BEGIN))).items():
            mark += 1
            entries.append((name, mark))
            yield b"blob\nmark :%d\ndata %d\n%b\n" % (mark, len(data), data)
        blobs.append(entries)
    usage = TokenUsage(input_tokens=412, output_tokens=356, cache_read_tokens=18_204, cache_write_tokens=2_310)
    author = f"{MODEL} <{commit.agent_email(AGENT)}>"
    person = Person(name="Ann", email="ann@example.com")
    for session in range(sessions):
        command = ("plan", "implement", "review", "verify")[session % 4]
        session_id = UUID(int=writer.random.getrandbits(128)).hex
        for number in range(turns):
            cost = Decimal(writer.random.randrange(10_000, 400_000)).scaleb(-6)
            line = UsageLine(model=MODEL, requests=1, usage=usage, cost_usd=cost)
            metrics = Metrics(
                model=MODEL,
                usage=usage,
                requests=1,
                duration_ms=40_000,
                cost_usd=cost,
                cost_basis="computed",
                lines=(line,),
            )
            facts = Facts(
                kind="turn",
                turn_id=TurnId(UUID(int=writer.random.getrandbits(128)).hex),
                seq=number + 1,
                session_id=None if number else session_id,
                status="ok",
                agent=AGENT,
                metrics=metrics,
                worktree=".",
            )
            which = writer.random.randrange(len(texts))
            message = commit.message_of(subject(texts[which][0]), facts).encode()
            at = int(BEGIN.timestamp()) + 97 * session + 420 * number
            yield b"commit refs/ai-sessions/%b-feature-%d\n" % (command.encode(), session)
            yield f"author {author} {at} +0000\ncommitter {person.name} <{person.email}> {at + 40} +0000\n".encode()
            yield b"data %d\n%b\ndeleteall\n" % (len(message), message)
            yield "".join(f"M 100644 :{mark} {name}\n" for name, mark in blobs[which]).encode()
