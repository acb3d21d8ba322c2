"""The verb ``report``: write or check the report of a run, or of a folder of the verb ``time``."""

from __future__ import annotations

from pathlib import Path

from bench.base.errors import BenchError
from bench.records.folder import RunFolder


def chosen_run(folder: Path | None, results: Path) -> RunFolder:
    """The named run, or the one that was worked on last.

    Raises:
        BenchError: There is none.
    """
    if folder is not None:
        return RunFolder.open(folder)
    plans = sorted(results.glob("*/plan.json"), key=lambda file: file.parent.stat().st_mtime)
    if not plans:
        raise BenchError(f"{results}: expected a run, found none; start one with `run`.")
    return RunFolder.open(plans[-1].parent)


def write_timing_report(folder: Path, reports: Path) -> Path:
    """Write the report of a timing suite; returns its path."""
    from bench.report.build import write
    from bench.report.timing import read_timing

    return write(read_timing(folder), reports / folder.name).markdown


def write_report(folder: Path | None, results: Path, reports: Path) -> None:
    """Write the report and print its path."""
    from bench.report.build import report
    from bench.report.timing import timing_folder

    if (timing := timing_folder(folder)) is not None:
        print(f"report: {write_timing_report(timing, reports)}")  # noqa: T201
        return
    run = chosen_run(folder, results)
    print(f"report: {report(run, reports / run.path.name)}")  # noqa: T201


def written_report(folder: Path, reports: Path) -> Path:
    """Where the report of a folder of records lies.

    Raises:
        BenchError: There is none.
    """
    out = reports / folder.name
    if not (out / "report.md").is_file():
        raise BenchError(f"{out}: expected a report of {folder}, found none.")
    return out


def check_report(folder: Path | None, results: Path, reports: Path) -> int:
    """Make the report again from the records and compare; exit code 1 if anything differs.

    Raises:
        BenchError: There is no report to check.
    """
    from bench.report import check, from_folder
    from bench.report.build import check_document
    from bench.report.timing import read_timing, timing_folder

    timing = timing_folder(folder)
    if timing is not None:
        out = written_report(timing, reports)
        remarks = check_document(read_timing(timing), out)
    else:
        run = chosen_run(folder, results)
        out = written_report(run.path, reports)
        remarks = check(from_folder(run), out)
    for remark in remarks:
        print(remark)  # noqa: T201
    if not remarks:
        print(f"{out}: every file is what the records say")  # noqa: T201
    return 1 if remarks else 0
