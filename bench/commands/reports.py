"""The verb ``report``: write or check the report of a run, or of a folder of the verb ``time``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.run_folder import RunFolder

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


def is_timing(folder: Path | None) -> bool:
    """Whether a folder holds the records of the verb ``time`` and not a run."""
    return (
        folder is not None
        and (folder / "time.json").is_file()
        and not (folder / "plan.json").exists()
    )


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
    from bench.reporting import report

    if folder is not None and is_timing(folder):
        print(f"report: {write_timing_report(folder, reports)}")  # noqa: T201
        return
    run = chosen_run(folder, results)
    print(f"report: {report(run, reports / run.path.name)}")  # noqa: T201


def check_report(folder: Path | None, results: Path, reports: Path) -> int:
    """Make the report again from the records and compare; exit code 1 if anything differs.

    Raises:
        BenchError: There is no report to check.
    """
    from bench.report import check, from_folder
    from bench.report.build import check_document

    timing = folder if folder is not None and is_timing(folder) else None
    path = timing or chosen_run(folder, results).path
    out = reports / path.name
    if not (out / "report.md").is_file():
        raise BenchError(f"{out}: expected a report of {path}, found none.")
    if timing is not None:
        remarks = check_document(timing_document(timing), out)
    else:
        remarks = check(from_folder(RunFolder.open(path)), out)
    for remark in remarks:
        print(remark)  # noqa: T201
    if not remarks:
        print(f"{out}: every file is what the records say")  # noqa: T201
    return 1 if remarks else 0
