"""Where the program begins: the quick verbs at once, all others through click; every error in one place."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

BUG = 4
INTERRUPTED = 130
BROKEN_PIPE = 141


def script() -> None:
    """The console script."""
    # Reading makes many values and no cycles, among which the collector would spend a third of the time.
    gc.set_threshold(100_000)
    _open_standard_streams()
    code = main(sys.argv[1:])
    # What is left is freed with the process: no last look for cycles in it.
    gc.freeze()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Opens those of the three that are closed on nothing, as git does.

    Python has None in their place, and the next file that is opened would take their number: a program that is
    started then would write into it.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    import os

    # They take the lowest numbers that are free.
    while os.open(os.devnull, os.O_RDWR) < 2:
        pass
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process is
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def main(argv: Sequence[str]) -> int:
    """Runs a command line and returns its exit code; prints errors as ``error: …``, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its escape instead of an error.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _dispatch(list(argv))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_stdout()
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


def _close_stdout() -> None:
    # The reader is gone; the interpreter's own last flush would complain again.
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
