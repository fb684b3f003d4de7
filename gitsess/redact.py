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
    accept: Callable[[re.Match[str]], bool]


def _is_no_filler(match: re.Match[str]) -> bool:
    return not _is_filler(match[_secret_group(match)])


def _is_random_token(match: re.Match[str]) -> bool:
    found = match[_secret_group(match)]
    return not _is_filler(found) and _is_random(found, 20)


def _secret_group(match: re.Match[str]) -> str | int:
    return "s" if "s" in match.re.groupindex else 0


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
        _U + r"{20,}+(?:\.[0-9a-z]{2}\.[0-9a-z]{7,9})?",
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
    ("discord-webhook", "/api/webhooks/", "[0-9]{15,20}/(?P<s>[A-Za-z0-9_-]{60,}+)"),
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
    escaped line end (``\\n``), a percent-encoded byte and a colour code before it are no part of a word. Where the
    body has ``-`` and ``_``, so has the word: else ``sk-sk-sk-…`` would be read from each of its beginnings.
    """
    prefix = re.escape(prefix)
    word = "A-Za-z0-9_-" if prefix in (r"sk\-", "eyJ") else "A-Za-z0-9"
    escapes = (r"\\[nrtbf]", r"%[0-9A-Fa-f][0-9A-Fa-f]", r"\[[0-9]m", r"\[[0-9][0-9]m", r"\[[0-9];[0-9][0-9]m")
    allowed = "|".join(f"(?<={escape}{prefix})" for escape in escapes)
    return f"{prefix}(?:(?<![{word}]{prefix})|{allowed}){body}"


# What stands between the lines of a key: line ends, also escaped; quotes, commas and plus signs of code; marks of
# comments, quoted mail and diffs; line numbers. Then the lines: base64, or a header such as "DEK-Info: …".
_BETWEEN = r"(?:\s|\\+[nrt]|\\(?=\s)|[\"'`,;>#*|&]|[0-9]{1,6}[\t→|:]|-(?!-))*+"
_LINE = r"(?:[A-Za-z0-9+/=]{16,}+|(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\n\\]{0,120}+)"
_PEM = (
    rf"-----BEGIN [A-Z0-9 ]{{0,30}}PRIVATE KEY(?: BLOCK)?-----(?=(?P<first>{_BETWEEN}{_LINE}))(?:{_BETWEEN}{_LINE})++"
    rf"(?:(?:{_BETWEEN}[A-Za-z0-9+/=]{{1,64}}){{0,2}}{_BETWEEN}-----END [A-Z0-9 ]{{0,30}}KEY(?: BLOCK)?-----"
    rf"|{_BETWEEN}[A-Za-z0-9+/=]{{1,15}}+(?=\s*(?:\Z|[\"'`…]|\.\.\.)))?"
)
_BASE64_LINES = (
    r"[A-Za-z0-9+/]{20,}+={0,2}(?:(?:\r?\n[ \t]*[A-Za-z0-9+/]{16,}+={0,2})++"
    r"(?:\r?\n[ \t]*[A-Za-z0-9+/]{1,15}+={0,2}(?=[\s\"']|\Z))?)?"
)


def _is_key_body(match: re.Match[str]) -> bool:
    return ": " in match["first"] or _is_random(re.split(r"[^A-Za-z0-9+/=]", match["first"])[-1], 16)


def _is_encoded_pem(match: re.Match[str]) -> bool:
    return b"PRIVATE KEY" in base64.b64decode(match[0][:64])


def _is_url_secret(match: re.Match[str]) -> bool:
    if match["s"] is None:
        return _is_random(match["alone"], 20) and not match["host"].startswith("o") and ".ingest." not in match["host"]
    before = match.string[max(0, match.start() - 5) : match.start()]
    if "/" in match["s"] and (before.endswith(("http", "https", "ws", "wss")) or match["s"][0].isdigit()):
        return False
    return _is_real_password(match["user"], match["s"])


def _is_real_password(user: str, password: str) -> bool:
    """Whether a password next to its user is one, rather than an example or everybody's default."""
    if len(password) < 4 or password.lower() == user.lower() or _is_reference(password, quoted=False):
        return False
    return len(_WEAK.sub("", password)) >= 2 and not (user.isupper() and password.isupper() and password.isalpha())


