"""What is cached is what was made: under its key, whole, and made once."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.base.cache import Cache, Stored, content_key, digest, source_sha256, stored


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


def test_two_keys_with_one_beginning_never_share_an_array(tmp_path: Path) -> None:
    """A file's name has sixteen letters of a key; the note beside it has all."""
    one, other = "f" * 16 + "1" * 48, "f" * 16 + "2" * 48
    cache = Cache(tmp_path)
    for key, value in ((one, 1.5), (other, 2.5), (one, 1.5)):
        assert cache.array(key, Maker(value))[0, 0] == value


class Executed:
    """Leaves a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def test_a_planted_pickle_is_made_again_and_never_opened(tmp_path: Path) -> None:
    cache, key, mark = Cache(tmp_path / "cache"), content_key(a=1), tmp_path / "mark"
    cache.array(key, Maker())
    (file,) = tmp_path.rglob("*.npy")
    np.save(file, np.array([Executed(mark)], dtype=object), allow_pickle=True)
    assert np.array_equal(cache.array(key, Maker()), np.full((2, 3), 1.5))
    assert not mark.exists()
    np.save(file, np.array([Executed(mark)], dtype=object), allow_pickle=True)
    np.load(file, allow_pickle=True)
    assert mark.exists(), "the mark works"


def test_a_digest_is_of_shape_and_bytes(tmp_path: Path) -> None:
    flat = np.arange(6.0)
    expected = hashlib.sha256(b"[2, 3]" + flat.tobytes()).hexdigest()
    assert digest(flat.reshape(2, 3)) == expected != digest(flat.reshape(3, 2))
    assert digest(flat.reshape(3, 2).T.copy()) == digest(flat.reshape(3, 2).T), "in any memory"
    found = stored(tmp_path, "name", "k" * 64, lambda: flat.reshape(2, 3))
    assert found.sha256 == expected
    with pytest.raises(FrozenInstanceError):
        found.sha256 = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Cache(tmp_path).folder = tmp_path / "other"  # type: ignore[misc]
    assert Cache(tmp_path) == Cache(tmp_path) in {Cache(tmp_path)} and isinstance(found, Stored)


def test_the_digest_of_modules_is_that_of_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order, each once; a module without a file counts by its name."""
    for name, text in (("first_of_two", "a = 1\n"), ("second_of_two", "b = 2\n")):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "folder_of_none").mkdir()  # a package without a file of its own
    monkeypatch.syspath_prepend(tmp_path)
    both = hashlib.sha256(b"a = 1\nb = 2\n").hexdigest()
    assert source_sha256("second_of_two", "first_of_two", "second_of_two") == both
    for absent in ("folder_of_none", "not_here_at_all"):
        expected = hashlib.sha256(b"a = 1\n" + absent.encode()).hexdigest()
        expected_before = hashlib.sha256(absent.encode() + b"a = 1\n").hexdigest()
        found = source_sha256(absent, "first_of_two")
        assert found == (expected if absent > "first_of_two" else expected_before)
    assert "first_of_two" not in sys.modules, "read, not imported"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "weights gone": lambda path: path.unlink(),
    "weights cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "notes gone": lambda path: path.with_suffix(".json").unlink(),
    "notes cut short": lambda path: path.with_suffix(".json").write_text("{"),
    "notes of another form": lambda path: path.with_suffix(".json").write_text("[1]"),
    "notes without a digest": lambda path: path.with_suffix(".json").write_text('{"seconds": 1}'),
    "a folder for weights": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_is_whole_or_it_is_not(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    paths = [cache.save_state(key, {"w": torch.ones(2)}, {"seconds": 1.5}) for key in "ab"]
    assert cache.whole("a") and cache.whole("b") and not cache.whole("c")
    DAMAGES[damage](paths[0])
    assert not cache.whole("a") and cache.whole("b")


def test_parts_and_unfinished_trainings_lie_apart_by_key_and_phase(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    places = [cache.state_path(key) for key in "ab"]
    places += [cache.checkpoint_path(key, phase) for key in "ab" for phase in ("one", "two")]
    assert len(set(places)) == 6 and all(place.is_relative_to(tmp_path) for place in places)
    path = cache.save_state("a", {"w": torch.ones(2)}, {})
    notes = json.loads(path.with_suffix(".json").read_text())
    assert notes == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_state_comes_with_its_notes(tmp_path: Path) -> None:
    from iqa_models.weights import load_state

    cache = Cache(tmp_path)
    path = cache.save_state("k", {"w": torch.arange(6.0).reshape(2, 3).T}, {"seconds": 1.5})
    assert path == cache.state_path("k")
    assert torch.equal(load_state(path)["w"], torch.arange(6.0).reshape(2, 3).T)
    assert cache.notes("k")["seconds"] == 1.5 and cache.whole("k")


@pytest.mark.parametrize("damage", [None, "", "[]", '{"key": "other", "text": "x"}', '{"key": 1}'])
def test_words_are_made_once_and_again_where_they_are_damaged(
    damage: str | None, tmp_path: Path
) -> None:
    cache, made = Cache(tmp_path), []

    def make() -> str:
        made.append(1)
        return "so it is"

    assert cache.text("key", make) == cache.text("key", make) == "so it is" and len(made) == 1
    assert cache.text("another", make) == "so it is" and len(made) == 2
    if damage is not None:
        (tmp_path / "texts" / "key.json").write_text(damage)
    assert cache.text("key", make) == "so it is" and len(made) == (2 if damage is None else 3)
