"""LipSim moves no further than it declares, whatever its weights; its parts are what they say."""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
from torch import Tensor

from iqa_models import load
from iqa_models.assembly import PublishedRecipe
from iqa_models.lipsim import (
    MODEL,
    ROUNDING,
    SIDE,
    LipSim,
    PublishedEmbedder,
    compact,
    length,
    published_state,
    resize_norm,
)
from iqa_models.lipsim_layers import Bands, SLLConv, SLLLinear
from iqa_models.plugin import names
from tests.iqa_models.conftest import picture

RANDOM_PAIRS, ADVERSARIAL_PAIRS = 10_000, 1_000
SIDES = (16, 24)


@functools.cache
def shipped() -> LipSim:
    found = load("lipsim", edition="compact")
    assert isinstance(found, LipSim)
    return found


def shaken(model: LipSim, *, seed: int) -> LipSim:
    """The same with random weights of any size."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(3.0 * torch.randn(parameter.shape, generator=draw))
    return model


def ratios(model: LipSim, reference: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """How far features and score move, ``(2, B)``, per l2 distance; in double precision."""
    bound = copy.deepcopy(model).double().bind(reference.double())
    first, second = bound.features(one.double()), bound.features(other.double())
    apart = (one.double() - other.double()).flatten(1).norm(dim=1)
    scores = (bound.model.head(first) - bound.model.head(second)).abs()
    return torch.stack([(first - second).norm(dim=1), scores]) / apart


def climbed(model: LipSim, reference: Tensor, image: Tensor, *, radius: float) -> Tensor:
    """The ball's point that a few gradient steps find to move the score furthest."""
    bound = model.bind(reference)
    before = bound(image).detach()
    offset = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    for _ in range(6):
        offset = radius * offset / offset.flatten(1).norm(dim=1)[:, None, None, None]
        offset = offset.detach().requires_grad_(True)
        moved = (bound.score_features(bound.features(image + offset)) - before).abs().sum()
        (offset,) = torch.autograd.grad(moved, offset)
    return image + radius * offset / offset.flatten(1).norm(dim=1)[:, None, None, None]


