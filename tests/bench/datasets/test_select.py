"""Selection by design: every prefix is balanced, smaller choices begin larger ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product

import pytest

from bench.datasets import Item, select
from bench.datasets.base import Split

TYPES, LEVELS = [f"type{n}" for n in range(25)], ["1", "2", "3", "4", "5"]


def design(groups: int, crops: int = 2, split: Split = "test") -> list[Item]:
    """Every type at every level on some crops of each photograph."""
    return [
        Item(
            f"{g}-{c}/{kind}/{level}",
            f"{g}-{c}",
            f"photo{g}",
            5.0 - int(level),
            split,
            {"distortion": kind, "level": level},
        )
        for g, c, kind, level in product(range(groups), range(crops), TYPES, LEVELS)
    ]


def plain(groups: int, each: int) -> list[Item]:
    """Items of a plain data set: no reference, no attributes, MOS spread evenly."""
    return [
        Item(f"{g}/{i}", None, f"g{g}", (i * groups + g) / (groups * each), "test")
        for g in range(groups)
        for i in range(each)
    ]


AXES: dict[str, Callable[[Item], str]] = {
    "photograph": lambda item: item.group,
    "type": lambda item: item.attributes["distortion"],
    "level": lambda item: item.attributes["level"],
}


@pytest.mark.parametrize("seed", [2025, 7])
@pytest.mark.parametrize("axis", list(AXES))
def test_every_prefix_is_balanced(axis: str, seed: int) -> None:
    """Give or take one, for each of the first 500 numbers of images."""
    items, of = design(groups=10), AXES[axis]
    served = Counter(dict.fromkeys(map(of, items), 0))
    for chosen in select(items, limit=500, seed=seed):
        served[of(chosen)] += 1
        assert max(served.values()) - min(served.values()) <= 1


@pytest.mark.parametrize("seed", [2025, 7])
def test_fifty_images_of_ten_photographs(seed: int) -> None:
    chosen = select(design(groups=10), limit=50, seed=seed)
    counts = {name: set(Counter(map(of, chosen)).values()) for name, of in AXES.items()}
    assert counts == {"photograph": {5}, "type": {2}, "level": {10}}
    levels = Counter((item.attributes["distortion"], item.attributes["level"]) for item in chosen)
    assert len(levels) >= 48  # nearly every type at two different levels
    crops = Counter(item.reference_id for item in chosen)
    assert (min(crops.values()), max(crops.values())) == (2, 3)


def test_pairs_are_spread() -> None:
    """300 images meet nearly every cell, and each type on nearly every photograph."""
    chosen = select(design(groups=10), limit=300, seed=2025)
    cells = Counter((i.attributes["distortion"], i.attributes["level"]) for i in chosen)
    places = Counter((i.attributes["distortion"], i.group) for i in chosen)
    assert len(cells) == 125
    assert max(cells.values()) <= 4
    assert len(places) >= 225


def test_choices_are_nested_reproducible_and_independent_of_order() -> None:
    items = design(groups=3)
    long = ids(select(items, limit=60, seed=3))
    assert ids(select(items, limit=40, seed=3)) == long[:40]
    assert ids(select(items[::-1], limit=60, seed=3)) == long
    assert ids(select(items, limit=60, seed=4)) != long
    assert len(set(long)) == 60


@pytest.mark.parametrize(("groups", "each"), [(60, 1), (4, 15)])
def test_works_without_attributes(groups: int, each: int) -> None:
    chosen = select(plain(groups, each), limit=20, seed=0)
    assert max(Counter(item.group for item in chosen).values()) == max(1, 20 // groups)
    tenths = Counter(min(9, int(item.mos * 10)) for item in chosen)
    assert set(tenths.values()) <= {1, 2, 3}
    assert len(tenths) == 10


def test_limits() -> None:
    items = plain(3, 4)
    assert select(items, limit=None, seed=0) == items
    assert set(ids(select(items, limit=99, seed=0))) == set(ids(items))
    assert select(items, limit=0, seed=0) == []
    with pytest.raises(ValueError, match="must not be negative"):
        select(items, limit=-1, seed=0)


def ids(items: Sequence[Item]) -> list[str]:
    return [item.image_id for item in items]


def test_any_named_attribute_is_served_alike() -> None:
    """Nine of ten pictures are of one camera; a balanced choice takes as many of the other."""
    items = [
        Item(str(i), None, str(i), float(i), "test", {"camera": "old" if i % 10 else "new"})
        for i in range(60)
    ]
    plain = select(items, limit=12, seed=0)
    chosen = select(items, limit=12, seed=0, balance=("camera",))
    assert sum(item.attributes["camera"] == "new" for item in chosen) == 6
    assert sum(item.attributes["camera"] == "new" for item in plain) < 6
    assert select(items, limit=5, seed=0, balance=("camera",)) == chosen[:5]
    assert select(items, limit=12, seed=0, balance=("lens",)) == plain
