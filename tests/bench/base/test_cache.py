"""What is cached is what was made: under its key, whole, and made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.base.cache import Cache, content_key


class Maker:
    """Counts how often an array is made."""

    def __init__(self, value: float = 1.5) -> None:
        self.value, self.calls = value, 0

    def __call__(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        self.calls += 1
        return np.full((2, 3), self.value, dtype=np.float32)


def test_an_array_is_made_once_for_each_key(tmp_path: Path) -> None:
    make, other = Maker(), Maker(2.5)
    cache, one, two = Cache(tmp_path), content_key(a=1), content_key(a=2)
    for _ in range(2):
        assert np.array_equal(cache.array(one, make), np.full((2, 3), 1.5))
        assert np.array_equal(cache.array(two, other), np.full((2, 3), 2.5))
    assert make.calls == other.calls == 1
    assert cache.array(one, make).dtype == np.float32


def test_an_array_stays_in_its_file_and_holds_nothing_that_executes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for _ in range(2):
        found = cache.array(content_key(a=1), Maker())
        assert isinstance(found, np.memmap) and not found.flags.writeable
    with pytest.raises(ValueError, match="pickle"):
        cache.array(content_key(a=2), lambda: np.array([object()]))


def test_a_key_is_its_content() -> None:
    assert content_key(a=1, b=[Path("x")]) == content_key(b=["x"], a=1) != content_key(a=1, b=["y"])
    with pytest.raises(ValueError, match="JSON compliant"):
        content_key(a=float("nan"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "other"])
def test_a_damaged_array_is_made_again(tmp_path: Path, damage: str) -> None:
    make, cache, key = Maker(), Cache(tmp_path), content_key(a=1)
    cache.array(key, make)
    (file,) = tmp_path.rglob("*.npy")
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "other":
        np.save(file, np.full((2, 3), 9.0, dtype=np.float32))
    else:
        file.write_bytes(content[:-4] if damage == "cut" else content[:-1] + b"\x7f")
    assert np.array_equal(cache.array(key, make), np.full((2, 3), 1.5))
    assert make.calls == 2 and file.read_bytes() == content


def test_a_state_comes_with_its_notes(tmp_path: Path) -> None:
    from iqa_models.weights import load_state

    cache = Cache(tmp_path)
    path = cache.save_state("k", {"w": torch.arange(6.0).reshape(2, 3).T}, {"seconds": 1.5})
    assert path == cache.state_path("k")
    assert torch.equal(load_state(path)["w"], torch.arange(6.0).reshape(2, 3).T)
    assert cache.notes("k")["seconds"] == 1.5 and cache.whole("k")