def _is_basic(match: re.Match[str]) -> bool:
    return _decodes_to_user_and_password(match["s"])


def _decodes_to_user_and_password(value: str) -> bool:
    try:
        user, colon, password = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(colon) and (user + password).isprintable() and _is_real_password(user, password)


def _is_bearer(match: re.Match[str]) -> bool:
    return not _is_reference(match["s"], quoted=False) and _is_random(match["s"], 16)


def _is_cli_password(match: re.Match[str]) -> bool:
    return not _is_reference(match["s"], quoted=False) and len(_WEAK.sub("", match["s"])) >= 4


# Rule, literal, pattern, what the match must be besides.
_SHAPED: tuple[tuple[str, str, str, Callable[[re.Match[str]], bool]], ...] = (
    ("private-key", "PRIVATE KEY", _PEM, _is_key_body),
    ("private-key", "LS0tLS1CRUdJT", "LS0tLS1CRUdJT" + _BASE64_LINES, _is_encoded_pem),
    (
        "private-key",
        "Private-Lines:",
        rf"Private-Lines: \d{{1,4}}{_BETWEEN}(?P<s>[A-Za-z0-9+/=]{{30,}}+(?:{_BETWEEN}[A-Za-z0-9+/=]{{4,}}+(?=\s|\\|\Z))*+)",
        _is_no_filler,
    ),
    (
        "private-key",  # A JSON Web Key.
        '"kty',
        r'"(?:d|p|q|dp|dq|qi|k)\\*"\s{0,8}:\s{0,8}\\*"(?P<s>[A-Za-z0-9_-]{32,}+)',
        _is_no_filler,
    ),
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
        "[MNO](?<![A-Za-z0-9_-][MNO])" + _U + r"{22,27}\." + _U + r"{6}\." + _U + "{27,}+",
        _is_random_token,
    ),
    ("azure-client-secret", "Q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", _is_random_token),
    ("vendor-token", ".atlasv1.", _W + r"{14}\.atlasv1\." + _U + "{60,}+", _is_no_filler),  # Terraform Cloud
    ("twilio-key", "AC", r"AC[0-9a-f]{32}[\"':, ]{1,4}(?P<s>[0-9a-f]{32})(?![0-9a-f])", _is_no_filler),
    (
        "url-password",
        "@",
        r":(?:\\?/){2}(?:(?P<user>[^\s/?#@:'\"<>`\\]{0,128}):(?P<s>[^\s?#'\"<>`\\]{1,256})|(?P<alone>[A-Za-z0-9_-]{20,128}))"
        r"@(?P<host>[\w\[$%{.*-])",
        _is_url_secret,
    ),
    ("bearer-token", "earer", r"[Bb]earer(?:\s{1,3}|%20)(?P<s>[A-Za-z0-9._~+/-]{16,}+={0,2})", _is_bearer),
    ("basic-auth", "asic", r"[Bb]asic(?:\s{1,3}|%20)(?P<s>[A-Za-z0-9+/]{8,}+={0,2})", _is_basic),
    (
        "cli-password",
        "curl",
        r"\bcurl\b[^\n]{0,300}?[ \t](?:-u|--user)[ =]?\\*[\"']?[^\s:'\"]{1,80}:(?P<s>[^\s'\"\\]{6,})",
        _is_cli_password,
    ),
    ("cli-password", "sshpass", r"\bsshpass\s{1,4}-p\s{0,4}\\*[\"']?(?P<s>[^\s'\"\\]{6,})", _is_cli_password),
    ("cli-password", "mysql", r"\bmysql(?:dump|admin)?\b[^\n|;]{0,200}?\s-p(?P<s>[^\s'\"\\$]{6,})", _is_cli_password),
)


