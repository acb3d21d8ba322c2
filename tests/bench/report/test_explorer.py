"""What the page turns over: every image at every radius, and which images where there are many."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis.explore import seen
from bench.analysis.matched import matched
from bench.analysis.source import FrameRun
from bench.report.document import Document, Explorer
from bench.report.parts import explorer as module
from bench.report.parts.explorer import explorer
from bench.report.parts.first import decide


def _shown(document: Document) -> Explorer:
    (found,) = (b for s in document.sections for b in s.blocks if isinstance(b, Explorer))
    return found


@pytest.mark.parametrize("mode", ["NR", "FR"])
def test_every_image_is_there_at_every_radius(run: FrameRun, document: Document, mode: str) -> None:
    data = matched(run.everything().table("evaluate"), mode, reps=2, seed=0)
    assert data is not None
    shown = _shown(document).content["modes"][mode]
    names, said = shown["images"]["names"], shown["images"]["said"]
    expected = {
        (p.model, p.defense, p.radius, p.image): [p.score, p.lower, p.upper] for p in seen(data)
    }
    found = {
        (model, defense, radius, name): [int(six[k : k + 2], 36) for k in (0, 2, 4)]
        for model, lines in said.items()
        for defense, texts in lines.items()
        for radius, text in zip(shown["radii"], texts, strict=True)
        for i, name in enumerate(names)
        if not (six := text[6 * i : 6 * i + 6]).startswith("-")
    }
    assert len(found) > 100 and found == expected
    assert {len(text) for lines in said.values() for t in lines.values() for text in t} == {
        6 * len(names)
    }


def test_of_many_images_those_with_pictures_and_the_extremes_are_shown(
    run: FrameRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = run.table("evaluate")
    equal = {"NR": matched(frame, "NR", reps=2, seed=0)}
    found = decide(run, {m: d for m, d in equal.items() if d is not None}, reps=2)
    assert found is not None
    human = frame[frame["mode"] == "NR"].drop_duplicates("image").set_index("image")["mos"]
    middle = str(human.sort_values().index[len(human) // 2 + 1])
    monkeypatch.setattr(module, "SHOWN", 5)
    made = explorer(found[0], frame, pictured=pd.Series([middle]))
    names = made.content["modes"]["NR"]["images"]["names"]
    assert len(names) == len(set(names)) == 5
    assert {middle, human.idxmin(), human.idxmax()} <= set(names)


def test_a_run_without_pictures_has_its_points(run: FrameRun, document: Document) -> None:
    assert "pictures" not in run.tables or run.table("pictures").empty
    names = _shown(document).content["modes"]["NR"]["images"]["names"]
    frame = run.table("evaluate")
    assert set(names) == set(frame.loc[frame["mode"] == "NR", "image"])
    assert replace(run).table("pictures")["image"].empty
