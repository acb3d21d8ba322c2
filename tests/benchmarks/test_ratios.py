"""Regressions of speed, as ratios of two times of one process; never absolute seconds.

    pytest -m slow tests/benchmarks

Times are the process's own processor seconds on one thread, so that a busy machine does not decide.
Each limit leaves room for noise beside the ratio that was measured (docs/performance.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from defenses import cert_reg, ms, rs_reg
from defenses.base import Array, Defense, GeometrySettings, Target
from defenses.certify import certify, sorted_draws
from defenses.engine import Engine
from defenses.jacobian import Linearization
from defenses.networks import FeatureScorer
from defenses.noise import NoiseStream
from defenses.smoothers import FeatureSmoother, InputSmoother
from defenses.spectral import spectral_norm
from iqa_models.base import IQAModel
from iqa_models.plugin import model_plugin

pytestmark = pytest.mark.slow

SIZE = (96, 128)
STREAM = NoiseStream(1, "time", "set", "image", 0.25)
SETTINGS = GeometrySettings(
    tau=1e-9, method="lanczos", steps=20, delta=1e-3, tolerance=0.01, radii=(0.1,), seed=3
)
MODELS = ("dbcnn", "koncept", "lpips", "dists")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seconds(work: Callable[[], object], *, repeats: int = 3) -> float:
    """Fewest processor seconds of a few runs, after one for warming up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def image(size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))


def network(name: str) -> IQAModel:
    torch.manual_seed(0)
    return model_plugin(name).architecture("compact")


def target(name: str, size: tuple[int, int] = SIZE) -> Target:
    model = network(name)
    bound = model.bind(torch.rand(1, 3, *size) if model.card.mode == "FR" else None)
    inputs = bound.features(image(size)).shape[1]
    part = FeatureScorer(feature_size=inputs, width=128, mos_range=(0.0, 1.0))
    return Target(bound, part.requires_grad_(False), 0.25)


def draw(aim: Target, smoother: InputSmoother | FeatureSmoother, samples: int) -> object:
    return Engine(batch=32).draw(smoother, aim, image(), noise=STREAM, samples=samples)


@pytest.mark.parametrize("name", MODELS)
def test_lanczos_against_the_exact_norm(name: str) -> None:
    aim, x = target(name), image()

    def embed(z: Tensor) -> Tensor:
        return FeatureSmoother().embed(aim, z)

    quick = seconds(lambda: spectral_norm(embed, x, tolerance=0.01))
    slow = seconds(lambda: spectral_norm(embed, x, method="exact"), repeats=1)
    exact = spectral_norm(embed, x, method="exact")
    bound = spectral_norm(embed, x, tolerance=0.01)
    assert float(exact.estimate[0]) <= float(bound.upper[0]) <= 1.05 * float(exact.estimate[0])
    assert slow / quick >= 4  # small images: vectorised VJPs are cheap there; large ones gain more


@pytest.mark.parametrize("name", MODELS)
def test_double_vjp_against_forward_mode(name: str) -> None:
    aim, x = target(name), image()
    times = {}
    for mode in ("double_vjp", "forward"):
        linear = Linearization(lambda z: FeatureSmoother().embed(aim, z), x, jvp=mode)  # type: ignore[arg-type]
        times[mode] = seconds(lambda linear=linear: linear.jvp(x), repeats=5)  # type: ignore[misc]
    assert times["double_vjp"] <= times["forward"]


@pytest.mark.parametrize("name", MODELS)
def test_certified_fs_iqa_against_certified_ms(name: str) -> None:
    aim = target(name)

    def fs_iqa() -> None:
        FeatureSmoother().geometry(aim, image(), SETTINGS)
        draw(aim, FeatureSmoother(), 2000)

    median = seconds(lambda: draw(aim, InputSmoother(), 400), repeats=1) * 2000 / 400
    assert median / seconds(fs_iqa) >= 10


@pytest.mark.parametrize("name", MODELS)
def test_uncertified_fs_iqa_costs_one_backbone_pass(name: str) -> None:
    # Without drawing the noise, which does not depend on the image and outweighs a small network.
    size = (384, 512)
    aim, x = target(name, size), image(size)
    noise = STREAM.draw((512,), kind="features", draws=2000)
    with torch.no_grad():
        whole = seconds(lambda: FeatureSmoother().sample(aim, x, noise), repeats=5)
        scorer = seconds(lambda: aim.part.score(noise), repeats=5)  # type: ignore[union-attr, operator]
        plain = seconds(lambda: aim.model(x), repeats=5)
    assert whole - scorer <= 1.7 * plain  # the 4 MB of noise also displace what is cached


def test_three_statistics_cost_no_more_than_one() -> None:
    aim = target("dbcnn")
    smoother = InputSmoother()
    scale = smoother.scale(aim.model.card, (0.0, 1.0))
    (geometry,) = smoother.geometry(aim, image(), SETTINGS)

    def draws() -> Array:
        return sorted_draws(draw(aim, smoother, 2000))  # type: ignore[arg-type]

    def certified(scores: Array, *defenses: Defense) -> None:
        for defense in defenses:
            certify(defense, scores, geometry, scale=scale, confidence=0.999)

    # The stage draws once for all three, so the other two add their statistics only; timing the
    # draws twice would compare their noise.
    scores = draws()
    alone = seconds(lambda: certified(draws(), ms.DEFENSE))
    added = seconds(lambda: certified(scores, rs_reg.DEFENSE, cert_reg.DEFENSE))
    assert alone + added <= 1.05 * alone


@pytest.mark.parametrize("name", ["lpips", "dists", "dreamsim"])
def test_a_bound_reference_halves_the_work(name: str) -> None:
    model, pristine, noisy = network(name), image(), torch.rand(16, 3, *SIZE)
    bound = model.bind(pristine)

    def unbound() -> None:
        model.bind(pristine.expand(16, -1, -1, -1))(noisy)

    with torch.no_grad():
        assert seconds(lambda: bound(noisy), repeats=7) <= 0.6 * seconds(unbound, repeats=7)
