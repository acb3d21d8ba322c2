"""A training that is cut goes on where it was, with the very same weights; mixed precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from bench.base.cache import Cache
from bench.measure.checkpoints import CachedCheckpoints
from bench.plan.profile import FitSection
from defenses.base import Part, TrainedPart, TrainingExample, TrainingJob
from defenses.denoisers import DenoiserPart, ScoreAwareDenoiserPart
from defenses.feature_scorer import FeatureScorerPart
from defenses.reference_models import linear_model

SETTINGS = FitSection(
    epochs=4, score_epochs=3, batch=4, learning_rate=1e-2, width=8, depth=2, crop=8, patience=9
)
PARTS = (FeatureScorerPart(), DenoiserPart(), ScoreAwareDenoiserPart())
EPOCHS = {"ftn": 4, "denoiser": 4, "denoiser-iqa": 7}


class CutError(RuntimeError):
    """The power fails."""


def examples(count: int, seed: int) -> list[TrainingExample]:
    source = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 16, 16, generator=source)
    return [TrainingExample(image, image, float(image.mean())) for image in images]


def job(**changes: object) -> TrainingJob:
    """A tiny training with two noise levels for denoisers and one for the FTN."""
    model = linear_model(sigma=0.1)
    sets = {"train": examples(10, 1), "validation": examples(4, 2)}

    @torch.no_grad()
    def features(split: str) -> torch.Tensor:
        return model.bind().features(torch.stack([one.image for one in sets[split]]))

    plain = TrainingJob(
        model=model,
        sigmas=(0.1,),
        train=sets["train"],
        validation=sets["validation"],
        mos_range=(0.0, 1.0),
        settings=SETTINGS,
        seed=5,
        progress=lambda share, text: None,
        device=torch.device("cpu"),
        features=features,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def assert_same(found: TrainedPart, expected: TrainedPart) -> None:
    assert found.train_loss == expected.train_loss
    assert found.validation_loss == expected.validation_loss
    ours, theirs = found.module.state_dict(), expected.module.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_a_cut_training_goes_on_bit_by_bit(part: Part, cut: int, tmp_path: Path) -> None:
    whole = part.train(job())
    assert len(whole.train_loss) == len(whole.validation_loss) == EPOCHS[part.name]
    if cut > EPOCHS[part.name]:
        return
    seen: list[str] = []

    def progress(share: float, text: str) -> None:
        seen.append(text)
        if len(seen) == cut:
            raise CutError

    kept = CachedCheckpoints(Cache(tmp_path), "k" * 64, every=0.0)
    with pytest.raises(CutError):
        part.train(job(checkpoints=kept, progress=progress))
    again = CachedCheckpoints(Cache(tmp_path), "k" * 64, every=0.0)
    assert_same(part.train(job(checkpoints=again, progress=progress)), whole)
    assert len(seen) == EPOCHS[part.name], "an epoch that was kept is not trained twice"


def test_damaged_and_cleared_states_start_over(tmp_path: Path) -> None:
    part, kept = DenoiserPart(), CachedCheckpoints(Cache(tmp_path), "k", every=0.0)
    whole = part.train(job(checkpoints=kept))
    (file,) = (tmp_path / "checkpoints").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert kept.load("pixels") is None
    assert_same(part.train(job(checkpoints=kept)), whole)
    kept.clear()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_quick_epochs_write_nothing(tmp_path: Path) -> None:
    DenoiserPart().train(job(checkpoints=CachedCheckpoints(Cache(tmp_path), "k")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_mixed_precision_learns_the_same_in_float32_weights(part: Part) -> None:
    exact = part.train(job())
    mixed = part.train(job(settings=SETTINGS.model_copy(update={"precision": "bf16"})))
    assert {value.dtype for value in mixed.module.state_dict().values()} <= {
        value.dtype for value in exact.module.state_dict().values()
    }
    assert mixed.train_loss != exact.train_loss
    assert mixed.validation_loss[-1] == pytest.approx(exact.validation_loss[-1], rel=0.1, abs=1e-4)
