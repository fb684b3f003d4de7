"""Redaction: what looks like a secret is replaced before anything is hashed.

Three kinds of rules find *spans*, ranges of a text to be replaced by ``[redacted:<rule>]``:

* **Formats** (``_FORMATS``, private keys, URLs): anchored at a literal that the format itself prescribes, such as
  ``ghp_``. A rule is compiled and run only where one of its literals occurs.
* **Assignments** (``password = …``, ``"api_key": "…"``, ``--token …``): the name must look secret, and the value
  must look made by a machine, or like a strong password. How much a value looks like words is measured by its
  letter pairs, so that ``getAccessToken`` and ``your-token-here`` are left alone.
* **Values known beforehand**: those of secret-looking environment variables, and the user's own patterns.

Redaction is idempotent. Nothing inside a ``[redacted:…]`` marker is matched, and a text is searched again after
its spans were replaced, until nothing more is found: a marker is a word boundary where none was before.

Time is linear in the length of a text: runs are possessive or bounded, and no rule can start inside a run that
another start of the same rule has read in vain.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import collections
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gitsess.errors import UsageError
from gitsess.model import JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """``text[start:end]`` is to be replaced, because of ``rule``."""

    start: int
    end: int
    rule: str


# --- How much a value looks like words ---------------------------------------------------------------------

# The commonest letter pairs of English words and of identifiers: together nine tenths of all pairs there, but
# only about three tenths of the pairs of random letters.
_PAIRS = frozenset(
    first + second
    for entry in (
        "abcdgilmnprstuvy baeilou caehiklortu daeiosu eacdefglmnprstvx faefioru geinrs haeio iabcdefglmnoprstv ke "
        "ladeilostuy maeiop nacdefgiostu obcdflmnoprstuvw paeiloprtu qu racdegimnorstuy sacehiopstu taehilorstuy "
        "ubceilmnprst vaei waehio xt"
    ).split()
    for first in entry[0]
    for second in entry[1:]
)
_LONGEST_JUDGED = 256
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _is_random(value: str, shortest: int) -> bool:
    """Whether at least ``shortest`` characters long and made by a machine rather than of words or numbers.

    Of the neighbouring pairs that tell something (two letters, or a letter and a digit) fewer than half are
    common letter pairs; a change from lower to upper case, as in camelCase, and separators tell nothing.
    """
    value = value[:_LONGEST_JUDGED]
    if len(value) < shortest or len(set(value)) < min(8, shortest - 2):
        return False
    telling = common = steps = 0
    for left, right in zip(value, value[1:], strict=False):
        if ord(right) - ord(left) == 1:
            steps += 1
        if left.isalpha() and right.isalpha():
            if left.islower() and right.isupper():
                continue
            telling += 1
            common += (left + right).lower() in _PAIRS
        elif left.isalnum() and right.isalnum() and not (left.isdigit() and right.isdigit()):
            telling += 1
    # Alphabets and "0123456789abcdef" are runs of steps, dates and versions have few telling pairs.
    return telling >= max(5, len(value) // 3) and common < telling / 2 and steps < len(value) / 3


_FILLER_WORDS = (
    "your example sample placeholder changeme change-me change_me replace redacted insert dummy xxxx notreal"
).split()
_FILLER = re.compile(
    "|".join(form for word in _FILLER_WORDS for form in (word, word.upper(), word.capitalize()))
    + r"|\*\*\*|\.\.\.|…|••|\[redacted:|\$\{|\$\(|\{\{|\}\}|#\{|%\(|<%|<[\w-]+>"
)


def _is_filler(value: str) -> bool:
    """Whether a value only stands for a secret: ``YOUR_API_KEY``, ``xxxx…``, ``${TOKEN}``, ``sk-...``."""
    return len(set(value)) < 5 or _FILLER.search(value[:_LONGEST_JUDGED]) is not None


_VARIABLE = re.compile(
    r"\$\w+|\$\{.*|%\w+%|%[sdrq]|\{[\w.\[\]'\"-]*\}|<.*|@\w+@|:'?\w+'?|[&*!]\w+|"
    r"(?:arn|ssm|op|vault|env|file|sha\d+|md5|h1|urn|ENC|ref\+\w+)[:\[(].*|\$ANSIBLE_VAULT.*|ssh-\w+|0x[0-9a-fA-F]{40}"
)
_PATH = re.compile(r"(?:~|\.{0,2})/[\w.@+-]|[A-Za-z]:[\\/]|\w+://")
_EXPRESSION = re.compile(r"[\w\])][(\[]|[)\]][.)]|[=-]>|::|==|&&|\|\||\?\.|\?\?|^\(")
_DOTTED = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\.|->)[A-Za-z_$][\w$]*)+")
# Words of which weak and made-up passwords consist; what is left without them must have some substance.
_WEAK = re.compile(
    r"(?i)passw(?:or)?d|pass|passphrase|secret|admin|root|user|name|testing|test|demo|default|change|this|super|strong|"
    r"secure|wrong|correct|incorrect|valid|invalid|bad|good|some|temp|guest|login|qwerty|letmein|welcome|hello|world|"
    r"foo|bar|baz|abc|xyz|word|key|token|app|api|db|dev|local|prod|mysql|postgres|minio|reset|forgot|confirm|current|"
    r"enter|new|old|my|the|is|at|min|max|length|field|form|[01]?123\d*|\d{1,4}$|[^A-Za-z0-9]"
)


def _is_reference(value: str, *, quoted: bool) -> bool:
    """Whether a value says where the secret is, rather than being it: a variable, a call, a path, an ARN."""
    if _is_filler(value) or _VARIABLE.fullmatch(value):
        return True
    if not quoted and _EXPRESSION.search(value):
        return True
    return _PATH.match(value) is not None and not _is_random(max(re.split(r"[/\\]", value), key=len), 20)


def _is_password(value: str, *, quoted: bool) -> bool:
    """Whether a value under a password's name is a password that somebody could really use."""
    if not 8 <= len(value) <= 200 or any(character.isspace() for character in value):
        return False
    if value.isascii() and re.fullmatch(r"[\d.,:_+-]+", value):
        return False
    if len(_WEAK.sub("", value)) < 5:
        return False
    if _is_random(value, 8):
        return not _DOTTED.fullmatch(value) or _is_random(value, 16)
    if _DOTTED.fullmatch(value) or (not quoted and re.fullmatch(r"[A-Za-z_]\w*", value)):
        return False
    lower, upper = any(map(str.islower, value)), any(map(str.isupper, value))
    digits, symbols = len(re.findall(r"\d", value)), len(re.findall(r"[^\w.,:;/ -]", value))
    if symbols:
        return lower + upper + (digits > 0) >= 2
    return lower and upper and digits >= 2 and re.search(r"[-_./:]", value) is None


