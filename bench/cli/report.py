"""The verb ``report``: write or check the report of a run, or of a folder of the verb ``time``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.base.errors import BenchError
from bench.records.folder import RunFolder

if TYPE_CHECKING:
    from bench.report.document import Document


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


def timing_folder(folder: Path | None) -> Path | None:
    """The folder if it holds the records of the verb ``time`` and not a run."""
    if folder is None or not (folder / "time.json").is_file() or (folder / "plan.json").exists():
        return None
    return folder


def timing_document(folder: Path) -> Document:
    """The report of a timing suite's folder.

    Raises:
        BenchError: Its files are not what ``time`` writes.
    """
    import pandas as pd

    from bench.report.timing import timing_document

    try:
        time = pd.DataFrame(json.loads((folder / "time.json").read_text(encoding="utf-8")))
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return timing_document(time, facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{folder}: expected the records of `bench time`, found {type(error).__name__}: "
            f"{error}."
        ) from error


def write_timing_report(folder: Path, reports: Path) -> Path:
    """Write the report of a timing suite; returns its path."""
    from bench.report.build import write

    return write(timing_document(folder), reports / folder.name).markdown


def write_report(folder: Path | None, results: Path, reports: Path) -> None:
    """Write the report and print its path."""
    from bench.report.build import report

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

    timing = timing_folder(folder)
    if timing is not None:
        out = written_report(timing, reports)
        remarks = check_document(timing_document(timing), out)
    else:
        run = chosen_run(folder, results)
        out = written_report(run.path, reports)
        remarks = check(from_folder(run), out)
    for remark in remarks:
        print(remark)  # noqa: T201
    if not remarks:
        print(f"{out}: every file is what the records say")  # noqa: T201
    return 1 if remarks else 0
