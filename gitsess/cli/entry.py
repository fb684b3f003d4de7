"""Where the program begins: the quick verbs at once, all others through click; every error in one place."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from gitsess.cli import streams

FAILED = 1
BUG = 4
INTERRUPTED = 130
BROKEN_PIPE = 141


def script() -> None:
    """The console script."""
    # Reading makes many values and no cycles, among which the collector would spend a third of the time.
    gc.set_threshold(100_000)
    output = streams.prepare()
    code = main(sys.argv[1:])
    if output.failure is not None:
        print(f"error: standard output: {output.failure}", file=sys.stderr)
        code = FAILED
    # What is left is freed with the process: no last look for cycles in it.
    gc.freeze()
    if _is_at_work():
        # To take the interpreter apart beneath a thread that imports compiled code may crash it.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _is_at_work() -> bool:
    """Whether a thread goes on, such as the one that imports the SDK of a service that nothing was asked of after
    all."""
    threading = sys.modules.get("threading")
    return threading is not None and threading.active_count() > 1


def main(argv: Sequence[str]) -> int:
    """Runs a command line and returns its exit code; prints errors as ``error: …``, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its escape instead of an error.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = _code(argv)
    # What was printed before an error goes out too.
    return code if streams.finish() else code or BROKEN_PIPE


def _code(argv: Sequence[str]) -> int:
    try:
        return _dispatch(list(argv))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the one place that turns errors into exit codes
        return _failed(error)


def _dispatch(argv: list[str]) -> int:
    if argv in (["--version"], ["-V"]):
        from gitsess import __version__

        print(f"git-ai-session {__version__}")
        return 0
    from gitsess.cli.verbs import BY_NAME

    verb = BY_NAME.get(argv[0]) if argv else None
    if verb is not None and verb.quick:
        from gitsess.cli.quick import parse

        values = parse(verb, argv[1:])
        if values is not None:
            from gitsess.cli.handling import call

            return call(verb, values)
    from gitsess.cli.app import run

    return run(argv)


def _failed(error: Exception) -> int:
    from gitsess.errors import GitsessError
    from gitsess.text import one_line

    if isinstance(error, GitsessError):
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    from gitsess.cli.apology import apologise

    return apologise(error)
