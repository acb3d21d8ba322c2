"""What workers load: passes over many images stay within a CPU's memory."""

from __future__ import annotations

import numpy as np

from bench.datasets import Pair
from bench.measure.context import passes
from defenses.engine import CPU_PIXELS


def pair(height: int, width: int) -> Pair:
    return Pair(np.zeros((3, height, width), dtype=np.float32), None)


def test_passes_keep_the_order_and_the_size_of_images_apart() -> None:
    pairs = [pair(32, 32)] * 50 + [pair(384, 512)] * 9 + [pair(32, 48), pair(32, 32)]
    made = list(passes(iter(pairs)))
    assert [len(some) for some in made] == [44, 6, 4, 4, 1, 1, 1]
    assert [one for some in made for one in some] == pairs
    for some in made:
        assert len({one.image.shape for one in some}) == 1
        assert len(some) == 1 or len(some) * some[0].image[0].size <= CPU_PIXELS


def test_one_huge_image_is_a_pass() -> None:
    assert [len(some) for some in passes([pair(2000, 1000)] * 2)] == [1, 1]
    assert list(passes([])) == []
