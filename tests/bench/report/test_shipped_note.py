"""Every table that shows a defence with a shipped denoiser says so; no other does."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from bench.analysis.source import FrameRun
from bench.report.document import Chapter, Column, Field, Paragraph, Table
from bench.report.parts.shipped import Brought, note, noted, shipped_defenses
from tests.bench.report.synthetic import synthetic_run

FIT = pd.DataFrame(
    {
        "part": ["denoiser", "denoiser-iqa", "denoiser-iqa", "ftn"],
        "model": [None, "lpips", "dists", "lpips"],
        "sha256": ["a", "b", "c", "d"],
        "seconds": [600.0, 900.0, 300.0, 60.0],
        "shipped": [True, True, True, False],
    }
)
CARDS = [
    {"name": "ms", "part": None},
    {"name": "dms", "part": "denoiser"},
    {"name": "dms-iqa", "part": "denoiser-iqa"},
    {"name": "fs-iqa", "part": "ftn"},
]


def run(fit: pd.DataFrame = FIT) -> FrameRun:
    usual = synthetic_run()
    return replace(usual, tables={**usual.tables, "fit": fit}, cards=CARDS)


def table(*names: str) -> Table:
    return Table("t", "", "", (Column("who"),), tuple((Field(name),) for name in names))


def test_minutes_of_the_longest_training_by_defence() -> None:
    """A sum would count what two networks share as often as there are networks."""
    assert shipped_defenses(run()) == {"DMS": Brought(10.0), "DMS-IQA": Brought(15.0)}
    assert shipped_defenses(run(FIT.assign(shipped=False))) == {}
    assert shipped_defenses(run(FIT.drop(columns="shipped"))) == {}


def test_tables_that_show_them_say_so() -> None:
    text = Paragraph("DMS")
    blocks = (table("MS", "FS-IQA"), table("MS", "DMS"), table("DMS", "DMS-IQA"), text)
    (chapter,) = noted([Chapter("c", "C", blocks)], run())
    plain, one, both, same = chapter.blocks
    assert plain == blocks[0] and same == text
    assert isinstance(one, Table) and isinstance(both, Table)
    assert one.notes == (
        "Denoisers of DMS came with the package (up to 10 minutes of one core each; see "
        "--retrain).",
    )
    assert "DMS and DMS-IQA came with the package (up to 10 and 15 minutes" in both.notes[0]


def test_a_network_that_serves_two_models_was_shaped_by_neither() -> None:
    """The recipe has losses through the model; the digest says whether they came to anything."""
    same = FIT.assign(sha256=["a", "b", "b", "b"])
    found = shipped_defenses(run(same))
    assert found == {"DMS": Brought(10.0), "DMS-IQA": Brought(15.0, ("lpips", "dists"))}
    said = note([*found], [*found.values()])
    assert said.endswith(
        "--retrain); DMS-IQA's for LPIPS and DISTS is one network, of pixels alone."
    )
