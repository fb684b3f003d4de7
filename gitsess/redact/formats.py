"""Secrets whose format says what they are: tokens by prefix, private keys, JWTs, credentials in URLs.

Each pattern is anchored at a literal, and is compiled and run only where that occurs. Patterns take linear time:
runs are possessive or bounded, and no match can start inside a run that another start has read in vain.

Looking for every literal takes much longer than parsing or deflating a text does. Most formats have a long run of the
letters that tokens are made of: what is around such runs is looked at first, which is little of an ordinary text.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gitsess.redact.spans import Span
from gitsess.redact.values import is_filler, is_random, is_real_password, is_reference, strength

_Match = re.Match[str]


@dataclass(frozen=True, slots=True)
class _Format:
    """A pattern to run where ``literal`` occurs; the group ``s``, else the whole match, is the secret."""

    rule: str
    literal: str
    pattern: str
    accept: Callable[[_Match], bool]


def _found(match: _Match) -> tuple[int, int]:
    """Where the secret is in a match."""
    for group in ("s", "alone"):
        if match.re.groupindex.get(group) and match[group] is not None:
            return match.span(group)
    return match.span()


def _text(match: _Match) -> str:
    start, end = _found(match)
    return match.string[start:end]


def _is_no_filler(match: _Match) -> bool:
    return not is_filler(_text(match))


def _is_random_token(match: _Match) -> bool:
    return _is_no_filler(match) and is_random(_text(match), 20)


# --- Tokens with a prefix ----------------------------------------------------------------------------------

_W = "[A-Za-z0-9]"
_U = "[A-Za-z0-9_-]"
_HEX = "[0-9a-f]"
_NO_W = "(?![A-Za-z0-9])"
_NO_U = "(?![A-Za-z0-9_-])"

# Rule, prefixes, and what follows each of them; where that begins with ~, all of it must look random as well,
# since words and names begin with the same letters.
_PREFIXED: tuple[tuple[str, str, str], ...] = (
    ("aws-access-key", "AKIA ASIA ABIA ACCA", "[A-Z2-7]{16}" + _NO_W),
    ("gcp-api-key", "AIza", _U + "{35}" + _NO_U),
    ("google-oauth", "ya29.", _U + r"{20,}+(?:\.[\w-]++)*+"),
    ("google-oauth", "GOCSPX-", _U + "{24,}+"),
    ("google-oauth", "1//0", _U + "{40,}+"),
    ("azure-storage-key", "AccountKey= SharedAccessKey=", "(?P<s>[A-Za-z0-9+/]{40,}+={0,2})"),
    ("azure-sas", "sig=", "(?P<s>(?:[A-Za-z0-9+/]|%[0-9A-Fa-f]{2}){40,}+={0,2})"),
    ("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", _W + "{36,}+(?:[._-]" + _U + "{16,}+)*+"),
    ("github-token", "github_pat_", "[A-Za-z0-9_]{50,}+"),
    (
        "gitlab-token",
        "glpat- gldt- glrt- glft- glptt- glcbt- glimt- glagent- gloas- glsoat- glffct- GR1348941",
        _U + r"{20,}+(?:\.[0-9A-Za-z]{2}\.[0-9A-Za-z]{7,12})?",
    ),
    ("slack-token", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxc- xoxd- xoxe- xoxe.xoxp- xoxe.xoxb-", "~[A-Za-z0-9%+/=-]{20,}+"),
    ("slack-token", "xapp-", "[0-9]-[A-Za-z0-9-]{20,}+"),
    ("slack-webhook", "hooks.slack.com/", "[a-z]{4,12}/(?P<s>[A-Z][A-Z0-9]{6,}+/[A-Za-z0-9]{6,}+/[A-Za-z0-9/]{10,}+)"),
    ("stripe-key", "sk_live_ rk_live_ sk_test_ rk_test_", _W + "{16,}+"),
    ("stripe-key", "whsec_", "[A-Za-z0-9+/]{24,}+={0,2}"),
    ("anthropic-key", "sk-ant-", "[a-z0-9]{2,10}-" + _U + "{24,}+"),
    ("openai-key", "sk-", "~(?!ant-)" + _U + "{20,}+"),
    ("npm-token", "npm_", "~" + _W + "{36}(?![A-Za-z0-9_])"),
    ("pypi-token", "pypi-A", _U + "{50,}+"),
    ("huggingface-token", "hf_ api_org_", "~" + _W + "{34,}+"),
    ("sendgrid-key", "SG.", _U + r"{16,32}\." + _U + "{32,64}" + _NO_U),
    ("twilio-key", "SK", _HEX + "{32}" + _NO_W),
    ("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", _HEX + "{64}"),
    ("vault-token", "hvs. hvb. hvr.", "~" + _U + "{24,}+"),
    ("vendor-token", "shpat_ shpca_ shppa_ shpss_", "[0-9a-fA-F]{32}"),  # Shopify
    ("vendor-token", "dapi key-", _HEX + "{32}(?![A-Za-z0-9_])"),  # Databricks, Mailgun
    ("vendor-token", "gsk_ ntn_ rpa_", "~" + _W + "{40,}+"),  # Groq, Notion, RunPod
    ("vendor-token", "lin_api_", _W + "{32,}+"),  # Linear
    ("vendor-token", "dp.pt. dp.st. dp.ct. dp.sa.", _W + "{40,}+"),  # Doppler
    ("vendor-token", "glc_", "~[A-Za-z0-9+/]{40,}+={0,2}"),  # Grafana Cloud
    ("vendor-token", "glsa_", _W + "{32}_[0-9a-fA-F]{8}"),  # Grafana
    ("vendor-token", "dckr_pat_ dckr_oat_", _U + "{27,}+"),  # Docker Hub
    ("vendor-token", "AGE-SECRET-KEY-1", "[A-Z0-9]{58}"),
    ("vendor-token", "r8_", "~" + _W + "{37}(?![A-Za-z0-9_])"),  # Replicate
    ("vendor-token", "ATATT3 ATCTT3", "[A-Za-z0-9_=-]{60,}+"),  # Atlassian
    ("vendor-token", "rubygems_", _HEX + "{48}"),
    ("vendor-token", "sq0atp- sq0csp-", _U + "{22,}+"),  # Square
    ("vendor-token", "sntryu_", _HEX + "{64}"),  # Sentry
    ("vendor-token", "sntrys_", "[A-Za-z0-9+/=_-]{60,}+"),
    ("vendor-token", "NRAK-", "[A-Z0-9]{27}"),  # New Relic
    ("vendor-token", "lsv2_pt_ lsv2_sk_", _HEX + "{32}_" + _HEX + "{10}"),  # LangSmith
    ("vendor-token", "tskey-", "[a-z]{3,10}-[A-Za-z0-9]{10,}+-[A-Za-z0-9]{16,}+"),  # Tailscale
    ("vendor-token", "pscale_tkn_ pscale_pw_ pscale_oauth_", "[A-Za-z0-9_.=-]{32,}+"),  # PlanetScale
    ("vendor-token", "PMAK-", _HEX + "{24}-" + _HEX + "{34}"),  # Postman
    ("vendor-token", "figd_", _U + "{40,}+"),  # Figma
    ("vendor-token", "sbp_ pul-", _HEX + "{40}(?![A-Za-z0-9_])"),  # Supabase, Pulumi
    ("vendor-token", "xai- pplx-", "~" + _W + "{48,}+"),  # xAI, Perplexity
    ("vendor-token", "HRKU-", _U + "{36,}+"),  # Heroku
    ("vendor-token", "nfp_", _W + "{36}"),  # Netlify
    ("vendor-token", "xkeysib-", _HEX + "{64}-" + _W + "{16}"),  # Brevo
    ("vendor-token", "LTAI", "~" + _W + "{16,24}" + _NO_W),  # Alibaba
    ("vendor-token", "tvly-", "~" + _U + "{28,}+"),  # Tavily
)


def _anchored(prefix: str, body: str) -> str:
    """A pattern of a literal prefix and a body that does not start inside a word.

    The prefix comes first and the look-behinds after it, so that the search jumps from literal to literal. An
    escaped line end (``\\n``), a percent-encoded byte and a colour code before it are no part of a word. Where a
    match can fail after its body, ``-`` and ``_`` are part of a word too: else ``eyJ-eyJ-eyJ-…`` would be read from
    each of its beginnings.
    """
    word = "A-Za-z0-9_-" if prefix in ("sk-", "eyJ") else "A-Za-z0-9"
    prefix = re.escape(prefix)
    escapes = (r"\\[nrtbf]", r"%[0-9A-Fa-f][0-9A-Fa-f]", r"\[[0-9]m", r"\[[0-9][0-9]m", r"\[[0-9];[0-9][0-9]m")
    allowed = "|".join(f"(?<={escape}{prefix})" for escape in escapes)
    return f"{prefix}(?:(?<![{word}]{prefix})|{allowed}){body}"


# --- Private keys ------------------------------------------------------------------------------------------

# What stands between the lines of a key: line ends, also escaped; quotes, commas and plus signs of code; marks of
# comments, quoted mail and diffs; line numbers. Then the lines: base64, or a header such as "DEK-Info: …".
_BETWEEN = r"(?:\s|\\+[nrt]|\\(?=\s)|[\"'`,;>#*|&]|[0-9]{1,6}[\t→|:]|-(?!-)|-(?=-----E))*+"
_LINE = r"(?:[A-Za-z0-9+/=]{16,}+|(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\n\\]{0,120}+)"
_PEM = (
    rf"-----BEGIN [A-Z0-9 ]{{0,30}}PRIVATE KEY(?: BLOCK)?-----(?=(?P<first>{_BETWEEN}{_LINE}))(?:{_BETWEEN}{_LINE})++"
    rf"(?:(?:{_BETWEEN}[A-Za-z0-9+/=]{{1,64}}){{0,2}}{_BETWEEN}-----END [A-Z0-9 ]{{0,30}}KEY(?: BLOCK)?-----"
    rf"|{_BETWEEN}[A-Za-z0-9+/=]{{1,15}}+(?=\s*(?:\Z|[\"'`…]|\.\.\.)))?"
)
_PUTTY = (
    rf"Private-Lines: \d{{1,4}}{_BETWEEN}(?P<s>[A-Za-z0-9+/=]{{30,}}+"
    rf"(?:{_BETWEEN}[A-Za-z0-9+/=]{{4,}}+(?=\s|\\|\Z))*+)"
)
_BASE64_PEM = (
    r"LS0tLS1CRUdJT[A-Za-z0-9+/]{20,}+={0,2}(?:(?:\r?\n[ \t]*[A-Za-z0-9+/]{16,}+={0,2})++"
    r"(?:\r?\n[ \t]*[A-Za-z0-9+/]{1,15}+={0,2}(?=[\s\"']|\Z))?)?"
)


def _is_key(match: _Match) -> bool:
    return ": " in match["first"] or is_random(re.split(r"[^A-Za-z0-9+/=]", match["first"])[-1], 16)


def _is_encoded_key(match: _Match) -> bool:
    head = re.sub(r"[\s=]", "", match[0][:80])[:60]
    return b"PRIVATE KEY" in base64.b64decode(head[: len(head) // 4 * 4])


# --- Credentials by their place ----------------------------------------------------------------------------

_URL = (
    r":(?:\\?/){2}(?:(?P<user>[^\s/?#@:'\"<>`\\]{0,128}):(?P<s>[^\s?#'\"<>`\\]{1,256})|(?P<alone>[A-Za-z0-9_-]{20,128}))"
    r"@(?P<host>[\w\[$%{.*-])"
)


def _is_in_url(match: _Match) -> bool:
    if match["s"] is None:
        # The public key of a Sentry DSN stands in the same place.
        after = match.string[match.end() : match.end() + 60]
        return is_random(match["alone"], 20) and ".ingest." not in after and "sentry" not in after
    before = match.string[max(0, match.start() - 5) : match.start()]
    if "/" in match["s"] and (before.endswith(("http", "https", "ws", "wss")) or match["s"][0].isdigit()):
        return False
    return is_real_password(match["user"], match["s"])


def is_basic(value: str) -> bool:
    """Whether base64 of ``user:password``, with a password that is no example."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except ValueError:  # Also what is no base64, no ASCII or no UTF-8.
        return False
    user, colon, password = decoded.partition(":")
    # Aladdin is the example of RFC 7617 and its predecessors.
    return bool(colon) and decoded.isprintable() and user.lower() != "aladdin" and is_real_password(user, password)


