"""The shipped photographs: their split, their pixels, their attribution."""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.resources import files
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets import photographs
from bench.datasets.photographs import (
    CROPS,
    PHOTOGRAPHS,
    Crop,
    photograph_path,
    photograph_sha256,
    take,
    windows,
)

OWN = [p for p in PHOTOGRAPHS.values() if p.package == "bench"]
ROOT = Path(__file__).parents[3]


def in_split(split: str) -> set[str]:
    return {name for name, photograph in PHOTOGRAPHS.items() if photograph.split == split}


def test_split_is_the_order_of_the_digests() -> None:
    """Ten for test, four for validation: nobody chose which."""
    order = sorted(OWN, key=lambda photograph: photograph.source_sha256)
    assert [p.name for p in order] == [p.name for p in OWN]
    assert [p.split for p in order] == ["test"] * 10 + ["validation"] * 4 + ["train"] * 8


def test_no_photograph_twice() -> None:
    digests = {photograph_sha256(name) for name in PHOTOGRAPHS}
    assert len(digests) == len(PHOTOGRAPHS) == 31
    assert len({p.source_sha256 for p in OWN}) == 22


def test_what_is_tested_does_not_depend_on_other_packages() -> None:
    assert in_split("test") | in_split("validation") <= {p.name for p in OWN}
    assert len(in_split("train")) == 17


def test_each_photograph_gives_two_crops() -> None:
    assert len({crop.name for crop in CROPS}) == len(CROPS) == 62
    made = {crop.name: take(crop, 96, 128) for crop in CROPS}
    assert len({pixels.tobytes() for pixels in made.values()}) == len(CROPS)
    assert {pixels.shape for pixels in made.values()} == {(96, 128, 3)}
    assert Counter(crop.photograph for crop in CROPS) == dict.fromkeys(PHOTOGRAPHS, 2)


@pytest.mark.parametrize("name", sorted(in_split("test") | in_split("validation")))
def test_crops_for_test_are_cut_without_resampling(name: str) -> None:
    with Image.open(photograph_path(name)) as picture:
        assert picture.size == (144, 144)
        whole = np.asarray(picture.convert("RGB"))
    first, second = (take(crop, 96, 128) for crop in CROPS if crop.photograph == name)
    np.testing.assert_array_equal(first, whole[:96, :128])
    np.testing.assert_array_equal(second, whole[48:, 16:])


@pytest.mark.parametrize(
    ("side", "rows", "columns"), [(128, 2, 1), (144, 2, 2), (192, 2, 2), (300, 4, 3)]
)
def test_windows_reach_from_edge_to_edge(side: int, rows: int, columns: int) -> None:
    found = windows("dog", side, 96, 128)
    assert [(c.row, c.column) for c in found] == list(product(range(rows), range(columns)))
    with Image.open(photograph_path("dog")) as picture:
        whole = np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(take(found[0], 96, 128), whole[:96, :128])
    np.testing.assert_array_equal(take(found[-1], 96, 128), whole[-96:, -128:])


def test_too_small_a_photograph_has_no_window() -> None:
    assert windows("dog", 100, 96, 128) == []


def test_pixels_are_those_that_were_shipped() -> None:
    """Lossless decoding is the same everywhere: one digest over all our pictures."""
    found = hashlib.sha256()
    for photograph in sorted(OWN, key=lambda p: p.name):
        with Image.open(photograph_path(photograph.name)) as picture:
            found.update(np.asarray(picture.convert("RGB")).tobytes())
    assert found.hexdigest() == "26b010b7b8f6aaf3cf2c998239eb9349b511e436b673579763d7852cbe071498"


def test_unknown_photograph_is_named() -> None:
    with pytest.raises(BenchError, match="expected a photograph 'fog', found none"):
        take(Crop("fog"), 96, 128)


@pytest.mark.parametrize("document", ["docs/datasets.md", "results/README.md"])
def test_every_photograph_is_credited(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for p in PHOTOGRAPHS.values():
        assert f"| {p.name} | {p.split} | {p.licence} |" in text
        assert p.source in text


def test_licence_is_shipped_beside_the_pictures() -> None:
    folder = files("bench.datasets") / "pictures"
    assert "CC0 1.0 Universal" in (folder / "LICENSE").read_text(encoding="utf-8")
    shipped = {entry.name for entry in folder.iterdir()} - {"LICENSE"}
    assert shipped == {Path(p.path).name for p in OWN}
    assert photographs.SIDE == 144
