"""The verb ``report``: write or check the report of a run, or of a folder of the verb ``time``.

It must not know what a report says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import OK, SOME_FAILED, BenchError
from bench.cli import options as opt

EXAMPLES = """\b
Examples:
  python -m bench report                                the latest run
  python -m bench report results/embedded-1a2b3c4d      a run
  python -m bench report results/timing                 what `time` measured
  python -m bench report --check results/reference      is the report what the records say?
"""


def report(
    folder: opt.Run = None,
    results: opt.Results = Path("results"),
    reports: opt.Reports = Path("reports"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the report there differs.")
    ] = False,
) -> None:
    """Write the report of a run again, from its records, or check the one that is there."""
    if check:
        raise typer.Exit(check_report(folder, results, reports))
    print(f"report: {written_report(folder, results, reports)}")  # noqa: T201


def written_report(folder: Path | None, results: Path, reports: Path) -> Path:
    """Write the report of a run or a timing suite; returns its path."""
    from bench.library.selection import chosen_run
    from bench.report.build import report, write
    from bench.report.timing import read_timing, timing_folder

    if (timing := timing_folder(folder)) is not None:
        return write(read_timing(timing), reports / timing.name).markdown
    run = chosen_run(folder, results)
    return report(run, reports / run.path.name)


def check_report(folder: Path | None, results: Path, reports: Path) -> int:
    """Make the report again from the records and compare; exit code 1 if anything differs.

    Raises:
        BenchError: There is no report to check.
    """
    from bench.library.selection import chosen_run
    from bench.report import check, from_folder
    from bench.report.build import check_document
    from bench.report.timing import read_timing, timing_folder

    if (timing := timing_folder(folder)) is not None:
        out = existing_report(timing, reports)
        remarks = check_document(read_timing(timing), out)
    else:
        run = chosen_run(folder, results)
        out = existing_report(run.path, reports)
        remarks = check(from_folder(run), out)
    for remark in remarks or [f"{out}: every file is what the records say"]:
        print(remark)  # noqa: T201
    return SOME_FAILED if remarks else OK


def existing_report(folder: Path, reports: Path) -> Path:
    """Where the report of a folder of records lies.

    Raises:
        BenchError: There is none.
    """
    out = reports / folder.name
    if not (out / "report.md").is_file():
        raise BenchError(f"{out}: expected a report of {folder}, found none.")
    return out
