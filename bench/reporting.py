"""Asks for a run's report, and knows when the one that lies there is still the right one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.files import file_sha256
from bench.journal import journal_files
from bench.plan import STAGES
from bench.provenance import code_sha256
from bench.run_folder import RunFolder

_STAMP = ".report.json"
_REPORTING = ("bench/report", "bench/statistics.py", "bench/rankings.py", "bench/records.py")


def report(run: RunFolder, out: Path, *, say: Callable[[str], object] = print) -> Path:
    """Path of the run's report; it is made unless records, code and files are unchanged.

    Raises:
        BenchError: The report cannot be written.
    """
    key = _key(run)
    made = _made_before(out, key)
    if made is not None:
        return made
    say("writing the report")
    from bench.report.build import build
    from bench.report.source import from_folder

    try:
        paths = build(from_folder(run), out)
        main = paths.markdown
        stamp = {"key": key, "main": main.name, "files": _digests(out)}
        (out / _STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True), encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"{out}: expected a folder that can be written, found {error.strerror}."
        ) from error
    return main


def _made_before(out: Path, key: str) -> Path | None:
    """The report that lies there, if it is whole and of the same records and code."""
    try:
        stamp = json.loads((out / _STAMP).read_text(encoding="utf-8"))
        same = stamp["key"] == key and stamp["files"] == _digests(out)
        return out / stamp["main"] if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(run: RunFolder) -> str:
    """Digest of all that a report depends on."""
    files = sorted([*run.path.glob("*.parquet"), *run.path.glob("units/*.parquet"),
                    *(f for stage in STAGES for f in journal_files(run.journal, stage)),
                    run.path / "plan.json"])  # fmt: skip
    lines = [f"{file.relative_to(run.path).as_posix()} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join([code_sha256(parts=_REPORTING), *lines]).encode()).hexdigest()


def _digests(out: Path) -> dict[str, str]:
    """Digest of every file of a report."""
    return {
        file.relative_to(out).as_posix(): file_sha256(file)
        for file in sorted(out.rglob("*"))
        if file.is_file() and file.name != _STAMP
    }
