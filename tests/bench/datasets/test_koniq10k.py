"""KonIQ-10k: a miniature copy of the official layout, both resolutions, and what breaks it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets import Dataset, ImageError
from bench.datasets.folder import FolderDataset
from bench.datasets.koniq10k import LABELS, SETS, Resolution, koniq10k
from bench.plugins.registry import Registry

HEADER = ["image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD", "MOS_zscore"]


def grades(index: int) -> list[int]:
    """Counts of the five grades: the higher the index, the better the picture."""
    counts = [0, 0, 0, 0, 0]
    counts[index % 5] = 60
    counts[(index + 1) % 5] += 40 if index % 5 < 4 else 0
    return counts


def write_labels(folder: Path, count: int = 20, *, scale: float = 1.0) -> None:
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for index in range(count):
            c = grades(index)
            mos = scale * sum(g * n for g, n in enumerate(c, start=1)) / sum(c)
            writer.writerow([f"{index}.jpg", *c, sum(c), f"{mos:.6f}", "0.5", "50.0"])


def write_sets(folder: Path, count: int = 20, *, word: str = "training") -> None:
    """Every fifth image is a test image, image 1 a validation image; MOS on the other scale."""
    words = {index: word for index in range(count)} | {1: "validation"}
    words |= {index: "test" for index in range(0, count, 5)}
    rows = "".join(f"{index}.jpg,{20 * index},{words[index]}\n" for index in reversed(range(count)))
    (folder / SETS).write_text(f"image_name,MOS,set\n{rows}", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "koniq10k"
    for name, size in (("512x384", (512, 384)), ("1024x768", (1024, 768))):
        (root / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", size, (index * 40, 100, 200)).save(root / name / f"{index}.jpg")
    write_labels(root)
    write_sets(root)
    return root


def everything(data: FolderDataset) -> dict[str, float]:
    return {i.image_id: i.mos for s in ("train", "validation", "test") for i in data.items(s)}


def test_reads_the_official_layout(folder: Path) -> None:
    data = koniq10k(folder)
    assert isinstance(data, Dataset)
    assert [i.image_id for i in data.items("test")] == ["0.jpg", "5.jpg", "10.jpg", "15.jpg"]
    assert [i.image_id for i in data.items("validation")] == ["1.jpg"]
    assert len(everything(data)) == 20
    assert data.card.label_kind == "MOS; the authors' split, 15/1/4"


def test_the_seeded_split_is_another_data_set_that_says_what_it_leaks(folder: Path) -> None:
    (folder / SETS).unlink()
    data = koniq10k(folder, seed=2025)
    assert (len(data.items("train")), len(data.items("test"))) == (16, 4)
    assert data.name == "koniq10k-seeded"
    assert "seed 2025: leaks training images" in data.card.label_kind


def test_without_the_official_split_the_sentence_names_both_ways_on(folder: Path) -> None:
    (folder / SETS).unlink()
    with pytest.raises(BenchError, match=r"sets\.csv.*prefetch --datasets koniq10k.*'koniq10k-see"):
        koniq10k(folder)


def test_the_split_must_know_every_image_and_its_words(folder: Path) -> None:
    write_sets(folder, 19)
    with pytest.raises(BenchError, match=r"found no 19\.jpg \(1 missing\)"):
        koniq10k(folder)
    write_sets(folder, word="learning")
    with pytest.raises(BenchError, match=r"line 2: expected training, validation, test, found 'l"):
        koniq10k(folder)


def test_the_split_is_found_where_prefetch_puts_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "artifacts").mkdir(parents=True)
    (folder / SETS).rename(tmp_path / "cache" / "artifacts" / SETS)
    assert len(koniq10k(folder).items("test")) == 4


def test_more_good_grades_mean_a_higher_mos(folder: Path) -> None:
    mos = everything(koniq10k(folder))
    assert mos["0.jpg"] == pytest.approx(1.4)
    assert mos["3.jpg"] == pytest.approx(4.4)
    assert mos["4.jpg"] == pytest.approx(5.0)
    assert all(1 <= value <= 5 for value in mos.values())


@pytest.mark.parametrize(
    ("resolution", "shape"), [("512x384", (3, 384, 512)), ("1024x768", (3, 768, 1024))]
)
def test_both_resolutions(folder: Path, resolution: Resolution, shape: tuple[int, ...]) -> None:
    data = koniq10k(folder, resolution=resolution)
    item = next(i for i in data.items("train") if i.image_id == "2.jpg")
    pair = data.load(item)
    assert pair.image.shape == shape
    assert pair.reference is None
    assert data.card.image_size == shape[1:]
    assert abs(pair.image[0].mean() - 80 / 255) < 0.02


def test_the_1_to_100_file_is_refused(folder: Path) -> None:
    write_labels(folder, scale=20)
    with pytest.raises(BenchError, match=r"line 2: expected a score in 1\.\.5, found 28"):
        koniq10k(folder)


def test_a_mos_that_contradicts_its_counts_is_refused(folder: Path) -> None:
    write_labels(folder, scale=0.9)
    with pytest.raises(BenchError, match=r"the mean of c1\.\.c5"):
        koniq10k(folder)


def test_absent_images_stay_listed_and_fail_when_loaded(folder: Path) -> None:
    data = koniq10k(folder)
    item = next(i for s in ("train", "test") for i in data.items(s) if i.image_id == "7.jpg")
    with pytest.raises(ImageError, match=r"7\.jpg: expected an image file, found no such file"):
        data.load(item)


def test_digest_knows_pixels_labels_and_seed(folder: Path) -> None:
    first = koniq10k(folder).sha256
    assert koniq10k(folder).sha256 == first
    assert koniq10k(folder, seed=7).sha256 != first
    Image.fromarray(np.zeros((384, 512, 3), np.uint8)).save(folder / "512x384" / "1.jpg")
    assert koniq10k(folder).sha256 != first


def test_found_below_bench_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(folder.parent))
    assert len(everything(koniq10k())) == 20
    monkeypatch.setenv("BENCH_DATA", str(folder / "nowhere"))
    with pytest.raises(BenchError, match="prefetch --datasets koniq10k"):
        koniq10k()


def test_a_named_root_comes_before_bench_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(folder / "nowhere"))
    named = Registry.open(kinds=("dataset",), data_root=folder.parent)
    assert len(everything(named.dataset("koniq10k"))) == 20
    assert named.dataset("koniq10k-seeded").name == "koniq10k-seeded"
    assert named.dataset("embedded").name == "embedded"  # lies in no folder
    with pytest.raises(BenchError, match="nowhere, found none"):
        Registry.open(kinds=("dataset",)).dataset("koniq10k")
