"""The command line as a whole: its verbs, how it ends, and every error as one sentence.

This module knows which verbs there are; it must not know what any of them needs.  A verb imports
that when it is called, so ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from bench.base.errors import BAD_INPUT, INTERRUPTED, OK, BenchError
from bench.cli import (
    board,
    certify,
    check_defense,
    check_model,
    compare,
    fit,
    list,
    merge,
    new_defense,
    plan,
    prefetch,
    report,
    run,
    submit,
    time,
    verify,
)

COMMAND = "certified-iqa-bench"
"""Name of the package and of its installed command."""
PATIENCE = 1.0
"""Seconds from an interruption's message to the end, at most."""

app = typer.Typer(
    name="python -m bench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run", epilog=run.EXAMPLES)(run.run)
app.command("fit")(fit.fit)
app.command("plan")(plan.plan)
app.command("prefetch")(prefetch.prefetch)
app.command("list")(list.list_parts)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("verify")(verify.verify)
app.command("compare")(compare.compare)
app.command("merge")(merge.merge)
app.command("check-defense")(check_defense.check_defense)
app.command("check-model")(check_model.check_model)
app.command("new-defense")(new_defense.new_defense)
app.command("certify", epilog=certify.EXAMPLES)(certify.certify)
app.command("time")(time.time)
app.command("submit")(submit.submit)
app.command("board")(board.board)


def _say_version(asked: bool) -> None:
    if asked:
        from bench.base.provenance import version

        print(COMMAND, version(COMMAND) or "from a source tree")  # noqa: T201
        raise typer.Exit


@app.callback()
def bench(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Which certified defence for an image-quality model? Accuracy, guarantee, cost, truth."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code: 0 ok, 1 some units failed, 2 bad input."""
    words = sys.argv[1:] if arguments is None else arguments
    # A shell completes commands, and `python -m bench` is none.
    completed = any(word.endswith("-completion") for word in words[:1])
    try:
        app(args=arguments, prog_name=COMMAND if completed else None)
    except BenchError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else BAD_INPUT
    return OK


def entry() -> NoReturn:
    """``python -m bench``; leaves at once when interrupted."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == INTERRUPTED:
        leave_within(PATIENCE, code)
    sys.exit(code)


def leave_within(seconds: float, code: int) -> None:
    """Give threads and pools a moment to say goodbye, but no more than that."""
    watch = threading.Timer(seconds, os._exit, (code,))
    watch.daemon = True
    watch.start()
