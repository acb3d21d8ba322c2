"""The embedded data set: labels, splits, selection, cache; on tiny crops, without a network."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from bench.base.cache import digest, stored
from bench.datasets import Dataset, ImageError, Item
from bench.datasets.base import Split
from bench.datasets.distortions import DISTORTIONS, LEVELS
from bench.datasets.embedded import (
    EmbeddedDataset,
    Recipe,
    distort_all,
    embedded,
    generate,
    label_cells,
)
from bench.datasets.photographs import PHOTOGRAPHS, Crop, photograph_path, take

TINY = Recipe(
    crops=(
        Crop("coffee", 48),
        Crop("rocket", 48, mirrored=True),
        Crop("city", 48),
        Crop("guitar", 48),
        Crop("sand", 60, row=0),
    ),
    height=32,
    width=40,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(folder: Path) -> EmbeddedDataset:
    return embedded(folder=folder, recipe=TINY)


# -- labels and splits ---------------------------------------------------------------------


def test_label_cells_are_kadids() -> None:
    cells = label_cells()
    assert len(cells) == 125
    assert set(cells) == {(name, level) for name in DISTORTIONS for level in LEVELS}
    assert cells["gaussian_blur", 1] == 4.6122
    assert cells["jpeg", 4] == 1.9454
    assert cells["mean_shift", 3] == 4.603
    assert cells["contrast_change", 5] == 3.3238
    assert 1 <= min(cells.values()) < 1.4
    assert 4.6 < max(cells.values()) <= 5


def test_fulfils_the_contract(data: EmbeddedDataset) -> None:
    contract: Dataset = data
    assert isinstance(contract, Dataset)
    assert contract.card.label_kind.startswith("proxy")
    assert contract.card.higher_is_better
    assert contract.card.image_size == (32, 40)
    assert len(contract.sha256) == 64


def test_every_axis_has_its_values(data: EmbeddedDataset) -> None:
    parts: dict[Split, set[str]] = {
        "train": {"coffee", "rocket"},
        "validation": {"city"},
        "test": {"guitar", "sand"},
    }
    for split, groups in parts.items():
        items = data.items(split)
        assert len(items) == len({item.image_id for item in items}) == 125 * len(groups)
        assert {item.group for item in items} == groups
        assert {item.split for item in items} == {split}
        assert len({item.attributes["distortion"] for item in items}) == 25
        assert {item.attributes["level"] for item in items} == {"1", "2", "3", "4", "5"}


def test_reference_comes_before_its_versions(data: EmbeddedDataset) -> None:
    pixels = data.pixels("test")
    assert pixels.shape == (2, 126, 3, 32, 40)
    for row, crop in enumerate(TINY.crops[3:]):
        np.testing.assert_array_equal(pixels[row, 0].transpose(1, 2, 0), take(crop, 32, 40))
    last = data.load(data.items("test")[-1])
    np.testing.assert_array_equal(pixels[1, 125].astype(np.float32) / 255, last.image)


# -- pixels --------------------------------------------------------------------------------


def test_load_gives_pair(data: EmbeddedDataset) -> None:
    wanted = ("jpeg", "5")
    for item in data.items("test"):
        if (item.attributes["distortion"], item.attributes["level"]) != wanted:
            continue
        pair = data.load(item)
        assert pair.reference is not None
        assert pair.image.shape == pair.reference.shape == (3, 32, 40)
        assert pair.image.dtype == pair.reference.dtype == np.float32
        assert 0 <= pair.image.min() < pair.image.max() <= 1
        assert np.abs(pair.image - pair.reference).mean() > 0.01
        crop = next(c for c in TINY.crops if c.name == item.reference_id)
        whole = take(crop, 32, 40).transpose(2, 0, 1).astype(np.float32) / 255
        np.testing.assert_array_equal(pair.reference, whole)


def test_image_and_label_belong_together(data: EmbeddedDataset) -> None:
    """The slot of every item holds that item's distortion, recomputed on its own."""
    crop = TINY.crops[3]
    alone = distort_all(crop, 32, 40)
    for slot, item in enumerate((i for i in data.items("test") if i.group == "guitar"), start=1):
        np.testing.assert_array_equal(data.load(item).image, alone[slot].astype(np.float32) / 255)
        cell = item.attributes["distortion"], int(item.attributes["level"])
        assert item.mos == label_cells()[cell]


