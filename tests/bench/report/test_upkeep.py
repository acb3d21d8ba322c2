"""A report is made anew where any code that it depends on has changed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from bench.analysis import cost
from bench.plan import units
from bench.records import folder
from bench.records.folder import RunFolder
from bench.report import upkeep
from defenses import fs_iqa
from iqa_models import lpips

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("module", [cost, units, folder, upkeep, fs_iqa, lpips])
def test_the_key_hears_every_module_whose_words_a_report_shows(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(ROOT / "results" / "reference" / "real-nr")
    before = upkeep._key(run)
    assert module.__file__
    changed = Path(module.__file__)

    def edited(path: Path) -> str:
        return "edited" if path == changed else f"as it was: {path}"

    monkeypatch.setattr("bench.base.provenance.file_sha256", lambda path: f"as it was: {path}")
    plain = upkeep._key(run)
    monkeypatch.setattr("bench.base.provenance.file_sha256", edited)
    assert upkeep._key(run) != plain != before
