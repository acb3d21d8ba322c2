"""The document as one HTML page that needs nothing else: no network, no other file.

This module knows HTML; it must not compute or format any number.
"""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from PIL import Image

from bench.report.document import Document, Explorer
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
    shown = {"doc": view(document), "pictures": _pictures(document), "data": _explorers(document)}
    return template.render(**shown) + "\n"


def _pictures(document: Document) -> dict[str, Any]:
    """Data addresses of all pictures, by block: figures as SVG, photographs as JPEG."""
    drawings = {f.id: _drawing(f.svg) for f in document.figures()}
    photographs = {i.id: [_photograph(png) for _, png in i.pictures] for i in document.images()}
    return {**drawings, **photographs}


def _drawing(svg: str) -> Markup:
    """An SVG as its own characters: a third shorter than in base64."""
    plain = _BETWEEN.sub("><", svg).replace('"', "'")
    return Markup("data:image/svg+xml," + quote(plain, safe=_SAFE))  # noqa: S704 - our own drawing


_BETWEEN = re.compile(r">\s+<")
_SAFE = " =:/,;!*+$@-._~'<>"
"""Characters that need no escape in a quoted address; brackets and # do."""


def _photograph(png: bytes) -> str:
    """A picture as JPEG: the file beside the report has every bit, the page need not."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
        opened.convert("RGB").save(out, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


_QUALITY = 82


def _explorers(document: Document) -> dict[str, str]:
    """Content of every explorer as JSON that cannot end a script."""
    return {
        block.id: json.dumps(block.content, ensure_ascii=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        )
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Explorer)
    }


def _json(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
