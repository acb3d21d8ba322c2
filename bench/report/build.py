"""Write a report's files, and check those that are written.

This module knows files and formats; it must not know what the report contains.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.analysis.source import FrameRun
from bench.report.compose import compose
from bench.report.document import Document
from bench.report.formats.exports import write_exports
from bench.report.formats.html import render_html
from bench.report.formats.markdown import render_markdown
from bench.report.formats.pdf import render_pdf

REPS = 1000
"""Bootstrap resamples of a report."""
_PICTURE = re.compile(r'src="data:image/[^"]*"')
_MADE = "tools.json"
"""What a report notes of its making: its files, and the libraries that drew them."""
_TOOLS = ("matplotlib", "seaborn", "typst", "jinja2")
_DRAWN = frozenset({".png", ".pdf"})


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where the report lies."""

    markdown: Path
    pdf: Path
    html: Path


def build(run: FrameRun, out: Path, *, reps: int = REPS) -> ReportPaths:
    """Write the report of ``run`` to the folder ``out``."""
    return write(compose(run, reps=reps), out)


def write(document: Document, out: Path) -> ReportPaths:
    """Write a document in every format, with its tables and figures beside it.

    What an earlier report wrote there goes; anybody else's file stays.
    """
    with TemporaryDirectory() as name:
        fresh = Path(name)
        _write(document, fresh)
        for left in _noted(out) - _files(fresh):
            (out / left).unlink()
        shutil.copytree(fresh, out, dirs_exist_ok=True)
    return ReportPaths(*(out / f"report.{kind}" for kind in ("md", "pdf", "html")))


def _write(document: Document, out: Path) -> None:
    (out / "report.md").write_text(render_markdown(document), encoding="utf-8")
    (out / "report.pdf").write_bytes(render_pdf(document))
    (out / "report.html").write_text(render_html(document), encoding="utf-8")
    write_exports(document, out)
    made = {"files": sorted(_files(out)), "tools": tool_versions()}
    (out / _MADE).write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _noted(out: Path) -> set[str]:
    """Files of the report that lies there, of those that it noted."""
    files = _notes(out).get("files")
    return {name for name in _files(out) if name in files} if isinstance(files, list) else set()


def _notes(folder: Path) -> dict[str, Any]:
    """What a report noted of its making; nothing where that is of another make."""
    try:
        noted = json.loads(_read(folder / _MADE))
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def tool_versions() -> dict[str, str]:
    """Versions of what draws and typesets: pictures are only compared if these agree."""
    return {name: metadata.version(name) for name in _TOOLS}


# --- checking what is written --------------------------------------------------------------------


def check(run: FrameRun, out: Path, *, reps: int = REPS) -> list[str]:
    """Make the report again from the records and list every file that differs.

    Words and numbers are always compared.  Pictures and PDFs are compared byte by byte where the
    drawing libraries are those that made the written report, which it notes in ``tools.json``.

    Returns:
        One sentence for each difference; empty if the report is what the records say.
    """
    return check_document(compose(run, reps=reps), out)


def check_document(document: Document, out: Path) -> list[str]:
    """As :func:`check`, for any document."""
    with TemporaryDirectory() as name:
        fresh = Path(name)
        _write(document, fresh)
        same_tools = _notes(fresh)["tools"] == _notes(out).get("tools")
        expected, found = _files(fresh), _files(out)
        remarks = [f"{path}: expected, not found" for path in sorted(expected - found)]
        remarks += [f"{path}: found, not expected" for path in sorted(found - expected)]
        remarks += [
            f"{path}: differs from what the records say"
            for path in sorted(expected & found)
            if not _equal(fresh / path, out / path, same_tools=same_tools)
        ]
    return remarks


def _files(folder: Path) -> set[str]:
    """Files of a report; hidden ones belong to whoever made it."""
    return {
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _equal(fresh: Path, old: Path, *, same_tools: bool) -> bool:
    if same_tools:
        return fresh.read_bytes() == old.read_bytes()
    if fresh.suffix in _DRAWN or fresh.name == _MADE:
        return True
    return _without_pictures(fresh) == _without_pictures(old)


def _without_pictures(path: Path) -> str:
    return _PICTURE.sub("", path.read_text("utf-8"))