def _is_basic(match: _Match) -> bool:
    return is_basic(match["s"])


def _is_bearer(match: _Match) -> bool:
    return not is_reference(match["s"], literal=False) and is_random(match["s"], 16)


def _is_argument(match: _Match) -> bool:
    return not is_reference(match["s"], literal=False) and strength(match["s"]) >= 4


_ARGUMENT = r"\\*[\"']?(?P<s>[^\s'\"\\$]{6,})"

# Rule, literal, pattern, what the match must be besides.
_SHAPED: tuple[tuple[str, str, str, Callable[[_Match], bool]], ...] = (
    ("private-key", "PRIVATE KEY", _PEM, _is_key),
    ("private-key", "LS0tLS1CRUdJT", _BASE64_PEM, _is_encoded_key),
    ("private-key", "Private-Lines:", _PUTTY, _is_no_filler),
    # A JSON Web Key.
    ("private-key", '"kty', r'"(?:d|p|q|dp|dq|qi|k)\\*"\s{0,8}:\s{0,8}\\*"(?P<s>[A-Za-z0-9_-]{32,}+)', _is_no_filler),
    (
        "jwt",
        "eyJ",
        _anchored(
            "eyJ",
            _U + r"{8,}+\.(?:eyJ" + _U + r"{8,}+(?:\.[A-Za-z0-9_-]*+)?|[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]++){3})",
        ),
        _is_no_filler,
    ),
    ("telegram-token", ":AA", "[0-9](?<![0-9][0-9])[0-9]{7,9}:AA" + _U + "{33}" + _NO_U, _is_no_filler),
    (
        "discord-token",
        ".",
        r"[MNO](?:(?<![A-Za-z0-9_-][MNO])|(?<=\\[nrt][MNO]))" + _U + r"{22,27}\." + _U + r"{6}\." + _U + "{27,}+",
        _is_random_token,
    ),
    ("discord-webhook", "/api/webhooks/", "/api/webhooks/[0-9]{15,20}/(?P<s>[A-Za-z0-9_-]{60,}+)", _is_no_filler),
    ("azure-client-secret", "Q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", _is_random_token),
    ("vendor-token", ".atlasv1.", _W + r"{14}\.atlasv1\." + _U + "{60,}+", _is_no_filler),  # Terraform Cloud
    ("twilio-key", "AC", r"AC[0-9a-f]{32}[\"':, ]{1,4}(?P<s>[0-9a-f]{32})(?![0-9a-f])", _is_no_filler),
)