@functools.cache
def _formats() -> tuple[_Format, ...]:
    made = [_Format(*entry) for entry in _SHAPED]
    for rule, prefixes, body in _PREFIXED:
        accept = _is_random_token if body.startswith("~") else _is_no_filler
        for prefix in prefixes.split():
            made.append(_Format(rule, prefix, _anchored(prefix, body.removeprefix("~")), accept))
    return tuple(made)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_AWS_SECRET = r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])"


def _find_formats(text: str) -> Iterator[Span]:
    for form in _formats():
        if form.literal not in text:
            continue
        for match in _compiled(form.pattern).finditer(text):
            if form.accept(match):
                start, end = match.span(_secret_group(match))
                if start < 0:
                    start, end = match.span("alone")
                yield Span(start=start, end=end, rule=form.rule)
                if form.rule == "aws-access-key":
                    yield from _aws_secrets(text, start, end)


def _aws_secrets(text: str, start: int, end: int) -> Iterator[Span]:
    """The forty characters that stand near an access key id, without a name of their own."""
    for match in _compiled(_AWS_SECRET).finditer(text, max(0, start - 120), end + 160):
        value = match[0]
        if _is_random(value, 40) and not value.isalpha() and not re.fullmatch("[0-9a-f]+|[0-9A-F]+", value):
            yield Span(start=match.start(), end=match.end(), rule="aws-secret-key")


# --- Assignments to secret-looking names -------------------------------------------------------------------

_PASSWORD_WORDS = frozenset("password passwd passphrase passcode pwd pass passwort psw dbpass sshpass ftppass".split())
_SECRET_WORDS = frozenset("secret secrets token tokens apikey authkey credential credentials bearer pat".split())
_KEY_OWNERS = frozenset(
    "api access secret private auth account master encryption encrypt crypto signing sign service client app application "
    "session storage shared deploy admin root hmac jwt aes cookie webhook server license consumer subscription write "
    "integration personal user ingest security stream function functions host".split()
)
_GLUED = re.compile(r"\w+(?:password|passwd|passphrase|secret|token|apikey|accesskey|secretkey|privatekey|authkey)")
# A name with one of these words is not a secret's, whatever else it says …
_OTHER_WORDS = frozenset(
    "public publishable cache primary foreign partition routing idempotency dedup deduplication unique sort page next "
    "continuation pagination cursor sync cancel cancellation bos eos pad unk sep cls mask special gpg pgp hash hashed "
    "fingerprint thumbprint digest checksum count limit ttl expiry expires expiration expire length len size min max "
    "name names path paths file files dir url uri urls endpoint type types field fields label hint header headers "
    "prefix pattern regex policy version arn ref selector index issuer audience placeholder format algorithm alg "
    "provider manager store backend mount location preview class color icon id ids kid enabled required exists "
    "validator validators error errors message title text description help email user username region address owner "
    "position pos line column kind span stream symbol price supply contract usage budget".split()
) - {"user", "stream"}
_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@functools.lru_cache(maxsize=4096)
def _kind_of(name: str) -> str | None:
    """What a name says its value is: ``password``, ``secret``, or nothing of the kind (``None``)."""
    words = [word.lower() for word in _SEGMENT.findall(name)]
    if not words or not _OTHER_WORDS.isdisjoint(words):
        return None
    at = max((number for number, word in enumerate(words) if _names_secret(words, number, name)), default=-1)
    if at < 0:
        return None
    is_last = all(word.isdigit() for word in words[at + 1 :])
    word = words[at]
    if is_last and (word in _PASSWORD_WORDS or word.endswith(("password", "passwd", "passphrase"))):
        return "password"
    # "pass" and "pwd" in the middle are other words: pass_rate, pwd_prompt.
    return None if word in ("pass", "pwd", "auth", "pat") and not is_last else "secret"


