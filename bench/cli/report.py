"""The verb ``report``: write or check the report of a run, or of a folder of the verb ``time``.

It must not know what a report says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import OK, SOME_FAILED, BenchError
from bench.cli import options as opt

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.analysis.source import FrameRun
    from bench.records.folder import RunFolder
    from bench.report.document import Document

EXAMPLES = """\b
Examples:
  python -m bench report                                the latest run
  python -m bench report results/embedded-1a2b3c4d      a run
  python -m bench report results/timing                 what `time` measured
  python -m bench report --check results/reference      is the report what the records say?
  python -m bench report RUN --with RUN_B               RUN_B's defences as rows beside ours
  python -m bench report RUN --published row.csv        a paper's row, marked as not recomputed
"""


def report(
    folder: opt.Run = None,
    results: opt.Results = Path("results"),
    reports: opt.Reports = Path("reports"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the report there differs.")
    ] = False,
    beside: Annotated[
        list[Path] | None,
        typer.Option("--with", help="A further run on the same images; may be given again."),
    ] = None,
    published: Annotated[
        list[Path] | None,
        typer.Option("--published", help="CSV of rows that others report; may be given again."),
    ] = None,
) -> None:
    """Write the report of a run again, from its records, or check the one that is there."""
    others = Others(tuple(beside or ()), tuple(published or ()))
    if check:
        raise typer.Exit(check_report(folder, results, reports, others))
    print(f"report: {written_report(folder, results, reports, others)}")  # noqa: T201


@dataclass(frozen=True, slots=True)
class Others:
    """What stands beside a run's own rows: folders of further runs, files of reported rows."""

    runs: tuple[Path, ...] = ()
    rows: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.runs or self.rows)


def written_report(folder: Path | None, results: Path, reports: Path, others: Others) -> Path:
    """Write the report of a run or a timing suite; returns its path.

    With others beside it the report is called ``<run>-with-others``.
    """
    from bench.library.selection import chosen_run
    from bench.report.build import write
    from bench.report.timing import timing_folder
    from bench.report.upkeep import report

    if not others and timing_folder(folder) is None:
        run = chosen_run(folder, results)
        return report(run, reports / run.path.name)
    _, out, document = _wanted(folder, results, reports, others)
    return write(document(), out).markdown


def check_report(folder: Path | None, results: Path, reports: Path, others: Others) -> int:
    """Make the report again from the records and compare; exit code 1 if anything differs.

    Raises:
        BenchError: There is no report to check.
    """
    from bench.report.build import check_document

    records, out, document = _wanted(folder, results, reports, others)
    if not (out / "report.md").is_file():
        raise BenchError(f"{out}: expected a report of {records}, found none.")
    remarks = check_document(document(), out)
    for remark in remarks or [f"{out}: every file is what the records say"]:
        print(remark)  # noqa: T201
    return SOME_FAILED if remarks else OK


def _wanted(
    folder: Path | None, results: Path, reports: Path, others: Others
) -> tuple[Path, Path, Callable[[], Document]]:
    """Folders of the records and of their report, and what makes it.

    Raises:
        BenchError: There are no such records.
    """
    from bench.library.selection import chosen_run
    from bench.report.timing import read_timing, timing_folder

    if (timing := timing_folder(folder)) is not None:
        if others:
            raise BenchError(f"{timing}: expected a run to put rows beside, found a timing suite.")
        return timing, reports / timing.name, partial(read_timing, timing)
    run = chosen_run(folder, results)
    name = f"{run.path.name}-with-others" if others else run.path.name
    return run.path, reports / name, partial(_document, run, others)


def _document(run: RunFolder, others: Others) -> Document:
    """The report of a run with the rows of others."""
    from bench.analysis.beside import read_reported, with_runs
    from bench.analysis.source import from_folder
    from bench.library.selection import chosen_run
    from bench.report.build import REPS
    from bench.report.compose import compose

    further: dict[str, FrameRun] = {}
    for path in others.runs:
        name = path.resolve().name
        if name in further:
            raise BenchError(f"{path}: expected runs of different names, found two called {name}.")
        further[name] = from_folder(chosen_run(path, path.parent))
    rows = [row for path in others.rows for row in read_reported(path)]
    return compose(with_runs(from_folder(run), further), reps=REPS, reported=rows)
