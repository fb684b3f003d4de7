"""What the tour needs: a small project, three tasks, and the answers that the stand-in gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gitsess.errors import UsageError
from gitsess.gitcli import make_repository
from gitsess.providers.standin import StandIn

FEATURE = "auth-service"
SOURCE = "src/auth.py"


class Step(NamedTuple):
    """A command of the tour, and the line that introduces it."""

    why: str
    words: tuple[str, ...]


STEPS = (
    Step(
        "Plan the feature. The file goes along as context, and is cached for the next turn.",
        (
            "run",
            "plan",
            FEATURE,
            "Plan token refresh for this service in three tasks.",
            "--model",
            "opus",
            "--file",
            SOURCE,
        ),
    ),
    Step(
        "Implement the first task in a session of its own, which reads the plan in.",
        (
            "run",
            "implement",
            FEATURE,
            "Do task T1.1.",
            "--task",
            "T1.1",
            "--file",
            SOURCE,
            "--with",
            f"plan-{FEATURE}",
        ),
    ),
    Step(
        "The second task resumes the conversation: most of its input is read from the cache.",
        ("run", "implement", FEATURE, "Do task T1.2.", "--task", "T1.2"),
    ),
    Step("So does the third.", ("run", "implement", FEATURE, "Do task T1.3.", "--task", "T1.3")),
    Step("What is there?", ("list",)),
    Step("What happened in one of them?", ("show", f"implement-{FEATURE}")),
    Step("What did each phase cost?", ("stats", "--by", "command")),
)

_PLAN = """\
1. **T1.1** Give every token an expiry, and refuse one that has expired.
2. **T1.2** Add `refresh()`, which trades a token that is about to expire for a new one.
3. **T1.3** Let a refresh happen once: a token that was traded in is worth nothing.

Each comes with a failing test first. Nothing outside `src/auth.py` has to change."""

_DONE = {
    "T1.1": """\
```python
def test_expired_token_is_refused(clock):
    token = issue("ann", lifetime_s=60, now=clock.now)
    clock.advance(61)
    assert verify(token, now=clock.now) is None
```

`issue` writes `exp` into the payload, and `verify` compares it with `now()` after the signature has been
checked, so that a forged expiry is never looked at.""",
    "T1.2": """\
```python
def refresh(token: str, *, now: Clock = time.time) -> str | None:
    claims = verify(token, now=now)
    if claims is None or claims["exp"] - now() > REFRESH_WINDOW_S:
        return None
    return issue(claims["sub"], now=now)
```

Too early a refresh gives nothing, so a client cannot prolong a token for ever by asking often.""",
    "T1.3": """\
```python
_spent: dict[str, float] = {}

def _spend(claims: Claims, now: float) -> bool:
    for jti in [j for j, exp in _spent.items() if exp < now]:
        del _spent[jti]
    return _spent.setdefault(claims["jti"], claims["exp"]) is None
```

Each token now has a `jti`. `refresh` spends it, and forgets those that have expired anyway.""",
}

_FILES = {
    "README.md": "# A service\n\nThe project of the tour. `src/auth.py` signs tokens that never expire.\n",
    SOURCE: '''\
"""Tokens: who somebody is, signed by us.

A token is two parts joined by a dot, both base64url without padding: the payload, a JSON object, and the
HMAC-SHA256 of the payload under the service's key. Whoever holds a token is who it says; there is no list of
tokens that were given out, and none of those that were taken back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any

Claims = dict[str, Any]


class Malformed(ValueError):
    """What was given is no token."""


@dataclass(frozen=True)
class Keyring:
    """The keys that signatures are checked against, the newest first.

    A key is thirty-two random bytes. Only the newest one signs. Older ones are kept for as long as tokens
    signed with them may be presented, which today is for ever, since tokens do not expire.
    """

    keys: tuple[bytes, ...]

    @classmethod
    def new(cls) -> Keyring:
        return cls(keys=(secrets.token_bytes(32),))

    def rotated(self, keep: int = 3) -> Keyring:
        """A keyring with a new key in front and at most ``keep`` old ones behind it."""
        return Keyring(keys=(secrets.token_bytes(32), *self.keys[:keep]))

    @property
    def signing(self) -> bytes:
        return self.keys[0]


def issue(subject: str, keyring: Keyring, **extra: Any) -> str:
    """A token for ``subject``. ``extra`` claims go along; they may not replace the subject."""
    if "sub" in extra:
        raise ValueError("the subject is given once")
    payload = _encode(json.dumps({"sub": subject, **extra}, separators=(",", ":")).encode())
    return f"{payload}.{_encode(_sign(payload, keyring.signing))}"


def verify(token: str, keyring: Keyring) -> Claims | None:
    """The claims of a token that one of our keys signed, or None.

    Every key is tried, in constant time each, so that the time taken says nothing of which one it was.
    """
    payload, signature = _split(token)
    matches = [hmac.compare_digest(_sign(payload, key), signature) for key in keyring.keys]
    if not any(matches):
        return None
    claims = json.loads(_decode(payload))
    return claims if isinstance(claims, dict) else None


def _split(token: str) -> tuple[str, bytes]:
    payload, dot, signature = token.partition(".")
    if not dot:
        raise Malformed("a token has two parts")
    return payload, _decode(signature)


def _sign(payload: str, key: bytes) -> bytes:
    return hmac.new(key, payload.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Malformed("a part is no base64url") from None
''',
}


def make_project(folder: Path, environment: Mapping[str, str]) -> None:
    """The tour's project in ``folder``, which must be new or empty; raises UsageError else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: name a folder that is new")
        for name, text in _FILES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be used: {error.strerror}") from None
    make_repository(folder, environment, message="Sign tokens")


@contextmanager
def stand_in() -> Iterator[str]:
    """The URL of a stand-in for the Messages API that gives the tour's answers, while the block runs."""
    with StandIn(answer=_answer, chunk_delay=0.01) as service:
        yield service.url


def _answer(request: Mapping[str, Any]) -> str:
    last = request["messages"][-1]["content"][-1]["text"]
    return next((text for task, text in _DONE.items() if task in last), _PLAN)