_PASSPHRASE = re.compile(r"[a-z]{3,12}(?:[-_.][a-z]{3,12}){3,7}")


# --- Formats, anchored at a literal ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Format:
    """A pattern to run where ``literal`` occurs; the group ``s``, else the whole match, is the secret."""

    rule: str
    literal: str
    pattern: str
    accept: Callable[[str], bool]


def _is_no_filler(found: str) -> bool:
    return not _is_filler(found)


def _is_random_token(found: str) -> bool:
    """For prefixes that also begin ordinary words (``sk-``, ``hf_``, ``key-``)."""
    return not _is_filler(found) and _is_random(found, 20)


def _is_basic(found: str) -> bool:
    """Whether base64 of ``user:password``, with a password that is not a mere example."""
    try:
        user, colon, password = base64.b64decode(found + "=" * (-len(found) % 4)).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(colon) and password.isprintable() and _is_url_password(user, password)


def _is_url_password(user: str, password: str) -> bool:
    weak = password.lower() in (user.lower(), "password", "passwd", "pass", "pwd", "secret", "token", "test", "x-oauth-basic")
    weak = weak or (user.isupper() and password.isupper()) or len(password) < 4 or len(_WEAK.sub("", password)) < 2
    return not weak and not _is_reference(password, quoted=False) and re.fullmatch(r"\w*-?pass(?:word)?\w*", password) is None


_W = "[A-Za-z0-9]"
_U = "[A-Za-z0-9_-]"
_HEX = "[0-9a-f]"
_NO_W = "(?![A-Za-z0-9])"
_NO_U = "(?![A-Za-z0-9_-])"

