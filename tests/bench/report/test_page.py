"""The page in a browser: the slider re-sorts, a point answers, nothing overflows, axe is content.

Needs a Chromium on the path; axe-core is looked at where ``AXE`` names its ``axe.min.js``.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report.document import Document, Explorer
from bench.report.formats.html import render_html
from bench.report.parts.explorer import SHOWN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is at hand")
WAIT_MS = 8000

ACTS = """
const rows = () => [...document.querySelectorAll(".explorer tbody tr")];
const first = () => rows().map(r => [r.cells[3].textContent, r.cells[2].textContent]);
const slider = document.querySelector("[data-control=radius]");
const slide = value => { slider.value = value; slider.dispatchEvent(new Event("input")); };
const found = { errors: window.failures, before: first(), link: location.hash };
slide(slider.max);
found.after = first();
found.radius = document.querySelector("[data-control=shown]").value;
const mode = document.querySelector("[data-control=mode]");
mode.value = "FR";
mode.dispatchEvent(new Event("change"));
found.models = [...document.querySelector("[data-control=model]").options].map(o => o.textContent);
slide(0);
const sigma = document.querySelector("[data-control=sigma]");
sigma.value = "0.5";
sigma.dispatchEvent(new Event("change"));
found.sigmas = rows().map(r => r.cells[1].textContent);
const mark = document.querySelector(".mark");
mark.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const detail = document.querySelector("[data-view=detail]");
found.detail = detail.textContent;
found.intervals = detail.querySelectorAll("path:not(.axis)").length;
const lines = () => [...detail.querySelectorAll("path:not(.axis)")].map(p => p.getAttribute("d"));
const near = lines();
slide(3);
found.moved = lines().filter((line, i) => line !== near[i]).length;
found.further = detail.textContent;
slide(0);
found.plot = document.querySelector(".plot").clientWidth;
found.link = location.hash;
const button = document.querySelector("#table-d thead tr:last-child th:nth-child(4) button");
button.click();
found.sorted = [...document.querySelectorAll("#table-d tbody tr")].map(r => r.cells[3].textContent);
scrollTo({ top: 1500, behavior: "instant" });
const contents = document.querySelector(".contents").getBoundingClientRect();
found.contents = [scrollY, contents.top, contents.bottom];
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
"""
AXE = """
axe.run(document, { resultTypes: ["violations"] }).then(result => {
  found.axe = result.violations.map(v => [v.impact, v.id, v.nodes[0].html.slice(0, 200)]);
  say();
});
"""


def _page(
    text: str, folder: Path, *, acts: str, width: int, wishes: Sequence[str] = ()
) -> dict[str, Any]:
    """What a page says of itself after some acts, in a frame of a width, to a reader's wishes."""
    axe = os.environ.get("AXE")
    script = (Path(axe).read_text("utf-8") + AXE) if axe else "say();"
    early = "<script>window.failures=[];onerror=m=>{failures.push(m)}</script>"
    late = (
        f"<script>{acts};const say=()=>parent.postMessage(JSON.stringify(found),'*');"
        f"{script}</script>"
    )
    page = text.replace("<head>", f"<head>{early}", 1).replace("</body>", f"{late}</body>")
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "frame.html").write_text(
        f"<body><iframe width={width} height=800 src=page.html></iframe><pre></pre><script>"
        "onmessage=e=>{document.querySelector('pre').textContent=e.data}</script>",
        encoding="utf-8",
    )
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--virtual-time-budget={WAIT_MS}",
        f"--user-data-dir={folder / 'profile'}",
        *wishes,
        "--dump-dom",
        (folder / "frame.html").as_uri(),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answer = re.search(r"<pre>(.*?)</pre>", made.stdout, re.DOTALL)
    assert answer is not None and answer[1], made.stderr[-2000:]
    return dict(json.loads(html.unescape(answer[1])))


@pytest.fixture(scope="module")
def text(document: Document) -> str:
    return render_html(document)


