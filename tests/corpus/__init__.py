"""Secrets and look-alikes, to measure what redaction finds and what it leaves alone.

The files hold templates, not secrets, so that no scanner of pushes stumbles over them: ``{{alnum:36}}`` stands
for 36 random letters and digits, filled from a seed when a test runs (see :class:`Filler` for the kinds).

``secrets/*.txt``      cases, each opened by ``## <rule> | <title>``; ``⟦…⟧`` encloses what must not survive.
``lookalikes/*.txt``   what repositories, documents and tools hold, and what must not change.

Both sets have a hand-written part (the files) and a generated part (the functions below), which multiplies
the shapes that differ by their random content only.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import textwrap
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OPEN, CLOSE = "⟦", "⟧"

_LOWERNUM = string.ascii_lowercase + string.digits
_ALPHABETS = {
    "alnum": string.ascii_letters + string.digits,
    "letters": string.ascii_letters,
    "lower": string.ascii_lowercase,
    "lowernum": _LOWERNUM,
    "UPPERNUM": _LOWERNUM.upper(),
    "digits": string.digits,
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "BASE32": string.ascii_uppercase + "234567",
    "BECH32": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    "b64raw": string.ascii_letters + string.digits + "+/",
    "b64url": string.ascii_letters + string.digits + "-_",
    "symbols": _LOWERNUM + "!@#$%^&*(-_=+)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One text with secrets in it: ``spans`` are their (start, end) in ``text``."""

    rule: str
    title: str
    text: str
    spans: tuple[tuple[int, int], ...]


