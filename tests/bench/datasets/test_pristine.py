"""Full-reference sets from pristine photographs: labels, split, laziness, determinism."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets import Dataset, ImageError
from bench.datasets.embedded import label_cells
from bench.datasets.pristine import PristineDataset
from bench.datasets.table import open_table

TOML = """
kind = "pristine"
name = "own"
title = "Own photographs"
folder = "photographs"
size = [32, 40]
test_share = 0.4
licence = "CC0"
citation = "me"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photographs").mkdir()
    rng = np.random.default_rng(1)
    for index, side in enumerate((64, 64, 48, 30, 64)):
        smooth = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(smooth).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "photographs" / f"photo{index}.png")
    (tmp_path / "photographs" / "LICENSE").write_text("CC0", encoding="utf-8")
    return tmp_path


def opened(folder: Path, text: str = TOML) -> PristineDataset:
    (folder / "own.toml").write_text(text, encoding="utf-8")
    data = open_table(folder / "own.toml")
    assert isinstance(data, PristineDataset)
    return data


def test_every_photograph_has_125_versions_with_kadids_labels(folder: Path) -> None:
    data = opened(folder)
    assert isinstance(data, Dataset)
    items = [*data.items("train"), *data.items("test")]
    assert len(items) == len({i.image_id for i in items}) == 5 * 125
    cells = label_cells()
    assert all(
        i.mos == cells[i.attributes["distortion"], int(i.attributes["level"])] for i in items
    )
    assert "proxy" in data.card.label_kind


def test_split_by_photograph(folder: Path) -> None:
    data = opened(folder)
    train, test = ({i.group for i in data.items(s)} for s in ("train", "test"))
    assert (len(train), len(test)) == (3, 2)
    assert not train & test


def test_only_what_is_asked_for_is_made(folder: Path) -> None:
    data = opened(folder)
    kept = folder / "cache" / "pristine"
    assert len(data.sha256) == 64
    assert not kept.exists()
    item = data.items("test")[7]
    first = data.load(item)
    assert len(list(kept.rglob("*.png"))) == 1
    assert first.reference is not None
    assert first.image.shape == first.reference.shape == (3, 32, 40)
    assert not np.array_equal(first.image, first.reference)
    assert np.array_equal(opened(folder).load(item).image, first.image)


def test_pixels_do_not_depend_on_the_order(folder: Path) -> None:
    items = [
        i for i in opened(folder).items("train") if i.attributes["distortion"] == "white_noise"
    ]
    forward = opened(folder)
    backward = opened(folder)
    backward.cache = folder / "elsewhere"
    one = [forward.load(i).image for i in items[:3]]
    two = [backward.load(i).image for i in reversed(items[:3])]
    assert all(np.array_equal(a, b) for a, b in zip(one, reversed(two), strict=True))
    assert not np.array_equal(one[0], one[1])


def test_digest_knows_photographs_and_size(folder: Path) -> None:
    first = opened(folder).sha256
    assert opened(folder, TOML.replace("[32, 40]", "[32, 48]")).sha256 != first
    Image.new("RGB", (64, 64)).save(folder / "photographs" / "photo0.png")
    assert opened(folder).sha256 != first


def test_a_damaged_photograph_fails_only_its_own_images(folder: Path) -> None:
    data = opened(folder)
    bad, good = data.items("train")[0], data.items("test")[0]
    (folder / "photographs" / bad.group).write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match=bad.group):
        data.load(bad)
    assert data.load(good).image.shape == (3, 32, 40)


def test_mistakes_get_one_sentence(folder: Path) -> None:
    with pytest.raises(BenchError, match=r"expected a folder .*elsewhere, found none"):
        opened(folder, TOML.replace('photographs"\nsize', 'elsewhere"\nsize'))
    with pytest.raises(BenchError, match="found 'rain'"):
        opened(folder, TOML + 'distortions = ["jpeg", "rain"]\n')
    first = min((folder / "photographs").glob("*.png"))
    twin = first.with_name(f"{first.stem.upper()}.bmp")
    twin.write_bytes(first.read_bytes())
    with pytest.raises(BenchError, match=rf"different names, found .*{first.name}.*called alike"):
        opened(folder, TOML)
