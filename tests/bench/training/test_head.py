"""DBCNN's own head: ridge regression, its choice of strength, and the file's provenance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.cache import Cache
from bench.datasets.table import open_table
from bench.training.head import (
    agreement,
    features_of,
    fit_head,
    trunk_of,
    unit_scores,
    write_head,
)
from iqa_models.weights import load_state, read_notes


def test_ridge_finds_a_linear_law_and_prefers_a_weak_penalty() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 300)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    law = np.zeros(300)
    law[:3] = (3.0, -2.0, 1.0)
    targets = 0.5 + features @ law / 10
    head = fit_head(features[:90], targets[:90])
    test = agreement(head, features[90:], targets[90:])
    assert head.strength < 1
    assert test.srcc > 0.4
    assert test.images == 30
    assert abs((features[:90] @ head.weight + head.bias).mean() - targets[:90].mean()) < 1e-6


def test_the_dual_solution_is_the_primal_one() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(40, 6)).astype(np.float32)
    targets = rng.random(40)
    head = fit_head(features, targets, strengths=(0.5,))
    x = features - features.mean(axis=0)
    primal = np.linalg.solve(x.T @ x + 0.5 * np.eye(6), x.T @ (targets - targets.mean()))
    assert np.allclose(head.weight, primal, atol=1e-4)
    assert head.strength == 0.5


def test_from_a_table_to_a_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iqa_models.dbcnn import compact

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    rows = ["image,mos"]
    for index in range(12):
        Image.new("RGB", (64, 64), (20 * index, 128, 255 - 20 * index)).save(
            tmp_path / f"{index}.png"
        )
        rows.append(f"{index}.png,{1 + index / 3}")
    (tmp_path / "scores.csv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntitle = "My set"\ncsv = "scores.csv"\nimage_column = "image"\n'
        'mos_columns = ["mos"]\nhigher_is_better = true\nrange = [1, 5]\n'
        'licence = "mine"\ncitation = "me"\n',
        encoding="utf-8",
    )
    dataset = open_table(tmp_path / "mine.toml")
    train, test = dataset.items("train"), dataset.items("test")
    store = Cache(tmp_path / "cache")
    features = features_of(trunk_of(compact()), dataset, train, store=store)
    assert features.shape == (10, 48 * 32)
    again = features_of(trunk_of(compact()), dataset, train, store=store)
    assert again.shape == features.shape
    scores = unit_scores(dataset, train)
    assert 0 <= scores.min() < scores.max() <= 1
    head = fit_head(features, scores, folds=3)
    held_out = features_of(trunk_of(compact()), dataset, test, store=store)
    found = agreement(head, held_out, unit_scores(dataset, test))
    path = tmp_path / "head.safetensors"
    write_head(head, path, dataset=dataset, images=len(train), test=found)
    assert load_state(path)["fc.weight"].shape == (1, 48 * 32)
    notes = read_notes(path)
    assert notes["title"] == "head trained here on My set"
    assert notes["training_images"] == "10"
    assert str(tmp_path) not in str(notes)
