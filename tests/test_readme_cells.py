"""README in a browser, as wide as GitHub shows it: no cell of a table has more than two lines.

Needs a Chromium on the path.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
WIDTH, LINES = 1012, 2
STYLE = f"""
body {{ width: {WIDTH}px; margin: 0; font: 16px/1.5 "Segoe UI", "Noto Sans", Helvetica, Arial,
  sans-serif; }}
table {{ display: block; width: max-content; max-width: 100%; overflow: auto;
  border-collapse: collapse; }}
th, td {{ padding: 6px 13px; border: 1px solid; }}
"""
COUNT = """
const lines = cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return Math.round(range.getBoundingClientRect().height / 24);
};
const cells = [...document.querySelectorAll("th, td")].map(c => [c.textContent, lines(c)]);
document.querySelector("#found").textContent = JSON.stringify(cells);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is at hand")
@pytest.mark.parametrize("name", ["README.md", "reports/README.md", "results/reference/README.md"])
def test_no_cell_has_more_than_two_lines(name: str, tmp_path: Path) -> None:
    found = measured((ROOT / name).read_text("utf-8"), tmp_path)
    assert found
    assert [cell for cell in found if cell[1] > LINES] == []


def test_three_lines_are_seen(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium is at hand")
    table = f"| a | b |\n|---|---|\n| one | {'many words ' * 3} |\n| x | {'many words ' * 60} |\n"
    *others, (_, lines) = measured(table, tmp_path)  # how many depends on the machine's fonts
    assert lines > LINES and {few for _, few in others} == {1}


def measured(text: str, folder: Path) -> list[tuple[str, int]]:
    """Words and number of lines of every cell of a Markdown text's tables."""
    page = MarkdownIt("commonmark").enable("table").render(text)
    (folder / "page.html").write_text(
        f"<meta charset=utf-8><style>{STYLE}</style><body>{page}<pre id=found></pre>"
        f"<script>{COUNT}</script>",
        encoding="utf-8",
    )
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1280,900",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        (folder / "page.html").as_uri(),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answer = re.search(r'<pre id="found">(.*?)</pre>', made.stdout, re.DOTALL)
    assert answer is not None and answer[1], made.stderr[-2000:]
    return [(words, lines) for words, lines in json.loads(html.unescape(answer[1]))]
