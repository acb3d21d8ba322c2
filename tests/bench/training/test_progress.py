"""A training that was cut gives the same numbers as one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.datasets.embedded import Recipe, embedded
from bench.datasets.photographs import CROPS, Crop
from bench.training.compact import Settings as CompactSettings
from bench.training.compact import agreement, pretrain, train
from bench.training.compact_data import CELLS, Images, batches, gather, training_crops
from bench.training.denoisers import (
    SIGMAS,
    Judge,
    Settings,
    improve,
    pixel_judge,
    pixel_loss,
    score_judge,
    score_loss,
)
from bench.training.progress import Resumable
from defenses.networks import DnCNN
from iqa_models.plugin import load, model_plugin

TINY = Recipe((Crop("coffee", 96), Crop("dog", 96), Crop("city", 96)), 96, 96)
BRIEF = Settings(width=8, depth=2, epochs=3, references=2, siblings=25)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Images]:
    data = embedded(folder=tmp_path_factory.mktemp("cache"), recipe=TINY)
    return {"train": gather(data, "train"), "validation": gather(data, "validation")}


def denoiser() -> nn.Module:
    torch.manual_seed(0)
    return DnCNN(width=8, depth=2, stride=4)


def cut_after(epochs: int, judge: Judge) -> Judge:
    """Stop like a power cut when the epoch after those is judged."""
    calls: list[int] = []

    def counting(module: nn.Module) -> list[float]:
        calls.append(1)
        if len(calls) > epochs + 1:  # the first is of the start
            raise KeyboardInterrupt
        return judge(module)

    return counting


def test_parts_come_back(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    progress = Resumable(tmp_path / "there" / "x.pt", {"module": module})
    assert progress.load() == {}
    before = module.weight.detach().clone()
    progress.save({"curve": [0.5], "best": module.state_dict()})
    nn.init.zeros_(module.weight)
    assert progress.load()["curve"] == [0.5]
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_cut_denoiser_goes_on(parts: dict[str, Images], tmp_path: Path, epochs: int) -> None:
    judge = pixel_judge(parts["validation"])
    whole, cut = denoiser(), denoiser()
    straight = improve(whole, parts["train"], BRIEF, pixel_loss, judge, tmp_path / "whole.pt")
    path = tmp_path / "cut.pt"
    with pytest.raises(KeyboardInterrupt):
        improve(cut, parts["train"], BRIEF, pixel_loss, cut_after(epochs, judge), path)
    resumed = denoiser()
    curve = improve(resumed, parts["train"], BRIEF, pixel_loss, judge, path)
    assert [e["validation"] for e in curve] == [e["validation"] for e in straight]
    assert [e["loss"] for e in curve] == [e["loss"] for e in straight]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_best_epoch_is_kept(parts: dict[str, Images], tmp_path: Path) -> None:
    """Of the start and three epochs the judge likes the second epoch."""
    seen: list[dict[str, torch.Tensor]] = []

    def judge(module: nn.Module) -> list[float]:
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return [[0.0, 1.0], [1.0, 2.0], [4.0, 0.0], [2.0, 1.0]][len(seen) - 1]

    module = denoiser()
    improve(module, parts["train"], BRIEF, pixel_loss, judge, tmp_path / "x.pt")
    for name, value in module.state_dict().items():
        assert torch.equal(value, seen[2][name])
        assert name.endswith("bias") or not torch.equal(value, seen[3][name])


def test_a_training_that_makes_it_worse_leaves_the_start(
    parts: dict[str, Images], tmp_path: Path
) -> None:
    figures = iter([[2.0, 2.0], [1.0, 2.0], [0.0, 3.0], [1.0, 1.0]])
    module, start = denoiser(), denoiser().state_dict()
    curve = improve(
        module, parts["train"], BRIEF, pixel_loss, lambda _: next(figures), tmp_path / "x.pt"
    )
    assert len(curve) == 3
    assert all(torch.equal(value, start[name]) for name, value in module.state_dict().items())


def test_pixels_are_learnt(parts: dict[str, Images], tmp_path: Path) -> None:
    """Better than grey at every level, and than networks that subtract, which stay at .87 or above
    of the best linear guess's error at sigma .1."""
    judge = pixel_judge(parts["validation"])
    settings = replace(BRIEF, epochs=12, rate=3e-3)
    module = denoiser()
    with torch.no_grad():
        before = judge(module)
    curve = improve(module, parts["train"], settings, pixel_loss, judge, tmp_path / "x.pt")
    assert len(before) == len(SIGMAS) == 3
    assert all(after > first for after, first in zip(curve[-1]["validation"], before, strict=True))
    assert all(after > -0.82 for after in curve[-1]["validation"])


@pytest.mark.parametrize("name", ["koncept", "lpips"])
def test_scores_are_learnt_through_the_model(
    parts: dict[str, Images], tmp_path: Path, name: str
) -> None:
    """The loss falls, and the frozen model is the same afterwards."""
    model = load(name)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    settings, loss = replace(BRIEF, epochs=4, rate=3e-3), score_loss(model, parts["train"])
    curve = improve(denoiser(), parts["train"], settings, loss, lambda _: [0.0], tmp_path / "x.pt")
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_scores_are_judged_as_correlations(parts: dict[str, Images]) -> None:
    """Without any noise taken away, more of it never helps a model that judges by reference."""
    with torch.no_grad():
        figures = score_judge(load("lpips"), parts["validation"])(Unchanged())
    assert 0.99 > figures[0] > figures[1] > figures[2] > -0.99


class Unchanged(nn.Module):
    """A denoiser that does nothing."""

    def forward(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy


def test_a_cut_model_goes_on(parts: dict[str, Images], tmp_path: Path) -> None:
    settings = CompactSettings(first_epochs=1, epochs=2, references=2, siblings=25)
    trunk = pretrain(parts["train"], settings, tmp_path)
    again = pretrain(parts["train"], settings, tmp_path)
    states = zip(trunk.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    torch.manual_seed(1)
    model = model_plugin("koncept").architecture("compact")
    curve = train(model, trunk, parts, settings, tmp_path)
    again_model = model_plugin("koncept").architecture("compact")
    assert train(again_model, trunk, parts, settings, tmp_path) == curve
    assert len(curve) == 2
    reached = agreement(model, parts["validation"])
    assert agreement(again_model, parts["validation"]) == reached


def test_training_crops_leave_the_test_photographs_alone() -> None:
    crops = training_crops()
    assert {crop.split for crop in crops} == {"train", "validation"}
    assert sum(crop.split == "train" for crop in crops) > 200
    held_out = [crop for crop in CROPS if crop.split == "validation"]
    assert [crop for crop in crops if crop.split == "validation"] == held_out


def test_batches_pair_images_with_their_own_reference(parts: dict[str, Images]) -> None:
    """Brightening cell by cell: what is flipped and recoloured is so together."""
    images = parts["train"]
    for references, distorted, cells, place in batches(images, references=2, siblings=5, seed=3):
        assert references.shape == (2, 3, 96, 96)
        assert distorted.shape == (10, 3, 96, 96)
        assert place.tolist() == [0] * 5 + [1] * 5
        assert int(cells.max()) < CELLS
        mild = (cells % 5 == 0) & (cells // 5 == 0)  # a blur that is hardly one
        for row in torch.nonzero(mild).flatten():
            assert float((distorted[row] - references[place[row]]).abs().mean()) < 0.01