def _names_secret(words: Sequence[str], at: int, name: str) -> bool:
    word = words[at]
    if word in _PASSWORD_WORDS or word in _SECRET_WORDS or _GLUED.fullmatch(word):
        return True
    if word == "key":
        return at > 0 and (words[at - 1] in _KEY_OWNERS or (name.isupper() and at == len(words) - 1))
    return word in ("auth", "authorization") and at == len(words) - 1


# Runs over the lower-cased text. The name's word first: nothing else in a text is as rare.
_ASSIGNMENT = r"""
(?:pass|pwd|secret|token|credential|key|auth|bearer|identified\ by|pat(?![a-z]))[a-z0-9_.-]{0,40}+
(?:\\{0,4}["'`]|&quot;|&\#3[49];|\*\*|__)?
(?:\[\d{0,4}\]|\])?
(?:
  (?P<assign>
    [ \t]{0,40}(?:\r?\n[ \t]{0,80})?
    (?: :[ \t]{0,4}[&a-z][^=:\n"'`,;(){}]{0,40}=[ \t]{0,4}(?=[rbf]?["'`])
      | [ \t]{1,4}[a-z\[\]*&]{1,20}[ \t]{0,4}=[ \t]{0,4}(?=["'`])
      | [=!]==?|=>|:=|\?=|<-|\+=|:(?!//)|=
    )
    (?:\*\*)?(?:[ \t]{0,4}[|>][+-]?\d?(?=[ \t]{0,4}\r?\n))?
    [ \t]{0,40}(?:\\?\r?\n[ \t]{0,80})?
  )
| (?P<call>[ \t]{0,4}[,(]\s{0,40}(?=\\{0,4}["'`]|&quot;))
| (?P<tag>[^<>\n]{0,40}>\s{0,40}|</(?:key|name)>\s{0,40}<(?:string|value)>\s{0,8})
| (?P<pair>[ \t]{0,4}[,{]?\s{0,80}\\{0,4}["']?(?:type\s{0,8}=\s{0,8}string\s{1,40})?(?:value|default)\\{0,4}["']?\s{0,8}[=:]\s{0,8})
| (?P<space>(?:[ \t]{1,4}(?:is|was|to|=|:))?[ \t]{1,20}(?=[^\s=:|])|[ \t]{0,20}\|[ \t]{0,20})
)
"""
_OPENING = re.compile(r"(?:[rbfuLRBFU@$]{1,2}(?=[\"']))?(?:(\\{0,4})([\"'`])|(&quot;|&#3[49];))")
_STRING = {mark: re.compile(rf"[^{mark}\\\n]*+(?:\\.[^{mark}\\\n]*+)*+(?={mark})") for mark in "\"'`"}
_RUN = re.compile(r"[^\s\"'`<>,;&|(){}\[\]\\]+")
_LINE_RUN = re.compile(r"[^\s\"'`<>\\]+(?=[ \t]*(?:\\?\r?\n|\Z|#|\\n|\\r))")
_LINE_START = re.compile(
    r"[ \t]*(?:\d{1,6}[\t→|:][ \t]*)?[-+*>#]{0,2}[ \t]*(?:(?:export|set|env|ENV|ARG|-e|declare -x)[ \t]+|\$env:)?[\"']?"
)
_LITERAL = re.compile(r"([\"'`])([^\"'`\\\n]{8,200})\1")
_SCHEME = re.compile(r"(?i)(?:bearer|basic|token|api-?key|key|bot|ssws|oauth|jwt)[ \t]+(?=\S)")
_MORE_LINES = re.compile(r"(?:\r?\n[ \t]*[A-Za-z0-9+/_-]{20,}+={0,2}(?=[\s\"']|\Z))+(?:\r?\n[ \t]*[A-Za-z0-9+/_-]{1,19}={1,2}(?=[\s\"']|\Z))?")
_NAME_END = re.compile(r"[A-Za-z0-9_.$-]*")
_LONGEST_VALUE = 4096


