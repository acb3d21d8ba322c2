"""HyperIQA's own head: pooling ahead of it changes nothing, a cut training goes on, provenance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.base.cache import Cache
from bench.base.errors import BenchError
from bench.datasets.base import Dataset
from bench.datasets.table import open_table
from bench.training import hyper_head
from bench.training.hyper_head import Settings, features_from, pooled_trunk, train, write
from iqa_models.hyperiqa import TRUNK_PREFIX, HyperIQA, compact
from iqa_models.weights import load_state, read_notes

BRIEF = Settings(epochs=3, batch=8, rate=1e-3)


def built() -> HyperIQA:
    torch.manual_seed(0)
    return compact()


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Twenty gray pictures, the brighter the better."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    rows = ["image,mos,split"]
    rng = np.random.default_rng(0)
    for index in range(20):
        pixels = rng.integers(0, 60, (96, 128, 3)) + 9 * index
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{1 + index / 5},train")
    (tmp_path / "scores.csv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntitle = "My set"\ncsv = "scores.csv"\nimage_column = "image"\n'
        'mos_columns = ["mos"]\nhigher_is_better = true\nrange = [1, 5]\n'
        'split_column = "split"\nlicence = "mine"\ncitation = "me"\n',
        encoding="utf-8",
    )
    return open_table(tmp_path / "mine.toml")


@torch.no_grad()
def test_pooling_first_gives_the_models_own_features() -> None:
    model = built()
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    pooled = pooled_trunk(model).extract(images)
    assert pooled.shape[:2] == (2, 2)
    for side, seen in enumerate((images, images.flip(-1))):
        ours = features_from(model, pooled[:, side].float())
        theirs = model.bind().features(seen)
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)  # half floats
    assert not torch.allclose(pooled[:, 0].float(), pooled[:, 1].float(), atol=1e-2)


def test_the_trunk_is_known_by_its_weights_and_crops() -> None:
    model, other, head = built(), built(), built()
    with torch.no_grad():
        other.get_parameter("base_model.slice1.0.bias").add_(1)
        head.get_parameter("conv1.0.bias").add_(1)
    assert pooled_trunk(other).sha256 != pooled_trunk(model).sha256
    assert pooled_trunk(head).sha256 == pooled_trunk(model).sha256


def test_a_cut_training_goes_on(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = dataset.items("train")
    model = built()
    trunk = {k: v.clone() for k, v in model.state_dict().items() if k.startswith(TRUNK_PREFIX)}
    straight = train(model, dataset, items, settings=BRIEF, store=Cache(tmp_path / "a"))
    assert straight.curve[-1]["loss"] < straight.curve[0]["loss"]
    assert straight.images == (17, 3)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in trunk.items())

    measured = hyper_head._srcc
    calls: list[int] = []

    def cut(*arguments: torch.Tensor) -> float:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return measured(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hyper_head, "_srcc", cut)
    with pytest.raises(KeyboardInterrupt):
        train(built(), dataset, items, settings=BRIEF, store=Cache(tmp_path / "b"))
    monkeypatch.setattr(hyper_head, "_srcc", measured)
    resumed = train(built(), dataset, items, settings=BRIEF, store=Cache(tmp_path / "b"))
    assert resumed.curve == straight.curve
    assert resumed.state.keys() == straight.state.keys()
    assert all(torch.equal(value, straight.state[key]) for key, value in resumed.state.items())


def test_the_best_epoch_is_written_with_its_provenance(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def judged(model: HyperIQA, *rest: torch.Tensor) -> float:
        state = hyper_head.head_state(model)
        seen.append({key: value.clone() for key, value in state.items()})
        return (0.1, 0.7, 0.3)[len(seen) - 1]

    monkeypatch.setattr(hyper_head, "_srcc", judged)
    items = dataset.items("train")
    trained = train(built(), dataset, items, settings=BRIEF, store=Cache(tmp_path / "c"))
    path = tmp_path / "there" / "head.safetensors"
    write(trained, path, dataset=dataset, settings=BRIEF)
    stored = load_state(path)
    assert not any(key.startswith(TRUNK_PREFIX) for key in stored)
    assert all(torch.equal(value, seen[1][key]) for key, value in stored.items())
    assert not torch.equal(stored["conv1.0.weight"], seen[2]["conv1.0.weight"])
    notes = read_notes(path)
    assert notes["title"] == "one crop, head trained here on My set"
    assert (notes["training_images"], notes["validation_images"]) == ("17", "3")
    assert notes["validation_srcc"] == "0.7000"
    assert str(tmp_path) not in str(notes)


def test_other_settings_are_another_training(dataset: Dataset, tmp_path: Path) -> None:
    items, store = dataset.items("train"), Cache(tmp_path / "d")
    one = train(built(), dataset, items, settings=replace(BRIEF, epochs=1), store=store)
    other = train(built(), dataset, items, settings=replace(BRIEF, epochs=1, seed=7), store=store)
    assert one.curve != other.curve


def test_too_few_photographs_are_one_sentence(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="expected 16 images, found 15"):
        train(
            built(),
            dataset,
            dataset.items("train")[:15],
            settings=BRIEF,
            store=Cache(tmp_path / "e"),
        )
