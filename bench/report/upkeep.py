"""Keep a run's report up to date: made anew unless records, code and files are unchanged.

This module knows files and digests; it must not know what the report contains, nor load what draws
it before there is something to draw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.files import file_sha256
from bench.base.provenance import code_sha256
from bench.plan.units import STAGES, canonical
from bench.records.folder import PASSING, RunFolder
from bench.records.journal import journal_files

_STAMP = ".report.json"
_REPORTING = ("bench", "defenses", "iqa_models")
"""All code: words and numbers of a report come from plans, cards and defences too."""


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
    try:
        main = _made(run, out)
        stamp = {"key": key, "main": main.name, "files": _digests(out)}
        (out / _STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True), encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"{out}: expected a folder that can be written, found {error.strerror}."
        ) from error
    return main


def _made(run: RunFolder, out: Path) -> Path:
    from bench.analysis.source import from_folder
    from bench.report.build import build

    return build(from_folder(run), out).markdown


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
    files = sorted(
        [
            *run.path.glob("*.parquet"),
            *run.path.glob("units/*.parquet"),
            *(f for stage in STAGES for f in journal_files(run.journal, stage)),
            run.path / "plan.json",
        ]
    )
    facts = {name: value for name, value in run.provenance().items() if name not in PASSING}
    lines = [canonical(facts)]
    lines += [f"{file.relative_to(run.path).as_posix()} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join([code_sha256(parts=_REPORTING), *lines]).encode()).hexdigest()


def _digests(out: Path) -> dict[str, str]:
    """Digest of every file of a report."""
    return {
        file.relative_to(out).as_posix(): file_sha256(file)
        for file in sorted(out.rglob("*"))
        if file.is_file() and file.name != _STAMP
    }
