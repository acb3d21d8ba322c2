"""The same figure, drawn twice: no byte depends on hash seeds, addresses or fonts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.font_manager import FontProperties, findfont

from bench.report.drawing import style
from bench.report.svg import numbered

DRAW = """
import sys
kept = [bytearray(int(sys.argv[1])) for _ in range(50)]
import pandas as pd
from bench.report.drawing import band, finish, legend_below, lines, log_axis, marks, panels, style
from bench.report.document import Table
from bench.report.theme import by_rigor, defense_looks
frame = pd.DataFrame({"x": [1, 2, 1, 2], "y": [1, 3, 2, 5], "low": 1, "high": 5,
                      "who": ["ms", "ms", "fs-iqa", "fs-iqa"]})
looks = by_rigor(defense_looks(frame["who"]), {"ms": "proved", "fs-iqa": "first-order"})
with style():
    canvas, axes = panels(2)
    band(axes[0], frame, x="x", low="low", high="high", by="who", looks=looks)
    lines(axes[0], frame, x="x", y="y", by="who", looks=looks)
    marks(axes[1], frame, x="x", y="y", by="who", looks=looks)
    log_axis(axes[1], x=True, y=True)
    legend_below(canvas, looks)
    print(finish(canvas, id="f", title="", caption="", alt="", data=Table("f", "", "", (), ())).svg)
"""


def _drawn(*, seed: str, bytes_before: int) -> str:
    made = subprocess.run(
        [sys.executable, "-c", DRAW, str(bytes_before)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout


def test_a_figure_does_not_depend_on_hash_seed_or_addresses() -> None:
    first = _drawn(seed="1", bytes_before=16)
    assert first == _drawn(seed="4242", bytes_before=300_001)
    assert first.count("clip-path") > 4


def test_ids_are_numbered_where_they_first_appear() -> None:
    def drawing(clip: str, marker: str) -> str:
        return (
            f'<g id="axes_1" clip-path="url(#{clip})"><use xlink:href="#{marker}"/></g>'
            f'<path id="{marker}"/><clipPath id="{clip}"/><text x="3" style="fill: #{clip}"/>'
        )

    # The same picture under other digests; colours stay although they begin like references.
    here, there = (numbered(drawing(*names)) for names in (("p1f", "m9"), ("pab", "m0")))
    assert here.replace("#p1f", "") == there.replace("#pab", "")
    assert re.findall(r'id="([^"]+)"', here) == ["n0", "n2", "n1"]
    assert re.findall(r"#(n\d)", here) == ["n1", "n2"]


def test_different_references_stay_different() -> None:
    text = "".join(f'<path id="{name}"/><use href="#{name}"/>' for name in ("a", "n0", "n1"))
    assert re.findall(r"n\d", numbered(text)) == ["n0", "n0", "n1", "n1", "n2", "n2"]


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_letters_are_matplotlibs_own(weight: str) -> None:
    with style():
        found = findfont(FontProperties(family=mpl.rcParams["font.family"], weight=weight))
    assert Path(found).is_relative_to(mpl.get_data_path())
