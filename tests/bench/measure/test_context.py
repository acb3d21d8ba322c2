"""What workers load: passes over many images stay within a CPU's memory, references are kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.base.cache import Cache
from bench.datasets import Pair
from bench.measure.certificates import Terms
from bench.measure.context import Context, passes
from bench.plan.loading import load_profile
from bench.plan.units import Cell
from defenses.engine import CPU_PIXELS
from iqa_models.base import BoundModel, IQAModel
from iqa_models.lpips import LPIPS
from iqa_models.lpips import MODEL as PLUGIN


def pair(height: int, width: int) -> Pair:
    return Pair(np.zeros((3, height, width), dtype=np.float32), None)


def test_passes_keep_the_order_and_the_size_of_images_apart() -> None:
    pairs = [pair(32, 32)] * 50 + [pair(384, 512)] * 9 + [pair(32, 48), pair(32, 32)]
    made = list(passes(iter(pairs)))
    assert [len(some) for some in made] == [44, 6, 4, 4, 1, 1, 1]
    assert [one for some in made for one in some] == pairs
    for some in made:
        assert len({one.image.shape for one in some}) == 1
        assert len(some) == 1 or len(some) * some[0].image[0].size <= CPU_PIXELS


def test_one_huge_image_is_a_pass() -> None:
    assert [len(some) for some in passes([pair(2000, 1000)] * 2)] == [1, 1]
    assert list(passes([])) == []


@pytest.fixture
def context(tmp_path: Path) -> Context:
    profile = load_profile("embedded")
    return Context(
        profile=profile,
        defenses={},
        load_model=lambda name: PLUGIN.compact(),
        load_dataset=lambda name: SimpleNamespace(),  # type: ignore[arg-type,return-value]
        device=torch.device("cpu"),
        store=Cache(tmp_path),
        terms=Terms(profile.certificate, 0.999),
    )


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many references were encoded, call by call."""
    rows: list[int] = []
    whole = LPIPS.bind

    def counted(model: LPIPS, reference: torch.Tensor) -> BoundModel:
        rows.append(len(reference))
        return whole(model, reference)

    monkeypatch.setattr(LPIPS, "bind", counted)
    return rows


def referred(seed: int) -> Pair:
    """An image, another one for each seed, and its reference."""
    image, reference = np.random.default_rng(seed).random((2, 3, 64, 80), dtype=np.float32)
    return Pair(image, reference)


def scores(context: Context, model: IQAModel, pairs: list[Pair]) -> list[float]:
    with torch.no_grad():
        images = torch.cat([context.tensor(one.image) for one in pairs])
        found: list[float] = context.bind(model, pairs)(images).tolist()
    return found


def test_a_reference_is_encoded_once_and_never_taken_for_another(
    context: Context, encoded: list[int]
) -> None:
    """Two models, two references, in turn, alone and beside one another."""
    one, other = referred(1), referred(2)
    swapped = Pair(one.image, other.reference)
    models = [context.model(name) for name in ("one", "two")]
    expected = {}
    with torch.no_grad():
        for model in models:
            for pair_ in (one, other, swapped):
                assert pair_.reference is not None
                bound = model.bind(torch.from_numpy(pair_.reference)[None])
                expected[model, id(pair_)] = bound(torch.from_numpy(pair_.image)[None]).item()
    assert len({round(value, 6) for value in expected.values()}) == 6
    encoded.clear()
    for _ in range(2):
        for model in models:
            for pair_ in (one, other, swapped):
                assert scores(context, model, [pair_]) == pytest.approx(
                    [expected[model, id(pair_)]], rel=1e-5
                )
    assert encoded == [1, 1, 1, 1], "two references, once with each model"
    for model in models:
        assert scores(context, model, [other, swapped, one]) == pytest.approx(
            [expected[model, id(p)] for p in (other, swapped, one)], rel=1e-5
        )
        assert scores(context, model, [other, swapped]) == pytest.approx(
            [expected[model, id(p)] for p in (other, swapped)], rel=1e-5
        )
    assert encoded == [1, 1, 1, 1, 3, 3], "one by one where they differ, none where they do not"


def test_a_plain_score_is_computed_once_for_each_set_model_and_image(context: Context) -> None:
    asked: list[float] = []

    def one(value: float) -> Any:
        def undefended() -> float:
            asked.append(value)
            return value

        return SimpleNamespace(undefended=undefended)

    keys = [(d, m, i) for d in ("set", "other") for m in ("lpips", "dists") for i in ("a", "b")]
    for _ in range(2):
        for value, (dataset, model, image) in enumerate(keys):
            for sigma in (0.1, 0.5):
                cell = Cell(dataset, model, "ms", sigma)
                assert context.undefended(one(value), cell, image) == value
    assert asked == list(range(len(keys)))