# The same for secrets that only their place gives away; a token that says more of itself is named by that.
_PLACED: tuple[tuple[str, str, str, Callable[[_Match], bool]], ...] = (
    ("url-password", "@", _URL, _is_in_url),
    ("bearer-token", "earer", r"[Bb]earer(?:\s{1,3}|%20)(?P<s>[A-Za-z0-9._~+/-]{16,}+={0,2})", _is_bearer),
    ("basic-auth", "asic", r"[Bb]asic(?:\s{1,3}|%20)(?P<s>[A-Za-z0-9+/]{8,}+={0,2})", _is_basic),
    (
        "cli-password",
        "curl",
        r"\bcurl\b[^\n]{0,300}?[ \t](?:-u|--user)[ =]?\\*[\"']?[^\s:'\"]{1,80}:(?P<s>[^\s'\"\\]{6,})",
        _is_argument,
    ),
    ("cli-password", " login ", r"\blogin[ \t][^\n|;]{0,200}?[ \t]-p[ \t]" + _ARGUMENT, _is_argument),
    (
        "cli-password",
        "--password-stdin",
        r"\becho[ \t]{1,4}(?:-n[ \t])?" + _ARGUMENT + r"[\"']?\s{0,4}\|[^\n|]{0,200}--password-stdin",
        _is_argument,
    ),
    ("cli-password", "redis-cli", r"\bredis-cli\b[^\n|;]{0,200}?[ \t]-a[ \t]" + _ARGUMENT, _is_argument),
    ("cli-password", "sshpass", r"\bsshpass\s{1,4}-p\s{0,4}" + _ARGUMENT, _is_argument),
    ("cli-password", "mysql", r"\bmysql(?:dump|admin)?\b[^\n|;]{0,200}?\s-p" + _ARGUMENT, _is_argument),
)


