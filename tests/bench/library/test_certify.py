"""Certify from Python: every kind of model and picture, one sentence for every mistake."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bench import BenchError, DefendedScore, Rated, as_model, certify, defend, fit_features
from bench.library.progress import silent
from defenses.ms import DEFENSE as MS

RNG = np.random.default_rng(7)
PICTURE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
LARGE = np.tile(PICTURE, (4, 4, 1))
OTHER = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


class Brightness(nn.Module):
    """Mean of two pooled features with a last layer, so that its answer can be worked out."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(12, 1)
        with torch.no_grad():
            self.fc.weight.fill_(1 / 12)
            self.fc.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.fc(self.pool(images).flatten(1))
        return answer


class Distance(nn.Module):
    """Full reference: minus the mean squared difference."""

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        return 1 - (images - references).square().mean((1, 2, 3))


def brightness(**facts: Any) -> Any:
    return as_model(Brightness(), score_range=(0.0, 1.0), **facts)


def test_any_module_is_certified_and_the_answer_is_the_median_of_its_draws() -> None:
    found = certify(brightness(), PICTURE, defense="ms", sigma=0.1, samples=200)
    assert found.samples == len(found.draws) == 200
    assert found.score == np.sort(found.draws)[99]
    assert found.lower is not None and found.upper is not None and found.width is not None
    assert found.lower <= found.score <= found.upper
    assert found.width == found.upper - found.lower
    assert (found.radius, found.rigor, found.claim) == (0.1, "proved", "population")
    assert not found.abstained and found.reason is None
    # Noise of 0.1 on the mean of 2304 values moves it by 0.1 / 48 = 0.002.
    assert found.undefended == pytest.approx(PICTURE.mean() / 255, abs=1e-5)
    assert found.score == pytest.approx(found.undefended, abs=0.002)
    assert found.draws.std() == pytest.approx(0.1 / 48, rel=0.2)


def test_the_result_is_frozen() -> None:
    found = certify(brightness(), PICTURE, sigma=0.1)
    with pytest.raises(FrozenInstanceError):
        found.score = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        found.draws[0] = 1.0


def test_a_network_stays_as_it_was_and_its_copy_is_in_evaluation() -> None:
    network = nn.Sequential(Brightness(), nn.Dropout(0.9)).train()
    found = certify(as_model(network, score_range=(0.0, 1.0)), PICTURE, sigma=0.1)
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert found.undefended == pytest.approx(PICTURE.mean() / 255, abs=1e-5)


@pytest.mark.parametrize(
    "same",
    [
        Image.fromarray(PICTURE),
        torch.from_numpy(PICTURE.transpose(2, 0, 1).copy()),
        torch.from_numpy(PICTURE.transpose(2, 0, 1).copy())[None],
        (PICTURE / np.float32(255)).astype(np.float32),
    ],
)
def test_one_picture_in_every_form_gives_the_same_bits(same: Any) -> None:
    model = brightness()
    assert certify(model, same, sigma=0.2) == certify(model, PICTURE, sigma=0.2)


