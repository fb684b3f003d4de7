"""The command line in click, built from the table of verbs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import click

from gitsess import __version__
from gitsess.cli import helping
from gitsess.cli.handling import call
from gitsess.cli.verbs import BY_NAME, VERBS, Opt, Verb
from gitsess.text import one_line

MAX_HELP_COLUMNS = 80
_HELP_FLAGS = ["-h", "--help"]


def _columns() -> int:
    return max(40, min(MAX_HELP_COLUMNS, shutil.get_terminal_size().columns))


class _Group(click.Group):
    def get_help(self, ctx: click.Context) -> str:
        return helping.overview(_columns())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            near = get_close_matches(name, list(self.commands), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"'{helping.PROGRAM} -h' lists the verbs"
            raise click.UsageError(f"there is no verb {name!r}; {hint}")
        return super().resolve_command(ctx, args)


class _Command(click.Command):
    verb: Verb

    def get_help(self, ctx: click.Context) -> str:
        return helping.verb_help(self.verb, _columns())


def _count(text: str) -> int:
    """A whole number of 1 or more."""
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text)):
        raise click.BadParameter(f"{text[:40]!r} is not a number of 1 or more")
    return int(text)


def _model(text: str) -> str:
    """A model's name, whose own meaning is for the verb to say; an empty one is none."""
    if not text:
        from gitsess.catalog import resolve_model

        resolve_model(text)
    return text


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """One of a few words; another gets the nearest as a suggestion."""

    def choice(text: str) -> str:
        if text not in choices:
            near = get_close_matches(text, choices, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it is one of {', '.join(choices)}"
            raise click.BadParameter(f"{text[:40]!r} is unknown; {hint}")
        return text

    return choice


def build() -> click.Group:
    """The whole command line."""
    group = _Group(name=helping.PROGRAM, context_settings={"help_option_names": _HELP_FLAGS}, no_args_is_help=True)
    group.params.append(
        click.Option(["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version)
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
            type=click.UNPROCESSED if verb.passes else _one_of(arg.choices) if arg.choices else None,
        )
        for arg in verb.args
        if not (verb.passes and arg is verb.args[-1])
    ]
    params.extend(_option(opt) for opt in verb.opts)
    settings: dict[str, Any] = {"help_option_names": _HELP_FLAGS}
    if verb.passes:
        settings.update(ignore_unknown_options=True, allow_interspersed_args=False, help_option_names=["-h"])
    command = _Command(name=verb.name, callback=callback, params=params, context_settings=settings)
    command.verb = verb
    return command


def _option(opt: Opt) -> click.Option:
    words = [*opt.flags, opt.name]
    if not opt.metavar:
        return click.Option(words, is_flag=True)
    kind = _model if opt.completes == "model" else _count if opt.kind == "count" else str
    return click.Option(
        words, type=_one_of(opt.choices) if opt.choices else kind, multiple=opt.many, metavar=opt.metavar
    )


def run(argv: Sequence[str]) -> int:
    """Parses ``argv`` and runs its verb; usage errors are one line, exit 2."""
    group = build()
    try:
        # Not by click's main, which has an exit code of its own for a reader that has gone.
        with group.make_context(helping.PROGRAM, list(argv)) as context:
            result = group.invoke(context)
    except click.exceptions.NoArgsIsHelpError:
        print(helping.overview(_columns()))
        return 2
    except click.UsageError as error:
        print(f"error: {_one_line(error, argv)}", file=sys.stderr)
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    return result if isinstance(result, int) else 0


def _one_line(error: click.UsageError, argv: Sequence[str]) -> str:
    """The error with its next step: a suggestion, or where the help is."""
    verb = BY_NAME.get(next((word for word in argv if not word.startswith("-")), ""))
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities or ()
        text = f"there is no option {error.option_name!r}"
        hint = f"did you mean '{next(iter(near))}'?" if near else ""
    else:
        text = one_line(error.format_message()).rstrip(".")
        text, hint = text[:1].lower() + text[1:], ""
        if text.startswith("got unexpected extra argument") and verb is not None and verb.args[-1:]:
            last = verb.args[-1]
            hint = f"put the {last.metavar.lower()} in quotes" if last.name == "prompt" else ""
    if ";" in text:
        return text
    help_of = helping.PROGRAM if verb is None else f"{helping.PROGRAM} {verb.name}"
    return f"{text}; {hint}" if hint else f"{text}; '{help_of} -h' helps"