@functools.cache
def _formats() -> tuple[_Format, ...]:
    made = [_Format(*entry) for entry in _SHAPED]
    for rule, prefixes, body in _PREFIXED:
        accept = _is_random_token if body.startswith("~") else _is_no_filler
        for prefix in prefixes.split():
            made.append(_Format(rule, prefix, _anchored(prefix, body.removeprefix("~")), accept))
    return (*made, *(_Format(*entry) for entry in _PLACED))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# --- Where to look -----------------------------------------------------------------------------------------

_RUN = b"a" * 20
_BEFORE = 16
"""Characters before a run among which its literal begins, where it does not begin in the run."""
_AS_RUNS = bytes(ord("a") if re.fullmatch(_U, chr(byte)) else ord(" ") for byte in range(256))

# The literals whose format may do without such a run, for it is short or has other characters in it …
_WITHOUT_RUN = frozenset(
    "AccountKey= SharedAccessKey= sig= xoxb- xoxp- xoxa- xoxr- xoxs- xoxc- xoxd- xoxe- xoxe.xoxp- xoxe.xoxb-"
    " hooks.slack.com/ whsec_ SG. glc_ ATATT3 ATCTT3 sntrys_ pscale_tkn_ pscale_pw_ pscale_oauth_".split()
)
# … what several of them have in common, and the shapes that have one.
_SHARED = ("Key=", "xox", "pscale_")
_SHAPED_WITH_RUN = frozenset((":AA", ".", "AC", ".atlasv1."))
# What a literal that is too short by itself goes on with; a Discord token's third part is a run behind its second.
_TOO_SHORT = {"SK": "SK[0-9a-f]{4}", "AC": "AC[0-9a-f]{4}", ".": rf"\.{_U}{{6}}\."}