@functools.cache
def _assignment() -> re.Pattern[str]:
    return re.compile(_ASSIGNMENT, re.VERBOSE)


def _lower(text: str) -> str:
    """Lower case of the same length: the dotted capital I is the one letter that becomes two."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.replace("\u0130", "I").lower()


def _find_assignments(text: str) -> Iterator[Span]:
    for match in _assignment().finditer(_lower(text)):
        before = text[max(0, match.start() - 48) : match.start()]
        lead = len(_NAME_END.match(before[::-1])[0])  # type: ignore[index]  # It matches the empty text too.
        start = match.start() - lead
        shape = match.lastgroup
        head = text[start : match.start(shape or 0)]
        kind = "password" if head.lower().startswith("identified") else _kind_of(head)
        if kind is None or text.endswith("[redacted:", 0, start):
            continue
        strict = shape == "space"
        for value_start, value_end, quoted in _values(text, start, match.end(), shape):
            found = _judge(kind, text[value_start : min(value_end, value_start + _LONGEST_VALUE)], quoted=quoted, strict=strict)
            if found is not None:
                skip, rule = found
                yield Span(start=value_start + skip, end=_whole_end(text, value_end), rule=rule)


def _values(text: str, name: int, at: int, shape: str | None) -> Iterator[tuple[int, int, bool]]:
    """Where the values of an assignment may be: (start, end, whether written as a literal)."""
    opening = _OPENING.match(text, at)
    if opening:
        yield _quoted(text, opening)
        return
    if shape == "call":
        return
    if shape == "assign" and _LINE_START.fullmatch(text, text.rfind("\n", max(0, name - 200), name) + 1, name):
        whole = _LINE_RUN.match(text, at, at + _LONGEST_VALUE)
        if whole and not _EXPRESSION.search(whole[0]) and whole[0][-1] not in ",;":
            yield at, whole.end(), True
            return
    run = _RUN.match(text, at, at + _LONGEST_VALUE)
    if run and not text.startswith(("(", "[", "."), run.end()):
        yield at, at + len(run[0].rstrip(".:!?")), False
    # A call or a fallback: SecretStr("…"), os.environ.get("X", "…"), process.env.X || "…".
    for literal in _LITERAL.finditer(text, at, min(at + 160, _line_end(text, at))):
        yield literal.start(2), literal.end(2), True


def _quoted(text: str, opening: re.Match[str]) -> tuple[int, int, bool]:
    start, limit = opening.end(), opening.end() + _LONGEST_VALUE
    if opening[3] or opening[1]:
        end = text.find(opening[0] if opening[3] else opening[1] + opening[2], start, limit)
    else:
        if text.startswith(opening[2] * 2, start):
            start += 2
        string = _STRING[opening[2]].match(text, start, limit)
        end = string.end() if string else -1
    if end < 0:
        # Cut off: what is left of the string is read as if it had no quotes.
        run = _RUN.match(text, start, limit)
        end = run.end() if run else start
    return start, end, True


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at, at + 200)
    return len(text) if end < 0 else end


def _whole_end(text: str, end: int) -> int:
    """The end of a value that goes on: longer than was judged, or wrapped base64."""
    more = _MORE_LINES.match(text, end) if text.startswith(("\n", "\r\n"), end) else None
    return more.end() if more else end


def _judge(kind: str, value: str, *, quoted: bool, strict: bool = False) -> tuple[int, str] | None:
    """Whether a value under a secret-looking name is a secret: (how much of its beginning is not, the rule)."""
    scheme = _SCHEME.match(value)
    skip = scheme.end() if scheme else 0
    value = value[skip:].rstrip() if scheme else value
    if len(value) < 8 or any(character in value for character in " \t\n") or _is_reference(value, quoted=quoted):
        return None
    if kind == "password":
        good = _is_random(value, 8) if strict else _is_password(value, quoted=quoted)
        good = good or (quoted and len(value) >= 20 and _is_passphrase(value)) or (strict and _is_password(value, quoted=False))
        return (skip, "password") if good else None
    if _decodes_to_user_and_password(value):
        return skip, "basic-auth"
    if _UUID.fullmatch(value) or (_is_random(value, 20 if strict else 16) and not _DOTTED.fullmatch(value)):
        return skip, "secret"
    return None


def _is_passphrase(value: str) -> bool:
    return _PASSPHRASE.fullmatch(value) is not None and len(_WEAK.sub("", value)) >= 0.8 * len(re.sub(r"\W", "", value))


# --- Lines that belong together ----------------------------------------------------------------------------

# A string continued after a backslash or by concatenation, and a run of token characters that a terminal wrapped.
_CONTINUED = re.compile(r"\\\r?\n[ \t]*|([\"'`])(?:\s{0,80}[+.&]\s{0,80}|[ \t]{0,8}\r?\n[ \t]{0,80}[rbfu]?)\1")
_WRAPPED = re.compile(r"\n(?<=[A-Za-z0-9+/_.=-]{56}\n)[ \t]*(?=[A-Za-z0-9+/_.=-]{8})")


def _fold(text: str, joints: Sequence[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in joints:
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]])


def _unfold(spans: Iterator[Span], joints: Sequence[tuple[int, int]]) -> Iterator[Span]:
    """Spans of a folded text, as spans of the text it was folded from."""
    places, shifts, removed = [], [], 0
    for start, end in joints:
        places.append(start - removed)
        removed += end - start
        shifts.append(removed)

    def original(at: int) -> int:
        number = bisect.bisect_right(places, at)
        return at + (shifts[number - 1] if number else 0)

    for span in spans:
        yield Span(start=original(span.start), end=original(span.end - 1) + 1, rule=span.rule)


# --- What is known beforehand ------------------------------------------------------------------------------

_SHORTEST_ENVIRONMENT_VALUE = 12
_SECRET_VARIABLE = re.compile(
    r"(?:.*_)?(?:\w*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|CREDENTIAL|PRIVATE)\w*|KEYS?|PASS|PWD|AUTH|PAT|CREDS)(?:_.*)?",
    re.IGNORECASE,
)
_OTHER_VARIABLE = re.compile(r".*_(?:ID|NAME|USER|USERNAME|EMAIL|HOST|REGION|TYPE|VERSION|FINGERPRINT)", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def _is_environment_secret(name: str, value: str) -> bool:
    """Whether a variable's value may be searched for everywhere: of a secret's name, and no word, path or number."""
    if len(value) < _SHORTEST_ENVIRONMENT_VALUE or not _SECRET_VARIABLE.fullmatch(name) or _OTHER_VARIABLE.fullmatch(name):
        return False
    if re.fullmatch(r"[\d\s.,:;_+-]*", value) or _EMAIL.fullmatch(value):
        return False
    if _is_url(value):
        return any(True for _ in _find_formats(value)) or any(True for _ in _find_assignments(value))
    if _is_reference(value, quoted=True):
        return False
    return _is_random(value, _SHORTEST_ENVIRONMENT_VALUE) or _is_password(value, quoted=True) or _has_many_digits(value)


def _is_url(value: str) -> bool:
    return re.match(r"[A-Za-z][\w+.-]*://", value) is not None


def _has_many_digits(value: str) -> bool:
    """Ten digits beside letters: no words, and no number."""
    return sum(map(str.isdigit, value)) >= 10


def _written_forms(value: str) -> set[str]:
    """A value as it stands in text, in JSON and in URLs."""
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value, safe="")}


_NAMED_PATTERN = re.compile(r"([a-z][a-z0-9-]{0,31})=(.+)", re.DOTALL)
_ORDINARY_TEXT = (
    "the quick brown fox jumps over the lazy dog, and 12 or 345 others follow.\n"
    "def main(argv: list[str]) -> int:\n    return 0  # done\n/usr/local/bin/git --version\nAlice met Bob in Rome.\n"
)


def _custom(source: str) -> tuple[str, re.Pattern[str]]:
    named = _NAMED_PATTERN.fullmatch(source)
    rule, expression = (named[1], named[2]) if named else ("custom", source)
    where = f"ai-session.redact: the pattern {source!r}"
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{where} is not a regular expression ({error}): correct or remove it") from None
    if pattern.search(""):
        raise UsageError(f"{where} matches the empty text: make it match something only a secret has")
    if _may_explode(expression):
        raise UsageError(f"{where} repeats a repetition and may take forever: use one repetition, or limits")
    if sum(1 for _ in pattern.finditer(_ORDINARY_TEXT)) >= 3 or any(
        len(match[0]) >= 30 for match in pattern.finditer(_ORDINARY_TEXT)
    ):
        raise UsageError(f"{where} matches ordinary text: make it match something only a secret has")
    return rule, pattern


def _may_explode(expression: str) -> bool:
    """Whether an unlimited repetition holds nothing but another one and what may be absent, as in ``(a+)+``."""
    parser: Any = getattr(re, "_parser", None)
    if parser is None:
        return False
    endless = 100

    def items(parsed: Any) -> Iterator[tuple[str, Any]]:
        for code, argument in parsed:
            if str(code) == "SUBPATTERN":
                yield from items(argument[-1])
            else:
                yield str(code), argument

    def explodes(parsed: Any) -> bool:
        for code, argument in items(parsed):
            if code == "BRANCH":
                if any(explodes(branch) for branch in argument[1]):
                    return True
            elif code in ("MAX_REPEAT", "MIN_REPEAT"):
                inside = list(items(argument[2]))
                repeats = [item for item in inside if item[0] in ("MAX_REPEAT", "MIN_REPEAT") and item[1][1] > endless]
                if argument[1] > endless and repeats and not any(item[0] == "LITERAL" for item in inside):
                    return True
                if explodes(argument[2]):
                    return True
        return False

    return explodes(parser.parse(expression))


# --- The redactor ------------------------------------------------------------------------------------------

# Only what a redactor writes: a marker with anything else in it, such as a token, is ordinary text.
_MARKER = re.compile(r"\[redacted:(?:env-[A-Za-z_][A-Za-z0-9_]{0,127}|[a-z][a-z0-9-]{0,31})\]")
_KEPT_TYPES = frozenset(("thinking", "redacted_thinking"))
_KEPT_KEYS = frozenset(("signature", "encrypted_content"))
_VALUE_KEYS = frozenset(("value", "Value", "default", "_text", "$t", "text", "S"))
_ROUNDS_TO_WIDEN = 3


def _marker(rule: str) -> str:
    return f"[redacted:{re.sub('[^A-Za-z0-9_-]', '-', rule)}]"


def _markers(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _MARKER.finditer(text)] if "[redacted:" in text else []


def _replaced(text: str, spans: Sequence[Span]) -> str:
    parts, at = [], 0
    for span in spans:
        parts += (text[at : span.start], _marker(span.rule))
        at = span.end
    return "".join([*parts, text[at:]])


def _shifted(more: Sequence[Span], spans: Sequence[Span]) -> Iterator[Span]:
    """Spans found between the markers of a replaced text, as spans of the text before."""
    places, shifts, shift = [], [], 0
    for span in spans:
        length = len(_marker(span.rule))
        places.append(span.start - shift + length)
        shift += length - (span.end - span.start)
        shifts.append(shift)
    for span in more:
        number = bisect.bisect_right(places, span.start)
        shift = shifts[number - 1] if number else 0
        yield Span(start=span.start - shift, end=span.end - shift, rule=span.rule)