@pytest.fixture(scope="module")
def explored(document: Document) -> dict[str, Any]:
    (block,) = (b for s in document.sections for b in s.blocks if isinstance(b, Explorer))
    return dict(block.content["modes"])


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_answers(text: str, explored: dict[str, Any], tmp_path: Path, width: int) -> None:
    found = _page(text, tmp_path, acts=ACTS, width=width)
    assert found["errors"] == []
    assert found["overflow"] <= 0
    # Sorted by SRCC, the largest first; words come last.
    for when in ("before", "after"):
        values = [float(v.split()[0]) for _, v in found[when] if v[0].isdigit()]
        assert values == sorted(values, reverse=True)
    assert found["before"] != found["after"]
    assert found["radius"] == f"\N{GREEK SMALL LETTER RHO} = {explored['NR']['radii'][-1]:g}"
    assert found["models"] == ["all models", "LPIPS", "DISTS"]
    assert set(found["sigmas"]) == {"0.5"}
    assert found["intervals"] == len(explored["FR"]["defenses"])
    assert "human score" in found["detail"]
    # The intervals of the chosen image follow the slider.
    assert found["moved"] > 0
    for told, place in ((found["detail"], 0), (found["further"], 3)):
        radius = explored["FR"]["radii"][place]
        assert f"Intervals at \N{GREEK SMALL LETTER RHO} = {radius:g} " in told
    down, top, bottom = found["contents"]
    assert down > 1000 and 0 <= top < bottom < 300
    # On a phone a figure scrolls sideways: its letters stay legible.
    assert found["plot"] > 500
    assert "mode=FR" in found["link"] and "sigma=0.5" in found["link"]
    numbers = [float(re.split(r"[\[ ]", value)[0]) for value in found["sorted"] if value[0] in "0-"]
    assert numbers == sorted(numbers)
    serious = [hit for hit in found.get("axe", []) if hit[0] in ("serious", "critical")]
    assert serious == []


def test_the_page_heeds_wishes_for_the_dark_and_for_no_motion(text: str, tmp_path: Path) -> None:
    acts = (
        ACTS
        + """
    found.paper = getComputedStyle(document.body).backgroundColor;
    found.ink = getComputedStyle(document.body).color;
    found.motion = getComputedStyle(document.documentElement).scrollBehavior;
    """
    )
    wishes = ("--blink-settings=preferredColorScheme=0", "--force-prefers-reduced-motion")
    plain, wished = (
        _page(text, tmp_path, acts=acts, width=800, wishes=chosen) for chosen in ((), wishes)
    )

    def light(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / (3 * 255)

    assert light(plain["paper"]) > 0.9 and light(plain["ink"]) < 0.2
    assert light(wished["paper"]) < 0.2 and light(wished["ink"]) > 0.8
    assert (plain["motion"], wished["motion"]) == ("smooth", "auto")
    assert wished["errors"] == [] and wished["overflow"] <= 0
    assert [hit for hit in wished.get("axe", []) if hit[0] in ("serious", "critical")] == []


def test_a_link_leads_back_to_what_was_shown(text: str, tmp_path: Path) -> None:
    acts = "const found={mode:document.querySelector('[data-control=mode]').value,"
    acts += "shown:document.querySelector('[data-control=shown]').value}"
    linked = text.replace(
        "<head>", "<head><script>location.hash='#explore?mode=FR&radius=0.3'</script>"
    )
    found = _page(linked, tmp_path, acts=acts, width=800)
    assert found["mode"] == "FR" and found["shown"].endswith("0.3")


def test_the_page_stays_small_with_many_images(
    document: Document, explored: dict[str, Any]
) -> None:
    """All images that may be points, of three models and eight defences, take less than 400 kB."""
    (section,) = (s for s in document.sections if s.id == "decision")
    (block,) = (b for b in section.blocks if isinstance(b, Explorer))
    name, human = "embedded/a photograph-with-distortion-3", [3.14159, "3.14"]
    said = {m: {d: ["E8DUEQ" * SHOWN] * 12 for d in "abcdefgh"} for m in ("x", "y", "z")}
    images = {"names": [name] * SHOWN, "human": [human] * SHOWN, "said": said}
    modes = {m: {**one, "images": images} for m, one in explored.items()}
    grown = replace(block, content={**block.content, "modes": modes})
    alone = replace(document, sections=(replace(section, blocks=(grown,)),))
    assert len(render_html(alone)) < 400_000