class Filler:
    """Fills ``{{kind:argument}}`` from a seed; the same seed gives the same text."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def fill(self, template: str) -> str:
        return re.sub(r"\{\{([\w]+(?::[\w :]*)?)\}\}", self._replace, template)

    def _replace(self, match: re.Match[str]) -> str:
        kind, _, argument = match[1].partition(":")
        return self.make(kind, argument) if kind in _ALPHABETS or hasattr(self, kind) else match[0]

    def make(self, kind: str, argument: str = "") -> str:
        """One value of a kind: an alphabet with its length, or one of the methods below."""
        if kind in _ALPHABETS:
            return "".join(self.random.choices(_ALPHABETS[kind], k=int(argument)))
        method: Callable[[str], str] = getattr(self, kind)
        return method(argument)

    def uuid(self, _: str) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def b64(self, length: str) -> str:
        """Base64 of whole bytes, with its padding, exactly ``length`` characters."""
        size = int(length) // 4 * 3
        return base64.b64encode(self.random.randbytes(size - self.random.choice((0, 1, 2)))).decode()

    def b64pct(self, _: str) -> str:
        value = base64.b64encode(self.random.randbytes(32)).decode()
        return value.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")

    def basic(self, _: str) -> str:
        return base64.b64encode(f"jane:{self.password('14')}".encode()).decode()

    def aws40(self, _: str) -> str:
        return base64.b64encode(self.random.randbytes(30)).decode()

    def aws40noslash(self, _: str) -> str:
        return self.aws40("").replace("/", "x").replace("+", "Y")

    def password(self, length: str) -> str:
        """As a password manager makes them: every class, no quote, space or backslash."""
        return self._password(int(length), "!#%*+-.@^_~")

    def urlpass(self, length: str) -> str:
        """As :meth:`password`, of characters that need no encoding in a URL."""
        return self._password(int(length), "!*-._~")

    def _password(self, length: int, symbols: str) -> str:
        must = [string.ascii_lowercase, string.ascii_uppercase, string.digits, symbols]
        rest = string.ascii_letters + string.digits
        picked = [self.random.choice(group) for group in must] + self.random.choices(rest, k=length - 5)
        self.random.shuffle(picked)
        return self.random.choice(string.ascii_letters) + "".join(picked)

    def jwt(self, _: str) -> str:
        return f"{self.jwtnone('')}{self.make('b64url', self.random.choice(('43', '86', '342')))}"

    def jwtnone(self, _: str) -> str:
        claims = {"sub": self.make("digits", "9"), "iat": 1700000000, "jti": self.uuid("")}
        return f"{_b64url({'alg': 'RS256', 'typ': 'JWT'})}.{_b64url(claims)}."

    def pem(self, argument: str) -> str:
        label, _, size = argument.rpartition(":")
        body = textwrap.fill(self.b64(str(int(size) // 4 * 4)), 64)
        return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"

    def pemesc(self, argument: str) -> str:
        return self.pem(argument).replace("\n", "\\n")

    def pemesc2(self, argument: str) -> str:
        return self.pem(argument).replace("\n", "\\\\n")

    def b64pem(self, argument: str) -> str:
        return base64.b64encode(self.pem(argument).encode() + b"\n").decode()

    def wrap(self, argument: str) -> str:
        width, _, kind = argument.partition(":")
        return "\n".join(_chunks(self.make(*_split(kind)), int(width)))

    def wrapindent(self, argument: str) -> str:
        width, indent, kind = argument.split(":", 2)
        return ("\n" + " " * int(indent)).join(_chunks(self.make(*_split(kind)), int(width)))

    def contwrap(self, argument: str) -> str:
        width, _, kind = argument.partition(":")
        return "\\\n".join(_chunks(self.make(*_split(kind)), int(width)))


def _split(kind: str) -> tuple[str, str]:
    name, _, argument = kind.partition(":")
    return name, argument


def _chunks(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


def _b64url(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def case(rule: str, title: str, marked: str) -> Case:
    """A case from a text in which the secrets stand in ``⟦…⟧``."""
    text, spans = "", []
    for number, part in enumerate(re.split(f"[{OPEN}{CLOSE}]", marked)):
        if number % 2:
            spans.append((len(text), len(text) + len(part)))
        text += part
    return Case(rule=rule, title=title, text=text, spans=tuple(spans))


def written_secrets(seed: int = 1) -> Iterator[Case]:
    """The cases of ``secrets/*.txt``, in order."""
    filler = Filler(seed)
    for path in sorted((HERE / "secrets").glob("*.txt")):
        for block in re.split(r"^## ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            head, _, body = block.partition("\n")
            rule, _, title = head.partition(" | ")
            yield case(rule, f"{path.stem}: {title}", filler.fill(body))


_TOKENS = {
    "github-token": [
        "ghp_{{alnum:36}}",
        "gho_{{alnum:36}}",
        "ghs_{{alnum:36}}",
        "github_pat_{{alnum:22}}_{{alnum:59}}",
    ],
    "gitlab-token": ["glpat-{{b64url:20}}", "glrt-{{b64url:20}}"],
    "slack-token": [
        "xoxb-{{digits:12}}-{{digits:13}}-{{alnum:24}}",
        "xapp-1-A{{UPPERNUM:10}}-{{digits:13}}-{{hex:64}}",
    ],
    "stripe-key": ["sk_live_{{alnum:24}}", "rk_live_{{alnum:99}}", "whsec_{{alnum:32}}"],
    "anthropic-key": ["sk-ant-api03-{{b64url:93}}AA", "sk-ant-admin01-{{b64url:93}}AA"],
    "openai-key": ["sk-{{alnum:48}}", "sk-proj-{{b64url:74}}T3BlbkFJ{{b64url:74}}", "sk-proj-{{b64url:48}}"],
    "npm-token": ["npm_{{alnum:36}}"],
    "pypi-token": ["pypi-AgEIcHlwaS5vcmc{{b64url:150}}"],
    "huggingface-token": ["hf_{{letters:34}}", "hf_{{alnum:34}}"],
    "sendgrid-key": ["SG.{{b64url:22}}.{{b64url:43}}"],
    "twilio-key": ["SK{{hex:32}}"],
    "digitalocean-token": ["dop_v1_{{hex:64}}", "doo_v1_{{hex:64}}"],
    "google-oauth": ["ya29.{{b64url:120}}", "GOCSPX-{{b64url:28}}"],
    "vault-token": ["hvs.{{b64url:90}}"],
    "telegram-token": ["{{digits:10}}:AA{{b64url:33}}"],
    "discord-token": ["M{{alnum:25}}.G{{b64url:5}}.{{b64url:38}}"],
    "aws-access-key": ["AKIA{{BASE32:16}}", "ASIA{{BASE32:16}}"],
    "gcp-api-key": ["AIza{{b64url:35}}"],
    "jwt": ["{{jwt}}"],
    "vendor-token": ["shpat_{{hex:32}}", "gsk_{{alnum:52}}", "glsa_{{alnum:32}}_{{hex:8}}", "ntn_{{alnum:46}}"],
}
_TOKEN_PLACES = [
    "{}",
    "Here it is: {} and now go on.",
    "I think ({}) leaked.",
    "see `{}`",
    '"{}"',
    "'{}',",
    '{{"value": "{}", "n": 1}}',
    '"{{\\"value\\": \\"{}\\"}}"',
    "export X={}",
    "x: {}",
    "<value>{}</value>",
    "https://example.com/?q={}&r=1",
    "run --with {} --now",
    "    42\tuse('{}')",
    "+{}",
    "| a | {} |",
    "[{}]",
    "first\\n{}\\nlast",
    "a,{},b",
    "line one\n{}\nline three",
]
_ASSIGNED = {
    "password": ["{{password:12}}", "{{password:16}}", "{{password:24}}", "{{alnum:16}}", "{{alnum:20}}", "{{hex:32}}"],
    "secret": ["{{alnum:32}}", "{{alnum:40}}", "{{hex:32}}", "{{hex:40}}", "{{hex:64}}", "{{b64:44}}", "{{b64url:43}}"],
}
_NAMES = {
    "password": ["password", "DB_PASSWORD", "dbPassword", "smtp_passwd", "admin-password", "ROOT_PWD", "passphrase"],
    "secret": [
        "client_secret",
        "clientSecret",
        "API_KEY",
        "apiKey",
        "x-api-key",
        "ACME_TOKEN",
        "accessToken",
        "auth_token",
        "SECRET_KEY",
        "webhook.secret",
        "encryptionKey",
    ],
}
_ASSIGNMENTS = [
    '{name} = "{value}"',
    "{name}='{value}'",
    "{name}={value}",
    "{name}: {value}",
    '{name}: "{value}",',
    '{{"{name}": "{value}"}}',
    '{{\\"{name}\\": \\"{value}\\"}}',
    '  "{name}":\n    "{value}"',
    "{name}:\n  {value}",
    "    const {name} = '{value}';",
    'set("{name}", "{value}");',
    "--{name} {value}",
    "--{name}={value} --verbose",
    "<{name}>{value}</{name}>",
    "- name: {name}\n  value: {value}",
    '{{"name": "{name}", "value": "{value}"}}',
    "'{name}' => '{value}',",
    "{name} := `{value}`",
    "the {name} is {value}",
    '  17\t{name} = "{value}"',
]


def generated_secrets(seed: int = 2) -> Iterator[Case]:
    """Tokens in places, and values under names: each once in every shape, its content random."""
    filler = Filler(seed)
    for rule, templates in _TOKENS.items():
        for number, place in enumerate(_TOKEN_PLACES):
            token = filler.fill(templates[number % len(templates)])
            yield case(rule, f"generated: {place!r}", place.format(OPEN + token + CLOSE))
    for rule, templates in _ASSIGNED.items():
        for number, shape in enumerate(_ASSIGNMENTS * 6):
            name = filler.random.choice(_NAMES[rule])
            value = filler.fill(templates[number % len(templates)])
            marked = shape.format(name=name, value=OPEN + value + CLOSE)
            yield case(rule, f"generated: {shape!r}", marked)


def written_lookalikes(seed: int = 3) -> Iterator[tuple[str, str]]:
    """The files of ``lookalikes/``, filled: (name, text)."""
    filler = Filler(seed)
    for path in sorted((HERE / "lookalikes").glob("*.txt")):
        yield path.stem, filler.fill(path.read_text("utf-8"))


def _words(text: str) -> list[str]:
    return text.split()


_PACKAGES = _words(
    "acorn ansi-styles babel chalk commander debug eslint-scope fast-glob jsonwebtoken keyv lodash-es "
    "micromatch nanoid passport password-hash picomatch rollup secret-handshake token-types vite zod"
)
_NOUNS = _words("account auth cache config credential key login order password profile secret session token user")
_VERBS = _words("build check clear create decode delete encode expire fetch hash load mask parse reset rotate verify")
_TYPES = [
    "string",
    "str",
    "String",
    "&str",
    "bytes",
    "SecretStr",
    "Option<String>",
    "string | null",
    "char *",
    "[]byte",
]
_EXPRESSIONS = [
    "None",
    "null",
    "undefined",
    '""',
    "''",
    "os.environ['{0}']",
    "process.env.{0}",
    "get_{1}()",
    "self.{1}_{2}",
    "this.{2}.{1}",
    "request.headers.get('{1}')",
    "config.{1}.{2}Value",
    "await {2}Service.get{1}ById(id)",
    "${{{0}}}",
    "'your-{1}-here'",
    "'<{1}>'",
    "'test-{1}'",
    '"{1}_{2}"',
    "{1}s[0]",
    "new {1}Provider({2})",
    '"Enter your {1}"',
    '"/api/v1/{1}/{2}"',
    "'{2}.{1}.label'",
    "crypto.randomBytes(32).toString('hex')",
    "env('{0}')",
    "{1} || {2}",
]


def generated_lookalikes(seed: int = 4) -> Iterator[tuple[str, str]]:
    """Lock files, listings, logs, code and data of the shapes that fill repositories: (name, text)."""
    filler = Filler(seed)
    pick = filler.random.choice

    def version() -> str:
        return ".".join(str(filler.random.randrange(40)) for _ in range(3))

    def lines(count: int, *templates: str) -> str:
        made = []
        for _ in range(count):
            line = pick(templates).replace("NOUN", pick(_NOUNS)).replace("VERB", pick(_VERBS))
            line = line.replace("PKG", pick(_PACKAGES)).replace("VER", version())
            made.append(filler.fill(line))
        return "\n".join(made) + "\n"

    yield (
        "package-lock.json",
        lines(
            100,
            '    "node_modules/PKG": {\n      "version": "VER",\n'
            '      "resolved": "https://registry.npmjs.org/PKG/-/PKG-VER.tgz",\n'
            '      "integrity": "sha512-{{b64raw:86}}==",\n      "dev": true,\n    },',
        ),
    )
    yield (
        "yarn.lock",
        lines(
            60,
            'PKG@^VER:\n  version "VER"\n  resolved "https://registry.yarnpkg.com/PKG/-/PKG-VER.tgz#{{hex:40}}"\n'
            "  integrity sha512-{{b64raw:86}}==",
            '"PKG@npm:VER":\n  version: VER\n  checksum: 10c0/{{hex:128}}\n  languageName: node\n  linkType: hard',
        ),
    )
    yield "pnpm-lock.yaml", lines(80, "  PKG@VER:\n    resolution: {integrity: sha512-{{b64raw:86}}==}\n    dev: false")
    yield (
        "Cargo.lock",
        lines(
            60,
            '[[package]]\nname = "PKG"\nversion = "VER"\n'
            'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "{{hex:64}}"\n',
        ),
    )
    yield (
        "poetry.lock",
        lines(
            120,
            '    {file = "PKG-VER-py3-none-any.whl", hash = "sha256:{{hex:64}}"},',
            '    {file = "PKG-VER.tar.gz", hash = "md5:{{hex:32}}"},',
            'content-hash = "{{hex:64}}"',
            "    --hash=sha256:{{hex:64}} \\",
        ),
    )
    yield (
        "go.sum",
        lines(120, "github.com/acme/PKG vVER h1:{{b64raw:43}}=", "github.com/acme/PKG vVER/go.mod h1:{{b64raw:43}}="),
    )
    yield (
        "git.log",
        lines(
            160,
            "{{hex:40}} NOUN: VERB the NOUN before the NOUN",
            "{{hex:7}} (HEAD -> VERB-NOUN, origin/VERB-NOUN) VERB NOUN",
            "index {{hex:7}}..{{hex:7}} 100644",
            "100644 blob {{hex:40}}\tsrc/NOUN/VERB-NOUN.ts",
            "AI-Session-Id: {{hex:32}}",
            "{{hex:40}} refs/heads/VERB-NOUN-{{hex:6}}",
            "Change-Id: I{{hex:40}}",
            "{{hex:64}}  dist/PKG-VER.tar.gz",
        ),
    )
    yield (
        "service.log",
        lines(
            160,
            "2024-03-02T10:22:31.{{digits:3}}Z INFO VERB NOUN id={{uuid}} took={{digits:3}}ms",
            'level=info msg="VERB NOUN" trace_id={{hex:32}} span_id={{hex:16}} user_id={{digits:6}}',
            "req_{{alnum:24}} toolu_{{alnum:24}} msg_{{alnum:24}} VERB",
            '{"requestId":"{{uuid}}","NOUNId":"{{hex:24}}","status":{{digits:3}},"keyId":"{{uuid}}"}',
            "GET /NOUN/{{uuid}}?page={{digits:2}}&etag={{hex:32}} HTTP/1.1 200",
            "container {{hex:64}} NOUN-VERB-{{lowernum:10}}-{{lowernum:5}} Running",
            "NOUN-VERB.service: Main process exited, code=exited, status=1/FAILURE",
        ),
    )
    yield (
        "bundle.js",
        lines(
            60,
            "{{lower:1}}.NOUN={{lower:1}}.NOUNVERB({{lower:1}}),{{lower:1}}.d({{lower:1}},{NOUN:()=>{{lower:2}}}),",
            "function {{lower:1}}({{lower:1}}){return{NOUN:{{lower:1}}.NOUN,password:{{lower:1}}.password,token:n}}",
            'if("NOUN"===t.type&&!t.token)throw Error("{{digits:3}}");var {{letters:2}}="NOUN_VERB",key="{{alnum:6}}";',
            '"static/chunks/{{digits:4}}.{{hex:16}}.js","static/css/{{hex:16}}.css",',
            "Object.defineProperty({{lower:1}},Symbol.toStringTag,{value:'NOUN'}),({{lower:1}}.apiKey={{lower:1}}.NOUN)",
        ),
    )
    yield (
        "styles.css",
        lines(
            60,
            ".NOUN-VERB__{{alnum:5}}{color:#{{hex:6}};background:#{{hex:3}}}",
            ".sk-NOUN-VERB-item,.task-NOUN-VERB-list{margin:0 {{digits:2}}px}",
            "#NOUN-{{hex:8}} .token.NOUN{opacity:.{{digits:1}}}",
        ),
    )
    yield (
        "media.html",
        lines(
            30,
            '<img src="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{{b64raw:600}}==" alt="NOUN">',
            "background: url(data:font/woff2;base64,d09GMgABAAAAA{{b64raw:500}});",
            '"data": "/9j/4AAQSkZJRgABAQ{{b64raw:700}}"',
            '<script integrity="sha384-{{b64raw:64}}" src="/PKG.js"></script>',
        ),
    )
    yield (
        "attachment.b64",
        lines(100, "{{b64raw:76}}"),
    )
    yield (
        "certificates.pem",
        "".join(filler.pem(f"{kind}:1200") + "\n" for kind in ("CERTIFICATE", "PUBLIC KEY", "CERTIFICATE REQUEST")),
    )
    yield (
        "authorized_keys",
        lines(
            20,
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{{b64raw:43}} NOUN@example.com",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ{{b64raw:330}}== NOUN@example.com",
            "[10.0.0.{{digits:2}}]:2222 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY{{b64raw:90}}=",
        ),
    )
    yield (
        "data.csv",
        lines(
            120,
            "{{uuid}},NOUN,{{digits:10}},2024-03-02T10:22:31Z,{{hex:24}}",
            "{{digits:6}};VERB NOUN;{{digits:4}}.{{digits:2}};{{UPPERNUM:12}}",
            "0x{{hex:40}},0x{{hex:64}},{{digits:18}}",
        ),
    )
    yield (
        "NOUN.test.ts",
        lines(
            120,
            'it("should VERB the NOUN when the NOUN is missing and the NOUN has expired", async () => {',
            "def test_VERB_NOUN_returns_NOUN_and_does_not_VERB_the_NOUN_again(self, NOUN_factory):",
            'expect(await VERBNOUN(NOUN)).toEqual({ NOUN: "NOUN", id: "{{uuid}}" });',
            "func TestVERBNOUNWithExpiredNOUNReturnsUnauthorized(t *testing.T) {",
            "assert VERB_NOUN(NOUN='NOUN', key='NOUN-{{digits:2}}') == {'NOUN': '{{hex:8}}'}",
        ),
    )

    made = []
    for number in range(700):
        noun, verb, kind = pick(_NOUNS), pick(_VERBS), pick(_TYPES)
        name = pick(["password", "api_key", "apiKey", "token", "access_token", "clientSecret", "SECRET_KEY", "secret"])
        value = pick(_EXPRESSIONS).format(f"{noun}_{name}".upper(), noun, verb)
        made.append(
            pick(
                [
                    f"{name} = {value}",
                    f"{name}: {value},",
                    f"{name}={value}, {noun}={verb}",
                    f"const {name} = {value};",
                    f"    {name}: {kind}",
                    f"fn {verb}_{noun}({name}: {kind}, {noun}: {kind})",
                    f"if ({name} === {value}) {{",
                    f'{{"{name}_{pick(["id", "type", "length", "url", "count", "field"])}": "{noun}-{number}"}}',
                    f"{verb}_{noun}({name}={name}, {noun}={noun})",
                    f"// the {name} is {pick(['required', 'optional', 'missing', 'checked first', 'not stored'])}",
                    f'"{name}": "{noun.title()} {name} must not be empty",',
                    f"--{name}-{pick(['file', 'stdin', 'env', 'command'])} {noun}",
                ]
            )
        )
    yield "source.txt", "\n".join(made) + "\n"
