"""The command line in click, built from the table of verbs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from gitsess import __version__
from gitsess.cli.handling import call
from gitsess.cli.verbs import VERBS, Opt, Verb

HELP_WIDTH = 88


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb.name for verb in VERBS]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, list(self.commands), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; 'git ai-session -h' lists the verbs"
            raise click.UsageError(f"there is no verb {name!r}{hint}")
        return super().resolve_command(ctx, args)


class _Command(click.Command):
    """A verb: its examples stand in the help as they would be typed."""

    verb: Verb

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.verb.examples:
            with formatter.section("Examples"):
                for line, _ in self.verb.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")


def build() -> click.Group:
    """The whole command line."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH}
    group = _Group(
        name="git ai-session",
        help="The record of AI work in this repository: every session a ref, every turn a commit.",
        context_settings=settings,
        no_args_is_help=True,
    )
    group.params.append(
        click.Option(
            ["-V", "--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version.",
        )
    )
    for verb in VERBS:
        group.add_command(_command(verb))
    return group


def _version(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        print(f"git-ai-session {__version__}")
        ctx.exit()


def _command(verb: Verb) -> click.Command:
    def callback(**values: Any) -> int:
        return call(verb, values)

    params: list[click.Parameter] = [
        click.Argument(
            [arg.name],
            metavar=arg.metavar,
            required=arg.required,
            nargs=-1 if arg.many else 1,
            type=click.UNPROCESSED if verb.passes else None,
        )
        for arg in verb.args
        if not (verb.passes and arg is verb.args[-1])
    ]
    params.extend(_option(opt) for opt in verb.opts)
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH}
    if verb.passes:
        settings.update(ignore_unknown_options=True, allow_interspersed_args=False, help_option_names=["-h"])
    command = _Command(
        name=verb.name,
        callback=callback,
        params=params,
        help="\n\n".join((verb.summary + ".", *verb.about)),
        short_help=verb.summary,
        context_settings=settings,
    )
    command.verb = verb
    return command


def _option(opt: Opt) -> click.Option:
    kind: Any = str
    if opt.choices:
        kind = click.Choice(opt.choices)
    elif opt.kind == "count":
        kind = click.IntRange(min=1)
    words = [*opt.flags, opt.name]
    if not opt.metavar:
        return click.Option(words, is_flag=True, help=opt.help)
    return click.Option(words, type=kind, multiple=opt.many, metavar=opt.metavar, help=opt.help)


def run(argv: Sequence[str]) -> int:
    """Parses ``argv`` and runs its verb; usage errors are one line, exit 2."""
    try:
        result = build().main(list(argv), prog_name="git ai-session", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx is not None else "")
        return 2
    except click.UsageError as error:
        where = f" {error.ctx.info_name}" if error.ctx is not None and error.ctx.parent is not None else ""
        hint = "" if ";" in error.format_message() else f"; 'git ai-session{where} -h' helps"
        text = error.format_message().rstrip(".").replace("\n", " ")
        print(f"error: {text[:1].lower()}{text[1:]}{hint}", file=sys.stderr)
        return 2
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.exceptions.Exit as error:
        return error.exit_code
    return result if isinstance(result, int) else 0