@pytest.mark.parametrize(("shake", "pairs"), [(None, RANDOM_PAIRS), (1, 1000), (2, 1000)])
def test_random_pairs_stay_within_the_declared_constant(shake: int | None, pairs: int) -> None:
    """Pairs of every kind: unlike images, near ones, and noise far outside [0, 1]."""
    model = shipped() if shake is None else shaken(compact(), seed=shake)
    declared = model.lipschitz(*SIDES)
    draw = torch.Generator().manual_seed(4)
    largest = torch.zeros(2)
    for number in range(20):
        shape = (pairs // 20, 3, *SIDES)
        one = torch.rand(shape, generator=draw)
        step = 10.0 ** (number % 5 - 3)
        other = one + step * torch.randn(shape, generator=draw)
        if number % 4 == 0:
            other = torch.rand(shape, generator=draw)
        largest = torch.maximum(largest, ratios(model, one[:1], one, other).amax(1).float())
    print(f"largest ratios of {pairs} pairs: {largest.tolist()}")
    assert 0 < largest[0] <= declared.features
    assert 0 < largest[1] <= declared.score


@pytest.mark.parametrize(("shake", "pairs"), [(None, ADVERSARIAL_PAIRS), (1, 100)])
def test_adversarial_pairs_stay_within_the_declared_constant(shake: int | None, pairs: int) -> None:
    model = shipped() if shake is None else shaken(compact(), seed=shake)
    declared = model.lipschitz(*SIDES)
    draw = torch.Generator().manual_seed(5)
    reached = 0.0
    for radius in (0.01, 0.1, 1.0, 3.0):
        image = torch.rand((pairs // 4, 3, *SIDES), generator=draw)
        reference = torch.rand((1, 3, *SIDES), generator=draw)
        other = climbed(model, reference, image, radius=radius)
        found = ratios(model, reference, image, other)
        assert bool((found[0] <= declared.features).all())
        assert bool((found[1] <= declared.score).all())
        reached = max(reached, float(found[1].max()))
    print(f"largest ratio of {pairs} adversarial pairs: {reached}")
    assert reached > 0.05  # a bound that nothing comes near is not tested


def test_the_constant_follows_from_the_size() -> None:
    model = shipped()
    for height, width, expected in ((96, 128, 1.0), (48, 64, 1.0), (192, 256, 0.5)):
        assert model.lipschitz(height, width).score == pytest.approx(ROUNDING * expected)
        one, other = (picture(seed=seed, height=height, width=width) for seed in (1, 2))
        assert float(ratios(model, one, one, other).max()) <= expected


def test_the_constant_is_reached_by_a_step_along_the_largest_gain() -> None:
    """Gains of at most 1, the largest 1: without layers the bound is exact, not merely safe."""
    model = compact()
    with torch.no_grad():
        for layer in model.embedder.get_submodule("layers"):
            layer.kernel.zero_()
    wave = Bands(8).waves[5].repeat(1, 3, 4)[None]
    image = torch.full((1, 3, 24, 32), 0.5)
    found = ratios(model, image, image + wave, image + 2 * wave)
    assert found[1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_no_layer_has_a_jacobian_above_one(scale: float) -> None:
    """Largest singular value over random points, for filters of any size and any q."""
    torch.manual_seed(7)
    conv, linear = SLLConv(4, 6), SLLLinear(10, 7)
    for layer in (conv, linear):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(scale * torch.randn_like(parameter).clamp(-2, 2))
        layer.double()
    points = {conv: torch.randn(4, 5, 6).double(), linear: torch.randn(10).double()}
    for layer, point in points.items():
        for _ in range(20):
            at = torch.randn_like(point)
            jacobian = torch.autograd.functional.jacobian(lambda x, f=layer: f(x[None])[0], at)
            matrix = jacobian.reshape(at.numel(), at.numel())
            assert float(torch.linalg.matrix_norm(matrix, ord=2)) <= 1 + 1e-9


def test_a_wrong_constant_would_be_seen() -> None:
    """The test above refuses a layer whose T misses the shifts of the convolution."""

    class Careless(SLLConv):
        def inverse(self) -> Tensor:
            return 1 / (self.kernel.flatten(1) @ self.kernel.flatten(1).T).abs().sum(1)

    layer = Careless(2, 3)
    with torch.no_grad():
        layer.kernel.copy_(torch.ones_like(layer.kernel))
        layer.bias.fill_(100.0)
    at = torch.zeros(2, 8, 8)
    matrix = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0], at).reshape(128, 128)
    assert float(torch.linalg.matrix_norm(matrix, ord=2)) > 1.5


@pytest.mark.parametrize("shape", [(24, 32), (17, 30)])
def test_bands_keep_lengths(shape: tuple[int, int]) -> None:
    images = torch.rand((2, 3, *shape), generator=torch.Generator().manual_seed(1)).double()
    maps = Bands(8).double()(images)
    assert maps.shape[1] == 192
    torch.testing.assert_close(
        maps.flatten(1).norm(dim=1), images.flatten(1).norm(dim=1), rtol=1e-6, atol=0
    )


def test_zero_filters_change_nothing() -> None:
    layer = SLLConv(3, 2)
    with torch.no_grad():
        layer.kernel.zero_()
    maps = torch.rand(1, 3, 4, 4)
    assert torch.equal(layer(maps), maps)


def test_a_distance_to_itself_is_nothing_and_has_a_gradient() -> None:
    image = picture(seed=1).requires_grad_(True)
    score = shipped().bind(image.detach())(image)
    assert 0 <= float(score.detach()) < 1e-3
    (slope,) = torch.autograd.grad(score.sum(), image)
    assert bool(torch.isfinite(slope).all())
    assert float(length(torch.zeros(1, 5))) == pytest.approx(1e-6)


def test_rounding_is_inside_the_declared_slack() -> None:
    """The certificate adds 2^-18 of the score range for float32 sums; they take less."""
    from defenses.lipschitz import ROUNDING as SHARE

    model, images = shipped(), picture(seed=2, batch=8)
    single = model.bind(picture(seed=3))(images).double()
    double = copy.deepcopy(model).double().bind(picture(seed=3).double())(images.double())
    low, high = model.card.score_range
    assert float((single - double).abs().max()) < SHARE * (high - low)


def test_it_is_asked_for_by_name_only() -> None:
    assert "lipsim" not in names()
    assert load("lipsim").card.mode == "FR"


# --- the published edition ------------------------------------------------------------------------


def small_published() -> LipSim:
    embedder = PublishedEmbedder(convolutions=2, dense=1, features=16, size=64)
    return LipSim(embedder=embedder, edition="published").eval().requires_grad_(False)


def test_published_moves_no_further_than_it_declares() -> None:
    model = shaken(small_published(), seed=1)
    for height, width in ((SIDE, SIDE), (96, 128)):
        one, other = (picture(seed=s, height=height, width=width, batch=4) for s in (1, 2))
        found = ratios(model, one[:1], one, other)
        assert 0 < float(found.max()) <= model.lipschitz(height, width).score


def test_a_resize_may_lengthen() -> None:
    """Enlarging repeats pixels, so its constant is above 1; the authors' certificates ignore it."""
    assert resize_norm(96) == pytest.approx(math.sqrt(224 / 96), rel=0.01)
    assert resize_norm(448) < 1


def test_the_authors_state_fits() -> None:
    """Names as their code saves them: wrapped, with ``base`` naming the same tensors again."""
    state = small_published().state_dict()
    theirs = {f"module.model.{k.removeprefix('embedder.')}": v + 1 for k, v in state.items()}
    theirs |= {"module.model.base.1.0.kernel": torch.zeros(1)}
    read = published_state(theirs)
    assert read.keys() == state.keys()
    for key, value in read.items():
        cancelled = "convs" in key and key.endswith(".q")
        assert torch.equal(value, torch.zeros_like(value) if cancelled else state[key] + 1)


def test_published_architecture() -> None:
    recipe: PublishedRecipe = MODEL.recipes[0]
    assert recipe.needs == ("lipsim_margin_05",)
    with torch.device("meta"):
        whole = PublishedEmbedder()
    assert sum(p.numel() for p in whole.parameters()) == 63_276_796