def test_how_many_processes_make_them_changes_no_pixel() -> None:
    both = Recipe(TINY.crops[:2], 32, 40)
    np.testing.assert_array_equal(generate(both, jobs=2), generate(both))


def test_pixels_do_not_depend_on_order_or_company() -> None:
    both = Recipe(TINY.crops[:2], 32, 40)
    turned = Recipe(TINY.crops[1::-1], 32, 40)
    np.testing.assert_array_equal(generate(both), generate(turned)[::-1])


def test_mirrored_crop_is_a_mirror() -> None:
    plain, mirrored = Crop("rocket", 48), Crop("rocket", 48, mirrored=True)
    np.testing.assert_array_equal(take(plain, 32, 40)[:, ::-1], take(mirrored, 32, 40))


def test_unknown_image_and_cell_are_named(data: EmbeddedDataset) -> None:
    good = data.items("test")[0]
    odd = Item("x/1", good.reference_id, "g", 3.0, "test", {"distortion": "fog", "level": "1"})
    with pytest.raises(ImageError, match=r"x/1: expected an embedded image, found"):
        data.load(odd)
    stranger = Item("y/1", "nowhere", "g", 3.0, "test", good.attributes)
    with pytest.raises(ImageError, match="nowhere: expected a reference"):
        data.load(stranger)
    with pytest.raises(ImageError, match=r"expected one of 2 x 2 windows, found \(0, 5\)"):
        take(Crop("sand", 48, column=5), 32, 40)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.datasets.photographs.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"skimage/data/coffee.png: expected an installed package"):
        photograph_path("coffee")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("skimage.data._fetchers._fetch", refuse)
    recipe = Recipe((Crop("haze", 24), Crop("dog", 24)), 16, 24)
    assert len(embedded(folder=tmp_path, recipe=recipe).items("test")) == 125
    for photograph in PHOTOGRAPHS:
        assert photograph_path(photograph).is_file()


# -- cache ---------------------------------------------------------------------------------


def test_second_opening_reads_the_same(
    folder: Path, data: EmbeddedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.datasets.embedded.distort_all", None)
    again = embedded(folder=folder, recipe=TINY)
    assert again.sha256 == data.sha256


def test_cache_folder_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "here"))
    embedded(recipe=Recipe(TINY.crops[:1], 16, 16))
    assert {path.suffix for path in (tmp_path / "here").iterdir()} == {".npy", ".json"}


def test_key_follows_recipe_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {TINY.key(), Recipe(TINY.crops, 32, 48).key(), Recipe(TINY.crops[:2], 32, 40).key()}
    assert len(keys) == 3
    monkeypatch.setattr("bench.datasets.embedded.version", lambda name: "0")
    assert TINY.key() not in keys


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".npy", lambda data: data[: len(data) // 2]),
        (".npy", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        (".npy", lambda data: b""),
        (".json", lambda data: data[:20]),
        (".json", lambda data: b"[]"),
    ],
)
def test_damaged_cache_is_made_again(tmp_path: Path, suffix: str, damage: object) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 20)
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return array

    first = stored(tmp_path, "x", "k" * 64, make)
    target = next(path for path in tmp_path.iterdir() if path.suffix == suffix)
    content = target.read_bytes()
    target.unlink()
    target.write_bytes(damage(content))  # type: ignore[operator]
    second = stored(tmp_path, "x", "k" * 64, make)
    assert len(made) == 2
    assert first.sha256 == second.sha256 == digest(array)
    np.testing.assert_array_equal(second.array, array)


def test_writers_side_by_side(tmp_path: Path) -> None:
    array = np.arange(200_000, dtype=np.uint8).reshape(4, -1)
    gate = threading.Barrier(6)
    found: list[str] = []

    def write() -> None:
        def make() -> np.ndarray:
            gate.wait()
            return array

        found.append(stored(tmp_path, "x", "k" * 64, make).sha256)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert found == [digest(array)] * 6
    assert len(list(tmp_path.iterdir())) == 2
