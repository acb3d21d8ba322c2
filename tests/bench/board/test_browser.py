"""The board in a real browser: filters, no errors, and what axe-core finds, narrow and dark too.

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
from tests.bench.board.test_board import ours, plugins, raised, redone, submitted

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE_CORE", "")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
ASK = """<script>{axe}</script><script>axe.run(document).then((found) => {{
const told = found.violations.map((v) => [v.id, v.impact, v.nodes.length, v.nodes[0].html]);
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
parent.postMessage(JSON.stringify({{violations: told, passes: found.passes.length, dark: dark,
width: innerWidth, needed: document.documentElement.scrollWidth}}), "*"); }});</script></body>"""
FRAME = """<!DOCTYPE html><html lang="en"><body><script>addEventListener("message", (told) => {{
document.body.dataset.found = told.data; }});</script>
<iframe title="board" width="{width}" height="900" style="border: 0" src="asking.html"></iframe>
</body></html>"""
"""A window of Chromium is at least 500 pixels wide; a frame is as narrow as it is asked to be."""


def seen(page: Path, choice: str = "", *flags: str) -> str:
    """The page's elements after its script has run."""
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=9000"),
            *(f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr"),
            *("--window-size=1400,1000", *flags),
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
    """Ours, a plugin's, and one that was tampered with."""
    folder = tmp_path_factory.mktemp("board")
    run = ours(folder)
    lied = redone(submitted(folder, "Lied", run), raised)
    with pytest.MonkeyPatch.context() as patched:
        theirs = submitted(folder, "Theirs", plugins(folder, patched))
    entries, refused = judge([submitted(folder, "Ours", run), theirs, lied])
    assert [one.name for one in refused] == ["Lied"]
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
    assert len(plain) == len(live) == 8  # four defences each of ours and of the plugin's
    assert [[" ".join(c.split()) for c in row[:-1]] for row in plain] == [
        [" ".join(c.split()) for c in row[:-1]] for row in live
    ]


def test_a_choice_changes_the_rows(page: Path) -> None:
    chosen = body(seen(page, "#model=lpips&level=0.5&radius=0.3"))
    assert [row[2] for row in chosen] == ["0.5"] * 8
    data = json.loads((page.parent / "board.json").read_text())
    wanted = {"mode": "NR", "model": "lpips", "level": "0.5", "radius": 0.3}
    told = [row for one in data["submissions"] for row in one["rows"]]
    rows = [row for row in told if wanted.items() <= row.items()]
    assert [entities.unescape(row[0]) for row in chosen] == [row["title"] for row in rows]
    assert [row[3].split()[0] for row in chosen] != [row[3].split()[0] for row in body(seen(page))]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.skipif(not Path(AXE).is_file(), reason="needs axe-core's axe.min.js in AXE_CORE")
def test_axe_finds_nothing(page: Path, width: int, dark: bool) -> None:
    text = page.read_text(encoding="utf-8")
    script = ASK.format(axe=Path(AXE).read_text(encoding="utf-8"))
    asking = page.with_name("asking.html")
    asking.write_text(text.replace("</body>", script), encoding="utf-8")
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    dom = seen(frame, "", f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    (told,) = re.findall(r'data-found="([^"]*)"', dom)
    found = json.loads(entities.unescape(told))
    assert found["violations"] == []
    assert (found["width"], found["dark"]) == (width, dark) and found["passes"] > 15
    assert found["needed"] <= width  # the table scrolls in its own frame, the page does not