# Rule, prefixes, and what follows each of them. A prefix that is also a common word's beginning is marked with ?:
# what it opens must look random.
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
        _U + r"{20,}+(?:\.[0-9a-z]{2}\.[0-9a-z]{7,9})?",
    ),
    ("slack-token", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxc- xoxd- xoxe- xoxe.xoxp- xoxe.xoxb-", "?[A-Za-z0-9%+/=-]{20,}+"),
    ("slack-token", "xapp-", "[0-9]-[A-Za-z0-9-]{20,}+"),
    ("slack-webhook", "hooks.slack.com/", "[a-z]{4,12}/(?P<s>[A-Z][A-Z0-9]{6,}+/[A-Za-z0-9]{6,}+/[A-Za-z0-9/]{10,}+)"),
    ("stripe-key", "sk_live_ rk_live_ sk_test_ rk_test_", _W + "{16,}+"),
    ("stripe-key", "whsec_", "[A-Za-z0-9+/]{24,}+={0,2}"),
    ("anthropic-key", "sk-ant-", "[a-z0-9]{2,10}-" + _U + "{24,}+"),
    ("openai-key", "sk-", "?(?!ant-)" + _U + "{20,}+"),
    ("npm-token", "npm_", "?" + _W + "{36}(?![A-Za-z0-9_])"),
    ("pypi-token", "pypi-A", _U + "{50,}+"),
    ("huggingface-token", "hf_ api_org_", "?" + _W + "{34,}+"),
    ("sendgrid-key", "SG.", _U + r"{16,32}\." + _U + "{32,64}" + _NO_U),
    ("twilio-key", "SK", _HEX + "{32}" + _NO_W),
    ("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", _HEX + "{64}"),
    ("vault-token", "hvs. hvb. hvr.", "?" + _U + "{24,}+"),
    ("discord-webhook", "/api/webhooks/", "[0-9]{15,20}/(?P<s>[A-Za-z0-9_-]{60,}+)"),
    ("vendor-token", "shpat_ shpca_ shppa_ shpss_", "[0-9a-fA-F]{32}"),  # Shopify
    ("vendor-token", "dapi key-", _HEX + "{32}(?![A-Za-z0-9_])"),  # Databricks, Mailgun
    ("vendor-token", "gsk_ ntn_ rpa_", "?" + _W + "{40,}+"),  # Groq, Notion, RunPod
    ("vendor-token", "lin_api_", _W + "{32,}+"),  # Linear
    ("vendor-token", "dp.pt. dp.st. dp.ct. dp.sa.", _W + "{40,}+"),  # Doppler
    ("vendor-token", "glc_", "?[A-Za-z0-9+/]{40,}+={0,2}"),  # Grafana Cloud
    ("vendor-token", "glsa_", _W + "{32}_[0-9a-fA-F]{8}"),  # Grafana
    ("vendor-token", "dckr_pat_ dckr_oat_", _U + "{27,}+"),  # Docker Hub
    ("vendor-token", "AGE-SECRET-KEY-1", "[A-Z0-9]{58}"),
    ("vendor-token", "r8_", "?" + _W + "{37}(?![A-Za-z0-9_])"),  # Replicate
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
    ("vendor-token", "xai- pplx-", "?" + _W + "{48,}+"),  # xAI, Perplexity
    ("vendor-token", "HRKU-", _U + "{36,}+"),  # Heroku
    ("vendor-token", "nfp_", _W + "{36}"),  # Netlify
    ("vendor-token", "xkeysib-", _HEX + "{64}-" + _W + "{16}"),  # Brevo
    ("vendor-token", "LTAI", "?" + _W + "{16,24}" + _NO_W),  # Alibaba
    ("vendor-token", "tvly-", "?" + _U + "{28,}+"),  # Tavily
)


def _anchored(prefix: str, body: str) -> str:
    """A pattern of a literal prefix and a body that does not start inside a word.

    The prefix comes first and the look-behinds after it, so that the search jumps from literal to literal. An
    escaped line end (``\\n``), a percent-encoded byte and a colour code before it are no part of a word. Where the
    body has ``-`` and ``_``, so has the word: else ``sk-sk-sk-…`` would be read from each of its beginnings.
    """
    prefix = re.escape(prefix)
    word = "A-Za-z0-9_-" if prefix in (r"sk\-", "eyJ") else "A-Za-z0-9"
    escapes = (r"\\[nrtbf]", r"%[0-9A-Fa-f][0-9A-Fa-f]", r"\[[0-9]m", r"\[[0-9][0-9]m", r"\[[0-9];[0-9][0-9]m")
    allowed = "|".join(f"(?<={escape}{prefix})" for escape in escapes)
    return f"{prefix}(?:(?<![{word}]{prefix})|{allowed}){body}"


def _formats() -> Iterator[_Format]:
    for rule, prefixes, body in _PREFIXED:
        accept = _is_random_token if body.startswith("?") and not body.startswith("?(") else _is_no_filler
        for prefix in prefixes.split():
            yield _Format(rule, prefix, _anchored(prefix, body.removeprefix("?")), accept)
