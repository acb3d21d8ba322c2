"""The one place that opens weights files refuses everything but whole, fitting, plain tensors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from iqa_models import load, model_plugin, names
from iqa_models.weights import WeightsError, file_sha256, load_into, load_state, save_state, shipped


@pytest.fixture
def module() -> nn.Module:
    return nn.Linear(3, 2)


@pytest.fixture(params=["safetensors", "pth", "wrapped.pth"])
def file(request: pytest.FixtureRequest, tmp_path: Path, module: nn.Module) -> Path:
    path = tmp_path / f"w.{request.param}"
    if path.suffix == ".safetensors":
        save_state(module, path)
    else:
        state: Any = module.state_dict()
        torch.save({"params": state} if "wrapped" in path.name else state, path)
    return path


def test_round_trip(file: Path, module: nn.Module) -> None:
    twin = nn.Linear(3, 2)
    load_into(twin, load_state(file, sha256=file_sha256(file)))
    assert torch.equal(twin.weight, module.get_parameter("weight"))


def test_hash_prefix_is_enough(file: Path) -> None:
    assert set(load_state(file, sha256=file_sha256(file)[:8])) == {"weight", "bias"}


def test_wrong_hash(file: Path) -> None:
    with pytest.raises(WeightsError, match="expected 0000"):
        load_state(file, sha256="0" * 64)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth is missing"):
        load_state(tmp_path / "absent.pth")


def test_web_page(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_text("\n<!DOCTYPE html><html>Quota exceeded</html>", encoding="utf-8")
    with pytest.raises(WeightsError, match="web page"):
        load_state(path)


@pytest.mark.parametrize("keep", [0, 5, 100])
def test_truncated_file(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"truncated|whole"):
        load_state(file)


class Bomb:
    """Leaves a mark if it is ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("plain", [True, False])
def test_pickled_objects_are_not_executed(tmp_path: Path, plain: bool) -> None:
    path, mark = tmp_path / "bomb.pth", tmp_path / "mark"
    if plain:
        path.write_bytes(pickle.dumps({"weight": Bomb(mark)}))
    else:
        torch.save({"weight": Bomb(mark)}, path)
    with pytest.raises(WeightsError, match="not opened"):
        load_state(path)
    assert not mark.exists()


def test_checkpoint_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save([1, 2, 3], path)
    with pytest.raises(WeightsError, match="holds list"):
        load_state(path)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"weight": torch.zeros(2, 3)}, "missing bias"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)},
            "unexpected extra",
        ),
        ({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, "wrong shape weight"),
    ],
)
def test_state_must_fit(module: nn.Module, state: dict[str, torch.Tensor], word: str) -> None:
    with pytest.raises(WeightsError, match=word):
        load_into(module, state, source="file.pth")


@pytest.mark.parametrize("name", names())
def test_shipped_weights_have_the_recorded_hash_and_size(name: str) -> None:
    path, sha256 = shipped(name)
    assert file_sha256(path) == sha256
    assert path.stat().st_size < 2_000_000


def test_published_edition_is_never_random() -> None:
    with pytest.raises(WeightsError, match="published edition"):
        load("lpips", edition="published")


def test_compact_file_does_not_fit_the_published_network() -> None:
    path, _ = shipped("lpips")
    with pytest.raises(WeightsError, match="does not fit LPIPS"):
        model_plugin("lpips").build("published", weights=path)
