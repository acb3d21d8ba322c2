"""Anybody's table: direction, range, splits, sizes, and every way an image can be unusable."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets import ImageError, Item
from bench.datasets.folder import FolderDataset
from bench.datasets.images import Decoding, open_rgb
from bench.datasets.table import find_table, open_table

TOML = """
name = "mine"
title = "My pictures"
csv = "scores.csv"
images = "pictures"
image_column = "file"
mos_columns = ["dmos"]
higher_is_better = false
range = [0, 100]
licence = "mine"
citation = "me"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    rows = ["file,ref,dmos,second,scene,part"]
    for index in range(10):
        picture = Image.new("RGB", (40 + index, 30), (10 * index, 0, 0))
        picture.save(tmp_path / "pictures" / f"p{index}.png")
        part = "test" if index in (8, 9) else "Train"
        rows.append(f"p{index}.png,p{index // 5}.png,{index * 10},{index},s{index // 2},{part}")
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def opened(folder: Path, extra: str = "", text: str = TOML) -> FolderDataset:
    (folder / "dataset.toml").write_text(text + extra, encoding="utf-8")
    data = open_table(folder / "dataset.toml")
    assert isinstance(data, FolderDataset)
    return data


def items(data: FolderDataset) -> dict[str, Item]:
    return {i.image_id: i for s in ("train", "validation", "test") for i in data.items(s)}


# -- meaning of the scores -------------------------------------------------------------------


def test_dmos_is_turned_around_inside_its_range(folder: Path) -> None:
    found = items(opened(folder))
    assert (found["p0.png"].mos, found["p9.png"].mos) == (100.0, 10.0)
    upright = items(opened(folder, text=TOML.replace("= false", "= true")))
    assert (upright["p0.png"].mos, upright["p9.png"].mos) == (0.0, 90.0)


def test_raters_are_averaged(folder: Path) -> None:
    text = TOML.replace('["dmos"]', '["dmos", "second"]')
    assert items(opened(folder, text=text))["p2.png"].mos == pytest.approx(100 - 11)


def test_scores_outside_the_declared_range_are_refused(folder: Path) -> None:
    with pytest.raises(BenchError, match=r"line 8: expected a score in 0\.\.50, found 60"):
        opened(folder, text=TOML.replace("100]", "50]"))


# -- splits ------------------------------------------------------------------------------------


def test_eighty_twenty_with_a_recorded_seed(folder: Path) -> None:
    data = opened(folder)
    assert (len(data.items("train")), len(data.items("test"))) == (8, 2)
    assert data.card.label_kind == "MOS; 80/20 split by image, seed 2025"
    other = opened(folder, "split_seed = 4\n")
    assert "seed 4" in other.card.label_kind
    assert other.sha256 != data.sha256


def test_no_group_is_divided(folder: Path) -> None:
    data = opened(folder, 'group_column = "scene"\ntest_share = 0.4\n')
    train, test = ({i.group for i in data.items(s)} for s in ("train", "test"))
    assert (len(train), len(test)) == (3, 2)
    assert not train & test


def test_named_split(folder: Path) -> None:
    data = opened(folder, 'split_column = "part"\n')
    assert [i.image_id for i in data.items("test")] == ["p8.png", "p9.png"]
    with pytest.raises(BenchError, match=r"expected every group in one split, found p1\.png"):
        extra = 'split_column = "part"\nreference_column = "ref"\n'
        opened(folder, extra)
    with pytest.raises(BenchError, match="expected train, validation or test in 'scene'"):
        opened(folder, 'split_column = "scene"\n')


def test_full_reference_is_split_by_reference(folder: Path) -> None:
    data = opened(
        folder,
        'reference_column = "ref"\ntest_share = 0.5\nsize_policy = "crop"\nsize = [30, 40]\n',
    )
    assert data.card.has_references
    assert {len({i.group for i in data.items(s)}) for s in ("train", "test")} == {1}
    pair = data.load(items(data)["p6.png"])
    assert pair.reference is not None
    assert pair.image.shape == pair.reference.shape == (3, 30, 40)


def test_a_reference_of_another_size_fails_its_images(folder: Path) -> None:
    data = opened(folder, 'reference_column = "ref"\n')
    with pytest.raises(ImageError, match=r"p1\.png: expected the size of its reference, 30 x 40"):
        data.load(items(data)["p1.png"])


