"""KADID-10k: a miniature copy of the official layout; direction, split by reference, bad files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets import Dataset, ImageError
from bench.datasets.kadid10k import kadid10k

TYPES, LEVELS, REFERENCES = (1, 10, 25), (1, 5), 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "kadid10k"
    (root / "images").mkdir(parents=True)
    rows = ["dist_img,ref_img,dmos,var"]
    for number in range(1, REFERENCES + 1):
        reference = f"I{number:02d}"
        Image.new("RGB", (512, 384), (number * 30, 0, 0)).save(root / "images" / f"{reference}.png")
        for kind in TYPES:
            for level in LEVELS:
                name = f"{reference}_{kind:02d}_{level:02d}.png"
                if number < 3:
                    Image.new("RGB", (512, 384), (0, level * 40, 0)).save(root / "images" / name)
                rows.append(f"{name},{reference}.png,{5.0 - 0.7 * level:.2f},0.5")
    (root / "dmos.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def test_reads_the_official_layout(folder: Path) -> None:
    data = kadid10k(folder)
    assert isinstance(data, Dataset)
    assert (len(data.items("train")), len(data.items("test"))) == (24, 6)
    assert data.items("validation") == []
    assert {i.attributes["distortion"] for i in data.items("train")} == {
        "gaussian_blur",
        "jpeg",
        "contrast_change",
    }
    assert data.card.has_references


def test_split_by_reference(folder: Path) -> None:
    data = kadid10k(folder)
    train, test = ({i.reference_id for i in data.items(s)} for s in ("train", "test"))
    assert len(train) == 4
    assert len(test) == 1
    assert not train & test
    other = {s: {i.group for i in kadid10k(folder, seed=3).items(s)} for s in ("train", "test")}
    assert {len(other["train"]), len(other["test"])} == {4, 1}


def test_dmos_is_higher_is_better(folder: Path) -> None:
    items = [i for s in ("train", "test") for i in kadid10k(folder).items(s)]
    weak = {i.mos for i in items if i.attributes["level"] == "1"}
    strong = {i.mos for i in items if i.attributes["level"] == "5"}
    assert (weak, strong) == ({4.3}, {1.5})


def test_pairs_and_missing_files(folder: Path) -> None:
    data = kadid10k(folder)
    items = {i.image_id: i for s in ("train", "test") for i in data.items(s)}
    pair = data.load(items["I02_10_05.png"])
    assert pair.reference is not None
    assert pair.image.shape == pair.reference.shape == (3, 384, 512)
    assert pair.reference[0].mean() == pytest.approx(60 / 255, abs=1e-6)
    assert pair.image[1].mean() == pytest.approx(200 / 255, abs=1e-6)
    with pytest.raises(ImageError, match="no such file"):
        data.load(items["I04_10_05.png"])
    (folder / "images" / "I01.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"I01\.png: expected an image file"):
        data.load(items["I01_01_01.png"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("4.30", "43", r"line 2: expected a score in 1\.\.5, found 43"),
        ("4.30", "nan", r"line 2: expected a number in 'dmos', found 'nan'"),
        ("I01_01_01.png", "I02_01_01.png", r"line 2: expected a version of I01\.png"),
        ("I01_01_05.png", "I01_01_01.png", "expected each image once, found I01_01_01.png twice"),
        ("dmos,var", "score,var", "expected the column 'dmos'"),
    ],
)
def test_labels_that_are_not_kadids(folder: Path, old: str, new: str, words: str) -> None:
    labels = folder / "dmos.csv"
    text = labels.read_text(encoding="utf-8")
    labels.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BenchError, match=words):
        kadid10k(folder)
