"""Whether a value is a secret, an ordinary word, or only a reference to a secret.

How much a value looks like words is measured by its letter pairs, so that ``getAccessToken`` and
``your-token-here`` are told from what a machine made.
"""

from __future__ import annotations

import itertools
import re

from gitsess.redact.lazy import lazy


def words(text: str) -> list[str]:
    return text.split()


LONGEST_JUDGED = 256
"""Characters of a value that are looked at; secrets show what they are in fewer."""

# The commonest letter pairs of English words and of identifiers: together nine tenths of all pairs there, but
# only about three tenths of the pairs of random letters.
_PAIRS = frozenset(
    first + second
    for entry in words(
        "abcdgilmnprstuvy baeilou caehiklortu daeiosu eacdefglmnprstvx faefioru geinrs haeio iabcdefglmnoprstv ke "
        "ladeilostuy maeiop nacdefgiostu obcdflmnoprstuvw paeiloprtu qu racdegimnorstuy sacehiopstu taehilorstuy "
        "ubceilmnprst vaei waehio xt"
    )
    for first in entry[0]
    for second in entry[1:]
)
SEGMENT = lazy(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
"""The words of an identifier in any of the usual spellings, and its numbers."""


def is_random(value: str, shortest: int) -> bool:
    """Whether at least ``shortest`` characters long and made by a machine, rather than of words or numbers.

    Of the neighbouring pairs that tell something (two letters, or a letter and a digit) fewer than half are
    common letter pairs; a change from lower to upper case, as in camelCase, and separators tell nothing.
    """
    value = value[:LONGEST_JUDGED]
    if len(value) < shortest or len(set(value)) < min(8, shortest - 2):
        return False
    telling = common = steps = 0
    for left, right in itertools.pairwise(value):
        if ord(right) - ord(left) == 1:
            steps += 1
        if left.isalpha() and right.isalpha():
            if left.islower() and right.isupper():
                continue
            telling += 1
            common += (left + right).lower() in _PAIRS
        elif left.isalnum() and right.isalnum() and not (left.isdigit() and right.isdigit()):
            telling += 1
    # Alphabets and "0123456789abcdef" are runs of steps; dates and versions have few telling pairs.
    if telling < max(5, min(len(value) // 3, 12)) or steps >= len(value) / 3:
        return False
    if common < telling / 2:
        return True
    # Random letters of both cases fall into words of two, as camelCase does not.
    segments = SEGMENT().findall(value)
    return not value.islower() and not value.isupper() and sum(map(len, segments)) < 2.6 * len(segments)


# --- What only stands for a secret -------------------------------------------------------------------------

_FILLER_WORDS = words(
    "your example sample placeholder changeme change-me change_me replace redacted insert dummy xxxx notreal"
)
_FILLER = lazy(
    "|".join(form for word in _FILLER_WORDS for form in (word, word.upper(), word.capitalize()))
    + r"|\*\*\*|\.\.\.|…|••|\[redacted:|\$\{|\$\(|\{\{|\}\}|#\{|%\(|<%|<[\w-]+>"
)
_VARIABLE = lazy(
    r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[a-z]+(?:_[a-z]+)+"  # Names of constants and of variables.
    r"|\$\w+|\$\{.*|%\w+%|%[sdrq]|\{[\w.\[\]'\"-]*\}|<.*|@\w+@|:'?\w+'?|[&*!]\w+"
    r"|(?:arn|ssm|op|vault|env|file|sha\d+|md5|h1|urn|ENC|ref\+\w+)[:\[(].*|\$ANSIBLE_VAULT.*"
    r"|ssh-\w+|0x[0-9a-fA-F]{40}|AWS4-HMAC-SHA256"
)
_PATH = lazy(r"(?:~|\.{0,2})/[\w.@+-]|[A-Za-z]:[\\/]|\w+://")
_REGEX = lazy(r"\[\^?[\w\\]-|\[\^?\\|\{\d+,?\d*\}|\(\?[:=!<P]|\\[dwsb]")
_EXPRESSION = lazy(r"[\w\])][(\[]|[)\]][.)]|[=-]>|::|==|&&|\|\||\?\.|\?\?|^\(")
_DOTTED = lazy(r"[A-Za-z_$][\w$]*(?:(?:\.|->)[A-Za-z_$][\w$]*)+")


def is_filler(value: str) -> bool:
    """Whether a value only stands for a secret: ``YOUR_API_KEY``, ``xxxx…``, ``${TOKEN}``, ``sk-...``."""
    return len(set(value)) < 5 or _FILLER().search(value[:LONGEST_JUDGED]) is not None


def is_expression(value: str) -> bool:
    """Whether code that computes something: a call, a subscript, a comparison, an arrow."""
    return _EXPRESSION().search(value.rstrip("=")) is not None


def is_dotted(value: str) -> bool:
    """Whether names joined by dots, such as ``self.settings.token``."""
    return _DOTTED().fullmatch(value) is not None


def is_reference(value: str, *, literal: bool) -> bool:
    """Whether a value says where the secret is, rather than being it: a variable, a call, a path, an ARN.

    ``literal``: it stood in quotes or in a configuration file, where code means nothing.
    """
    head = value[:LONGEST_JUDGED]
    if is_filler(head) or "::" in head or _VARIABLE().fullmatch(head) or _REGEX().search(head):
        return True
    if not literal and is_expression(head):
        return True
    return _PATH().match(head) is not None and not is_random(max(re.split(r"[/\\]", head), key=len), 20)


# --- What is one -------------------------------------------------------------------------------------------

_UUID = lazy(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ONE_CASE_HEX = lazy("[0-9a-f]+|[0-9A-F]+")
_PASSPHRASE = lazy(r"[a-z]{3,12}(?:[-_.][a-z]{3,12}){3,7}")
# Words of which weak and made-up passwords consist; what is left without them must have some substance.
_WEAK = lazy(
    r"(?i)passw(?:or)?d|pass|passphrase|secret|admin|root|user|name|testing|test|demo|default|change|this|super|"
    r"strong|secure|wrong|correct|incorrect|valid|invalid|bad|good|some|temp|guest|login|qwerty|letmein|welcome|"
    r"hello|world|foo|bar|baz|abc|xyz|word|key|token|app|api|db|dev|local|prod|mysql|postgres|minio|reset|forgot|"
    r"confirm|current|enter|new|old|my|the|is|at|min|max|length|field|form|[01]?123\d*|\d{1,4}$|[^A-Za-z0-9]"
)


def strength(value: str) -> int:
    """How many letters and digits a password has beyond the words that weak ones are made of."""
    return len(_WEAK().sub("", value))


def is_password(value: str, *, literal: bool) -> bool:
    """Whether what stands under a password's name is one that somebody could really use."""
    if not 8 <= len(value) <= 200 or re.search(r"\s", value) or re.fullmatch(r"[\d.,:_+-]+", value):
        return False
    if strength(value) < 5:
        return False
    if is_random(value, 8):
        return literal or not is_dotted(value) or is_random(value, 16)
    if literal and len(value) >= 20 and _PASSPHRASE().fullmatch(value):
        return strength(value) >= 0.8 * len(re.findall(r"\w", value))
    if is_dotted(value) or (not literal and re.fullmatch(r"[A-Za-z_]\w*", value)):
        return False
    lower, upper = any(map(str.islower, value)), any(map(str.isupper, value))
    digits, symbols = len(re.findall(r"\d", value)), len(re.findall(r"[^\w.,:;/ -]", value))
    if symbols:
        return lower + upper + (digits > 0) >= 2
    return lower and upper and digits >= 2 and re.search(r"[-_./:]", value) is None


def is_secret(value: str, shortest: int = 16) -> bool:
    """Whether what stands under a key's or token's name is one: random, or a UUID."""
    if _UUID().fullmatch(value):
        return not is_filler(value)
    # Few letters stand together where every fifth character is a symbol: Django's keys, generated passwords.
    if len(value) >= 20 and len(set(re.findall(r"[^\w.,:;/ -]", value))) >= 4:
        return is_password(value, literal=True)
    value = max(value.split("."), key=len) if is_dotted(value) else value
    # Shorter hexadecimal numbers are checksums and ids more often than keys.
    return is_random(value, max(shortest, 20) if _ONE_CASE_HEX().fullmatch(value) else shortest)


def is_real_password(user: str, password: str) -> bool:
    """Whether a password next to its user is one, rather than an example or everybody's default."""
    if len(password) < 4 or password.lower() == user.lower() or is_reference(password, literal=False):
        return False
    return strength(password) >= 2 and not (user.isupper() and password.isupper() and password.isalpha())
