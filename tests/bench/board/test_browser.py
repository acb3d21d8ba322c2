"""The board in a real browser: filters, no errors, and what axe-core finds.

Needs ``chromium`` on the path; axe-core is looked for where ``AXE_CORE`` says (its axe.min.js).
"""

from __future__ import annotations

import html as entities
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.board.entries import judge
from bench.board.site import write_board
from tests.bench.board.test_board import ours, submitted

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE_CORE", "")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
ASK = """<script>{axe}</script><script>axe.run(document).then((found) => {{
const told = found.violations.map((v) => [v.id, v.impact, v.nodes.length, v.nodes[0].html]);
document.body.dataset.axe = JSON.stringify(told);
document.body.dataset.passes = found.passes.length; }});</script></body>"""


def seen(page: Path, choice: str = "") -> str:
    """The page's elements after its script has run."""
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=9000"),
            *(f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr"),
            *("--dump-dom", f"{page.as_uri()}{choice}"),
        ],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    entries, refused = judge([submitted(folder, "Ours", ours(folder)), folder / "nothing"])
    return write_board(entries, refused, folder / "site", report=lambda entry, out: "report.html")


def body(dom: str) -> list[list[str]]:
    """Cells of every row."""
    (rows,) = re.findall(r'<tbody id="rows".*?</tbody>', dom, re.S)
    return [
        [
            re.sub(r"<[^>]+>", " ", cell).strip()
            for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)
        ]
        for row in re.findall(r"<tr>.*?</tr>", rows, re.S)
    ]


def test_the_script_shows_what_the_page_shows_without_it(page: Path) -> None:
    plain = body(page.read_text(encoding="utf-8"))
    live = body(seen(page))
    assert len(plain) == len(live) == 4
    assert [[" ".join(c.split()) for c in row[:-1]] for row in plain] == [
        [" ".join(c.split()) for c in row[:-1]] for row in live
    ]


def test_a_choice_changes_the_rows(page: Path) -> None:
    chosen = body(seen(page, "#model=lpips&level=0.5&radius=0.3"))
    assert [row[2] for row in chosen] == ["0.5"] * 4
    data = json.loads((page.parent / "board.json").read_text())
    wanted = {"mode": "NR", "model": "lpips", "level": "0.5", "radius": 0.3}
    rows = [r for r in data["submissions"][0]["rows"] if wanted.items() <= r.items()]
    assert [row[0] for row in chosen] == [row["title"] for row in rows]
    assert [row[3].split()[0] for row in chosen] != [row[3].split()[0] for row in body(seen(page))]


@pytest.mark.skipif(not Path(AXE).is_file(), reason="needs axe-core's axe.min.js in AXE_CORE")
def test_axe_finds_nothing(page: Path) -> None:
    asking = page.with_name("asking.html")
    text = page.read_text(encoding="utf-8")
    script = ASK.format(axe=Path(AXE).read_text(encoding="utf-8"))
    asking.write_text(text.replace("</body>", script), encoding="utf-8")
    dom = seen(asking)
    (found,) = re.findall(r'data-axe="([^"]*)"', dom)
    assert json.loads(entities.unescape(found)) == []
    (passes,) = re.findall(r'data-passes="(\d+)"', dom)
    assert int(passes) > 15
