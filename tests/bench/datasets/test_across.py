"""Train on one data set, test on another: whose items, whose scale, whose pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets import Dataset
from bench.datasets.across import Across, mapped
from bench.plugins.registry import Registry

TOML = """name = "{name}"
title = "{name}"
csv = "scores.csv"
image_column = "file"
mos_columns = ["mos"]
higher_is_better = {better}
range = [{low}, {high}]
split_column = "split"
licence = "CC0"
citation = "none"
"""


def table(
    root: Path, name: str, low: float, high: float, *, better: str = "true", shade: int = 0
) -> str:
    """Two training, one validation and two test pictures; both sets name their files alike."""
    folder = root / name
    folder.mkdir()
    splits = ("train", "train", "validation", "test", "test")
    rows = [f"{i}.png,{low + (high - low) * i / 4},{s}" for i, s in enumerate(splits)]
    (folder / "scores.csv").write_text("\n".join(["file,mos,split", *rows]), encoding="utf-8")
    toml = TOML.format(name=name, low=low, high=high, better=better)
    (folder / "dataset.toml").write_text(toml, encoding="utf-8")
    for i in range(5):
        Image.new("RGB", (8, 8), (shade + i, 0, 0)).save(folder / f"{i}.png")
    return str(folder / "dataset.toml")


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return table(tmp_path, "mine", 0.0, 10.0), table(
        tmp_path, "big", 1.0, 5.0, better="false", shade=100
    )


def test_training_items_of_the_one_and_test_items_of_the_other(both: tuple[str, str]) -> None:
    registry = Registry.open(kinds=("dataset",))
    data = registry.dataset(both[0], train=both[1])
    assert isinstance(data, Dataset)
    assert data.name == "mine"
    assert [item.mos for item in data.items("test")] == [7.5, 10.0]
    # DMOS 1, 2 and 3 of 1..5 are MOS 5, 4 and 3, and 10, 7.5 and 5 of 0..10.
    assert [item.mos for item in data.items("train")] == [10.0, 7.5]
    assert [item.mos for item in data.items("validation")] == [5.0]
    assert [data.load(i).image[0, 0, 0] * 255 for i in data.items("train")] == pytest.approx(
        [100, 101]
    )
    assert [data.load(i).image[0, 0, 0] * 255 for i in data.items("test")] == pytest.approx([3, 4])
    assert data.card.mos_range == (0.0, 10.0)
    assert "trained on big" in data.card.label_kind


def test_the_digest_knows_both(both: tuple[str, str]) -> None:
    registry = Registry.open(kinds=("dataset",))
    one, other = (registry.dataset(name) for name in both)
    across = registry.dataset(both[0], train=both[1])
    assert len({one.sha256, other.sha256, across.sha256}) == 3
    assert Across(other, one).sha256 != across.sha256
    assert registry.dataset(both[0], train=both[0]).sha256 == one.sha256


def test_references_cannot_be_trained_without(both: tuple[str, str]) -> None:
    registry = Registry.open(kinds=("dataset",))
    with pytest.raises(BenchError, match=r"big: expected references, to train what is tested on"):
        registry.dataset("embedded", train=both[1])


def test_a_scale_is_mapped_end_to_end() -> None:
    assert np.allclose([mapped(v, (0, 1), (5, 1)) for v in (0, 0.25, 1)], [5, 4, 1])
