"""Every compact model keeps the contract of `iqa_models.base`."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.datasets.photographs import CROPS, take
from iqa_models import load, model_plugin, names
from iqa_models.base import BoundModel, IQAModel, ModelInputError
from iqa_models.plugin import UnknownModelError
from tests.iqa_models.conftest import picture

NR, FR = ("dbcnn", "hyperiqa", "koncept"), ("lpips", "dists", "dreamsim")


@functools.cache
def model(name: str) -> IQAModel:
    """The shipped compact model, loaded once."""
    return load(name, edition="compact")


@functools.cache
def photographs() -> Tensor:
    """Crops of the validation photographs, ``(8, 3, 96, 128)``."""
    crops = [take(crop, 96, 128) for crop in CROPS if crop.split == "validation"]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255


def bound(name: str, reference: Tensor | None = None) -> BoundModel:
    """The model bound to a reference if it needs one."""
    if model(name).card.mode == "NR":
        return model(name).bind()
    return model(name).bind(picture(seed=1) if reference is None else reference)


def test_names_are_the_six_models() -> None:
    assert names() == NR + FR


@pytest.mark.parametrize("name", NR + FR)
class TestContract:
    def test_shapes_and_range(self, name: str) -> None:
        features = bound(name).features(picture(batch=3))
        scores = bound(name).score_features(features)
        low, high = model(name).card.score_range
        assert features.ndim == 2
        assert features.shape[0] == 3
        assert scores.shape == (3,)
        assert scores.dtype == torch.float32
        assert bool(((scores >= low) & (scores <= high)).all())

    def test_mode_and_edition(self, name: str) -> None:
        assert model(name).card == model_plugin(name).card
        assert model(name).card.mode == ("NR" if name in NR else "FR")
        assert model(name).edition == "compact"
        assert not model(name).training
        assert not any(p.requires_grad for p in model(name).parameters())

    def test_is_deterministic_to_the_bit(self, name: str) -> None:
        assert torch.equal(bound(name)(picture(batch=2)), bound(name)(picture(batch=2)))

    def test_batch_size_does_not_matter(self, name: str) -> None:
        images = picture(batch=8)
        alone = torch.cat([bound(name).features(image[None]) for image in images])
        torch.testing.assert_close(bound(name).features(images), alone, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("sigma", [0.1, 0.5])
    def test_accepts_noisy_images_without_saturating(self, name: str, sigma: float) -> None:
        """Photographs: of a pattern nobody has an opinion."""
        draw = torch.Generator().manual_seed(5)
        clean = photographs()
        scores = bound(name, clean)(clean + sigma * torch.randn(clean.shape, generator=draw))
        low, high = model(name).card.score_range
        assert bool(torch.isfinite(scores).all())
        assert float(((scores > low) & (scores < high)).float().mean()) >= 0.5

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_gradient_of_a_flat_image_is_finite(self, name: str, value: float) -> None:
        image = torch.full((1, 3, 96, 128), value, requires_grad=True)
        features = bound(name).features(image)
        (gradient,) = torch.autograd.grad(
            features.sum() + bound(name).model.head(features).sum(), image
        )
        assert bool(torch.isfinite(gradient).all())

    def test_gradient_of_equal_pair_is_finite(self, name: str) -> None:
        image = picture(seed=1).requires_grad_(True)
        (gradient,) = torch.autograd.grad(bound(name).features(image).sum(), image)
        assert bool(torch.isfinite(gradient).all())

    def test_forward_mode_agrees_with_reverse_mode(self, name: str) -> None:
        image, direction = picture(), picture(seed=9) - 0.5
        face = bound(name)
        features, forward = torch.func.jvp(face.features, (image,), (direction,))
        left = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
        _, pull = torch.func.vjp(face.features, image)
        expected = (pull(left)[0] * direction).sum()
        torch.testing.assert_close((left * forward).sum(), expected, rtol=1e-3, atol=1e-4)

    def test_second_derivative_exists(self, name: str) -> None:
        image = picture().requires_grad_(True)
        score = model(name).head(bound(name).features(image)).sum()
        (gradient,) = torch.autograd.grad(score, image, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), image)
        assert bool(torch.isfinite(second).all())

    @pytest.mark.parametrize(
        ("images", "found"),
        [
            (torch.zeros(1, 1, 96, 128), "(1, 1, 96, 128)"),
            (torch.zeros(3, 96, 128), "(3, 96, 128)"),
            (torch.zeros(1, 3, 16, 128), "(1, 3, 16, 128)"),
            (torch.zeros(1, 3, 96, 128, dtype=torch.uint8), "torch.uint8"),
        ],
    )
    def test_bad_images_get_one_sentence(self, name: str, images: Tensor, found: str) -> None:
        with pytest.raises(ModelInputError) as caught:
            bound(name).features(images)
        assert found in str(caught.value)
        assert model(name).card.title in str(caught.value)

    def test_wrong_binding_is_refused(self, name: str) -> None:
        reference = picture() if name in NR else None
        with pytest.raises(ModelInputError, match="expects"):
            model(name).bind(reference)


@pytest.mark.parametrize("name", FR)
class TestFullReference:
    def test_equal_pair_scores_zero(self, name: str) -> None:
        assert float(bound(name, picture(seed=1))(picture(seed=1))) == pytest.approx(0, abs=1e-5)

    def test_one_reference_for_all_equals_one_each(self, name: str) -> None:
        reference, images = picture(seed=1), picture(seed=2, batch=3)
        each = bound(name, reference.repeat(3, 1, 1, 1))(images)
        torch.testing.assert_close(bound(name, reference)(images), each, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("shape", [(1, 3, 96, 112), (2, 3, 96, 128)])
    def test_images_must_fit_the_reference(self, name: str, shape: tuple[int, ...]) -> None:
        face = bound(name, picture(batch=3) if shape[0] == 2 else picture())
        with pytest.raises(ModelInputError, match="bound to a reference"):
            face.features(torch.zeros(shape))


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModelError, match="koncept"):
        load("clipiqa")
