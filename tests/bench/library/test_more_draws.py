"""More draws begin with those that an earlier run made: the same records, to the last bit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.library.runs import Run
from bench.records.schema import VOLATILE
from defenses.engine import Engine

SMALL = """
extends = "embedded"
name = "small"
[data]
train_limit = 48
[fit.ftn]
epochs = 2
batch = 16
learning_rate = 2e-3
width = 8
depth = 2
"""
FEW, MANY = 20, 40
"""The first of them end in the middle of a pass."""


def run_of(results: Path, profile: Path, samples: int) -> Run:
    return bench.run(
        profile=str(profile),
        models=["koncept", "lpips"],
        defenses=["rs-reg", "ms", "dms", "fs-iqa"],
        sigmas=[0.25],
        no_extras=True,
        limit=2,
        samples=samples,
        stages=["fit", "evaluate"],
        device="cpu",
        jobs=1,
        results=results,
    )


def content(run: Run, table: str) -> list[dict[str, Any]]:
    """All columns of a table that are the same in two runs of one plan."""
    stored = run.folder.arrow(table)
    return stored.drop_columns([c for c in stored.column_names if c in VOLATILE]).to_pylist()


def test_more_draws_compute_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "small.toml"
    profile.write_text(SMALL, encoding="utf-8")
    made: Counter[str] = Counter()
    draw = Engine.draw

    def counted(self: Engine, smoother: Any, *args: Any, **named: Any) -> Any:
        found = draw(self, smoother, *args, **named)
        made[smoother.name] += len(found)
        return found

    monkeypatch.setattr(Engine, "draw", counted)
    few = run_of(tmp_path / "both", profile, FEW)
    assert made == dict.fromkeys(("input", "denoised", "features"), 4 * FEW)
    made.clear()
    more = run_of(tmp_path / "both", profile, MANY)
    # One pass serves all draws of noisy features, so there is nothing to save.
    assert made == {"input": 80, "denoised": 80, "features": 160}
    noted = more.folder.provenance()
    assert noted["first_draws"] == {few.path.name: 2 * 4 * FEW}
    assert noted["taken_over"] == {few.path.name: len(few.folder.plan().of_stage("fit"))}
    assert not list(more.folder.journal.glob("*"))
    made.clear()
    fresh = run_of(tmp_path / "alone", profile, MANY)
    assert made == dict.fromkeys(("input", "denoised", "features"), 4 * MANY)
    assert fresh.path.name == more.path.name and "first_draws" not in fresh.folder.provenance()
    for table, rows in (("draws", 12), ("evaluate", 16), ("fit", 3)):
        assert content(more, table) == content(fresh, table)
        assert len(content(more, table)) == rows
    assert {len(row["scores"]) for row in content(more, "draws")} == {MANY}
    assert more.verify().certificates == 16
