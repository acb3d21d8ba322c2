"""The default's denoisers come with the package, are found by a run, and are what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.base.errors import BenchError
from bench.base.files import file_sha256
from bench.datasets.embedded import embedded
from bench.datasets.photographs import training_sha256
from bench.measure.context import Context, open_context
from bench.measure.stages.fit import take
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.profile import Profile
from bench.plan.units import Plan
from defenses.denoisers import DenoiserPart, ScoreAwareDenoiserPart
from defenses.shipped import Shipped
from iqa_models import names


def context(folder: Path, profile: Profile) -> Context:
    data = {"embedded": embedded().sha256}
    return open_context(Plan(profile, (), (), data), folder=folder)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return context(tmp_path_factory.mktemp("cache"), load_profile("embedded"))


@pytest.mark.parametrize("model", names())
def test_every_model_has_its_denoiser(usual: Context, model: str) -> None:
    found = usual.shipped(ScoreAwareDenoiserPart(), "embedded", model)
    assert found is not None
    assert found.notes["model"] == model
    assert file_sha256(found.path) == found.sha256


def test_all_models_have_one_denoiser_of_pixels(usual: Context) -> None:
    found = usual.shipped(DenoiserPart(), "embedded", None)
    assert found is not None
    assert file_sha256(found.path) == found.sha256


def test_the_key_is_that_of_these_photographs() -> None:
    assert embedded().card.shipped_training == training_sha256()


@pytest.mark.parametrize(
    "changes",
    [{"retrain": True}, {"sigmas": (0.1, 0.2)}],
)
def test_what_was_not_made_for_it_is_trained(tmp_path: Path, changes: dict[str, object]) -> None:
    profile = overridden(load_profile("embedded"), Overrides(**changes))  # type: ignore[arg-type]
    other = context(tmp_path, profile)
    assert other.shipped(DenoiserPart(), "embedded", None) is None


def test_another_network_is_trained(tmp_path: Path) -> None:
    profile = load_profile("embedded")
    wide = profile.fit["denoiser"].model_copy(update={"width": 49})
    fit = {**profile.fit, "denoiser": wide}
    other = context(tmp_path, profile.model_copy(update={"fit": fit}))
    assert other.shipped(DenoiserPart(), "embedded", None) is None


def test_a_run_keeps_what_it_took_and_how_it_was_made(usual: Context) -> None:
    part = DenoiserPart()
    found = usual.shipped(part, "embedded", None)
    assert found is not None
    key = usual.part_key(part, "embedded", None, None)
    take(found, key, usual)
    notes = usual.store.notes(key)
    assert notes["shipped"] is True
    assert (
        len(notes["train_loss"])
        == len(notes["validation_loss"])
        == found.notes["settings"]["epochs"]
    )
    assert notes["seconds"] > 60, "of the training, not of the copy"
    module = usual.restore(part, key, dataset="embedded", model="lpips")
    with torch.no_grad():
        restored = module(torch.full((1, 3, 32, 32), 0.5), 0.25)
    assert restored.shape == (1, 3, 32, 32)


def test_a_damaged_file_is_a_sentence(usual: Context, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"damaged")
    with pytest.raises(BenchError, match="expected the file of SHA-256"):
        take(Shipped(file, "0" * 64, {}), "key", usual)
