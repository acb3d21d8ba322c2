"""The document as one HTML page that needs nothing else: no network, no other file.

This module knows HTML; it must not compute or format any number.
"""

from __future__ import annotations

import base64
from typing import Any

from bench.report.document import Document
from bench.report.formats.view import view


def render_html(document: Document) -> str:
    """The page, with styles, script and pictures inside."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    template = environment.get_template("report.html.j2")
    return template.render(doc=view(document), pictures=_pictures(document)) + "\n"


def _pictures(document: Document) -> dict[str, Any]:
    """Data addresses of all pictures, by block: figures as SVG, photographs as PNG."""
    drawings = {f.id: _data("svg+xml", f.svg.encode("utf-8")) for f in document.figures()}
    photographs = {i.id: [_data("png", png) for _, png in i.pictures] for i in document.images()}
    return {**drawings, **photographs}


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