# -- the description ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("colour = 1\n", "colour: expected a known setting"),
        ('size_policy = "crop"\n', "size together with size_policy"),
        ('kind = "film"\n', "kind: expected 'table' or 'pristine', found 'film'"),
        ('group_column = "who"\n', "expected the column 'who'"),
    ],
)
def test_mistakes_get_one_sentence(folder: Path, extra: str, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        opened(folder, extra)
    assert "\n" not in str(caught.value)


def test_direction_has_no_default(folder: Path) -> None:
    text = TOML.replace("higher_is_better = false\n", "")
    with pytest.raises(BenchError, match="higher_is_better: expected a value, found nothing"):
        opened(folder, text=text)


def test_found_below_bench_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder)
    monkeypatch.setenv("BENCH_DATA", str(folder))
    assert find_table("dataset.toml") == folder / "dataset.toml"
    with pytest.raises(BenchError, match=r"absent\.toml: expected a data set's TOML file"):
        open_table(find_table("absent.toml"))


def test_the_registry_opens_it(folder: Path) -> None:
    from bench.plugins.registry import Registry

    opened(folder)
    assert Registry.open().dataset(str(folder / "dataset.toml")).name == "mine"


# -- images --------------------------------------------------------------------------------------


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be huge and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def unusable(path: Path, case: str) -> Path:
    file = path / f"{case}.png"
    if case == "cmyk":
        file = path / "cmyk.jpg"
        Image.new("CMYK", (8, 8)).save(file)
    elif case == "sixteen":
        Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(file)
    elif case == "alpha":
        Image.new("RGBA", (8, 8), (1, 2, 3, 100)).save(file)
    elif case == "dot":
        Image.new("RGB", (1, 1)).save(file)
    elif case == "bomb":
        file.write_bytes(png_header(9000, 9000))
    elif case == "monster":
        file.write_bytes(png_header(60000, 60000))
    elif case == "cut":
        Image.fromarray(noise(64, 64)).save(file)
        file.write_bytes(file.read_bytes()[:4000])
    elif case == "text":
        file.write_text("<html>", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("cmyk", "expected 8-bit RGB or gray, found Pillow mode CMYK"),
        ("sixteen", "expected 8-bit RGB or gray, found Pillow mode I;16"),
        ("alpha", "expected an opaque picture, found a partly transparent one"),
        ("dot", "expected at least 2 x 2 pixels, found 1 x 1"),
        ("bomb", "expected at most 64,000,000 pixels, found 9000 x 9000"),
        ("monster", "expected at most 64,000,000 pixels, found far more"),
        ("cut", "expected a whole image file, found a damaged one"),
        ("text", "expected an image file, found something that is not an image"),
        ("absent", "expected an image file, found no such file"),
    ],
)
def test_unusable_images_say_why(tmp_path: Path, case: str, words: str) -> None:
    path = unusable(tmp_path, case)
    with pytest.raises(ImageError, match="^here: " + words) as caught:
        open_rgb(path, name="here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA"])
def test_other_8_bit_pictures_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.fromarray(np.full((6, 7, 3), 255, np.uint8)).convert(mode).save(tmp_path / "x.png")
    planes = Decoding().read(tmp_path / "x.png", name="x")
    assert planes.shape == (3, 6, 7)
    assert (planes == 1).all()


def test_sizes(tmp_path: Path) -> None:
    pixels = noise(40, 60)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    read = Decoding("crop", (20, 30)).read(tmp_path / "x.png", name="x")
    assert (np.rint(read * 255).transpose(1, 2, 0) == pixels[10:30, 15:45]).all()
    for policy, size in (("crop", (50, 50)), ("resize", (12, 70))):
        assert Decoding(policy, size).read(tmp_path / "x.png", name="x").shape == (3, *size)  # type: ignore[arg-type]


def test_orientation_is_ignored_unless_asked_for(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(20, 30))
    exif = picture.getexif()
    exif[274] = 6
    picture.save(tmp_path / "x.jpg", exif=exif)
    assert Decoding().read(tmp_path / "x.jpg", name="x").shape == (3, 20, 30)
    turned = Decoding(exif_orientation=True).read(tmp_path / "x.jpg", name="x")
    assert turned.shape == (3, 30, 20)
