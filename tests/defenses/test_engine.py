"""The engine: the same bits for every batch, memory limits, precision, shared draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from torch import Tensor

from defenses import cert_reg, ms, rs_reg
from defenses.base import Array, GeometrySettings, Smoother, Target
from defenses.engine import GIB, Engine, balanced, cpu_rows, fitting_rows
from defenses.networks import Denoiser, DnCNN, FeatureScorer, UNet
from defenses.noise import NoiseStream
from defenses.precision import computing_in
from defenses.smoothers import DenoisedSmoother, FeatureSmoother, InputSmoother
from iqa_models.plugin import model_plugin

STREAM = NoiseStream(1, "certify", "set", "image", 0.25)
SIZE = (96, 128)
SETTINGS = GeometrySettings(
    tau=1e-9, method="lanczos", steps=20, delta=1e-3, tolerance=0.01, radii=(0.1,), seed=3
)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def target(model: str = "dbcnn", part: torch.nn.Module | None = None, rows: int = 1) -> Target:
    torch.manual_seed(0)
    network = model_plugin(model).architecture("compact")
    if model == "dbcnn":
        torch.nn.init.constant_(network.fc.bias, 0.5)  # random weights alone leave the range
    reference = None if network.card.mode == "NR" else torch.rand(rows, 3, *SIZE)
    return Target(network.bind(reference), part, 0.25)


def features(model: str = "dbcnn", rows: int = 1) -> Target:
    bare = target(model, rows=rows)
    size = bare.model.features(torch.rand(rows, 3, *SIZE)).shape[1]
    return replace(bare, part=FeatureScorer(feature_size=size, width=16, mos_range=(0.0, 1.0)))


def denoised(denoiser: Denoiser) -> Target:
    """An untrained denoiser is grey, whatever it sees; this one answers to it."""
    torch.manual_seed(0)
    torch.nn.init.normal_(denoiser.last.weight, std=0.05)
    return target(part=denoiser)


CASES: dict[str, tuple[Smoother, Callable[[], Target]]] = {
    "input": (InputSmoother(), target),
    "input, full reference": (InputSmoother(), lambda: target("lpips")),
    "denoised": (DenoisedSmoother(), lambda: denoised(DnCNN(width=8, depth=3, stride=4))),
    "denoised, U-Net": (
        DenoisedSmoother(),
        lambda: denoised(UNet(width=8, depth=1, stride=4)),
    ),
    "features": (FeatureSmoother(), features),
}


def image() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 3, *SIZE)


def draws(case: str, *, samples: int = 60, **engine: Any) -> Array:
    smoother, made = CASES[case]
    return Engine(**{"batch": 32, **engine}).draw(
        smoother, made(), image(), noise=STREAM, samples=samples
    )


# --- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_scores_do_not_depend_on_the_batch_by_a_single_bit(case: str) -> None:
    wanted = draws(case)
    assert len(set(wanted.tolist())) > 30
    for batch in (1, 7, 64):
        assert np.array_equal(draws(case, batch=batch), wanted)


@pytest.mark.parametrize("case", [case for case in CASES if case != "features"])
def test_a_shorter_stream_is_a_prefix_of_a_longer_one(case: str) -> None:
    assert np.array_equal(draws(case, samples=9), draws(case)[:9])
    assert np.array_equal(draws(case, samples=50), draws(case)[:50])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("first", [9, 50])
def test_the_first_draws_may_be_left_out(case: str, first: int) -> None:
    smoother, made = CASES[case]
    rest = Engine(batch=32).draw(smoother, made(), image(), noise=STREAM, samples=60, first=first)
    assert np.array_equal(rest, draws(case)[first:])


@pytest.mark.parametrize(("side", "rows", "made"), [(128, 32, [32]), (512, 2, [2] * 11)])
def test_passes_of_draws_that_are_left_out_are_not_made(
    side: int, rows: int, made: list[int]
) -> None:
    assert cpu_rows(side, side) == rows
    smoother, bound, picture = Counting(seen=([],)), target(), torch.zeros(1, 3, side, side)

    def draw(first: int) -> Array:
        smoother.seen[0].clear()
        return Engine(batch=32).draw(
            smoother, bound, picture, noise=STREAM, samples=60, first=first
        )

    everything, rest = draw(0), draw(39)
    assert np.array_equal(rest, everything[39:]) and smoother.seen[0] == made


def test_unpinned_passes_agree_up_to_rounding() -> None:
    loose = draws("input", batch=7, pinned=False)
    assert loose == pytest.approx(draws("input"), abs=1e-5)


@pytest.mark.parametrize("model", ["dbcnn", "lpips"])
def test_geometry_of_an_image_does_not_depend_on_its_neighbours(model: str) -> None:
    several = features(model, rows=3)
    torch.manual_seed(2)
    images = torch.rand(3, 3, *SIZE)
    together = FeatureSmoother().geometry(several, images, SETTINGS)
    for row in range(3):
        alone = replace(several, model=several.model.row(row))
        (found,) = FeatureSmoother().geometry(alone, images[row : row + 1], SETTINGS)
        assert found == together[row]
    assert len({geometry.coefficient for geometry in together}) == 3


# --- pass sizes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counting(InputSmoother):
    """Notes the rows of every pass and has room for few of them."""

    seen: tuple[list[int], ...] = ([],)
    room: int = 10**9

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        if len(noise) > self.room:
            raise torch.OutOfMemoryError("too many rows")
        self.seen[0].append(len(noise))
        return noise.flatten(1).mean(1)


def counted(*, room: int = 10**9, samples: int = 60, **options: Any) -> tuple[Engine, list[int]]:
    smoother = Counting(seen=([],), room=room)
    engine = Engine(**{"batch": 32, "pinned": False, **options})
    scores = engine.draw(smoother, target(), image(), noise=STREAM, samples=samples)
    assert len(scores) == samples
    return engine, smoother.seen[0]


def test_memory_that_runs_out_halves_the_limit_and_is_remembered() -> None:
    engine, rows = counted(room=10)
    assert engine.halvings == [16, 8] and rows == [8] * 8
    again = Counting(seen=([],), room=10)
    engine.draw(again, target(), image(), noise=STREAM, samples=16)
    assert again.seen[0] == [8, 8] and engine.halvings == [16, 8]


def test_not_even_one_row() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        counted(room=0)


def test_limit_grows_to_the_declared_memory() -> None:
    def probe(work: Callable[[], object], device: torch.device) -> int:
        work()
        return 2 * GIB

    engine, rows = counted(samples=100, memory=6 * GIB, probe=probe)
    assert list(engine.limits.values()) == [48]
    assert rows == [16, 34, 34, 34]  # the probe, then three equal passes


def test_pinned_rows_follow_from_the_image_alone() -> None:
    smoother = Counting(seen=([],))
    Engine(batch=3).draw(smoother, target(), image(), noise=STREAM, samples=20)
    assert smoother.seen[0] == [44]
    assert cpu_rows(384, 512) == 4 and balanced(7, 3) == 3
    assert fitting_rows(5 * GIB, probed=16, memory=4 * GIB) == 12


# --- precision ----------------------------------------------------------------------------------


def test_reduced_precision_changes_little_and_is_undone() -> None:
    exact, rounded = draws("input"), draws("input", precision="bf16")
    scale = np.ptp(exact)
    assert 0 < np.abs(exact - rounded).max() < 20 * scale
    assert np.array_equal(draws("input"), exact)
    assert not torch.is_autocast_enabled("cpu")


def test_jacobians_are_never_computed_below_float32() -> None:
    aim = features()
    plain = FeatureSmoother().geometry(aim, image(), SETTINGS)
    with computing_in("bf16", torch.device("cpu")):
        inside = FeatureSmoother().geometry(aim, image(), SETTINGS)
    assert inside == plain


def test_unknown_precision() -> None:
    with pytest.raises(ValueError, match="fp8"), computing_in("fp8", torch.device("cpu")):  # type: ignore[arg-type]
        pass


# --- sharing and compiling ----------------------------------------------------------------------


def test_three_statistics_share_one_smoother() -> None:
    names = {part.DEFENSE.smoother.name for part in (rs_reg, cert_reg, ms)}
    assert names == {"input"}


def test_compiling_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def compiler(function: Any, **options: Any) -> Any:
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    engine = Engine(batch=8, compile=True)
    for _ in range(2):
        scores = engine.draw(InputSmoother(), target(), image(), noise=STREAM, samples=8)
    assert asked == [{"dynamic": False}] and np.array_equal(scores, draws("input", samples=8))


# --- threads ------------------------------------------------------------------------------------


def threads_here(options: Any) -> int:
    """Most threads that torch or any pool of this worker may start."""
    from threadpoolctl import threadpool_info

    torch.set_num_threads(options.threads)
    pools = [int(pool["num_threads"]) for pool in threadpool_info()]
    return max([torch.get_num_threads(), *pools])


def test_workers_do_not_start_more_threads_than_there_are_cores() -> None:
    from bench.base.provenance import cores
    from bench.execution.options import Execution
    from bench.execution.worker import Assignment

    how = Execution(jobs=cores())
    options = Assignment("", how, threads=how.threads("evaluate"))
    pool = joblib.Parallel(n_jobs=how.workers, backend="loky")
    used = pool(joblib.delayed(threads_here)(options) for _ in range(how.workers))
    assert max(used) * how.workers <= cores()
