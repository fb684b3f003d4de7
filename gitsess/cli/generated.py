"""What is made from tables in the code and kept in the repository: ``python -m gitsess.cli.generated FOLDER``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gitsess.cli.completions import script
from gitsess.cli.manpage import man_page
from gitsess.cli.reference import reference
from gitsess.redact import RULES
from gitsess.templating import USES, VARIABLES

_RULES = re.compile(r"(?<=<!-- The rules,)(.*?-->\n).*(?=<!-- End of the rules. -->)", re.DOTALL)
_TEMPLATES = re.compile(r"(?<=<!-- The templates,)(.*?-->\n).*(?=<!-- End of the templates. -->)", re.DOTALL)


def files(root: Path) -> dict[str, str]:
    """Each file's path below ``root``, the repository, and what it must hold."""
    return {
        "docs/cli.md": reference(),
        "docs/templates.md": _with_templates((root / "docs/templates.md").read_text(encoding="utf-8")),
        "docs/security.md": _with_rules((root / "docs/security.md").read_text(encoding="utf-8")),
        "share/man/man1/git-ai-session.1": man_page(),
        "share/completions/git-ai-session.bash": script("bash"),
        "share/completions/_git-ai-session": script("zsh"),
        "share/completions/git-ai-session.fish": script("fish"),
    }


def _with_templates(page: str) -> str:
    """The page on templates with their names and variables as they are."""
    uses = "".join(f"| `{name}` | {use} |\n" for name, use in USES.items())
    parts = [f"| template | used by |\n|---|---|\n{uses}"]
    for name, variables in VARIABLES.items():
        rows = "".join(f"| `{{{{{variable}}}}}` | {meaning} |\n" for variable, meaning in variables.items())
        parts.append(f"### {name}\n\n| variable | stands for |\n|---|---|\n{rows}")
    made, count = _TEMPLATES.subn(lambda kept: kept[1] + "\n" + "\n".join(parts) + "\n", page)
    if count != 1:
        raise ValueError("docs/templates.md has lost the marks around its tables")
    return made


def _with_rules(page: str) -> str:
    """The security page with its table of rules as they are."""
    rows = "".join(f"| `{rule}` | {found} |\n" for rule, found in sorted(RULES.items()))
    table = f"\n| rule | finds |\n|---|---|\n{rows}\n"
    made, count = _RULES.subn(lambda kept: kept[1] + table, page)
    if count != 1:
        raise ValueError("docs/security.md has lost the marks around its table of rules")
    return made


def write(root: Path) -> list[str]:
    """Writes what has changed below ``root``; the paths written."""
    written = []
    for name, text in files(root).items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(name)
    return written


if __name__ == "__main__":
    for name in write(Path(sys.argv[1])):
        print(name)
