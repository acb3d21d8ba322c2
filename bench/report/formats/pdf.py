"""The document as PDF through typst: a fixed template that reads the document as JSON.

This module knows files and typst; it must not compute or format any number.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report.document import Document, Figure
from bench.report.formats.view import view


def render_pdf(document: Document) -> bytes:
    """A PDF whose bytes depend on nothing but the document and typst's version."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        _lay_out(document, folder)
        return _compile(folder)


def figure_pdf(figure: Figure) -> bytes:
    """One figure as a PDF page of its own size, with vector graphics."""
    source = (
        "#set document(date: none)\n#set page(width: auto, height: auto, margin: 0pt)\n"
        f'#image("figure.svg", width: {figure.width:g}in)\n'
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.typ").write_text(source, encoding="utf-8")
        (folder / "figure.svg").write_text(figure.svg, encoding="utf-8")
        return _compile(folder)


def _compile(folder: Path) -> bytes:
    import matplotlib
    import typst

    compiled = typst.Compiler(
        folder / "report.typ",
        root=folder,
        font_paths=[Path(matplotlib.get_data_path()) / "fonts" / "ttf"],
        ignore_system_fonts=True,
    ).compile(format="pdf", timestamp=0)
    if not isinstance(compiled, bytes):
        raise TypeError(f"typst: expected one PDF, found {type(compiled).__name__}.")
    return compiled


def typst_source(document: Document) -> str:
    """The data that the template prints."""
    return json.dumps(view(document), ensure_ascii=False, indent=1, sort_keys=True)


def _lay_out(document: Document, folder: Path) -> None:
    template = resources.files("bench.report").joinpath("templates/report.typ")
    (folder / "report.typ").write_text(template.read_text("utf-8"), encoding="utf-8")
    (folder / "document.json").write_text(typst_source(document), encoding="utf-8")
    for figure in document.figures():
        (folder / f"{figure.id}.svg").write_text(figure.svg, encoding="utf-8")
    write_images(document, folder)


def write_images(document: Document, folder: Path) -> None:
    """Every picture as ``<id>-<number>.png``."""
    for block in document.images():
        for number, (_, png) in enumerate(block.pictures, start=1):
            (folder / f"{block.id}-{number}.png").write_bytes(png)
