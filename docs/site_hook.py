"""What mkdocs shows: the repository's own documents at their own places, so links are the same.

It knows which files are documents; it must not know what they say.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAGED = ROOT / "build" / "site-source"
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *("docs/*.md", "docs/*.ipynb", "docs/figures/*.svg"),
    *("examples/README.md", "examples/*/README.md", "reports/README.md"),
    *(
        f"reports/reference/**/{name}"
        for name in ("report.md", "report.pdf", "figures/*.png", "figures/*.svg")
    ),
)
LOG = logging.getLogger("mkdocs.hooks.site")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r'^ *```(?! *$|[\w+-]+(?: +\w+="[^"]*")* *$).*$', re.M)
"""How a code block begins that the site would show as text."""
ROLE = re.compile(r":(?:func|class|meth|mod|attr):<code>")


def on_config(config: Any) -> Any:
    """Copy the documents aside, with the repository's layout, and build from there."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for pattern in DOCUMENTS:
        for file in ROOT.glob(pattern):
            place = STAGED / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    config["docs_dir"] = str(STAGED)
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to folders become links to their README; what is no document loses its link."""
    for fence in FENCE.findall(markdown):  # a warning is an error of the strict build
        LOG.warning('%s: %s: expected a language and title="..."', page.file.src_uri, fence)
    folder = Path(page.file.src_uri).parent

    def mended(found: re.Match[str]) -> str:
        mark, words, target, anchor = found.groups()
        if ":" in target:
            return found[0]
        place = Path(os.path.normpath(folder / target))
        if (STAGED / place / "README.md").is_file():
            return f"{mark}[{words}]({target.rstrip('/')}/README.md)"
        if (ROOT / place).exists() and not (STAGED / place).is_file():
            return words
        return f"{mark}[{words}]({target}{anchor or ''})"

    return LINK.sub(mended, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Roles of docstrings are for editors; the site shows the name alone."""
    return ROLE.sub("<code>", html)