def test_a_file_gives_the_same_bits(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(file)
    assert certify(brightness(), file, sigma=0.2) == certify(brightness(), PICTURE, sigma=0.2)


def test_other_pixels_have_other_noise() -> None:
    model = defend(brightness(), sigma=0.2)
    one, other = model.certify(PICTURE), model.certify(OTHER)
    assert not np.allclose(one.draws - one.draws.mean(), other.draws - other.draws.mean())
    assert one == model.certify(PICTURE)


def test_a_larger_radius_has_a_wider_interval_and_a_far_one_none() -> None:
    model = defend(brightness(), sigma=0.1, samples=400)
    near, own, far = (model.certify(PICTURE, radius=r) for r in (0.05, 0.1, 5.0))
    assert near.width is not None and own.width is not None and near.width < own.width
    assert far.abstained and far.width is None and "no bound at radius 5" in str(far.reason)
    assert far.score == near.score


@pytest.mark.parametrize("defense", ["ms", "rs-reg", "cert-reg", MS])
def test_a_full_reference_network(defense: Any) -> None:
    model = as_model(Distance(), score_range=(0.0, 1.0), mode="FR")
    found = certify(model, PICTURE, reference=OTHER, defense=defense, sigma=0.1)
    plain = 1 - ((PICTURE / 255.0 - OTHER / 255.0) ** 2).mean()
    assert found.undefended == pytest.approx(plain, abs=1e-5)
    assert found.score == pytest.approx(plain - 0.1**2, abs=0.01)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_metrics_of_pyiqa(name: str) -> None:
    import pyiqa

    metric = pyiqa.create_metric(name, device=torch.device("cpu"))
    model = as_model(metric, score_range=(0.0, 60.0 if name == "psnr" else 1.0))
    assert model.card.mode == "FR" and model.card.higher_is_better and model.card.name == name
    found = certify(model, PICTURE, reference=OTHER, sigma=0.1)
    pair = [torch.from_numpy(p.transpose(2, 0, 1) / 255.0)[None].float() for p in (PICTURE, OTHER)]
    assert found.undefended == pytest.approx(float(metric(*pair)), abs=1e-4)
    assert found.lower is not None and found.upper is not None and not found.abstained


def rated(count: int = 40) -> Rated:
    images = [np.full((16, 16, 3), i * 255 // count, dtype=np.uint8) for i in range(count)]
    noisy = [np.clip(im + RNG.integers(0, 9, im.shape), 0, 255).astype(np.uint8) for im in images]
    return Rated(noisy, [1 + 4 * i / count for i in range(count)])


@pytest.mark.usefixtures("own_cache")
def test_features_are_fitted_on_rated_images_once() -> None:
    model, data = brightness(features="fc"), rated()
    fitted = fit_features(model, data, sigma=0.25, progress=silent)
    told: list[str] = []

    def listening(title: str) -> Any:
        told.append(title)
        return silent(title)

    direct = certify(model, PICTURE, defense="fs-iqa", sigma=0.25, data=data, progress=listening)
    assert told == []  # the fitted part is kept
    found = certify(model, PICTURE, defense="fs-iqa", sigma=0.25, data=fitted)
    assert found == direct
    assert found.rigor == "first-order" and found.failure is None
    assert found.radius is not None and found.score_range == (1.0, 5.0)
    # Scores rise with brightness, and the middle grey has the middle score.
    dark, light = (np.full((16, 16, 3), v, dtype=np.uint8) for v in (40, 220))
    low, high = fitted.certify(dark).score, fitted.certify(light).score
    assert low is not None and high is not None and high - low > 1.5


@pytest.mark.usefixtures("own_cache")
def test_a_fitted_part_serves_its_own_question_alone() -> None:
    model = brightness(features="fc")
    fitted = fit_features(model, rated(), sigma=0.25, progress=silent)
    for asked in ({"sigma": 0.1}, {"defense": "ms"}):
        with pytest.raises(BenchError, match="expected a part fitted for this model"):
            certify(model, PICTURE, **{"defense": "fs-iqa", "data": fitted, **asked})
    other = Brightness()
    with torch.no_grad():
        other.fc.bias.fill_(0.1)
    with pytest.raises(BenchError, match="expected a part fitted for this model"):
        fake = as_model(other, score_range=(0.0, 1.0), features="fc")
        certify(fake, PICTURE, defense="fs-iqa", data=fitted)


class Coin(nn.Module):
    """Two scores for one image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.rand(len(images))


class Detached(Brightness):
    """No gradient comes through."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.detach())


class Pairs(nn.Module):
    """Two numbers for each image."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))[:, :2]


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no range": ({"model": Brightness()}, "expected the range of its scores, found none"),
    "unknown model": ({"model": "lpip"}, "did you mean 'lpips'"),
    "unknown defence": ({"defense": "mss"}, "did you mean 'ms'"),
    "sigma": ({"sigma": -1.0}, "sigma: expected a number from"),
    "radius": ({"radius": 0.0}, "radius: expected a number above 0"),
    "samples": ({"samples": 0}, "samples"),
    "batch": ({"image": torch.zeros(2, 3, 8, 8)}, "expected one RGB picture"),
    "grey": ({"image": np.zeros((8, 8), np.uint8)}, "expected one RGB picture"),
    "range of values": ({"image": torch.full((3, 8, 8), 1.5)}, "expected floats in [0, 1]"),
    "not a number": ({"image": torch.full((3, 8, 8), np.nan)}, "expected floats in [0, 1]"),
    "no file": ({"image": "no/such.png"}, "found no such file"),
    "reference": ({"reference": PICTURE, "model": "dbcnn", "image": LARGE}, "judges an image"),
    "no reference": ({"model": "lpips", "image": LARGE}, "LPIPS compares with an original"),
    "size": (
        {"model": "lpips", "image": LARGE, "reference": PICTURE},
        "reference: expected 128 x 96 pixels as image has, found 32 x 24",
    ),
    "small": ({"model": "dbcnn", "image": np.zeros((4, 4, 3), np.uint8)}, "expected at least"),
    "coin": (
        {"model": as_model(Coin(), score_range=(0.0, 1.0))},
        "expected a fixed function, found two scores",
    ),
    "pairs": (
        {"model": as_model(Pairs(), score_range=(0.0, 1.0))},
        "expected one score for each image, found shape (1, 2)",
    ),
    "nothing rated": (
        {"defense": "fs-iqa", "model": brightness(features="fc")},
        "FS-IQA learns features and scores from rated images: expected data=Rated(",
    ),
    "no layer named": (
        {"defense": "fs-iqa", "data": rated(12)},
        "expected its name, as_model(network, score_range=..., features='fc')",
    ),
}


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_sentence(mistake: str) -> None:
    asked, sentence = MISTAKES[mistake]
    with pytest.raises(BenchError) as error:
        certify(**{"model": brightness(), "image": PICTURE, **asked}, progress=silent)
    assert sentence in str(error.value)
    assert str(error.value).count("\n") == 0


@pytest.mark.usefixtures("own_cache")
def test_a_network_without_a_gradient_is_told_what_to_do() -> None:
    model = as_model(Detached(), score_range=(0.0, 1.0), features="fc")
    assert not certify(model, PICTURE, defense="ms").abstained
    with pytest.raises(BenchError, match=r"have no gradient: .*straight-through"):
        certify(model, PICTURE, defense="fs-iqa", data=rated(), progress=silent)


def test_the_named_layer_must_be_the_last_one() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.Linear(4, 1))
    with pytest.raises(BenchError, match=r"no_such.*linear ones: 1, 2"):
        as_model(network, score_range=(0.0, 1.0), features="no_such")
    early = as_model(network, score_range=(-9.0, 9.0), features="1")
    with pytest.raises(BenchError, match="expected one score for each image"):
        certify(early, np.zeros((8, 8, 3), np.uint8))
    squashed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1), nn.Sigmoid())
    model = as_model(squashed, score_range=(0.0, 1.0), features="1")
    with pytest.raises(BenchError, match="expected features= to name the last layer"):
        certify(model, np.zeros((8, 8, 3), np.uint8))


@pytest.mark.usefixtures("own_cache")
def test_a_network_that_cannot_be_defended_is_refused_before_anything_is_learnt() -> None:
    network = nn.Sequential(Brightness(), nn.Sigmoid())
    model = as_model(network, score_range=(0.0, 1.0), features="0.fc")

    def learning(what: str) -> NoReturn:
        raise AssertionError(what)

    with pytest.raises(BenchError, match="scale inside that layer, or leave features= out"):
        fit_features(model, rated(), progress=learning)


@pytest.mark.parametrize(
    ("scores", "scale", "sentence"),
    [
        ([1.0] * 11, (1, 5), "expected at least 12"),
        ([1.0] * 12, (1, 5), "found 11 images and 12 scores"),
        ([9.0] * 11, (1, 5), "expected at least 12"),
    ],
)
def test_rated_images_are_checked(scores: list[float], scale: Any, sentence: str) -> None:
    with pytest.raises(BenchError) as error:
        Rated([PICTURE] * 11, scores, scale=scale)
    assert sentence in str(error.value)
    with pytest.raises(BenchError, match=r"expected scores in \[1, 5\]"):
        Rated([PICTURE] * 12, [6.0] * 12, scale=scale)


def test_our_models_by_name() -> None:
    found = certify("dbcnn", LARGE, defense="ms", sigma=0.1, samples=50)
    assert isinstance(found, DefendedScore)
    assert found.model == "dbcnn" and not found.abstained
    import iqa_models

    assert certify(iqa_models.load("dbcnn"), LARGE, sigma=0.1, samples=50) == found
