"""A plugin's parts stand in tables under the titles that they give themselves, never under ours."""

from __future__ import annotations

import re
from dataclasses import replace

from bench.analysis.source import FrameRun
from bench.report.compose import compose
from bench.report.formats.markdown import render_markdown


def test_a_plugins_parts_are_called_by_their_titles(run: FrameRun, no_figures: None) -> None:
    tables = {
        name: frame.replace({"defense": {"ms": "mine"}, "model": {"dbcnn": "theirs"}})
        for name, frame in run.tables.items()
    }
    tables["calibration"] = tables["calibration"].assign(
        model_title=[
            "Their <Model>" if model == "theirs" else "LPIPS"
            for model in tables["calibration"]["model"]
        ]
    )
    cards = [{**card, "name": "mine"} if card["name"] == "ms" else card for card in run.cards]
    cards = [{**card, "title": "My Defence"} if card["name"] == "mine" else card for card in cards]
    foreign = replace(run, tables=tables, cards=tuple(cards))
    text = render_markdown(compose(foreign, reps=20))
    assert re.search(r"^\| My Defence \|", text, re.M)
    assert "Their" in text and "<Model>" not in text
    assert not re.search(r"^\| mine \|", text, re.M)
    assert render_markdown(compose(run, reps=20)).count("My Defence") == 0