class _Plan(NamedTuple):
    """Which formats to try where, by their places among all: those of each literal that is looked for everywhere, and
    those whose literal stands in a run or before it, all in one pattern."""

    everywhere: tuple[tuple[str, tuple[int, ...]], ...]
    urls: tuple[int, ...]
    around: re.Pattern[str]
    runs: tuple[int, ...]


@functools.cache
def _plan() -> _Plan:
    shaped = {literal for _, literal, _, _ in (*_SHAPED, *_PLACED)} - _SHAPED_WITH_RUN
    everywhere: dict[str, list[int]] = {}
    runs: dict[str, list[int]] = {}
    for number, form in enumerate(_formats()):
        if form.literal in shaped or form.literal in _WITHOUT_RUN:
            shortest = next((one for one in _SHARED if one in form.literal), form.literal)
            everywhere.setdefault(shortest, []).append(number)
        else:
            runs.setdefault(_TOO_SHORT.get(form.literal, re.escape(form.literal)), []).append(number)
    urls = tuple(everywhere.pop("@"))
    return _Plan(
        everywhere=tuple((literal, tuple(numbers)) for literal, numbers in everywhere.items()),
        urls=urls,
        around=re.compile("|".join(runs)),
        runs=tuple(number for numbers in runs.values() for number in numbers),
    )


def _possible(text: str) -> list[int]:
    """The places of the formats that may be in a text, ascending; all others are not in it."""
    plan = _plan()
    found: list[int] = []
    for literal, numbers in plan.everywhere:
        if literal in text:
            found += numbers
    if "@" in text and (":/" in text or ":\\" in text):
        found += plan.urls
    runs = text.encode("ascii", "replace").translate(_AS_RUNS)
    at = runs.find(_RUN)
    while at >= 0:
        end = runs.find(b" ", at)
        end = len(runs) if end < 0 else end
        if plan.around.search(text, max(0, at - _BEFORE), end):
            found += plan.runs
            break
        at = runs.find(_RUN, end)
    return sorted(found)


def possible(text: str) -> bool:
    """Whether a format may be in a text; of texts with null characters between, whether one may be in any of them."""
    return bool(_possible(text))


def find(text: str) -> Iterator[Span]:
    """The spans of all formats, those that say most first; they may overlap."""
    for number in _possible(text):
        form = _formats()[number]
        if form.literal not in text:
            continue
        for match in _compiled(form.pattern).finditer(text):
            if form.accept(match):
                start, end = _found(match)
                yield Span(start=start, end=end, rule=form.rule)
                if form.rule == "aws-access-key":
                    yield from _aws_secrets(text, start, end)


_AWS_SECRET = r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])"


def _aws_secrets(text: str, start: int, end: int) -> Iterator[Span]:
    """The forty characters that stand near an access key id, without a name of their own."""
    for match in _compiled(_AWS_SECRET).finditer(text, max(0, start - 120), end + 160):
        value = match[0]
        if is_random(value, 40) and not value.isalpha() and not re.fullmatch("[0-9a-f]+|[0-9A-F]+", value):
            yield Span(start=match.start(), end=match.end(), rule="aws-secret-key")


def public_prefix(rule: str, secret: str) -> str:
    """What of a secret anybody may see: the beginning that its format prescribes, at most four characters."""
    prefixes = (prefix for name, some, _ in _PREFIXED if name == rule for prefix in some.split())
    known = [prefix for prefix in (*prefixes, *(["eyJ"] if rule == "jwt" else [])) if secret.startswith(prefix)]
    return max(known, key=len, default="")[:4]
